internal import NodeCore
/// Where a node answers HTTP: `http://127.0.0.1:5000`.
struct NodeURL: Hashable, Sendable, CustomStringConvertible {
    /// Host and port.
    let target: HostPort

    static let standard = NodeURL(target: HostPort(host: "127.0.0.1", port: 5000))

    var description: String { "http://\(target)" }

    init(target: HostPort) { self.target = target }

    /// Reads `http://host[:port]` (port 80 if left out, as for every URL) or `host:port`.
    static func read(_ text: String) throws(BadValue) -> NodeURL {
        if text.hasPrefix("https://") { throw BadValue(expected: "an http:// URL (a node does not speak TLS yet)") }
        var rest = text[...]
        let hasScheme = rest.hasPrefix("http://")
        if hasScheme { rest = rest.dropFirst(7) }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let target = HostPort(String(rest)) ?? (hasScheme ? HostPort("\(rest):80") : nil)
        guard let target, target.port != 0 else {
            throw BadValue(expected: "the URL of a node, for example http://127.0.0.1:5000")
        }
        return NodeURL(target: target)
    }
}

/// What every client command takes.
struct Access: Equatable, Sendable {
    /// The node to ask.
    var node = NodeURL.standard
    /// Print what the node says as JSON, one value on a line.
    var json = false

    static func flags<Settings>(_ path: WritableKeyPath<Settings, Access>) -> [Flag<Settings>] {
        [
            .value(
                "node", "URL", path.appending(path: \.node), "The node to ask; any one will do",
                default: "\(NodeURL.standard)", NodeURL.read),
            .toggle("json", path.appending(path: \.json), "Print JSON, one value on a line"),
        ]
    }
}

/// What a client has seen, for commands that take a clock.
struct ClockOption: Equatable, Sendable {
    /// What was given; nil if the flag was not.
    var tokens: String?

    static let explanation = """
        With --clock, the node answers once it has read as far as the clocks say, and the clock of its answer is printed
        to standard error: `clock: TOKEN` (`behind: TOKEN`, `lost: TOKEN` for what it could not wait for). Start with
        --clock '' and pass on what was printed to read your own writes at any node.
        """

    static func flag<Settings>(_ path: WritableKeyPath<Settings, ClockOption>) -> Flag<Settings> {
        .value(
            "clock", "TOKEN,…", path.appending(path: \.tokens),
            "What you have seen, from earlier answers; '' for nothing",
            variable: false, read)
    }

    private static func read(_ text: String) throws(BadValue) -> String? {
        let isClean = text.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20) || "-_, ".utf8.contains(byte)
        }
        guard isClean else { throw BadValue(expected: "clocks as answers gave them, with commas between them") }
        return text
    }
}

/// `hypha members`.
struct MembersOptions: CommandOptions, Equatable, Sendable {
    var access = Access()

    static let page = HelpPage(
        name: "members", summary: "Show who is in the cluster, as one node sees it.",
        examples: [
            ("members", "of the node at \(NodeURL.standard)"),
            ("members --node http://127.0.0.1:5001 --json", "as JSON, seen by another"),
        ])
    static var flags: [Flag<Self>] { Access.flags(\.access) }
}

/// `hypha emit`.
struct EmitOptions: CommandOptions, Equatable, Sendable {
    var access = Access()
    var type = ""
    var scope = ""
    var agent = ""
    var trace = ""
    var parents: [String] = []
    var payload = JSONValue.object([])
    var value: JSONValue?
    var pattern: String?
    var id: String?
    var clock = ClockOption()

    static let types = ["proposal", "ready", "test", "reward", "penalty"]

    static let page = HelpPage(
        name: "emit", summary: "Post one event and print its id.", detail: ClockOption.explanation,
        examples: [
            ("emit --type proposal --scope ui.login --agent ada --pattern passkeys", "a new signal"),
            ("emit --type reward --scope ui.login --agent bob --pattern passkeys --value 0.5", "a stronger one"),
            ("emit --type ready --scope ui.login --agent ada --payload '{\"status\":\"done\"}'", "any payload"),
        ])

    static var flags: [Flag<Self>] {
        [
            .value(
                "type", "TYPE", \.type, "\(types.joined(separator: ", ")); required", variable: false,
                Read.choice(types.map { ($0, $0) })),
            .value(
                "scope", "SCOPE", \.scope, "What it is about, for example ui.login; required", variable: false,
                Read.text),
            .value("agent", "ID", \.agent, "Who says so; required", Read.text),
            .value("trace", "ID", \.trace, "The piece of work it belongs to", default: "a new one", Read.text),
            .list(
                "parent", "ID", \.parents, "An event it answers", variable: false, splits: false, Read.text),
            .value("payload", "JSON", \.payload, "An object", default: "{}", variable: false, jsonObject),
            .value(
                "value", "NUMBER", \.value, "Size of a reward or penalty: payload.value", variable: false, jsonNumber),
            .value("pattern", "NAME", \.pattern, "The signal it touches: payload.pattern", variable: false, Read.text),
            .value(
                "id", "UUID", \.id, "Your own id: posted again, at any node, it stays one event", variable: false, uuid),
            ClockOption.flag(\.clock),
        ] + Access.flags(\.access)
    }

    func check() throws(UsageError) {
        let missing = [("type", type), ("scope", scope), ("agent", agent)].filter(\.1.isEmpty).map { "--\($0.0)" }
        guard missing.isEmpty else {
            throw UsageError(
                message:
                    "\(missing.joined(separator: " and ")) \(missing.count == 1 ? "is" : "are") missing; for example "
                    + "hypha emit --type reward --scope ui.login --agent ada --value 0.5", command: "emit")
        }
    }

