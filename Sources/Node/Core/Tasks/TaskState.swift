import CRDT

/// What was posted: it never changes.
struct TaskTerms: Equatable, Sendable {
    let id: String
    let createdBy: String
    /// Only these agents may claim it; empty for any.
    let reservedFor: [String]
    let description: String
    /// What whoever claims it must be able to do or have.
    let skills: [String]
    /// Until when it must be done, in milliseconds since the Unix epoch.
    let deadlineMs: UInt64?
    /// How long a claim lasts unless it is renewed, in milliseconds.
    let leaseMs: UInt64
    /// The pause after the first attempt that failed, in milliseconds; each further one is twice as long.
    let retryMs: UInt64
    let maxAttempts: Int
    /// It may be claimed only on the side of a partition that sees more than half of the cluster.
    let strict: Bool
    /// Whatever else the client said.
    let extras: [(key: String, value: JSONValue)]

    static let leases = 100...86_400_000
    static let defaultLeaseMs = 300_000
    static let retries = 0...3_600_000
    static let defaultRetryMs = 1_000
    static let attempts = 1...100
    static let defaultAttempts = 3
    /// No pause is longer, in milliseconds.
    static let longestPauseMs: UInt64 = 3_600_000
    private static let names = [
        "id", "created_by", "assigned_to", "description", "skills_required", "deadline", "lease_ms", "retry_ms",
        "max_attempts", "strict",
    ]
    /// What the node says of a task: a client's own word of it is not kept.
    private static let ours = [
        "status", "created_at", "last_updated", "token", "lease_until", "retry_at", "attempt", "result", "reason",
        "completed_by", "completed_at", "rating", "decided_by", "posted_at",
    ]

    /// Reads a body, or what a document holds.
    init(_ body: Body, id: String, createdBy: String) throws(NodeError) {
        (self.id, self.createdBy) = (id, createdBy)
        // One agent may be named without an array.
        reservedFor =
            body["assigned_to"]?.string == nil
            ? try body.texts("assigned_to", most: 100) ?? [] : [try body.requiredText("assigned_to")]
        description = try body.requiredText("description", limit: 64 << 10)
        skills = try body.texts("skills_required", most: 100) ?? []
        deadlineMs = try body.moment("deadline")
        leaseMs = UInt64(try body.number("lease_ms", Self.leases) ?? Self.defaultLeaseMs)
        retryMs = UInt64(try body.number("retry_ms", Self.retries) ?? Self.defaultRetryMs)
        maxAttempts = try body.number("max_attempts", Self.attempts) ?? Self.defaultAttempts
        strict = try body.bool("strict") ?? false
        extras = body.others(Self.names + Self.ours)
    }

    /// What a document holds; nil for what is no task.
    init?(document value: [UInt8]) {
        guard let body = try? Body(value.span.bytes), let id = try? body.text("id"),
            let createdBy = try? body.text("created_by"),
            let terms = try? TaskTerms(body, id: id, createdBy: createdBy)
        else { return nil }
        self = terms
    }

    var json: JSONValue {
        .object(
            [
                ("id", .string(id)), ("created_by", .string(createdBy)), ("assigned_to", .texts(reservedFor)),
                ("description", .string(description)), ("skills_required", .texts(skills)),
                ("deadline", deadlineMs.map { .time($0) } ?? .null), ("lease_ms", .number(Int(leaseMs))),
                ("retry_ms", .number(Int(retryMs))), ("max_attempts", .number(maxAttempts)), ("strict", .bool(strict)),
            ] + extras)
    }

    /// The pause after an attempt that failed, in milliseconds.
    func pauseMs(after attempt: Int) -> UInt64 {
        var pause = min(retryMs, Self.longestPauseMs)
        for _ in 1..<max(attempt, 1) where pause < Self.longestPauseMs { pause = min(pause * 2, Self.longestPauseMs) }
        return pause
    }

    static func == (a: Self, b: Self) -> Bool { a.json.means(b.json) }
}

/// What one node last decided about who does a task.
struct TaskClaim: Equatable, FencedDecision {
    enum State: String, Sendable {
        /// The agent does it.
        case claimed
        /// It gave up or took too long; after a pause the task is open again.
        case waiting
        /// Whoever comes first may do it.
        case open
        /// It failed as often as it may.
        case failed
        /// Its deadline passed.
        case expired
        /// Nobody needs it any more.
        case cancelled
        /// Another node's claim, which this one did not know of, counts more.
        case outdone
    }

