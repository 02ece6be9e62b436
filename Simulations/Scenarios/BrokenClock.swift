internal import Gossip

/// Four right clocks and one that is wrong by up to a day, either way.
struct BrokenClock: Scenario {
    static let name = "broken-clock"
    static let promise = "One broken clock is set to its peers' and disturbs nobody; no event is dropped for it."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 5
        options.skewMs = 100
        let wrongMs = Int64(3_000 + dice.below(86_400_000))
        options.brokenClockMs = dice.below(2) == 0 ? wrongMs : -wrongMs
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.eventually("the broken clock is set right", withinMs: 10_000) { (cluster) throws(Violation) in
            let corrections = try cluster.testimony(of: cluster.nodes[4]).metrics["hypha_clock_corrections_total"] ?? 0
            return corrections > 0 ? nil : "it was corrected \(corrections) times"
        }
        cluster.startCrowd()
        try cluster.run(milliseconds: 30_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 5_000)
        try cluster.finally()
    }
}
