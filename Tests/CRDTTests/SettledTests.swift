import CRDT
import Testing

private func settled(through: UInt64, open: [(UInt64, UInt32)] = []) -> Settled {
    var it = Settled()
    for (sequence, attempt) in open { it.tried(sequence, attempt: attempt) }
    it.pass(through)
    return it
}

private func joined(_ a: Settled, _ b: Settled) -> Settled {
    var both = a
    both.merge(b)
    return both
}

@Suite("What a group is done with")
struct SettledTests {
    @Test("obeys the laws of a join")
    func laws() {
        let some = [
            Settled(), settled(through: 3), settled(through: 5, open: [(2, 1), (5, 0)]),
            settled(through: 2, open: [(2, 3)]),
            settled(through: 9, open: [(1, 1), (2, 2), (7, 1001)]), settled(through: 7, open: [(7, 1)]),
            settled(through: 6, open: [(5, 4)]),
        ]
        #expect(brokenLaw(some) == nil)
    }

    @Test("joins entry by entry: whatever one side has settled is settled, the rest keeps the higher attempt")
    func entryByEntry() {
        var dice = Seeded(11)
        func random() -> Settled {
            var it = Settled()
            for sequence in 1...12 as ClosedRange<UInt64> where UInt64.random(in: 0..<3, using: &dice) > 0 {
                if Bool.random(using: &dice) {
                    it.pass(sequence)
                } else {
                    it.tried(sequence, attempt: .random(in: 0..<4, using: &dice))
                }
            }
            return it
        }
        for _ in 0..<2_000 {
            let (a, b) = (random(), random())
            let both = joined(a, b)
            #expect(both.through == max(a.through, b.through))
            for sequence in 1...13 as ClosedRange<UInt64> {
                let isSettled = a.isSettled(sequence) || b.isSettled(sequence)
                #expect(both.isSettled(sequence) == isSettled)
                let attempts = [a.attempt(of: sequence), b.attempt(of: sequence)].compactMap { $0 }
                #expect(both.attempt(of: sequence) == (isSettled ? nil : attempts.max()))
            }
        }
    }

    @Test("never takes back that an entry is settled")
    func monotone() {
        var it = settled(through: 4, open: [(2, 1)])
        let again = (it.tried(3, attempt: 9), it.tried(2, attempt: 1), it.tried(2, attempt: 2))
        #expect(again == (false, false, true))
        #expect(it.isSettled(3))
        #expect(it.attempt(of: 2) == 2)
        let settles = (it.settle(2), it.settle(2))
        #expect(settles == (true, false))
        #expect(it.isSettled(2))
        #expect(!it.isSettled(5))
        let further = (it.pass(4), it.tried(9, attempt: 1))
        #expect(further == (false, true))
        #expect(it.isSettled(8))
        #expect(it.untried.attempt(of: 9) == 0)
    }

    @Test("can follow what others have settled without reaching further")
    func prune() {
        var it = settled(through: 6, open: [(2, 1), (4, 7), (6, 1)])
        let first = it.prune(settled(through: 5, open: [(2, 9)]))
        #expect(first)
        #expect(it == settled(through: 6, open: [(2, 1), (6, 1)]))
        let second = it.prune(settled(through: 5, open: [(2, 9)]))
        #expect(!second)
    }

    @Test("comes back from its bytes, and hostile bytes are refused")
    func bytes() {
        for value in [Settled(), settled(through: 1 << 40, open: [(1, 1), (300, 5_001), (1 << 40, 0)])] {
            var out: [UInt8] = []
            value.encode(into: &out)
            #expect((try? Settled(out.span.bytes)) == value)
            for end in 0..<out.count { #expect((try? Settled(Array(out[..<end]).span.bytes)) == nil) }
            #expect((try? Settled((out + [0]).span.bytes)) == nil)
        }
        func refused(_ numbers: [UInt64]) {
            var out: [UInt8] = []
            for number in numbers { out.append(varint: number) }
            #expect((try? Settled(out.span.bytes)) == nil)
        }
        refused([1 << 62, 0])
        refused([5, 1 << 40])
        refused([5, 1, 6, 1])
        refused([5, 1, 0, 1])
        refused([5, 2, 5, 1, 1, 1])
        refused([5, 2, 3, 1, .max, 1])
        refused([5, 1, 3, 1 << 32])
    }
}
