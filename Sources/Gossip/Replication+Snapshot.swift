internal import CRDT

/// A snapshot on its way to one peer. The owner of the state makes the chunks; this keeps the pace and ends it.
struct OutgoingSnapshot: Sendable {
    /// So much may wait in the transport before the next chunk.
    static let unsentLimitBytes = 1 << 20
    /// Snapshots sent at once; further peers wait, or ask somebody else.
    static let maximum = 2

    /// What the peer had read when it asked.
    let theirs: VersionVector
    /// When the next chunk may go; nil while it waits for its turn.
    var nextChunk: Instant?
    /// Every log's head when the first chunk was made: what the state holds at least.
    var heads = VersionVector()
    /// Where the log began then.
    var pin = 0
}

/// What a peer lacks and the logs no longer hold goes as a snapshot: the owner's state in chunks, then the logs' heads
/// at their floors, then the entries that are still held, then live traffic.
extension Replication {
    mutating func beginSnapshot(
        _ i: Int, for theirs: VersionVector, now: Instant, into effects: inout [Effect]
    ) {
        links[i].snapshot = OutgoingSnapshot(theirs: theirs)
        if canActivateSnapshot { activateSnapshot(i, now: now, into: &effects) }
    }

    /// Only a whole state is worth sending: who is still reading one lets others wait, or ask somebody else.
    private var canActivateSnapshot: Bool {
        holdsWholeState
            && links.indices.count(where: { links[$0].isSendingSnapshot }) < OutgoingSnapshot.maximum
    }

    private mutating func activateSnapshot(_ i: Int, now: Instant, into effects: inout [Effect]) {
        counters.snapshots += 1
        links[i].snapshot?.nextChunk = now
        links[i].snapshot?.pin = log.start
        links[i].snapshot?.heads = log.heads
        repin()
        effects.append(.log(.info, "sending a snapshot to peer \(links[i].peer)"))
        effects.append(.snapshotBegins(links[i].id))
    }

    /// Asks for the next chunk if the link and the pace allow it.
    mutating func advanceSnapshot(_ i: Int, now: Instant, into effects: inout [Effect]) {
        guard let next = links[i].snapshot?.nextChunk, next <= now,
            links[i].unsentBytes < OutgoingSnapshot.unsentLimitBytes
        else { return }
        effects.append(.chunkDue(links[i].id))
    }

    /// Sends a frame of the owner's: a chunk of a snapshot, or something about the comparison of states.
    public mutating func send(
        _ type: Frame.FrameType, on id: LinkID, now: Instant, into effects: inout [Effect], _ out: inout [UInt8],
        _ body: (inout [UInt8]) -> Void
    ) {
        guard let i = index(of: id) else { return }
        let start = Frame.begin(type, into: &out)
        body(&out)
        let bytes = out.count - start
        finish(start, i, into: &effects, &out)
        guard links[i].snapshot?.nextChunk != nil else { return }
        links[i].snapshot?.nextChunk = now.advanced(
            milliseconds: UInt64(max(1, bytes / max(1, settings.snapshotBytesPerMs))))
    }

    /// The owner has sent its whole state: the heads follow, and then an ordinary repair from there.
    public mutating func finishSnapshot(
        _ id: LinkID, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard let i = index(of: id), let snapshot = links[i].snapshot else { return }
        for entry in snapshot.heads.entries {
            guard let slot = log.knownSlot(of: entry.replica), log.floor(of: slot) > entry.sequence + 1 else {
                continue
            }
            // So slow that the log went past the state that was sent: once more.
            endSnapshot(i, into: &effects)
            return beginSnapshot(i, for: snapshot.theirs, now: now, into: &effects)
        }
        let start = Frame.begin(.heads, into: &out)
        log.encodeHeads(of: snapshot.heads, collected: collected, into: &out)
        finish(start, i, into: &effects, &out)
        let theirs = snapshot.theirs
        endSnapshot(i, into: &effects)
        // What lies below the floors was in the state.
        links[i].repair = (0..<log.slotCount).map {
            max(log.head(of: log.replica(in: $0), in: theirs) + 1, log.floor(of: $0))
        }
        continueRepair(i, now: now, into: &effects, &out)
    }

    mutating func endSnapshot(_ i: Int, into effects: inout [Effect]) {
        let wasActive = links[i].snapshot?.nextChunk != nil
        links[i].snapshot = nil
        repin()
        if wasActive { effects.append(.snapshotEnded(links[i].id)) }
    }

    /// Lets the next one begin whose turn it is.
    mutating func startWaitingSnapshots(now: Instant, into effects: inout [Effect]) {
        while let i = links.indices.first(where: { links[$0].isSnapshotWaiting }), canActivateSnapshot {
            activateSnapshot(i, now: now, into: &effects)
        }
    }

    private mutating func repin() {
        log.pin = links.compactMap { $0.snapshot?.nextChunk == nil ? nil : $0.snapshot?.pin }.min()
    }

    /// Remembers the number and stamp of an entry that the sender of a snapshot no longer holds itself.
    /// A peer cannot tell of an own one that was never here; this node's own disk can.
    mutating func remember(
        _ replica: ReplicaID, sequence: UInt64, time: UInt64, evenOwn: Bool
    ) throws(DecodeError) -> Bool {
        guard VersionVector.sequences.contains(sequence) else { throw .badValue(field: "sequence") }
        let slot = try slot(ofPeers: replica)
        guard slot != log.mine || evenOwn else { return false }
        _ = log.remember(slot: slot, sequence: sequence, time: time)
        return true
    }

    /// The heads that belong to a snapshot came: everything below the floors is in the state that came before.
    mutating func adopt(_ heads: Heads) throws(DecodeError) {
        counters.adoptions += 1
        for (entry, floor) in zip(heads.heads.entries, heads.floors) {
            let slot = try slot(ofPeers: entry.replica)
            guard slot != log.mine else { continue }
            log.skip(slot: slot, to: floor.floor, hash: floor.hash)
            room.remove(slot: slot, through: floor.floor - 1)
        }
        // A log of which the sender has nothing left is in the state to its end. Nobody will send more of it, and the
        // very entry that retired it may depend on it.
        let others = heads.retired.filter { $0.replica != log.me }
        for ended in others where heads.heads[ended.replica] == 0 {
            log.retire(ended.replica, last: ended.last, by: ended.by)
            if log.knownSlot(of: ended.replica) == nil { log.retirements[ended.replica]?.hash = ended.hash }
        }
        pendingRetirements = others.filter { heads.heads[$0.replica] > 0 }.map { ($0.replica, $0.last, $0.by) }
        adoptRetirements()
        collect(heads.collected)
    }
}
