public import CRDT

/// Who has what, and what to send next: the logs, and the links over which they travel.
///
/// - **Push.** Each own entry goes once to every linked peer, as soon as it is written.
/// - **Repair.** Vectors are compared when a link opens, when a peer says it has more, and when probes carry different
///   digests; what is missing is asked of one peer at a time, which sends it in its own order of application.
/// - **Causal delivery.** An entry is applied once everything its origin had read is; until then it waits, bounded.
/// - **Snapshot.** Where a peer lacks what was dropped here, the owner sends its state, and repair goes on from there.
/// - **Stability.** What every known member has read may be collected; who comes back from below that must start anew.
///
/// The caller reads what was applied from `log`, between the `log.end` before and after a call.
/// docs/replication.md draws each of these, and lists the bounds.
public struct Replication: Sendable {
    /// What the caller has to do; ranges point into the byte buffer passed along.
    public enum Effect: Sendable {
        /// Write one frame to a link.
        case write(LinkID, Range<Int>)
        /// Close a link: what came over it broke the protocol.
        case hangUp(LinkID)
        /// This peer lacks what is no longer in the logs: send it the state, a chunk for each `chunkDue`.
        case snapshotBegins(LinkID)
        /// The link takes another chunk.
        case chunkDue(LinkID)
        /// The snapshot for this link is over, for whatever reason.
        case snapshotEnded(LinkID)
        /// The heads that belong to a snapshot came, and lie there in the input's bytes: entries up to this vector are in
        /// the state already.
        case adopted(VersionVector, Range<Int>)
        /// A repair is over: what the peer had has been read.
        case caughtUp
        /// A repair over this link brought nothing for too long; another peer may be asked.
        case gaveUp(LinkID)
        /// This peer's logs are equal to ours: its state should be, too.
        case compare(LinkID)
        /// Write that this log ended with this number.
        case retire(ReplicaID, last: UInt64)
        /// This node must not go on under its id.
        case reset(Reset)
        /// One line for the log.
        case log(Severity, String)
    }

    /// How much was done, for the metrics.
    public struct Counters: Sendable {
        /// Entries applied that came from peers.
        public var applied = 0
        /// Entries that came although they were here already.
        public var duplicates = 0
        /// Entries that had to wait for what they depend on, or for the clock.
        public var waited = 0
        /// Times that an entry was looked at and found stamped too far ahead; one that waits is looked at again.
        public var heldBack = 0
        /// Repairs asked for.
        public var repairs = 0
        /// Frames refused.
        public var badFrames = 0
        /// Snapshots begun for a peer.
        public var snapshots = 0
        /// Heads taken over at the end of a snapshot.
        public var adoptions = 0
        /// Logs that a peer held differently.
        public var forks = 0
        /// Logs retired.
        public var retirements = 0
        /// Retirements that could not be read.
        public var malformed = 0
        /// Frames of entries not read, as there was nowhere to keep them.
        public var unread = 0
    }

    /// One peer to which a link is up.
    struct Link: Sendable {
        let id: LinkID
        let peer: ReplicaID
        /// How far the peer has read, as far as it said so.
        var vector: VersionVector
        /// Own entries up to here were sent or will come in a repair.
        var pushed: UInt64
        /// What the peer was last told about our vector.
        var told: VersionVector
        /// And about what was collected here.
        var toldCollected: VersionVector
        /// What the peer has collected, as far as it said so.
        var theirCollected: VersionVector
        /// Bytes handed to the transport and not yet gone.
        var unsentBytes = 0
        /// The next sequence number to send per slot, while the peer is being repaired.
        var repair: [UInt64]?
        /// The snapshot that it is being sent, or waits for.
        var snapshot: OutgoingSnapshot?
        /// What the peer had more than we, and since when.
        var ahead: (vector: VersionVector, since: Instant)?
        /// Since when its probes carry another digest.
        var differsSince: Instant?
        /// The digest at which the state was last compared with it.
        var compared: UInt64 = 0
        /// Entries of which the peer wants to hear as soon as they are here.
        var asked = VersionVector()
        /// What was said when the link opened, by the peer and by this node.
        let hello: Hello
        let sent: Hello
        /// This node has missed what the peer collected.
        var isBelow = false
        /// The peer was told so, or the opposite.
        var hasSaidStanding = false
        /// And what the peer said of itself.
        var standing: Standing?
        /// Both said that they can go on with each other.
        var isAgreed = false
        /// It must start anew before anything is exchanged with it.
        var isShunned = false

