internal import Gossip

/// One peer whose seeds never answer, and then a second one that does.
struct LonePeer: Scenario {
    static let name = "lone-peer"
    static let promise = "A peer alone takes every write and accuses nobody; whoever joins later gets everything."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 2
        options.agents = 4
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.start(0)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 60_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 100, eventsMs: 60_000)
        try cluster.finally()

        cluster.start(1)
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
