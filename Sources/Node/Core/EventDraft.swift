import CRDT

/// An event as a client sent it: validated, not yet accepted.
struct EventDraft {
    /// The most bytes of `scope`, `trace_id`, `agent_id`, `pattern` and `action`.
    static let maximumTextBytes = 1_024
    /// The most entries of `parent_ids`.
    static let maximumParents = 1_024

    let fields: EventFields
    let id: UUID?
    let type: EventType
    let scope: JSONScanner.Value
    let trace: JSONScanner.Value
    let agent: JSONScanner.Value
    let payload: JSONScanner.Value
    /// `payload.pattern`, else `payload.action`.
    let pattern: JSONScanner.Value?

    /// Checks a request's body.
    init(_ fields: EventFields, _ bytes: RawSpan) throws(NodeError) {
        self.fields = fields
        type = try Self.type(fields[.type], bytes)
        scope = try Self.text(fields[.scope], "scope")
        trace = try Self.text(fields[.traceID], "trace_id")
        agent = try Self.text(fields[.agentID], "agent_id")
        guard let payload = fields[.payload] else { throw .invalid(field: "payload", "required, an object") }
        guard payload.kind == .object else {
            throw .invalid(field: "payload", "expected an object, found \(payload.kind.phrase)")
        }
        self.payload = payload
        id = try Self.id(fields[.id], bytes)
        try Self.checkParents(fields)

        let details = fields.payload
        let action = try Self.name(details.action, "payload.action")
        let own = try Self.name(details.pattern, "payload.pattern")
        pattern = own ?? action
        if type == .reward || type == .penalty {
            guard let value = details.value else {
                throw .invalid(field: "payload.value", "required for a reward or penalty, a number")
            }
            guard value.kind == .number else {
                throw .invalid(field: "payload.value", "expected a number, found \(value.kind.phrase)")
            }
            if type == .reward, let alpha = details.alpha, alpha.kind != .number, alpha.kind != .null {
                throw .invalid(field: details.alphaName, "expected a number, found \(alpha.kind.phrase)")
            }
        }
    }

