/// The measurements: each builds its own world from the seed and returns one row.
enum CostMeasure {
    /// What a settled cluster sends although nothing happens.
    struct Idle: Sendable {
        var peers = 0
        var seconds = 0
        var datagrams = 0
        var datagramBytes = 0
        var frames = 0
        var frameBytes = 0
        var falseDeaths = 0
    }

    /// How long a death stays unknown, in milliseconds of simulated time.
    struct Deaths: Sendable {
        var peers = 0
        /// From the kill until the first survivor, and until the last, believes it; sorted.
        var firstMs: [UInt64] = []
        var lastMs: [UInt64] = []
        /// Kills that not everybody knew of after two minutes.
        var unnoticed = 0
        var falseDeaths = 0
        var simulatedMs: UInt64 = 0
    }

    /// What loss does to a cluster in which nobody dies.
    struct Loss: Sendable {
        var peers = 0
        var lossRate = 0.0
        var simulatedMs: UInt64 = 0
        var falseDeaths = 0
        var falseBeliefs = 0
        var suspicions = 0
        var refutations = 0
        var datagrams = 0
        var inputs = 0
    }

    /// A cut in halves, with writes on both sides.
    struct Heal: Sendable {
        var peers = 0
        var facts = 0
        var writers = 0
        var factBytes = 0
        /// From the end of each cut until all have the same, and until all trust all; sorted. One that did not happen
        /// within ten minutes counts as ten minutes.
        var convergedMs: [UInt64] = []
        var unanimousMs: [UInt64] = []
        /// Frames written between the end of the cut and convergence.
        var frameBytes = 0
        /// Bytes of the facts that had to travel: each side's to each peer of the other.
        var wantedBytes = 0
    }

    /// One of three peers missed the last facts.
    struct Repair: Sendable {
        var missing = 0
        var facts = 0
        var convergedMs: UInt64?
        /// The missing facts themselves.
        var ownBytes = 0
        /// Frames that carried facts, and all frames.
        var factFrameBytes = 0
        var frameBytes = 0
    }

    // MARK: Worlds

    /// A cluster in which everybody trusts everybody, every link is up, and the news of that is old.
    static func settled(
        _ size: Int, seed: UInt64, settings: CostPeer.Settings = .init(), restMs: UInt64 = 60_000
    ) -> CostWorld {
        let world = CostWorld(size: size, seed: seed, settings: settings)
        for index in 0..<size {
            world.start(index)
            world.run(milliseconds: 10)
        }
        let isSettled = world.run(limitMs: 600_000, stepMs: 500) { $0.isUnanimous && $0.isMeshed }
        precondition(isSettled, "\(size) peers did not find each other within ten minutes")
        world.run(milliseconds: restMs)
        world.meter = CostMeter()
        return world
    }

    // MARK: Rows

    static func idle(_ size: Int, seconds: Int, seed: UInt64) -> Idle {
        let world = settled(size, seed: seed)
        world.run(milliseconds: UInt64(seconds) * 1_000)
        let meter = world.meter
        return Idle(
            peers: size, seconds: seconds, datagrams: meter.datagrams, datagramBytes: meter.datagramBytes,
            frames: meter.frames, frameBytes: meter.frameBytes, falseDeaths: meter.falseDeaths.count)
    }

    static func deaths(_ size: Int, kills: Int, seed: UInt64) -> Deaths {
        let world = settled(size, seed: seed)
        let begin = world.now
        var row = Deaths(peers: size)
        for _ in 0..<kills {
            world.run(milliseconds: 1_000 + world.roll(below: 2_000))
            let victim = Int(world.roll(below: UInt64(size)))
            let killed = world.now
            world.kill(victim)
            let isSeen = world.run(limitMs: 120_000, stepMs: 10) { $0.isBelievedDead(victim) }
            let seen = world.now
            if isSeen, world.run(limitMs: 120_000, stepMs: 10, until: { $0.isKnownDead(victim) }) {
                row.firstMs.append((seen - killed) / 1_000)
                row.lastMs.append((world.now - killed) / 1_000)
            } else {
                row.unnoticed += 1
            }
            world.start(victim)
            _ = world.run(limitMs: 60_000, stepMs: 100) { $0.isUnanimous && $0.isMeshed }
        }
        row.firstMs.sort()
        row.lastMs.sort()
        row.falseDeaths = world.meter.falseDeaths.count
        row.simulatedMs = (world.now - begin) / 1_000
        return row
    }

