public import CRDT

/// Everything between peers as one value: who is here, over which links, who lacks what, and what time it is.
///
/// Wires three values and the clock together: `Membership` says who is alive, `Mesh` keeps a link to each
/// of them, `Replication` moves the logs over the links. The owner writes its facts here, and reads what was applied
/// from `log` between the `log.end` before a call and the one after it.
public struct Cluster: Sendable {
    /// What can happen. Bytes that belong to an input are passed beside it.
    public enum Input: Sendable {
        /// The moment asked for by `Effect.wake` has come.
        case tick
        /// A datagram came.
        case datagram(from: Address)
        /// A TCP connection to a peer stands; `dialled` is the address this node dialled, nil if the other side did.
        case linkOpened(LinkID, dialled: Address?)
        /// A dial came to nothing.
        case dialFailed(Address)
        /// One whole frame came.
        case linkFrame(LinkID)
        /// What was written has left this process.
        case linkDrained(LinkID)
        /// The link is gone.
        case linkClosed(LinkID)
        /// Leave in good order.
        case leave
    }

    /// What the owner has to do; ranges point into the byte buffer passed along.
    public enum Effect: Sendable {
        /// Send one datagram.
        case datagram(to: Address, Range<Int>)
        /// Open a TCP connection.
        case dial(Address)
        /// Write one frame to a link.
        case write(LinkID, Range<Int>)
        /// Close a link.
        case hangUp(LinkID, flush: Bool)
        /// A peer lacks what is no longer in the logs: send it the state, a chunk for each `chunkDue`.
        case snapshotBegins(LinkID)
        /// The link takes another chunk.
        case chunkDue(LinkID)
        /// The snapshot for this link is over, for whatever reason.
        case snapshotEnded(LinkID)
        /// A frame about the owner's state came; it lies there in the input's bytes.
        case state(LinkID, Frame.FrameType, Range<Int>)
        /// The heads that belong to a snapshot came, and lie there in the input's bytes: entries up to this vector are in
        /// the state already.
        case adopted(VersionVector, Range<Int>)
        /// A repair is over: what the peer had has been read.
        case caughtUp
        /// A repair over this link brought nothing for too long; another peer may be asked.
        case gaveUp(LinkID)
        /// A link over which facts travelled is gone.
        case linkLost(LinkID)
        /// A link to this peer stands; `nonce` names its start. Said again for each further link to it.
        case linked(ReplicaID, nonce: UInt64)
        /// No link to this peer stands any more.
        case unlinked(ReplicaID)
        /// A frame for the owner came from this peer; its body lies there in the input's bytes.
        case frame(ReplicaID, Frame.FrameType, Range<Int>)
        /// This peer's logs are equal to ours: its state should be, too.
        case compare(LinkID)
        /// This node must not go on under its id.
        case reset(Reset)
        /// Call with `tick` at this moment at the latest.
        case wake(at: Instant)
        /// One line for the log.
        case log(Severity, String)
        /// The others have been told goodbye.
        case left
    }

    /// What a cluster is told at its start.
    public struct Settings: Sendable {
        /// This node.
        public var me: Member
        /// The cluster's name.
        public var name: String
        /// Where to look for others.
        public var seeds: [Address]
        /// All the times.
        public var profile: Profile
        /// Retention, skew and the times after which things are collected.
        public var replication: Replication.Settings
        /// The bounds of what is remembered about others.
        public var limits: Membership.Limits
        /// Durable members known from an earlier life.
        public var remembered: [Member] = []

        /// Settings from their parts.
        public init(
            me: Member, name: String, seeds: [Address], profile: Profile, replication: Replication.Settings = .init(),
            limits: Membership.Limits = .init()
        ) {
            self.me = me
            self.name = name
            self.seeds = seeds
            self.profile = profile
            self.replication = replication
            self.limits = limits
        }
    }

    /// How long a leaving node waits for its peers to read what it wrote last, in milliseconds.
    private static let partingMs: UInt64 = 2_500

