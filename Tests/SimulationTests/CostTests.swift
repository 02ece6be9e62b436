import Gossip
import Testing

@testable import Simulate

@Suite("The light world of the cost table")
struct CostTests {
    @Test("One seed decides everything, and another one decides otherwise")
    func determinism() {
        func hash(_ seed: UInt64) -> UInt64 {
            let world = CostMeasure.settled(5, seed: seed, restMs: 1_000)
            world.network.lossRate = 0.05
            world.write(at: 1, [1, 2, 3])
            world.kill(2)
            world.run(milliseconds: 5_000)
            return world.hash
        }
        #expect(hash(7) == hash(7))
        #expect(hash(7) != hash(8))
    }

    @Test("A settled cluster is idle: a ping and an answer per peer and second, and silent links")
    func idle() {
        let row = CostMeasure.idle(6, seconds: 50, seed: 3)
        #expect((590...610).contains(row.datagrams))
        #expect(row.frames == 0 && row.falseDeaths == 0)
    }

    @Test("A silent death is known to all, and nobody else is called dead")
    func death() {
        let world = CostMeasure.settled(6, seed: 4, restMs: 1_000)
        world.kill(3)
        #expect(!world.isBelievedDead(3))
        #expect(world.run(limitMs: 60_000) { $0.isKnownDead(3) })
        #expect(world.meter.falseDeaths.isEmpty && !world.meter.suspicions.isEmpty)
        world.start(3)
        #expect(world.run(limitMs: 30_000) { $0.isUnanimous && $0.isMeshed })
    }

    @Test("Two halves that hear nothing of each other call each other dead, and agree again once they do")
    func halves() {
        let world = CostMeasure.settled(6, seed: 5, restMs: 1_000)
        world.cut(off: 3..<6)
        world.run(milliseconds: 60_000)
        for (here, there) in [(0, 3), (2, 5), (3, 0), (5, 2)] { #expect(world.belief(of: here, about: there) == .dead) }
        #expect(world.belief(of: 0, about: 2) == .alive && world.belief(of: 5, about: 3) == .alive)
        world.write(at: 0, [1])
        world.write(at: 5, [2])
        world.run(milliseconds: 1_000)
        #expect(!world.isConverged)
        world.heal()
        #expect(world.run(limitMs: 60_000) { $0.isUnanimous && $0.isMeshed && $0.isConverged })
        #expect(world.peers.allSatisfy { $0.facts == 2 })
    }

    @Test("A repair sends what is missing, whatever the log holds")
    func repair() {
        let rows = [200, 2_000].map { CostMeasure.repair(missing: 10, of: $0, seed: 6) }
        for row in rows { #expect(row.convergedMs != nil && row.ownBytes > 1_000) }
        #expect(rows[1].frameBytes < rows[0].frameBytes + 200)
        #expect(rows[0].frameBytes < rows[0].ownBytes + 4_000)
    }

    @Test("Everything due comes by its time, and by its turn where times are equal")
    func agenda() {
        var agenda = CostAgenda()
        let times: [UInt64] = [5, 1, 5, 3, 1, 9, 3, 5]
        for (turn, time) in times.enumerated() { agenda.add(.drained(end: Int32(turn)), at: time) }
        var seen: [Int32] = []
        while agenda.nextTime != nil {
            if case .drained(let turn) = agenda.removeFirst().due { seen.append(turn) }
        }
        #expect(seen == [1, 4, 3, 6, 0, 2, 7, 5])
    }
}
