import CRDT
import Gossip

/// Building a node up again from its data directory: the newest good snapshot, and every commit since.
///
/// A batch of records counts once its commit is there. At the very end one may be torn: it was never synced, nothing of
/// it has left, and it is dropped. Anything else that is not as it was written is damage. What can be read is read all
/// the same, around the holes; the node goes on under a new id, and a peer is asked for what is lost.
struct Recovery {
    /// A segment and what its head says; nil where that cannot be read.
    private struct Segment {
        let file: DataFile
        let size: UInt64
        let head: SegmentHead?
    }

    /// Records up to a commit.
    private struct Batch {
        var records: [(kind: Record.Kind, body: Range<Int>)] = []
        /// The first thing in it that is not a record.
        var damagedAt: UInt64?
        var commit: Commit?
    }

    /// The node as far as it was read.
    private(set) var core: NodeCore
    private var segments: [Segment] = []
    /// Snapshots, the newest first.
    private var snapshots: [(file: DataFile, size: UInt64)] = []
    private var found = Journal.Found()
    private(set) var epoch: UInt64 = 0
    /// The heads of the snapshot that was read, while the segments before it are, and the running hashes there.
    private var state: VersionVector?
    private var stateHashes: [UInt64] = []
    /// How often the node had started anew when the snapshot was taken.
    private var stateResets: UInt64 = 0
    private var staged: [NodeCore.Part] = []
    private var remembered: [Member] = []
    /// The last commit read, unless none was.
    private var lastCommit: UInt64?
    /// What is lost, in one sentence each.
    private(set) var damage: [String] = []
    /// Something is lost since some time, and whether somebody has said that it may be.
    private(set) var isLossy = false
    private var isLossAccepted = false
    private var damagedFiles: Set<DataFile> = []
    /// Worth saying of a file, but nothing is lost.
    private(set) var notes: [(file: DataFile, text: String)] = []
    /// The last commit was not whole.
    private(set) var isTorn = false
    /// Bytes to read in all, and read so far.
    private var total: UInt64 = 0
    private var done: UInt64 = 0
    private let now: Instant

    /// Looks at what is there, without reading more than the beginnings.
    init(
        _ settings: NodeSettings, _ directory: inout some DataDirectory, _ opening: NodeCore.Opening, wallMs: UInt64,
        now: Instant, dice: Dice
    ) throws(StoreError) {
        self.now = now
        var segments: [Segment] = []
        var snapshots: [(file: DataFile, size: UInt64)] = []
        for file in try directory.files() {
            let size = try directory.size(of: file)
            switch file.kind {
            case .segment:
                let head = try Self.head(of: file, size, &directory)
                segments.append(Segment(file: file, size: size, head: head))
                total += size
            case .snapshot: snapshots.append((file, size))
            }
        }
        self.segments = segments
        self.snapshots = snapshots.reversed()
        if let other = segments.compactMap(\.head?.cluster).first(where: { $0 != settings.cluster }) {
            throw StoreError(
                .otherCluster,
                "the data belong to the cluster \"\(other)\", not to \"\(settings.cluster)\"; start the node with "
                    + "--cluster \(other), or with another --data directory")
        }
        var settings = settings
        settings.replica = segments.compactMap(\.head?.replica).first ?? opening.freshReplica
        core = NodeCore(durable: settings, wallMs: wallMs, now: now, dice: dice)
        found.segment = max(segments.last?.file.number ?? 0, snapshots.last?.file.number ?? 0)
    }

    private static func head(
        of file: DataFile, _ size: UInt64, _ directory: inout some DataDirectory
    ) throws(StoreError) -> SegmentHead? {
        var reader = RecordReader(file, size: size)
        try checkVersion(try reader.preamble(&directory), file)
        guard case .record(.head, let body) = try reader.next(&directory) else { return nil }
        let window = reader.window
        var cursor = ByteCursor(reader.place(body))
        return try? SegmentHead(&cursor, window.span.bytes)
    }