    /// Who is alive.
    public internal(set) var membership: Membership
    /// Who is linked.
    public internal(set) var mesh: Mesh
    /// Who has what.
    public internal(set) var replication: Replication
    /// Physical time for stamps.
    public private(set) var clock: DisciplinedClock
    /// The stamps given out and seen.
    public internal(set) var hybrid = HybridClock()
    /// The digest of what is on the disk: datagrams do not wait for it, and tell no more. Nil for a node in memory.
    public var syncedDigest: UInt64?
    /// How often something changed in what is known of the members, for whoever remembers them.
    public private(set) var memberChanges = 0
    /// Frames of a type that this build does not know, which were ignored.
    public private(set) var unknownFrames = 0
    /// Frames refused before replication saw them: damaged, or out of turn. Each closed its link.
    public private(set) var badFrames = 0

    private var memberEffects = Membership.Effects()
    private var meshEffects: [Mesh.Effect] = []
    private var replicationEffects: [Replication.Effect] = []
    private var spareEffects: [Replication.Effect] = []
    var membershipWake: Instant?
    /// Set once the goodbye is said: when to stop waiting for peers to read the last own entries.
    private var partingUntil: Instant?
    /// When leaving began.
    private var leavingSince: Instant?
    private var lastWake: Instant?
    /// When this node started, by its stamp clock, in milliseconds.
    private let startedMs: UInt64
    private let maxSkewMs: UInt64

    /// A node that starts now, alone until it hears of others.
    public init(_ settings: Settings, wallMs: UInt64, now: Instant, dice: Dice) {
        (membership, mesh) = Self.outside(of: settings, now: now, dice: dice)
        replication = Replication(
            log: FactLog(me: settings.me.replica, retention: settings.replication.retention),
            settings: settings.replication, profile: settings.profile, now: now)
        maxSkewMs = settings.replication.maxSkewMs
        clock = DisciplinedClock(wallMs: wallMs, monotonicMs: now.milliseconds, maxSkewMs: maxSkewMs)
        startedMs = clock.milliseconds(monotonicMs: now.milliseconds)
        membershipWake = now
    }

    /// What the others see of a node.
    static func outside(of settings: Settings, now: Instant, dice: Dice) -> (Membership, Mesh) {
        var dice = dice
        let (first, second) = (Dice(seed: dice.next()), Dice(seed: dice.next()))
        let membership = Membership(
            me: settings.me, seeds: settings.seeds, remembered: settings.remembered, cluster: settings.name,
            profile: settings.profile, limits: settings.limits, dice: first, now: now)
        let mesh = Mesh(
            me: settings.me.replica, protocols: settings.me.protocols, cluster: settings.name,
            profile: settings.profile, dice: second)
        return (membership, mesh)
    }

    /// The logs, in the order in which this node applied them.
    public var log: FactLog {
        @inline(__always) _read { yield replication.log }
    }

    /// Whether the state behind the logs is all that they say, so that it can be sent to a peer.
    public mutating func setHoldsWholeState(_ isWhole: Bool) { replication.holdsWholeState = isWhole }

    /// Whether there are linked peers, and all that they have was read here.
    public mutating func hasReadAllPeers() -> Bool { replication.hasReadAllPeers() }

    /// The moment at which signals are read, in milliseconds since the Unix epoch.
    public func nowMs(_ now: Instant) -> UInt64 {
        hybrid.milliseconds(physicalMilliseconds: clock.milliseconds(monotonicMs: now.milliseconds))
    }

    /// The stamp of the next own fact.
    public mutating func nextStamp(now: Instant) -> HybridTimestamp {
        let time = hybrid.next(physicalMilliseconds: clock.milliseconds(monotonicMs: now.milliseconds))
        return HybridTimestamp(time: time, replica: log.me)
    }

    /// Writes an own fact under a stamp just given out, and pushes it to every linked peer. Returns its position.
    public mutating func write(
        _ kind: Fact.Kind, time: UInt64, body: RawSpan, now: Instant, into effects: inout [Effect],
        _ out: inout [UInt8]
    ) -> Int {
        replication.log.makeRoom()
        let position = replication.write(kind, time: time, body: body, into: &replicationEffects, &out)
        flushReplication(now: now, into: &effects, &out)
        schedule(into: &effects)
        return position
    }

