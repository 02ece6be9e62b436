/// What one subscriber has had of one publisher: tells the next number from a late one and from one that came twice.
///
/// What was skipped is kept as ranges, so memory grows with the number of gaps, not with their size.
struct SequenceCheck: Sendable {
    /// What an arrival is.
    enum Verdict: Equatable, Sendable {
        /// The next number, or one beyond a gap.
        case inOrder
        /// One that was skipped, now behind a later one.
        case late
        /// One that was here before.
        case duplicate
    }

    private var next: UInt32 = 0
    private var gaps: [Range<UInt32>] = []

    /// Takes note of an arrival.
    mutating func receive(_ number: UInt32) -> Verdict {
        if number == next {
            next += 1
            return .inOrder
        }
        if number > next {
            gaps.append(next..<number)
            next = number + 1
            return .inOrder
        }
        guard let index = gaps.firstIndex(where: { $0.contains(number) }) else { return .duplicate }
        let gap = gaps[index]
        let parts = [gap.lowerBound..<number, number + 1..<gap.upperBound]
        gaps.replaceSubrange(index...index, with: parts.filter { !$0.isEmpty })
        return .late
    }

    /// Numbers below `sent` that never came.
    func missing(sent: UInt32) -> Int { gaps.reduce(0) { $0 + $1.count } + Int(max(sent, next) - next) }
}