    private static func checkVersion(_ preamble: Record.Preamble, _ file: DataFile) throws(StoreError) {
        guard case .newer(let version) = preamble else { return }
        throw StoreError(
            .newerFormat,
            "\(file) was written in version \(version) of the format, and this build of Hypha reads up to version "
                + "\(Record.version); start the node with the newer build that wrote it")
    }

    // MARK: - Reading

    /// Reads everything.
    mutating func read(
        _ directory: inout some DataDirectory, _ progress: (_ done: UInt64, _ of: UInt64) -> Void
    ) throws(StoreError) {
        let first = try readSnapshot(&directory)
        for at in segments.indices {
            if let before = segments.indices.contains(at - 1) ? segments[at - 1].file.number : nil,
                segments[at].file.number != before + 1
            {
                lose("the segments between \(segments[at - 1].file) and \(segments[at].file) are missing", nil)
            }
            if let first, segments[at].file.number >= first { endState() }
            try read(at, &directory, progress)
            found.sealed.append(Journal.Sealed(number: segments[at].file.number, end: core.cluster.log.end))
        }
        endState()
        if let first, first > segments.last?.file.number ?? 0 {
            lose("the segment \(DataFile.segment(first)) that follows the newest snapshot is missing", nil)
        }
    }

    /// Reads the newest snapshot that is whole; the number of the first segment that is not in it.
    private mutating func readSnapshot(_ directory: inout some DataDirectory) throws(StoreError) -> UInt64? {
        let empty = core
        var first: UInt64?
        for (file, size) in snapshots {
            guard first == nil else {
                // Older ones are kept in case that the newer one goes bad.
                found.saved.insert(Journal.Saved(number: file.number, start: 0, bytes: Int(size)), at: 0)
                continue
            }
            if let problem = try load(file, size, &directory) {
                notes.append((file, "\(file) is damaged (\(problem)); what came before it is used instead"))
                damagedFiles.insert(file)
                core = empty
                (state, remembered) = (nil, [])
                continue
            }
            first = file.number
            // What was held then is what follows; before it are only the numbers of dropped entries.
            let start = core.cluster.log.end
            found.saved.insert(Journal.Saved(number: file.number, start: start, bytes: Int(size)), at: 0)
        }
        if first == nil, let oldest = segments.first, oldest.file.number > 1 {
            lose("the state before \(oldest.file) is lost: there is no snapshot that is whole", nil)
        }
        return first
    }

    /// Loads a snapshot; what is wrong with it, or nil.
    private mutating func load(
        _ file: DataFile, _ size: UInt64, _ directory: inout some DataDirectory
    ) throws(StoreError) -> String? {
        var reader = RecordReader(file, size: size)
        let preamble = try reader.preamble(&directory)
        try Self.checkVersion(preamble, file)
        guard preamble == .ours else { return "its beginning cannot be read" }
        var records = 0
        var heads = VersionVector()
        while true {
            switch try reader.next(&directory) {
            case .damage(let at, let bytes): return "\(bytes) bytes at offset \(at)"
            case .end: return "its end is missing"
            case .record(let kind, let body):
                let window = reader.window
                let bytes = window.span.bytes
                let body = reader.place(body)
                var cursor = ByteCursor(body)
                do throws(DecodeError) {
                    switch kind {
                    case .head:
                        let head = try SegmentHead(&cursor, bytes)
                        core.settings.replica = head.replica
                        if head.replica != core.cluster.log.me { core.cluster.beginLog(head.replica) }
                        core.cluster.observe(head.lastTime)
                        (epoch, isLossy, isLossAccepted) = (head.epoch, head.isLossy, head.isLossAccepted)
                        stateResets = head.resets
                    case .adopted:
                        let read = try Heads(&cursor, bytes)
                        try core.cluster.restore(read, hasHoles: isLossy)
                        heads = read.heads
                        stateHashes.removeAll()
                        for _ in heads.entries { stateHashes.append(try cursor.u64(bytes)) }
                    case .members: try readMembers(bytes.extracting(body))
                    case .part: try readPart(bytes.extracting(body), isFromOwnDisk: true)
                    case .snapshotEnd:
                        guard try cursor.varint(bytes) == UInt64(records) else { return "records are missing" }
                        state = heads
                        core.folded = heads
                        return nil
                    case .entry, .commit, .staged, .abandoned, .collected, .reset, .keptEvent, .keptWrite, .resumed,
                        .renewed, .epoch:
                        return "a \(kind) record does not belong there"
                    }
                } catch {
                    return "\(error)"
                }
                records += 1
                reader.release()
            }
        }
    }

