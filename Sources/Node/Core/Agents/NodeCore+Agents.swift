import CRDT
import Gossip

/// Agents as their documents tell (docs/agents.md).
extension NodeCore {
    /// What is asked about agents.
    mutating func answer(
        _ id: RequestID, _ request: AgentRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        throw .notFound("not yet")
    }
}
