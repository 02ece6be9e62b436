import CRDT
import Testing

@testable import Gossip

extension Replication.Settings {
    /// Logs of a few entries.
    fileprivate static func short(_ entries: Int = 40, bytesPerMs: Int = 32 << 10) -> Self {
        var settings = Replication.Settings(retention: .init(entries: entries))
        settings.snapshotBytesPerMs = bytesPerMs
        return settings
    }
}

@Suite("A snapshot")
struct SnapshotTests {
    /// Two peers that have written more than their logs hold.
    private static func old(_ settings: Replication.Settings = .short(), lines: Int = 300) -> LinkWorld {
        var world = LinkWorld(2, profile: .fast, replication: settings)
        world.linkAll()
        for i in 0..<lines {
            world.write(i % 2, "line \(i) of \(i % 2)")
            world.settle()
        }
        return world
    }

    @Test("brings a newcomer what the logs no longer hold, while writes go on")
    func newcomer() {
        var world = Self.old(.short(bytesPerMs: 1))
        world.hasNetwork = true
        #expect(world.clusters[0].log.dropped > 200)
        world.add(ReplicaID(3), replication: .short())
        var during = 0
        for i in 0..<120 {
            world.write(i % 2, "later \(i)")
            world.run(milliseconds: 50)
            if i == 20 { world.write(2, "the newcomer's own") }
            if world.clusters[0].replication.links.contains(where: { $0.snapshot != nil }) { during += 1 }
        }
        world.run(milliseconds: 3_000)
        #expect(during > 20, "it is sent slowly enough to be written beside it")
        #expect(world.clusters[2].replication.counters.adoptions == 1)
        #expect(world.states[2] == world.states[0] && world.states[1] == world.states[0])
        #expect(world.states[2].count == 421)
        #expect(world.agrees)
        for i in 0..<3 {
            #expect(world.effectsBeforeCauses(i) == [])
            #expect(world.clusters[i].replication.counters.faults == 0)
            #expect(!world.clusters[i].replication.isJoining && !world.clusters[i].replication.isRepairing)
            #expect(world.clusters[i].log.pin == nil)
        }
        #expect(world.resets.joined().isEmpty)
    }

    @Test("is paced: it takes as long as its bytes at the rate allowed")
    func pace() {
        var world = Self.old(.short(bytesPerMs: 1))
        let bytes = world.states[0].reduce(0) { $0 + $1.utf8.count }
        world.add(ReplicaID(3))
        world.connect(0, 2)
        world.settle()
        var elapsed = 0
        while world.clusters[2].replication.counters.adoptions == 0, elapsed < 60_000 {
            world.run(milliseconds: 100)
            elapsed += 100
        }
        #expect(elapsed >= bytes - 1_000 && elapsed <= bytes * 2)
    }

    @Test("keeps what follows it in the log until it is over, and not longer")
    func pinned() {
        var world = Self.old(.short(bytesPerMs: 1))
        world.add(ReplicaID(3))
        world.connect(0, 2)
        world.run(milliseconds: 100)
        let start = world.clusters[0].log.start
        #expect(world.clusters[0].log.pin == start)
        for i in 0..<200 {
            world.write(0, "beside \(i)")
            world.settle()
        }
        #expect(world.clusters[0].log.start == start)
        #expect(world.clusters[0].log.heldEntries > 200)
        world.run(milliseconds: 20_000)
        #expect(world.clusters[2].replication.counters.adoptions == 1)
        #expect(world.clusters[0].replication.counters.snapshots == 1)
        #expect(world.states[2] == world.states[0])
        world.write(0, "after it")
        for i in 0..<10 { world.write(0, "and \(i)") }
        #expect(world.clusters[0].log.heldEntries <= 50)
    }

    @Test("begins again where the log went past it, and ends when that is over")
    func tooSlow() {
        // So few bytes that the log is dropped in spite of the pin.
        var settings = Replication.Settings.short(bytesPerMs: 1)
        settings.retention.bytes = 4_000
        var world = Self.old(settings)
        world.add(ReplicaID(3))
        world.connect(0, 2)
        world.run(milliseconds: 500)
        for i in 0..<400 {
            world.write(i % 2, "flood \(i)")
            world.settle()
        }
        world.run(milliseconds: 60_000)
        #expect(world.clusters[0].replication.counters.snapshots >= 2)
        #expect(world.clusters[2].replication.counters.adoptions == 1)
        #expect(world.states[2] == world.states[0])
        #expect(world.agrees)
    }

