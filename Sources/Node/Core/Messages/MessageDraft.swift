import CRDT

/// A direct message as a client sent it: validated, not yet accepted.
struct MessageDraft {
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
        id = try EventDraft.id(fields[.id], bytes)
        sender = try EventDraft.text(fields[.sender], "sender")
        guard !EventFields.matches(sender, Self.everybody, bytes) else {
            throw .invalid(field: "sender", "\"broadcast\" is the receiver that means everybody, no agent")
        }
        receiver = try EventDraft.text(fields[.receiver], "receiver")
        type = try Self.type(fields[.messageType], bytes)
        guard let content = fields[.content] else {
            throw .invalid(field: "content", "required, any JSON value")
        }
        self.content = content
        run = try fields.optionalText(.runID)
        correlation = try fields.optionalText(.correlationID)
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

    private static func type(_ value: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> MessageType {
        guard let value else { throw .invalid(field: "message_type", "required, \(MessageType.expected)") }
        guard value.kind == .string else {
            throw .invalid(field: "message_type", "expected \(MessageType.expected), found \(value.kind.phrase)")
        }
        if let type = MessageType(value, bytes) { return type }
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

    /// Writes the message as this node accepts it into an empty buffer, and says where its parts lie, just as reading it
    /// would. What the client said stands together and first, so that two copies of a message can be compared as bytes.
    func render(_ bytes: RawSpan, id: UUID, accepted: EventDraft.Acceptance, into out: inout [UInt8]) -> EventView {
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        let contentStart = out.count + 1
        out.append(UInt8(ascii: "\""))
        let senderRange = out.append(member: "sender", text: sender, bytes)
        let receiverRange = out.append(member: "receiver", text: receiver, bytes)
        out.append(constant: ",\"message_type\":\"")
        let typeStart = out.count
        out.append(constant: type.word)
        let typeRange = typeStart..<out.count
        out.append(UInt8(ascii: "\""))
        out.append(member: "content", content, bytes)
        if let run { out.append(member: "run_id", text: run, bytes) }
        let correlationRange = correlation.map { out.append(member: "correlation_id", text: $0, bytes) } ?? 0..<0
        out.append(key: "metadata")
        if let metadata { JSONText.compact(metadata, bytes, into: &out) } else { out.append(constant: "{}") }
        out.append(key: "priority")
        out.append(json: Int(priority))
        out.append(extras: fields.extras, bytes)
        let contentEnd = out.count + 1
        accepted.render(into: &out)
        out.append(UInt8(ascii: "}"))
        return EventView(
            id: id, surface: .message, typeText: typeRange, address: receiverRange, agent: senderRange,
            correlation: correlationRange, content: contentStart..<contentEnd)
    }
}
