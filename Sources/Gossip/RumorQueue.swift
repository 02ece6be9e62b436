import CRDT

/// What is still to be told to others: at most one rumor per member, each told a bounded number of times, the least
/// told first and of those the newest (SWIM section 4.1).
///
/// Only names are kept; the words come from the member table at the moment of telling, so old news is never told.
struct RumorQueue: Sendable {
    struct Item: Sendable {
        let replica: ReplicaID
        /// Whose accusation is passed on: each confirmation of a suspicion is news of its own.
        let accuser: ReplicaID
        var told = 0
        /// Counts up; breaks ties towards the newest.
        let order: UInt64
    }

    private(set) var items: [Item] = []
    private var nextOrder: UInt64 = 0

    var isEmpty: Bool { items.isEmpty }

    /// Tells this from now on, instead of what was being told about the same member.
    mutating func add(_ replica: ReplicaID, accuser: ReplicaID) {
        remove(replica)
        items.append(Item(replica: replica, accuser: accuser, order: nextOrder))
        nextOrder += 1
    }

    mutating func remove(_ replica: ReplicaID) { items.removeAll { $0.replica == replica } }

    /// Offers the rumors in order; the ones taken count as told once more, and leave after `limit` times.
    mutating func tell(limit: Int, _ take: (Item) -> Bool) {
        items.sort { ($0.told, $1.order) < ($1.told, $0.order) }
        for i in items.indices where take(items[i]) { items[i].told += 1 }
        items.removeAll { $0.told >= limit }
    }

    /// How often a rumor is told in a cluster of `members`: `factor` × log10(n + 1), rounded up. Enough to reach
    /// everybody with high probability (SWIM section 5).
    static func limit(members: Int, factor: Double) -> Int {
        // The small subtraction keeps a logarithm that is a hair above a whole number from being rounded up.
        let times = factor * log10(Double(members + 1)) - 1e-9
        return max(1, Int(times) + (times > Double(Int(times)) ? 1 : 0))
    }
}

/// The decimal logarithm of a positive, finite number, the same to the last bit on every machine (the core links no
/// libm). ln m = 2 artanh((m − 1) / (m + 1)) for the significand 1 ≤ m < 2; its series is cut below 2⁻⁵³.
public func log10(_ x: Double) -> Double {
    precondition(x > 0 && x.isFinite, "no logarithm of \(x)")
    let s = (x.significand - 1) / (x.significand + 1)
    var power = s
    var series = 0.0
    for k in 0..<20 {
        series += power / Double(2 * k + 1)
        power *= s * s
    }
    let ln2 = 0.693_147_180_559_945_3
    let ln10 = 2.302_585_092_994_045_7
    return (Double(x.exponent) * ln2 + 2 * series) / ln10
}
