/// A version vector in few bytes, as clients carry it: "I have seen what is in these logs up to here".
///
/// The same form serves the header `Hypha-Clock` and the cursors of subscriptions. As text it is base64url without
/// padding (RFC 4648, section 5), so it fits into a header, a URL and JSON as it is. Decoded:
///
/// | bytes  | field                                                                                  |
/// |--------|----------------------------------------------------------------------------------------|
/// | 1      | version, 1                                                                             |
/// |        | then for each log, by rising prefix:                                                   |
/// | 1      | how many bytes of the replica id follow, 4 to 8                                        |
/// | 4–8    | the first bytes of the replica id, as its hexadecimal digits begin                     |
/// | varint | the last sequence number read                                                          |
///
/// **Prefixes.** Whoever makes one from a vector writes as much of each id as tells it from the other logs in that
/// vector, and at least four bytes. A reader may know other logs: an entry counts as read only once *every* log known
/// here that begins with its prefix was read that far, and at least one does. So with two logs that fit one may wait for
/// the wrong one, but is never told too early.
///
/// **Bound.** 8 KiB of text, about 680 logs. Who makes a longer one leaves logs out, which promises less about those
/// and is never wrong about the others (`shorten`); a longer text is refused.
public struct CompactVector: Mergeable, Hashable, Sendable {
    /// One log, named by the beginning of its id, and how far it was read.
    public struct Entry: Hashable, Sendable, CustomStringConvertible {
        /// The first bytes of the replica id in the upper bytes; the others are zero.
        public let prefix: UInt64
        /// How many bytes of the id are given, 4 to 8.
        public let prefixBytes: UInt8
        /// The last sequence number read.
        public let sequence: UInt64

        /// The beginning of `replica`, as far as it is given.
        public init(_ replica: ReplicaID, bytes: UInt8 = 8, sequence: UInt64) {
            precondition(CompactVector.prefixLengths.contains(bytes), "a prefix of \(bytes) bytes")
            prefix = replica.rawValue & Self.mask(bytes)
            prefixBytes = bytes
            self.sequence = sequence
        }

        /// Whether this may mean that log.
        public func matches(_ replica: ReplicaID) -> Bool { replica.rawValue & Self.mask(prefixBytes) == prefix }

        /// Whether every log of `vector` that this may mean was read as far, and there is one.
        public func isRead(in vector: VersionVector) -> Bool {
            let logs = logs(in: vector)
            return !logs.isEmpty && logs.allSatisfy { $0.sequence >= sequence }
        }

        /// Whether some log of `vector` that this may mean was read as far.
        public func isReadSomewhere(in vector: VersionVector) -> Bool {
            logs(in: vector).contains { $0.sequence >= sequence }
        }

        /// The logs of `vector` that this may mean: they stand side by side.
        private func logs(in vector: VersionVector) -> ArraySlice<VersionVector.Entry> {
            let entries = vector.entries
            var (at, high) = (0, entries.count)
            while at < high {
                let middle = (at + high) / 2
                if entries[middle].replica.rawValue < prefix { at = middle + 1 } else { high = middle }
            }
            return entries[at...].prefix { matches($0.replica) }
        }

        /// The digits of the prefix and the number, for messages: `9f3c21aa up to 17`.
        public var description: String {
            "\(hexadecimal(prefix, digits: 16).prefix(Int(prefixBytes) * 2)) up to \(sequence)"
        }

        static func mask(_ bytes: UInt8) -> UInt64 { ~0 << (64 - UInt64(bytes) * 8) }

        /// Bytes in the encoding, before base64.
        var byteCount: Int { 1 + Int(prefixBytes) + max(1, (64 - sequence.leadingZeroBitCount + 6) / 7) }

        fileprivate static func isBefore(_ a: Entry, _ b: Entry) -> Bool {
            (a.prefix, a.prefixBytes) < (b.prefix, b.prefixBytes)
        }
    }

    /// The most bytes of text.
    public static let maximumTextBytes = 8 << 10
    /// The most bytes before base64.
    static let maximumBytes = maximumTextBytes / 4 * 3
    static let version: UInt8 = 1
    static let prefixLengths: ClosedRange<UInt8> = 4...8

    /// By rising prefix, the shorter first; each prefix of one length once.
    public private(set) var entries: [Entry] = []

    /// Nothing read.
    public init() {}

