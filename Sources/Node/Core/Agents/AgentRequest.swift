/// What a client can ask about agents: their manifests, and the registry's view of the same documents.
public enum AgentRequest: Sendable {
    /// `GET /api/manifests`: by status, by a resource or capability; in the order of their ids, after one of them.
    case manifests(status: String?, resource: String?, capability: String?, after: String?, limit: Int)
    /// `PUT /api/manifests/{agent_id}`; the body is a manifest.
    case introduce(String)
    /// `GET /api/manifests/{agent_id}`.
    case manifest(String)
    /// `PATCH /api/manifests/{agent_id}`; the body is a merge patch (RFC 7396).
    case patch(String)
    /// `DELETE /api/manifests/{agent_id}` and `DELETE /api/registry/agents/{name}`.
    case retire(String)
    /// `GET /agents/{agent_id}`: the public profile, for people as a page.
    case profile(String, asPage: Bool)
    /// `POST /api/registry/agents`; the body is `{name, agent_type, capabilities, …}`.
    case register
    /// `GET /api/registry/agents`: in the order of their names, after one of them.
    case registered(type: String?, status: String?, capability: String?, after: String?, limit: Int)
    /// `GET /api/registry/agents/{name}`.
    case registration(String)
    /// `GET /api/registry/least-busy`; whoever asks with another key is given another of several that tie.
    case leastBusy(capability: String?, key: String?)
    /// `POST /api/registry/agents/{name}/heartbeat`.
    case heartbeat(String)
    /// `POST /api/registry/agents/{name}/status`; the body is `{status}`.
    case setStatus(String)

    var kind: Request.Kind {
        switch self {
        case .manifests, .manifest, .profile, .registered, .registration, .leastBusy: .read
        case .introduce, .patch, .retire, .register, .heartbeat, .setStatus: .write
        }
    }
}