    /// The only other way in.
    public mutating func handle(
        _ input: Input, _ bytes: RawSpan, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        replication.log.makeRoom()
        switch input {
        case .tick:
            lastWake = nil
            member(.tick, bytes, now: now, into: &effects, &out)
            mesh.tick(now: now, into: &meshEffects)
            let others = replication.isChoreDue(now) ? others : nil
            replication.tick(clock: promise(now), others, now: now, into: &replicationEffects, &out)
        case .datagram(let from):
            member(.datagram(from: from), bytes, now: now, into: &effects, &out)
        case .linkOpened(let link, let dialled):
            mesh.opened(
                link, dialled: dialled, greeting: greeting(now), log: replication.log, now: now, into: &meshEffects,
                &out)
        case .dialFailed(let address):
            mesh.dialFailed(address, now: now)
        case .linkFrame(let link):
            frame(link, bytes, now: now, into: &effects, &out)
        case .linkDrained(let link):
            replication.linkDrained(link, now: now, into: &replicationEffects, &out)
        case .linkClosed(let link):
            mesh.closed(link, now: now, into: &meshEffects)
        case .leave:
            leavingSince = now
            mesh.leave()
            replication.askAll(clock: promise(now), into: &replicationEffects, &out)
            member(.leave, bytes, now: now, into: &effects, &out)
        }
        flush(now: now, into: &effects, &out)
        part(now: now, into: &effects)
        schedule(into: &effects)
    }

    private mutating func flush(now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        flushReplication(now: now, into: &effects, &out)
        flushMesh(now: now, into: &effects, &out)
        flushReplication(now: now, into: &effects, &out)
    }

    /// What this node promises about its own stamps.
    private func promise(_ now: Instant) -> Promise {
        Promise(
            last: hybrid.last, clockMs: clock.milliseconds(monotonicMs: now.milliseconds), maxSkewMs: maxSkewMs)
    }

    private func greeting(_ now: Instant) -> Mesh.Greeting {
        // After a partition, membership knows the other side before the first link to it: the links show one's own side.
        let side = replication.openPeers + [membership.me.replica]
        return Mesh.Greeting(
            member: membership.me, clockMs: clock.milliseconds(monotonicMs: now.milliseconds), lastTime: hybrid.last,
            startedMs: startedMs, members: side.count, lowest: side.min() ?? membership.me.replica,
            collected: replication.collected)
    }

    /// The other members, as replication sees them.
    var others: Replication.Others {
        let others = membership.members.filter { $0.replica != membership.me.replica }
        let addresses = Set(others.filter(\.isPresent).map(\.gossip)).union([membership.me.gossip])
        // Another process has its address: it is gone for good, or comes back elsewhere and starts anew.
        let known = others.filter {
            $0.isPresent || $0.state == .left && !$0.isDurable || !addresses.contains($0.gossip)
        }
        return Replication.Others(
            known: known.map(\.replica),
            writing: known.filter { $0.state != .left || $0.isDurable }.map(\.replica),
            present: others.filter(\.isPresent).map(\.replica))
    }

    // MARK: - The owner's state

    /// Sends a frame about the owner's state.
    public mutating func sendState(
        _ type: Frame.FrameType, on link: LinkID, now: Instant, into effects: inout [Effect], _ out: inout [UInt8],
        _ body: (inout [UInt8]) -> Void
    ) {
        replication.send(type, on: link, now: now, into: &replicationEffects, &out, body)
        flushReplication(now: now, into: &effects, &out)
        schedule(into: &effects)
    }

    /// Sends a frame of the owner's to a peer; false if there is no link to it. It is lost with the link.
    public mutating func send(
        _ type: Frame.FrameType, to peer: ReplicaID, into effects: inout [Effect], _ out: inout [UInt8],
        _ body: (inout [UInt8]) -> Void
    ) -> Bool {
        guard let link = mesh.link(to: peer) else { return false }
        let start = Frame.begin(type, into: &out)
        body(&out)
        effects.append(.write(link, Frame.end(start, into: &out)))
        return true
    }

