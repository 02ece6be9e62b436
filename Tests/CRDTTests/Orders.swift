import CRDT

/// SplitMix64 (Steele, Lea, Flood, 2014): the same seed gives the same story.
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}

/// Calls `body` with every order of the elements (Heap's algorithm).
func everyOrder<Element>(of elements: [Element], _ body: ([Element]) throws -> Void) rethrows {
    var order = elements
    func walk(_ count: Int) throws {
        guard count > 1 else { return try body(order) }
        for i in 0..<count {
            try walk(count - 1)
            if i < count - 1 { order.swapAt(count.isMultiple(of: 2) ? i : 0, count - 1) }
        }
    }
    try walk(order.count)
}

/// Calls `body` with every way to give each of `count` writes to one of `parts` replicas.
func everySplit(of count: Int, into parts: Int, _ body: ([Int]) throws -> Void) rethrows {
    var owners = Array(repeating: 0, count: count)
    while true {
        try body(owners)
        guard let at = owners.lastIndex(where: { $0 < parts - 1 }) else { return }
        owners[at] += 1
        for i in (at + 1)..<max(at + 1, count) { owners[i] = 0 }
    }
}

/// A stamp in few words: milliseconds, counter, replica.
func stamp(_ ms: UInt64, _ counter: UInt16 = 0, by replica: UInt64 = 1) -> HybridTimestamp {
    HybridTimestamp(milliseconds: ms, counter: counter, replica: ReplicaID(replica))
}

/// The three laws of a join, for every pair and triple of these values (Shapiro et al., SSS 2011).
/// Returns the first one that is broken, in words.
func brokenLaw<Value: Mergeable>(_ values: [Value]) -> String? {
    func join(_ a: Value, _ b: Value) -> Value {
        var joined = a
        joined.merge(b)
        return joined
    }
    for a in values {
        var again = a
        if again.merge(a) || again != a { return "merging \(a) with itself changed it" }
        for b in values {
            let ab = join(a, b)
            if ab != join(b, a) { return "\(a) and \(b) do not commute" }
            var absorbed = ab
            if absorbed.merge(b) { return "merging \(b) again is reported as news" }
            var fresh = a
            if fresh.merge(b) != (fresh != a) { return "the report of merging \(b) into \(a) is wrong" }
            for c in values where join(ab, c) != join(a, join(b, c)) { return "\(a), \(b), \(c) do not associate" }
        }
    }
    return nil
}
