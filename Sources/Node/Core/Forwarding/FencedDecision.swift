import CRDT

/// What one node last decided about something that one agent holds at a time. Nodes write only what they decided
/// themselves, so nothing that the sides of a partition decide overwrites anything; the highest token counts.
protocol FencedDecision: Sendable {
    /// Who decided.
    var node: ReplicaID { get }
    var token: FencingToken { get }
    /// What of other nodes' decisions was over when this was decided, or is ended by it.
    var seen: SeenTokens { get }
    /// Whether somebody holds something by this decision.
    func holds(at nowMs: UInt64) -> Bool
}

/// By node the token of its last decision that was taken account of.
struct SeenTokens: Equatable, Sendable {
    private var tokens: [ReplicaID: FencingToken] = [:]

    init() {}

    /// What a document says: an object of tokens by node.
    init(_ value: JSONValue?) {
        guard case .object(let members)? = value else { return }
        for (key, value) in members {
            if let node = ReplicaID(text: key), let token = FencingToken(value) { tokens[node] = token }
        }
    }

    subscript(node: ReplicaID) -> FencingToken? {
        get { tokens[node] }
        set { tokens[node] = newValue }
    }

    var json: JSONValue {
        .object(tokens.sorted { $0.key < $1.key }.map { ($0.key.description, .number($0.value.rawValue)) })
    }
}

extension Array where Element: FencedDecision {
    /// The decision that counts: the one with the highest token; of two that are equal, the higher node's.
    var highest: Element? { self.max { ($0.token, $0.node) < ($1.token, $1.node) } }

    /// Those by which somebody holds something, unknown to whoever decided what counts: the other side of a partition did.
    func outdone(at nowMs: UInt64) -> [Element] {
        guard let highest else { return [] }
        return filter { decision in
            guard decision.node != highest.node, decision.holds(at: nowMs) else { return false }
            return highest.seen[decision.node].map { $0 < decision.token } ?? true
        }
    }

    /// What a decision that `me` takes now takes account of: all that is here, but for what is outdone and not yet revoked.
    func seen(by me: ReplicaID, at nowMs: UInt64) -> SeenTokens {
        let open = Set(outdone(at: nowMs).map(\.node))
        let before = highest?.seen
        var seen = SeenTokens()
        for decision in self where decision.node != me {
            seen[decision.node] = open.contains(decision.node) ? before?[decision.node] : decision.token
        }
        return seen
    }
}
