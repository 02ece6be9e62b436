public import CRDT

/// One message on a TCP link between two peers. The transport puts a 4-byte length before it.
///
/// | field | bytes | |
/// |---|---|---|
/// | checksum | 4 | low half of XXH64 over everything behind it |
/// | type | 1 | `FrameType`; unknown types are counted and ignored |
/// | key id | 1 | 0: no key (a cluster key will name itself here) |
/// | epoch, counter | varint each | the nonce of an encrypted frame; 0, 0 without a key |
/// | body | the rest | |
public enum Frame {
    /// What a frame says. An open set: numbers below 64 that are not here are reserved for later versions.
    public struct FrameType: RawRepresentable, Equatable, Sendable {
        /// The number on the wire.
        public let rawValue: UInt8
        /// Wraps a number from the wire.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The first frame of each side: who, which protocol, and how far it has read (`Hello`).
        public static let hello = FrameType(rawValue: 1)
        /// A table of members, as membership encodes it.
        public static let table = FrameType(rawValue: 2)
        /// Entries of logs.
        public static let facts = FrameType(rawValue: 3)
        /// How far the sender has read, and later than what time everything is stamped that it sends beyond that: what
        /// changed since it last said so or, with a flag, everything and each log's running hash.
        public static let have = FrameType(rawValue: 4)
        /// Please send what I lack: the sender's whole vector, what waits there without a gap included.
        public static let want = FrameType(rawValue: 5)
        /// That was all you lacked: the sender's whole vector.
        public static let done = FrameType(rawValue: 6)
        /// Are you there? Asked where datagrams get no answer.
        public static let ping = FrameType(rawValue: 7)
        /// I am.
        public static let pong = FrameType(rawValue: 8)
        /// Whether I missed what you collected: comes before every other frame about logs and state.
        public static let standing = FrameType(rawValue: 9)
        /// Tell me as soon as you have read these entries: a vector of them.
        public static let confirm = FrameType(rawValue: 10)
        /// A chunk of a snapshot: mergeable state.
        public static let snapshot = FrameType(rawValue: 11)
        /// Hashes of the sender's state, to be compared with the receiver's, or which parts of it to send.
        public static let stateHashes = FrameType(rawValue: 12)
        /// Ends a snapshot: the head of every log in the state that came before, the floors from which entries follow,
        /// what was collected, and which logs are retired.
        public static let heads = FrameType(rawValue: 14)
        /// What my copy of a log hashes to at a number: replica, sequence, running hash.
        public static let hash = FrameType(rawValue: 15)
        /// Which clients are connected to the sender (the owner's).
        public static let roster = FrameType(rawValue: 16)
        /// Work of queue groups: handed out, taken back, done (the owner's).
        public static let groups = FrameType(rawValue: 17)
        /// What is asked of a mailbox, and its answer (the owner's).
        public static let mailbox = FrameType(rawValue: 18)
        /// A request that the receiver decides, and its answer (the owner's).
        public static let forward = FrameType(rawValue: 19)
        // Reserved: 13 goodbye with a list of peers.
    }

    /// The protocol versions this build speaks, over links and in datagrams.
    public static let protocols: Versions = 1...1
    /// The most bytes of one frame; a longer one closes the link.
    public static let maximumBytes = 16 << 20

    /// Starts a frame and returns where it starts; the body is appended next.
    static func begin(_ type: FrameType, into out: inout [UInt8]) -> Int {
        let start = out.count
        out.append(littleEndian: UInt32(0))
        out.append(type.rawValue)
        out.append(0)
        out.append(0)
        out.append(0)
        return start
    }

    /// Ends a frame: fills in the checksum and returns where the frame lies.
    static func end(_ start: Int, into out: inout [UInt8]) -> Range<Int> {
        let sum = out.withUnsafeBytes { XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[(start + 4)...]), seed: 0) }
        var low = UInt32(truncatingIfNeeded: sum)
        for i in 0..<4 {
            out[start + i] = UInt8(truncatingIfNeeded: low)
            low >>= 8
        }
        return start..<out.count
    }

    /// Checks a frame and returns its type and a cursor at its body.
    static func open(_ bytes: RawSpan) throws(DecodeError) -> (FrameType, ByteCursor) {
        var cursor = ByteCursor(bytes)
        let sum = try cursor.u32(bytes)
        guard UInt32(truncatingIfNeeded: XXH64.hash(bytes.extracting(4..<bytes.byteCount))) == sum else {
            throw .badChecksum
        }
        let type = FrameType(rawValue: try cursor.u8(bytes))
        guard try cursor.u8(bytes) == 0 else { throw .badValue(field: "key id") }
        _ = try cursor.varint(bytes)
        _ = try cursor.varint(bytes)
        return (type, cursor)
    }
}

