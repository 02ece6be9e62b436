import Testing

@testable import CRDT

private let minute: UInt64 = 60_000
private let start: UInt64 = 29_000_000 * minute

@Suite("Signals between nodes")
struct SignalChunkTests {
    /// Three replicas with their own order of delivery, points of collapse and chunks from each other: at every moment
    /// that can be read and of which all is known, each reads what one broker would have computed.
    @Test(
        "replicas that fold, delete and join as they like read what one broker would",
        arguments: 1...25 as ClosedRange<UInt64>)
    func replicas(seed: UInt64) throws {
        var random = Seeded(seed)
        let lambda = [0.95, 0.8, 0.5].randomElement(using: &random)!
        let history = MapHistory(rounds: 10, operations: 14, using: &random)
        var maps = Array(repeating: SignalMap(lambda: lambda), count: 3)
        var waiting: [[MapStep]] = Array(repeating: [], count: 3)
        for (round, steps) in history.rounds.enumerated() {
            // What was stamped before this round is at every replica: causally stable.
            let stableMs = history.endMs(of: round - 1)
            for i in maps.indices {
                for step in waiting[i] { maps[i].insert(step) }
                waiting[i] = steps.shuffled(using: &random)
            }
            for _ in 0..<12 {
                let i = Int.random(in: 0..<3, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0:
                    let ms = stableMs - UInt64.random(in: 1...2 * MapHistory.roundMs, using: &random)
                    _ = maps[i].collapse(through: ms << 16, atMost: Int.random(in: 0...20, using: &random))
                case 1:
                    let chunks = maps[i].chunks(atMost: Int.random(in: 0...600, using: &random))
                    // A transfer may break off, and chunks may come twice.
                    let few = chunks.prefix(Int.random(in: 0...2 * chunks.count, using: &random))
                    let to = Int.random(in: 0..<3, using: &random)
                    for chunk in few + few.prefix(1) { try maps[to].merge(chunk: chunk.span.bytes) }
                default:
                    if let step = waiting[i].popLast() { maps[i].insert(step) }
                }
                #expect(maps[i].inconsistency == nil)
                let oldest = max(maps[i].oldestReadableMs, history.start)
                for ms in [oldest, (oldest + stableMs) / 2, stableMs - 1] where oldest < stableMs {
                    #expect(history.difference(from: maps[i], atMs: ms, lambda: lambda) == nil)
                }
            }
        }
        for i in maps.indices { for step in waiting[i] { maps[i].insert(step) } }
        let common = maps.map(\.foldedThrough).max()!
        for map in maps {
            #expect(map.hashes(after: common).elementsEqual(maps[0].hashes(after: common), by: ==))
            #expect(map.approximations == 0)
        }
        let endMs = history.endMs(of: history.rounds.count - 1)
        for i in maps.indices {
            for extra in [0, 5, 30] as [UInt64] {
                #expect(history.difference(from: maps[i], atMs: endMs + extra * minute, lambda: lambda) == nil)
            }
            maps[i].collapseAll(through: endMs << 16)
            #expect(maps[i].operationCount == 0)
            for extra in [0, 5, 30] as [UInt64] {
                #expect(history.difference(from: maps[i], atMs: endMs + extra * minute, lambda: lambda) == nil)
            }
            #expect(maps[i].contents == maps[0].contents, "all hold the same when all is folded")
        }
        for i in maps.indices {
            maps[i].collapseAll(through: (endMs + 1_000 * minute) << 16)
            #expect((maps[i].count, maps[i].scopeCount) == (0, 0))
        }
    }

    @Test("a signal that one side deleted reads the same on both and ends deleted, whoever asks whom")
    func deletedOnOneSide() throws {
        var old = SignalMap(lambda: 0.5)
        old.insert(MapStep("s", "p", .touch, stamp(start)))
        old.insert(MapStep("s", "p", .touch, stamp(start + minute)))
        var ahead = old
        old.collapseAll(through: stamp(start).time)
        ahead.collapseAll(through: stamp(start + 60 * minute).time)
        #expect((old.count, ahead.count) == (1, 0))
        for chunk in old.chunks() { try ahead.merge(chunk: chunk.span.bytes) }
        #expect((ahead.count, ahead.operationCount) == (0, 0))
        for chunk in ahead.chunks() { try old.merge(chunk: chunk.span.bytes) }
        #expect(old.entries(scope: nil, pattern: nil, minimumStrength: 0, atMs: old.oldestReadableMs).isEmpty)
        #expect(old.horizon == stamp(start).time)
        #expect(old.target == ahead.target)
        old.collapseAll(through: 0)
        #expect((old.count, old.horizon) == (0, ahead.horizon))
        #expect(old.inconsistency == nil && ahead.inconsistency == nil)
    }

