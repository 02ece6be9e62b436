internal import CRDT
internal import Gossip

/// A set of nodes, as bits: node 3 is bit 3.
struct NodeSet: OptionSet, Hashable, Sendable {
    let rawValue: UInt64
    init(rawValue: UInt64) { self.rawValue = rawValue }
    init(_ nodes: some Sequence<Int>) { rawValue = nodes.reduce(0) { $0 | 1 << UInt64($1) } }

    func contains(node: Int) -> Bool { rawValue >> UInt64(node) & 1 == 1 }
}

/// Packets from `from` to `to` go nowhere.
struct Cut: Hashable, Sendable {
    let from: NodeSet
    let to: NodeSet

    /// Neither side hears the other.
    static func between(_ a: [Int], _ b: [Int]) -> [Cut] {
        [Cut(from: NodeSet(a), to: NodeSet(b)), Cut(from: NodeSet(b), to: NodeSet(a))]
    }

    /// `to` no longer hears `from`, which still hears `to`.
    static func oneWay(from: [Int], to: [Int]) -> [Cut] { [Cut(from: NodeSet(from), to: NodeSet(to))] }
}

/// What lies between the machines: delays, losses, cuts. Pure chance and arithmetic; the cluster does the delivering.
struct Network {
    var latencyUs: UInt64
    var jitterUs: UInt64
    var lossRate: Double
    var duplicateRate: Double
    var reorderRate: Double
    var bytesPerMs: UInt64
    /// A kernel gives a connection up when what it sent stays unconfirmed so long (RFC 5482), in microseconds.
    static let userTimeoutUs: UInt64 = 5_000_000
    /// A dial that nobody answers fails after so long, in microseconds.
    static let dialTimeoutUs: UInt64 = 2_000_000
    /// An end that only listens finds out about a lost link after so long (keep-alive probes), in microseconds.
    static let keepAliveUs: UInt64 = 1_815_000_000
    /// The last word of a link that closed is sent again this often and at most so often, until it gets through.
    static let lastWordUs: UInt64 = 500_000
    static let lastWords = 30
    /// What a socket takes from its process while the network takes nothing.
    static let socketBuffer = 256 << 10
    /// `Input.linkDrained` is due when less than this waits.
    static let drainMark = 64 << 10

    /// Worse weather for a while, and how many such whiles there were.
    var burst: Burst?
    var bursts = 0
    /// How many times as slow as usual each direction is; empty while none is.
    private var slowTimes: [UInt64] = []

    private var dice: Dice
    /// One factor per direction, so that there and back take different times.
    private var slowness: [UInt64]
    private let size: Int
    private var blockedFrom: [UInt64]

    init(_ options: Options, dice: Dice) {
        latencyUs = options.latencyUs
        jitterUs = options.jitterUs
        lossRate = options.lossRate
        duplicateRate = options.duplicateRate
        reorderRate = options.reorderRate
        bytesPerMs = options.bytesPerMs
        size = options.size
        self.dice = dice
        slowness = []
        blockedFrom = [UInt64](repeating: 0, count: options.size)
        for _ in 0..<options.size * options.size { slowness.append(64 + self.dice.below(64)) }
    }

    /// Who cannot reach whom.
    var cuts: [Cut] = [] {
        didSet {
            for node in 0..<size {
                blockedFrom[node] = cuts.reduce(0) { $1.from.contains(node: node) ? $0 | $1.to.rawValue : $0 }
            }
        }
    }

    /// Whether packets from `a` to `b` vanish. A machine always reaches itself.
    func isCut(_ a: Int, _ b: Int) -> Bool { a != b && blockedFrom[a] >> UInt64(b) & 1 == 1 }

    /// Share of datagrams that vanish now.
    var currentLoss: Double { max(lossRate, burst?.lossRate ?? 0) }
    /// Share of datagrams that come twice now.
    var currentDuplicates: Double { max(duplicateRate, burst?.duplicateRate ?? 0) }