    private static func type(_ value: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> EventType {
        let expected = "one of proposal, ready, test, reward, penalty"
        guard let value else { throw .invalid(field: "type", "required, \(expected)") }
        guard value.kind == .string else {
            throw .invalid(field: "type", "expected \(expected), found \(value.kind.phrase)")
        }
        for type in EventType.allCases where EventFields.matches(value, type.word, bytes) { return type }
        throw .invalid(field: "type", "expected \(expected), found \"\(JSONText.text(value, bytes).prefix(64))\"")
    }

    static func text(_ value: JSONScanner.Value?, _ field: StaticString) throws(NodeError) -> JSONScanner.Value {
        guard let value else { throw .invalid(field: field, "required, a non-empty string") }
        guard value.kind == .string else {
            throw .invalid(field: field, "expected a non-empty string, found \(value.kind.phrase)")
        }
        guard !value.inner.isEmpty else { throw .invalid(field: field, "must not be empty") }
        guard value.inner.count <= maximumTextBytes else {
            throw .invalid(field: field, "longer than \(maximumTextBytes) bytes; put long texts into the payload")
        }
        return value
    }

    /// What may name a signal. A payload is the client's own: what is no name there, as null or an object, names none.
    private static func name(_ value: JSONScanner.Value?, _ field: StaticString) throws(NodeError) -> JSONScanner.Value?
    {
        guard let value, value.kind == .string, !value.inner.isEmpty else { return nil }
        return try text(value, field)
    }

    static func id(_ value: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> UUID? {
        guard let value else { return nil }
        guard value.kind == .string, let id = UUID(bytes.extracting(value.inner)) else {
            throw .invalid(
                field: "id",
                "expected a UUID such as 0190b5e2-7c1a-4d3e-9f00-1234567890ab; leave it out to get one made")
        }
        return id
    }

    private static func checkParents(_ fields: EventFields) throws(NodeError) {
        guard let list = fields[.parentIDs] else { return }
        guard list.kind == .array else {
            throw .invalid(field: "parent_ids", "expected an array of event ids, found \(list.kind.phrase)")
        }
        guard !fields.hasForeignParent, fields.parents.allSatisfy({ !$0.inner.isEmpty && $0.inner.count <= 256 }) else {
            throw .invalid(field: "parent_ids", "every entry must be an event id, a string of 1 to 256 bytes")
        }
        guard fields.parents.count <= maximumParents else {
            throw .invalid(field: "parent_ids", "more than \(maximumParents) entries")
        }
    }

    /// The parents that can be ids of events.
    func parents(_ bytes: RawSpan) -> [UUID?] { fields.parents.map { UUID(bytes.extracting($0.inner)) } }

    /// The signals that the event itself names; nil if it names none and is to take those of others.
    func ownPatterns(_ bytes: RawSpan) -> [[UInt8]]? {
        if let pattern { return [JSONText.canonical(pattern, bytes)] }
        return type == .reward || type == .penalty ? nil : []
    }

    /// Writes the event as this node accepts it into an empty buffer, and says where its parts lie, just as reading it
    /// would. What the client said stands together and first, so that two copies of an event can be compared as bytes.
    func render(
        _ bytes: RawSpan, id: UUID, accepted: Acceptance, into out: inout [UInt8]
    ) -> EventView {
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        let contentStart = out.count + 1
        out.append(constant: "\",\"type\":\"")
        let typeStart = out.count
        out.append(constant: type.word)
        let typeEnd = out.count
        out.append(constant: "\",\"scope\":\"")
        let scopeRange = out.append(canonical: scope, bytes)
        out.append(constant: "\",\"trace_id\":\"")
        let traceRange = out.append(canonical: trace, bytes)
        out.append(constant: "\",\"agent_id\":\"")
        let agentRange = out.append(canonical: agent, bytes)
        out.append(constant: "\",\"parent_ids\":[")
        for (i, parent) in fields.parents.enumerated() {
            out.append(constant: i == 0 ? "\"" : ",\"")
            JSONText.canonical(parent, bytes, into: &out)
            out.append(UInt8(ascii: "\""))
        }
        out.append(constant: "],\"payload\":")
        JSONText.compact(payload, bytes, into: &out)
        out.append(extras: fields.extras, bytes)
        let contentEnd = out.count + 1
        accepted.render(into: &out)
        out.append(constant: ",\"signals\":")
        let signalsStart = out.count
        out.append(UInt8(ascii: "["))
        for (i, pattern) in accepted.signals.enumerated() {
            out.append(constant: i == 0 ? "\"" : ",\"")
            out.append(contentsOf: pattern)
            out.append(UInt8(ascii: "\""))
        }
        out.append(constant: "]}")
        return EventView(
            id: id, surface: .semp, type: type, typeText: typeStart..<typeEnd, address: scopeRange,
            trace: traceRange, agent: agentRange,
            content: contentStart..<contentEnd, signals: signalsStart..<out.count - 1,
            operation: fields.payload.operation(of: type, bytes))
    }

    /// What the accepting node adds.
    struct Acceptance {
        let stamp: HybridTimestamp
        let sequence: UInt64
        /// The node's name as canonical JSON text.
        let origin: [UInt8]
        /// The patterns touched, as canonical JSON texts.
        let signals: [[UInt8]]

        /// Appends what events of every surface get, as members behind others.
        func render(into out: inout [UInt8]) {
            out.append(constant: ",\"timestamp\":\"")
            ISOTime.write(milliseconds: stamp.milliseconds, into: &out)
            out.append(constant: "\",\"origin\":\"")
            out.append(contentsOf: origin)
            out.append(constant: "\",\"replica\":\"")
            out.append(hex: stamp.replica.rawValue, digits: 16)
            out.append(constant: "\",\"seq\":")
            out.append(json: sequence)
            out.append(constant: ",\"stamp\":\"")
            out.append(hex: stamp.time, digits: 16)
            out.append(UInt8(ascii: "-"))
            out.append(hex: stamp.replica.rawValue, digits: 16)
            out.append(UInt8(ascii: "\""))
        }
    }
}
