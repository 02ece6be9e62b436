/// What a Soorma SDK can ask (docs/soorma.md). Its services are views over events and documents that other protocols see,
/// too.
public enum SoormaRequest: Sendable {
    /// The event service.
    case events(EventServiceRequest)
    /// The registry.
    case registry(ServiceRegistryRequest)
    /// The memory service, what is kept under names: contexts, plans, sessions, working memory.
    case memory(MemoryRequest, Tenancy)
    /// The memory service, what is searched: knowledge, interactions, procedures.
    case recall(RecallRequest, Tenancy)
    /// The tracker.
    case tracker(TrackerRequest, Tenancy)

    var kind: Request.Kind {
        switch self {
        case .events(let request): request.kind
        case .registry(let request): request.kind
        case .memory(let request, _): request.kind
        case .recall(let request, _): request.kind
        case .tracker(let request, _): request.kind
        }
    }
}

/// The event service: events are bus events on a closed set of topics.
public enum EventServiceRequest: Sendable {
    /// `POST /v1/events/publish`; the body is `{event}`.
    case publish
    /// `GET /v1/events/stream`: patterns of topics, and whose queue groups the events are shared in.
    case stream(topics: [String], agentID: String, agentName: String?)

    var kind: Request.Kind {
        switch self {
        case .publish: .write
        case .stream: .read
        }
    }
}

/// The registry: agents are the agents of every protocol, events and schemas are documents of their own.
public enum ServiceRegistryRequest: Sendable {
    /// `POST /v1/agents`; the body is `{agent}`.
    case registerAgent
    /// `GET /v1/agents` and `/v1/agents/discover`.
    case agents(id: String?, name: String?, consumedEvent: String?, producedEvent: String?, includeExpired: Bool)
    /// `PUT` or `POST /v1/agents/{id}/heartbeat`.
    case heartbeat(agent: String)
    /// `DELETE /v1/agents/{id}`.
    case removeAgent(String)
    /// `POST /v1/events`; the body is `{event}`.
    case registerEvent
    /// `GET /v1/events`.
    case events(name: String?, topic: String?)
    /// `POST /v1/schemas`; the body is `{schema}`.
    case registerSchema
    /// `GET /v1/schemas`.
    case schemas(owner: String?)
    /// `GET /v1/schemas/{name}` and `/v1/schemas/{name}/versions/{version}`; without a version the latest.
    case schema(name: String, version: String?)

    var kind: Request.Kind {
        switch self {
        case .registerAgent, .heartbeat, .removeAgent, .registerEvent, .registerSchema: .write
        case .agents, .events, .schemas, .schema: .read
        }
    }
}

/// What the memory service keeps under names.
public enum MemoryRequest: Sendable {
    /// `POST /v1/memory/task-context`: makes one or merges into it.
    case storeTaskContext
    /// `GET /v1/memory/task-context/{task}`.
    case taskContext(String)
    /// `GET /v1/memory/task-context/by-subtask/{sub}`.
    case taskContextOf(subTask: String)
    /// `PUT /v1/memory/task-context/{task}`.
    case updateTaskContext(String)
    /// `DELETE /v1/memory/task-context/{task}`.
    case deleteTaskContext(String)
    /// `POST /v1/memory/plan-context`.
    case storePlanContext
    /// `GET /v1/memory/plan-context/{plan}`.
    case planContext(String)
    /// `GET /v1/memory/plan-context/by-correlation/{id}`.
    case planContextOf(correlation: String)
    /// `PUT /v1/memory/plan-context/{plan}`.
    case updatePlanContext(String)
    /// `DELETE /v1/memory/plan-context/{plan}`.
    case deletePlanContext(String)
    /// `POST /v1/memory/plans`.
    case createPlan
    /// `GET /v1/memory/plans`.
    case plans(status: String?, session: String?, limit: Int)
    /// `PUT /v1/memory/plans/{plan}`; the body is `{status}`.
    case updatePlan(String)
    /// `DELETE /v1/memory/plans/{plan}`.
    case deletePlan(String)
    /// `POST /v1/memory/sessions`.
    case createSession
    /// `GET /v1/memory/sessions`.
    case sessions(limit: Int)
    /// `PUT /v1/memory/working/{plan}/{key}`; the body is `{value}`.
    case setWorking(plan: String, key: String)
    /// `GET /v1/memory/working/{plan}/{key}`.
    case working(plan: String, key: String)
    /// `DELETE /v1/memory/working/{plan}/{key}`, and `/v1/memory/working/{plan}` for all of them.
    case deleteWorking(plan: String, key: String?)

    var kind: Request.Kind {
        switch self {
        case .taskContext, .taskContextOf, .planContext, .planContextOf, .plans, .sessions, .working: .read
        case .storeTaskContext, .updateTaskContext, .deleteTaskContext, .storePlanContext, .updatePlanContext,
            .deletePlanContext, .createPlan, .updatePlan, .deletePlan, .createSession, .setWorking, .deleteWorking:
            .write
        }
    }
}

/// What the memory service searches.
public enum RecallRequest: Sendable {
    /// `POST /v1/memory/semantic`.
    case storeKnowledge
    /// `POST /v1/memory/semantic/query`; the body may be empty, or name an `embedding`.
    case queryKnowledge(String, limit: Int, includePublic: Bool)
    /// `DELETE /v1/memory/semantic/{id}`.
    case deleteKnowledge(String)
    /// `POST /v1/memory/episodic`.
    case logInteraction
    /// `GET /v1/memory/episodic/recent`: the newest first.
    case recentInteractions(agent: String, limit: Int)
    /// `GET /v1/memory/episodic/search`.
    case searchInteractions(agent: String, String, limit: Int)
    /// `POST /v1/memory/procedural`.
    case storeProcedure
    /// `GET /v1/memory/procedural/context`.
    case procedures(agent: String, String, limit: Int)
    /// `DELETE /v1/memory/procedural/{id}`.
    case deleteProcedure(String)

    var kind: Request.Kind {
        switch self {
        case .queryKnowledge, .recentInteractions, .searchInteractions, .procedures: .read
        case .storeKnowledge, .deleteKnowledge, .logInteraction, .storeProcedure, .deleteProcedure: .write
        }
    }
}

/// What the tracker tells, computed from plans, contexts and events when it is asked; and what SDK 0.7 tells it.
public enum TrackerRequest: Sendable {
    /// `GET /v1/tracker/plans/{plan}`.
    case plan(String)
    /// `GET /v1/tracker/plans/{plan}/actions`.
    case actions(plan: String)
    /// `GET /v1/tracker/plans/{plan}/timeline`.
    case timeline(plan: String)
    /// `GET /v1/tracker/metrics`; the period as `7d`, `1h`.
    case metrics(agent: String, period: String)
    /// `GET /v1/tracker/plans/{plan}/sub-plans`.
    case subPlans(plan: String)
    /// `GET /v1/tracker/sessions/{session}/plans`.
    case sessionPlans(String)
    /// `GET /v1/tracker/delegation-groups/{group}`.
    case delegationGroup(String)
    /// `POST /v1/plans` of SDK 0.7: a plan begins.
    case startPlan
    /// `POST /v1/plans/{plan}/progress` of SDK 0.7: how far a task is.
    case progress(plan: String)

    var kind: Request.Kind {
        switch self {
        case .plan, .actions, .timeline, .metrics, .subPlans, .sessionPlans, .delegationGroup: .read
        case .startPlan, .progress: .write
        }
    }
}
