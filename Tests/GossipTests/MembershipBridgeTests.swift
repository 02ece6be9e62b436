import CRDT
import Testing

@testable import Gossip

@Suite("Suspicions that run are told again")
struct MembershipBridgeTests {
    @Test("Under 5 % loss nobody is called dead over a bridge in a quarter of an hour", arguments: UInt64(1)...6)
    func lossyBridge(seed: UInt64) {
        var world = MembershipWorld(size: 3, seed: seed)
        world.cutDatagrams = [[0, 2], [2, 0]]
        world.lossRate = 0.05
        world.run(milliseconds: 900_000)
        let deaths = world.changes.filter { $0.now == .dead && $0.was != .dead }
        let suspicions = world.changes.filter { $0.now == .suspect }
        #expect(deaths.isEmpty, "\(deaths.count) deaths of \(suspicions.count) suspicions")
        #expect(suspicions.count > 25, "there is something to refute")
    }

    /// A node that knows `count` members, of which nothing is news any more.
    private func informed(_ count: UInt64) -> OneNode {
        var one = OneNode()
        for i in 1...count { one.learn(peer(i)) }
        one.settleNews()
        return one
    }

    private func suspect(_ member: Member, counter: UInt32 = 0) -> Member {
        var claim = member
        claim.state = .suspect
        claim.incarnation.counter = counter
        return claim
    }

    @Test("Whoever holds a suspicion tells it with everything, until it is refuted, and then no more")
    func untilRefuted() {
        var one = informed(4)
        one.learn(suspect(peer(1)), accuser: ReplicaID(2))
        one.settleNews()
        for asker in [2, 3, 4, 1] as [UInt64] {
            let told = one.answer(to: peer(asker))
            #expect(told.map(\.member.replica) == [ReplicaID(1)], "to \(asker)")
            #expect(told.first?.member.state == .suspect)
            #expect(told.first?.accuser == ReplicaID(2), "to have heard of it is no accusation of one's own")
        }
        var alive = peer(1)
        alive.incarnation.counter = 1
        one.learn(alive)
        one.settleNews()
        for asker in [2, 3, 1] as [UInt64] { #expect(one.answer(to: peer(asker)).isEmpty) }
    }

    @Test("A suspicion that ended in a death is retold no more")
    func untilDeath() {
        var one = informed(4)
        one.learn(suspect(peer(1)), accuser: ReplicaID(2))
        var dead = peer(1)
        dead.state = .dead
        one.learn(dead)
        one.settleNews()
        #expect(one.answer(to: peer(2)).isEmpty)
    }

    @Test("To hear a suspicion again and again, from whomever, confirms nothing")
    func noConfirmation() {
        var one = informed(9)
        for teller in 2...9 as ClosedRange<UInt64> {
            one.hear(.gossip, from: peer(teller), rumors: [Rumor(member: suspect(peer(1)), accuser: ReplicaID(2))])
        }
        #expect(one.swim.suspicions.first?.accusers == [ReplicaID(2)])
    }

    @Test("Many suspicions take turns, at most eight and that of the addressee on one datagram")
    func turns() {
        var one = informed(40)
        for i in 1...20 as ClosedRange<UInt64> { one.learn(suspect(peer(i)), accuser: ReplicaID(30)) }
        one.settleNews()
        var seen: Set<ReplicaID> = []
        for asker in 21...23 as ClosedRange<UInt64> {
            let told = one.answer(to: peer(asker)).map(\.member.replica)
            #expect(told.count == Membership.retoldLimit && Set(told).count == told.count)
            seen.formUnion(told)
        }
        #expect(seen.count == 20, "three datagrams tell of all twenty")
        for suspect in 1...20 as ClosedRange<UInt64> {
            let told = one.answer(to: peer(suspect)).map(\.member.replica)
            #expect(told.first == ReplicaID(suspect), "what concerns the addressee comes first")
            #expect(told.count == Membership.retoldLimit + 1 && Set(told).count == told.count)
        }
    }

    @Test("News go before what is told again, and nothing is told twice on one datagram")
    func newsFirst() {
        var one = informed(12)
        for i in 1...9 as ClosedRange<UInt64> { one.learn(suspect(peer(i)), accuser: ReplicaID(12)) }
        one.settleNews()
        one.learn(peer(50))
        one.learn(suspect(peer(3)), accuser: ReplicaID(11))
        let told = one.answer(to: peer(10))
        #expect(told.map(\.member.replica).prefix(2) == [ReplicaID(3), ReplicaID(50)])
        #expect(told.first?.accuser == ReplicaID(11), "a confirmation is news under its own name")
        #expect(Set(told.map(\.member.replica)).count == told.count)
        #expect(told.count == 2 + Membership.retoldLimit)
    }

    @Test("Long names leave room for as many as fit, and each still gets its turn")
    func longNames() {
        var one = OneNode()
        func long(_ i: UInt64) -> Member {
            var member = peer(i)
            member.name = String(repeating: "n", count: Member.nameLimit)
            member.http = String(repeating: "h", count: Member.httpLimit)
            member.extra = Array(repeating: 7, count: Member.extraLimit)
            return member
        }
        for i in 1...8 as ClosedRange<UInt64> { one.learn(long(i)) }
        for i in 1...7 as ClosedRange<UInt64> { one.learn(suspect(long(i)), accuser: ReplicaID(8)) }
        one.settleNews()
        var seen: Set<ReplicaID> = []
        for _ in 0..<4 {
            let told = one.answer(to: peer(8))
            #expect((2...3).contains(told.count))
            seen.formUnion(told.map(\.member.replica))
        }
        #expect(seen.count == 7)
    }
}

extension OneNode {
    /// Lets everything that is news be told as often as it is told, without time passing for anybody on trial.
    mutating func settleNews() {
        while !swim.rumors.isEmpty { _ = answer(to: peer(999)) }
    }

    /// What it tells a member that pings it.
    mutating func answer(to asker: Member) -> [Rumor] {
        hear(.ping(sequence: 1, target: swim.me.replica, table: swim.tableHash, .init()), from: asker)
        let acks = sent.filter { if case .ack = $0.datagram.message { $0.to == asker.gossip } else { false } }
        return acks.first?.datagram.rumors ?? []
    }
}
