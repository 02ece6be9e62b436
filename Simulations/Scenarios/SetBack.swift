internal import Gossip
internal import NodeCore

/// Three durable peers under load. One comes back with a copy of its disk made a while ago, once told that it is one and
/// once not, and once with an empty disk.
struct SetBack: Scenario {
    static let name = "set-back"
    static let promise =
        "A peer that comes back with an old disk, or an empty one, has everything that the others have."

    func options(_ dice: inout Dice) -> Options { .durable(3, &dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        let victim = cluster.nodes[Int(cluster.faults.below(3))]
        for isTold in [true, false] {
            let before = victim.replica
            cluster.strike(.stale(afterMs: 4_000 + cluster.faults.below(4_000), downMs: 1_500, isTold: isTold), victim)
            try cluster.run(milliseconds: 10_000)
            try cluster.eventually("a peer with an old disk serves again", withinMs: 30_000) {
                (cluster) throws(Violation) in
                let (status, body) = try cluster.ask(victim, .health(.init()))
                return status == 200 ? nil : String(decoding: body, as: UTF8.self)
            }
            try cluster.run(milliseconds: 5_000)
            try check(cluster, "a log that was set back is closed") { _ in victim.replica != before }
        }
        cluster.strike(.wipe(downMs: 1_000), victim)
        try cluster.run(milliseconds: 10_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 20_000, eventsMs: 20_000)
        try cluster.finally()
    }
}
