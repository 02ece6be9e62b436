/// What a client can ask about chats and their messages.
public enum ChatRequest: Sendable {
    /// `POST /api/chats`; the body is `{chat_type, created_by, participants, topic, …}`.
    case create
    /// `GET /api/chats`: those of an agent, or all; the newest first, before one of them.
    case chats(agent: String?, before: String?, limit: Int)
    /// `GET /api/chats/{id}`.
    case chat(String)
    /// `PATCH /api/chats/{id}`.
    case patch(String)
    /// `DELETE /api/chats/{id}`.
    case delete(String)
    /// `PUT /api/chats/{id}/members/{agent_id}`; the body may hold `{role}`. Joins, invites, or changes the role.
    case setMember(chat: String, agent: String)
    /// `DELETE /api/chats/{id}/members/{agent_id}`: leaves, or removes.
    case removeMember(chat: String, agent: String)
    /// `POST /api/chats/{id}/messages`; the body is one message.
    case post(chat: String)
    /// `GET /api/chats/{id}/messages`: after or before a message's id, a stamp or a time.
    case messages(chat: String, after: String?, before: String?, limit: Int)
    /// `POST /api/chats/{id}/messages/{message_id}/read`: up to there.
    case markRead(chat: String, message: String)
    /// `GET /api/agents/{agent_id}/unread`.
    case unread(agent: String)

    var kind: Request.Kind {
        switch self {
        case .chats, .chat, .messages, .unread: .read
        case .create, .patch, .delete, .setMember, .removeMember, .post, .markRead: .write
        }
    }
}
