/// All signals, by scope and pattern. Both are bytes of UTF-8 text as JSON writes it.
public struct SignalMap: Sendable {
    /// One signal as it is read.
    public struct Entry: Sendable {
        /// The scope's bytes.
        public let scope: [UInt8]
        /// The pattern's bytes.
        public let pattern: [UInt8]
        /// Strength and last touch.
        public let reading: Signal.Reading
    }

    /// The decay per tick of every signal here.
    public let lambda: Double
    /// How often a value became approximate; zero as long as no signal outgrows `Signal.maximumOperations`.
    public private(set) var approximations = 0
    /// How many signals there are, those that faded included while their operations are held.
    public private(set) var count = 0
    private var scopes = ByteMap<ByteMap<Signal>>()

    /// No signals yet.
    public init(lambda: Double) { self.lambda = lambda }

    /// Adds an operation to a signal.
    public mutating func insert(
        _ operation: SignalOperation, scope: RawSpan, pattern: RawSpan, at stamp: HybridTimestamp
    ) {
        let s = scopes.index(of: scope, default: ByteMap())
        let before = scopes.values[s].count
        let p = scopes.values[s].index(of: pattern, default: Signal(lambda: lambda))
        count += scopes.values[s].count - before
        if scopes.values[s].values[p].insert(operation, at: stamp) { approximations += 1 }
    }

    /// Takes an operation out again.
    public mutating func remove(scope: RawSpan, pattern: RawSpan, at stamp: HybridTimestamp) {
        guard let s = scopes.index(of: scope), let p = scopes.values[s].index(of: pattern) else { return }
        if !scopes.values[s].values[p].remove(at: stamp) { approximations += 1 }
    }

    /// One signal at a moment.
    public func reading(scope: RawSpan, pattern: RawSpan, atMs: UInt64) -> Signal.Reading? {
        guard let s = scopes.index(of: scope), let p = scopes.values[s].index(of: pattern) else { return nil }
        return scopes.values[s].values[p].reading(atMs: atMs)
    }

    /// The signals that exist at a moment, by scope and then pattern.
    public func entries(scope: [UInt8]?, pattern: [UInt8]?, minimumStrength: Double, atMs: UInt64) -> [Entry] {
        var found: [Entry] = []
        func collect(_ s: Int) {
            func collect(_ p: Int) {
                guard let reading = scopes.values[s].values[p].reading(atMs: atMs),
                    reading.strength >= minimumStrength
                else { return }
                found.append(Entry(scope: scopes.keys[s], pattern: scopes.values[s].keys[p], reading: reading))
            }
            if let pattern {
                if let p = scopes.values[s].index(of: pattern.span.bytes) { collect(p) }
            } else {
                for p in 0..<scopes.values[s].count { collect(p) }
            }
        }
        if let scope {
            if let s = scopes.index(of: scope.span.bytes) { collect(s) }
        } else {
            for s in 0..<scopes.count { collect(s) }
        }
        return found.sorted {
            $0.scope == $1.scope
                ? $0.pattern.lexicographicallyPrecedes($1.pattern) : $0.scope.lexicographicallyPrecedes($1.scope)
        }
    }

    /// The strongest signals of a scope at a moment, the strongest first, ties by pattern.
    public func strongest(_ most: Int, scope: [UInt8], atMs: UInt64) -> [Entry] {
        guard scopes.index(of: scope.span.bytes) != nil else { return [] }
        // `entries` come by pattern, and the sort is stable, which settles ties.
        return Array(
            entries(scope: scope, pattern: nil, minimumStrength: 0, atMs: atMs)
                .sorted { $0.reading.strength > $1.reading.strength }.prefix(most))
    }
}
