internal import CRDT
internal import Gossip
internal import NodeCore

/// One request of one agent, tried once.
struct Call {
    enum Errand {
        /// Posts the event at this place of the ledger, or the different body somebody sends under its id.
        case event(Int, other: Bool)
        /// Changes the graph as this place of the ledger says.
        case graph(Int)
        /// Reads what an earlier answer told of.
        case read(Memory.Subject)
        /// Does among others what this place of the society's ledger says.
        case social(Int)
    }

    let errand: Errand
    let agent: Int
    let node: Int
    let attempt: Int
    /// What the agent has seen elsewhere.
    let clock: CompactVector?
    /// How many nodes must have what it writes before it is told so.
    let level: AckLevel
    /// Which history of its machine the node that took the request belongs to.
    var history = 0
    /// The first commit of a durable node that can hold what it writes.
    var commit = 0
    /// When the node took it, in microseconds since the world began; and when anybody was first asked for the same.
    var tookAt: UInt64 = 0
    var askedAt: UInt64 = 0
    /// The node has been given it; the node has answered it.
    var wasHeard = false
    var isAnswered = false
    /// What a node took on its behalf.
    var taken: Memory.Subject?
    /// Answered, broken or given up.
    var isDone = false
}

/// What a node answers to an agent.
struct Answer: Sendable {
    let status: UInt16
    let body: [UInt8]
    /// `Hypha-Clock`; nil for none, or one that is no clock.
    let clock: CompactVector?
    /// What `Hypha-Clock-Lost` names; nil for nothing.
    let lost: CompactVector?
    /// Whether the node refused it because the wait for its clock was over.
    let isTooEarly: Bool
    /// What level a write has reached, as the node says.
    let reached: AckLevel?
    /// Whether the node refused it because too few members are known that could confirm it.
    let isAboutMembers: Bool

    init(_ reply: Reply, _ bytes: [UInt8], _ body: Range<Int>) {
        status = reply.status
        self.body = Array(bytes[body])
        clock = reply.clock.isEmpty ? nil : try? CompactVector(text: bytes.span.bytes.extracting(reply.clock))
        lost = reply.lost.isEmpty ? nil : (try? CompactVector(text: reply.lost.span.bytes)) ?? CompactVector()
        isTooEarly = status == 503 && !reply.behind.isEmpty
        isAboutMembers = status == 409 && String(decoding: self.body, as: UTF8.self).contains("ack=")
        reached = reply.ack
    }
}

/// What an agent was told, and the clock that came with it.
struct Memory: Sendable {
    enum Subject: Sendable {
        /// The event at this place of the ledger was taken.
        case event(Int)
        /// The write under this stamp to this graph node was taken.
        case graph(id: String, HybridTimestamp)
    }

    let subject: Subject
    let clock: CompactVector
    /// Who said so.
    let node: Int
}

/// An agent: posts, hops, repeats itself until somebody answers.
struct Agent {
    var dice: Dice
    /// The node it talks to.
    var home: Int
    /// A few of the things that it was told.
    var memories: [Memory] = []
}

/// The agents and wandering subscribers, with dice of their own.
struct Crowd {
    static let scopes = ["ui.button", "ui.form", "api.auth"]
    static let patterns = ["refactor", "dark mode", "añil"]
    static let edgeTypes = ["grows from", "feeds", "contradicts"]
    static let filters: [String?] = [nil, nil, "ui.>", "ui.form", "api.auth"]
    static let topics = ["tasks.build", "tasks.test.done", "news"]
    /// Topics on which nodes tell what has happened.
    static let announcements = [
        "ClusterEvents", "AgentLifecycle", "AgentStatusUpdates", "ChatEvents", "TaskEvents", "ContextEvents.lab",
    ]
    /// All topics.
    static let allTopics = topics + announcements
    /// All scopes, and then all topics.
    static let addresses = scopes + allTopics
    /// Of SEMP events, and then of bus events; what nodes announce counts as one more.
    static let types = ["proposal", "ready", "test", "reward", "penalty", "started", "done", "announced"]
    /// What subscribers want besides, in filters of every shape.
    static let wishes: [[Interest]] = [
        [Interest(topic: "tasks.>")], [Interest(topic: "*")], [Interest(topic: "tasks.*", types: ["done"])],
        [Interest(scope: "*.form"), Interest(topic: "news")], [Interest(scope: "ui.*", types: ["reward", "penalty"])],
        [Interest(types: ["proposal"], agents: [0, 1, 2])], [Interest(topic: ">", agents: [1, 3])],
        [Interest(scope: "api.auth", agents: [0, 2]), Interest(topic: "tasks.test.done")],
    ]

    /// Whether agents ask for more than one node: once the core confirms it.
    static let asksLevels = true

