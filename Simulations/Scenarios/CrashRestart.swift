internal import Gossip

/// Three peers under load; one is killed, stays away or comes straight back, empty, on the same address.
struct CrashRestart: Scenario {
    static let name = "crash-restart"
    static let promise = "What survivors acknowledged is kept; the killed peer comes back empty and holds everything."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 3
        options.postIntervalMs = 200 + dice.below(400)
        options.knowsAll = dice.below(2) == 0
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 10_000)

        let victim = Int(cluster.faults.below(3))
        cluster.crash(victim)
        try cluster.run(milliseconds: 500 + cluster.faults.below(40_000))
        cluster.start(victim)
        try cluster.run(milliseconds: 10_000)

        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