        init(id: LinkID, peer: ReplicaID, hello: Hello, sent: Hello) {
            self.id = id
            self.peer = peer
            self.hello = hello
            self.sent = sent
            vector = hello.vector
            pushed = sent.head
            told = sent.vector
            toldCollected = sent.collected
            theirCollected = hello.collected
        }

        /// Whether facts travel over it.
        var isOpen: Bool { isAgreed && !isShunned }

        /// Whether nothing is pending for it. Asked of every link at every input, while copying one out of the array
        /// to look at its parts would be dear where there are many.
        var isQuiet: Bool {
            guard case .none = ahead, case .none = snapshot else { return false }
            return true
        }
        /// Whether it wants to hear of something at once.
        var isAsked: Bool { !asked.entries.isEmpty }
        /// Whether the peer is being sent a snapshot, and whether it waits for its turn.
        var isSendingSnapshot: Bool { snapshot?.nextChunk != nil }
        var isSnapshotWaiting: Bool {
            guard case .some(let waiting) = snapshot else { return false }
            return waiting.nextChunk == nil
        }
    }

    /// A link is written to as long as less than this waits in the transport.
    static let unsentLimitBytes = 4 << 20
    /// A repair sends frames of about this size, so that live traffic gets in between.
    static let repairFrameBytes = 128 << 10
    /// A repair that brings nothing for so many repair delays is given up and asked of another.
    static let repairPatience: UInt64 = 5
    /// The peer that a newcomer joins is given longer: it may have other newcomers to serve, and the link may be slow.
    static let joiningPatience: UInt64 = 30

    /// The logs.
    public internal(set) var log: FactLog
    /// How much was done.
    public internal(set) var counters = Counters()
    let profile: Profile
    let settings: Settings
    var links: [Link] = []
    var room: WaitingRoom
    var stability: Stability
    /// Whoever has not read this has missed what was collected here.
    public internal(set) var collected = VersionVector() { didSet { collectedChanges &+= 1 } }
    /// How often `collected` may have changed, for whoever keeps it.
    public private(set) var collectedChanges = 0
    /// This node has lost entries, and serves nobody before it has read them from a peer.
    public var waitsForLost = false
    /// Whether entries of peers are read. Not while there is nowhere to keep them: they are asked for again afterwards.
    public var isReading = true
    /// Whether the state behind the logs is all that they say; not while a snapshot comes in.
    public var holdsWholeState = true
    /// This node came without anything and reads what its peers have: it cannot have missed a removal.
    public internal(set) var isJoining = false
    /// The link of the peer that it joins.
    var joining: LinkID?
    /// Since when there is no such peer.
    var joiningNobodySince: Instant?
    /// Since when what waits in a slot waits for what nobody is known to have.
    var orphanedSince: [Int: Instant] = [:]
    /// So many repair delays it may still turn up: a retired log is named by nobody, and may be had.
    static let orphanDelays: UInt64 = 10
    /// The link that repairs us, and when it last brought something.
    var repairing: (link: LinkID, since: Instant)?
    private var nextTell: Instant
    private var nextChore: Instant
    var isToldDue = false
    /// Whether some peer wants to hear of something at once.
    var hasAskers = false
    /// What this node wants to hear of at once.
    var awaited = Awaited()
    /// What durable peers said last whose links are gone.
    var lastWords: [ReplicaID: VersionVector] = [:]
    /// What any peer had read when its last link went.
    var partings: [ReplicaID: VersionVector] = [:]
    /// Rises whenever a peer has said more of what it has read, or its link has come or gone.
    public internal(set) var words: UInt64 = 0
    private var heldBackUntil: Instant?
    /// Retirements that came with a snapshot, of which the entry is still to come.
    var pendingRetirements: [(replica: ReplicaID, last: UInt64, by: VersionVector.Entry)] = []
    /// Since when the writer of a log is no known member, by replica.
    var goneSince: [ReplicaID: Instant] = [:]

