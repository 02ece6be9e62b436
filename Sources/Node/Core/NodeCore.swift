public import CRDT
public import Gossip

/// A whole node as a value: what agents see, the log behind it, and the cluster around it.
///
/// The shell (and the simulator, in just the same way) feeds inputs and the current moment through one door and
/// carries out the effects in order. Time, dice, sockets and names come from outside.
public struct NodeCore: Sendable {
    /// The version that `/health` and `hypha --version` show.
    public static let version = "0.1.0"

    var settings: NodeSettings
    let startedAt: Instant
    /// The node's name as canonical JSON text, written into each event as its origin.
    let origin: [UInt8]
    var dice: Dice
    /// Who is here and who lacks what; holds the log.
    var cluster: Cluster
    /// Where events are in the log.
    var index = EventIndex()
    /// The pheromones.
    var signals: SignalMap
    /// Graph nodes, and all documents to come.
    var documents = DocumentMap()
    /// Who listens.
    var sessions = Sessions()
    /// Who is connected in the whole cluster.
    var presence: Presence
    /// Queue groups, of whose events one consumer gets each.
    var groups: QueueGroups
    /// Streams of Soorma's event service.
    var eventService = EventService()
    var counters = Counters()
    /// Set once the node leaves: writes are refused from then on.
    var isLeaving = false
    /// Requests that wait until this node has read what their clients have seen elsewhere.
    var waits = ClockWaits()
    /// Writes that wait until enough nodes have them.
    var acks = AckWaits()
    /// Direct messages, and who may take them.
    var mailboxes = Mailboxes()
    var messageCounters = MessageCounters()
    /// Takings that wait for other nodes, and what was set aside for clients of those.
    var takes = Takes()
    var grants = Grants()
    /// Requests that other nodes decide, and what this node decided for peers.
    var forwards = Forwards()
    var verdicts = Verdicts()
    /// When full mailboxes are seen to.
    var dropDue: Instant?
    /// Requests that wait for the answer to an event.
    var replies = ReplyWaits()
    /// What else the answers to requests need that wait for others.
    var deferrals: [RequestID: Deferral] = [:]
    /// What this node has made of agents, chats, turns and tasks.
    var agents = Agents()
    var chats = Chats()
    var chatCounters = ChatCounters()
    var turns = Turns()
    var tasks = TaskBoard()
    var contexts = Contexts()
    /// What of Soorma's memory is searched.
    var recall = Recall()
    var memories = Memories()
    /// Event types and schemas, and what the tracker finds plans and tasks by.
    var catalog = Catalog()
    var tracker = Tracker()
    /// Partitions, and what they leave behind.
    var healing = Healing()
    /// How far this node has read, and the text of that.
    var reading = Reading()
    /// The cursor of whoever has read all that this node has, and the digest of the logs that it is of.
    var latestCursor: (digest: UInt64, text: [UInt8]) = (0, [])

    /// When quiet clients are told how far they have come.
    var heartbeatDue: Instant?
    /// Signals that changed since their watchers were told.
    var changedSignals: Set<SignalWatch.Key> = []
    /// The channels that want the event at hand.
    var channelScratch: [ChannelID] = []
    /// Where an event is put together before it goes into the log.
    var scratch: [UInt8] = []
    var clusterEffects: [Cluster.Effect] = []
    private var spareEffects: [Cluster.Effect] = []
    /// Makes the compiler use a node where it lies. Otherwise each call of a helper that only reads, from one that
    /// changes, copies all of it first (4 KB); a value with an existential in it is never loaded as a whole.
    private let staysInPlace: (any Sendable)? = nil
    /// Snapshots on their way out.
    var outgoing: [OutgoingState] = []
    /// The snapshot on its way in.
    var incoming: IncomingState?
    /// What came with a snapshot and is still to be merged.
    var staged: [Part] = []
    /// Entries up to here are in the state already, which came as a snapshot: they are indexed, not folded.
    var folded: VersionVector?
    /// The highest packed time in a state that came from a clock too far ahead.
    var stateAhead: UInt64?
    /// Since when nobody has the entries up to there.
    var orphanedSince: Instant?
    /// The logs' digest at which states were last found to differ, and how often.
    var comparing: (digest: UInt64, rounds: Int)?
    /// What is to be submitted again once this node, which starts anew, has read what its peers have.
    var anew: Anew?
    /// Facts of writers who were there when this node started anew, until it has read them again.
    var spares: [KeptFact] = []
    var spareDue: Instant?
    /// Removals stamped up to here may be forgotten.
    var tombstonesThrough: UInt64 = 0
    /// What is written down, and what must not leave before it is; nil for a node in memory.
    var journal: Journal?
    var gate = Gate()
    /// The digest of the logs when the commit under way was given to the disk.
    var launchedDigest: UInt64?
    /// The snapshot on its way to the disk.
    var saving: SavingState?
    /// The end of the own log may be lost, visibly or not: nothing is written until a peer has said how far it went, or
    /// this moment.
    var doubtfulUntil: Instant?
    /// It visibly was torn: should no peer answer, another log is begun.
    var isTorn = false
    /// Entries are missing here, and until a peer has answered this node does not serve.
    var waitsForLost = false
    /// Entries are missing here, and this node goes on without them: somebody has said so, or no peer has them.
    var isLossAccepted = false
    /// Entries are missing here that nobody else had when this node went on without them.
    public internal(set) var hasHoles = false
    /// What there is to say about the data directory, with the first effects.
    var opened: [(LogLevel, String)] = []
    /// Damaged snapshots that others have taken the place of.
    var leftovers: [DataFile] = []
    /// When operations are to be folded further, or tombstones collected.
    private var choreWake: Instant?
    /// When the cluster wants to be woken, and what the shell was last told.
    private var clusterWake: Instant?
    private var toldWake: Instant?

