import CRDT

/// The members of a message in a chat.
enum ChatField: Int, FieldName {
    case id, chatID, from, to, messageType, content, isPrivate, token, langchainContext
    // Ours from here on; what members have seen of it, and whether its sender was out, is said when it is read.
    case timestamp, origin, replica, seq, stamp, status, afterRemoval

    static let subject: StaticString = "a message"

    var word: StaticString {
        switch self {
        case .id: "id"
        case .chatID: "chat_id"
        case .from: "from"
        case .to: "to"
        case .messageType: "message_type"
        case .content: "content"
        case .isPrivate: "is_private"
        case .token: "token"
        case .langchainContext: "langchain_context"
        case .timestamp: "timestamp"
        case .origin: "origin"
        case .replica: "replica"
        case .seq: "seq"
        case .stamp: "stamp"
        case .status: "status"
        case .afterRemoval: "after_removal"
        }
    }
}

/// Where the fields of one message in a chat lie in its JSON.
typealias ChatFields = NamedFields<ChatField>

/// A message in a chat as a client sent it: validated, not yet accepted.
struct ChatDraft {
    /// The canonical text of an id of 1,024 bytes has at most so many: a control character takes six.
    static let maximumCanonicalBytes = 6 * Body.maximumTextBytes
    static let defaultType = "text"

    let fields: ChatFields
    let id: UUID?
    /// The chat, as canonical text.
    let chat: [UInt8]
    /// The sender, as canonical text and as it is.
    let from: [UInt8]
    let sender: String
    /// To whom it is addressed, if to somebody in particular.
    let to: JSONScanner.Value?
    let type: JSONScanner.Value?
    let content: JSONScanner.Value
    let isPrivate: Bool
    /// The fencing token of the turn in which it is said.
    let token: Int?

    /// Reads and checks a request's body.
    init(_ bytes: RawSpan, chat: String, by asker: Asker) throws(NodeError) {
        let fields = try ChatFields(bytes)
        let canonical = JSONText.canonical(chat)
        if let said = fields[.chatID], said.kind != .null {
            guard JSONText.canonical(try EventDraft.text(said, "chat_id"), bytes) == canonical else {
                throw .invalid(field: "chat_id", "the path names another chat; leave it out")
            }
        }
        let said = try fields.optionalText(.from).map { JSONText.text($0, bytes) }
        guard let sender = try asker.agent(or: said, "from") else {
            throw .invalid(field: "from", "required, the agent that says it; or ask as that agent (Hypha-Agent)")
        }
        try self.init(fields, bytes, chat: canonical, sender: sender)
    }

    /// Reads a message as a node wrote it.
    init(stored json: RawSpan) throws(NodeError) {
        let fields = try ChatFields(json)
        guard let chat = fields[.chatID], let from = fields[.from], chat.kind == .string, from.kind == .string else {
            throw .invalid("a message without a chat or a sender")
        }
        try self.init(fields, json, chat: JSONText.canonical(chat, json), sender: JSONText.text(from, json))
    }

    private init(_ fields: ChatFields, _ bytes: RawSpan, chat: [UInt8], sender: String) throws(NodeError) {
        self.fields = fields
        self.chat = chat
        self.sender = sender
        from = JSONText.canonical(sender)
        id = try EventDraft.id(fields[.id], bytes)
        to = try fields.optionalText(.to)
        type = try fields.optionalText(.messageType)
        guard let content = fields[.content] else {
            throw .invalid(field: "content", "required, any JSON value")
        }
        self.content = content
        isPrivate = try Self.flag(fields[.isPrivate], "is_private")
        guard !isPrivate || to != nil else {
            throw .invalid(field: "to", "required for a private message: the one member who may read it")
        }
        token = try Self.token(fields[.token], bytes)
    }

    private static func flag(_ value: JSONScanner.Value?, _ field: StaticString) throws(NodeError) -> Bool {
        switch value?.kind {
        case nil, .null, .false_: return false
        case .true_: return true
        case .object, .array, .string, .number: throw .invalid(field: field, "expected true or false")
        }
    }

    private static func token(_ value: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> Int? {
        guard let value, value.kind != .null else { return nil }
        let number = value.kind == .number ? JSONText.double(bytes, value.range).flatMap { Int(exactly: $0) } : nil
        guard let number, number >= 0 else {
            throw .invalid(field: "token", "expected the whole number that came with the turn")
        }
        return number
    }

    /// Writes the message as this node accepts it into an empty buffer, and says where its parts lie, just as reading it
    /// would. What the client said stands together and first, so that two copies of a message can be compared as bytes.
    func render(_ bytes: RawSpan, id: UUID, accepted: EventDraft.Acceptance, into out: inout [UInt8]) -> EventView {
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        let contentStart = out.count + 1
        out.append(UInt8(ascii: "\""))
        let chatRange = out.append(member: "chat_id", canonical: chat)
        let fromRange = out.append(member: "from", canonical: from)
        let toRange = to.map { out.append(member: "to", text: $0, bytes) } ?? 0..<0
        let typeRange =
            type.map { out.append(member: "message_type", text: $0, bytes) }
            ?? out.append(member: "message_type", canonical: Array(Self.defaultType.utf8))
        out.append(member: "content", content, bytes)
        out.append(key: "is_private")
        out.append(constant: isPrivate ? "true" : "false")
        if let token {
            out.append(key: "token")
            out.append(json: token)
        }
        if let context = fields[.langchainContext], context.kind != .null {
            out.append(member: "langchain_context", context, bytes)
        }
        out.append(extras: fields.extras, bytes)
        let contentEnd = out.count + 1
        accepted.render(into: &out)
        out.append(UInt8(ascii: "}"))
        return EventView(
            id: id, surface: .chat, typeText: typeRange, address: chatRange, agent: fromRange, receiver: toRange,
            isPrivate: isPrivate, content: contentStart..<contentEnd)
    }
}
