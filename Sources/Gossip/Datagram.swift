import CRDT

/// What one datagram says. All of them may carry rumors behind their own fields.
enum Message: Equatable, Sendable {
    /// Are you there? Names whom it means, since another replica may live at the address by now.
    ///
    /// `table` is the sender's `Membership.tableHash`.
    case ping(sequence: UInt32, target: ReplicaID, table: UInt32, Membership.Summary)
    /// `of` is here: the sender itself, or the member it was asked to ping.
    case ack(sequence: UInt32, of: ReplicaID, table: UInt32, Membership.Summary)
    /// Ping this member for me (SWIM's ping-req).
    case ask(sequence: UInt32, target: ReplicaID, at: Address)
    /// I am here, but the member you asked about does not answer me (Lifeguard, IV-A).
    case nack(sequence: UInt32)
    /// I am here; `you` is where I sent this. With `wantsTable`, tell me of the others.
    case announce(you: Address, wantsTable: Bool, Membership.Summary)
    /// Answer to an announcement, or to a ping meant for another; `you` is where I saw it come from.
    case welcome(you: Address, Membership.Summary)
    /// Nothing but rumors.
    case gossip
}

/// One datagram, at most 1,400 bytes so that it crosses an Ethernet without fragments. Little-endian:
///
/// | bytes    | field                                                                                          |
/// |----------|------------------------------------------------------------------------------------------------|
/// | 4        | checksum: the low half of XXH64 (seed 0) over all that follows                                 |
/// | 2        | magic: 0x48 0x79, "Hy"                                                                         |
/// | 1        | version in which the datagram is written                                                       |
/// | 2        | the lowest and the highest version the sender speaks, so that it is answered in one it reads   |
/// | 1        | flags; bit 0: what follows the nonce is sealed with a key. The others are ignored              |
/// | 1        | key id; 0 without a key                                                                        |
/// | varint   | nonce: the sender's epoch (the persisted number of its start)                                  |
/// | varint   | nonce: counts the sender's datagrams in that epoch, so that no pair is ever used twice         |
/// | 8        | cluster: XXH64 of its name                                                                     |
/// | 8        | sender                                                                                         |
/// | 8        | nonce of the sender's start                                                                    |
/// | 1        | type                                                                                           |
/// | 1 + ≤255 | the type's own fields behind their length; a newer peer may add to their end                   |
/// | …        | rumors to the end, each as described at `Rumor`                                                |
///
/// Up to the nonce of the sender's start the layout is the same in every version, so that whoever cannot read the rest
/// still knows who wrote it and which versions that peer would understand.
///
/// | type | name     | fields                                                                                   |
/// |------|----------|------------------------------------------------------------------------------------------|
/// | 1    | ping     | sequence (4), target (8), table hash (4), summary                                        |
/// | 2    | ack      | sequence (4), of (8), table hash (4), summary                                            |
/// | 3    | ask      | sequence (4), target (8), its address (18)                                               |
/// | 4    | nack     | sequence (4)                                                                             |
/// | 5    | announce | the receiver's address as the sender sees it (18), flags (1; bit 0: send me your table), summary |
/// | 6    | welcome  | the receiver's address as the sender sees it (18), summary                               |
/// | 7    | gossip   | none                                                                                     |
///
/// A summary is the digest of the logs (8) and the stamp clock in milliseconds (varint).
struct Datagram: Equatable, Sendable {
    static let sizeLimit = 1_400
    /// The most bytes before the rumors: the fields above with ten bytes for each varint.
    static let headLimit = 103
    static let checksumSize = 4
    static let sealedFlag: UInt8 = 1

    /// What intact bytes turned out to be.
    enum Reading: Equatable {
        case datagram(Datagram)
        /// Written in a version that is not read here, by a peer that speaks these.
        case foreignVersion(from: ReplicaID, Versions)
        /// Sealed with a key.
        case sealed(key: UInt8)
        /// For a cluster of another name.
        case foreignCluster
        /// Of a type from a newer peer.
        case unknownType(UInt8)
    }

    var sender: ReplicaID
    /// The sender's epoch, from the nonce.
    var epoch: UInt64
    var counter: UInt64
    /// The nonce of the sender's start.
    var start: UInt64
    /// The versions the sender speaks.
    var protocols = Frame.protocols
    var message: Message
    var rumors: [Rumor] = []

    /// Appends everything before the rumors, with room for the checksum that `seal` fills in. Without a `version` it is
    /// the sender's lowest, as for a stranger.
    static func open(
        _ message: Message, from sender: Member, counter: UInt64, cluster: UInt64, version: UInt8? = nil,
        into out: inout [UInt8]
    ) {
        out.append(littleEndian: UInt32(0))
        out.append(constant: "Hy")
        out.append(version ?? sender.protocols.lowerBound)
        out.append(versions: sender.protocols)
        out.append(0)
        out.append(0)
        out.append(varint: sender.incarnation.epoch)
        out.append(varint: counter)
        out.append(littleEndian: cluster)
        out.append(replica: sender.replica)
        out.append(littleEndian: sender.nonce)
        out.append(message.type)
        let length = out.count
        out.append(0)
        message.encodeFields(into: &out)
        out[length] = UInt8(out.count - length - 1)
    }

