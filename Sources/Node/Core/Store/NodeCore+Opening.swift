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
        /// What to type to go on like that, for the error that says so.
        public var commandToAcceptLoss = "hypha serve --data DIR --accept-loss"

        /// Opens under this id, if the directory has none yet.
        public init(freshReplica: ReplicaID) { self.freshReplica = freshReplica }
    }

    /// A durable node from what its data directory holds; an empty one makes a new node. `settings.replica` and `epoch`
    /// come from the directory. `progress` is told now and then how many bytes of how many were read; `now` is asked again
    /// when all is read.
    ///
    /// Nothing leaves the node, not even a datagram, before the first segment of this start is on the disk: its first
    /// `tick` asks for that.
    public static func open(
        _ settings: NodeSettings, _ directory: inout some DataDirectory, _ opening: Opening, wallMilliseconds: UInt64,
        now: @autoclosure () -> Instant, dice: Dice, progress: (_ done: UInt64, _ of: UInt64) -> Void
    ) throws(StoreError) -> NodeCore {
        var recovery = try Recovery(settings, &directory, opening, wallMs: wallMilliseconds, now: now(), dice: dice)
        try recovery.read(&directory, progress)
        return try recovery.finish(&directory, opening, now: now())
    }

    // MARK: - What recovery does to a node

    /// A durable node before anything was read.
    init(durable settings: NodeSettings, wallMs: UInt64, now: Instant, dice: Dice) {
        var settings = settings
        settings.isDurable = true
        self.init(settings, wallMilliseconds: wallMs, now: now, dice: dice)
    }

    /// Indexes an entry that was read from the disk, and lets it act unless it is in the state already.
    mutating func readAgain(_ position: Int) {
        index.drop(held: cluster.log.start, remembered: cluster.log.remembered)
        guard isFolded(position) else { return refold(position) }
        let stamp = cluster.log.stamp(at: position)
        let (kind, body) = cluster.log.read(position) { entry in
            (try? Fact(entry)).map { ($0.kind, $0.body) } ?? (Fact.Kind(rawValue: 0), 0..<0)
        }
        if Surface(kind) != nil { indexOnly(position, body, at: stamp) }
        if index.end == position { index.skip() }
    }

    /// Does once more what `reset` did, up to the facts that were kept.
    mutating func restoreReset(
        _ replica: ReplicaID, known: VersionVector, remembered: [Member], now: Instant
    ) {
        let last = cluster.hybrid.last
        (settings.replica, settings.epoch) = (replica, 1)
        cluster = Cluster(
            settings, nonce: dice.next(), remembered: remembered,
            wallMs: cluster.clock.milliseconds(monotonicMs: now.milliseconds), now: now, dice: Dice(seed: dice.next()))
        cluster.observe(last)
        forgetState()
        folded = nil
        anew = Anew(facts: [], known: known, until: now.advanced(milliseconds: resetPatienceMs))
    }

    /// Takes over the end of a peer's snapshot, of which these parts came before.
    mutating func restoreAdoption(_ parts: [Part], _ heads: Heads) throws(DecodeError) {
        for part in parts { try merge(part.part, part.bytes.span.bytes, latest: .max) }
        try cluster.restoreAdoption(heads)
        folded = folded ?? VersionVector()
        folded?.merge(heads.heads)
    }

    /// Takes part from here on, under this id and epoch.
    mutating func begin(
        _ journal: Journal, replica: ReplicaID, epoch: UInt64, remembered: [Member], now: Instant
    ) {
        if replica != cluster.log.me { cluster.beginLog(replica) }
        (settings.replica, settings.epoch) = (replica, epoch)
        _ = cluster.assume(
            Cluster.Settings(settings, nonce: dice.next(), remembered: remembered), now: now,
            dice: Dice(seed: dice.next()))
        self.journal = journal
        groups.isUnread = true
        groups.standing.startHead = cluster.log.head(of: cluster.log.mine)
        self.journal?.noted = cluster.log.end
        self.journal?.notedCollected = cluster.replication.collectedChanges
        self.journal?.notedMembers = cluster.memberChanges
        cluster.syncedDigest = cluster.log.digest
        retractCopies()
        if let folded, cluster.log.hasRead(folded) { self.folded = nil }
        beginSegment()
    }
}
