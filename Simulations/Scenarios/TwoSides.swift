internal import CRDT
internal import Gossip
internal import NodeCore

/// What the stories of two sides have in common: agents and chats, a cut of which both sides are sure, and the heal.
extension Cluster {
    /// Everybody is introduced and both chats are made, and all nodes know.
    func found() throws(Violation) {
        startAll()
        try becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        for what in Society.founding { try act(what, at: 0) }
        try becomesWhole(trustMs: 10_000, eventsMs: 3_000)
    }

    /// Cuts some nodes off for so long that both sides believe the other dead.
    func part(_ minority: [Int]) throws(Violation) {
        cut(Cut.between(minority, nodes.indices.filter { !minority.contains($0) }))
        tally.add(.partitions)
        try run(milliseconds: 60_000)
        try check(self, "each side condemns the other") { (cluster) throws(Violation) in
            try cluster.mutuallyDead(minority, cluster.nodes.indices.filter { !minority.contains($0) })
        }
    }

    /// The network heals, all become equal, and somebody has told of it.
    func becomeOne() throws(Violation) {
        heal()
        try becomesWhole(trustMs: 20_000, eventsMs: 10_000)
        try run(milliseconds: 10_000)
        try becomesWhole(trustMs: 10_000, eventsMs: 3_000)
        try finally()
    }

    /// Does something at a node, which says yes.
    @discardableResult
    func act(_ what: SocialAct.What, at node: Int, place: Int = 0) throws(Violation) -> JSON {
        let act = SocialAct(what: what)
        let (status, answer) = try answer(act.request, act.body(place), at: node)
        guard status < 300 else { throw Violation("\(what) is done at node \(node)", "\(status) \(answer)") }
        return answer
    }

    /// Asks a node whatever it is.
    func answer(_ request: Request, _ body: [UInt8] = [], at node: Int) throws(Violation) -> (Int, JSON) {
        let (status, bytes) = try ask(nodes[node], request, body)
        return (Int(status), (try? JSONReader.parse(bytes)) ?? .null)
    }

    /// Every node answers a request so.
    func everywhere(
        _ promise: String, _ request: Request, _ isRight: (Int, JSON) -> Bool
    ) throws(Violation) {
        for node in running {
            let (status, json) = try answer(request, at: node.index)
            guard isRight(status, json) else { throw Violation(promise, "node \(node.index): \(status) \(json)") }
        }
    }

    /// A `cluster.healed` event tells of a conflict of this kind.
    func isTold(_ kind: String, of subject: String) throws(Violation) {
        let (_, events) = try answer(.eventsOnTopic("ClusterEvents", .init(limit: 100)), at: 0)
        let conflicts = (events.array ?? []).flatMap { $0["data"]?["conflicts"]?.array ?? [] }
        let isThere = conflicts.contains {
            $0["kind"]?.text == kind && ($0["subject"]?.text ?? "").hasSuffix(subject)
        }
        if !isThere {
            throw Violation("a cluster.healed event tells what conflicted", "\(kind) of \(subject): \(conflicts)")
        }
    }

    /// The first node of either side.
    static func ends(_ minority: [Int], of size: Int) -> (one: Int, other: Int) {
        (minority[0], (0..<size).first { !minority.contains($0) } ?? 0)
    }

    /// A minority of these nodes, drawn.
    func drawMinority() -> [Int] {
        var left = Array(nodes.indices)
        var minority: [Int] = []
        for _ in 0..<max(1, (nodes.count - 1) / 2) {
            minority.append(left.remove(at: Int(faults.below(UInt64(left.count)))))
        }
        return minority
    }
}

/// The world of a story of two sides: nothing but agents and a cut.
extension Options {
    static func twoSides(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 3 + Int(dice.below(3))
        options.agents = 1
        options.wanderers = 0
        options.clients = 0
        options.skewMs = dice.below(400)
        options.isSocial = true
        return options
    }
}
