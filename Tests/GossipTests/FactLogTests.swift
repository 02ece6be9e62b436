import CRDT
import Testing

@testable import Gossip

private let (ada, bob, cyd) = (ReplicaID(1), ReplicaID(2), ReplicaID(3))

extension FactLog {
    /// Writes an own entry of `count` bytes.
    fileprivate mutating func write(_ text: String, time: UInt64 = 1, count: Int = 0) -> Int {
        let body = Array(text.utf8) + Array(repeating: UInt8(ascii: "."), count: max(0, count - text.utf8.count))
        makeRoom()
        return write(.sempEvent, time: time, body: body.span.bytes)
    }

    /// Adopts the entry that another log holds at a position.
    fileprivate mutating func adopt(_ position: Int, from other: FactLog) -> Int {
        let record = other.record(at: position)
        let slot = slot(of: other.replica(in: Int(record.slot)))
        return other.read(position) { adopt(slot: slot, time: record.time, entry: $0) }
    }

    /// What an entry's origin had read, as far as the entry says.
    fileprivate func dependencies(at position: Int) -> [VersionVector.Entry] {
        read(position) { entry in
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

    fileprivate func body(at position: Int) -> String {
        read(position) { entry in
            let body = (try? Fact(entry).body) ?? 0..<0
            return entry.extracting(body).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        }
    }
}

@Suite("The logs")
struct FactLogTests {
    @Test("number entries by position here, and by sequence in each log")
    func numbering() {
        var mine = FactLog(me: ada, retention: .init(bytes: 1 << 20))
        var theirs = FactLog(me: bob, retention: .init(bytes: 1 << 20))
        #expect(mine.write("a1") == 0)
        #expect(theirs.write("b1") == 0)
        #expect(theirs.write("b2") == 1)
        #expect(mine.adopt(0, from: theirs) == 1)
        #expect(mine.write("a2") == 2)
        #expect(mine.adopt(1, from: theirs) == 3)

        #expect((0..<4).map { mine.body(at: $0) } == ["a1", "b1", "a2", "b2"])
        #expect(mine.head(of: ada) == 2)
        #expect(mine.head(of: bob) == 2)
        #expect(mine.head(of: cyd) == 0)
        #expect(mine.position(slot: 0, sequence: 2) == 2)
        #expect(mine.position(slot: 1, sequence: 2) == 3)
        #expect(mine.position(slot: 1, sequence: 3) == nil)
        #expect(mine.position(slot: 1, sequence: 0) == nil)
        #expect((mine.start, mine.end) == (0, 4))
    }

    @Test("have the same running hash at writer and reader, entry by entry")
    func hashChain() {
        var writer = FactLog(me: ada, retention: .init(bytes: 1 << 20))
        var reader = FactLog(me: bob, retention: .init(bytes: 1 << 20))
        var seen: Set<UInt64> = []
        for i in 0..<50 {
            let position = writer.write("entry \(i % 3)")
            _ = reader.adopt(position, from: writer)
            #expect(writer.hash(of: 0) == reader.hash(of: reader.slot(of: ada)))
            #expect(seen.insert(writer.hash(of: 0)).inserted, "the same text at another place is another history")
        }
    }

    @Test("note what was read of other logs since the previous own entry, and only that")
    func dependencies() {
        var mine = FactLog(me: ada, retention: .init(bytes: 1 << 20))
        var (bobs, cyds) = (
            FactLog(me: bob, retention: .init(bytes: 1 << 20)), FactLog(me: cyd, retention: .init(bytes: 1 << 20))
        )
        for i in 1...3 { _ = (bobs.write("b\(i)"), cyds.write("c\(i)")) }
        let alone = mine.write("alone")
        #expect(mine.dependencies(at: alone) == [])
        _ = (mine.adopt(0, from: cyds), mine.adopt(0, from: bobs), mine.adopt(1, from: bobs))
        let both = mine.write("after three")
        #expect(
            Set(mine.dependencies(at: both)) == [
                VersionVector.Entry(replica: bob, sequence: 2), VersionVector.Entry(replica: cyd, sequence: 1),
            ])
        let idle = mine.write("nothing new")
        #expect(mine.dependencies(at: idle) == [])
        _ = mine.adopt(2, from: bobs)
        let more = mine.write("one more")
        #expect(mine.dependencies(at: more) == [VersionVector.Entry(replica: bob, sequence: 3)])
    }

    @Test("keep a digest of how far each was read and of what it says, up to date entry by entry")
    func digest() {
        func expected(_ log: FactLog) -> UInt64 {
            log.vector.entries.reduce(0) { sum, entry in
                let hash = log.knownSlot(of: entry.replica).map { log.hash(of: $0) } ?? 0
                return sum &+ XXH64.avalanche(entry.replica.rawValue ^ XXH64.avalanche(entry.sequence ^ hash))
            }
        }
        var dice = Dice(seed: 5)
        var log = FactLog(me: ada, retention: .init(bytes: 1 << 20))
        #expect(log.digest == 0)
        var others = (2...5).map { FactLog(me: ReplicaID($0), retention: .init(bytes: 1 << 20)) }
        for i in 0..<300 {
            let other = Int(dice.below(4))
            switch dice.below(10) {
            case 0..<4: _ = log.write("mine")
            case 4..<9:
                let position = others[other].write("\(i)")
                // Only what is next may be adopted; after a skip there is nothing until the log has caught up.
                let slot = log.slot(of: others[other].me)
                if log.head(of: slot) == UInt64(position) { _ = log.adopt(position, from: others[other]) }
            default:
                let slot = log.slot(of: others[other].me)
                log.skip(slot: slot, to: log.head(of: slot) + dice.below(4), hash: dice.next())
            }
            #expect(log.digest == expected(log))
        }
        #expect(log.vector.entries.count == 5)
    }

    @Test("drop the oldest at their bound, and remember the hash at the floor")
    func bound() {
        let limit = 4 << 20
        var (log, whole) = (
            FactLog(me: ada, retention: .init(bytes: limit)), FactLog(me: ada, retention: .init(bytes: 1 << 30))
        )
        var hashes: [UInt64] = [0]
        for i in 0..<60 {
            _ = (log.write("entry \(i)", count: 300_000), whole.write("entry \(i)", count: 300_000))
            hashes.append(whole.hash(of: 0))
            #expect(log.heldBytes <= limit + (2 << 20))
            #expect(log.end - log.start + log.dropped == i + 1)
        }
        let floor = log.floor(of: 0)
        #expect(floor > 1)
        #expect(UInt64(log.start) == floor - 1)
        #expect(log.floorHash(of: 0) == hashes[Int(floor) - 1])
        #expect(log.hash(of: 0) == whole.hash(of: 0))
        #expect(log.head(of: 0) == 60)
        #expect(log.position(slot: 0, sequence: floor - 1) == nil)
        #expect(log.body(at: log.position(slot: 0, sequence: floor)!).hasPrefix("entry \(floor - 1)."))
        #expect(log.body(at: log.end - 1).hasPrefix("entry 59."))
        #expect(whole.dropped == 0)
    }

    @Test("skip what nobody holds any more, once, and never back")
    func skip() {
        var log = FactLog(me: ada, retention: .init(bytes: 1 << 20))
        let slot = log.slot(of: bob)
        log.skip(slot: slot, to: 1, hash: 7)
        #expect(log.head(of: slot) == 0, "the first entry is nothing to skip")
        log.skip(slot: slot, to: 11, hash: 7)
        #expect(
            (log.head(of: slot), log.floor(of: slot), log.hash(of: slot), log.floorHash(of: slot)) == (10, 11, 7, 7))
        log.skip(slot: slot, to: 5, hash: 9)
        #expect((log.head(of: slot), log.hash(of: slot)) == (10, 7))
        #expect(log.position(slot: slot, sequence: 11) == nil)
    }

