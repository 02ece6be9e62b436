import Testing

@testable import CRDT

private let minute: UInt64 = 60_000
private let start: UInt64 = 29_000_000 * minute

@Suite("Collapsing signals")
struct SignalCollapseTests {
    @Test("an operation takes 32 bytes")
    func memory() {
        #expect(MemoryLayout<Signal.Operation>.stride == 32)
        #expect(MemoryLayout<SignalMap.Held?>.stride + SignalQueue.bytesPerSignal <= 128)
        var operation = Signal.Operation(.penalty(loss: 0.5), at: stamp(1))
        for strength in [0, 0.01, 0.3, 1] {
            operation.strength = strength
            #expect(operation.strength == strength)
            #expect(operation.kind == .penalty)
        }
    }

    private static let steps = [
        SignalStep(.touch, stamp(start)), SignalStep(.reward(gain: 0.9), stamp(start + minute, 0, by: 2)),
        SignalStep(.penalty(loss: 0.7), stamp(start + minute, 0, by: 3)),
        SignalStep(.touch, stamp(start + 90 * minute)), SignalStep(.reward(gain: 0.2), stamp(start + 91 * minute)),
    ]

    @Test("changes no reading from then on, wherever it cuts and whatever comes after it in whatever order")
    func everyCut() {
        let moments = [0, 1, 2, 40, 89, 90, 91, 92, 150, 300].map { start + $0 * minute }
        for cut in 0...Self.steps.count {
            let time = cut == 0 ? 0 : Self.steps[cut - 1].stamp.time
            // Two operations share one time: a cut is by time and takes both.
            let folded = Self.steps.filter { $0.stamp.time <= time }
            everyOrder(of: Array(Self.steps.dropFirst(folded.count))) { rest in
                for early in 0...rest.count {
                    var it = signal(folded.reversed() + rest.prefix(early))
                    #expect(it.collapse(through: time) == folded.count)
                    #expect(it.collapse(through: time) == 0)
                    for step in rest.dropFirst(early) {
                        #expect(it.insert(step.operation, at: step.stamp) == .inserted)
                    }
                    #expect(it.operationCount == rest.count)
                    for moment in moments where moment >= time >> 16 {
                        let expected = brokerReading(Self.steps, atMs: moment, lambda: 0.95)
                        #expect(bits(it.reading(atMs: moment)) == bits(expected))
                    }
                }
            }
        }
    }

    @Test("is a join whoever has folded how far, and the later checkpoint takes in what the others hold")
    func laws() {
        let values = (0...Self.steps.count).flatMap { cut in
            [Self.steps.count, max(cut, 3)].map { known in
                var it = signal(Array(Self.steps.prefix(known)))
                it.collapse(through: .max, atMost: cut)
                return it
            }
        }
        #expect(brokenLaw(values + [Signal()]) == nil)
        for a in values {
            for b in values {
                var joined = a
                joined.merge(b)
                let checkpoint = [a, b].compactMap(\.checkpoint).max { $0 < $1 }
                #expect(joined.checkpoint == checkpoint)
                let known = max(a.operationCount + a.foldedCount, b.operationCount + b.foldedCount)
                #expect(joined.operationCount == known - max(a.foldedCount, b.foldedCount))
            }
        }
    }

    @Test("is a join even of states that no sound history has: one stamp with two operations, or two checkpoints")
    func unsound() {
        func state(_ gain: Double, _ count: Int) -> Signal {
            var it = signal([SignalStep(.reward(gain: gain), stamp(start)), SignalStep(.touch, stamp(start + 1))])
            it.collapse(through: .max, atMost: count)
            return it
        }
        #expect(brokenLaw([state(0.1, 0), state(0.2, 0), state(0.1, 1), state(0.2, 1), state(0.3, 2)]) == nil)
    }

    @Test("an operation from before the checkpoint acts right after it, and one that is the checkpoint's is present")
    func late() {
        var it = signal([
            SignalStep(.reward(gain: 0.5), stamp(start + minute)), SignalStep(.touch, stamp(start + 2 * minute)),
        ])
        it.collapse(through: stamp(start + minute).time)
        #expect(it.insert(.reward(gain: 0.5), at: stamp(start + minute)) == .present)
        #expect(it.insert(.reward(gain: 0.25), at: stamp(start)) == .late)
        #expect(it.reading(atMs: start + minute)?.strength == 0.75)
        #expect(it.reading(atMs: start + minute)?.lastUpdatedMs == start + minute)
        #expect(it.reading(atMs: start + 2 * minute)?.strength == 0.75 * 0.95, "what follows is folded again")
        #expect(it.operationCount == 1)
    }

    @Test("gives the memory of what is folded back")
    func capacity() {
        var it = Signal()
        for i in 0..<4_000 as Range<UInt64> { it.insert(.touch, at: stamp(start + i)) }
        #expect(it.collapse(through: stamp(start + 3_899).time) == 3_900)
        #expect(it.operations.capacity < 400)
        #expect(it.collapse(through: .max, atMost: 60) == 60)
        #expect(it.operationCount == 40)
    }