    /// The segments were read that came before the snapshot.
    private mutating func endState() {
        guard let heads = state else { return }
        state = nil
        core.folded = nil
        if !core.cluster.endState(heads, hashes: stateHashes) {
            lose("entries that came before the newest snapshot are missing", nil)
        }
    }

    /// Reads one segment.
    private mutating func read(
        _ at: Int, _ directory: inout some DataDirectory, _ progress: (UInt64, UInt64) -> Void
    ) throws(StoreError) {
        let segment = segments[at]
        // Commits beyond what the next segment follows were torn when that one was begun.
        let limit = segments[(at + 1)...].lazy.compactMap(\.head?.follows).first
        if let head = segment.head {
            if lastCommit == nil { lastCommit = head.follows }
            found.resets = head.resets
            if state == nil { enter(head) }
        }
        var reader = RecordReader(segment.file, size: segment.size)
        let preamble = try reader.preamble(&directory)
        var batch = Batch()
        // A batch with a hole in it, whose commit is there: torn if nothing comes after it.
        var doubtful: Batch?
        var commits = 0
        if segment.head == nil || preamble != .ours { batch.damagedAt = 0 }
        reading: while true {
            switch try reader.next(&directory) {
            case .end: break reading
            case .damage(let offset, _): batch.damagedAt = batch.damagedAt ?? offset
            case .record(.commit, let body):
                let window = reader.window
                var cursor = ByteCursor(reader.place(body))
                guard let commit = try? Commit(&cursor, window.span.bytes) else {
                    batch.damagedAt = batch.damagedAt ?? reader.offset
                    continue
                }
                if let limit, commit.number > limit { break reading }
                batch.commit = commit
                commits += 1
                if let before = doubtful { apply(before, reader, segment.file) }
                doubtful = nil
                if batch.damagedAt == nil { apply(batch, reader, segment.file) } else { doubtful = batch }
                batch = Batch()
                if doubtful == nil {
                    progress(done + reader.offset, total)
                    reader.release()
                }
            case .record(let kind, let body): batch.records.append((kind, body))
            }
        }
        if let before = doubtful {
            if let limit, limit >= before.commit?.number ?? 0 {
                apply(before, reader, segment.file)
            } else {
                tear(segment.file, before.damagedAt ?? 0)
            }
        }
        if let limit, let last = lastCommit, last < limit {
            lose("commits \(last + 1) to \(limit) at the end of \(segment.file) are missing", segment.file)
            lastCommit = limit
        } else if limit == nil, !batch.records.isEmpty || batch.damagedAt != nil, segment.head != nil || commits > 0 {
            tear(segment.file, batch.damagedAt ?? reader.offset)
        } else if segment.head == nil, commits == 0 {
            notes.append((segment.file, "\(segment.file) was begun and not finished; nothing is in it"))
        }
        done += segment.size
        found.bytesSinceSnapshot += Int(reader.offset)
        if state != nil { found.bytesSinceSnapshot = 0 }
        progress(done, total)
    }

    private mutating func enter(_ head: SegmentHead) {
        if head.replica != core.cluster.log.me { core.cluster.beginLog(head.replica) }
        core.settings.replica = head.replica
        core.cluster.observe(head.lastTime)
        epoch = head.epoch
        guard head.isLossy else { return }
        // What is lost before this is known.
        damage.removeAll()
        (isLossy, isLossAccepted) = (true, head.isLossAccepted)
    }

