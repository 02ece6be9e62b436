import CRDT

/// What the tracker reads of a bus event.
struct TrackedEvent {
    let id: String
    let topic: String
    let type: String
    let source: String
    let correlation: String
    let data: JSONValue
    let responseEvent: String?
    let traceID: String?
    let parentID: String?
    let planID: String?
    let tenantID: String?
    let stamp: HybridTimestamp

    init?(_ json: RawSpan, at stamp: HybridTimestamp) {
        guard let event = try? JSONValue(json), let id = event["id"]?.string, let topic = event["topic"]?.string else {
            return nil
        }
        (self.id, self.topic, self.stamp) = (id, topic, stamp)
        type = event["type"]?.string ?? ""
        source = event["source"]?.string ?? ""
        correlation = event["correlation_id"]?.string ?? ""
        data = event["data"] ?? .null
        responseEvent = event["response_event"]?.string
        traceID = event["trace_id"]?.string
        parentID = event["parent_event_id"]?.string
        planID = event["plan_id"]?.string ?? event["data"]?["plan_id"]?.string
        tenantID = event["tenant_id"]?.string
    }

    var ms: UInt64 { stamp.milliseconds }
    /// Events of other protocols name no tenant, and are everybody's. Who asks without naming one sees those of all: SDK 0.9
    /// names one in its events and, without a token, none in its requests.
    func isShown(to tenancy: Tenancy) -> Bool {
        guard let tenantID, !tenancy.tenant.isSame(as: Tenancy.defaultTenant) else { return true }
        return tenantID.isSame(as: tenancy.tenant)
    }
    var isRequest: Bool { topic == "action-requests" }
    var isResult: Bool { topic == "action-results" }
    /// What asked for something under the same id is answered by: workers and planners echo it.
    var actionID: String? { data["action_id"]?.string }
    var taskID: String? { data["task_id"]?.string }

    /// How a result says that it is none: tools by `success`, workers by `status`.
    var isFailure: Bool {
        if case .bool(false)? = data["success"] { return true }
        return data["status"]?.string == "failed" || type.hasSuffix(".failed")
    }

    /// What a report of a task's progress says that it is; nil for other events.
    var reported: String? {
        guard type == "task.progress" || type == "task.state_changed" else { return nil }
        let word = (data["state"] ?? data["new_state"] ?? data["status"])?.string ?? "running"
        return Self.states.contains(word) ? word : Self.others[word] ?? "running"
    }

    private static let states = ["pending", "running", "delegated", "waiting", "completed", "failed", "cancelled"]
    private static let others = [
        "done": "completed", "success": "completed", "error": "failed", "canceled": "cancelled",
    ]
}

/// Something that a plan had others do.
struct TrackedAction {
    let id: String
    let eventType: String
    let correlation: String
    let taskID: String?
    let responseEvent: String?
    let startedMs: UInt64
    var state = "pending"
    var endedMs: UInt64?
    /// From 0 to 1; nil if nobody said.
    var progress: Double?

    func isOf(task id: String) -> Bool { taskID?.isSame(as: id) ?? false }
    var isOver: Bool { state == "completed" || state == "failed" || state == "cancelled" }

    var json: JSONValue {
        let seconds = endedMs.map { JSONValue.seconds($0 - min(startedMs, $0)) }
        return .object([
            ("task_id", .string(id)), ("event_type", .string(eventType)), ("state", .string(state)),
            ("started_at", .time(startedMs)), ("completed_at", endedMs.map { .time($0) } ?? .null),
            ("duration_seconds", seconds ?? .null), ("progress", progress.map { .number("\($0)") } ?? .null),
        ])
    }
}

/// What a plan had others do, from its events in the order of their stamps.
struct TrackedActions {
    private(set) var list: [TrackedAction] = []
    /// What the planner said has become of the plan; nil if it did not.
    private(set) var outcome: String?

    /// The goal is asked for as an action is: the first event of its type is no action of the plan.
    init(_ events: [TrackedEvent], goalEvent: String?) {
        var goal = goalEvent
        for event in events {
            if event.type == "plan.completed" || event.type == "plan.failed" {
                outcome = String(event.type.dropFirst("plan.".count))
            } else if let state = event.reported {
                report(event, state)
            } else if event.isRequest {
                if let wanted = goal, event.type.isSame(as: wanted) { goal = nil } else { begin(event) }
            } else {
                end(event)
            }
        }
    }

    private mutating func begin(_ event: TrackedEvent) {
        let id = event.actionID ?? event.taskID ?? event.id
        // Reports of a task may come before it, and requests may be repeated.
        guard !list.contains(where: { $0.id.isSame(as: id) }) else { return }
        list.append(
            TrackedAction(
                id: id, eventType: event.type, correlation: event.correlation, taskID: event.taskID,
                responseEvent: event.responseEvent, startedMs: event.ms))
    }

    /// An answer belongs to the action that it names, else to the first that waits for such a one.
    private mutating func end(_ event: TrackedEvent) {
        let open = list.indices.filter { !list[$0].isOver }
        let named = open.first { i in
            event.actionID.map { list[i].id.isSame(as: $0) } ?? event.taskID.map { list[i].isOf(task: $0) } ?? false
        }
        let asked = open.filter { list[$0].correlation.isSame(as: event.correlation) }
        let awaited = asked.first { list[$0].responseEvent?.isSame(as: event.type) ?? false }
        let any = event.isResult ? asked.first { list[$0].responseEvent == nil } : nil
        guard let i = named ?? awaited ?? any else { return }
        list[i].state = event.isFailure ? "failed" : "completed"
        list[i].endedMs = event.ms
    }

    private mutating func report(_ event: TrackedEvent, _ state: String) {
        guard let task = event.taskID else { return }
        let i = list.firstIndex { $0.id.isSame(as: task) || $0.isOf(task: task) } ?? list.count
        if i == list.count {
            list.append(
                TrackedAction(
                    id: task, eventType: event.type, correlation: event.correlation, taskID: task, responseEvent: nil,
                    startedMs: event.ms))
        }
        guard !list[i].isOver else { return }
        list[i].state = state
        if let progress = event.data["progress"]?.double { list[i].progress = min(max(progress, 0), 1) }
        if list[i].isOver { list[i].endedMs = event.ms }
    }

    /// A worker has handed a task on and keeps what it needs to go on.
    mutating func noteDelegated(_ task: TaskRecord) {
        guard let i = list.firstIndex(where: { $0.id.isSame(as: task.taskID) || $0.isOf(task: task.taskID) }) else {
            var action = TrackedAction(
                id: task.taskID, eventType: task.eventType, correlation: "", taskID: task.taskID, responseEvent: nil,
                startedMs: task.createdMs)
            action.state = "delegated"
            return list.append(action)
        }
        if !list[i].isOver { list[i].state = "delegated" }
    }
}

extension JSONValue {
    /// Milliseconds as seconds.
    static func seconds(_ milliseconds: UInt64) -> JSONValue {
        let rest = "\(1_000 + milliseconds % 1_000)".dropFirst()
        return .number("\(milliseconds / 1_000).\(rest)")
    }
}