    /// What replication is told at its start.
    public struct Settings: Sendable {
        /// How much of the logs is kept.
        public var retention: FactLog.Retention
        /// How far a peer's clock may be ahead before its entries wait.
        public var maxSkewMs: UInt64
        /// Late operations on signals are waited for at least so long.
        public var operationsMs: UInt64
        /// Removals are remembered at least so long.
        public var tombstonesMs: UInt64
        /// The bound on entries that wait for their causes, in bytes.
        public var waitingBytes = 32 << 20
        /// A snapshot is sent this fast at most, in bytes per millisecond, so that a newcomer does not starve the living.
        public var snapshotBytesPerMs = 32 << 10

        /// Settings from their parts; a skew of 2 s, operations for 10 minutes and removals for 24 hours unless told.
        public init(
            retention: FactLog.Retention = .init(), maxSkewMs: UInt64 = 2_000, operationsMs: UInt64 = 600_000,
            tombstonesMs: UInt64 = 24 * 3_600_000
        ) {
            self.retention = retention
            self.maxSkewMs = maxSkewMs
            self.operationsMs = operationsMs
            self.tombstonesMs = tombstonesMs
        }
    }

    /// Replication of logs that are here already, of which this much was collected.
    public init(log: FactLog, collected: VersionVector = .init(), settings: Settings, profile: Profile, now: Instant) {
        self.log = log
        self.collected = collected
        room = WaitingRoom(limitBytes: settings.waitingBytes)
        stability = Stability(operationsMs: settings.operationsMs, tombstonesMs: settings.tombstonesMs)
        self.profile = profile
        self.settings = settings
        nextTell = now.advanced(milliseconds: profile.probeIntervalMs)
        nextChore = now.advanced(milliseconds: profile.probeIntervalMs)
    }

    /// Bytes of entries that wait for what they depend on.
    public var waitingBytes: Int { room.heldBytes }
    /// Entries dropped from the waiting room at its bound.
    public var waitingDropped: Int { room.dropped }
    /// Whether there are linked peers, and all that they have was read here.
    mutating func hasReadAllPeers() -> Bool {
        guard repairing == nil, links.contains(where: \.isOpen) else { return false }
        return links.indices.allSatisfy { !links[$0].isOpen || !lacks(links[$0].vector) }
    }

    /// What one or another of the linked peers has read.
    public var readByPeers: VersionVector {
        links.reduce(into: VersionVector()) { if $1.isOpen { $0.merge($1.vector) } }
    }

    /// The link over which this node is being sent what it lacked.
    public var repairLink: LinkID? { repairing?.link }
    /// Whether facts travel over any link.
    public var hasOpenLink: Bool { links.contains(where: \.isOpen) }
    /// Whether this node is being sent what it lacked.
    public var isRepairing: Bool { repairing != nil }
    /// How many logs are retired and not forgotten yet.
    public var retiredCount: Int { log.retirements.count }
    /// The peers over whose links facts travel.
    var openPeers: [ReplicaID] { links.filter(\.isOpen).map(\.peer) }
    /// How far a linked peer has read, as far as it said so.
    public func vector(of peer: ReplicaID) -> VersionVector? { links.first { $0.peer == peer }?.vector }

    /// The moment at which `tick` is due; nil when nothing is pending.
    public var wake: Instant? {
        var due: Instant? = isToldDue && !links.isEmpty ? nextTell : nil
        func consider(_ moment: Instant) { due = min(due ?? moment, moment) }
        if log.end > 0 { consider(nextChore) }
        if let heldBackUntil { consider(heldBackUntil) }
        if let repairing {
            consider(repairing.since.advanced(milliseconds: patienceMs(repairing.link)))
        }
        for i in links.indices where !links[i].isQuiet {
            if repairing == nil, isReading, let since = links[i].ahead?.since {
                consider(since.advanced(milliseconds: profile.repairDelayMs))
            }
            if let next = links[i].snapshot?.nextChunk, links[i].unsentBytes < OutgoingSnapshot.unsentLimitBytes {
                consider(next)
            }
        }
        return due
    }

