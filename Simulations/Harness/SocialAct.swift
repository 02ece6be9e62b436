internal import CRDT
internal import Gossip
internal import NodeCore

/// Something that an agent does among others: with manifests, chats, turns, tasks and shared context.
struct SocialAct: Sendable {
    enum What: Equatable, Sendable {
        /// Introduces an agent, or says again who it is.
        case introduce(Int)
        case retire(Int)
        /// Writes its place in the ledger into one member of an agent's profile.
        case profile(Int, key: Int)
        case makeChat(String)
        /// Sets how long turns last in a chat.
        case rules(chat: String)
        /// Brings an agent in; where it is a member by what the node knows, its role changes.
        case bringIn(chat: String, Int, role: String)
        case takeOut(chat: String, Int)
        case say(chat: String, Int, id: String)
        case ask(chat: String, Int)
        case release(chat: String, Int)
        case post(task: String)
        case claim(task: String, Int)
        case complete(task: String, Int, token: Int)
        case fail(task: String, Int, token: Int)
        /// Writes its place in the ledger into shared context.
        case context(key: Int)
    }

    let what: What

    /// An agent's id.
    static func name(_ agent: Int) -> String { "agent-\(agent)" }
    /// What every agent of this world can do.
    static let skill = "digging"
    static let namespace = "lab"

    /// What is asked; everything is asked by whoever operates the nodes, but for what agents do themselves.
    var request: Request {
        let operators = Asker()
        return switch what {
        case .introduce(let agent): .agents(.introduce(Self.name(agent)), by: operators)
        case .retire(let agent): .agents(.retire(Self.name(agent)), by: operators)
        case .profile(let agent, _): .agents(.patch(Self.name(agent)), by: operators)
        case .makeChat: .chats(.create, by: operators)
        case .bringIn(let chat, let agent, _): .chats(.setMember(chat: chat, agent: Self.name(agent)), by: operators)
        case .takeOut(let chat, let agent): .chats(.removeMember(chat: chat, agent: Self.name(agent)), by: operators)
        case .say(let chat, _, _): .chats(.post(chat: chat), by: operators)
        case .rules(let chat): .turns(.setRules(chat: chat), by: operators)
        case .ask(let chat, _): .turns(.ask(chat: chat), by: operators)
        case .release(let chat, _): .turns(.release(chat: chat), by: operators)
        case .post: .tasks(.post, by: operators)
        case .claim(let task, _): .tasks(.claim(task), by: operators)
        case .complete(let task, _, _): .tasks(.complete(task), by: operators)
        case .fail(let task, _, _): .tasks(.fail(task), by: operators)
        case .context(let key): .context(.set(namespace: Self.namespace, key: "k\(key)"), by: operators)
        }
    }

    /// The request's body at this place of the ledger.
    func body(_ place: Int) -> [UInt8] {
        let text: String
        switch what {
        case .introduce(let agent):
            text =
                #"{"status":"active","available_resources":["\#(Self.skill)"],"public_profile":{"name":"\#(agent)"}}"#
        case .retire, .takeOut: text = ""
        case .profile(_, let key): text = #"{"public_profile":{"k\#(key)":\#(place)}}"#
        case .makeChat(let chat):
            let all = Society.agents.map { "\"\(Self.name($0))\"" }.joined(separator: ",")
            text = #"{"id":"\#(chat)","chat_type":"group","created_by":"\#(Self.name(0))","participants":[\#(all)]}"#
        case .rules: text = #"{"slot_ms":\#(Society.slotMs)}"#
        case .bringIn(_, _, let role): text = #"{"role":"\#(role)"}"#
        case .say(_, let agent, let id):
            text = #"{"id":"\#(id)","from":"\#(Self.name(agent))","content":"\#(place)"}"#
        case .ask(_, let agent), .release(_, let agent): text = #"{"agent_id":"\#(Self.name(agent))"}"#
        case .post(let task):
            text =
                #"{"id":"\#(task)","created_by":"\#(Self.name(0))","description":"d","skills_required":["\#(Self.skill)"],"#
                + #""lease_ms":\#(Society.leaseMs),"retry_ms":200,"max_attempts":100}"#
        case .claim(_, let agent): text = #"{"agent_id":"\#(Self.name(agent))"}"#
        case .complete(_, let agent, let token):
            text = #"{"agent_id":"\#(Self.name(agent))","token":\#(token),"result":\#(place)}"#
        case .fail(_, let agent, let token): text = #"{"agent_id":"\#(Self.name(agent))","token":\#(token)}"#
        case .context: text = #"{"value":\#(place),"agent_name":"a"}"#
        }
        return Array(text.utf8)
    }

    /// Whether it may be asked for again elsewhere.
    var isRepeatable: Bool {
        switch what {
        case .introduce, .profile, .makeChat, .rules, .say, .post, .context, .bringIn, .takeOut: true
        case .retire, .ask, .release, .claim, .complete, .fail: false
        }
    }
}

