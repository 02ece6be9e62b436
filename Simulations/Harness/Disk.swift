internal import Gossip
internal import NodeCore

/// The disk of one machine, which survives the node: what it was told to do, what lies in its cache, and what is on the
/// platter.
///
/// A value with dice of its own; time comes from outside. Jobs are carried out one after the other: `begin` says how
/// long the first of them takes, `complete` carries it out and answers. In between anything can happen to it:
///
/// - `kill` (kill -9): the job under way has reached the cache as far as any prefix of it, all others have not begun.
///   The cache stays.
/// - `losePower`: of what was not synced, any subset of the sectors of 512 bytes is on the platter; of new files whose
///   directory was not synced, any subset; of removals, any first part in their order.
/// - `flipBits`, `loseFile`, `wipe`, `image`: bit rot, a file that is gone, a new disk, a copy of this moment.
///
/// A directory is synced before it is read (`mount`), as a node's shell must do it: what was read from the cache of a
/// killed process could be gone after the next power loss otherwise, behind segments that follow it.
struct Disk: Sendable {
    /// What a power loss leaves whole or not at all.
    static let sectorBytes = 512
    /// So much room is reserved at once.
    static let extensionBytes = 4 << 10

    struct File: Sendable {
        /// What was written, as the process sees it; preallocated zeros follow.
        fileprivate(set) var bytes: [UInt8] = []
        /// So many of them are on the platter.
        fileprivate(set) var synced = 0
        /// The length, with the zeros.
        fileprivate(set) var length = 0
        /// Whether the directory on the platter names it.
        fileprivate var isNamed = false
    }

    /// What somebody who opens the directory now finds.
    private(set) var held: [DataFile: File] = [:]
    /// Removed, and the directory was not synced since.
    private var removed: [(name: DataFile, file: File)] = []
    /// The snapshot that is under way; `isCut` when something of it found no room.
    private var draft: (number: UInt64, bytes: [UInt8], isCut: Bool)?
    /// The segment that commits go to.
    private var current: DataFile?
    /// Files kept aside, and how often somebody asked for that.
    private(set) var quarantined: Set<DataFile> = []

    /// What is still to be done, in order; the first is under way while `isBusy`.
    private var jobs: [DiskJob] = []
    private(set) var isBusy = false
    /// Counts the jobs begun: a moment that was drawn for an earlier one is void.
    private(set) var turn = 0
    /// Answers given: commits and segments that are on the platter, and syncs in all.
    private(set) var syncs = 0

    /// So many bytes fit in all; nil for any number.
    var capacity: Int?
    /// Until then (in microseconds since the world began) a sync is slow; until then none ends.
    var slowUntil: UInt64 = 0
    var stuckUntil: UInt64 = 0
    /// The next sync fails, and what was not synced is in no known state.
    var isFailing = false
    /// Room that is kept ahead of the end of the newest segment.
    let reserveBytes: Int
    /// A sync takes about so long, in microseconds.
    private let usualUs: UInt64
    private var dice: Dice

    init(dice: Dice) {
        self.dice = dice
        usualUs = ([50, 50, 200, 1_000, 4_000] as [UInt64])[Int(self.dice.below(5))]
        reserveBytes = [32 << 10, 128 << 10, 512 << 10][Int(self.dice.below(3))]
    }

    /// Bytes taken, preallocated ones too.
    var usedBytes: Int {
        held.values.reduce(0) { $0 + $1.length } + (draft?.bytes.count ?? 0)
    }

    private var freeBytes: Int { capacity.map { max(0, $0 - usedBytes) } ?? .max / 2 }

    // MARK: Jobs

    /// Takes a job; it begins when those before it are done.
    mutating func take(_ job: DiskJob) { jobs.append(job) }

    /// How much longer a turn of the node's loop lasts, in microseconds; nil when it ends with the input just given.
    mutating func turnUs() -> UInt64? { dice.below(3) == 0 ? dice.below(400) : nil }

    /// Commits and segments that are not answered.
    var commitsWaiting: Int {
        jobs.count { job in
            switch job {
            case .commit, .segment: true
            case .findRoom, .snapshot, .finishSnapshot, .dropSnapshot, .remove: false
            }
        }
    }

    /// Carries out what needs no answer and begins the next job that does: how long that takes, in microseconds; nil
    /// when there is nothing to begin.
    mutating func begin(at now: UInt64) -> UInt64? {
        guard !isBusy else { return nil }
        while let job = jobs.first {
            switch job {
            case .snapshot(let number, let bytes): write(bytes, toDraft: number)
            case .dropSnapshot(let number): if draft?.number == number { draft = nil }
            case .remove(let gone):
                for file in gone {
                    if let old = held.removeValue(forKey: file), old.isNamed { removed.append((file, old)) }
                }
            case .findRoom:
                isBusy = true
                turn += 1
                return 20 + dice.below(100)
            case .commit, .segment, .finishSnapshot:
                isBusy = true
                turn += 1
                return syncUs(at: now)
            }
            jobs.removeFirst()
        }
        return nil
    }

