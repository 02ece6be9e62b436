internal import Gossip

/// A and C cannot reach each other; B reaches both, first well, then over a network that loses 5 % of its packets.
///
/// Without loss B's word is always heard, and nobody is even suspected. With it a suspicion begins now and then; whoever
/// is suspected then hears of it through B and contradicts through B, whatever is lost on the way.
struct BridgePartition: Scenario {
    static let name = "bridge-partition"
    static let promise = "Through the one peer that both sides reach, everybody gets everything, and nobody is dead."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 3
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 5_000)

        cluster.cut(Cut.between([0], [2]))
        cluster.tally.add(.bridges)
        try cluster.runTrusting(milliseconds: 30_000)
        cluster.network.lossRate = 0.05
        // Five times the longest suspicion among three.
        try cluster.runWithoutDeaths(milliseconds: 120_000)
        cluster.network.lossRate = 0
        cluster.stopCrowd()
        try cluster.eventually("B carries everything between A and C", withinMs: 15_000) {
            (cluster) throws(Violation) in try cluster.disagreement()
        }
        try cluster.finally()

        cluster.heal()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 5_000)
        try cluster.finally()
    }
}