    @Test(
        "knows the moment from which on it reads as gone, to the tick",
        arguments: [0.3, 1, 0.01, 0.0100001, 0.95], [0.95, 0.5, 0.995])
    func fading(strength: Double, lambda: Double) {
        var it = Signal(lambda: lambda)
        it.insert(.reward(gain: strength), at: stamp(start + 59_999))
        #expect(it.due == stamp(start + 59_999).time, "the operation can be folded")
        it.collapse(through: .max)
        #expect(it.due & 0xffff == 0)
        #expect(it.reading(atMs: it.due >> 16) == nil)
        #expect(it.reading(atMs: it.due >> 16 - 1) != nil)
        it.insert(.penalty(loss: 1), at: stamp(start + minute))
        it.collapse(through: .max)
        #expect(it.due == stamp(start + minute).time, "gone at once")
        var last = Signal(lambda: lambda)
        last.insert(.touch, at: stamp((1 << 48) - 1))
        last.collapse(through: .max)
        #expect(last.due == .max, "later than any stamp can say")
    }

    @Test("a faded signal that was deleted and one that was not go on alike", arguments: 1...20 as ClosedRange<UInt64>)
    func deletion(seed: UInt64) {
        var random = Seeded(seed)
        let history = MapHistory(rounds: 12, operations: 6, using: &random)
        var (kept, collapsed) = (SignalMap(lambda: 0.8), SignalMap(lambda: 0.8))
        var deleted = 0
        for (round, steps) in history.rounds.enumerated() {
            for step in steps.shuffled(using: &random) {
                kept.insert(step)
                collapsed.insert(step)
            }
            let before = collapsed.count
            let endMs = history.endMs(of: round)
            collapsed.collapseAll(through: endMs << 16)
            #expect(collapsed.inconsistency == nil)
            deleted += before - collapsed.count
            let names = Array(collapsed.contents.keys)
            #expect(collapsed.entries(scope: nil, pattern: nil, minimumStrength: 0, atMs: endMs).count == names.count)
            for ms in [endMs, endMs + 3 * minute] {
                let entries = [kept, collapsed].map { map in
                    map.entries(scope: nil, pattern: nil, minimumStrength: 0, atMs: ms)
                }
                #expect(entries[0].map(\.scope) == entries[1].map(\.scope))
                #expect(entries[0].map(\.pattern) == entries[1].map(\.pattern))
                #expect(entries[0].map { bits($0.reading) } == entries[1].map { bits($0.reading) })
            }
        }
        #expect(deleted > 0)
        #expect(collapsed.approximations == 0)
    }

    @Test("costs as much per call as was allowed, and the horizon moves when all is done")
    func incremental() {
        var map = SignalMap(lambda: 0.95)
        for i in 0..<30 as Range<UInt64> {
            map.insert(MapStep("s", "p\(i % 3)", .touch, stamp(start + i * 1_000)))
            map.insert(MapStep("later", "p\(i)", .touch, stamp(start + 30 * minute)))
        }
        let time = stamp(start + 29_000).time
        for done in [10, 20] {
            #expect(map.collapse(through: time, atMost: 10) == true)
            #expect(map.operationCount == 60 - done)
            #expect((map.horizon, map.target, map.foldedThrough) == (0, time, time))
            #expect(map.oldestReadableMs == start + 29_000)
            #expect(map.inconsistency == nil)
        }
        #expect(map.collapse(through: 0, atMost: 10) == false, "an older time asks for nothing new")
        #expect((map.horizon, map.operationCount, map.count) == (time, 30, 33))
        #expect(map.inconsistency == nil)

        map.collapseAll(through: (start + 70 * minute) << 16)
        #expect((map.operationCount, map.count, map.scopeCount) == (0, 30, 1), "the first have faded")
        #expect(map.collapse(through: (start + 97 * minute) << 16, atMost: 29) == true)
        #expect((map.count, map.scopeCount) == (1, 1))
        #expect(map.collapse(through: 0, atMost: 1) == false)
        #expect((map.count, map.scopeCount, map.approximations) == (0, 0, 0))
        #expect(map.inconsistency == nil)
    }

    @Test("what comes at or below the horizon is counted, whether its signal is there, was deleted or never was")
    func lateInMap() {
        var map = SignalMap(lambda: 0.5)
        map.insert(MapStep("s", "gone", .touch, stamp(start)))
        map.insert(MapStep("s", "here", .reward(gain: 0.5), stamp(start + 20 * minute)))
        map.collapseAll(through: (start + 20 * minute) << 16 | 0xffff)
        #expect(map.count == 1)
        for (count, pattern) in [(1, "gone"), (2, "here"), (3, "new")] {
            map.insert(MapStep("s", pattern, .reward(gain: 0.2), stamp(start + 19 * minute)))
            #expect(map.approximations == count)
        }
        map.insert(MapStep("s", "here", .reward(gain: 0.2), stamp(start + 20 * minute)))
        #expect(map.approximations == 3, "that one is the checkpoint's own")
        let here = map.reading(
            scope: Array("s".utf8).span.bytes, pattern: Array("here".utf8).span.bytes, atMs: start + 20 * minute)
        #expect(here?.strength == 0.7)
        #expect(map.operationCount == 2)
        map.collapseAll(through: 0)
        #expect(map.operationCount == 0)
        #expect(map.inconsistency == nil)
    }

