internal import CRDT
internal import Gossip
internal import NodeCore

/// What happens to disks.
///
/// What is promised depends on it. A slow, stuck or full disk, a failed sync and a loss of power take nothing away that a
/// durable node has told anybody. Bit rot, a lost file, an empty disk and a stale copy do: what only that disk had is
/// gone, and what N disks had is there as long as fewer than N of them were harmed. A machine set back to a stale copy
/// that it was not told of, or without its newest file, cannot know what it wrote since: until it hears from a peer it
/// may use numbers again, so its log may fork.
extension Cluster {
    /// Power is lost at these machines together.
    func losePower(_ machines: [Int], downMs: UInt64) {
        var isPlain = true
        for index in machines {
            let node = nodes[index]
            // The last peer in memory has nobody to remember for it.
            guard node.disk != nil || running.count > 1 || !node.isRunning else { continue }
            if node.isRunning {
                if isPlain { tally.add(.powerLosses) }
                isPlain = false
                trace.line(at: now, "n\(index) loses power")
                recorder?.note(.killed(index), at: now)
            }
            node.disk?.losePower()
            guard node.isRunning else { continue }
            end(node, as: .down)
            agenda.add(.boot(node: index, life: node.life), at: now + downMs * 1_000)
        }
    }

    func strike(_ fault: DiskFault, _ node: Node) {
        guard node.disk != nil else { return }
        switch fault {
        case .slow(let ms):
            tally.add(.slowDisks)
            node.disk!.slowUntil = max(node.disk!.slowUntil, now + ms * 1_000)
        case .stuck(let ms):
            tally.add(.stuckDisks)
            node.disk!.stuckUntil = max(node.disk!.stuckUntil, now + ms * 1_000)
        case .full(let leftBytes, let ms):
            tally.add(.fullDisks)
            node.disk!.capacity = node.disk!.usedBytes + Int(leftBytes)
            node.fillings += 1
            agenda.add(.roomReturns(node: node.index, filling: node.fillings), at: now + ms * 1_000)
        case .failure(let downMs):
            node.disk!.isFailing = true
            node.failureDownMs = downMs
        case .rot(let bits, let downMs):
            guard takeDown(node, downMs), node.disk!.flipBits(Int(bits)) else { return }
            tally.add(.rottenDisks)
            harm(node)
        case .lostFile(let downMs):
            guard takeDown(node, downMs), let gone = node.disk!.loseFile() else { return }
            tally.add(.lostFiles)
            trace.line(at: now, "n\(node.index) loses \(gone)")
            harm(node)
            // That there was a newer file, no other file says.
            if !node.disk!.held.keys.contains(where: { $0 > gone && $0.kind == .segment }) { forget(node) }
        case .wipe(let downMs):
            guard takeDown(node, downMs) else { return }
            tally.add(.wipedDisks)
            node.disk!.wipe()
            harm(node)
        case .stale(let afterMs, let downMs, let isTold):
            images.append(node.disk!.image())
            agenda.add(
                .setBack(node: node.index, image: images.count - 1, downMs: downMs, isTold: isTold),
                at: now + afterMs * 1_000)
        }
    }

    /// A machine comes back with a copy of its disk that was made some time ago.
    func setBack(_ node: Node, to image: Int, downMs: UInt64, isTold: Bool) {
        guard !isCalm, takeDown(node, downMs) else { return }
        tally.add(isTold ? .restoredDisks : .staleDisks)
        node.disk!.adopt(images[image])
        node.harm.isRestored = isTold
        harm(node)
        if !isTold { forget(node) }
    }

    /// Kills a node, if it runs, and starts it again later; false for a machine that never had one.
    private func takeDown(_ node: Node, _ downMs: UInt64) -> Bool {
        guard node.life > 0 else { return false }
        if node.isRunning {
            crash(node.index)
            agenda.add(.boot(node: node.index, life: node.life), at: now + downMs * 1_000)
        }
        return true
    }

    /// What only this machine's disk had may be gone.
    func harm(_ node: Node) {
        trace.line(at: now, "the disk of n\(node.index) is harmed")
        node.history += 1
        node.harm.isHarmed = true
        node.harm.wasEver = true
        // What it can still read of a log has another hash behind a hole; and two lives under one number differ.
        excused.formUnion(["hypha_log_forks_total", "hypha_state_mismatches_total"])
        losses.append(Loss(at: now, node: node.index))
    }

    /// The node that starts here next does not know how far its log went.
    private func forget(_ node: Node) {
        always.forgetful.insert(node.replica.rawValue)
    }

    /// There is room again.
    func makeRoom(_ node: Node) {
        guard node.disk?.capacity != nil else { return }
        node.disk!.capacity = nil
        node.calmSince = now
    }

    /// The disk does what it should from now on.
    func calm(_ node: Node) {
        makeRoom(node)
        node.disk!.isFailing = false
        node.disk!.slowUntil = 0
        guard node.disk!.stuckUntil > now else { return }
        node.disk!.stuckUntil = 0
        node.calmSince = now
        guard node.disk!.isBusy else { return }
        agenda.add(.diskIsDone(node: node.index, life: node.life, turn: node.disk!.turn), at: now + 1_000)
    }

    /// Whether what one machine acknowledged must be there: it still has it, or one of those has that had it as well.
    func survives(_ given: Acknowledgement, leftInPeace: Bool = false) -> Bool {
        let node = nodes[given.node]
        let isThere = node.disk != nil || node.isRunning || leftInPeace && node.state == .left
        // Whoever went on with what was left is the one whom all others follow.
        if let since = holesSince, given.at <= since { return false }
        if node.history == given.history, isThere { return true }
        // Under a log that forked, others confirm a number, and may mean another entry.
        if sharesIDs { return false }
        // Whoever lost anything since lost this too, and nobody got it again.
        return Set(losses.filter { $0.at >= given.at }.map(\.node)).count < given.copies
    }

    /// Whether one log may be written by two, or twice by one.
    var sharesIDs: Bool { tally[.clones] > 0 || !always.forgetful.isEmpty }

    /// A node refuses writes because its disk is full: for as long as it is, and a little longer.
    func refusedForRoom(_ node: Node) -> Violation? {
        tally.add(.refusedFull)
        guard let disk = node.disk else {
            return Violation("only a full disk refuses a write with 507", "node \(node.index) is in memory")
        }
        let since = max(node.calmSince, disk.slowUntil, disk.stuckUntil)
        guard disk.capacity == nil, now > since + Cluster.roomPatienceUs else { return nil }
        return Violation(
            "once a disk has room again its node takes writes",
            "node \(node.index) refuses one \((now - since) / 1_000) ms later")
    }

    /// A node asks about once a second whether there is room again.
    private static let roomPatienceUs: UInt64 = 5_000_000
}
