import CRDT
import Testing

@testable import Gossip

@Suite("The datagram's bytes")
struct DatagramTests {
    private let cluster = XXH64.hash(Array("test".utf8).span.bytes)
    private let word = Membership.Summary(digest: .max, clockMs: 1_732_000_000_000)

    private var messages: [Message] {
        let at = Address(high: 0x2001_0db8 << 32, low: 1, port: 7946)
        return [
            .ping(sequence: 1, target: ReplicaID(2), table: 3, word),
            .ack(sequence: .max, of: ReplicaID(2), table: 4, word),
            .ask(sequence: 7, target: ReplicaID(.max), at: at), .nack(sequence: 9),
            .announce(you: at, wantsTable: true, word), .welcome(you: at, word), .gossip,
        ]
    }

    private var rumors: [Rumor] {
        MemberState.allCases.map { state in
            var member = peer(UInt64(state.rawValue) + 1, durable: state == .dead)
            member.state = state
            member.incarnation = Incarnation(epoch: 1 << 40, counter: .max)
            member.extra = state == .left ? [] : [1, 2, 3]
            let accuser = state == .alive ? member.replica : ReplicaID(77)
            return Rumor(member: member, accuser: accuser, ageMs: state >= .dead ? 123_456 : 0)
        }
    }

    private func encode(_ message: Message, _ rumors: [Rumor] = [], as cluster: UInt64? = nil) -> [UInt8] {
        var bytes: [UInt8] = []
        Datagram.open(message, from: peer(5), counter: 300, cluster: cluster ?? self.cluster, into: &bytes)
        for rumor in rumors { rumor.encode(into: &bytes) }
        Datagram.seal(from: 0, &bytes)
        return bytes
    }

    private func read(_ bytes: [UInt8]) throws(DecodeError) -> Datagram.Reading {
        try Datagram.read(bytes.span.bytes, cluster: cluster)
    }

    /// The bytes with a checksum that fits them, so that what lies behind it is reached.
    private func resealed(_ bytes: [UInt8]) -> [UInt8] {
        var copy = bytes
        if copy.count >= 4 { Datagram.seal(from: 0, &copy) }
        return copy
    }

    @Test("Every message comes back as it was, with and without rumors")
    func roundTrip() throws {
        for message in messages {
            for told in [[], rumors] {
                let expected = Datagram(
                    sender: ReplicaID(5), epoch: 1, counter: 300, start: 5, message: message, rumors: told)
                #expect(try read(encode(message, told)) == .datagram(expected))
            }
        }
    }

    @Test("The layout is the documented one, to the byte")
    func layout() {
        let bytes = encode(.nack(sequence: 0x0403_0201))
        let head: [UInt8] = [0x48, 0x79, 1, 1, 1, 0, 0, 1, 0xac, 0x02]
        #expect(Array(bytes[4..<14]) == head)
        #expect(Array(bytes[22..<30]) == [5, 0, 0, 0, 0, 0, 0, 0], "the sender")
        #expect(Array(bytes[38...]) == [4, 4, 1, 2, 3, 4], "type, length of the fields, sequence")
    }