    // MARK: - Own entries

    /// Writes an entry of the own log, and pushes it.
    public mutating func write(
        _ kind: Fact.Kind, time: UInt64, body: RawSpan, into effects: inout [Effect], _ out: inout [UInt8]
    ) -> Int {
        let position = log.write(kind, time: time, body: body)
        isToldDue = true
        for i in links.indices { push(i, into: &effects, &out) }
        return position
    }

    mutating func push(_ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        let head = log.head(of: log.mine)
        guard links[i].repair == nil, links[i].snapshot == nil, links[i].isOpen, links[i].pushed < head,
            links[i].unsentBytes < Self.unsentLimitBytes
        else { return }
        if links[i].pushed + 1 < log.floor(of: log.mine) {
            // So slow that its entries are gone from memory: let it ask, so that it gets what they did.
            links[i].pushed = head
            return
        }
        let start = Frame.begin(.facts, into: &out)
        var writer = FactsWriter()
        while links[i].pushed < head, out.count - start < Self.repairFrameBytes {
            links[i].pushed += 1
            guard let position = log.position(slot: log.mine, sequence: links[i].pushed) else { break }
            writer.append(position, of: log, into: &out)
        }
        finish(start, i, into: &effects, &out)
        if links[i].pushed < head { push(i, into: &effects, &out) }
    }

    // MARK: - Links

    /// A link is up: both sides have said hello. `sent` is what our own said.
    public mutating func linkUp(
        _ id: LinkID, hello: Hello, sent: Hello, clockMs: UInt64, now: Instant, into effects: inout [Effect],
        _ out: inout [UInt8]
    ) {
        links.append(Link(id: id, peer: hello.member.replica, hello: hello, sent: sent))
        links.sort { $0.id < $1.id }
        guard let i = index(of: id) else { return }
        // What was collected since our hello the peer could not compare with: say hello again.
        guard sent.collected == collected else { return effects.append(.hangUp(id)) }
        greet(i, clockMs: clockMs, now: now, into: &effects, &out)
    }

    /// Whether every linked peer with which facts are exchanged said that it has read all own entries.
    public var isReadByAll: Bool { links.filter(\.isOpen).allSatisfy { $0.vector[log.me] >= log.head(of: log.mine) } }

    /// Asks every linked peer how far it has read.
    public mutating func askAll(clock: Promise, into effects: inout [Effect], _ out: inout [UInt8]) {
        for i in links.indices { tell(i, whole: true, clock, into: &effects, &out) }
    }

    /// A link is gone.
    public mutating func linkDown(
        _ id: LinkID, clockMs: UInt64, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        if let i = index(of: id) {
            if links[i].snapshot != nil { endSnapshot(i, into: &effects) }
            keepLastWord(i)
        }
        links.removeAll { $0.id == id }
        if repairing?.link == id { repairing = nil }
        if joining == id {
            joining = nil
            joinNext(clockMs: clockMs, now: now, into: &effects, &out)
        }
    }

    /// What was written to a link has left.
    public mutating func linkDrained(
        _ id: LinkID, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard let i = index(of: id) else { return }
        links[i].unsentBytes = 0
        if links[i].snapshot != nil {
            advanceSnapshot(i, now: now, into: &effects)
        } else if links[i].repair != nil {
            continueRepair(i, now: now, into: &effects, &out)
        } else {
            push(i, into: &effects, &out)
        }
    }

