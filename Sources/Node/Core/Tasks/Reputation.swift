import CRDT

/// How an agent's work was found: counters that only grow, a slot for each node that counts.
///
/// | field of `reputation/<agent>` | value |
/// |---|---|
/// | `completed/<node>`, `failed/<node>`, `up/<node>`, `down/<node>` | how often, as decimal digits |
///
/// A node writes only its own slots, and those only upwards; so a slot's last write is its highest, and the slots are those
/// of a `PNCounter`.
struct Reputation: Equatable, Sendable {
    private var counts: [TaskDecider.Merit: GCounter] = [:]
    /// What was done well less what was not.
    private var total = PNCounter()

    init(_ fields: [DocumentMap.Field]) {
        for field in fields {
            for merit in TaskDecider.Merit.allCases where field.name.utf8.starts(with: Self.prefix(merit).utf8) {
                guard let node = ReplicaID(text: field.name.dropping(bytes: Self.prefix(merit).utf8.count)),
                    let count = Self.count(field.value)
                else { continue }
                counts[merit, default: GCounter()].add(UInt64(count), by: node)
                total.add(merit.isGood ? count : -count, by: node)
            }
        }
    }

    /// Completed and rated up, less failed and rated down.
    var score: Int64 { total.value }
    subscript(merit: TaskDecider.Merit) -> UInt64 { counts[merit]?.value ?? 0 }

    static func prefix(_ merit: TaskDecider.Merit) -> String { merit.rawValue + "/" }

    /// The number in a slot; nil for what is none.
    static func count(_ value: [UInt8]) -> Int64? {
        Int64(String(decoding: value, as: UTF8.self)).flatMap { (0..<Int64.max / 4 ~= $0) ? $0 : nil }
    }
}

extension TaskDecider.Merit {
    var isGood: Bool {
        switch self {
        case .completed, .up: true
        case .failed, .down: false
        }
    }
}
