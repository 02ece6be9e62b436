internal import NodeCore
internal import Transport

/// Where a request goes: the one table from method and path to what the core is asked.
enum Route {
    /// The core answers.
    case ask(Request)
    /// What only the shell knows is added first.
    case askWithHealth(RouteGroup, @Sendable (ShellMetrics) -> Request)
    /// The connection becomes a WebSocket, of this agent if it says so.
    case socket(agent: String?)
    /// The connection becomes a WebSocket that gets back what it sends, where tests asked for one.
    case echo
    /// A browser asks what it may do from another origin.
    case preflight
    /// Nothing of the kind is here. `allow` lists the methods that are, for 405.
    case refuse(status: UInt16, message: String, allow: String?)

    /// Under what it is counted.
    var group: RouteGroup {
        switch self {
        case .ask(let request): request.group
        case .askWithHealth(let group, _): group
        case .socket, .echo: .socket
        case .preflight: .preflight
        case .refuse: .other
        }
    }

    /// The default and the largest number of entries of a list.
    static let defaultLimit = 100
    static let maximumLimit = 100_000

    /// Finds the route of a request.
    ///
    /// - Parameter servesEcho: whether `/ws/echo` exists.
    static func find(_ head: HTTPHead, _ bytes: RawSpan, servesEcho: Bool = false) -> Route {
        if head.method == .post, isEvents(bytes, head.path.range) { return takesJSON(head, bytes, .postEvent) }
        if head.method == .options { return .preflight }
        guard var path = segments(bytes, head.path.range) else {
            return .refuse(status: 400, message: "the path is not valid percent-encoded UTF-8", allow: nil)
        }
        if path.count > 1, path.last == "" { path.removeLast() }
        let query = Query(bytes, head.query.range)
        guard let query else {
            return .refuse(status: 400, message: "the query is not valid percent-encoded UTF-8", allow: nil)
        }
        do throws(BadQuery) {
            let lastEventID = head.header("last-event-id", in: bytes).map { range in
                bytes.extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            }
            let found = Router.find(path)
            if let (endpoint, values) = found.first(where: {
                $0.endpoint.method == (head.method == .head ? .get : head.method)
            }) {
                var caller = Caller(lastEventID: lastEventID)
                let named = head.header("hypha-agent", in: bytes).flatMap { PercentEncoding.decode(bytes, $0) }
                caller.asker = Asker(named ?? query["agent"])
                caller.wantsPage =
                    head.header("accept", in: bytes).flatMap { PercentEncoding.decode(bytes, $0) }?.contains(
                        "text/html") ?? false
                let route = try endpoint.make(values, query, caller)
                guard case .ask(let request) = route, endpoint.body != nil else { return route }
                return takesJSON(head, bytes, request, or: "application/merge-patch+json")
            }
            guard let options = try methods(path, query, lastEventID, servesEcho) else {
                return .refuse(
                    status: 404, message: "no route \(shown(path)); see the README for the API", allow: nil)
            }
            switch head.method {
            case .get, .head: if let read = options.read { return read }
            case .post:
                if let post = options.post { return takesJSON(head, bytes, post) }
                if let action = options.action { return .ask(action) }
            case .patch:
                if let patch = options.patch {
                    return takesJSON(head, bytes, patch, or: "application/merge-patch+json")
                }
            case .delete: if let delete = options.delete { return .ask(delete) }
            case .put, .options, .other: break
            }
            let allow = options.allow
            let method = PercentEncoding.decode(bytes, head.methodName.range) ?? "this method"
            return .refuse(
                status: 405, message: "\(method.prefix(32)) is not served at \(shown(path)); use \(allow)", allow: allow
            )
        } catch {
            return .refuse(status: 400, message: error.message, allow: nil)
        }
    }

    /// What a path serves.
    struct Methods {
        var read: Route?
        var post: Request?
        /// What `POST` does without a body.
        var action: Request?
        var patch: Request?
        var delete: Request?

        /// The value of `Allow`.
        var allow: String {
            [
                read.map { _ in "GET, HEAD" }, (post ?? action).map { _ in "POST" }, patch.map { _ in "PATCH" },
                delete.map { _ in "DELETE" }, "OPTIONS",
            ].compactMap { $0 }.joined(separator: ", ")
        }
    }

