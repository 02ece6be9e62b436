internal import NodeCore
internal import Transport

/// The tracker of Soorma (docs/soorma-tracker.md).
extension API {
    static let soormaTracker: [Endpoint] = trackedPlans + trackedOthers + trackerOfOldSDKs

    private static let planID = Parameter.path("plan_id", .wanted, "The plan's id; a slash comes as `%2F`.")
    private static let unknownPlan = Answer.refusal(404, "Nothing is known of this plan.")

    private static let trackedPlans: [Endpoint] = [
        Endpoint(
            method: .get, path: "/v1/tracker/plans/{plan_id}", tag: .soormaTracker, summary: "How far a plan is",
            parameters: [planID],
            answers: [.ok("How far it is.", .named("PlanProgress")), unknownPlan]
        ) { path, _, caller in ask(path, caller) { .plan($0) } },
        Endpoint(
            method: .get, path: "/v1/tracker/plans/{plan_id}/actions", tag: .soormaTracker,
            summary: "What a plan had others do", about: "In the order in which it was asked for.",
            parameters: [planID],
            answers: [.ok("The actions.", .array(.named("TaskExecution"))), unknownPlan]
        ) { path, _, caller in ask(path, caller) { .actions(plan: $0) } },
        Endpoint(
            method: .get, path: "/v1/tracker/plans/{plan_id}/timeline", tag: .soormaTracker,
            summary: "The events of a plan", about: "The newest 2,000, the oldest of them first.",
            parameters: [planID],
            answers: [
                .ok(
                    "The events.",
                    .object([
                        .required("trace_id", .text()),
                        .required(
                            "events",
                            .array(
                                .object([
                                    .required("event_id", .uuid), .required("event_type", .text()),
                                    .required("timestamp", .time),
                                    .required("parent_event_id", .optional(.text())),
                                ]))),
                    ])), unknownPlan,
            ]
        ) { path, _, caller in ask(path, caller) { .timeline(plan: $0) } },
        Endpoint(
            method: .get, path: "/v1/tracker/plans/{plan_id}/sub-plans", tag: .soormaTracker,
            summary: "The plans that are parts of a plan", about: "The oldest first; none of a plan that is not known.",
            parameters: [planID],
            answers: [.ok("The plans.", .array(.named("PlanExecution")))]
        ) { path, _, caller in ask(path, caller) { .subPlans(plan: $0) } },
    ]

    private static let trackedOthers: [Endpoint] = [
        Endpoint(
            method: .get, path: "/v1/tracker/sessions/{session_id}/plans", tag: .soormaTracker,
            summary: "The plans of a conversation", about: "The oldest first; none of a session that is not known.",
            parameters: [.path("session_id", .wanted, "The session's id; a slash comes as `%2F`.")],
            answers: [.ok("The plans.", .array(.named("PlanExecution")))]
        ) { path, _, caller in
            .ask(.soorma(.tracker(.sessionPlans(path["session_id"] ?? ""), caller.tenancy)))
        },
        Endpoint(
            method: .get, path: "/v1/tracker/metrics", tag: .soormaTracker, summary: "How an agent fares",
            about: "From what it published, as far as that is among the newest 16,384 entries of this node's logs.",
            parameters: [
                .query("agent_id", .text(), "The agent's id, or the name under which it publishes.", isRequired: true),
                .query(
                    "period", .text(pattern: "^[0-9]{1,6}[smhdw]$"), "How far back: `15m`, `1h`, `7d`; `7d` by default."
                ),
            ],
            answers: [
                .ok(
                    "What became of its tasks.",
                    .object([
                        .required("agent_id", .text()), .required("period", .text()), .required("total_tasks", .count),
                        .required("completed_tasks", .count), .required("failed_tasks", .count),
                        .required("avg_duration_seconds", .number()), .required("success_rate", .number(0...1)),
                    ])), .refusal(404, "Nothing is known of this agent."),
            ]
        ) { _, query, caller throws(BadQuery) in
            guard let agent = query["agent_id"], !agent.isEmpty else {
                throw query.refusal("agent_id", "an agent's id", query["agent_id"] ?? "")
            }
            return .ask(.soorma(.tracker(.metrics(agent: agent, period: query["period"] ?? "7d"), caller.tenancy)))
        },
        Endpoint(
            method: .get, path: "/v1/tracker/delegation-groups/{group_id}", tag: .soormaTracker,
            summary: "How far a group of sub-tasks is", about: "For as long as the task that waits for it is there.",
            parameters: [.path("group_id", .wanted, "The group's id.")],
            answers: [
                .ok(
                    "How far it is.",
                    .object([
                        .required("group_id", .text()), .required("parent_task_id", .text()),
                        .required("plan_id", .optional(.text())), .required("total_tasks", .count),
                        .required("completed_tasks", .count), .required("created_at", .time),
                    ])), .refusal(404, "No task keeps such a group."),
            ]
        ) { path, _, caller in
            .ask(.soorma(.tracker(.delegationGroup(path["group_id"] ?? ""), caller.tenancy)))
        },
    ]

