import CRDT
import Testing

@testable import Gossip

private let (ada, bob, cyd) = (ReplicaID(1), ReplicaID(2), ReplicaID(3))

/// What ada knows of bob and cyd; entries are numbered by milliseconds, so that stamps and numbers are easily compared.
private struct Bench {
    var log = FactLog(me: ada, retention: .init())
    /// A cut per second, operations wait for 16 s and tombstones for 64.
    var stability = Stability(operationsMs: 16_000, tombstonesMs: 64_000)

    func vector(_ entries: [(ReplicaID, UInt64)]) -> VersionVector {
        var vector = VersionVector()
        for (replica, sequence) in entries { vector.advance(replica, to: sequence) }
        return vector
    }

    mutating func adopt(_ replica: ReplicaID, ms: UInt64) {
        var bytes: [UInt8] = []
        Fact.encodeHeader(kind: .sempEvent, time: ms << 16, dependencies: [], into: &bytes)
        _ = log.adopt(slot: log.slot(of: replica), time: ms << 16, entry: bytes.span.bytes)
    }

    /// A member says how far it has read, and from when on it writes.
    mutating func claim(_ replica: ReplicaID, _ entries: [(ReplicaID, UInt64)]? = nil, ms: UInt64) {
        stability.claim(replica, entries.map { vector($0) } ?? log.vector, time: ms << 16, log: log)
    }

    mutating func advance(known: [ReplicaID] = [bob, cyd], ms: UInt64) {
        stability.advance(known: known, promise: ms << 16, log: log)
    }

    /// Up to when something can be collected, in milliseconds.
    mutating func collectable(_ purpose: Replication.Purpose = .operations, ms: UInt64) -> UInt64? {
        stability.collectable(purpose, clockMs: ms).map { $0.time >> 16 }
    }
}

@Suite("Stability")
struct StabilityTests {
    private var bench = Bench()

    @Test("reaches as far as the least of what all promise, and is told once, when it is old enough")
    mutating func least() {
        bench.adopt(bob, ms: 90_000)
        bench.claim(bob, ms: 100_000)
        bench.claim(cyd, ms: 99_000)
        bench.advance(ms: 101_000)
        #expect(bench.collectable(ms: 99_000 + 15_999) == nil)
        #expect(bench.collectable(ms: 99_000 + 16_000) == 99_000)
        #expect(bench.collectable(ms: 999_000) == nil, "each cut is given out once")
        #expect(bench.collectable(.tombstones, ms: 99_000 + 63_999) == nil)
        #expect(bench.collectable(.tombstones, ms: 99_000 + 64_000) == 99_000, "each purpose has its own")
    }

    @Test("is bounded by this node's own promise")
    mutating func own() {
        for peer in [bob, cyd] { bench.claim(peer, ms: 100_000) }
        bench.advance(ms: 98_000)
        #expect(bench.collectable(ms: 999_000) == 98_000)
    }

    @Test("waits for a known member that has said nothing")
    mutating func silent() {
        bench.claim(bob, ms: 100_000)
        bench.advance(ms: 100_000)
        #expect(bench.collectable(ms: 999_000) == nil)
        bench.advance(known: [bob], ms: 100_000)
        #expect(bench.collectable(ms: 999_000) == 100_000, "until it is known no more")
    }

    @Test("needs no one else when a node is alone")
    mutating func alone() {
        bench.advance(known: [], ms: 100_000)
        #expect(bench.collectable(ms: 116_000) == 100_000)
    }

    @Test("waits for who became known before it was told, though it was stable without them")
    mutating func news() {
        bench.adopt(ada, ms: 90_000)
        bench.advance(known: [], ms: 100_000)
        bench.claim(bob, [], ms: 110_000)
        bench.advance(known: [bob], ms: 110_000)
        #expect(bench.collectable(ms: 999_000) == nil, "bob has not read what ada wrote alone")
        bench.claim(bob, [(ada, 1)], ms: 110_000)
        bench.advance(known: [bob], ms: 110_500)
        #expect(bench.collectable(ms: 999_000) == 110_000)
    }

