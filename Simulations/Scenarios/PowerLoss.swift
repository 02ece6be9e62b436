internal import Gossip

/// Three durable peers under load. All lose power at once, several times, in the middle of what they do.
struct PowerLoss: Scenario {
    static let name = "power-loss"
    static let promise =
        "Power is lost at all peers at once, again and again: nothing acknowledged is lost, nothing is twice."

    func options(_ dice: inout Dice) -> Options { .durable(3, &dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        for _ in 0..<6 {
            try cluster.run(milliseconds: 1_000 + cluster.faults.below(6_000))
            cluster.losePower([0, 1, 2], downMs: 200 + cluster.faults.below(1_500))
            try check(cluster, "all of them are down") { $0.running.isEmpty }
            // Sometimes one of them loses it again before all are back.
            try cluster.run(milliseconds: cluster.faults.below(3_000))
            cluster.losePower([Int(cluster.faults.below(3))], downMs: 500)
        }
        try cluster.run(milliseconds: 10_000)
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 20_000, eventsMs: 10_000)
        try check(cluster, "they start from what their disks hold") { $0.tally[.recoveries] >= 12 }
        try cluster.finally()
    }
}

extension Options {
    /// So many durable peers with a crowd that writes several times a second.
    static func durable(_ size: Int, _ dice: inout Dice) -> Options {
        var options = Options()
        options.size = size
        options.disks = allDisks(size)
        options.agents = 4 * size
        options.postIntervalMs = 100 + dice.below(200)
        options.segmentBytes = [8 << 10, 64 << 10, 1 << 20][Int(dice.below(3))]
        return options
    }
}
