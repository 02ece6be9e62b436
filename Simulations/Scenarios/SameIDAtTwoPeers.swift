internal import Gossip

/// Every second event is posted at two peers at once under one id, some of them with different bodies; a split makes
/// sure that the copies meet late.
struct SameIDAtTwoPeers: Scenario {
    static let name = "same-id-at-two-peers"
    static let promise = "One id is one event: shown once, listed once, folded once, the lowest stamp everywhere."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 3
        options.twinRate = 0.5
        options.conflictRate = 0.2
        options.skewMs = 500
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 20_000)

        cluster.cut(Cut.between([0], [1, 2]))
        cluster.tally.add(.partitions)
        try cluster.run(milliseconds: 30_000)

        cluster.heal()
        try cluster.run(milliseconds: 5_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
