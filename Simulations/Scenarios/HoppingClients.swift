internal import Gossip

/// Four peers and a dozen clients with cursors that hop between them, quick and slow, while peers are cut off, killed and
/// sent away; in every third world logs are short, in every second one there are disks.
struct HoppingClients: Scenario {
    static let name = "hopping-clients"
    static let promise =
        "A client that goes on at another peer with its cursor misses nothing unsaid and sees nothing twice."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 4
        options.clients = 12
        options.agents = 8
        options.postIntervalMs = 150 + dice.below(200)
        options.twinRate = 0.1
        options.keptEntries = dice.below(3) == 0 ? 100 : 0
        options.disks = dice.below(2) == 0 ? Options.allDisks(4) : 0
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.run(milliseconds: 5_000)
        for _ in 0..<3 {
            let side = Int(cluster.faults.below(4))
            cluster.strike(.partition([side]))
            try cluster.run(milliseconds: 1_000 + cluster.faults.below(8_000))
            cluster.heal()
            try cluster.run(milliseconds: cluster.faults.below(4_000))
            cluster.strike(.crash(Int(cluster.faults.below(4)), downMs: 200 + cluster.faults.below(4_000)))
            try cluster.run(milliseconds: 1_000 + cluster.faults.below(6_000))
            cluster.strike(.leave(Int(cluster.faults.below(4)), awayMs: 500 + cluster.faults.below(4_000)))
            try cluster.run(milliseconds: 2_000 + cluster.faults.below(6_000))
        }
        try cluster.run(milliseconds: 10_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 20_000, eventsMs: 15_000)
        try check(cluster, "clients went on elsewhere, some ahead of their peer") {
            $0.tally[.resumes] >= 40 && $0.tally[.aheadResumes] >= 1
        }
        try cluster.finally()
    }
}
