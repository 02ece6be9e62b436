import Testing

@testable import CRDT

private let minute: UInt64 = 60_000
/// A whole minute, so that ticks fall on round numbers.
private let start: UInt64 = 29_000_000 * minute

@Suite("A signal")
struct SignalTests {
    /// Histories of five or six operations that meet the corners of the fold, in stamp order.
    private static let histories: [(name: String, steps: [SignalStep])] = [
        (
            "every kind, ties in one millisecond and across replicas",
            [
                SignalStep(.touch, stamp(start, 0, by: 1)), SignalStep(.reward(gain: 0.24), stamp(start, 0, by: 2)),
                SignalStep(.reward(gain: 1.2), stamp(start, 1, by: 1)),
                SignalStep(.penalty(loss: 0.1), stamp(start, 1, by: 3)),
                SignalStep(.touch, stamp(start + 59_999, 0, by: 2)),
                SignalStep(.penalty(loss: 0.5), stamp(start + minute)),
            ]
        ),
        (
            "clamped at one, so that the order of reward and penalty matters",
            [
                SignalStep(.reward(gain: 0.9), stamp(start)), SignalStep(.reward(gain: 0.9), stamp(start + 1)),
                SignalStep(.penalty(loss: 0.6), stamp(start + 2)), SignalStep(.reward(gain: 5), stamp(start + 3)),
                SignalStep(.penalty(loss: 0.25), stamp(start + 4)),
            ]
        ),
        (
            "a penalty on nothing, vanishing by penalty, and a new beginning from nothing",
            [
                SignalStep(.penalty(loss: 0.5), stamp(start)), SignalStep(.touch, stamp(start + 10)),
                SignalStep(.penalty(loss: 0.295), stamp(start + 20)),
                SignalStep(.penalty(loss: 0.1), stamp(start + 30)),
                SignalStep(.reward(gain: 0.05), stamp(start + 40)), SignalStep(.touch, stamp(start + 50)),
            ]
        ),
        (
            "faded between two operations, so that a touch creates it again",
            [
                SignalStep(.touch, stamp(start)), SignalStep(.touch, stamp(start + 66 * minute)),
                SignalStep(.reward(gain: 0.011), stamp(start + 200 * minute)),
                SignalStep(.penalty(loss: 0.0005), stamp(start + 201 * minute)),
                SignalStep(.touch, stamp(start + 202 * minute)),
            ]
        ),
        (
            "a reward that takes away, and one that is too small to be",
            [
                SignalStep(.reward(gain: 0.009), stamp(start)), SignalStep(.reward(gain: 0.009), stamp(start + 1)),
                SignalStep(.touch, stamp(start + 2)), SignalStep(.reward(gain: -0.1), stamp(start + minute)),
                SignalStep(.reward(gain: -7), stamp(start + 2 * minute)),
            ]
        ),
    ]

    private static let moments: [UInt64] =
        [0, 1, 3, 25, 45, 59_999].map { start + $0 }
        + [1, 2, 65, 66, 67, 200, 201, 202, 260, 400].map { start + $0 * minute } + [start - 1]

    @Test("reads what one broker would have computed, in every order of arrival", arguments: [0.95, 0.5, 0.995])
    func everyOrderOfArrival(lambda: Double) {
        for (name, steps) in Self.histories {
            let expected = Self.moments.map { bits(brokerReading(steps, atMs: $0, lambda: lambda)) }
            everyOrder(of: steps) { order in
                let signal = signal(order, lambda: lambda)
                let readings = Self.moments.map { bits(signal.reading(atMs: $0)) }
                if readings != expected { Issue.record("\(name): \(order.map(\.stamp)) reads otherwise") }
            }
        }
    }

    @Test("reads what one broker would have computed, for histories drawn at random")
    func random() {
        var random = Seeded(7)
        for _ in 0..<400 {
            let steps = (0..<12).map { index in
                let kind = Int.random(in: 0..<3, using: &random)
                let amount = Double.random(in: 0...0.8, using: &random)
                let ms = start + UInt64.random(in: 0..<8, using: &random) * 11 * minute / 2
                return SignalStep(
                    kind == 0 ? .touch : kind == 1 ? .reward(gain: amount) : .penalty(loss: amount),
                    stamp(ms, UInt16(index), by: UInt64.random(in: 1...3, using: &random)))
            }
            let it = signal(steps.shuffled(using: &random))
            for moment in 0..<60 {
                let ms = start + UInt64(moment) * minute
                #expect(bits(it.reading(atMs: ms)) == bits(brokerReading(steps, atMs: ms, lambda: 0.95)))
            }
        }
    }

