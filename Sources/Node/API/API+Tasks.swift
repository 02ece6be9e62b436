internal import NodeCore
internal import Transport

extension API {
    private static let id = Endpoint.Parameter(
        name: "id", place: .path, schema: .wanted, isRequired: true, about: "The task's id.")
    private static let task = Schema.named("Task")
    private static let refusals: [Endpoint.Answer] = [
        .init(
            status: 403, about: "The agent lacks skills, which are named, or may not do this.", schema: .named("Error")),
        .init(status: 404, about: "Unknown task or agent.", schema: .named("Error")),
        .init(
            status: 409, about: "Claimed already (by whom, until when), over, or the token is stale.",
            schema: .named("Error")),
        .init(
            status: 503,
            about: "`strict` and this is the smaller side of a partition, or the node that decides did not answer.",
            schema: .named("Error")),
    ]
    private static let agentID = Schema.Property.orNull("agent_id", .name, "The agent; else whoever asks.")
    private static let token = Schema.Property.required(
        "token", .integer(1...(1 << 53 - 1), about: "What claiming the task gave."))

    private static func action(
        _ word: String, _ summary: String, _ about: String = "", body: [Schema.Property], isRequired: Bool = true,
        _ make: @escaping @Sendable (String) -> TaskRequest
    ) -> Endpoint {
        Endpoint(
            method: .post, path: "/api/tasks/{id}/\(word)", tag: .tasks, summary: summary, about: about,
            parameters: [id], body: .init(schema: .object(body), isRequired: isRequired),
            answers: [.init(status: 200, about: "The task as it is now.", schema: task)] + refusals,
            make: { path, _, caller in .ask(.tasks(make(path["id"] ?? ""), by: caller.asker)) })
    }

    static let tasks: [Endpoint] = [
        Endpoint(
            method: .post, path: "/api/tasks", tag: .tasks, summary: "Post a task",
            about: "With an `id` of the client's own it may be sent again.", body: .init(schema: .named("NewTask")),
            answers: [
                .init(status: 201, about: "The task.", schema: task),
                .init(status: 200, about: "It was posted before under this id.", schema: task),
                .init(status: 404, about: "Unknown agent.", schema: .named("Error")),
                .init(status: 409, about: "Another task has this id.", schema: .named("Error")),
                .init(status: 507, about: "There are 1,000,000 tasks already.", schema: .named("Error")),
            ], make: { _, _, caller in .ask(.tasks(.post, by: caller.asker)) }),
        Endpoint(
            method: .get, path: "/api/tasks", tag: .tasks, summary: "List tasks, the newest first",
            parameters: [
                .init(name: "status", schema: .text(choices: statuses), about: "Only tasks of this status."),
                .init(name: "skill", schema: .text(), about: "Only tasks that require this skill."),
                .init(name: "agent_id", schema: .text(), about: "Only tasks that this agent does, or did last."),
                .init(
                    name: "before", schema: .text(),
                    about: "Only tasks older than this: a task's id, a stamp, or a time."),
                .init(
                    name: "limit", schema: .integer(1...Int.max), about: "At most so many: 100 by default."),
            ], answers: [.init(status: 200, about: "Tasks, at most 8 MiB of them.", schema: .array(task))],
            make: { (_, query, caller) throws(BadQuery) in
                let page = try query.page(default: Route.defaultLimit)
                return .ask(
                    .tasks(
                        .tasks(
                            status: query["status"], skill: query["skill"], agent: query["agent_id"],
                            before: page.before, limit: page.limit), by: caller.asker))
            }),
        Endpoint(
            method: .get, path: "/api/tasks/{id}", tag: .tasks, summary: "Read a task", parameters: [id],
            answers: [
                .init(status: 200, about: "The task.", schema: task),
                .init(status: 404, about: "Unknown task.", schema: .named("Error")),
            ], make: { path, _, caller in .ask(.tasks(.task(path["id"] ?? ""), by: caller.asker)) }),
        Endpoint(
            method: .delete, path: "/api/tasks/{id}", tag: .tasks, summary: "Cancel a task",
            about: "Whoever posted it may. It stays readable for a week.", parameters: [id],
            answers: [.init(status: 200, about: "The task as it is now.", schema: task)] + refusals,
            make: { path, _, caller in .ask(.tasks(.cancel(path["id"] ?? ""), by: caller.asker)) }),
        action(
            "claim", "Claim a task",
            "Again by the same agent, it renews the lease. The agent's capabilities and available resources must hold all "
                + "skills that the task requires.",
            body: [agentID, .orNull("lease_ms", .integer(100...86_400_000), "Else the task's.")],
            isRequired: false
        ) { .claim($0) },
        action(
            "complete", "Complete a task", body: [agentID, token, .maybe("result", .any)]
        ) { .complete($0) },
        action(
            "fail", "Give up a task", "After a pause it is open again, until it has failed `max_attempts` times.",
            body: [agentID, token, .orNull("reason", .name)]
        ) { .fail($0) },
        action(
            "rate", "Rate the work on a completed task", "Whoever posted it may, once.",
            body: [
                .required("rating", .anyOf([.integer(1...1), .integer(-1...(-1))]), "1 for well done, -1 for badly.")
            ]
        ) { .rate($0) },
        Endpoint(
            method: .get, path: "/api/agents/{agent_id}/reputation", tag: .tasks,
            summary: "How an agent's work was found",
            parameters: [
                .init(name: "agent_id", place: .path, schema: .wanted, isRequired: true, about: "The agent's id.")
            ],
            answers: [
                .init(status: 200, about: "Its counters.", schema: .named("Reputation")),
                .init(status: 404, about: "Unknown agent.", schema: .named("Error")),
            ],
            make: { path, _, caller in .ask(.tasks(.reputation(agent: path["agent_id"] ?? ""), by: caller.asker)) }),
    ]

