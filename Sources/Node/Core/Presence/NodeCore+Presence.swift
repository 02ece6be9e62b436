import CRDT
import Gossip

/// Who is connected: between peers, and for clients.
extension NodeCore {
    /// The most agents of one list.
    private static let maximumAgents = 10_000

    /// A link to a peer stands: it is told of every session here.
    mutating func linkedPresence(_ peer: ReplicaID, nonce: UInt64, now: Instant, into effects: inout Effects) {
        presence.linked(peer, nonce: nonce, now: now)
        for frame in presence.whole() { tell(peer, .roster, now: now, into: &effects) { $0 += frame } }
    }

    /// A peer's roster came.
    mutating func heardRoster(_ peer: ReplicaID, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        do throws(DecodeError) {
            try presence.hear(peer, bytes)
        } catch {
            closeLink(to: peer, "a bad roster (\(error))", now: now, into: &effects)
        }
    }

    // MARK: - Requests

    func listPresence(_ request: RequestID, now: Instant, into effects: inout Effects) {
        let (names, sessions) = agents(now: now)
        let start = effects.bytes.count
        effects.bytes.append(constant: "{\"agents\":[")
        for (i, agent) in names.prefix(Self.maximumAgents).enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            append(agent, sessions[agent] ?? [], into: &effects.bytes)
        }
        effects.bytes.append(constant: "],\"truncated\":")
        effects.bytes.append(contentsOf: (names.count > Self.maximumAgents ? "true" : "false").utf8)
        effects.bytes.append(constant: ",\"reachable\":")
        effects.bytes.append(json: cluster.membership.aliveCount)
        effects.bytes.append(UInt8(ascii: "}"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    func showPresence(
        _ request: RequestID, _ agent: String, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        guard let found = agents(now: now).sessions[agent] else {
            throw .notFound("no agent \(agent.prefix(64)) is connected to any node that this one hears of")
        }
        let start = effects.bytes.count
        append(agent, found, into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    private typealias Shown = (seat: Seat, session: Presence.Session, isGone: Bool)

    private func agents(now: Instant) -> (names: [String], sessions: [String: [Shown]]) {
        var found: [String: [Shown]] = [:]
        for it in presence.sessions(now: now) {
            if let agent = it.session.agent { found[agent, default: []].append(it) }
        }
        return (found.keys.sorted(), found)
    }

    private func append(_ agent: String, _ sessions: [Shown], into bytes: inout [UInt8]) {
        var out = JSONObjectWriter(&bytes)
        out.add("agent", agent, into: &bytes)
        out.key("sessions", into: &bytes)
        bytes.append(UInt8(ascii: "["))
        for (i, it) in sessions.enumerated() {
            if i > 0 { bytes.append(UInt8(ascii: ",")) }
            var session = JSONObjectWriter(&bytes)
            append(it.seat, &session, into: &bytes)
            session.add("form", it.session.isStream ? "stream" : "websocket", into: &bytes)
            session.key("since", into: &bytes)
            bytes.append(UInt8(ascii: "\""))
            ISOTime.write(milliseconds: it.session.sinceMs, into: &bytes)
            bytes.append(UInt8(ascii: "\""))
            session.add("node_gone", it.isGone, into: &bytes)
            session.key("groups", into: &bytes)
            bytes.append(UInt8(ascii: "["))
            for (j, group) in it.session.groups.keys.sorted().enumerated() {
                if j > 0 { bytes.append(UInt8(ascii: ",")) }
                bytes.append(json: group)
            }
            bytes.append(UInt8(ascii: "]"))
            session.close(into: &bytes)
        }
        bytes.append(UInt8(ascii: "]"))
        out.close(into: &bytes)
    }

    /// Which node a session is at, and its number there.
    func append(_ seat: Seat, _ out: inout JSONObjectWriter, into bytes: inout [UInt8]) {
        out.add("node", cluster.membership.member(seat.node)?.name ?? "", into: &bytes)
        out.add("replica", seat.node.description, into: &bytes)
        out.key("session", into: &bytes)
        bytes.append(json: seat.session.rawValue)
    }
}
