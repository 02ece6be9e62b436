import CRDT
import Gossip

/// What SDK 0.7 tells the tracker: plans become plans, reports of tasks become events.
extension NodeCore {
    /// Lets a plan begin, as the memory service keeps plans. Again, what is said of it is replaced.
    mutating func startPlan(
        _ request: RequestID, _ tenancy: Tenancy, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(bytes)
        let plan = try body.requiredText("plan_id")
        let agent = try body.text("agent_id")
        let goal = try body.anyText("goal") ?? ""
        if let tasks = body["tasks"], tasks.elements == nil {
            throw .invalid(field: "tasks", "expected an array, found \(tasks.phrase)")
        }
        let goalData = JSONValue.object([
            ("goal", .string(goal)), ("agent_id", .optional(agent)), ("tasks", body["tasks"] ?? .array([])),
            ("metadata", .object(try body.object("metadata") ?? [])),
        ])
        let key = Tenancy.key(tenancy.tenant, plan)
        var changes = MemoryChanges(MemoryDocument(.plan, key, documents))
        try changes.set("goalEvent", text: goal)
        try changes.set("goalData", goalData)
        try changes.setNewPlan(of: tenancy)
        let head = try writeMemory(.plan, key, changes, now: now, into: &effects)
        show(
            request, .object([("plan_id", .string(plan)), ("success", .bool(true))]), head, into: &effects)
    }

    private static let progressMembers = ["task_id", "status", "progress", "message", "data", "agent_id"]

    /// Publishes how far a task is, for the tracker and for whoever listens.
    mutating func noteProgress(
        _ request: RequestID, _ plan: String, _ tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(bytes)
        let task = try body.requiredText("task_id")
        let status = try body.requiredText("status")
        _ = try body.double("progress", 0...1)
        let message = try body.anyText("message")
        let goalData = documents.value(of: "goalData", in: DocumentKind.plan.name(Tenancy.key(tenancy.tenant, plan)))
        let owner = goalData.flatMap { try? JSONValue($0) }?["agent_id"]?.string
        let id = UUID(random: dice.next(), dice.next())
        let data: [(key: String, value: JSONValue)] =
            [
                ("task_id", .string(task)), ("plan_id", .string(plan)), ("state", .string(status)),
                ("progress", body["progress"] ?? .null), ("message", .optional(message)),
                ("data", body["data"] ?? .null),
            ] + body.others(Self.progressMembers)
        let event = JSONValue.object([
            ("id", .string(id.text)), ("topic", .string("task-events")), ("type", .string("task.progress")),
            ("source", .string(try body.text("agent_id") ?? owner ?? "tracker")), ("correlation_id", .string(plan)),
            ("data", .object(data)), ("specversion", .string("1.0")), ("time", .time(cluster.nowMs(now))),
            ("plan_id", .string(plan)), ("tenant_id", .string(tenancy.tenant)), ("user_id", .string(tenancy.user)),
        ]).encoded()
        let draft = Draft.bus(try BusDraft(event.span.bytes))
        _ = try accept(draft, event.span.bytes, id: id, patterns: [], now: now, into: &effects)
        counters.accepted += 1
        show(
            request, .object([("plan_id", .string(plan)), ("task_id", .string(task)), ("success", .bool(true))]),
            into: &effects)
    }
}
