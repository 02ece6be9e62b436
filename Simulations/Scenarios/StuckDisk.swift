internal import Gossip
internal import NodeCore

/// Three durable peers under load; no sync of one of them ends for a while.
struct StuckDisk: Scenario {
    static let name = "stuck-disk"
    static let promise = "A peer whose disk is stuck is not called dead, answers how it is, and acknowledges nothing."

    func options(_ dice: inout Dice) -> Options { .durable(3, &dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runTrusting(milliseconds: 5_000)
        let victim = cluster.nodes[Int(cluster.faults.below(3))]
        cluster.strike(.stuck(ms: 20_000), victim)
        try cluster.run(milliseconds: 500)
        let (synced, shown) = (victim.commitsSynced, victim.witness.shown.count)
        for _ in 0..<19 {
            try cluster.runTrusting(milliseconds: 1_000)
            try check(cluster, "how a peer is does not wait for its disk") { (cluster) throws(Violation) in
                let began = cluster.now
                let isUp = try cluster.ask(victim, .health(.init())).status == 200
                return isUp && cluster.now == began
            }
            try check(cluster, "nothing leaves a peer whose disk is stuck") { _ in
                victim.commitsSynced == synced && victim.witness.shown.count == shown
            }
        }
        try cluster.run(milliseconds: 10_000)
        try check(cluster, "it goes on where it was") { _ in victim.witness.shown.count > shown && victim.life == 1 }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
