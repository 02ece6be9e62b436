import CRDT

/// Who does one task, as a value: what the document says goes in with what happens, and what is to be written and told
/// comes out. As with turns, nodes write only what they decided themselves, and the highest token counts; but a result
/// stands, whatever was decided without knowing of it.
struct TaskDecider: Sendable {
    /// What happens.
    enum Input: Sendable {
        /// The document, the agents or the members of the cluster may have changed. `isGone`: whoever does it has retired.
        case look(isGone: Bool)
        /// What was due at that time is due on this node's monotonic clock.
        case due(UInt64)
        /// An agent that is able to wants to do it, or to go on doing it; nil for the lease that the task names.
        case claim(String, leaseMs: UInt64?)
        case complete(String, FencingToken, JSONValue)
        case fail(String, FencingToken, reason: String?)
        case cancel(by: String)
        /// It was done well, or badly.
        case rate(Int, by: String)
    }

    /// What counts for an agent's reputation.
    enum Merit: String, CaseIterable, Sendable { case completed, failed, up, down }

    /// What follows, in order.
    enum Effect: Equatable, Sendable {
        case set(field: String, JSONValue)
        case count(Merit, String)
        case tell(Told)
        /// Nothing is to be known of it any more.
        case forget
    }

    /// What an event says.
    struct Told: Equatable, Sendable {
        let type: String
        var agent: String?
        /// Whose doing it is; nil for the node's.
        var by: String?
        var token: FencingToken?
        var untilMs: UInt64?
        var attempt: Int?
        var reason: String?
        var rating: Int?
        /// Nothing more becomes of it.
        var isFinal = false
    }

    /// What the node that decides is like now.
    struct Standing: Sendable {
        let me: ReplicaID
        let decides: Bool
        let present: Set<ReplicaID>
        let majority: Majority
        /// In milliseconds since the Unix epoch.
        let nowMs: UInt64
    }

    private(set) var state: TaskState
    let standing: Standing

    init(_ state: TaskState, _ standing: Standing) { (self.state, self.standing) = (state, standing) }

    var id: String { state.terms.id }

    /// The only way in.
    mutating func handle(_ input: Input, into effects: inout [Effect]) throws(NodeError) {
        switch input {
        case .look(let isGone): look(isGone, into: &effects)
        case .due(let moment): due(moment, into: &effects)
        case .claim(let agent, let leaseMs): try claim(agent, leaseMs, into: &effects)
        case .complete(let agent, let token, let result): try complete(agent, token, result, into: &effects)
        case .fail(let agent, let token, let reason): try fail(agent, token, reason, into: &effects)
        case .cancel(let by):
            // Asked again, it was done already.
            guard state.status != .cancelled else { return }
            try checkNotOver()
            var claim = decision(.cancelled)
            claim.reason = "cancelled by \(by)"
            write(claim, into: &effects)
            effects.append(
                .tell(
                    Told(type: "TaskCancelled", agent: claim.agent.isEmpty ? nil : claim.agent, by: by, isFinal: true)))
        case .rate(let rating, let by): try rate(rating, by, into: &effects)
        }
    }

    // MARK: - Claims

