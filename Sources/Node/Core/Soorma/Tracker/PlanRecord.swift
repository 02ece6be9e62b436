import CRDT

/// A plan as the documents `plan/<tenant>/<plan>` and `plan-context/<tenant>/<plan>` tell of it. The planner keeps its state
/// in the second.
struct PlanRecord {
    let planID: String
    /// There is a plan, not only its context.
    private(set) var isPlan = false
    private(set) var sessionID: String?
    private(set) var parentPlanID: String?
    private(set) var goalEvent: String?
    private(set) var status = "pending"
    private(set) var currentState: String?
    private(set) var correlationIDs: [String] = []
    /// How many tasks it was said to have; SDK 0.7 says so.
    private(set) var declaredTasks = 0
    /// There is a context, so that the planner says how far it is.
    private(set) var hasContext = false
    /// Milliseconds since the Unix epoch; nil if nobody said so.
    private(set) var createdMs: UInt64?
    private(set) var updatedMs: UInt64?

    /// Nil where neither document exists.
    init?(tenant: String, plan: String, _ documents: borrowing DocumentMap) {
        planID = plan
        let key = Tenancy.key(tenant, plan)
        let own = SoormaFields(DocumentKind.plan.name(key), documents)
        let context = SoormaFields(DocumentKind.planContext.name(key), documents)
        guard own.exists || context.exists else { return nil }
        (isPlan, hasContext) = (own.exists, context.exists)
        sessionID = own.text("sessionId") ?? context.text("sessionId")
        parentPlanID = own.text("parentPlanId")
        goalEvent = own.text("goalEvent") ?? context.text("goalEvent")
        currentState = context.text("currentState")
        correlationIDs = context["correlationIds"]?.elements?.compactMap { $0.string } ?? []
        declaredTasks = own["goalData"]?["tasks"]?.elements?.count ?? 0
        createdMs = [own.moment("createdAt"), context.moment("createdAt")].compactMap { $0 }.min()
        updatedMs = [own.moment("updatedAt"), context.moment("updatedAt")].compactMap { $0 }.max()
        // Whoever wrote last knows best; the planner writes its own state only.
        let told = context["state"]?["status"]?.string
        let isOlder = (own.moment("updatedAt") ?? 0) <= (context.moment("updatedAt") ?? 0)
        status = (isOlder ? told ?? own.text("status") : own.text("status") ?? told) ?? status
    }
}

/// A task that waits for others, as the document `task-context/<tenant>/<task>` tells of it: it is there for as long as the
/// task is delegated.
struct TaskRecord {
    let taskID: String
    private(set) var planID: String?
    private(set) var eventType = ""
    private(set) var createdMs: UInt64?
    /// Its sub-tasks by id, and whether each has ended.
    private(set) var subTasks: [String: Bool] = [:]
    /// The groups that its sub-tasks are in.
    private(set) var groups: [String] = []
    private var groupOf: [String: String] = [:]

    /// Nil where the document does not exist.
    init?(tenant: String, task: String, _ documents: borrowing DocumentMap) {
        taskID = task
        let fields = SoormaFields(DocumentKind.taskContext.name(Tenancy.key(tenant, task)), documents)
        guard fields.exists else { return nil }
        planID = fields.text("planId")
        eventType = fields.text("eventType") ?? ""
        createdMs = fields.moment("createdAt")
        for (id, value) in fields.members("sub/") { note(id, value, isDone: false) }
        for (id, value) in fields.members("done/") { note(id, value, isDone: true) }
        groups = Set(groupOf.values).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private mutating func note(_ id: String, _ value: JSONValue, isDone: Bool) {
        let isOver = isDone || value["status"]?.string == "completed"
        subTasks[id] = (subTasks[id] ?? false) || isOver
        if let group = value["parallel_group_id"]?.string { groupOf[id] = group }
    }

    /// How many sub-tasks a group has, and how many of them have ended.
    func count(in group: String) -> (all: Int, done: Int) {
        let ids = groupOf.filter { $0.value.utf8.elementsEqual(group.utf8) }.keys
        return (ids.count, ids.count { subTasks[$0] ?? false })
    }
}

/// The fields of a document whose values are JSON.
private struct SoormaFields {
    let exists: Bool
    private var values: [String: JSONValue] = [:]

    init(_ document: String, _ documents: borrowing DocumentMap) {
        let name = Array(document.utf8)
        var found: [String: JSONValue] = [:]
        let created = documents.readFields(of: name.span.bytes, inOrder: false) { field, value, _ in
            found[field.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }] = try? JSONValue(value)
        }
        exists = created != nil
        values = found
    }

    subscript(name: String) -> JSONValue? { values[name] }
    func text(_ name: String) -> String? { values[name]?.string }

    func moment(_ name: String) -> UInt64? {
        guard let value = values[name] else { return nil }
        return value.string.flatMap { ISOTime.milliseconds($0) } ?? value.double.flatMap { UInt64(exactly: $0) }
    }

    func members(_ prefix: String) -> [(String, JSONValue)] {
        values.filter { $0.key.hasPrefix(prefix) }.map { (String($0.key.dropFirst(prefix.count)), $0.value) }
    }
}
