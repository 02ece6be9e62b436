public import CRDT

/// The fixed part of one log entry; its body lies behind it in the same bytes.
///
/// | field | bytes | |
/// |---|---|---|
/// | kind | 1 | `Kind`; unknown kinds are stored and forwarded |
/// | time | 8 | the stamp's packed time; the log's replica completes the stamp |
/// | dependencies | varint count, then 8 + varint each | what the origin had read of other logs when it appended this, as far as that changed since its previous entry |
/// | body | the rest | meant for `Kind` |
///
/// The same bytes are what the log holds, what travels, what the running hash covers, and what the disk will keep.
public struct Fact: Sendable {
    /// What the body means. An open set: a newer peer may send others.
    public struct Kind: RawRepresentable, Equatable, Sendable {
        /// The number on the wire.
        public let rawValue: UInt8
        /// Wraps a number from the wire.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// A SEMP event, as JSON. The other surfaces' events get numbers of their own, so that a node that does not
        /// know a surface never shows its events by accident.
        public static let sempEvent = Kind(rawValue: 1)
        /// Fields of one document written or removed.
        public static let put = Kind(rawValue: 2)
        /// A bus event, on a topic, as JSON.
        public static let busEvent = Kind(rawValue: 3)
        /// A message in a chat, as JSON: shown to those alone who may read it.
        public static let chatMessage = Kind(rawValue: 4)
        // Reserved: 5 lifecycle event, 6 cluster event.
        /// A log has ended (`Retirement`). Between peers only: no client ever sees it.
        public static let retirement = Kind(rawValue: 7)
        /// A message from one agent to another, or to all, as JSON. Private: no stream or list of events shows it.
        public static let message = Kind(rawValue: 8)
    }

    /// The most bytes of one entry's body: a request's megabyte, and 384 KiB for what the node adds to an event (256
    /// patterns of 1 KiB are the largest part of it).
    public static let maximumBodyBytes = (1 << 20) + (384 << 10)
    /// The most bytes of one entry: a body, and dependencies on every log that a vector may name.
    public static let maximumBytes = maximumBodyBytes + 16 + maximumDependencies * 18
    /// The most dependencies that one entry may name.
    public static let maximumDependencies = VersionVector.maximumEntries

    /// What the body means.
    public let kind: Kind
    /// The stamp's packed time.
    public let time: UInt64
    /// Where the dependencies lie, without their count.
    public let dependencies: Range<Int>
    /// How many there are.
    public let dependencyCount: Int
    /// Where the body lies.
    public let body: Range<Int>

    /// Reads the fixed part of the entry that is all of `bytes`.
    public init(_ bytes: RawSpan) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        kind = Kind(rawValue: try cursor.u8(bytes))
        time = try cursor.u64(bytes)
        dependencyCount = try cursor.count(bytes, limit: Self.maximumDependencies)
        let start = cursor.offset
        for _ in 0..<dependencyCount {
            _ = try cursor.take(8)
            _ = try cursor.varint(bytes)
        }
        dependencies = start..<cursor.offset
        body = cursor.offset..<cursor.end
    }

    /// Appends the fixed part; the body follows.
    static func encodeHeader(
        kind: Kind, time: UInt64, dependencies: some Collection<VersionVector.Entry>, into out: inout [UInt8]
    ) {
        out.append(kind.rawValue)
        out.append(littleEndian: time)
        out.append(varint: UInt64(dependencies.count))
        for dependency in dependencies {
            out.append(replica: dependency.replica)
            out.append(varint: dependency.sequence)
        }
    }
}
