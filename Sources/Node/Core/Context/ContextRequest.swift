/// What a client can ask about shared context.
public enum ContextRequest: Sendable {
    /// `GET /api/context`: the namespaces, by name, after one of them.
    case namespaces(after: String?, limit: Int)
    /// `GET /api/context/{namespace}`: the keys, by name, after one of them; with their values, unless nobody wants these.
    case entries(namespace: String, after: String?, limit: Int, withValues: Bool)
    /// `GET /api/context/{namespace}/{key}`.
    case value(namespace: String, key: String)
    /// `PUT /api/context/{namespace}/{key}`; the body is `{value, agent_name}`.
    case set(namespace: String, key: String)
    /// `PATCH /api/context/{namespace}/{key}`; the body is `{value, agent_name}`, the value a merge patch (RFC 7396).
    case patch(namespace: String, key: String)
    /// `DELETE /api/context/{namespace}/{key}`.
    case delete(namespace: String, key: String)
    /// `GET /api/context/{namespace}/history`: the newest first.
    case history(namespace: String, key: String?, Request.Page)

    var kind: Request.Kind {
        switch self {
        case .namespaces, .entries, .value, .history: .read
        case .set, .patch, .delete: .write
        }
    }
}