    /// What was done since the start, for the metrics.
    struct Counters: Sendable {
        var accepted = 0
        var announced = 0
        var repeated = 0
        var conflicts = 0
        var refused = 0
        var delivered = 0
        var malformedEvents = 0
        var malformedPuts = 0
        /// Requests that had to wait for their clock; of them, those whose time was up.
        var clockWaits = 0
        var clockTimeouts = 0
        /// Requests refused because too many waited.
        var clockRefused = 0
        /// Requests answered although their clock names what only a dead log held.
        var clockLost = 0
        /// Logs left out of clocks at their bound.
        var clockShortened = 0
        /// Writes whose answer waited for other nodes; of them, those whose time was up.
        var ackWaits = 0
        var ackTimeouts = 0
        /// Writes refused because their level could not be reached, or too many waited.
        var ackRefused = 0
        /// How long answers waited, whatever they waited for came or not.
        var clockWait = Histogram(.seconds)
        var ackWait = Histogram(.seconds)
        /// States of peers that hold the same logs: compared, and found to differ.
        var comparisons = 0
        var mismatches = 0
        var malformedStates = 0
        /// Clients that went on from a cursor; times that one was told of entries it has missed for good; events shown to
        /// them again from the log; clients that read too slowly.
        var resumes = 0
        var gaps = 0
        var replayed = 0
        var overrun = 0
        var resets = 0
        var resubmitted = 0
        var foldedOperations = 0
        var collectedTombstones = 0
        /// Copies of an id of which it turned out too late whether they are the event: no longer held, they could not act
        /// any more, or already folded, what they did could not be taken back.
        var unresolvedCopies = 0
    }

    /// A node that starts now. `dice` must be seeded with 256 random bits: event ids come from it.
    public init(_ settings: NodeSettings, wallMilliseconds: UInt64, now: Instant, dice: Dice) {
        var dice = dice
        self.settings = settings
        startedAt = now
        origin = JSONText.canonical(settings.name)
        signals = SignalMap(lambda: settings.decay)
        presence = Presence(me: settings.replica, profile: settings.profile)
        groups = QueueGroups(me: settings.replica)
        cluster = Cluster(
            settings, nonce: dice.next(), wallMs: wallMilliseconds, now: now, dice: Dice(seed: dice.next()))
        self.dice = dice
    }

    /// The id under which it writes now. It changes when the node starts anew.
    public var replica: ReplicaID { settings.replica }
    /// Snapshots of peers that were read to the end under this id.
    public var snapshotsRead: Int { cluster.replication.counters.adoptions }

    /// The only way in. `bytes` belong to the input and are only lent; effects are appended to `effects`.
    public mutating func handle(_ input: Input, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        guard journal == nil else { return handleDurably(input, bytes, now: now, into: &effects) }
        react(input, bytes, now: now, into: &effects)
    }

