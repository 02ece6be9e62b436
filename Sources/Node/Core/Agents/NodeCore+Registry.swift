import CRDT
import Gossip

/// The registry's view of agents (docs/agents.md): registration, heartbeats, and who is least busy.
extension NodeCore {
    /// How often a heartbeat is written, in milliseconds: facts are not free.
    private static let beatEveryMs: UInt64 = 10_000
    private static let statuses = ["active", "idle", "busy", "offline"]
    /// The most registrations of one answer.
    static let maximumRegistrations = 1_000

    // MARK: - Writing

    mutating func register(
        _ request: RequestID, by asker: Asker, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(bytes)
        guard let agent = try asker.agent(or: try body.text("name"), "name") else {
            throw .invalid(field: "name", "required, a non-empty string")
        }
        try checkName(agent)
        let view = AgentView(agent, documents)
        var changes = AgentChanges(view)
        if let status = try Self.status(body) {
            changes.set(status: status)
        } else if view == nil || view?.statusText == "offline" {
            changes.set(status: AgentView.defaultStatus)
        }
        if let type = try body.text("agent_type") { changes.set(.type, .string(type)) }
        if let text = body["description"] {
            guard let description = text.string else {
                throw .invalid(field: "description", "expected a string, found \(text.phrase)")
            }
            changes.set(.description, .string(description))
        }
        if let set = try AgentChanges.capabilities(body) {
            changes.replace(.capability, view?.capabilities ?? [], with: set)
        }
        if let metadata = try body.object("metadata") {
            try changes.replace(.metadata, view?.metadata ?? [], with: metadata, of: "metadata")
        }
        try changes.merge(.extra, view?.extra ?? [], with: body.others(Self.registryMembers), of: "the registration")
        changes.set(.registered, milliseconds: cluster.nowMs(now))
        var reply = try writeAgent(agent, changes, view, by: asker, now: now, into: &effects)
        if view?.registeredMs == nil { reply.status = 201 }
        replyRegistration(request, try agentView(agent), reply, now: now, into: &effects)
    }

    private static let registryMembers =
        AgentView.ownMembers + [
            "name", "agent_id", "agent_type", "capabilities", "status", "metadata", "description", "registered_at",
            "last_heartbeat", "message_count",
        ]

    private static func status(_ body: Body) throws(NodeError) -> String? {
        guard let status = try body.text("status") else { return nil }
        guard statuses.contains(status) else {
            throw .invalid(
                field: "status",
                "expected \(statuses.joined(separator: ", ")), found \"\(status.prefix(64))\"; a manifest may have any")
        }
        return status
    }

    /// A sign of life. Whoever was offline is active again.
    mutating func beat(
        _ request: RequestID, _ agent: String, by asker: Asker, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let (view, reply) = try heartbeat(of: agent, by: asker, now: now, into: &effects)
        replyRegistration(request, view, reply, now: now, into: &effects)
    }