    /// The whole state went to this peer; the heads and the rest of the logs follow.
    public mutating func finishSnapshot(
        _ link: LinkID, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        replication.finishSnapshot(link, now: now, into: &replicationEffects, &out)
        flushReplication(now: now, into: &effects, &out)
        schedule(into: &effects)
    }

    /// Asks linked peers to say at once when they have read this: all of them, or the durable ones. What they said is
    /// in `replication.readers` and `heads`, which have changed when `replication.words` has.
    public mutating func ask(
        for place: VersionVector, durableOnly: Bool, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        replication.ask(for: place, durableOnly: durableOnly, into: &replicationEffects, &out)
        flushReplication(now: now, into: &effects, &out)
    }

    /// Nobody waits for a peer's word any longer.
    public mutating func stopAsking() { replication.stopAsking() }

    /// The latest moment before which everything is everywhere, if that is news: what is only kept for latecomers can
    /// go as far as its stamps lie before it. Whoever has not read as far as this node has to start anew from then on.
    public mutating func collectable(_ purpose: Replication.Purpose, now: Instant) -> UInt64? {
        replication.collectable(purpose, clockMs: clock.milliseconds(monotonicMs: now.milliseconds))
    }

    /// Remembers the number and stamp of an entry that a peer no longer holds itself, at the end of the log; false for
    /// an own one, which was never here, unless this node's own disk says so.
    public mutating func remember(
        _ replica: ReplicaID, sequence: UInt64, time: UInt64, evenOwn: Bool
    ) throws(DecodeError) -> Bool {
        try replication.remember(replica, sequence: sequence, time: time, evenOwn: evenOwn)
    }

    /// The last step of leaving: every linked peer has read all that this node wrote, or had its time to.
    private mutating func part(now: Instant, into effects: inout [Effect]) {
        guard let until = partingUntil, now >= until || replication.isReadByAll else { return }
        partingUntil = nil
        effects.append(.left)
    }

    /// Notes that everything up to the end of the log has been seen by the owner: later stamps come after it.
    public mutating func observe(_ time: UInt64) { hybrid.observe(time) }

    // MARK: - Frames

    private mutating func frame(
        _ link: LinkID, _ bytes: RawSpan, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard mesh.isOpen(link) else { return }
        do throws(DecodeError) {
            var (type, cursor) = try Frame.open(bytes)
            guard let peer = mesh.peer(on: link) else {
                guard type == .hello else { throw .badValue(field: "first frame") }
                let hello = try Hello(&cursor, bytes, speaking: membership.me.protocols)
                mesh.greeted(link, hello, now: now, into: &meshEffects)
                return
            }
            member(.heard(peer), bytes, now: now, into: &effects, &out)
            switch type {
            case .hello: throw .badValue(field: "second hello")
            case .table:
                member(
                    .learned, bytes.extracting(cursor.offset..<cursor.end), now: now, into: &effects, &out)
            case .ping: effects.append(.write(link, Self.bare(.pong, into: &out)))
            case .pong: break
            case .facts, .have, .want, .done, .standing, .heads, .hash, .confirm:
                replication.receive(
                    type, cursor, bytes, on: link, clock: promise(now), now: now, into: &replicationEffects, &out)
            case .snapshot, .stateHashes:
                replication.touched(link, now: now)
                effects.append(.state(link, type, cursor.offset..<cursor.end))
            case .roster, .groups, .mailbox, .forward:
                effects.append(.frame(peer, type, cursor.offset..<cursor.end))
            default: unknownFrames += 1
            }
        } catch {
            badFrames += 1
            effects.append(.log(.warning, "link \(link.rawValue): bad frame (\(error)); closing the link"))
            mesh.closed(link, now: now, into: &meshEffects)
            effects.append(.hangUp(link, flush: false))
        }
    }

    private static func bare(_ type: Frame.FrameType, into out: inout [UInt8]) -> Range<Int> {
        Frame.end(Frame.begin(type, into: &out), into: &out)
    }

