public import CRDT

/// SWIM membership with Lifeguard, as a value. Sockets, clock and dice stay outside: the caller feeds inputs and the
/// current moment through one door and carries out the effects in order.
///
/// Das, Gupta, Motivala: "SWIM" (DSN 2002) for probes, indirect probes, suspicion and piggybacked rumors. Dadgar et
/// al.: "Lifeguard" (2018) for local health, nacks, shrinking suspicion and telling the suspect first. What both
/// papers leave out is how a partition heals: here everybody announces itself for ever to seeds and dead members.
public struct Membership: Sendable {
    /// What a node says about its own state on every probe and answer. Membership only carries it.
    public struct Summary: Equatable, Sendable {
        /// A hash of its logs: how far each was read, and what it says (`FactLog.digest`).
        public var digest: UInt64
        /// Its stamp clock, in milliseconds since the Unix epoch.
        public var clockMs: UInt64

        /// A summary from its parts.
        public init(digest: UInt64 = 0, clockMs: UInt64 = 0) {
            self.digest = digest
            self.clockMs = clockMs
        }
    }

    /// What can happen. Bytes that belong to an input are passed beside it, as a span that is only lent.
    public enum Input: Sendable {
        /// The moment asked for by `Effect.wake` has come (a tick at any other moment does no harm).
        case tick
        /// A datagram came, which is the bytes.
        case datagram(from: Address)
        /// Any frame came over the link of this peer: as good as an answer to a probe, but it refutes nothing.
        case heard(ReplicaID)
        /// A member table came over a link; the bytes are what `encodeTable` wrote there.
        case learned
        /// A link's handshake with this peer succeeded.
        case met(Member)
        /// A copy of this node that ran in this epoch yields to it.
        case outlived(epoch: UInt64)
        /// Say goodbye to the others, then emit `Effect.left`.
        case leave
    }

    /// What the owner has to do or to know, in order. Ranges point into `Effects.bytes`.
    public enum Effect: Equatable, Sendable {
        /// Send one datagram (at most 1,400 bytes).
        case datagram(to: Address, Range<Int>)
        /// No answer came by datagram: ping this peer over its link, if there is one. Its answer is `Input.heard`.
        case askLink(ReplicaID)
        /// The belief about a member changed (nil: it was unknown), or this node's own incarnation or address did.
        case changed(Member, was: MemberState?)
        /// A member that was dead or left is no longer known.
        case forgotten(Member)
        /// What a peer said about itself, `ageMs` ago at the most; nil where no round trip bounds how long it was on
        /// its way.
        case summary(of: ReplicaID, Summary, ageMs: UInt64?)
        /// Another process runs under this node's id: a copied data directory. Reported once per start of the other.
        case cloned(epoch: UInt64, nonce: UInt64, at: Address)
        /// Call with `tick` at this moment at the latest. The last one given counts.
        case wake(at: Instant)
        /// One line for the log.
        case log(Severity, String)
        /// The others have been told goodbye; nothing is sent or accepted any more.
        case left
    }

    /// The buffers that every call appends to and that the caller empties: one set, reused for ever.
    public struct Effects: Sendable {
        /// What to do, in order.
        public var list: [Effect] = []
        /// The bytes that ranges in `list` point into.
        public var bytes: [UInt8] = []

        /// Empty buffers.
        public init() {}

        /// Forgets what was carried out and keeps the memory.
        public mutating func removeAll() {
            list.removeAll(keepingCapacity: true)
            bytes.removeAll(keepingCapacity: true)
        }
    }