    @Test("keep the hash at the floor right when entries from before a skip are dropped later")
    func dropAfterSkip() {
        var source = FactLog(me: bob, retention: .init(bytes: 1 << 30))
        for i in 1...12 { _ = source.write("b\(i)", count: 10) }
        var hashes: [UInt64] = [0]
        var replay = FactLog(me: cyd, retention: .init(bytes: 1 << 30))
        for position in 0..<12 {
            _ = replay.adopt(position, from: source)
            hashes.append(replay.hash(of: 1))
        }
        var log = FactLog(me: ada, retention: .init(bytes: 2 << 20))
        for position in 0..<3 { _ = log.adopt(position, from: source) }
        log.skip(slot: log.slot(of: bob), to: 8, hash: hashes[7])
        for position in 7..<12 { _ = log.adopt(position, from: source) }
        #expect(log.hash(of: 1) == hashes[12])
        #expect((0..<log.end).allSatisfy { log.holds($0) })
        #expect((0..<log.end).map { log.isServed($0) } == [false, false, false, true, true, true, true, true])
        for _ in 0..<2 where log.dropped == 0 { for _ in 0..<5 { _ = log.write("filler", count: 1 << 20) } }
        #expect(log.dropped >= 8)
        #expect(log.floor(of: 1) == 13)
        #expect(log.floorHash(of: 1) == hashes[12])
    }

    @Test("start with no log but their own")
    func empty() {
        let log = FactLog(me: ada, retention: .init(bytes: 1))
        #expect((0..<log.slotCount).map { log.replica(in: $0) } == [ada])
        #expect(log.vector == VersionVector())
        #expect(log.knownSlot(of: bob) == nil)
        #expect(log.floor(of: 0) == 1)
    }
}
