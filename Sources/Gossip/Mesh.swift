public import CRDT

/// A full mesh of TCP links: who is dialled when, who is greeted, and which of two links to one peer stays.
///
/// Whoever knows an address may dial: the lower replica at once, the higher after a dial interval without a link. Ids
/// are learned in the handshake. Of two fresh links the one dialled by the lower id stays; a link that comes long after
/// another one replaces it, since the peer would not have dialled if it still had the old one.
public struct Mesh: Sendable {
    /// What the caller has to do; ranges point into the byte buffer passed along.
    public enum Effect: Sendable {
        /// Open a TCP connection.
        case dial(Address)
        /// Write one frame to a link.
        case write(LinkID, Range<Int>)
        /// Close a link.
        case hangUp(LinkID)
        /// A link is up: the peer is who it says. `sent` is what we said.
        case up(LinkID, Hello, sent: Hello)
        /// Another process runs under this node's id.
        case twin(Hello)
        /// A link that was up is gone.
        case down(LinkID, ReplicaID)
        /// One line for the log.
        case log(Severity, String)
    }

    /// What is said in a handshake about this node, which only the owner knows.
    public struct Greeting: Sendable {
        /// This node.
        public var member: Member
        /// Its stamp clock, in milliseconds.
        public var clockMs: UInt64
        /// The highest time it gave out or saw.
        public var lastTime: UInt64
        /// When it started, by its stamp clock, in milliseconds.
        public var startedMs: UInt64
        /// How many members take part.
        public var members: Int
        /// The lowest id among them.
        public var lowest: ReplicaID
        /// What was collected here.
        public var collected: VersionVector
    }

    private struct Link: Sendable {
        let id: LinkID
        /// The address that this node dialled; nil if the other side dialled.
        let dialled: Address?
        let openedAt: Instant
        let sent: Hello
        /// Set when the peer has said hello.
        var peer: ReplicaID?
        /// The protocol version that both sides speak over it; set with `peer`.
        var version: UInt8?
    }

    /// A peer that should have a link.
    private struct Target: Sendable {
        let replica: ReplicaID
        var address: Address
        var nextDial: Instant
        /// The address of the dial that is out, or of the connection it became, until that is up or gone.
        var dialled: Address?
    }

    /// A connection that does not say hello for so many dial intervals is closed.
    private static let helloPatience: UInt64 = 3
    /// Connections that have not said hello yet, at the most.
    private static let maximumStrangers = 256

    private let me: ReplicaID
    private let protocols: Versions
    private let cluster: String
    private let profile: Profile
    private var dice: Dice
    private var links: [Link] = [] { didSet { due = nil } }
    private var targets: [Target] = [] { didSet { due = nil } }
    /// What links and targets wait for; nil since they changed. Asked for after every input, while they change hardly
    /// ever.
    private var due: Due?

    private struct Due: Sendable { var at: Instant? }
    private var isLeaving = false

    /// How many handshakes were refused so far.
    public private(set) var refused = 0
    /// Of these, the ones with a peer that shares no protocol version with this node.
    public private(set) var incompatible = 0
    private var complaints = Complaints()

    /// A mesh without links.
    public init(
        me: ReplicaID, protocols: Versions = Frame.protocols, cluster: String, profile: Profile, dice: Dice
    ) {
        self.me = me
        self.protocols = protocols
        self.cluster = cluster
        self.profile = profile
        self.dice = dice
    }

    /// The peers to which a link is up.
    public var linkedPeers: [ReplicaID] { links.compactMap(\.peer).sorted() }

    /// Every connection that is open, those included that have not said hello yet.
    public var linkIDs: [LinkID] { links.map(\.id) }

    /// The link to a peer, if one is up.
    public func link(to peer: ReplicaID) -> LinkID? { links.first { $0.peer == peer }?.id }

    /// Whether a link is open as far as this node is concerned. What still comes over one that it closed is nobody's.
    func isOpen(_ link: LinkID) -> Bool { links.contains { $0.id == link } }

    /// The peer at the other end of a link, once it said hello.
    public func peer(on link: LinkID) -> ReplicaID? { links.first { $0.id == link }?.peer }

    /// The protocol version spoken over a link: the highest that both sides have; nil until the peer said hello.
    public func version(on link: LinkID) -> UInt8? { links.first { $0.id == link }?.version }

    /// The moment at which `tick` is due; nil when nothing is pending.
    public var wake: Instant? { (due ?? nextDue()).at }

    private func nextDue() -> Due {
        var due: Instant?
        let linked = Set(links.compactMap(\.peer))
        for target in targets where target.dialled == nil && !linked.contains(target.replica) {
            due = min(due ?? target.nextDial, target.nextDial)
        }
        for link in links where link.peer == nil {
            let limit = link.openedAt.advanced(milliseconds: profile.dialIntervalMs * Self.helloPatience)
            due = min(due ?? limit, limit)
        }
        return Due(at: due)
    }

    /// Membership changed its mind about somebody.
    public mutating func changed(_ member: Member, now: Instant, into effects: inout [Effect]) {
        guard member.replica != me, !isLeaving else { return }
        let at = targets.firstIndex { $0.replica == member.replica }
        // With somebody that shares no version a link could only be refused; its facts come through others.
        guard member.isPresent, protocols.overlaps(member.protocols) else {
            if let at { targets.remove(at: at) }
            // One that left closes its links itself, once everybody has read its last words.
            if member.state == .dead, let link = link(to: member.replica) { close(link, now: now, into: &effects) }
            return
        }
        if let at {
            targets[at].address = member.gossip
        } else {
            let delay = me < member.replica ? 0 : profile.dialIntervalMs
            targets.append(
                Target(
                    replica: member.replica, address: member.gossip, nextDial: now.advanced(milliseconds: delay)))
            targets.sort { $0.replica < $1.replica }
        }
    }

