internal import Glibc
internal import NodeCore

/// Carries out what a durable node wants done to its data directory, one job after the other. Nothing here decides: what
/// is written, and when, is the core's business.
///
/// It keeps room ahead of the end of the newest segment, so that "disk full" is known before the last byte is written.
/// After a failed sync nothing is known about what the disk holds (Rebello et al., "Can Applications Recover from fsync
/// Failures?", ATC 2020): then it does nothing more, and the process has to end.
struct DiskWriter<Calls: FileCalls>: Sendable {
    /// How much room is kept ahead.
    struct Room: Sendable {
        /// Room is taken in steps of so many bytes, or of a quarter where the file system has no more.
        var step = 4 << 20
        /// Less than this ahead of the end, and the disk counts as full: enough for what is under way at that moment.
        var least: Int { step / 4 }
        /// A full disk has room again once this much could be taken ahead of the end: above `least`, or a disk at its
        /// brim would go to and fro.
        var enough: Int { step / 2 }
    }

    /// A file that bytes are appended to.
    private struct Open {
        let name: String
        let file: Int32
        /// Where the next bytes go.
        var end = 0
        /// Room is taken up to here.
        var reserved = 0
    }

    /// A snapshot that is not finished.
    private struct Draft {
        let number: UInt64
        /// Nil once something of it could not be written: then nothing of it is left.
        var open: Open?
        var unsynced = 0
        var problem = ""
    }

    /// A call that failed, with the file it was about.
    private struct Refusal: Error {
        let call: String
        let name: String
        let code: SystemCode
    }

    /// A snapshot is synced as it grows, each time so many bytes are new: one sync of all of it at its end would keep the
    /// log waiting for seconds.
    private static var snapshotStep: Int { 1 << 20 }

    private let calls: Calls
    private let directory: String
    private let room: Room
    private let clock: @Sendable () -> UInt64
    private var segment: Open?
    private var draft: Draft?
    /// Whether the file system can take room ahead; if not, its free bytes are looked at instead.
    private var canReserve = true
    /// There was less than `least` ahead, and not `enough` since.
    private var isBrim = false
    /// The disk failed: nothing is done any more.
    private(set) var hasFailed = false
    /// What was done so far.
    private(set) var health = DiskHealth()

    /// Writes through `calls`; `directory` is the path for messages, `clock` counts microseconds.
    init(_ calls: Calls, directory: String, room: Room = Room(), clock: @escaping @Sendable () -> UInt64) {
        self.calls = calls
        self.directory = directory
        self.room = room
        self.clock = clock
    }

    /// To be called before the directory is read, with the segment that an earlier process wrote last: of what that
    /// process had not synced, the node must not go on from bytes, or names, that a loss of power could still take away.
    func settle(_ newest: DataFile) throws(StoreError) {
        do throws(Refusal) {
            try retrying("fdatasync", newest.name) { () throws(SystemCode) in try calls.settle(newest.name) }
            try retrying("fsync", ".") { () throws(SystemCode) in try calls.syncDirectory() }
        } catch {
            throw StoreError(.unreadable, "\(words(error)); see to the disk, then start the node again")
        }
    }

    /// Does one job. Nil for jobs that have no answer, and for all after `failed`.
    mutating func perform(_ job: DiskJob) -> DiskResult? {
        guard !hasFailed else { return nil }
        defer { health.reservedBytes = segment.map { $0.reserved - $0.end } ?? 0 }
        switch job {
        case .commit(let bytes): return answer { (me) throws(Refusal) in try me.commit(bytes) }
        case .segment(let number, let bytes):
            return answer { (me) throws(Refusal) in try me.begin(DataFile.segment(number).name, bytes) }
        case .findRoom: return answer { (me) throws(Refusal) in .room(try me.findRoom()) }
        case .snapshot(let number, let bytes): extend(number, bytes)
        case .finishSnapshot(let number): return finish(number)
        case .dropSnapshot(let number): if draft?.number == number { dropDraft() }
        case .remove(let files):
            // In order: what comes back after a power loss must not have a hole in it.
            for file in files {
                remove(file.name)
                try? calls.syncDirectory()
            }
        }
        return nil
    }

    /// Gives back what is reserved and all descriptors. Nothing can be asked for afterwards.
    mutating func close() {
        dropDraft()
        seal(segment)
        segment = nil
    }

    private mutating func answer(_ work: (inout Self) throws(Refusal) -> DiskResult) -> DiskResult {
        do throws(Refusal) {
            let result = try work(&self)
            if case .full = result { health.refusals += 1 }
            return result
        } catch {
            hasFailed = true
            return .failed(words(error))
        }
    }

