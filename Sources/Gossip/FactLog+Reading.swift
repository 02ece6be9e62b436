public import CRDT

/// What somebody who reads the logs from outside, a subscriber, has seen of them.
extension FactLog {
    /// How far every log had been read when the entry at `position` had been, and none behind it.
    public func vector(through position: Int) -> VersionVector {
        guard position + 1 < end else { return vector }
        var vector = VersionVector()
        for entry in self.vector.entries {
            guard let slot = knownSlot(of: entry.replica) else { continue }
            vector.advance(entry.replica, to: head(of: slot, through: position))
        }
        return vector
    }

    /// What had been read at a position, as the cursors of clients say it: the logs that have ended are named as long as they
    /// are known here. Whoever reads a cursor may not have read yet that they have, and still show what is in them.
    public func seen(through position: Int) -> VersionVector {
        guard position + 1 < end else { return everKnown }
        var seen = VersionVector()
        for (replica, retirement) in retirements where knownSlot(of: replica) == nil {
            seen.advance(replica, to: retirement.last)
        }
        for (slot, log) in logs.enumerated() where log.replica.rawValue != 0 {
            let last = head(of: slot, through: position)
            if last > 0 { seen.advance(log.replica, to: last) }
        }
        return seen
    }

    /// The last number of a log at or before a position.
    private func head(of slot: Int, through position: Int) -> UInt64 {
        let positions = logs[slot].positions
        var (low, high) = (positions.start, positions.end)
        guard low < high, positions[high - 1] > position else { return UInt64(high - 1) }
        // Entries before the floor came before.
        while low < high {
            let middle = (low + high) / 2
            if positions[middle] <= position { low = middle + 1 } else { high = middle }
        }
        return UInt64(low - 1)
    }

    /// Everything that was ever read here and is not forgotten, retired logs included.
    public var everKnown: VersionVector {
        var known = VersionVector()
        for (replica, retirement) in retirements { known.advance(replica, to: retirement.last) }
        for log in logs where log.replica.rawValue != 0 { known.advance(log.replica, to: log.head) }
        return known
    }

    /// What a compact vector means among the logs known here. Where the beginning of an id fits several of them it counts
    /// for none: to see an event twice is better than never.
    public func known(of seen: CompactVector) -> VersionVector {
        let known = everKnown
        var found = VersionVector()
        for entry in seen.entries {
            let logs = known.entries.filter { entry.matches($0.replica) }
            if logs.count == 1 { found.advance(logs[0].replica, to: entry.sequence) }
        }
        return found
    }

    /// The position of the first held entry that is not covered; the end if all are.
    public func firstMissing(from covered: VersionVector) -> Int {
        var first = end
        for (slot, log) in logs.enumerated() where log.replica.rawValue != 0 {
            let next = max(head(of: log.replica, in: covered) + 1, UInt64(log.positions.start))
            if let position = position(slot: slot, sequence: next) { first = min(first, position) }
        }
        return max(first, min(start, end))
    }

    /// Runs of entries that are not covered and no longer held, by replica: the first and the last number.
    public func gaps(behind covered: VersionVector) -> [(replica: ReplicaID, from: UInt64, to: UInt64)] {
        var gaps: [(replica: ReplicaID, from: UInt64, to: UInt64)] = []
        for log in logs where log.replica.rawValue != 0 {
            let next = head(of: log.replica, in: covered) + 1
            if next < UInt64(log.positions.start) { gaps.append((log.replica, next, UInt64(log.positions.start) - 1)) }
        }
        for (replica, retirement) in retirements where knownSlot(of: replica) == nil {
            let next = head(of: replica, in: covered) + 1
            if next <= retirement.last { gaps.append((replica, next, retirement.last)) }
        }
        return gaps.sorted { $0.replica < $1.replica }
    }
}
