import CRDT
import Gossip

/// What a node says about itself and its cluster.
extension NodeCore {
    /// Other members that are alive.
    private var peersAlive: Int {
        cluster.membership.members.count { $0.state == .alive && $0.replica != settings.replica }
    }

    /// What `/health` says first. A node that is read-only still gets reads.
    private var statusWord: String {
        if isLeaving { return "leaving" }
        if waitsForLost { return "waiting for a peer that has what is lost here" }
        if isIncomplete { return "catching up" }
        return journal?.hasRoom ?? true ? "ok" : "read-only"
    }

    func showHealth(_ request: RequestID, _ shell: ShellMetrics, now: Instant, into effects: inout Effects) {
        let start = effects.bytes.count
        var out = JSONObjectWriter(&effects.bytes)
        out.add("status", statusWord, into: &effects.bytes)
        out.add("version", Self.version, into: &effects.bytes)
        out.add("name", settings.name, into: &effects.bytes)
        out.add("replica", settings.replica.description, into: &effects.bytes)
        out.add("cluster", settings.cluster, into: &effects.bytes)
        out.add("uptime_s", Int(now.milliseconds(since: startedAt) / 1_000), into: &effects.bytes)
        out.add("peers_alive", peersAlive, into: &effects.bytes)
        out.add("peers_seen", cluster.membership.members.count - 1, into: &effects.bytes)
        out.add("peers_linked", cluster.mesh.linkedPeers.count, into: &effects.bytes)
        out.add("repairing", cluster.replication.isRepairing, into: &effects.bytes)
        out.add("durable", journal != nil, into: &effects.bytes)
        if let journal { out.add("unsynced_bytes", journal.unsyncedBytes, into: &effects.bytes) }
        out.add("events", index.eventCount, into: &effects.bytes)
        out.add("log_bytes", cluster.log.heldBytes, into: &effects.bytes)
        out.add("waiting_bytes", cluster.replication.waitingBytes, into: &effects.bytes)
        out.add("signals", signals.count, into: &effects.bytes)
        out.add("sessions", sessions.count, into: &effects.bytes)
        out.add("sessions_elsewhere", presence.remoteCount, into: &effects.bytes)
        out.add("groups", groups.all.count, into: &effects.bytes)
        out.add("connections", shell.clients.connections, into: &effects.bytes)
        out.add("loop_lag_ms", Double(shell.loop.longestMicroseconds) / 1_000, into: &effects.bytes)
        out.add("local_health", Int(cluster.membership.localHealth.multiplier), into: &effects.bytes)
        out.add("clock_behind_peers_ms", Int(cluster.clock.medianAheadMs), into: &effects.bytes)
        out.add("clock_corrections", cluster.clock.corrections, into: &effects.bytes)
        out.close(into: &effects.bytes)
        let isServing = !isLeaving && !isIncomplete
        effects.list.append(.reply(request, Reply(status: isServing ? 200 : 503), body: start..<effects.bytes.count))
    }

    func showCluster(_ request: RequestID, into effects: inout Effects) {
        let start = effects.bytes.count
        var out = JSONObjectWriter(&effects.bytes)
        out.add("name", settings.name, into: &effects.bytes)
        out.add("replica", settings.replica.description, into: &effects.bytes)
        out.key("members", into: &effects.bytes)
        effects.bytes.append(UInt8(ascii: "["))
        for (i, member) in cluster.membership.members.enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            append(member, into: &effects.bytes)
        }
        effects.bytes.append(UInt8(ascii: "]"))
        out.add("reachable", cluster.membership.aliveCount, into: &effects.bytes)
        out.add("cluster", settings.cluster, into: &effects.bytes)
        out.close(into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    private func append(_ member: Member, into bytes: inout [UInt8]) {
        var out = JSONObjectWriter(&bytes)
        out.add("name", member.name, into: &bytes)
        out.add("replica", member.replica.description, into: &bytes)
        out.add("state", "\(member.state)", into: &bytes)
        out.add("http", member.http, into: &bytes)
        out.add("gossip", member.gossip.description, into: &bytes)
        out.add("incarnation", member.incarnation.description, into: &bytes)
        out.key("read", into: &bytes)
        let isMe = member.replica == settings.replica
        let read = isMe ? cluster.log.vector : cluster.replication.vector(of: member.replica)
        var vector = JSONObjectWriter(&bytes)
        for entry in read?.entries ?? [] { vector.add(entry.replica.description, Int(entry.sequence), into: &bytes) }
        vector.close(into: &bytes)
        out.close(into: &bytes)
    }
}

/// Writes one JSON object, member by member.
struct JSONObjectWriter {
    private var isEmpty = true

    init(_ out: inout [UInt8]) { out.append(UInt8(ascii: "{")) }

    mutating func key(_ name: String, into out: inout [UInt8]) {
        if !isEmpty { out.append(UInt8(ascii: ",")) }
        isEmpty = false
        out.append(json: name)
        out.append(UInt8(ascii: ":"))
    }

    mutating func add(_ name: String, _ value: String, into out: inout [UInt8]) {
        key(name, into: &out)
        out.append(json: value)
    }

    mutating func add(_ name: String, _ value: Int, into out: inout [UInt8]) {
        key(name, into: &out)
        out.append(json: value)
    }

    mutating func add(_ name: String, _ value: Double, into out: inout [UInt8]) {
        key(name, into: &out)
        out.append(json: value)
    }

    mutating func add(_ name: String, _ value: Bool, into out: inout [UInt8]) {
        key(name, into: &out)
        out.append(contentsOf: (value ? "true" : "false").utf8)
    }

    func close(into out: inout [UInt8]) { out.append(UInt8(ascii: "}")) }
}