    /// Notes a sign of life; says how the agent is now, and the head of the answer.
    mutating func heartbeat(
        of agent: String, by asker: Asker, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> (AgentView, Reply) {
        try checkWritable()
        try checkIs(asker, agent)
        var view = try agentView(agent)
        let nowMs = cluster.nowMs(now)
        var changes = AgentChanges(view)
        let wasOffline = isOffline(view, now: now)
        if wasOffline || nowMs >= (view.heartbeatMs ?? 0) + Self.beatEveryMs {
            changes.set(.heartbeat, milliseconds: nowMs)
        }
        if wasOffline { changes.set(status: AgentView.defaultStatus) }
        var reply = Reply(status: 200)
        if !changes.list.isEmpty {
            reply = try writeAgent(agent, changes, view, by: asker, now: now, into: &effects)
            view = try agentView(agent)
        }
        return (view, reply)
    }

    mutating func setStatus(
        _ request: RequestID, _ agent: String, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        try checkIs(asker, agent)
        let view = try agentView(agent)
        guard let status = try Self.status(try Body(bytes)) else {
            throw .invalid(field: "status", "required: \(Self.statuses.joined(separator: ", "))")
        }
        var changes = AgentChanges(view)
        changes.set(status: status)
        // Whoever says how it is lives.
        let nowMs = cluster.nowMs(now)
        if status != "offline", nowMs >= view.aliveMs + Self.beatEveryMs {
            changes.set(.heartbeat, milliseconds: nowMs)
        }
        let reply = try writeAgent(agent, changes, view, by: asker, now: now, into: &effects)
        replyRegistration(request, try agentView(agent), reply, now: now, into: &effects)
    }

    // MARK: - Reading

    /// Whether an agent says that it is offline, or has not been heard of for so long; whoever is connected is not.
    func isOffline(_ view: AgentView, now: Instant) -> Bool {
        if view.statusText == "offline" { return true }
        return isSilent(view.id, since: view.aliveMs, now: now)
    }

    private func isSilent(_ agent: @autoclosure () -> String, since aliveMs: UInt64, now: Instant) -> Bool {
        cluster.nowMs(now) > aliveMs + AgentView.offlineAfterMs && !presence.isOnline(agent(), now: now)
    }

    /// The same by the index, which must have been refreshed; `term` is that of the status.
    func isOffline(_ number: UInt32, _ term: UInt32?, now: Instant) -> Bool {
        agents.has(number, term)
            || isSilent(String(decoding: agents.id(number), as: UTF8.self), since: agents.aliveMs(number), now: now)
    }

    mutating func replyRegistration(
        _ request: RequestID, _ view: AgentView, _ reply: Reply, load: AgentView.Load? = nil, now: Instant,
        into effects: inout Effects
    ) {
        refreshMailboxes()
        let start = effects.bytes.count
        appendRegistration(view, load: load, now: now, into: &effects.bytes)
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    private mutating func appendRegistration(
        _ view: AgentView, load: AgentView.Load? = nil, now: Instant, into out: inout [UInt8]
    ) {
        let messages = load?.messages ?? mailLoad(of: Array(view.id.utf8)).messages
        view.appendRegistration(isOffline: isOffline(view, now: now), messages: messages, load: load, into: &out)
    }

    /// Messages of an agent: how many there were, and how many wait for it alone. Mailboxes must have been refreshed.
    private func mailLoad(of agent: [UInt8]) -> (messages: Int, waiting: Int) {
        guard mailboxes.agentCount > 0 else { return (0, 0) }
        var name: [UInt8] = []
        JSONText.escape(agent.span.bytes, into: &name)
        guard let place = mailboxes.known(name) else { return (0, 0) }
        // What everybody was sent makes nobody busier than another.
        let waiting = mailboxes[place].direct.isEmpty ? 0 : unsettledDirect(place)
        return (mailboxes[place].sent + mailboxes[place].received, waiting)
    }

    mutating func listRegistered(
        _ request: RequestID, type: String?, status: String?, capability: String?, after: String?, limit: Int,
        now: Instant, into effects: inout Effects
    ) {
        refreshAgents()
        refreshMailboxes()
        // Who is offline is found by the time, not by what was written.
        let written = status == "offline" ? nil : status
        let terms: [(kind: Agents.Term, text: String?)] = [(.status, written), (.type, type), (.skill, capability)]
        let offline = agents.term(ofStatus: "offline")
        var found: [[UInt8]] = []
        let limit = min(max(1, limit), Self.maximumRegistrations)
        agents.find(terms.compactMap { term in term.text.map { (term.kind, $0) } }, after: after.map { Array($0.utf8) })
        {
            number in
            if status == nil || isOffline(number, offline, now: now) == (status == "offline") {
                found.append(agents.id(number))
            }
            return found.count < limit
        }
        replyList(request, found, into: &effects) { core, id, out in
            guard let view = AgentView(id, core.documents) else { return false }
            core.appendRegistration(view, now: now, into: &out)
            return true
        }
    }

    /// Who has a capability, is not offline and has least to do: not busy before busy, then the fewest claimed tasks,
    /// waiting messages and messages at all. Of those who tie, each key finds another, the same at every node.
    mutating func showLeastBusy(
        _ request: RequestID, capability: String?, key: String?, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        refreshAgents()
        refreshMailboxes()
        let (offline, busy) = (agents.term(ofStatus: "offline"), agents.term(ofStatus: "busy"))
        var candidates: [UInt32] = []
        agents.find(capability.map { [(.skill, $0)] } ?? []) { number in
            if !isOffline(number, offline, now: now) { candidates.append(number) }
            return true
        }
        let idle = candidates.filter { !agents.has($0, busy) }
        let text = Array((key ?? capability ?? "").utf8)
        let seed = XXH64.hash(text.span.bytes)
        var best: (id: [UInt8], load: AgentView.Load, weight: UInt64)?
        for number in idle.isEmpty ? candidates : idle {
            let id = agents.id(number)
            let mail = mailLoad(of: id)
            let load = AgentView.Load(messages: mail.messages, waiting: mail.waiting, tasks: tasks.claimed(by: id))
            // Rendezvous hashing (Thaler, Ravishankar, 1998): a newcomer moves only those keys that it takes.
            let weight = XXH64.avalanche(seed ^ XXH64.hash(id.span.bytes))
            guard let known = best else {
                best = (id, load, weight)
                continue
            }
            let (mine, theirs) = (
                (load.tasks, load.waiting, load.messages, ~weight),
                (known.load.tasks, known.load.waiting, known.load.messages, ~known.weight)
            )
            if mine < theirs { best = (id, load, weight) }
        }
        guard let best, let view = AgentView(String(decoding: best.id, as: UTF8.self), documents) else {
            let having = capability.map { " with the capability \($0.prefix(64))" } ?? ""
            throw .notFound(
                "no agent\(having) is here that is not offline; see GET /api/registry/agents, or wait for a heartbeat")
        }
        replyRegistration(request, view, Reply(status: 200), load: best.load, now: now, into: &effects)
    }
}
