import CRDT
import Testing

@testable import Gossip

/// What a frame says: its type, and nothing else of it.
private func type(_ frame: [UInt8]) -> Frame.FrameType? { try? Frame.open(frame.span.bytes).0 }

@Suite("Replication")
struct ReplicationTests {
    @Test("pushes an entry once to every linked peer, in one hop")
    func push() {
        var world = LinkWorld(3)
        world.linkAll()
        world.write(0, "one")
        world.write(0, "two")
        for peer in 1...2 { #expect(world.frames(0, peer).map(type) == [.facts, .facts]) }
        world.settle()
        for i in 0...2 { #expect(world.texts(i) == ["one", "two"]) }
        #expect(world.agrees)
        for i in 1...2 {
            #expect(world.clusters[i].replication.counters.applied == 2)
            #expect(world.clusters[i].replication.counters.duplicates == 0)
            #expect(world.clusters[i].replication.counters.repairs == 0)
        }
        #expect(world.frames(1, 2).isEmpty)
    }

    @Test("shows no effect before its cause, in every interleaving of two streams")
    func causalOrderOfTwo() {
        var world = LinkWorld(3)
        world.linkAll()
        // A dialogue: each line answers the one before, so there is one order in which it makes sense.
        for round in 1...3 {
            world.write(0, "question \(round)")
            #expect(world.deliver(0, 1) == true)
            world.write(1, "answer \(round)")
            #expect(world.deliver(1, 0) == true)
        }
        let dialogue = world.texts(0)
        #expect(dialogue.count == 6)
        let count = everyInterleaving(of: [0, 1], to: 2, in: world) { world in
            #expect(dialogue.starts(with: world.texts(2)))
        } end: { world in
            #expect(world.texts(2) == dialogue)
            #expect(world.clusters[2].replication.waitingBytes == 0)
        }
        #expect(count == 20)
    }

    @Test("shows no effect before its cause, in every interleaving of three streams")
    func causalOrderOfThree() {
        var world = LinkWorld(4)
        world.linkAll()
        // Two of each: a cause read by one, an effect read by the next, and one that nobody waits for.
        for (writer, readers) in [(0, [1]), (1, [2]), (2, [0]), (0, []), (1, []), (2, [])] as [(Int, [Int])] {
            world.write(writer, "\(writer)")
            for reader in readers { while world.deliver(writer, reader) {} }
        }
        let count = everyInterleaving(of: [0, 1, 2], to: 3, in: world) { world in
            #expect(world.effectsBeforeCauses(3) == [])
        } end: { world in
            #expect(world.texts(3).count == 6)
        }
        #expect(count == 90)
    }

    /// Delivers what is on its way to one node in every order that keeps each sender's; returns how many there are.
    private func everyInterleaving(
        of senders: [Int], to reader: Int, in world: LinkWorld, step: (LinkWorld) -> Void, end: (LinkWorld) -> Void
    ) -> Int {
        var count = 0
        for sender in senders where !world.frames(sender, reader).isEmpty {
            var next = world
            next.deliver(sender, reader)
            step(next)
            count += everyInterleaving(of: senders, to: reader, in: next, step: step, end: end)
        }
        guard count == 0 else { return count }
        end(world)
        return 1
    }

    @Test("fills a gap from any peer that has it, though the origin is gone")
    func originGone() {
        var world = LinkWorld(3)
        world.connect(0, 1)
        world.settle()
        for i in 1...5 { world.write(0, "entry \(i)") }
        world.settle()
        world.disconnect(0, 1)
        #expect(world.texts(2).isEmpty)
        world.connect(1, 2)
        world.settle()
        #expect(world.texts(2) == world.texts(0))
        #expect(world.agrees)
        #expect(world.clusters[2].replication.counters.repairs == 1)
        #expect(!world.clusters[2].replication.isRepairing)
    }

    @Test("hears from a peer that it has more, and asks when that does not come by itself")
    func heardOfMore() {
        var world = LinkWorld(3)
        world.linkAll()
        world.disconnect(0, 2)
        world.write(0, "for all")
        world.settle()
        #expect(world.texts(1) == ["for all"])
        #expect(world.texts(2) == [])
        world.run(milliseconds: Profile.lan.probeIntervalMs + Profile.lan.repairDelayMs + 100)
        #expect(world.texts(2) == ["for all"])
        #expect(world.agrees)
    }

    @Test("repairs in the sender's own order")
    func sendersOrder() {
        var world = LinkWorld(3)
        world.connect(0, 1)
        world.settle()
        for i in 0..<300 {
            world.write(i * i % 7 % 2, "entry \(i)")
            if i % 3 == 0 { world.settle() }
        }
        world.settle()
        let order = world.texts(1)
        #expect(order.count == 300)
        world.connect(1, 2)
        world.settle()
        #expect(world.texts(2) == order)
        #expect(world.clusters[2].replication.counters.waited == 0, "it applies as it arrives")
    }

    @Test("sends a long repair as fast as the link takes it, and no faster")
    func longRepair() {
        var world = LinkWorld(2)
        let body = Array(repeating: UInt8(ascii: "x"), count: 1_000_000)
        for _ in 0..<12 { world.write(0, body) }
        world.holdsDrains = true
        world.connect(0, 1)
        var turns = 0
        while world.texts(1).count < 12, turns < 20 {
            var queued = 0
            world.settle()
            queued = world.clusters[1].log.heldBytes
            #expect(queued <= (turns + 1) * (4 << 20) + (2 << 20), "turn \(turns)")
            world.drain(0)
            turns += 1
        }
        #expect(turns >= 3)
        world.settle()
        #expect(world.agrees)
        #expect(!world.clusters[1].replication.isRepairing)
    }

    @Test("lets entries stamped in the future wait until the clock gets there, and what follows them")
    func future() {
        var world = LinkWorld(1)
        world.add(ReplicaID(9), aheadMs: 10_000)
        world.hasNetwork = true
        world.connect(0, 1)
        world.settle()
        world.write(1, "from the future")
        world.write(1, "after it")
        world.write(0, "now")
        world.run(milliseconds: 7_900)
        #expect(world.texts(0) == ["now"])
        #expect(world.clusters[0].replication.waitingBytes > 0)
        #expect(world.clusters[0].nowMs(world.now) == 1_740_000_007_900, "nothing poisons the clock")
        #expect(world.texts(1) == ["from the future", "after it", "now"])
        world.run(milliseconds: 200)
        #expect(world.texts(0) == ["now", "from the future", "after it"])
        #expect(world.clusters[0].replication.waitingBytes == 0)
        #expect(world.agrees)
        #expect(world.clusters[0].clock.corrections == 0)
    }

    @Test("sends its state where the logs no longer reach, and goes on behind it")
    func belowTheFloor() {
        var world = LinkWorld(0)
        world.add(ReplicaID(1), replication: .init(retention: .init(bytes: 3 << 20)))
        world.add(ReplicaID(2))
        world.add(ReplicaID(3))
        for i in 1...9 {
            world.write(0, Array("entry \(i) ".utf8) + Array(repeating: UInt8(ascii: "x"), count: 900_000))
        }
        world.connect(0, 1)
        world.run(milliseconds: 1_000)
        #expect(world.clusters[0].replication.counters.snapshots == 1)
        #expect(world.clusters[1].replication.counters.adoptions == 1)
        #expect(world.clusters[1].log.head(of: ReplicaID(1)) == 9)
        let floor = world.clusters[0].log.floor(of: 0)
        #expect(floor > 1 && world.texts(1).count == Int(9 - (floor - 1)))
        #expect(world.states[1] == world.states[0] && world.states[1].count == 9)
        // From there it is handed on, with a hash that proves the same history.
        world.connect(1, 2)
        world.run(milliseconds: 1_000)
        #expect(world.agrees)
        #expect(world.states[2] == world.states[0])
        #expect(world.clusters.map(\.replication.counters.forks) == [0, 0, 0])
    }

    @Test("gets the logs themselves from a peer that still holds them")
    func anotherHoldsIt() {
        var world = LinkWorld(0)
        world.add(ReplicaID(1), replication: .init(retention: .init(bytes: 3 << 20)))
        world.add(ReplicaID(2))
        world.add(ReplicaID(3))
        world.hasNetwork = true
        world.connect(0, 1)
        world.settle()
        for _ in 0..<9 {
            world.write(0, Array(repeating: UInt8(ascii: "x"), count: 900_000))
            world.settle()
        }
        #expect(world.clusters[0].log.floor(of: 0) > 1)
        world.connect(1, 2)
        world.settle()
        world.connect(0, 2)
        world.run(milliseconds: 5_000)
        #expect(world.clusters[2].log.floor(of: world.clusters[2].log.knownSlot(of: ReplicaID(1))!) == 1)
        #expect(world.texts(2).count == 9)
        #expect(world.clusters.map(\.replication.counters.snapshots) == [0, 0, 0])
        #expect(world.agrees)
    }

    @Test("ignores what it has already")
    func duplicates() {
        var world = LinkWorld(2)
        let link = world.connect(0, 1)
        world.settle()
        world.write(0, "once")
        let frame = world.frames(0, 1)[0]
        world.settle()
        world.give(.linkFrame(link), frame, to: 1)
        #expect(world.texts(1) == ["once"])
        #expect(world.clusters[1].replication.counters.duplicates == 1)
        #expect(world.agrees)
    }

    @Test("reports a log that two peers hold differently")
    func fork() {
        var world = LinkWorld(2)
        // The same data directory, started twice.
        world.add(ReplicaID(77))
        world.add(ReplicaID(77))
        world.connect(0, 2)
        world.connect(1, 3)
        world.settle()
        world.write(2, "one past")
        world.write(3, "another")
        world.settle()
        world.disconnect(0, 2)
        world.disconnect(1, 3)
        world.connect(0, 1)
        world.settle()
        for i in 0...1 {
            #expect(world.clusters[i].replication.counters.forks > 0)
            #expect(world.lines[i].contains { $0.severity == .error && $0.text.contains("forked") })
        }
        // Neither wrote it, so the copy of the lower id counts.
        #expect(world.resets[0].isEmpty)
        #expect(world.resets[1].first?.cause == .forked && world.resets[1].first?.side == ReplicaID(1))
    }

    @Test("ends with equal vectors and hashes after links were lost at random", arguments: 1...6 as ClosedRange<UInt64>)
    func random(seed: UInt64) {
        var dice = Dice(seed: seed)
        var world = LinkWorld(1, profile: .fast)
        world.hasNetwork = true
        for i in 1..<4 { world.add(ReplicaID(UInt64(i + 1))) }
        world.run(milliseconds: 2_000)
        for step in 0..<150 {
            let (a, b) = (Int(dice.below(4)), Int(dice.below(4)))
            switch dice.below(10) {
            case 0 where a != b: world.disconnect(a, b)
            case 1, 2: world.run(milliseconds: dice.below(120))
            case 3...5: if a != b { world.deliver(a, b) }
            default: world.write(a, "\(a) at \(step)")
            }
        }
        world.run(milliseconds: 5_000)
        #expect(world.agrees)
        let all = world.texts(0).sorted()
        #expect(all.count > 30)
        for i in 0..<4 {
            #expect(world.texts(i).sorted() == all)
            #expect(world.effectsBeforeCauses(i) == [])
            #expect(world.clusters[i].replication.counters.faults == 0)
            #expect(world.clusters[i].replication.waitingBytes == 0)
            #expect(world.clusters[i].mesh.linkedPeers.count == 3)
        }
    }
}
