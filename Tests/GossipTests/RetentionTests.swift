import CRDT
import Testing

@testable import Gossip

private let (ada, bob, cyd) = (ReplicaID(1), ReplicaID(2), ReplicaID(3))

/// An entry of a log, as its writer would write it.
private func entry(_ text: String, time: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    Fact.encodeHeader(kind: .sempEvent, time: time, dependencies: [], into: &bytes)
    return bytes + Array(text.utf8)
}

extension FactLog {
    @discardableResult
    fileprivate mutating func write(ms: UInt64, _ text: String = "entry") -> Int {
        makeRoom()
        return write(.sempEvent, time: ms << 16, body: Array(text.utf8).span.bytes)
    }

    @discardableResult
    fileprivate mutating func adopt(_ replica: ReplicaID, ms: UInt64, _ text: String = "entry") -> Int {
        let bytes = entry(text, time: ms << 16)
        makeRoom()
        return adopt(slot: slot(of: replica), time: ms << 16, entry: bytes.span.bytes)
    }

    /// The stamps of the entries held, in milliseconds.
    fileprivate var heldMs: [UInt64] {
        (start..<end).filter { holds($0) }.map { record(at: $0).time >> 16 }
    }
}

@Suite("What a log keeps")
struct RetentionTests {
    @Test("is at most so many entries, the newest, and not much less", arguments: [8, 80, 1_000])
    func count(limit: Int) {
        var log = FactLog(me: ada, retention: .init(entries: limit))
        let slab = max(1, limit / 8)
        for i in 1...UInt64(limit * 3) {
            log.write(ms: i)
            #expect(log.heldEntries <= limit + slab + 1)
            #expect(log.heldEntries >= min(Int(i), limit - slab))
        }
        #expect(log.dropped + log.heldEntries == limit * 3)
        #expect(log.heldMs == Array(UInt64(log.dropped + 1)...UInt64(limit * 3)))
        #expect(log.floor(of: 0) == UInt64(log.dropped + 1))
    }

