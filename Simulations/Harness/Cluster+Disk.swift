internal import CRDT
internal import Gossip
internal import NodeCore

/// Durable nodes and their disks: turns, jobs and their answers, and what a node finds when it starts again.
extension Cluster {
    /// A durable node was given a request to take an event; what it tells of it to anybody has to be on its disk.
    struct Due {
        let node: Int
        let life: Int
        let replica: UInt64
        /// The first commit that can hold it.
        let commit: Int
    }

    // MARK: Turns and jobs

    /// A durable node was given an input: its turn ends now, or a little later together with others.
    func inputTaken(_ input: NodeCore.Input, _ node: Node) {
        if case .turnEnded = input { return }
        guard node.isRunning, !node.turnIsDue else { return }
        guard let wait = node.disk!.turnUs() else { return feed(node, .turnEnded) }
        node.turnIsDue = true
        agenda.add(.turnEnds(node: node.index, life: node.life), at: now + wait)
    }

    func turnEnds(_ node: Node, _ life: Int) {
        guard node.life == life else { return }
        node.turnIsDue = false
        feed(node, .turnEnded)
    }

    func takeJob(_ job: DiskJob, _ node: Node) {
        guard node.disk != nil else {
            return fail("a node in memory asks for no disk", "node \(node.index): \(job.summary)")
        }
        switch job {
        case .commit(let bytes), .segment(_, let bytes):
            node.commitsAsked += 1
            trace.fold(bytes.span.bytes)
        case .findRoom, .snapshot, .finishSnapshot, .dropSnapshot, .remove: break
        }
        node.disk!.take(job)
        beginJob(node)
    }

    private func beginJob(_ node: Node) {
        guard let wait = node.disk!.begin(at: now) else { return }
        agenda.add(.diskIsDone(node: node.index, life: node.life, turn: node.disk!.turn), at: now + wait)
    }

    func diskIsDone(_ node: Node, _ life: Int, _ turn: Int) {
        guard node.isRunning, node.life == life, node.disk!.isBusy, node.disk!.turn == turn else { return }
        if now < node.disk!.stuckUntil {
            return agenda.add(.diskIsDone(node: node.index, life: life, turn: turn), at: node.disk!.stuckUntil)
        }
        // The thread that waits for it stands still as well.
        node.owesDiskAnswer = node.isPaused
        if node.isPaused { return }
        let number = node.commitsAsked - node.disk!.commitsWaiting + 1
        let result = node.disk!.complete()
        switch result {
        case .committed(let hasRoom):
            node.commitsSynced = number
            // What was done to the disk counts until a start from it has succeeded.
            node.harm = .init(wasEver: node.harm.wasEver)
            tally.add(.commits)
            if !hasRoom { tally.add(.roomsShort) }
        case .full: tally.add(.commitsFull)
        case .room, .snapshotSaved, .snapshotLost, .failed: break
        }
        feed(node, .disk(result))
        guard node.isRunning, node.life == life else { return }
        if case .failed(let why) = result {
            tally.add(.diskFailures)
            trace.line(at: now, "n\(node.index) dies of its disk: \(why)")
            recorder?.note(.killed(node.index), at: now)
            end(node, as: .down)
            return agenda.add(.boot(node: node.index, life: life), at: now + node.failureDownMs * 1_000)
        }
        beginJob(node)
    }

    // MARK: Nothing leaves before it is synced

    /// A node is given a request; `call` is none of the agents' when a checker asks.
    func heard(_ call: Int, _ node: Node) {
        guard crowd.calls.indices.contains(call) else { return }
        crowd.calls[call].wasHeard = true
        crowd.calls[call].commit = node.commitsAsked + 1
        switch crowd.calls[call].errand {
        case .event(let place, _):
            ledger[place].offers += 1
            // What it has from before is on its disk already.
            guard node.disk != nil, !node.missesHistory, node.witness.place[place] == nil else { return }
            let due = Due(
                node: node.index, life: node.life, replica: node.core!.replica.rawValue, commit: node.commitsAsked + 1)
            // In an earlier life it may have been taken: then this one only repeats it.
            let isKnown = dues[place]?.contains { $0.node == due.node && $0.replica == due.replica }
            if isKnown != true { dues[place, default: []].append(due) }
        case .graph(let place):
            node.openWrites.insert(call)
            ledger.graph.asked(place)
        case .read, .social: break
        }
    }

