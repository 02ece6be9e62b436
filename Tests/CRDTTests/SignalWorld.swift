@testable import CRDT

/// One operation on one signal of a map.
struct MapStep {
    let scope: [UInt8]
    let pattern: [UInt8]
    let step: SignalStep

    init(_ scope: String, _ pattern: String, _ operation: SignalOperation, _ stamp: HybridTimestamp) {
        self.scope = Array(scope.utf8)
        self.pattern = Array(pattern.utf8)
        step = SignalStep(operation, stamp)
    }
}

extension SignalMap {
    mutating func insert(_ it: MapStep) {
        insert(it.step.operation, scope: it.scope.span.bytes, pattern: it.pattern.span.bytes, at: it.step.stamp)
    }

    mutating func remove(_ it: MapStep) {
        remove(scope: it.scope.span.bytes, pattern: it.pattern.span.bytes, at: it.step.stamp)
    }

    /// Folds through `time` until nothing is left, a few at a time.
    mutating func collapseAll(through time: UInt64) { while collapse(through: time, atMost: 7) {} }

    /// All signals in chunks of at most `limit` bytes.
    func chunks(minutes: Set<UInt64>? = nil, atMost limit: Int = 1 << 20) -> [[UInt8]] {
        var walk = Walk(minutes: minutes)
        var chunks: [[UInt8]] = []
        var more = true
        while more {
            var chunk: [UInt8] = []
            more = encodeChunk(&walk, atMost: limit, into: &chunk)
            chunks.append(chunk)
        }
        return chunks
    }

    /// What a map is, apart from where it holds what: its signals by name.
    var contents: [String: Signal] {
        Dictionary(
            uniqueKeysWithValues: slots.compactMap { $0 }.map { held in
                (
                    "\(String(decoding: held.scope, as: UTF8.self))/\(String(decoding: held.pattern, as: UTF8.self))",
                    held.signal
                )
            })
    }

    /// The first thing that is counted or hashed otherwise than it is.
    var inconsistency: String? {
        let held = slots.compactMap { $0 }
        if held.count != count { return "holds \(held.count) signals and counts \(count)" }
        let operations = held.reduce(0) { $0 + $1.signal.operationCount }
        if operations != operationCount { return "holds \(operations) operations and counts \(operationCount)" }
        if Set(held.map(\.scope)).count != scopeCount { return "holds another number of scopes than \(scopeCount)" }
        var hashes = SignalHashes()
        for it in held { for operation in it.signal.operations { hashes.add(operation, key: it.key) } }
        let (mine, fresh) = (self.hashes(after: 0), hashes.list(after: foldedThrough))
        if !mine.elementsEqual(fresh, by: ==) { return "hashes \(mine) instead of \(fresh)" }
        if let old = held.first(where: { $0.signal.due <= horizon }) { return "\(old) is due before the horizon" }
        if horizon > target || target > foldedThrough { return "\(horizon), \(target), \(foldedThrough) fall" }
        return nil
    }
}

/// A history over a few signals, in rounds: whatever its stamps, a round lies wholly before the next.
struct MapHistory {
    static let roundMs: UInt64 = 17 * 60_000
    let start: UInt64 = 29_000_000 * 60_000
    private(set) var rounds: [[MapStep]] = []

    init(rounds count: Int, operations: Int, using random: inout Seeded) {
        for round in 0..<count {
            // A quiet round now and then, so that signals fade and begin anew.
            let quiet = Int.random(in: 0..<4, using: &random) == 0
            rounds.append(
                (0..<(quiet ? 1 : operations)).map { index in
                    let ms = endMs(of: round - 1) + UInt64.random(in: 0..<Self.roundMs, using: &random)
                    let amount = Double.random(in: 0...0.7, using: &random)
                    let operations: [SignalOperation] = [.touch, .reward(gain: amount), .penalty(loss: amount)]
                    return MapStep(
                        "s\(Int.random(in: 0..<3, using: &random))", "p\(Int.random(in: 0..<3, using: &random))",
                        operations.randomElement(using: &random)!,
                        stamp(ms, UInt16(index), by: UInt64.random(in: 1...3, using: &random)))
                })
        }
    }

    /// Where a round ends and the next begins.
    func endMs(of round: Int) -> UInt64 { UInt64(Int(start) + (round + 1) * Int(Self.roundMs)) }

    /// The first difference between what a map reads at a moment and what one broker would have.
    func difference(from map: SignalMap, atMs: UInt64, lambda: Double) -> String? {
        for scope in 0..<3 {
            for pattern in 0..<3 {
                let (s, p) = (Array("s\(scope)".utf8), Array("p\(pattern)".utf8))
                let history = rounds.joined().filter { $0.scope == s && $0.pattern == p }.map(\.step)
                let expected = brokerReading(history, atMs: atMs, lambda: lambda)
                let reading = map.reading(scope: s.span.bytes, pattern: p.span.bytes, atMs: atMs)
                if bits(reading) != bits(expected) {
                    return "s\(scope)/p\(pattern) at \(atMs) reads \(reading as Any), not \(expected as Any)"
                }
            }
        }
        return nil
    }
}
