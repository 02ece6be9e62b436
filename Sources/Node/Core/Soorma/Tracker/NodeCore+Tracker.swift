import CRDT
import Gossip

/// Soorma's tracker (docs/soorma-tracker.md): nothing is stored for it, but what SDK 0.7 tells; it is computed from plans,
/// contexts and events when it is asked.
extension NodeCore {
    /// What is asked of it.
    mutating func answer(
        _ id: RequestID, _ request: TrackerRequest, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        refreshTracker()
        switch request {
        case .plan(let plan): show(id, try progress(of: plan, tenancy), into: &effects)
        case .actions(let plan):
            let story = try story(of: plan, tenancy)
            show(id, .array(actions(story).list.map(\.json)), into: &effects)
        case .timeline(let plan): show(id, try timeline(of: plan, tenancy), into: &effects)
        case .metrics(let agent, let period):
            show(id, try metrics(of: agent, period: period, tenancy, now: now), into: &effects)
        case .subPlans(let plan):
            listPlans(id, tracker.members(of: .plan, Tenancy.key(tenancy.tenant, plan)), tenancy, into: &effects)
        case .sessionPlans(let session):
            listPlans(id, Array(memories.plans.keys(Memories.term(tenancy, session))), tenancy, into: &effects)
        case .delegationGroup(let group): show(id, try delegationGroup(group, tenancy), into: &effects)
        case .startPlan: try startPlan(id, tenancy, bytes, now: now, into: &effects)
        case .progress(let plan): try noteProgress(id, plan, tenancy, bytes, now: now, into: &effects)
        }
    }

    mutating func refreshTracker() {
        tracker.refresh(documents)
        memories.refresh(documents)
    }

    /// Reads what has changed before it is much.
    mutating func settleTracker() { if tracker.isRefreshDue, !isIncomplete { tracker.refresh(documents) } }

    private func planRecord(_ plan: String, _ tenancy: Tenancy) -> PlanRecord? {
        PlanRecord(tenant: tenancy.tenant, plan: plan, documents)
    }