    /// What an input leads to, whether or not any of it may leave yet.
    mutating func react(_ input: Input, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        switch input {
        case .request(let id, let request, let clock, let ack):
            admit(id, request, after: clock, ack, bytes, now: now, into: &effects)
        case .requestAbandoned(let id):
            waits.remove(id)
            acks.remove(id)
            abandon(id, now: now, into: &effects)
            // It may have become a stream that has not left yet.
            envelopesClosed(SessionID(id.rawValue), now: now, into: &effects)
            sessions.close(SessionID(id.rawValue), into: &effects.list)
        case .sessionOpened(let session, let agent):
            sessions.open(session, .webSocket, agent: agent, into: &effects.list)
            presence.open(session, agent: agent, isStream: false, nowMs: cluster.nowMs(now))
            if let agent { agentConnected(agent, now: now, into: &effects) }
        case .sessionText(let session): hear(session, bytes, now: now, into: &effects)
        case .sessionClosed(let session):
            let agent = sessions[session]?.agent
            acks.remove(session)
            envelopesClosed(session, now: now, into: &effects)
            abandon(session, now: now, into: &effects)
            sessions.close(session, into: &effects.list)
            presence.close(session)
            noteGone(agent, now: now, into: &effects)
        case .sessionEmptied(let session):
            emptied(session, now: now, into: &effects)
            groupSessionEmptied(session, now: now, into: &effects)
            envelopesLeft(session, now: now, into: &effects)
        case .sessionOverran(let session, let mark):
            groupSessionOverran(session, now: now, into: &effects)
            overran(session, mark: mark, into: &effects)
        case .tick:
            // All parts say anew when they want to be woken.
            (toldWake, clusterWake) = (nil, nil)
            forward(.tick, bytes, now: now, into: &effects)
            collect(now: now, into: &effects)
            settleSpares(now: now, into: &effects)
            tickMessages(now: now, into: &effects)
            tickChats(now: now, into: &effects)
            if journal != nil { tickStore(now: now, into: &effects) }
        case .datagram(let from): forward(.datagram(from: from), bytes, now: now, into: &effects)
        case .linkOpened(let link, _, let dialled):
            forward(.linkOpened(link, dialled: dialled), bytes, now: now, into: &effects)
        case .dialFailed(let address): forward(.dialFailed(address), bytes, now: now, into: &effects)
        case .linkFrame(let link): forward(.linkFrame(link), bytes, now: now, into: &effects)
        case .linkDrained(let link): forward(.linkDrained(link), bytes, now: now, into: &effects)
        case .linkClosed(let link): forward(.linkClosed(link), bytes, now: now, into: &effects)
        case .leave:
            // Agents that never acknowledge finish what they have in hand first.
            guard isLeaving || !letFinish(now: now, into: &effects) else { break }
            leave(bytes, now: now, into: &effects)
        // Only a durable node has a disk.
        case .turnEnded, .disk: return
        }
        if !waits.isEmpty { settleWaits(now: now, into: &effects) }
        if !takes.isEmpty { settleTakes(now: now, into: &effects) }
        if !forwards.isEmpty { settleForwards(now: now, into: &effects) }
        if !acks.isEmpty { settleAcks(now: now, into: &effects) }
        if !sessions.resuming.isEmpty { advanceResumes(now: now, into: &effects) }
        if !changedSignals.isEmpty { tellSignals(now: now, into: &effects) }
        if sessions.needsHeartbeat || heartbeatDue != nil { beatHearts(now: now, into: &effects) }
        settleEventService(now: now, into: &effects)
        settleGroups(now: now, into: &effects)
        if eventService.leaveDue != nil { leaveWhenFinished(now: now, into: &effects) }
        // By then it is known who has left the group that there was.
        if !eventService.orphans.isEmpty { rejoinGroups(now: now, into: &effects) }
        settleAgents(now: now, into: &effects)
        settleMemories()
        settleTracker()
        settleTurns(now: now, into: &effects)
        settleTasks(now: now, into: &effects)
        settleRecall(now: now)
        settleHealing(now: now, into: &effects)
        schedule(now: now, into: &effects)
    }

    /// Leaves the cluster, and sends every client away.
    mutating func leave(_ bytes: RawSpan = RawSpan(), now: Instant, into effects: inout Effects) {
        guard !isLeaving else { return }
        dismissEnvelopes(now: now, into: &effects)
        isLeaving = true
        releaseDeferred("this node leaves the cluster", now: now, into: &effects)
        // Who is alone has left at once, and says nothing any more.
        dismissSessions(into: &effects)
        forward(.leave, bytes, now: now, into: &effects)
        effects.list.append(.leaving)
    }

