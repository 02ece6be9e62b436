public import CRDT

/// What a client can ask of a node, with its path and query already taken apart and percent-decoded. A body, where
/// there is one, is passed as bytes beside it.
public enum Request: Sendable {
    /// `POST /api/events`; the body is one event as JSON.
    case postEvent
    /// `GET /api/events`: the newest first.
    case events(Page)
    /// `GET /api/events/{id}`.
    case event(id: String)
    /// `GET /api/events/scope/{scope}`.
    case eventsInScope(String, Page)
    /// `GET /api/events/trace/{trace_id}`.
    case eventsInTrace(String, Page)
    /// `GET /api/events/topic/{topic}`: bus events.
    case eventsOnTopic(String, Page)
    /// `GET /api/stream`: events as they happen, as Server-Sent Events.
    case stream(StreamWish)
    /// `GET /api/signals`; `at` is in milliseconds since the Unix epoch, nil for now.
    case signals(scope: String?, pattern: String?, minimumStrength: Double?, at: UInt64?)
    /// `GET /api/signals/{scope}/{pattern}`.
    case signal(scope: String, pattern: String, at: UInt64?)
    /// `POST /api/nodes`; the body is `{type, data}`.
    case postNode
    /// `GET /api/nodes`.
    case nodes(limit: Int)
    /// `GET /api/nodes/{id}`.
    case node(id: String)
    /// `PATCH /api/nodes/{id}`; the body is a merge patch (RFC 7396) of `{type, data}`.
    case patchNode(id: String)
    /// `DELETE /api/nodes/{id}`.
    case deleteNode(id: String)
    /// `POST /api/nodes/{id}/edges`; the body is `{to, type}`.
    case postEdge(node: String)
    /// `DELETE /api/nodes/{id}/edges/{target}?type=`; without a type, of every type.
    case deleteEdges(node: String, to: String, type: String?)
    /// `GET /api/groups`.
    case groups
    /// `GET /api/groups/{name}`.
    case groupNamed(String)
    /// `DELETE /api/groups/{name}`.
    case deleteGroup(String)
    /// `POST /api/groups/{name}/ack`; the body is `{id}` or `{ids}`.
    case ackGroup(String)
    /// `POST /api/groups/{name}/nack`; the body is `{id}` or `{ids}`, and `delay_ms`.
    case nackGroup(String)
    /// `GET /api/presence`.
    case presence
    /// `GET /api/presence/{agent}`.
    case presenceOf(agent: String)
    /// Direct messages and requests that wait for their reply.
    case bus(BusRequest)
    /// Agents: manifests, the registry.
    case agents(AgentRequest, by: Asker)
    /// What agents attend to.
    case attention(AttentionRequest, by: Asker)
    /// Chats and their messages.
    case chats(ChatRequest, by: Asker)
    /// Who may speak in a chat.
    case turns(TurnRequest, by: Asker)
    /// Tasks and reputation.
    case tasks(TaskRequest, by: Asker)
    /// Shared context.
    case context(ContextRequest, by: Asker)
    /// What a Soorma SDK asks.
    case soorma(SoormaRequest)
    /// `GET /health`; what only the shell can know comes with it, aside, as it is much more than any other request has.
    indirect case health(ShellMetrics)
    /// `GET /api/cluster`.
    case cluster
    /// `GET /metrics`, in the Prometheus text format.
    indirect case metrics(ShellMetrics)

    /// Whether the answer would be wrong as long as this node has not read what its peers have.
    var readsState: Bool {
        switch self {
        case .events, .event, .eventsInScope, .eventsInTrace, .eventsOnTopic, .signals, .signal, .nodes, .node: true
        // It would begin with what this node has not read.
        case .stream: true
        case .bus(let request): request.readsState
        // They change what must be known here.
        case .postNode, .patchNode, .deleteNode, .postEdge, .deleteEdges: true
        case .deleteGroup, .ackGroup, .nackGroup, .groups, .groupNamed: true
        case .agents, .attention, .chats, .turns, .tasks, .context: true
        // Whoever only publishes needs no more than `postEvent` does.
        case .soorma(.events(.publish)): false
        case .soorma: true
        case .postEvent, .health, .cluster, .metrics, .presence, .presenceOf: false
        }
    }

