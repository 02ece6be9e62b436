import CRDT

/// A direct message as a client sent it: validated, not yet accepted.
struct MessageDraft {
    /// The most bytes of `sender`, `receiver`, `run_id` and `correlation_id`.
    static let maximumTextBytes = 1_024
    /// The receiver that means everybody.
    static let everybody: StaticString = "broadcast"
    static let defaultPriority: UInt8 = 5
    static let maximumPriority: UInt8 = 10

    let fields: MessageFields
    let id: UUID?
    let type: MessageType
    let sender: JSONScanner.Value
    let receiver: JSONScanner.Value
    let content: JSONScanner.Value
    let run: JSONScanner.Value?
    let correlation: JSONScanner.Value?
    let metadata: JSONScanner.Value?
    let priority: UInt8

    /// Reads and checks a request's body.
    init(_ bytes: RawSpan) throws(NodeError) {
        fields = try MessageFields(bytes)
        id = try Self.id(fields[.id], bytes)
        sender = try Self.text(fields[.sender], "sender")
        guard !EventFields.matches(sender, Self.everybody, bytes) else {
            throw .invalid(field: "sender", "\"broadcast\" is the receiver that means everybody, no agent")
        }
        receiver = try Self.text(fields[.receiver], "receiver")
        type = try Self.type(fields[.messageType], bytes)
        guard let content = fields[.content] else {
            throw .invalid(field: "content", "required, any JSON value")
        }
        self.content = content
        run = try Self.optionalText(fields[.runID], "run_id")
        correlation = try Self.optionalText(fields[.correlationID], "correlation_id")
        if let metadata = fields[.metadata], metadata.kind != .null {
            guard metadata.kind == .object else {
                throw .invalid(field: "metadata", "expected an object, found \(metadata.kind.phrase)")
            }
            self.metadata = metadata
        } else {
            metadata = nil
        }
        priority = try Self.priority(fields[.priority], bytes)
    }

