import CRDT

/// How turns are taken in a chat.
struct TurnRules: Equatable, Sendable {
    enum Order: String, CaseIterable, Sendable {
        /// Who has waited longest is next.
        case fifo
        /// The highest priority is next, then who has waited longest.
        case priority
    }

    var order = Order.fifo
    /// How long a turn lasts unless it is given back, in milliseconds.
    var slotMs: UInt64 = 60_000
    /// Who grants turns; nil if the next of the queue gets the floor as soon as it is free.
    var moderator: String?
    /// Nobody speaks without a turn, not even while nobody has it.
    var required = false
    /// Turns are granted only on the side of a partition that sees more than half of the cluster.
    var strict = false

    /// The shortest and the longest turn, in milliseconds.
    static let slots = 100...86_400_000

    init() {}

    /// What a document says; what is missing there is as by default.
    init(_ value: JSONValue) {
        order = value["order"]?.string.flatMap { Order(rawValue: $0) } ?? .fifo
        if let ms = value["slot_ms"]?.double.flatMap({ Int(exactly: $0) }), Self.slots.contains(ms) {
            slotMs = UInt64(ms)
        }
        moderator = value["moderator"]?.string
        required = value["required"] == .bool(true)
        strict = value["strict"] == .bool(true)
    }

    /// These rules changed by what a body names.
    init(_ old: TurnRules, changedBy body: Body) throws(NodeError) {
        self = old
        if let word = try body.text("order") {
            guard let order = Order(rawValue: word) else {
                throw .invalid(field: "order", "expected fifo or priority, found \(word.shown)")
            }
            self.order = order
        }
        if let ms = try body.number("slot_ms", Self.slots) { slotMs = UInt64(ms) }
        if let name = try body.text("moderator") { moderator = name }
        if body.isNull("moderator") { moderator = nil }
        if let required = try body.bool("required") { self.required = required }
        if let strict = try body.bool("strict") { self.strict = strict }
        let known = ["order", "slot_ms", "moderator", "required", "strict", "agent_id"]
        if let other = body.others(known).first {
            throw .invalid("\(other.key.shown): expected order, slot_ms, moderator, required or strict")
        }
    }

    var json: JSONValue {
        .object([
            ("order", .string(order.rawValue)), ("slot_ms", .number(Int(slotMs))), ("moderator", .optional(moderator)),
            ("required", .bool(required)), ("strict", .bool(strict)),
        ])
    }
}

/// What one node last said of who has the turn. Nodes that decide write only their own.
struct TurnGrant: Equatable, FencedDecision {
    enum State: String, Sendable {
        /// The agent has the turn.
        case granted
        /// It gave it back.
        case released
        /// It was taken from it.
        case revoked
        /// Its time was over.
        case expired
        /// Another node's grant, which this one's did not know of, counts more.
        case outdone
    }

    let node: ReplicaID
    let agent: String
    let token: FencingToken
    let lease: Lease
    var state: State
    var seen = SeenTokens()
    /// When this was written, in milliseconds since the Unix epoch; 0 if it was not yet.
    var writtenMs: UInt64 = 0

    init(
        node: ReplicaID, agent: String, token: FencingToken, lease: Lease, state: State, seen: SeenTokens = SeenTokens()
    ) {
        (self.node, self.agent, self.token, self.lease, self.state) = (node, agent, token, lease, state)
        self.seen = seen
    }

    /// Nil for what is no grant.
    init?(node: ReplicaID, _ value: JSONValue) {
        guard let agent = value["agent"]?.string, let token = FencingToken(value["token"]),
            let until = value["until"]?.double.flatMap({ UInt64(exactly: $0) }), until < 1 << 48,
            let state = value["state"]?.string.flatMap({ State(rawValue: $0) })
        else { return nil }
        self.init(
            node: node, agent: agent, token: token, lease: Lease(untilMs: until), state: state,
            seen: SeenTokens(value["seen"]))
    }

    var json: JSONValue {
        .object([
            ("agent", .string(agent)), ("token", .number(token.rawValue)), ("until", .number(Int(lease.untilMs))),
            ("state", .string(state.rawValue)), ("seen", seen.json),
        ])
    }

    func holds(at nowMs: UInt64) -> Bool { state == .granted && lease.runs(at: nowMs) }
}

