import CRDT
import Testing

@Suite("A hybrid clock")
struct HybridClockTests {
    @Test("gives rising times, close to physical time, and after everything seen")
    func rising() {
        var clock = HybridClock()
        #expect(clock.next(physicalMilliseconds: 1_000) == 1_000 << 16)
        #expect(clock.next(physicalMilliseconds: 1_000) == 1_000 << 16 + 1)
        #expect(clock.next(physicalMilliseconds: 900) == 1_000 << 16 + 2, "physical time stepped back")
        clock.observe(2_000 << 16 + 7)
        #expect(clock.next(physicalMilliseconds: 1_001) == 2_000 << 16 + 8)
        clock.observe(5)
        #expect(clock.next(physicalMilliseconds: 3_000) == 3_000 << 16)
        #expect(HybridClock(last: 9).last == 9)
    }

    @Test("carries a counter that overflows into the milliseconds")
    func overflow() {
        var clock = HybridClock(last: 1_000 << 16 + 0xffff)
        let stamp = HybridTimestamp(time: clock.next(physicalMilliseconds: 1_000), replica: ReplicaID(1))
        #expect(stamp.milliseconds == 1_001)
        #expect(stamp.counter == 0)
    }

    @Test("never goes backwards, whatever physical time and peers do")
    func random() {
        var random = Seeded(11)
        var clock = HybridClock()
        var last: UInt64 = 0
        for _ in 0..<10_000 {
            if Bool.random(using: &random) { clock.observe(UInt64.random(in: 0..<1 << 40, using: &random)) }
            let next = clock.next(physicalMilliseconds: UInt64.random(in: 0..<1 << 24, using: &random))
            #expect(next > last)
            last = next
        }
    }

    @Test("reads at physical time, and never before anything seen")
    func reading() {
        var clock = HybridClock()
        #expect(clock.milliseconds(physicalMilliseconds: 500) == 500)
        clock.observe(700 << 16 + 3)
        #expect(clock.milliseconds(physicalMilliseconds: 500) == 700)
        #expect(clock.milliseconds(physicalMilliseconds: 701) == 701)
    }
}

@Suite("A stamp")
struct HybridTimestampTests {
    private static let some: [HybridTimestamp] = [
        stamp(0), stamp(0, 1), stamp(0, 0xffff, by: .max), stamp(9, by: 1), stamp(9, by: 2), stamp(9, by: 0xa0),
        stamp(10), stamp(0xabc, 0xa, by: 7), stamp((1 << 48) - 1, 0xffff, by: .max),
    ]

    @Test("sorts as text just as it sorts")
    func text() {
        for a in Self.some {
            #expect(a.description.utf8.count == 33)
            #expect(HybridTimestamp(text: a.description) == a)
            for b in Self.some { #expect((a < b) == (a.description < b.description)) }
        }
    }

    @Test(
        "is read from nothing but its own text",
        arguments: [
            "", "-", "0000000000000000", "0000000000000000-", "0000000000000000-000000000000000",
            "0000000000000000-00000000000000001", "0000000000000000 0000000000000001",
            "000000000000000g-0000000000000001",
            "+000000000000000-0000000000000001", "0000000000000000-+000000000000001",
            "0000000000000000-0000000000000001-",
            "２000000000000-0000000000000001",
        ])
    func refused(text: String) {
        #expect(HybridTimestamp(text: text) == nil)
    }

    @Test(
        "a replica's name is sixteen digits and nothing else",
        arguments: [
            "", "1", "+000000000000001", "-000000000000001", "000000000000000x", "00000000000000001",
        ])
    func replica(text: String) {
        #expect(ReplicaID(text: text) == nil)
        #expect(ReplicaID(text: ReplicaID(0xfe).description) == ReplicaID(0xfe))
    }
}