    private static let statuses = ["open", "claimed", "waiting", "completed", "failed", "expired", "cancelled"]

    private static let newTerms: [Schema.Property] = [
        .required("description", .text(length: 1...(64 << 10))),
        .orNull("skills_required", .array(.name, length: 0...100)),
        .orNull("deadline", .moment, "Until when it must be done; not in the past."),
        .orNull(
            "assigned_to", .anyOf([.array(.name, length: 0...100), .name]),
            "Only these agents may claim it, or this one."),
        .orNull("lease_ms", .integer(100...86_400_000), "How long a claim lasts: 300,000 by default."),
        .orNull("retry_ms", .integer(0...3_600_000), "The first pause after a failure: 1,000 by default."),
        .orNull("max_attempts", .integer(1...100), "3 by default."),
        .orNull("strict", .boolean(), "Claimed only where more than half of the cluster is reachable."),
    ]

    private static let terms: [Schema.Property] = [
        .required("description", .text()),
        .maybe("skills_required", .array(.text())),
        .maybe("deadline", .optional(.text(format: "date-time", about: "Until when it must be done."))),
        .maybe("assigned_to", .array(.text(about: "Only these agents may claim it; later, who does it."))),
        .maybe("lease_ms", .integer(100...86_400_000, about: "How long a claim lasts: 300,000 by default.")),
        .maybe("retry_ms", .integer(0...3_600_000, about: "The first pause after a failure: 1,000 by default.")),
        .maybe("max_attempts", .integer(1...100, about: "3 by default.")),
        .maybe("strict", .boolean(about: "Claimed only where more than half of the cluster is reachable.")),
    ]

    static let taskSchemas: [NamedSchema] = [
        NamedSchema(
            name: "NewTask",
            schema: .object(
                [.orNull("id", .name), .orNull("created_by", .name, "An agent; else whoever asks.")] + newTerms)),
        NamedSchema(
            name: "Task",
            schema: .object(
                [
                    .required("id", .text()), .required("created_by", .text()),
                    .required("status", .text(choices: statuses)),
                    .required("created_at", .text(format: "date-time")),
                    .required("attempt", .integer(about: "Which attempt this is, or was; 0 before the first.")),
                    .required("token", .optional(.integer(about: "The fencing token of the claim, while it lasts."))),
                    .required("lease_until", .optional(.text(format: "date-time"))),
                    .required("retry_at", .optional(.text(format: "date-time"))),
                    .required("reason", .optional(.text(about: "Why it is not done, if it was tried."))),
                    .required("result", .any), .required("rating", .optional(.integer(-1...1))),
                    .required("last_updated", .text(format: "date-time")),
                    .required("decided_by", .text(about: "The name of the node that decides.")),
                ] + terms)),
        NamedSchema(
            name: "Reputation",
            schema: .object([
                .required("agent_id", .text()),
                .required("score", .integer(about: "Completed and rated up, less failed and rated down.")),
                .required("completed", .integer()), .required("failed", .integer()),
                .required("rated_up", .integer()), .required("rated_down", .integer()),
            ])),
    ]
}
