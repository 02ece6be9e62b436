/// Texts and vectors by number, and the best of them for a query.
///
/// A query of words is ranked by `TextIndex`, one of a vector by `VectorIndex`; one of both by the mean of both scores
/// where an entry has a vector of that dimension, by the score of its text alone where it has none.
struct SearchIndex: Sendable {
    /// What was found. Better ones come first; of equal ones that which `isBefore` says.
    struct Hit: Equatable, Sendable {
        let number: UInt32
        /// From 0 to 1; only to be compared within one query.
        let score: Double
    }

    private(set) var texts = TextIndex()
    private(set) var vectors = VectorIndex()

    /// Sets what a number stands for.
    mutating func set(_ number: UInt32, _ parts: [String], vector: [Float]? = nil) {
        texts.set(number, parts)
        vectors.set(number, vector)
    }

    /// Removes a number.
    mutating func remove(_ number: UInt32) {
        texts.remove(number)
        vectors.remove(number)
    }

    /// The best entries for a query, at most so many, of those that are wanted.
    mutating func search(
        _ query: String, vector: [Float]? = nil, most: Int, where isWanted: (UInt32) -> Bool,
        isBefore: @escaping (UInt32, UInt32) -> Bool
    ) -> [Hit] {
        var best = BestHits(most, isBefore: isBefore)
        func offer(_ number: UInt32, _ score: Double) {
            let hit = Hit(number: number, score: score)
            if best.takes(hit), isWanted(number) { best.insert(hit) }
        }
        guard let vector else {
            texts.forEachMatch(query, offer)
            return best.sorted
        }
        guard !TextIndex.terms(of: query).isEmpty else {
            vectors.forEach(like: vector, offer)
            return best.sorted
        }
        var words: [UInt32: Double] = [:]
        texts.forEachMatch(query) { words[$0] = $1 }
        vectors.forEach(like: vector) { number, score in
            offer(number, (score + (words.removeValue(forKey: number) ?? 0)) / 2)
        }
        for (number, score) in words { offer(number, score) }
        return best.sorted
    }
}

/// The best of many, kept in a heap with the worst of them on top.
private struct BestHits {
    private let most: Int
    private let isBefore: (UInt32, UInt32) -> Bool
    private var heap: [SearchIndex.Hit] = []

    init(_ most: Int, isBefore: @escaping (UInt32, UInt32) -> Bool) {
        (self.most, self.isBefore) = (most, isBefore)
    }

    private func isBetter(_ a: SearchIndex.Hit, _ b: SearchIndex.Hit) -> Bool {
        a.score != b.score ? a.score > b.score : isBefore(a.number, b.number)
    }

    func takes(_ hit: SearchIndex.Hit) -> Bool { heap.count < most || most > 0 && isBetter(hit, heap[0]) }

    mutating func insert(_ hit: SearchIndex.Hit) {
        guard heap.count == most else {
            heap.append(hit)
            var at = heap.count - 1
            while at > 0, isBetter(heap[(at - 1) / 2], heap[at]) {
                heap.swapAt(at, (at - 1) / 2)
                at = (at - 1) / 2
            }
            return
        }
        heap[0] = hit
        var at = 0
        while true {
            var worst = at
            for child in [2 * at + 1, 2 * at + 2] where child < heap.count && isBetter(heap[worst], heap[child]) {
                worst = child
            }
            guard worst != at else { return }
            heap.swapAt(at, worst)
            at = worst
        }
    }

    var sorted: [SearchIndex.Hit] { heap.sorted { isBetter($0, $1) } }
}
