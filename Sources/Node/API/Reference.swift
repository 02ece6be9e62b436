internal import NodeCore
internal import Transport

/// What the table of routes says to those outside: made when it is first asked for, and the same from then on.
enum Reference: Sendable {
    /// For programs.
    case openAPI
    /// For people.
    case page

    var contentType: StaticString {
        switch self {
        case .openAPI: "application/json"
        case .page: "text/html; charset=utf-8"
        }
    }

    /// Header lines besides the usual ones.
    var headers: [UInt8] {
        switch self {
        case .openAPI: []
        case .page: Self.pageHeaders
        }
    }

    var bytes: [UInt8] {
        switch self {
        case .openAPI: Self.openAPIBytes
        case .page: Self.pageBytes
        }
    }

    private static let openAPIBytes = OpenAPI.document.encoded()
    private static let pageBytes = Array(ReferencePage.html.utf8)
    private static let pageHeaders: [UInt8] = {
        var lines = HTTPHeaderLines()
        lines.add("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        return lines.bytes
    }()
}

// MARK: - What all routes of a kind have in common

extension Reference {
    /// A header of answers.
    struct Header {
        let name: String
        let schema: Schema
        let about: String
    }

    static let headers: [Header] = [
        Header(
            name: "Hypha-Clock", schema: clock,
            about: "What the client has seen with this answer. Send it with the next request, to whatever node."),
        Header(
            name: "Hypha-Clock-Behind", schema: clock,
            about:
                "What of the request's `Hypha-Clock` this node had not read when the wait was over; keep that clock, too."
        ),
        Header(
            name: "Hypha-Clock-Lost", schema: clock,
            about: "What of the request's `Hypha-Clock` only a dead node's log held; it is not waited for again."),
        Header(
            name: "Hypha-Ack", schema: .text(),
            about: "How many nodes have what was written, where more were asked for."),
        Header(
            name: "Hypha-Stamp", schema: .text(pattern: "^[0-9a-f]{16}-[0-9a-f]{16}$"),
            about: "When the document was written: of two writes of one field, the later stamp counts."),
        Header(
            name: "Hypha-Reachable", schema: .text(pattern: "^[0-9]+/[0-9]+$"),
            about: """
                How many members of the cluster this node sees alive, of how many that should be here: `2/3` means that the \
                list may lack what the third has.
                """),
        Header(
            name: "Hypha-More", schema: .text(),
            about: "The list was cut to a bearable size: give this as `before` for what follows."),
        Header(
            name: "Hypha-Tick", schema: .integer(0...Int.max),
            about: "The moment at which signals were read, in milliseconds since the Unix epoch."),
    ]

    private static let clock = Schema.text(pattern: "^[A-Za-z0-9_-]+$")

    /// What requests may bring, by the name of the component.
    static let parameters: [(key: String, parameter: Endpoint.Parameter)] = [
        (
            "Clock",
            Endpoint.Parameter(
                name: "Hypha-Clock", place: .header, schema: .text(),
                about: """
                    What the client has seen: the `Hypha-Clock` of an earlier answer, or several with commas between them. \
                    The request is answered once this node has read as far.
                    """)
        ),
        (
            "Ack",
            .query(
                "ack", ackLevel,
                """
                How many nodes must have the write before it is answered: `local`, a number of nodes with a disk, \
                `majority` of them, or `mem:` and a number of nodes.
                """)
        ),
        (
            "AckHeader",
            Endpoint.Parameter(
                name: "Hypha-Ack", place: .header, schema: ackLevel, about: "The same as `ack`, which goes before it.")
        ),
        (
            "Agent",
            Endpoint.Parameter(
                name: "Hypha-Agent", place: .header,
                schema: .text(length: 1...1_024, pattern: "^[!-$&-~]([ -$&-~]|%[0-7][0-9A-Fa-f])*$"),
                about: """
                    The agent that asks, percent-encoded; without one it is an operator, who may do everything. A node \
                    believes what is said here.
                    """)
        ),
        ("AgentQuery", .query("agent", .name, "The same as `Hypha-Agent`, which goes before it.")),
    ]

