import CRDT
import Gossip

/// What files of a data directory are made of: a preamble, then records one after the other.
///
/// | preamble | bytes | |
/// |---|---|---|
/// | magic | 8 | `HYPHALOG` or `HYPHASNP` |
/// | version | 4 | of the format |
/// | checksum | 4 | CRC-32C over these 12 bytes |
///
/// | record | bytes | |
/// |---|---|---|
/// | length | 4 | of type and body; zero where nothing was written yet: the end |
/// | checksum | 4 | CRC-32C over type and body |
/// | head checksum | 4 | CRC-32C over the file's number, the record's offset, and the 8 bytes before: a record is valid only where it was written |
/// | type | 1 | `Record.Kind` |
/// | body | the rest | meant for the type |
enum Record {
    /// What a body means. Every kind that a version does not know makes it another version.
    enum Kind: UInt8, CaseIterable {
        /// The first of a segment: `SegmentHead`.
        case head = 1
        /// An entry of a log: 8 of replica, a varint of sequence, the entry.
        case entry
        /// All since the previous one belongs together and is on the disk as soon as this is: `Commit`.
        case commit
        /// A part of a peer's state that was merged at once: its `StatePart`, the part.
        case part
        /// A part of a peer's snapshot, which counts once the heads have come: its `StatePart`, the part.
        case staged
        /// The peer's snapshot is whole: `Heads`. Entries up to there are in its state.
        case adopted
        /// The peer's snapshot broke off: what was staged is void.
        case abandoned
        /// What was collected: a vector.
        case collected
        /// The node starts anew: 8 of the new replica, the vector of what the side that stays had read. Kept facts follow.
        case reset
        /// A kept event: 8 of packed time, 8 of replica, a varint of its number if the side that stays has read it, JSON.
        case keptEvent
        /// A kept write of a document: 8 of packed time, 8 of replica, the document, the change.
        case keptWrite
        /// What was kept was submitted again.
        case resumed
        /// The node goes on with all it has under another id: 8 of the new replica.
        case renewed
        /// The node goes on in a later epoch: a varint.
        case epoch
        /// The durable members known: rumors.
        case members
        /// Ends a snapshot: a varint of how many records came before it.
        case snapshotEnd
    }

    /// The format's version.
    static let version: UInt32 = 1
    static let preambleBytes = 16
    static let headBytes = 12
    /// No record is longer: a frame of a peer is the longest thing that is kept whole.
    static let maximumBytes = 32 << 20

    private static func magic(_ kind: DataFile.Kind) -> StaticString { kind == .segment ? "HYPHALOG" : "HYPHASNP" }

    /// Appends the preamble of a file.
    static func appendPreamble(_ kind: DataFile.Kind, into out: inout [UInt8]) {
        let start = out.count
        out.append(constant: magic(kind))
        out.append(littleEndian: version)
        let sum = CRC32C.sum(out.span.bytes.extracting(start..<out.count))
        out.append(littleEndian: sum)
    }

    /// What a preamble says.
    enum Preamble: Equatable {
        case ours
        case newer(UInt32)
        case damaged
    }

    static func preamble(_ bytes: RawSpan, _ kind: DataFile.Kind) -> Preamble {
        guard bytes.byteCount >= preambleBytes else { return .damaged }
        var cursor = ByteCursor(bytes)
        let magic = magic(kind)
        for i in 0..<8 where (try? cursor.u8(bytes)) != magic.utf8Start[i] { return .damaged }
        guard let version = try? cursor.u32(bytes), let sum = try? cursor.u32(bytes),
            sum == CRC32C.sum(bytes.extracting(0..<12))
        else { return .damaged }
        return version == Self.version ? .ours : version > Self.version ? .newer(version) : .damaged
    }

    /// Starts a record in a file's bytes, of which the first has this offset; returns where it starts. The body follows.
    static func begin(_ kind: Kind, into out: inout [UInt8]) -> Int {
        let start = out.count
        out.append(littleEndian: UInt64(0))
        out.append(littleEndian: UInt32(0))
        out.append(kind.rawValue)
        return start
    }