/// A document's field that social acts write, and what the last of them says.
enum SocialField: Hashable, Sendable {
    case profile(Int, key: Int)
    case context(key: Int)
    /// Whether an agent is a member of a chat.
    case member(chat: String, Int)
}

/// A social act that a node said yes to.
struct SocialDone: Sendable {
    let place: Int
    let status: UInt16
    let stamp: HybridTimestamp?
    /// When, in microseconds since the world began.
    let at: UInt64
    let holder: Acknowledgement
}

/// The agents of a world as a society, with dice of their own, and all that they ever did.
struct Society: Sendable {
    /// Those who are there; the last one comes and goes.
    static let agents = 0..<4
    static let passing = 3
    static let chats = ["lab", "court"]
    static let keys = 3
    static let tasks = 12
    /// How long claims last unless they are renewed, in milliseconds.
    static let leaseMs = 4_000
    /// How long turns last: all who wait have had theirs when claims are over.
    static let slotMs = 1_000

    private(set) var acts: [SocialAct] = []
    private(set) var done: [SocialDone] = []
    /// How many nodes that were given an act have not answered; they may have died.
    private var open: [Int: Int] = [:]
    /// Acts of which a node said that it could not tell in time.
    private var doubtful: Set<Int> = []
    /// Acts that are done or not, and nobody knows when.
    var unanswered: [Int] { doubtful.union(open.keys).sorted() }
    /// Tokens that agents hold, by task.
    var claims: [String: (agent: Int, token: Int)] = [:]
    /// Messages that are there in the end.
    var messageCount: Int?
    private var dice: Dice
    private var posted = 0

    init(dice: Dice) { self.dice = dice }

    /// Enters what is about to be asked for.
    mutating func add(_ what: SocialAct.What) -> Int {
        acts.append(SocialAct(what: what))
        return acts.count - 1
    }

    /// A node answered. One that refused has done nothing; whoever waits in vain for others has.
    mutating func answered(
        _ place: Int, _ status: UInt16, _ stamp: HybridTimestamp?, at: UInt64, by holder: Acknowledgement
    ) {
        if status < 300 {
            done.append(SocialDone(place: place, status: status, stamp: stamp, at: at, holder: holder))
        }
        // Asked of several nodes, another one may still have done it.
        open[place] = open[place].flatMap { $0 > 1 ? $0 - 1 : nil }
        if status >= 500 { doubtful.insert(place) }
    }

    /// A node is given an act.
    mutating func ask(_ place: Int) -> SocialAct {
        open[place, default: 0] += 1
        return acts[place]
    }

    mutating func roll(_ bound: Int) -> Int { Int(dice.below(UInt64(bound))) }

    /// What the world begins with.
    static let founding: [SocialAct.What] =
        agents.map { .introduce($0) } + chats.map { .makeChat($0) } + chats.map { .rules(chat: $0) }

    /// What somebody does next.
    mutating func next() -> SocialAct.What {
        let agent = roll(Society.agents.count)
        let chat = Society.chats[roll(Society.chats.count)]
        // The maker of the chats stays in them.
        let other = 1 + roll(Society.agents.count - 1)
        switch roll(24) {
        case 0: return roll(3) == 0 ? .retire(Society.passing) : .introduce(Society.passing)
        case 1...3: return .profile(roll(Society.agents.count - 1), key: roll(Society.keys))
        case 4, 5: return .bringIn(chat: chat, other, role: ["member", "admin", "guest"][roll(3)])
        case 6: return .takeOut(chat: chat, other)
        case 7...11: return .say(chat: chat, agent, id: newID())
        case 12, 13: return .ask(chat: chat, agent)
        case 14: return .release(chat: chat, agent)
        case 15, 16:
            guard posted < Society.tasks else { return .claim(task: task(), agent) }
            posted += 1
            return .post(task: "task-\(posted)")
        case 17, 18: return .claim(task: task(), agent)
        case 19, 20:
            guard let (task, claim) = held() else { return .claim(task: task(), agent) }
            return .complete(task: task, claim.agent, token: claim.token)
        case 21:
            guard let (task, claim) = held() else { return .claim(task: task(), agent) }
            return .fail(task: task, claim.agent, token: claim.token)
        default: return .context(key: roll(Society.keys))
        }
    }

    private mutating func newID() -> String { EventKey(&dice).text }

    private mutating func task() -> String { "task-\(1 + roll(max(1, posted)))" }

    /// A task that somebody has claimed, and may have lost since.
    private mutating func held() -> (String, (agent: Int, token: Int))? {
        guard !claims.isEmpty else { return nil }
        let task = claims.keys.sorted()[roll(claims.count)]
        return claims.removeValue(forKey: task).map { (task, $0) }
    }
}
