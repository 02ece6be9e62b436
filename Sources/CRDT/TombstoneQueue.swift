/// Which removals are due to be forgotten first: a binary heap by the time at which they were stamped.
///
/// There is at most one entry for each slot, whatever happens to what is in it: whoever takes an entry out looks what
/// the slot holds by then. So the queue is bounded by the slots, and overwriting a removed field needs no search here.
struct TombstoneQueue: Sendable {
    struct Entry: BitwiseCopyable, Sendable {
        /// The stamp's packed time; what the slot holds may have been removed again since.
        let time: UInt64
        let slot: UInt32
        /// Whether it is a slot of a document, and not of a field.
        let isDocument: Bool
    }

    private var heap = ChunkedArray<Entry>()

    /// The entry stamped first.
    var first: Entry? { heap.count > 0 ? heap[0] : nil }
    /// Memory taken, in bytes.
    var byteCount: Int { heap.byteCount }

    mutating func insert(_ entry: Entry) {
        heap.append(entry)
        var at = heap.count - 1
        while at > 0 {
            let above = (at - 1) / 2
            guard entry.time < heap[above].time else { break }
            heap[at] = heap[above]
            at = above
        }
        heap[at] = entry
    }

    mutating func removeFirst() {
        let last = heap[heap.count - 1]
        heap.removeLast()
        guard heap.count > 0 else { return }
        var at = 0
        while true {
            var below = at * 2 + 1
            guard below < heap.count else { break }
            if below + 1 < heap.count, heap[below + 1].time < heap[below].time { below += 1 }
            guard heap[below].time < last.time else { break }
            heap[at] = heap[below]
            at = below
        }
        heap[at] = last
    }
}
