internal import CRDT
internal import Gossip
internal import NodeCore

/// One machine with, at most times, one node running on it.
final class Node {
    enum State {
        /// Nothing runs.
        case down
        case up
        /// Told to leave, not gone yet.
        case leaving
        /// Left in good order.
        case left
    }

    let index: Int
    let address: Address
    var state = State.down
    /// The node itself, while it runs.
    var core: NodeCore?
    /// Counts the starts on this machine; what belongs to an earlier life is void.
    var life = 0
    var replica = ReplicaID(0)
    /// Snapshots that it read under this id.
    var snapshots = 0
    /// How far this machine's wall clock is off, in milliseconds, and how fast its monotonic clock runs.
    var skewMs: Int64
    private(set) var driftPpm: Int64
    /// What the monotonic clock showed when the world began, and when its speed last changed.
    private let clockBase: UInt64
    private var anchor: (world: UInt64, clock: UInt64)

    /// When the node wants to be woken, in the world's time; and when a wake-up is due in the agenda.
    var wakeAt: UInt64?
    var scheduledAt: UInt64?
    /// A stopped process: its inputs pile up.
    var isPaused = false
    var backlog: [(NodeCore.Input, [UInt8])] = []
    /// The subscriptions of this life; the first one watches for the checkers.
    var sessions: [Session] = []
    /// Requests that wait for this node's answer, or whose answer is on its way.
    var openCalls: [Int] = []
    /// Writes to the graph that it was given in this life and has not answered.
    var openWrites: Set<Int> = []

    /// Its disk, which survives the node; nil for a machine whose nodes are in memory.
    var disk: Disk?
    /// What nodes here have had is one history until it is lost: with a life in memory, with harm to the disk otherwise.
    var history = 0
    /// What it knows is more than its witness was shown.
    var missesHistory = false
    /// What happened to the disk since a node last started from it.
    var harm = Harm()
    /// Commits and segments that the node asked for in this life, and the last one that it was told to be on the disk.
    var commitsAsked = 0
    var commitsSynced = 0
    /// It had something when this life began.
    var hasRecovered = false
    /// How often it started anew in this life.
    var resets = 0
    /// The end of a turn is due in the agenda.
    var turnIsDue = false
    /// The disk was done with a job while the process stood still.
    var owesDiskAnswer = false
    /// When the disk last had room again, or the process went on, in microseconds since the world began.
    var calmSince: UInt64 = 0
    /// Counts the times at which the disk got full.
    var fillings = 0
    /// How long it stays down when its disk fails, in milliseconds.
    var failureDownMs: UInt64 = 0
    /// Requests that it has still to answer before it starts anew; nil while it does not.
    var owedBeforeAnew: [Int]?

    /// What was done to a disk behind its node's back.
    struct Harm {
        /// Something that was on it is gone, or changed.
        var isHarmed = false
        /// It is a copy, and whoever starts a node from it says so.
        var isRestored = false
        /// It was harmed at any time.
        var wasEver = false
    }

    init(index: Int, skewMs: Int64, driftPpm: Int64, clockBase: UInt64) {
        self.index = index
        address = Node.address(of: index)
        self.skewMs = skewMs
        self.driftPpm = driftPpm
        self.clockBase = clockBase
        anchor = (0, clockBase)
    }

    /// Machine 0 is 10.0.0.1.
    static func address(of index: Int) -> Address { Address(ipv4: 0x0a00_0001 + UInt32(index), port: 7946) }

    /// Which machine has the address of its node; nil for any other.
    static func index(of address: Address, size: Int) -> Int? {
        guard let ipv4 = address.ipv4, address.port == 7946, ipv4 >= 0x0a00_0001, ipv4 - 0x0a00_0001 < UInt32(size)
        else { return nil }
        return Int(ipv4 - 0x0a00_0001)
    }

    /// Whether it answers requests.
    var isRunning: Bool { core != nil }
    /// The subscription that watches for the checkers.
    var witness: Session { sessions[0] }

    /// This machine's monotonic clock at a moment of the world.
    func clock(at world: UInt64) -> Instant {
        let elapsed = Int64(world - anchor.world)
        let drift = elapsed / 1_000 * driftPpm / 1_000
        return Instant(microseconds: anchor.clock &+ UInt64(elapsed + drift))
    }

    /// How much time this machine believes to have passed since the world began, in milliseconds.
    func elapsedMs(at world: UInt64) -> Int64 {
        Int64(clock(at: world).microseconds / 1_000) - Int64(clockBase / 1_000)
    }

    /// From this moment on the clock runs at another speed; what it shows does not jump.
    func drift(_ ppm: Int64, at world: UInt64) {
        anchor = (world, clock(at: world).microseconds)
        driftPpm = ppm
    }