    /// Ends a record: fills in its head. `base` is the offset in the file of the first of these bytes.
    static func end(_ start: Int, of file: UInt64, base: UInt64, into out: inout [UInt8]) {
        let body = start + headBytes
        let length = UInt32(out.count - body)
        let sum = CRC32C.sum(out.span.bytes.extracting(body..<out.count))
        let check = headSum(length: length, sum: sum, file: file, offset: base + UInt64(start))
        for i in 0..<4 {
            out[start + i] = UInt8(truncatingIfNeeded: length >> (8 * UInt32(i)))
            out[start + 4 + i] = UInt8(truncatingIfNeeded: sum >> (8 * UInt32(i)))
            out[start + 8 + i] = UInt8(truncatingIfNeeded: check >> (8 * UInt32(i)))
        }
    }

    /// The length of the body of a record that was just written.
    static func length(_ bytes: RawSpan, at start: Int) -> Int {
        Int(UInt32(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: start, as: UInt32.self)))
    }

    static func headSum(length: UInt32, sum: UInt32, file: UInt64, offset: UInt64) -> UInt32 {
        var words = (file.littleEndian, offset.littleEndian, (UInt64(sum) << 32 | UInt64(length)).littleEndian)
        return withUnsafeBytes(of: &words) { CRC32C.sum(RawSpan(_unsafeBytes: $0)) }
    }

    /// What a record's head says, if it was written at this offset of this file.
    static func head(_ bytes: RawSpan, at start: Int, file: UInt64, offset: UInt64) -> (length: Int, sum: UInt32)? {
        let length = UInt32(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: start, as: UInt32.self))
        let sum = UInt32(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: start + 4, as: UInt32.self))
        let check = UInt32(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: start + 8, as: UInt32.self))
        guard length >= 1, length <= UInt32(maximumBytes),
            check == headSum(length: length, sum: sum, file: file, offset: offset)
        else { return nil }
        return (Int(length), sum)
    }
}

/// What a segment's first record says.
struct SegmentHead: Equatable {
    /// Who writes the log from here on.
    var replica: ReplicaID
    /// How often it was started.
    var epoch: UInt64
    /// How many commits came before this segment: those beyond it in earlier segments are void.
    var follows: UInt64
    /// How often the node had started anew before this: what it held before the last time is void.
    var resets: UInt64
    /// Something before this was found damaged, and what was lost may still be missing.
    var isLossy: Bool
    /// Somebody has said that the node is to go on without it.
    var isLossAccepted: Bool
    /// The highest packed time given out or seen.
    var lastTime: UInt64
    /// The cluster's name.
    var cluster: String

    func encode(into out: inout [UInt8]) {
        out.append(replica: replica)
        out.append(varint: epoch)
        out.append(varint: follows)
        out.append(varint: resets)
        out.append((isLossy ? 1 : 0) | (isLossAccepted ? 2 : 0))
        out.append(littleEndian: lastTime)
        out.append(text: cluster)
    }

    init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        replica = try cursor.replica(bytes)
        epoch = try cursor.varint(bytes)
        follows = try cursor.varint(bytes)
        resets = try cursor.varint(bytes)
        let flags = try cursor.u8(bytes)
        (isLossy, isLossAccepted) = (flags & 1 != 0, flags & 2 != 0)
        lastTime = try cursor.u64(bytes)
        cluster = try cursor.text(bytes, limit: 256)
    }

    /// What a node says at this moment, whose segments so far hold this many commits.
    init(
        _ settings: NodeSettings, _ cluster: borrowing Cluster, follows: UInt64, resets: UInt64, isLossAccepted: Bool
    ) {
        replica = settings.replica
        epoch = settings.epoch
        self.follows = follows
        self.resets = resets
        isLossy = cluster.isLossy
        self.isLossAccepted = isLossAccepted
        lastTime = cluster.hybrid.last
        self.cluster = settings.cluster
    }
}

/// What ends a batch of records.
struct Commit: Equatable {
    /// Commits are numbered from 1 on, through all segments.
    var number: UInt64
    /// The highest packed time given out or seen when it was written.
    var lastTime: UInt64

    func encode(into out: inout [UInt8]) {
        out.append(varint: number)
        out.append(littleEndian: lastTime)
    }

    init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        number = try cursor.varint(bytes)
        lastTime = try cursor.u64(bytes)
    }

    init(number: UInt64, lastTime: UInt64) {
        self.number = number
        self.lastTime = lastTime
    }
}
