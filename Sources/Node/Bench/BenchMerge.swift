internal import NodeCore

/// `hypha bench merge`: how fast one node takes in what others wrote. Everything between a frame's arrival and the
/// document is in it: checksum, decoding, causal check, running hash, log, merge.
func benchMerge(_ options: BenchMergeOptions) -> Int32 {
    let traffic = MergeWriters.traffic(options)
    var result = MergeResult(options: options, frames: traffic.frames.count)
    for _ in 0..<options.repeats {
        var reader = MergeReader()
        let started = SystemTime.monotonicNanoseconds()
        reader.take(traffic, frames: 0..<traffic.filled)
        let filled = SystemTime.monotonicNanoseconds()
        reader.take(traffic, frames: traffic.filled..<traffic.frames.count)
        let ended = SystemTime.monotonicNanoseconds()
        result.fills.append(filled &- started)
        result.merges.append(ended &- filled)
        result.missing = max(result.missing, options.documents + options.facts - reader.appliedEntries())
    }
    say(result.output)
    return result.missing == 0 ? 0 : 1
}

/// What a benchmark of merging found out.
struct MergeResult {
    let options: BenchMergeOptions
    /// How many frames it came in.
    let frames: Int
    /// Nanoseconds to take in the documents, one for each repeat.
    var fills: [UInt64] = []
    /// Nanoseconds to take in the writes.
    var merges: [UInt64] = []
    /// Entries that did not arrive, of the worst repeat.
    var missing = 0

    /// For a person, or as one line of JSON.
    var output: String { options.json ? line(jsonValue) : text }

    private func perSecond(_ count: Int, _ nanoseconds: UInt64) -> Int {
        Int(Double(count) / Double(max(1, nanoseconds)) * 1e9)
    }

    private var text: String {
        let each = Double(merges.min() ?? 0) / Double(options.facts)
        let rows = [
            ("facts/s", merges.map { grouped(perSecond(options.facts, $0)) }.joined(separator: "  ")),
            ("best", "\(fixed(each, 0)) ns a fact"),
            ("filling/s", fills.map { grouped(perSecond(options.documents, $0)) }.joined(separator: "  ")),
            ("faults", "\(missing) missing"),
        ]
        let title =
            "merge: \(grouped(options.facts)) facts of 3 writers on \(grouped(options.documents)) documents, "
            + "\(grouped(frames)) frames\n"
        return title + rows.map { "  \(padded($0.0, 13)) \($0.1)\n" }.joined()
    }

    private var jsonValue: JSONValue {
        let numbers = { (count: Int, times: [UInt64]) in
            JSONValue.array(times.map { .number("\(perSecond(count, $0))") })
        }
        return .object([
            ("bench", .string("merge")), ("documents", .number("\(options.documents)")),
            ("facts", .number("\(options.facts)")), ("frames", .number("\(frames)")),
            ("facts_per_second", numbers(options.facts, merges)),
            ("fills_per_second", numbers(options.documents, fills)), ("missing", .number("\(missing)")),
        ])
    }
}