    private mutating func tear(_ file: DataFile, _ offset: UInt64) {
        isTorn = true
        notes.append(
            (
                file,
                "\(file) ends in a commit that is not whole, from offset \(offset) on: it was never acknowledged, and is "
                    + "dropped"
            ))
    }

    /// Notes that something is lost.
    private mutating func lose(_ what: String, _ file: DataFile?) {
        if let file { damagedFiles.insert(file) }
        isLossy = true
        isLossAccepted = false
        guard damage.count < Self.maximumDamage else { return }
        damage.append(what)
    }

    /// More than so many places need not be told one by one.
    private static let maximumDamage = 100

    // MARK: - Applying

    private mutating func apply(_ batch: Batch, _ reader: RecordReader, _ file: DataFile) {
        guard let commit = batch.commit else { return }
        if let last = lastCommit, commit.number != last + 1 {
            if commit.number <= last { return }
            lose("commits \(last + 1) to \(commit.number - 1) are missing before \(file)", file)
        }
        if let offset = batch.damagedAt {
            lose("\(file) is damaged at offset \(offset), within commit \(commit.number)", file)
        }
        lastCommit = commit.number
        core.cluster.observe(commit.lastTime)
        let window = reader.window
        for (kind, body) in batch.records {
            do throws(DecodeError) {
                try apply(kind, window.span.bytes.extracting(reader.place(body)))
            } catch {
                lose("a \(kind) record of commit \(commit.number) in \(file) cannot be read (\(error))", file)
            }
        }
    }

