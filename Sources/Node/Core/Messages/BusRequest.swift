/// What a client can ask about direct messages, and a request that waits for its reply.
public enum BusRequest: Sendable {
    /// `POST /api/bus/messages`; the body is one direct message as JSON.
    case postMessage
    /// `POST /api/bus/mailbox/{agent}/take`: takes at most so many messages, of one type or of all.
    case take(agent: String, type: String?, most: Int)
    /// `DELETE /api/bus/mailbox/{agent}`.
    case closeMailbox(agent: String)
    /// `GET /api/bus/peek`: what waits, left where it is.
    case peek(agent: String, type: String?, most: Int)
    /// `GET /api/bus/count`.
    case count(agent: String, type: String?)
    /// `GET /api/bus/history`: by sender or receiver, after an id, a stamp or a time.
    case history(agent: String?, since: String?, limit: Int)
    /// `GET /api/bus/conversation/{correlation_id}`.
    case conversation(String, limit: Int)
    /// `GET /api/bus/stats`.
    case stats
    /// `POST /api/request`; the body is one bus event as JSON, the answer another. The time is in milliseconds.
    case request(timeoutMs: UInt64?)

    var readsState: Bool {
        switch self {
        case .take, .closeMailbox, .peek, .count, .history, .conversation, .stats: true
        case .postMessage, .request: false
        }
    }

    var kind: Request.Kind {
        switch self {
        case .peek, .count, .history, .conversation, .stats: .read
        case .postMessage, .take, .closeMailbox, .request: .write
        }
    }
}

extension Request {
    /// Whether it posts something that may be known under its id.
    var isPost: Bool {
        switch self {
        case .postEvent, .bus(.postMessage): true
        default: false
        }
    }
}
