internal import NodeCore
internal import Transport

/// What a request may look like: made from the table, for the page that people read.
enum Example {
    /// The command that sends it to a node of this machine.
    static func curl(_ endpoint: Endpoint) -> String {
        var path = endpoint.template
        for parameter in endpoint.parameters where parameter.place == .path {
            path = path.split(separator: "{\(parameter.name)}", omittingEmptySubsequences: false).joined(
                separator: shown(parameter.schema, parameter.name).plain)
        }
        let query = endpoint.parameters.filter { $0.place == .query && $0.isRequired }.map { parameter in
            "\(parameter.name)=\(shown(parameter.schema, parameter.name).plain)"
        }
        let target = path + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
        let method = endpoint.method == .get ? "" : " -X \(endpoint.method.word)"
        let stream = endpoint.answers.contains { $0.type == "text/event-stream" } ? " -N" : ""
        var line = "curl -s\(stream)\(method) 'http://127.0.0.1:5000\(target)'"
        if let body = endpoint.body {
            let json = String(decoding: shown(body.schema, "").encoded(), as: UTF8.self)
            line += " \\\n  -H 'Content-Type: application/json' -d '\(json)'"
        }
        return line
    }

    /// A value of a schema, with the members that have to be there; `name` is what it is called where it stands.
    static func shown(_ schema: Schema, _ name: String, depth: Int = 0) -> JSONValue {
        switch schema {
        case .text(let format, let choices, _, let pattern, _):
            if let first = choices.first { return .string(first) }
            switch format {
            case "uuid": return .string("0190b5e2-7c1a-4d3e-9f00-1234567890ab")
            case "date-time": return .string("2026-01-31T12:00:00.000Z")
            default: return .string(texts[name] ?? (pattern == nil ? name : "x"))
            }
        case .integer(let range, _): return .number("\(range.map { max(1, $0.lowerBound) } ?? 1)")
        case .number(let range, _): return .number("\(range?.upperBound ?? 0.25)")
        case .boolean: return .bool(true)
        case .array(let element, _): return .array([shown(element, name, depth: depth + 1)])
        case .object(let properties, _, _):
            return .object(
                properties.filter(\.isRequired).map { ($0.name, shown($0.schema, $0.name, depth: depth + 1)) })
        case .map(let value): return .object([("key", shown(value, "value", depth: depth + 1))])
        case .named(let wanted):
            guard depth < 6, let found = API.schemas.first(where: { $0.name == wanted }) else { return .null }
            return shown(found.schema, name, depth: depth + 1)
        case .anyOf(let schemas): return schemas.first.map { shown($0, name, depth: depth + 1) } ?? .null
        case .optional(let schema): return shown(schema, name, depth: depth + 1)
        case .any: return .object([])
        }
    }

    /// What is easier to understand than a member's own name.
    private static let texts = [
        "scope": "ui.login", "pattern": "passkeys", "trace_id": "t1", "agent_id": "ada", "agent": "ada",
        "sender": "ada",
        "receiver": "bob", "source": "ada", "topic": "jobs.build", "type": "build", "name": "builders",
        "correlation_id": "job-1",
    ]
}
