import CRDT
import Gossip

/// One session at one node.
struct Seat: Hashable, Comparable, Sendable {
    let node: ReplicaID
    let session: SessionID

    static func < (a: Self, b: Self) -> Bool { (a.node, a.session) < (b.node, b.session) }
}

/// Who is connected, at which node: this node's own sessions, and what its peers say of theirs.
///
/// Nothing of it is a fact: it is worth no more than the node that said it. A peer's sessions stay while it is a member
/// that is present, with or without a link to it. Found dead, or started again, its sessions are still shown for a grace,
/// so that an agent that connects elsewhere meanwhile is never seen to go.
struct Presence: Sendable {
    /// The most sessions that are kept of one peer.
    static let maximumSessions = 65_536
    /// The most sessions shown although their node is gone.
    static let maximumLingering = 65_536
    /// The most bytes of an agent's name, and the most groups of one session.
    static let maximumAgentBytes = 1_024
    static let maximumGroups = 64

    /// What there is to know of a session.
    struct Session: Equatable, Sendable {
        var agent: String?
        /// It listens to an event stream; else it is on `/ws`.
        var isStream = false
        /// Since when, in milliseconds since the Unix epoch by its node's clock.
        var sinceMs: UInt64 = 0
        /// The groups it consumes, and how much of each it takes at once.
        var groups: [String: Int] = [:]

        /// Whether others are told of it.
        var isNamed: Bool { agent != nil || !groups.isEmpty }
    }

    /// What a peer has said.
    struct Peer: Sendable {
        var nonce: UInt64
        var isLinked = true
        var sessions: [SessionID: Session] = [:]
        /// The parts that came of a whole roster that is still coming.
        var coming: [SessionID: Session]?
        /// Since when it is no member that is present.
        var goneSince: Instant?
    }

    private struct Lingering: Sendable {
        let seat: Seat
        let session: Session
        let until: Instant
    }

    /// What a queue group has to know.
    enum Change: Equatable, Sendable {
        case joined(Seat, group: String, limit: Int)
        case left(Seat, group: String)
        /// Whether frames reach this node now.
        case linked(ReplicaID, Bool)
    }

    /// What was done since the start.
    struct Counters: Sendable {
        var rosters = 0
        var refused = 0
        var lingered = 0
    }

    var me: ReplicaID
    let graceMs: UInt64
    private(set) var mine: [SessionID: Session] = [:]
    private(set) var peers: [ReplicaID: Peer] = [:]
    private var lingering: [Lingering] = []
    /// Until when agents are shown though their nodes are gone.
    private var lingeringAgents: [[UInt8]: Instant] = [:]
    /// The sessions of each agent, its own node's and those of peers, shown or not.
    private var seats: [[UInt8]: [Seat]] = [:]
    /// Agents that are shown no more since somebody asked, because their nodes are gone.
    private var departed: Set<[UInt8]> = []
    /// Own sessions of which the peers are to be told again.
    private var changed: Set<SessionID> = []
    /// What the groups were not told yet.
    private(set) var changes: [Change] = []
    /// When `expire` is due.
    private(set) var wake: Instant?
    var counters = Counters()
    /// What the membership had changed to when it was followed last.
    var seenMembers = -1

    init(me: ReplicaID, profile: Profile) {
        self.me = me
        // Five seconds on a LAN, and as much faster as everything else is.
        graceMs = profile.suspicionMinMs * 5 / 4
    }

    /// Whether somebody is to be told something.
    var hasNews: Bool { !changed.isEmpty || !changes.isEmpty }
    /// Own sessions that others are told of.
    var namedCount: Int { mine.values.count(where: \.isNamed) }
    /// Sessions of others, and those that are shown although their node is gone.
    var remoteCount: Int { peers.values.reduce(0) { $0 + $1.sessions.count } }
    var lingeringCount: Int { lingering.count }

    mutating func takeChanges() -> [Change] {
        let taken = changes
        changes.removeAll(keepingCapacity: true)
        return taken
    }

    // MARK: - Own sessions

    mutating func open(_ id: SessionID, agent: String?, isStream: Bool, nowMs: UInt64) {
        mine[id] = Session(isStream: isStream, sinceMs: nowMs)
        if let agent { identify(id, agent) }
    }

    mutating func identify(_ id: SessionID, _ agent: String) {
        guard mine[id] != nil, agent.utf8.count <= Self.maximumAgentBytes, mine[id]?.agent != agent else { return }
        let seat = Seat(node: me, session: id)
        unseat(seat, mine[id]?.agent)
        mine[id]?.agent = agent
        self.seat(seat, agent)
        changed.insert(id)
        stopLingering(agent)
    }

    mutating func join(_ id: SessionID, _ group: String, limit: Int) {
        guard mine[id] != nil, mine[id]?.groups[group] != limit else { return }
        mine[id]?.groups[group] = limit
        changed.insert(id)
        changes.append(.joined(Seat(node: me, session: id), group: group, limit: limit))
    }

    mutating func leave(_ id: SessionID, _ group: String) {
        guard mine[id]?.groups.removeValue(forKey: group) != nil else { return }
        changed.insert(id)
        changes.append(.left(Seat(node: me, session: id), group: group))
    }

