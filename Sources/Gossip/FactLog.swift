public import CRDT

/// Every node's log as this node holds it, in the order in which it applied them.
///
/// An entry's *position* is its number in that order; it means nothing at another node. Entries lie back to back in
/// slabs of a mebibyte, so storing one allocates nothing, and the oldest slab goes as a whole when the bound is
/// reached. Each log carries a running hash, `hash(entry, seed: hash so far)`: equal sequence and different hash is a
/// fork.
public struct FactLog: Sendable {
    /// Where one entry lies and whose it is.
    public struct Record: BitwiseCopyable, Sendable {
        /// Which log, as an index into `replicas`.
        public let slot: Int32
        /// Bytes of the whole entry.
        public let length: UInt32
        /// The entry's number in its log, from 1.
        public let sequence: UInt64
        /// The stamp's packed time.
        public let time: UInt64
        let slab: UInt32
        let offset: UInt32
    }

    private struct Log: Sendable {
        let replica: ReplicaID
        /// Positions by sequence number; `positions.end` is the next sequence number.
        var positions = ChunkedQueue<Int>(start: 1)
        /// The running hash at the last entry.
        var hash: UInt64 = 0
        /// The running hash just before the oldest entry still here.
        var floorHash: UInt64 = 0
        var head: UInt64 { UInt64(positions.end - 1) }
    }

    private static let slabBytes = 1 << 20

    private var logs: ContiguousArray<Log> = []
    private var slots: [ReplicaID: Int] = [:]
    private var records = ChunkedQueue<Record>()
    private var slabs: ContiguousArray<[UInt8]> = []
    private var firstSlab = 0
    private var changed: [Int] = []
    private var isChanged: ContiguousArray<Bool> = []

    /// Slot 0: the log that this node writes.
    public let me: ReplicaID
    /// The bound on all entries together, in bytes.
    public let limitBytes: Int
    /// Bytes of entries held.
    public private(set) var heldBytes = 0
    /// Entries dropped at the bound so far.
    public private(set) var dropped = 0
    /// An order-independent hash of how far every log was read (`VersionVector.hash64`).
    public private(set) var vectorHash: UInt64 = 0

    /// Empty logs; `me` is the one this node writes.
    public init(me: ReplicaID, limitBytes: Int) {
        self.me = me
        self.limitBytes = limitBytes
        _ = slot(of: me)
    }

    /// The position of the oldest entry held.
    public var start: Int { records.start }
    /// One past the position of the newest entry.
    public var end: Int { records.end }
    /// The logs known, by slot.
    public var replicas: some RandomAccessCollection<ReplicaID> { logs.lazy.map(\.replica) }
    /// How many logs are known.
    public var slotCount: Int { logs.count }

    /// The record at a position.
    @inline(__always) public func record(at position: Int) -> Record { records[position] }
    /// Who wrote the log in a slot.
    public func replica(in slot: Int) -> ReplicaID { logs[slot].replica }
    /// The last sequence number read of the log in a slot.
    public func head(of slot: Int) -> UInt64 { logs[slot].head }
    /// The last sequence number read of a log; zero if it is unknown.
    public func head(of replica: ReplicaID) -> UInt64 { slots[replica].map { logs[$0].head } ?? 0 }
    /// The running hash of the log in a slot, at its head.
    public func hash(of slot: Int) -> UInt64 { logs[slot].hash }
    /// The oldest sequence number still held of the log in a slot (one past the head if none is).
    public func floor(of slot: Int) -> UInt64 { UInt64(logs[slot].positions.start) }
    /// The running hash just before `floor(of:)`.
    public func floorHash(of slot: Int) -> UInt64 { logs[slot].floorHash }
    /// The position of an entry, nil if it is not held.
    public func position(slot: Int, sequence: UInt64) -> Int? {
        let positions = logs[slot].positions
        return sequence >= UInt64(positions.start) && sequence < UInt64(positions.end) ? positions[Int(sequence)] : nil
    }

    /// How far every log was read.
    public var vector: VersionVector {
        var vector = VersionVector()
        for log in logs { vector.advance(log.replica, to: log.head) }
        return vector
    }

    /// The slot of a log, made if it is new.
    public mutating func slot(of replica: ReplicaID) -> Int {
        if let slot = slots[replica] { return slot }
        slots[replica] = logs.count
        logs.append(Log(replica: replica))
        isChanged.append(false)
        return logs.count - 1
    }