    private func words(_ refusal: Refusal) -> String {
        "\(refusal.call) of \(directory)/\(refusal.name): \(systemMessage(refusal.code.number))"
    }

    // MARK: - The log

    private mutating func commit(_ bytes: [UInt8]) throws(Refusal) -> DiskResult {
        precondition(segment != nil, "the first job of a node is to begin a segment")
        var open = segment!
        let isDone = try append(bytes, to: &open)
        segment = open
        return isDone ? .committed(hasRoom: hasRoom(ahead: open.reserved - open.end)) : .full
    }

    /// Writes the bytes behind the end and syncs them; false if there is no room, and then the file ends where it did.
    private mutating func append(_ bytes: [UInt8], to open: inout Open) throws(Refusal) -> Bool {
        guard try makeRoom(for: bytes.count, in: &open) else { return false }
        do throws(Refusal) {
            try write(bytes, to: open)
            try sync(open)
        } catch {
            guard error.code.isFull else { throw error }
            // What the system may have lost of the last block is written again with the next bytes.
            try truncate(&open)
            return false
        }
        open.end += bytes.count
        return true
    }

    private mutating func begin(_ name: String, _ bytes: [UInt8]) throws(Refusal) -> DiskResult {
        var next = try beginFile(name, bytes)
        if next == nil, var old = segment {
            // The room that the old segment has ahead may be all that there is.
            try truncate(&old)
            segment = old
            next = try beginFile(name, bytes)
        }
        guard let next else { return .full }
        seal(segment)
        segment = next
        return .committed(hasRoom: hasRoom(ahead: next.reserved - next.end))
    }

    /// A new file with these bytes, it and its name synced; nil if there is no room, and then there is no such file.
    private mutating func beginFile(_ name: String, _ bytes: [UInt8]) throws(Refusal) -> Open? {
        let file: Int32
        do throws(Refusal) {
            file = try create(name)
        } catch {
            guard error.code.isFull else { throw error }
            return nil
        }
        var open = Open(name: name, file: file)
        if try append(bytes, to: &open) {
            do throws(Refusal) {
                try syncDirectory()
                return open
            } catch {
                guard error.code.isFull else { throw error }
            }
        }
        calls.close(file)
        try retrying("unlink", name) { () throws(SystemCode) in try calls.remove(name) }
        return nil
    }

    /// Ends a segment. Its room goes back; if it does not, what it holds too much is zeros, which readers expect.
    private func seal(_ open: Open?) {
        guard let open else { return }
        if open.reserved > open.end { try? calls.truncate(open.file, to: open.end) }
        calls.close(open.file)
    }

    // MARK: - Room

    /// Takes room for so many bytes behind the end, and for some more ahead of those if there is any. False if not even
    /// the bytes fit.
    private mutating func makeRoom(for count: Int, in open: inout Open) throws(Refusal) -> Bool {
        let needed = open.end + count
        if open.reserved - needed >= room.enough { return true }
        for ahead in [room.step, room.enough, room.least, 0] {
            if try reserve(upTo: needed + ahead, in: &open) { return true }
        }
        return false
    }

    /// Whether so much ahead of the end is room for more.
    private mutating func hasRoom(ahead: Int) -> Bool {
        isBrim = ahead < (isBrim ? room.enough : room.least)
        return !isBrim
    }

    private mutating func findRoom() throws(Refusal) -> Bool {
        if var open = segment {
            defer { segment = open }
            _ = try reserve(upTo: open.end + room.enough, in: &open)
            return hasRoom(ahead: open.reserved - open.end)
        }
        // No segment yet: a file that is gone again at once tells it.
        let name = "room.tmp"
        try? calls.remove(name)
        var trial: Open
        do throws(Refusal) {
            trial = Open(name: name, file: try create(name))
        } catch {
            guard error.code.isFull else { throw error }
            return false
        }
        defer {
            calls.close(trial.file)
            try? calls.remove(name)
        }
        return try reserve(upTo: room.enough, in: &trial)
    }

    /// Whether room is taken up to that offset; if not, what was taken beyond what there was is given back.
    private mutating func reserve(upTo wanted: Int, in open: inout Open) throws(Refusal) -> Bool {
        if wanted <= open.reserved { return true }
        let from = open.reserved
        let file = open.file
        if canReserve {
            do throws(Refusal) {
                try retrying("posix_fallocate", open.name) { () throws(SystemCode) in
                    try calls.reserve(file, from: from, count: wanted - from)
                }
                open.reserved = wanted
                return true
            } catch {
                if error.code.isFull {
                    try retrying("ftruncate", open.name) { () throws(SystemCode) in
                        try calls.truncate(file, to: from)
                    }
                    return false
                }
                guard error.code.isUnsupported else { throw error }
                canReserve = false
            }
        }
        var free = 0
        try retrying("statvfs", open.name) { () throws(SystemCode) in free = try calls.freeBytes() }
        guard free >= wanted - open.end else { return false }
        open.reserved = wanted
        return true
    }

