import CRDT

/// Who gets the turn in one chat, as a value: what the document says goes in with what happens, and what is to be written
/// and told comes out.
///
/// Nodes write only what they decided themselves, and the highest token counts; so whatever the sides of a partition decide
/// can be merged, and what a lower token still grants then is revoked by whoever granted it, or by the one that decides if
/// that is gone.
struct TurnDecider: Sendable {
    /// What happens.
    enum Input: Sendable {
        /// The document, the members of the chat or those of the cluster may have changed. Of the agents that have the turn
        /// or wait, those in `gone` are no members of the chat any more.
        case look(gone: [String])
        /// What was due at that time is due on this node's monotonic clock.
        case due(UInt64)
        /// An agent wants to speak.
        case ask(String, priority: Int)
        /// Somebody who may grants the turn to an agent, with nil to the next of the queue.
        case grant(String?, by: String)
        /// An agent gives the turn back, or waits for it no longer.
        case release(String, FencingToken?)
        /// Somebody who may takes the turn from whoever has it.
        case revoke(by: String)
        /// Turns are taken in another way from now on.
        case setRules(TurnRules, by: String)
    }

    /// What follows, in order.
    enum Effect: Equatable, Sendable {
        case set(field: String, JSONValue)
        case unset(field: String)
        /// An event for everybody.
        case tell(Told)
    }

    /// What an event says.
    struct Told: Equatable, Sendable {
        let change: String
        /// Whose turn it is about; nil for nobody's.
        var agent: String?
        /// Whose doing it is; nil for the node's.
        var by: String?
        var grant: TurnGrant?
        var reason: String?
    }

    /// What the node that decides is like now.
    struct Standing: Sendable {
        let me: ReplicaID
        /// Whether this node decides about this chat; if it does not, it only takes back what it granted.
        let decides: Bool
        let present: Set<ReplicaID>
        let majority: Majority
        /// In milliseconds since the Unix epoch.
        let nowMs: UInt64
    }

    let chat: String
    private(set) var state: TurnState
    let standing: Standing

    init(chat: String, _ state: TurnState, _ standing: Standing) {
        (self.chat, self.state, self.standing) = (chat, state, standing)
    }

    /// The only way in.
    mutating func handle(_ input: Input, into effects: inout [Effect]) throws(NodeError) {
        switch input {
        case .look(let gone): look(gone, into: &effects)
        case .due(let moment):
            guard standing.decides, state.dueMs == moment else { return }
            end(.expired, by: nil, into: &effects)
            advance(into: &effects)
        case .ask(let agent, let priority): try ask(agent, priority, into: &effects)
        case .grant(let agent, let by): try grant(agent, by: by, into: &effects)
        case .release(let agent, let token): try release(agent, token, into: &effects)
        case .revoke(let by):
            guard state.granted != nil else {
                // Asked again, it was done already.
                guard state.highest?.state == .revoked else {
                    throw .conflict("nobody has the turn in chat \(chat.shown), so there is nothing to revoke")
                }
                return
            }
            end(.revoked, by: by, into: &effects)
            advance(into: &effects)
        case .setRules(let rules, let by):
            guard rules != state.rules else { return }
            state.rules = rules
            state.sortQueue()
            effects.append(.set(field: TurnState.rulesField, rules.json))
            effects.append(.tell(Told(change: "rules_changed", by: by)))
            advance(into: &effects)
        }
    }

    // MARK: - What somebody asks

    private mutating func ask(_ agent: String, _ priority: Int, into effects: inout [Effect]) throws(NodeError) {
        // Asked again it is told what it has.
        if let granted = state.granted, granted.agent.isSame(as: agent) { return }
        if let place = state.place(of: agent), state.queue[place].priority == priority {
            return advance(into: &effects)
        }
        if state.rules.strict { try standing.majority.check("taking turns in chat \(chat.shown)") }
        let known = state.place(of: agent).map { state.queue[$0] }
        guard known != nil || state.queue.count < TurnState.maximumQueue else {
            throw .conflict(
                "\(state.queue.count) agents wait for the turn in chat \(chat.shown) already, which is the most; ask again "
                    + "when some have had it")
        }
        enqueue(
            TurnState.Waiting(agent: agent, sinceMs: known?.sinceMs ?? standing.nowMs, priority: priority),
            into: &effects)
        if known == nil { effects.append(.tell(Told(change: "speaker_requested", agent: agent, by: agent))) }
        advance(into: &effects)
    }

