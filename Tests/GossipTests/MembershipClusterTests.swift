import CRDT
import Testing

@testable import Gossip

@Suite("Membership, as a cluster lives it")
struct MembershipClusterTests {
    @Test("Everybody who joins through one seed knows everybody", arguments: [1, 2, 3, 5, 20, 50])
    func join(size: Int) throws {
        for seed in 1...(size > 20 ? 4 : 10) as ClosedRange<UInt64> {
            var world = MembershipWorld(size: size, seed: seed, settleMs: 0)
            let ms = try #require(world.run(until: 5_000) { $0.isUnanimous }, "not joined with seed \(seed)")
            #expect(ms <= 4_000, "joined after \(ms) ms")
            world.run(milliseconds: 10_000)
            #expect(world.isUnanimous)
            #expect(world.changes.allSatisfy { $0.now == .alive }, "a calm cluster accuses nobody")
        }
    }

    @Test("A lone peer is alone, healthy and quiet")
    func alone() {
        var world = MembershipWorld(size: 1, settleMs: 60_000)
        #expect(world.isUnanimous)
        #expect(world.nodes[0].membership.counters.datagramsSent == 0)
        #expect(world.nodes[0].membership.localHealth.multiplier == 1)
        world.give(.leave, [], to: 0)
        #expect(world.nodes[0].hasLeft, "nobody has to be told goodbye")
    }

