internal import Gossip

/// Every peer in turn is killed and started again, empty, while the agents go on. Twice around.
struct RollingRestart: Scenario {
    static let name = "rolling-restart"
    static let promise = "Peers may all be replaced one by one: what stays acknowledged by a living peer stays."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 3 + Int(dice.below(3))
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.run(milliseconds: 5_000)
        for turn in 0..<2 * cluster.nodes.count {
            let victim = turn % cluster.nodes.count
            cluster.crash(victim)
            try cluster.run(milliseconds: 200 + cluster.faults.below(3_000))
            cluster.start(victim)
            try cluster.eventually("the new peer is trusted", withinMs: 10_000) { (cluster) throws(Violation) in
                try cluster.distrust()
            }
            try cluster.run(milliseconds: 2_000)
        }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