    @Test("chunks carry all that a map is, whatever their size", arguments: [0, 1, 100, 1_000, 1 << 20])
    func roundTrip(limit: Int) throws {
        var random = Seeded(5)
        let history = MapHistory(rounds: 4, operations: 40, using: &random)
        var map = SignalMap(lambda: 0.95)
        for step in history.rounds.joined() { map.insert(step) }
        map.insert(MapStep("", "", .reward(gain: .infinity), stamp(start + 900 * minute)))
        map.insert(MapStep("", "", .penalty(loss: .nan), stamp(start + 901 * minute)))
        _ = map.collapse(through: history.endMs(of: 1) << 16, atMost: 30)
        let chunks = map.chunks(atMost: limit)
        #expect(chunks.dropLast().allSatisfy { $0.count > 16 })
        if limit > 0, limit < 1 << 20 { #expect(chunks.count > 1) }
        if limit == 1_000 { #expect(chunks.allSatisfy { $0.count <= 1_000 }) }
        if limit == 0 { #expect(chunks.count == map.count) }
        var copy = SignalMap(lambda: 0.95)
        for chunk in chunks.shuffled(using: &random) { try copy.merge(chunk: chunk.span.bytes) }
        #expect(copy.inconsistency == nil)
        map.collapseAll(through: 0)
        copy.collapseAll(through: 0)
        #expect(copy.contents == map.contents)
        #expect((copy.horizon, copy.foldedThrough) == (map.horizon, map.foldedThrough))
        #expect(copy.hashes(after: 0).elementsEqual(map.hashes(after: 0), by: ==))
    }

    @Test("a walk meets every signal that stays, though others come and go and slots are numbered anew")
    func walk() throws {
        var map = SignalMap(lambda: 0.5)
        for i in 0..<2_000 as Range<UInt64> {
            map.insert(MapStep("s", "p\(i)", .touch, stamp(i % 10 == 0 ? start + 30 * minute : start + i)))
        }
        var copy = SignalMap(lambda: 0.5)
        var walk = SignalMap.Walk()
        var (more, turn, numbering) = (true, 0, map.numbering)
        while more {
            var chunk: [UInt8] = []
            more = map.encodeChunk(&walk, atMost: 4_000, into: &chunk)
            try copy.merge(chunk: chunk.span.bytes)
            turn += 1
            if turn == 2 {
                map.collapseAll(through: stamp(start + 29 * minute).time)
                #expect(map.numbering > numbering)
                numbering = map.numbering
            }
            map.insert(MapStep("t", "q\(turn)", .touch, stamp(start + 31 * minute)))
        }
        copy.collapseAll(through: 0)
        for (name, signal) in map.contents where name.hasPrefix("s/") { #expect(copy.contents[name] == signal) }
        #expect(copy.contents.keys.count { $0.hasPrefix("s/") } == 200)
    }

    @Test("a walk by minutes takes the signals with an operation in them, whole")
    func byMinute() throws {
        var map = SignalMap(lambda: 0.95)
        map.insert(MapStep("s", "both", .touch, stamp(start)))
        map.insert(MapStep("s", "both", .touch, stamp(start + 5 * minute)))
        map.insert(MapStep("s", "first", .touch, stamp(start + minute - 1)))
        map.insert(MapStep("s", "second", .touch, stamp(start + 5 * minute)))
        for (minutes, names) in [
            ([start / minute], ["s/both", "s/first"]), ([start / minute + 5], ["s/both", "s/second"]),
            ([start / minute + 1], []), ([start / minute, start / minute + 5], ["s/both", "s/first", "s/second"]),
        ] as [(Set<UInt64>, [String])] {
            var copy = SignalMap(lambda: 0.95)
            for chunk in map.chunks(minutes: minutes) { try copy.merge(chunk: chunk.span.bytes) }
            #expect(copy.contents.keys.sorted() == names)
            for name in names { #expect(copy.contents[name] == map.contents[name]) }
        }
    }

    @Test("a busy signal is one chunk of about 100 KB and joins with operations that it may not contain, counted")
    func busy() throws {
        var map = SignalMap(lambda: 0.95)
        for i in 0..<UInt64(Signal.maximumOperations) {
            map.insert(MapStep("s", "p", .reward(gain: 0.1), stamp(start + 997 * i)))
        }
        let chunks = map.chunks(atMost: 1_000)
        #expect(chunks.count == 1)
        #expect(chunks[0].count < 100_000)
        var other = SignalMap(lambda: 0.95)
        other.insert(MapStep("s", "p", .touch, stamp(start + 1)))
        map.insert(MapStep("s", "p", .touch, stamp(start + 10_000_000)))
        #expect(map.approximations == 1)
        for chunk in map.chunks() { try other.merge(chunk: chunk.span.bytes) }
        #expect(other.approximations == 1)
        #expect(other.contents == map.contents)
        #expect(other.foldedThrough == map.foldedThrough)
        #expect((other.horizon, other.target) == (0, 0), "what one signal folded early, no other must")
        for chunk in map.chunks() { try other.merge(chunk: chunk.span.bytes) }
        #expect(other.approximations == 1)
        #expect(other.inconsistency == nil)
    }

    @Test("minutes hash alike exactly if the operations in them are alike", arguments: 1...20 as ClosedRange<UInt64>)
    func hashes(seed: UInt64) {
        var random = Seeded(seed)
        let history = MapHistory(rounds: 3, operations: 30, using: &random)
        let steps = Array(history.rounds.joined())
        func map(_ steps: [MapStep]) -> SignalMap {
            var map = SignalMap(lambda: 0.95)
            for step in steps { map.insert(step) }
            return map
        }
        let whole = map(steps)
        #expect(whole.hashes(after: 0).elementsEqual(map(steps.shuffled(using: &random)).hashes(after: 0), by: ==))
        let at = Int.random(in: 0..<steps.count, using: &random)
        let it = steps[at]
        let (s, p) = (String(decoding: it.scope, as: UTF8.self), String(decoding: it.pattern, as: UTF8.self))
        let (operation, when) = (it.step.operation, it.step.stamp)
        let others: [MapStep?] = [
            nil, MapStep(s, "other", operation, when), MapStep(p, s, operation, when),
            MapStep(s, p, operation == .touch ? .reward(gain: 0) : .touch, when),
            MapStep(s, p, .penalty(loss: 0.123), when),
            MapStep(s, p, operation, stamp(when.milliseconds, 9_999, by: when.replica.rawValue)),
            MapStep(s, p, operation, stamp(when.milliseconds, when.counter, by: 77)),
        ]
        for other in others {
            var changed = steps
            changed.remove(at: at)
            if let other { changed.append(other) }
            let (mine, theirs) = (whole.hashes(after: 0), map(changed).hashes(after: 0))
            let differing = Set(mine.filter { a in !theirs.contains { $0 == a } }.map(\.minute))
                .union(theirs.filter { a in !mine.contains { $0 == a } }.map(\.minute))
            #expect(differing == [when.milliseconds / minute])
        }
        var collapsed = whole
        _ = collapsed.collapse(through: stamp(history.endMs(of: 1) + 30_000).time, atMost: 13)
        let after = max(collapsed.foldedThrough, whole.foldedThrough)
        #expect(collapsed.hashes(after: after).elementsEqual(whole.hashes(after: after), by: ==))
        #expect(collapsed.hashes(after: 0).elementsEqual(whole.hashes(after: after), by: ==))
        #expect(whole.hashes(after: after).allSatisfy { $0.minute > (history.endMs(of: 1) + 30_000) / minute })
        for step in steps { collapsed.remove(step) }
        #expect(collapsed.hashes(after: 0).isEmpty)
    }
}