    // MARK: - Snapshots

    private mutating func extend(_ number: UInt64, _ bytes: [UInt8]) {
        if draft?.number != number {
            dropDraft()
            draft = Draft(number: number)
            let name = DataFile.snapshot(number).name + ".tmp"
            try? calls.remove(name)
            do throws(Refusal) {
                draft!.open = Open(name: name, file: try create(name))
            } catch {
                draft!.problem = words(error)
            }
        }
        guard var open = draft!.open else { return }
        do throws(Refusal) {
            try write(bytes, to: open)
            open.end += bytes.count
            draft!.open = open
            draft!.unsynced += bytes.count
            if draft!.unsynced >= Self.snapshotStep {
                try sync(open)
                draft!.unsynced = 0
            }
        } catch {
            giveUpDraft(error)
        }
    }

    private mutating func finish(_ number: UInt64) -> DiskResult {
        if draft?.number != number {
            dropDraft()
            draft = Draft(number: number, problem: "nothing of it was written")
        }
        let name = DataFile.snapshot(number).name
        if let open = draft!.open {
            do throws(Refusal) {
                try sync(open)
                try retrying("rename", open.name) { () throws(SystemCode) in
                    try calls.rename(open.name, to: name)
                }
                do throws(Refusal) {
                    try syncDirectory()
                } catch {
                    try? calls.remove(name)
                    throw error
                }
                calls.close(open.file)
                draft = nil
                health.snapshots += 1
                return .snapshotSaved(number)
            } catch {
                giveUpDraft(error)
            }
        }
        let problem = draft!.problem
        draft = nil
        health.snapshotsLost += 1
        return .snapshotLost(number, problem)
    }

    private mutating func giveUpDraft(_ refusal: Refusal) {
        let number = draft!.number
        dropDraft()
        draft = Draft(number: number, problem: words(refusal))
    }

    private mutating func dropDraft() {
        if let open = draft?.open {
            calls.close(open.file)
            try? calls.remove(open.name)
        }
        draft = nil
    }

    private mutating func remove(_ name: String) {
        do throws(SystemCode) {
            try calls.remove(name)
        } catch {
            if error.number != ENOENT { health.unremoved += 1 }
        }
    }

    // MARK: - Calls

    private func create(_ name: String) throws(Refusal) -> Int32 {
        var file: Int32 = -1
        try retrying("open", name) { () throws(SystemCode) in file = try calls.create(name) }
        return file
    }

    private mutating func write(_ bytes: [UInt8], to open: Open) throws(Refusal) {
        let span = bytes.span.bytes
        var done = 0
        while done < span.byteCount {
            do throws(SystemCode) {
                let count = try calls.write(open.file, span.extracting(droppingFirst: done), at: open.end + done)
                // A disk that takes nothing and says nothing is one that has no room.
                if count == 0 { throw SystemCode(number: ENOSPC) }
                done += count
            } catch {
                if error.number == EINTR { continue }
                throw Refusal(call: "write", name: open.name, code: error)
            }
        }
        health.bytesWritten += bytes.count
    }

    private mutating func sync(_ open: Open) throws(Refusal) {
        let start = clock()
        try retrying("fdatasync", open.name) { () throws(SystemCode) in try calls.sync(open.file) }
        health.syncs.observe(clock() &- start)
    }

    private mutating func syncDirectory() throws(Refusal) {
        let start = clock()
        try retrying("fsync", ".") { () throws(SystemCode) in try calls.syncDirectory() }
        health.syncs.observe(clock() &- start)
    }

    /// Cuts off what lies behind the end, and the room with it.
    private func truncate(_ open: inout Open) throws(Refusal) {
        let (file, end) = (open.file, open.end)
        try retrying("ftruncate", open.name) { () throws(SystemCode) in try calls.truncate(file, to: end) }
        open.reserved = end
    }

    private func retrying(_ call: String, _ name: String, _ work: () throws(SystemCode) -> Void) throws(Refusal) {
        while true {
            do throws(SystemCode) {
                return try work()
            } catch {
                if error.number != EINTR { throw Refusal(call: call, name: name, code: error) }
            }
        }
    }
}
