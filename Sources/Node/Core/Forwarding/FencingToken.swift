import CRDT

/// What somebody was granted under: a number that is higher the later something was granted, so that whoever comes with a
/// lower one is refused, however long ago it believed to be the only one.
///
/// The term rises whenever another node begins to decide, so that of two sides of a partition the one that took over is
/// always the higher. Two that take over at once may give out one number; then the higher node counts.
///
/// Kleppmann, "How to do distributed locking" (2016); terms as in Ongaro, Ousterhout, "In Search of an Understandable
/// Consensus Algorithm" (2014), section 5.1.
struct FencingToken: Hashable, Comparable, BitwiseCopyable, Sendable {
    /// So many bits hold the counter, and so many all of it: JSON readers keep whole numbers below 2^53.
    private static let counterBits = 32
    private static let maximum = 1 << 53 - 1

    /// The number that clients see.
    let rawValue: Int

    /// Reads a number; nil for one that is none.
    init?(rawValue: Int) {
        guard (1...Self.maximum).contains(rawValue) else { return nil }
        self.rawValue = rawValue
    }

    /// The number that a JSON value says; nil if it says none.
    init?(_ value: JSONValue?) {
        guard let number = value?.double.flatMap({ Int(exactly: $0) }) else { return nil }
        self.init(rawValue: number)
    }

    /// The token after the highest that is known, which `node` gave out, when `me` decides.
    static func next(after highest: (token: FencingToken, node: ReplicaID)?, by me: ReplicaID) -> FencingToken {
        let first = FencingToken(clamping: 1 << counterBits | 1)
        guard let (token, node) = highest else { return first }
        if node == me, token.counter < 1 << counterBits - 1 { return FencingToken(clamping: token.rawValue + 1) }
        return FencingToken(clamping: (token.term + 1) << counterBits | 1)
    }

    private init(clamping value: Int) { rawValue = min(value, Self.maximum) }

    /// How often another node has begun to decide.
    var term: Int { rawValue >> Self.counterBits }
    /// How often this was granted in the term.
    var counter: Int { rawValue & (1 << Self.counterBits - 1) }

    static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Until when something was granted. The node that decides measures it on its monotonic clock (`LeaseTimers`); all others,
/// and whoever takes over, go by this.
struct Lease: Equatable, BitwiseCopyable, Sendable {
    /// In milliseconds since the Unix epoch.
    let untilMs: UInt64

    func runs(at nowMs: UInt64) -> Bool { nowMs < untilMs }

    /// For messages.
    var text: String { ISOTime.text(milliseconds: untilMs) }
}