    /// One wake-up for all parts; never in the past.
    mutating func schedule(now: Instant, into effects: inout Effects) {
        // No array of them: this ends every input.
        var due = clusterWake
        func consider(_ wake: Instant?) { if let wake { due = min(due ?? wake, wake) } }
        consider(choreWake)
        consider(waits.wake(now))
        consider(acks.wake)
        consider(storeWake)
        consider(spares.isEmpty ? nil : spareDue ?? now)
        consider(heartbeatDue)
        consider(groupsWake)
        consider(eventService.wake)
        consider(healingWake)
        consider(turns.wake)
        consider(tasks.wake)
        consider(messagesWake(now))
        consider(chats.marksDue)
        consider(recall.wake)
        guard let due, due != toldWake else { return }
        toldWake = due
        effects.list.append(.wake(at: max(due, now)))
    }

    // MARK: - Cluster

    mutating func forward(_ input: Cluster.Input, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        cluster.handle(input, bytes, now: now, into: &clusterEffects, &effects.bytes)
        flushCluster(bytes, now: now, into: &effects)
        absorb(now: now, into: &effects)
        if folded != nil { checkFolded(now: now, into: &effects) }
        if stateAhead != nil { checkStateAhead(now: now) }
        if !staged.isEmpty, choreWake == nil { choreWake = now }
        cluster.setHoldsWholeState(incoming == nil && folded == nil && staged.isEmpty)
        if isReadyToResume(now) { resume(now: now, into: &effects) }
    }

    /// Hands on what the cluster wants done. `bytes` are those of the input.
    mutating func flushCluster(_ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        while !clusterEffects.isEmpty {
            // Two buffers by turns, so that neither is allocated anew.
            var list = spareEffects
            spareEffects = []
            swap(&list, &clusterEffects)
            defer {
                list.removeAll(keepingCapacity: true)
                spareEffects = list
            }
            for effect in list {
                switch effect {
                case .datagram(let to, let range): effects.list.append(.datagram(to: to, range))
                case .dial(let address): effects.list.append(.dial(address))
                case .write(let link, let range): effects.list.append(.write(link, range))
                case .hangUp(let link, let flush): effects.list.append(.hangUp(link, flush: flush))
                case .wake(let at): clusterWake = at
                case .log(let severity, let text): effects.list.append(.log(severity, text))
                case .left:
                    releaseAcks(.leaving, into: &effects)
                    effects.list.append(.left)
                case .snapshotBegins(let link): beginSnapshot(link)
                case .chunkDue(let link): sendChunk(link, now: now, into: &effects)
                case .snapshotEnded(let link): endSnapshot(link)
                case .state(let link, let type, let range):
                    heardState(link, type, bytes.extracting(range), now: now, into: &effects)
                case .adopted(let vector, let range):
                    journal?.note(.adopted) { $0.append(copying: bytes.extracting(range)) }
                    adopted(vector)
                    healing.isPartial = healing.isWatching
                    dismissReaders(into: &effects)
                case .caughtUp: if anew?.caughtUp == nil { anew?.caughtUp = now }
                case .gaveUp(let link): gaveUp(link, now: now, into: &effects)
                case .linkLost(let link): lost(link, now: now, into: &effects)
                case .linked(let peer, let nonce): peerLinked(peer, nonce: nonce, now: now, into: &effects)
                case .unlinked(let peer): peerUnlinked(peer, now: now, into: &effects)
                case .frame(let peer, let type, let range):
                    heardPeer(peer, type, bytes.extracting(range), now: now, into: &effects)
                case .compare(let link): compareState(with: link, now: now, into: &effects)
                case .reset(let why): return reset(why, now: now, into: &effects)
                }
            }
        }
    }

    private mutating func heardState(
        _ link: LinkID, _ type: Frame.FrameType, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) {
        do throws(DecodeError) {
            if type == .snapshot {
                try receiveState(link, bytes, now: now, into: &effects)
            } else {
                try receiveHashes(link, bytes, now: now, into: &effects)
            }
        } catch {
            counters.malformedStates += 1
            effects.list.append(.log(.warning, "link \(link.rawValue): bad state (\(error)); closing the link"))
            close(link, now: now, into: &effects)
        }
    }

    mutating func close(_ link: LinkID, now: Instant, into effects: inout Effects) {
        cluster.handle(.linkClosed(link), RawSpan(), now: now, into: &clusterEffects, &effects.bytes)
        effects.list.append(.hangUp(link, flush: false))
    }

