internal import Gossip

/// Five peers on a network that loses, repeats and shuffles a good part of its packets.
struct LossyLAN: Scenario {
    static let name = "lossy-lan"
    static let promise = "Loss, duplicates and disorder break nothing, and nobody is called dead for them."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 5
        options.lossRate = 0.02 + Double(dice.below(6)) / 100
        options.duplicateRate = 0.05
        options.reorderRate = 0.1
        options.jitterUs = 5_000
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.run(milliseconds: 10_000)
        cluster.startCrowd()
        try cluster.runWithoutDeaths(milliseconds: 90_000)
        cluster.calm()
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 15_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
