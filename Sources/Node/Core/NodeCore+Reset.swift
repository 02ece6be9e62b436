import CRDT
import Gossip

/// Starting anew under a new id (docs/replication.md): what only this node wrote is kept, everything else is read
/// from its peers again, and then the kept facts are submitted anew, with new stamps and their old event ids.
extension NodeCore {
    /// A fact that only this node is known to have.
    enum KeptFact: Sendable {
        /// With its number in its log if others have it: should they die before this node has read it there again, it is
        /// all that is left.
        case event(json: [UInt8], stamp: HybridTimestamp, spare: UInt64?)
        case write(DocumentMap.Write)

        var isSpare: Bool { if case .event(_, _, let spare?) = self { spare > 0 } else { false } }

        var stamp: HybridTimestamp {
            switch self {
            case .event(_, let stamp, _): stamp
            case .write(let write): write.stamp
            }
        }
    }

    /// A node that starts anew, until it has read what its peers have and said again what it kept.
    struct Anew: Sendable {
        var facts: [KeptFact]
        /// How many of them were submitted.
        var submitted = 0
        var isSubmitting = false
        /// What the side that stays had read.
        let known: VersionVector
        /// Since when a repair is over.
        var caughtUp: Instant?
        /// Without a peer until then, it goes on with what it kept.
        let until: Instant
    }

    /// So many repair delays without a peer are enough.
    private static let patience: UInt64 = 30
    /// And so many after a repair that did not bring all of it: whoever had the rest is gone, or starts anew itself.
    private static let patienceWithPeers: UInt64 = 5
    /// Facts submitted again in one turn, so that none of them is long.
    private static let factsPerTurn = 256

    mutating func reset(_ reset: Reset, now: Instant, into effects: inout Effects) {
        guard !isLeaving else {
            // Whoever goes need not start anew first.
            effects.list.append(.log(.warning, "\(reset.why): leaving at once"))
            releaseAcks(.leaving, into: &effects)
            return effects.list.append(.left)
        }
        counters.resets += 1
        let earlier = (anew.map { Array($0.facts[$0.submitted...]) } ?? []) + spares
        let facts = earlier + kept(reset).sorted { $0.stamp < $1.stamp }
        spares.removeAll()
        releaseAcks(.startedAnew, into: &effects)
        releaseDeferred("this node starts anew under another id", now: now, into: &effects)
        let old = settings.replica
        settings.replica = ReplicaID(dice.next() | 1)
        settings.epoch = 1
        for link in cluster.mesh.linkIDs { effects.list.append(.hangUp(link, flush: false)) }
        for waiter in waits.removeAll() { refuse(waiter.id, .startedAnew, into: &effects) }
        closeSessions(code: 1_012, reason: "this node starts anew; connect again", into: &effects)
        effects.list.append(
            .log(
                .error,
                "\(reset.why): this node starts anew as \(settings.replica) instead of \(old), reads what its peers have, "
                    + "and submits \(facts.count { !$0.isSpare }) facts of its own again"))
        let last = cluster.hybrid.last
        var remembered: [UInt8] = []
        cluster.membership.encodeRemembered(into: &remembered)
        let addresses = cluster.membership.members.filter { $0.isPresent && $0.replica != old }.map(\.gossip)
        settings.seeds += addresses.filter { !settings.seeds.contains($0) }.prefix(Self.maximumSeeds)
        cluster = Cluster(
            settings, nonce: dice.next(), remembered: (try? Membership.remembered(remembered.span.bytes)) ?? [],
            wallMs: cluster.clock.milliseconds(monotonicMs: now.milliseconds), now: now, dice: Dice(seed: dice.next()))
        // What is submitted again comes after what it was.
        cluster.observe(last)
        forgetState()
        verdicts = Verdicts()
        (outgoing, staged, incoming, folded, orphanedSince, stateAhead) = ([], [], nil, nil, nil, nil)
        clusterEffects.removeAll()
        tombstonesThrough = 0
        (doubtfulUntil, waitsForLost, isLossAccepted, hasHoles) = (nil, false, false, false)
        noteReset(facts, known: reset.known, into: &effects)
        anew = Anew(
            facts: facts, known: reset.known,
            until: now.advanced(milliseconds: resetPatienceMs))
        forward(.tick, RawSpan(), now: now, into: &effects)
    }

