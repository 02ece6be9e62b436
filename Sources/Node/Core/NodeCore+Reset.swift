import CRDT
import Gossip

/// Starting anew under a new id (DESIGN, sections 3 and 4): what only this node wrote is kept, everything else is read
/// from its peers again, and then the kept facts are submitted anew, with new stamps and their old event ids.
extension NodeCore {
    /// A fact that only this node is known to have.
    struct KeptFact: Sendable {
        let kind: Fact.Kind
        let body: [UInt8]
    }

    /// A node that starts anew, until it has read what its peers have.
    struct Anew: Sendable {
        var facts: [KeptFact]
        /// What the side that stays had read.
        let known: VersionVector
        /// A repair is over.
        var isCaughtUp = false
        /// Without a peer until then, it goes on with what it kept.
        let until: Instant
    }

    /// So many repair delays without a peer are enough.
    private static let patience: UInt64 = 30

    mutating func reset(_ reset: Reset, now: Instant, into effects: inout Effects) {
        counters.resets += 1
        let facts = (anew?.facts ?? []) + kept(reset)
        let old = settings.replica
        settings.replica = ReplicaID(dice.next() | 1)
        settings.epoch = 1
        for link in cluster.mesh.linkIDs { effects.list.append(.hangUp(link, flush: false)) }
        for waiter in waits.removeAll() { refuse(waiter.id, .startedAnew, into: &effects) }
        sessions.closeAll(code: 1_012, reason: "this node starts anew; connect again", into: &effects.list)
        effects.list.append(
            .log(
                .error,
                "\(reset.why): this node starts anew as \(settings.replica) instead of \(old), reads what its peers have, "
                    + "and submits \(facts.count) facts of its own again"))
        let last = cluster.hybrid.last
        let addresses = cluster.membership.members.filter { $0.isPresent && $0.replica != old }.map(\.gossip)
        settings.seeds += addresses.filter { !settings.seeds.contains($0) }.prefix(Self.maximumSeeds)
        cluster = Cluster(
            settings, nonce: dice.next(), wallMs: cluster.clock.milliseconds(monotonicMs: now.milliseconds), now: now,
            dice: Dice(seed: dice.next()))
        // What is submitted again comes after what it was.
        cluster.observe(last)
        index = EventIndex()
        signals = SignalMap(lambda: settings.decay)
        documents = DocumentMap()
        (outgoing, incoming, folded) = ([], nil, nil)
        clusterEffects.removeAll()
        tombstonesThrough = 0
        anew = Anew(
            facts: facts, known: reset.known,
            until: now.advanced(milliseconds: settings.profile.repairDelayMs * Self.patience))
        forward(.tick, RawSpan(), now: now, into: &effects)
    }

    /// Members asked besides the seeds.
    private static let maximumSeeds = 64

    /// Own facts that the side that stays lacks, and those of writers that are gone, which nobody else may have.
    private func kept(_ reset: Reset) -> [KeptFact] {
        let log = cluster.log
        let present = Set(cluster.membership.members.filter(\.isPresent).map(\.replica))
        // Under a forked id, the same numbers may mean other entries there.
        let isForked = reset.cause == .cloned || reset.known[log.me] > log.head(of: 0)
        var facts: [KeptFact] = []
        for position in log.start..<log.end where log.holds(position) {
            let record = log.record(at: position)
            let replica = log.replica(in: Int(record.slot))
            let isLacking = record.sequence > log.head(of: replica, in: reset.known)
            let isMine = replica == log.me
            guard isMine && (isForked || isLacking) || !isMine && isLacking && reset.cause == .belowFloor
                && !present.contains(replica)
            else { continue }
            log.read(position) { entry in
                guard let fact = try? Fact(entry), fact.kind == .sempEvent || fact.kind == .put else { return }
                facts.append(
                    KeptFact(kind: fact.kind, body: entry.extracting(fact.body).withUnsafeBytes { Array($0) }))
            }
        }
        return facts
    }

    /// What the peers have was read, or there is nobody to read from: submits what was kept.
    mutating func resume(now: Instant, into effects: inout Effects) {
        guard let facts = anew?.facts else { return }
        anew = nil
        for fact in facts {
            switch fact.kind {
            case .put:
                scratch = fact.body
                _ = write(.put, time: cluster.nextStamp(now: now).time, now: now, into: &effects)
                absorb(into: &effects)
            default: submit(fact.body, now: now, into: &effects)
            }
        }
        if !facts.isEmpty { effects.list.append(.log(.info, "submitted \(facts.count) facts again")) }
        counters.resubmitted += facts.count
    }

    /// Submits a stored event again, under the id and with the signals it has; not if the id is known by now.
    private mutating func submit(_ json: [UInt8], now: Instant, into effects: inout Effects) {
        guard let view = EventView(json.span.bytes), let draft = try? EventDraft(json.span.bytes),
            index.newest(view.id, log: cluster.log) == nil
        else { return }
        var patterns: [[UInt8]] = []
        view.eachPattern(json.span.bytes) { patterns.append($0.withUnsafeBytes { Array($0) }) }
        _ = try? accept(draft, json.span.bytes, id: view.id, patterns: patterns, now: now, into: &effects)
    }
}

extension Cluster {
    /// The cluster layer of a node with these settings. `nonce` names this start of its log.
    init(_ settings: NodeSettings, nonce: UInt64, wallMs: UInt64, now: Instant, dice: Dice) {
        let me = Member(
            replica: settings.replica, name: settings.name, gossip: settings.advertise, http: settings.httpAddress,
            incarnation: Incarnation(epoch: settings.epoch), nonce: nonce)
        self.init(
            Cluster.Settings(
                me: me, name: settings.cluster, seeds: settings.seeds, profile: settings.profile,
                replication: settings.replication, limits: settings.limits),
            wallMs: wallMs, now: now, dice: dice)
    }
}