    /// The bounds of what one node remembers about others.
    public struct Limits: Equatable, Sendable {
        /// Members known at once; a full mesh of links is meant for about a tenth of that.
        public var members = 1_024
        /// Dead and left members among them; beyond it the ones that would be forgotten first go.
        public var gone = 256
        /// Ping requests carried out for others at once.
        public var relays = 256
        /// Addresses announced to in one round.
        public var announces = 32
        /// Datagrams that tell a newcomer about the others; a link carries the whole table later.
        public var welcomeDatagrams = 8
        /// A dead durable member is known so long, in milliseconds (not scaled by the profile).
        public var forgetAfterMs: UInt64 = 72 * 3_600_000
        /// A dead member whose log was in memory only is known so long, in milliseconds, scaled by the profile.
        public var forgetVolatileAfterMs: UInt64 = 300_000

        /// The defaults.
        public init() {}
    }

    /// What happened since the start, for metrics.
    public struct Counters: Equatable, Sendable {
        /// Datagrams sent.
        public var datagramsSent = 0
        /// Bytes of all datagrams sent.
        public var bytesSent = 0
        /// Datagrams received, whatever became of them.
        public var datagramsReceived = 0
        /// Datagrams or tables that were damaged or not ours.
        public var malformed = 0
        /// Datagrams not read, being in a version that this node does not speak.
        public var foreignVersion = 0
        /// Datagrams not written, as the peer and this node have no version in common.
        public var unspeakable = 0
        /// Datagrams of another cluster.
        public var foreignCluster = 0
        /// Datagrams sealed with a key, which this node does not have.
        public var sealed = 0
        /// Datagrams of a type this build does not know.
        public var unknownType = 0
        /// Datagrams of an earlier start of their sender, and answers that came too late.
        public var stale = 0
        /// Probes started.
        public var probes = 0
        /// Probes that nobody answered, on any way.
        public var probesFailed = 0
        /// Suspicions that this node began or joined.
        public var suspicions = 0
        /// Times a member that took part came to be believed dead.
        public var deaths = 0
        /// Accusations against this node that it contradicted.
        public var refutations = 0
        /// Times the caller came much later than asked.
        public var stalls = 0
        /// Members, relays or announcements not taken on because a limit was reached.
        public var refused = 0

        /// All zero.
        public init() {}
    }

    /// What is known of another member beyond what is told to others.
    struct Record: Sendable {
        var member: Member
        /// Who said that it is not alive; this node itself while it is.
        var accuser: ReplicaID
        /// When a dead or left member is forgotten.
        var forgetAt: Instant
        /// When it was last sent our differing belief about it.
        var correctedAt: Instant?
        /// Its last probe was answered over the link only.
        var isDeafToDatagrams = false
    }

    /// How many of the others are what, and a hash of who takes part.
    struct Census: Sendable {
        var alive = 0
        var present = 0
        /// The sum of `lifeHash` over those present: it does not depend on their order.
        var lives: UInt64 = 0
        /// Not everybody speaks the same versions as this node.
        var isMixed = false

        init(_ records: [Record], mine: Versions) {
            for at in records.indices {
                if records[at].member.protocols != mine { isMixed = true }
                guard records[at].member.isPresent else { continue }
                present += 1
                if records[at].member.state == .alive { alive += 1 }
                lives &+= records[at].member.lifeHash
            }
        }
    }

    /// A seed, and the member that answered there last (whose advertised address may differ from the seed's).
    struct Seed: Sendable {
        let address: Address
        var answeredBy: ReplicaID?
        /// The seed is this very node.
        var isMe = false
    }

    enum Phase: Equatable, Sendable {
        case present
        case leaving(rounds: Int)
        case gone
    }

    /// This node itself.
    public internal(set) var me: Member
    /// The times that all of this follows.
    public let profile: Profile
    /// The bounds that all of this keeps.
    public let limits: Limits
    /// How far this node trusts its own timing.
    public internal(set) var localHealth = LocalHealth()
    /// What happened since the start.
    public internal(set) var counters = Counters()

    let clusterHash: UInt64
    var dice: Dice
    /// The others, ordered by replica: nothing here depends on the order of a hash table.
    var records: [Record] = [] { didSet { counted = nil } }
    /// What `records` amount to; nil since they changed. Asked for on every datagram, while they change hardly ever.
    private var counted: Census?
    var seeds: [Seed]
    var rumors = RumorQueue()
    var summary = Summary()
    var phase = Phase.present

