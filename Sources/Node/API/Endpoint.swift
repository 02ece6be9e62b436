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
        case cluster = "Cluster and node"
    }

    /// What a request may bring besides its path and body.
    struct Parameter: Sendable {
        enum Place: String, Sendable { case path, query, header }
        let name: String
        var place = Place.query
        let schema: Schema
        var isRequired = false
        let about: String
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
    }

    let method: HTTPMethod
    /// Segments between slashes; `{name}` takes any one of them, `{name...}` at the end one or more with their slashes.
    let path: String
    let tag: Tag
    /// A short line, without a full stop at the end.
    let summary: String
    /// What else there is to know, in sentences.
    var about = ""
    var parameters: [Parameter] = []
    var body: Content?
    let answers: [Answer]
    /// What is asked. The path's values are by name, percent-decoded.
    let make: @Sendable (_ path: [String: String], _ query: Query, _ caller: Caller) throws(BadQuery) -> Route
}

/// What the head of a request says of whoever sent it.
struct Caller: Sendable {
    /// Who asks: `Hypha-Agent` or `?agent=`.
    var asker = Asker()
    /// Where a browser's event stream goes on.
    var lastEventID: String?
    /// It is a person's browser: `Accept` names HTML before JSON.
    var wantsPage = false
}

/// The shape of a JSON value: the part of JSON Schema 2020-12 that the reference needs.
indirect enum Schema: Sendable {
    /// A text; `format` as JSON Schema has it, for example `date-time` or `uuid`.
    case text(format: String? = nil, choices: [String] = [], about: String = "")
    /// A whole number.
    case integer(ClosedRange<Int>? = nil, about: String = "")
    /// A number.
    case number(ClosedRange<Double>? = nil, about: String = "")
    case boolean(about: String = "")
    case array(Schema)
    /// An object; what is not named may be there too where it `isOpen`.
    case object([Property], isOpen: Bool = true)
    /// An object all of whose members are of one shape.
    case map(Schema)
    /// One of the named schemas of the reference.
    case named(String)
    /// This, or null.
    case optional(Schema)
    /// Any JSON value.
    case any

    struct Property: Sendable {
        let name: String
        let schema: Schema
        var isRequired = false

        static func required(_ name: String, _ schema: Schema) -> Property {
            Property(name: name, schema: schema, isRequired: true)
        }
        static func maybe(_ name: String, _ schema: Schema) -> Property { Property(name: name, schema: schema) }
    }
}

/// A schema that several routes share.
struct NamedSchema: Sendable {
    let name: String
    let schema: Schema
}

/// All routes, and the schemas that they share: each part of the API adds its own.
enum API {
    static let endpoints: [Endpoint] = agents + registry + attention + chats + turns + tasks + context
    static let schemas: [NamedSchema] =
        agentSchemas + attentionSchemas + chatSchemas + turnSchemas + taskSchemas + contextSchemas
}
