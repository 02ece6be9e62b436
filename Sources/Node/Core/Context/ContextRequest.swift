/// What a client can ask about shared context.
public enum ContextRequest: Sendable {
    /// `GET /api/context`: the namespaces.
    case namespaces
    /// `GET /api/context/{namespace}`: every key and its value.
    case values(namespace: String)
    /// `GET /api/context/{namespace}/{key}`.
    case value(namespace: String, key: String)
    /// `PUT /api/context/{namespace}/{key}`; the body is `{value, agent_name}`.
    case set(namespace: String, key: String)
    /// `PATCH /api/context/{namespace}/{key}`; the body is a merge patch (RFC 7396) of the value.
    case patch(namespace: String, key: String)
    /// `DELETE /api/context/{namespace}/{key}`.
    case delete(namespace: String, key: String)
    /// `GET /api/context/{namespace}/history`: the newest first.
    case history(namespace: String, key: String?, Request.Page)

    var kind: Request.Kind {
        switch self {
        case .namespaces, .values, .value, .history: .read
        case .set, .patch, .delete: .write
        }
    }
}