    /// One log, by its whole id.
    public init(_ replica: ReplicaID, sequence: UInt64) { entries = [Entry(replica, sequence: sequence)] }

    /// A whole vector, each log by as much of its id as tells it from the others.
    public init(_ vector: VersionVector) {
        let logs = vector.entries
        entries.reserveCapacity(logs.count)
        for i in logs.indices {
            // Ids are in order, so the one that shares most with this one stands beside it.
            var shared = 0
            let id = logs[i].replica.rawValue
            if i > 0 { shared = (id ^ logs[i - 1].replica.rawValue).leadingZeroBitCount }
            if i + 1 < logs.count { shared = max(shared, (id ^ logs[i + 1].replica.rawValue).leadingZeroBitCount) }
            let bytes = max(Self.prefixLengths.lowerBound, UInt8(shared / 8 + 1))
            entries.append(Entry(logs[i].replica, bytes: bytes, sequence: logs[i].sequence))
        }
    }

    private init(_ entries: [Entry]) { self.entries = entries }

    /// Whether it asks for nothing.
    public var isEmpty: Bool { entries.isEmpty }

    /// Joins `other` into `self`: what either has read. Reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing CompactVector) -> Bool {
        var joined: [Entry] = []
        joined.reserveCapacity(entries.count + other.entries.count)
        var (i, j) = (0, 0)
        while i < entries.count || j < other.entries.count {
            if j == other.entries.count || (i < entries.count && Entry.isBefore(entries[i], other.entries[j])) {
                joined.append(entries[i])
                i += 1
            } else if i == entries.count || Entry.isBefore(other.entries[j], entries[i]) {
                joined.append(other.entries[j])
                j += 1
            } else {
                joined.append(entries[i].sequence < other.entries[j].sequence ? other.entries[j] : entries[i])
                i += 1
                j += 1
            }
        }
        defer { entries = joined }
        return joined != entries
    }

    /// The entries that do not count as read in `vector`.
    public func missing(from vector: VersionVector) -> CompactVector {
        CompactVector(entries.filter { !$0.isRead(in: vector) })
    }

    /// Whether every entry counts as read in `vector`.
    public func isCovered(by vector: VersionVector) -> Bool { entries.allSatisfy { $0.isRead(in: vector) } }

    /// The entries for which `isWanted`, and the others.
    public func split(_ isWanted: (Entry) -> Bool) -> (wanted: CompactVector, others: CompactVector) {
        (CompactVector(entries.filter(isWanted)), CompactVector(entries.filter { !isWanted($0) }))
    }

    /// Whether its text would be above `maximumTextBytes`.
    public var isTooLong: Bool { entries.reduce(1) { $0 + $1.byteCount } > Self.maximumBytes }

    /// Leaves out what does not fit into `maximumTextBytes`: entries that matter stay as long as there is room, then the
    /// others, each by rising prefix. Returns how many went.
    @discardableResult public mutating func shorten(keeping matters: (Entry) -> Bool) -> Int {
        guard isTooLong else { return 0 }
        var room = Self.maximumBytes - 1
        let before = entries.count
        var isKept = [Bool](repeating: false, count: before)
        let first = entries.map(matters)
        for wanted in [true, false] {
            for i in entries.indices where first[i] == wanted && entries[i].byteCount <= room {
                isKept[i] = true
                room -= entries[i].byteCount
            }
        }
        entries = entries.indices.filter { isKept[$0] }.map { entries[$0] }
        return before - entries.count
    }
}

// MARK: - Text

extension CompactVector {
    /// Appends the text: at most `maximumTextBytes`; what does not fit is left out as by `shorten`.
    public func encode(into out: inout [UInt8]) {
        var short = self
        short.shorten { _ in false }
        var text = Base64URL.Writer()
        text.append(Self.version, into: &out)
        for entry in short.entries { Self.append(entry, to: &text, into: &out) }
        text.finish(into: &out)
    }

    /// Appends the text of one log alone, by its whole id; allocates nothing but what `out` needs.
    public static func encode(_ replica: ReplicaID, sequence: UInt64, into out: inout [UInt8]) {
        // Every write's answer carries one: three bytes are four digits, and most of them are written at once.
        let id = replica.rawValue
        let head = (UInt64(version) << 16 | 8 << 8 | id >> 56, id >> 32 & 0xff_ffff, id >> 8 & 0xff_ffff)
        Base64URL.appendThree(head.0, into: &out)
        Base64URL.appendThree(head.1, into: &out)
        Base64URL.appendThree(head.2, into: &out)
        var text = Base64URL.Writer()
        text.append(UInt8(truncatingIfNeeded: id), into: &out)
        append(varint: sequence, to: &text, into: &out)
        text.finish(into: &out)
    }

