import CRDT
import Gossip

/// Tasks (docs/tasks.md).
extension NodeCore {
    /// What is asked about tasks.
    mutating func answer(
        _ id: RequestID, _ request: TaskRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        throw .notFound("not yet")
    }

    /// How many tasks an agent has claimed and not ended.
    mutating func claimedTasks(of agent: String) -> Int { 0 }

    /// An agent retires: what it has claimed is open again.
    mutating func releaseTasks(_ agent: String, now: Instant, into effects: inout Effects) throws(NodeError) {}
}