    let node: ReplicaID
    /// Who does it, or did last; empty for nobody.
    var agent: String
    let token: FencingToken
    /// Until when the claim or the pause lasts.
    var lease: Lease
    var state: State
    /// Which attempt it is, from 1 on; 0 before the first.
    var attempt: Int
    /// Why it failed.
    var reason: String?
    /// When this was decided, in milliseconds since the Unix epoch.
    var atMs: UInt64
    var seen: SeenTokens
    /// When this was written, in milliseconds since the Unix epoch; 0 if it was not yet.
    var writtenMs: UInt64 = 0

    func holds(at nowMs: UInt64) -> Bool { state == .claimed && lease.runs(at: nowMs) }

    init(
        node: ReplicaID, agent: String, token: FencingToken, lease: Lease, state: State, attempt: Int,
        reason: String? = nil, atMs: UInt64, seen: SeenTokens
    ) {
        (self.node, self.agent, self.token, self.lease) = (node, agent, token, lease)
        (self.state, self.attempt, self.reason, self.atMs, self.seen) = (state, attempt, reason, atMs, seen)
    }

    /// Nil for what is no claim.
    init?(node: ReplicaID, _ value: JSONValue) {
        guard let token = FencingToken(value["token"]), let until = Self.moment(value["until"]),
            let state = value["state"]?.string.flatMap({ State(rawValue: $0) })
        else { return nil }
        let attempt = value["attempt"]?.double.flatMap { Int(exactly: $0) } ?? 0
        self.init(
            node: node, agent: value["agent"]?.string ?? "", token: token, lease: Lease(untilMs: until), state: state,
            attempt: min(max(attempt, 0), 1 << 31), reason: value["reason"]?.string,
            atMs: Self.moment(value["at"]) ?? 0, seen: SeenTokens(value["seen"]))
    }

    static func moment(_ value: JSONValue?) -> UInt64? {
        value?.double.flatMap { UInt64(exactly: $0) }.flatMap { $0 < 1 << 48 ? $0 : nil }
    }

    var json: JSONValue {
        .object([
            ("agent", .string(agent)), ("token", .number(token.rawValue)), ("until", .number(Int(lease.untilMs))),
            ("state", .string(state.rawValue)), ("attempt", .number(attempt)), ("reason", .optional(reason)),
            ("at", .number(Int(atMs))), ("seen", seen.json),
        ])
    }
}

/// What one node took as a task's result. It stands apart from the claims, so that no later decision of a side that does
/// not know of it takes its place.
struct TaskResult: Equatable, Sendable {
    let node: ReplicaID
    let agent: String
    let token: FencingToken
    let attempt: Int
    let result: JSONValue
    let atMs: UInt64
    /// Another node took another result, and that one counts.
    var isOutdone: Bool
    /// When this was written, in milliseconds since the Unix epoch; 0 if it was not yet.
    var writtenMs: UInt64 = 0

    init(
        node: ReplicaID, agent: String, token: FencingToken, attempt: Int, result: JSONValue, atMs: UInt64,
        isOutdone: Bool = false
    ) {
        (self.node, self.agent, self.token, self.attempt) = (node, agent, token, attempt)
        (self.result, self.atMs, self.isOutdone) = (result, atMs, isOutdone)
    }

    /// Nil for what is no result.
    init?(node: ReplicaID, _ value: JSONValue) {
        guard let agent = value["agent"]?.string, let token = FencingToken(value["token"]) else { return nil }
        self.init(
            node: node, agent: agent, token: token, attempt: value["attempt"]?.double.flatMap { Int(exactly: $0) } ?? 1,
            result: value["result"] ?? .null, atMs: TaskClaim.moment(value["at"]) ?? 0,
            isOutdone: value["outdone"] == .bool(true))
    }

    var json: JSONValue {
        .object([
            ("agent", .string(agent)), ("token", .number(token.rawValue)), ("attempt", .number(attempt)),
            ("result", result), ("at", .number(Int(atMs))), ("outdone", .bool(isOutdone)),
        ])
    }
}

