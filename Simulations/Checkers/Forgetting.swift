internal import CRDT
internal import NodeCore

/// What a cluster that has come to rest gives up: the logs of writers that are gone are no longer named, removals and
/// operations are no longer held one by one. Nothing that can be read changes by that.
enum Forgetting {
    /// What is left that should go; nil for nothing.
    static func left(
        _ metrics: [String: Int], named: [String], living: Set<String>, removals: Bool, operations: Bool, at node: Int
    ) -> String? {
        if let gone = named.first(where: { !living.contains($0) }) {
            return "node \(node) names log \(gone), and nobody writes it"
        }
        if removals, let count = metrics["hypha_tombstones"], count > 0 {
            return "node \(node) remembers \(count) removals"
        }
        if operations, let count = metrics["hypha_operations"], count > 0 {
            return "node \(node) holds \(count) operations"
        }
        return nil
    }
}

extension Cluster {
    /// Whoever left in good order may send its last words for so long, in milliseconds, and is waited for.
    private static let partingMs: UInt64 = 60_000
    /// Windows up to here are sat out, in milliseconds; nobody waits for a day.
    private static let longestWindowMs: UInt64 = 30_000

    /// Lets a world that has come to rest go on until all that is only kept for latecomers is gone.
    func forgets(withinMs bound: UInt64) throws(Violation) {
        let removals = options.tombstonesMs <= Cluster.longestWindowMs
        let operations = options.operationsMs <= Cluster.longestWindowMs
        // A moment that nothing is folded beyond.
        let at = wallMs + 24 * 3_600_000
        let before = try readings(at: at)
        let windowMs = max(removals ? options.tombstonesMs : 0, operations ? options.operationsMs : 0)
        let until = now + (bound + (windowMs > 0 ? windowMs + Cluster.partingMs : 0)) * 1_000
        while let left = try left(removals, operations) {
            guard now < until else {
                throw Violation("what is only kept for latecomers is forgotten in time", left)
            }
            try run(milliseconds: 2_000)
        }
        for (index, (was, isNow)) in zip(before, try readings(at: at)).enumerated() where was != isNow {
            throw Violation(
                "forgetting what is only kept for latecomers changes nothing that can be read",
                "node \(running[index].index): \(Finally.firstDifference(was, isNow))")
        }
    }

    private func left(_ removals: Bool, _ operations: Bool) throws(Violation) -> String? {
        let living = Set(running.map(\.replica.description))
        for node in running {
            let own = try opinions(of: node).first { $0.replica == node.replica.description }
            let left = Forgetting.left(
                try metrics(of: node), named: (own?.read.keys).map { $0.sorted() } ?? [], living: living,
                removals: removals, operations: operations, at: node.index)
            if let left { return left }
        }
        return nil
    }

    /// What every running node shows of its graph, and of its signals at one moment.
    private func readings(at: UInt64) throws(Violation) -> [[UInt8]] {
        var readings: [[UInt8]] = []
        for node in running {
            let signals = try ask(node, .signals(scope: nil, pattern: nil, minimumStrength: nil, at: at))
            readings.append(try ask(node, .nodes(limit: 10_000)).body + signals.body)
        }
        return readings
    }
}

/// What a node says of itself must agree with what it answers.
extension Cluster {
    /// A node that says that it is catching up answers no reads: it would show half a state.
    func silent(_ node: Node) throws(Violation) {
        let reads: [Request] = [
            .events(.init(limit: 1)), .nodes(limit: 1),
            .signals(scope: nil, pattern: nil, minimumStrength: nil, at: nil),
            .eventsInScope(Crowd.scopes[0], .init(limit: 1)),
        ]
        for read in reads {
            let (status, _) = try ask(node, read)
            if status == 503 { continue }
            throw Violation("a node that is catching up answers no reads", "\(status) to \(read) at node \(node.index)")
        }
    }

    /// Whatever the weather, nodes are what they say of themselves and of each other.
    func nobodyPretends() throws(Violation) {
        for node in running where !node.isPaused && node.state == .up {
            // A disk that is busy keeps even a refusal back, and so does one that was full before the start was on it.
            let holdsBack = node.disk.map { $0.isBusy || node.commitsSynced == 0 } ?? false
            if try ask(node, .health(.init())).status != 200, !holdsBack { try silent(node) }
        }
        try nobodyOverestimated()
    }
}

/// What nodes believe of each other's reading decides what is forgotten, and what is sent.
extension Cluster {
    /// Nobody is believed to have read what it has not. A log that a node does not name it has read to the end, as far
    /// as its own vector tells.
    func nobodyOverestimated() throws(Violation) {
        // Under one id there may be two, or one that was set back.
        guard !sharesIDs else { return }
        var seen: [String: (node: Int, read: [String: JSON])] = [:]
        var told: [(node: Int, opinions: [Opinion])] = []
        for node in running where !node.isPaused {
            let opinions = try opinions(of: node)
            told.append((node.index, opinions))
            let own = opinions.first { $0.replica == node.replica.description }
            seen[node.replica.description] = (node.index, own?.read ?? [:])
        }
        for (node, opinions) in told {
            for opinion in opinions {
                guard let truth = seen[opinion.replica], truth.node != node else { continue }
                for (log, number) in opinion.read.sorted(by: { $0.key < $1.key }) {
                    guard let believed = number.number, let read = truth.read[log]?.number, believed > read else {
                        continue
                    }
                    throw Violation(
                        "nobody is believed to have read what it has not",
                        "node \(node) believes that node \(truth.node) has read \(believed) of log \(log), it has "
                            + "read \(read)")
                }
            }
        }
    }

    /// An answer says that what only a dead log held is lost: then no present member wrote it, or has read it, as far
    /// as the node knows that says so.
    func isLostIndeed(_ lost: CompactVector, at node: Node) throws(Violation) {
        for opinion in try opinionsAside(of: node) where opinion.state == "alive" || opinion.state == "suspect" {
            for entry in lost.entries {
                let wrote = UInt64(opinion.replica, radix: 16).map { entry.matches(ReplicaID($0)) } ?? false
                let read =
                    opinion.replica != node.replica.description
                    && opinion.read.contains { log, number in
                        UInt64(log, radix: 16).map { entry.matches(ReplicaID($0)) } ?? false
                            && UInt64(number.number ?? 0) >= entry.sequence
                    }
                guard wrote || read else { continue }
                throw Violation(
                    "what is called lost no present member wrote or has read",
                    "\(entry) at node \(node.index), \(wrote ? "written" : "read") by \(opinion.name)")
            }
        }
    }

    /// How a node sees its cluster, asked of a copy of it: for whoever asks while it carries out something.
    private func opinionsAside(of node: Node) throws(Violation) -> [Opinion] {
        guard let body = answerAside(node, .cluster) else { return [] }
        return try Eventually.opinions(body)
    }

    /// What a copy of a node answers to a question about its state.
    func answerAside(_ node: Node, _ request: Request) -> [UInt8]? {
        guard var copy = node.core else { return nil }
        var effects = NodeCore.Effects()
        copy.handle(.request(RequestID(.max), request), [UInt8]().span.bytes, now: node.clock(at: now), into: &effects)
        for case .reply(RequestID(.max), _, let body) in effects.list { return Array(effects.bytes[body]) }
        return nil
    }
}
