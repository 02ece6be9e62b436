import CRDT
import Gossip

/// Shared context (docs/context.md).
extension NodeCore {
    /// What is asked about shared context.
    mutating func answer(
        _ id: RequestID, _ request: ContextRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        throw .notFound("not yet")
    }
}
