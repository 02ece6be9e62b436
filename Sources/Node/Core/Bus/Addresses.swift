import CRDT

/// The scopes and topics of the events that are held: each once, and where it was used last. With the index's chains it
/// makes an index by address, so that whoever resumes with a pattern reads only what matches.
struct Addresses: Sendable {
    /// One scope or topic.
    struct Address: Sendable {
        /// Of surface and text.
        let hash: UInt64
        let surface: Surface
        let text: [UInt8]
        /// The position of the newest event there.
        var last: Int
    }

    private var known: [UInt64: Address] = [:]
    private var sweepAt = 4_096

    /// How many there are, some of which may have no event left.
    var count: Int { known.count }

    /// Notes an event.
    mutating func note(_ hash: UInt64, _ surface: Surface, _ text: RawSpan, at position: Int) {
        if known[hash]?.last == nil {
            known[hash] = Address(
                hash: hash, surface: surface, text: text.withUnsafeBytes { Array($0) }, last: position)
        } else {
            known[hash]?.last = position
        }
    }

    /// Forgets addresses without an event from `start` on, now and then: it looks at all of them.
    mutating func drop(before start: Int) {
        guard known.count >= sweepAt else { return }
        known = known.filter { $0.value.last >= start }
        sweepAt = max(4_096, known.count * 2)
    }

    /// Those that some filter wants.
    func matching(_ filters: [Filter]) -> [Address] {
        known.values.filter { address in
            filters.contains {
                $0.surface == address.surface && ($0.address?.matches(address.text.span.bytes) ?? true)
            }
        }
    }
}