    private mutating func enqueue(_ waiting: TurnState.Waiting, into effects: inout [Effect]) {
        state.set(waiting)
        effects.append(
            .set(
                field: TurnState.queuePrefix + waiting.agent,
                .object([("stamp", .number(Int(waiting.sinceMs))), ("priority", .number(waiting.priority))])))
    }

    private mutating func grant(_ agent: String?, by: String, into effects: inout [Effect]) throws(NodeError) {
        if let granted = state.granted {
            if let agent, granted.agent.isSame(as: agent) { return }
            throw .conflict(
                "\(granted.agent.shown) has the turn in chat \(chat.shown) until \(granted.lease.text); wait for that, or "
                    + "revoke it with POST /api/chats/{id}/speaker/revoke")
        }
        if state.rules.strict { try standing.majority.check("taking turns in chat \(chat.shown)") }
        guard let next = agent ?? state.queue.first?.agent else {
            throw .conflict("nobody waits for the turn in chat \(chat.shown); say whom to grant it with agent_id")
        }
        give(next, by: by, into: &effects)
    }

    private mutating func release(
        _ agent: String, _ token: FencingToken?, into effects: inout [Effect]
    ) throws(NodeError) {
        let highest = state.highest
        if let granted = state.granted, granted.agent.isSame(as: agent), token.map({ $0 == granted.token }) ?? true {
            end(.released, by: agent, into: &effects)
            return advance(into: &effects)
        }
        if token == nil, state.place(of: agent) != nil {
            dequeue(agent, into: &effects)
            return effects.append(
                .tell(Told(change: "speaker_released", agent: agent, by: agent, reason: "waits no longer")))
        }
        // Asked again, it was done already.
        if let highest, highest.agent.isSame(as: agent), highest.state == .released,
            token ?? highest.token == highest.token
        {
            return
        }
        if let token, let highest, token < highest.token {
            throw .staleToken(token, highest.token, "the turn in chat \(chat.shown)", whose: Self.whose(highest))
        }
        if let granted = state.granted { throw .notYourTurn(agent, in: chat, granted) }
        throw .conflict("\(agent.shown) has no turn in chat \(chat.shown) to give back: \(Self.whose(highest))")
    }

    /// Who had the turn last, and how it ended.
    static func whose(_ grant: TurnGrant?) -> String {
        guard let grant else { return "nobody has had it yet" }
        switch grant.state {
        case .granted: return "\(grant.agent.shown) has it until \(grant.lease.text)"
        case .released: return "\(grant.agent.shown) had it last, and gave it back"
        case .revoked: return "\(grant.agent.shown) had it last, and it was revoked"
        case .outdone: return "\(grant.agent.shown) had it on the other side of a partition, where it was revoked"
        case .expired: return "\(grant.agent.shown) had it last, until \(grant.lease.text)"
        }
    }

    // MARK: - What follows by itself

    private mutating func look(_ gone: [String], into effects: inout [Effect]) {
        revokeLower(into: &effects)
        guard standing.decides else { return }
        for agent in gone where state.place(of: agent) != nil { dequeue(agent, into: &effects) }
        if let granted = state.granted, gone.contains(where: { $0.isSame(as: granted.agent) }) {
            end(.revoked, by: nil, "no member of the chat any more", into: &effects)
        }
        advance(into: &effects)
    }

