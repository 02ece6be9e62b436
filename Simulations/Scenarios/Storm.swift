internal import Gossip

/// One to seven peers in weather drawn from the seed: cuts of every shape, crashes, leaves, pauses, loss. Then quiet.
struct Storm: Scenario {
    static let name = "storm"
    static let promise = "Whatever the weather, safety holds in it and all are equal soon after it."

    func options(_ dice: inout Dice) -> Options {
        func one<T>(of choices: [T]) -> T { choices[Int(dice.below(UInt64(choices.count)))] }
        var options = Options()
        options.size = 1 + Int(dice.below(7))
        options.profile = one(of: [.lan, .fast])
        options.latencyUs = one(of: [20, 150, 1_000])
        options.jitterUs = one(of: [50, 500, 3_000])
        options.lossRate = one(of: [0, 0, 0.01, 0.05, 0.15])
        options.duplicateRate = one(of: [0, 0.01, 0.1])
        options.reorderRate = one(of: [0, 0.02, 0.2])
        options.bytesPerMs = one(of: [200, 2_000, 12_500])
        options.skewMs = one(of: [0, 50, 900])
        options.driftPpm = one(of: [0, 50, 200])
        options.agents = 1 + Int(dice.below(10))
        options.postIntervalMs = one(of: [100, 300, 1_000])
        options.twinRate = one(of: [0, 0.05, 0.3])
        options.conflictRate = one(of: [0, 0.2])
        options.filler = one(of: [0, 0, 200, 4_000])
        // Large bodies come less often: a sweep is to be quick and fit into the memory of a laptop.
        if options.filler > 1_000 { options.postIntervalMs = max(options.postIntervalMs, 300) }
        options.knowsAll = dice.below(2) == 0
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        let late = cluster.faults.below(4) == 0 ? cluster.nodes.count - 1 : cluster.nodes.count
        for node in 0..<max(1, late) { cluster.start(node) }
        try cluster.run(milliseconds: 100 + cluster.faults.below(4_000))
        cluster.startCrowd()
        for _ in 0..<4 + cluster.faults.below(12) {
            strike(cluster)
            try cluster.run(milliseconds: 50 + cluster.faults.below(cluster.faults.below(2) == 0 ? 2_000 : 12_000))
        }

        cluster.heal()
        cluster.calm()
        // Everybody runs in the end: a peer cannot join whose only seed is gone for good.
        try cluster.eventually("whoever leaves is gone", withinMs: 15_000) { (cluster) throws(Violation) in
            cluster.nodes.first { $0.isPaused || $0.state == .leaving }.map { "node \($0.index) is still there" }
        }
        cluster.startAll()
        try cluster.run(milliseconds: 100 + cluster.faults.below(5_000))
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 30_000, eventsMs: 30_000)
        try cluster.finally()
    }

    /// One fault, or the end of some.
    private func strike(_ cluster: Cluster) {
        let size = cluster.nodes.count
        func any(_ cluster: Cluster) -> Int { Int(cluster.faults.below(UInt64(size))) }
        switch cluster.faults.below(12) {
        case 0, 1: cluster.heal()
        case 2, 3: partition(cluster)
        case 4:
            guard size > 1 else { return }
            let (from, to) = (any(cluster), any(cluster))
            guard from != to else { return }
            cluster.tally.add(.oneWayCuts)
            cluster.cut(cluster.network.cuts + Cut.oneWay(from: [from], to: [to]))
        case 5:
            guard size > 2 else { return }
            let bridge = any(cluster)
            let rest = (0..<size).filter { $0 != bridge }
            let half = 1 + Int(cluster.faults.below(UInt64(rest.count - 1)))
            cluster.tally.add(.bridges)
            cluster.cut(Cut.between(Array(rest[..<half]), Array(rest[half...])))
        case 6, 7:
            // A lone peer in memory has nobody to remember for it.
            if cluster.running.count > 1 { cluster.crash(any(cluster)) }
        case 8, 9:
            if let down = cluster.nodes.first(where: { !$0.isRunning }) { cluster.start(down.index) }
        case 10: cluster.pause(any(cluster), milliseconds: 50 + cluster.faults.below(8_000))
        default:
            if cluster.running.count > 1 { cluster.leave(any(cluster)) }
        }
    }

    private func partition(_ cluster: Cluster) {
        guard cluster.nodes.count > 1 else { return }
        var sides: [[Int]] = [[], []]
        for node in cluster.nodes.indices { sides[Int(cluster.faults.below(2))].append(node) }
        guard !sides[0].isEmpty, !sides[1].isEmpty else { return }
        cluster.tally.add(.partitions)
        cluster.cut(Cut.between(sides[0], sides[1]))
    }
}
