/// Numbers of agents in the order of their ids, in chunks, so that adding one moves few others however many there are.
struct OrderedNumbers: Sendable {
    /// A chunk is halved at so many.
    private static let largest = 512

    private var chunks: [[UInt32]] = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// Adds a number that is not here. `isBefore` compares what two numbers stand for.
    mutating func insert(_ number: UInt32, _ isBefore: (UInt32, UInt32) -> Bool) {
        count += 1
        guard let last = chunks.indices.last, let end = chunks[last].last else {
            chunks = [[number]]
            return
        }
        // Whatever is read in order comes at the end.
        let chunk = isBefore(end, number) ? last : self.chunk { isBefore(number, $0) }
        let at =
            chunk == last && isBefore(end, number)
            ? chunks[last].count : Self.first(chunks[chunk]) { isBefore(number, $0) }
        chunks[chunk].insert(number, at: at)
        guard chunks[chunk].count > Self.largest else { return }
        // The last one is filled in order, mostly: what is left of it is to be full.
        let half = at == chunks[chunk].count - 1 ? Self.largest : Self.largest / 2
        let rest = Array(chunks[chunk][half...])
        chunks[chunk].removeSubrange(half...)
        chunks.insert(rest, at: chunk + 1)
    }

    /// Removes a number that is here.
    mutating func remove(_ number: UInt32, _ isBefore: (UInt32, UInt32) -> Bool) {
        guard !chunks.isEmpty else { return }
        let chunk = self.chunk { !isBefore($0, number) }
        let at = Self.first(chunks[chunk]) { !isBefore($0, number) }
        guard at < chunks[chunk].count, chunks[chunk][at] == number else { return }
        chunks[chunk].remove(at: at)
        count -= 1
        if chunks[chunk].isEmpty { chunks.remove(at: chunk) }
    }

    /// Visits them in order from the first one that is `behind`, until `body` says no.
    func forEach(behind: (UInt32) -> Bool, _ body: (UInt32) -> Bool) {
        guard !chunks.isEmpty else { return }
        let start = chunk(behind)
        var at = Self.first(chunks[start], where: behind)
        for chunk in chunks[start...] {
            while at < chunk.count {
                guard body(chunk[at]) else { return }
                at += 1
            }
            at = 0
        }
    }

    /// The first chunk whose last number is behind; the last one if none is.
    private func chunk(_ isBehind: (UInt32) -> Bool) -> Int {
        var (low, high) = (0, chunks.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if chunks[middle].last.map(isBehind) ?? false { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Where the first number is of which something holds that holds for all that follow.
    private static func first(_ chunk: [UInt32], where holds: (UInt32) -> Bool) -> Int {
        var (low, high) = (0, chunk.count)
        while low < high {
            let middle = (low + high) / 2
            if holds(chunk[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