    private mutating func apply(_ kind: Record.Kind, _ bytes: RawSpan) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        if state != nil {
            // The snapshot holds what these led to; only the entries themselves are wanted, unless they are void.
            if kind == .reset { found.resets += 1 }
            guard kind == .entry, found.resets == stateResets else { return }
        }
        switch kind {
        case .entry:
            let replica = try cursor.replica(bytes)
            let sequence = try cursor.varint(bytes)
            let entry = bytes.extracting(cursor.offset..<cursor.end)
            switch try core.cluster.restore(replica, sequence, entry, state: state) {
            case .known: break
            case .at(let position): core.readAgain(position)
            case .afterHole(let position):
                lose("entries of log \(replica) before its number \(sequence) are missing", nil)
                core.readAgain(position)
            }
        case .head, .commit: break
        case .part: try readPart(bytes)
        case .staged:
            guard let part = NodeCore.StatePart(rawValue: try cursor.u8(bytes)) else {
                throw .badValue(field: "part of a state")
            }
            let body = bytes.extracting(cursor.offset..<cursor.end).withUnsafeBytes { Array($0) }
            staged.append(NodeCore.Part(part: part, bytes: body))
        case .adopted:
            let heads = try Heads(&cursor, bytes)
            try core.restoreAdoption(staged, heads)
            staged.removeAll()
        case .abandoned: staged.removeAll()
        case .collected: core.cluster.restoreCollected(try VersionVector(&cursor, bytes))
        case .reset:
            let replica = try cursor.replica(bytes)
            let known = try VersionVector(&cursor, bytes)
            core.restoreReset(replica, known: known, remembered: remembered, now: now)
            staged.removeAll()
            found.sealed = found.sealed.map { Journal.Sealed(number: $0.number, end: 0) }
            // Nothing of what came before counts any more.
            found.resets += 1
            damage.removeAll()
            (isLossy, isLossAccepted) = (false, false)
        case .keptEvent:
            let stamp = HybridTimestamp(time: try cursor.u64(bytes), replica: try cursor.replica(bytes))
            let spare = try cursor.varint(bytes)
            let json = bytes.extracting(cursor.offset..<cursor.end).withUnsafeBytes { Array($0) }
            core.anew?.facts.append(.event(json: json, stamp: stamp, spare: spare > 0 ? spare : nil))
        case .keptWrite:
            let stamp = HybridTimestamp(time: try cursor.u64(bytes), replica: try cursor.replica(bytes))
            let (document, changes) = try DocumentMap.decode(bytes.extracting(cursor.offset..<cursor.end))
            for change in changes {
                core.anew?.facts.append(.write(DocumentMap.Write(document: document, change: change, stamp: stamp)))
            }
        case .resumed: core.anew = nil
        case .renewed:
            let replica = try cursor.replica(bytes)
            core.cluster.beginLog(replica)
            core.settings.replica = replica
            epoch = 1
        case .epoch: epoch = max(epoch, try cursor.varint(bytes))
        case .members: try readMembers(bytes)
        case .snapshotEnd: throw .badValue(field: "record in a segment")
        }
    }

    private mutating func readPart(_ bytes: RawSpan, isFromOwnDisk: Bool = false) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        guard let part = NodeCore.StatePart(rawValue: try cursor.u8(bytes)) else {
            throw .badValue(field: "part of a state")
        }
        try core.merge(
            part, bytes.extracting(cursor.offset..<cursor.end), latest: .max, isFromOwnDisk: isFromOwnDisk)
    }

    private mutating func readMembers(_ bytes: RawSpan) throws(DecodeError) {
        remembered = try Membership.remembered(bytes)
        found.members = bytes.withUnsafeBytes { Array($0) }
    }

    // MARK: - Going on

    private static let leastSegmentBytes = 128 << 10

    /// The node, ready to take part.
    mutating func finish(
        _ directory: inout some DataDirectory, _ opening: NodeCore.Opening, now: Instant
    ) throws(StoreError) -> NodeCore {
        for file in damagedFiles.sorted() { try directory.quarantine(file) }
        let isAlone = core.settings.seeds.isEmpty && remembered.isEmpty
        let isAccepted = opening.acceptsLoss || isLossAccepted
        if isLossy, isAlone, !isAccepted {
            throw StoreError(
                .damaged,
                "part of the data is damaged, and no peer is known that could have it: "
                    + (damage.isEmpty ? "as found at an earlier start" : damage.joined(separator: "; "))
                    + ". Start the node with --join and the address of a peer that has the data; or go on with what is "
                    + "left: \(opening.commandToAcceptLoss)")
        }
        let isNew = lastCommit == nil && segments.isEmpty
        // A log of which the end or something in the middle may be lost is closed, unless a peer says how far it went.
        let isRenewed = opening.renewsReplica && !isNew || !damage.isEmpty || isTorn && isAlone
        if isRenewed { epoch = 0 }
        found.commits = lastCommit ?? 0
        var limits = Journal.Limits()
        limits.segmentBytes =
            core.settings.segmentBytes
            ?? min(max(core.settings.replication.retention.bytes / 8, Self.leastSegmentBytes), limits.segmentBytes)
        limits.snapshotEveryBytes = limits.segmentBytes
        core.leftovers = damagedFiles.filter { $0.kind == .snapshot }.sorted()
        core.cluster.setLossy(isLossy, isWaiting: isLossy && !isAccepted)
        core.isLossAccepted = isLossy && isAccepted
        core.hasHoles = core.isLossAccepted
        core.waitsForLost = isLossy && !isAccepted
        if !isRenewed, !isAlone, !isNew {
            core.isTorn = isTorn
            let delays = isTorn ? NodeCore.tornPatience : NodeCore.startPatience
            core.doubtfulUntil = now.advanced(milliseconds: core.settings.profile.repairDelayMs * delays)
        }
        for note in notes { core.opened.append((.warning, note.text)) }
        for what in damage { core.opened.append((.error, "damaged: \(what)")) }
        if core.waitsForLost {
            core.opened.append(
                (
                    .error,
                    "this node serves nothing until it has read from a peer what is lost here; should there be no such "
                        + "peer any more, go on with what is left: \(opening.commandToAcceptLoss)"
                ))
        }
        core.begin(
            Journal(found, cluster: core.settings.cluster, limits: limits),
            replica: isRenewed ? opening.freshReplica : core.settings.replica, epoch: epoch + 1, remembered: remembered,
            now: now)
        if !staged.isEmpty { core.journal?.note(.abandoned) { _ in } }
        return core
    }
}
