internal import Gossip
internal import NodeCore

/// Three durable peers under load; the disk of one gets full, and has room again later.
struct FullDisk: Scenario {
    static let name = "full-disk"
    static let promise =
        "A peer whose disk is full serves reads, refuses writes, loses nothing, and recovers by itself."

    func options(_ dice: inout Dice) -> Options { .durable(3, &dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.run(milliseconds: 5_000)
        let victim = cluster.nodes[Int(cluster.faults.below(3))]
        cluster.strike(.full(leftBytes: cluster.faults.below(20_000), ms: 90_000), victim)
        try cluster.eventually("a full disk refuses writes", withinMs: 60_000) { (cluster) throws(Violation) in
            cluster.tally[.refusedFull] > 0 ? nil : "nobody was refused"
        }
        for _ in 0..<20 {
            try cluster.run(milliseconds: 500)
            try check(cluster, "a read-only peer serves reads") { (cluster) throws(Violation) in
                let events = try cluster.ask(victim, .events(.init(limit: 5))).status
                let nodes = try cluster.ask(victim, .nodes(limit: 5)).status
                return events == 200 && nodes == 200
            }
        }
        try check(cluster, "its peers do not call it dead") { (cluster) throws(Violation) in
            let others = cluster.nodes.indices.filter { $0 != victim.index }
            return try cluster.all(others, take: [victim.index], for: "alive")
        }
        cluster.makeRoom(victim)
        try cluster.run(milliseconds: 6_000)
        let refused = cluster.tally[.refusedFull]
        try cluster.run(milliseconds: 10_000)
        try check(cluster, "once there is room it takes writes") { $0.tally[.refusedFull] == refused }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 10_000)
        try cluster.finally()
    }
}
