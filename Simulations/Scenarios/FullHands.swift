internal import Gossip

/// A peer leaves while much of what it took is still on its way over slow links.
struct FullHands: Scenario {
    static let name = "full-hands"
    static let promise = "A peer that leaves with full hands waits until the others have read what it acknowledged."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 3
        options.agents = 12
        options.postIntervalMs = 100
        options.filler = 12_000
        options.hopRate = 0
        // A little less than what each peer is given to push, so that a second's worth is under way after some time.
        options.bytesPerMs = 220
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.run(milliseconds: 4_000)
        cluster.stopCrowd()
        let leaver = Int(cluster.faults.below(3))
        cluster.leave(leaver)
        try cluster.eventually("a peer that leaves is gone", withinMs: 5_000) { (cluster) throws(Violation) in
            cluster.nodes[leaver].isRunning ? "node \(leaver) still runs" : nil
        }
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally(leftInPeace: true)
    }
}