/// What the document `turn/<chat>` says.
///
/// | field | value |
/// |---|---|
/// | `rules` | JSON, see `TurnRules` |
/// | `queue/<agent>` | JSON `{stamp, priority}`: since when it waits, in milliseconds |
/// | `grant/<node>` | JSON `{agent, token, until, state, seen}`: what that node last decided |
/// | `owner` | 16 hexadecimal digits: the node that decides while it is present |
struct TurnState: Equatable, Sendable {
    /// Who waits for the turn.
    struct Waiting: Equatable, Sendable {
        let agent: String
        let sinceMs: UInt64
        var priority: Int
    }

    static let rulesField = "rules"
    static let ownerField = "owner"
    static let queuePrefix = "queue/"
    static let grantPrefix = "grant/"
    /// The most that wait in one chat.
    static let maximumQueue = 1_000
    /// Priorities, and what one is unless it is said.
    static let priorities = 0...10
    static let defaultPriority = 5

    var rules = TurnRules()
    var owner: ReplicaID?
    /// In the order in which they are granted the turn.
    private(set) var queue: [Waiting] = []
    /// By rising node.
    private(set) var grants: [TurnGrant] = []
    /// When the document was last written, in milliseconds since the Unix epoch; 0 for never.
    var updatedMs: UInt64 = 0

    init() {}

    init(_ fields: [DocumentMap.Field]) {
        for field in fields {
            updatedMs = max(updatedMs, field.stamp.milliseconds)
            if field.name == Self.ownerField {
                owner = ReplicaID(text: String(decoding: field.value, as: UTF8.self))
                continue
            }
            guard let value = try? JSONValue(field.value) else { continue }
            if field.name == Self.rulesField {
                rules = TurnRules(value)
            } else if field.name.utf8.starts(with: Self.queuePrefix.utf8) {
                let agent = field.name.dropping(bytes: Self.queuePrefix.utf8.count)
                guard let since = value["stamp"]?.double.flatMap({ UInt64(exactly: $0) }) else { continue }
                let priority = value["priority"]?.double.flatMap { Int(exactly: $0) } ?? Self.defaultPriority
                queue.append(Waiting(agent: agent, sinceMs: since, priority: priority))
            } else if field.name.utf8.starts(with: Self.grantPrefix.utf8),
                let node = ReplicaID(text: field.name.dropping(bytes: Self.grantPrefix.utf8.count)),
                var grant = TurnGrant(node: node, value)
            {
                grant.writtenMs = field.stamp.milliseconds
                grants.append(grant)
            }
        }
        sortQueue()
    }

    /// Whatever was decided last.
    var highest: TurnGrant? { grants.highest }
    /// Who has the turn, unless its time is over: that is for the node that decides to say.
    var granted: TurnGrant? { highest.flatMap { $0.state == .granted ? $0 : nil } }
    /// Who has the turn at a moment.
    func holder(at nowMs: UInt64) -> TurnGrant? { granted.flatMap { $0.lease.runs(at: nowMs) ? $0 : nil } }
    /// When something is due at the node that decides, in milliseconds since the Unix epoch.
    var dueMs: UInt64? { granted?.lease.untilMs }
    /// Everybody who has the turn or waits for it.
    var agents: [String] { (granted.map { [$0.agent] } ?? []) + queue.map(\.agent) }

    func place(of agent: String) -> Int? { queue.firstIndex { $0.agent.isSame(as: agent) } }

    // MARK: - Changing

    mutating func set(_ grant: TurnGrant) {
        grants.removeAll { $0.node == grant.node }
        grants.append(grant)
        grants.sort { $0.node < $1.node }
    }

    mutating func set(_ waiting: Waiting) {
        queue.removeAll { $0.agent.isSame(as: waiting.agent) }
        queue.append(waiting)
        sortQueue()
    }

    mutating func removeFromQueue(_ agent: String) { queue.removeAll { $0.agent.isSame(as: agent) } }

    mutating func sortQueue() {
        let byPriority = rules.order == .priority
        queue.sort { a, b in
            if byPriority, a.priority != b.priority { return a.priority > b.priority }
            if a.sinceMs != b.sinceMs { return a.sinceMs < b.sinceMs }
            return a.agent.utf8.lexicographicallyPrecedes(b.agent.utf8)
        }
    }
}