    let options: Options
    var agents: [Agent] = []
    var calls: [Call] = []
    /// Where each wandering subscriber sits.
    var wanderers: [SessionID?] = []
    /// Clients with cursors.
    var clients: [Client] = []
    /// Places of events that somebody acknowledged lately; what new events name as their parents.
    var recent: [Int] = []
    /// The first few graph nodes that agents made.
    var graphNodes: [String] = []
    var isActive = false
    private var dice: Dice

    init(_ options: Options, dice: Dice) {
        self.options = options
        self.dice = dice
        for _ in 0..<options.agents {
            agents.append(
                Agent(
                    dice: Dice(seed: self.dice.next()), home: Int(self.dice.below(UInt64(options.size)))))
        }
    }

    /// How many nodes must have what an agent writes next. `2` and more count disks, so there must be some.
    mutating func level(by agent: Int) -> AckLevel {
        guard Crowd.asksLevels else { return .local }
        return switch agents[agent].roll(options.disks == 0 ? 24 : 12) {
        case 0: .memory(2)
        case 1: options.disks == 0 ? .memory(3) : .disks(2)
        case 2: options.disks == 0 ? .local : .disks(2)
        case 3: options.disks == 0 ? .local : .disks(3)
        case 4: options.disks == 0 ? .local : .majority
        default: .local
        }
    }

    /// How long a request or its answer travels between an agent and a node, in microseconds.
    mutating func delay() -> UInt64 { 60 + dice.below(500) }
    /// What a subscriber without a cursor subscribes to: a scope or nothing at all, or filters of other shapes.
    mutating func wish() -> (filter: String?, interests: [Interest]?) {
        guard roll(2) == 0 else { return (Crowd.filters[roll(Crowd.filters.count)], nil) }
        return (nil, Crowd.wishes[roll(Crowd.wishes.count)])
    }

    /// A client with a cursor: quick or slow, for everything or for little.
    mutating func newClient() -> Client {
        let wish: [Interest] =
            switch roll(6) {
            case 0, 1: [.events, .bus]
            case 2: [.events]
            case 3: [Interest(scope: "ui.>"), .bus]
            default: Crowd.wishes[roll(Crowd.wishes.count)]
            }
        let budget = roll(3) == 0 ? 1_500 + roll(12_000) : nil
        return Client(
            number: clients.count, dice: Dice(seed: dice.next()), interests: wish, budget: budget,
            wantsAll: roll(3) == 0)
    }
    /// A number below `bound`.
    mutating func roll(_ bound: Int) -> Int { Int(dice.below(UInt64(bound))) }
    /// An agent waits so long before it tries another node, in microseconds.
    mutating func patience() -> UInt64 { 50_000 + dice.below(200_000) }

    /// What an agent does to the graph. All agents work on the same few nodes, so that they change and remove what others
    /// do; half of the new nodes come under an id that the agent chose, and some under one that was there before.
    mutating func graphWrite(by agent: Int) -> GraphWrite.What {
        guard graphNodes.count > 1 else { return newNode(by: agent) }
        let (one, other) = (graphNodes[agents[agent].roll(graphNodes.count)], agents[agent].roll(graphNodes.count))
        let edge = GraphEdge(to: graphNodes[other], type: Crowd.edgeTypes[agents[agent].roll(3)])
        switch agents[agent].roll(12) {
        case 0, 1: return newNode(by: agent)
        case 2, 3: return .node(id: one)
        case 4, 5: return .edge(from: one, edge)
        case 6, 7: return .cut(from: one, edge)
        case 8: return .retype(one)
        case 9: return .note(one)
        case 10: return .unnote(one)
        default: return .remove(one)
        }
    }

    private mutating func newNode(by agent: Int) -> GraphWrite.What {
        .node(id: agents[agent].roll(2) == 0 ? nil : EventKey(&agents[agent].dice).text)
    }

    /// Something that an agent was told, by another node than this one if it knows of such.
    mutating func memory(of agent: Int, elsewhereThan node: Int) -> Memory? {
        let memories = agents[agent].memories
        guard !memories.isEmpty else { return nil }
        let start = agents[agent].roll(memories.count)
        return (memories[start...] + memories[..<start]).first { $0.node != node } ?? memories[start]
    }

    mutating func remember(_ place: Int) {
        if recent.count < 24 { recent.append(place) } else { recent[roll(24)] = place }
    }
}

extension Agent {
    mutating func happens(_ rate: Double) -> Bool { Double(dice.next() >> 11) * 0x1p-53 < rate }
    mutating func roll(_ bound: Int) -> Int { Int(dice.below(UInt64(bound))) }

