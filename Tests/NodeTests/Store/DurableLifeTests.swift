import Glibc
import Gossip
import NodeCore
import Testing

@testable import Node

@Suite("A durable node on a faulty disk: journal, writer and recovery together")
struct DurableLifeTests {
    /// A node that dies so many times, each time after at most so many steps.
    private static func live(seed: UInt64, steps: Int, deaths: Int, longest: Int) throws -> DurableLife {
        var life = DurableLife(seed: seed, longest: longest)
        var dice = Dice(seed: seed &+ 1_000_000)
        for _ in 0..<deaths {
            if !life.disk.hasPower { life.disk.restart() }
            life.disk.nuisance = dice.below(3) == 0 ? 20 : 0
            // The power may go at any call, also in the middle of a start; or a call fails, or there is no room.
            let call = life.disk.calls + Int(dice.below(UInt64(steps / 4)))
            switch dice.below(6) {
            case 0: break
            case 1: life.disk.faults[call] = .fails(EIO)
            case 2: life.disk.faults[call] = .fails(ENOSPC)
            default: life.disk.faults[call] = .losesPower
            }
            do {
                try life.start()
            } catch {
                Issue.record("seed \(seed): \(error)")
                return life
            }
            for _ in 0..<Int(dice.below(UInt64(steps))) where life.isAlive { life.step() }
            if dice.below(4) == 0 { try life.check() }
            life.kill()
            // A killed process loses nothing that it has given to the system; a machine without power does.
            if dice.below(3) != 0 { life.disk.restart() }
            life.disk.faults = [:]
        }
        if !life.disk.hasPower { life.disk.restart() }
        life.disk.nuisance = 0
        do {
            try life.start()
        } catch {
            Issue.record("seed \(seed): \(error)")
        }
        try life.check()
        #expect(life.isAlive, "seed \(seed)")
        return life
    }

    @Test("Whenever it dies: what was acknowledged is there, once, as it was written, in order; and nothing is made up")
    func deaths() throws {
        var (acknowledged, written, starts, lossesOfPower, full) = (0, 0, 0, 0, 0)
        for seed in 0..<50 as Range<UInt64> {
            let life = try Self.live(seed: seed, steps: 120, deaths: 8, longest: 9_000)
            acknowledged += life.acknowledged.count
            written += life.count
            starts += life.starts
            lossesOfPower += life.lossesOfPower
            full += life.timesFull
        }
        #expect(acknowledged > 500 && acknowledged < written, "both fates are met: \(acknowledged) of \(written)")
        #expect(starts > 300 && lossesOfPower > 50 && full > 5, "\(starts), \(lossesOfPower), \(full)")
    }

    @Test("The same over many segments and snapshots, which come and go meanwhile")
    func longLives() throws {
        var (snapshots, lossesOfPower) = (0, 0)
        for seed in 0..<6 as Range<UInt64> {
            let life = try Self.live(seed: seed, steps: 1_200, deaths: 5, longest: 60_000)
            snapshots += life.snapshots
            lossesOfPower += life.lossesOfPower
        }
        #expect(snapshots > 6 && lossesOfPower > 2, "\(snapshots), \(lossesOfPower)")
    }
}
