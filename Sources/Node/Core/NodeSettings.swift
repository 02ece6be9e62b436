public import CRDT
public import Gossip

/// What a node is told at its start.
public struct NodeSettings: Sendable {
    /// A name for people; it need not be unique, though a warning is logged when it is not.
    public var name: String
    /// The cluster's name: peers of another cluster are refused.
    public var cluster: String
    /// The log this node writes. A node without a data directory draws a new one at each start.
    public var replica: ReplicaID
    /// How often this log was started; part of the incarnation.
    public var epoch: UInt64
    /// Whether the log is on disk. Set by `NodeCore.open`.
    public var isDurable = false
    /// About how long a segment of the log on disk gets, and how much is written before the next snapshot, in bytes; nil
    /// for an eighth of what the logs may take, at most 64 MiB.
    public var segmentBytes: Int?
    /// Where peers reach this node; an unspecific address is replaced by what the seed sees.
    public var advertise: Address
    /// The HTTP address to show to clients, for example `127.0.0.1:5000`.
    public var httpAddress: String
    /// Where to look for the cluster. Announced to for ever while no live peer has the address.
    public var seeds: [Address]
    /// All the times of the gossip layer.
    public var profile: Profile
    /// The decay λ of signals, per minute; the same in the whole cluster.
    public var decay: Double
    /// How much of the logs is kept, how far a peer's clock may be ahead, and after what times things are collected.
    public var replication: Replication.Settings
    /// The bounds of what is remembered about other members.
    public var limits = Membership.Limits()
    /// How long a request waits for what its `Hypha-Clock` names, in milliseconds.
    public var clockWaitMs: UInt64
    /// How many nodes the cluster is meant to have: a majority is never fewer than more than half of them.
    public var clusterSize = 1
    /// How long a write waits until it has reached its acknowledgement level, in milliseconds.
    public var ackTimeoutMs: UInt64 = 5_000

    /// Settings with the defaults of `hypha serve`.
    public init(
        name: String, replica: ReplicaID, advertise: Address, httpAddress: String = "", cluster: String = "hypha",
        epoch: UInt64 = 1, seeds: [Address] = [], profile: Profile = .lan, decay: Double = 0.95,
        replication: Replication.Settings = .init(), clockWaitMs: UInt64 = 2_000
    ) {
        self.name = name
        self.cluster = cluster
        self.replica = replica
        self.epoch = epoch
        self.advertise = advertise
        self.httpAddress = httpAddress
        self.seeds = seeds
        self.profile = profile
        self.decay = decay
        self.replication = replication
        self.clockWaitMs = clockWaitMs
    }
}