    private mutating func claim(_ agent: String, _ leaseMs: UInt64?, into effects: inout [Effect]) throws(NodeError) {
        try checkNotOver()
        let until = Lease(untilMs: standing.nowMs + (leaseMs ?? state.terms.leaseMs))
        if let claimed = state.claimed {
            guard claimed.agent.isSame(as: agent) else {
                throw .conflict(
                    "task \(id.shown) is claimed by \(claimed.agent.shown) until \(claimed.lease.text); claim another, or "
                        + "this one if it is open again then")
            }
            var renewed = decision(.claimed)
            renewed.lease = until
            return write(renewed, into: &effects)
        }
        if state.status == .waiting, let highest = state.highest {
            throw .conflict(
                "task \(id.shown) has failed \(highest.attempt) of \(state.terms.maxAttempts) times, and is open again at "
                    + "\(highest.lease.text); claim it then")
        }
        if state.terms.strict { try standing.majority.check("task \(id.shown)") }
        let reserved = state.terms.reservedFor
        guard reserved.isEmpty || reserved.contains(where: { $0.isSame(as: agent) }) else {
            throw NodeError(
                status: 403,
                message:
                    "task \(id.shown) is for \(reserved.map(\.shown).joined(separator: ", ")) alone; claim one that is "
                    + "for anybody")
        }
        let claim = TaskClaim(
            node: standing.me, agent: agent, token: nextToken, lease: until, state: .claimed,
            attempt: (state.highest?.attempt ?? 0) + 1, atMs: standing.nowMs, seen: seen)
        write(claim, into: &effects)
        effects.append(
            .tell(
                Told(
                    type: "TaskClaimed", agent: agent, by: agent, token: claim.token, untilMs: until.untilMs,
                    attempt: claim.attempt)))
    }

    private mutating func complete(
        _ agent: String, _ token: FencingToken, _ result: JSONValue, into effects: inout [Effect]
    ) throws(NodeError) {
        // Asked again, it was done already.
        if let done = state.result, done.agent.isSame(as: agent), done.token == token { return }
        let claim = try checkHolds(agent, token)
        let done = TaskResult(
            node: standing.me, agent: agent, token: claim.token, attempt: claim.attempt, result: result,
            atMs: standing.nowMs)
        state.set(done)
        effects.append(.set(field: TaskState.donePrefix + standing.me.description, done.json))
        effects.append(.count(.completed, agent))
        effects.append(
            .tell(
                Told(
                    type: "TaskCompleted", agent: agent, by: agent, token: claim.token, attempt: claim.attempt,
                    isFinal: true)))
    }

    private mutating func fail(
        _ agent: String, _ token: FencingToken, _ reason: String?, into effects: inout [Effect]
    ) throws(NodeError) {
        // Asked again, it was done already.
        if state.result == nil, let highest = state.highest, highest.agent.isSame(as: agent), highest.token == token,
            highest.state == .waiting || highest.state == .failed
        {
            return
        }
        let claim = try checkHolds(agent, token)
        end(claim, by: agent, reason ?? "\(agent.shown) failed", into: &effects)
    }

    private mutating func rate(_ rating: Int, _ by: String, into effects: inout [Effect]) throws(NodeError) {
        guard let result = state.result else {
            throw .conflict(
                "task \(id.shown) is \(state.status.rawValue); what is rated is the work on a completed task")
        }
        if let known = state.rating?["rating"]?.double {
            guard known == Double(rating) else {
                throw .conflict("task \(id.shown) was rated \(Int(known)) already; a task is rated once")
            }
            return
        }
        let value: JSONValue = .object([
            ("rating", .number(rating)), ("by", .string(by)), ("at", .number(Int(standing.nowMs))),
        ])
        state.rating = value
        effects.append(.set(field: TaskState.ratingField, value))
        effects.append(.count(rating > 0 ? .up : .down, result.agent))
        effects.append(.tell(Told(type: "TaskRated", agent: result.agent, by: by, rating: rating, isFinal: true)))
    }

    /// Refuses what comes too late.
    private func checkNotOver() throws(NodeError) {
        switch state.status {
        case .open, .claimed, .waiting: return
        case .completed:
            throw .conflict(
                "task \(id.shown) was completed by \(state.result?.agent.shown ?? "somebody"); there is nothing left to do"
            )
        case .failed:
            throw .conflict("task \(id.shown) has failed \(state.terms.maxAttempts) times, and is not tried again")
        case .expired: throw .conflict("the deadline of task \(id.shown) has passed; post another one")
        case .cancelled: throw .conflict("task \(id.shown) was cancelled; nobody needs it any more")
        }
    }

