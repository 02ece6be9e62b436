public import CRDT

/// How far the logs reach that a state holds: what ends a snapshot, between peers and on the disk.
///
/// | field | bytes | |
/// |---|---|---|
/// | heads | a vector | the last entry of every log in the state |
/// | floors | varint + 8 each | per log, from where entries follow one by one, and the running hash just before |
/// | collected | a vector | whoever has not read this has missed what was collected |
/// | retired | varint count | per retired log: replica, varint last, replica and varint of the entry that says so, hash |
public struct Heads: Sendable {
    /// A log that has ended.
    struct Retired: Sendable {
        let replica: ReplicaID
        let last: UInt64
        let by: VersionVector.Entry
        /// The running hash at its end; zero where the log itself is still there.
        let hash: UInt64
    }

    /// The last entry of every log.
    public let heads: VersionVector
    /// What was collected.
    public let collected: VersionVector
    /// In the order of `heads`.
    let floors: [(floor: UInt64, hash: UInt64)]
    let retired: [Retired]

    /// Reads what `FactLog.encodeHeads` wrote.
    public init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        heads = try VersionVector(&cursor, bytes)
        var floors: [(floor: UInt64, hash: UInt64)] = []
        for entry in heads.entries {
            let floor = try cursor.varint(bytes)
            guard floor >= 1, floor <= entry.sequence + 1 else { throw .badValue(field: "floor") }
            floors.append((floor, try cursor.u64(bytes)))
        }
        self.floors = floors
        collected = try VersionVector(&cursor, bytes)
        var retired: [Retired] = []
        for _ in 0..<(try cursor.count(bytes, limit: Retirement.maximumCount)) {
            let replica = try cursor.replica(bytes)
            let last = try cursor.varint(bytes)
            let by = VersionVector.Entry(replica: try cursor.replica(bytes), sequence: try cursor.varint(bytes))
            guard VersionVector.sequences.contains(last), VersionVector.sequences.contains(by.sequence) else {
                throw .badValue(field: "retirement")
            }
            retired.append(Retired(replica: replica, last: last, by: by, hash: try cursor.u64(bytes)))
        }
        self.retired = retired
    }
}

extension FactLog {
    /// Every log of which something was read, with its last entry. Retired logs count: who gets this need not have read
    /// their retirement.
    public var heads: VersionVector {
        var heads = VersionVector()
        for slot in 0..<slotCount { heads.advance(replica(in: slot), to: head(of: slot)) }
        return heads
    }

    /// Appends the heads that a state had, with the floors of now.
    public func encodeHeads(of state: VersionVector, collected: VersionVector, into out: inout [UInt8]) {
        // A log that was retired and went meanwhile would come back to life with the reader.
        var heads = VersionVector()
        for entry in state.entries where knownSlot(of: entry.replica) != nil {
            heads.advance(entry.replica, to: entry.sequence)
        }
        heads.encode(into: &out)
        for entry in heads.entries {
            guard let slot = knownSlot(of: entry.replica) else { continue }
            out.append(varint: floor(of: slot))
            out.append(littleEndian: floorHash(of: slot))
        }
        collected.encode(into: &out)
        out.append(varint: UInt64(retirements.count))
        for (replica, retirement) in retirements.sorted(by: { $0.key < $1.key }) {
            out.append(replica: replica)
            out.append(varint: retirement.last)
            out.append(replica: retirement.by.replica)
            out.append(varint: retirement.by.sequence)
            out.append(littleEndian: retirement.hash ?? 0)
        }
    }
}
