internal import CRDT
internal import Gossip

/// A running hash over everything that went into a node and came out of one, and the last lines of it for people.
///
/// Two runs with the same hash went the same way, byte for byte.
struct Trace {
    /// The hash so far.
    private(set) var hash: UInt64 = 0
    /// How much is written down. Only a run that is being explained pays for text.
    var detail: Detail = .none
    /// The last lines, oldest first, when `detail` asks for them.
    private(set) var lines: [String] = []
    /// How many lines are kept.
    static let kept = 200

    enum Detail: Sendable {
        case none
        /// The last lines are kept, for the report of a failure.
        case lastLines
        /// Every line goes to the standard output as well.
        case everything
    }

    /// Whether lines are wanted.
    var isWritten: Bool { detail != .none }

    mutating func fold(_ number: UInt64) { hash = XXH64.avalanche((hash << 7 | hash >> 57) ^ number) }
    mutating func fold(_ bytes: RawSpan) { hash = XXH64.hash(bytes, seed: hash) }

    /// Writes a line if lines are wanted; `text` is not even built otherwise.
    mutating func line(at time: UInt64, _ text: @autoclosure () -> String) {
        guard detail != .none else { return }
        let moment = Instant(microseconds: time).description
        let line = String(repeating: " ", count: max(0, 12 - moment.utf8.count)) + moment + "  " + text()
        if detail == .everything { print(line) }
        if lines.count >= 2 * Trace.kept { lines.removeFirst(lines.count - Trace.kept) }
        lines.append(line)
    }
}
