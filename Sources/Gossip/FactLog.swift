public import CRDT

/// Every node's log as this node holds it, in the order in which it applied them.
///
/// An entry's *position* is its number in that order; it means nothing at another node. Entries lie back to back in
/// slabs, so storing one allocates nothing, and the oldest slab goes as a whole when a bound of the retention is
/// reached. Each log carries a running hash, `hash(entry, seed: hash so far)`: equal sequence and different hash is a
/// fork. A log sits in a *slot*, which is used again once the log is retired and nothing of it is left.
public struct FactLog: Sendable {
    /// Where one entry lies and whose it is.
    public struct Record: BitwiseCopyable, Sendable {
        /// Which log, as a slot.
        public let slot: Int32
        /// Bytes of the whole entry; zero where only the number and the stamp are remembered.
        public let length: UInt32
        /// The entry's number in its log, from 1.
        public let sequence: UInt64
        /// The stamp's packed time.
        public let time: UInt64
        let slab: UInt32
        let offset: UInt32
    }

    /// How much is kept. Whole slabs go, and between inputs only, so a little more may be here; the newest slab stays.
    public struct Retention: Equatable, Sendable {
        /// At most so many bytes of entries.
        public var bytes: Int
        /// At most so many entries.
        public var entries: Int
        /// Nothing older than this, in milliseconds.
        public var ageMs: UInt64
        /// The numbers and stamps of dropped entries are remembered until they are so old, in milliseconds, so that
        /// an id posted again is recognised: 10 minutes is what clients are promised.
        public var memoryMs: UInt64 = 600_000
        /// And of at most so many dropped entries.
        public var remembered = 1 << 20

        /// Bounds; without arguments a gibibyte of any number and age.
        public init(bytes: Int = 1 << 30, entries: Int = .max, ageMs: UInt64 = .max) {
            self.bytes = bytes
            self.entries = entries
            self.ageMs = ageMs
        }
    }

    struct Log: Sendable {
        var replica: ReplicaID
        /// Positions by sequence number; `positions.end` is the next sequence number.
        var positions = ChunkedQueue<Int>(start: 1)
        /// The running hash at the last entry.
        var hash: UInt64 = 0
        /// The running hash just before the oldest entry still here.
        var floorHash: UInt64 = 0
        /// The running hash at every 32nd number.
        var marks = ChunkedQueue<UInt64>(start: 1)
        /// When its entries were written.
        var timeline = Timeline()
        /// How many records there are of it, entries that are only remembered included.
        var records = 0
        /// The number at which it was retired; zero if it was not.
        var retiredAt: UInt64 = 0
        /// What it adds to the digest.
        var share: UInt64 = 0

        var head: UInt64 { UInt64(positions.end - 1) }
        /// A log that is retired just where it ends has been read by everybody: vectors do not name it.
        var isNamed: Bool { head > 0 && head != retiredAt }
    }

    private struct Slab: Sendable {
        var bytes: [UInt8] = []
        var entries = 0
        /// Packed times of the first and of the youngest entry.
        var opened: UInt64 = 0
        var youngest: UInt64 = 0
    }

    private static let slabBytes = 1 << 20
    private static let markEvery: UInt64 = 32
    /// A pinned log may outgrow its bound so many times before the pin is ignored.
    private static let pinFactor = 2

    var logs: ContiguousArray<Log> = []
    private var slots: [ReplicaID: Int] = [:]
    private var freeSlots: [Int] = []
    private var records = ChunkedQueue<Record>()
    private var slabs: ContiguousArray<Slab> = []
    private var firstSlab = 0
    private var changed: [Int] = []
    private var isChanged: ContiguousArray<Bool> = []
    /// Logs that nobody writes any more, by replica.
    var retirements: [ReplicaID: Retirement] = [:]

    /// The log that this node writes.
    public private(set) var me: ReplicaID
    /// Its slot.
    public private(set) var mine = 0
    /// How much is kept.
    public let retention: Retention
    /// The position of the oldest entry held.
    public private(set) var start = 0
    /// Bytes of entries held.
    public private(set) var heldBytes = 0
    /// Entries held.
    public private(set) var heldEntries = 0
    /// Entries dropped at a bound so far.
    public private(set) var dropped = 0
    /// Records forgotten before their time, because too many were dropped too fast.
    public private(set) var forgottenEarly = 0
    /// How far every log was read, as it is told to others: retired logs are left out.
    public private(set) var vector = VersionVector()
    /// An order-independent hash of how far every log was read *and* of what it says: equal digests mean equal logs.
    public private(set) var digest: UInt64 = 0
    /// When the newest slab was opened, in milliseconds, until `makeRoom`.
    private var roomDue: UInt64?
    /// What the entry being written depends on; empty between calls, and kept for its memory.
    private var dependencies: [VersionVector.Entry] = []
    /// Entries are missing that others may have, so the running hashes here are not what they should be.
    var isLossy = false
    /// Nothing from this position on is dropped, within reason: it is on its way to a newcomer.
    var pin: Int?