    /// So long a node that starts anew waits for a peer.
    var resetPatienceMs: UInt64 { settings.profile.repairDelayMs * Self.patience }

    /// The state that everything read so far has led to is thrown away.
    mutating func forgetState() {
        index = EventIndex()
        mailboxes = Mailboxes()
        signals = SignalMap(lambda: settings.decay)
        documents = DocumentMap()
        groups.forget()
        (agents, chats, turns, tasks, healing) = (Agents(), Chats(), Turns(), TaskBoard(), Healing())
        contexts = Contexts()
        (catalog, tracker) = (Catalog(), Tracker())
        noteAllDocuments()
    }

    /// Members asked besides the seeds.
    private static let maximumSeeds = 64

    /// Of what the side that stays has read, so much of the newest is kept all the same.
    private static let maximumSpareBytes = 16 << 20

    /// Own facts that the side that stays lacks, and those of writers that are gone, which nobody else may have.
    ///
    /// Events come from the log, as far as it reaches. Documents come from their registers: what was overwritten here
    /// need not be said again, and what the log no longer holds must.
    private func kept(_ reset: Reset) -> [KeptFact] {
        let log = cluster.log
        let present = Set(cluster.membership.members.filter(\.isPresent).map(\.replica))
        // Under a forked id, the same numbers may mean other entries there.
        let forked = reset.cause == .cloned ? log.me : reset.forked
        let keepsAbsent = reset.cause != .cloned && (reset.cause != .forked || settings.isDurable)
        func isKept(_ replica: ReplicaID) -> Bool {
            replica == log.me || replica == forked || keepsAbsent && !present.contains(replica)
        }
        func known(_ replica: ReplicaID) -> UInt64 {
            replica == forked ? 0 : log.head(of: replica, in: reset.known)
        }
        var facts: [KeptFact] = []
        var spareBytes = 0
        for position in (log.start..<log.end).reversed() where log.holds(position) {
            let record = log.record(at: position)
            let replica = log.replica(in: Int(record.slot))
            let isSpare = !isKept(replica) || record.sequence <= known(replica)
            if isSpare {
                spareBytes += Int(record.length)
                guard spareBytes <= Self.maximumSpareBytes else { continue }
            }
            log.read(position) { entry in
                guard let fact = try? Fact(entry), Surface(fact.kind) != nil else { return }
                let json = entry.extracting(fact.body).withUnsafeBytes { Array($0) }
                facts.append(
                    .event(json: json, stamp: log.stamp(at: position), spare: isSpare ? record.sequence : nil))
            }
        }
        var times: [ReplicaID: UInt64] = [:]
        for write in documents.writes(where: { stamp in
            guard isKept(stamp.replica) else { return false }
            let time = times[stamp.replica] ?? log.time(of: stamp.replica, at: known(stamp.replica))
            times[stamp.replica] = time
            return stamp.time > time
        }) { facts.append(.write(write)) }
        return facts
    }

    /// Whether the kept facts can be submitted: what the peers have was read, or there is nobody to read from.
    func isReadyToResume(_ now: Instant) -> Bool {
        guard let anew, journal?.takesMore ?? true else { return false }
        if anew.isSubmitting { return true }
        if now >= anew.until, incoming == nil, !cluster.replication.isRepairing { return true }
        guard let caughtUp = anew.caughtUp else { return false }
        return cluster.log.hasRead(anew.known)
            || now.milliseconds(since: caughtUp) >= settings.profile.repairDelayMs * Self.patienceWithPeers
    }

