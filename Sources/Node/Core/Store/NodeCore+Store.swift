import CRDT
import Gossip

/// How a durable node differs from one in memory: what happens is noted, and what follows from it leaves only once it is
/// on the disk.
extension NodeCore {
    /// Whether nothing waits for the disk: what is answered now leaves at once.
    public var isSynced: Bool { journal?.isUnsynced != true }

    /// The end of the own log is asked about for so many repair delays: if it was torn, and at any start.
    static let tornPatience: UInt64 = 10
    static let startPatience: UInt64 = 2

    mutating func handleDurably(_ input: Input, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        switch input {
        case .turnEnded: endTurn(now: now, into: &effects)
        case .disk(let result):
            heard(result, now: now, into: &effects)
            schedule(now: now, into: &effects)
        case .request(let id, let request, let clock, let ack) where request.kind == .status:
            // How the node is does not depend on what it has written, and a stuck disk must not hide it. Nothing but the
            // answer: whoever is being resumed must not overtake what is held.
            admit(id, request, after: clock, ack, bytes, now: now, into: &effects)
        case .tick, .request, .requestAbandoned, .sessionOpened, .sessionText, .sessionClosed, .sessionEmptied,
            .sessionOverran, .datagram, .linkOpened, .dialFailed, .linkFrame, .linkDrained, .linkClosed, .leave:
            var work = Effects()
            swap(&work, &gate.waiting)
            // It was owed what came before: no cursor may pass that.
            if case .sessionOverran(let session, _) = input { gate.cutOff(session, &work) }
            let start = work.list.count
            react(input, bytes, now: now, into: &work)
            noteChanges()
            swap(&work, &gate.waiting)
            letOut(from: start, into: &effects)
        }
        let takesMore = journal?.takesMore ?? true
        if cluster.replication.isReading != takesMore { cluster.setReading(takesMore) }
    }

    /// Of what was just added to the gate, lets out what need not wait; everything if nothing has to.
    private mutating func letOut(from start: Int, into effects: inout Effects) {
        guard let journal else { return }
        if !journal.isUnsynced {
            gate.releaseAll(into: &effects)
        } else if journal.isOpened {
            gate.pass(from: start, { $0.passesGate }, into: &effects)
        } else {
            // Not even a datagram leaves before this start is on the disk.
            gate.pass(
                from: start,
                {
                    switch $0 {
                    case .log, .wake, .disk: true
                    default: false
                    }
                }, into: &effects)
        }
    }

    // MARK: - Noting

    /// Notes the entries that were applied since last time.
    mutating func noteEntries() {
        guard let noted = journal?.noted else { return }
        for position in noted..<max(noted, cluster.log.end) where cluster.log.holds(position) {
            journal?.note(position, of: cluster.log)
        }
        journal?.noted = cluster.log.end
    }

    private mutating func noteChanges() {
        noteEntries()
        let collected = cluster.replication.collectedChanges
        if journal?.notedCollected != collected {
            journal?.notedCollected = collected
            let vector = cluster.replication.collected
            if !vector.entries.isEmpty { journal?.note(.collected) { vector.encode(into: &$0) } }
        }
        let members = cluster.memberChanges
        if journal?.notedMembers != members {
            journal?.notedMembers = members
            let epoch = cluster.membership.me.incarnation.epoch
            if epoch != settings.epoch {
                settings.epoch = epoch
                journal?.note(.epoch) { $0.append(varint: epoch) }
            }
            var rumors: [UInt8] = []
            cluster.membership.encodeRemembered(into: &rumors)
            journal?.note(members: rumors)
        }
    }

    /// This node starts anew, with facts that only it has: they must survive until they were submitted again.
    mutating func noteReset(_ facts: [KeptFact], known: VersionVector, into effects: inout Effects) {
        guard journal != nil else { return }
        let replica = settings.replica
        journal?.note(.reset) { out in
            out.append(replica: replica)
            known.encode(into: &out)
        }
        for fact in facts { journal?.note(fact) }
        dropSaving(into: &effects)
        journal?.startPositionsAnew()
        journal?.notedCollected = -1
    }

    // MARK: - The disk

