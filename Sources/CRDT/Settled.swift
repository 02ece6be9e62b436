/// Which entries of one log a group is done with, and how often each of the others was tried.
///
/// Of every entry it says one of three things, in rising order: not yet reached, open after so many tries, settled. The
/// join takes the higher one entry by entry, so it is a product of chains: an entry that any replica has settled stays
/// settled, and nothing else is (Shapiro et al., "Conflict-Free Replicated Data Types", SSS 2011, section 3).
///
/// Entries up to `through` are settled but for those in `open`; so the state is as small as what is under way.
public struct Settled: Mergeable, Hashable, Sendable {
    /// An entry that was reached and is not settled.
    public struct Open: Hashable, Sendable {
        /// Its number in the log.
        public let sequence: UInt64
        /// How often it was tried, as the owner counts; never falls.
        public internal(set) var attempt: UInt32
    }

    /// The most open entries that are read from bytes.
    public static let maximumOpen = 16_384

    /// Nothing beyond this number was reached.
    public private(set) var through: UInt64 = 0
    /// The entries reached that are not settled, by number.
    public private(set) var open: [Open] = []

    /// Nothing was reached.
    public init() {}

    /// Whether an entry is done with.
    public func isSettled(_ sequence: UInt64) -> Bool {
        guard sequence <= through else { return false }
        let at = index(of: sequence)
        return at == open.count || open[at].sequence != sequence
    }

    /// How often an open entry was tried; nil if it was not reached or is settled.
    public func attempt(of sequence: UInt64) -> UInt32? {
        let at = index(of: sequence)
        return at < open.count && open[at].sequence == sequence ? open[at].attempt : nil
    }

    /// Notes that an entry was tried. If it was not reached before, all before it that were not reached are settled: the
    /// caller has been there and found nothing. Reports whether that is news; an entry that is settled stays so.
    @discardableResult public mutating func tried(_ sequence: UInt64, attempt: UInt32) -> Bool {
        if sequence > through {
            through = sequence
            open.append(Open(sequence: sequence, attempt: attempt))
            return true
        }
        let at = index(of: sequence)
        guard at < open.count, open[at].sequence == sequence, open[at].attempt < attempt else { return false }
        open[at].attempt = attempt
        return true
    }

    /// Settles an entry that was reached. Reports whether that is news.
    @discardableResult public mutating func settle(_ sequence: UInt64) -> Bool {
        let at = index(of: sequence)
        guard at < open.count, open[at].sequence == sequence else { return false }
        open.remove(at: at)
        return true
    }

    /// Settles everything up to a number that was not reached before.
    @discardableResult public mutating func pass(_ sequence: UInt64) -> Bool {
        guard sequence > through else { return false }
        through = sequence
        return true
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing Settled) -> Bool {
        var merged: [Open] = []
        var (i, j) = (0, 0)
        while i < open.count || j < other.open.count {
            if j == other.open.count || i < open.count && open[i].sequence < other.open[j].sequence {
                // Open here alone: settled if the other has been there.
                if open[i].sequence > other.through { merged.append(open[i]) }
                i += 1
            } else if i == open.count || other.open[j].sequence < open[i].sequence {
                if other.open[j].sequence > through { merged.append(other.open[j]) }
                j += 1
            } else {
                let attempt = max(open[i].attempt, other.open[j].attempt)
                merged.append(Open(sequence: open[i].sequence, attempt: attempt))
                (i, j) = (i + 1, j + 1)
            }
        }
        let changed = merged != open || other.through > through
        open = merged
        through = max(through, other.through)
        return changed
    }

    /// Settles what is open here and settled in `other`, and reaches nothing more. Reports whether that is news.
    @discardableResult public mutating func prune(_ other: borrowing Settled) -> Bool {
        let before = open.count
        var kept: [Open] = []
        for entry in open where !other.isSettled(entry.sequence) { kept.append(entry) }
        open = kept
        return kept.count < before
    }

    /// The same entries are settled, and the others open as if nobody had tried them.
    public var untried: Settled {
        var copy = self
        for at in copy.open.indices { copy.open[at].attempt = 0 }
        return copy
    }

    /// Where an open entry is or would be.
    private func index(of sequence: UInt64) -> Int {
        var (low, high) = (0, open.count)
        while low < high {
            let middle = (low + high) / 2
            if open[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension Settled {
    /// Appends `through`, the count of open entries, and for each the distance to the one before it and its attempt, all
    /// of them varints.
    public func encode(into out: inout [UInt8]) {
        out.append(varint: through)
        out.append(varint: UInt64(open.count))
        var last: UInt64 = 0
        for entry in open {
            out.append(varint: entry.sequence - last)
            out.append(varint: UInt64(entry.attempt))
            last = entry.sequence
        }
    }

    /// Reads what `encode` wrote, to the end of the bytes.
    public init(_ bytes: RawSpan) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        through = try cursor.varint(bytes)
        guard through < VersionVector.sequences.upperBound else { throw .badValue(field: "through") }
        var last: UInt64 = 0
        for _ in 0..<(try cursor.count(bytes, limit: Self.maximumOpen)) {
            let distance = try cursor.varint(bytes)
            guard distance > 0, distance <= through - last else { throw .badValue(field: "open entry") }
            last += distance
            guard let attempt = UInt32(exactly: try cursor.varint(bytes)) else { throw .badValue(field: "attempt") }
            open.append(Open(sequence: last, attempt: attempt))
        }
        guard cursor.remaining == 0 else { throw .badValue(field: "end of the progress") }
    }
}
