internal import Gossip

/// What a world is made of: everything that a scenario chooses, or draws from the seed, before it begins.
struct Options: CustomStringConvertible, Equatable, Sendable {
    /// How many nodes.
    var size = 3
    /// The times of the gossip layer.
    var profile = Profile.lan
    /// The least time from machine to machine, in microseconds.
    var latencyUs: UInt64 = 150
    /// Added to it at random, in microseconds; one packet in 16 takes up to eight times as much.
    var jitterUs: UInt64 = 300
    /// Share of datagrams that vanish; a stream retransmits instead and is late.
    var lossRate = 0.0
    /// Share of datagrams that come twice.
    var duplicateRate = 0.0
    /// Share of datagrams held back long enough for later ones to overtake them.
    var reorderRate = 0.0
    /// What one direction of one link carries, in bytes per millisecond: 12,500 is 100 Mbit/s.
    var bytesPerMs: UInt64 = 12_500
    /// Wall clocks are off by up to so much either way, in milliseconds.
    var skewMs: UInt64 = 0
    /// One more machine's wall clock is wrong by so much, in milliseconds: that of the last one.
    var brokenClockMs: Int64 = 0
    /// Monotonic clocks run fast or slow by up to so many parts per million.
    var driftPpm: UInt64 = 0
    /// Agents that post.
    var agents = 6
    /// An agent posts this often on average, in milliseconds.
    var postIntervalMs: UInt64 = 500
    /// Subscribers at each node, beside the one that watches on behalf of the checkers.
    var subscribersPerNode = 1
    /// Subscribers that wander between nodes.
    var wanderers = 2
    /// Clients with cursors that hop between nodes.
    var clients = 2
    /// Share of events posted at two peers at once under one id.
    var twinRate = 0.02
    /// Share of those that say something different at the second peer.
    var conflictRate = 0.1
    /// Share of steps in which an agent moves to another node.
    var hopRate = 0.15
    /// Bytes of filler in each payload, up to this many.
    var filler = 0
    /// A node keeps about so many entries of all logs; 0: all of them.
    var keptEntries = 0
    /// The numbers of entries that are not kept any more are remembered until they are so old, in milliseconds.
    var memoryMs: UInt64 = 600_000
    /// Operations on signals are folded when they are so old, and removals forgotten, in milliseconds.
    var operationsMs: UInt64 = 600_000
    var tombstonesMs: UInt64 = 86_400_000
    /// A dead peer is forgotten after so long, in milliseconds; a tenth of it in the fast profile.
    var forgetMs: UInt64 = 300_000
    /// Which machines have a disk, as bits: the node of machine 3 is durable if bit 3 is set, in memory otherwise.
    var disks: UInt64 = 0
    /// A segment of a durable node's log ends, and a snapshot is due, after about so many bytes.
    var segmentBytes: Int = 32 << 10
    /// Agents meet, talk, take turns and work, besides.
    var isSocial = false
    /// Every node is told of all the others; or only of the first.
    var knowsAll = true

    var description: String {
        let profile = profile == .lan ? "lan" : "fast"
        return "size \(size), profile \(profile), latency \(latencyUs)+\(jitterUs) µs, loss \(lossRate), "
            + "duplicates \(duplicateRate), reordered \(reorderRate), link \(bytesPerMs) B/ms, skew ±\(skewMs) ms, "
            + "drift ±\(driftPpm) ppm, \(agents) agents every \(postIntervalMs) ms, twins \(twinRate), "
            + "filler \(filler) B, keeps \(keptEntries == 0 ? "all" : "\(keptEntries)") entries, remembers the others for "
            + "\(memoryMs) ms, folds after "
            + "\(operationsMs) ms, forgets removals after \(tombstonesMs) ms and the dead after \(forgetMs) ms, \(knowsAll ? "every node is a seed" : "the first node is the seed"), \(diskStory)"
            + (isSocial ? ", social" : "")
    }

    private var diskStory: String {
        let durable = (0..<size).filter(hasDisk)
        if durable.isEmpty { return "all in memory" }
        let segments = ", segments of \(segmentBytes) B"
        return
            (durable.count == size ? "all with disks" : "disks at \(durable.map { "n\($0)" }.joined(separator: ", "))")
            + segments
    }

    /// Whether a machine has a disk, so that its node is durable.
    func hasDisk(_ node: Int) -> Bool { disks >> UInt64(node) & 1 == 1 }
    /// All machines of a world of this size have disks.
    static func allDisks(_ size: Int) -> UInt64 { size == 64 ? .max : 1 << UInt64(size) - 1 }
}

/// A promise that was broken.
struct Violation: Error, Equatable, Sendable {
    /// What should have held.
    let promise: String
    /// What was seen instead.
    let detail: String

    init(_ promise: String, _ detail: String = "") {
        self.promise = promise
        self.detail = detail
    }
}
