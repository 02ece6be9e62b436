import CRDT

/// A request that one node decides, whichever of them was asked.
///
/// | on the wire | bytes |
/// |---|---|
/// | what | 1: 1 rules, 2 ask, 3 grant, 4 release, 5 revoke; 16 cancel, 17 claim, 18 complete, 19 fail, 20 rate |
/// | of which chat or task | varint length and UTF-8 |
enum Forwarded: Sendable {
    case turn(TurnRequest)
    case task(TaskRequest)

    /// What it is about, as a message says it.
    var subject: String {
        switch self {
        case .turn: "the turns of chat \(key.shown)"
        case .task: "task \(key.shown)"
        }
    }

    /// Which chat or task.
    var key: String { parts.key }

    func encode(into out: inout [UInt8]) {
        out.append(parts.word)
        out.append(text: parts.key)
    }

    /// Nil for a request of a later version.
    init?(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        let word = try cursor.u8(bytes)
        let key = try cursor.text(bytes, limit: DocumentMap.maximumNameBytes)
        switch word {
        case 1: self = .turn(.setRules(chat: key))
        case 2: self = .turn(.ask(chat: key))
        case 3: self = .turn(.grant(chat: key))
        case 4: self = .turn(.release(chat: key))
        case 5: self = .turn(.revoke(chat: key))
        case 16: self = .task(.cancel(key))
        case 17: self = .task(.claim(key))
        case 18: self = .task(.complete(key))
        case 19: self = .task(.fail(key))
        case 20: self = .task(.rate(key))
        default: return nil
        }
    }

    /// What is not decided by one node alone has word 0.
    private var parts: (word: UInt8, key: String) {
        switch self {
        case .turn(let request):
            switch request {
            case .setRules(let chat): (1, chat)
            case .ask(let chat): (2, chat)
            case .grant(let chat): (3, chat)
            case .release(let chat): (4, chat)
            case .revoke(let chat): (5, chat)
            case .speaker(let chat): (0, chat)
            }
        case .task(let request):
            switch request {
            case .cancel(let task): (16, task)
            case .claim(let task): (17, task)
            case .complete(let task): (18, task)
            case .fail(let task): (19, task)
            case .rate(let task): (20, task)
            case .task(let task): (0, task)
            case .post, .tasks, .reputation: (0, "")
            }
        }
    }
}

/// What was decided: the answer to whoever asked.
struct Verdict: Equatable, Sendable {
    let status: UInt16
    /// JSON.
    let body: [UInt8]
    /// Of the put that noted the decision.
    var stamp: HybridTimestamp?

    init(status: UInt16 = 200, _ body: JSONValue, stamp: HybridTimestamp?) {
        self.init(status: status, body: body.encoded(), stamp: stamp)
    }

    init(status: UInt16, body: [UInt8], stamp: HybridTimestamp?) {
        (self.status, self.body, self.stamp) = (status, body, stamp)
    }

    /// A refusal.
    init(_ error: NodeError) {
        self.init(
            status: error.status, .object([("message", .string(error.message))]), stamp: nil)
    }
}
