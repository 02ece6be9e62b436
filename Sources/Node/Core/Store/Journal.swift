import CRDT
import Gossip

/// What a durable node writes down: everything that its state follows from, in the order in which it happened.
///
/// Records pile up in a buffer. At the end of a turn they go to the disk as one commit, unless the disk is still busy
/// with the one before: then they go with the next (group commit). Decides nothing about their meaning.
struct Journal: Sendable {
    /// What the disk is busy with.
    struct Flight: Sendable {
        let job: DiskJob
        /// The job is waiting for room to be tried again.
        var isStuck = false
        /// When it was first given to the disk.
        let since: Instant
        /// It makes a segment, and holds nothing that anything waits for.
        let opensSegment: Bool
    }

    /// A segment behind the newest one.
    struct Sealed: Sendable {
        let number: UInt64
        /// One past the position of its last entry in the log of this life.
        let end: Int
    }

    /// A snapshot on the disk.
    struct Saved: Sendable {
        let number: UInt64
        /// The position of the oldest entry held when it was taken.
        let start: Int
        let bytes: Int
    }

    /// The bounds and times of a journal.
    struct Limits: Sendable {
        /// A segment ends at about so many bytes.
        var segmentBytes = 64 << 20
        /// Not synced bytes beyond which nothing more is taken in.
        var unsyncedBytes = 64 << 20
        /// A snapshot is due after so many bytes of records, or as many as the last one had if that is more.
        var snapshotEveryBytes = 64 << 20
        /// Room on a full disk is looked for this often, in milliseconds.
        var findRoomMs: UInt64 = 1_000
    }

    let limits: Limits
    let cluster: String
    /// The newest segment: the one that is written, or about to be made.
    private(set) var number: UInt64
    /// The last commit handed to the disk.
    private(set) var commits: UInt64
    /// Records that the disk was not given yet, and the offset of the first in the segment.
    private(set) var buffer: [UInt8] = []
    private var base: UInt64 = 0
    /// A segment that is to be made before the buffer goes into it: its head, and the commit of that.
    private var opening: [UInt8]?
    /// The segment before one that is not there yet, and how long it is.
    private var previous: (number: UInt64, base: UInt64)?
    /// Something was noted since the last commit was given to the disk.
    private(set) var isDirty = false
    private(set) var flight: Flight?
    /// Nothing at all may leave before the first segment of this life is there.
    private(set) var isOpened = false
    /// Whether the disk has room for more than what is under way.
    private(set) var hasRoom = true
    private var findRoomAt: Instant?
    /// How often the node has started anew.
    var resets: UInt64
    /// Entries of the log up to this position were noted.
    var noted = 0
    /// The highest packed time that is in a record or a commit.
    private(set) var lastTime: UInt64 = 0
    /// What was noted last of what the node remembers beside its logs.
    var notedCollected = 0
    var notedMembers = 0
    private var members: [UInt8] = []
    var sealed: [Sealed] = []
    /// The newest last.
    var saved: [Saved] = []
    /// Bytes of records since the last snapshot began.
    private(set) var bytesSinceSnapshot = 0
    /// Of all that was committed in this life, for the metrics.
    private(set) var counters = Counters()

    struct Counters: Sendable {
        var commitTimes = Histogram(.seconds)
        var commitSizes = Histogram(.bytes)
        var entries = 0
        var segments = 0
        var timesFull = 0
    }

    /// What was found on the disk, for a journal that goes on from there.
    struct Found: Sendable {
        var segment: UInt64 = 0
        var commits: UInt64 = 0
        var resets: UInt64 = 0
        var sealed: [Sealed] = []
        var saved: [Saved] = []
        var bytesSinceSnapshot = 0
        var members: [UInt8] = []
    }

    init(_ found: Found, cluster: String, limits: Limits) {
        self.limits = limits
        self.cluster = cluster
        number = found.segment
        commits = found.commits
        resets = found.resets
        sealed = found.sealed
        saved = found.saved
        members = found.members
        bytesSinceSnapshot = found.bytesSinceSnapshot
    }

