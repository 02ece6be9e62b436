import CRDT
import Gossip

/// What agents attend to (docs/agents.md).
extension NodeCore {
    /// What is asked about attention.
    mutating func answer(
        _ id: RequestID, _ request: AttentionRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        throw .notFound("not yet")
    }
}
