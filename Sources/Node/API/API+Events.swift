internal import NodeCore
internal import Transport

/// SEMP: events on scopes, and the signals that they leave behind.
extension API {
    static let events: [Endpoint] = [
        postEvent, listEvents, eventsInScope, eventsInTrace, eventsOnTopic, oneEvent, listSignals, oneSignal,
    ]

    private static let before = Parameter.query(
        "before", .text(), "Only what is older than this: an event's id, its `stamp`, or a time.")
    private static let id = Parameter.path("id", .uuid, "The event's id.")

    private static let postEvent = Endpoint(
        method: .post, path: "/api/events", tag: .events, summary: "Post an event",
        about: """
            With a `scope` it is a SEMP event, with a `topic` and no scope a bus event. With an `id` of your own it may be \
            sent again, to any node: for ten minutes, and while it is stored, it stays one event. Members that are not \
            known here are kept.
            """,
        body: Content(schema: .named("NewEvent")),
        answers: [
            .created("The event as it was accepted.", .named("AnyEvent")),
            .ok("The same id again: the event as it was first stored.", .named("AnyEvent")),
            .refusal(409, "The id is stored with another content, or `ack` asks for more nodes than there are."),
        ], make: { _, _, _ in .ask(.postEvent) })

    private static let listEvents = Endpoint(
        method: .get, path: "/api/events", tag: .events, summary: "The newest SEMP events",
        about: "The newest first. A list ends at 16 MiB; then `Hypha-More` holds the next `before`.",
        parameters: [.limit(default: Route.defaultLimit), before],
        answers: [.ok("The events.", .array(.named("Event")))], headers: ["Hypha-More"],
        make: { _, query, _ in .ask(.events(try query.page(default: Route.defaultLimit))) })

    private static let eventsInScope = Endpoint(
        method: .get, path: "/api/events/scope/{scope...}", tag: .events, summary: "The SEMP events of a scope",
        about: "The newest first. Slashes in the scope may come unencoded.",
        parameters: [.path("scope", .wanted, "The scope."), .limit(default: Route.maximumLimit), before],
        answers: [.ok("The events.", .array(.named("Event")))], headers: ["Hypha-More"],
        make: { path, query, _ in
            .ask(.eventsInScope(path["scope"] ?? "", try query.page(default: Route.maximumLimit)))
        })

    private static let eventsInTrace = Endpoint(
        method: .get, path: "/api/events/trace/{trace_id...}", tag: .events, summary: "The SEMP events of a trace",
        about: "The newest first. Slashes in the trace id may come unencoded.",
        parameters: [.path("trace_id", .wanted, "The trace id."), .limit(default: Route.maximumLimit), before],
        answers: [.ok("The events.", .array(.named("Event")))], headers: ["Hypha-More"],
        make: { path, query, _ in
            .ask(.eventsInTrace(path["trace_id"] ?? "", try query.page(default: Route.maximumLimit)))
        })

    private static let eventsOnTopic = Endpoint(
        method: .get, path: "/api/events/topic/{topic...}", tag: .bus, summary: "The bus events on a topic",
        about: "The newest first. The topic is an address, no pattern.",
        parameters: [.path("topic", .wanted, "The topic."), .limit(default: Route.maximumLimit), before],
        answers: [.ok("The events.", .array(.named("BusEvent")))], headers: ["Hypha-More"],
        make: { path, query, _ in
            .ask(.eventsOnTopic(path["topic"] ?? "", try query.page(default: Route.maximumLimit)))
        })

    private static let oneEvent = Endpoint(
        method: .get, path: "/api/events/{id}", tag: .events, summary: "One event",
        about: "A SEMP event or a bus event, as long as the logs keep it.", parameters: [id],
        answers: [.ok("The event.", .named("AnyEvent")), .refusal(404, "No such event is stored here.")],
        make: { path, _, _ in .ask(.event(id: path["id"] ?? "")) })

    private static let moment = Parameter.query(
        "at", .integer(0...(1 << 47) - 1),
        "The moment to read at, in milliseconds since the Unix epoch; now by default. `Hypha-Tick` says which was read."
    )
    private static let tooOld = Answer.refusal(410, "The moment lies before what can still be told.")

