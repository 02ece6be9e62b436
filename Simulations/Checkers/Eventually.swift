internal import CRDT
internal import NodeCore

/// How one node sees one member of its cluster.
struct Opinion: Equatable, Sendable {
    var replica: String
    var name: String
    var state: String
    /// How far this member has read in each log, as far as it said so: of itself, a node knows exactly.
    var read: [String: JSON] = [:]
}

/// What must come to hold within a bound, once the weather allows it.
enum Eventually {
    /// The opinions in a node's answer to `GET /api/cluster`.
    static func opinions(_ body: [UInt8]) throws(Violation) -> [Opinion] {
        guard let members = (try? JSONReader.parse(body))?["members"]?.array else {
            throw Violation("/api/cluster lists the members", String(decoding: body.prefix(300), as: UTF8.self))
        }
        var opinions: [Opinion] = []
        for member in members {
            guard let replica = member["replica"]?.text, let name = member["name"]?.text,
                let state = member["state"]?.text
            else { throw Violation("each member has a replica, a name and a state", "\(member)") }
            guard case .object(let read)? = member["read"] else {
                throw Violation("each member has a vector of what it has read", "\(member)")
            }
            opinions.append(Opinion(replica: replica, name: name, state: state, read: read))
        }
        return opinions
    }

    /// Whether a node that has these opinions takes exactly `living` for alive; what is wrong otherwise.
    static func distrust(_ opinions: [Opinion], living: [String], at node: Int) -> String? {
        let trusted = opinions.filter { $0.state == "alive" }.map(\.replica).sorted()
        if trusted == living.sorted() { return nil }
        return "node \(node) trusts \(trusted) and should trust \(living.sorted()): \(opinions)"
    }

    /// Whether a node accuses one of the living; which, otherwise nil.
    static func accusation(_ opinions: [Opinion], living: [String], at node: Int) -> String? {
        opinions.first { living.contains($0.replica) && $0.state != "alive" }.map {
            "node \(node) calls \($0.name) (\($0.replica)) \($0.state)"
        }
    }
}

extension Cluster {
    /// How a node sees its cluster.
    func opinions(of node: Node) throws(Violation) -> [Opinion] {
        let (status, body) = try ask(node, .cluster)
        guard status == 200 else { throw Violation("/api/cluster answers 200", "\(status) at node \(node.index)") }
        return try Eventually.opinions(body)
    }

    /// Nil when every running node trusts exactly the running nodes; what is wrong otherwise.
    func distrust() throws(Violation) -> String? {
        let members = running.filter { $0.state == .up }
        let living = members.map(\.replica.description)
        for node in members where !node.isPaused {
            if let problem = Eventually.distrust(try opinions(of: node), living: living, at: node.index) {
                return problem
            }
        }
        return nil
    }

    /// Whether all of `these` take all of `those` for this (themselves left out).
    func all(_ these: [Int], take those: [Int], for state: String) throws(Violation) -> Bool {
        for node in these {
            let opinions = try opinions(of: nodes[node])
            for other in those where other != node {
                let name = nodes[other].replica.description
                if opinions.first(where: { $0.replica == name })?.state != state { return false }
            }
        }
        return true
    }

    /// Whether each of these two sides takes all of the other for dead.
    func mutuallyDead(_ one: [Int], _ other: [Int]) throws(Violation) -> Bool {
        guard try all(one, take: other, for: "dead") else { return false }
        return try all(other, take: one, for: "dead")
    }

    /// Nil when every running node has read the same entries of the same logs and no errand is open; what is wrong
    /// otherwise. Nodes that have read the same must then show the same: that is checked apart, by `Finally`.
    func disagreement() throws(Violation) -> String? {
        guard let first = running.first else { return nil }
        if openErrands > 0 { return "\(openErrands) errands are open" }
        var expected: [String: JSON] = [:]
        for node in running {
            let (status, body) = try ask(node, .health(.init()))
            if status != 200, node.state == .up {
                try silent(node)
                return "node \(node.index): \(String(decoding: body, as: UTF8.self))"
            }
            let own = try opinions(of: node).first { $0.replica == node.replica.description }
            guard let own else { throw Violation("a node lists itself", "node \(node.index)") }
            if node === first { expected = own.read }
            if own.read != expected {
                return "node \(first.index) has read \(expected), node \(node.index) \(own.read)"
            }
        }
        let sawAll = running.allSatisfy { !$0.witness.missesHistory }
        for node in running.dropFirst() where sawAll && node.witness.fingerprint != first.witness.fingerprint {
            return "node \(first.index) has shown \(first.witness.shown.count) events, node \(node.index) "
                + "\(node.witness.shown.count)"
        }
        return try forksUnseen()
    }

