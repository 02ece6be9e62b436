import CRDT
import Testing

@testable import Gossip

@Suite("Membership of one, two and three")
struct MembershipSmallTests {
    @Test("Alone, a node sends nothing in an hour, believes in itself, and wakes no more than it must")
    func one() {
        var one = OneNode()
        let effects = one.pass(milliseconds: 3_600_000)
        #expect(effects.allSatisfy { if case .wake = $0 { true } else { false } })
        #expect(one.swim.counters == Membership.Counters())
        #expect(one.swim.localHealth.multiplier == 1)
        #expect(one.swim.aliveCount == 1 && one.swim.presentCount == 1)
        #expect(effects.count < 3_600 * 3, "a round of probing and one of announcing at the most")
    }

    @Test("Alone with a seed that never answers, a node announces itself and does nothing else")
    func oneWithSeed() {
        var one = OneNode(seeds: [peer(1).gossip])
        _ = one.pass(milliseconds: 600_000)
        #expect((250...450).contains(one.swim.counters.datagramsSent), "about every two seconds")
        #expect(one.swim.counters.probes == 0 && one.swim.localHealth.multiplier == 1)
        #expect(one.swim.members.count == 1)
    }

    @Test(
        "Of two or three nobody is left to confirm: exactly the minimum lies between suspicion and death",
        arguments: [2, 3], UInt64(1)...8)
    func twoOrThree(size: Int, seed: UInt64) throws {
        var world = MembershipWorld(size: size, seed: seed)
        let victim = size - 1
        world.nodes[victim].isUp = false
        let downAt = world.nowMs
        world.run(milliseconds: 30_000)
        let about = world.changes.filter { $0.subject == world.id(victim) && $0.ms >= downAt }
        let suspected = try #require(about.first { $0.now == .suspect })
        let dead = try #require(about.first { $0.now == .dead })
        #expect(about.allSatisfy { $0.now != .alive })
        #expect(dead.ms - suspected.ms == 4_000, "3 − 1 suspect leave 2, of whom none is independent")
        #expect(suspected.ms - downAt <= 4_000, "the next probe but one, and its interval")
        for i in 0..<victim { #expect(world.state(of: victim, at: i) == .dead) }
    }

    @Test(
        "Of four the last two wait for each other, and no longer than 24 s",
        arguments: [(4, 0, 24_000), (4, 1, 4_000), (5, 0, 24_000), (5, 1, 11_381), (5, 2, 4_000), (6, 3, 4_000)]
            as [(UInt64, UInt64, UInt64)])
    func more(size: UInt64, confirmations: UInt64, expectedMs: UInt64) throws {
        var one = OneNode()
        for i in 1..<size { one.learn(peer(i)) }
        var suspect = peer(1)
        suspect.state = .suspect
        let began = one.now
        for accuser in 0...confirmations { one.learn(suspect, accuser: ReplicaID(2 + accuser)) }
        let deadline = one.swim.suspicions[0].deadline(members: one.swim.aliveCount, .lan)
        #expect(deadline.milliseconds(since: began) == expectedMs)
        one.now = deadline.advanced(milliseconds: 0)
        var early = one
        // In steps, so that nobody takes the wait for a stall; nobody else is on trial yet at the start of one.
        early.swim.asked = nil
        early.now = Instant(microseconds: deadline.microseconds - 1)
        early.give(.tick)
        #expect(early.swim.member(ReplicaID(1))?.state == .suspect)
        one.swim.asked = nil
        one.give(.tick)
        #expect(one.swim.member(ReplicaID(1))?.state == .dead)
    }

    @Test("Two that cannot hear each other are each alone, and two again at once after the heal", arguments: [2, 3])
    func alone(size: Int) throws {
        var world = MembershipWorld(size: size)
        for a in 0..<size { for b in 0..<size where a != b { world.cutDatagrams.insert([a, b]) } }
        _ = try #require(world.run(until: 60_000) { $0.nodes.allSatisfy { $0.membership.presentCount == 1 } })
        world.run(milliseconds: 60_000)
        #expect(world.nodes.allSatisfy { $0.membership.localHealth.multiplier == 1 }, "nobody to probe: healthy")
        world.heal()
        let ms = try #require(world.run(until: 10_000) { $0.isUnanimous })
        #expect(ms <= 4_000)
    }

    @Test("Of two, one says goodbye: the other is alone at once, and suspects nobody", arguments: [2, 3])
    func leave(size: Int) throws {
        var world = MembershipWorld(size: size)
        world.give(.leave, [], to: 0)
        let ms = try #require(
            world.run(until: 5_000) { world in
                (1..<size).allSatisfy { world.nodes[$0].membership.presentCount == size - 1 }
            })
        #expect(ms <= 1_000)
        world.run(milliseconds: 60_000)
        #expect(world.changes.allSatisfy { $0.now == .alive || $0.now == .left })
    }
}
