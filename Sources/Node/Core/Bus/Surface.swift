import CRDT
import Gossip

/// Where an event belongs. What is on one surface is never shown on another.
enum Surface: UInt8, Sendable {
    /// SEMP events, on scopes.
    case semp
    /// Bus events, on topics.
    case bus
    /// Messages between agents: in no list and no stream of events.
    case message
    /// Messages in chats: shown to their members.
    case chat

    /// The surface whose entries are of this kind; nil for entries that are no events.
    init?(_ kind: Fact.Kind) {
        switch kind {
        case .sempEvent: self = .semp
        case .busEvent: self = .bus
        case .message: self = .message
        case .chatMessage: self = .chat
        default: return nil
        }
    }

    /// The kind of its entries.
    var kind: Fact.Kind {
        switch self {
        case .semp: .sempEvent
        case .bus: .busEvent
        case .message: .message
        case .chat: .chatMessage
        }
    }

    /// Whether only some may see what is on it: lists and streams of events never show it.
    var isPrivate: Bool {
        switch self {
        case .semp, .bus: false
        case .message, .chat: true
        }
    }

    /// The surface of an event as a node wrote it: the member behind the id tells.
    init(of json: RawSpan) {
        self =
            Self.begins(json, "\"topic\"")
            ? .bus : Self.begins(json, "\"sender\"") ? .message : Self.begins(json, "\"chat_id\"") ? .chat : .semp
    }

    private static func begins(_ json: RawSpan, _ key: StaticString) -> Bool {
        // {"id":"0190b5e2-7c1a-4d3e-9f00-1234567890ab",
        let start = 45
        guard json.byteCount >= start + key.utf8CodeUnitCount else { return false }
        for i in 0..<key.utf8CodeUnitCount
        where json.unsafeLoad(fromByteOffset: start + i, as: UInt8.self) != key.utf8Start[i] { return false }
        return true
    }
}