    /// The event as a node takes it; `freshTrace` names the trace if none was given.
    func event(freshTrace: String) -> JSONValue {
        guard case .object(var payload) = payload else { return .null }
        if let value {
            payload.removeAll { $0.key == "value" }
            payload.append(("value", value))
        }
        if let pattern {
            payload.removeAll { $0.key == "pattern" }
            payload.append(("pattern", .string(pattern)))
        }
        var fields: [(key: String, value: JSONValue)] = [
            ("type", .string(type)), ("scope", .string(scope)),
            ("trace_id", .string(trace.isEmpty ? freshTrace : trace)),
            ("agent_id", .string(agent)), ("parent_ids", .array(parents.map(JSONValue.string))),
            ("payload", .object(payload)),
        ]
        if let id { fields.insert(("id", .string(id)), at: 0) }
        return .object(fields)
    }

    private static func jsonObject(_ text: String) throws(BadValue) -> JSONValue {
        let value: JSONValue
        do throws(JSONValue.Malformed) {
            value = try JSONValue(Array(text.utf8))
        } catch {
            throw BadValue(expected: "a JSON object (\(error))")
        }
        guard case .object = value else {
            throw BadValue(expected: "a JSON object, for example '{\"status\":\"done\"}'")
        }
        return value
    }

    private static func jsonNumber(_ text: String) throws(BadValue) -> JSONValue? {
        guard let value = try? JSONValue(Array(text.utf8)), case .number = value else {
            throw BadValue(expected: "a number, for example 0.5")
        }
        return value
    }

    private static func uuid(_ text: String) throws(BadValue) -> String? {
        let bytes = Array(text.utf8)
        let fits =
            bytes.count == 36
            && bytes.enumerated().allSatisfy { index, byte in
                [8, 13, 18, 23].contains(index)
                    ? byte == 0x2d : (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte | 0x20)
            }
        guard fits else { throw BadValue(expected: "a UUID, for example 9b2f6c1e-5f0a-4d59-9a3e-0c6f1d2b7a48") }
        return text
    }
}

/// `hypha signals`.
struct SignalsOptions: CommandOptions, Equatable, Sendable {
    var access = Access()
    var scope: String?
    var pattern: String?
    var minimumStrength: Double?
    var at: UInt64?
    var clock = ClockOption()

    static let page = HelpPage(
        name: "signals", summary: "Show how strong each signal is, the strongest first.",
        detail: ClockOption.explanation,
        examples: [
            ("signals", "all of them"),
            ("signals --scope ui.login --min-strength 0.2", "the strong ones of one scope"),
        ])

    static var flags: [Flag<Self>] {
        [
            .value("scope", "SCOPE", \.scope, "Only this scope", variable: false, Read.text),
            .value("pattern", "NAME", \.pattern, "Only this pattern", variable: false, Read.text),
            .value(
                "min-strength", "NUMBER", \.minimumStrength, "Only those at least this strong", variable: false,
                Read.decimal("a number from 0 to 1") { (0...1).contains($0) }),
            .value(
                "at", "MS", \.at, "As of this moment, in milliseconds since 1970", default: "now", variable: false,
                moment),
            ClockOption.flag(\.clock),
        ] + Access.flags(\.access)
    }

    private static func moment(_ text: String) throws(BadValue) -> UInt64? {
        // 48 bits of milliseconds are all that a stamp holds.
        guard let value = UInt64(text), value < 1 << 48 else {
            throw BadValue(expected: "milliseconds since 1970, for example 1795254300000")
        }
        return value
    }
}

/// `hypha events`.
struct EventsOptions: CommandOptions, Equatable, Sendable {
    var access = Access()
    var scope: String?
    var trace: String?
    var id: String?
    var limit: Int?
    var clock = ClockOption()

    static let page = HelpPage(
        name: "events", summary: "List events, the newest last.", detail: ClockOption.explanation,
        examples: [
            ("events --limit 20", "the last twenty"), ("events --scope ui.login", "those of one scope"),
            ("events --id 9b2f6c1e-5f0a-4d59-9a3e-0c6f1d2b7a48 --json", "one, whole"),
        ])

    static var flags: [Flag<Self>] {
        [
            .value("scope", "SCOPE", \.scope, "Only this scope", variable: false, Read.text),
            .value("trace", "ID", \.trace, "Only this trace", variable: false, Read.text),
            .value("id", "UUID", \.id, "Only this event", variable: false, Read.text),
            .value(
                "limit", "COUNT", \.limit, "At most so many", default: "100", variable: false, Read.integer(1...10_000)),
            ClockOption.flag(\.clock),
        ] + Access.flags(\.access)
    }

    func check() throws(UsageError) {
        let chosen = [("scope", scope), ("trace", trace), ("id", id)].filter { $0.1 != nil }.map { "--\($0.0)" }
        guard chosen.count < 2 else {
            throw UsageError(
                message: "\(chosen.joined(separator: " and ")) cannot go together; choose one", command: "events")
        }
    }
}

/// `hypha watch`.
struct WatchOptions: CommandOptions, Equatable, Sendable {
    var access = Access()
    var scope: String?

    static let page = HelpPage(
        name: "watch", summary: "Print events of the whole cluster as they happen, until Ctrl-C.",
        detail: "When the connection is lost it is made again after 1 s, then 2 s, up to 30 s.",
        examples: [("watch", "everything"), ("watch --scope 'ui.>'", "ui.login, ui.login.form, …")])

    static var flags: [Flag<Self>] {
        [
            .value(
                "scope", "PATTERN", \.scope, "Only matching scopes: * is one segment, > the rest", variable: false,
                Read.text)
        ] + Access.flags(\.access)
    }
}