    /// The slot of a log, if it is known.
    public func knownSlot(of replica: ReplicaID) -> Int? { slots[replica] }

    /// Lends the bytes of one entry.
    @inline(__always)
    public func read<R, E: Error>(_ position: Int, _ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        let record = records[position]
        let slab = slabs[Int(record.slab) - firstSlab]
        let from = Int(record.offset)
        return try body(slab.span.bytes.extracting(from..<from + Int(record.length)))
    }

    /// Appends an entry of this node's own log and returns its position. Dependencies are noted by the log itself:
    /// whatever it read of other logs since its previous own entry.
    public mutating func write(_ kind: Fact.Kind, time: UInt64, body: RawSpan) -> Int {
        precondition(
            body.byteCount <= Fact.maximumBodyBytes, "a body of \(body.byteCount) bytes would be refused by every peer")
        let start = beginEntry(atMost: body.byteCount + 32 + changed.count * 18)
        changed.sort()
        let dependencies = changed.map {
            VersionVector.Entry(replica: logs[$0].replica, sequence: logs[$0].head)
        }
        for slot in changed { isChanged[slot] = false }
        changed.removeAll(keepingCapacity: true)
        let last = slabs.count - 1
        Fact.encodeHeader(kind: kind, time: time, dependencies: dependencies, into: &slabs[last])
        slabs[last].append(copying: body)
        return endEntry(slot: 0, start: start, time: time)
    }

    /// Appends an entry of another node's log, which must be the next one of it, and returns its position.
    public mutating func adopt(slot: Int, time: UInt64, entry: RawSpan) -> Int {
        let start = beginEntry(atMost: entry.byteCount)
        slabs[slabs.count - 1].append(copying: entry)
        if slot != 0, !isChanged[slot] {
            isChanged[slot] = true
            changed.append(slot)
        }
        return endEntry(slot: slot, start: start, time: time)
    }

    /// Counts a log as read up to just before `floor` without having its entries: no peer holds them any more.
    public mutating func skip(slot: Int, to floor: UInt64, hash: UInt64) {
        guard logs[slot].head + 1 < floor else { return }
        let before = VersionVector.hash64(logs[slot].replica, logs[slot].head)
        logs[slot].positions = ChunkedQueue(start: Int(floor))
        logs[slot].hash = hash
        logs[slot].floorHash = hash
        vectorHash = vectorHash &- before &+ VersionVector.hash64(logs[slot].replica, floor - 1)
    }

    private mutating func beginEntry(atMost bytes: Int) -> Int {
        if let last = slabs.last, last.capacity - last.count >= bytes { return last.count }
        var slab: [UInt8] = []
        slab.reserveCapacity(max(Self.slabBytes, bytes))
        slabs.append(slab)
        while heldBytes > limitBytes, slabs.count > 2 { dropOldestSlab() }
        return 0
    }

    private mutating func endEntry(slot: Int, start: Int, time: UInt64) -> Int {
        let last = slabs.count - 1
        let length = slabs[last].count - start
        let before = logs[slot].head
        logs[slot].hash = slabs[last].withUnsafeBytes {
            XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[start...]), seed: logs[slot].hash)
        }
        heldBytes += length
        let position = records.append(
            Record(
                slot: Int32(slot), length: UInt32(length), sequence: before + 1, time: time,
                slab: UInt32(firstSlab + last), offset: UInt32(start)))
        logs[slot].positions.append(position)
        let replica = logs[slot].replica
        vectorHash = vectorHash &- VersionVector.hash64(replica, before) &+ VersionVector.hash64(replica, before + 1)
        return position
    }

    private mutating func dropOldestSlab() {
        let slab = slabs.removeFirst()
        var position = records.start
        while position < records.end, Int(records[position].slab) == firstSlab {
            let record = records[position]
            let slot = Int(record.slot)
            // An entry from before a skip is behind the floor already, and the hash there is not built on it.
            if record.sequence >= UInt64(logs[slot].positions.start) {
                let from = Int(record.offset)
                logs[slot].floorHash = XXH64.hash(
                    slab.span.bytes.extracting(from..<from + Int(record.length)), seed: logs[slot].floorHash)
                logs[slot].positions.drop(before: Int(record.sequence) + 1)
            }
            heldBytes -= Int(record.length)
            dropped += 1
            position += 1
        }
        records.drop(before: position)
        firstSlab += 1
    }
}
