internal import NodeCore
internal import Transport

/// What the memory service of Soorma keeps under names (docs/soorma-memory.md).
extension API {
    static let soormaMemory: [Endpoint] = taskContexts + planContexts + plans + memorySessions + workingMemory

    private static func endpoint(
        _ method: HTTPMethod, _ path: String, _ summary: String, _ about: String = "", _ parameters: [Parameter] = [],
        body: String? = nil, _ answers: [Endpoint.Answer],
        _ make: @escaping @Sendable (_ path: [String: String], _ query: Query) throws -> MemoryRequest
    ) -> Endpoint {
        Endpoint(
            method: method, path: "/v1/memory/" + path, tag: .soormaMemory, summary: summary, about: about,
            parameters: parameters + soormaTenancy, body: body.map { .init(schema: .named($0)) },
            // Whatever is asked, the headers may be what nobody can read.
            answers: answers
        ) { path, query, caller in
            .ask(.soorma(.memory(try make(path, query), caller.tenancy)))
        }
    }

    /// For whom the memory service keeps things.
    static let soormaTenancy: [Parameter] = [
        .init(
            name: "X-Tenant-ID", place: .header, schema: .text(length: 0...256),
            about: "Whose it is; without one it belongs to the default tenant."),
        .init(
            name: "X-User-ID", place: .header, schema: .text(length: 0...256),
            about: "Which of the tenant's users asks; `?user_id=` says it too."),
    ]
    private static let task = Parameter.path("task_id", .wanted, "The task.")
    private static let plan = Parameter.path("plan_id", .wanted, "The plan.")
    private static let tooLong = Endpoint.Answer.refusal(
        413, "A value is longer than 512 KiB, or all of it than 4 MiB.")
    private static let noRoom = Endpoint.Answer.refusal(507, "There is no room for more.")
    private static let limit = Parameter.limit(default: 20)
    private static func limit(_ query: Query) throws(BadQuery) -> Int { try query.page(default: 20).limit }

    // MARK: - Contexts

    private static let taskContexts: [Endpoint] = [
        endpoint(
            .post, "task-context", "Keep what a worker knows of a task",
            "Makes a context or merges into it: sub-tasks and the keys of the state that are not named stay, and a sub-task that "
                + "is over stays over, whatever is posted of it.", body: "NewTaskContext",
            [.ok("The merged context.", .named("TaskContext")), tooLong, noRoom]
        ) { _, _ in .storeTaskContext },
        endpoint(
            .get, "task-context/{task_id}", "Read what is kept of a task", "", [task],
            [.ok("The context.", .named("TaskContext")), .refusal(404, "Nothing is kept of it.")]
        ) { path, _ in .taskContext(path["task_id"] ?? "") },
        endpoint(
            .get, "task-context/by-subtask/{sub_task_id}", "Find the task that a sub-task belongs to",
            "If several contexts name it, the one made last.",
            [.path("sub_task_id", .wanted, "The sub-task.")],
            [.ok("The context.", .named("TaskContext")), .refusal(404, "No context names it.")]
        ) { path, _ in .taskContextOf(subTask: path["sub_task_id"] ?? "") },
        endpoint(
            .put, "task-context/{task_id}", "Change what is kept of a task",
            "Merges like `POST`; a key of the state that is null is removed.", [task], body: "TaskContextUpdate",
            [
                .ok("The merged context.", .named("TaskContext")), .refusal(404, "Nothing is kept of it."), tooLong,
                noRoom,
            ]
        ) { path, _ in .updateTaskContext(path["task_id"] ?? "") },
        endpoint(
            .delete, "task-context/{task_id}", "Forget what is kept of a task", "", [task],
            [.noContent("It is gone."), .refusal(404, "Nothing was kept of it.")]
        ) { path, _ in .deleteTaskContext(path["task_id"] ?? "") },
    ]

