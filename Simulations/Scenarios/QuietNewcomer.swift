internal import Gossip

/// Nobody writes any more when the last peer comes: what it is sent is the history, and nothing else.
struct QuietNewcomer: Scenario {
    static let name = "quiet-newcomer"
    static let promise = "Whoever comes to a quiet cluster asks once, at once, and gets each entry once, causes first."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 4
        options.agents = 10
        options.postIntervalMs = 200
        options.hopRate = 0.6
        options.filler = 1_000
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        for node in 0..<3 { cluster.start(node) }
        cluster.startCrowd()
        try cluster.run(milliseconds: 15_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 5_000)
        // Until all have told each other how far they read, so that the newcomer is the only news.
        try cluster.run(milliseconds: 5_000)
        let frames = cluster.tally[.framesSent]
        try cluster.run(milliseconds: 10_000)
        try check(cluster, "a quiet cluster sends nothing over its links") { $0.tally[.framesSent] == frames }

        cluster.start(3)
        try cluster.eventually("a newcomer has the history", withinMs: 1_000) { (cluster) throws(Violation) in
            try cluster.disagreement()
        }
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 100)
        let metrics = try cluster.metrics(of: cluster.nodes[3])
        for (name, most) in [
            ("hypha_repairs_total", 1), ("hypha_replicated_duplicates_total", 0), ("hypha_replicated_waited_total", 0),
        ] {
            try check(cluster, "a quiet cluster gives a newcomer its history once and in order: \(name) is \(most)") {
                _ in metrics[name] == most
            }
        }
        try cluster.finally()
    }
}