    @Test("goes to two at once; the third has its turn")
    func twoAtOnce() {
        var world = Self.old(.short(bytesPerMs: 1))
        world.hasNetwork = true
        for id in 3...5 as ClosedRange<UInt64> {
            world.add(ReplicaID(id))
            world.connect(0, world.clusters.count - 1)
        }
        world.settle()
        for _ in 0..<60 {
            world.run(milliseconds: 100)
            let active = world.clusters[0].replication.links.count { $0.snapshot?.nextChunk != nil }
            #expect(active <= 2)
        }
        world.run(milliseconds: 60_000)
        for i in 2...4 {
            #expect(world.states[i] == world.states[0])
            #expect(world.clusters[i].log.digest == world.clusters[0].log.digest)
        }
    }

    @Test("that breaks off is over for its sender, and another one is asked for", arguments: [0, 300, 3_000])
    func brokenOff(afterMs: UInt64) {
        var world = Self.old(.short(bytesPerMs: 1))
        world.hasNetwork = true
        world.add(ReplicaID(3))
        world.connect(0, 2)
        world.run(milliseconds: afterMs)
        #expect(world.clusters[0].replication.links.contains { $0.snapshot != nil })
        world.disconnect(0, 2)
        #expect(world.clusters[0].log.pin == nil)
        #expect(!world.clusters[0].replication.links.contains { $0.snapshot != nil })
        #expect(world.clusters[2].replication.counters.adoptions == 0)
        world.run(milliseconds: 20_000)
        #expect(world.clusters[2].replication.counters.adoptions == 1)
        #expect(world.states[2] == world.states[0])
        #expect(world.agrees)
    }

    @Test("ends with what was written beside it in the state, though that is more than the newcomer's log may hold")
    func beside() {
        var world = Self.old(.short(bytesPerMs: 1))
        world.hasNetwork = true
        world.add(ReplicaID(3), replication: .short(8))
        world.run(milliseconds: 1_000)
        for i in 0..<100 { world.write(1, "pushed \(i)") }
        world.settle()
        #expect(world.clusters[2].replication.counters.adoptions == 0)
        world.run(milliseconds: 20_000)
        #expect(world.states[2] == world.states[0] && world.states[2].count == 400)
        #expect(world.clusters[2].log.heldEntries < 20)
        #expect(world.agrees)
    }

    @Test("names logs that are retired, to one that never read them")
    func retired() {
        var settings = Replication.Settings.short()
        settings.retention.memoryMs = 600_000
        var world = LinkWorld(0, profile: .fast)
        world.hasNetwork = true
        for id in 1...3 as ClosedRange<UInt64> { world.add(ReplicaID(id), replication: settings) }
        world.run(milliseconds: 1_000)
        for i in 0..<300 { world.write(i % 3, "line \(i)") }
        world.run(milliseconds: 1_000)
        world.restart(2, as: ReplicaID(44), replication: settings)
        world.run(milliseconds: 8_000)
        #expect(world.clusters[0].replication.retiredCount == 1)
        #expect(world.clusters[2].replication.retiredCount == 1)
        #expect(world.clusters[2].log.vector[ReplicaID(3)] == 0)
        #expect(world.clusters[2].log.hasRead(ReplicaID(3), 100))
        #expect(world.states[2] == world.states[0])
        #expect(world.agrees)
        #expect(world.resets.joined().isEmpty)
    }
}

@Suite("The heads of a snapshot")
struct HeadsTests {
    /// A newcomer that has asked for what it lacks over a link, and that link.
    private static func asking() -> (world: LinkWorld, link: LinkID) {
        var world = LinkWorld(2)
        world.write(0, "one")
        let link = world.connect(0, 1)
        for _ in 0..<8 where !world.clusters[1].replication.isRepairing {
            world.deliver(1, 0)
            world.deliver(0, 1)
        }
        #expect(world.clusters[1].replication.isRepairing)
        return (world, link)
    }

    private static func frame(_ body: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        let start = Frame.begin(.heads, into: &bytes)
        bytes += body
        _ = Frame.end(start, into: &bytes)
        return bytes
    }

    private static func replica(_ id: UInt8) -> [UInt8] { [id] + Array(repeating: 0, count: 7) }
    private static let hash: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
    /// Log 7 read up to 9 with its floor at 4; nothing collected; log 6, which ended with 3, as entry 2 of log 7 says.
    private static let sound = [1] + replica(7) + [9, 4] + hash + [0, 1] + replica(6) + [3] + replica(7) + [2] + hash

