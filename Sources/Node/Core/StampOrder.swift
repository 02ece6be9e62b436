import CRDT
import Gossip

/// Positions in stamp order. Nearly all come in order, and those are appended; a late one is inserted into a chunk of
/// at most 1,024, whatever the number of positions.
struct StampOrder: Sendable {
    /// A position and the stamp it sorts by.
    struct Key: Comparable, Sendable {
        let stamp: HybridTimestamp
        let position: Int

        static func < (a: Self, b: Self) -> Bool { a.stamp < b.stamp }
    }

    private static let chunkSize = 1_024
    private var chunks: ContiguousArray<ContiguousArray<Key>> = []

    mutating func insert(_ key: Key) {
        guard let last = chunks.last?.last, key < last else {
            if chunks.last.map({ $0.count >= Self.chunkSize }) ?? true {
                var chunk = ContiguousArray<Key>()
                chunk.reserveCapacity(Self.chunkSize)
                chunks.append(chunk)
            }
            return chunks[chunks.count - 1].append(key)
        }
        let chunk = max(0, firstIndex(in: 0..<chunks.count) { key < chunks[$0][0] } - 1)
        let at = firstIndex(in: 0..<chunks[chunk].count) { key < chunks[chunk][$0] }
        chunks[chunk].insert(key, at: at)
        if chunks[chunk].count > Self.chunkSize {
            let half = ContiguousArray(chunks[chunk][(Self.chunkSize / 2)...])
            chunks[chunk].removeSubrange((Self.chunkSize / 2)...)
            chunks.insert(half, at: chunk + 1)
        }
    }

    /// Forgets chunks at the front that hold only positions below `floor`.
    mutating func drop(before floor: Int) {
        var whole = 0
        while whole < chunks.count, chunks[whole].allSatisfy({ $0.position < floor }) { whole += 1 }
        if whole > 0 { chunks.removeFirst(whole) }
    }

    /// Calls `body` with the positions stamped before `stamp` (nil: all), the newest first, until it returns false.
    func descending(before stamp: HybridTimestamp?, _ body: (Int) -> Bool) {
        var chunk = chunks.count - 1
        if let stamp { chunk = firstIndex(in: 0..<chunks.count) { !(chunks[$0][0].stamp < stamp) } - 1 }
        while chunk >= 0 {
            var at = chunks[chunk].count
            if let stamp { at = firstIndex(in: 0..<at) { !(chunks[chunk][$0].stamp < stamp) } }
            while at > 0 {
                at -= 1
                guard body(chunks[chunk][at].position) else { return }
            }
            chunk -= 1
        }
    }

    /// The first index for which `isPast` holds, if it holds for all that follow it.
    private func firstIndex(in range: Range<Int>, _ isPast: (Int) -> Bool) -> Int {
        var (low, high) = (range.lowerBound, range.upperBound)
        while low < high {
            let middle = (low + high) / 2
            if isPast(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