    /// The claim under which an agent does the task; refused with who does it, if it is another.
    private func checkHolds(_ agent: String, _ token: FencingToken) throws(NodeError) -> TaskClaim {
        if let claimed = state.claimed, claimed.agent.isSame(as: agent), claimed.token == token { return claimed }
        if let highest = state.highest, token < highest.token {
            throw .staleToken(token, highest.token, "task \(id.shown)", whose: whose)
        }
        guard let highest = state.highest, token == highest.token else {
            throw .conflict(
                "unknown token \(token.rawValue): as far as this node has read, task \(id.shown) was not claimed under it; "
                    + "send the Hypha-Clock of the answer that granted it along")
        }
        guard state.result == nil, highest.agent.isSame(as: agent) else {
            throw .conflict("token \(token.rawValue) is not \(agent.shown)'s: \(whose)")
        }
        throw .conflict("your claim under token \(token.rawValue) has ended: \(whose)")
    }

    /// Who does it or what has become of it.
    private var whose: String {
        if let result = state.result { return "it was completed by \(result.agent.shown)" }
        guard let highest = state.highest else { return "nobody has claimed it" }
        switch state.status {
        case .claimed: return "it is claimed by \(highest.agent.shown) until \(highest.lease.text)"
        case .waiting: return "\(highest.reason ?? "the attempt failed"); it is open again at \(highest.lease.text)"
        case .open: return "it is open; claim it again"
        case .completed, .failed, .expired, .cancelled: return highest.reason ?? "it is \(state.status.rawValue)"
        }
    }

    // MARK: - What follows by itself

    private mutating func due(_ moment: UInt64, into effects: inout [Effect]) {
        guard standing.decides, state.dueMs == moment else { return }
        guard !state.status.isFinal else { return effects.append(.forget) }
        if let deadline = state.terms.deadlineMs, deadline <= moment {
            let claimed = state.claimed
            var claim = decision(.expired)
            claim.reason = "its deadline has passed"
            write(claim, into: &effects)
            if let claimed { effects.append(.count(.failed, claimed.agent)) }
            return effects.append(
                .tell(
                    Told(
                        type: "TaskExpired", agent: claimed?.agent, attempt: claim.attempt, reason: claim.reason,
                        isFinal: true)))
        }
        if let claimed = state.claimed {
            return end(claimed, by: nil, "the lease of \(claimed.agent.shown) has ended", into: &effects)
        }
        reopen("its pause is over", into: &effects)
    }

    private mutating func reopen(_ reason: String, into effects: inout [Effect]) {
        var claim = decision(.open)
        claim.reason = reason
        write(claim, into: &effects)
        effects.append(
            .tell(
                Told(
                    type: "TaskReopened", agent: claim.agent.isEmpty ? nil : claim.agent, attempt: claim.attempt,
                    reason: reason)))
    }

    /// An attempt has failed.
    private mutating func end(_ claimed: TaskClaim, by: String?, _ reason: String, into effects: inout [Effect]) {
        let isLast = claimed.attempt >= state.terms.maxAttempts
        var claim = decision(isLast ? .failed : .waiting)
        claim.reason = reason
        claim.lease = Lease(untilMs: standing.nowMs + (isLast ? 0 : state.terms.pauseMs(after: claimed.attempt)))
        write(claim, into: &effects)
        effects.append(.count(.failed, claimed.agent))
        effects.append(
            .tell(
                Told(
                    type: "TaskFailed", agent: claimed.agent, by: by, token: claimed.token,
                    untilMs: isLast ? nil : claim.lease.untilMs, attempt: claimed.attempt, reason: reason,
                    isFinal: isLast)))
    }

    private mutating func look(_ isGone: Bool, into effects: inout [Effect]) {
        revokeOutdone(into: &effects)
        guard standing.decides, isGone, let claimed = state.claimed else { return }
        reopen("\(claimed.agent.shown) has retired", into: &effects)
    }

