internal import Gossip

/// A story: the weather, step by step, and what is promised to hold in it.
protocol Scenario: SendableMetatype {
    /// What to type.
    static var name: String { get }
    /// What holds, in one sentence.
    static var promise: String { get }
    init()
    /// The world it plays in; may draw from the seed.
    func options(_ dice: inout Dice) -> Options
    /// The story. Safety is checked all the while by `Always`.
    func run(_ cluster: Cluster) throws(Violation)
}

/// Every story there is.
enum Scenarios {
    static let all: [any Scenario.Type] = [
        ValuesMerge.self, TwoPeers.self, LonePeer.self, PartitionAndHeal.self, OneWayCut.self, BridgePartition.self,
        LostSeed.self,
        CrashRestart.self, FullHands.self,
        RollingRestart.self, GracefulLeave.self, LateJoiner.self, QuietNewcomer.self, LossyLAN.self, ClockSkew.self,
        BrokenClock.self,
        FutureStamps.self,
        StoppedProcess.self,
        SameIDAtTwoPeers.self, ManyPeers.self, Storm.self,
    ]

    static func named(_ name: String) -> (any Scenario.Type)? { all.first { $0.name == name } }
}

/// How one run of one story went.
struct Outcome: Sendable {
    let scenario: String
    let seed: UInt64
    let options: Options
    let violation: Violation?
    let tally: Tally
    let hash: UInt64
    let virtualMs: UInt64
    /// The last lines of the written trace, if it was asked for.
    let lines: [String]
    /// What nodes logged as warnings or errors.
    let complaints: [String]

    /// Plays a story from its seed.
    static func of(_ scenario: any Scenario.Type, seed: UInt64, detail: Trace.Detail = .none) -> Outcome {
        let story = scenario.init()
        var dice = Dice(seed: (seed, 0x6f_7074_696f_6e73, 0, 0))
        let options = story.options(&dice)
        let cluster = Cluster(seed: seed, options: options, detail: detail)
        var violation: Violation?
        do throws(Violation) { try story.run(cluster) } catch { violation = error }
        return Outcome(
            scenario: scenario.name, seed: seed, options: options, violation: violation, tally: cluster.tally,
            hash: cluster.trace.hash, virtualMs: cluster.now / 1_000, lines: cluster.trace.lines,
            complaints: cluster.complaints)
    }

    /// What to type to see it again.
    var again: String { "swift run -c release simulate run \(scenario) --seed \(seed)" }
}
