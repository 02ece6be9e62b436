/// What a request is about, for the metrics: few, so that each has its own counters and times.
public enum RouteGroup: UInt8, CaseIterable, Sendable {
    /// Refused before it reached a route: no such path or method, or not readable at all. Zero, which the transport says
    /// of what it refuses by itself.
    case other
    /// `POST /api/events`.
    case eventsWrite
    /// Lists of events and single ones.
    case events
    /// `GET /api/stream`, up to the head of the answer.
    case stream
    /// Signals.
    case signals
    /// Changes of graph nodes and edges.
    case nodesWrite
    /// Graph nodes.
    case nodes
    /// Queue groups.
    case groups
    /// `GET /api/presence`.
    case presence
    /// Messages between agents.
    case bus
    /// `POST /api/request`, up to the reply.
    case request
    /// Manifests and the registry.
    case agents
    /// What agents attend to.
    case attention
    /// Chats and their messages.
    case chats
    /// Speaker turns, up to the decision.
    case turns
    /// Tasks and reputation, up to the decision.
    case tasks
    /// Shared context.
    case context
    /// Soorma's event service.
    case soormaEvents
    /// Soorma's registry.
    case soormaRegistry
    /// Soorma's memory.
    case soormaMemory
    /// Soorma's tracker.
    case soormaTracker
    /// The reference: `GET /openapi.json`, `GET /docs`.
    case reference
    /// `GET /api/cluster`.
    case cluster
    /// `GET /health`.
    case health
    /// `GET /metrics`.
    case metrics
    /// `GET /ws`, up to the handshake.
    case socket
    /// `OPTIONS`, which browsers send first.
    case preflight

    /// The value of the label `route`.
    var label: String {
        switch self {
        case .other: "other"
        case .eventsWrite: "events_write"
        case .events: "events"
        case .stream: "stream"
        case .signals: "signals"
        case .nodesWrite: "nodes_write"
        case .nodes: "nodes"
        case .groups: "groups"
        case .presence: "presence"
        case .bus: "bus"
        case .request: "request"
        case .agents: "agents"
        case .attention: "attention"
        case .chats: "chats"
        case .turns: "turns"
        case .tasks: "tasks"
        case .context: "context"
        case .soormaEvents: "soorma_events"
        case .soormaRegistry: "soorma_registry"
        case .soormaMemory: "soorma_memory"
        case .soormaTracker: "soorma_tracker"
        case .reference: "reference"
        case .cluster: "cluster"
        case .health: "health"
        case .metrics: "metrics"
        case .socket: "ws"
        case .preflight: "preflight"
        }
    }
}

extension Request {
    /// Under what it is counted.
    public var group: RouteGroup {
        switch self {
        case .postEvent: .eventsWrite
        case .events, .event, .eventsInScope, .eventsInTrace, .eventsOnTopic: .events
        case .stream: .stream
        case .signals, .signal: .signals
        case .postNode, .patchNode, .deleteNode, .postEdge, .deleteEdges: .nodesWrite
        case .nodes, .node: .nodes
        case .groups, .groupNamed, .deleteGroup, .ackGroup, .nackGroup: .groups
        case .presence, .presenceOf: .presence
        case .health: .health
        case .bus(.request): .request
        case .bus: .bus
        case .agents: .agents
        case .attention: .attention
        case .chats: .chats
        case .turns: .turns
        case .tasks: .tasks
        case .context: .context
        case .soorma(.events): .soormaEvents
        case .soorma(.registry): .soormaRegistry
        case .soorma(.memory), .soorma(.recall): .soormaMemory
        case .soorma(.tracker): .soormaTracker
        case .cluster: .cluster
        case .metrics: .metrics
        }
    }
}

/// Answers to requests, by what they were about, how they went, and how long they took.
///
/// A request counts from the beginning of the turn of the event loop that brought the whole of it, to the end of the turn
/// in which its answer was given to the system: all that its client can have waited for here, what else those turns did
/// included. So no clock is read for a request, and one answered in the turn that brought it costs an addition.
public struct HTTPMetrics: Sendable {
    private static let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"]

    /// For each route, how many answers of each class.
    private var answers = [UInt64](repeating: 0, count: RouteGroup.allCases.count * 5)
    private var times = [Histogram](repeating: Histogram(.seconds), count: RouteGroup.allCases.count)
    /// Answered in the turn that brought them, which is not over.
    private var prompt = [UInt64](repeating: 0, count: RouteGroup.allCases.count)
    private var promptCount = 0
    /// Answered in this turn, and brought by earlier ones.
    private var late: [(group: RouteGroup, since: UInt64)] = []

    /// Nothing answered yet.
    public init() {}

    /// A request was answered. `since` is when the turn began that brought it, `turn` when this one did, in
    /// microseconds.
    public mutating func answered(_ group: RouteGroup, status: UInt16, since: UInt64, turn: UInt64) {
        let index = Int(group.rawValue)
        let rank = status < 200 ? 0 : status < 300 ? 1 : status < 400 ? 2 : status < 500 ? 3 : 4
        answers[index * 5 + rank] &+= 1
        if since == turn {
            prompt[index] &+= 1
            promptCount += 1
        } else {
            late.append((group, since))
        }
    }

    /// The turn is over, and what was answered in it has been given to the system: `now` in microseconds of the same
    /// clock, `took` since the turn began.
    public mutating func turnEnded(now: UInt64, took: UInt64) {
        if promptCount > 0 {
            promptCount = 0
            for index in prompt.indices where prompt[index] > 0 {
                times[index].observe(took, times: prompt[index])
                prompt[index] = 0
            }
        }
        guard !late.isEmpty else { return }
        for answer in late { times[Int(answer.group.rawValue)].observe(now &- answer.since) }
        late.removeAll(keepingCapacity: late.capacity <= 4_096)
    }

    /// Routes that were never asked for are left out.
    func writeMetrics(into out: inout MetricsWriter) {
        out.family("http_requests_total", .counter, "Requests answered.")
        for group in RouteGroup.allCases {
            for (rank, code) in Self.classes.enumerated() {
                let count = answers[Int(group.rawValue) * 5 + rank]
                if count > 0 { out.sample(["route": group.label, "code": code], Int(count)) }
            }
        }
        out.family("http_request_seconds", .histogram, "From a whole request to its answer given to the system.")
        for group in RouteGroup.allCases {
            let time = times[Int(group.rawValue)]
            if time.count > 0 { out.sample(["route": group.label], time) }
        }
    }
}