    var probe: Probe?
    var ring = ProbeRing()
    var relays: [Relay] = []
    var suspicions: [Suspicion] = []
    /// Where the next datagram goes on retelling `suspicions`.
    var nextRetold = 0
    var sequence: UInt32
    var datagramCounter: UInt64 = 0

    var nextProbe: Instant
    var nextGossip: Instant
    var nextAnnounce: Instant
    var nextQuery: Instant
    var nextPull: Instant
    var announceRounds = 0
    /// Since when every table hash that was heard differs from this node's.
    var differsSince: Instant?
    /// The last `wake` given; nil before the first.
    var asked: Instant?
    var lastClone: (epoch: UInt64, nonce: UInt64, at: Instant)?
    /// A clone is visited every so many probe intervals.
    static let cloneVisits: UInt64 = 5
    /// While a datagram is being answered: where it came from, and which versions its sender speaks.
    var heard: (from: Address, protocols: Versions)?
    var complaints = Complaints()

    /// A node that starts now. An unspecific address of `me` is replaced by the one others see; a nonce of zero is
    /// drawn here. The first `tick` announces it to the seeds, and to the members that it remembers from an earlier life:
    /// they count as dead until they answer.
    public init(
        me: Member, seeds: [Address], remembered: [Member] = [], cluster: String, profile: Profile,
        limits: Limits = Limits(), dice: Dice,
        now: Instant
    ) {
        self.dice = dice
        self.me = me
        self.me.state = .alive
        self.me.since = now
        if me.nonce == 0 { self.me.nonce = self.dice.next() | 1 }
        self.profile = profile
        self.limits = limits
        self.seeds = Set(seeds).filter(\.isSpecific).sorted().prefix(limits.members).map { Seed(address: $0) }
        clusterHash = XXH64.hash(Array(cluster.utf8).span.bytes)
        sequence = UInt32(truncatingIfNeeded: self.dice.next())
        nextProbe = now.advanced(milliseconds: self.dice.below(profile.probeIntervalMs + 1))
        nextGossip = now
        nextAnnounce = now
        nextQuery = now
        nextPull = now
        for member in remembered.prefix(limits.gone)
        where index(of: member.replica) == nil && member.replica != me.replica {
            remember(member, now: now)
        }
    }

    /// The only way in. `bytes` belong to the input and are only lent; `summary` is what this node says about itself
    /// at present; effects are appended.
    public mutating func handle(
        _ input: Input, _ bytes: RawSpan, summary: Summary, now: Instant, into effects: inout Effects
    ) {
        guard phase != .gone else { return }
        self.summary = summary
        noticeStall(now: now, into: &effects)
        switch input {
        case .tick:
            tick(now: now, into: &effects)
            asked = nil
        case .datagram(let from):
            receive(bytes, from: from, now: now, into: &effects)
        case .heard(let replica):
            // The hot path: every frame of every link comes here, and hardly ever answers a probe.
            guard probe?.target == replica else { return }
            answered(viaLink: true, into: &effects)
        case .learned:
            learnTable(bytes, now: now, into: &effects)
        case .met(let member):
            meet(member, now: now, into: &effects)
        case .outlived(let epoch): outlive(epoch: epoch, into: &effects)
        case .leave:
            startLeaving(now: now, into: &effects)
        }
        assert(phase != .present || me.state == .alive, "a peer never believes itself suspect or dead")
        schedule(now: now, into: &effects)
    }

    private mutating func tick(now: Instant, into effects: inout Effects) {
        guard phase == .present else { return sayGoodbye(now: now, into: &effects) }
        advanceProbe(now: now, into: &effects)
        expireSuspicions(now: now, into: &effects)
        sendNacks(now: now, into: &effects)
        if now >= nextAnnounce {
            forget(now: now, into: &effects)
            announceRound(now: now, into: &effects)
        }
        gossip(now: now, into: &effects)
    }

