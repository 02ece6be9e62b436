import Testing

@testable import CRDT

private let start: UInt64 = 1_740_000_000_000

private struct Row: Equatable {
    let scope: String
    let pattern: String
    let strength: Double
}

extension SignalMap {
    fileprivate mutating func add(
        _ operation: SignalOperation, _ scope: String, _ pattern: String, _ at: HybridTimestamp
    ) {
        insert(operation, scope: Array(scope.utf8).span.bytes, pattern: Array(pattern.utf8).span.bytes, at: at)
    }

    fileprivate func list(scope: String? = nil, pattern: String? = nil, minimum: Double = 0) -> [Row] {
        entries(
            scope: scope.map { Array($0.utf8) }, pattern: pattern.map { Array($0.utf8) }, minimumStrength: minimum,
            atMs: start + 100
        ).map(Row.init)
    }
}

extension Row {
    fileprivate init(_ entry: SignalMap.Entry) {
        self.init(
            scope: String(decoding: entry.scope, as: UTF8.self),
            pattern: String(decoding: entry.pattern, as: UTF8.self),
            strength: entry.reading.strength)
    }
}

@Suite("All signals")
struct SignalMapTests {
    private static let writes: [(SignalOperation, String, String, HybridTimestamp)] = [
        (.touch, "ui", "save", stamp(start)), (.reward(gain: 0.5), "ui", "open", stamp(start + 1)),
        (.touch, "db", "save", stamp(start + 2)), (.reward(gain: 0.2), "db", "read", stamp(start + 3)),
        (.penalty(loss: 0.1), "ui", "save", stamp(start + 4)),
    ]

    @Test("are listed by scope and pattern, in whatever order they came")
    func order() {
        everyOrder(of: Self.writes) { order in
            var map = SignalMap(lambda: 0.95)
            for (operation, scope, pattern, at) in order { map.add(operation, scope, pattern, at) }
            #expect(
                map.list() == [
                    Row(scope: "db", pattern: "read", strength: 0.2), Row(scope: "db", pattern: "save", strength: 0.3),
                    Row(scope: "ui", pattern: "open", strength: 0.5),
                    Row(scope: "ui", pattern: "save", strength: 0.3 - 0.1),
                ])
            #expect(map.count == 4)
        }
    }

    @Test("are picked by scope, pattern and strength")
    func picked() {
        var map = SignalMap(lambda: 0.95)
        for (operation, scope, pattern, at) in Self.writes { map.add(operation, scope, pattern, at) }
        #expect(map.list(scope: "ui").map(\.pattern) == ["open", "save"])
        #expect(map.list(pattern: "save").map(\.scope) == ["db", "ui"])
        #expect(map.list(scope: "db", pattern: "save").count == 1)
        #expect(map.list(minimum: 0.3).map(\.pattern) == ["save", "open"])
        #expect(map.list(scope: "nowhere").isEmpty)
        #expect(map.list(pattern: "nothing").isEmpty)
        let reading = map.reading(
            scope: Array("ui".utf8).span.bytes, pattern: Array("open".utf8).span.bytes, atMs: start + 1)
        #expect(reading == Signal.Reading(strength: 0.5, lastUpdatedMs: start + 1))
    }

    @Test("the strongest come first, ties by pattern, and what faded not at all")
    func strongest() {
        var map = SignalMap(lambda: 0.95)
        for (pattern, gain) in [("d", 0.4), ("a", 0.4), ("c", 0.9), ("b", 0.4), ("gone", 0.005)] {
            map.add(.reward(gain: gain), "s", pattern, stamp(start))
        }
        map.add(.reward(gain: 1), "other", "z", stamp(start))
        func names(_ most: Int) -> [String] {
            map.strongest(most, scope: Array("s".utf8), atMs: start).map { String(decoding: $0.pattern, as: UTF8.self) }
        }
        #expect(names(256) == ["c", "a", "b", "d"])
        #expect(names(2) == ["c", "a"])
        #expect(map.strongest(5, scope: Array("unknown".utf8), atMs: start).isEmpty)
        #expect(map.count == 6, "a signal that faded is still held")
    }

    @Test("give an operation up again, and count where they cannot")
    func removal() {
        var map = SignalMap(lambda: 0.95)
        for (operation, scope, pattern, at) in Self.writes { map.add(operation, scope, pattern, at) }
        map.remove(scope: Array("ui".utf8).span.bytes, pattern: Array("save".utf8).span.bytes, at: stamp(start + 4))
        #expect(map.list(scope: "ui", pattern: "save").first?.strength == 0.3)
        map.remove(scope: Array("ui".utf8).span.bytes, pattern: Array("nothing".utf8).span.bytes, at: stamp(start))
        #expect(map.approximations == 0)
        for i in 0...UInt64(Signal.maximumOperations) { map.add(.touch, "busy", "p", stamp(start + i)) }
        #expect(map.approximations == 1)
        map.remove(scope: Array("busy".utf8).span.bytes, pattern: Array("p".utf8).span.bytes, at: stamp(start))
        #expect(map.approximations == 2)
    }
}