    /// Looks who is at an address, for once: it may be this node's twin.
    public mutating func visit(_ address: Address, into effects: inout [Effect]) {
        if !isLeaving { effects.append(.dial(address)) }
    }

    /// This node says goodbye: no new links from now on.
    public mutating func leave() {
        isLeaving = true
        targets = []
    }

    /// A TCP connection stands: say hello.
    public mutating func opened(
        _ id: LinkID, dialled: Address?, greeting: Greeting, log: borrowing FactLog, now: Instant,
        into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard !isLeaving, links.count(where: { $0.peer == nil }) < Self.maximumStrangers else {
            refused += 1
            if let dialled { backOff(now: now) { $0.dialled == dialled } }
            effects.append(.hangUp(id))
            return
        }
        let hello = Hello(cluster: cluster, greeting: greeting, log: log)
        let start = Frame.begin(.hello, into: &out)
        hello.encode(into: &out)
        effects.append(.write(id, Frame.end(start, into: &out)))
        links.append(Link(id: id, dialled: dialled, openedAt: now, sent: hello))
    }

    /// A dial came to nothing.
    public mutating func dialFailed(_ address: Address, now: Instant) {
        backOff(now: now) { $0.dialled == address }
    }

    /// A connection is gone, from whichever side.
    public mutating func closed(_ id: LinkID, now: Instant, into effects: inout [Effect]) {
        guard let at = links.firstIndex(where: { $0.id == id }) else { return }
        let link = links.remove(at: at)
        if let peer = link.peer { effects.append(.down(id, peer)) }
        backOff(now: now) { $0.replica == link.peer || ($0.dialled != nil && $0.dialled == link.dialled) }
    }

    /// The next dial of these peers is not now. The side that dialled first does so again; both wait a little, so that
    /// a peer that refuses is not stormed.
    private mutating func backOff(now: Instant, _ matches: (Target) -> Bool) {
        for i in targets.indices where matches(targets[i]) {
            targets[i].dialled = nil
            let delay = me < targets[i].replica ? profile.dialIntervalMs / 4 : profile.dialIntervalMs
            targets[i].nextDial = now.advanced(milliseconds: delay + jitter())
        }
    }

    /// The peer said hello.
    public mutating func greeted(
        _ id: LinkID, _ hello: Hello, now: Instant, into effects: inout [Effect]
    ) {
        guard let at = links.firstIndex(where: { $0.id == id }), links[at].peer == nil else { return }
        let peer = hello.member.replica
        guard hello.cluster == cluster else {
            return refuse(
                id, "it belongs to cluster \"\(hello.cluster)\", not \"\(cluster)\"", now: now, into: &effects)
        }
        guard let version = protocols.highestCommon(with: hello.protocols) else {
            incompatible += 1
            let isNews = complaints.isDue(peer, now: now)
            return refuse(
                id, "\(peer) speaks protocol \(hello.protocols), this node \(protocols); upgrade the older one",
                isNews ? .warning : .debug, now: now, into: &effects)
        }
        guard peer != me else {
            // A seed list may name this node itself. A copied data directory is another matter.
            if let address = links[at].dialled { targets.removeAll { $0.address == address } }
            if hello.member.nonce != links[at].sent.member.nonce { effects.append(.twin(hello)) }
            return close(id, now: now, into: &effects)
        }
        if let old = links.first(where: { $0.peer == peer }) {
            let isFresh = now.milliseconds(since: old.openedAt) < profile.dialIntervalMs * 2
            let lower = min(me, peer)
            let dialler = links[at].dialled != nil ? me : peer
            let oldDialler = old.dialled != nil ? me : peer
            if isFresh, oldDialler == lower, dialler != lower { return close(id, now: now, into: &effects) }
            close(old.id, now: now, into: &effects)
        }
        guard let new = links.firstIndex(where: { $0.id == id }) else { return }
        links[new].peer = peer
        links[new].version = version
        let dialled = links[new].dialled
        for i in targets.indices where targets[i].replica == peer || (dialled != nil && targets[i].dialled == dialled) {
            targets[i].dialled = nil
        }
        effects.append(.up(id, hello, sent: links[new].sent))
    }

    /// Time passed: dial who is missing, and close who says nothing.
    public mutating func tick(now: Instant, into effects: inout [Effect]) {
        let next = due ?? nextDue()
        due = next
        guard let at = next.at, at <= now else { return }
        for i in targets.indices
        where targets[i].dialled == nil && targets[i].nextDial <= now && link(to: targets[i].replica) == nil {
            targets[i].dialled = targets[i].address
            effects.append(.dial(targets[i].address))
        }
        for link in links
        where link.peer == nil
            && now.milliseconds(since: link.openedAt) >= profile.dialIntervalMs * Self.helloPatience
        {
            refuse(link.id, "it did not say hello", now: now, into: &effects)
        }
    }

    private mutating func refuse(
        _ id: LinkID, _ why: String, _ severity: Severity = .warning, now: Instant, into effects: inout [Effect]
    ) {
        refused += 1
        effects.append(.log(severity, "link \(id.rawValue) refused: \(why)"))
        close(id, now: now, into: &effects)
    }

    private mutating func close(_ id: LinkID, now: Instant, into effects: inout [Effect]) {
        closed(id, now: now, into: &effects)
        effects.append(.hangUp(id))
    }

    private mutating func jitter() -> UInt64 { dice.below(max(1, profile.dialIntervalMs / 4)) }
}
