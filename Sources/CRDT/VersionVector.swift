/// How far one has read in each node's log: the answer to who has what, and who lacks what.
///
/// Sequence numbers start at 1; a log that is not listed has not been read at all.
/// Parker et al., "Detection of Mutual Inconsistency in Distributed Systems" (IEEE TSE 1983).
public struct VersionVector: Mergeable, Hashable, Sendable {
    /// One log and how far it was read.
    public struct Entry: Hashable, Sendable {
        /// Whose log.
        public let replica: ReplicaID
        /// The last sequence number read, at least 1.
        public let sequence: UInt64

        /// A log and how far it was read.
        public init(replica: ReplicaID, sequence: UInt64) {
            self.replica = replica
            self.sequence = sequence
        }
    }

    /// The logs read, by rising replica.
    public private(set) var entries: [Entry] = []

    /// Nothing read yet.
    public init() {}

    /// The last sequence number read of a log; zero if none.
    public subscript(replica: ReplicaID) -> UInt64 {
        let at = index(of: replica)
        return at < entries.count && entries[at].replica == replica ? entries[at].sequence : 0
    }

    /// Notes that a log was read up to `sequence`; never goes back. Reports whether that is news.
    @discardableResult public mutating func advance(_ replica: ReplicaID, to sequence: UInt64) -> Bool {
        let at = index(of: replica)
        if at < entries.count, entries[at].replica == replica {
            guard entries[at].sequence < sequence else { return false }
            entries[at] = Entry(replica: replica, sequence: sequence)
        } else {
            guard sequence > 0 else { return false }
            entries.insert(Entry(replica: replica, sequence: sequence), at: at)
        }
        return true
    }

    /// No longer names a log.
    public mutating func remove(_ replica: ReplicaID) {
        let at = index(of: replica)
        if at < entries.count, entries[at].replica == replica { entries.remove(at: at) }
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing VersionVector) -> Bool {
        var changed = false
        for entry in other.entries where advance(entry.replica, to: entry.sequence) { changed = true }
        return changed
    }

    /// Whether everything `other` has read was read here too.
    public func covers(_ other: VersionVector) -> Bool {
        other.entries.allSatisfy { self[$0.replica] >= $0.sequence }
    }

    /// An order-independent hash; equal vectors have equal hashes.
    public var hash64: UInt64 { entries.reduce(0) { $0 &+ Self.hash64($1.replica, $1.sequence) } }

    /// What one log contributes to `hash64`, so that a vector's hash can be kept up to date entry by entry.
    public static func hash64(_ replica: ReplicaID, _ sequence: UInt64) -> UInt64 {
        sequence == 0 ? 0 : XXH64.avalanche(replica.rawValue ^ XXH64.avalanche(sequence))
    }

    private func index(of replica: ReplicaID) -> Int {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].replica < replica { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension VersionVector {
    /// The sequence numbers that can be: a log that grows by a million entries a second takes 146,000 years to the end.
    public static let sequences: Range<UInt64> = 1..<1 << 62
    /// The most logs that a vector from the wire may name.
    public static let maximumEntries = 65_536

    /// Appends the count (varint), then 8 bytes of replica and a varint of sequence for each log.
    public func encode(into out: inout [UInt8]) {
        out.append(varint: UInt64(entries.count))
        for entry in entries {
            out.append(replica: entry.replica)
            out.append(varint: entry.sequence)
        }
    }

    /// Reads what `encode` wrote: each log once, by rising replica, and read at least to its first entry.
    public init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        for _ in 0..<(try cursor.count(bytes, limit: Self.maximumEntries)) {
            let replica = try cursor.replica(bytes)
            // Rising replicas make reading linear; the cap on numbers keeps every sum of them from overflowing.
            if let last = entries.last, last.replica >= replica { throw .badValue(field: "order of replicas") }
            let sequence = try cursor.varint(bytes)
            guard Self.sequences.contains(sequence) else { throw .badValue(field: "sequence") }
            entries.append(Entry(replica: replica, sequence: sequence))
        }
    }
}
