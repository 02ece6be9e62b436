internal import NodeCore
internal import Transport

/// `hypha bench post`: as many events as so many connections can post, each waiting for its answers. Returns the exit
/// code: 1 if an answer was an error or did not come.
func benchPost(_ options: BenchPostOptions) throws -> Int32 {
    try makeRoom(forConnections: options.connections)
    let loop = try EventLoop()
    let publishers = try Publishers(
        count: options.connections, pipeline: options.pipeline, nodes: options.load.nodes,
        run: UInt32(truncatingIfNeeded: Entropy.next()), loop: loop)
    let times = Timetable(options.load, start: SystemTime.monotonicNanoseconds())
    var delays = DelayHistogram()
    publishers.onAnswer = { connection, sentAt in
        let now = SystemTime.monotonicNanoseconds()
        if times.isMeasured(now) { delays.record(now &- sentAt) }
        if now < times.stop { publishers.publish(on: connection, at: now) }
    }
    defer { publishers.onAnswer = { _, _ in } }
    for connection in publishers.connections.indices {
        for _ in 0..<options.pipeline { publishers.publish(on: connection, at: SystemTime.monotonicNanoseconds()) }
    }
    while true {
        publishers.flush()
        let now = SystemTime.monotonicNanoseconds()
        let isOver = now >= times.stop && (publishers.waiting == 0 || now >= times.stop + Timetable.drainNanoseconds)
        if isOver || publishers.closed == options.connections { break }
        loop.turn(waitingAtMost: 10_000)
    }
    let result = BenchResult(
        title: "post: \(options.connections) connections, pipeline \(options.pipeline)", load: options.load,
        unit: "requests", delays: delays,
        faults: [
            ("errors", Int(publishers.errors)), ("unanswered", publishers.waiting), ("closed", publishers.closed),
        ], firstError: publishers.firstError)
    say(result.output(json: options.load.json))
    return result.isClean ? 0 : 1
}

/// What a benchmark found out.
struct BenchResult {
    /// What was done.
    let title: String
    let load: Load
    /// What was counted, in the plural.
    let unit: String
    /// Nanoseconds; one for each that was counted.
    let delays: DelayHistogram
    /// What should be zero.
    let faults: [(name: String, count: Int)]
    var firstError: String?

    /// Nothing went wrong, and something went well.
    var isClean: Bool { faults.allSatisfy { $0.count == 0 } && delays.count > 0 }
    private var perSecond: Double { Double(delays.count) / load.seconds }
    private static let shares: [(String, Double)] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)]

    /// For a person, or as one line of JSON with delays in milliseconds.
    func output(json: Bool) -> String { json ? line(jsonValue) : text }

    private var text: String {
        let milliseconds = { (value: Double) in "\(fixed(value / 1e6, 2)) ms" }
        let percentiles = Self.shares.map { "\($0.0) \(milliseconds(Double(delays.percentile($0.1))))" }
        let spread = percentiles + ["max \(milliseconds(Double(delays.maximum)))"]
        var lines = [
            "\(title), \(fixed(load.seconds, 1)) s at \(load.nodes.map(\.description).joined(separator: " "))",
            "  \(padded(unit + "/s", 13)) \(grouped(Int(perSecond)))",
            "  \(padded("delay", 13)) \(spread.joined(separator: "  "))",
            "  \(padded("faults", 13)) \(faults.map { "\($0.count) \(words($0.name))" }.joined(separator: ", "))",
        ]
        if let firstError { lines.append("  \(padded("first error", 13)) \(firstError)") }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The name of a field as words.
    private func words(_ name: String) -> String { String(name.map { $0 == "_" ? " " : $0 }) }

    private var jsonValue: JSONValue {
        let number = { (value: Double) in JSONValue.number(fixed(value, 4)) }
        var fields: [(key: String, value: JSONValue)] = [
            ("bench", .string(title)), ("nodes", .array(load.nodes.map { .string($0.description) })),
            ("seconds", number(load.seconds)), (unit, .number("\(delays.count)")),
            ("\(unit)_per_second", number(perSecond)),
        ]
        for (name, share) in Self.shares {
            fields.append(("\(name.filter { $0 != "." })_ms", number(Double(delays.percentile(share)) / 1e6)))
        }
        fields += [("max_ms", number(Double(delays.maximum) / 1e6)), ("mean_ms", number(delays.mean / 1e6))]
        for fault in faults { fields.append((fault.name, .number("\(fault.count)"))) }
        if let firstError { fields.append(("first_error", .string(firstError))) }
        return .object(fields)
    }
}

/// `1234567` as `1,234,567`.
func grouped(_ value: Int) -> String {
    let digits = Array(String(abs(value)))
    let text = digits.enumerated().reduce(into: "") { out, entry in
        if entry.offset > 0, (digits.count - entry.offset).isMultiple(of: 3) { out.append(",") }
        out.append(entry.element)
    }
    return value < 0 ? "-" + text : text
}
