import CRDT
import Gossip

/// Speaker turns (docs/turns.md).
extension NodeCore {
    /// What is asked about turns.
    mutating func answer(
        _ id: RequestID, _ request: TurnRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        if case .speaker(let chat) = request {
            try checkChat(chat)
            let state = turnState(chat)
            let view = view(of: state, in: chat, state.holder(at: cluster.nowMs(now)))
            let start = effects.bytes.count
            effects.bytes += JSONValue.object(view).encoded()
            return effects.list.append(.reply(id, Reply(status: 200), body: start..<effects.bytes.count))
        }
        // What cannot be right is refused by whoever is asked.
        _ = try TurnOrder(request, by: asker, bytes)
        try decideOrForward(id, .turn(request), by: asker, bytes, now: now, into: &effects)
    }

    // MARK: - Deciding

    /// The node that decides about a chat's turns.
    func turnDecider(of chat: String) -> ReplicaID {
        let name = DocumentKind.turn.name(chat)
        let named = documents.value(of: TurnState.ownerField, in: name).flatMap {
            ReplicaID(text: String(decoding: $0, as: UTF8.self))
        }
        return owner(of: Array(name.utf8), named: named)
    }

    /// Decides what somebody asks, at the node that decides.
    mutating func decide(
        _ request: TurnRequest, by asker: Asker, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> Verdict {
        let order = try TurnOrder(request, by: asker, bytes)
        try checkChat(order.chat)
        var decider = turnDeciderValue(order.chat, decides: true, now: now)
        let input = try input(of: order, asker, decider.state)
        var wanted: [TurnDecider.Effect] = []
        try decider.handle(input, into: &wanted)
        let stamp = try carryOut(wanted, of: decider, now: now, into: &effects)
        var state = decider.state
        if let stamp { state.updatedMs = stamp.milliseconds }
        var view = view(of: state, in: order.chat, state.granted)
        if case .ask = request, let agent = order.agent {
            let isGranted = state.granted?.agent.isSame(as: agent) ?? false
            view.append(("agent_id", .string(agent)))
            view.append(("granted", .bool(isGranted)))
            view.append(("position", state.place(of: agent).map { .number($0 + 1) } ?? .null))
        }
        return Verdict(.object(view), stamp: stamp)
    }

    /// Checks who may do what (docs/turns.md has the table).
    private mutating func input(
        of order: TurnOrder, _ asker: Asker, _ state: TurnState
    ) throws(NodeError) -> TurnDecider.Input {
        let chat = order.chat
        let by = asker.agent ?? settings.name
        switch order.what {
        case .ask(let priority):
            let agent = order.agent ?? ""
            try checkMember(agent, of: chat)
            return .ask(agent, priority: priority)
        case .grant:
            try checkModerates(asker, chat, state.rules)
            if let agent = order.agent { try checkMember(agent, of: chat) }
            return .grant(order.agent, by: by)
        case .release(let token):
            // Whoever is a member no longer has no turn either.
            let agent = order.agent ?? state.granted?.agent ?? ""
            guard !agent.isEmpty else { throw .conflict("nobody has the turn in chat \(chat.shown)") }
            return .release(agent, token)
        case .revoke:
            try checkModerates(asker, chat, state.rules)
            return .revoke(by: by)
        case .rules(let body):
            if let agent = asker.agent {
                let role = try memberRole(agent, of: chat)
                guard role == .owner || role == .admin else {
                    throw .roleMayNot(agent, role, chat, "change how turns are taken", "its owner or an admin")
                }
            }
            let rules = try TurnRules(state.rules, changedBy: body)
            if let moderator = rules.moderator, rules.moderator != state.rules.moderator {
                try checkMember(moderator, of: chat)
            }
            return .setRules(rules, by: by)
        }
    }

    private mutating func memberRole(_ agent: String, of chat: String) throws(NodeError) -> ChatRole {
        try checkAgent(agent)
        guard let role = role(of: agent, in: chat) else {
            throw NodeError(
                status: 403,
                message: "\(agent.shown) is not a member of chat \(chat.shown); join it with PUT "
                    + "/api/chats/{id}/members/{agent_id}, or ask a member to invite it")
        }
        return role
    }

    private mutating func checkMember(_ agent: String, of chat: String) throws(NodeError) {
        _ = try memberRole(agent, of: chat)
    }

    private mutating func checkModerates(_ asker: Asker, _ chat: String, _ rules: TurnRules) throws(NodeError) {
        guard let agent = asker.agent else { return }
        let role = try memberRole(agent, of: chat)
        guard role == .owner || role == .admin || rules.moderator?.isSame(as: agent) ?? false else {
            throw .roleMayNot(
                agent, role, chat, "grant or revoke turns",
                rules.moderator.map { "the moderator \($0.shown), the owner or an admin" } ?? "its owner or an admin")
        }
    }

    private func checkChat(_ chat: String) throws(NodeError) {
        guard documents.exists(DocumentKind.chat.name(chat)) else {
            throw .notFound(
                "unknown chat \(chat.shown): create it with POST /api/chats; if that was done at another node, send that "
                    + "answer's Hypha-Clock along")
        }
    }

    // MARK: - Following the documents

    /// Decides what follows from documents and members that have changed, and from time that has passed.
    mutating func settleTurns(now: Instant, into effects: inout Effects) {
        let isDue = turns.wake.map { $0 <= now } ?? false
        // What could not be decided waits.
        guard turns.retryAt == nil || isDue else { return }
        let hasNewMembers = turns.seenMembers != cluster.memberChanges
        guard hasNewMembers || isDue || !turns.stale.isEmpty else { return }
        guard canDecide else { return turns.retryAt = now.advanced(milliseconds: Self.retryMs) }
        turns.retryAt = nil
        turns.seenMembers = cluster.memberChanges
        let all = turns.stale.isEverything ? keys(of: .turn) : []
        var keys = turns.takeStale(hasNewMembers: hasNewMembers, all)
        // What was decided here is read again, and has nothing to decide any more.
        repeat {
            for key in keys { lookAtTurn(key, now: now, into: &effects) }
            while let (key, dueMs) = turns.timers.pop(now) {
                lookAtTurn(key, due: dueMs, now: now, into: &effects)
            }
            keys = turns.takeStale(hasNewMembers: false, [])
        } while !keys.isEmpty
    }

    /// A node that could not decide anything tries again after so long, in milliseconds.
    static let retryMs: UInt64 = 1_000

    private mutating func lookAtTurn(_ key: [UInt8], due: UInt64? = nil, now: Instant, into effects: inout Effects) {
        let chat = String(decoding: key, as: UTF8.self)
        let name = DocumentKind.turn.name(chat)
        guard documents.exists(name) else {
            turns.note(key, [])
            return turns.timers.set(key, dueMs: nil, nowMs: 0, now: now)
        }
        let decides = turnDecider(of: chat) == settings.replica
        var decider = turnDeciderValue(chat, decides: decides, now: now)
        do throws(NodeError) {
            if decides, !documents.exists(DocumentKind.chat.name(chat)) {
                // With a chat goes what is known of its turns.
                try put(name, [.remove], now: now, into: &effects)
                return
            }
            if let since = healing.sinceMs {
                for conflict in decider.conflicts(sinceMs: since) { noteConflict(conflict) }
            }
            let agents = decider.state.agents
            let gone = decides ? agents.filter { role(of: $0, in: chat) == nil } : []
            var wanted: [TurnDecider.Effect] = []
            if let due { try decider.handle(.due(due), into: &wanted) }
            try decider.handle(.look(gone: gone), into: &wanted)
            try carryOut(wanted, of: decider, now: now, into: &effects)
        } catch {
            effects.list.append(.log(.warning, "turns of chat \(chat.shown): \(error.message)"))
            return turns.timers.set(key, dueMs: nil, nowMs: 0, now: now)
        }
        follow(key, decider.state, decides: decides, now: now)
    }

    /// Keeps track of who has the turn, and of when it ends if this node decides that.
    private mutating func follow(_ key: [UInt8], _ state: TurnState, decides: Bool, now: Instant) {
        turns.note(key, state.agents)
        turns.timers.set(key, dueMs: decides ? state.dueMs : nil, nowMs: cluster.nowMs(now), now: now)
    }

    private func turnState(_ chat: String) -> TurnState {
        TurnState(documents.fields(of: DocumentKind.turn.name(chat)))
    }

    private func turnDeciderValue(_ chat: String, decides: Bool, now: Instant) -> TurnDecider {
        TurnDecider(
            chat: chat, turnState(chat),
            TurnDecider.Standing(
                me: settings.replica, decides: decides, present: presentNodes, majority: majority,
                nowMs: cluster.nowMs(now)))
    }

    /// Writes what was decided, and tells of it.
    @discardableResult
    private mutating func carryOut(
        _ wanted: [TurnDecider.Effect], of decider: TurnDecider, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp? {
        let name = DocumentKind.turn.name(decider.chat)
        var changes: [DocumentMap.Change] = documents.exists(name) ? [] : [.create]
        var fields = FieldChanges()
        for effect in wanted {
            switch effect {
            case .set(let field, let value): fields.set(field, value.encoded())
            case .unset(let field): fields.set(field, nil)
            case .tell: break
            }
        }
        changes += fields.changes(of: name, in: documents)
        guard !wanted.isEmpty else { return nil }
        if decider.standing.decides {
            if decider.state.owner != settings.replica {
                changes.append(
                    .set(field: TurnState.ownerField, value: Array(settings.replica.description.utf8)))
            }
            changes += forgettable(name, prefix: TurnState.grantPrefix)
        }
        let stamp = try put(name, changes, now: now, into: &effects)
        for effect in wanted {
            switch effect {
            case .tell(let told): try tell(told, decider.chat, now: now, into: &effects)
            case .set, .unset: break
            }
        }
        follow(Array(decider.chat.utf8), decider.state, decides: decider.standing.decides, now: now)
        return stamp
    }

    private mutating func tell(
        _ told: TurnDecider.Told, _ chat: String, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        switch told.change {
        case "speaker_granted": turns.counters.granted += 1
        case "speaker_expired": turns.counters.expired += 1
        case "speaker_revoked": turns.counters.revoked += 1
        default: break
        }
        var fields: [(key: String, value: JSONValue)] = [("chatId", .string(chat)), ("change", .string(told.change))]
        if let agent = told.agent { fields.append(("agentId", .string(agent))) }
        fields.append(("by", .string(told.by ?? settings.name)))
        if let grant = told.grant {
            fields.append(("token", .number(grant.token.rawValue)))
            fields.append(("until", .time(grant.lease.untilMs)))
        }
        if let reason = told.reason { fields.append(("reason", .string(reason))) }
        try announce(
            .chatEvents, "ChatUpdated", source: told.by ?? settings.name, fields, now: now, into: &effects)
    }

    // MARK: - For chats and agents

    /// Refuses a message out of turn, by what is known here; `token` is that of the sender's grant, if it said one. The
    /// error says whose turn it is and until when.
    func checkTurn(
        _ agent: String, _ role: ChatRole, in chat: String, token: Int?, now: Instant
    ) throws(NodeError) {
        let name = DocumentKind.turn.name(chat)
        guard role == .guest || documents.exists(name) else {
            guard let token else { return }
            throw .unknownToken(token, chat)
        }
        // Not the queue, which may be long.
        var state = TurnState(documents.fields(of: name, prefix: TurnState.grantPrefix))
        if let rules = documents.value(of: TurnState.rulesField, in: name).flatMap({ try? JSONValue($0) }) {
            state.rules = TurnRules(rules)
        }
        let holder = state.holder(at: cluster.nowMs(now))
        if let token {
            guard let given = FencingToken(rawValue: token), let highest = state.highest, given <= highest.token else {
                throw .unknownToken(token, chat)
            }
            if given < highest.token {
                throw .staleToken(
                    given, highest.token, "the turn in chat \(chat.shown)", whose: TurnDecider.whose(highest))
            }
        }
        if let holder {
            guard holder.agent.isSame(as: agent) else { throw .notYourTurn(agent, in: chat, holder) }
            return
        }
        if token != nil {
            throw .conflict(
                "your turn in chat \(chat.shown) is over: \(TurnDecider.whose(state.highest)); ask for it again with POST "
                    + "/api/chats/{id}/speaker/request")
        }
        guard role == .guest || state.rules.required else { return }
        throw .conflict(
            "not your turn: nobody has the turn in chat \(chat.shown), where "
                + (state.rules.required ? "nobody speaks without it" : "guests speak only with it")
                + "; ask for it with POST /api/chats/{id}/speaker/request")
    }

    /// An agent retires, or is no member of a chat any more: it gives back its turn there and waits for none; with nil, in
    /// all chats. The node that decides does so as soon as it reads of it, this one at the end of the input.
    mutating func releaseTurns(
        _ agent: String, in chat: String?, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        if let chat { turns.noteChat(Array(chat.utf8)) } else { turns.noteAgent(Array(agent.utf8)) }
    }

    // MARK: - Views

    private func view(
        of state: TurnState, in chat: String, _ holder: TurnGrant?
    ) -> [(key: String, value: JSONValue)] {
        var members: [(key: String, value: JSONValue)] = [
            ("chat_id", .string(chat)), ("current_speaker", .optional(holder?.agent)),
            ("token", holder.map { .number($0.token.rawValue) } ?? .null),
            ("until", holder.map { .time($0.lease.untilMs) } ?? .null), ("queue", .texts(state.queue.map(\.agent))),
            (
                "waiting",
                .array(
                    state.queue.map { waiting in
                        .object([
                            ("agent_id", .string(waiting.agent)), ("priority", .number(waiting.priority)),
                            ("requested_at", .time(waiting.sinceMs)),
                        ])
                    })
            ),
        ]
        if case .object(let rules) = state.rules.json { members += rules }
        members.append(("last_updated", state.updatedMs > 0 ? .time(state.updatedMs) : .null))
        members.append(("decided_by", .string(shownName(turnDecider(of: chat)))))
        return members
    }
}

extension NodeError {
    /// The role is too low.
    static func roleMayNot(
        _ agent: String, _ role: ChatRole, _ chat: String, _ what: String, _ who: String
    ) -> NodeError {
        NodeError(
            status: 403,
            message: "\(agent.shown) is \(role.rawValue) of chat \(chat.shown) and may not \(what); \(who) may")
    }

    /// Nothing was granted under this token, as far as is known here.
    fileprivate static func unknownToken(_ token: Int, _ chat: String) -> NodeError {
        .conflict(
            "unknown token \(token): as far as this node has read, no turn in chat \(chat.shown) was granted under it; send "
                + "the Hypha-Clock of the answer that granted it along")
    }
}
