import CRDT
import Gossip

extension NodeCore {
    /// What is asked of it.
    mutating func answer(
        _ id: RequestID, _ request: MemoryRequest, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        throw NodeError(status: 501, message: "not built yet")
    }
}