    /// The link between two machines becomes so many times as slow, both ways.
    mutating func slow(_ a: Int, _ b: Int, times: UInt64) {
        if slowTimes.isEmpty { slowTimes = [UInt64](repeating: 1, count: size * size) }
        slowTimes[a * size + b] = times
        slowTimes[b * size + a] = times
    }

    /// The link between two machines is as fast as before.
    mutating func quicken(_ a: Int, _ b: Int) { if !slowTimes.isEmpty { slow(a, b, times: 1) } }

    /// Every link is as fast as before.
    mutating func quickenAll() { slowTimes = [] }

    private func slowdown(_ a: Int, _ b: Int) -> UInt64 { slowTimes.isEmpty ? 1 : slowTimes[a * size + b] }

    /// What a link carries from `a` to `b` now, in bytes per millisecond: never less than a modem of 800 kbit/s.
    func bytesPerMs(_ a: Int, _ b: Int) -> UInt64 { max(min(bytesPerMs, 100), bytesPerMs / slowdown(a, b)) }

    mutating func happens(_ rate: Double) -> Bool {
        rate > 0 && Double(dice.next() >> 11) * 0x1p-53 < rate
    }

    /// How long one packet takes from `a` to `b`, in microseconds.
    mutating func delay(_ a: Int, _ b: Int) -> UInt64 {
        if a == b { return 10 + dice.below(20) }
        var jitter = dice.below(max(jitterUs, burst?.jitterUs ?? 0) + 1)
        if dice.below(16) == 0 { jitter *= 1 + dice.below(8) }
        return latencyUs * slowness[a * size + b] / 64 * slowdown(a, b) + jitter
    }

    /// How much later one frame of a stream comes when some of its packets had to be sent again, in microseconds.
    mutating func retransmissionDelay() -> UInt64 {
        var delay: UInt64 = 0
        var timeout: UInt64 = 200_000
        while happens(currentLoss), timeout < 2_000_000 {
            delay += timeout
            timeout *= 2
        }
        return delay
    }

    /// How much longer a packet is held back, in microseconds; nearly always not at all.
    mutating func detour() -> UInt64? {
        happens(reorderRate) ? 2_000 + dice.below(40_000) : nil
    }

    /// A number below `bound`, from the network's own dice.
    mutating func roll(below bound: UInt64) -> UInt64 { dice.below(bound) }
}

/// One TCP connection between two machines: each end has its own view of whether it still stands.
struct Wire {
    struct End {
        let node: Int
        let life: Int
        var isOpen = false
        /// The connection stood once at this end.
        var wasOpen = false
        /// What this end wrote and the other has not got, oldest first, from `head` on.
        var queue: [[UInt8]] = []
        var head = 0
        var queuedBytes = 0
        /// When the network has taken everything written so far.
        var freeAt: UInt64 = 0
        /// No later frame arrives before this.
        var lastArrival: UInt64 = 0
        /// Frames whose time came while the way was cut.
        var held = 0
        var isStalled = false
        /// Counts the waits for a confirmation; nil while nothing is unconfirmed for long.
        var waiting: Int?
        var waits = 0
        var owesDrain = false
        var drainIsDue = false
        /// The end was closed with a last word: what is queued still travels.
        var isFlushing = false

        init(node: Int, life: Int) {
            self.node = node
            self.life = life
        }

        mutating func dropQueue() {
            queue = []
            head = 0
            queuedBytes = 0
            held = 0
        }

        mutating func takeFirst() -> [UInt8]? {
            guard head < queue.count else { return nil }
            let frame = queue[head]
            queue[head] = []
            head += 1
            queuedBytes -= frame.count
            if head == queue.count {
                queue.removeAll(keepingCapacity: true)
                head = 0
            }
            return frame
        }
    }

    /// Side 0 dialled.
    var ends: [End]
    /// What side 0 dialled.
    let address: Address
}