    /// A probe of this peer carried its digest, and its stamp clock.
    public mutating func heard(
        digest: UInt64, clockMs theirs: UInt64, of peer: ReplicaID, clock: Promise, now: Instant,
        into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard let i = links.indices.first(where: { links[$0].peer == peer }), links[i].isOpen else { return }
        guard digest != log.digest else {
            links[i].differsSince = nil
            let time = Promise(last: 0, clockMs: theirs, maxSkewMs: settings.maxSkewMs).time
            stability.claim(peer, log.vector, time: believable(time, clockMs: clock.clockMs), log: log)
            links[i].vector.merge(log.vector)
            words &+= 1
            if links[i].compared != digest, log.me < peer {
                links[i].compared = digest
                effects.append(.compare(links[i].id))
            }
            return
        }
        let since = links[i].differsSince ?? now
        links[i].differsSince = since
        guard now.milliseconds(since: since) >= profile.repairDelayMs else { return }
        links[i].differsSince = nil
        // The peer compares this with its own, asks for what it lacks, and tells us what it has.
        tell(i, whole: true, clock, into: &effects, &out)
    }

    /// A frame that belongs to replication.
    public mutating func receive(
        _ type: Frame.FrameType, _ cursor: ByteCursor, _ bytes: RawSpan, on id: LinkID, clock: Promise, now: Instant,
        into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard let i = index(of: id), links[i].isOpen || type == .standing else { return }
        let clockMs = clock.clockMs
        do throws(DecodeError) {
            var cursor = cursor
            switch type {
            case .standing:
                return receiveStanding(
                    try Standing(&cursor, bytes), of: i, clockMs: clockMs, now: now, into: &effects, &out)
            case .hash: guard try receiveHash(&cursor, bytes, of: i, into: &effects, &out) else { return }
            case .facts where !isReading: counters.unread += 1
            case .facts: try receiveFacts(&cursor, bytes, on: i, clockMs: clockMs, now: now, into: &effects)
            case .have:
                let isWhole = try cursor.u8(bytes) & 1 == 1
                let time = try cursor.u64(bytes)
                let news = try VersionVector(&cursor, bytes)
                guard noteCollected(try VersionVector(&cursor, bytes), of: i, into: &effects) else { return }
                if isWhole {
                    var hashes: [UInt64] = []
                    for _ in news.entries { hashes.append(try cursor.u64(bytes)) }
                    guard checkForks(news, hashes, of: i, into: &effects, &out) else { return }
                }
                links[i].vector.merge(news)
                words &+= 1
                stability.claim(
                    links[i].peer, links[i].vector, time: believable(time, clockMs: clockMs), log: log)
                if isWhole { tell(i, whole: false, clock, into: &effects, &out) }
            case .want:
                // What the peer holds back counts for what to send, not for what it has read.
                let theirs = try VersionVector(&cursor, bytes)
                startRepair(i, from: theirs, now: now, into: &effects, &out)
            case .done:
                links[i].vector.merge(try VersionVector(&cursor, bytes))
                words &+= 1
                if repairing?.link == id {
                    repairing = nil
                    effects.append(.caughtUp)
                    if joining == id { joined(i, clockMs: clockMs, now: now, into: &effects, &out) }
                }
            case .confirm: try receiveConfirm(&cursor, bytes, of: i)
            case .heads:
                guard isReading, repairing?.link == id else { return }
                let start = cursor.offset
                let heads = try Heads(&cursor, bytes)
                try adopt(heads)
                effects.append(.adopted(heads.heads, start..<cursor.offset))
                repairing?.since = now
            default: return
            }
        } catch {
            refuse(id, error, into: &effects)
            return
        }
        drainRoom(clockMs: clockMs, now: now)
        if !pendingRetirements.isEmpty { adoptRetirements() }
        tellAskers(clock, into: &effects, &out)
        if let i = index(of: id) { noteAhead(i, now: now) }
    }

    private func patienceMs(_ link: LinkID) -> UInt64 {
        profile.repairDelayMs * (joining == link ? Self.joiningPatience : Self.repairPatience)
    }

    /// A part of a snapshot came over this link, for the owner of the state: the repair is alive.
    mutating func touched(_ id: LinkID, now: Instant) {
        if repairing?.link == id { repairing?.since = now }
    }

    /// The other members.
    public struct Others: Sendable {
        /// Whose entries may still come, from whomever: those that left are among them for a while.
        public let known: [ReplicaID]
        /// Who may still write, now or when it comes back.
        public let writing: [ReplicaID]
        /// Who takes part.
        public let present: [ReplicaID]