    private static func id(_ value: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> UUID? {
        guard let value else { return nil }
        guard value.kind == .string, let id = UUID(bytes.extracting(value.inner)) else {
            throw .invalid(
                field: "id",
                "expected a UUID such as 0190b5e2-7c1a-4d3e-9f00-1234567890ab; leave it out to get one made")
        }
        return id
    }

    private static func text(_ value: JSONScanner.Value?, _ field: StaticString) throws(NodeError) -> JSONScanner.Value
    {
        guard let value else { throw .invalid(field: field, "required, a non-empty string") }
        guard value.kind == .string else {
            throw .invalid(field: field, "expected a non-empty string, found \(value.kind.phrase)")
        }
        guard !value.inner.isEmpty else { throw .invalid(field: field, "must not be empty") }
        guard value.inner.count <= maximumTextBytes else {
            throw .invalid(field: field, "longer than \(maximumTextBytes) bytes; put long texts into the content")
        }
        return value
    }

    private static func optionalText(
        _ value: JSONScanner.Value?, _ field: StaticString
    ) throws(NodeError) -> JSONScanner.Value? {
        guard let value, value.kind != .null else { return nil }
        return try text(value, field)
    }

    private static func type(_ value: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> MessageType {
        guard let value else { throw .invalid(field: "message_type", "required, \(MessageType.expected)") }
        guard value.kind == .string else {
            throw .invalid(field: "message_type", "expected \(MessageType.expected), found \(value.kind.phrase)")
        }
        for type in MessageType.allCases where EventFields.matches(value, type.word, bytes) { return type }
        throw .invalid(
            field: "message_type",
            "expected \(MessageType.expected), found \"\(JSONText.text(value, bytes).prefix(64))\"")
    }

    /// A whole number from 0 to 10, however it is written.
    static func priority(_ value: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> UInt8 {
        guard let value, value.kind != .null else { return defaultPriority }
        let number = value.kind == .number ? JSONText.double(bytes, value.range) : nil
        guard let number, number >= 0, number <= Double(maximumPriority), number == number.rounded(.down) else {
            throw .invalid(field: "priority", "expected a whole number from 0 to \(maximumPriority), 10 comes first")
        }
        return UInt8(number)
    }

    /// Writes the message as this node accepts it into an empty buffer. What the client said stands together and first,
    /// so that two copies of a message can be compared as bytes.
    func render(_ bytes: RawSpan, id: UUID, accepted: EventDraft.Acceptance, into out: inout [UInt8]) {
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        out.append(constant: "\",\"sender\":\"")
        JSONText.canonical(sender, bytes, into: &out)
        out.append(constant: "\",\"receiver\":\"")
        JSONText.canonical(receiver, bytes, into: &out)
        out.append(constant: "\",\"message_type\":\"")
        out.append(constant: type.word)
        out.append(constant: "\",\"content\":")
        JSONText.compact(content, bytes, into: &out)
        if let run {
            out.append(constant: ",\"run_id\":\"")
            JSONText.canonical(run, bytes, into: &out)
            out.append(UInt8(ascii: "\""))
        }
        if let correlation {
            out.append(constant: ",\"correlation_id\":\"")
            JSONText.canonical(correlation, bytes, into: &out)
            out.append(UInt8(ascii: "\""))
        }
        out.append(constant: ",\"metadata\":")
        if let metadata { JSONText.compact(metadata, bytes, into: &out) } else { out.append(constant: "{}") }
        out.append(constant: ",\"priority\":")
        out.append(json: Int(priority))
        for (key, value) in fields.extras {
            out.append(constant: ",\"")
            JSONText.canonical(key, bytes, into: &out)
            out.append(constant: "\":")
            JSONText.compact(value, bytes, into: &out)
        }
        out.append(constant: ",\"timestamp\":\"")
        ISOTime.write(milliseconds: accepted.stamp.milliseconds, into: &out)
        out.append(constant: "\",\"origin\":\"")
        out.append(contentsOf: accepted.origin)
        out.append(constant: "\",\"replica\":\"")
        out.append(hex: accepted.stamp.replica.rawValue, digits: 16)
        out.append(constant: "\",\"seq\":")
        out.append(json: accepted.sequence)
        out.append(constant: ",\"stamp\":\"")
        out.append(hex: accepted.stamp.time, digits: 16)
        out.append(UInt8(ascii: "-"))
        out.append(hex: accepted.stamp.replica.rawValue, digits: 16)
        out.append(constant: "\"}")
    }
}

/// What this node needs to know of a direct message in the form in which it is stored. Ranges point into that JSON.
struct MessageView: Equatable {
    let id: UUID
    let type: MessageType
    /// Canonical texts.
    let sender: Range<Int>
    let receiver: Range<Int>
    /// Empty where there is none.
    let correlation: Range<Int>
    let priority: UInt8
    /// What the client said: two copies of one message are equal there.
    let content: Range<Int>

    /// Reads a message that a node wrote. Nil for what no node writes: a peer's mistake.
    init?(_ json: RawSpan) {
        guard let fields = try? MessageFields(json), let idValue = fields[.id], let senderValue = fields[.sender],
            let receiverValue = fields[.receiver], let typeValue = fields[.messageType], idValue.kind == .string,
            senderValue.kind == .string, receiverValue.kind == .string, typeValue.kind == .string,
            let id = UUID(json.extracting(idValue.inner)),
            let type = MessageType.allCases.first(where: { EventFields.matches(typeValue, $0.word, json) }),
            let priority = try? MessageDraft.priority(fields[.priority], json),
            fields.timestampKey >= idValue.range.upperBound,
            !senderValue.inner.isEmpty, senderValue.inner.count <= 8 * MessageDraft.maximumTextBytes,
            !receiverValue.inner.isEmpty, receiverValue.inner.count <= 8 * MessageDraft.maximumTextBytes
        else { return nil }
        self.id = id
        self.type = type
        sender = senderValue.inner
        receiver = receiverValue.inner
        let correlationValue = fields[.correlationID]
        correlation = correlationValue?.kind == .string ? correlationValue?.inner ?? 0..<0 : 0..<0
        self.priority = priority
        content = idValue.range.upperBound..<fields.timestampKey
    }

    /// Whether it goes to all.
    func isBroadcast(_ json: RawSpan) -> Bool {
        json.extracting(receiver).withUnsafeBytes { $0.elementsEqual(Self.everybody) }
    }

    private static let everybody = Array("\(MessageDraft.everybody)".utf8)
}
