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

    func showHealth(_ request: RequestID, _ shell: Request.ShellHealth, now: Instant, into effects: inout Effects) {
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
        out.add("connections", shell.connections, into: &effects.bytes)
        out.add("loop_lag_ms", shell.loopLagMs, into: &effects.bytes)
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

    /// The Prometheus text format, version 0.0.4.
    func showMetrics(_ request: RequestID, _ shell: Request.ShellHealth, into effects: inout Effects) {
        let gossip = cluster.membership.counters
        let replication = cluster.replication.counters
        let rows: [(name: String, kind: String, help: String, value: Int)] =
            [
                ("events", "gauge", "Events stored here.", index.eventCount),
                ("events_accepted_total", "counter", "Events accepted from clients.", counters.accepted),
                ("events_repeated_total", "counter", "Events posted again under a known id.", counters.repeated),
                (
                    "events_conflicts_total", "counter", "Ids accepted twice with different contents.",
                    counters.conflicts
                ),
                ("events_malformed_total", "counter", "Entries of peers that are no events.", counters.malformedEvents),
                (
                    "requests_refused_total", "counter", "Requests and messages answered with an error.",
                    counters.refused
                ),
                ("clock_waiting", "gauge", "Requests that wait for their Hypha-Clock.", waits.count),
                ("clock_waits_total", "counter", "Requests that had to wait for their clock.", counters.clockWaits),
                ("clock_timeouts_total", "counter", "Of them, those that waited in vain.", counters.clockTimeouts),
                ("clock_refused_total", "counter", "Requests refused as too many waited.", counters.clockRefused),
                ("clock_lost_total", "counter", "Requests whose clock named lost entries.", counters.clockLost),
                ("clock_shortened_total", "counter", "Logs left out of clocks at 8 KiB.", counters.clockShortened),
                ("ack_waiting", "gauge", "Writes that wait for other nodes.", acks.count),
                ("ack_waits_total", "counter", "Writes whose answer waited for other nodes.", counters.ackWaits),
                ("ack_timeouts_total", "counter", "Of them, those that waited in vain.", counters.ackTimeouts),
                ("ack_refused_total", "counter", "Writes refused for the level they asked for.", counters.ackRefused),
                ("broadcasts_total", "counter", "Events handed to channels of subscribers.", counters.delivered),
                ("log_bytes", "gauge", "Bytes of entries in all logs.", cluster.log.heldBytes),
                ("log_dropped_total", "counter", "Entries dropped by the retention.", cluster.log.dropped),
                ("documents", "gauge", "Documents that exist.", documents.count),
                ("documents_bytes", "gauge", "Memory that documents take.", documents.byteCount),
                (
                    "documents_malformed_total", "counter", "Puts of peers that could not be read.",
                    counters.malformedPuts
                ),
                ("tombstones", "gauge", "Removed documents and fields remembered.", documents.tombstoneCount),
                ("tombstones_collected_total", "counter", "Removals forgotten.", counters.collectedTombstones),
                ("operations", "gauge", "Operations on signals held one by one.", signals.operationCount),
                ("operations_folded_total", "counter", "Operations folded.", counters.foldedOperations),
                ("state_comparisons_total", "counter", "States compared with a peer's.", counters.comparisons),
                ("state_mismatches_total", "counter", "Equal logs, different states.", counters.mismatches),
                ("state_malformed_total", "counter", "Parts of states refused.", counters.malformedStates),
                ("copies_unresolved_total", "counter", "Copies of ids gone too soon.", counters.unresolvedCopies),
                ("signals", "gauge", "Signals known, faded ones included.", signals.count),
                (
                    "signal_approximations_total", "counter", "Folds made approximate at the cap.",
                    signals.approximations
                ),
                ("sessions", "gauge", "Clients on /ws.", sessions.count),
                ("channels", "gauge", "Different subscriptions.", sessions.channelCount),
                ("peers_alive", "gauge", "Other members alive.", peersAlive),
                ("peers_linked", "gauge", "Other members with a link.", cluster.mesh.linkedPeers.count),
                ("replicated_total", "counter", "Entries applied that came from peers.", replication.applied),
                ("replicated_duplicates_total", "counter", "Entries that came again.", replication.duplicates),
                ("replicated_waited_total", "counter", "Entries that came before their causes.", replication.waited),
                ("waiting_bytes", "gauge", "Bytes of entries that wait.", cluster.replication.waitingBytes),
                (
                    "waiting_dropped_total", "counter", "Entries dropped while waiting.",
                    cluster.replication.waitingDropped
                ),
                ("repairs_total", "counter", "Repairs asked for.", replication.repairs),
                ("held_back_total", "counter", "Times an entry was stamped too far ahead.", replication.heldBack),
                ("snapshots_sent_total", "counter", "Snapshots begun for a peer.", replication.snapshots),
                ("snapshots_read_total", "counter", "Snapshots of peers read to the end.", replication.adoptions),
                ("resets_total", "counter", "Times this node started anew under a new id.", counters.resets),
                ("resubmitted_total", "counter", "Own facts submitted again after that.", counters.resubmitted),
                ("logs", "gauge", "Logs of which something is held.", cluster.log.logCount),
                ("log_slots", "gauge", "Places for logs, free ones included.", cluster.log.slotCount),
                ("vector_entries", "gauge", "Logs that vectors name.", cluster.log.vector.entries.count),
                (
                    "retired_logs", "gauge", "Logs that ended and are not forgotten yet.",
                    cluster.replication.retiredCount
                ),
                ("retirements_total", "counter", "Logs found to have ended.", replication.retirements),
                (
                    "collected_logs", "gauge", "Logs that a peer must have read not to start anew.",
                    cluster.replication.collected.entries.count
                ),
                (
                    "log_remembered", "gauge", "Dropped entries whose ids are known.",
                    cluster.log.start - cluster.log.remembered
                ),
                ("log_forgotten_early_total", "counter", "Ids forgotten too soon.", cluster.log.forgottenEarly),
                ("members", "gauge", "Members known, gone ones included.", cluster.membership.members.count),
                (
                    "members_gone", "gauge", "Of them, those that are dead or left.",
                    cluster.membership.members.count { !$0.isPresent }
                ),
                ("log_forks_total", "counter", "Logs that a peer holds differently.", replication.forks),
                ("bad_frames_total", "counter", "Frames refused.", replication.badFrames + cluster.badFrames),
                ("unknown_frames_total", "counter", "Frames of a newer protocol, ignored.", cluster.unknownFrames),
                ("links_refused_total", "counter", "Handshakes refused.", cluster.mesh.refused),
                (
                    "links_incompatible_total", "counter", "Of them, for want of a common protocol.",
                    cluster.mesh.incompatible
                ),
                ("datagrams_sent_total", "counter", "Datagrams sent.", gossip.datagramsSent),
                ("datagrams_received_total", "counter", "Datagrams received.", gossip.datagramsReceived),
                ("datagrams_malformed_total", "counter", "Datagrams damaged or not ours.", gossip.malformed),
                (
                    "datagrams_incompatible_total", "counter", "Datagrams not exchanged for want of a common protocol.",
                    gossip.foreignVersion + gossip.unspeakable
                ),
                ("probes_failed_total", "counter", "Probes that nobody answered.", gossip.probesFailed),
                ("suspicions_total", "counter", "Suspicions begun or joined.", gossip.suspicions),
                ("deaths_total", "counter", "Times a member was found dead.", gossip.deaths),
                ("refutations_total", "counter", "Accusations contradicted.", gossip.refutations),
                (
                    "clock_corrections_total", "counter", "Times the clock was set to the peers'.",
                    cluster.clock.corrections
                ),
                ("connections", "gauge", "Open client connections.", shell.connections),
                ("network_errors_total", "counter", "Sends the system refused.", shell.networkErrors),
                (
                    "subscriber_dropped_total", "counter", "Subscribers closed for reading too slowly.",
                    shell.slowSubscribers
                ),
            ] + messageMetrics
        let start = effects.bytes.count
        for row in rows {
            effects.bytes.append(
                contentsOf:
                    "# HELP hypha_\(row.name) \(row.help)\n# TYPE hypha_\(row.name) \(row.kind)\nhypha_\(row.name) \(row.value)\n"
                    .utf8)
        }
        shell.disk?.writeMetrics(into: &effects.bytes)
        effects.list.append(
            .reply(request, Reply(status: 200, isText: true), body: start..<effects.bytes.count))
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
