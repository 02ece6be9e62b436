internal import Gossip

/// Four durable peers leave in good order, one after the other until nobody is left, and all start again.
struct RestartOfAll: Scenario {
    static let name = "restart-of-all"
    static let promise = "All peers stop in good order and start again: each under its own id, with all that there was."

    func options(_ dice: inout Dice) -> Options { .durable(4, &dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        let ids = cluster.nodes.map(\.replica)
        for _ in 0..<3 {
            cluster.startCrowd()
            try cluster.run(milliseconds: 5_000 + cluster.faults.below(5_000))
            cluster.stopCrowd()
            for node in cluster.nodes {
                cluster.leave(node.index)
                try cluster.run(milliseconds: cluster.faults.below(3_000))
            }
            try cluster.eventually("a peer that leaves is gone", withinMs: 10_000) { (cluster) throws(Violation) in
                cluster.running.first.map { "node \($0.index) still runs" }
            }
            try cluster.run(milliseconds: cluster.faults.below(60_000))
            cluster.startAll()
            try cluster.becomesWhole(trustMs: 20_000, eventsMs: 10_000)
            try check(cluster, "whoever stopped in good order goes on under its own id") {
                $0.nodes.map(\.replica) == ids
            }
            try cluster.finally()
        }
    }
}
