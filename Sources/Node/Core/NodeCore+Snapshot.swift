import CRDT
import Gossip

/// The state that goes to a peer when the logs no longer hold what made it, and that comes from one.
///
/// | part | bytes behind its number and the highest packed time that the sender gave out or saw |
/// |---|---|
/// | 0 begin | nothing: the receiver's answers are 503 from here on |
/// | 1 documents | what `DocumentMap.encodeChunk` wrote |
/// | 2 signals | what `SignalMap.encodeChunk` wrote |
/// | 3 ids | 16 of an event's id, 8 of replica, a varint of sequence, 8 of packed time; again and again |
///
/// Every part can be merged twice and in any order. The logs' heads follow in a frame of replication's.
extension NodeCore {
    enum StatePart: UInt8 { case begin, documents, signals, ids }

    /// What of the state was not handed out yet.
    struct StateWalk: Sendable {
        var documents: DocumentMap.Walk? = DocumentMap.Walk()
        var signals: SignalMap.Walk? = SignalMap.Walk()
        /// The next position whose id is told; the entries that are held follow themselves.
        var position: Int
        let end: Int

        init(_ log: borrowing FactLog) {
            position = log.remembered
            end = log.end
        }
    }

    /// A snapshot on its way out to a peer.
    struct OutgoingState: Sendable {
        let link: LinkID
        var walk: StateWalk
        var hasBegun = false
    }

    /// A snapshot on its way in.
    struct IncomingState: Sendable {
        let link: LinkID
        /// This node came without anything, and merges each part as it comes: what came so far is of no use without the
        /// rest. Another keeps the parts until all are here, so that it never holds half of what somebody else knew.
        let isJoining: Bool
        var parts: [Part] = []
    }

    /// A part as it came.
    struct Part: Sendable {
        let part: StatePart
        let bytes: [UInt8]
    }

    /// Parts merged in one turn, so that none of them is long.
    private static let partsPerTurn = 2

    /// A chunk is about so large.
    static let chunkBytes = 64 << 10

    /// Whether what is here is not all that it should be: a snapshot is coming, or this node starts anew.
    var isIncomplete: Bool {
        incoming != nil || folded != nil || !staged.isEmpty || anew != nil || stateAhead != nil || waitsForLost
    }

    /// A state from a clock that is this far ahead is served after so long all the same, in milliseconds.
    private static let longestWaitMs: UInt64 = 60_000

    /// Like an entry, a state from the future waits until the clock here gets there, or is set right by the peers': what
    /// this node wrote before that would be older than what it holds.
    mutating func checkStateAhead(now: Instant) {
        guard let time = stateAhead, cluster.observeBelievable(time, now: now) else { return }
        stateAhead = nil
    }

    // MARK: - Sending

    mutating func beginSnapshot(_ link: LinkID) {
        outgoing.append(OutgoingState(link: link, walk: StateWalk(cluster.log)))
    }

    mutating func endSnapshot(_ link: LinkID) { outgoing.removeAll { $0.link == link } }

    /// The link takes another chunk.
    mutating func sendChunk(_ link: LinkID, now: Instant, into effects: inout Effects) {
        guard let at = outgoing.firstIndex(where: { $0.link == link }) else { return }
        guard outgoing[at].hasBegun else {
            outgoing[at].hasBegun = true
            return send(.begin, [], on: link, now: now, into: &effects)
        }
        var walk = outgoing[at].walk
        guard let (part, chunk) = nextPart(&walk) else {
            return cluster.finishSnapshot(link, now: now, into: &clusterEffects, &effects.bytes)
        }
        outgoing[at].walk = walk
        send(part, chunk, on: link, now: now, into: &effects)
    }

    /// The next part of the state, about 64 KiB of it; nil at the end.
    mutating func nextPart(_ walk: inout StateWalk) -> (StatePart, [UInt8])? {
        var chunk: [UInt8] = []
        if var documents = walk.documents {
            walk.documents =
                self.documents.encodeChunk(&documents, atMost: Self.chunkBytes, into: &chunk) ? documents : nil
            return (.documents, chunk)
        }
        if var signals = walk.signals {
            walk.signals = self.signals.encodeChunk(&signals, atMost: Self.chunkBytes, into: &chunk) ? signals : nil
            return (.signals, chunk)
        }
        guard walk.position < walk.end else { return nil }
        encodeIDs(&walk, into: &chunk)
        return (.ids, chunk)
    }

