import CRDT
import Gossip

/// Tasks: what follows from documents and members that have changed, and from time that has passed.
extension NodeCore {
    /// Decides what has become due, and keeps the board up to date.
    mutating func settleTasks(now: Instant, into effects: inout Effects) {
        let isDue = tasks.wake.map { $0 <= now } ?? false
        let hasNewMembers = tasks.seenMembers != cluster.memberChanges && (tasks.retryAt == nil || isDue)
        guard hasNewMembers || isDue || !tasks.stale.isEmpty else { return }
        let acts = canDecide
        tasks.retryAt = acts ? nil : now.advanced(milliseconds: Self.retryMs)
        // What is only read now is looked at again once something can be decided.
        tasks.seenMembers = acts ? cluster.memberChanges : -1
        guard !isIncomplete else { return }
        let all = tasks.stale.isEverything ? keys(of: .task) : []
        var keys = tasks.takeStale(hasNewMembers: hasNewMembers, all)
        // What was decided here is read again, and has nothing to decide any more.
        repeat {
            for key in keys { lookAtTask(key, acts: acts, now: now, into: &effects) }
            while acts, let (key, dueMs) = tasks.timers.pop(now) {
                lookAtTask(key, due: dueMs, acts: true, now: now, into: &effects)
            }
            keys = tasks.takeStale(hasNewMembers: false, [])
        } while !keys.isEmpty
    }

    private mutating func lookAtTask(
        _ key: [UInt8], due: UInt64? = nil, acts: Bool, now: Instant, into effects: inout Effects
    ) {
        let task = String(decoding: key, as: UTF8.self)
        guard let state = try? taskState(task) else {
            tasks.note(key, nil)
            return tasks.timers.set(key, dueMs: nil, nowMs: 0, now: now)
        }
        let decides = taskDecider(of: task) == settings.replica
        guard acts else { return follow(key, state, decides: decides, now: now) }
        var decider = TaskDecider(state, taskStanding(decides: decides, now: now))
        if let since = healing.sinceMs {
            for conflict in decider.conflicts(sinceMs: since) { noteConflict(conflict) }
        }
        do throws(NodeError) {
            var wanted: [TaskDecider.Effect] = []
            if let due { try decider.handle(.due(due), into: &wanted) }
            let isGone = state.claimed.map { !isAgent($0.agent) } ?? false
            try decider.handle(.look(isGone: isGone), into: &wanted)
            guard !wanted.contains(.forget) else {
                try put(DocumentKind.task.name(task), [.remove], now: now, into: &effects)
                return
            }
            try carryOut(wanted, of: decider, now: now, into: &effects)
        } catch {
            effects.list.append(.log(.warning, "task \(task.shown): \(error.message)"))
            return tasks.timers.set(key, dueMs: nil, nowMs: 0, now: now)
        }
        follow(key, decider.state, decides: decides, now: now)
    }

    /// Keeps the board, and when something is due if this node decides that.
    mutating func follow(_ key: [UInt8], _ state: TaskState, decides: Bool, now: Instant) {
        let status = state.status
        let agent = state.result?.agent ?? (status == .open ? "" : state.highest?.agent ?? "")
        tasks.note(
            key,
            TaskBoard.Entry(
                created: state.created, status: status, agent: Array(agent.utf8),
                skills: state.terms.skills.map { Array($0.utf8) }, dueMs: state.dueMs))
        // What has ended is forgotten by whoever decides then, so that nobody need take that over.
        tasks.timers.set(key, dueMs: decides || status.isFinal ? state.dueMs : nil, nowMs: cluster.nowMs(now), now: now)
    }

    func taskStanding(decides: Bool, now: Instant) -> TaskDecider.Standing {
        TaskDecider.Standing(
            me: settings.replica, decides: decides, present: presentNodes, majority: majority,
            nowMs: cluster.nowMs(now))
    }

    /// Writes what was decided, and tells of it.
    @discardableResult
    mutating func carryOut(
        _ wanted: [TaskDecider.Effect], of decider: TaskDecider, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp? {
        guard !wanted.isEmpty else { return nil }
        let name = DocumentKind.task.name(decider.id)
        var fields = FieldChanges()
        for effect in wanted {
            if case .set(let field, let value) = effect { fields.set(field, value.encoded()) }
        }
        let stamp = try put(name, fields.changes(of: name, in: documents), now: now, into: &effects)
        for effect in wanted {
            switch effect {
            case .count(let merit, let agent): try count(merit, agent, now: now, into: &effects)
            case .tell(let told): try tell(told, decider.state.terms, now: now, into: &effects)
            case .set, .forget: break
            }
        }
        follow(Array(decider.id.utf8), decider.state, decides: decider.standing.decides, now: now)
        return stamp
    }

    /// Adds one to this node's slot of a counter.
    private mutating func count(
        _ merit: TaskDecider.Merit, _ agent: String, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let name = DocumentKind.reputation.name(agent)
        let field = Reputation.prefix(merit) + settings.replica.description
        let old = documents.value(of: field, in: name).flatMap { Reputation.count($0) } ?? 0
        var changes: [DocumentMap.Change] = documents.exists(name) ? [] : [.create]
        changes.append(.set(field: field, value: Array("\(old + 1)".utf8)))
        try put(name, changes, now: now, into: &effects)
    }

    private mutating func tell(
        _ told: TaskDecider.Told, _ terms: TaskTerms, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        switch told.type {
        case "TaskClaimed": tasks.counters.claimed += 1
        case "TaskCompleted": tasks.counters.completed += 1
        case "TaskFailed": tasks.counters.failed += 1
        case "TaskRevoked": tasks.counters.revoked += 1
        default: break
        }
        var fields: [(key: String, value: JSONValue)] = [
            ("taskId", .string(terms.id)), ("createdBy", .string(terms.createdBy)),
        ]
        if let agent = told.agent { fields.append(("agentId", .string(agent))) }
        fields.append(("by", .string(told.by ?? settings.name)))
        if let token = told.token { fields.append(("token", .number(token.rawValue))) }
        if let attempt = told.attempt { fields.append(("attempt", .number(attempt))) }
        if let until = told.untilMs { fields.append((told.type == "TaskFailed" ? "retryAt" : "until", .time(until))) }
        if let reason = told.reason { fields.append(("reason", .string(reason))) }
        if let rating = told.rating { fields.append(("rating", .number(rating))) }
        fields.append(("isFinal", .bool(told.isFinal)))
        try announce(.taskEvents, told.type, source: told.by ?? settings.name, fields, now: now, into: &effects)
    }
}
