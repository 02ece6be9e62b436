import Gossip

/// When leases, pauses and deadlines end about which this node decides, on the monotonic clock: a clock that is set, or a
/// peer's that runs ahead, ends none of them early.
///
/// A moment is taken over from a document when it is first seen there, so it goes on across takeovers and restarts.
/// A binary heap that may hold moments which were since moved; those are skipped.
struct LeaseTimers: Sendable {
    private struct Due: Comparable {
        let at: Instant
        let key: [UInt8]
        static func == (a: Self, b: Self) -> Bool { a.at == b.at && a.key == b.key }
        static func < (a: Self, b: Self) -> Bool {
            a.at != b.at ? a.at < b.at : a.key.lexicographicallyPrecedes(b.key)
        }
    }

    /// What is due by a document's word, and when that is here.
    private var timers: [[UInt8]: (dueMs: UInt64, at: Instant)] = [:]
    private var heap: [Due] = []

    var count: Int { timers.count }

    /// When the first is due; nil for none.
    var wake: Instant? { heap.first?.at }

    /// Notes what is due next with a document; nil for nothing.
    mutating func set(_ key: [UInt8], dueMs: UInt64?, nowMs: UInt64, now: Instant) {
        guard let dueMs else {
            timers[key] = nil
            return skip()
        }
        guard timers[key]?.dueMs != dueMs else { return }
        let at = now.advanced(milliseconds: dueMs > nowMs ? min(dueMs - nowMs, Self.longestMs) : 0)
        timers[key] = (dueMs, at)
        if heap.count > 2 * timers.count + 64 { rebuild() } else { push(Due(at: at, key: key)) }
        skip()
    }

    /// No document says what is further away than this, a hundred years.
    private static let longestMs: UInt64 = 100 * 366 * 86_400_000

    /// Takes out the next that is due by now, with what its document says of when.
    mutating func pop(_ now: Instant) -> (key: [UInt8], dueMs: UInt64)? {
        guard let first = heap.first, first.at <= now, let timer = timers.removeValue(forKey: first.key) else {
            return nil
        }
        removeFirst()
        skip()
        return (first.key, timer.dueMs)
    }

    mutating func removeAll() { self = LeaseTimers() }

    // MARK: - The heap

    private mutating func skip() {
        while let first = heap.first, timers[first.key]?.at != first.at { removeFirst() }
    }

    private mutating func rebuild() {
        heap = timers.map { Due(at: $0.value.at, key: $0.key) }.sorted()
    }

    private mutating func push(_ due: Due) {
        heap.append(due)
        var at = heap.count - 1
        while at > 0, heap[at] < heap[(at - 1) / 2] {
            heap.swapAt(at, (at - 1) / 2)
            at = (at - 1) / 2
        }
    }

    private mutating func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var at = 0
        while true {
            var least = at
            for child in [2 * at + 1, 2 * at + 2] where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            guard least != at else { return }
            heap.swapAt(at, least)
            at = least
        }
    }
}
