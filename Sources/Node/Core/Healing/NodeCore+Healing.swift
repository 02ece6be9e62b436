import CRDT
import Gossip

/// What a partition leaves behind (docs/partitions.md).
extension NodeCore {
    /// Notes what two sides of a partition did that cannot both stay; told once the cluster has healed.
    mutating func noteConflict(_ conflict: Conflict) { healing.conflicts.append(conflict) }
}
