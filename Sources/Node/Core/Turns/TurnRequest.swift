/// What a client can ask about who may speak in a chat.
public enum TurnRequest: Sendable {
    /// `GET /api/chats/{id}/speaker`.
    case speaker(chat: String)
    /// `PATCH /api/chats/{id}/speaker`: the rules of taking turns there.
    case setRules(chat: String)
    /// `POST /api/chats/{id}/speaker/request`; the body is `{agent_id, priority}`.
    case ask(chat: String)
    /// `POST /api/chats/{id}/speaker/grant`; the body may be `{agent_id}`, else the next of the queue is granted the turn.
    case grant(chat: String)
    /// `POST /api/chats/{id}/speaker/release`; the body is `{agent_id, token}`.
    case release(chat: String)
    /// `POST /api/chats/{id}/speaker/revoke`.
    case revoke(chat: String)

    var kind: Request.Kind {
        switch self {
        case .speaker: .read
        case .setRules, .ask, .grant, .release, .revoke: .write
        }
    }
}