    /// Under a copied id nodes may have read as far in all logs, and other entries by the same numbers: they find out
    /// when they compare, a moment later. Entries stamped in the future wait, so that may be long after the copy ran.
    private func forksUnseen() throws(Violation) -> String? {
        guard sharesIDs, options.keptEntries == 0, let first = running.first else { return nil }
        for request in [Request.events(.init(limit: 500)), .nodes(limit: 10_000)] {
            let expected = try ask(first, request).body
            for node in running.dropFirst() {
                if try ask(node, request).body == expected { continue }
                return "nodes \(first.index) and \(node.index) have read as far, and list something else"
            }
        }
        return nil
    }

    /// Lets the world go on until `problem` is nil, and says how long it took, in milliseconds; broken when that takes
    /// longer than the bound.
    @discardableResult
    func eventually(
        _ promise: String, withinMs bound: UInt64, _ problem: (Cluster) throws(Violation) -> String?
    ) throws(Violation) -> UInt64 {
        let began = now
        var last = try problem(self)
        while let current = last {
            guard now - began < bound * 1_000 else {
                throw Violation(promise, "not within \(bound) ms: \(current)")
            }
            try run(milliseconds: min(100, bound))
            last = try problem(self)
        }
        return (now - began) / 1_000
    }

    /// Everybody trusts everybody, and has the same events, within bounds that DESIGN.md's numbers allow; more where
    /// the network needs more merely to carry it all twice.
    func becomesWhole(trustMs: UInt64, eventsMs: UInt64) throws(Violation) {
        try eventually("everybody trusts everybody", withinMs: trustMs) { (cluster) throws(Violation) in
            try cluster.distrust()
        }
        try eventually("everybody has the same events", withinMs: eventsMs + carryingMs) {
            (cluster) throws(Violation) in
            try cluster.disagreement()
        }
        // Less than it takes to give up a repair that brings nothing (5 s), so that its end must have been noticed.
        try eventually("nobody repairs and nothing waits", withinMs: 3_000 + carryingMs) {
            (cluster) throws(Violation) in
            try cluster.unrest()
        }
        // What waited for a clock at one of them is read by all.
        try eventually("everybody has the same events", withinMs: eventsMs + carryingMs) {
            (cluster) throws(Violation) in
            if let problem = try cluster.disagreement() { return problem }
            return try cluster.unrest()
        }
    }

    /// How long one link needs to carry everything that was posted, twice, in milliseconds.
    private var carryingMs: UInt64 {
        2 * ledger.postings.reduce(0) { $0 + UInt64($1.body.count) + 200 } / network.bytesPerMs
    }

    /// Lets the world go on, and looks twice a second whether anybody accuses a living peer.
    func runTrusting(milliseconds: UInt64) throws(Violation) {
        for _ in 0..<milliseconds / 500 {
            try run(milliseconds: 500)
            let living = running.filter { $0.state == .up }.map(\.replica.description)
            for node in running where !node.isPaused {
                if let accusation = Eventually.accusation(try opinions(of: node), living: living, at: node.index) {
                    throw Violation("in calm weather nobody accuses the living", accusation)
                }
            }
        }
    }
}

extension Cluster {
    /// Lets the world go on while all its peers stay: nobody calls anybody dead, not even for a moment. Suspicions are
    /// free.
    func runWithoutDeaths(milliseconds: UInt64) throws(Violation) {
        let before = try deaths()
        for _ in 0..<milliseconds / 1_000 {
            try run(milliseconds: 1_000)
            let now = try deaths()
            guard now == before else {
                throw Violation(
                    "nobody is called dead for a bad network", "hypha_deaths_total is \(now), was \(before)")
            }
        }
    }

    /// How many deaths each running node has counted.
    private func deaths() throws(Violation) -> [Int] {
        var counts: [Int] = []
        for node in running {
            guard let count = try metrics(of: node)["hypha_deaths_total"] else {
                throw Violation("every node counts the deaths it sees", "node \(node.index) does not")
            }
            counts.append(count)
        }
        return counts
    }
}

/// Breaks the story's promise unless `condition` holds now.
func check(
    _ cluster: Cluster, _ promise: String, _ condition: (Cluster) throws(Violation) -> Bool
) throws(Violation) {
    guard try condition(cluster) else { throw Violation(promise, "does not hold at \(cluster.now / 1_000) ms") }
}
