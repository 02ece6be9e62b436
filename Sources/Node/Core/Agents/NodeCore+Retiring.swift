import CRDT
import Gossip

/// The end of agents, and of their sessions.
extension NodeCore {
    /// How often the time at which an agent was last there is written, in milliseconds: facts are not free.
    private static let seenEveryMs: UInt64 = 10_000

    /// An agent retires: it gives back what it holds, everybody is told, and nothing of it stays but what it has said.
    mutating func retire(
        _ request: RequestID, _ agent: String, by asker: Asker, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        try checkAgent(agent)
        try checkIs(asker, agent)
        try releaseTurns(agent, in: nil, now: now, into: &effects)
        try releaseTasks(agent, now: now, into: &effects)
        try leaveChats(agent, now: now, into: &effects)
        let attention = DocumentKind.attention.name(agent)
        if documents.exists(attention) { try put(attention, [.remove], now: now, into: &effects) }
        let stamp = try put(DocumentKind.agent.name(agent), [.remove], now: now, into: &effects)
        try announce(
            .agentLifecycle, "AgentRetired", source: asker.agent ?? agent,
            [("agentId", .string(agent)), ("by", .optional(asker.agent))], now: now, into: &effects)
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }

    /// A put of an agent's document was applied: if it removed the agent, its sessions here are to end.
    mutating func noteAgent(_ key: [UInt8], _ put: RawSpan, after name: Int) {
        agents.stale.note(key)
        // A retirement is just that: one change, a removal.
        guard sessions.hasAgents, put.extracting(name..<put.byteCount).isEqual(to: [1, 1]) else { return }
        agents.retired.append(key)
    }

    /// Ends the sessions of agents that have retired.
    mutating func closeRetired(into effects: inout Effects) {
        let keys = agents.retired
        agents.retired.removeAll()
        for key in keys {
            let agent = String(decoding: key, as: UTF8.self)
            guard !isAgent(agent) else { continue }
            for session in sessions.ids(of: agent)
            where sessions[session]?.agent.map({ $0.utf8.elementsEqual(key) }) ?? false {
                // An SDK says that it stops while its stream is open still, and would only connect again.
                if noteStopping(session) { continue }
                effects.list.append(.close(session, code: 1000, reason: "the agent retired"))
            }
        }
    }

    /// A session has ended: if it was its agent's last one anywhere, the moment is written down.
    mutating func noteGone(_ agent: String?, now: Instant, into effects: inout Effects) {
        guard let agent, !isIncomplete, !isLeaving, !presence.isOnline(agent, now: now) else { return }
        let name = DocumentKind.agent.name(agent)
        guard documents.exists(name), (try? checkWritable()) != nil else { return }
        let nowMs = cluster.nowMs(now)
        let last = documents.value(of: AgentField.lastSeen.name, in: name).flatMap { $0.span.bytes.jsonNumber } ?? 0
        guard nowMs >= last + Self.seenEveryMs else { return }
        _ = try? put(
            name, [.set(field: AgentField.lastSeen.name, value: JSONValue.number(Int(nowMs)).encoded())], now: now,
            into: &effects)
    }

    /// Agents whose nodes are gone did not come back: one of the nodes that noticed writes it down.
    mutating func noteDeparted(now: Instant, into effects: inout Effects) {
        for agent in presence.takeDeparted() where owner(of: Array(agent.utf8), named: nil) == settings.replica {
            noteGone(agent, now: now, into: &effects)
        }
    }
}
