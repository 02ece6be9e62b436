import CRDT
import Testing

@testable import Gossip

@Suite("Membership, one node and what it is told")
struct MembershipClaimTests {
    private let ada = peer(1)
    private let bob = peer(2)

    private func claim(_ member: Member, _ state: MemberState, counter: UInt32 = 0, epoch: UInt64 = 1) -> Member {
        var claim = member
        claim.state = state
        claim.incarnation = Incarnation(epoch: epoch, counter: counter)
        return claim
    }

    @Test(
        "An accusation is refuted with the next incarnation, at once in the answer",
        arguments: [
            MemberState.suspect, .dead, .left,
        ])
    func refute(state: MemberState) {
        var one = OneNode()
        one.learn(ada)
        let lie = claim(one.swim.me, state, counter: 4)
        one.hear(
            .ping(sequence: 9, target: one.swim.me.replica, table: 0, .init()), from: ada,
            rumors: [Rumor(member: lie, accuser: bob.replica)])
        #expect(one.swim.me.state == .alive)
        #expect(one.swim.me.incarnation.counter == 5)
        #expect(one.effects.list.contains(.changed(one.swim.me, was: .alive)))
        #expect(
            one.sent.first?.datagram.message
                == .ack(sequence: 9, of: one.swim.me.replica, table: one.swim.tableHash, .init()))
        #expect(one.sent.first?.datagram.rumors.contains { $0.member.incarnation.counter == 5 } == true)
        #expect(one.swim.localHealth.multiplier == 2, "who has to refute is perhaps slow")
    }

    @Test("Only one's own id and epoch are one's own to defend")
    func notMine() {
        var one = OneNode(epoch: 3)
        one.learn(ada)
        one.learn(claim(one.swim.me, .dead, counter: 7, epoch: 2))
        #expect(one.swim.me.incarnation == Incarnation(epoch: 3), "an earlier start may well be dead")
        one.learn(claim(one.swim.me, .suspect, counter: 7, epoch: 4))
        #expect(one.swim.me.incarnation == Incarnation(epoch: 3), "a copy that still runs is visited")
        #expect(one.effects.list.contains(.cloned(epoch: 4, nonce: one.swim.me.nonce, at: one.swim.me.gossip)))
        one.learn(claim(one.swim.me, .dead, counter: .max, epoch: 3))
        #expect(one.swim.me.incarnation == Incarnation(epoch: 3), "there is no incarnation above the last")
        one.learn(claim(one.swim.me, .dead, counter: 7, epoch: 4))
        #expect(one.swim.me.incarnation == Incarnation(epoch: 5), "a copy that is dead is outlived")
    }

    @Test("A second process under the same id is reported once, an echo of an earlier start never")
    func clone() {
        var one = OneNode(epoch: 2)
        var other = one.swim.me
        other.nonce = 77
        other.gossip = bob.gossip
        let report = Membership.Effect.cloned(epoch: 2, nonce: 77, at: bob.gossip)
        one.hear(.gossip, from: other)
        #expect(one.effects.list.contains(report))
        one.hear(.gossip, from: other)
        one.learn(other)
        #expect(!one.effects.list.contains(report))
        other.incarnation.epoch = 1
        other.nonce = 78
        // From elsewhere it would be the original of which this node is a copy.
        other.gossip = one.swim.me.gossip
        one.hear(.gossip, from: other)
        #expect(one.effects.list.allSatisfy { if case .cloned = $0 { false } else { true } })
        #expect(one.swim.counters.stale == 1)
    }

    @Test("Whoever is believed dead is told so when it speaks, and not in every answer")
    func staleClaim() {
        var one = OneNode()
        one.learn(ada)
        one.learn(claim(ada, .dead))
        #expect(one.swim.member(ada.replica)?.state == .dead)
        one.hear(.gossip, from: ada, rumors: [Rumor(member: ada, accuser: ada.replica)])
        let accusation = one.sent.first { $0.to == ada.gossip }?.datagram.rumors.first?.member
        #expect(accusation?.replica == ada.replica && accusation?.state == .dead)
        one.hear(.gossip, from: ada)
        #expect(one.sent.isEmpty, "once per gossip interval is enough")
        one.hear(.gossip, from: ada, rumors: [Rumor(member: claim(ada, .alive, counter: 1), accuser: ada.replica)])
        #expect(one.swim.member(ada.replica)?.state == .alive)
    }

    @Test("Who tells an accusation that was refuted hears the refutation")
    func outdatedAccusation() {
        var one = OneNode()
        one.learn(ada)
        one.learn(claim(bob, .alive, counter: 3))
        one.hear(.gossip, from: ada, rumors: [Rumor(member: claim(bob, .suspect, counter: 2), accuser: ada.replica)])
        #expect(
            one.sent.contains {
                $0.to == ada.gossip && $0.datagram.rumors.contains { $0.member.incarnation.counter == 3 }
            })
    }

    @Test("A suspect is told of it by the ping itself")
    func buddy() {
        var one = OneNode()
        one.learn(ada)
        one.learn(claim(ada, .suspect))
        var pings: [Datagram] = []
        for _ in 0..<12 {
            one.now = one.now.advanced(milliseconds: 100)
            one.give(.tick)
            pings += one.sent.map(\.datagram).filter { if case .ping = $0.message { true } else { false } }
        }
        #expect(!pings.isEmpty)
        for ping in pings {
            #expect(ping.rumors.contains { $0.member.replica == ada.replica && $0.member.state == .suspect })
        }
    }

    @Test("A silent peer is asked for through its link and others at the timeout, and suspected an interval after")
    func silence() {
        var one = OneNode()
        one.learn(ada)
        one.learn(bob)
        while one.swim.probe == nil { _ = one.pass(milliseconds: 10) }
        let target = one.swim.probe!.target
        let helper = target == ada.replica ? bob : ada
        one.now = one.swim.probe!.askOthersAt!
        one.give(.tick)
        #expect(one.effects.list.contains(.askLink(target)))
        #expect(
            one.sent.contains { sent in
                if case .ask(_, target, _) = sent.datagram.message { sent.to == helper.gossip } else { false }
            })
        #expect(one.swim.member(target)?.state == .alive)
        var heard = one
        heard.give(.heard(target))
        #expect(heard.swim.probe == nil, "a frame over the link answers")
        var nacked = one
        nacked.hear(.nack(sequence: one.swim.sequence), from: helper)
        for (suffix, expected) in [(nacked, 1), (one, 2)] as [(OneNode, UInt64)] {
            var one = suffix
            one.now = one.swim.probe!.endsAt
            one.give(.tick)
            #expect(one.swim.member(target)?.state == .suspect)
            #expect(one.swim.localHealth.multiplier == expected, "a helper that says no clears this node")
        }
    }

    @Test("Who comes back from a stall gives everybody on trial the time that it slept")
    func stalled() {
        var one = OneNode()
        one.learn(ada)
        one.learn(bob)
        one.learn(claim(bob, .suspect))
        while one.swim.probe?.target != ada.replica || one.swim.probe?.askOthersAt != nil {
            one.now = one.swim.asked ?? one.now
            one.give(.tick)
        }
        let health = one.swim.localHealth.multiplier
        let verdictIn = one.swim.suspicions[0].deadline(members: 2, .lan).milliseconds(since: one.now)
        #expect(verdictIn > 0 && one.swim.suspicions.count == 1)
        one.now = one.now.advanced(milliseconds: 20_000)
        one.give(.tick)
        #expect(one.swim.counters.stalls == 1)
        #expect(one.swim.localHealth.multiplier == health + 1)
        #expect(one.swim.probe?.target == ada.replica, "the answer may lie in the socket's buffer still")
        #expect(one.swim.member(ada.replica)?.state == .alive)
        #expect(one.swim.member(bob.replica)?.state == .suspect, "and so may a refutation")
        _ = one.pass(milliseconds: 30_000)
        #expect(one.swim.member(bob.replica)?.state == .dead, "but not for ever")
    }

    @Test("Asked to ping another, a node pings, and passes on the answer or its absence")
    func relay() {
        var one = OneNode()
        one.learn(ada)
        one.learn(bob)
        one.hear(.ask(sequence: 5, target: bob.replica, at: bob.gossip), from: ada)
        guard let ping = one.sent.first(where: { $0.to == bob.gossip }),
            case .ping(let sequence, _, _, _) = ping.datagram.message
        else {
            Issue.record("no ping was sent")
            return
        }
        var silent = one
        let word = Membership.Summary(digest: 8, clockMs: 9)
        one.hear(.ack(sequence: sequence, of: bob.replica, table: 3, word), from: bob)
        #expect(
            one.sent.first { $0.to == ada.gossip }?.datagram.message
                == .ack(sequence: 5, of: bob.replica, table: 3, word))
        #expect(one.effects.list.contains(.summary(of: bob.replica, word, ageMs: nil)))

        for stepMs in [100, 100, 100, 99] as [UInt64] {
            silent.now = silent.now.advanced(milliseconds: stepMs)
            silent.give(.tick)
            #expect(!silent.sent.contains { $0.datagram.message == .nack(sequence: 5) })
        }
        silent.now = silent.now.advanced(milliseconds: 1)
        silent.give(.tick)
        #expect(silent.sent.contains { $0.to == ada.gossip && $0.datagram.message == .nack(sequence: 5) })
        #expect(silent.swim.relays.isEmpty)
    }

    @Test("A ping meant for the address's former tenant is answered with who lives there now")
    func formerTenant() {
        var one = OneNode()
        one.hear(.ping(sequence: 1, target: ReplicaID(55), table: 0, .init()), from: ada)
        let answer = one.sent.first { $0.to == ada.gossip }?.datagram
        #expect(answer?.message == .welcome(you: ada.gossip, .init()))
        #expect(answer?.rumors.first?.member.replica == one.swim.me.replica)
    }

    @Test("A handshake with a peer believed dead lets it refute")
    func met() {
        var one = OneNode()
        one.give(.met(ada))
        #expect(one.swim.member(ada.replica)?.state == .alive)
        one.learn(claim(ada, .dead))
        one.give(.met(ada))
        #expect(one.swim.member(ada.replica)?.state == .dead, "only a higher incarnation brings it back")
        #expect(one.sent.contains { $0.to == ada.gossip && $0.datagram.rumors.contains { $0.member.state == .dead } })
        one.give(.met(claim(ada, .alive, epoch: 2)))
        #expect(one.swim.member(ada.replica)?.state == .alive)
        var clone = one.swim.me
        clone.nonce = 5
        one.give(.met(clone))
        #expect(one.effects.list.contains(.cloned(epoch: 1, nonce: 5, at: clone.gossip)))
    }

    @Test("A whole table travels in pieces, kills nobody, and brings the durable dead with their age")
    func table() {
        var old = OneNode()
        for i in 1...40 as ClosedRange<UInt64> { old.learn(peer(i, durable: i % 2 == 0)) }
        old.learn(claim(peer(3), .dead))
        old.learn(claim(peer(4, durable: true), .dead))
        old.learn(claim(peer(5), .left))
        _ = old.pass(milliseconds: 1_000)
        old.now = old.now.advanced(milliseconds: 1_000)

        var new = OneNode(id: 101)
        new.now = old.now
        new.learn(peer(6))
        new.learn(peer(4, durable: true))
        var after: ReplicaID?
        var pieces = 0
        repeat {
            var bytes: [UInt8] = []
            after = old.swim.encodeTable(after: after, maxBytes: 700, now: old.now, into: &bytes)
            #expect(bytes.count <= 700)
            new.give(.learned, bytes)
            pieces += 1
        } while after != nil
        #expect(pieces > 3)
        #expect(new.swim.member(peer(3).replica) == nil && new.swim.member(peer(5).replica) == nil)
        #expect(new.swim.member(peer(4).replica)?.state == .alive, "an old view kills nobody")
        for i in 6...40 as ClosedRange<UInt64> { #expect(new.swim.member(ReplicaID(i)) != nil) }
        #expect(new.swim.member(ReplicaID(100)) != nil, "the sender is in its own table")

        var later = OneNode(id: 102)
        later.now = old.now
        var bytes: [UInt8] = []
        #expect(old.swim.encodeTable(now: old.now, into: &bytes) == nil)
        later.give(.learned, bytes)
        let there = old.swim.records[old.swim.index(of: ReplicaID(4))!]
        let here = later.swim.records[later.swim.index(of: ReplicaID(4))!]
        #expect(here.member.state == .dead)
        #expect(here.forgetAt == there.forgetAt, "all forget a dead member at about the same time")

        bytes.removeLast(10)
        later.give(.learned, bytes)
        #expect(later.swim.counters.malformed == 1)
    }

    @Test("However many are claimed, few are kept, and the living before the gone")
    func caps() {
        var limits = Membership.Limits()
        limits.members = 50
        limits.gone = 10
        var one = OneNode(limits: limits)
        for i in 1...40 as ClosedRange<UInt64> { one.learn(peer(i)) }
        for i in 1...20 as ClosedRange<UInt64> { one.learn(claim(peer(i), .dead)) }
        #expect(one.swim.members.count(where: { $0.state == .dead }) == 10)
        for i in 201...300 as ClosedRange<UInt64> { one.learn(peer(i)) }
        #expect(one.swim.members.count == 50)
        #expect(one.swim.members.allSatisfy { $0.state == .alive }, "the gone make room for the living")
        #expect(one.swim.counters.refused > 0)
        #expect(one.swim.members.map(\.replica) == one.swim.members.map(\.replica).sorted())
    }

    @Test("A seed is announced to for ever, quickly at first, until a live member has its address")
    func announce() {
        let seed = ada.gossip
        var one = OneNode(seeds: [seed, peer(100).gossip])
        let start = one.now
        var at: [UInt64] = []
        while one.now.milliseconds(since: start) < 60_000 {
            one.give(.tick)
            for (to, datagram) in one.sent {
                #expect(to == seed, "it does not announce itself to itself")
                #expect(datagram.message == .announce(you: seed, wantsTable: true, .init()))
                #expect(datagram.rumors.map(\.member.replica) == [one.swim.me.replica])
                at.append(one.now.milliseconds(since: start))
            }
            one.now = one.swim.asked!
        }
        #expect(at[0] == 0)
        #expect((375...625).contains(at[1]) && (1_125...1_875).contains(at[2]))
        #expect((25...42).contains(at.count), "about every two seconds: \(at)")
        one.hear(
            .welcome(you: one.swim.me.gossip, .init()), from: ada, rumors: [Rumor(member: ada, accuser: ada.replica)])
        one.now = one.now.advanced(milliseconds: 5_000)
        one.give(.tick)
        #expect(!one.sent.contains { if case .announce = $0.datagram.message { true } else { false } })
    }

    @Test(
        "An address without host or port is completed by what others see",
        arguments: [
            (Address(ipv4: 0, port: 7_000), Address(ipv4: 0x0a00_0009, port: 7_000)),
            (Address(ipv4: 0, port: 0), Address(ipv4: 0x0a00_0009, port: 4_444)),
            (Address(ipv4: 0x0a00_0001, port: 0), Address(ipv4: 0x0a00_0001, port: 4_444)),
        ])
    func address(mine: Address, expected: Address) {
        var one = OneNode()
        one.swim.me.gossip = mine
        one.give(.tick)
        one.hear(
            .welcome(you: Address(ipv4: 0x0a00_0009, port: 4_444), .init()), from: ada,
            rumors: [Rumor(member: ada, accuser: ada.replica)])
        #expect(one.swim.me.gossip == expected)
        #expect(one.effects.list.contains(.changed(one.swim.me, was: .alive)))
        #expect(
            one.sent.contains { $0.to == ada.gossip && $0.datagram.rumors.contains { $0.member.gossip == expected } })
        one.hear(.welcome(you: bob.gossip, .init()), from: ada)
        #expect(one.swim.me.gossip == expected, "the first one stays")
    }

    @Test("A name is cut to its cap at a character, and a name used twice is warned of")
    func names() {
        let long = Member(
            replica: ReplicaID(1), name: String(repeating: "é", count: 40), gossip: ada.gossip,
            http: String(repeating: "x", count: 500), incarnation: .init(epoch: 1))
        #expect(long.name.utf8.count == 64 && long.http.utf8.count == 128)
        var one = OneNode()
        one.learn(ada)
        var twin = bob
        twin.name = ada.name
        one.learn(twin)
        #expect(
            one.effects.list.contains {
                if case .log(.warning, let text) = $0 { text.contains("--name") } else { false }
            })
    }
}