    /// Fills in the checksum of the datagram that starts at `start` and ends the buffer.
    static func seal(from start: Int, _ out: inout [UInt8]) {
        let sum = checksum(out.span.bytes, start..<out.count)
        for i in 0..<checksumSize { out[start + i] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * i)) }
    }

    private static func checksum(_ bytes: RawSpan, _ range: Range<Int>) -> UInt32 {
        UInt32(truncatingIfNeeded: XXH64.hash(bytes.extracting(range.lowerBound + checksumSize..<range.upperBound)))
    }

    /// Reads a whole datagram before anything acts on a part of it; throws if it is damaged.
    static func read(
        _ bytes: RawSpan, cluster: UInt64, speaking mine: Versions = Frame.protocols
    ) throws(DecodeError) -> Reading {
        guard bytes.byteCount <= sizeLimit else { throw .tooLong(limit: sizeLimit) }
        var cursor = ByteCursor(bytes)
        guard try cursor.u32(bytes) == checksum(bytes, 0..<bytes.byteCount) else { throw .badChecksum }
        guard try cursor.u16(bytes) == 0x7948 else { throw .badValue(field: "magic") }
        let version = try cursor.u8(bytes)
        let protocols = try cursor.versions(bytes)
        guard protocols.contains(version) else { throw .badValue(field: "version") }
        let flags = try cursor.u8(bytes)
        let key = try cursor.u8(bytes)
        guard flags & sealedFlag == 0, key == 0 else { return .sealed(key: key) }
        let epoch = try cursor.varint(bytes)
        let counter = try cursor.varint(bytes)
        guard try cursor.u64(bytes) == cluster else { return .foreignCluster }
        let sender = try cursor.replica(bytes)
        let start = try cursor.u64(bytes)
        guard mine.contains(version) else { return .foreignVersion(from: sender, protocols) }
        let type = try cursor.u8(bytes)
        var fields = ByteCursor(try cursor.take(Int(try cursor.u8(bytes))))
        guard let message = try Message(type: type, &fields, bytes) else { return .unknownType(type) }
        var rumors: [Rumor] = []
        while cursor.remaining > 0 { rumors.append(try Rumor(&cursor, bytes)) }
        return .datagram(
            Datagram(
                sender: sender, epoch: epoch, counter: counter, start: start, protocols: protocols, message: message,
                rumors: rumors))
    }
}

extension Message {
    fileprivate var type: UInt8 {
        switch self {
        case .ping: 1
        case .ack: 2
        case .ask: 3
        case .nack: 4
        case .announce: 5
        case .welcome: 6
        case .gossip: 7
        }
    }

    fileprivate func encodeFields(into out: inout [UInt8]) {
        switch self {
        case .ping(let sequence, let replica, let table, let summary),
            .ack(let sequence, let replica, let table, let summary):
            out.append(littleEndian: sequence)
            out.append(replica: replica)
            out.append(littleEndian: table)
            summary.encode(into: &out)
        case .ask(let sequence, let target, let address):
            out.append(littleEndian: sequence)
            out.append(replica: target)
            address.encode(into: &out)
        case .nack(let sequence):
            out.append(littleEndian: sequence)
        case .announce(let you, let wantsTable, let summary):
            you.encode(into: &out)
            out.append(wantsTable ? 1 : 0)
            summary.encode(into: &out)
        case .welcome(let you, let summary):
            you.encode(into: &out)
            summary.encode(into: &out)
        case .gossip:
            break
        }
    }

    /// Nil for a type that only a newer peer knows. What is left of the fields is a newer peer's, too.
    fileprivate init?(type: UInt8, _ fields: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        switch type {
        case 1:
            self = .ping(
                sequence: try fields.u32(bytes), target: try fields.replica(bytes), table: try fields.u32(bytes),
                try .init(&fields, bytes))
        case 2:
            self = .ack(
                sequence: try fields.u32(bytes), of: try fields.replica(bytes), table: try fields.u32(bytes),
                try .init(&fields, bytes))
        case 3:
            self = .ask(
                sequence: try fields.u32(bytes), target: try fields.replica(bytes), at: try Address(&fields, bytes))
        case 4: self = .nack(sequence: try fields.u32(bytes))
        case 5:
            self = .announce(
                you: try Address(&fields, bytes), wantsTable: try fields.u8(bytes) & 1 != 0,
                try .init(&fields, bytes))
        case 6: self = .welcome(you: try Address(&fields, bytes), try .init(&fields, bytes))
        case 7: self = .gossip
        default: return nil
        }
    }
}

extension Membership.Summary {
    fileprivate func encode(into out: inout [UInt8]) {
        out.append(littleEndian: digest)
        out.append(varint: clockMs)
    }

    fileprivate init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        self.init(
            digest: try cursor.u64(bytes), clockMs: try cursor.varint(bytes))
    }
}