    @Test("an operation taken out before it is folded was never there; afterwards it stays and is counted")
    func removal() {
        let (original, copy) = (
            MapStep("s", "p", .reward(gain: 0.4), stamp(start)),
            MapStep("s", "p", .reward(gain: 0.4), stamp(start + minute, 0, by: 2))
        )
        var map = SignalMap(lambda: 0.95)
        map.insert(copy)
        map.insert(original)
        map.remove(copy)
        map.remove(copy)
        #expect(map.inconsistency == nil)
        map.collapseAll(through: stamp(start + 10 * minute).time)
        let reading = map.contents["s/p"]?.reading(atMs: start + 10 * minute)
        #expect(bits(reading) == bits(brokerReading([original.step], atMs: start + 10 * minute, lambda: 0.95)))
        #expect(map.approximations == 0)
        map.remove(original)
        #expect(map.approximations == 1)
        #expect(bits(map.contents["s/p"]?.reading(atMs: start + 10 * minute)) == bits(reading))

        map.insert(MapStep("t", "p", .touch, stamp(start + 11 * minute)))
        map.remove(MapStep("t", "p", .touch, stamp(start + 11 * minute)))
        #expect((map.count, map.scopeCount) == (1, 1), "with its last operation a signal goes")
        map.remove(MapStep("u", "p", .touch, stamp(start + 11 * minute)))
        #expect(map.approximations == 1)
        map.remove(MapStep("u", "p", .touch, stamp(start + 9 * minute)))
        #expect(map.approximations == 2, "it may have been folded into a signal that is deleted")
        #expect(map.inconsistency == nil)
    }

    @Test("beyond its cap a signal folds ahead of the horizon, and says from when on it can be read")
    func cap() {
        var map = SignalMap(lambda: 0.95)
        for i in 0...UInt64(Signal.maximumOperations) { map.insert(MapStep("s", "p", .touch, stamp(start + i))) }
        #expect((map.approximations, map.horizon, map.target) == (1, 0, 0))
        #expect(map.operationCount == Signal.maximumOperations * 3 / 4)
        #expect(map.oldestReadableMs == start + 1_024)
        #expect(map.inconsistency == nil)
        map.collapseAll(through: stamp(start + 5).time)
        #expect(map.oldestReadableMs == start + 1_024)
        #expect(map.horizon == stamp(start + 5).time)
    }

    @Test("memory follows what is held, down again as well")
    func bytes() {
        var map = SignalMap(lambda: 0.5)
        for i in 0..<3_000 as Range<UInt64> { map.insert(MapStep("scope \(i)", "pattern", .touch, stamp(start + i))) }
        let most = map.byteCount
        #expect(most < 3_000 * (32 + 128 + 20))
        #expect(most > 3_000 * (32 + 64 + 14))
        map.collapseAll(through: stamp(start + 4 * minute).time)
        #expect(map.count == 3_000)
        #expect(map.byteCount == most - 3_000 * 32)
        map.collapseAll(through: stamp(start + 6 * minute).time)
        #expect((map.count, map.scopeCount) == (0, 0))
        #expect(map.byteCount <= SignalMap.slotsWorthKeeping * 128)
        #expect(map.inconsistency == nil)
    }

    @Test("the queue hands out what is due first, however it was moved", arguments: 1...5 as ClosedRange<UInt64>)
    func queue(seed: UInt64) {
        var random = Seeded(seed)
        var queue = SignalQueue()
        var model: [Int: UInt64] = [:]
        for _ in 0..<2_000 {
            let slot = Int.random(in: 0..<40, using: &random)
            if Int.random(in: 0..<3, using: &random) == 0 {
                queue.remove(slot)
                model[slot] = nil
            } else {
                let due = UInt64.random(in: 0..<100, using: &random)
                queue.set(slot, due: due)
                model[slot] = due
            }
            #expect(queue.first?.due == model.values.min())
            #expect(queue.first.map { model[$0.slot] } == queue.first?.due)
        }
        var last: UInt64 = 0
        while let (due, slot) = queue.first {
            #expect(due >= last)
            last = due
            queue.remove(slot)
            model[slot] = nil
        }
        #expect(model.isEmpty)
    }
}

extension Signal {
    /// How many of `steps` are in the checkpoint: the histories above tell by its stamp.
    fileprivate var foldedCount: Int {
        guard let checkpoint else { return 0 }
        return [start, start + minute, start + minute, start + 90 * minute, start + 91 * minute]
            .enumerated().filter { index, ms in
                stamp(ms, 0, by: [1, 2, 3, 1, 1][index]) <= checkpoint.stamp
            }.count
    }
}