/// What the document `task/<id>` says.
///
/// | field | value |
/// |---|---|
/// | `terms` | JSON, see `TaskTerms` |
/// | `claim/<node>` | JSON `{agent, token, until, state, attempt, reason, at, seen}`: what that node last decided |
/// | `done/<node>` | JSON `{agent, token, attempt, result, at, outdone}`: what that node took as the result |
/// | `rating` | JSON `{rating, by, at}` |
struct TaskState: Equatable, Sendable {
    static let termsField = "terms"
    static let ratingField = "rating"
    static let claimPrefix = "claim/"
    static let donePrefix = "done/"
    /// Nothing is known any more of a task that has ended so long ago, in milliseconds: a week.
    static let keptMs: UInt64 = 7 * 86_400_000

    /// What clients see.
    enum Status: String, CaseIterable, Sendable {
        case open, claimed, waiting, completed, failed, expired, cancelled

        /// Whether nothing more becomes of the task.
        var isFinal: Bool {
            switch self {
            case .open, .claimed, .waiting: false
            case .completed, .failed, .expired, .cancelled: true
            }
        }
    }

    let terms: TaskTerms
    /// When it was posted, and in whose log.
    let created: HybridTimestamp
    private(set) var claims: [TaskClaim] = []
    private(set) var results: [TaskResult] = []
    var rating: JSONValue?
    var updatedMs: UInt64 = 0

    init(_ terms: TaskTerms, created: HybridTimestamp) {
        (self.terms, self.created) = (terms, created)
        updatedMs = created.milliseconds
    }

    /// Nil for what is no task.
    init?(_ fields: [DocumentMap.Field], created: HybridTimestamp) {
        guard let value = fields.first(where: { $0.name == Self.termsField })?.value,
            let terms = TaskTerms(document: value)
        else { return nil }
        self.init(terms, created: created)
        for field in fields {
            updatedMs = max(updatedMs, field.stamp.milliseconds)
            func node(_ prefix: String) -> ReplicaID? {
                guard field.name.utf8.starts(with: prefix.utf8) else { return nil }
                return ReplicaID(text: field.name.dropping(bytes: prefix.utf8.count))
            }
            guard field.name != Self.termsField, let value = try? JSONValue(field.value) else { continue }
            if field.name == Self.ratingField { rating = value }
            if var claim = node(Self.claimPrefix).flatMap({ TaskClaim(node: $0, value) }) {
                claim.writtenMs = field.stamp.milliseconds
                claims.append(claim)
            }
            if var result = node(Self.donePrefix).flatMap({ TaskResult(node: $0, value) }) {
                result.writtenMs = field.stamp.milliseconds
                results.append(result)
            }
        }
    }

    /// What was decided last.
    var highest: TaskClaim? { claims.highest }
    /// The result that counts: a completed task is completed, whatever else was decided.
    var result: TaskResult? { results.max { ($0.token, $0.node) < ($1.token, $1.node) } }
    /// Who does it now, unless its time is over: that is for the node that decides to say.
    var claimed: TaskClaim? { result == nil ? highest.flatMap { $0.state == .claimed ? $0 : nil } : nil }

    var status: Status {
        guard result == nil else { return .completed }
        switch highest?.state {
        case nil, .open, .outdone: return .open
        case .claimed: return .claimed
        case .waiting: return .waiting
        case .failed: return .failed
        case .expired: return .expired
        case .cancelled: return .cancelled
        }
    }

    /// When something is due at the node that decides, in milliseconds since the Unix epoch.
    var dueMs: UInt64? {
        switch status {
        case .completed: return result.map { $0.atMs + Self.keptMs }
        case .failed, .expired, .cancelled: return highest.map { $0.atMs + Self.keptMs }
        case .open: return terms.deadlineMs
        case .claimed, .waiting:
            guard let until = highest?.lease.untilMs else { return terms.deadlineMs }
            return terms.deadlineMs.map { min($0, until) } ?? until
        }
    }

    mutating func set(_ claim: TaskClaim) {
        claims.removeAll { $0.node == claim.node }
        claims.append(claim)
        claims.sort { $0.node < $1.node }
    }

    mutating func set(_ result: TaskResult) {
        results.removeAll { $0.node == result.node }
        results.append(result)
        results.sort { $0.node < $1.node }
    }
}
