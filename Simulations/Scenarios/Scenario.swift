internal import Gossip

/// A story: the weather, step by step, and what is promised to hold in it.
protocol Scenario: SendableMetatype {
    /// What to type.
    static var name: String { get }
    /// What holds, in one sentence.
    static var promise: String { get }
    /// Too long for every sweep: played when it is asked for by name.
    static var isLong: Bool { get }
    init()
    /// Draws from the seed what is decided before the world begins, or takes `keep` for it; most stories draw nothing.
    mutating func prepare(seed: UInt64, keep: Plan?)
    /// The weather, where it is drawn and can be made smaller; nil for a story told by hand.
    var plan: Plan? { get }
    /// The world it plays in; may draw from the seed.
    func options(_ dice: inout Dice) -> Options
    /// The story. Safety is checked all the while by `Always`.
    func run(_ cluster: Cluster) throws(Violation)
}

extension Scenario {
    static var isLong: Bool { false }
    mutating func prepare(seed: UInt64, keep: Plan?) {}
    var plan: Plan? { nil }
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
        SameIDAtTwoPeers.self, ManyPeers.self, Restarts.self, HastyRestarts.self, ManyRestarts.self,
        ManyRestartsByDefault.self,
        PowerLoss.self, RestartOfAll.self, FullDisk.self, StuckDisk.self, BitRot.self, BitRotAlone.self, SetBack.self,
        HoppingClients.self, FieldOnBothSides.self, RoleOfRemoved.self, TurnOnBothSides.self, TaskOnBothSides.self,
        RetiredAndChatting.self, Storm.self,
    ]

    static func named(_ name: String) -> (any Scenario.Type)? { all.first { $0.name == name } }
}
