/// What a client can ask about what an agent attends to.
public enum AttentionRequest: Sendable {
    /// `GET /api/agents/{agent_id}/attention`.
    case queue(agent: String)
    /// `PUT /api/agents/{agent_id}/attention/{dialogue_id}`; the body is `{importance, deadline, relation, state}`.
    case set(agent: String, dialogue: String)
    /// `DELETE /api/agents/{agent_id}/attention/{dialogue_id}`.
    case drop(agent: String, dialogue: String)
    /// `POST /api/agents/{agent_id}/attention/next`; the body may hold the `state` of the dialogue that is left.
    case next(agent: String)

    var kind: Request.Kind {
        switch self {
        case .queue: .read
        case .set, .drop, .next: .write
        }
    }
}