    /// Whether an effect leaves a durable node before what it tells of is on the disk; the promise that this breaks.
    func leftTooEarly(_ effect: NodeCore.Effect, _ node: Node) -> Violation? {
        switch effect {
        case .datagram, .write, .dial, .send, .broadcast, .stream:
            if node.commitsSynced > 0 { return nil }
            return Violation(
                "nothing leaves a durable node before its start is on the disk", "node \(node.index): \(effect.summary)"
            )
        case .reply(let id, let reply, _):
            let call = Int(id.rawValue) - 1
            guard crowd.calls.indices.contains(call), 200...201 ~= reply.status else { return nil }
            let isNew: Bool
            switch crowd.calls[call].errand {
            case .event: isNew = reply.status == 201
            case .graph(let place):
                let known = ledger.graph.writes[place].node.flatMap { id in
                    reply.stamp.flatMap { ledger.graph.taken($0, of: id) }
                }
                // What nobody was told of may have been done before, and be answered with its first stamp.
                isNew = known == nil && reply.stamp?.replica == node.replica && ledger.graph.unanswered.isEmpty
            // What another node decided need not be on this one's disk.
            case .read, .social: isNew = false
            }
            guard isNew, node.commitsSynced < crowd.calls[call].commit else { return nil }
            return Violation(
                "nothing is acknowledged before it is on the disk",
                "request \(call + 1) at node \(node.index), which needs commit \(crowd.calls[call].commit) of "
                    + "\(node.commitsAsked), \(node.commitsSynced) are synced")
        case .notify, .close, .tune, .closeChannel, .hangUp, .wake, .log, .disk, .leaving, .left: return nil
        }
    }

    /// Whether an event is shown anywhere before the disk of the node that took it has it.
    func shownTooEarly(_ place: Int, _ sighting: Sighting) -> Violation? {
        guard !always.forgetful.contains(sighting.replica) else { return nil }
        for due in dues[place] ?? [] where due.replica == sighting.replica {
            let node = nodes[due.node]
            guard node.life == due.life, node.isRunning, node.commitsSynced < due.commit else { continue }
            return Violation(
                "nothing leaves a durable node before it is on its disk",
                "\(sighting.key.text) of node \(due.node) is shown, needs commit \(due.commit), "
                    + "\(node.commitsSynced) are synced")
        }
        return nil
    }

    /// Lets time pass until no answer waits for a disk: then many questions are answered at one moment.
    func settleDisks() throws(Violation) {
        let patience = now + 5_000_000
        while now < patience, running.contains(where: { $0.core?.isSynced == false }) { try run(until: now + 500) }
    }

    // MARK: Starting from what is there

    /// Opens what a machine's disk holds; false when that broke a promise.
    func open(_ node: Node, _ settings: NodeSettings, _ dice: Dice) -> Bool {
        let wall = UInt64(Int64(dawnMs) + node.elapsedMs(at: now) + node.skewMs)
        var opening = NodeCore.Opening(freshReplica: node.replica)
        opening.renewsReplica = node.harm.isRestored
        node.disk!.mount()
        while true {
            do throws(StoreError) {
                node.core = try NodeCore.open(
                    settings, &node.disk!, opening, wallMilliseconds: wall, now: node.clock(at: now), dice: dice,
                    progress: { _, _ in })
                node.replica = node.core!.replica
                // What stood before a hole may be gone with any start.
                if node.core!.hasHoles { harm(node) }
                return true
            } catch {
                trace.line(at: now, "n\(node.index) does not start: \(error.message)")
                // Somebody reads the message, and says that what is lost is lost.
                let mayRefuse = error.cause == .damaged && node.harm.wasEver && settings.seeds.isEmpty
                guard mayRefuse, !opening.acceptsLoss else {
                    fail("a node starts from what its disk holds", "node \(node.index): \(error.message)")
                    node.state = .down
                    return false
                }
                tally.add(.refusedStarts)
                // A newcomer reads from it, holes and all, though some peer that nobody told it of may have it whole.
                excused.insert("hypha_log_forks_total")
                opening.acceptsLoss = true
            }
        }
    }

