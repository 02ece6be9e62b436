import CRDT
import Testing

private let (ada, bob) = (ReplicaID(1), ReplicaID(2))

@Suite("A disciplined clock")
struct DisciplinedClockTests {
    /// A clock that shows 10,000,000 ms at monotonic 0.
    var clock = DisciplinedClock(wallMs: 10_000_000, monotonicMs: 0, maxSkewMs: 2_000)

    @Test("follows two peers that agree, never one alone", arguments: [-3_600_000, -2_001, 2_001, 3_600_000])
    mutating func broken(aheadMs: Int64) {
        let theirs = UInt64(10_010_000 + aheadMs)
        #expect(clock.observe(ada, clockMs: theirs, ageMs: 1, monotonicMs: 10_000) == nil)
        #expect(clock.observe(bob, clockMs: theirs, ageMs: 1, monotonicMs: 10_000) == aheadMs)
        #expect(clock.milliseconds(monotonicMs: 10_000) == theirs)
        #expect(clock.corrections == 1)
    }

    @Test("is left alone within the allowed skew", arguments: [-2_000, 0, 2_000])
    mutating func allowed(aheadMs: Int64) {
        for peer in [ada, bob] {
            #expect(clock.observe(peer, clockMs: UInt64(10_010_000 + aheadMs), ageMs: 1, monotonicMs: 10_000) == nil)
        }
        #expect(clock.corrections == 0)
    }

    @Test("does not take the age of a message for a clock that is behind", arguments: [nil, 501, 8_000])
    mutating func late(ageMs: UInt64?) {
        // Both peers are right; their messages lay eight seconds in the socket of a stopped process.
        for peer in [ada, bob] {
            #expect(clock.observe(peer, clockMs: 10_002_000, ageMs: ageMs, monotonicMs: 10_000) == nil)
        }
        #expect(clock.corrections == 0)
    }

    @Test("believes that a peer is ahead however old the message is")
    mutating func ahead() {
        #expect(clock.observe(ada, clockMs: 10_100_000, ageMs: nil, monotonicMs: 10_000) == nil)
        #expect(clock.observe(bob, clockMs: 10_100_000, ageMs: nil, monotonicMs: 10_000) == 90_000)
    }
}

private let (cyd, dee) = (ReplicaID(3), ReplicaID(4))

@Suite("The peers of a disciplined clock")
struct DisciplinedClockPeerTests {
    var clock = DisciplinedClock(wallMs: 1_000_000, monotonicMs: 0, maxSkewMs: 2_000)

    /// Hears a peer that is `aheadMs` ahead of this clock, at this monotonic moment.
    private mutating func hear(_ peer: ReplicaID, aheadMs: Int64, at monotonicMs: UInt64) -> Int64? {
        let theirs = UInt64(Int64(clock.milliseconds(monotonicMs: monotonicMs)) + aheadMs)
        return clock.observe(peer, clockMs: theirs, ageMs: 0, monotonicMs: monotonicMs)
    }

    @Test("disturb nobody where one of them is off, however often it says so")
    mutating func oneBroken() {
        for round in 0..<20 as Range<UInt64> {
            #expect(hear(ada, aheadMs: 3_600_000, at: round * 1_000) == nil)
            #expect(hear(bob, aheadMs: 10, at: round * 1_000) == nil)
            #expect(hear(cyd, aheadMs: -10, at: round * 1_000) == nil)
        }
        #expect(clock.corrections == 0)
        #expect(clock.milliseconds(monotonicMs: 20_000) == 1_020_000)
        #expect(clock.medianAheadMs == 10)
    }

    @Test("disturb nobody where two of them disagree")
    mutating func disagree() {
        #expect(hear(ada, aheadMs: 3_600_000, at: 1) == nil)
        #expect(hear(bob, aheadMs: -900_000, at: 1) == nil)
        #expect(clock.corrections == 0)
    }

    @Test("are followed to their median")
    mutating func median() {
        #expect(hear(ada, aheadMs: 9_000_000, at: 1) == nil)
        #expect(hear(bob, aheadMs: 50_000, at: 1) == nil)
        #expect(hear(cyd, aheadMs: 51_000, at: 1) == 51_000)
        #expect(clock.milliseconds(monotonicMs: 1) == 1_051_001)
        #expect(clock.medianAheadMs == 0, "after a correction they are heard anew")
        #expect(hear(dee, aheadMs: 50_000, at: 2) == nil, "one alone, again")
    }

    @Test("need a majority among those heard")
    mutating func majority() {
        #expect(hear(ada, aheadMs: 60_000, at: 1) == nil)
        #expect(hear(cyd, aheadMs: 0, at: 1) == nil)
        #expect(hear(dee, aheadMs: 0, at: 1) == nil)
        #expect(hear(bob, aheadMs: 60_000, at: 1) == nil, "two of four")
        #expect(hear(ReplicaID(5), aheadMs: 60_000, at: 1) == 60_000, "three of five")
    }

    @Test("are forgotten after two minutes, or when they are gone")
    mutating func forgotten() {
        #expect(hear(ada, aheadMs: 60_000, at: 0) == nil)
        #expect(hear(bob, aheadMs: 60_000, at: 120_001) == nil, "the first reading is too old")
        clock.forget(bob)
        #expect(hear(cyd, aheadMs: 60_000, at: 120_002) == nil, "and the second was forgotten")
        #expect(hear(dee, aheadMs: 60_000, at: 120_003) == 60_000)
    }

    @Test("cannot say more than a stamp can hold")
    mutating func bounds() {
        for peer in [ada, bob] { #expect(clock.observe(peer, clockMs: 1 << 48, ageMs: 0, monotonicMs: 1) == nil) }
        #expect(clock.corrections == 0)
        let early = DisciplinedClock(wallMs: 0, monotonicMs: 50, maxSkewMs: 2_000)
        #expect(early.milliseconds(monotonicMs: 0) == 0)
        let late = DisciplinedClock(wallMs: 1 << 48, monotonicMs: 0, maxSkewMs: 2_000)
        #expect(late.milliseconds(monotonicMs: 5) == (1 << 48) - 1)
    }
}