    // MARK: - Wiring

    private mutating func member(
        _ input: Membership.Input, _ bytes: RawSpan, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        let summary = Membership.Summary(
            digest: syncedDigest ?? log.digest, clockMs: clock.milliseconds(monotonicMs: now.milliseconds))
        membership.handle(input, bytes, summary: summary, now: now, into: &memberEffects)
        guard !memberEffects.list.isEmpty else { return }
        let base = out.count
        out.append(contentsOf: memberEffects.bytes)
        for effect in memberEffects.list {
            switch effect {
            case .datagram(let to, let range):
                effects.append(.datagram(to: to, base + range.lowerBound..<base + range.upperBound))
            case .askLink(let peer):
                guard let link = mesh.link(to: peer) else { break }
                effects.append(.write(link, Self.bare(.ping, into: &out)))
            case .changed(let member, _):
                memberChanges += 1
                mesh.changed(member, now: now, into: &meshEffects)
                if !member.isPresent { clock.forget(member.replica) }
            case .forgotten(let member):
                memberChanges += 1
                effects.append(.log(.debug, "member \(member.name) (\(member.replica)) is forgotten"))
            case .summary(let peer, let summary, let ageMs):
                hear(summary, of: peer, ageMs: ageMs, now: now, into: &effects, &out)
            case .cloned(let epoch, let nonce, let address):
                effects.append(
                    .log(
                        .error,
                        "\(address) runs under this node's id (epoch \(epoch), nonce \(nonce)): a copied data directory; "
                            + "the one that started later takes a new id"))
                mesh.visit(address, into: &meshEffects)
            case .wake(let at): membershipWake = at
            case .log(let severity, let text): effects.append(.log(severity, text))
            case .left:
                membershipWake = nil
                partingUntil = (leavingSince ?? now).advanced(milliseconds: Self.partingMs)
            }
        }
        memberEffects.removeAll()
    }

    private mutating func hear(
        _ summary: Membership.Summary, of peer: ReplicaID, ageMs: UInt64?, now: Instant,
        into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        discipline(peer, clockMs: summary.clockMs, ageMs: ageMs, now: now, into: &effects)
        replication.heard(
            digest: summary.digest, clockMs: summary.clockMs, of: peer, clock: promise(now), now: now,
            into: &replicationEffects, &out)
    }

    private mutating func discipline(
        _ peer: ReplicaID, clockMs: UInt64, ageMs: UInt64?, now: Instant, into effects: inout [Effect]
    ) {
        guard let correction = clock.observe(peer, clockMs: clockMs, ageMs: ageMs, monotonicMs: now.milliseconds)
        else { return }
        effects.append(
            .log(
                .warning,
                "this machine's clock is off by \(-correction) ms against most peers; stamps follow theirs from now on")
        )
    }

    private mutating func flushMesh(now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        guard !meshEffects.isEmpty else { return }
        let list = meshEffects
        meshEffects.removeAll(keepingCapacity: true)
        for effect in list {
            switch effect {
            case .dial(let address): effects.append(.dial(address))
            case .write(let link, let range): effects.append(.write(link, range))
            case .hangUp(let link): effects.append(.hangUp(link, flush: true))
            case .up(let link, let hello, let sent):
                // A joining node takes over its peers' highest stamp, as far as it is believable.
                discipline(hello.member.replica, clockMs: hello.clockMs, ageMs: nil, now: now, into: &effects)
                observeBelievable(hello.lastTime, now: now)
                member(.met(hello.member), RawSpan(), now: now, into: &effects, &out)
                replication.linkUp(
                    link, hello: hello, sent: sent, clockMs: promise(now).clockMs, now: now, into: &replicationEffects,
                    &out)
                sendTable(link, now: now, into: &effects, &out)
                effects.append(.linked(hello.member.replica, nonce: hello.member.nonce))
                effects.append(.log(.info, "linked to \(hello.member.name) (\(hello.member.replica))"))
            case .twin(let other): meetTwin(other, now: now, into: &effects, &out)
            case .down(let link, let peer):
                replication.linkDown(
                    link, clockMs: promise(now).clockMs, now: now, into: &replicationEffects, &out)
                effects.append(.linkLost(link))
                if mesh.link(to: peer) == nil { effects.append(.unlinked(peer)) }
                effects.append(.log(.info, "link to \(membership.member(peer)?.name ?? "\(peer)") is gone"))
            case .log(let severity, let text): effects.append(.log(severity, text))
            }
        }
        // Meeting somebody may ask for links in turn.
        if !meshEffects.isEmpty { flushMesh(now: now, into: &effects, &out) }
    }

