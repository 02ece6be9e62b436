internal import NodeCore
internal import Glibc
internal import Transport

/// `hypha members`: who is in the cluster, as one node sees it.
func showMembers(_ options: MembersOptions) throws(ClientError) {
    let (cluster, _) = try HTTPClient(options.access.node).json("GET", "/api/cluster")
    say(options.access.json ? line(cluster) : membersText(cluster))
}

/// `hypha emit`: posts one event and prints its id.
func emit(_ options: EmitOptions) throws(ClientError) {
    let event = options.event(freshTrace: freshUUID())
    let (stored, answer) = try HTTPClient(options.access.node, clock: options.clock.tokens)
        .json("POST", "/api/events", body: event.encoded())
    sayClock(options.clock, answer)
    say(options.access.json ? line(stored) : "\(printable(stored["id"]?.string ?? stored.plain))\n")
}

/// `hypha signals`: a table, the strongest first.
func showSignals(_ options: SignalsOptions) throws(ClientError) {
    let path =
        "/api/signals"
        + query([
            ("scope", options.scope), ("pattern", options.pattern),
            ("min_strength", options.minimumStrength.map { "\($0)" }), ("at", options.at.map { "\($0)" }),
        ])
    let (signals, answer) = try HTTPClient(options.access.node, clock: options.clock.tokens).json("GET", path)
    sayClock(options.clock, answer)
    let sorted = (signals.elements ?? []).sorted { a, b in
        let (x, y) = (a["strength"]?.double ?? 0, b["strength"]?.double ?? 0)
        return x != y
            ? x > y
            : (a["scope"]?.plain ?? "", a["pattern"]?.plain ?? "") < (
                b["scope"]?.plain ?? "", b["pattern"]?.plain ?? ""
            )
    }
    if options.access.json { return say(sorted.map(line).joined()) }
    say(signalsText(sorted, tick: answer.tick))
}

/// `hypha events`: one line for each, the newest last, so that the newest stands above the prompt.
func showEvents(_ options: EventsOptions) throws(ClientError) {
    let limit = query([("limit", options.limit.map { "\($0)" })])
    let path =
        if let id = options.id { "/api/events/\(PercentEncoding.encode(id))" } else if let scope = options.scope {
            "/api/events/scope/\(PercentEncoding.encode(scope))\(limit)"
        } else if let trace = options.trace { "/api/events/trace/\(PercentEncoding.encode(trace))\(limit)" } else {
            "/api/events\(limit)"
        }
    let (found, answer) = try HTTPClient(options.access.node, clock: options.clock.tokens).json("GET", path)
    sayClock(options.clock, answer)
    let events = found.elements.map { $0.reversed() } ?? [found]
    say(events.map { options.access.json ? line($0) : eventText($0) + "\n" }.joined())
    if events.isEmpty, !options.access.json { say("no events\n") }
}

/// What has been seen now, on standard error, so that the output stays what it is without a clock.
private func sayClock(_ option: ClockOption, _ answer: HTTPAnswer) {
    guard option.tokens != nil else { return }
    let lines = [("clock", answer.clock), ("behind", answer.behind), ("lost", answer.lost)]
    let text = lines.compactMap { name, token in token.map { "\(name): \(printable($0))\n" } }.joined()
    writeAll(Array(text.utf8), to: STDERR_FILENO)
}

/// A value as one line of JSON.
func line(_ value: JSONValue) -> String { String(decoding: value.encoded(), as: UTF8.self) + "\n" }

/// The answer of `GET /api/cluster` as a table.
func membersText(_ cluster: JSONValue) -> String {
    var table = Table(["NAME", "STATE", "HTTP", "GOSSIP", "INCARNATION", "READ", "REPLICA"], rightAligned: [5])
    let members = cluster["members"]?.elements ?? []
    let me = cluster["replica"]?.plain
    for member in members {
        let cell = { (key: String) in member[key].map { $0 == .null ? "" : $0.plain } ?? "" }
        let mark = me != nil && cell("replica") == me ? " *" : ""
        table.add([
            cell("name") + mark, cell("state"), cell("http"), cell("gossip"), cell("incarnation"), read(member["read"]),
            cell("replica"),
        ])
    }
    let reachable = cluster["reachable"]?.plain ?? "?"
    let name = printable(cluster["name"]?.plain ?? "?")
    return table.text + "\(printable(reachable)) of \(members.count) reachable from \(name) (*)\n"
}

/// How many entries of all logs a member has read: equal numbers in a quiet cluster mean that all have the same.
private func read(_ vector: JSONValue?) -> String {
    guard case .object(let logs)? = vector else { return "" }
    return "\(Int(logs.reduce(0) { $0 + ($1.value.double ?? 0) }))"
}

/// Signals as a table with bars; `tick` is the moment they were read at.
func signalsText(_ signals: [JSONValue], tick: UInt64?) -> String {
    let moment = tick.map { " at \(ISOTime.text(milliseconds: $0))" } ?? ""
    if signals.isEmpty { return "no signals\(moment)\n" }
    var table = Table(["SCOPE", "PATTERN", "STRENGTH", "", "UPDATED"], rightAligned: [2])
    for signal in signals {
        let strength = signal["strength"]?.double ?? 0
        table.add([
            signal["scope"]?.plain ?? "", signal["pattern"]?.plain ?? "", fixed(strength, 3),
            padded(bar(strength, width: 20), 20), signal["last_updated"]?.plain ?? "",
        ])
    }
    return table.text + "\(signals.count) signal\(signals.count == 1 ? "" : "s")\(moment)\n"
}

/// One event in one line: when, what, about what, by whom, its payload, its id.
func eventText(_ event: JSONValue) -> String {
    let cell = { (key: String) in printable(event[key]?.plain ?? "-") }
    var payload = event["payload"].map { String(decoding: $0.encoded(), as: UTF8.self) } ?? "{}"
    if payload.count > 120 { payload = payload.prefix(119) + "…" }
    return [
        cell("timestamp"), padded(cell("type"), 8), padded(cell("scope"), 16), padded(cell("agent_id"), 12),
        printable(payload), cell("id"),
    ].joined(separator: "  ")
}

/// A random UUID (RFC 9562, version 4).
func freshUUID() -> String {
    var bytes = [UInt8](repeating: 0, count: 16)
    bytes.withUnsafeMutableBytes {
        precondition(getentropy($0.baseAddress, $0.count) == 0, "the system gives no entropy")
    }
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
}