    /// What was granted under a lower token and still runs is revoked by the node that granted it; by the one that decides
    /// if that is gone.
    private mutating func revokeLower(into effects: inout [Effect]) {
        for var grant in state.grants.outdone(at: standing.nowMs) {
            let isMine = grant.node == standing.me
            guard isMine || standing.decides && !standing.present.contains(grant.node) else { continue }
            grant.state = .outdone
            write(grant, into: &effects)
            effects.append(
                .tell(
                    Told(
                        change: "speaker_revoked", agent: grant.agent, grant: grant,
                        reason: "granted under a lower token on the other side of a partition")))
        }
    }

    /// What both sides of a partition granted, as every node can tell from the document: what is outdone now, and what was
    /// revoked for that since a moment.
    func conflicts(sinceMs: UInt64) -> [Conflict] {
        guard let highest = state.highest else { return [] }
        let outdone = Set(state.grants.outdone(at: standing.nowMs).map(\.node))
        return state.grants.filter { grant in
            outdone.contains(grant.node) || grant.state == .outdone && grant.writtenMs >= sinceMs
        }.map { grant in
            Conflict(
                kind: .doubleGrant, subject: chat, detail: Conflict.both(grant.agent, highest.agent),
                kept: "token \(highest.token.rawValue) of \(highest.agent)",
                lost: "token \(grant.token.rawValue) of \(grant.agent)")
        }
    }

    /// The next of the queue gets the floor where nobody has to grant it.
    private mutating func advance(into effects: inout [Effect]) {
        guard state.granted == nil, state.rules.moderator == nil, !state.rules.strict || standing.majority.isHere,
            let next = state.queue.first
        else { return }
        give(next.agent, by: nil, into: &effects)
    }

    private mutating func give(_ agent: String, by: String?, into effects: inout [Effect]) {
        let grant = TurnGrant(
            node: standing.me, agent: agent, token: nextToken,
            lease: Lease(untilMs: standing.nowMs + state.rules.slotMs), state: .granted, seen: seen)
        write(grant, into: &effects)
        if state.place(of: agent) != nil { dequeue(agent, into: &effects) }
        effects.append(.tell(Told(change: "speaker_granted", agent: agent, by: by, grant: grant)))
    }

    /// Ends the turn that runs.
    private mutating func end(
        _ how: TurnGrant.State, by: String?, _ reason: String? = nil, into effects: inout [Effect]
    ) {
        guard let granted = state.granted else { return }
        // What another node granted ends by a word of this one's that counts more.
        let token = granted.node == standing.me ? granted.token : nextToken
        let ended = TurnGrant(
            node: standing.me, agent: granted.agent, token: token, lease: granted.lease, state: how, seen: seen)
        write(ended, into: &effects)
        effects.append(
            .tell(
                Told(change: "speaker_\(how.rawValue)", agent: granted.agent, by: by, grant: granted, reason: reason)))
    }

    private var nextToken: FencingToken {
        FencingToken.next(after: state.highest.map { ($0.token, $0.node) }, by: standing.me)
    }

    private var seen: SeenTokens { state.grants.seen(by: standing.me, at: standing.nowMs) }

    private mutating func write(_ grant: TurnGrant, into effects: inout [Effect]) {
        state.set(grant)
        effects.append(.set(field: TurnState.grantPrefix + grant.node.description, grant.json))
    }

    private mutating func dequeue(_ agent: String, into effects: inout [Effect]) {
        state.removeFromQueue(agent)
        effects.append(.unset(field: TurnState.queuePrefix + agent))
    }
}

extension NodeError {
    /// It is somebody else's turn.
    static func notYourTurn(_ agent: String, in chat: String, _ grant: TurnGrant) -> NodeError {
        .conflict(
            "not your turn: \(grant.agent.shown) has the turn in chat \(chat.shown) until \(grant.lease.text); "
                + "\(agent.shown) asks for it with POST /api/chats/{id}/speaker/request")
    }

    /// Whoever comes with this token had been granted something, and somebody later.
    static func staleToken(
        _ token: FencingToken, _ highest: FencingToken, _ what: String, whose: String
    ) -> NodeError {
        .conflict(
            "stale token \(token.rawValue): \(what) was decided on since, under token \(highest.rawValue): \(whose)")
    }
}
