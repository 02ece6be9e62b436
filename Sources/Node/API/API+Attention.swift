internal import NodeCore
internal import Transport

/// What agents attend to.
extension API {
    private static let dialogueID = Endpoint.Parameter(
        name: "dialogue_id", place: .path, schema: .name, isRequired: true,
        about: "The dialogue's id, for example a chat's; 1 to 1,024 bytes.")
    private static let queue = Schema.named("Attention")

    static let attention: [Endpoint] = [
        Endpoint(
            method: .get, path: "/api/agents/{agent_id}/attention", tag: .attention,
            summary: "An agent's dialogues, the most urgent first", parameters: [agentInPath],
            answers: [
                Endpoint.Answer(status: 200, about: "Its queue and its focus.", schema: queue), notYourself,
                unknownAgent,
            ],
            make: { path, _, caller in .ask(.attention(.queue(agent: path["agent_id"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .put, path: "/api/agents/{agent_id}/attention/{dialogue_id}", tag: .attention,
            summary: "Add a dialogue, or say how much it matters",
            about: "What the body does not name stays as it is; null makes it what it is by default.",
            parameters: [agentInPath, dialogueID], body: Endpoint.Content(schema: .named("DialogueDraft")),
            answers: [
                Endpoint.Answer(status: 200, about: "The queue.", schema: queue),
                Endpoint.Answer(status: 201, about: "The queue with the new dialogue.", schema: queue), notYourself,
                unknownAgent,
                Endpoint.Answer(status: 409, about: "The agent has 1,000 dialogues already.", schema: refusal),
            ],
            make: { path, _, caller in
                .ask(
                    .attention(
                        .set(agent: path["agent_id"] ?? "", dialogue: path["dialogue_id"] ?? ""), by: caller.asker))
            }),
        Endpoint(
            method: .delete, path: "/api/agents/{agent_id}/attention/{dialogue_id}", tag: .attention,
            summary: "Drop a dialogue", parameters: [agentInPath, dialogueID],
            answers: [
                Endpoint.Answer(status: 204, about: "It is gone."), notYourself,
                Endpoint.Answer(status: 404, about: "No such agent or dialogue.", schema: refusal),
            ],
            make: { path, _, caller in
                .ask(
                    .attention(
                        .drop(agent: path["agent_id"] ?? "", dialogue: path["dialogue_id"] ?? ""), by: caller.asker))
            }),
        Endpoint(
            method: .post, path: "/api/agents/{agent_id}/attention/next", tag: .attention,
            summary: "Turn to the most urgent of the other dialogues",
            about: "Keeps the `state` of the dialogue that is left, and gives back that of the next. Told as "
                + "`AgentStatusUpdated` with `currentFocus`.",
            parameters: [agentInPath],
            body: Endpoint.Content(
                schema: .object([.maybe("state", .any)]), isRequired: false),
            answers: [
                Endpoint.Answer(
                    status: 200, about: "The dialogue with its state, and the queue.", schema: queue), notYourself,
                unknownAgent,
                Endpoint.Answer(
                    status: 409, about: "There is no dialogue whose state could be kept.", schema: refusal),
            ],
            make: { path, _, caller in .ask(.attention(.next(agent: path["agent_id"] ?? ""), by: caller.asker)) }),
    ]

    private static let weight = Schema.number(0...10, about: "0 to 10, 5 by default.")
    private static let closeness = Schema.number(0...1, about: "0 to 1, 0.5 by default.")

    static let attentionSchemas: [NamedSchema] = [
        NamedSchema(
            name: "DialogueDraft",
            schema: .object([
                .maybe("importance", .optional(weight)), .maybe("relation", .optional(closeness)),
                .orNull("deadline", .moment), .orNull("last_interaction", .moment),
                .maybe("state", .any),
            ])),
        NamedSchema(
            name: "Dialogue",
            schema: .object([
                .required("dialogue_id", .text()), .required("priority", .number(0...10)),
                .required("last_interaction", .time), .required("importance", weight),
                .required("deadline", .optional(.time)), .required("relation", closeness),
                .maybe("unread", .integer(0...Int.max, about: "Of a chat: messages that the agent has not read.")),
                .maybe("state", .any),
            ])),
        NamedSchema(
            name: "Attention",
            schema: .object([
                .required("agent_id", .text()), .required("current_focus", .optional(.text())),
                .maybe("dialogue", .optional(.named("Dialogue"))),
                .required("attention_queue", .array(.named("Dialogue"))),
                .required("last_updated", .optional(.time)),
            ])),
    ]
}