    /// Empty logs; `me` is the one this node writes.
    public init(me: ReplicaID, retention: Retention) {
        self.me = me
        self.retention = retention
        mine = slot(of: me)
    }

    /// The position of the oldest entry of which at least the number and the stamp are remembered.
    public var remembered: Int { records.start }
    /// One past the position of the newest entry.
    public var end: Int { records.end }
    /// How many slots there are, free ones included.
    public var slotCount: Int { logs.count }
    /// How many logs sit in slots.
    public var logCount: Int { slots.count }

    /// The record at a position from `remembered` on.
    @inline(__always) public func record(at position: Int) -> Record { records[position] }
    /// Whether the entry itself is held, not only its number.
    @inline(__always) public func holds(_ position: Int) -> Bool { position >= start && records[position].length > 0 }
    /// Whether the entry at a position goes to whoever reads its log: it is held, and not behind a skip, where a hole in
    /// the log is that the state of a peer has filled.
    public func isServed(_ position: Int) -> Bool {
        holds(position) && records[position].sequence >= floor(of: Int(records[position].slot))
    }
    /// Who wrote the log in a slot.
    public func replica(in slot: Int) -> ReplicaID { logs[slot].replica }
    /// The last sequence number read of the log in a slot.
    public func head(of slot: Int) -> UInt64 { logs[slot].head }
    /// The last sequence number read of a log; zero if it is unknown.
    public func head(of replica: ReplicaID) -> UInt64 { slots[replica].map { logs[$0].head } ?? 0 }
    /// Whether vectors name the log in a slot: it has entries, and did not end where it was retired.
    func isNamed(_ slot: Int) -> Bool { logs[slot].isNamed }
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

    /// The running hash of a log at one of its entries; nil where that is behind the floor or beyond the head.
    public func hash(of slot: Int, at sequence: UInt64) -> UInt64? {
        let log = logs[slot]
        if sequence == log.head { return log.hash }
        let floor = UInt64(log.positions.start)
        guard sequence < log.head, sequence + 1 >= floor else { return nil }
        var (at, hash) = (floor - 1, log.floorHash)
        let mark = Int(sequence / Self.markEvery)
        if mark >= log.marks.start, mark < log.marks.end {
            (at, hash) = (UInt64(mark) * Self.markEvery, log.marks[mark])
        }
        while at < sequence {
            at += 1
            hash = read(log.positions[Int(at)]) { XXH64.hash($0, seed: hash) }
        }
        return hash
    }

    /// A packed time that no entry of a log after `sequence` precedes: exact while that entry is remembered. Looks at
    /// every entry that is only remembered.
    public func time(of replica: ReplicaID, at sequence: UInt64) -> UInt64 {
        guard let slot = slots[replica] else { return 0 }
        if let position = position(slot: slot, sequence: sequence) { return records[position].time }
        for position in records.start..<start {
            let record = records[position]
            if record.slot == Int32(slot), record.sequence == sequence { return record.time }
        }
        return logs[slot].timeline.time(at: sequence)
    }

    /// The slot of a log, if it is known.
    public func knownSlot(of replica: ReplicaID) -> Int? { slots[replica] }

    /// The slot of a log, made if it is new.
    mutating func slot(of replica: ReplicaID) -> Int {
        if let slot = slots[replica] { return slot }
        var log = Log(replica: replica)
        if let retirement = retirements[replica] {
            log.retiredAt = retirement.last
            // It was here and is gone, or the peer whose state was read knew that it is.
            if let hash = retirement.hash {
                log.positions = ChunkedQueue(start: Int(retirement.last) + 1)
                log.marks = ChunkedQueue(start: Int(retirement.last / Self.markEvery) + 1)
                (log.hash, log.floorHash) = (hash, hash)
            }
        }
        if let slot = freeSlots.popLast() {
            slots[replica] = slot
            logs[slot] = log
            return slot
        }
        slots[replica] = logs.count
        logs.append(log)
        isChanged.append(false)
        return logs.count - 1
    }

    /// Lends the bytes of one entry that is held.
    @inline(__always)
    public func read<R, E: Error>(_ position: Int, _ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        let record = records[position]
        let slab = slabs[Int(record.slab) - firstSlab].bytes
        let from = Int(record.offset)
        return try body(slab.span.bytes.extracting(from..<from + Int(record.length)))
    }

    // MARK: - Appending

