internal import Gossip
internal import NodeCore

/// One request of one agent, tried once.
struct Call {
    enum Errand {
        /// Posts the event at this place of the ledger, or the different body somebody sends under its id.
        case event(Int, other: Bool)
        /// Writes the graph node or edge at this place of the ledger.
        case graph(Int)
    }

    let errand: Errand
    let agent: Int
    let node: Int
    let attempt: Int
    /// The life of the node that took the request.
    var life = 0
    /// Answered, broken or given up.
    var isDone = false
}

/// An agent: posts, hops, repeats itself until somebody answers.
struct Agent {
    var dice: Dice
    /// The node it talks to.
    var home: Int
}

/// The agents and wandering subscribers, with dice of their own.
struct Crowd {
    static let scopes = ["ui.button", "ui.form", "api.auth"]
    static let patterns = ["refactor", "dark mode", "añil"]
    static let edgeTypes = ["grows from", "feeds", "contradicts"]
    static let filters: [String?] = [nil, nil, "ui.>", "ui.form", "api.auth"]

    let options: Options
    var agents: [Agent] = []
    var calls: [Call] = []
    /// Where each wandering subscriber sits.
    var wanderers: [SessionID?] = []
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

    /// How long a request or its answer travels between an agent and a node, in microseconds.
    mutating func delay() -> UInt64 { 60 + dice.below(500) }
    /// What a subscriber subscribes to.
    mutating func filter() -> String? { Crowd.filters[roll(Crowd.filters.count)] }
    /// A number below `bound`.
    mutating func roll(_ bound: Int) -> Int { Int(dice.below(UInt64(bound))) }
    /// An agent waits so long before it tries another node, in microseconds.
    mutating func patience() -> UInt64 { 50_000 + dice.below(200_000) }

    /// What an agent adds to the graph. All agents draw edges between the same few nodes, so that they draw each
    /// other's again; half of the nodes come under an id that the agent chose.
    mutating func graphWrite(by agent: Int) -> GraphWrite.What {
        if graphNodes.count > 1, agents[agent].roll(2) == 0 {
            let from = graphNodes[agents[agent].roll(graphNodes.count)]
            let to = graphNodes[agents[agent].roll(graphNodes.count)]
            return .edge(from: from, GraphEdge(to: to, type: Crowd.edgeTypes[agents[agent].roll(3)]))
        }
        return .node(id: agents[agent].roll(2) == 0 ? nil : EventKey(&agents[agent].dice).text)
    }

    mutating func remember(_ place: Int) {
        if recent.count < 24 { recent.append(place) } else { recent[roll(24)] = place }
    }
}

extension Agent {
    mutating func happens(_ rate: Double) -> Bool { Double(dice.next() >> 11) * 0x1p-53 < rate }
    mutating func roll(_ bound: Int) -> Int { Int(dice.below(UInt64(bound))) }

    /// A new event: its place in the ledger comes from the caller. All five types; some with parents.
    mutating func compose(number: Int, recent: [Int], ledger: Ledger, filler: Int, twin: Bool) -> Posting {
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
            key: key, scope: scope, parents: parents, body: body(trace), otherBody: twin ? body(trace + "-other") : nil)
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
