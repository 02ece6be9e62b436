import CRDT

/// What a client wants to happen, of whichever surface: validated, not yet accepted.
enum Draft {
    case semp(EventDraft)
    case bus(BusDraft)
    case message(MessageDraft)
    case chat(ChatDraft)

    /// Reads and checks an event: one that names a topic and no scope is a bus event.
    init(_ bytes: RawSpan) throws(NodeError) {
        let fields = try EventFields(bytes)
        if fields[.scope] == nil, fields.extras.contains(where: { EventFields.matches($0.key, "topic", bytes) }) {
            self = .bus(try BusDraft(bytes))
        } else {
            self = .semp(try EventDraft(fields, bytes))
        }
    }

    /// Reads an event as a node wrote it, to be written anew.
    init(stored json: RawSpan) throws(NodeError) {
        switch Surface(of: json) {
        case .semp: self = .semp(try EventDraft(try EventFields(json), json))
        case .bus: self = .bus(try BusDraft(json, isAnnounced: true))
        case .message: self = .message(try MessageDraft(json))
        case .chat: self = .chat(try ChatDraft(stored: json))
        }
    }

    /// The id that the client gave it.
    var id: UUID? {
        switch self {
        case .semp(let draft): draft.id
        case .bus(let draft): draft.id
        case .message(let draft): draft.id
        case .chat(let draft): draft.id
        }
    }

    /// Where it belongs.
    var surface: Surface {
        switch self {
        case .semp: .semp
        case .bus: .bus
        case .message: .message
        case .chat: .chat
        }
    }

    /// Writes it as this node accepts it into an empty buffer, and says where its parts lie.
    func render(
        _ bytes: RawSpan, id: UUID, accepted: EventDraft.Acceptance, into out: inout [UInt8]
    ) -> EventView {
        switch self {
        case .semp(let draft): draft.render(bytes, id: id, accepted: accepted, into: &out)
        case .bus(let draft): draft.render(bytes, id: id, accepted: accepted, into: &out)
        case .message(let draft): draft.render(bytes, id: id, accepted: accepted, into: &out)
        case .chat(let draft): draft.render(bytes, id: id, accepted: accepted, into: &out)
        }
    }
}