    @Test("A datagram cut anywhere, or with a byte too many, is refused")
    func cuts() {
        for message in messages {
            let whole = encode(message, rumors)
            for count in 0..<whole.count {
                let cut = Array(whole[..<count])
                #expect(throws: DecodeError.self) { try read(cut) }
                // With a checksum made to fit: either refused, or the cut fell between two rumors.
                if case .datagram(let datagram) = try? read(resealed(cut)) { #expect(datagram.rumors.count < 4) }
            }
            #expect(throws: DecodeError.self) { try read(resealed(whole + [0])) }
        }
        #expect(throws: DecodeError.tooLong(limit: 1_400)) { try read(Array(repeating: 0, count: 1_401)) }
    }

    @Test("One flipped bit anywhere is noticed")
    func bits() {
        let whole = encode(messages[0], rumors)
        for bit in 0..<whole.count * 8 {
            var bad = whole
            bad[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: DecodeError.badChecksum) { try read(bad) }
        }
    }

    @Test("What is not for this node is told apart from damage")
    func refusals() throws {
        var bytes = encode(.gossip)
        bytes[6] = 2
        #expect(throws: DecodeError.badValue(field: "version")) { try read(resealed(bytes)) }
        bytes[8] = 3
        #expect(try read(resealed(bytes)) == .foreignVersion(from: ReplicaID(5), 1...3))
        bytes[7] = 4
        #expect(throws: DecodeError.badValue(field: "protocol range")) { try read(resealed(bytes)) }
        bytes = encode(.gossip)
        bytes[9] = 1
        bytes[10] = 3
        #expect(try read(resealed(bytes)) == .sealed(key: 3))
        #expect(try read(encode(.gossip, as: 1)) == .foreignCluster)
        bytes = encode(.gossip)
        bytes[bytes.count - 2] = 200
        #expect(try read(resealed(bytes)) == .unknownType(200))
    }

    @Test("Fields and attributes from a newer peer are stepped over, and a rumor's are passed on")
    func newer() throws {
        var bytes = encode(.nack(sequence: 6))
        bytes[bytes.count - 5] += 3
        bytes += [9, 9, 9]
        guard case .datagram(let datagram) = try read(resealed(bytes)) else {
            Issue.record("not read")
            return
        }
        #expect(datagram.message == .nack(sequence: 6))
        var one = OneNode()
        var ada = peer(1)
        ada.extra = [42, 43]
        one.learn(ada)
        one.now = one.now.advanced(milliseconds: 10)
        one.give(.tick)
        #expect(one.sent.contains { $0.datagram.rumors.contains { $0.member.extra == [42, 43] } })
    }

    @Test("Hostile lengths in a rumor are refused before anything is made of them")
    func hostileLengths() {
        let base = encode(.gossip)
        let good = encode(.gossip, [rumors[0]])
        for length in [0, 1, 513, 0xffff] {
            var bad = good
            bad[base.count] = UInt8(truncatingIfNeeded: length)
            bad[base.count + 1] = UInt8(truncatingIfNeeded: length >> 8)
            #expect(throws: DecodeError.self) { try read(resealed(bad)) }
        }
        // The name's length stands behind 8 + 6 + 5 + 8 + 1 + 2 + 18 bytes of ids, incarnation, nonce, flags, versions
        // and address.
        let nameAt = base.count + 2 + 8 + 6 + 5 + 8 + 1 + 2 + 18
        #expect(Int(good[nameAt]) == peer(1).name.utf8.count)
        for length in [65, 127] as [UInt8] {
            var bad = good
            bad[nameAt] = length
            #expect(throws: DecodeError.tooLong(limit: 64)) { try read(resealed(bad)) }
        }
    }

    @Test("The largest rumor fits its cap, and four fit a datagram's head and each other")
    func largest() throws {
        var member = peer(.max, durable: true)
        member.name = String(repeating: "n", count: 64)
        member.http = String(repeating: "h", count: 128)
        member.extra = Array(repeating: 7, count: 128)
        member.state = .dead
        member.incarnation = Incarnation(epoch: .max, counter: .max)
        let rumor = Rumor(member: member, accuser: ReplicaID(.max), ageMs: .max)
        var bytes: [UInt8] = []
        rumor.encode(into: &bytes)
        #expect(bytes.count - 2 <= Rumor.sizeLimit)
        var head: [UInt8] = []
        let widest = Membership.Summary(digest: .max, clockMs: .max)
        Datagram.open(
            .announce(you: peer(1).gossip, wantsTable: true, widest), from: member, counter: .max, cluster: 1,
            into: &head)
        #expect(head.count <= Datagram.headLimit)
        #expect(head.count + 2 * bytes.count <= Datagram.sizeLimit, "an accusation and the accuser always fit")
    }

    @Test("A hundred thousand mutations of real datagrams break nothing")
    func fuzz() {
        var dice = Dice(seed: 20_261_121)
        var seeds = messages.map { encode($0, rumors) } + messages.map { encode($0) }
        var limits = Membership.Limits()
        limits.members = 40
        limits.gone = 10
        var one = OneNode(seeds: [peer(1).gossip], limits: limits)
        for i in 1...8 as ClosedRange<UInt64> { one.learn(peer(i)) }
        for state in MemberState.allCases {
            var me = one.swim.me
            me.state = state
            me.incarnation.counter = .max - 3
            seeds.append(encode(.gossip, [Rumor(member: me, accuser: ReplicaID(3), ageMs: .max)]))
        }
        var accepted = 0
        for round in 0..<100_000 {
            if round % 1_000 == 0 {
                // Whatever the mutations made of it, their sender is known again: of a stranger less is believed.
                var sender = peer(5)
                sender.incarnation.counter = UInt32(round) + 1
                one.learn(sender)
            }
            var bytes = seeds[Int(dice.below(UInt64(seeds.count)))]
            for _ in 0...dice.below(3) {
                let at = Int(dice.below(UInt64(max(1, bytes.count))))
                switch dice.below(6) {
                case 0 where !bytes.isEmpty: bytes[at] = UInt8(truncatingIfNeeded: dice.next())
                case 1 where !bytes.isEmpty: bytes[at] ^= 1 << UInt8(dice.below(8))
                case 2: bytes.removeLast(min(bytes.count, Int(dice.below(40))))
                case 3: bytes.insert(UInt8(truncatingIfNeeded: dice.next()), at: min(at, bytes.count))
                case 4 where !bytes.isEmpty: bytes[at] = 0xff
                default: bytes += seeds[Int(dice.below(UInt64(seeds.count)))].suffix(Int(dice.below(80)))
                }
            }
            if round % 8 != 0 { bytes = resealed(bytes) }
            if round % 16 == 1 {
                one.give(.learned, Array(bytes.dropFirst(Int(dice.below(60)))))
            } else {
                one.give(.datagram(from: peer(dice.below(20)).gossip), bytes)
            }
            if round % 50 == 0 {
                one.now = one.now.advanced(milliseconds: dice.below(400))
                one.give(.tick)
            }
            for effect in one.effects.list {
                if case .datagram(_, let range) = effect, range.count > 1_400 { Issue.record("\(range.count) bytes") }
                if case .summary = effect { accepted += 1 }
            }
        }
        #expect(accepted > 1_000, "the mutations reach what lies behind the checks: \(accepted)")
        #expect(one.swim.counters.malformed > 10_000)
        #expect(one.swim.me.state == .alive)
        #expect(one.swim.members.count <= one.swim.limits.members)
        #expect(one.swim.relays.count <= one.swim.limits.relays)
    }
}
