internal import NodeCore

/// The table of routes as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1).
enum OpenAPI {
    static let document = JSONValue.object([
        ("openapi", .string("3.1.0")),
        (
            "info",
            .object([
                ("title", .string("Hypha")), ("version", .string(NodeCore.version)),
                ("summary", .string("A peer node for clusters of AI agents")), ("description", .string(about)),
                ("license", .object([("name", .string("MIT")), ("identifier", .string("MIT"))])),
            ])
        ),
        (
            "servers",
            .array([
                .object([("url", .string("/")), ("description", .string("This node; any other answers the same."))])
            ])
        ),
        ("tags", .array(Endpoint.Tag.allCases.map { .object([("name", .string($0.rawValue))]) })),
        ("paths", .object(paths)),
        (
            "components",
            .object([
                ("schemas", .object(API.schemas.map { ($0.name, $0.schema.json) })),
                ("parameters", .object(Reference.parameters.map { ($0.key, parameter($0.parameter)) })),
                ("headers", .object(Reference.headers.map { ($0.name, header($0)) })),
            ])
        ),
    ])

    static let about = """
        Agents talk to any node and see the whole cluster. Answers are JSON; refusals carry `message`, which says what to \
        do. Writes are answered once this node has them, or as many nodes as `ack` asks for; send `Hypha-Clock` of an \
        answer with the next request, and any node answers it as if it had been there.
        """

    private static let paths: [(key: String, value: JSONValue)] = {
        var order: [String] = []
        var operations: [String: [(key: String, value: JSONValue)]] = [:]
        for endpoint in API.endpoints {
            if operations[endpoint.template] == nil { order.append(endpoint.template) }
            operations[endpoint.template, default: []].append(
                (endpoint.method.word.lowercased(), operation(endpoint)))
        }
        return order.map { ($0, .object(operations[$0] ?? [])) }
    }()

    private static func operation(_ endpoint: Endpoint) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("operationId", .string(endpoint.operationID)), ("tags", .array([.string(endpoint.tag.rawValue)])),
            ("summary", .string(endpoint.summary)),
        ]
        if !endpoint.about.isEmpty { members.append(("description", .string(endpoint.about))) }
        let common = endpoint.commonParameters.map { reference("parameters", $0) }
        let parameters = endpoint.parameters.map(parameter) + common
        if !parameters.isEmpty { members.append(("parameters", .array(parameters))) }
        if let body = endpoint.body {
            let content = JSONValue.object([("schema", body.schema.json)])
            let types = ["application/json"] + endpoint.otherTypes
            members.append(
                (
                    "requestBody",
                    .object([("required", .bool(body.isRequired)), ("content", .object(types.map { ($0, content) }))])
                ))
        }
        members.append(("responses", .object(endpoint.allAnswers.map { ("\($0.status)", answer($0, of: endpoint)) })))
        return .object(members)
    }

    private static func answer(_ answer: Endpoint.Answer, of endpoint: Endpoint) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [("description", .string(answer.about))]
        let headers = endpoint.headers(of: answer)
        if !headers.isEmpty {
            members.append(("headers", .object(headers.map { ($0, reference("headers", $0)) })))
        }
        if let schema = answer.schema {
            members.append(("content", .object([(answer.type, .object([("schema", schema.json)]))])))
        }
        return .object(members)
    }

    private static func parameter(_ parameter: Endpoint.Parameter) -> JSONValue {
        .object([
            ("name", .string(parameter.name)), ("in", .string(parameter.place.rawValue)),
            ("description", .string(parameter.about)), ("required", .bool(parameter.isRequired)),
            ("schema", parameter.schema.json),
        ])
    }

    private static func header(_ header: Reference.Header) -> JSONValue {
        .object([("description", .string(header.about)), ("schema", header.schema.json)])
    }

    static func reference(_ kind: String, _ name: String) -> JSONValue {
        .object([("$ref", .string("#/components/\(kind)/\(name)"))])
    }
}

extension Schema {
    /// As JSON Schema 2020-12.
    var json: JSONValue {
        switch self {
        case .text(let format, let choices, let length, let pattern, let about):
            .object(
                [("type", .string("string"))] + (format.map { [("format", .string($0))] } ?? [])
                    + (choices.isEmpty ? [] : [("enum", .array(choices.map { .string($0) }))])
                    + Self.bounds(length, "minLength", "maxLength")
                    + (pattern.map { [("pattern", .string($0))] } ?? []) + Self.described(about))
        case .integer(let range, let about):
            .object([("type", .string("integer"))] + Self.bounds(range, "minimum", "maximum") + Self.described(about))
        case .number(let range, let about):
            .object(
                [("type", .string("number"))]
                    + (range.map {
                        [("minimum", .number("\($0.lowerBound)")), ("maximum", .number("\($0.upperBound)"))]
                    } ?? []) + Self.described(about))
        case .boolean(let about): .object([("type", .string("boolean"))] + Self.described(about))
        case .array(let element, let length):
            .object(
                [("type", .string("array")), ("items", element.json)] + Self.bounds(length, "minItems", "maxItems"))
        case .object(let properties, let isOpen, let names): Self.object(properties, isOpen: isOpen, names)
        case .map(let value): .object([("type", .string("object")), ("additionalProperties", value.json)])
        case .named(let name): OpenAPI.reference("schemas", name)
        case .anyOf(let schemas): .object([("anyOf", .array(schemas.map(\.json)))])
        case .optional(let schema): .object([("anyOf", .array([schema.json, .object([("type", .string("null"))])]))])
        case .any: .object([])
        }
    }

    private typealias Members = [(key: String, value: JSONValue)]

    private static func object(
        _ properties: [Property], isOpen: Bool, _ names: ClosedRange<Int>?
    ) -> JSONValue {
        var members: Members = [("type", .string("object"))]
        if !properties.isEmpty {
            members.append(("properties", .object(properties.map { ($0.name, $0.json) })))
        }
        let required = properties.filter(\.isRequired).map { JSONValue.string($0.name) }
        if !required.isEmpty { members.append(("required", .array(required))) }
        let lengths = Self.bounds(names, "minLength", "maxLength")
        if !lengths.isEmpty { members.append(("propertyNames", .object(lengths))) }
        if !isOpen { members.append(("additionalProperties", .bool(false))) }
        return .object(members)
    }

    private static func bounds(_ range: ClosedRange<Int>?, _ least: String, _ most: String) -> Members {
        guard let range else { return [] }
        // A length without a bound is not one with a great one; of numbers it is the greatest that can be read.
        if range.upperBound == Int.max, most != "maximum" { return [(least, .number("\(range.lowerBound)"))] }
        return [(least, .number("\(range.lowerBound)")), (most, .number("\(range.upperBound)"))]
    }

    private static func described(_ about: String) -> Members {
        about.isEmpty ? [] : [("description", .string(about))]
    }
}

extension Schema.Property {
    /// The schema with what is said of this member; beside a reference that is allowed since OpenAPI 3.1.
    fileprivate var json: JSONValue {
        guard !about.isEmpty, case .object(let members) = schema.json else { return schema.json }
        return .object(members.filter { $0.key != "description" } + [("description", .string(about))])
    }
}