    /// What two sides of a partition decided both: the higher token counts, and a result before any claim. Whoever decided
    /// the other takes it back; the node that decides does if that one is gone.
    private mutating func revokeOutdone(into effects: inout [Effect]) {
        func isMine(_ node: ReplicaID) -> Bool {
            node == standing.me || standing.decides && !standing.present.contains(node)
        }
        guard let kept else { return }
        for var claim in outdone where isMine(claim.node) {
            claim.state = .outdone
            claim.reason = "\(kept.how) by \(kept.agent.shown) on the other side of a partition"
            write(claim, into: &effects)
            effects.append(
                .tell(
                    Told(
                        type: "TaskRevoked", agent: claim.agent, token: claim.token, attempt: claim.attempt,
                        reason: claim.reason)))
        }
        for var result in state.results where result != state.result && !result.isOutdone && isMine(result.node) {
            result.isOutdone = true
            state.set(result)
            effects.append(.set(field: TaskState.donePrefix + result.node.description, result.json))
            effects.append(
                .tell(
                    Told(
                        type: "TaskRevoked", agent: result.agent, token: result.token, attempt: result.attempt,
                        reason: "completed by \(kept.agent.shown), too, whose result counts")))
        }
    }

    /// What counts.
    private var kept: (how: String, agent: String, token: FencingToken)? {
        if let result = state.result { return ("completed", result.agent, result.token) }
        return state.highest.map { ("claimed", $0.agent, $0.token) }
    }

    /// The claims that somebody holds unknown to whoever decided what counts. One that has led to a result is not among
    /// them: its result counts, or is itself outdone.
    private var outdone: [TaskClaim] {
        var found = state.claims.outdone(at: standing.nowMs)
        if state.result != nil, let claim = state.highest, claim.holds(at: standing.nowMs) { found.append(claim) }
        return found.filter { claim in
            !state.results.contains { $0.token == claim.token && $0.agent.isSame(as: claim.agent) }
        }
    }

    /// What both sides of a partition let happen, as every node can tell from the document: what is outdone now, and what
    /// was revoked for that since a moment.
    func conflicts(sinceMs: UInt64) -> [Conflict] {
        guard let kept else { return [] }
        func conflict(_ how: String, _ agent: String, _ token: FencingToken) -> Conflict {
            Conflict(
                kind: .doubleClaim, subject: id, detail: Conflict.both(agent, kept.agent),
                kept: "\(kept.how) by \(kept.agent), token \(kept.token.rawValue)",
                lost: "\(how) by \(agent), token \(token.rawValue)")
        }
        let now = Set(outdone.map(\.node))
        let claims = state.claims.filter {
            now.contains($0.node) || $0.state == .outdone && $0.writtenMs >= sinceMs
        }.map { conflict("claimed", $0.agent, $0.token) }
        let results = state.results.filter {
            $0.node != state.result?.node && (!$0.isOutdone || $0.writtenMs >= sinceMs)
        }.map { conflict("completed", $0.agent, $0.token) }
        return claims + results
    }

    // MARK: - Writing

    private var nextToken: FencingToken {
        if let highest = state.highest { return .next(after: (highest.token, highest.node), by: standing.me) }
        // Only the node in whose log the task stands begins with the first term: whoever follows it is higher.
        let creator = state.created.replica
        let first = FencingToken.next(after: nil, by: creator)
        return standing.me == creator ? first : .next(after: (first, creator), by: standing.me)
    }

    private var seen: SeenTokens { state.claims.seen(by: standing.me, at: standing.nowMs) }

    /// What becomes of the claim that counts: under its token if this node granted it, else under one that counts more.
    private func decision(_ new: TaskClaim.State) -> TaskClaim {
        let highest = state.highest
        return TaskClaim(
            node: standing.me, agent: highest?.agent ?? "",
            token: highest.flatMap { $0.node == standing.me ? $0.token : nil } ?? nextToken,
            lease: highest?.lease ?? Lease(untilMs: standing.nowMs), state: new, attempt: highest?.attempt ?? 0,
            atMs: standing.nowMs, seen: seen)
    }

    private mutating func write(_ claim: TaskClaim, into effects: inout [Effect]) {
        state.set(claim)
        effects.append(.set(field: TaskState.claimPrefix + claim.node.description, claim.json))
    }
}