    /// Submits what was kept, some of it in each turn.
    mutating func resume(now: Instant, into effects: inout Effects) {
        guard let anew else { return }
        let replica = settings.replica
        var next = anew.submitted
        let end = min(anew.facts.count, next + Self.factsPerTurn)
        while next < end {
            switch anew.facts[next] {
            case .event(let json, let stamp, let spare):
                if let spare, cluster.log.hasRead(stamp.replica, spare) { break }
                if spare != nil, isPresent(stamp.replica) {
                    spares.append(anew.facts[next])
                } else {
                    submit(json, now: now, into: &effects)
                }
            case .write(let write):
                // What one put wrote goes into one again. What others have overwritten since stays overwritten.
                var changes: [DocumentMap.Change] = []
                while next < anew.facts.count, changes.count < DocumentMap.maximumChanges,
                    case .write(let also) = anew.facts[next], also.document == write.document, also.stamp == write.stamp
                {
                    if documents.isNews(also) { changes.append(also.change) }
                    next += 1
                }
                next -= 1
                submit(changes, to: write.document, now: now, into: &effects)
            }
            next += 1
        }
        // A write may itself lead to another reset, which starts with what was kept by then.
        guard settings.replica == replica else { return }
        guard next < anew.facts.count else {
            self.anew = nil
            if spares.isEmpty { journal?.note(.resumed) { _ in } }
            counters.resubmitted += anew.facts.count
            if !anew.facts.isEmpty {
                effects.list.append(.log(.info, "submitted \(anew.facts.count) facts again"))
            }
            return
        }
        self.anew?.submitted = next
        self.anew?.isSubmitting = true
    }

    func isPresent(_ writer: ReplicaID) -> Bool {
        cluster.membership.member(writer)?.isPresent ?? false
    }

    /// Facts of writers who were there when this node started anew: it has read them again by now, or the writer is gone
    /// and perhaps nobody else has them.
    mutating func settleSpares(now: Instant, into effects: inout Effects) {
        guard !spares.isEmpty else { return }
        guard spareDue.map({ now >= $0 }) ?? true, journal?.takesMore ?? true else { return }
        spareDue = now.advanced(milliseconds: settings.profile.probeIntervalMs)
        let (list, replica) = (spares, settings.replica)
        spares.removeAll()
        for fact in list {
            guard case .event(let json, let stamp, let spare?) = fact else { continue }
            if cluster.log.hasRead(stamp.replica, spare) { continue }
            if isPresent(stamp.replica) {
                spares.append(fact)
            } else {
                submit(json, now: now, into: &effects)
                // Another reset keeps what is here; the rest of the list it has not seen.
                guard settings.replica == replica else { return spares += list }
            }
        }
        if spares.isEmpty {
            spareDue = nil
            journal?.note(.resumed) { _ in }
        }
    }

    private mutating func submit(
        _ changes: [DocumentMap.Change], to document: String, now: Instant, into effects: inout Effects
    ) {
        guard !changes.isEmpty else { return }
        scratch.removeAll(keepingCapacity: true)
        DocumentMap.encode(document, changes, into: &scratch)
        guard scratch.count <= Fact.maximumBodyBytes else {
            // A put made of several that were smaller: one at a time.
            for change in changes where changes.count > 1 { submit([change], to: document, now: now, into: &effects) }
            return
        }
        _ = write(.put, time: cluster.nextStamp(now: now).time, now: now, into: &effects)
        absorb(now: now, into: &effects)
    }

    /// Submits a stored event again, under the id and with the signals it has; not if the id is known by now.
    private mutating func submit(_ json: [UInt8], now: Instant, into effects: inout Effects) {
        guard let view = EventView(json.span.bytes), let draft = try? Draft(stored: json.span.bytes),
            index.newest(view.id, log: cluster.log) == nil
        else { return }
        var patterns: [[UInt8]] = []
        view.eachPattern(json.span.bytes) { patterns.append($0.withUnsafeBytes { Array($0) }) }
        _ = try? accept(draft, json.span.bytes, id: view.id, patterns: patterns, now: now, into: &effects)
    }
}

extension Cluster {
    /// The cluster layer of a node with these settings. `nonce` names this start of its log.
    init(
        _ settings: NodeSettings, nonce: UInt64, remembered: [Member] = [], wallMs: UInt64, now: Instant, dice: Dice
    ) {
        self.init(
            Cluster.Settings(settings, nonce: nonce, remembered: remembered), wallMs: wallMs, now: now, dice: dice)
    }
}

extension Cluster.Settings {
    /// What a node with these settings tells its cluster layer.
    init(_ settings: NodeSettings, nonce: UInt64, remembered: [Member] = []) {
        let me = Member(
            replica: settings.replica, name: settings.name, gossip: settings.advertise, http: settings.httpAddress,
            incarnation: Incarnation(epoch: settings.epoch), isDurable: settings.isDurable, nonce: nonce)
        self.init(
            me: me, name: settings.cluster, seeds: settings.seeds, profile: settings.profile,
            replication: settings.replication, limits: settings.limits)
        self.remembered = remembered
    }
}