    @Test("A death is noticed by all in time, and only that one", arguments: [2, 3, 5, 20])
    func death(size: Int) throws {
        for seed in 1...5 as ClosedRange<UInt64> {
            var world = MembershipWorld(size: size, seed: seed)
            let victim = size - 1
            world.nodes[victim].isUp = false
            let survivors = 0..<victim
            let ms = try #require(
                world.run(until: 120_000) { world in
                    survivors.allSatisfy { world.state(of: victim, at: $0) == .dead }
                }, "not noticed with seed \(seed)")
            #expect(ms >= 4_000, "an accused has at least the minimum to refute")
            // A probe by somebody within about three seconds, the suspicion, and the way of the news.
            #expect(ms <= 15_000, "noticed after \(ms) ms with seed \(seed)")
            #expect(world.changes.allSatisfy { $0.now == .alive || $0.subject == world.id(victim) })
            world.run(milliseconds: 30_000)
            #expect(world.isUnanimous)
        }
    }

    @Test("The fast profile is ten times as fast")
    func fast() throws {
        var world = MembershipWorld(size: 5, seed: 2, profile: .fast, settleMs: 1_000)
        #expect(world.isUnanimous)
        world.nodes[4].isUp = false
        let ms = try #require(
            world.run(until: 10_000) { world in (0..<4).allSatisfy { world.state(of: 4, at: $0) == .dead } })
        #expect((400...1_500).contains(ms), "noticed after \(ms) ms")
        world.run(milliseconds: 40_000)
        #expect(world.nodes[0].forgotten == [world.id(4)], "forgotten after half a minute instead of five")
    }

    @Test("Two of three die at once: the survivor does not wait for their confirmation")
    func lastOneStanding() throws {
        var world = MembershipWorld(size: 3)
        world.nodes[1].isUp = false
        world.nodes[2].isUp = false
        let ms = try #require(world.run(until: 60_000) { $0.nodes[0].membership.presentCount == 1 })
        #expect(ms <= 20_000, "took \(ms) ms")
        world.run(milliseconds: 20_000)
        #expect(world.nodes[0].membership.localHealth.multiplier == 1, "with nobody to probe, health comes back")
    }

    @Test("A partition makes each side condemn the other, and its end makes all trust all", arguments: [2, 3, 5, 20])
    func partitionAndHeal(size: Int) throws {
        for seed in 1...3 as ClosedRange<UInt64> {
            var world = MembershipWorld(size: size, seed: seed)
            let side = Set(0..<(size / 2))
            world.partition(side)
            world.run(milliseconds: 90_000)
            for a in 0..<size {
                for b in 0..<size where a != b {
                    let expected: MemberState = side.contains(a) == side.contains(b) ? .alive : .dead
                    #expect(world.state(of: b, at: a) == expected, "\(b) at \(a), seed \(seed)")
                }
            }
            let before = world.changes.count
            world.heal()
            let ms = try #require(world.run(until: 30_000) { $0.isUnanimous }, "no heal with seed \(seed)")
            #expect(ms <= 4_000, "healed after \(ms) ms with seed \(seed)")
            let accused = world.changes[before...].filter { $0.now != .alive }
            #expect(accused.isEmpty, "a heal accuses nobody: \(accused)")
        }
    }

    @Test("A long partition outlives the memory of the dead, and still heals through the seed")
    func longPartition() throws {
        var world = MembershipWorld(size: 4)
        world.partition([0, 1])
        world.run(milliseconds: 400_000)
        #expect(world.nodes[0].membership.members.count == 2, "the dead without a disk are forgotten")
        #expect(world.nodes[0].forgotten.sorted() == [world.id(2), world.id(3)].sorted())
        world.heal()
        let ms = try #require(world.run(until: 30_000) { $0.isUnanimous })
        #expect(ms <= 6_000)
    }

    @Test("Who leaves is known to have left at once, and is dead to nobody", arguments: [2, 3, 5, 20])
    func leave(size: Int) throws {
        var world = MembershipWorld(size: size)
        let before = world.changes.count
        world.give(.leave, [], to: 1)
        let ms = try #require(world.run(until: 5_000) { $0.nodes[1].hasLeft })
        #expect(ms <= 1_000)
        world.nodes[1].isUp = false
        world.run(milliseconds: 2_000)
        for i in 0..<size where i != 1 { #expect(world.state(of: 1, at: i) == .left) }
        world.run(milliseconds: 120_000)
        #expect(world.changes[before...].allSatisfy { $0.now == .left && $0.subject == world.id(1) })
        for i in 0..<size where i != 1 { #expect(world.nodes[i].forgotten == [world.id(1)]) }
    }

    @Test("One cut direction between two peers is bridged by the others", arguments: [false, true])
    func oneWay(bothWays: Bool) {
        for seed in 1...5 as ClosedRange<UInt64> {
            var world = MembershipWorld(size: 5, seed: seed)
            world.cutDatagrams = bothWays ? [[1, 2], [2, 1]] : [[1, 2]]
            let before = world.changes.count
            world.run(milliseconds: 300_000)
            #expect(world.changes[before...].isEmpty, "seed \(seed)")
            #expect(world.isUnanimous)
        }
    }

    @Test("Two peers whose datagrams are blocked stay together over their link")
    func linkFallback() {
        var world = MembershipWorld(size: 2)
        world.hasLinks = true
        world.cutDatagrams = [[0, 1], [1, 0]]
        world.run(milliseconds: 120_000)
        #expect(world.isUnanimous)
        world.hasLinks = false
        world.run(milliseconds: 60_000)
        #expect(world.state(of: 1, at: 0) == .dead, "and without a link they do not")
    }

    @Test("A stalled loop accuses nobody when it comes back", arguments: [3_000, 20_000] as [UInt64])
    func stall(ms: UInt64) {
        for seed in 1...5 as ClosedRange<UInt64> {
            var world = MembershipWorld(size: 5, seed: seed)
            let before = world.changes.count
            world.nodes[2].stalledUntil = world.nowUs + ms * 1_000
            world.run(milliseconds: ms + 1)
            #expect(world.nodes[2].membership.counters.stalls >= 1)
            #expect(world.nodes[2].membership.localHealth.multiplier > 1, "it blames itself")
            world.run(milliseconds: 60_000)
            let byIt = world.changes[before...].filter { $0.observer == 2 && $0.now != .alive }
            #expect(byIt.isEmpty, "seed \(seed): \(byIt)")
            #expect(world.isUnanimous)
            #expect(world.nodes[2].membership.localHealth.multiplier == 1)
        }
    }

    @Test("A node restarted without its log takes its old self's place at once", arguments: [2, 3, 5])
    func restartInMemory(size: Int) throws {
        var world = MembershipWorld(size: size)
        let old = world.id(1)
        let address = world.nodes[1].address
        world.nodes[1].isUp = false
        world.run(milliseconds: 300)
        let new = world.add(seeds: [world.nodes[0].address], at: address)
        let ms = try #require(
            world.run(until: 10_000) { world in
                world.nodes.indices.filter { world.nodes[$0].isUp }.allSatisfy {
                    let membership = world.nodes[$0].membership
                    let isOldGone = membership.member(old).map { $0.state == .dead } ?? true
                    return isOldGone && membership.member(new)?.state == .alive
                }
            })
        #expect(ms <= 2_000, "took \(ms) ms")
        #expect(world.isUnanimous)
        world.run(milliseconds: 400_000)
        #expect(world.nodes[0].membership.members.count == size, "restarts leave nothing behind")
    }

    @Test("A restarted seed is found by those who joined through it, though it knows nobody")
    func restartedSeed() throws {
        var world = MembershipWorld(size: 3)
        let address = world.nodes[0].address
        world.nodes[0].isUp = false
        world.run(milliseconds: 30_000)
        #expect(world.state(of: 0, at: 1) == .dead)
        world.add(seeds: [], at: address)
        let ms = try #require(world.run(until: 20_000) { $0.isUnanimous })
        #expect(ms <= 6_000)
    }

    @Test(
        "A durable node comes back with a higher epoch, even before its death was noticed",
        arguments: [200, 60_000] as [UInt64])
    func restartDurable(downMs: UInt64) throws {
        var world = MembershipWorld(size: 3)
        let id = world.add(seeds: [world.nodes[0].address], durable: true)
        world.run(milliseconds: 3_000)
        world.nodes[3].isUp = false
        world.run(milliseconds: downMs)
        world.add(seeds: [], at: world.nodes[3].address, durable: true, replica: id, epoch: 2)
        let ms = try #require(
            world.run(until: 30_000) { world in
                (0..<3).allSatisfy {
                    let member = world.nodes[$0].membership.member(id)
                    return member?.state == .alive && member?.incarnation.epoch == 2
                } && world.nodes[4].membership.presentCount == 4
            })
        #expect(ms <= 10_000, "took \(ms) ms")
    }

    @Test("Nodes that do not know their own address learn it from each other")
    func unspecificAddress() throws {
        var world = MembershipWorld()
        let any = Address(ipv4: 0, port: 7946)
        world.add(seeds: [MembershipWorld.address(0)], advertise: any)  // a seed that is told to join itself
        for _ in 1..<4 { world.add(seeds: [MembershipWorld.address(0)], advertise: any) }
        _ = try #require(world.run(until: 5_000) { $0.isUnanimous })
        for i in 0..<4 { #expect(world.nodes[i].membership.me.gossip == world.nodes[i].address) }
    }

    @Test(
        "Loss kills nobody: ten nodes for ten minutes",
        arguments: [(0.01, false), (0.05, false), (0.05, true), (0.2, false)])
    func loss(rate: Double, links: Bool) {
        var world = MembershipWorld(size: 10, seed: 11)
        world.lossRate = rate
        world.hasLinks = links
        let before = world.changes.count
        world.run(milliseconds: 600_000)
        let deaths = world.changes[before...].filter { $0.now >= .dead }
        #expect(deaths.isEmpty, "\(deaths)")
        if rate >= 0.05 {
            let suspicions = world.changes[before...].filter { $0.now == .suspect }
            #expect(suspicions.isEmpty == links, "without links there is something to refute, with them there is not")
        }
        world.lossRate = 0
        world.run(milliseconds: 10_000)
        #expect(world.isUnanimous)
    }

    @Test("Nodes of another cluster are not heard")
    func otherCluster() {
        var world = MembershipWorld(size: 2)
        let me = Member(
            replica: ReplicaID(99), name: "stray", gossip: MembershipWorld.address(7), incarnation: .init(epoch: 1))
        var stray = Membership(
            me: me, seeds: [world.nodes[0].address], cluster: "other", profile: .lan, dice: Dice(seed: 3),
            now: world.now)
        var effects = Membership.Effects()
        stray.handle(.tick, [UInt8]().span.bytes, summary: .init(), now: world.now, into: &effects)
        world.give(.datagram(from: me.gossip), effects.bytes, to: 0)
        #expect(world.nodes[0].membership.counters.foreignCluster == 1)
        #expect(world.nodes[0].membership.members.count == 2)
    }

    @Test("An idle cluster is quiet: a ping and an answer per node and second", arguments: [3, 20, 50])
    func idle(size: Int) {
        var world = MembershipWorld(size: size, settleMs: 30_000)
        let before = world.nodes.map(\.membership.counters)
        world.run(milliseconds: 60_000)
        let datagrams = zip(world.nodes, before).map { $0.membership.counters.datagramsSent - $1.datagramsSent }
        let bytes = zip(world.nodes, before).map { $0.membership.counters.bytesSent - $1.bytesSent }
        let perSecond = Double(datagrams.reduce(0, +)) / Double(size) / 60
        let bytesPerSecond = Double(bytes.reduce(0, +)) / Double(size) / 60
        #expect(perSecond <= 2.1, "\(perSecond) datagrams/s")
        #expect(bytesPerSecond <= 200, "\(bytesPerSecond) bytes/s")
        #expect(world.nodes.allSatisfy { $0.membership.rumors.isEmpty }, "rumors die out")
    }

    @Test("The same seed tells the same story, another seed another one")
    func determinism() {
        func story(_ seed: UInt64) -> [String] {
            var world = MembershipWorld(size: 8, seed: seed)
            world.lossRate = 0.1
            world.partition([0, 1, 2])
            world.run(milliseconds: 30_000)
            world.heal()
            world.run(milliseconds: 20_000)
            return world.changes.map { "\($0.ms) \($0.observer) \($0.subject) \($0.now)" }
        }
        #expect(story(5) == story(5))
        #expect(story(5) != story(6))
    }
}
