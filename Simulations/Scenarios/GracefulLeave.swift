internal import CRDT
internal import Gossip

/// Four peers under load; one leaves in good order and its agents go elsewhere.
struct GracefulLeave: Scenario {
    static let name = "graceful-leave"
    static let promise = "A peer that leaves is gone within 5 s, nobody calls it dead, and all it acknowledged stays."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 4
        options.postIntervalMs = 150
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 10_000)

        let leaver = Int(cluster.faults.below(4))
        let replica = cluster.nodes[leaver].replica.description
        cluster.leave(leaver)
        try cluster.eventually("a peer that leaves is gone", withinMs: 5_000) { (cluster) throws(Violation) in
            cluster.nodes[leaver].isRunning ? "node \(leaver) still runs" : nil
        }
        for _ in 0..<60 {
            try cluster.run(milliseconds: 500)
            for node in cluster.running {
                let state = try cluster.opinions(of: node).first { $0.replica == replica }?.state
                if let state, state == "suspect" || state == "dead" {
                    throw Violation("nobody accuses a peer that has left", "node \(node.index) calls it \(state)")
                }
            }
        }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 10_000)
        try cluster.finally(leftInPeace: true)

        cluster.start(leaver)
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
