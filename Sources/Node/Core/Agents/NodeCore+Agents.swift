import CRDT
import Gossip

/// Agents as their documents tell (docs/agents.md): manifests.
extension NodeCore {
    /// What is asked about agents.
    mutating func answer(
        _ id: RequestID, _ request: AgentRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .manifests(let status, let resource, let capability, let after, let limit):
            listManifests(
                id, status: status, resource: resource, capability: capability, after: after, limit: limit, now: now,
                into: &effects)
        case .introduce(let agent):
            try writeManifest(id, agent, by: asker, bytes, isPatch: false, now: now, into: &effects)
        case .manifest(let agent):
            let view = try agentView(agent)
            replyManifest(id, view, Reply(status: 200), now: now, into: &effects)
        case .patch(let agent):
            try writeManifest(id, agent, by: asker, bytes, isPatch: true, now: now, into: &effects)
        case .retire(let agent): try retire(id, agent, by: asker, now: now, into: &effects)
        case .profile(let agent, let asPage): try showProfile(id, agent, asPage: asPage, now: now, into: &effects)
        case .register: try register(id, by: asker, bytes, now: now, into: &effects)
        case .registered(let type, let status, let capability, let after, let limit):
            listRegistered(
                id, type: type, status: status, capability: capability, after: after, limit: limit, now: now,
                into: &effects)
        case .registration(let agent):
            let view = try agentView(agent)
            replyRegistration(id, view, Reply(status: 200), now: now, into: &effects)
        case .leastBusy(let capability, let key):
            try showLeastBusy(id, capability: capability, key: key, now: now, into: &effects)
        case .heartbeat(let agent): try beat(id, agent, by: asker, now: now, into: &effects)
        case .setStatus(let agent): try setStatus(id, agent, by: asker, bytes, now: now, into: &effects)
        }
    }

    /// An agent's document, read; refuses agents that nobody has introduced.
    func agentView(_ agent: String) throws(NodeError) -> AgentView {
        guard let view = AgentView(agent, documents) else { throw .unknownAgent(agent) }
        return view
    }

    /// Refuses agents that want to change another one.
    func checkIs(_ asker: Asker, _ agent: String) throws(NodeError) {
        guard let by = asker.agent, !by.utf8.elementsEqual(agent.utf8) else { return }
        throw NodeError(
            status: 403,
            message: "\(by.prefix(64)) asks about what belongs to \(agent.prefix(64)); only that agent itself may, and "
                + "operators, whose requests name no agent (no Hypha-Agent, no ?agent=)")
    }

    /// Refuses names that no agent can have.
    func checkName(_ agent: String) throws(NodeError) {
        guard (1...Body.maximumTextBytes).contains(agent.utf8.count) else {
            throw .invalid("agent_id: must have 1 to \(Body.maximumTextBytes) bytes")
        }
    }

    // MARK: - Writing

    /// `PUT` lets the manifest be what the body says; `PATCH` changes what it names.
    private mutating func writeManifest(
        _ request: RequestID, _ agent: String, by asker: Asker, _ bytes: RawSpan, isPatch: Bool, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        try checkName(agent)
        try checkIs(asker, agent)
        let body = try Body(bytes)
        let view = AgentView(agent, documents)
        if isPatch, view == nil { throw .unknownAgent(agent) }
        if let named = try body.text("agent_id"), !named.utf8.elementsEqual(agent.utf8) {
            throw .invalid(
                field: "agent_id", "the path names \(agent.prefix(64)); leave it out, or name the same agent")
        }
        var changes = AgentChanges(view)
        try readManifest(body, of: agent, view, isPatch: isPatch, into: &changes)
        let reply = try writeAgent(agent, changes, view, by: asker, now: now, into: &effects)
        replyManifest(request, try agentView(agent), reply, now: now, into: &effects)
    }

    private static let manifestMembers =
        AgentView.ownMembers + [
            "agent_id", "status", "current_activities", "room_participation", "available_resources", "capabilities",
            "public_profile",
        ]

    private mutating func readManifest(
        _ body: Body, of agent: String, _ view: AgentView?, isPatch: Bool, into changes: inout AgentChanges
    ) throws(NodeError) {
        if isPatch, body.isNull("status") { throw .invalid(field: "status", "required, so null cannot remove it") }
        if let status = try body.text("status") ?? (isPatch ? nil : AgentView.defaultStatus) {
            changes.set(status: status)
        }
        func texts(_ name: StaticString) throws(NodeError) -> [String]? {
            let given = try body.texts(name, most: AgentChanges.maximumSetMembers)
            return given ?? (isPatch && !body.isNull(name) ? nil : [])
        }
        if let set = try texts("current_activities") { changes.replace(.activity, view?.activities ?? [], with: set) }
        if let set = try texts("room_participation") {
            // Chats show themselves for as long as the agent is in them.
            let written = Set(view?.rooms ?? [])
            let shown = Set(chats(of: agent).map { Array($0.utf8) }).subtracting(written)
            changes.replace(.room, view?.rooms ?? [], with: set.filter { !shown.contains(Array($0.utf8)) })
        }
        if let set = try texts("available_resources") { changes.replace(.resource, view?.resources ?? [], with: set) }
        // The registry's, so a manifest that does not name them leaves them.
        if let set = try AgentChanges.capabilities(body) ?? (body.isNull("capabilities") ? [] : nil) {
            changes.replace(.capability, view?.capabilities ?? [], with: set)
        }
        let profile = try body.object("public_profile")
        let extra = body.others(Self.manifestMembers)
        if isPatch {
            if let profile {
                try changes.merge(.profile, view?.profile ?? [], with: profile, of: "public_profile")
            } else if body.isNull("public_profile") {
                changes.replace(.profile, view?.profile ?? [], with: [])
            }
            try changes.merge(.extra, view?.extra ?? [], with: extra, of: "the manifest")
        } else {
            try changes.replace(.profile, view?.profile ?? [], with: profile ?? [], of: "public_profile")
            try changes.replace(.extra, view?.extra ?? [], with: extra, of: "the manifest")
        }
    }

    /// Writes what changes of an agent, and tells everybody of a new agent or another status. Returns the head of the
    /// answer.
    mutating func writeAgent(
        _ agent: String, _ changes: AgentChanges, _ view: AgentView?, by asker: Asker, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) -> Reply {
        let list = try changes.finished()
        guard view == nil || !list.isEmpty else { return Reply(status: 200) }
        if view == nil {
            refreshAgents()
            guard agents.count < Agents.maximum else {
                agents.refused += 1
                throw NodeError(
                    status: 507,
                    message: "there are \(Agents.maximum) agents already; retire those that nobody needs with DELETE "
                        + "/api/manifests/{agent_id}")
            }
        }
        let name = DocumentKind.agent.name(agent)
        let stamp =
            view == nil
            ? try create(name, list, now: now, into: &effects) : try put(name, list, now: now, into: &effects)
        let source = asker.agent ?? agent
        if let view, let status = changes.status {
            try announceStatus(
                of: agent, status, before: view.statusText, source: source, now: now, into: &effects)
        } else if view == nil {
            var fields: [(key: String, value: JSONValue)] = [("agentId", .string(agent))]
            if let manifest = manifestValue(agent, now: now) { fields.append(("manifest", manifest)) }
            try announce(.agentLifecycle, "AgentIntroduced", source: source, fields, now: now, into: &effects)
        }
        return Reply(status: view == nil ? 201 : 200, stamp: stamp)
    }

    /// Tells everybody what an agent's status is now, and what it attends to.
    mutating func announceStatus(
        of agent: String, _ status: String, before: String, source: String, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let focus = focus(of: agent).flatMap { try? JSONValue($0) }
        try announce(
            .agentStatusUpdates, "AgentStatusUpdated", source: source,
            [
                ("agentId", .string(agent)), ("newStatus", .string(status)), ("oldStatus", .string(before)),
                ("currentFocus", focus ?? .null),
            ], now: now, into: &effects)
    }

    /// The most bytes of a manifest that is told with its agent's introduction; a longer or deeper one is left out.
    private static let maximumToldBytes = 64 << 10

    private mutating func manifestValue(_ agent: String, now: Instant) -> JSONValue? {
        guard let view = AgentView(agent, documents) else { return nil }
        var text: [UInt8] = []
        view.appendManifest(surroundings(of: agent, now: now), into: &text)
        guard text.count <= Self.maximumToldBytes, let manifest = try? JSONValue(text) else { return nil }
        // In the event it stands two levels down, and an event that is refused would leave an agent nobody was told of.
        return manifest.isNested(atMost: JSONScanner.maximumDepth - 2) ? manifest : nil
    }

    // MARK: - Reading

    /// The most manifests of one answer.
    static let maximumManifests = 1_000

    private mutating func listManifests(
        _ request: RequestID, status: String?, resource: String?, capability: String?, after: String?, limit: Int,
        now: Instant, into effects: inout Effects
    ) {
        refreshAgents()
        let terms: [(kind: Agents.Term, text: String?)] = [
            (.status, status), (.resource, resource), (.skill, capability),
        ]
        var found: [[UInt8]] = []
        let limit = min(max(1, limit), Self.maximumManifests)
        agents.find(terms.compactMap { term in term.text.map { (term.kind, $0) } }, after: after.map { Array($0.utf8) })
        {
            found.append(agents.id($0))
            return found.count < limit
        }
        replyList(request, found, into: &effects) { core, id, out in
            guard let view = AgentView(id, core.documents) else { return false }
            view.appendManifest(core.surroundings(of: id, now: now), into: &out)
            return true
        }
    }

    /// Answers with an array of what `append` shows of each agent; what a long answer leaves out comes with `after`.
    mutating func replyList(
        _ request: RequestID, _ ids: [[UInt8]], into effects: inout Effects,
        _ append: (inout NodeCore, String, inout [UInt8]) -> Bool
    ) {
        let start = effects.bytes.count
        effects.bytes.append(UInt8(ascii: "["))
        for id in ids where effects.bytes.count - start < Self.maximumListBytes {
            let before = effects.bytes.count
            if before > start + 1 { effects.bytes.append(UInt8(ascii: ",")) }
            let isShown = append(&self, String(decoding: id, as: UTF8.self), &effects.bytes)
            if !isShown { effects.bytes.removeSubrange(before...) }
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    private mutating func replyManifest(
        _ request: RequestID, _ view: AgentView, _ reply: Reply, now: Instant, into effects: inout Effects
    ) {
        let start = effects.bytes.count
        view.appendManifest(surroundings(of: view.id, now: now), into: &effects.bytes)
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    /// What a manifest shows besides its document.
    mutating func surroundings(of agent: String, now: Instant) -> AgentView.Surroundings {
        AgentView.Surroundings(
            chats: chats(of: agent), isOnline: presence.isOnline(agent, now: now), focus: focus(of: agent))
    }

    private func showProfile(
        _ request: RequestID, _ agent: String, asPage: Bool, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let view = try agentView(agent)
        let isOnline = presence.isOnline(agent, now: now)
        let start = effects.bytes.count
        if asPage {
            view.appendPage(isOnline: isOnline, into: &effects.bytes)
        } else {
            view.appendProfile(isOnline: isOnline, into: &effects.bytes)
        }
        let reply = Reply(status: 200, content: asPage ? .page : .json)
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    // MARK: - Keeping the index

    /// Reads what has changed of agents.
    mutating func refreshAgents() { agents.refresh(documents) }

    /// Reads it before it is much, so that whoever asks next does not wait for it, and ends sessions of retired agents.
    mutating func settleAgents(now: Instant, into effects: inout Effects) {
        noteDeparted(now: now, into: &effects)
        if agents.isRefreshDue, !isIncomplete { refreshAgents() }
        if !agents.retired.isEmpty { closeRetired(into: &effects) }
    }
}
