public import CRDT

/// Building the logs up again from what a disk holds, before the node takes part; and going on under a new id.
extension Cluster {
    /// What became of an entry read from the disk.
    public enum Restored: Equatable, Sendable {
        /// It is in the log now, at this position.
        case at(Int)
        /// It was there already, or belongs to a log that has ended since.
        case known
        /// It is in the log now, at this position, but entries before it are missing.
        case afterHole(Int)
    }

    /// Takes over how far the logs reach that a snapshot holds. Their entries from the floors on may follow; where some
    /// are missing, those before the hole too, which is where the floor is then.
    public mutating func restore(_ heads: Heads, hasHoles: Bool) throws(DecodeError) {
        for (entry, floor) in zip(heads.heads.entries, heads.floors) where !hasHoles {
            replication.log.skip(slot: try replication.slot(ofPeers: entry.replica), to: floor.floor, hash: floor.hash)
        }
        for ended in heads.retired {
            replication.log.retire(ended.replica, last: ended.last, by: ended.by)
            if replication.log.knownSlot(of: ended.replica) == nil {
                replication.log.retirements[ended.replica]?.hash = ended.hash
            }
        }
        replication.collect(heads.collected)
    }

    /// Appends an entry read from the disk. Entries of a `state` are in the snapshot that was read before: those of logs
    /// that it does not know have ended before it was taken, and those below its floors were dropped.
    public mutating func restore(
        _ replica: ReplicaID, _ sequence: UInt64, _ entry: RawSpan, state: VersionVector?
    ) throws(DecodeError) -> Restored {
        guard VersionVector.sequences.contains(sequence) else { throw .badValue(field: "sequence") }
        if let state, sequence > state[replica] { return .known }
        let fact = try Fact(entry)
        let slot = try replication.slot(ofPeers: replica)
        guard sequence > replication.log.head(of: slot) else { return .known }
        let isHole = sequence > replication.log.head(of: slot) + 1
        if isHole { replication.log.skip(slot: slot, to: sequence, hash: FactLog.unknownHash) }
        replication.log.makeRoom()
        let position = replication.log.adopt(slot: slot, time: fact.time, entry: entry)
        hybrid.observe(fact.time)
        if fact.kind == .retirement, state == nil {
            let by = VersionVector.Entry(replica: replica, sequence: sequence)
            replication.noteRetirement(entry.extracting(fact.body), by: by)
            replication.adoptRetirements()
        }
        return isHole ? .afterHole(position) : .at(position)
    }

    /// Ends the reading of entries that are in a snapshot: whatever is missing of them is skipped. Says whether nothing is.
    public mutating func endState(_ heads: VersionVector, hashes: [UInt64]) -> Bool {
        var isWhole = true
        for (entry, hash) in zip(heads.entries, hashes) {
            guard let slot = log.knownSlot(of: entry.replica) else { continue }
            if log.head(of: slot) < entry.sequence {
                isWhole = false
                replication.log.skip(slot: slot, to: entry.sequence + 1, hash: hash)
            } else if log.hash(of: slot) != hash {
                isWhole = false
            }
        }
        return isWhole
    }

    /// Does once more what the end of a peer's snapshot did.
    public mutating func restoreAdoption(_ heads: Heads) throws(DecodeError) {
        try replication.adopt(heads)
    }

    /// Whoever has not read this has missed what was collected here.
    public mutating func restoreCollected(_ vector: VersionVector) { replication.collect(vector) }

    /// Whether entries are missing here that others may have.
    public var isLossy: Bool { replication.log.isLossy }

    /// Notes whether entries are missing here, and whether this node serves nobody before it has read them from a peer.
    public mutating func setLossy(_ isLossy: Bool, isWaiting: Bool) {
        replication.log.isLossy = isLossy
        replication.waitsForLost = isWaiting
    }

    /// Whether no known member can have what is lost here.
    public var isBestCopy: Bool { replication.isBestCopy(among: others.known) }

    /// Whether entries of peers are read: not while there is nowhere to keep them.
    public mutating func setReading(_ isReading: Bool) { replication.isReading = isReading }

    /// From here on this node writes a new log; the former one is a log like any other.
    public mutating func beginLog(_ replica: ReplicaID) { replication.log.beginLog(replica) }

    /// Takes part under this identity from now on: nobody is known but those remembered, and nobody is linked. Says which
    /// links are to be hung up.
    public mutating func assume(_ settings: Settings, now: Instant, dice: Dice) -> [LinkID] {
        let links = mesh.linkIDs
        for link in replication.links.map(\.id) {
            var effects: [Replication.Effect] = []
            var out: [UInt8] = []
            replication.linkDown(
                link, clockMs: clock.milliseconds(monotonicMs: now.milliseconds), now: now, into: &effects, &out)
        }
        (membership, mesh) = Self.outside(of: settings, now: now, dice: dice)
        membershipWake = now
        return links
    }
}

extension FactLog {
    /// Stands for the running hash of a log of which entries are missing here: no honest log has it.
    static let unknownHash: UInt64 = 0x6d69_7373_696e_6700
}
