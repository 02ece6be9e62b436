import CRDT
import Gossip

/// Soorma's registry (docs/soorma-registry.md): its agents are the agents of every protocol.
extension NodeCore {
    /// What is asked of it.
    mutating func answer(
        _ id: RequestID, _ request: ServiceRegistryRequest, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .registerAgent: try registerService(id, bytes, now: now, into: &effects)
        case .agents(let agent, let name, let consumed, let produced, let includeExpired):
            listServices(
                id, agent: agent, name: name, consumed: consumed, produced: produced, includeExpired: includeExpired,
                now: now, into: &effects)
        case .heartbeat(let agent):
            let (_, reply) = try heartbeat(of: agent, by: Asker(agent), now: now, into: &effects)
            showDone(id, reply, "agentId", agent, "Heartbeat noted.", into: &effects)
        // Event streams are not ended by it: see `closeRetired`.
        case .removeAgent(let agent): try retire(id, agent, by: Asker(agent), now: now, into: &effects)
        case .registerEvent: try registerEventType(id, bytes, now: now, into: &effects)
        case .events(let name, let topic): listEventTypes(id, name: name, topic: topic, into: &effects)
        case .registerSchema: try registerSchema(id, bytes, now: now, into: &effects)
        case .schemas(let owner): listSchemas(id, owner: owner, into: &effects)
        case .schema(let name, let version): try showSchema(id, name, version: version, into: &effects)
        }
    }

    /// Answers as the SDK's models want it: what it is about, and that it went well.
    func showDone(
        _ request: RequestID, _ reply: Reply, _ member: String, _ value: String,
        more: [(key: String, value: JSONValue)] = [], _ message: String, into effects: inout Effects
    ) {
        var reply = reply
        reply.status = 200
        let body: [(key: String, value: JSONValue)] = [(member, .string(value))] + more
        show(request, .object(body + [("success", .bool(true)), ("message", .string(message))]), reply, into: &effects)
    }

    // MARK: - Registering

    private static let definitionMembers = [
        "agentId", "name", "description", "capabilities", "consumedEvents", "producedEvents", "agentType",
        "eventsConsumed", "eventsProduced", "metadata",
    ]

    /// What the SDK says becomes one field, kept as it came; what other protocols know of, too, is written as they do it.
    private mutating func registerService(
        _ request: RequestID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes, of: "agent", known: Self.definitionMembers)
        let agent = try body.requiredText("agentId")
        let name = try body.requiredText("name")
        let view = AgentView(agent, documents)
        var changes = AgentChanges(view)
        if view == nil || view?.statusText == "offline" { changes.set(status: AgentView.defaultStatus) }
        if let type = try body.text("agentType") ?? (view?.type == nil ? Self.serviceType : nil) {
            changes.replaceValue(.type, view?.type, with: .string(type))
        }
        changes.replaceValue(.description, view?.description, with: .string(try body.anyText("description") ?? ""))
        let capabilities = try AgentChanges.capabilities(body) ?? []
        changes.replace(.capability, view?.capabilities ?? [], with: capabilities)
        if let metadata = try body.object("metadata") {
            try changes.replace(.metadata, view?.metadata ?? [], with: metadata, of: "metadata")
        }
        try shareName(name, view, &changes)
        changes.replaceValue(.soorma, view?.soorma, with: try Self.definition(body, name))
        changes.set(.registered, milliseconds: cluster.nowMs(now))
        let reply = try writeAgent(agent, changes, view, by: Asker(agent), now: now, into: &effects)
        let message = view == nil ? "Registered." : "Registered anew."
        showDone(request, reply, "agentId", agent, message, into: &effects)
    }

    /// What agents are that say no type.
    private static let serviceType = "soorma"

    /// The public profile has the SDK's name, unless somebody gave it another one.
    private func shareName(_ name: String, _ view: AgentView?, _ changes: inout AgentChanges) throws(NodeError) {
        let shown = view?.profile.first { $0.name.elementsEqual("name".utf8) }?.value
        if let view, let shown, let text = shown.span.bytes.jsonText {
            guard text.elementsEqual(ServiceAgent.unversioned(ServiceAgent(view).name).utf8) else { return }
        } else if shown != nil {
            return
        }
        try changes.merge(
            .profile, view?.profile ?? [], with: [("name", .string(ServiceAgent.unversioned(name)))],
            of: "public_profile")
    }

    /// What is kept of a definition as it came. The flat form has other names for the lists of events.
    private static func definition(_ body: Body, _ name: String) throws(NodeError) -> JSONValue {
        let consumed = try eventNames(body, "consumedEvents", "eventsConsumed")
        let produced = try eventNames(body, "producedEvents", "eventsProduced")
        let members: [(key: String, value: JSONValue)] = [
            ("name", .string(name)), ("capabilities", body["capabilities"] ?? .array([])),
            ("consumedEvents", consumed ?? .null), ("producedEvents", produced ?? .null),
        ]
        return .object(members + body.others(definitionMembers))
    }

    private static func eventNames(
        _ body: Body, _ long: StaticString, _ flat: StaticString
    ) throws(NodeError) -> JSONValue? {
        let name = body[long] == nil ? flat : long
        guard let value = body[name] else { return nil }
        guard let elements = value.elements, elements.count <= AgentChanges.maximumSetMembers else {
            throw .invalid(
                field: name,
                "expected an array of at most \(AgentChanges.maximumSetMembers) names of events, found \(value.phrase)")
        }
        for element in elements {
            guard let text = element.string, text.utf8.count <= Body.maximumTextBytes else {
                throw .invalid(
                    field: name, "expected names of at most \(Body.maximumTextBytes) bytes, found \(element.phrase)")
            }
        }
        return value
    }

    // MARK: - Finding

    /// The most agents of one answer: the SDK knows no pages.
    static let maximumServices = 10_000

    private mutating func listServices(
        _ request: RequestID, agent: String?, name: String?, consumed: String?, produced: String?,
        includeExpired: Bool, now: Instant, into effects: inout Effects
    ) {
        refreshAgents()
        let ids = serviceIDs(agent: agent, name: name, consumed: consumed, produced: produced)
        var left = Self.maximumServices
        showList(request, under: "agents", ids, into: &effects) { id, out in
            guard left > 0, let view = AgentView(id, documents), includeExpired || !isOffline(view, now: now) else {
                return
            }
            let service = ServiceAgent(view)
            guard service.matches(id: agent, name: name, consumed: consumed, produced: produced) else { return }
            out += service.json.encoded()
            left -= 1
        }
    }

    /// The ids of the agents that may be meant, in order: the index knows names and events; who has no name of an SDK's is
    /// called by its id.
    private func serviceIDs(agent: String?, name: String?, consumed: String?, produced: String?) -> [String] {
        if let agent { return [agent] }
        var terms: [(kind: Agents.Term, text: String)] = []
        if let consumed { terms.append((.consumed, consumed)) }
        if let produced { terms.append((.produced, produced)) }
        if let name { terms.append((.label, name)) }
        var found: [[UInt8]] = []
        agents.find(terms) { number in
            found.append(agents.id(number))
            return true
        }
        if let name, !found.contains(Array(name.utf8)) {
            found.append(Array(name.utf8))
            found.sort { $0.lexicographicallyPrecedes($1) }
        }
        return found.map { String(decoding: $0, as: UTF8.self) }
    }
}

extension AgentChanges {
    /// Writes a field that holds something else.
    mutating func replaceValue(_ field: AgentField, _ old: [UInt8]?, with new: JSONValue) {
        if old != new.encoded() { set(field, new) }
    }
}
