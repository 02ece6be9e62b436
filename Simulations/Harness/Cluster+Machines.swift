internal import CRDT
internal import Gossip
internal import NodeCore

/// Starts, stops and ends nodes.
extension Cluster {
    /// What a machine had that no other need have is gone.
    struct Loss {
        /// In microseconds since the world began.
        let at: UInt64
        let node: Int
    }

    /// Starts the nodes that do not run, in order.
    func startAll() {
        for node in nodes where !node.isRunning { start(node.index) }
    }

    /// Starts a node. In memory, nothing of an earlier life is left but the address; a durable one goes on with what its
    /// disk holds. A copy of another node has its replica id and epoch, and a nonce of its own.
    func start(_ index: Int, copying original: Node? = nil) {
        let node = nodes[index]
        precondition(!node.isRunning, "node \(index) runs already")
        if node.life > 0 { tally.add(.restarts) }
        let (previous, last) = (node.sessions.first, node.life > 0 ? node.replica : nil)
        node.begin(as: original?.replica ?? ReplicaID(starts.next() | 1))
        if node.disk == nil { node.history += 1 }
        if node.skewMs.magnitude > Replication.Settings().maxSkewMs { tally.add(.wrongStarts) }
        let dice = Dice(seed: (starts.next(), starts.next(), starts.next(), starts.next()))
        let settings = settings(of: node)
        recorder?.note(.started(index, wrongMs: node.skewMs), at: now)
        var recovered: [(place: Int, sighting: Sighting)]?
        if node.disk == nil {
            let wall = UInt64(Int64(dawnMs) + node.elapsedMs(at: now) + node.skewMs)
            node.core = NodeCore(settings, wallMilliseconds: wall, now: node.clock(at: now), dice: dice)
        } else {
            guard open(node, settings, dice) else { return }
            recovered = recoveredEvents(node)
        }
        trace.line(at: now, "n\(index) starts as \(node.replica)")
        let harm = node.harm
        feed(node, .tick)
        guard node.isRunning else { return }
        openSession(at: node, filter: nil, interests: [.events, .bus])
        if node.disk != nil { recall(node, recovered, after: previous, harm, was: last) }
        // What two nodes write under one id, neither of them has written alone.
        let isAlone = original == nil && !always.forgetful.contains(node.replica.rawValue)
        always.begins(node.replica.rawValue, witness: isAlone ? node.witness : nil)
        for _ in 0..<options.subscribersPerNode { openPlainSession(at: node) }
    }

    func settings(of node: Node) -> NodeSettings {
        let others = nodes.filter { $0.index != node.index }.map(\.address)
        var settings = NodeSettings(
            name: "n\(node.index)", replica: node.replica, advertise: node.address,
            httpAddress: "10.0.0.\(node.index + 1):5000",
            seeds: options.knowsAll ? others : node.index == 0 ? [] : [nodes[0].address], profile: options.profile)
        if options.keptEntries > 0 {
            settings.replication.retention = FactLog.Retention(bytes: 4 << 20, entries: options.keptEntries)
            settings.replication.retention.memoryMs = options.memoryMs
            excused.formUnion(Finally.countedWithRetention)
        }
        settings.replication.operationsMs = options.operationsMs
        settings.replication.tombstonesMs = options.tombstonesMs
        settings.limits.forgetVolatileAfterMs = options.forgetMs
        settings.clockWaitMs = Cluster.clockWaitMs
        settings.segmentBytes = options.segmentBytes
        settings.clusterSize = nodes.count
        settings.ackTimeoutMs = Cluster.ackTimeoutMs
        return settings
    }

    /// kill -9: everything in memory is gone, and the kernel resets the connections. What was written to the disk stays.
    func crash(_ index: Int) {
        guard nodes[index].isRunning else { return }
        tally.add(.crashes)
        trace.line(at: now, "n\(index) is killed")
        recorder?.note(.killed(index), at: now)
        nodes[index].disk?.kill()
        end(nodes[index], as: .down)
    }

    /// Asks a node to leave in good order; it runs until it says that it has left.
    func leave(_ index: Int) {
        guard nodes[index].state == .up else { return }
        tally.add(.leaves)
        nodes[index].state = .leaving
        recorder?.note(.leaving(index), at: now)
        feed(nodes[index], .leave)
    }

    /// Stops a process for so long: it gets nothing, then everything at once.
    func pause(_ index: Int, milliseconds: UInt64) {
        let node = nodes[index]
        guard node.isRunning, !node.isPaused else { return }
        tally.add(.pauses)
        trace.line(at: now, "n\(index) is stopped for \(milliseconds) ms")
        node.isPaused = true
        recorder?.note(.stopped(index, ms: milliseconds), at: now)
        agenda.add(.unpause(node: index, life: node.life), at: now + milliseconds * 1_000)
    }