    private mutating func endTurn(now: Instant, into effects: inout Effects) {
        launch(now: now, into: &effects)
        guard let journal, journal.isOpened, !journal.isDirty, !journal.isOpening else { return }
        // All that was noted so far is with the disk: a segment can begin here.
        let isSnapshotDue = journal.isSnapshotDue && saving == nil && journal.hasRoom && !isIncomplete && !isLeaving
        guard isSnapshotDue || journal.isSegmentLong else { return }
        beginSegment()
        if isSnapshotDue { beginSaving(now: now, into: &effects) }
        launch(now: now, into: &effects)
    }

    /// Gives the disk what was noted, and with it goes what waits.
    private mutating func launch(now: Instant, into effects: inout Effects) {
        guard journal?.launch(lastTime: cluster.hybrid.last, now: now, into: &effects.list) ?? false else { return }
        gate.launch()
        launchedDigest = cluster.log.digest
    }

    /// From here on a new segment is written.
    mutating func beginSegment() {
        let head = SegmentHead(
            settings, cluster, follows: journal?.commits ?? 0, resets: journal?.resets ?? 0,
            isLossAccepted: isLossAccepted)
        journal?.beginSegment(head, end: cluster.log.end)
    }

    private mutating func heard(_ result: DiskResult, now: Instant, into effects: inout Effects) {
        switch result {
        case .committed(let hasRoom):
            let hadRoom = journal?.hasRoom ?? true
            journal?.committed(hasRoom: hasRoom, now: now)
            cluster.syncedDigest = launchedDigest
            if journal?.isUnsynced ?? false {
                gate.release(into: &effects)
            } else {
                gate.releaseAll(into: &effects)
            }
            tellRoom(before: hadRoom, into: &effects)
        case .full:
            let hadRoom = journal?.hasRoom ?? true
            let number = journal?.number
            journal?.foundFull(now: now)
            // What is noted from here on would not be behind the snapshot.
            if journal?.number != number { dropSaving(into: &effects) }
            if journal?.isUnsynced == false { gate.releaseAll(into: &effects) }
            tellRoom(before: hadRoom, into: &effects)
        case .room(let isThere):
            let hadRoom = journal?.hasRoom ?? true
            journal?.setRoom(isThere, now: now, into: &effects.list)
            tellRoom(before: hadRoom, into: &effects)
            continueSaving(now: now)
        case .snapshotSaved(let number): saved(number, into: &effects)
        case .snapshotLost(let number, let why):
            guard saving?.number == number else { return }
            saving = nil
            effects.list.append(
                .log(.warning, "the snapshot \(number) was not written (\(why)); the one before it counts"))
        case .failed(let why):
            effects.list.append(
                .log(.error, "the disk failed (\(why)): what it holds is not known any more, so this node has to stop"))
        }
    }

    private func tellRoom(before hadRoom: Bool, into effects: inout Effects) {
        guard let hasRoom = journal?.hasRoom, hasRoom != hadRoom else { return }
        effects.list.append(
            hasRoom
                ? .log(.info, "there is room on the disk again: this node takes writes")
                : .log(
                    .error,
                    "the disk is full: this node is read-only until there is room again; free some space, writes come "
                        + "back by themselves"))
    }

    /// Refuses writes that could not be kept.
    func checkDisk() throws(NodeError) {
        guard doubtfulUntil == nil else {
            throw NodeError(
                status: 503,
                message: "this node has just started, and asks its peers how far its log went; send the request to "
                    + "another node, or here again in a moment")
        }
        guard let journal, !journal.takesMore else { return }
        if !journal.hasRoom {
            throw NodeError(
                status: 507,
                message:
                    "the disk of this node is full, so it is read-only; free some space there, or send the request "
                    + "to another node")
        }
        throw NodeError(
            status: 503,
            message: "\(journal.unsyncedBytes) bytes wait for the disk of this node, which does not keep up; send the "
                + "request to another node, or here again in a moment")
    }

    // MARK: - Time

    /// When `tickStore` is due.
    var storeWake: Instant? {
        guard let journal else { return nil }
        var due = journal.wake
        for moment in [saving?.nextPart, doubtfulUntil] {
            if let moment { due = min(due ?? moment, moment) }
        }
        return due
    }