    @Test("move the logs to their floors; what comes after is the tail")
    func adopted() {
        var (world, link) = Self.asking()
        world.give(.linkFrame(link), Self.frame(Self.sound), to: 1)
        let log = world.clusters[1].log
        #expect(world.clusters[1].replication.counters.adoptions == 1)
        #expect(log.head(of: ReplicaID(7)) == 3)
        #expect(log.hash(of: log.knownSlot(of: ReplicaID(7))!) == 0x0807_0605_0403_0201)
        #expect(log.hasRead(ReplicaID(6), 3))
        #expect(world.clusters[1].replication.retiredCount == 1)
    }

    @Test("count a log that is retired as read: at once if nothing of it is left, else with the entry that says so")
    func retired() {
        var (world, link) = Self.asking()
        // Log 7 up to 9 with its floor at 4, log 8 up to 2 with its floor at 3. Log 8 ended as entry 5 of log 7 says; log 6,
        // of which nothing is left, as entry 9.
        let body =
            [2] + Self.replica(7) + [9] + Self.replica(8) + [2] + [4] + Self.hash + [3] + Self.hash + [0, 2]
            + Self.replica(6) + [3] + Self.replica(7) + [9] + Self.hash + Self.replica(8) + [2] + Self.replica(7) + [5]
            + Self.hash
        world.give(.linkFrame(link), Self.frame(body), to: 1)
        #expect(world.clusters[1].replication.counters.badFrames == 0)
        #expect(world.clusters[1].log.hasRead(ReplicaID(6), 3), "that entry may itself depend on it")
        #expect(world.clusters[1].log.vector[ReplicaID(8)] == 2, "it is named until its end is read")
    }

    @Test("that nobody asked for change nothing")
    func unasked() {
        var world = LinkWorld(2)
        let link = world.connect(0, 1)
        world.settle()
        world.give(.linkFrame(link), Self.frame(Self.sound), to: 1)
        #expect(world.clusters[1].replication.counters.adoptions == 0)
        #expect(world.clusters[1].log.vector == VersionVector())
        #expect(world.isLinked(0, 1), "a repair given up may still be on its way")
    }

    @Test("never move the own log")
    func own() {
        var (world, link) = Self.asking()
        let body = [1] + Self.replica(2) + [9, 4] + Self.hash + [0, 1] + Self.replica(2) + [9] + Self.replica(7) + [1]
        world.give(.linkFrame(link), Self.frame(body), to: 1)
        #expect(world.clusters[1].log.head(of: 0) == 0)
        #expect(world.clusters[1].replication.retiredCount == 0)
    }

    @Test("that are cut anywhere, or name what cannot be, close the link and change nothing")
    func malformed() {
        let zero: [UInt8] = Array(repeating: 0xff, count: 9) + [1]
        var bodies = (0..<Self.sound.count).map { Array(Self.sound[..<$0]) }
        bodies += [
            // A floor of zero; one beyond the number after the head; a head of zero; two logs out of order.
            [1] + Self.replica(7) + [9, 0] + Self.hash + [0, 0], [1] + Self.replica(7) + [9, 11] + Self.hash + [0, 0],
            [1] + Self.replica(7) + [0, 1] + Self.hash + [0, 0],
            [2] + Self.replica(7) + [1] + Self.replica(6) + [1, 1] + Self.hash + [1] + Self.hash + [0, 0],
            // Numbers beyond all bounds, of a head, a floor, an end and of the entry that tells of it.
            [1] + Self.replica(7) + zero + [1] + Self.hash + [0, 0],
            [1] + Self.replica(7) + [9] + zero + Self.hash + [0, 0],
            [0, 0, 1] + Self.replica(6) + zero + Self.replica(7) + [2],
            [0, 0, 1] + Self.replica(6) + [3] + Self.replica(7) + zero,
            [0, 0, 1] + Self.replica(6) + [0] + Self.replica(7) + [2],
            // More retirements than anybody may send.
            [0, 0] + zero,
        ]
        for body in bodies {
            var (world, link) = Self.asking()
            world.give(.linkFrame(link), Self.frame(body), to: 1)
            #expect(world.clusters[1].replication.counters.badFrames == 1, "\(body)")
            #expect(world.clusters[1].replication.counters.adoptions == 0)
            #expect(world.clusters[1].log.vector == VersionVector() && world.clusters[1].replication.retiredCount == 0)
            #expect(!world.isLinked(1, 0))
        }
    }
}