    private mutating func syncUs(at now: UInt64) -> UInt64 {
        if now < slowUntil { return 50_000 + dice.below(450_000) }
        let usual = usualUs + dice.below(usualUs + 1)
        return dice.below(16) == 0 ? usual * (2 + dice.below(8)) : usual
    }

    /// The job under way ends: what became of it.
    mutating func complete() -> DiskResult {
        precondition(isBusy, "nothing is under way")
        isBusy = false
        let job = jobs.removeFirst()
        switch job {
        case .commit, .segment, .finishSnapshot:
            if isFailing {
                isFailing = false
                jobs = []
                spill(job, upTo: nil)
                losePower()
                return .failed("Input/output error (EIO) while syncing")
            }
        case .findRoom, .snapshot, .dropSnapshot, .remove: break
        }
        switch job {
        case .commit(let bytes): return commit(bytes)
        case .segment(let number, let bytes): return makeSegment(number, bytes)
        case .finishSnapshot(let number): return finishSnapshot(number)
        case .findRoom: return .room(reserve())
        case .snapshot, .dropSnapshot, .remove: preconditionFailure("\(job) is answered by nobody")
        }
    }

    private mutating func commit(_ bytes: [UInt8]) -> DiskResult {
        guard let current, append(bytes, to: current) else { return .full }
        sync(current)
        return .committed(hasRoom: reserve())
    }

    private mutating func makeSegment(_ number: UInt64, _ bytes: [UInt8]) -> DiskResult {
        precondition(held[.segment(number)] == nil, "segment \(number) is there already")
        guard bytes.count <= freeBytes else { return .full }
        // A segment that is done with gives its zeros back, or does not.
        if let old = current, let end = held[old]?.bytes.count, dice.below(2) == 0 { held[old]!.length = end }
        let file = DataFile.segment(number)
        held[file] = File(bytes: bytes, length: bytes.count)
        current = file
        sync(file)
        syncDirectory()
        return .committed(hasRoom: reserve())
    }

    /// Appends what fits; nothing if all of it does not.
    private mutating func append(_ bytes: [UInt8], to file: DataFile) -> Bool {
        guard let old = held[file] else { return false }
        let end = old.bytes.count + bytes.count
        guard end - old.length <= freeBytes else { return false }
        held[file]!.bytes += bytes
        held[file]!.length = max(old.length, end)
        return true
    }

    /// Keeps room ahead of the end of the newest segment; whether there is as much as there should be.
    private mutating func reserve() -> Bool {
        guard let current, let file = held[current] else { return freeBytes >= reserveBytes }
        let wanted = file.bytes.count + reserveBytes
        guard wanted > file.length else { return true }
        guard wanted - file.length <= freeBytes else { return false }
        // Extended by more than is needed, so that not every commit does it.
        held[current]!.length = min(wanted + Disk.extensionBytes, file.length + freeBytes)
        return true
    }

    private mutating func sync(_ file: DataFile) {
        held[file]!.synced = held[file]!.bytes.count
        syncs += 1
    }

    private mutating func syncDirectory() {
        for file in held.keys { held[file]!.isNamed = true }
        removed = []
        syncs += 1
    }

    // MARK: Snapshots

    private mutating func write(_ bytes: [UInt8], toDraft number: UInt64) {
        if draft?.number != number { draft = (number, [], false) }
        if bytes.count > freeBytes { draft!.isCut = true } else { draft!.bytes += bytes }
    }

    private mutating func finishSnapshot(_ number: UInt64) -> DiskResult {
        defer { draft = nil }
        guard let draft, draft.number == number else { return .snapshotLost(number, "nothing of it was written") }
        guard !draft.isCut else { return .snapshotLost(number, "No space left on device (ENOSPC)") }
        let file = DataFile.snapshot(number)
        held[file] = File(bytes: draft.bytes, length: draft.bytes.count)
        sync(file)
        syncDirectory()
        return .snapshotSaved(number)
    }

    // MARK: Crashes

    /// The process is killed: the job under way got as far as it got, the others never began.
    mutating func kill() {
        if isBusy, let job = jobs.first { spill(job, upTo: Int(dice.below(1 << 30))) }
        jobs = []
        isBusy = false
        draft = nil
    }

    /// Power is lost, whether or not a process runs.
    mutating func losePower() {
        if isBusy, let job = jobs.first { spill(job, upTo: nil) }
        jobs = []
        isBusy = false
        draft = nil
        // All, none or some: each is likely enough to be seen.
        let odds = dice.below(3)
        func survives(_ dice: inout Dice) -> Bool { odds == 2 || odds == 1 && dice.below(2) == 0 }
        for name in held.keys.sorted() {
            guard let file = held[name] else { continue }
            if !file.isNamed, !survives(&dice) {
                held[name] = nil
                continue
            }
            held[name]!.isNamed = true
            guard file.synced < file.bytes.count else { continue }
            var bytes = Array(file.bytes[..<file.synced])
            var from = file.synced
            while from < file.bytes.count {
                let end = min((from / Disk.sectorBytes + 1) * Disk.sectorBytes, file.bytes.count)
                if survives(&dice) {
                    bytes += [UInt8](repeating: 0, count: from - bytes.count) + file.bytes[from..<end]
                }
                from = end
            }
            // The new length may have reached the platter without all that is in it.
            if bytes.count < file.bytes.count, dice.below(2) == 0 {
                bytes += [UInt8](repeating: 0, count: file.bytes.count - bytes.count)
            }
            held[name]!.length = max(bytes.count, dice.below(2) == 0 ? file.length : 0)
            held[name]!.bytes = bytes
            held[name]!.synced = bytes.count
        }
        // File systems keep the order of removals, so those that come back are the last ones.
        let gone = odds == 1 ? Int(dice.below(UInt64(removed.count + 1))) : odds == 2 ? removed.count : 0
        for (name, file) in removed[gone...] { held[name] = file }
        removed = []
        current = nil
    }

