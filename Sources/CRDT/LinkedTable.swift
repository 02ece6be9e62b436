/// No slot of a `LinkedTable`.
let noSlot = UInt32.max

/// A record of a `LinkedTable`.
protocol Linked: BitwiseCopyable, Sendable {
    /// The hash of its key.
    var hash: UInt64 { get }
    /// The next slot of the same bucket, or of the free list.
    var next: UInt32 { get set }
    /// Whether the queue of tombstones names the slot. It belongs to the slot: a record put there later inherits it.
    var isQueued: Bool { get set }
}

/// Records in numbered slots that never move, found by hash.
///
/// Linear hashing (Litwin, "Linear Hashing: A New Tool for File and Table Addressing", VLDB 1980): buckets are split
/// and joined one at a time as records come and go, so that there is never a second table and no single insertion pays
/// for the growth. The chains run through the records; slots that became free are used again first.
struct LinkedTable<Record: Linked>: Sendable {
    /// The most records: slots have 30 bits where others refer to them.
    static var limit: Int { 1 << 30 }
    /// The fewest buckets. There are two for each record, so that few chains have more than one.
    private static var fewestBuckets: Int { 64 }

    private var records = ChunkedArray<Record>()
    private var heads = ChunkedArray<UInt32>()
    /// Selects the bits of a hash that number the buckets, counting those still to come of this doubling.
    private var mask: Int
    private var free = noSlot
    /// How many records there are.
    private(set) var count = 0

    init() {
        mask = Self.fewestBuckets - 1
        for _ in 0..<Self.fewestBuckets { heads.append(noSlot) }
    }

    /// One past the highest slot ever used.
    var end: Int { records.count }
    /// Memory taken, in bytes.
    var byteCount: Int { records.byteCount + heads.byteCount }

    subscript(slot: UInt32) -> Record {
        @inline(__always) get { records[Int(slot)] }
        @inline(__always) _modify { yield &records[Int(slot)] }
    }

    /// The first slot of the chain in which a record with this hash would be; `noSlot` for none.
    @inline(__always) func first(_ hash: UInt64) -> UInt32 { heads[bucket(hash)] }

    /// Adds a record and returns its slot.
    mutating func insert(_ record: Record) -> UInt32 {
        precondition(count < Self.limit, "a replica holds at most 2^30 documents and as many fields")
        var record = record
        let head = bucket(record.hash)
        record.next = heads[head]
        let slot: UInt32
        if free != noSlot {
            slot = free
            free = records[Int(slot)].next
            record.isQueued = records[Int(slot)].isQueued
            records[Int(slot)] = record
        } else {
            slot = UInt32(records.count)
            records.append(record)
        }
        heads[head] = slot
        count += 1
        while heads.count < count * 2 { split() }
        return slot
    }

    /// Removes the record in a slot, which will be used again.
    mutating func remove(_ slot: UInt32) {
        let record = records[Int(slot)]
        let head = bucket(record.hash)
        if heads[head] == slot {
            heads[head] = record.next
        } else {
            var before = heads[head]
            while records[Int(before)].next != slot { before = records[Int(before)].next }
            records[Int(before)].next = record.next
        }
        records[Int(slot)].next = free
        free = slot
        count -= 1
        // Two for each removal keep pace; the gap to where buckets are split again is wide, so that nothing swings.
        for _ in 0..<2 where heads.count > max(count * 6, Self.fewestBuckets) { join() }
    }

    @inline(__always) private func bucket(_ hash: UInt64) -> Int {
        let number = Int(truncatingIfNeeded: hash) & mask
        return number < heads.count ? number : number & mask >> 1
    }

    /// Adds a bucket, which takes its share of the one that has held its records so far.
    private mutating func split() {
        let new = heads.count
        if new > mask { mask = mask << 1 | 1 }
        let old = new & mask >> 1
        var (kept, moved) = (noSlot, noSlot)
        var slot = heads[old]
        while slot != noSlot {
            let record = records[Int(slot)]
            if Int(truncatingIfNeeded: record.hash) & mask == new {
                records[Int(slot)].next = moved
                moved = slot
            } else {
                records[Int(slot)].next = kept
                kept = slot
            }
            slot = record.next
        }
        heads[old] = kept
        heads.append(moved)
    }

    /// Removes the last bucket, whose records go back to where they were split from.
    private mutating func join() {
        let last = heads.count - 1
        let old = last & mask >> 1
        var slot = heads[last]
        while slot != noSlot {
            let next = records[Int(slot)].next
            records[Int(slot)].next = heads[old]
            heads[old] = slot
            slot = next
        }
        heads.removeLast()
        if heads.count == mask >> 1 + 1 { mask >>= 1 }
    }
}
