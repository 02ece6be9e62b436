internal import Gossip

/// Three peers with a long history of large events; a fourth joins over a slow link.
struct LateJoiner: Scenario {
    static let name = "late-joiner"
    static let promise = "Whoever joins late gets the whole history, in an order that puts causes first."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 4
        options.agents = 12
        options.postIntervalMs = 250
        // More than a node lets wait on one link, so that the history must go in several portions.
        options.filler = 12_000
        options.bytesPerMs = 1_000 + dice.below(4_000)
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        for node in 0..<3 { cluster.start(node) }
        cluster.startCrowd()
        try cluster.run(milliseconds: 30_000)
        cluster.start(3)
        try cluster.run(milliseconds: 10_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 20_000)
        try cluster.finally()
    }
}