    /// What a job writes before it is synced: so much of it, or all.
    private mutating func spill(_ job: DiskJob, upTo count: Int?) {
        func part(_ bytes: [UInt8]) -> [UInt8] { count.map { Array(bytes.prefix($0 % (bytes.count + 1))) } ?? bytes }
        switch job {
        case .commit(let bytes):
            if let current { _ = append(part(bytes), to: current) }
        case .segment(let number, let bytes):
            let bytes = part(bytes)
            guard bytes.count <= freeBytes, count.map({ $0 % 4 > 0 }) ?? true else { return }
            held[.segment(number)] = File(bytes: bytes, length: bytes.count)
            current = .segment(number)
        case .finishSnapshot(let number):
            // It takes its name only when all of it is synced, so it is there or not.
            guard let draft, draft.number == number, !draft.isCut, dice.below(2) == 0 else { return }
            let bytes = draft.bytes
            held[.snapshot(number)] = File(bytes: bytes, synced: bytes.count, length: bytes.count)
        case .findRoom, .snapshot, .dropSnapshot, .remove: break
        }
    }

    /// A node is about to read what is here: everything in the cache is synced first.
    mutating func mount() {
        precondition(!isBusy && jobs.isEmpty, "one node at a time has a data directory")
        for file in held.keys { held[file]!.synced = held[file]!.bytes.count }
        for file in held.keys { held[file]!.isNamed = true }
        removed = []
        current = nil
        draft = nil
    }

    // MARK: Harm

    /// So many bits of any files change by themselves; whether there were any files.
    mutating func flipBits(_ count: Int) -> Bool {
        let names = held.keys.sorted()
        let total = names.reduce(0) { $0 + held[$1]!.length }
        guard total > 0 else { return false }
        for _ in 0..<count {
            var at = Int(dice.below(UInt64(total)))
            for name in names {
                let length = held[name]!.length
                guard at >= length else {
                    flip(name, at: at, bit: UInt8(dice.below(8)))
                    break
                }
                at -= length
            }
        }
        return true
    }

    /// Flips one bit of one file.
    mutating func flip(_ file: DataFile, at: Int, bit: UInt8) {
        let zeros = max(0, at + 1 - (held[file]?.bytes.count ?? 0))
        held[file]!.bytes += [UInt8](repeating: 0, count: zeros)
        held[file]!.synced = held[file]!.bytes.count
        held[file]!.bytes[at] ^= 1 << bit
    }

    /// Any one file is gone; which, nil when there is none.
    mutating func loseFile() -> DataFile? {
        let names = held.keys.sorted()
        guard !names.isEmpty else { return nil }
        let name = names[Int(dice.below(UInt64(names.count)))]
        held[name] = nil
        return name
    }

    /// The machine has a new, empty disk.
    mutating func wipe() {
        (held, removed, draft, current, quarantined) = ([:], [], nil, nil, [])
    }

    /// What a copy made at this moment holds: as if power were lost in it.
    mutating func image() -> Disk {
        var copy = self
        copy.dice = Dice(seed: dice.next())
        (copy.capacity, copy.slowUntil, copy.stuckUntil, copy.isFailing) = (nil, 0, 0, false)
        copy.losePower()
        return copy
    }

    /// The same files on another machine's disk, in place of what was there.
    mutating func adopt(_ image: Disk) {
        wipe()
        held = image.held
    }
}

extension Disk: DataDirectory {
    mutating func files() throws(StoreError) -> [DataFile] { held.keys.sorted() }

    mutating func size(of file: DataFile) throws(StoreError) -> UInt64 { UInt64(try existing(file).length) }

    mutating func read(_ file: DataFile, from offset: UInt64, count: Int) throws(StoreError) -> [UInt8] {
        let found = try existing(file)
        let start = Int(min(offset, UInt64(found.length)))
        let end = start + min(count, found.length - start)
        let written = start < found.bytes.count ? Array(found.bytes[start..<min(end, found.bytes.count)]) : []
        return written + [UInt8](repeating: 0, count: end - start - written.count)
    }

    mutating func quarantine(_ file: DataFile) throws(StoreError) {
        _ = try existing(file)
        quarantined.insert(file)
    }

    private func existing(_ file: DataFile) throws(StoreError) -> File {
        guard let found = held[file] else { throw StoreError(.unreadable, "\(file): No such file (ENOENT)") }
        return found
    }
}
