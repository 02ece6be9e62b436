import CRDT
import Testing

@testable import Gossip

private let (ada, bob, cyd, dan) = (ReplicaID(1), ReplicaID(2), ReplicaID(3), ReplicaID(4))

private func at(_ replica: ReplicaID, _ sequence: UInt64) -> VersionVector.Entry {
    VersionVector.Entry(replica: replica, sequence: sequence)
}

private func vector(_ entries: VersionVector.Entry...) -> VersionVector {
    var vector = VersionVector()
    for entry in entries { vector.advance(entry.replica, to: entry.sequence) }
    return vector
}

extension FactLog {
    fileprivate mutating func adopt(_ replica: ReplicaID, ms: UInt64 = 1, count: Int = 1) {
        for _ in 0..<count {
            var bytes: [UInt8] = []
            Fact.encodeHeader(kind: .sempEvent, time: ms << 16, dependencies: [], into: &bytes)
            makeRoom()
            _ = adopt(slot: slot(of: replica), time: ms << 16, entry: bytes.span.bytes)
        }
    }

    /// The dependencies of an own entry written now.
    fileprivate mutating func dependenciesOfNext(ms: UInt64 = 1) -> [VersionVector.Entry] {
        makeRoom()
        let position = write(.sempEvent, time: ms << 16, body: [UInt8]().span.bytes)
        return read(position) { entry in
            guard let fact = try? Fact(entry) else { return [] }
            var cursor = ByteCursor(fact.dependencies)
            return (0..<fact.dependencyCount).compactMap { _ in
                guard let replica = try? cursor.replica(entry), let sequence = try? cursor.varint(entry) else {
                    return nil
                }
                return VersionVector.Entry(replica: replica, sequence: sequence)
            }
        }
    }
}

@Suite("A retired log")
struct RetirementTests {
    @Test("is not named where it ended as was said, and counts as read by whoever read that")
    func compression() {
        var log = FactLog(me: ada, retention: .init())
        log.adopt(bob, count: 3)
        log.adopt(cyd, count: 2)
        log.retire(bob, last: 3, by: at(cyd, 2))
        #expect(log.vector == vector(at(cyd, 2)))
        #expect(log.hasRead(bob, 3) && log.head(of: bob) == 3)
        // A vector that names no bob: has its owner read the retirement?
        #expect(log.head(of: bob, in: vector(at(cyd, 2))) == 3)
        #expect(log.head(of: bob, in: vector(at(cyd, 1))) == 0)
        #expect(log.head(of: bob, in: vector(at(bob, 2), at(cyd, 2))) == 2, "who names it says it himself")
        #expect(log.covers(vector(at(cyd, 2)), vector(at(bob, 3))))
        #expect(!log.covers(vector(at(cyd, 2)), vector(at(bob, 4))))
        #expect(!log.covers(vector(at(cyd, 1)), vector(at(bob, 1))))
    }

    @Test("is told by the digest as if it had never been, and by no dependency")
    func digest() {
        var (with, without) = (FactLog(me: ada, retention: .init()), FactLog(me: dan, retention: .init()))
        for _ in 0..<2 {
            with.adopt(cyd)
            without.adopt(cyd)
        }
        with.adopt(bob, count: 3)
        #expect(with.digest != without.digest)
        with.retire(bob, last: 3, by: at(cyd, 2))
        #expect(with.digest == without.digest)
        #expect(with.dependenciesOfNext() == [at(cyd, 2)])
    }

    @Test("is named again when somebody had written more")
    func beyond() {
        var log = FactLog(me: ada, retention: .init())
        log.adopt(bob, count: 3)
        log.retire(bob, last: 3, by: at(cyd, 1))
        #expect(log.vector[bob] == 0)
        log.adopt(bob)
        #expect(log.vector[bob] == 4)
        #expect(log.dependenciesOfNext() == [at(bob, 4)])
        log.retire(bob, last: 3, by: at(cyd, 2))
        #expect(log.vector[bob] == 4, "an earlier end is no news")
        log.retire(bob, last: 4, by: at(cyd, 3))
        #expect(log.vector[bob] == 0)
    }

    @Test("of which less was read than its end is named until the rest came")
    func behind() {
        var log = FactLog(me: ada, retention: .init())
        log.adopt(bob, count: 2)
        log.retire(bob, last: 3, by: at(cyd, 1))
        #expect(log.vector[bob] == 2)
        #expect(!log.hasRead(bob, 3), "the entry itself is still to come")
        log.adopt(bob)
        #expect(log.vector[bob] == 0 && log.hasRead(bob, 3))
    }

    @Test("counts as read by whoever read the retirement of the log that told of it")
    func chain() {
        var log = FactLog(me: ada, retention: .init())
        log.adopt(bob, count: 3)
        log.adopt(cyd, count: 5)
        log.adopt(dan, count: 7)
        log.retire(bob, last: 3, by: at(cyd, 4))
        log.retire(cyd, last: 5, by: at(dan, 6))
        #expect(log.vector == vector(at(dan, 7)))
        #expect(log.head(of: bob, in: vector(at(dan, 6))) == 3)
        #expect(log.head(of: cyd, in: vector(at(dan, 6))) == 5)
        #expect(log.head(of: bob, in: vector(at(dan, 5))) == 0)
        log.retire(dan, last: 7, by: at(ada, 1))
        let by = Set(log.retirements.values.map(\.by))
        #expect(by == [at(ada, 1)], "one step, however long the chain")
    }

