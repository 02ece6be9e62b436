internal import NodeCore

/// What a node does for nothing in calm weather: everything is pushed once, so nothing is asked for again and nothing
/// comes twice. A fault that repair makes up for shows here.
enum Thrift {
    static let restful = ["hypha_repairs_total", "hypha_replicated_duplicates_total"]

    /// Whether one of the restful counters moved; the promise that this breaks, if any.
    static func waste(_ before: [String: Int], _ after: [String: Int], at node: Int) -> Violation? {
        for name in restful where before[name] != after[name] {
            return Violation(
                "in calm weather \(name) stands still",
                "from \(before[name] ?? -1) to \(after[name] ?? -1) at node \(node)")
        }
        return nil
    }
}

extension Cluster {
    /// The metrics of a node, by name.
    func metrics(of node: Node) throws(Violation) -> [String: Int] {
        Finally.metrics(try ask(node, .metrics(.init())).body)
    }

    /// Lets the world go on in calm weather: nobody accuses the living, and nothing is sent in vain.
    func runCalm(milliseconds: UInt64) throws(Violation) {
        var before: [[String: Int]] = []
        let peers = running
        for node in peers { before.append(try metrics(of: node)) }
        try runTrusting(milliseconds: milliseconds)
        for (node, before) in zip(peers, before) where node.isRunning {
            if let waste = Thrift.waste(before, try metrics(of: node), at: node.index) { throw waste }
        }
    }

    /// Nil when no node repairs or holds entries that wait; which one does, otherwise.
    func unrest() throws(Violation) -> String? {
        for node in running where !node.isPaused {
            let (_, body) = try ask(node, .health(.init()))
            guard let health = try? JSONReader.parse(body) else {
                throw Violation("/health answers an object", String(decoding: body.prefix(300), as: UTF8.self))
            }
            if health["repairing"] != .bool(false) { return "node \(node.index) is still being repaired" }
            // What depends on entries that died with their only holder waits for ever.
            if tally[.crashes] == 0, let waiting = health["waiting_bytes"]?.number, waiting > 0 {
                return "node \(node.index) holds \(waiting) bytes that wait"
            }
        }
        return nil
    }
}