    @Test("is a join: parts of a history merge to the whole, whoever holds which")
    func laws() {
        for (_, steps) in Self.histories {
            let whole = signal(steps)
            everySplit(of: steps.count, into: 2) { owners in
                let parts = (0..<2).map { part in signal(zip(steps, owners).filter { $1 == part }.map(\.0)) }
                var merged = parts[0]
                merged.merge(parts[1])
                #expect(merged == whole)
                for ms in Self.moments { #expect(bits(merged.reading(atMs: ms)) == bits(whole.reading(atMs: ms))) }
            }
            #expect(
                brokenLaw([Signal(), whole, signal(Array(steps.prefix(3))), signal(Array(steps.suffix(3)))]) == nil)
        }
    }

    @Test("takes an operation once, however often it comes")
    func duplicates() {
        for (_, steps) in Self.histories {
            let it = signal(steps + steps.reversed())
            #expect(it == signal(steps))
            #expect(it.operationCount == steps.count)
        }
    }

    @Test("forgets an operation that is taken out, as if it had never come", arguments: 0..<6)
    func removal(at index: Int) {
        for (_, steps) in Self.histories where index < steps.count {
            var rest = steps
            let gone = rest.remove(at: index)
            var it = signal(steps)
            #expect(it.remove(at: gone.stamp) == true)
            #expect(it.remove(at: gone.stamp) == false)
            for ms in Self.moments {
                #expect(bits(it.reading(atMs: ms)) == bits(brokerReading(rest, atMs: ms, lambda: 0.95)))
            }
        }
    }

    @Test("decays once per tick that passed, whatever the milliseconds within it")
    func ticks() {
        let it = signal([SignalStep(.touch, stamp(start + 59_999))])
        #expect(it.reading(atMs: start + 59_998) == nil, "before it began")
        #expect(it.reading(atMs: start + 59_999)?.strength == 0.3)
        #expect(it.reading(atMs: start + 60_000)?.strength == 0.3 * 0.95)
        #expect(it.reading(atMs: start + 119_999)?.strength == 0.3 * 0.95)
        #expect(it.reading(atMs: start + 120_000)?.strength == 0.3 * 0.95 * 0.95)
        #expect(it.reading(atMs: start + 120_000)?.lastUpdatedMs == start + 59_999)
        #expect(it.reading(atMs: start + 66 * minute)?.strength ?? 0 >= 0.01)
        #expect(it.reading(atMs: start + 67 * minute) == nil, "below 0.01 it is gone")
        #expect(it.reading(atMs: (1 << 47) - 1) == nil)
    }

    @Test("in the past reads as it was then")
    func past() {
        let steps = [
            SignalStep(.touch, stamp(start)), SignalStep(.reward(gain: 0.24), stamp(start + 5)),
            SignalStep(.penalty(loss: 1), stamp(start + 9)),
        ]
        let it = signal(steps)
        #expect(it.reading(atMs: start + 4)?.strength == 0.3)
        #expect(it.reading(atMs: start + 5)?.strength == 0.3 + 0.24)
        #expect(it.reading(atMs: start + 8)?.lastUpdatedMs == start + 5)
        #expect(it.reading(atMs: start + 9) == nil)
    }

    @Test("beyond its cap folds the oldest operations into one number, exactly while they come in order")
    func cap() {
        var random = Seeded(3)
        var it = Signal()
        var steps: [SignalStep] = []
        for i in 0..<Signal.maximumOperations + 10 {
            let operation: SignalOperation =
                Bool.random(using: &random)
                ? .reward(gain: Double.random(in: 0...0.3, using: &random))
                : .penalty(loss: Double.random(in: 0...0.3, using: &random))
            let step = SignalStep(operation, stamp(start + UInt64(i) * 7_919))
            steps.append(step)
            let outcome = it.insert(operation, at: step.stamp)
            #expect(outcome == (i == Signal.maximumOperations ? .capped : .inserted))
        }
        #expect(it.operationCount == Signal.maximumOperations * 3 / 4 + 9)
        let last = steps.last!.stamp.milliseconds
        for ms in [last, last + minute, last + 30 * minute] {
            #expect(bits(it.reading(atMs: ms)) == bits(brokerReading(steps, atMs: ms, lambda: 0.95)))
        }
        #expect(
            it.insert(.reward(gain: 0.1), at: stamp(start + 3)) == .late, "one that belongs before the fold is counted")
        #expect(it.insert(.reward(gain: 0.1), at: stamp(last + 1)) == .inserted)
        #expect(it.remove(at: steps[0].stamp) == false, "what is folded cannot be taken out")
    }
}