    private static let planContexts: [Endpoint] = [
        endpoint(
            .post, "plan-context", "Keep what a planner knows of a plan",
            "Makes a context or writes over what differs.", body: "NewPlanContext",
            [.ok("The context.", .named("PlanContext")), tooLong, noRoom]
        ) { _, _ in .storePlanContext },
        endpoint(
            .get, "plan-context/{plan_id}", "Read what is kept of a plan", "", [plan],
            [.ok("The context.", .named("PlanContext")), .refusal(404, "Nothing is kept of it.")]
        ) { path, _ in .planContext(path["plan_id"] ?? "") },
        endpoint(
            .get, "plan-context/by-correlation/{correlation_id}", "Find the plan that a correlation id belongs to",
            "If several plans have it, the one whose context was made last.",
            [.path("correlation_id", .wanted, "The correlation id.")],
            [.ok("The context.", .named("PlanContext")), .refusal(404, "No context names it.")]
        ) { path, _ in .planContextOf(correlation: path["correlation_id"] ?? "") },
        endpoint(
            .put, "plan-context/{plan_id}", "Change what is kept of a plan", "What is not named stays.", [plan],
            body: "PlanContextUpdate",
            [
                .ok("The context.", .named("PlanContext")), .refusal(404, "Nothing is kept of it."), tooLong,
            ]
        ) { path, _ in .updatePlanContext(path["plan_id"] ?? "") },
        endpoint(
            .delete, "plan-context/{plan_id}", "Forget what is kept of a plan", "", [plan],
            [.noContent("It is gone."), .refusal(404, "Nothing was kept of it.")]
        ) { path, _ in .deletePlanContext(path["plan_id"] ?? "") },
    ]

    // MARK: - Plans and sessions

    private static let plans: [Endpoint] = [
        endpoint(
            .post, "plans", "Make a plan", "One that is there already is changed where it differs.", body: "NewPlan",
            [.ok("The plan.", .named("Plan")), tooLong, noRoom]
        ) { _, _ in .createPlan },
        endpoint(
            .get, "plans", "List plans, the newest first",
            "Those of the user who is named; of all users where nobody is.",
            [
                .query("status", .text(), "Only plans of this status."),
                .query("session_id", .text(), "Only plans of this session."), limit,
            ], [.ok("The plans, at most 16 MiB of them.", .array(.named("Plan")))]
        ) { _, query in .plans(status: query["status"], session: query["session_id"], limit: try limit(query)) },
        endpoint(
            .put, "plans/{plan_id}", "Say what has become of a plan",
            "Until its context says something else later.", [plan], body: "PlanUpdate",
            [.ok("The plan.", .named("Plan")), .refusal(404, "Unknown plan.")]
        ) { path, _ in .updatePlan(path["plan_id"] ?? "") },
        endpoint(
            .delete, "plans/{plan_id}", "Delete a plan, its context and its working memory", "", [plan],
            [.noContent("All is gone."), .refusal(404, "Nothing of the kind was there.")]
        ) { path, _ in .deletePlan(path["plan_id"] ?? "") },
    ]

    private static let memorySessions: [Endpoint] = [
        endpoint(
            .post, "sessions", "Make a session", "One that is there already is changed where it differs.",
            body: "NewMemorySession",
            [.ok("The session.", .named("MemorySession")), tooLong, noRoom]
        ) { _, _ in .createSession },
        endpoint(
            .get, "sessions", "List sessions, those first that something happened in last",
            "Those of the user who is named; of all users where nobody is.", [limit],
            [.ok("The sessions, at most 16 MiB of them.", .array(.named("MemorySession")))]
        ) { _, query in .sessions(limit: try limit(query)) },
    ]

    // MARK: - Working memory

    private static let key = Parameter.path("key", .name, "1 to 1,024 bytes; slashes need not be escaped.")

    private static let workingMemory: [Endpoint] = [
        endpoint(
            .put, "working/{plan_id}/{key...}", "Set a key of a plan's working memory", "", [plan, key],
            body: "WorkingValue",
            [.ok("What it holds now.", .named("WorkingMemory")), tooLong, noRoom]
        ) { path, _ in .setWorking(plan: path["plan_id"] ?? "", key: path["key"] ?? "") },
        endpoint(
            .get, "working/{plan_id}/{key...}", "Read a key of a plan's working memory", "", [plan, key],
            [.ok("What it holds.", .named("WorkingMemory")), .refusal(404, "Nothing is there.")]
        ) { path, _ in .working(plan: path["plan_id"] ?? "", key: path["key"] ?? "") },
        endpoint(
            .delete, "working/{plan_id}/{key...}", "Delete a key of a plan's working memory", "", [plan, key],
            [
                .ok(
                    "It is gone, whether or not it was there.",
                    .object([
                        .required("success", .boolean()), .required("deleted", .boolean(), "Whether it was there."),
                        .required("message", .text()),
                    ]))
            ]
        ) { path, _ in .deleteWorking(plan: path["plan_id"] ?? "", key: path["key"] ?? "") },
        endpoint(
            .delete, "working/{plan_id}", "Delete a plan's working memory", "", [plan],
            [
                .ok(
                    "It is gone.",
                    .object([
                        .required("success", .boolean()), .required("countDeleted", .count, "How many keys it had."),
                        .required("message", .text()),
                    ]))
            ]
        ) { path, _ in .deleteWorking(plan: path["plan_id"] ?? "", key: nil) },
    ]