    mutating func close(_ id: SessionID) {
        guard let session = mine.removeValue(forKey: id) else { return }
        unseat(Seat(node: me, session: id), session.agent)
        if session.isNamed { changed.insert(id) }
        for group in session.groups.keys.sorted() {
            changes.append(.left(Seat(node: me, session: id), group: group))
        }
    }

    // MARK: - Telling

    /// Encodes what the linked peers are to be told; nothing if nothing changed.
    mutating func takeDelta() -> [[UInt8]] {
        guard !changed.isEmpty else { return [] }
        let ids = changed.sorted()
        changed.removeAll()
        return Roster.encode(ids.map { id in (id, mine[id].flatMap { $0.isNamed ? $0 : nil }) }, isWhole: false)
    }

    /// Encodes everything, for a peer that has just been linked.
    func whole() -> [[UInt8]] {
        Roster.encode(
            mine.filter(\.value.isNamed).sorted { $0.key < $1.key }.map { ($0.key, $0.value) }, isWhole: true)
    }

    var linkedPeers: [ReplicaID] { peers.filter(\.value.isLinked).keys.sorted() }

    // MARK: - Peers

    /// A link to a peer stands; another nonce is another start of it, in which none of its sessions is left.
    mutating func linked(_ peer: ReplicaID, nonce: UInt64, now: Instant) {
        if let known = peers[peer], known.nonce != nonce {
            hide(peer, known)
            linger(peer, known, from: known.goneSince ?? now)
            remove(peer)
        }
        if peers[peer] == nil { peers[peer] = Peer(nonce: nonce) }
        peers[peer]?.isLinked = true
        peers[peer]?.coming = nil
        changes.append(.linked(peer, true))
        setWake()
    }

    mutating func unlinked(_ peer: ReplicaID) {
        guard peers[peer] != nil else { return }
        peers[peer]?.isLinked = false
        peers[peer]?.coming = nil
        changes.append(.linked(peer, false))
        setWake()
    }

    /// Reads a roster. Throws if it is malformed; what was read of it by then stays.
    mutating func hear(_ peer: ReplicaID, _ bytes: RawSpan) throws(DecodeError) {
        guard peers[peer] != nil else { return }
        counters.rosters += 1
        let (flags, entries) = try Roster.decode(bytes)
        guard flags.contains(.whole) else {
            for (id, session) in entries { note(peer, id, session) }
            return
        }
        if flags.contains(.first) { peers[peer]?.coming = [:] }
        guard peers[peer]?.coming != nil else { throw .badValue(field: "order of roster parts") }
        for (id, session) in entries {
            guard (peers[peer]?.coming?.count ?? 0) < Self.maximumSessions else {
                counters.refused += 1
                continue
            }
            peers[peer]?.coming?[id] = session
        }
        guard flags.contains(.last), let coming = peers[peer]?.coming else { return }
        peers[peer]?.coming = nil
        for id in (peers[peer]?.sessions ?? [:]).keys.sorted() where coming[id] == nil { note(peer, id, nil) }
        for (id, session) in coming.sorted(by: { $0.key < $1.key }) { note(peer, id, session) }
    }

    private mutating func note(_ peer: ReplicaID, _ id: SessionID, _ session: Session?) {
        let known = peers[peer]?.sessions[id]
        if known == nil, session != nil, (peers[peer]?.sessions.count ?? 0) >= Self.maximumSessions {
            counters.refused += 1
            return
        }
        let seat = Seat(node: peer, session: id)
        unseat(seat, known?.agent)
        peers[peer]?.sessions[id] = session
        if let agent = session?.agent {
            self.seat(seat, agent)
            stopLingering(agent)
        }
        guard peers[peer]?.goneSince == nil else { return }
        for group in (known?.groups ?? [:]).keys.sorted() where session?.groups[group] == nil {
            changes.append(.left(seat, group: group))
        }
        for (group, limit) in (session?.groups ?? [:]).sorted(by: { $0.key < $1.key }) {
            changes.append(.joined(seat, group: group, limit: limit))
        }
    }

    /// Follows the membership: who is no member that is present is gone.
    mutating func follow(now: Instant, isPresent: (ReplicaID) -> Bool) {
        defer { setWake() }
        for id in peers.keys.sorted() {
            guard let peer = peers[id] else { continue }
            switch (isPresent(id), peer.goneSince) {
            case (true, .some):
                peers[id]?.goneSince = nil
                for (session, it) in peer.sessions.sorted(by: { $0.key < $1.key }) {
                    for (group, limit) in it.groups.sorted(by: { $0.key < $1.key }) {
                        changes.append(.joined(Seat(node: id, session: session), group: group, limit: limit))
                    }
                }
            case (false, nil):
                peers[id]?.goneSince = now
                hide(id, peer)
                counters.lingered += peer.sessions.count
            case (true, nil), (false, .some): break
            }
        }
    }

