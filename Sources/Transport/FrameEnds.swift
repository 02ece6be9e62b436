/// Where the frames of a ring end, oldest first, and the mark that each was given.
///
/// 16 bytes for each frame that is held. What is released is removed in bulk, so that each entry is moved at most once
/// on average.
struct FrameEnds {
    private struct Entry {
        let end: UInt64
        let mark: UInt64
    }

    private var entries: [Entry] = []
    private var first = 0
    /// The newest frame that was released.
    private var released = Entry(end: 0, mark: 0)

    /// Frames held.
    var count: Int { entries.count - first }

    @inline(__always)
    mutating func append(end: UInt64, mark: UInt64) { entries.append(Entry(end: end, mark: mark)) }

    /// Forgets the frames that end at or before `position`, except the mark of the last of them.
    @inline(__always)
    mutating func release(upTo position: UInt64) {
        guard first < entries.count, entries[first].end <= position else { return }
        if entries[entries.count - 1].end <= position {
            released = entries[entries.count - 1]
            entries.removeAll(keepingCapacity: true)
            first = 0
            return
        }
        while entries[first].end <= position { first += 1 }
        released = entries[first - 1]
        if first >= 64, first > entries.count / 2 {
            entries.removeFirst(first)
            first = 0
        }
    }

    /// Gives memory back; only while nothing is held.
    mutating func shrink() {
        if count == 0 {
            entries = []
            first = 0
        }
    }

    /// The end of the frame that holds the byte before `position`: `position` itself if a frame ends there.
    func end(around position: UInt64) -> UInt64 {
        let at = index(endingFrom: position)
        // Behind all that is held or released only at a boundary.
        return at < entries.count && released.end < position ? entries[at].end : position
    }

    /// The mark of the frame that ends at `boundary`; nil if none does.
    func mark(endingAt boundary: UInt64) -> UInt64? {
        if boundary == released.end { return boundary == 0 ? nil : released.mark }
        let at = index(endingFrom: boundary)
        return at < entries.count && entries[at].end == boundary ? entries[at].mark : nil
    }

    /// The first frame that ends at or behind `position`.
    private func index(endingFrom position: UInt64) -> Int {
        var (low, high) = (first, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].end < position { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