    private static let ackLevel = Schema.text(
        pattern: "^(local|majority|(mem:)?([1-9][0-9]{0,2}|10[01][0-9]|102[0-4]))$")
}

extension Endpoint {
    /// What it does, as far as all routes of its kind are alike.
    enum Kind { case read, write, status }

    var kind: Kind {
        if tag == .cluster || isEndless { return .status }
        return method == .get ? .read : .write
    }

    /// Whether it answers with something that does not end.
    var isEndless: Bool { answers.contains { $0.status == 101 || $0.type == "text/event-stream" } }

    /// Whether the agent who asks matters.
    var asksWho: Bool {
        switch tag {
        case .agents, .registry, .attention, .chats, .turns, .tasks, .context: true
        case .events, .graph, .bus, .groups, .messages, .cluster: false
        case .soormaEvents, .soormaRegistry, .soormaMemory, .soormaTracker: false
        }
    }

    /// The parameters that all routes of its kind take: keys of `Reference.parameters`.
    var commonParameters: [String] {
        var found: [String] = []
        if kind != .status { found.append("Clock") }
        if kind == .write { found += ["Ack", "AckHeader"] }
        if asksWho {
            found.append("Agent")
            if !parameters.contains(where: { $0.name == "agent" && $0.place == .query }) { found.append("AgentQuery") }
        }
        return found
    }

    /// The headers of an answer: names of `Reference.headers`.
    func headers(of answer: Answer) -> [String] {
        guard answer.status < 300 else { return [] }
        var found: [String] = []
        if kind != .status { found += ["Hypha-Clock", "Hypha-Clock-Behind", "Hypha-Clock-Lost"] }
        if kind == .write { found += ["Hypha-Ack", "Hypha-Stamp"] }
        if method == .get, case .array? = answer.schema { found.append("Hypha-Reachable") }
        return found + headers
    }

    /// Its answers, and the refusals that any route of its kind may give.
    var allAnswers: [Answer] {
        var common: [Answer] = [
            .refusal(400, "Something in the request is not what it should be."),
            .refusal(431, "The request's path and headers are longer than 16 KiB."),
        ]
        if body != nil {
            common += [
                .refusal(413, "The body, or what would be written, is too large."),
                .refusal(415, "The body's `Content-Type` is not JSON."),
            ]
        }
        if tag.isSoorma {
            common.append(.refusal(422, "A header, a parameter or a member is missing or not what it should be."))
        }
        if asksWho { common.append(.refusal(403, "The agent who asks may not do this.")) }
        if kind == .write {
            common += [
                .refusal(409, "It contradicts what is here, or `ack` asks for more nodes than there are."),
                .refusal(504, "It is written here, and was not confirmed by as many nodes as `ack` asks for in time."),
                .refusal(507, "This node's disk is full, so it takes no writes."),
            ]
        }
        if kind != .status || tag != .cluster {
            common.append(
                .refusal(
                    503, "This node cannot answer now: it catches up, leaves, or has not read what the clock names."))
        }
        let own = Set(answers.map(\.status))
        return (answers + common.filter { !own.contains($0.status) }).sorted { $0.status < $1.status }
    }

    /// Its path as OpenAPI writes it.
    var template: String {
        "/"
            + path.split(separator: "/").map { part in
                part.hasSuffix("...}") ? part.dropLast(4) + "}" : part
            }.joined(separator: "/")
    }

    /// A name for it, unique among all.
    var operationID: String {
        let words = path.split(separator: "/").filter { $0 != "api" }.map { part in
            String(part.filter { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "-" })
        }
        return ([method.word.lowercased()] + words).joined(separator: "_")
    }
}