    @Test("is at most so many bytes")
    func bytes() {
        let limit = 64 << 10
        var log = FactLog(me: ada, retention: .init(bytes: limit))
        let text = String(repeating: "x", count: 500)
        for i in 1...1_000 as ClosedRange<UInt64> {
            log.write(ms: i, text)
            #expect(log.heldBytes <= limit + limit / 16)
            if i > 200 { #expect(log.heldBytes > limit - limit / 8) }
        }
        #expect(log.heldBytes == log.heldEntries * (text.utf8.count + 10))
        #expect(log.heldMs.last == 1_000)
    }

    @Test("is nothing older than an age, and all that is younger")
    func age() {
        var log = FactLog(me: ada, retention: .init(ageMs: 8_000))
        for i in 0..<400 as Range<UInt64> {
            let now = 1_000_000 + i * 100
            log.write(ms: now)
            log.trim(clockMs: now)
            let oldest = log.heldMs[0]
            // A slab spans an eighth of the age, and goes with its youngest entry.
            #expect(oldest + 8_000 + 1_100 >= now)
            #expect(oldest <= max(1_000_000, now - 8_000))
        }
        // Nobody writes any more: all but the newest slab goes.
        log.trim(clockMs: 2_000_000)
        #expect(log.heldEntries <= 11 && log.heldEntries > 0)
        #expect(log.heldMs.last == 1_000_000 + 39_900)
    }

    @Test("goes by the youngest entry of a slab: a late one does not drag the others away, nor the other way round")
    func lateEntries() {
        var log = FactLog(me: ada, retention: .init(ageMs: 8_000))
        for ms in [100_000, 50_000, 100_500] as [UInt64] { log.adopt(bob, ms: ms) }
        log.write(ms: 105_000)
        log.trim(clockMs: 108_000)
        #expect(log.heldMs == [100_000, 50_000, 100_500, 105_000])
        log.trim(clockMs: 108_501)
        #expect(log.heldMs == [105_000])
    }

    @Test("names what it holds, and remembers numbers and stamps of what it dropped for ten minutes")
    func remembered() {
        var log = FactLog(me: ada, retention: .init(entries: 80))
        for i in 0..<1_000 as Range<UInt64> {
            log.write(ms: 1_000_000 + i * 2_000)
            log.trim(clockMs: 1_000_000 + i * 2_000)
            for position in log.remembered..<log.end {
                #expect(log.holds(position) == (position >= log.start))
                #expect(log.record(at: position).time >> 16 == 1_000_000 + UInt64(position) * 2_000)
                #expect(log.record(at: position).sequence == UInt64(position) + 1)
            }
        }
        let clockMs = 1_000_000 + 999 * 2_000 as UInt64
        #expect(log.start > 900)
        #expect(log.record(at: log.remembered).time >> 16 + 600_000 >= clockMs)
        #expect(log.record(at: log.remembered).time >> 16 + 600_000 < clockMs + 4_000)
        #expect(log.forgottenEarly == 0)
        #expect(log.position(slot: 0, sequence: log.floor(of: 0) - 1) == nil, "remembered is not held")
    }

    @Test("remembers at most so many, and counts what it forgets too soon")
    func rememberedBound() {
        var retention = FactLog.Retention(entries: 80)
        retention.remembered = 100
        var log = FactLog(me: ada, retention: retention)
        for i in 0..<2_000 as Range<UInt64> {
            log.write(ms: 1_000_000 + i)
            #expect(log.start - log.remembered <= 110)
        }
        #expect(log.forgottenEarly == log.remembered)
        #expect(log.forgottenEarly > 1_500)
    }

    @Test("is all that came since its owner looked, however much that is, and what goes to a newcomer up to a point")
    func needed() {
        var log = FactLog(me: ada, retention: .init(bytes: 64 << 10, entries: 80))
        for i in 1...500 as ClosedRange<UInt64> {
            _ = log.write(.sempEvent, time: i << 16, body: Array("entry".utf8).span.bytes)
        }
        #expect(log.heldEntries == 500 && log.start == 0)
        log.pin = 205
        log.makeRoom()
        #expect(log.start <= 205 && log.start >= 195)
        // A pin holds until the log is twice as large as it may be.
        for i in 1...400 as ClosedRange<UInt64> {
            log.write(ms: 500 + i, String(repeating: "x", count: 1_000))
            #expect(log.heldBytes <= 140 << 10)
        }
        #expect(log.start > 300)
        log.pin = nil
        log.trim(clockMs: 900)
        #expect(log.heldBytes <= 68 << 10)
    }

    @Test("has room for entries of which only number and stamp came")
    func ghosts() {
        var log = FactLog(me: ada, retention: .init(entries: 80))
        let slot = log.slot(of: bob)
        let first = log.remember(slot: slot, sequence: 7, time: 5 << 16)
        log.skip(slot: slot, to: 8, hash: 99)
        let digest = log.digest
        let second = log.remember(slot: slot, sequence: 6, time: 4 << 16)
        #expect((first, second, log.end) == (0, 1, 2))
        #expect(log.digest == digest && log.hash(of: slot) == 99 && log.head(of: slot) == 7)
        for (position, sequence) in [(0, 7), (1, 6)] as [(Int, UInt64)] {
            #expect(!log.holds(position))
            #expect(log.record(at: position).sequence == sequence)
            #expect(log.position(slot: slot, sequence: sequence) == nil)
        }
        #expect(log.heldEntries == 0 && log.heldBytes == 0)
        // They do not count as dropped, go with what lies around them, and leave the hash of the log alone.
        for i in 1...200 as ClosedRange<UInt64> {
            log.adopt(bob, ms: 1_000_000 + i)
            if i == 100 { _ = log.remember(slot: slot, sequence: 5, time: 1_000_100 << 16) }
        }
        #expect(log.dropped + log.heldEntries == 200)
        #expect(log.head(of: slot) == 207)
        #expect(log.hash(of: slot, at: 207) == log.hash(of: slot))
        log.trim(clockMs: 3_000_000)
        #expect(log.remembered == log.start, "too old to be remembered")
    }

    @Test("has the running hash of each log at every number from before its floor to its head, and at no other")
    func hashes() {
        var whole = FactLog(me: bob, retention: .init())
        var log = FactLog(me: ada, retention: .init(entries: 160))
        var expected: [UInt64] = [0]
        for i in 1...500 as ClosedRange<UInt64> {
            whole.write(ms: i, "entry \(i)")
            log.adopt(bob, ms: i, "entry \(i)")
            if i % 3 == 0 { log.write(ms: i, "own") }
            expected.append(whole.hash(of: 0))
        }
        let slot = log.knownSlot(of: bob)!
        let floor = log.floor(of: slot)
        #expect(floor > 300)
        for sequence in 0...505 as ClosedRange<UInt64> {
            let isKnown = sequence + 1 >= floor && sequence <= 500
            #expect(log.hash(of: slot, at: sequence) == (isKnown ? expected[Int(sequence)] : nil), "at \(sequence)")
            let known = sequence <= 500
            #expect(whole.hash(of: 0, at: sequence) == (known ? expected[Int(sequence)] : nil))
        }
        #expect(log.hash(of: slot, at: .max) == nil)
    }

    @Test("has the running hash behind a skip, whatever was there before it")
    func hashesAfterSkip() {
        var whole = FactLog(me: bob, retention: .init())
        var expected: [UInt64] = [0]
        for i in 1...300 as ClosedRange<UInt64> {
            whole.write(ms: i, "entry \(i)")
            expected.append(whole.hash(of: 0))
        }
        for floor in [2, 31, 32, 33, 64, 100, 257] as [UInt64] {
            var log = FactLog(me: ada, retention: .init())
            log.adopt(bob, ms: 1, "entry 1")
            let slot = log.knownSlot(of: bob)!
            log.skip(slot: slot, to: floor, hash: expected[Int(floor) - 1])
            for i in max(2, floor)...300 { log.adopt(bob, ms: i, "entry \(i)") }
            for sequence in 0...300 as ClosedRange<UInt64> {
                let isKnown = sequence + 1 >= log.floor(of: slot)
                #expect(log.hash(of: slot, at: sequence) == (isKnown ? expected[Int(sequence)] : nil))
            }
        }
    }

    @Test("has a digest that tells content and number of entries, and nothing of order or of what was dropped")
    func digest() {
        var (a, b) = (FactLog(me: ada, retention: .init(entries: 8)), FactLog(me: cyd, retention: .init()))
        for i in 1...20 as ClosedRange<UInt64> {
            a.adopt(bob, ms: i)
            a.adopt(ReplicaID(9), ms: i)
        }
        for i in 1...20 as ClosedRange<UInt64> { b.adopt(ReplicaID(9), ms: i) }
        #expect(a.digest != b.digest)
        for i in 1...20 as ClosedRange<UInt64> { b.adopt(bob, ms: i) }
        #expect(a.dropped > 20 && b.dropped == 0)
        #expect(a.digest == b.digest)
        // The same number of entries, of which one says something else.
        var forked = b
        b.adopt(bob, ms: 21, "one")
        forked.adopt(bob, ms: 21, "another")
        #expect(b.vector == forked.vector && b.digest != forked.digest)
        b.adopt(bob, ms: 22)
        forked.adopt(bob, ms: 22)
        #expect(b.digest != forked.digest, "what comes later does not hide it")
    }

    @Test("tells a time that no entry after a number precedes, long after that entry is gone")
    func times() {
        var log = FactLog(me: ada, retention: .init(entries: 80))
        for i in 1...20_000 as ClosedRange<UInt64> { log.write(ms: i * 10) }
        for sequence in stride(from: UInt64(0), through: 20_000, by: 37) {
            let time = log.time(of: ada, at: sequence) >> 16
            #expect(time <= (sequence + 1) * 10)
            // Marks thin out as the log grows: an eighth of it is close enough.
            #expect(time + 25_000 >= sequence * 10)
        }
        #expect(log.time(of: ada, at: 20_000) >> 16 == 200_000, "exact while it is held")
        #expect(log.time(of: bob, at: 5) == 0)
    }
}
