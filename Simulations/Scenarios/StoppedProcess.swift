internal import Gossip

/// One peer of four is stopped again and again, for up to eight seconds, as by a debugger or a machine that swaps.
struct StoppedProcess: Scenario {
    static let name = "stopped-process"
    static let promise = "A peer that was stopped accuses nobody, keeps its clock, and is trusted again within 10 s."

    func options(_ dice: inout Dice) -> Options {
        var options = Options()
        options.size = 4
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        let others = [0, 1, 2]
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.runCalm(milliseconds: 5_000)
        for _ in 0..<4 {
            let stopMs = 500 + cluster.faults.below(7_500)
            cluster.pause(3, milliseconds: stopMs)
            try cluster.run(milliseconds: stopMs + 1)
            for _ in 0..<20 {
                try check(cluster, "who was stopped calls nobody dead") { (cluster) throws(Violation) in
                    try cluster.opinions(of: cluster.nodes[3]).allSatisfy { $0.state != "dead" }
                }
                try check(cluster, "the others trust each other") { (cluster) throws(Violation) in
                    try cluster.all(others, take: others, for: "alive")
                }
                try cluster.run(milliseconds: 500)
            }
            try check(cluster, "who was stopped is trusted again") { (cluster) throws(Violation) in
                try cluster.distrust() == nil
            }
        }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 1_000, eventsMs: 5_000)
        try cluster.finally()
    }
}
