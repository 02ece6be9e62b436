internal import NodeCore
internal import Transport

/// Messages from agent to agent, with a mailbox each.
extension API {
    static let messages: [Endpoint] = [
        postMessage, takeMessages, closeMailbox, peekMessages, countMessages, history, conversation, statistics,
    ]

    private static let mailbox = Parameter.path(
        "agent", .name, "The agent whose mailbox it is; slashes may come unencoded.")
    private static let agent = Parameter.query("agent", .name, "The agent whose mailbox it is.", isRequired: true)
    private static let type = Parameter.query("type", .text(choices: messageTypes), "Only messages of this type.")
    private static let list = Schema.array(.named("Message"))

    private static let postMessage = Endpoint(
        method: .post, path: "/api/bus/messages", tag: .messages, summary: "Send a message",
        about: """
            To one agent, or with the receiver `broadcast` to all that have a mailbox. It waits at every node until it is \
            taken at one. With an `id` of your own it may be sent again.
            """,
        body: Content(schema: .named("NewMessage")),
        answers: [
            .created("The message.", .named("Message")),
            .ok("The same id again: the message as first stored.", .named("Message")),
            .refusal(409, "The id is stored with another content, or `ack` asks for more nodes than there are."),
            .refusal(507, "There are as many mailboxes as there may be, or the disk is full."),
        ], make: { _, _, _ in .ask(.bus(.postMessage)) })

    private static let takeMessages = Endpoint(
        method: .post, path: "/api/bus/mailbox/{agent...}/take", tag: .messages, summary: "Take messages",
        about: "They are now the client's alone. Highest priority first, then the oldest; an answer ends at 8 MiB.",
        parameters: [
            mailbox, type,
            .query(
                "max", .integer(1...Int.max),
                "At most so many; \(NodeCore.defaultTake) by default, never more than 1,000."),
        ],
        answers: [
            .ok("The messages.", list),
            .refusal(503, "The mailbox's owner does not answer; nothing was taken, take again."),
        ],
        make: { path, query, _ in
            let most = try query.number("max") ?? NodeCore.defaultTake
            return .ask(.bus(.take(agent: path["agent"] ?? "", type: query["type"], most: most)))
        })

    private static let closeMailbox = Endpoint(
        method: .delete, path: "/api/bus/mailbox/{agent...}", tag: .messages, summary: "Close a mailbox",
        about: "Whatever waits in it is gone.", parameters: [mailbox],
        answers: [.noContent("It is closed."), .refusal(404, "There is none.")],
        make: { path, _, _ in .ask(.bus(.closeMailbox(agent: path["agent"] ?? ""))) })

    private static let peekMessages = Endpoint(
        method: .get, path: "/api/bus/peek", tag: .messages, summary: "What would be taken", about: "It stays there.",
        parameters: [
            agent, type,
            .query("max", .integer(1...Int.max), "At most so many; \(Route.defaultLimit) by default."),
        ],
        answers: [.ok("The messages.", list)],
        make: { _, query, _ in
            let most = try query.number("max") ?? Route.defaultLimit
            return .ask(.bus(.peek(agent: try query.mailbox(), type: query["type"], most: most)))
        })

    private static let countMessages = Endpoint(
        method: .get, path: "/api/bus/count", tag: .messages, summary: "How many messages wait",
        parameters: [agent, type],
        answers: [
            .ok(
                "How many wait, and how many were dropped as the mailbox was full.",
                .object([
                    .required("agent", .text()), .required("count", .count), .required("dropped", .count),
                ]))
        ], make: { _, query, _ in .ask(.bus(.count(agent: try query.mailbox(), type: query["type"]))) })

    private static let history = Endpoint(
        method: .get, path: "/api/bus/history", tag: .messages, summary: "Messages, taken ones included",
        about: "The oldest first: the newest `limit` of them, or the first ones after `since`; of the newest 10,000.",
        parameters: [
            .query("agent", .name, "Only those that it sent or received."),
            .query("since", .text(), "Only those after this: a message's id, its `stamp`, or a time."),
            .limit(default: Route.defaultLimit),
        ],
        answers: [.ok("The messages.", list)],
        make: { _, query, _ in
            let limit = try query.page(default: Route.defaultLimit).limit
            return .ask(.bus(.history(agent: query["agent"], since: query["since"], limit: limit)))
        })

    private static let conversation = Endpoint(
        method: .get, path: "/api/bus/conversation/{correlation_id...}", tag: .messages,
        summary: "The messages with a correlation id", about: "The oldest first. Slashes may come unencoded.",
        parameters: [.path("correlation_id", .wanted, "The correlation id."), .limit(default: Route.maximumLimit)],
        answers: [.ok("The messages.", list)],
        make: { path, query, _ in
            let limit = try query.page(default: Route.maximumLimit).limit
            return .ask(.bus(.conversation(path["correlation_id"] ?? "", limit: limit)))
        })

    private static let statistics = Endpoint(
        method: .get, path: "/api/bus/stats", tag: .messages, summary: "How many messages there were, and wait",
        about: "As this node has read; of agents the 1,000 busiest.",
        answers: [.ok("The counts.", .named("MessageCounts"))], make: { _, _, _ in .ask(.bus(.stats)) })

    static let messageSchemas: [NamedSchema] = [
        NamedSchema(
            name: "NewMessage",
            schema: .object([
                .required("sender", .name), .required("receiver", .name, "An agent, or `broadcast`."),
                .required("message_type", .text(choices: messageTypes)), .required("content", .any),
                .maybe("id", .uuid, "Your own, else one is made."), .maybe("run_id", .optional(.name)),
                .maybe("correlation_id", .optional(.name)), .maybe("metadata", .optional(.object([]))),
                .maybe("priority", .optional(.integer(0...10)), "10 comes first; 5 by default."),
            ])),
        NamedSchema(
            name: "Message",
            schema: .object(
                [
                    .required("id", .uuid), .required("sender", .text()), .required("receiver", .text()),
                    .required("message_type", .text(choices: messageTypes)), .required("content", .any),
                    .maybe("run_id", .text()), .maybe("correlation_id", .text()), .required("metadata", .object([])),
                    .required("priority", .integer(0...10)),
                ] + accepted)),
        NamedSchema(
            name: "MessageCounts",
            schema: .object([
                .required("messages", .count), .required("by_type", .map(.count)),
                .required("by_agent", .map(.object([.required("sent", .count), .required("received", .count)]))),
                .required("mailboxes", .count), .required("waiting", .count), .required("dropped", .count),
            ])),
    ]

    private static let messageTypes = [
        "request", "response", "notification", "task_assignment", "task_complete", "task_failed", "query", "answer",
        "proposal", "vote", "heartbeat", "shutdown", "error", "broadcast",
    ]
}

extension Query {
    /// The agent whose mailbox is asked for.
    fileprivate func mailbox() throws(BadQuery) -> String {
        guard let agent = self["agent"], !agent.isEmpty else {
            throw BadQuery(message: "Validation error: query parameter agent: required, the agent whose mailbox it is")
        }
        return agent
    }
}