    mutating func tickStore(now: Instant, into effects: inout Effects) {
        for (level, text) in opened { effects.list.append(.log(level, text)) }
        opened.removeAll()
        if !leftovers.isEmpty, journal?.isOpened ?? false {
            effects.list.append(.disk(.remove(leftovers)))
            leftovers.removeAll()
        }
        if waitsForLost, cluster.isBestCopy {
            effects.list.append(.log(.warning, "no peer has what is lost here: this node goes on with what is left"))
            // What is left is all there is from here on, and nobody need be asked again.
            (waitsForLost, isLossAccepted, hasHoles) = (false, false, true)
            cluster.setLossy(false, isWaiting: false)
            // To the others it said that it waits.
            for link in cluster.mesh.linkIDs { close(link, now: now, into: &effects) }
        }
        journal?.tick(now: now, into: &effects.list)
        advanceSaving(now: now, into: &effects)
        if let until = doubtfulUntil { settleDoubt(until: until, now: now, into: &effects) }
        // Should the wall clock be set back while this node is down, its stamps must still come after what it promised.
        let clock = cluster.nowMs(now)
        let windowMs = min(settings.replication.operationsMs, settings.replication.tombstonesMs)
        let everyMs = min(Self.clockMarkMs, windowMs / 4)
        if let journal, clock > (journal.lastTime >> 16) + everyMs, cluster.membership.members.count > 1 {
            cluster.observe(clock << 16)
            self.journal?.touch()
        }
    }

    /// An idle node notes the time this often, in milliseconds.
    private static let clockMarkMs: UInt64 = 60_000

    /// A peer that could tell is linked, and nothing contradicts the log; or nobody is there to ask.
    private mutating func settleDoubt(until: Instant, now: Instant, into effects: inout Effects) {
        if cluster.replication.hasOpenLink {
            (doubtfulUntil, isTorn) = (nil, false)
        } else if now >= until {
            doubtfulUntil = nil
            guard isTorn else { return }
            isTorn = false
            renew("no peer could say whether the end of this node's log is lost", now: now, into: &effects)
        }
    }

    /// Goes on under a new id, with all that is here.
    private mutating func renew(_ why: String, now: Instant, into effects: inout Effects) {
        let old = settings.replica
        settings.replica = ReplicaID(dice.next() | 1)
        settings.epoch = 1
        let replica = settings.replica
        journal?.note(.renewed) { $0.append(replica: replica) }
        cluster.beginLog(replica)
        var remembered: [UInt8] = []
        cluster.membership.encodeRemembered(into: &remembered)
        let links = cluster.assume(
            Cluster.Settings(
                settings, nonce: dice.next(), remembered: (try? Membership.remembered(remembered.span.bytes)) ?? []),
            now: now, dice: Dice(seed: dice.next()))
        for link in links { effects.list.append(.hangUp(link, flush: false)) }
        effects.list.append(.log(.warning, "\(why): from here on it writes a new log, \(replica) instead of \(old)"))
        forward(.tick, RawSpan(), now: now, into: &effects)
    }
}

extension Journal {
    /// Writes a fact that is to be submitted again.
    mutating func note(_ fact: NodeCore.KeptFact) {
        func stamp(_ stamp: HybridTimestamp, _ out: inout [UInt8]) {
            out.append(littleEndian: stamp.time)
            out.append(replica: stamp.replica)
        }
        switch fact {
        case .event(let json, let at, let spare):
            note(.keptEvent) { out in
                stamp(at, &out)
                out.append(varint: spare ?? 0)
                out.append(contentsOf: json)
            }
        case .write(let write):
            note(.keptWrite) { out in
                stamp(write.stamp, &out)
                DocumentMap.encode(write.document, [write.change], into: &out)
            }
        }
    }

    /// The log begins anew: positions mean something else, and nothing before is needed.
    mutating func startPositionsAnew() {
        resets += 1
        noted = 0
        sealed = sealed.map { Sealed(number: $0.number, end: 0) }
        saved = saved.map { Saved(number: $0.number, start: 0, bytes: $0.bytes) }
    }
}
