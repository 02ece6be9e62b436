/// What a client can ask about tasks and how well agents did them.
public enum TaskRequest: Sendable {
    /// `POST /api/tasks`; the body is one task.
    case post
    /// `GET /api/tasks`: the newest first.
    case tasks(status: String?, skill: String?, agent: String?, before: String?, limit: Int)
    /// `GET /api/tasks/{id}`.
    case task(String)
    /// `DELETE /api/tasks/{id}`: nobody needs it any more.
    case cancel(String)
    /// `POST /api/tasks/{id}/claim`; the body is `{agent_id, lease_ms}`. Again by the same agent, it renews the lease.
    case claim(String)
    /// `POST /api/tasks/{id}/complete`; the body is `{agent_id, token, result}`.
    case complete(String)
    /// `POST /api/tasks/{id}/fail`; the body is `{agent_id, token, reason}`.
    case fail(String)
    /// `POST /api/tasks/{id}/rate`; the body is `{rating}`, by whoever posted it.
    case rate(String)
    /// `GET /api/agents/{agent_id}/reputation`.
    case reputation(agent: String)

    var kind: Request.Kind {
        switch self {
        case .tasks, .task, .reputation: .read
        case .post, .cancel, .claim, .complete, .fail, .rate: .write
        }
    }
}
