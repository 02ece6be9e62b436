internal import Gossip

/// Two peers and nobody to ask for a second opinion: a cut, writes on both sides, a heal.
struct TwoPeers: Scenario {
    static let name = "two-peers"
    static let promise = "Two peers condemn each other across a cut, keep taking writes, and are equal after it."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 2
        options.knowsAll = dice.below(2) == 0
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 10_000)

        cluster.cut(Cut.between([0], [1]))
        cluster.tally.add(.partitions)
        try cluster.eventually("each condemns the other", withinMs: 15_000) { (cluster) throws(Violation) in
            try cluster.mutuallyDead([0], [1]) ? nil : "one still trusts the other"
        }
        try cluster.run(milliseconds: 20_000)

        cluster.heal()
        try cluster.eventually("everybody trusts everybody", withinMs: 10_000) { (cluster) throws(Violation) in
            try cluster.distrust()
        }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
