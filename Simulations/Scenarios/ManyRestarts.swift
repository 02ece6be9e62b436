internal import Gossip

/// Five peers, each killed and started again, empty, so many times, while a few agents go on.
private struct Treadmill {
    static let size = 5
    let rounds: Int

    /// Between two restarts. A retirement is forgotten where a peer lives long enough to forget the entries that could
    /// depend on it (`keptEntries`, then `memoryMs`), so a life of five such rests has to be longer than that.
    var restMs: UInt64 = 9_000
    /// Whether all peers live long enough for that.
    private var forgetsRetirements: Bool { restMs >= 9_000 }
    /// A log is retired five seconds after its writer was found gone and all have read it to the same end; one whose
    /// time has come waits for the next if the peer that counts is the one that is killed. Meanwhile vectors name it.
    private var retirementMs: UInt64 { forgetsRetirements ? 60_000 : 120_000 }

    /// Until the last has heard of a death, and the next round of announcements, in which the dead are forgotten.
    static let lookMs: UInt64 = 10_000

    func run(_ cluster: Cluster) throws(Violation) {
        cluster.startAll()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 1_000)
        cluster.startCrowd()
        try cluster.run(milliseconds: 2_000)
        var bounded = Bounded()
        var ends: [UInt64] = []
        for turn in 0..<rounds * Self.size {
            let victim = turn % Self.size
            ends.append(cluster.now)
            cluster.crash(victim)
            try cluster.run(milliseconds: 200 + cluster.faults.below(800))
            cluster.start(victim)
            try cluster.eventually("the new peer is trusted", withinMs: 10_000) { (cluster) throws(Violation) in
                try cluster.distrust()
            }
            try cluster.run(milliseconds: restMs)
            let bounds = bounds(cluster, ends: ends)
            for node in cluster.nodes { try bounded.look(at: node, of: cluster, bounds) }
            cluster.figures = bounded.figures
        }
        cluster.stopCrowd()
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 10_000)
        try cluster.finally()
    }

    /// None of these counts lives, but for those that ended within a window of time.
    private func bounds(_ cluster: Cluster, ends: [UInt64]) -> [Bounded.Gauge: Int] {
        func lives(within ms: UInt64) -> Int {
            Self.size + ends.reversed().prefix { cluster.now - $0 <= ms * 1_000 }.count
        }
        let options = cluster.options
        var bounds: [Bounded.Gauge: Int] = [
            // A life is named until its log is retired.
            .vectorEntries: lives(within: retirementMs),
            // What was collected is named until then, or until the log of whoever retired it is.
            .collectedLogs: 2 * lives(within: retirementMs),
            // Whose address was taken over is forgotten like anybody dead, by each once it has heard and looks.
            .members: lives(within: options.forgetMs + Self.lookMs),
            .membersGone: lives(within: options.forgetMs + Self.lookMs),
        ]
        guard options.keptEntries > 0, forgetsRetirements else { return bounds }
        // A log has its slot as long as one of its entries is here or remembered, and its retirement is known a little
        // longer: until what could depend on it is gone as well. Retention drops whole slabs, of at most a quarter of
        // what is kept, so it takes a while at the pace of this crowd until the last of a log is beyond it.
        let pace = Double(options.agents) * 1_000 / Double(options.postIntervalMs)
        let keptMs = UInt64(Double(options.keptEntries) * 2_000 / pace)
        let window = lives(within: keptMs + options.memoryMs + 2 * retirementMs)
        bounds[.logs] = window
        bounds[.logSlots] = window
        bounds[.retiredLogs] = window
        bounds[.events] = 2 * options.keptEntries
        return bounds
    }
}

extension Options {
    /// A small crowd around five peers; with short windows, so that minutes show what takes days otherwise.
    fileprivate static func treadmill(isShort: Bool) -> Options {
        var options = Options()
        options.size = Treadmill.size
        options.agents = 3
        options.postIntervalMs = 1_000
        options.subscribersPerNode = 0
        options.wanderers = 1
        guard isShort else { return options }
        options.keptEntries = 40
        options.memoryMs = 20_000
        options.operationsMs = 15_000
        options.tombstonesMs = 20_000
        options.forgetMs = 20_000
        return options
    }
}

/// A hundred lives: what a sweep has time for.
struct Restarts: Scenario {
    static let name = "restarts"
    static let promise = "Five peers, each restarted 20 times in memory: nothing grows with the number of lives."

    func options(_ dice: inout Dice) -> Options { .treadmill(isShort: true) }
    func run(_ cluster: Cluster) throws(Violation) { try Treadmill(rounds: 20).run(cluster) }
}

/// The same so fast that a peer that joins finds the logs of dozens that are gone, and retirements of which everything
/// else is gone: what is still to come depends on some of them.
struct HastyRestarts: Scenario {
    static let name = "hasty-restarts"
    static let promise = "Whoever joins where peers live for seconds reads what there is, and starts anew for nothing."

    func options(_ dice: inout Dice) -> Options {
        var options = Options.treadmill(isShort: true)
        options.keptEntries = 100
        options.memoryMs = 60_000
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        try Treadmill(rounds: 20, restMs: 1_000).run(cluster)
        try check(cluster, "a peer that joins starts anew at most once in ten lives") {
            $0.resets <= $0.tally[.restarts] / 10
        }
    }
}

/// Two and a half thousand lives.
struct ManyRestarts: Scenario {
    static let name = "many-restarts"
    static let promise = "Five peers, each restarted 500 times in memory, stay as small as five."
    static let isLong = true

    func options(_ dice: inout Dice) -> Options { .treadmill(isShort: true) }
    func run(_ cluster: Cluster) throws(Violation) { try Treadmill(rounds: 500).run(cluster) }
}

/// The same with what `hypha serve` does unless told otherwise: logs of a gibibyte, and all windows as they are.
struct ManyRestartsByDefault: Scenario {
    static let name = "many-restarts-default"
    static let promise =
        "Five peers with default settings, each restarted 500 times, keep their vectors and tables small."
    static let isLong = true

    func options(_ dice: inout Dice) -> Options { .treadmill(isShort: false) }
    func run(_ cluster: Cluster) throws(Violation) { try Treadmill(rounds: 500).run(cluster) }
}