    /// Folds and forgets what every known member has, a little at a time.
    private mutating func collect(now: Instant, into effects: inout Effects) {
        // What goes out must not change its shape on the way, nor what comes in.
        if !staged.isEmpty { mergeStaged(now: now, into: &effects) }
        guard outgoing.isEmpty, saving == nil, !isIncomplete else {
            let hasMore = !staged.isEmpty || anew?.isSubmitting == true
            return choreWake = hasMore ? now.advanced(milliseconds: 1) : nil
        }
        var hasMore = false
        if signals.count > 0 {
            let through = max(cluster.collectable(.operations, now: now) ?? 0, signals.target)
            let before = signals.operationCount
            hasMore = through > 0 && signals.collapse(through: through, atMost: Self.choresPerTurn)
            counters.foldedOperations += before - signals.operationCount
        }
        if documents.tombstoneCount > 0 {
            tombstonesThrough = max(tombstonesThrough, cluster.collectable(.tombstones, now: now) ?? 0)
            counters.collectedTombstones += documents.collect(through: tombstonesThrough, atMost: Self.choresPerTurn)
            if documents.isCollectionDue(through: tombstonesThrough) { hasMore = true }
        }
        choreWake = hasMore ? now.advanced(milliseconds: 2) : nil
    }

    /// Operations or tombstones collected in one turn, so that none of them is long.
    private static let choresPerTurn = 2_048

    /// Writes an own fact under a stamp just given out; the body is `scratch`. Returns its position.
    mutating func write(_ kind: Fact.Kind, time: UInt64, now: Instant, into effects: inout Effects) -> Int {
        let body = scratch
        let position = cluster.write(
            kind, time: time, body: body.span.bytes, now: now, into: &clusterEffects, &effects.bytes)
        // Before the next one makes room for itself.
        noteEntries()
        // Making room for it may have dropped the oldest entries, which the index must forget before anything reads.
        index.drop(held: cluster.log.start, remembered: cluster.log.remembered)
        flushCluster(RawSpan(), now: now, into: &effects)
        return position
    }

    /// Reads what was applied to the log since last time, in order.
    mutating func absorb(now: Instant, into effects: inout Effects) {
        index.drop(held: cluster.log.start, remembered: cluster.log.remembered)
        while index.end < cluster.log.end {
            let position = index.end
            guard cluster.log.holds(position) else {
                index.skip()
                continue
            }
            let stamp = cluster.log.stamp(at: position)
            cluster.observe(stamp.time)
            let (kind, body) = cluster.log.read(position) { entry in
                (try? Fact(entry)).map { ($0.kind, $0.body) } ?? (Fact.Kind(rawValue: 0), 0..<0)
            }
            if healing.isWatching, !isFolded(position) { watch(position, kind, body, at: stamp) }
            switch kind {
            case .sempEvent, .busEvent, .message, .chatMessage:
                if isFolded(position) {
                    indexOnly(position, body, at: stamp)
                } else {
                    absorbEvent(position, body, at: stamp, now: now, into: &effects)
                }
            case .put where !isFolded(position):
                applyPut(position, body, at: stamp)
                index.skip()
            default: index.skip()
            }
        }
    }

    /// Whether an entry is in the state already, which came as a snapshot.
    func isFolded(_ position: Int) -> Bool {
        guard let folded else { return false }
        let record = cluster.log.record(at: position)
        return record.sequence <= folded[cluster.log.replica(in: Int(record.slot))]
    }

    private mutating func applyPut(_ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp) {
        do throws(DecodeError) {
            try cluster.log.read(position) { (entry) throws(DecodeError) in
                try documents.apply(entry.extracting(body), at: stamp)
                noteDocument(entry.extracting(body), at: stamp)
            }
        } catch {
            counters.malformedPuts += 1
        }
    }

    /// Lets an entry act on a state that was thrown away, without showing it to anybody again.
    mutating func refold(_ position: Int) {
        guard cluster.log.holds(position) else { return index.skip() }
        let stamp = cluster.log.stamp(at: position)
        let (kind, body) = cluster.log.read(position) { entry in
            (try? Fact(entry)).map { ($0.kind, $0.body) } ?? (Fact.Kind(rawValue: 0), 0..<0)
        }
        switch kind {
        case .sempEvent, .busEvent, .message, .chatMessage: indexAndFold(position, body, at: stamp)
        case .put: applyPut(position, body, at: stamp)
        default: break
        }
        if index.end == position { index.skip() }
    }

    // MARK: - Requests

