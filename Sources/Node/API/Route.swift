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
    /// What the reference says.
    case reference(Reference)
    /// Nothing of the kind is here. `allow` lists the methods that are, for 405.
    case refuse(status: UInt16, message: String, allow: String?)

    /// Under what it is counted.
    var group: RouteGroup {
        switch self {
        case .ask(let request): request.group
        case .askWithHealth(let group, _): group
        case .socket, .echo: .socket
        case .preflight: .preflight
        case .reference: .reference
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
        guard isValid(bytes, head.path.range) else {
            return .refuse(status: 400, message: "the path is not valid percent-encoded UTF-8", allow: nil)
        }
        guard let query = Query(bytes, head.query.range) else {
            return .refuse(status: 400, message: "the query is not valid percent-encoded UTF-8", allow: nil)
        }
        let router = servesEcho ? Router.withTests : Router.whole
        guard let match = router.find(bytes, head.path.range) else {
            return .refuse(
                status: 404, message: "no route \(shown(bytes, head.path.range)); see /docs for the API", allow: nil)
        }
        guard let (endpoint, values) = match.endpoint(head.method == .head ? .get : head.method, bytes) else {
            let method = PercentEncoding.decode(bytes, head.methodName.range) ?? "this method"
            return .refuse(
                status: 405,
                message: "\(method.prefix(32)) is not served at \(shown(bytes, head.path.range)); use \(match.allow)",
                allow: match.allow)
        }
        do {
            let route = try endpoint.make(values, query, Caller(head, bytes, query, of: endpoint))
            guard case .ask(let request) = route, let body = endpoint.body else { return route }
            // Whoever has nothing to say need not say in which form.
            if !body.isRequired, head.contentType.isEmpty { return route }
            return takesJSON(head, bytes, request, or: endpoint.otherTypes)
        } catch {
            let message = (error as? BadQuery)?.message ?? "\(error)"
            return .refuse(status: endpoint.tag.isSoorma ? 422 : 400, message: message, allow: nil)
        }
    }

    /// Bodies are JSON and say so; `others` are more names for what this route takes.
    private static func takesJSON(
        _ head: HTTPHead, _ bytes: RawSpan, _ request: Request, or others: [String] = []
    ) -> Route {
        let type = bytes.extracting(head.contentType.range)
        let isJSON = isType(type, json) || others.contains { isType(type, Array($0.utf8)) }
        if isJSON { return .ask(request) }
        let found = PercentEncoding.decode(bytes, head.contentType.range).map {
            $0.isEmpty ? "none" : "\"\($0.prefix(64))\""
        }
        return .refuse(
            status: 415,
            message: "the body must be JSON: send Content-Type: application/json (found \(found ?? "none"))",
            allow: nil)
    }

    private static let json = Array("application/json".utf8)

    /// Whether a `Content-Type` names this one, whatever its parameters.
    private static func isType(_ type: RawSpan, _ expected: [UInt8]) -> Bool {
        type.withUnsafeBytes { type in
            guard type.count >= expected.count else { return false }
            for i in 0..<expected.count where type[i] | 0x20 != expected[i] | 0x20 { return false }
            guard type.count > expected.count else { return true }
            let next = type[expected.count]
            return next == UInt8(ascii: ";") || next == UInt8(ascii: " ") || next == UInt8(ascii: "\t")
        }
    }

    /// Whether a path is one of those that Soorma SDKs use, where refusals are told in their form, too.
    static func isSoorma(_ head: HTTPHead, _ bytes: RawSpan) -> Bool {
        let path = bytes.extracting(head.path.range)
        return path.withUnsafeBytes { $0.starts(with: "/v1/".utf8) }
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

    /// Whether a path is percent-encoded UTF-8. Plain ASCII is, and need not be decoded for that.
    private static func isValid(_ bytes: RawSpan, _ path: Range<Int>) -> Bool {
        for at in path {
            let byte = bytes.unsafeLoad(fromByteOffset: at, as: UInt8.self)
            if byte == UInt8(ascii: "%") || byte >= 0x80 { return PercentEncoding.decode(bytes, path) != nil }
        }
        return true
    }

    private static func shown(_ bytes: RawSpan, _ path: Range<Int>) -> String {
        String((PercentEncoding.decode(bytes, path) ?? "").prefix(128))
    }
}

extension Caller {
    /// Reads what a request says of its sender. Who cannot be read is nobody that may be taken for an operator.
    init(_ head: HTTPHead, _ bytes: RawSpan, _ query: Query, of endpoint: Endpoint) throws(BadQuery) {
        if endpoint.asksWho {
            var named = try query.agent()
            if let header = head.header("hypha-agent", in: bytes) {
                let text = PercentEncoding.decode(bytes, header)
                let isPlain = header.allSatisfy { bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self) >= 0x20 }
                guard let text, isPlain, (1...1_024).contains(text.utf8.count) else {
                    throw BadQuery(message: "Hypha-Agent: expected an agent's id, 1 to 1024 bytes, percent-encoded")
                }
                named = text
            }
            asker = Asker(named)
        }
        func text(_ range: Range<Int>) -> String {
            bytes.extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        }
        if endpoint.tag.isSoorma {
            func name(_ given: String?, _ place: String) throws(BadQuery) -> String? {
                guard let given, !given.isEmpty else { return nil }
                guard given.utf8.count <= 256 else { throw BadQuery(message: "\(place): expected at most 256 bytes") }
                return given
            }
            let user = try name(head.header("x-user-id", in: bytes).map(text), "X-User-ID")
            let other = try name(query["user_id"], "query parameter user_id")
            let tenant = try name(head.header("x-tenant-id", in: bytes).map(text), "X-Tenant-ID")
            tenancy = Tenancy(tenant: tenant, user: user ?? other)
        }
        lastEventID = head.header("last-event-id", in: bytes).map(text)
        wantsPage = head.header("accept", in: bytes).map { text($0).contains("text/html") } ?? false
    }
}

extension Endpoint {
    /// Names of what its body may be besides `application/json`.
    var otherTypes: [String] {
        guard let body else { return [] }
        return body.otherTypes + (method == .patch ? ["application/merge-patch+json"] : [])
    }
}
