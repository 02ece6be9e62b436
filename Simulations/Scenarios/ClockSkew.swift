internal import Gossip

/// Five peers whose wall clocks differ by up to 1.9 s and whose quartz runs fast or slow.
struct ClockSkew: Scenario {
    static let name = "clock-skew"
    static let promise = "Clocks within --max-skew delay nothing, and the signals are still those of one broker."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 5
        options.skewMs = 950
        options.driftPpm = 200
        options.hopRate = 0.8
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 90_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 3_000)
        try cluster.finally()
    }
}
