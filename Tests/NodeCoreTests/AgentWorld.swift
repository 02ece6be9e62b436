@testable import Gossip
@testable import NodeCore

extension NodeWorld {
    /// Asks something about agents, as one of them or, with nil, as an operator.
    mutating func ask(_ i: Int, _ request: AgentRequest, as agent: String? = nil, _ body: String = "") -> Answer {
        ask(i, .agents(request, by: Asker(agent)), body)
    }

    mutating func ask(_ i: Int, _ request: AttentionRequest, as agent: String? = nil, _ body: String = "") -> Answer {
        ask(i, .attention(request, by: Asker(agent)), body)
    }

    /// The ids of the agents that a search finds.
    mutating func found(
        _ i: Int, status: String? = nil, resource: String? = nil, capability: String? = nil, after: String? = nil,
        limit: Int = 100
    ) -> [String] {
        ask(
            i,
            .manifests(status: status, resource: resource, capability: capability, after: after, limit: limit)
        ).list.compactMap { $0["agent_id"] as? String }
    }

    /// What was announced on a topic, the oldest first: the members of `data`.
    mutating func announced(_ i: Int, _ topic: String) -> [[String: Any]] {
        ask(i, .eventsOnTopic(topic, .init(limit: 1_000))).list.reversed().compactMap { $0["data"] as? [String: Any] }
    }

    mutating func pass(milliseconds: UInt64) { now = now.advanced(milliseconds: milliseconds) }
}