    static func loss(_ size: Int, rate: Double, hours: Double, seed: UInt64) -> Loss {
        let world = settled(size, seed: seed)
        world.network.lossRate = rate
        let simulatedMs = UInt64(hours * 3_600_000)
        world.run(milliseconds: simulatedMs)
        let meter = world.meter
        return Loss(
            peers: size, lossRate: rate, simulatedMs: simulatedMs, falseDeaths: meter.falseDeaths.count,
            falseBeliefs: meter.falseBeliefs, suspicions: meter.falseSuspicions.count,
            refutations: meter.refutations.count,
            datagrams: meter.datagrams, inputs: meter.inputs)
    }

    /// Several cuts, each in a world of its own; bytes are those of all of them.
    static func heal(_ size: Int, facts: Int, cuts: Int, seed: UInt64) -> Heal {
        var row = Heal(peers: size, facts: facts)
        for cut in 0..<cuts { heal(size, facts: facts, seed: seed + UInt64(cut), into: &row) }
        row.convergedMs.sort()
        row.unanimousMs.sort()
        return row
    }

    private static func heal(_ size: Int, facts: Int, seed: UInt64, into row: inout Heal) {
        let world = settled(size, seed: seed)
        let half = (size + 1) / 2
        let sides = [Array(0..<half), Array(half..<size)]
        let writers = sides.map { Array($0.prefix(10)) }
        world.cut(off: sides[1])
        let cutAt = world.now
        world.run(milliseconds: 2_000)
        let steps = 5_000
        for step in 0..<steps {
            for number in facts * step / steps..<facts * (step + 1) / steps {
                for side in 0...1 { world.write(at: writers[side][number % writers[side].count], body(number)) }
            }
            world.run(milliseconds: 10)
        }
        world.run(milliseconds: 60_000 - (world.now - cutAt) / 1_000)
        row.writers = writers[0].count + writers[1].count
        for side in 0...1 {
            let peer = world.peers[sides[side][0]]
            let bytes = peer.factBytes(0..<peer.facts)
            row.factBytes += bytes
            row.wantedBytes += bytes * sides[1 - side].count
        }
        world.meter = CostMeter()
        world.heal()
        let healedAt = world.now
        _ = world.run(limitMs: 600_000, stepMs: 10) { $0.peers[0].facts == 2 * facts && $0.isConverged }
        row.convergedMs.append((world.now - healedAt) / 1_000)
        row.frameBytes += world.meter.frameBytes
        _ = world.run(limitMs: 600_000, stepMs: 10, until: \.isUnanimous)
        row.unanimousMs.append((world.now - healedAt) / 1_000)
    }

    static func repair(missing: Int, of facts: Int, seed: UInt64) -> Repair {
        let world = settled(3, seed: seed, restMs: 5_000)
        func write(_ count: Int) {
            for number in 0..<count {
                world.write(at: number & 1, body(number))
                if number % 50 == 49 { world.run(milliseconds: 1) }
            }
        }
        write(facts - missing)
        _ = world.run(limitMs: 60_000) { $0.isConverged && $0.peers[2].facts == facts - missing }
        world.cut(off: [2])
        // Long enough for both sides to give up the links: what follows is repaired and not merely late.
        world.run(milliseconds: 60_000)
        let end = world.peers[0].facts
        write(missing)
        world.run(milliseconds: 10_000)
        var row = Repair(missing: missing, facts: facts)
        row.ownBytes = world.peers[0].factBytes(end..<world.peers[0].facts)
        world.meter = CostMeter()
        world.heal()
        let healedAt = world.now
        if world.run(limitMs: 600_000, stepMs: 10, until: { $0.peers[2].facts == facts && $0.isConverged }) {
            row.convergedMs = (world.now - healedAt) / 1_000
        }
        // What is said once everything is here belongs to the price.
        world.run(milliseconds: 5_000)
        row.factFrameBytes = world.meter.factFrameBytes
        row.frameBytes = world.meter.frameBytes
        return row
    }

    /// About a hundred bytes, no two alike.
    private static func body(_ number: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: UInt8(ascii: "."), count: 100)
        var rest = number
        for place in 0..<8 {
            bytes[place] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        }
        return bytes
    }
}
