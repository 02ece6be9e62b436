internal import NodeCore
internal import Transport

extension API {
    private static let chat = Endpoint.Parameter(
        name: "id", place: .path, schema: .wanted, isRequired: true, about: "The chat's id.")
    private static let speaker = Schema.named("Speaker")
    private static let refusals: [Endpoint.Answer] = [
        .init(status: 403, about: "Not a member, or the role may not do this.", schema: .named("Error")),
        .init(status: 404, about: "Unknown chat or agent.", schema: .named("Error")),
        .init(
            status: 409, about: "Somebody else has the turn (who, until when), or the token is stale.",
            schema: .named("Error")),
        .init(
            status: 503,
            about: "`strict` and this is the smaller side of a partition, or the node that decides did not answer.",
            schema: .named("Error")),
    ]

    private static func action(
        _ word: String, _ summary: String, _ about: String, body: [Schema.Property], isRequired: Bool = false,
        _ make: @escaping @Sendable (String) -> TurnRequest
    ) -> Endpoint {
        Endpoint(
            method: .post, path: "/api/chats/{id}/speaker/\(word)", tag: .turns, summary: summary, about: about,
            parameters: [chat], body: .init(schema: .object(body, isOpen: false), isRequired: isRequired),
            answers: [.init(status: 200, about: "Who has the turn now, and who waits.", schema: speaker)] + refusals,
            make: { path, _, caller in .ask(.turns(make(path["id"] ?? ""), by: caller.asker)) })
    }

    private static let agentID = Schema.Property.orNull("agent_id", .name, "The agent; else whoever asks.")
    private static let token = Schema.Property.orNull(
        "token", .integer(1...(1 << 53 - 1), about: "What the grant gave."))

    static let turns: [Endpoint] = [
        Endpoint(
            method: .get, path: "/api/chats/{id}/speaker", tag: .turns, summary: "Who has the turn in a chat",
            about: "As far as the asked node has read.", parameters: [chat],
            answers: [
                .init(status: 200, about: "Who has the turn, until when, and who waits.", schema: speaker),
                .init(status: 404, about: "Unknown chat.", schema: .named("Error")),
            ], make: { path, _, caller in .ask(.turns(.speaker(chat: path["id"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .patch, path: "/api/chats/{id}/speaker", tag: .turns, summary: "Change how turns are taken",
            about: "The owner and admins may. `moderator: null` removes the moderator.", parameters: [chat],
            body: .init(schema: .named("TurnRules")),
            answers: [.init(status: 200, about: "The rules as they are now.", schema: speaker)] + refusals,
            make: { path, _, caller in .ask(.turns(.setRules(chat: path["id"] ?? ""), by: caller.asker)) }),
        action(
            "request", "Ask for the turn",
            "Without a moderator the turn is granted at once if nobody has it, else when those before have had theirs. "
                + "Asked again it answers the same.",
            body: [
                agentID,
                .orNull(
                    "priority", .integer(0...10, about: "10 comes first where the order is `priority`; 5 by default.")),
            ]
        ) { .ask(chat: $0) },
        action(
            "grant", "Grant the turn", "The moderator, the owner and admins may.",
            body: [.orNull("agent_id", .name, "Whom to grant it; else the next of the queue.")]
        ) { .grant(chat: $0) },
        action(
            "release", "Give the turn back", "Or, without a token, stop waiting for it.", body: [agentID, token]
        ) { .release(chat: $0) },
        action("revoke", "Take the turn away", "The moderator, the owner and admins may.", body: []) {
            .revoke(chat: $0)
        },
    ]

    private static let newRules: [Schema.Property] = [
        .orNull("order", order), .orNull("slot_ms", .integer(100...86_400_000)), .orNull("moderator", .name),
        .orNull("required", .boolean()), .orNull("strict", .boolean()),
    ]
    private static let order = Schema.text(choices: ["fifo", "priority"])

    private static let rules: [Schema.Property] = [
        .maybe("order", .text(choices: ["fifo", "priority"], about: "Who is next: `fifo` by default.")),
        .maybe("slot_ms", .integer(100...86_400_000, about: "How long a turn lasts: 60,000 by default.")),
        .maybe("moderator", .optional(.text(about: "The member that grants turns; none by default."))),
        .maybe("required", .boolean(about: "Nobody speaks without a turn, not even while nobody has it.")),
        .maybe("strict", .boolean(about: "Turns are granted only where more than half of the cluster is reachable.")),
    ]

    static let turnSchemas: [NamedSchema] = [
        NamedSchema(name: "TurnRules", schema: .object(newRules, isOpen: false)),
        NamedSchema(
            name: "Speaker",
            schema: .object(
                [
                    .required("chat_id", .text()),
                    .required("current_speaker", .optional(.text(about: "Who has the turn."))),
                    .required("token", .optional(.integer(about: "The fencing token of its grant."))),
                    .required("until", .optional(.text(format: "date-time"))),
                    .required("queue", .array(.text(about: "An agent that waits, the next first."))),
                    .required(
                        "waiting",
                        .array(
                            .object([
                                .required("agent_id", .text()), .required("priority", .integer()),
                                .required("requested_at", .text(format: "date-time")),
                            ]))),
                    .required("last_updated", .optional(.text(format: "date-time"))),
                    .required("decided_by", .text(about: "The name of the node that decides.")),
                    .maybe("agent_id", .text(about: "Who asked for the turn.")),
                    .maybe("granted", .boolean(about: "Whether whoever asked has it now.")),
                    .maybe("position", .optional(.integer(about: "Its place in the queue, from 1 on."))),
                ] + rules)),
    ]
}