    // MARK: - Noting

    /// Whether something was noted that is not on the disk.
    var isUnsynced: Bool { isDirty || !isOpened || flight?.opensSegment == false }
    /// Bytes that are not on the disk.
    var unsyncedBytes: Int { buffer.count + (flight?.job.bytes.count ?? 0) }
    /// Whether a segment was begun that is not on the disk.
    var isOpening: Bool { opening != nil || flight?.opensSegment == true }
    /// Whether the disk can be given something.
    var canLaunch: Bool { flight == nil && (isDirty || opening != nil) }
    /// Whether more can be taken in.
    var takesMore: Bool { hasRoom && unsyncedBytes < limits.unsyncedBytes }

    /// Writes one record; `body` appends what belongs in it.
    mutating func note(_ kind: Record.Kind, _ body: (inout [UInt8]) -> Void) {
        let start = Record.begin(kind, into: &buffer)
        body(&buffer)
        Record.end(start, of: number, base: base, into: &buffer)
        isDirty = true
    }

    /// Writes an entry of a log.
    mutating func note(_ position: Int, of log: borrowing FactLog) {
        let record = log.record(at: position)
        let start = Record.begin(.entry, into: &buffer)
        buffer.append(replica: log.replica(in: Int(record.slot)))
        buffer.append(varint: record.sequence)
        log.read(position) { buffer.append(copying: $0) }
        Record.end(start, of: number, base: base, into: &buffer)
        isDirty = true
        counters.entries += 1
        lastTime = max(lastTime, record.time)
    }

    /// Writes who is remembered, if that changed.
    mutating func note(members: [UInt8]) {
        guard members != self.members else { return }
        self.members = members
        note(.members) { $0.append(contentsOf: members) }
    }

    /// The next commit is due even if nothing else is noted.
    mutating func touch() { isDirty = true }

    // MARK: - Segments

    /// What is noted from here on goes into a new segment; what came before must be with the disk.
    mutating func beginSegment(_ head: SegmentHead, end: Int) {
        precondition(!isDirty && opening == nil, "a segment begins where the one before it has ended")
        if isOpened {
            sealed.append(Sealed(number: number, end: end))
            previous = (number, base)
        }
        number += 1
        commits += 1
        lastTime = max(lastTime, head.lastTime)
        var bytes: [UInt8] = []
        Record.appendPreamble(.segment, into: &bytes)
        let start = Record.begin(.head, into: &bytes)
        head.encode(into: &bytes)
        Record.end(start, of: number, base: 0, into: &bytes)
        append(Commit(number: commits, lastTime: lastTime), base: 0, into: &bytes)
        base = UInt64(bytes.count)
        opening = bytes
        counters.segments += 1
    }

    private func append(_ commit: Commit, base: UInt64, into bytes: inout [UInt8]) {
        let start = Record.begin(.commit, into: &bytes)
        commit.encode(into: &bytes)
        Record.end(start, of: number, base: base, into: &bytes)
    }

    /// There is no room for the segment that was begun: what was noted since goes into the one before it after all.
    private mutating func keepPrevious() {
        guard let previous else { return }
        var moved: [UInt8] = []
        var at = 0
        while at < buffer.count {
            let length = Record.headBytes + Record.length(buffer.span.bytes, at: at)
            let start = moved.count
            moved += buffer[at..<at + length]
            Record.end(start, of: previous.number, base: previous.base, into: &moved)
            at += length
        }
        buffer = moved
        (number, base) = previous
        commits -= 1
        sealed.removeLast()
        self.previous = nil
        flight = nil
    }

    /// Whether the segment is long enough.
    var isSegmentLong: Bool { hasRoom && base > UInt64(limits.segmentBytes) }

    /// Whether a snapshot is due.
    var isSnapshotDue: Bool {
        bytesSinceSnapshot > max(limits.snapshotEveryBytes, saved.last?.bytes ?? 0)
    }