    /// Time that this process slept through is nobody's silence: deadlines move by it, and the blame stays here.
    private mutating func noticeStall(now: Instant, into effects: inout Effects) {
        guard let asked, now.milliseconds(since: asked) > profile.probeTimeoutMs / 2 else { return }
        let lateMs = now.milliseconds(since: asked)
        counters.stalls += 1
        localHealth.worsen()
        // What fell due right then would fall due now, while its answer still waits in the socket: a timeout on top.
        let shiftMs = lateMs + profile.probeTimeoutMs
        probe?.shift(byMs: shiftMs)
        nextProbe = nextProbe.advanced(milliseconds: shiftMs)
        for i in suspicions.indices {
            suspicions[i].startedAt = suspicions[i].startedAt.advanced(milliseconds: shiftMs)
        }
        for i in relays.indices { relays[i].nackAt = relays[i].nackAt.advanced(milliseconds: shiftMs) }
        self.asked = now
        effects.list.append(
            .log(
                .warning, "the event loop came \(lateMs) ms late; nobody is accused for it (is the machine overloaded?)"
            )
        )
    }

    private mutating func schedule(now: Instant, into effects: inout Effects) {
        if counted == nil { counted = Census(records, mine: me.protocols) }
        var next: Instant
        switch phase {
        case .gone: return
        case .leaving: next = nextGossip
        case .present:
            next = min(probe?.nextStep ?? nextProbe, nextAnnounce)
            if !rumors.isEmpty, records.contains(where: { hearsGossip($0, now: now) }) { next = min(next, nextGossip) }
            for relay in relays { next = min(next, relay.nackAt) }
            let trusted = aliveCount
            for suspicion in suspicions { next = min(next, suspicion.deadline(members: trusted, profile)) }
        }
        next = max(next, now)
        guard next != asked else { return }
        asked = next
        effects.list.append(.wake(at: next))
    }
}

extension Membership {
    /// Everybody known, ordered by replica, this node included.
    public var members: [Member] {
        var all = records.map(\.member)
        all.insert(me, at: position(of: me.replica))
        return all
    }

    /// What is believed of one member, this node included; nil if it is unknown.
    public func member(_ replica: ReplicaID) -> Member? {
        replica == me.replica ? me : index(of: replica).map { records[$0].member }
    }

    /// Members that are neither suspect, dead nor left, this node included.
    public var aliveCount: Int { census.alive + (me.state == .alive ? 1 : 0) }

    /// Members that take part (alive or suspect), this node included.
    public var presentCount: Int { census.present + (me.isPresent ? 1 : 0) }

    /// What the others amount to, counted anew only after they changed.
    var census: Census { counted ?? Census(records, mine: me.protocols) }

    /// Where `replica` stands in `records`, or would.
    func position(of replica: ReplicaID) -> Int {
        var low = 0
        var high = records.count
        while low < high {
            let middle = (low + high) / 2
            if records[middle].member.replica < replica { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func index(of replica: ReplicaID) -> Int? {
        let at = position(of: replica)
        return at < records.count && records[at].member.replica == replica ? at : nil
    }

    /// At most `count` of the candidates, drawn at random.
    mutating func draw<Candidate>(_ count: Int, from candidates: [Candidate]) -> [Candidate] {
        var left = candidates
        var drawn: [Candidate] = []
        while drawn.count < count, !left.isEmpty {
            left.swapAt(Int(dice.below(UInt64(left.count))), left.count - 1)
            drawn.append(left.removeLast())
        }
        return drawn
    }

    /// The profile's times relative to those for a LAN; what no profile names scales with it.
    func scaled(_ lanMs: UInt64) -> UInt64 { max(1, lanMs * profile.probeIntervalMs / Profile.lan.probeIntervalMs) }
}
