import CRDT

/// What a document is about: its name up to the first slash. What follows names it among its kind, as UTF-8 of any form,
/// so names are compared as bytes.
enum DocumentKind: String, CaseIterable, Sendable {
    /// A node of SEMP's graph, by UUID.
    case node
    /// A queue group, by name.
    case group
    /// An agent's mailbox, by the agent's canonical text.
    case mailbox
    /// An agent: manifest, registration and whatever other protocols know of it, by agent id.
    case agent
    /// A chat and its members, by chat id.
    case chat
    /// How far the members of a chat have got and read, by chat id.
    case marks
    /// Who may speak in a chat, by chat id.
    case turn
    /// A task, by task id.
    case task
    /// What an agent attends to, by agent id.
    case attention
    /// How an agent's work was found, by agent id.
    case reputation
    /// A namespace of shared context, by name.
    case context
    /// An event type that an agent has described, by name.
    case eventType = "event-type"
    /// A schema of payloads and its versions, by name.
    case schema
    /// What a worker keeps of a task while others work for it, by tenant and task.
    case taskContext = "task-context"
    /// What a planner keeps of a plan, by tenant and plan.
    case planContext = "plan-context"
    /// A plan, by tenant and plan.
    case plan
    /// A conversation, by tenant and session.
    case session
    /// A plan's working memory, by tenant and plan.
    case working
    /// A piece of knowledge, by tenant and id.
    case knowledge
    /// What an agent and a user have said to each other, by tenant, user and agent.
    case episodes
    /// How an agent is to do something, by tenant and id.
    case procedure

    /// What the names of its documents begin with.
    var prefix: String { rawValue + "/" }

    /// The name of one of its documents.
    func name(_ key: String) -> String { prefix + key }

    /// Takes a document's name apart; nil for a kind that this node does not know.
    static func split(_ name: RawSpan) -> (kind: DocumentKind, key: [UInt8])? {
        name.withUnsafeBytes { name in
            guard let slash = name.firstIndex(of: UInt8(ascii: "/")),
                let kind = DocumentKind(rawValue: String(decoding: name[..<slash], as: UTF8.self))
            else { return nil }
            return (kind, Array(name[(slash + 1)...]))
        }
    }
}

/// Documents of one kind that have changed since somebody last read them.
struct StaleDocuments: Sendable {
    /// By the part of the name that follows the kind.
    private(set) var keys: Set<[UInt8]> = []
    /// A peer's state was merged, or all was thrown away: any of them may have changed.
    private(set) var isEverything = false

    var isEmpty: Bool { keys.isEmpty && !isEverything }

    mutating func note(_ key: [UInt8]) { if !isEverything { keys.insert(key) } }

    mutating func noteEverything() {
        isEverything = true
        keys.removeAll()
    }

    /// The keys that have changed, in order, and whether it may be all there are; from now on nothing has.
    mutating func take() -> (keys: [[UInt8]], isEverything: Bool) {
        defer { self = StaleDocuments() }
        return (keys.sorted { $0.lexicographicallyPrecedes($1) }, isEverything)
    }
}
