internal import Gossip

/// Twenty-four peers that all start at once; three are killed, then a third is cut off.
struct ManyPeers: Scenario {
    static let name = "many-peers"
    static let promise = "Twenty-four peers find each other, agree on who died, and heal as fast as five."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 24
        options.agents = 4
        options.subscribersPerNode = 0
        options.knowsAll = false
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 15_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 10_000)

        for victim in 5..<8 { cluster.crash(victim) }
        try cluster.eventually("everybody knows who died", withinMs: 40_000) { (cluster) throws(Violation) in
            try cluster.distrust()
        }
        cluster.cut(Cut.between(Array(0..<8), Array(8..<24)))
        cluster.tally.add(.partitions)
        try cluster.run(milliseconds: 60_000)

        cluster.heal()
        for victim in 5..<8 { cluster.start(victim) }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 15_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