    @Test("gives its slot back when nothing of it is remembered, and still counts as read")
    func slots() {
        var log = FactLog(me: ada, retention: .init(entries: 8))
        log.adopt(bob, ms: 1_000, count: 3)
        let slot = log.knownSlot(of: bob)
        log.retire(bob, last: 3, by: at(cyd, 1))
        #expect(log.knownSlot(of: bob) == slot, "its entries are still held")
        for i in 0..<20 as Range<UInt64> { log.adopt(dan, ms: 10_000 + i) }
        log.trim(clockMs: 700_000)
        #expect(log.knownSlot(of: bob) == slot, "somebody who has not read that it ended may ask for it")
        _ = log.settleRetirements(everywhere: [bob])
        #expect(log.knownSlot(of: bob) == nil)
        #expect(log.hasRead(bob, 3) && !log.hasRead(bob, 4))
        #expect(log.slot(of: ReplicaID(77)) == slot)
        #expect(log.head(of: ReplicaID(77)) == 0 && log.hash(of: slot!) == 0)
        #expect(log.slotCount == 3)
    }

    @Test("is settled once everybody read that it ended, and forgotten once nothing held can depend on it")
    func settled() {
        var log = FactLog(me: ada, retention: .init(entries: 8))
        log.adopt(bob, ms: 1_000, count: 3)
        log.retire(bob, last: 3, by: at(ada, 1))
        _ = log.dependenciesOfNext(ms: 1_000)
        #expect(log.settleRetirements(everywhere: []).isEmpty)
        for i in 0..<40 as Range<UInt64> { log.adopt(dan, ms: 10_000 + i) }
        log.trim(clockMs: 700_000)
        #expect(log.settleRetirements(everywhere: []).isEmpty, "somebody has not read it")
        #expect(log.settleRetirements(everywhere: [bob]).map(\.last) == [3], "nothing of the log is left")
        #expect(log.retirements[bob] != nil, "what is held may depend on it")
        #expect(log.hasRead(bob, 3))
        for i in 0..<40 as Range<UInt64> { log.adopt(dan, ms: 800_000 + i) }
        log.trim(clockMs: 1_500_000)
        #expect(log.settleRetirements(everywhere: []).map(\.last) == [3])
        #expect(log.retirements.isEmpty)
        #expect(!log.hasRead(bob, 1))
    }

    @Test("leaves nothing behind: a thousand of them one after the other take no more than two dozen")
    func bounded() {
        var log = FactLog(me: ada, retention: .init(entries: 800))
        var (mostSlots, mostLogs, mostRetirements, mostNamed) = (0, 0, 0, 0)
        for life in 0..<1_000 as Range<UInt64> {
            let ms = 1_000_000 + life * 60_000
            let replica = ReplicaID(1_000 + life)
            log.adopt(replica, ms: ms, count: 5)
            log.retire(replica, last: 5, by: at(ada, log.head(of: 0) + 1))
            for _ in 0..<100 { _ = log.dependenciesOfNext(ms: ms) }
            log.trim(clockMs: ms)
            _ = log.settleRetirements(everywhere: log.retirements.filter { $0.value.stableAt == nil }.keys.sorted())
            mostSlots = max(mostSlots, log.slotCount)
            mostLogs = max(mostLogs, log.logCount)
            mostRetirements = max(mostRetirements, log.retirements.count)
            mostNamed = max(mostNamed, log.vector.entries.count)
        }
        // Ten minutes of memory are ten lives; what is held beyond that is a slab or two.
        #expect(mostSlots <= 24 && mostLogs <= 24 && mostRetirements <= 48)
        #expect(mostNamed == 1)
    }

    @Test("is written down and read back; a number that cannot be is refused")
    func wire() throws {
        var body: [UInt8] = []
        Retirement.encode(bob, last: 300, into: &body)
        #expect(try Retirement.decode(body.span.bytes) == at(bob, 300))
        for cut in 0..<body.count {
            #expect(throws: DecodeError.self) { try Retirement.decode(Array(body[..<cut]).span.bytes) }
        }
        for last in [0, 1 << 62, .max] as [UInt64] {
            var bad: [UInt8] = []
            Retirement.encode(bob, last: last, into: &bad)
            #expect(throws: DecodeError.self) { try Retirement.decode(bad.span.bytes) }
        }
    }

    @Test("appears for each life of a peer in memory that is gone, and the cluster does not grow with its lives")
    func cluster() {
        var settings = Replication.Settings(retention: .init(entries: 40))
        settings.retention.memoryMs = 5_000
        var world = LinkWorld(0, profile: .fast)
        world.hasNetwork = true
        for id in 1...3 as ClosedRange<UInt64> { world.add(ReplicaID(id), replication: settings) }
        world.run(milliseconds: 2_000)
        var named: [Int] = []
        for life in 0..<25 as Range<UInt64> {
            for i in 0..<3 { for line in 0..<4 { world.write(i, "life \(life) line \(line) of \(i)") } }
            world.run(milliseconds: 500)
            world.restart(2, as: ReplicaID(100 + life), replication: settings)
            world.run(milliseconds: 3_500)
            named.append(world.clusters[0].log.vector.entries.count)
        }
        #expect(world.agrees)
        #expect(world.states[0] == world.states[1] && world.states[0] == world.states[2])
        #expect(world.clusters[0].replication.counters.retirements >= 24)
        #expect(world.resets.joined().isEmpty)
        #expect(named.max()! <= 4, "\(named)")
        for i in 0..<3 {
            #expect(world.clusters[i].replication.retiredCount <= 12)
            #expect(world.clusters[i].log.logCount <= 12)
            #expect(world.clusters[i].replication.counters.faults == 0)
        }
    }
}
