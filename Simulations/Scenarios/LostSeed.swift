internal import Gossip

/// The only seed dies for good; the rest is cut in two, and healed again.
struct LostSeed: Scenario {
    static let name = "lost-seed"
    static let promise = "A cluster whose seed is gone still heals: peers announce themselves to the dead they knew."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 4 + Int(dice.below(2))
        options.knowsAll = false
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        let (one, other) = ([1, 2], Array(3..<cluster.nodes.count))
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 5_000)

        cluster.crash(0)
        try cluster.run(milliseconds: 40_000)
        cluster.cut(Cut.between(one, other))
        cluster.tally.add(.partitions)
        try cluster.run(milliseconds: 40_000)
        try check(cluster, "each side condemns the other") { (cluster) throws(Violation) in
            try cluster.mutuallyDead(one, other)
        }

        cluster.heal()
        try cluster.eventually("everybody trusts everybody", withinMs: 10_000) { (cluster) throws(Violation) in
            try cluster.distrust()
        }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 30_000)
        try cluster.finally()
    }
}