    private static func append(_ entry: Entry, to text: inout Base64URL.Writer, into out: inout [UInt8]) {
        text.append(entry.prefixBytes, into: &out)
        for i in 0..<UInt64(entry.prefixBytes) {
            text.append(UInt8(truncatingIfNeeded: entry.prefix >> (56 - i * 8)), into: &out)
        }
        append(varint: entry.sequence, to: &text, into: &out)
    }

    private static func append(varint value: UInt64, to text: inout Base64URL.Writer, into out: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            text.append(UInt8(truncatingIfNeeded: rest) | 0x80, into: &out)
            rest >>= 7
        }
        text.append(UInt8(truncatingIfNeeded: rest), into: &out)
    }

    /// Reads what `encode` wrote, and nothing else: no padding, no other alphabet, no entry twice or out of order.
    public init(text: RawSpan) throws(DecodeError) {
        guard text.byteCount <= Self.maximumTextBytes else { throw .tooLong(limit: Self.maximumTextBytes) }
        let raw = try Base64URL.decode(text)
        let bytes = raw.span.bytes
        var cursor = ByteCursor(bytes)
        guard try cursor.u8(bytes) == Self.version else { throw .badValue(field: "version") }
        while cursor.remaining > 0 {
            let length = try cursor.u8(bytes)
            guard Self.prefixLengths.contains(length) else { throw .badValue(field: "length of a prefix") }
            var id: UInt64 = 0
            for i in 0..<UInt64(length) { id |= UInt64(try cursor.u8(bytes)) << (56 - i * 8) }
            let sequence = try cursor.varint(bytes)
            guard VersionVector.sequences.contains(sequence) else { throw .badValue(field: "sequence") }
            let entry = Entry(ReplicaID(id), bytes: length, sequence: sequence)
            if let last = entries.last, !Entry.isBefore(last, entry) { throw .badValue(field: "order of prefixes") }
            entries.append(entry)
        }
    }
}

/// Base64 with the alphabet for URLs, without padding (RFC 4648, section 5).
enum Base64URL {
    private static let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    /// Turns bytes into digits one by one.
    struct Writer {
        private var pending: UInt32 = 0
        private var bits: UInt32 = 0

        mutating func append(_ byte: UInt8, into out: inout [UInt8]) {
            pending = pending << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                out.append(Base64URL.alphabet.utf8Start[Int(pending >> bits & 63)])
            }
        }

        mutating func finish(into out: inout [UInt8]) {
            guard bits > 0 else { return }
            out.append(Base64URL.alphabet.utf8Start[Int(pending << (6 - bits) & 63)])
            (pending, bits) = (0, 0)
        }
    }

    /// The four digits of three bytes, which are the lower 24 bits.
    static func appendThree(_ bits: UInt64, into out: inout [UInt8]) {
        let digits = alphabet.utf8Start
        let four = (
            digits[Int(bits >> 18 & 63)], digits[Int(bits >> 12 & 63)], digits[Int(bits >> 6 & 63)],
            digits[Int(bits & 63)]
        )
        withUnsafeBytes(of: four) { out.append(contentsOf: $0) }
    }

    static func decode(_ text: RawSpan) throws(DecodeError) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(text.byteCount / 4 * 3 + 2)
        var pending: UInt32 = 0
        var bits: UInt32 = 0
        for i in 0..<text.byteCount {
            let byte = text.unsafeLoad(fromByteOffset: i, as: UInt8.self)
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit = byte - UInt8(ascii: "A")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): digit = byte - UInt8(ascii: "a") + 26
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0") + 52
            case UInt8(ascii: "-"): digit = 62
            case UInt8(ascii: "_"): digit = 63
            default: throw .badValue(field: "base64url")
            }
            pending = pending << 6 | UInt32(digit)
            bits += 6
            if bits >= 8 {
                bits -= 8
                out.append(UInt8(truncatingIfNeeded: pending >> bits))
            }
        }
        // A whole digit too many, or bits that belong to no byte: the same bytes would have two texts.
        guard bits < 6, pending & (1 << bits - 1) == 0 else { throw .badValue(field: "base64url") }
        return out
    }
}
