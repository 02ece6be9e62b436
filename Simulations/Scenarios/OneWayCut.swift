internal import Gossip

/// One peer of five can hear but not be heard, or be heard but not hear.
struct OneWayCut: Scenario {
    static let name = "one-way-cut"
    static let promise = "A peer that is half cut off harms nobody else, and is whole again within 10 s of the heal."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 5
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        let others = [0, 1, 2, 3]
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 5_000)

        let isMute = cluster.faults.below(2) == 0
        cluster.cut(isMute ? Cut.oneWay(from: [4], to: others) : Cut.oneWay(from: others, to: [4]))
        cluster.tally.add(.oneWayCuts)
        try cluster.run(milliseconds: 40_000)
        try check(cluster, "those who hear each other trust each other") { (cluster) throws(Violation) in
            try cluster.all(others, take: others, for: "alive")
        }

        cluster.heal()
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
