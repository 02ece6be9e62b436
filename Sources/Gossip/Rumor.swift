import CRDT

/// What one peer tells another about a member. On the wire, little-endian:
///
/// | bytes      | field                                                                                      |
/// |------------|--------------------------------------------------------------------------------------------|
/// | 2          | length of what follows, at most 512                                                        |
/// | 8          | replica                                                                                    |
/// | varint     | incarnation: epoch                                                                         |
/// | varint     | incarnation: counter, at most 2³² − 1                                                      |
/// | 8          | nonce of that start                                                                        |
/// | 1          | bits 0–1 state (alive, suspect, dead, left); bit 2 durable; the others are ignored         |
/// | 2          | the lowest and the highest protocol version it speaks                                      |
/// | 18         | address for datagrams and links                                                            |
/// | 1 + ≤ 64   | name                                                                                       |
/// | 1–2 + ≤128 | HTTP address                                                                               |
/// | 8          | accuser; unless alive                                                                      |
/// | varint     | milliseconds since it is dead or left; only then                                           |
/// | ≤ 128      | whatever a newer peer added: kept, and passed on as it came                                |
///
/// The age travels so that all forget a dead member at about the same time, and none learns it again from another.
struct Rumor: Equatable, Sendable {
    static let sizeLimit = 512

    var member: Member
    /// Who says that it is not alive. Distinct accusers confirm a suspicion (Lifeguard, IV-B).
    var accuser: ReplicaID
    /// Milliseconds since the member is dead or left; zero otherwise.
    var ageMs: UInt64 = 0

    func encode(into out: inout [UInt8]) {
        let start = out.count
        out.append(littleEndian: UInt16(0))
        out.append(replica: member.replica)
        out.append(varint: member.incarnation.epoch)
        out.append(varint: UInt64(member.incarnation.counter))
        out.append(littleEndian: member.nonce)
        out.append(member.state.rawValue | (member.isDurable ? 4 : 0))
        out.append(versions: member.protocols)
        member.gossip.encode(into: &out)
        out.append(text: member.name)
        out.append(text: member.http)
        if member.state != .alive { out.append(replica: accuser) }
        if member.state >= .dead { out.append(varint: ageMs) }
        out.append(contentsOf: member.extra)
        let length = out.count - start - 2
        assert(length <= Self.sizeLimit, "the caps of a member's texts keep a rumor of \(length) bytes below its own")
        out[start] = UInt8(truncatingIfNeeded: length)
        out[start + 1] = UInt8(truncatingIfNeeded: length >> 8)
    }

    init(member: Member, accuser: ReplicaID, ageMs: UInt64 = 0) {
        self.member = member
        self.accuser = accuser
        self.ageMs = ageMs
    }

    init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        let length = Int(try cursor.u16(bytes))
        guard length <= Self.sizeLimit else { throw .tooLong(limit: Self.sizeLimit) }
        var inner = ByteCursor(try cursor.take(length))
        let replica = try inner.replica(bytes)
        let epoch = try inner.varint(bytes)
        let counter = try inner.count(bytes, limit: Int(UInt32.max))
        let nonce = try inner.u64(bytes)
        let flags = try inner.u8(bytes)
        let state = MemberState(rawValue: flags & 3)!  // two bits, four states
        let protocols = try inner.versions(bytes)
        let gossip = try Address(&inner, bytes)
        let name = try inner.text(bytes, limit: Member.nameLimit)
        let http = try inner.text(bytes, limit: Member.httpLimit)
        accuser = state == .alive ? replica : try inner.replica(bytes)
        ageMs = state < .dead ? 0 : try inner.varint(bytes)
        guard inner.remaining <= Member.extraLimit else { throw .tooLong(limit: Member.extraLimit) }
        let extra = bytes.extracting(inner.offset..<inner.end).withUnsafeBytes { Array($0) }
        member = Member(
            replica: replica, name: name, gossip: gossip, http: http,
            incarnation: Incarnation(epoch: epoch, counter: UInt32(counter)), state: state, isDurable: flags & 4 != 0,
            nonce: nonce, protocols: protocols, extra: extra)
    }
}
