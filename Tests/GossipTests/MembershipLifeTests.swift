import CRDT
import Testing

@testable import Gossip

@Suite("Membership: who is who, for how long, and how sure")
struct MembershipLifeTests {
    @Test(
        "The health multiplier stretches interval and timeout of a probe, and each answered one takes a step back",
        arguments: [(0, 1), (1, 2), (3, 4), (7, 8), (50, 8)] as [(Int, UInt64)])
    func health(signs: Int, multiplier: UInt64) {
        var one = OneNode()
        one.learn(peer(1))
        one.swim.localHealth.worsen(by: signs)
        #expect(one.swim.localHealth.multiplier == multiplier)
        let probe = one.untilProbe()
        #expect(probe.askOthersAt?.milliseconds(since: probe.sentAt) == 500 * multiplier)
        #expect(probe.endsAt.milliseconds(since: probe.sentAt) == 1_000 * multiplier)
        #expect(one.swim.nextProbe.milliseconds(since: probe.sentAt) == 1_000 * multiplier)
        one.hear(.ack(sequence: probe.sequence, of: ReplicaID(1), table: one.swim.tableHash, .init()), from: peer(1))
        #expect(one.swim.probe == nil)
        #expect(one.swim.localHealth.multiplier == max(1, multiplier - 1))
    }

    @Test(
        "Each helper that is asked and says nothing at all is a sign against this node; one that says no is none",
        arguments: 0...3)
    func helpers(nacks: Int) {
        var one = OneNode()
        for i in 1...4 as ClosedRange<UInt64> { one.learn(peer(i)) }
        let target = one.untilProbe().target
        one.now = one.swim.probe!.askOthersAt!
        one.give(.tick)
        let asked = one.sent.filter { if case .ask = $0.datagram.message { true } else { false } }.map(\.to)
        #expect(asked.count == 3 && !asked.contains(one.swim.member(target)!.gossip), "three others are asked")
        for address in asked.prefix(nacks) {
            let helper = (1...4).map { peer(UInt64($0)) }.first { $0.gossip == address }!
            one.hear(.nack(sequence: one.swim.sequence), from: helper)
            one.hear(.nack(sequence: one.swim.sequence), from: helper)
        }
        one.now = one.swim.probe!.endsAt
        one.give(.tick)
        #expect(one.swim.member(target)?.state == .suspect)
        #expect(one.swim.localHealth.multiplier == 1 + UInt64(3 - nacks))
    }