    /// What a node that is about to start lists, in the order of the stamps; nil while it answers no reads. A copy of it
    /// is asked: the node itself never knows.
    func recoveredEvents(_ node: Node) -> [(place: Int, sighting: Sighting)]? {
        guard var copy = node.core else { return nil }
        let clock = node.clock(at: now)
        let nothing: [UInt8] = []
        var effects = NodeCore.Effects()
        for input in [.tick, .turnEnded, .disk(.committed(hasRoom: true))] as [NodeCore.Input] {
            copy.handle(input, nothing.span.bytes, now: clock, into: &effects)
        }
        var recovered: [(place: Int, sighting: Sighting)] = []
        var before: String?
        var topics = Crowd.allTopics[...]
        while true {
            effects.removeAll()
            let page = Request.events(.init(limit: 500, before: before))
            let topic = topics.popFirst()
            let list = topic.map { Request.eventsOnTopic($0, .init(limit: 100_000)) } ?? page
            copy.handle(.request(RequestID(.max), list), nothing.span.bytes, now: clock, into: &effects)
            var answer: (status: UInt16, body: [UInt8])?
            for case .reply(RequestID(.max), let reply, let body) in effects.list {
                answer = (reply.status, Array(effects.bytes[body]))
            }
            guard let answer, answer.status == 200 else { return nil }
            let events = (try? JSONReader.parse(answer.body))?.array ?? []
            for event in events {
                guard let sighting = Sighting(event),
                    let place = ledger.place(of: sighting.key) ?? announced(sighting, event)
                else {
                    fail("nobody is shown what nobody posted", "\(event) at node \(node.index), which just started")
                    return nil
                }
                recovered.append((place, sighting))
            }
            if topic != nil { continue }
            guard let last = events.last?["id"]?.text, last != before else { break }
            before = last
        }
        return recovered.sorted { ($0.sighting.stamp, $0.sighting.replica) < ($1.sighting.stamp, $1.sighting.replica) }
    }

    /// The witness of a durable node remembers what the last one was shown, as far as the node does; and unless its disk
    /// was harmed, the node does.
    func recall(
        _ node: Node, _ recovered: [(place: Int, sighting: Sighting)]?, after previous: Session?, _ harm: Node.Harm,
        was last: ReplicaID?
    ) {
        // What stands before a hole is there as long as the node runs, and perhaps not after the next start.
        let isWhole = !harm.isHarmed && !sharesIDs && node.core?.hasHoles == false
        if isWhole, options.keptEntries == 0, let recovered {
            let places = Set(recovered.map(\.place))
            let lost =
                previous?.shown.first { !places.contains($0) }
                ?? ledger.postings.indices.first { place in
                    !places.contains(place)
                        && ledger[place].acknowledgements.contains {
                            $0.node == node.index && $0.history == node.history
                        }
                }
            if let lost {
                return fail(
                    "after a restart a durable node has what it had shown or acknowledged",
                    "\(ledger[lost].key.text) is not at node \(node.index), which has \(places.count) of "
                        + "\(previous?.shown.count ?? 0) events")
            }
        }
        if let recovered, !recovered.isEmpty { tally.add(.recoveries) }
        for (place, sighting) in recovered ?? [] {
            always.note(EntryName(replica: sighting.replica, sequence: sighting.sequence), of: place)
        }
        node.witness.recover(recovered ?? [], after: isWhole ? previous : nil)
        node.missesHistory = !isWhole || recovered == nil || (previous?.missesHistory ?? false)
        node.witness.missesHistory = node.missesHistory
        node.hasRecovered = recovered?.isEmpty != true
        // The disk of an earlier life, under the id that it had then.
        if let last, last != node.replica, always.origins[node.replica.rawValue] != nil {
            always.forgetful.insert(node.replica.rawValue)
        }
        // What a node that could not read all of its log had written it says again, with new stamps.
        if let last, harm.isHarmed || last != node.replica {
            resets += 1
            lastReset = now + 1
        }
    }
}

extension DiskJob {
    /// One phrase for the written trace.
    var summary: String {
        switch self {
        case .commit(let bytes): "commit \(bytes.count) B"
        case .segment(let number, let bytes): "segment \(number), \(bytes.count) B"
        case .findRoom: "find room"
        case .snapshot(let number, let bytes): "snapshot \(number), \(bytes.count) B more"
        case .finishSnapshot(let number): "snapshot \(number) is complete"
        case .dropSnapshot(let number): "drop snapshot \(number)"
        case .remove(let files): "remove \(files.map(\.name).joined(separator: " "))"
        }
    }
}

extension Sighting {
    /// Reads a listed event; nil when one of its fields is missing.
    init?(_ event: JSON) {
        guard let key = event["id"]?.text.flatMap(EventKey.init(text:)),
            let replica = event["replica"]?.text.flatMap({ UInt64($0, radix: 16) }),
            let sequence = event["seq"]?.number.flatMap({ UInt64(exactly: $0) }),
            let stamp = event["stamp"]?.text.flatMap({ UInt64($0.prefix(16), radix: 16) })
        else { return nil }
        self.init(key: key, replica: replica, sequence: sequence, stamp: stamp)
    }
}