    private static let trackerOfOldSDKs: [Endpoint] = [
        Endpoint(
            method: .post, path: "/v1/plans", tag: .soormaTracker, summary: "Begin a plan (SDK 0.7)",
            about: "It is a plan of the memory service from then on. Again, what is said of it is replaced.",
            body: .init(
                schema: .object([
                    .required("plan_id", .name), .orNull("agent_id", .name), .orNull("goal", .text()),
                    .orNull("tasks", .array(.any)), .orNull("metadata", .object([])),
                ])),
            answers: [
                .ok(
                    "It is known.",
                    .object([.required("plan_id", .text()), .required("success", .boolean())])),
                .refusal(507, "There are as many plans as may be."),
            ]
        ) { _, _, caller in .ask(.soorma(.tracker(.startPlan, caller.tenancy))) },
        Endpoint(
            method: .get, path: "/v1/plans/{plan_id}", tag: .soormaTracker, summary: "How far a plan is (SDK 0.7)",
            about: "The same as `/v1/tracker/plans/{plan_id}`.", parameters: [planID],
            answers: [.ok("How far it is.", .named("PlanProgress")), unknownPlan]
        ) { path, _, caller in ask(path, caller) { .plan($0) } },
        Endpoint(
            method: .post, path: "/v1/plans/{plan_id}/progress", tag: .soormaTracker,
            summary: "Say how far a task is (SDK 0.7)",
            about: "It is told as a bus event of type `task.progress` on the topic `task-events`.",
            parameters: [.path("plan_id", .name, "The plan's id.")],
            body: .init(
                schema: .object([
                    .required("task_id", .name), .required("status", .name), .orNull("progress", .number(0...1)),
                    .orNull("message", .text()), .maybe("data", .any), .orNull("agent_id", .name),
                ])),
            answers: [
                .ok(
                    "It is told.",
                    .object([
                        .required("plan_id", .text()), .required("task_id", .text()), .required("success", .boolean()),
                    ]))
            ]
        ) { path, _, caller in ask(path, caller) { .progress(plan: $0) } },
    ]

    private static func ask(
        _ path: [String: String], _ caller: Caller, _ make: (_ plan: String) -> TrackerRequest
    ) -> Route {
        .ask(.soorma(.tracker(make(path["plan_id"] ?? ""), caller.tenancy)))
    }

    private static let planStatus = Schema.text(
        about: "`pending`, `running`, `paused`, `completed`, `failed`, or as said.")

    static let soormaTrackerSchemas: [NamedSchema] = [
        NamedSchema(
            name: "PlanProgress",
            schema: .object([
                .required("plan_id", .text()), .required("status", planStatus), .required("started_at", .time),
                .required("completed_at", .optional(.time)), .required("task_count", .count),
                .required("completed_tasks", .count), .required("failed_tasks", .count),
                .required("current_state", .optional(.text())),
            ])),
        NamedSchema(
            name: "TaskExecution",
            schema: .object([
                .required("task_id", .text()), .required("event_type", .text()),
                .required(
                    "state",
                    .text(choices: [
                        "pending", "running", "delegated", "waiting", "completed", "failed", "cancelled",
                    ])),
                .required("started_at", .time), .required("completed_at", .optional(.time)),
                .required("duration_seconds", .optional(.number())), .required("progress", .optional(.number(0...1))),
            ])),
        NamedSchema(
            name: "PlanExecution",
            schema: .object([
                .required("plan_id", .text()), .required("parent_plan_id", .optional(.text())),
                .required("session_id", .optional(.text())), .required("goal_event", .text()),
                .required("status", planStatus), .required("current_state", .optional(.text())),
                .required("trace_id", .text()), .required("started_at", .time),
                .required("completed_at", .optional(.time)),
            ])),
    ]
}
