import CRDT
import Gossip

/// Tasks (docs/tasks.md): what is asked about them, and who may.
extension NodeCore {
    /// What is asked about tasks.
    mutating func answer(
        _ id: RequestID, _ request: TaskRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .post: try postTask(id, by: asker, bytes, now: now, into: &effects)
        case .tasks(let status, let skill, let agent, let before, let limit):
            try listTasks(
                id, status: status, skill: skill, agent: agent, before: before, limit: limit, into: &effects)
        case .task(let task):
            let state = try taskState(task)
            reply(id, Reply(status: 200), .object(view(of: state)), into: &effects)
        case .reputation(let agent):
            try checkAgent(agent)
            let found = Reputation(documents.fields(of: DocumentKind.reputation.name(agent)))
            let body: JSONValue = .object([
                ("agent_id", .string(agent)), ("score", .number("\(found.score)")),
                ("completed", .number("\(found[.completed])")), ("failed", .number("\(found[.failed])")),
                ("rated_up", .number("\(found[.up])")), ("rated_down", .number("\(found[.down])")),
            ])
            reply(id, Reply(status: 200), body, into: &effects)
        case .cancel, .claim, .complete, .fail, .rate:
            // What cannot be right is refused by whoever is asked.
            let order = try TaskOrder(request, by: asker, bytes)
            _ = try taskState(order.task)
            try decideOrForward(id, .task(request), by: asker, bytes, now: now, into: &effects)
        }
    }

    private func reply(_ id: RequestID, _ reply: Reply, _ body: JSONValue, into effects: inout Effects) {
        let start = effects.bytes.count
        effects.bytes += body.encoded()
        effects.list.append(.reply(id, reply, body: start..<effects.bytes.count))
    }

    // MARK: - Posting

    private mutating func postTask(
        _ request: RequestID, by asker: Asker, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(bytes)
        let said = try body.text("created_by")
        guard let by = try asker.agent(or: said, "created_by") else {
            throw .invalid(field: "created_by", "required, the agent that needs the task done")
        }
        let given = try body.text("id")
        let id = given ?? UUID(random: dice.next(), dice.next()).text
        let terms = try TaskTerms(body, id: id, createdBy: by)
        try checkAgent(by)
        for reserved in terms.reservedFor { try checkAgent(reserved) }
        let name = DocumentKind.task.name(id)
        if given != nil, let known = try? taskState(id) {
            guard known.terms == terms else {
                throw .conflict("task \(id.shown) exists with another content; post a different one under a new id")
            }
            return reply(request, Reply(status: 200, stamp: known.created), .object(view(of: known)), into: &effects)
        }
        let nowMs = cluster.nowMs(now)
        if let deadline = terms.deadlineMs, deadline <= nowMs {
            throw .invalid(field: "deadline", "has passed: it is \(ISOTime.text(milliseconds: nowMs)) here")
        }
        guard tasks.hasRoom else {
            tasks.counters.refused += 1
            throw NodeError(
                status: 507,
                message: "there are \(TaskBoard.maximum) tasks already, which is the most; those that have ended are "
                    + "forgotten after a week")
        }
        let stamp = try put(
            name, [.create, .set(field: TaskState.termsField, value: terms.json.encoded())], now: now, into: &effects)
        tasks.counters.posted += 1
        let state = TaskState(terms, created: stamp)
        follow(Array(id.utf8), state, decides: true, now: now)
        var fields: [(key: String, value: JSONValue)] = [
            ("taskId", .string(id)), ("createdBy", .string(by)), ("description", .string(terms.description)),
            ("skillsRequired", .texts(terms.skills)),
        ]
        if !terms.reservedFor.isEmpty { fields.append(("assignedTo", .texts(terms.reservedFor))) }
        if let deadline = terms.deadlineMs { fields.append(("deadline", .time(deadline))) }
        try announce(.taskEvents, "TaskPosted", source: by, fields, now: now, into: &effects)
        reply(request, Reply(status: 201, stamp: stamp), .object(view(of: state)), into: &effects)
    }

    // MARK: - Deciding

    /// The node that decides about a task: the one in whose log it stands.
    func taskDecider(of task: String) -> ReplicaID {
        let name = DocumentKind.task.name(task)
        return owner(of: Array(name.utf8), named: documents.created(name)?.replica)
    }

    /// Decides what somebody asks, at the node that decides.
    mutating func decide(
        _ request: TaskRequest, by asker: Asker, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> Verdict {
        let order = try TaskOrder(request, by: asker, bytes)
        var decider = TaskDecider(try taskState(order.task), taskStanding(decides: true, now: now))
        let terms = decider.state.terms
        let agent = order.agent ?? ""
        var wanted: [TaskDecider.Effect] = []
        switch order.what {
        case .claim(let leaseMs):
            try checkAgent(agent)
            try checkSkills(of: agent, terms)
            try decider.handle(.claim(agent, leaseMs: leaseMs), into: &wanted)
        case .complete(let token, let result):
            try checkAgent(agent)
            try decider.handle(.complete(agent, token, result), into: &wanted)
        case .fail(let token, let reason):
            try checkAgent(agent)
            try decider.handle(.fail(agent, token, reason: reason), into: &wanted)
        case .cancel:
            try checkPosted(order.agent, terms, "cancel it")
            try decider.handle(.cancel(by: order.agent ?? settings.name), into: &wanted)
        case .rate(let rating):
            try checkPosted(order.agent, terms, "rate it")
            try decider.handle(.rate(rating, by: order.agent ?? settings.name), into: &wanted)
        }
        let stamp = try carryOut(wanted, of: decider, now: now, into: &effects)
        return Verdict(.object(view(of: try taskState(order.task))), stamp: stamp)
    }

    /// Refuses an agent that lacks what a task requires: capabilities, or resources.
    private func checkSkills(of agent: String, _ terms: TaskTerms) throws(NodeError) {
        guard !terms.skills.isEmpty else { return }
        let name = DocumentKind.agent.name(agent)
        let missing = terms.skills.filter { skill in
            documents.value(of: "capability/" + skill, in: name) == nil
                && documents.value(of: "resource/" + skill, in: name) == nil
        }
        guard missing.isEmpty else {
            throw NodeError(
                status: 403,
                message: "\(agent.shown) lacks what task \(terms.id.shown) requires: "
                    + missing.prefix(10).map { $0.shown }.joined(separator: ", ")
                    + (missing.count > 10 ? " and \(missing.count - 10) more" : "")
                    + "; add it to its capabilities or available_resources if it has it")
        }
    }

    private func checkPosted(_ agent: String?, _ terms: TaskTerms, _ what: String) throws(NodeError) {
        guard let agent, !agent.isSame(as: terms.createdBy) else { return }
        throw NodeError(
            status: 403,
            message: "task \(terms.id.shown) was posted by \(terms.createdBy.shown), who alone may \(what); "
                + "\(agent.shown) may not")
    }

    func taskState(_ task: String) throws(NodeError) -> TaskState {
        let name = DocumentKind.task.name(task)
        guard let created = documents.created(name), let state = TaskState(documents.fields(of: name), created: created)
        else {
            throw .notFound(
                "unknown task \(task.shown): post it with POST /api/tasks; if that was done at another node, send that "
                    + "answer's Hypha-Clock along")
        }
        return state
    }

    // MARK: - Reading

    private func listTasks(
        _ request: RequestID, status: String?, skill: String?, agent: String?, before: String?, limit: Int,
        into effects: inout Effects
    ) throws(NodeError) {
        var wanted: TaskState.Status?
        if let status {
            guard let known = TaskState.Status(rawValue: status) else {
                let words = TaskState.Status.allCases.map(\.rawValue).joined(separator: ", ")
                throw .badQuery("status", "expected one of \(words), found \"\(status.shown)\"")
            }
            wanted = known
        }
        var limitStamp: HybridTimestamp?
        if let before {
            if let entry = tasks.entries[Array(before.utf8)] {
                limitStamp = entry.created
            } else if let stamp = HybridTimestamp(text: before) {
                limitStamp = stamp
            } else if let milliseconds = ISOTime.milliseconds(before) {
                limitStamp = HybridTimestamp(milliseconds: milliseconds, replica: ReplicaID(0))
            } else {
                throw .badQuery(
                    "before",
                    "expected the id of a task that is known here, a stamp or a time, found \"\(before.shown)\"")
            }
        }
        let (skill, agent) = (skill.map { Array($0.utf8) }, agent.map { Array($0.utf8) })
        let found = tasks.newest(limit, before: limitStamp) { entry in
            wanted.map { $0 == entry.status } ?? true && skill.map { entry.skills.contains($0) } ?? true
                && agent.map { $0 == entry.agent } ?? true
        }
        let start = effects.bytes.count
        effects.bytes.append(UInt8(ascii: "["))
        for key in found {
            guard effects.bytes.count - start < Self.maximumMessageBytes else { break }
            guard let state = try? taskState(String(decoding: key, as: UTF8.self)) else { continue }
            if effects.bytes.count > start + 1 { effects.bytes.append(UInt8(ascii: ",")) }
            effects.bytes += JSONValue.object(view(of: state)).encoded()
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    private func view(of state: TaskState) -> [(key: String, value: JSONValue)] {
        let (terms, claim, result) = (state.terms, state.highest, state.result)
        let status = state.status
        let agent = result?.agent ?? claim.flatMap { $0.agent.isEmpty ? nil : $0.agent }
        let isClaimed = status == .claimed
        let assigned = status == .open ? terms.reservedFor : agent.map { [$0] } ?? terms.reservedFor
        var members: [(key: String, value: JSONValue)] = [
            ("id", .string(terms.id)), ("created_by", .string(terms.createdBy)), ("assigned_to", .texts(assigned)),
            ("status", .string(status.rawValue)), ("description", .string(terms.description)),
            ("skills_required", .texts(terms.skills)), ("created_at", .time(state.created.milliseconds)),
            ("deadline", terms.deadlineMs.map { .time($0) } ?? .null), ("lease_ms", .number(Int(terms.leaseMs))),
            ("retry_ms", .number(Int(terms.retryMs))), ("max_attempts", .number(terms.maxAttempts)),
            ("strict", .bool(terms.strict)), ("attempt", .number(result?.attempt ?? claim?.attempt ?? 0)),
            ("token", isClaimed ? claim.map { .number($0.token.rawValue) } ?? .null : .null),
            ("lease_until", isClaimed ? claim.map { .time($0.lease.untilMs) } ?? .null : .null),
            ("retry_at", status == .waiting ? claim.map { .time($0.lease.untilMs) } ?? .null : .null),
            ("reason", result == nil && !isClaimed ? .optional(claim?.reason) : .null),
            ("result", result?.result ?? .null), ("rating", state.rating?["rating"] ?? .null),
            ("last_updated", .time(state.updatedMs)), ("decided_by", .string(shownName(taskDecider(of: terms.id)))),
        ]
        members += terms.extras
        return members
    }

    // MARK: - For agents

    /// An agent retires: what it has claimed is open again. The node that decides does so as soon as it reads of it, this
    /// one at the end of the input.
    mutating func releaseTasks(_ agent: String, now: Instant, into effects: inout Effects) throws(NodeError) {
        tasks.noteAgent(Array(agent.utf8))
    }
}