    private static func methods(
        _ path: [String], _ query: Query, _ lastEventID: String?, _ servesEcho: Bool
    ) throws(BadQuery) -> Methods? {
        switch path.first {
        case "health" where path.count == 1: return Methods(read: .askWithHealth(.health) { .health($0) })
        case "metrics" where path.count == 1: return Methods(read: .askWithHealth(.metrics) { .metrics($0) })
        case "ws" where path.count == 1: return Methods(read: .socket(agent: try query.agent()))
        case "ws" where path.count == 2 && path[1] == "echo" && servesEcho: return Methods(read: .echo)
        case "api": break
        default: return nil
        }
        // Slashes inside a scope may come unencoded where nothing else can follow.
        let rest = path.dropFirst(3).joined(separator: "/")
        switch (path.dropFirst().first, path.count) {
        case ("events", 2):
            return Methods(read: .ask(.events(try query.page(default: defaultLimit))), post: .postEvent)
        case ("events", 3): return Methods(read: .ask(.event(id: path[2])))
        case ("events", 4...) where path[2] == "scope" && !rest.isEmpty:
            return Methods(read: .ask(.eventsInScope(rest, try query.page(default: maximumLimit))))
        case ("events", 4...) where path[2] == "trace" && !rest.isEmpty:
            return Methods(read: .ask(.eventsInTrace(rest, try query.page(default: maximumLimit))))
        case ("events", 4...) where path[2] == "topic" && !rest.isEmpty:
            return Methods(read: .ask(.eventsOnTopic(rest, try query.page(default: maximumLimit))))
        case ("stream", 2): return Methods(read: .ask(.stream(try query.wish(lastEventID: lastEventID))))
        case ("groups", 2): return Methods(read: .ask(.groups))
        case ("groups", 3): return Methods(read: .ask(.groupNamed(path[2])), delete: .deleteGroup(path[2]))
        case ("groups", 4) where path[3] == "ack": return Methods(post: .ackGroup(path[2]))
        case ("groups", 4) where path[3] == "nack": return Methods(post: .nackGroup(path[2]))
        case ("presence", 2): return Methods(read: .ask(.presence))
        case ("presence", 3): return Methods(read: .ask(.presenceOf(agent: path[2])))
        case ("signals", 2):
            let request = Request.signals(
                scope: query["scope"], pattern: query["pattern"], minimumStrength: try query.strength(),
                at: try query.moment())
            return Methods(read: .ask(request))
        case ("signals", 4):
            return Methods(read: .ask(.signal(scope: path[2], pattern: path[3], at: try query.moment())))
        case ("nodes", 2):
            return Methods(read: .ask(.nodes(limit: try query.page(default: defaultLimit).limit)), post: .postNode)
        case ("nodes", 3):
            return Methods(
                read: .ask(.node(id: path[2])), patch: .patchNode(id: path[2]), delete: .deleteNode(id: path[2]))
        case ("nodes", 4) where path[3] == "edges": return Methods(post: .postEdge(node: path[2]))
        case ("nodes", 5) where path[3] == "edges":
            return Methods(delete: .deleteEdges(node: path[2], to: path[4], type: query["type"]))
        case ("bus", 3...): return try bus(Array(path.dropFirst(2)), query)
        case ("request", 2):
            return Methods(post: .bus(.request(timeoutMs: try query.number("timeout_ms").map { UInt64($0) })))
        case ("cluster", 2): return Methods(read: .ask(.cluster))
        default: return nil
        }
    }

    /// Bodies are JSON and say so; `other` is one more name for what this route takes.
    private static func takesJSON(
        _ head: HTTPHead, _ bytes: RawSpan, _ request: Request, or other: StaticString? = nil
    ) -> Route {
        let type = bytes.extracting(head.contentType.range)
        let isJSON = isType(type, "application/json") || other.map { isType(type, $0) } ?? false
        if isJSON { return .ask(request) }
        let found = PercentEncoding.decode(bytes, head.contentType.range).map {
            $0.isEmpty ? "none" : "\"\($0.prefix(64))\""
        }
        return .refuse(
            status: 415,
            message: "the body must be JSON: send Content-Type: application/json (found \(found ?? "none"))",
            allow: nil)
    }

    /// Whether a `Content-Type` names this one, whatever its parameters.
    private static func isType(_ type: RawSpan, _ expected: StaticString) -> Bool {
        type.withUnsafeBytes { type in
            guard type.count >= expected.utf8CodeUnitCount else { return false }
            for i in 0..<expected.utf8CodeUnitCount where type[i] | 0x20 != expected.utf8Start[i] | 0x20 {
                return false
            }
            guard type.count > expected.utf8CodeUnitCount else { return true }
            let next = type[expected.utf8CodeUnitCount]
            return next == UInt8(ascii: ";") || next == UInt8(ascii: " ") || next == UInt8(ascii: "\t")
        }
    }

