import CRDT

/// Soorma's envelope of an event: CloudEvents 1.0 with members of its own, in snake case. Here it is a bus event whose
/// further members are kept as they are.
enum Envelope {
    /// Members that clients may also write in camel case.
    private static let camel: [String: String] = [
        "correlationId": "correlation_id", "responseEvent": "response_event", "responseTopic": "response_topic",
        "responseSchemaName": "response_schema_name", "traceId": "trace_id", "parentEventId": "parent_event_id",
        "payloadSchemaName": "payload_schema_name", "tenantId": "tenant_id", "userId": "user_id",
        "sessionId": "session_id", "goalId": "goal_id", "planId": "plan_id",
    ]
    /// Members that are texts.
    private static let texts = [
        "subject", "specversion", "time", "trace_id", "parent_event_id", "response_schema_name", "payload_schema_name",
        "tenant_id", "user_id", "session_id", "goal_id", "plan_id",
    ]
    /// Where the id is kept that a client gave if it is no UUID.
    static let givenID = "given_id"

    /// Reads the body of a publication: the bus event that it becomes, and its id as the client has it, if it gave one.
    static func read(_ bytes: RawSpan) throws(NodeError) -> (event: [UInt8], id: String?) {
        guard let members = try Body(bytes).object("event") else {
            throw .invalid(field: "event", "required, the event to publish: {\"event\": {\"type\": …, \"topic\": …}}")
        }
        var found: [(key: String, value: JSONValue)] = []
        var seen: Set<String> = []
        for (key, value) in members {
            if case .null = value { continue }
            let name = camel[key] ?? key
            // What only the service says.
            guard name != "platform_tenant_id", name != "platformTenantId", name != givenID else { continue }
            guard seen.insert(name).inserted else {
                throw .invalid("event.\(name.prefix(64)): stands twice in the event")
            }
            found.append((name, value))
        }
        for (key, value) in found where texts.contains(key) && value.string == nil {
            throw .invalid("event.\(key): expected a string, found \(value.phrase)")
        }
        let topic = found.first { $0.key == "topic" }?.value
        guard let topic, let text = topic.string, SoormaTopic(rawValue: text) != nil else {
            throw .invalid(
                field: "event.topic",
                "\(topic.map { "found \($0.string.map { "\"\($0.prefix(64))\"" } ?? $0.phrase), " } ?? "")expected one of "
                    + SoormaTopic.all)
        }
        if let data = found.first(where: { $0.key == "data" })?.value, case .object = data {
        } else if seen.contains("data") {
            throw .invalid(field: "event.data", "expected an object")
        }
        let at = found.firstIndex { $0.key == "id" }
        guard let at else { return (JSONValue.object(found).encoded(), nil) }
        guard let id = found[at].value.string, (1...1_024).contains(id.utf8.count) else {
            throw .invalid(field: "event.id", "expected a string of 1 to 1024 bytes, best a UUID")
        }
        if UUID(id) == nil {
            // The same id is the same event, whatever it looks like.
            let name = Array(id.utf8)
            let computed = UUID(computed: XXH64.hash(name.span.bytes), XXH64.hash(name.span.bytes, seed: 1))
            found[at].value = .string(computed.text)
            found.append((givenID, .string(id)))
        }
        return (JSONValue.object(found).encoded(), id)
    }

    /// Appends a bus event as an envelope: what Soorma requires and the event does not have comes from what its node has
    /// added.
    static func append(_ json: RawSpan, into out: inout [UInt8]) {
        guard let fields = try? BusFields(json) else { return out.append(copying: json) }
        func extra(_ name: StaticString) -> JSONScanner.Value? {
            fields.extras.first { EventFields.matches($0.key, name, json) }?.value
        }
        let body = json.extracting(0..<json.byteCount - 1)
        if let given = extra("given_id"), let id = fields[.id] {
            out.append(copying: body.extracting(0..<id.range.lowerBound))
            out.append(copying: json.extracting(given.range))
            out.append(copying: body.extracting(id.range.upperBound..<body.byteCount))
        } else {
            out.append(copying: body)
        }
        if extra("specversion") == nil { out.append(constant: ",\"specversion\":\"1.0\"") }
        if extra("time") == nil, let time = fields[.timestamp] {
            out.append(constant: ",\"time\":")
            out.append(copying: json.extracting(time.range))
        }
        if fields[.correlationID] == nil, let id = extra("given_id") ?? fields[.id] {
            out.append(constant: ",\"correlation_id\":")
            out.append(copying: json.extracting(id.range))
        }
        out.append(UInt8(ascii: "}"))
    }

    /// The member `task_id` of an event's data, as canonical text, and the data themselves.
    static func task(_ fields: BusFields, _ json: RawSpan) -> (id: [UInt8]?, data: JSONScanner.Value?) {
        guard let data = fields[.data], data.kind == .object else { return (nil, nil) }
        var id: [UInt8]?
        var scanner = JSONScanner(data.range)
        _ = try? scanner.peek(json)
        _ = try? scanner.object(json) { (scanner, key) throws(JSONError) in
            let value = try scanner.value(json)
            if value.kind == .string, EventFields.matches(key, "task_id", json) {
                id = JSONText.canonical(value, json)
            }
        }
        return (id, data)
    }
}