    /// What was last said of a plan, by itself or by its context.
    private func status(of plan: String, _ tenancy: Tenancy) -> String? {
        memories.status(ofPlan: Array(Tenancy.key(tenancy.tenant, plan).utf8)).map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    private func taskRecord(_ key: [UInt8]) -> TaskRecord? { TaskRecord(key, documents) }

    private static func unknownPlan(_ plan: String) -> NodeError {
        .notFound(
            "nothing is known of plan \(plan.prefix(64)) of this tenant: no plan, no context, and no event among those that "
                + "are looked at")
    }

    // MARK: - Events of a plan

    /// A plan, and what has happened in it, the oldest first.
    private struct Story {
        let record: PlanRecord?
        /// Those that are delegated now.
        let tasks: [TaskRecord]
        let events: [TrackedEvent]
    }

    /// So many events of a plan are looked at, the newest; so many ids lead to them; so many of its delegated tasks.
    static let maximumTrackedEvents = 2_000
    static let maximumCorrelations = 256
    static let maximumDelegatedTasks = 256
    /// Events that name their plan and carry a correlation id of their own are found among so many of the newest entries.
    static let trackedWindow = 8_192

    /// What is known of a plan: its documents, events with one of its correlation ids, recent events that name it, and from
    /// those on, what was asked of others and answered by them.
    private func story(of plan: String, _ tenancy: Tenancy) throws(NodeError) -> Story {
        let record = planRecord(plan, tenancy)
        var events: [TrackedEvent] = []
        var seen: Set<Int> = []
        var ids = [plan] + (record?.correlationIDs ?? [])
        let tasks = tracker.members(of: .taskOfPlan, Tenancy.key(tenancy.tenant, plan))
            .prefix(Self.maximumDelegatedTasks).compactMap { taskRecord($0) }
        for task in tasks { ids += [task.taskID] + task.subTasks.map(\.id) }
        var known: Set<[UInt8]> = []
        func take(_ position: Int, where isWanted: (TrackedEvent) -> Bool = { _ in true }) {
            guard events.count < Self.maximumTrackedEvents, !seen.contains(position) else { return }
            guard let event = trackedEvent(at: position), event.isShown(to: tenancy),
                isWanted(event)
            else { return }
            seen.insert(position)
            events.append(event)
            // Whoever was asked answers under the id of the request.
            if event.isRequest, !event.correlation.isEmpty { ids.append(event.correlation) }
        }
        for position in recent(naming: plan) { take(position) { $0.planID?.isSame(as: plan) ?? false } }
        var next = 0
        while next < ids.count, known.count < Self.maximumCorrelations {
            defer { next += 1 }
            let text = JSONText.canonical(ids[next])
            guard known.insert(text).inserted else { continue }
            for position in index.candidates(trace: text.span.bytes, most: Self.maximumTrackedEvents) {
                take(position) { $0.correlation.isSame(as: ids[next]) }
            }
        }
        guard record != nil || !events.isEmpty else { throw Self.unknownPlan(plan) }
        return Story(record: record, tasks: tasks, events: events.sorted { $0.stamp < $1.stamp })
    }

    func trackedEvent(at position: Int) -> TrackedEvent? {
        guard index.surface(at: position) == .bus, index.isCanonical(position), cluster.log.holds(position) else {
            return nil
        }
        let stamp = cluster.log.stamp(at: position)
        return readEvent(at: position) { TrackedEvent($0, at: stamp) }
    }

    /// Recent events on Soorma's topics, whatever they say.
    func trackedPositions(within window: Int) -> [Int] {
        var found: [Int] = []
        for topic in SoormaTopic.allCases {
            let text = Array(topic.rawValue.utf8)
            found += index.positions(from: index.end - window, .bus, address: text.span.bytes)
        }
        return found.sorted(by: >)
    }

    /// Recent events in whose text an id stands somewhere, so that few have to be read.
    private func recent(naming id: String) -> [Int] {
        let text = JSONText.canonical(id)
        return trackedPositions(within: Self.trackedWindow).filter { position in
            cluster.log.holds(position) && readEvent(at: position) { $0.contains(text) }
        }
    }

    // MARK: - Plans

    private func actions(_ story: Story) -> TrackedActions {
        var actions = TrackedActions(story.events, goalEvent: story.record?.goalEvent)
        for task in story.tasks { actions.noteDelegated(task) }
        return actions
    }

    private static let endings = ["completed", "failed", "cancelled"]

    private func progress(of plan: String, _ tenancy: Tenancy) throws(NodeError) -> JSONValue {
        let story = try story(of: plan, tenancy)
        let actions = actions(story)
        let done = actions.list.count { $0.state == "completed" }
        let failed = actions.list.count { $0.state == "failed" }
        let record = story.record
        var status = status(of: plan, tenancy) ?? "running"
        let wasTold = Self.endings.contains(status)
        if !wasTold, let outcome = actions.outcome { status = outcome }
        // SDK 0.7 says which tasks a plan has, and how each fares, but never that the plan is over.
        if let record, !wasTold, !record.hasContext, record.declaredTasks > 0, done + failed >= record.declaredTasks {
            status = failed > 0 ? "failed" : "completed"
        }
        let last = story.events.last?.ms
        let ended = wasTold ? record?.updatedMs ?? last : last ?? record?.updatedMs
        return .object([
            ("plan_id", .string(plan)), ("status", .string(status)),
            ("started_at", .time(record?.createdMs ?? story.events.first?.ms ?? 0)),
            ("completed_at", Self.endings.contains(status) ? ended.map { .time($0) } ?? .null : .null),
            ("task_count", .number(max(actions.list.count, record?.declaredTasks ?? 0))),
            ("completed_tasks", .number(done)), ("failed_tasks", .number(failed)),
            ("current_state", .optional(record?.currentState)),
        ])
    }

    private func timeline(of plan: String, _ tenancy: Tenancy) throws(NodeError) -> JSONValue {
        let story = try story(of: plan, tenancy)
        let trace = story.events.lazy.compactMap(\.traceID).first ?? story.record?.correlationIDs.last ?? plan
        let entries = story.events.map { event in
            JSONValue.object([
                ("event_id", .string(event.id)), ("event_type", .string(event.type)), ("timestamp", .time(event.ms)),
                ("parent_event_id", .optional(event.parentID)),
            ])
        }
        return .object([("trace_id", .string(trace)), ("events", .array(entries))])
    }

    /// The most plans of one answer.
    static let maximumTrackedPlans = 1_000

    /// Plans, the oldest first.
    private func listPlans(
        _ request: RequestID, _ keys: [[UInt8]], _ tenancy: Tenancy, into effects: inout Effects
    ) {
        let records = keys.prefix(Self.maximumTrackedPlans).compactMap { key in
            planRecord(Tenancy.parts(key).last ?? "", tenancy)
        }
        let sorted = records.sorted {
            $0.createdMs == $1.createdMs
                ? $0.planID.utf8.lexicographicallyPrecedes($1.planID.utf8) : $0.createdMs < $1.createdMs
        }
        show(request, .array(sorted.map { execution($0, tenancy) }), into: &effects)
    }

    private func execution(_ record: PlanRecord, _ tenancy: Tenancy) -> JSONValue {
        let status = status(of: record.planID, tenancy) ?? "running"
        let ended = Self.endings.contains(status) ? record.updatedMs : nil
        return .object([
            ("plan_id", .string(record.planID)), ("parent_plan_id", .optional(record.parentPlanID)),
            ("session_id", .optional(record.sessionID)), ("goal_event", .string(record.goalEvent ?? "")),
            ("status", .string(status)), ("current_state", .optional(record.currentState)),
            ("trace_id", .string(record.correlationIDs.last ?? record.planID)),
            ("started_at", .time(record.createdMs)), ("completed_at", ended.map { .time($0) } ?? .null),
        ])
    }

    /// A group of sub-tasks is known for as long as its task keeps its context.
    private func delegationGroup(_ group: String, _ tenancy: Tenancy) throws(NodeError) -> JSONValue {
        let keys = tracker.members(of: .group, Tenancy.key(tenancy.tenant, group))
        guard let task = keys.lazy.compactMap({ taskRecord($0) }).first else {
            throw .notFound("no task of this tenant keeps the delegation group \(group.prefix(64)); it may have ended")
        }
        let count = task.count(in: group)
        return .object([
            ("group_id", .string(group)), ("parent_task_id", .string(task.taskID)), ("plan_id", .optional(task.planID)),
            ("total_tasks", .number(count.all)), ("completed_tasks", .number(count.done)),
            ("created_at", .time(task.createdMs)),
        ])
    }
}

extension RawSpan {
    /// Whether these bytes stand in it somewhere.
    fileprivate func contains(_ other: [UInt8]) -> Bool {
        withUnsafeBytes { bytes in
            guard let first = other.first, bytes.count >= other.count else { return other.isEmpty }
            return other.withUnsafeBytes { wanted in
                for start in 0...(bytes.count - wanted.count) where bytes[start] == first {
                    var i = 1
                    while i < wanted.count, bytes[start + i] == wanted[i] { i += 1 }
                    if i == wanted.count { return true }
                }
                return false
            }
        }
    }
}