    private static func isEvents(_ bytes: RawSpan, _ path: Range<Int>) -> Bool {
        let expected: StaticString = "/api/events"
        guard path.count == expected.utf8CodeUnitCount else { return false }
        for i in 0..<path.count
        where bytes.unsafeLoad(fromByteOffset: path.lowerBound + i, as: UInt8.self) != expected.utf8Start[i] {
            return false
        }
        return true
    }

    private static func segments(_ bytes: RawSpan, _ path: Range<Int>) -> [String]? {
        var found: [String] = []
        var isValid = true
        PercentEncoding.forEachSegment(bytes, path) { range in
            if let text = PercentEncoding.decode(bytes, range) { found.append(text) } else { isValid = false }
        }
        return isValid ? found : nil
    }

    private static func shown(_ path: [String]) -> String { "/" + path.joined(separator: "/").prefix(128) }
}

/// A query parameter is not what it should be.
struct BadQuery: Error {
    let message: String
}

/// The parameters of a query, decoded; the last of several with one name counts, unknown ones are ignored.
struct Query {
    private var values: [String: String] = [:]

    /// Nil if an escape is malformed.
    init?(_ bytes: RawSpan, _ query: Range<Int>) {
        var isValid = true
        PercentEncoding.forEachParameter(bytes, query) { name, value in
            guard let name = PercentEncoding.decode(bytes, name, plusIsSpace: true),
                let value = PercentEncoding.decode(bytes, value, plusIsSpace: true)
            else {
                isValid = false
                return
            }
            values[name] = value
        }
        if !isValid { return nil }
    }

    subscript(name: String) -> String? { values[name] }

    func page(default limit: Int) throws(BadQuery) -> Request.Page {
        guard let text = values["limit"] else { return Request.Page(limit: limit, before: values["before"]) }
        guard let wanted = Int(text), wanted > 0 else {
            throw refusal("limit", "a whole number from 1 to \(Route.maximumLimit)", text)
        }
        return Request.Page(limit: min(wanted, Route.maximumLimit), before: values["before"])
    }

    /// A whole number from 1 on; nil if it is not given.
    func number(_ name: String) throws(BadQuery) -> Int? {
        guard let text = values[name] else { return nil }
        guard let number = Int(text), number > 0 else { throw refusal(name, "a whole number from 1 on", text) }
        return number
    }

    /// Who connects.
    func agent() throws(BadQuery) -> String? {
        guard let agent = values["agent"] else { return nil }
        guard (1...1_024).contains(agent.utf8.count) else { throw refusal("agent", "1 to 1024 bytes", agent) }
        return agent
    }

    /// What a stream is to show. Where a browser connects again it says how far it has got in a header, and the address is
    /// still the first one.
    func wish(lastEventID: String?) throws(BadQuery) -> Request.StreamWish {
        func list(_ name: String) -> [String] {
            (values[name] ?? "").split(separator: ",").map { String($0) }
        }
        var wish = Request.StreamWish()
        (wish.scope, wish.topic) = (values["scope"], values["topic"])
        (wish.types, wish.agents) = (list("types"), list("agents"))
        wish.cursor = lastEventID.flatMap { $0.isEmpty ? nil : $0 } ?? values["cursor"]
        wish.agent = try agent()
        wish.group = values["group"]
        for name in ["ack_deadline_ms", "max_attempts", "max_in_flight", "dead_letter_topic", "takeover"] {
            wish.options[name] = values[name]
        }
        switch values["ack"] {
        case nil, "auto": break
        case "manual": wish.acksByHand = true
        case let other?: throw refusal("ack", "auto or manual", other)
        }
        return wish
    }

    func strength() throws(BadQuery) -> Double? {
        guard let text = values["min_strength"] else { return nil }
        // `Double` reads hexadecimal too, which nobody means here.
        guard text.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }), let value = Double(text), value >= 0,
            value <= 1
        else {
            throw refusal("min_strength", "a number from 0 to 1", text)
        }
        return value
    }

    func moment() throws(BadQuery) -> UInt64? {
        guard let text = values["at"] else { return nil }
        guard let value = UInt64(text), value < 1 << 47 else {
            throw refusal("at", "milliseconds since 1970-01-01 UTC", text)
        }
        return value
    }

    func refusal(_ name: String, _ expected: String, _ found: String) -> BadQuery {
        BadQuery(
            message: "Validation error: query parameter \(name): expected \(expected), found \"\(found.prefix(64))\"")
    }
}
