internal import CRDT
internal import Gossip

/// One machine of the light world and the production value that runs on it. Everything the cost simulation knows of
/// that value's interface is in this file.
final class CostPeer {
    /// What a light world is told about its peers.
    struct Settings: Sendable {
        var profile = Profile.lan
        /// The bound on the logs of each peer, in bytes.
        var logBytes = 1 << 30
        /// Everybody looks for the first so many peers.
        var seeds = 3
    }

    let index: Int
    let address: Address
    /// The gossip layer, while the process runs.
    private var cluster: Gossip.Cluster?
    /// Counts the starts and ends on this machine; what belongs to an earlier one is void.
    private(set) var life: Int32 = 0
    /// The id of the present or last life.
    private(set) var replica = ReplicaID(0)
    /// How far the log was absorbed, as the node core does after each input.
    private var absorbed = 0
    /// When the process wants to be woken, and when a wake-up is due in the agenda, in the world's time.
    var wakeAt: UInt64?
    var scheduledAt: UInt64?

    init(index: Int) {
        self.index = index
        address = Self.address(of: index)
    }

    /// Machine 0 is 10.0.0.1.
    static func address(of index: Int) -> Address { Address(ipv4: 0x0a00_0001 + UInt32(index), port: 7946) }

    /// Which machine has an address, whether or not there is one.
    static func index(of address: Address) -> Int { Int(address.ipv4 ?? 0) - 0x0a00_0001 }

    /// Whether the process runs.
    var isRunning: Bool { cluster != nil }

    /// The monotonic clock at a moment of the world: it starts a second before the world.
    private static func instant(_ now: UInt64) -> Instant { Instant(microseconds: now + 1_000_000) }

    /// The moment of the world at which the monotonic clock shows `instant`.
    static func world(_ instant: Instant) -> UInt64 { instant.microseconds - min(instant.microseconds, 1_000_000) }

    /// Starts a process with nothing in memory.
    func start(_ settings: Settings, wallMs: UInt64, now: UInt64, dice: inout Dice) {
        life += 1
        replica = ReplicaID(dice.next() | 1)
        absorbed = 0
        wakeAt = nil
        scheduledAt = nil
        let number = String(index + 1)
        let me = Member(
            replica: replica, name: "peer-" + String(repeating: "0", count: max(0, 3 - number.utf8.count)) + number,
            gossip: address, http: "10.0.\((index + 1) >> 8).\((index + 1) & 255):5000",
            incarnation: Incarnation(epoch: 1), nonce: dice.next())
        var replication = Replication.Settings()
        replication.retention.bytes = settings.logBytes
        cluster = Gossip.Cluster(
            Gossip.Cluster.Settings(
                me: me, name: "hypha", seeds: (0..<settings.seeds).filter { $0 != index }.map(Self.address),
                profile: settings.profile, replication: replication),
            wallMs: wallMs, now: Self.instant(now), dice: Dice(seed: dice.next()))
    }

    /// The process is gone, and everything in its memory.
    func kill() {
        life += 1
        cluster = nil
    }

    /// Hands in one input, and absorbs what it brought to the log.
    func handle(
        _ input: Gossip.Cluster.Input, _ bytes: [UInt8], now: UInt64, into effects: inout [Gossip.Cluster.Effect],
        _ out: inout [UInt8]
    ) {
        cluster!.handle(input, bytes.span.bytes, now: Self.instant(now), into: &effects, &out)
        let end = cluster!.log.end
        while absorbed < end {
            let time = cluster!.log.record(at: absorbed).time
            cluster!.observe(time)
            absorbed += 1
        }
    }

    /// Writes one fact of its own.
    func write(_ body: [UInt8], now: UInt64, into effects: inout [Gossip.Cluster.Effect], _ out: inout [UInt8]) {
        let stamp = cluster!.nextStamp(now: Self.instant(now))
        _ = cluster!.write(
            .put, time: stamp.time, body: body.span.bytes, now: Self.instant(now), into: &effects, &out)
        absorbed = cluster!.log.end
    }

    /// How many facts are in its log.
    var facts: Int { cluster!.log.end }
    /// Equal at two peers that have read the same.
    var digest: UInt64 { cluster!.log.digest }
    /// Everybody it knows, itself included.
    var members: [Member] { cluster!.membership.members }
    /// Bytes of the facts at positions in its log.
    func factBytes(_ positions: Range<Int>) -> Int {
        positions.reduce(0) { $0 + Int(cluster!.log.record(at: $1).length) }
    }
    /// Probes begun, probes failed, suspicions begun or joined, and refutations, since the start of the process.
    var counts: (probes: Int, failed: Int, suspicions: Int, refutations: Int) {
        let counters = cluster!.membership.counters
        return (counters.probes, counters.probesFailed, counters.suspicions, counters.refutations)
    }
    /// Up links.
    var links: Int { cluster!.mesh.linkedPeers.count }
}
