import CRDT

/// The members of a bus event.
enum BusField: Int, FieldName {
    case id, topic, type, source, correlationID, responseEvent, responseTopic, data
    // Ours from here on.
    case timestamp, origin, replica, seq, stamp

    static let subject: StaticString = "an event"

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

/// Where the fields of one bus event lie in its JSON.
typealias BusFields = NamedFields<BusField>

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
        correlation = try fields.optionalText(.correlationID)
        _ = try fields.optionalText(.responseEvent)
        if let response = try fields.optionalText(.responseTopic) {
            try Self.checkTopic(response, "response_topic", bytes)
        }
        id = try EventDraft.id(fields[.id], bytes)
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
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        let contentStart = out.count + 1
        out.append(UInt8(ascii: "\""))
        let topicRange = out.append(member: "topic", text: topic, bytes)
        let typeRange = out.append(member: "type", text: type, bytes)
        let sourceRange = out.append(member: "source", text: source, bytes)
        let correlationRange = correlation.map { out.append(member: "correlation_id", text: $0, bytes) } ?? 0..<0
        for name in [BusField.responseEvent, .responseTopic, .data] {
            guard let value = fields[name], name == .data || value.kind != .null else { continue }
            out.append(member: name.word, value, bytes)
        }
        out.append(extras: fields.extras, bytes)
        let contentEnd = out.count + 1
        accepted.render(into: &out)
        out.append(UInt8(ascii: "}"))
        return EventView(
            id: id, surface: .bus, typeText: typeRange, address: topicRange, agent: sourceRange,
            correlation: correlationRange, content: contentStart..<contentEnd)
    }
}
