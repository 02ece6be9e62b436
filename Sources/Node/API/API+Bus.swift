internal import NodeCore
internal import Transport

/// The bus: events on topics, and what is heard of all events as they happen.
extension API {
    static let bus: [Endpoint] = [stream, socket, request]

    private static let stream = Endpoint(
        method: .get, path: "/api/stream", tag: .bus, summary: "Events as they happen, as Server-Sent Events",
        about: """
            Each comes as `event: message` with its cursor as `id:`. Without `scope` and `topic` it is every SEMP event; \
            chat messages come to members that give their `agent` and the topic `Messages`. Of a `group`, one consumer in \
            the cluster gets each event.
            """,
        parameters: [
            .query("scope", .text(), "SEMP events on scopes like this: `*` is one segment, `>` at the end the rest."),
            .query("topic", .text(), "Bus events on topics like this."),
            .query("types", .text(), "Only events of these types; commas between them."),
            .query("agents", .text(), "Only events of these agents, of bus events sources; commas between them."),
            .query("cursor", .text(), "Where to go on: a cursor, `earliest`, or nothing for what comes from now on."),
            Parameter(
                name: "Last-Event-ID", place: .header, schema: .text(),
                about: "The same, as browsers send it when they connect again; it goes before `cursor`."),
            .query("agent", .name, "Who listens, for presence and direct messages."),
            .query("group", .text(length: 1...128, pattern: "^[ -~]+$"), "The queue group to take part in."),
            .query("ack", .text(choices: ["auto", "manual"]), "Of a group: whether what was sent counts as done."),
            .query("ack_deadline_ms", .integer(10...86_400_000), "Of a group: when an event goes to another consumer."),
            .query("max_attempts", .integer(1...100), "Of a group: how often an event is handed out."),
            .query("max_in_flight", .integer(1...10_000), "Of a consumer: how many events it gets at once."),
            .query("dead_letter_topic", .name, "Of a group: where events go that nobody could handle."),
            .query(
                "takeover", .text(choices: ["afterDead", "majorityOnly", "never"]),
                "Of a group: who decides in place of a node that is gone."),
            .query(
                "sharing", .text(choices: ["nearest", "even", "related"]),
                "Of a group: whether a consumer at the event's node comes first, all get the same, or events with one "
                    + "correlation id go to one consumer."),
        ],
        answers: [
            Answer(status: 200, about: "An endless stream.", schema: .text(), type: "text/event-stream"),
            .refusal(409, "The group has another filter or other options."),
            .refusal(507, "The disk is full, and the group would have to be made."),
        ], make: { _, query, caller in .ask(.stream(try query.wish(lastEventID: caller.lastEventID))) })

    private static let socket = Endpoint(
        method: .get, path: "/ws", tag: .bus, summary: "A WebSocket",
        about: """
            Until it subscribes, a client gets `{"type":"event","data":…}` for every SEMP event. It may send `subscribe`, \
            `unsubscribe`, `publish`, `request`, `ack`, `nack`, `send`, `take`, `identify` and `ping`.
            """,
        parameters: [.query("agent", .name, "Who connects, for presence and direct messages.")],
        answers: [.switching, .refusal(426, "The request asks for no WebSocket.")],
        make: { _, query, _ in .socket(agent: try query.agent()) })

    private static let request = Endpoint(
        method: .post, path: "/api/request", tag: .bus, summary: "Publish a bus event, and wait for its reply",
        about: """
            The reply is the first bus event on `response_topic` with the same `correlation_id`, and of the type \
            `response_event` if that is given. Both are made where they are missing. Asked again under the same `id`, it \
            finds a reply that came meanwhile.
            """,
        parameters: [.query("timeout_ms", .integer(1...600_000), "How long to wait; 30 s by default.")],
        body: Content(schema: .named("NewBusEvent")),
        answers: [
            .ok("The reply.", .named("BusEvent")),
            .refusal(409, "The id is stored with another content, or `ack` asks for more nodes than there are."),
            Answer(
                status: 504, about: "Nobody has replied in time; the request stays published.",
                schema: .named("NoReply")),
        ],
        make: { _, query, _ in
            .ask(.bus(.request(timeoutMs: try query.number("timeout_ms").map { UInt64($0) })))
        })

    static let busSchemas: [NamedSchema] = [
        NamedSchema(
            name: "NewBusEvent",
            schema: .object([
                .required("topic", topic, "Segments between dots; topics on which nodes speak are refused."),
                .required("type", .name), .required("source", .name, "Who says it."), .maybe("data", .any),
                .maybe("id", .uuid, "Your own, else one is made."), .maybe("correlation_id", .optional(.name)),
                .maybe("response_event", .optional(.name)), .maybe("response_topic", .optional(topic)),
            ])),
        NamedSchema(
            name: "BusEvent",
            schema: .object(
                [
                    .required("id", .uuid), .required("topic", .text()), .required("type", .text()),
                    .required("source", .text()), .maybe("correlation_id", .text()), .maybe("response_event", .text()),
                    .maybe("response_topic", .text()), .maybe("data", .any),
                ] + accepted)),
        NamedSchema(
            name: "NoReply",
            schema: .object([
                .required("message", .text()), .maybe("id", .uuid, "The request's."), .maybe("correlation_id", .text()),
                .maybe("response_topic", .text(), "Where a reply may still come."),
            ])),
    ]

    /// An address: segments between dots, none of them a wildcard.
    private static let topic = Schema.text(length: 1...1_024, pattern: #"^[^.*>]+(\.[^.*>]+)*$"#)
}
