internal import Gossip

/// One clock of four is ahead by ten to thirty seconds, and agents write there before its peers set it right.
struct FutureStamps: Scenario {
    static let name = "future-stamps"
    static let promise = "What is stamped in the future waits until then: it is not lost, and no clock follows it."
    /// `--max-skew`, and what right clocks may add to it here.
    private static let allowedMs: UInt64 = 2_000 + 200

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 4
        options.skewMs = 50
        options.brokenClockMs = Int64(10_000 + dice.below(20_000))
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        cluster.startCrowd()
        for moment in 0..<60 {
            // Then nothing is sent any more: what is held back must wake its node by itself.
            if moment == 20 { cluster.stopCrowd() }
            try cluster.run(milliseconds: 500)
            try check(cluster, "nobody shows what is stamped in the future") { (cluster) throws(Violation) in
                cluster.nodes[..<3].allSatisfy { $0.witness.youngest >> 16 <= cluster.wallMs + Self.allowedMs }
            }
        }
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 15_000)
        try cluster.finally()
    }
}