        /// Members by what they may do.
        public init(known: [ReplicaID], writing: [ReplicaID], present: [ReplicaID]) {
            self.known = known
            self.writing = writing
            self.present = present
        }
    }

    /// Whether `tick` wants to know the other members: collecting and retiring are looked at once per probe interval.
    public func isChoreDue(_ now: Instant) -> Bool { log.end > 0 && now >= nextChore }

    /// Time passed. `others` are needed when `isChoreDue`; to gather them each time would be dear in a large cluster.
    public mutating func tick(
        clock: Promise, _ others: Others?, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        if let due = heldBackUntil, due <= now {
            heldBackUntil = nil
            drainRoom(clockMs: clock.clockMs, now: now)
            tellAskers(clock, into: &effects, &out)
        }
        if let current = repairing,
            now.milliseconds(since: current.since) >= patienceMs(current.link)
        {
            repairing = nil
            effects.append(.gaveUp(current.link))
            if joining == current.link { effects.append(.hangUp(current.link)) }
        }
        if isJoining, joining == nil { joinNext(clockMs: clock.clockMs, now: now, into: &effects, &out) }
        startWaitingSnapshots(now: now, into: &effects)
        for i in links.indices where !links[i].isQuiet {
            advanceSnapshot(i, now: now, into: &effects)
            guard let ahead = links[i].ahead else { continue }
            if !lacks(ahead.vector) {
                links[i].ahead = nil
                noteAhead(i, now: now)
            } else if repairing == nil, isReading, now.milliseconds(since: ahead.since) >= profile.repairDelayMs {
                want(i, now: now, into: &effects, &out)
            }
        }
        if isToldDue, now >= nextTell {
            isToldDue = false
            nextTell = now.advanced(milliseconds: profile.probeIntervalMs)
            for i in links.indices { tell(i, whole: false, clock, into: &effects, &out) }
        }
        if let others, isChoreDue(now) {
            nextChore = now.advanced(milliseconds: profile.probeIntervalMs)
            stability.advance(known: others.known, promise: clock.time, log: log)
            log.trim(clockMs: clock.clockMs)
            settleRetirements(known: others.known)
            forgetLastWords(but: others.known)
            forgetOrphans(known: others.known, now: now)
            retireGone(others, now: now, into: &effects)
        }
    }

    // MARK: - Receiving

    private enum Verdict { case apply(Fact), wait, heldBack(milliseconds: UInt64) }

    private mutating func receiveFacts(
        _ cursor: inout ByteCursor, _ bytes: RawSpan, on i: Int, clockMs: UInt64, now: Instant,
        into effects: inout [Effect]
    ) throws(DecodeError) {
        var reader = FactsReader()
        if repairing?.link == links[i].id { repairing?.since = now }
        while let entry = try reader.next(&cursor, bytes) {
            let slot = try slot(ofPeers: entry.replica)
            let head = log.head(of: slot)
            if entry.sequence <= head {
                counters.duplicates += 1
                continue
            }
            guard slot != log.mine else {
                // Nobody else writes the own log. Its end was lost here, or somebody runs under this id.
                return effects.append(.reset(ownLogForked(seenAt: links[i].peer, known: links[i].vector)))
            }
            let lent = bytes.extracting(entry.range)
            if entry.sequence == head + 1, case .apply(let fact) = try judge(lent, clockMs: clockMs, now: now) {
                apply(slot: slot, sequence: entry.sequence, fact, entry: lent)
                if !room.isEmpty { drainRoom(clockMs: clockMs, now: now) }
            } else {
                _ = try Fact(lent)
                counters.waited += 1
                room.keep(slot: slot, sequence: entry.sequence, entry: lent)
            }
        }
    }

    /// The slot of a log that a peer names; there are no more of them than a vector can name.
    mutating func slot(ofPeers replica: ReplicaID) throws(DecodeError) -> Int {
        if let slot = log.knownSlot(of: replica) { return slot }
        guard log.logCount < VersionVector.maximumEntries else { throw .tooLong(limit: VersionVector.maximumEntries) }
        let slot = log.slot(of: replica)
        // The slot may have been another log's.
        room.forget(slot: slot)
        for i in links.indices where (links[i].repair?.count ?? 0) > slot { links[i].repair?[slot] = 1 }
        return slot
    }