    /// No group gives it anything any more.
    private mutating func hide(_ id: ReplicaID, _ peer: Peer) {
        guard peer.goneSince == nil else { return }
        for (session, it) in peer.sessions.sorted(by: { $0.key < $1.key }) {
            for group in it.groups.keys.sorted() {
                changes.append(.left(Seat(node: id, session: session), group: group))
            }
        }
    }

    private mutating func linger(_ id: ReplicaID, _ peer: Peer, from since: Instant) {
        let until = since.advanced(milliseconds: graceMs)
        let named = peer.sessions.filter { $0.value.agent != nil }.sorted { $0.key < $1.key }
        for (session, it) in named.prefix(Self.maximumLingering - min(lingering.count, Self.maximumLingering)) {
            lingering.append(Lingering(seat: Seat(node: id, session: session), session: it, until: until))
            guard let agent = it.agent.map({ Array($0.utf8) }) else { continue }
            lingeringAgents[agent] = max(lingeringAgents[agent] ?? until, until)
        }
        counters.lingered += named.count
    }

    // MARK: - Time

    /// When somebody's grace is over: kept, because it is asked for at every input.
    private mutating func setWake() {
        wake = lingering.map(\.until).min()
        for peer in peers.values where !peer.isLinked {
            guard let until = peer.goneSince?.advanced(milliseconds: graceMs) else { continue }
            wake = min(wake ?? until, until)
        }
    }

    mutating func expire(now: Instant) {
        guard let due = wake, due <= now else { return }
        defer { setWake() }
        lingering.removeAll { $0.until <= now }
        for (agent, until) in lingeringAgents where until <= now {
            lingeringAgents[agent] = nil
            departed.insert(agent)
        }
        for (id, peer) in peers where !peer.isLinked {
            guard let since = peer.goneSince, since.advanced(milliseconds: graceMs) <= now else { continue }
            for session in peer.sessions.values { if let agent = session.agent { departed.insert(Array(agent.utf8)) } }
            remove(id)
        }
    }

    // MARK: - By agent

    private mutating func seat(_ seat: Seat, _ agent: String) { seats[Array(agent.utf8), default: []].append(seat) }

    private mutating func unseat(_ seat: Seat, _ agent: String?) {
        guard let key = agent.map({ Array($0.utf8) }), var rest = seats.removeValue(forKey: key) else { return }
        if let at = rest.firstIndex(of: seat) {
            rest.swapAt(at, rest.count - 1)
            rest.removeLast()
        }
        if !rest.isEmpty { seats[key] = rest }
    }

    private mutating func remove(_ peer: ReplicaID) {
        for (id, session) in peers[peer]?.sessions ?? [:] { unseat(Seat(node: peer, session: id), session.agent) }
        peers[peer] = nil
    }

    private mutating func stopLingering(_ agent: String) {
        lingeringAgents[Array(agent.utf8)] = nil
        lingering.removeAll { $0.session.agent == agent }
    }

    /// Agents that are shown no more since this was asked last, because their nodes are gone; in order.
    mutating func takeDeparted() -> [String] {
        guard !departed.isEmpty else { return [] }
        defer { departed.removeAll() }
        return departed.sorted { $0.lexicographicallyPrecedes($1) }.map { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether `sessions` would show one of this agent; costs no more than its own sessions.
    func isOnline(_ agent: String, now: Instant) -> Bool {
        let key = Array(agent.utf8)
        if let until = lingeringAgents[key], until > now { return true }
        return seats[key]?.contains { seat in
            guard seat.node != me, let since = peers[seat.node]?.goneSince else { return true }
            return since.advanced(milliseconds: graceMs) > now
        } ?? false
    }

    // MARK: - Reading

    /// Who consumes a group, and how much of it at once.
    func consumers(of group: String) -> [(seat: Seat, limit: Int)] {
        var found: [(seat: Seat, limit: Int)] = []
        for (id, session) in mine {
            if let limit = session.groups[group] { found.append((Seat(node: me, session: id), limit)) }
        }
        for (node, peer) in peers where peer.goneSince == nil {
            for (id, session) in peer.sessions {
                if let limit = session.groups[group] { found.append((Seat(node: node, session: id), limit)) }
            }
        }
        return found.sorted { $0.seat < $1.seat }
    }

    /// Every session that is shown, by node and number; `isGone` if only the grace keeps it.
    func sessions(now: Instant) -> [(seat: Seat, session: Session, isGone: Bool)] {
        var found: [(seat: Seat, session: Session, isGone: Bool)] = []
        for (id, session) in mine where session.isNamed { found.append((Seat(node: me, session: id), session, false)) }
        for (node, peer) in peers {
            if let since = peer.goneSince, since.advanced(milliseconds: graceMs) <= now { continue }
            for (id, session) in peer.sessions {
                found.append((Seat(node: node, session: id), session, peer.goneSince != nil))
            }
        }
        for it in lingering where it.until > now { found.append((it.seat, it.session, true)) }
        let live = Set(found.filter { !$0.isGone }.compactMap(\.session.agent))
        // Where an agent is connected again, what it had before is over.
        found.removeAll { it in it.isGone && it.session.agent.map { live.contains($0) } ?? true }
        return found.sorted { $0.seat < $1.seat }
    }
}