    /// Two processes under one id: the one that started later takes a new one.
    private mutating func meetTwin(
        _ other: Hello, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        let mine = (startedMs, membership.me.nonce)
        guard (other.startedMs, other.member.nonce) < mine else {
            let epoch = other.member.incarnation.epoch
            return member(.outlived(epoch: epoch), RawSpan(), now: now, into: &effects, &out)
        }
        effects.append(
            .reset(
                Reset(
                    cause: .cloned, why: "\(other.member.gossip) runs under this id since before this start of it",
                    known: VersionVector(), side: nil)))
    }

    /// Lets the next stamp come after a packed time of a peer's, unless that is too far in the future. Says whether it
    /// is not.
    @discardableResult public mutating func observeBelievable(_ time: UInt64, now: Instant) -> Bool {
        guard time >> 16 <= clock.milliseconds(monotonicMs: now.milliseconds) + maxSkewMs else { return false }
        hybrid.observe(time)
        return true
    }

    private func sendTable(_ link: LinkID, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        var after: ReplicaID?
        repeat {
            let start = Frame.begin(.table, into: &out)
            after = membership.encodeTable(after: after, now: now, into: &out)
            effects.append(.write(link, Frame.end(start, into: &out)))
        } while after != nil
    }

    private mutating func flushReplication(now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        guard !replicationEffects.isEmpty else { return }
        // Two buffers by turns, so that neither is allocated anew.
        var list = spareEffects
        spareEffects = []
        swap(&list, &replicationEffects)
        for effect in list {
            switch effect {
            case .write(let link, let range): effects.append(.write(link, range))
            case .hangUp(let link):
                mesh.closed(link, now: now, into: &meshEffects)
                effects.append(.hangUp(link, flush: false))
            case .snapshotBegins(let link): effects.append(.snapshotBegins(link))
            case .chunkDue(let link): effects.append(.chunkDue(link))
            case .snapshotEnded(let link): effects.append(.snapshotEnded(link))
            case .adopted(let vector, let range): effects.append(.adopted(vector, range))
            case .caughtUp: effects.append(.caughtUp)
            case .gaveUp(let link): effects.append(.gaveUp(link))
            case .compare(let link): effects.append(.compare(link))
            case .retire(let replica, let last): retire(replica, last: last, now: now, into: &effects, &out)
            case .reset(let reset): effects.append(.reset(reset))
            case .log(let severity, let text): effects.append(.log(severity, text))
            }
        }
        list.removeAll(keepingCapacity: true)
        spareEffects = list
    }

    /// Writes that a log has ended.
    private mutating func retire(
        _ replica: ReplicaID, last: UInt64, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard leavingSince == nil else { return }
        var body: [UInt8] = []
        Retirement.encode(replica, last: last, into: &body)
        let time = nextStamp(now: now).time
        _ = write(.retirement, time: time, body: body.span.bytes, now: now, into: &effects, &out)
        replication.noteRetirement(
            body.span.bytes, by: VersionVector.Entry(replica: log.me, sequence: log.head(of: log.mine)))
    }

    private mutating func schedule(into effects: inout [Effect]) {
        // No array of them: this is part of every write.
        var due = membershipWake
        func consider(_ wake: Instant?) { if let wake { due = min(due ?? wake, wake) } }
        consider(mesh.wake)
        consider(replication.wake)
        consider(partingUntil)
        guard let due, due != lastWake else { return }
        lastWake = due
        effects.append(.wake(at: due))
    }
}