/// The first frame on a link, from both sides.
///
/// It says who is there, how far each log was read, with each log's running hash at that point, so that a fork is seen
/// before anything is exchanged, and what was collected, so that both see who has missed something. Fields that a newer
/// version appends are skipped. Magic, range, cluster and replica come first in every version: of a peer that shares
/// no version with this node nothing else is read.
public struct Hello: Sendable {
    /// "HYPH" as a little-endian number.
    static let magic: UInt32 = 0x4850_5948

    /// The sender's cluster.
    public var cluster: String
    /// Who it is: replica, versions, addresses, incarnation, nonce, and whether its log is on disk.
    public var member: Member
    /// Its stamp clock, in milliseconds.
    public var clockMs: UInt64 = 0
    /// The highest time it gave out or saw.
    public var lastTime: UInt64 = 0
    /// When this start of it began, by its stamp clock, in milliseconds: of two under one id the later one yields.
    public var startedMs: UInt64 = 0
    /// How many members exchange facts with it, itself included: its side of a partition that has just healed.
    public var members = 0
    /// The lowest id among them.
    public var lowest: ReplicaID
    /// The last number of its own log.
    public var head: UInt64 = 0
    /// Whoever has not read this has missed what it collected.
    public var collected = VersionVector()
    /// How far it has read.
    public var vector = VersionVector()
    /// The running hash of each log in `vector`, in the same order; zeros from a node that lacks entries.
    public var hashes: [UInt64] = []

    /// The protocol versions the sender speaks.
    public var protocols: Versions {
        get { member.protocols }
        set { member.protocols = newValue }
    }

    /// Appends the body of a hello frame.
    func encode(into out: inout [UInt8]) {
        out.append(littleEndian: Self.magic)
        out.append(versions: protocols)
        out.append(text: cluster)
        out.append(replica: member.replica)
        out.append(varint: member.incarnation.epoch)
        out.append(varint: UInt64(member.incarnation.counter))
        out.append(littleEndian: member.nonce)
        out.append(member.isDurable ? 1 : 0)
        out.append(text: member.name)
        out.append(text: member.http)
        member.gossip.encode(into: &out)
        out.append(littleEndian: clockMs)
        out.append(littleEndian: lastTime)
        out.append(littleEndian: startedMs)
        out.append(varint: UInt64(members))
        out.append(replica: lowest)
        out.append(varint: head)
        collected.encode(into: &out)
        vector.encode(into: &out)
        for hash in hashes { out.append(littleEndian: hash) }
    }

    /// Reads what `encode` wrote, for a node that speaks these versions.
    init(
        _ cursor: inout ByteCursor, _ bytes: RawSpan, speaking mine: Versions = Frame.protocols
    ) throws(DecodeError) {
        guard try cursor.u32(bytes) == Self.magic else { throw .badValue(field: "magic") }
        let protocols = try cursor.versions(bytes)
        cluster = try cursor.text(bytes, limit: 256)
        let replica = try cursor.replica(bytes)
        lowest = replica
        guard protocols.overlaps(mine) else {
            member = Member(
                replica: replica, name: "", gossip: Address(ipv4: 0, port: 0), incarnation: Incarnation(epoch: 0),
                protocols: protocols)
            return
        }
        let epoch = try cursor.varint(bytes)
        let counter = UInt32(truncatingIfNeeded: try cursor.varint(bytes))
        let nonce = try cursor.u64(bytes)
        let isDurable = try cursor.u8(bytes) & 1 == 1
        let name = try cursor.text(bytes, limit: Member.nameLimit)
        let http = try cursor.text(bytes, limit: Member.httpLimit)
        member = Member(
            replica: replica, name: name, gossip: try Address(&cursor, bytes), http: http,
            incarnation: Incarnation(epoch: epoch, counter: counter), isDurable: isDurable, nonce: nonce,
            protocols: protocols)
        clockMs = try cursor.u64(bytes)
        lastTime = try cursor.u64(bytes)
        startedMs = try cursor.u64(bytes)
        members = try cursor.count(bytes, limit: VersionVector.maximumEntries)
        lowest = try cursor.replica(bytes)
        head = try cursor.varint(bytes)
        guard head < VersionVector.sequences.upperBound else { throw .badValue(field: "head") }
        collected = try VersionVector(&cursor, bytes)
        vector = try VersionVector(&cursor, bytes)
        for _ in vector.entries { hashes.append(try cursor.u64(bytes)) }
    }

    /// A hello to send.
    init(cluster: String, greeting: Mesh.Greeting, log: borrowing FactLog) {
        self.cluster = cluster
        member = greeting.member
        clockMs = greeting.clockMs
        lastTime = greeting.lastTime
        startedMs = greeting.startedMs
        members = greeting.members
        lowest = greeting.lowest
        collected = greeting.collected
        head = log.head(of: log.mine)
        vector = log.vector
        for entry in vector.entries {
            hashes.append(log.isLossy ? 0 : log.knownSlot(of: entry.replica).map { log.hash(of: $0) } ?? 0)
        }
    }
}