    /// The first moment of the world at which this machine's clock shows `instant` or more.
    func world(at instant: Instant) -> UInt64 {
        guard instant.microseconds > anchor.clock else { return anchor.world }
        let elapsed = Int64(instant.microseconds - anchor.clock)
        var world = anchor.world + UInt64(max(0, elapsed - elapsed / 1_000_000 * driftPpm))
        while clock(at: world) < instant { world += 1 }
        return world
    }
}

/// One subscriber at one node, and everything that it was shown.
final class Session {
    let id: SessionID
    let node: Int
    let life: Int
    /// What it subscribed to: a scope, or the head of one before ".>"; nil for every SEMP event.
    let filter: String?
    /// What it subscribed to with filters of any shape, in place of `filter`.
    let interests: [Interest]?
    /// Whose connection it is, if it is that of a client with a cursor.
    let client: Client?
    /// What it is tuned to.
    var channel: ChannelID?
    var isOpen = true
    /// Its node read a snapshot since: what was in there was shown to nobody here.
    var missesHistory = false
    /// How much the node had shown its witness when this one was tuned to what it asked for: what a durable node has
    /// still to sync by then is shown to those who were there before.
    private(set) var openedAfter: Int
    private var tunes = 0
    /// Whether it gets what it asked for by now.
    var isTuned: Bool { client != nil || tunes > (filter == nil && interests == nil ? 0 : 1) }
    /// The events shown, in order, by their place in the ledger.
    var shown: [Int] = []
    /// Where in `shown` each one stands.
    var place: [Int: Int] = [:]
    /// The highest sequence number shown of each log.
    var lastSequence: [UInt64: UInt64] = [:]
    /// The same set of events has the same number, in whatever order they came.
    var fingerprint: UInt64 = 0
    /// The youngest stamp shown.
    var youngest: UInt64 = 0
    /// Events that its node recovered although nobody had been shown them: in which order it had them is not known.
    var unordered: Set<Int> = []
    /// How much of what another log's owner had seen is known to have been shown here before.
    var verified: [UInt64: Int] = [:]

    init(
        id: SessionID, node: Int, life: Int, filter: String?, interests: [Interest]? = nil, client: Client? = nil,
        openedAfter: Int
    ) {
        self.id = id
        self.node = node
        self.life = life
        self.filter = filter
        self.interests = interests
        self.client = client
        self.openedAfter = openedAfter
    }

    /// Its node says what it gets from now on.
    func tune(_ channel: ChannelID?, after shown: Int) {
        self.channel = channel
        let wasTuned = isTuned
        tunes += 1
        if isTuned, !wasTuned { openedAfter = shown }
    }

    /// One more event was shown, or its node has it from before.
    func add(_ place: Int, _ sighting: Sighting) {
        self.place[place] = shown.count
        shown.append(place)
        lastSequence[sighting.replica] = max(lastSequence[sighting.replica] ?? 0, sighting.sequence)
        fingerprint ^= Session.mixed(UInt64(place))
        youngest = max(youngest, sighting.stamp)
    }

    private static func mixed(_ number: UInt64) -> UInt64 {
        let spread = (number &+ 1) &* 0x9e37_79b9_7f4a_7c15
        return (spread ^ spread >> 29) &* 0xbf58_476d_1ce4_e5b9
    }

    /// The witness of a life that begins with what its disk holds: as if it had been shown what the last one was shown
    /// of that, and then the rest, in an order that nobody knows.
    func recover(_ recovered: [(place: Int, sighting: Sighting)], after previous: Session?) {
        if let previous {
            (shown, place, fingerprint) = (previous.shown, previous.place, previous.fingerprint)
            (lastSequence, youngest) = (previous.lastSequence, previous.youngest)
            (verified, unordered) = (previous.verified, previous.unordered)
        }
        for (place, sighting) in recovered where self.place[place] == nil {
            add(place, sighting)
            unordered.insert(place)
        }
    }

    /// Whether what it subscribed to covers the event at a place of the ledger.
    func wants(_ place: Int, _ ledger: Ledger) -> Bool {
        let traits = ledger.traits(of: place)
        if let interests { return interests.contains { $0.wants(traits) } }
        return !traits.isBus && wants(ledger.scope(of: place))
    }

    /// Whether what it subscribed to covers `scope`.
    func wants(_ scope: String) -> Bool {
        guard let filter else { return true }
        guard filter.hasSuffix(".>") else { return scope == filter }
        return scope.hasPrefix(filter.dropLast(1)) && scope.utf8.count > filter.utf8.count - 1
    }
}
