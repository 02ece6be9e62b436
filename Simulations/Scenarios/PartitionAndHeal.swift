internal import Gossip

/// Five peers, a 2-3 split for sixty seconds under 5 % loss, both sides taking writes, then quiet.
struct PartitionAndHeal: Scenario {
    static let name = "partition-and-heal"
    static let promise = "Both sides condemn the other and go on; after the heal all are equal again within 10 s."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 5
        // Much shorter than the cut, which nobody is to forget or fold across.
        options.operationsMs = 10_000
        options.tombstonesMs = 10_000
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        let (minority, majority) = ([0, 1], [2, 3, 4])
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 10_000)

        cluster.cut(Cut.between(minority, majority))
        cluster.network.lossRate = 0.05
        cluster.tally.add(.partitions)
        try cluster.run(milliseconds: 60_000)
        try check(cluster, "each side condemns the other") { (cluster) throws(Violation) in
            try cluster.mutuallyDead(minority, majority)
        }
        for side in [minority, majority] {
            try check(cluster, "each side trusts itself") { (cluster) throws(Violation) in
                try cluster.all(side, take: side, for: "alive")
            }
        }

        cluster.heal()
        cluster.calm()
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
        try cluster.forgets(withinMs: 60_000)
    }
}
