import CRDT

/// A plan as the documents `plan/<tenant>/<plan>` and `plan-context/<tenant>/<plan>` tell of it. The planner keeps its state
/// in the second.
struct PlanRecord {
    let planID: String
    let sessionID: String?
    let parentPlanID: String?
    let goalEvent: String?
    let currentState: String?
    let correlationIDs: [String]
    /// How many tasks it was said to have; SDK 0.7 says so.
    let declaredTasks: Int
    /// There is a context, so that the planner says how far it is.
    let hasContext: Bool
    /// Milliseconds since the Unix epoch.
    let createdMs: UInt64
    let updatedMs: UInt64

    /// Nil where neither document exists.
    init?(tenant: String, plan: String, _ documents: borrowing DocumentMap) {
        let key = Tenancy.key(tenant, plan)
        let own = MemoryDocument(.plan, key, documents)
        let context = MemoryDocument(.planContext, key, documents)
        let both = [own, context].compactMap { $0 }
        guard !both.isEmpty else { return nil }
        planID = plan
        sessionID = own?.text("sessionId") ?? context?.text("sessionId")
        parentPlanID = own?.text("parentPlanId")
        goalEvent = own?.text("goalEvent") ?? context?.text("goalEvent")
        currentState = context?.text("currentState")
        correlationIDs = context?.json("correlationIds")?.elements?.compactMap { $0.string } ?? []
        declaredTasks = own?.json("goalData")?["tasks"]?.elements?.count ?? 0
        hasContext = context != nil
        createdMs = both.map(\.created.milliseconds).min() ?? 0
        updatedMs = both.map(\.updated.milliseconds).max() ?? 0
    }
}

/// A task that waits for others, as its context tells of it: it is there for as long as the task is delegated.
struct TaskRecord {
    let taskID: String
    let planID: String?
    let eventType: String
    /// Milliseconds since the Unix epoch.
    let createdMs: UInt64
    let subTasks: [(id: String, group: String?, isOver: Bool)]

    /// Nil where the document does not exist.
    init?(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let parts = Tenancy.parts(key)
        guard parts.count == 2, let view = TaskContextView(String(decoding: key, as: UTF8.self), documents) else {
            return nil
        }
        taskID = parts[1]
        planID = view.document.text("planId")
        eventType = view.document.text("eventType") ?? ""
        createdMs = view.document.created.milliseconds
        subTasks = view.subTasks.map { subTask in
            let told = subTask.info.flatMap { try? JSONValue($0) }
            let pending = subTask.pending.flatMap { try? JSONValue($0) }
            let group = told?["parallel_group_id"]?.string ?? pending?["parallel_group_id"]?.string
            return (String(decoding: subTask.id, as: UTF8.self), group, subTask.done != nil)
        }
    }

    /// The groups that its sub-tasks are in, each once.
    var groups: [String] {
        var seen: Set<[UInt8]> = []
        return subTasks.compactMap(\.group).filter { seen.insert(Array($0.utf8)).inserted }
    }

    /// How many sub-tasks a group has, and how many of them have ended.
    func count(in group: String) -> (all: Int, done: Int) {
        let found = subTasks.filter { $0.group?.isSame(as: group) ?? false }
        return (found.count, found.count(where: \.isOver))
    }
}

extension MemoryDocument {
    fileprivate func text(_ name: StaticString) -> String? {
        self[name].flatMap { $0.span.bytes.jsonText }.map { String(decoding: $0, as: UTF8.self) }
    }
    fileprivate func json(_ name: StaticString) -> JSONValue? { self[name].flatMap { try? JSONValue($0) } }
}
