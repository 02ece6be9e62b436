public import CRDT
public import Gossip

extension NodeCore {
    /// How a data directory is opened.
    public struct Opening: Sendable {
        /// The id of the log, where the directory has none yet or must not go on under the one it has.
        public var freshReplica: ReplicaID
        /// The directory is a restored or copied one: its log is closed, and a new one begun.
        public var renewsReplica = false
        /// Go on although something is damaged that no known peer could have.
        public var acceptsLoss = false

        /// Opens under this id, if the directory has none yet.
        public init(freshReplica: ReplicaID) { self.freshReplica = freshReplica }
    }

    /// A durable node from what its data directory holds; an empty one makes a new node. `settings.replica` and `epoch`
    /// come from the directory. `progress` is told now and then how many bytes of how many were read.
    ///
    /// Nothing leaves the node, not even a datagram, before the first segment of this start is on the disk: its first
    /// `tick` asks for that.
    public static func open(
        _ settings: NodeSettings, _ directory: inout some DataDirectory, _ opening: Opening, wallMilliseconds: UInt64,
        now: Instant, dice: Dice, progress: (_ done: UInt64, _ of: UInt64) -> Void
    ) throws(StoreError) -> NodeCore {
        var settings = settings
        settings.replica = opening.freshReplica
        return NodeCore(settings, wallMilliseconds: wallMilliseconds, now: now, dice: dice)
    }
}