    /// Whether the answer is a list, which is no longer than what its node can know of.
    var isList: Bool {
        switch self {
        case .events, .eventsInScope, .eventsInTrace, .eventsOnTopic, .signals, .nodes, .presence, .groups: true
        case .bus(.peek), .bus(.history), .bus(.conversation): true
        case .agents(.manifests, _), .agents(.registered, _), .chats(.chats, _), .chats(.messages, _): true
        case .tasks(.tasks, _): true
        case .context(.namespaces, _), .context(.entries, _), .context(.history, _): true
        case .soorma(.registry(.agents)), .soorma(.registry(.events)), .soorma(.registry(.schemas)): true
        case .soorma(.memory(.plans, _)), .soorma(.memory(.sessions, _)): true
        case .soorma(.recall(.queryKnowledge, _)), .soorma(.recall(.recentInteractions, _)): true
        case .soorma(.recall(.searchInteractions, _)), .soorma(.recall(.procedures, _)): true
        case .event, .stream, .signal, .postEvent, .postNode, .node, .patchNode, .deleteNode, .postEdge, .deleteEdges,
            .groupNamed, .deleteGroup, .ackGroup, .nackGroup, .presenceOf, .health, .cluster, .metrics, .bus, .agents,
            .attention, .chats, .turns, .tasks, .context, .soorma:
            false
        }
    }

    /// Which part of a list is wanted.
    public struct Page: Sendable {
        /// At most so many.
        public var limit: Int
        /// Only what is older than this event id, stamp or ISO 8601 time; nil from the newest on.
        public var before: String?

        /// A page of at most `limit`, older than `before`.
        public init(limit: Int, before: String? = nil) {
            self.limit = limit
            self.before = before
        }
    }

    /// What a client wants to hear on an event stream.
    public struct StreamWish: Sendable {
        /// A pattern of scopes.
        public var scope: String?
        /// A pattern of topics, for bus events.
        public var topic: String?
        /// Types; empty for any.
        public var types: [String] = []
        /// Agents, of bus events sources; empty for any.
        public var agents: [String] = []
        /// What the client has seen, the text of a cursor; nil for what comes from now on.
        public var cursor: String?
        /// Who the client is.
        public var agent: String?
        /// A queue group of whose events it wants its share.
        public var group: String?
        /// The options of that group, by name.
        public var options: [String: String] = [:]
        /// It acknowledges what it got at `/api/groups/{name}/ack`; else what was sent is done.
        public var acksByHand = false

        /// Every SEMP event from now on.
        public init() {}
    }
}

/// The head of an answer; its body lies in the effects' bytes.
public struct Reply: Sendable {
    /// HTTP status.
    public var status: UInt16
    /// Milliseconds since the Unix epoch at which signals were read, for the header `Hypha-Tick`.
    public var tick: UInt64?
    /// What the body is.
    public var content: Content
    /// The list was cut to a bearable size: the stamp to give as `before` for what follows, for the header `Hypha-More`.
    public var more: HybridTimestamp?
    /// The stamp of the write to a document that the answer tells of, for the header `Hypha-Stamp`: the request's own, or
    /// an earlier one that had done the same.
    public var stamp: HybridTimestamp?
    /// What the client has seen with this answer, for the header `Hypha-Clock`: where the text lies in the effects'
    /// bytes; empty for none.
    public var clock = 0..<0
    /// What of the request's clock was not read here when the wait was over, for `Hypha-Clock-Behind`; empty for none.
    public var behind: [UInt8] = []
    /// What of the request's clock only a dead log held, for `Hypha-Clock-Lost`; empty for none.
    public var lost: [UInt8] = []
    /// What a write has reached that asked for more than this node, for the header `Hypha-Ack`.
    public var ack: AckLevel?

    /// With a list: how much of the cluster this node sees, for the header `Hypha-Reachable`.
    public var reach: Reach?

    /// How many members a node sees alive, of those that should be here; itself is one of them.
    public struct Reach: Sendable, CustomStringConvertible {
        /// Members that are alive.
        public var alive: UInt16
        /// These, and those that are suspect, or dead and may come back with what they have.
        public var known: UInt16
        /// `alive/known`, as the header has it.
        public var description: String { "\(alive)/\(known)" }
    }

    /// What a body is.
    public enum Content: Sendable {
        case json
        /// The Prometheus text format.
        case metrics
        /// A page for people.
        case page
    }

    /// A reply with this status.
    public init(
        status: UInt16, tick: UInt64? = nil, content: Content = .json, more: HybridTimestamp? = nil,
        stamp: HybridTimestamp? = nil
    ) {
        self.status = status
        self.tick = tick
        self.content = content
        self.more = more
        self.stamp = stamp
    }
}