    func unpause(_ node: Node, _ life: Int) {
        guard node.life == life, node.isPaused else { return }
        node.isPaused = false
        node.calmSince = now
        let backlog = node.backlog
        node.backlog = []
        for (input, bytes) in backlog { feed(node, input, bytes) }
        if node.owesDiskAnswer, let turn = node.disk?.turn { diskIsDone(node, life, turn) }
    }

    /// The process is gone.
    func end(_ node: Node, as state: Node.State) {
        node.core = nil
        node.state = state
        node.isPaused = false
        node.backlog = []
        if node.disk == nil {
            losses.append(Loss(at: now, node: node.index))
        } else {
            // The end of a process ends what it had asked for: jobs are carried out by a thread of it.
            node.disk!.kill()
        }
        for session in node.sessions {
            session.isOpen = false
            if let client = session.client { lostNode(client) }
        }
        for call in node.openCalls { agenda.add(.broken(call: call), at: now + crowd.delay()) }
        node.openCalls = []
        for call in node.openWrites.sorted() {
            guard case .graph(let place) = crowd.calls[call].errand else { continue }
            ledger.graph.ended(place)
            // In memory, only what waits for others is done before it is answered.
            if node.disk != nil || crowd.calls[call].level != .local { ledger.graph.neverAnswered(place) }
        }
        node.openWrites = []
        breakWires(of: node)
    }

    // MARK: Starting anew

    /// A node may have read a snapshot in place of what it missed. What waited for that is shown with the same input.
    func noticeSnapshots(_ count: Int, _ node: Node) {
        guard count != node.snapshots else { return }
        node.snapshots = count
        for session in node.sessions { session.missesHistory = true }
    }

    /// A node goes on under another id: with all that it has, or anew. Then it says so to its sessions and to those who
    /// wait: at once in memory; a durable one once its disk knows.
    func startsAnew(_ node: Node, as replica: ReplicaID, _ snapshots: Int) {
        if node.owedBeforeAnew == nil {
            let metrics = answerAside(node, .metrics(.init())).map(Finally.metrics)
            guard metrics?["hypha_resets_total"] != node.resets else {
                tally.add(.renewals)
                trace.line(at: now, "n\(node.index) goes on as \(replica)")
                node.replica = replica
                noticeSnapshots(snapshots, node)
                return always.begins(replica.rawValue, witness: node.witness)
            }
            node.resets = metrics?["hypha_resets_total"] ?? 0
            node.owedBeforeAnew = node.openCalls.filter { crowd.calls[$0].wasHeard }
            resets += 1
        }
        guard node.disk == nil || !node.witness.isOpen else { return }
        startedAnew(node, as: replica)
        noticeSnapshots(snapshots, node)
    }

    /// A node has started anew under another id, and closed its sessions.
    private func startedAnew(_ node: Node, as replica: ReplicaID) {
        // What was answered at this very moment was written before.
        lastReset = now + 1
        if let call = node.owedBeforeAnew?.first(where: { !crowd.calls[$0].isAnswered && !crowd.calls[$0].isDone }) {
            fail("a node that starts anew answers those who wait", "request \(call + 1) at node \(node.index)")
        }
        node.owedBeforeAnew = nil
        trace.line(at: now, "n\(node.index) starts anew as \(replica)")
        // In the fast profile all of it is a tenth. Who starts on one side of a cut does not know of the other.
        let rememberedMs = options.forgetMs / (options.profile == .lan ? 1 : 10)
        let areOld = tally[.restarts] + tally[.joins] + tally[.clones] == 0
        if now / 1_000 < rememberedMs, areOld, let why = complaints.last, why.contains("never read") {
            fail("who was away for less than the others remember it does not start anew", why)
        }
        node.replica = replica
        node.snapshots = 0
        // What a durable node read while its disk wrote down that it starts anew was shown to nobody here.
        node.missesHistory = node.disk != nil
        node.sessions = []
        openSession(at: node, filter: nil, interests: [.events, .bus])
        always.begins(node.replica.rawValue, witness: node.witness)
        for _ in 0..<options.subscribersPerNode { openPlainSession(at: node) }
    }
}

extension Node {
    /// A new life begins on this machine.
    func begin(as replica: ReplicaID) {
        life += 1
        state = .up
        self.replica = replica
        snapshots = 0
        missesHistory = false
        isPaused = false
        backlog = []
        wakeAt = nil
        scheduledAt = nil
        sessions = []
        (commitsAsked, commitsSynced, resets) = (0, 0, 0)
        (turnIsDue, owesDiskAnswer, owedBeforeAnew, hasRecovered) = (false, false, nil, false)
    }
}