    mutating func remember(_ memory: Memory) {
        if memories.count < 4 { memories.append(memory) } else { memories[roll(4)] = memory }
    }

    /// A new event: its place in the ledger comes from the caller. All five types; some with parents.
    mutating func compose(number: Int, recent: [Int], ledger: Ledger, filler: Int, twin: Bool) -> Posting {
        if roll(5) == 0 { return busEvent(number: number, filler: filler, twin: twin) }
        let key = EventKey(&dice)
        let scope = Crowd.scopes[roll(Crowd.scopes.count)]
        var parents: [Int] = []
        if !recent.isEmpty {
            for _ in 0..<[0, 0, 1, 1, 2][roll(5)] {
                let parent = recent[roll(recent.count)]
                if !parents.contains(parent) { parents.append(parent) }
            }
        }
        let (type, payload) = payload(filler: filler)
        let names = parents.map { "\"\(ledger[$0].key.text)\"" }.joined(separator: ",")
        let extra = roll(8) == 0 ? ",\"x_note\":{\"kept\":[1,2.50,\"\\u00e9\\n\"]}" : ""
        func body(_ trace: String) -> [UInt8] {
            let json =
                "{\"id\":\"\(key.text)\",\"type\":\"\(type)\",\"scope\":\"\(scope)\",\"trace_id\":\"\(trace)\","
                + "\"agent_id\":\"agent-\(number)\",\"parent_ids\":[\(names)],\"payload\":{\(payload)}\(extra)}"
            return Array(json.utf8)
        }
        let trace = "t\(roll(20))"
        return Posting(
            key: key, scope: scope, parents: parents, body: body(trace), otherBody: twin ? body(trace + "-other") : nil,
            traits: Traits(scope, type, number))
    }

    /// A new bus event: it names no parents and touches no signal.
    private mutating func busEvent(number: Int, filler: Int, twin: Bool) -> Posting {
        let key = EventKey(&dice)
        let topic = Crowd.topics[roll(Crowd.topics.count)]
        let type = roll(2) == 0 ? "started" : "done"
        let correlation = roll(3) == 0 ? ",\"correlation_id\":\"c\(roll(20))\"" : ""
        let extra = roll(8) == 0 ? ",\"x_note\":[1,2.50,null]" : ""
        let text = filler > 0 ? String(repeating: "mycelium ", count: roll(filler / 9 + 1)) : ""
        func body(_ step: Int) -> [UInt8] {
            let json =
                "{\"id\":\"\(key.text)\",\"topic\":\"\(topic)\",\"type\":\"\(type)\",\"source\":\"agent-\(number)\""
                + "\(correlation),\"data\":{\"step\":\(step),\"text\":\"\(text)\"}\(extra)}"
            return Array(json.utf8)
        }
        let step = roll(20)
        return Posting(
            key: key, scope: topic, parents: [], body: body(step), otherBody: twin ? body(step + 100) : nil,
            traits: Traits(topic, type, number))
    }

    private mutating func payload(filler: Int) -> (type: String, members: String) {
        let pattern = Crowd.patterns[roll(Crowd.patterns.count)]
        func cents(_ value: Int) -> String {
            value % 10 == 0 ? "0.\(value / 10)" : "0.\(value < 10 ? "0" : "")\(value)"
        }
        var members: String
        let type: String
        switch roll(10) {
        case 0...2:
            type = "proposal"
            members = "\"action\":\"\(pattern)\",\"priority\":\(roll(10))"
            if roll(4) == 0 { members += ",\"pattern\":\"\(Crowd.patterns[roll(Crowd.patterns.count)])\"" }
        case 3:
            type = "ready"
            members = "\"status\":\"done\",\"pattern\":\"\(pattern)\",\"result\":null"
        case 4:
            type = "test"
            members = "\"status\":\"passed\",\"coverage\":0.\(1 + roll(9))"
            if roll(2) == 0 { members += ",\"action\":\"\(pattern)\"" }
        case 5...7:
            type = "reward"
            members = "\"value\":\(roll(12) == 0 ? "1" : cents(1 + roll(60)))"
            if roll(3) == 0 {
                members += ",\"α\":\(1 + roll(2)).\(roll(10))"
            } else if roll(4) == 0 {
                members += ",\"alpha\":0.5"
            }
            if roll(2) == 0 { members += ",\"pattern\":\"\(pattern)\"" }
        default:
            type = "penalty"
            members = "\"value\":\(roll(2) == 0 ? "-" : "")\(cents(1 + roll(60)))"
            if roll(2) == 0 { members += ",\"pattern\":\"\(pattern)\"" }
        }
        if filler > 0 { members += ",\"text\":\"\(String(repeating: "mycelium ", count: roll(filler / 9 + 1)))\"" }
        return (type, members)
    }
}