    @Test("Where datagrams get nowhere, a ping over the link keeps two peers together, and its end parts them")
    func linkFallback() {
        var world = LinkWorld(2)
        world.linkAll()
        world.run(milliseconds: 120_000)
        for i in 0..<2 {
            #expect(world.isLinked(i, 1 - i))
            let counters = world.clusters[i].membership.counters
            #expect(counters.datagramsReceived == 0 && counters.probes > 50 && counters.probesFailed == 0)
            #expect(world.clusters[i].membership.aliveCount == 2)
            #expect(world.lines[i].count { $0.text.contains("answers over TCP but not over UDP") } == 1)
        }
        world.disconnect(0, 1)
        world.run(milliseconds: 20_000)
        for i in 0..<2 { #expect(world.clusters[i].membership.members.count { $0.state == .dead } == 1) }
    }

    @Test(
        "A durable node comes back at another address: it is the same member, and the old address is let go",
        arguments: [500, 60_000] as [UInt64])
    func newAddress(downMs: UInt64) throws {
        var world = MembershipWorld(size: 3)
        let id = world.add(seeds: [world.nodes[0].address], durable: true)
        world.run(milliseconds: 3_000)
        world.nodes[3].isUp = false
        world.run(milliseconds: downMs)
        let elsewhere = MembershipWorld.address(77)
        world.add(seeds: [world.nodes[1].address], at: elsewhere, durable: true, replica: id, epoch: 2)
        _ = try #require(world.run(until: 30_000) { $0.isUnanimous })
        world.run(milliseconds: 5_000)
        for i in [0, 1, 2] {
            let member = world.nodes[i].membership.member(id)
            #expect(member?.gossip == elsewhere && member?.incarnation.epoch == 2)
            #expect(world.nodes[i].membership.members.count == 4)
        }
        let before = world.nodes.map { $0.membership.counters.probesFailed }
        world.nodes[3].spoken = [:]
        for i in 0..<3 { world.nodes[i].spoken[3] = nil }
        world.run(milliseconds: 60_000)
        #expect(world.nodes.map { $0.membership.counters.probesFailed } == before)
        for i in 0..<3 { #expect(world.nodes[i].spoken[3] == nil, "nobody writes to the old address") }
    }

    @Test("Another id at a member's address is its successor only once it speaks from there itself")
    func replaced() {
        var one = OneNode()
        one.learn(peer(1))
        var successor = peer(2)
        successor.gossip = peer(1).gossip
        one.learn(successor)
        #expect(one.swim.member(ReplicaID(1))?.state == .alive, "hearsay about an address replaces nobody")
        one.hear(.gossip, from: successor, rumors: [Rumor(member: successor, accuser: successor.replica)])
        #expect(one.swim.member(ReplicaID(1))?.state == .dead)
        #expect(one.swim.member(ReplicaID(2))?.state == .alive)
        #expect(one.swim.counters.deaths == 1 && one.swim.counters.suspicions == 0, "without a suspicion")
    }

    @Test("Of two processes under one id the one that started later takes another, whoever hears of whom first")
    func clones() {
        for first in [0, 1] {
            var world = LinkWorld(0)
            world.add(ReplicaID(7))
            world.run(milliseconds: 5_000)
            world.add(ReplicaID(7), aheadMs: 5_000)
            world.connect(first, 1 - first)
            world.settle()
            #expect(world.resets[0].isEmpty, "the elder stays")
            #expect(world.resets[1].map(\.cause) == [.cloned])
            #expect(!world.isLinked(0, 1) && !world.isLinked(1, 0))
        }
    }

    @Test(
        "A dead member is known for 5 minutes if its log died with it, one that left for one; both for 72 hours if not",
        arguments: [
            (MemberState.dead, false, 300_000), (.dead, true, 72 * 3_600_000), (.left, false, 60_000),
            (.left, true, 72 * 3_600_000),
        ] as [(MemberState, Bool, UInt64)])
    func reaping(state: MemberState, durable: Bool, lifetimeMs: UInt64) {
        var one = OneNode()
        one.learn(peer(1, durable: durable))
        var gone = peer(1, durable: durable)
        gone.state = state
        one.learn(gone)
        let goneAt = one.now
        one.now = goneAt.advanced(milliseconds: lifetimeMs - 1)
        one.give(.tick)
        #expect(one.swim.member(ReplicaID(1))?.state == state)
        one.now = one.now.advanced(milliseconds: 3_000)
        one.give(.tick)
        #expect(one.swim.member(ReplicaID(1)) == nil)
        #expect(
            one.effects.list.contains(
                .forgotten(
                    {
                        var m = gone; m.since = goneAt; return m
                    }())))
    }

    @Test("How long a durable member is waited for is a setting; a volatile one's time follows the profile")
    func reapingSettings() {
        var limits = Membership.Limits()
        limits.forgetAfterMs = 24 * 3_600_000
        var one = OneNode(limits: limits)
        one.learn(peer(1, durable: true))
        #expect(
            one.swim.lifetimeMs(
                of: {
                    var m = peer(1, durable: true); m.state = .dead; return m
                }()) == 86_400_000)
        let fast = Membership(
            me: peer(9), seeds: [], cluster: "test", profile: .fast, dice: Dice(seed: 1),
            now: Instant(milliseconds: 1))
        #expect(
            fast.lifetimeMs(
                of: {
                    var m = peer(1); m.state = .dead; return m
                }()) == 30_000)
        #expect(
            fast.lifetimeMs(
                of: {
                    var m = peer(1, durable: true); m.state = .dead; return m
                }()) == 72 * 3_600_000,
            "whoever can come back is waited for in hours, whatever the profile")
    }

    @Test("The dead are announced to as long as they are known: a durable one in the last of 72 hours, too")
    func deadHear() {
        var one = OneNode()
        one.learn(peer(1, durable: true))
        var dead = peer(1, durable: true)
        dead.state = .dead
        one.learn(dead)
        one.now = one.now.advanced(milliseconds: 72 * 3_600_000 - 10_000)
        one.give(.tick)
        let announcement = one.sent.first { $0.to == peer(1).gossip }
        #expect(announcement?.datagram.rumors.contains { $0.member.state == .dead } == true, "with the accusation")
        one.now = one.now.advanced(milliseconds: 20_000)
        one.give(.tick)
        one.now = one.now.advanced(milliseconds: 20_000)
        one.give(.tick)
        #expect(!one.sent.contains { $0.to == peer(1).gossip }, "and then no more")
    }
}

extension OneNode {
    /// Lets time pass until it begins a probe, which is returned.
    fileprivate mutating func untilProbe() -> Probe {
        while true {
            if let probe = swim.probe { return probe }
            _ = pass(milliseconds: 10)
        }
    }
}
