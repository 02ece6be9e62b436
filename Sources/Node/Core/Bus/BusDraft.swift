import CRDT

/// Where the fields of one bus event lie in its JSON.
struct BusFields {
    enum Name: Int, CaseIterable {
        case id, topic, type, source, correlationID, responseEvent, responseTopic, data
        // Ours from here on: what a client sends under these names is replaced.
        case timestamp, origin, replica, seq, stamp

        var word: StaticString {
            switch self {
            case .id: "id"
            case .topic: "topic"
            case .type: "type"
            case .source: "source"
            case .correlationID: "correlation_id"
            case .responseEvent: "response_event"
            case .responseTopic: "response_topic"
            case .data: "data"
            case .timestamp: "timestamp"
            case .origin: "origin"
            case .replica: "replica"
            case .seq: "seq"
            case .stamp: "stamp"
            }
        }
    }

    private var known: InlineArray<13, JSONScanner.Value?> = .init(repeating: nil)
    /// Where the key `timestamp` starts: the end of what the client said, in an event that a node wrote.
    private(set) var timestampKey = 0
    /// Members that are kept though nobody here knows them.
    private(set) var extras: [(key: JSONScanner.Value, value: JSONScanner.Value)] = []

    subscript(name: Name) -> JSONScanner.Value? { known[name.rawValue] }

    /// Scans the one object that `bytes` must be.
    init(_ bytes: RawSpan) throws(NodeError) {
        try JSONScanner.oneObject(bytes, "an event") { (scanner, key) throws(JSONError) in
            let value = try scanner.value(bytes)
            guard let name = Name.allCases.first(where: { EventFields.matches(key, $0.word, bytes) }) else {
                guard extras.count < EventFields.maximumExtras else {
                    throw JSONError(offset: key.range.lowerBound, reason: "more than 256 unknown fields")
                }
                for (other, _) in extras where EventFields.isSame(other, key, bytes) { throw JSONError.twice(key) }
                return extras.append((key, value))
            }
            guard known[name.rawValue] == nil else { throw JSONError.twice(key) }
            if name == .timestamp { timestampKey = key.range.lowerBound }
            known[name.rawValue] = value
        }
    }
}

/// A bus event as a client sent it: validated, not yet accepted.
struct BusDraft {
    let fields: BusFields
    let id: UUID?
    let topic: JSONScanner.Value
    let type: JSONScanner.Value
    let source: JSONScanner.Value
    let correlation: JSONScanner.Value?

    /// Reads and checks a request's body.
    ///
    /// - Parameter isAnnounced: a node says it, who may speak on every topic.
    init(_ bytes: RawSpan, isAnnounced: Bool = false) throws(NodeError) {
        fields = try BusFields(bytes)
        topic = try EventDraft.text(fields[.topic], "topic")
        guard isAnnounced || !AnnouncedTopic.isReserved(JSONText.canonical(topic, bytes)) else {
            throw .invalid(
                field: "topic",
                "nodes alone publish here, what has happened to agents, chats, tasks and context; change "
                    + "those, or choose another topic")
        }
        try Self.checkTopic(topic, "topic", bytes)
        type = try EventDraft.text(fields[.type], "type")
        source = try EventDraft.text(fields[.source], "source")
        correlation = try Self.optional(fields[.correlationID], "correlation_id")
        _ = try Self.optional(fields[.responseEvent], "response_event")
        if let response = try Self.optional(fields[.responseTopic], "response_topic") {
            try Self.checkTopic(response, "response_topic", bytes)
        }
        id = try EventDraft.id(fields[.id], bytes)
    }

    /// Null says as much as nothing.
    private static func optional(
        _ value: JSONScanner.Value?, _ field: StaticString
    ) throws(NodeError) -> JSONScanner.Value? {
        guard let value, value.kind != .null else { return nil }
        return try EventDraft.text(value, field)
    }

    /// A topic is an address, not a pattern: nobody could ask for one event on `a.*` alone.
    private static func checkTopic(
        _ topic: JSONScanner.Value, _ field: StaticString, _ bytes: RawSpan
    ) throws(NodeError) {
        let pattern = AddressPattern(JSONText.canonical(topic, bytes))
        guard pattern?.address != nil else {
            throw .invalid(
                field: field, "expected segments between dots, as in tasks.build.done; * and > are for filters")
        }
    }

    /// Writes the event as this node accepts it into an empty buffer, and says where its parts lie, just as reading it
    /// would. What the client said stands together and first, so that two copies of an event can be compared as bytes.
    func render(_ bytes: RawSpan, id: UUID, accepted: EventDraft.Acceptance, into out: inout [UInt8]) -> EventView {
        func text(_ value: JSONScanner.Value, into out: inout [UInt8]) -> Range<Int> {
            let start = out.count
            JSONText.canonical(value, bytes, into: &out)
            return start..<out.count
        }
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        let contentStart = out.count + 1
        out.append(constant: "\",\"topic\":\"")
        let topicRange = text(topic, into: &out)
        out.append(constant: "\",\"type\":\"")
        let typeRange = text(type, into: &out)
        out.append(constant: "\",\"source\":\"")
        let sourceRange = text(source, into: &out)
        out.append(UInt8(ascii: "\""))
        var correlationRange = 0..<0
        if let correlation {
            out.append(constant: ",\"correlation_id\":\"")
            correlationRange = text(correlation, into: &out)
            out.append(UInt8(ascii: "\""))
        }
        for name in [BusFields.Name.responseEvent, .responseTopic, .data] {
            guard let value = fields[name], name == .data || value.kind != .null else { continue }
            out.append(constant: ",\"")
            out.append(constant: name.word)
            out.append(constant: "\":")
            JSONText.compact(value, bytes, into: &out)
        }
        for (key, value) in fields.extras {
            out.append(constant: ",\"")
            JSONText.canonical(key, bytes, into: &out)
            out.append(constant: "\":")
            JSONText.compact(value, bytes, into: &out)
        }
        let contentEnd = out.count + 1
        accepted.render(into: &out)
        out.append(UInt8(ascii: "}"))
        return EventView(
            id: id, surface: .bus, typeText: typeRange, address: topicRange, agent: sourceRange,
            correlation: correlationRange, content: contentStart..<contentEnd)
    }
}
