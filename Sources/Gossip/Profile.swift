/// The times of the gossip layer. All of them scale together, so one factor makes a faster cluster.
///
/// Unit: milliseconds. The values are those of HashiCorp's memberlist for a LAN, which follow "SWIM" (Das et al.,
/// DSN 2002) and "Lifeguard" (Dadgar et al., 2018).
public struct Profile: Equatable, Sendable {
    /// One member is probed per interval.
    public var probeIntervalMs: UInt64
    /// How long a probe may go unanswered before others are asked to try.
    public var probeTimeoutMs: UInt64
    /// How many others are asked.
    public var indirectProbes: Int
    /// Suspicion lasts at least this long, times max(1, log10 n).
    public var suspicionMinMs: UInt64
    /// Suspicion lasts at most so many times its minimum.
    public var suspicionMaxFactor: Double
    /// Rumors travel at this interval.
    public var gossipIntervalMs: UInt64
    /// To so many peers each time.
    public var gossipFanout: Int
    /// Each rumor is sent at most so many times log10(n + 1), rounded up.
    public var retransmitFactor: Double
    /// Seeds that no live peer has, and dead members, are told of us at this interval.
    public var announceIntervalMs: UInt64
    /// A missing link is dialled again at this interval; the higher replica waits this long before its first dial.
    public var dialIntervalMs: UInt64
    /// Vectors may differ this long before they are compared.
    public var repairDelayMs: UInt64

    /// For machines in one network.
    public static let lan = Profile(
        probeIntervalMs: 1_000, probeTimeoutMs: 500, indirectProbes: 3, suspicionMinMs: 4_000, suspicionMaxFactor: 6,
        gossipIntervalMs: 200, gossipFanout: 3, retransmitFactor: 4, announceIntervalMs: 2_000, dialIntervalMs: 2_000,
        repairDelayMs: 1_000)
    /// Ten times as fast, for tests and single machines.
    public static let fast = Profile(
        probeIntervalMs: 100, probeTimeoutMs: 50, indirectProbes: 3, suspicionMinMs: 400, suspicionMaxFactor: 6,
        gossipIntervalMs: 20, gossipFanout: 3, retransmitFactor: 4, announceIntervalMs: 200, dialIntervalMs: 200,
        repairDelayMs: 100)
}