    /// Appends an entry of this node's own log and returns its position. Dependencies are noted by the log itself:
    /// whatever it read of other logs since its previous own entry.
    mutating func write(_ kind: Fact.Kind, time: UInt64, body: RawSpan) -> Int {
        precondition(
            body.byteCount <= Fact.maximumBodyBytes, "a body of \(body.byteCount) bytes would be refused by every peer")
        let start = beginEntry(atMost: body.byteCount + 32 + changed.count * 18, time: time)
        changed.sort()
        // A retired log was read by whoever reads its retirement, which this entry depends on.
        dependencies.removeAll(keepingCapacity: true)
        for slot in changed where logs[slot].isNamed {
            dependencies.append(VersionVector.Entry(replica: logs[slot].replica, sequence: logs[slot].head))
        }
        let last = slabs.count - 1
        Fact.encodeHeader(kind: kind, time: time, dependencies: dependencies, into: &slabs[last].bytes)
        forgetChanges()
        slabs[last].bytes.append(copying: body)
        return endEntry(slot: mine, start: start, time: time)
    }

    /// Appends an entry that was written elsewhere, or here in an earlier life, which must be the next one of its log,
    /// and returns its position.
    mutating func adopt(slot: Int, time: UInt64, entry: RawSpan) -> Int {
        let start = beginEntry(atMost: entry.byteCount, time: time)
        slabs[slabs.count - 1].bytes.append(copying: entry)
        // An own one names all that was read before it.
        if slot == mine { forgetChanges() } else { noteChange(slot) }
        return endEntry(slot: slot, start: start, time: time)
    }

    /// The next own entry has to name this log.
    private mutating func noteChange(_ slot: Int) {
        guard slot != mine, !isChanged[slot] else { return }
        isChanged[slot] = true
        changed.append(slot)
    }

    private mutating func forgetChanges() {
        for slot in changed { isChanged[slot] = false }
        changed.removeAll(keepingCapacity: true)
    }

    /// Ends the own log where it is and begins another: what was written so far is in a log like any other from here on.
    mutating func beginLog(_ replica: ReplicaID) {
        if logs[mine].head == 0 {
            slots[me] = nil
            logs[mine].replica = replica
            slots[replica] = mine
        } else {
            mine = slot(of: replica)
        }
        me = replica
        // The first entry of the new log comes after all that was read, the former own log included.
        for slot in logs.indices where logs[slot].isNamed { noteChange(slot) }
    }

    /// Remembers the number and stamp of an entry that a peer no longer holds itself. Returns its position.
    mutating func remember(slot: Int, sequence: UInt64, time: UInt64) -> Int {
        logs[slot].records += 1
        return records.append(
            Record(
                slot: Int32(slot), length: 0, sequence: sequence, time: time,
                slab: UInt32(firstSlab + max(0, slabs.count - 1)), offset: 0))
    }

    /// Counts a log as read up to just before `floor` without having its entries: a snapshot holds what they did.
    mutating func skip(slot: Int, to floor: UInt64, hash: UInt64) {
        guard logs[slot].head + 1 < floor else { return }
        logs[slot].positions = ChunkedQueue(start: Int(floor))
        logs[slot].marks = ChunkedQueue(start: Int((floor - 1) / Self.markEvery) + 1)
        logs[slot].hash = hash
        logs[slot].floorHash = hash
        noteChange(slot)
        tell(slot)
    }

    private mutating func beginEntry(atMost bytes: Int, time: UInt64) -> Int {
        if let last = slabs.last, last.bytes.capacity - last.bytes.count >= bytes, !isFull(last, time) {
            return last.bytes.count
        }
        var slab = Slab()
        slab.bytes.reserveCapacity(max(min(Self.slabBytes, retention.bytes / 16), bytes))
        slab.opened = time
        slabs.append(slab)
        roomDue = max(roomDue ?? 0, time >> 16)
        return 0
    }

    /// A slab that spans much of a bound would make the retention coarse.
    private func isFull(_ slab: Slab, _ time: UInt64) -> Bool {
        slab.entries >= max(1, retention.entries / 8) || (time >> 16) > (slab.opened >> 16) + retention.ageMs / 8
    }

