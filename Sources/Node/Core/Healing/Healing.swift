import CRDT

/// Partitions that this node has seen begin, and what turns out to be in conflict when they end.
struct Healing: Sendable {
    /// What was found since the partition ended.
    var conflicts: [Conflict] = []
}