    @Test("believes a promise only from what was read up to it on")
    mutating func unread() {
        // Bob says he has written two entries, of which one is still on its way.
        bench.adopt(bob, ms: 90_000)
        bench.claim(bob, [(bob, 2)], ms: 100_000)
        bench.claim(cyd, [(bob, 2)], ms: 100_000)
        bench.advance(ms: 100_000)
        #expect(bench.collectable(ms: 999_000) == nil)
        bench.adopt(bob, ms: 95_000)
        bench.advance(ms: 100_000)
        #expect(bench.collectable(ms: 999_000) == 100_000)
    }

    @Test("keeps the first promise that waits: a later one cannot put it off for ever")
    mutating func first() {
        bench.adopt(bob, ms: 90_000)
        bench.claim(cyd, ms: 200_000)
        for i in 0..<50 as Range<UInt64> {
            // Bob is always one entry ahead of what has come.
            bench.claim(bob, [(bob, 2 + i)], ms: 100_000 + i * 1_000)
            bench.adopt(bob, ms: 100_000 + i * 1_000)
            bench.advance(ms: 200_000)
        }
        bench.claim(cyd, ms: 200_000)
        bench.advance(ms: 200_000)
        let told = bench.collectable(ms: 999_000) ?? 0
        #expect(told >= 148_000)
    }

    @Test("waits for a known member that has not read as far, and not for what it has read beyond")
    mutating func lagging() {
        bench.adopt(bob, ms: 90_000)
        bench.claim(bob, ms: 100_000)
        bench.claim(cyd, [], ms: 100_000)
        bench.advance(ms: 100_000)
        #expect(bench.collectable(ms: 999_000) == nil)
        bench.claim(cyd, [(bob, 1)], ms: 100_500)
        bench.advance(ms: 100_000)
        #expect(bench.collectable(ms: 999_000) == 100_000)
    }

    @Test(
        "never goes beyond an entry that a lagging member has not read, in whatever order they read", arguments: 1...6)
    mutating func never(seed: UInt64) {
        var dice = Dice(seed: seed)
        var read: [ReplicaID: UInt64] = [bob: 0, cyd: 0]
        var written: UInt64 = 0
        var collected: UInt64 = 0
        var told = 0
        for step in 0..<3_000 as Range<UInt64> {
            let now = 100_000 + step * 100
            switch dice.below(4) {
            case 0:
                written += 1
                _ = bench.log.write(.sempEvent, time: now << 16, body: [UInt8]().span.bytes)
                #expect(now > collected)
            case 1:
                let peer = [bob, cyd][Int(dice.below(2))]
                read[peer] = min(written, read[peer]! + dice.below(3))
            case 2:
                for peer in [bob, cyd] where dice.below(2) == 0 {
                    bench.claim(peer, [(ada, read[peer]!)], ms: now - dice.below(2_000))
                }
            default: bench.advance(ms: now)
            }
            guard let time = bench.collectable(ms: now) else { continue }
            told += 1
            #expect(time > collected && time + 16_000 <= now)
            collected = time
            for peer in [bob, cyd] {
                let next = read[peer]! + 1
                guard next <= written, let position = bench.log.position(slot: 0, sequence: next) else { continue }
                #expect(bench.log.record(at: position).time >> 16 > time, "\(peer) has not read \(next)")
            }
        }
        #expect(told > 10)
    }