    private mutating func endEntry(slot: Int, start: Int, time: UInt64) -> Int {
        let last = slabs.count - 1
        let length = slabs[last].bytes.count - start
        let before = logs[slot].head
        let hash = slabs[last].bytes.withUnsafeBytes {
            XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[start...]), seed: logs[slot].hash)
        }
        logs[slot].hash = hash
        slabs[last].entries += 1
        slabs[last].youngest = max(slabs[last].youngest, time)
        heldBytes += length
        heldEntries += 1
        let position = records.append(
            Record(
                slot: Int32(slot), length: UInt32(length), sequence: before + 1, time: time,
                slab: UInt32(firstSlab + last), offset: UInt32(start)))
        logs[slot].positions.append(position)
        logs[slot].records += 1
        if (before + 1) % Self.markEvery == 0 {
            logs[slot].marks.append(hash)
            logs[slot].timeline.note(before + 1, time: time)
        }
        tell(slot)
        return position
    }

    /// Brings vector and digest in line with a log that changed.
    private mutating func tell(_ slot: Int) {
        // Field by field: a copy of a log counts references to all its parts.
        let replica = logs[slot].replica
        var share: UInt64 = 0
        if logs[slot].isNamed {
            let head = logs[slot].head
            share = XXH64.avalanche(replica.rawValue ^ XXH64.avalanche(head ^ logs[slot].hash))
            vector.advance(replica, to: head)
        } else {
            vector.remove(replica)
        }
        digest = digest &- logs[slot].share &+ share
        logs[slot].share = share
    }

    // MARK: - Retention

    /// Drops what the retention no longer allows, if a slab was opened since. Between two inputs, not within one: what
    /// came in one frame must all be there for whoever reads the log behind it.
    mutating func makeRoom() {
        guard let clockMs = roomDue else { return }
        roomDue = nil
        trim(clockMs: clockMs)
    }

    /// Drops what the retention no longer allows at this time, in milliseconds since the Unix epoch.
    mutating func trim(clockMs: UInt64) {
        while slabs.count > 1, isOverdue(slabs[0], clockMs), !isPinned { dropOldestSlab() }
        forget(clockMs: clockMs)
    }

    private func isOverdue(_ slab: Slab, _ clockMs: UInt64) -> Bool {
        heldBytes > retention.bytes || heldEntries > retention.entries
            || (retention.ageMs < .max && (slab.youngest >> 16) + retention.ageMs < clockMs)
    }

    private var isPinned: Bool {
        guard let pin, heldBytes < retention.bytes * Self.pinFactor else { return false }
        // The slab that is next to go holds the entries before the first of the slab behind it.
        return start >= pin || records.end > pin && firstPosition(after: firstSlab) > pin
    }

    private func firstPosition(after slab: Int) -> Int {
        var (low, high) = (start, records.end)
        while low < high {
            let middle = (low + high) / 2
            if Int(records[middle].slab) <= slab { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private mutating func dropOldestSlab() {
        let slab = slabs.removeFirst().bytes
        var position = start
        while position < records.end, Int(records[position].slab) == firstSlab {
            let record = records[position]
            let slot = Int(record.slot)
            position += 1
            if record.length == 0 { continue }
            // An entry from before a skip is behind the floor already, and the hash there is not built on it.
            if record.sequence >= UInt64(logs[slot].positions.start) {
                let from = Int(record.offset)
                logs[slot].floorHash = XXH64.hash(
                    slab.span.bytes.extracting(from..<from + Int(record.length)), seed: logs[slot].floorHash)
                logs[slot].positions.drop(before: Int(record.sequence) + 1)
                logs[slot].marks.drop(before: Int(record.sequence / Self.markEvery) + 1)
            }
            heldBytes -= Int(record.length)
            heldEntries -= 1
            dropped += 1
        }
        start = position
        firstSlab += 1
    }

    /// Forgets records of dropped entries that are old enough, or too many.
    private mutating func forget(clockMs: UInt64) {
        var position = records.start
        while position < start {
            let record = records[position]
            let isOld = (record.time >> 16) + retention.memoryMs < clockMs
            guard isOld || start - position > retention.remembered else { break }
            if !isOld { forgottenEarly += 1 }
            logs[Int(record.slot)].records -= 1
            if logs[Int(record.slot)].records == 0 { free(Int(record.slot)) }
            position += 1
        }
        records.drop(before: position)
    }

    // MARK: - Retirement

    /// Nobody writes this log any more, and at this number everybody had read it.
    mutating func retire(_ replica: ReplicaID, last: UInt64, by: VersionVector.Entry) {
        guard (retirements[replica]?.last ?? 0) < last else { return }
        // Beyond where it was retired first, somebody has read on: it is here.
        retirements[replica] = Retirement(last: last, by: by)
        // Whoever has read this retirement has read those that the retired log told of.
        for (other, retirement) in retirements
        where retirement.by.replica == replica && retirement.by.sequence <= last && other != replica {
            retirements[other]?.by = by
        }
        guard let slot = slots[replica] else { return }
        logs[slot].retiredAt = last
        tell(slot)
    }

    /// A retired log of which nothing is left gives its slot back, once every known member has read that it is retired:
    /// until then one of them may still ask for it.
    mutating func free(_ slot: Int) {
        let log = logs[slot]
        guard slot != mine, log.records == 0, log.head > 0, !log.isNamed, retirements[log.replica]?.stableAt != nil
        else {
            return
        }
        retirements[log.replica]?.hash = log.hash
        slots[log.replica] = nil
        if isChanged[slot] {
            isChanged[slot] = false
            changed.removeAll { $0 == slot }
        }
        logs[slot] = Log(replica: ReplicaID(0))
        freeSlots.append(slot)
    }
}