    private static let listSignals = Endpoint(
        method: .get, path: "/api/signals", tag: .events, summary: "Signals",
        about: "The strongest are not sorted first.",
        parameters: [
            .query("scope", .text(), "Only those of this scope."),
            .query("pattern", .text(), "Only those of this pattern."),
            .query("min_strength", .number(0...1), "Only those that are at least as strong."), moment,
        ],
        answers: [.ok("The signals.", .array(.named("Signal"))), tooOld], headers: ["Hypha-Tick"],
        make: { _, query, _ in
            .ask(
                .signals(
                    scope: query["scope"], pattern: query["pattern"], minimumStrength: try query.strength(),
                    at: try query.moment()))
        })

    private static let oneSignal = Endpoint(
        method: .get, path: "/api/signals/{scope}/{pattern}", tag: .events, summary: "One signal",
        parameters: [
            .path("scope", .name, "Its scope; slashes come percent-encoded."), .path("pattern", .name, "Its pattern."),
            moment,
        ],
        answers: [.ok("The signal.", .named("Signal")), .refusal(404, "There is none, or it has faded."), tooOld],
        headers: ["Hypha-Tick"],
        make: { path, query, _ in
            .ask(.signal(scope: path["scope"] ?? "", pattern: path["pattern"] ?? "", at: try query.moment()))
        })
}

extension API {
    static let eventSchemas: [NamedSchema] = [
        NamedSchema(
            name: "NewEvent",
            schema: .anyOf([.named("NewProposal"), .named("NewReward"), .named("NewBusEvent")])),
        NamedSchema(
            name: "NewProposal",
            schema: .object(
                [.required("type", .text(choices: ["proposal", "ready", "test"]))] + newEvent + [
                    .required(
                        "payload",
                        .object([
                            .maybe("pattern", .text(length: 0...1_024), "The signal that it touches."),
                            .maybe("action", .text(length: 0...1_024), "The same, where there is no `pattern`."),
                        ]))
                ])),
        NamedSchema(
            name: "NewReward",
            schema: .object(
                [.required("type", .text(choices: ["reward", "penalty"]))] + newEvent + [
                    .required(
                        "payload",
                        .object([
                            .required("value", .number(), "How much; of a penalty, its size counts."),
                            .maybe("α", .optional(.number()), "How strongly it acts; 1.2 by default."),
                            .maybe(
                                "pattern", .text(length: 0...1_024),
                                "The signal that it touches; without one, those of its nearest `parent_ids`, or the 256 "
                                    + "strongest of its scope."),
                        ]))
                ])),
        NamedSchema(name: "AnyEvent", schema: .anyOf([.named("Event"), .named("BusEvent")])),
        NamedSchema(
            name: "Event",
            schema: .object(
                [
                    .required("id", .uuid), .required("type", .text(choices: eventTypes)), .required("scope", .name),
                    .required("trace_id", .name), .required("agent_id", .name),
                    .required("parent_ids", .array(.text())), .required("payload", .object([])),
                ] + accepted + [
                    .required("signals", .array(.text()), "The patterns of the signals that it touched.")
                ])),
        NamedSchema(
            name: "Signal",
            schema: .object([
                .required("id", .uuid), .required("scope", .text()), .required("pattern", .text()),
                .required("strength", .number(0...1)), .required("last_updated", .time),
                .required("alpha", .number()), .required("lambda", .number(0...1), "What stays of it after a minute."),
            ])),
    ]

    private static let eventTypes = ["proposal", "ready", "test", "reward", "penalty"]

    private static let newEvent: [Schema.Property] = [
        .required("scope", .name, "Segments between dots can be filtered for."), .required("trace_id", .name),
        .required("agent_id", .name, "Who did it."), .maybe("id", .uuid, "Your own, else one is made."),
        .maybe("parent_ids", .array(.text(length: 1...256), length: 0...1_024), "Events that this one follows from."),
    ]

    /// What the accepting node adds to whatever is kept in its log.
    static let accepted: [Schema.Property] = [
        .required("timestamp", .time, "When it was accepted."),
        .required("origin", .text(), "The name of the node that accepted it."),
        .required("replica", .text(pattern: "^[0-9a-f]{16}$"), "The log that it stands in."),
        .required("seq", .integer(1...Int.max), "Its number there."),
        .required(
            "stamp", .text(pattern: "^[0-9a-f]{16}-[0-9a-f]{16}$"),
            "Sorting these texts sorts what happened, at every node."),
    ]
}