    @Test("is found soon after a member that lagged for long has read again, though cuts are few")
    mutating func longLag() {
        for second in 100...2_000 as ClosedRange<UInt64> {
            bench.adopt(bob, ms: second * 1_000)
            bench.claim(bob, ms: second * 1_000)
            bench.claim(cyd, [], ms: second * 1_000)
            bench.advance(ms: second * 1_000)
            #expect(bench.collectable(ms: second * 1_000) == nil)
        }
        bench.claim(cyd, ms: 2_000_000)
        bench.advance(ms: 2_000_000)
        let told = bench.collectable(ms: 2_000_000) ?? 0
        // Every other cut was kept, again and again: the older they are, the wider apart.
        #expect(told >= 1_000_000 && told <= 2_000_000 - 16_000)
    }

    @Test("knows what a retired log had in a vector that names it no more")
    mutating func retired() {
        bench.adopt(cyd, ms: 80_000)
        bench.adopt(bob, ms: 90_000)
        bench.claim(bob, ms: 100_000)
        bench.advance(known: [bob], ms: 100_000)
        bench.log.retire(cyd, last: 1, by: .init(replica: bob, sequence: 1))
        bench.stability.unname(cyd)
        bench.claim(bob, [(bob, 1)], ms: 101_500)
        bench.advance(known: [bob], ms: 101_500)
        #expect(bench.collectable(ms: 999_000) == 101_500)
    }
}

/// Three peers of which the third goes away, one second of waiting for operations and two for tombstones.
private struct Trio {
    var world = LinkWorld(0, profile: .fast)
    let settings = Replication.Settings(operationsMs: 1_000, tombstonesMs: 2_000)

    init(isDurable: Bool, forgetAfterMs: UInt64) {
        var limits = Membership.Limits()
        limits.forgetAfterMs = forgetAfterMs
        world.hasNetwork = true
        for id in 1...3 as ClosedRange<UInt64> {
            world.add(ReplicaID(id), isDurable: isDurable && id == 3, replication: settings, limits: limits)
        }
        world.run(milliseconds: 2_000)
        world.write(0, "before")
        world.run(milliseconds: 3_000)
    }

    /// The third peer's process ends; the others go on.
    mutating func end() {
        world.isDown = [2]
        for other in 0..<2 { world.disconnect(other, 2) }
    }

    /// Writes and time go on; returns up to when the first peer can collect tombstones, in milliseconds since it began.
    mutating func goOn(seconds: Int) -> UInt64? {
        var told: UInt64?
        for second in 0..<seconds {
            world.write(second % 2, "second \(second)")
            world.run(milliseconds: 1_000)
            told = world.collect(0, .tombstones) ?? told
        }
        return told.map { ($0 >> 16) - LinkWorld.startMs }
    }

    var elapsedMs: UInt64 { world.now.milliseconds - 1_000_000 }
}

@Suite("Stability in a cluster")
struct ClusterStabilityTests {
    @Test("goes on while all are there")
    func allThere() throws {
        var trio = Trio(isDurable: false, forgetAfterMs: 3_600_000)
        let told = trio.goOn(seconds: 10)
        #expect(try #require(told) + 5_000 > trio.elapsedMs)
    }

    @Test("waits for a durable member that is dead, until it is forgotten")
    func durable() throws {
        var trio = Trio(isDurable: true, forgetAfterMs: 40_000)
        _ = trio.goOn(seconds: 4)
        trio.end()
        let died = trio.elapsedMs
        let held = trio.goOn(seconds: 30)
        #expect(trio.world.clusters[0].membership.member(ReplicaID(3))?.state == .dead)
        #expect((held ?? 0) <= died)
        let after = trio.goOn(seconds: 25)
        #expect(trio.world.clusters[0].membership.member(ReplicaID(3)) == nil)
        #expect(try #require(after) > died + 40_000)
    }

    @Test("does not wait as long for a member that had its log in memory only")
    func inMemory() throws {
        var trio = Trio(isDurable: false, forgetAfterMs: 3_600_000)
        trio.end()
        let died = trio.elapsedMs
        // Five minutes, which the profile makes thirty seconds.
        let after = trio.goOn(seconds: 50)
        #expect(try #require(after) > died + 30_000)
    }
}