    mutating func send(
        _ part: StatePart, _ chunk: [UInt8], on link: LinkID, now: Instant, into effects: inout Effects
    ) {
        let last = cluster.hybrid.last
        cluster.sendState(.snapshot, on: link, now: now, into: &clusterEffects, &effects.bytes) { out in
            out.append(part.rawValue)
            out.append(littleEndian: last)
            out.append(contentsOf: chunk)
        }
    }

    /// Ids that are only remembered: those of entries that follow are read from the entries. What is held from before a
    /// skip does not follow.
    private func encodeIDs(_ state: inout StateWalk, into out: inout [UInt8]) {
        state.position = max(state.position, cluster.log.remembered)
        while state.position < state.end, out.count < Self.chunkBytes {
            let position = state.position
            state.position += 1
            guard !cluster.log.isServed(position), let id = index.id(at: position) else { continue }
            let record = cluster.log.record(at: position)
            out.append(littleEndian: id.high)
            out.append(littleEndian: id.low)
            out.append(replica: cluster.log.replica(in: Int(record.slot)))
            out.append(varint: record.sequence)
            out.append(littleEndian: record.time)
        }
    }

    // MARK: - Receiving

    /// A part of a peer's state.
    mutating func receiveState(
        _ link: LinkID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        guard let part = StatePart(rawValue: try cursor.u8(bytes)) else { return }
        let time = try cursor.u64(bytes)
        let body = bytes.extracting(cursor.offset..<bytes.byteCount)
        // A snapshot that waited for its turn until this node had asked another peer is not wanted any more. What comes
        // after a comparison is: both nodes were complete.
        let isWanted = part == .begin ? cluster.replication.repairLink == link : incoming?.link == link
        guard isWanted || part != .begin && !isIncomplete else { return }
        // What this node writes from now on comes after what is in there.
        if !cluster.observeBelievable(time, now: now) {
            // What nobody waits for must not bring the future with it.
            guard part == .begin || incoming != nil else { return }
            stateAhead = max(stateAhead ?? 0, min(time, (cluster.nowMs(now) + Self.longestWaitMs) << 16))
        }
        guard journal?.takesMore ?? true else {
            // There is nowhere to keep it, and half a state is of no use.
            if incoming?.link == link || part == .begin { close(link, now: now, into: &effects) }
            return
        }
        if part != .begin {
            journal?.note(incoming == nil ? .part : .staged) { out in
                out.append(part.rawValue)
                out.append(copying: body)
            }
        }
        if part == .begin {
            incoming = IncomingState(link: link, isJoining: cluster.replication.isJoining)
            effects.list.append(.log(.info, "reading a snapshot of what this node has missed"))
        } else if let incoming, !incoming.isJoining {
            self.incoming?.parts.append(Part(part: part, bytes: body.withUnsafeBytes { Array($0) }))
        } else {
            try merge(part, body, now: now)
        }
    }

    private mutating func merge(_ part: StatePart, _ body: RawSpan, now: Instant) throws(DecodeError) {
        try merge(part, body, latest: latestFold(now))
        if part == .signals, incoming == nil { retractCopies() }
    }

    /// Merges a part into the state. What copies of ids do that are not the event is to be taken back afterwards.
    mutating func merge(
        _ part: StatePart, _ body: RawSpan, latest: UInt64, isFromOwnDisk: Bool = false
    ) throws(DecodeError) {
        switch part {
        case .begin: break
        case .documents:
            try documents.merge(chunk: body)
            noteAllDocuments()
        case .signals: try signals.merge(chunk: body, latest: latest)
        case .ids:
            var cursor = ByteCursor(body)
            while cursor.remaining > 0 {
                let id = UUID(high: try cursor.u64(body), low: try cursor.u64(body))
                let replica = try cursor.replica(body)
                let sequence = try cursor.varint(body)
                let stamp = HybridTimestamp(time: try cursor.u64(body), replica: replica)
                guard !index.positions(of: id).contains(where: { cluster.log.stamp(at: $0) == stamp }) else { continue }
                let isNews = try cluster.remember(
                    replica, sequence: sequence, time: stamp.time, evenOwn: isFromOwnDisk)
                guard isNews else { continue }
                index.remember(id, stamp: stamp, log: cluster.log)
            }
        }
    }