    mutating func answer(
        _ id: RequestID, _ request: Request, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) {
        do throws(NodeError) {
            if isIncomplete, request.readsState { throw .incomplete }
            switch request {
            case .postEvent:
                let (status, body) = try postEvent(bytes, now: now, into: &effects)
                effects.list.append(.reply(id, Reply(status: status), body: body))
            case .events(let page): try listEvents(id, page, into: &effects)
            case .event(let text): try showEvent(id, text, into: &effects)
            case .eventsInScope(let scope, let page): try listEvents(id, scope: scope, page, into: &effects)
            case .eventsInTrace(let trace, let page): try listEvents(id, trace: trace, page, into: &effects)
            case .eventsOnTopic(let topic, let page): try listEvents(id, topic: topic, page, into: &effects)
            case .stream(let wish): try openStream(id, wish, now: now, into: &effects)
            case .signals(let scope, let pattern, let minimum, let at):
                try listSignals(
                    id, scope: scope, pattern: pattern, minimum: minimum ?? 0, atMs: at ?? cluster.nowMs(now),
                    into: &effects)
            case .signal(let scope, let pattern, let at):
                try showSignal(id, scope: scope, pattern: pattern, atMs: at ?? cluster.nowMs(now), into: &effects)
            case .postNode: try postNode(id, bytes, now: now, into: &effects)
            case .nodes(let limit): listNodes(id, limit: limit, into: &effects)
            case .node(let text): try showNode(id, text, into: &effects)
            case .patchNode(let text): try patchNode(id, text, bytes, now: now, into: &effects)
            case .deleteNode(let text): try deleteNode(id, text, now: now, into: &effects)
            case .postEdge(let text): try postEdge(id, text, bytes, now: now, into: &effects)
            case .deleteEdges(let text, let to, let type):
                try deleteEdges(id, text, to: to, type: type, now: now, into: &effects)
            case .groups: listGroups(id, into: &effects)
            case .groupNamed(let name): try showGroup(id, name, into: &effects)
            case .deleteGroup(let name): try deleteGroup(id, name, now: now, into: &effects)
            case .ackGroup(let name): try answerGroup(id, name, isAck: true, bytes, now: now, into: &effects)
            case .nackGroup(let name): try answerGroup(id, name, isAck: false, bytes, now: now, into: &effects)
            case .presence: listPresence(id, now: now, into: &effects)
            case .presenceOf(let agent): try showPresence(id, agent, now: now, into: &effects)
            case .bus(let request): try answer(id, request, bytes, now: now, into: &effects)
            case .agents(let request, let asker):
                try answer(id, request, by: asker, bytes, now: now, into: &effects)
            case .attention(let request, let asker):
                try answer(id, request, by: asker, bytes, now: now, into: &effects)
            case .chats(let request, let asker):
                try answer(id, request, by: asker, bytes, now: now, into: &effects)
            case .turns(let request, let asker):
                try answer(id, request, by: asker, bytes, now: now, into: &effects)
            case .tasks(let request, let asker):
                try answer(id, request, by: asker, bytes, now: now, into: &effects)
            case .context(let request, let asker):
                try answer(id, request, by: asker, bytes, now: now, into: &effects)
            case .soorma(let request): try answer(id, request, bytes, now: now, into: &effects)
            case .health(let shell): showHealth(id, shell, now: now, into: &effects)
            case .cluster: showCluster(id, into: &effects)
            case .metrics(let shell):
                if !isIncomplete {
                    refreshAgents()
                    memories.refresh(documents)
                }
                showMetrics(id, shell, now: now, into: &effects)
            }
        } catch {
            if case .soorma = request { return refuse(id, error.asSoorma, isSoorma: true, into: &effects) }
            refuse(id, error, into: &effects)
        }
    }

    /// Answers with an error. Soorma's services say it as `detail`, and so do the routes that stand for them, besides.
    mutating func refuse(_ id: RequestID, _ error: NodeError, isSoorma: Bool = false, into effects: inout Effects) {
        counters.refused += 1
        let start = effects.bytes.count
        effects.bytes.append(constant: "{\"message\":")
        effects.bytes.append(json: error.message)
        if isSoorma {
            effects.bytes.append(constant: ",\"detail\":")
            effects.bytes.append(json: error.message)
        }
        effects.bytes.append(UInt8(ascii: "}"))
        effects.list.append(.reply(id, Reply(status: error.status), body: start..<effects.bytes.count))
    }

    /// Refuses writes while the node says goodbye.
    func checkWritable() throws(NodeError) {
        guard !isLeaving else {
            throw NodeError(status: 503, message: "this node is leaving the cluster; send the request to another node")
        }
        try checkDisk()
    }
}