    // MARK: - The disk

    /// Gives the disk what comes next, if it is not busy. Says whether that is what was noted.
    mutating func launch(lastTime: UInt64, now: Instant, into list: inout [NodeCore.Effect]) -> Bool {
        guard canLaunch else { return false }
        if let bytes = opening {
            opening = nil
            flight = Flight(job: .segment(number, bytes), since: now, opensSegment: true)
            list.append(.disk(.segment(number, bytes)))
            return false
        }
        self.lastTime = max(self.lastTime, lastTime)
        commits += 1
        append(Commit(number: commits, lastTime: self.lastTime), base: base, into: &buffer)
        let bytes = buffer
        buffer = []
        buffer.reserveCapacity(min(bytes.count, 1 << 20))
        base += UInt64(bytes.count)
        bytesSinceSnapshot += bytes.count
        isDirty = false
        flight = Flight(job: .commit(bytes), since: now, opensSegment: false)
        list.append(.disk(.commit(bytes)))
        return true
    }

    /// The disk has what it was given last.
    mutating func committed(hasRoom: Bool, now: Instant) {
        if let flight {
            if flight.opensSegment {
                previous = nil
            } else {
                counters.commitTimes.observe(from: flight.since, to: now)
                counters.commitSizes.observe(UInt64(flight.job.bytes.count))
            }
        }
        flight = nil
        isOpened = true
        setRoom(hasRoom, now: now)
    }

    /// There was no room for what the disk was given last.
    mutating func foundFull(now: Instant) {
        flight?.isStuck = true
        setRoom(false, now: now)
        if flight?.opensSegment == true { keepPrevious() }
    }

    /// Whether there is room again. What was stuck is tried again.
    mutating func setRoom(_ isThere: Bool, now: Instant, into list: inout [NodeCore.Effect]) {
        setRoom(isThere, now: now)
        guard isThere, let stuck = flight, stuck.isStuck else { return }
        flight?.isStuck = false
        list.append(.disk(stuck.job))
    }

    private mutating func setRoom(_ isThere: Bool, now: Instant) {
        if hasRoom, !isThere { counters.timesFull += 1 }
        hasRoom = isThere
        findRoomAt = isThere ? nil : now.advanced(milliseconds: limits.findRoomMs)
    }

    /// Looks for room if that is due.
    mutating func tick(now: Instant, into list: inout [NodeCore.Effect]) {
        guard let due = findRoomAt, due <= now else { return }
        findRoomAt = now.advanced(milliseconds: limits.findRoomMs)
        list.append(.disk(.findRoom))
    }

    /// When `tick` is due.
    var wake: Instant? { findRoomAt }

    // MARK: - Snapshots

    /// A snapshot begins: what is noted from here on is not in it.
    mutating func beganSnapshot() { bytesSinceSnapshot = 0 }

    /// A snapshot is on the disk. What is not needed any more is removed: older snapshots than the two newest, and the
    /// segments before the older of these of which every entry had been dropped when it was taken.
    mutating func savedSnapshot(_ snapshot: Saved, into list: inout [NodeCore.Effect]) {
        saved.append(snapshot)
        var gone: [DataFile] = []
        while saved.count > 2 { gone.append(.snapshot(saved.removeFirst().number)) }
        guard saved.count == 2, let older = saved.first else { return }
        let removable = sealed.prefix { $0.number < older.number && $0.end <= older.start }
        gone += removable.map { .segment($0.number) }
        sealed.removeFirst(removable.count)
        if !gone.isEmpty { list.append(.disk(.remove(gone))) }
    }
}

extension DiskJob {
    /// What is to be written.
    var bytes: [UInt8] {
        switch self {
        case .commit(let bytes), .segment(_, let bytes), .snapshot(_, let bytes): bytes
        case .findRoom, .finishSnapshot, .dropSnapshot, .remove: []
        }
    }
}