    /// Operations stamped later than this, a packed time, no honest peer holds, whatever the clocks of both: their own
    /// entries it would hold back for as long.
    private func latestFold(_ now: Instant) -> UInt64 { (cluster.nowMs(now) + Self.clockToleranceMs) << 16 }
    private static let clockToleranceMs: UInt64 = 3_600_000

    /// Merges some of the parts of a snapshot that has come whole. Entries behind it may be read before.
    mutating func mergeStaged(now: Instant, into effects: inout Effects) {
        for next in staged.prefix(Self.partsPerTurn) {
            do throws(DecodeError) {
                try merge(next.part, next.bytes.span.bytes, now: now)
            } catch {
                counters.malformedStates += 1
                effects.list.append(.log(.warning, "a part of a peer's state is bad (\(error)); it is left out"))
            }
        }
        staged.removeFirst(min(Self.partsPerTurn, staged.count))
        if staged.isEmpty { retractCopies() }
    }

    /// The heads that belong to a snapshot came.
    mutating func adopted(_ vector: VersionVector) {
        orphanedSince = nil
        // Another peer's state may have come before, and the entries behind it may still be lacking.
        folded = folded ?? VersionVector()
        folded?.merge(vector)
        staged += incoming?.parts ?? []
        incoming = nil
        retractCopies()
    }

    /// So many repair delays a node waits for somebody who has the entries behind the state that it has read.
    private static let orphanPatience: UInt64 = 5

    /// A peer sent its state and went before it had sent the entries behind it. As a rule others have them; should it
    /// have been the only one, they are lost, and this node must not be the only one that knows what they did.
    mutating func checkFolded(now: Instant, into effects: inout Effects) {
        guard let folded else { return orphanedSince = nil }
        if cluster.log.hasRead(folded) { return self.folded = nil }
        guard cluster.hasReadAllPeers() else { return orphanedSince = nil }
        let since = orphanedSince ?? now
        orphanedSince = since
        guard now.milliseconds(since: since) >= settings.profile.repairDelayMs * Self.orphanPatience else { return }
        let why = "this node has read the state of a peer that is gone, and nobody has the entries behind it"
        reset(
            Reset(cause: .orphaned, why: why, known: cluster.replication.readByPeers, side: nil), now: now,
            into: &effects)
    }

    /// A repair brought nothing for too long. Half a state is of no use: only a new link brings a whole one.
    mutating func gaveUp(_ link: LinkID, now: Instant, into effects: inout Effects) {
        guard incoming?.link == link else { return }
        close(link, now: now, into: &effects)
    }

    /// The link is gone over which a snapshot came or went.
    mutating func lost(_ link: LinkID, now: Instant, into effects: inout Effects) {
        endSnapshot(link)
        guard let half = incoming, half.link == link else { return }
        incoming = nil
        journal?.note(.abandoned) { _ in }
        guard half.isJoining else { return }
        if folded != nil {
            // One state came whole, without all its entries, and half of another: the logs cannot tell the two apart.
            let why = "two peers whose state this node was reading went away"
            return reset(
                Reset(cause: .orphaned, why: why, known: cluster.replication.readByPeers, side: nil), now: now,
                into: &effects)
        }
        // Half a state without the logs that would complete it: another peer may send logs instead of a state.
        documents = DocumentMap()
        groups.forget()
        mailboxes = Mailboxes()
        chats = Chats()
        noteAllDocuments()
        signals = SignalMap(lambda: settings.decay)
        index = EventIndex(start: cluster.log.remembered)
        for position in cluster.log.remembered..<cluster.log.end { refold(position) }
        effects.list.append(.log(.warning, "the snapshot broke off; asking another peer"))
    }
}
