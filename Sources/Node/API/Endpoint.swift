internal import NodeCore
internal import Transport

/// One route: how it is found, what the core is asked, and what the reference says of it. The table of all of them is what
/// requests are routed by, and what `/openapi.json` is made from, so neither can say what the other does not.
struct Endpoint: Sendable {
    /// A part of the reference.
    enum Tag: String, CaseIterable, Sendable {
        case events = "Events and signals"
        case graph = "Graph"
        case bus = "Bus"
        case groups = "Queue groups"
        case messages = "Direct messages"
        case agents = "Agents"
        case registry = "Registry"
        case attention = "Attention"
        case chats = "Chats"
        case turns = "Turns"
        case tasks = "Tasks"
        case context = "Shared context"
        case soormaEvents = "Soorma: events"
        case soormaRegistry = "Soorma: registry"
        case soormaMemory = "Soorma: memory"
        case soormaTracker = "Soorma: tracker"
        case cluster = "Cluster and node"

        /// Whether a Soorma SDK speaks there, whose refusals are told as its services do.
        var isSoorma: Bool {
            switch self {
            case .soormaEvents, .soormaRegistry, .soormaMemory, .soormaTracker: true
            case .events, .graph, .bus, .groups, .messages, .agents, .registry, .attention, .chats, .turns, .tasks,
                .context, .cluster:
                false
            }
        }
    }

    /// What a request may bring besides its path and body.
    struct Parameter: Sendable {
        enum Place: String, Sendable { case path, query, header }
        let name: String
        var place = Place.query
        let schema: Schema
        var isRequired = false
        let about: String

        /// A part of the path.
        static func path(_ name: String, _ schema: Schema = .name, _ about: String) -> Parameter {
            Parameter(name: name, place: .path, schema: schema, isRequired: true, about: about)
        }

        /// A parameter of the query.
        static func query(
            _ name: String, _ schema: Schema = .text(), _ about: String, isRequired: Bool = false
        ) -> Parameter {
            Parameter(name: name, place: .query, schema: schema, isRequired: isRequired, about: about)
        }

        /// How many entries a list may have.
        static func limit(default count: Int) -> Parameter {
            .query(
                "limit", .integer(1...Int.max),
                "At most so many entries; \(count) by default, never more than \(Route.maximumLimit).")
        }
    }

    /// What a route takes.
    struct Content: Sendable {
        let schema: Schema
        var isRequired = true
        /// Names of the type besides `application/json`.
        var otherTypes: [String] = []
    }

    /// One way in which it answers; refusals that any route may give are not listed.
    struct Answer: Sendable {
        let status: Int
        let about: String
        /// Nil for no body.
        var schema: Schema?
        var type = "application/json"

        /// It went well, and this is what was asked for.
        static func ok(_ about: String, _ schema: Schema) -> Answer {
            Answer(status: 200, about: about, schema: schema)
        }
        /// Something is there now that was not before.
        static func created(_ about: String, _ schema: Schema) -> Answer {
            Answer(status: 201, about: about, schema: schema)
        }
        /// It went well, and there is nothing to show.
        static func noContent(_ about: String) -> Answer { Answer(status: 204, about: about) }
        /// It is refused, for this reason; `message` says what to do.
        static func refusal(_ status: Int, _ about: String) -> Answer {
            Answer(status: status, about: about, schema: .named("Error"))
        }
    }

    let method: HTTPMethod
    /// Segments between slashes; `{name}` takes any one of them that is not empty, `{name...}` one or more with the slashes
    /// between them.
    let path: String
    let tag: Tag
    /// A short line, without a full stop at the end.
    let summary: String
    /// What else there is to know, in sentences.
    var about = ""
    var parameters: [Parameter] = []
    var body: Content?
    let answers: [Answer]
    /// What its good answers carry besides what all of its kind do: names of `Reference.headers`.
    var headers: [String] = []
    /// What is asked. The path's values are by name, percent-decoded. Throws `BadQuery` and nothing else; closures cannot say
    /// so without naming all of their types.
    let make: @Sendable (_ path: [String: String], _ query: Query, _ caller: Caller) throws -> Route
}

/// What the head of a request says of whoever sent it.
struct Caller: Sendable {
    /// Who asks: `Hypha-Agent` or `?agent=`.
    var asker = Asker()
    /// For whom something is remembered: `X-Tenant-ID`, and `X-User-ID` or `?user_id=`.
    var tenancy = Tenancy()
    /// Where a browser's event stream goes on.
    var lastEventID: String?
    /// It is a person's browser: `Accept` names HTML before JSON.
    var wantsPage = false
}