    private mutating func apply(slot: Int, sequence: UInt64, _ fact: Fact, entry: RawSpan) {
        _ = log.adopt(slot: slot, time: fact.time, entry: entry)
        counters.applied += 1
        isToldDue = true
        if !room.isEmpty { room.remove(slot: slot, sequence: sequence) }
        if fact.kind == .retirement {
            let by = VersionVector.Entry(replica: log.replica(in: slot), sequence: sequence)
            noteRetirement(entry.extracting(fact.body), by: by)
        }
    }

    /// May the next entry of a log be applied now?
    private mutating func judge(_ entry: RawSpan, clockMs: UInt64, now: Instant) throws(DecodeError) -> Verdict {
        let fact = try Fact(entry)
        var cursor = ByteCursor(fact.dependencies)
        for _ in 0..<fact.dependencyCount {
            let replica = try cursor.replica(entry)
            if !log.hasRead(replica, try cursor.varint(entry)) { return .wait }
        }
        // Stamps from the future wait until the clock gets there: nothing poisons the cluster's clock.
        let stampMs = fact.time >> 16
        guard stampMs <= clockMs + settings.maxSkewMs else {
            let due = now.advanced(milliseconds: min(stampMs - clockMs - settings.maxSkewMs, 60_000))
            heldBackUntil = min(heldBackUntil ?? due, due)
            counters.heldBack += 1
            return .heldBack(milliseconds: stampMs - clockMs)
        }
        return .apply(fact)
    }

    /// Applies what can be applied, until nothing moves.
    mutating func drainRoom(clockMs: UInt64, now: Instant) {
        var moved = !room.isEmpty
        while moved {
            moved = false
            for slot in room.slots {
                while let entry = room.entry(slot: slot, sequence: log.head(of: slot) + 1),
                    case .apply(let fact)? = try? judge(entry.span.bytes, clockMs: clockMs, now: now)
                {
                    apply(slot: slot, sequence: log.head(of: slot) + 1, fact, entry: entry.span.bytes)
                    moved = true
                }
            }
        }
    }

    private mutating func refuse(_ id: LinkID, _ error: DecodeError, into effects: inout [Effect]) {
        counters.badFrames += 1
        effects.append(.log(.warning, "link \(id.rawValue): bad frame, \(error); closing the link"))
        effects.append(.hangUp(id))
    }

    // MARK: - Telling

    /// Tells a peer how far this node has read: what changed since it was last told, or everything, which asks the
    /// peer to do the same and lets it compare the logs themselves.
    mutating func tell(
        _ i: Int, whole: Bool, _ clock: Promise, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard links[i].isOpen else { return }
        var news = VersionVector()
        let vector = log.vector
        for entry in vector.entries where whole || links[i].told[entry.replica] < entry.sequence {
            news.advance(entry.replica, to: entry.sequence)
        }
        var newlyCollected = VersionVector()
        for entry in collected.entries where links[i].toldCollected[entry.replica] < entry.sequence {
            newlyCollected.advance(entry.replica, to: entry.sequence)
        }
        guard whole || !news.entries.isEmpty || !newlyCollected.entries.isEmpty else { return }
        links[i].told = vector
        links[i].toldCollected = collected
        let start = Frame.begin(.have, into: &out)
        out.append(whole ? 1 : 0)
        out.append(littleEndian: clock.time)
        news.encode(into: &out)
        newlyCollected.encode(into: &out)
        if whole { log.encodeHashes(of: news, into: &out) }
        finish(start, i, into: &effects, &out)
    }

    mutating func finish(_ start: Int, _ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        let range = Frame.end(start, into: &out)
        links[i].unsentBytes += range.count
        effects.append(.write(links[i].id, range))
    }

    func index(of id: LinkID) -> Int? { links.indices.first { links[$0].id == id } }
}