    // MARK: - Schemas

    private static let object = Schema.object([])
    /// A short text, which may be empty.
    private static let short = Schema.text(length: 0...1_024)
    private static let both = "Names may be written in snake_case, too."

    static let soormaMemorySchemas: [NamedSchema] = [
        NamedSchema(
            name: "NewTaskContext",
            schema: .object([
                .required("taskId", .name, both), .required("eventType", .name), .orNull("planId", short),
                .orNull("responseEvent", short),
                .orNull("responseTopic", short, "`action-results` by default."), .orNull("data", object),
                .orNull("subTasks", .array(.name, length: 0...1_000)),
                .orNull(
                    "state", .object([.orNull("_sub_tasks", object, "What is known of each sub-task, by its id.")])),
                .orNull("userId", short, "Else whoever asks."),
            ])),
        NamedSchema(
            name: "TaskContextUpdate",
            schema: .object([
                .orNull("subTasks", .array(.name, length: 0...1_000), both),
                .orNull("state", .object([.orNull("_sub_tasks", object)])),
            ])),
        NamedSchema(
            name: "TaskContext",
            schema: .object([
                .required("tenantId", .text()), .required("userId", .optional(.text())), .required("taskId", .text()),
                .required("planId", .optional(.text())), .required("eventType", .text()),
                .required("responseEvent", .optional(.text())), .required("responseTopic", .text()),
                .required("data", object), .required("subTasks", .array(.text())), .required("state", object),
                .required("createdAt", .time), .required("updatedAt", .time),
            ])),
        NamedSchema(
            name: "NewPlanContext",
            schema: .object([
                .required("planId", .name, both), .required("goalEvent", .name), .orNull("sessionId", short),
                .orNull("goalData", object), .orNull("responseEvent", short),
                .orNull("state", object, "Its `status` is what plans show."), .orNull("currentState", short),
                .orNull("correlationIds", .array(short, length: 0...1_000)),
            ])),
        NamedSchema(
            name: "PlanContextUpdate",
            schema: .object([
                .orNull("state", object), .orNull("currentState", short),
                .orNull("correlationIds", .array(short, length: 0...1_000)),
            ])),
        NamedSchema(
            name: "PlanContext",
            schema: .object([
                .required("tenantId", .text()), .required("planId", .text()),
                .required("sessionId", .optional(.text())), .required("goalEvent", .text()),
                .required("goalData", object), .required("responseEvent", .optional(.text())),
                .required("state", object), .required("currentState", .optional(.text())),
                .required("correlationIds", .array(.text())), .required("createdAt", .time),
                .required("updatedAt", .time),
            ])),
        NamedSchema(
            name: "NewPlan",
            schema: .object([
                .required("planId", .name, both), .required("goalEvent", .name), .orNull("sessionId", short),
                .orNull("goalData", object), .orNull("parentPlanId", short),
            ])),
        NamedSchema(
            name: "PlanUpdate",
            schema: .object([
                .required("status", .name, "`running`, `completed`, `failed`, `paused`, or a word of one's own.")
            ])),
        NamedSchema(
            name: "Plan",
            schema: .object([
                .required("tenantId", .text()), .required("userId", .text()), .required("planId", .text()),
                .required("sessionId", .optional(.text())), .required("goalEvent", .text()),
                .required("goalData", object), .required("status", .text()),
                .required("parentPlanId", .optional(.text())), .required("createdAt", .time),
                .required("updatedAt", .time),
            ])),
        NamedSchema(
            name: "NewMemorySession",
            schema: .object([
                .required("sessionId", .name, both), .orNull("name", short), .orNull("metadata", object),
            ])),
        NamedSchema(
            name: "MemorySession",
            schema: .object([
                .required("tenantId", .text()), .required("userId", .text()), .required("sessionId", .text()),
                .required("name", .optional(.text())), .required("metadata", object), .required("createdAt", .time),
                .required("lastInteraction", .time),
            ])),
        NamedSchema(name: "WorkingValue", schema: .object([.required("value", .any)])),
        NamedSchema(
            name: "WorkingMemory",
            schema: .object([
                .required("id", .text()), .required("tenantId", .text()), .required("planId", .text()),
                .required("key", .text()), .required("value", .any), .required("updatedAt", .time),
            ])),
    ]
}
