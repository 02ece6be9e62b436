import CRDT

/// Whether two nodes can go on with each other, said over every new link before anything else.
///
/// Who has not read what its peer has collected is *below* it and starts anew: it may hold what was removed there, or
/// lack what was folded. A node that comes empty is not below anybody, but it must not carry facts from one side of a
/// healed partition to the other: it *joins* one peer, reads all that it has, takes over what it collected, and only
/// then says to the others where it stands.
extension Replication {
    /// What a peer says about where it stands.
    struct Standing: Sendable {
        /// It has missed what this node has collected.
        let isBelow: Bool
        /// It has lost entries that others may have.
        var isLossy = false
        /// And it serves nobody before it has read them from a peer.
        var isWaiting = false
        /// How far it has read this node's own log: its vector may leave that out as retired.
        let readOfMine: UInt64

        init(isBelow: Bool, isLossy: Bool = false, isWaiting: Bool = false, readOfMine: UInt64) {
            self.isBelow = isBelow
            self.isLossy = isLossy
            self.isWaiting = isWaiting
            self.readOfMine = readOfMine
        }

        /// Reads the body of a standing frame: a byte of flags, a varint.
        init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
            let flags = try cursor.u8(bytes)
            (isBelow, isLossy, isWaiting) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0)
            readOfMine = try cursor.varint(bytes)
        }

        func encode(into out: inout [UInt8]) {
            out.append((isBelow ? 1 : 0) | (isLossy ? 2 : 0) | (isWaiting ? 4 : 0))
            out.append(varint: readOfMine)
        }
    }

    /// A link is up: says where this node stands, unless it is just joining another peer.
    mutating func greet(_ i: Int, clockMs: UInt64, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        guard !isJoining else {
            // The peer that it was joining is gone.
            if joining == nil { joinNext(clockMs: clockMs, now: now, into: &effects, &out) }
            return
        }
        sayStanding(i, into: &effects, &out)
    }

    private mutating func sayStanding(_ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        links[i].isBelow = !log.vector.entries.isEmpty && !isJoining && !log.hasRead(links[i].hello.collected)
        links[i].hasSaidStanding = true
        let start = Frame.begin(.standing, into: &out)
        Standing(
            isBelow: links[i].isBelow, isLossy: log.isLossy, isWaiting: waitsForLost,
            readOfMine: log.head(of: links[i].peer)
        ).encode(into: &out)
        finish(start, i, into: &effects, &out)
    }

    /// A peer said where it stands.
    mutating func receiveStanding(
        _ standing: Standing, of i: Int, clockMs: UInt64, now: Instant, into effects: inout [Effect],
        _ out: inout [UInt8]
    ) {
        guard !links[i].isAgreed, !links[i].isShunned else { return }
        links[i].standing = standing
        if isJoining, joining == nil { joinNext(clockMs: clockMs, now: now, into: &effects, &out) }
        settle(i, clockMs: clockMs, now: now, into: &effects, &out)
    }

    /// Both have said where they stand: they go on with each other, or one of them starts anew.
    private mutating func settle(
        _ i: Int, clockMs: UInt64, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard links[i].hasSaidStanding, let standing = links[i].standing else { return }
        // Said before it began to join another.
        if isJoining, joining != links[i].id { return effects.append(.hangUp(links[i].id)) }
        // What is lost matters more than what was collected: that a removal comes undone is the lesser harm.
        guard !mustFetchWhatIsLost(from: i, standing, into: &effects), canGoOn(with: i, standing, into: &effects) else {
            return
        }
        links[i].isAgreed = true
        lastWords[links[i].peer] = nil
        words &+= 1
        let hello = links[i].hello
        if log.vector.entries.isEmpty, !hello.vector.entries.isEmpty {
            isJoining = true
            joining = links[i].id
            // With the others it talks again when it knows where it stands.
            for other in links where other.id != links[i].id && other.hasSaidStanding {
                effects.append(.hangUp(other.id))
            }
        }
        guard checkForks(hello.vector, hello.hashes, of: i, into: &effects, &out) else { return }
        stability.claim(
            links[i].peer, hello.vector, time: believable(hello.lastTime, clockMs: clockMs), log: log)
        push(i, into: &effects, &out)
        askAgain(i, into: &effects, &out)
        if repairing == nil, isReading, lacks(hello.vector) { want(i, now: now, into: &effects, &out) }
        noteAhead(i, now: now)
    }

    /// Whether nobody else of these members has more of what was lost: all of them are linked, and have nothing, or have
    /// lost something too and start anew with this node.
    func isBestCopy(among known: [ReplicaID]) -> Bool {
        !links.isEmpty
            && known.allSatisfy { peer in
                links.contains { link in
                    guard link.peer == peer, let standing = link.standing else { return false }
                    return link.hello.vector.entries.isEmpty || standing.isLossy && log.me < peer
                }
            }
    }

    /// A node that has lost entries starts anew with the first peer that has any: of two such, the one of the higher id.
    private mutating func mustFetchWhatIsLost(
        from i: Int, _ standing: Standing, into effects: inout [Effect]
    ) -> Bool {
        let hello = links[i].hello
        guard log.isLossy, !hello.vector.entries.isEmpty else {
            // Who has lost something starts anew with whoever has anything; till then it says nothing worth reading.
            if standing.isLossy, standing.isWaiting || !log.vector.entries.isEmpty { links[i].isShunned = true }
            if waitsForLost { links[i].isShunned = true }
            return links[i].isShunned
        }
        guard !standing.isLossy || links[i].peer < log.me else {
            links[i].isShunned = true
            return true
        }
        let why = "entries that this node has lost are read from peer \(links[i].peer)"
        effects.append(.reset(startingAnew(.damaged, why, with: i, standing)))
        return true
    }

    /// Why this node starts anew with a peer that stays, and what that one has. Should the peer mean other entries by the
    /// numbers of this node's own log, it has none of what was written here under the same id.
    private func startingAnew(_ cause: Reset.Cause, _ why: String, with i: Int, _ standing: Standing) -> Reset {
        let hello = links[i].hello
        var known = hello.vector
        known.advance(log.me, to: standing.readOfMine)
        let differs = zip(hello.vector.entries, hello.hashes).contains { entry, hash in
            entry.replica == log.me && hash != 0
                && log.hash(of: log.mine, at: entry.sequence).map { $0 != hash } ?? false
        }
        let isForked = standing.readOfMine > log.head(of: log.mine) || differs && !log.isLossy
        return Reset(cause: cause, why: why, known: known, side: links[i].peer, forked: isForked ? log.me : nil)
    }

    private mutating func canGoOn(with i: Int, _ standing: Standing, into effects: inout [Effect]) -> Bool {
        let (mine, theirs) = (links[i].sent, links[i].hello)
        let peer = links[i].peer
        let iStartAnew: Bool
        switch (links[i].isBelow, standing.isBelow) {
        case (false, false): return true
        case (true, false): iStartAnew = true
        case (false, true): iStartAnew = false
        case (true, true):
            // The smaller side; of two equal ones the one without the lowest id.
            iStartAnew =
                (theirs.members, mine.lowest, log.me) > (mine.members, theirs.lowest, peer)
        }
        if iStartAnew {
            let why = "peer \(peer) has collected what this node never read"
            effects.append(.reset(startingAnew(.belowFloor, why, with: i, standing)))
        } else {
            links[i].isShunned = true
            lastWords[peer] = nil
            effects.append(.log(.info, "peer \(peer) missed what was collected here; it starts anew"))
        }
        return false
    }

    /// A peer has collected more. What one of a side has collected, all of it have: so nobody of it takes in what only
    /// some of them could still tell from what was removed. Says whether the two can go on with each other.
    mutating func noteCollected(_ news: VersionVector, of i: Int, into effects: inout [Effect]) -> Bool {
        guard !news.entries.isEmpty else { return true }
        links[i].theirCollected.merge(news)
        links[i].toldCollected.merge(news)
        if joining == links[i].id { return true }
        guard log.hasRead(news) else {
            // It has forgotten this node meanwhile. A new link begins with where both stand.
            effects.append(.hangUp(links[i].id))
            return false
        }
        collect(news)
        isToldDue = true
        return true
    }

    // MARK: - Joining

    /// All that the peer has was read that this node joined: now it stands where that peer does.
    mutating func joined(
        _ i: Int, clockMs: UInt64, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        isJoining = false
        joining = nil
        collect(links[i].theirCollected)
        for other in links.indices where other != i {
            // The hello that it was sent said that nothing was collected here. If that matters, it must hear the truth.
            if log.covers(links[other].hello.vector, collected) {
                sayStanding(other, into: &effects, &out)
                settle(other, clockMs: clockMs, now: now, into: &effects, &out)
            } else {
                effects.append(.hangUp(links[other].id))
            }
        }
    }

    /// The peer is gone that this node was joining: it goes on with another of the same side. One that has not said where
    /// it stands is joining somebody itself, and two that wait for each other would wait for ever.
    mutating func joinNext(clockMs: UInt64, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        let since = joiningNobodySince ?? now
        joiningNobodySince = since
        let isHopeless =
            links.contains { !$0.hasSaidStanding }
            && (links.allSatisfy(\.hello.vector.entries.isEmpty)
                || now.milliseconds(since: since) >= profile.repairDelayMs * Self.joiningPatience)
        guard !isHopeless else {
            // The others have come as empty as this node, or none of them has found a side either.
            (isJoining, joiningNobodySince) = (false, nil)
            for other in links.indices where !links[other].hasSaidStanding {
                sayStanding(other, into: &effects, &out)
                settle(other, clockMs: clockMs, now: now, into: &effects, &out)
            }
            return
        }
        guard
            let i = links.firstIndex(where: {
                !$0.hasSaidStanding && $0.standing?.isWaiting == false && !$0.hello.vector.entries.isEmpty
            })
        else { return }
        joiningNobodySince = nil
        guard log.vector.entries.isEmpty || log.hasRead(links[i].hello.collected) else {
            // Half of one side's facts and the other's do not go together.
            let why = "the peer that this node was joining is gone"
            return effects.append(
                .reset(Reset(cause: .orphaned, why: why, known: links[i].hello.vector, side: links[i].peer)))
        }
        joining = links[i].id
        sayStanding(i, into: &effects, &out)
        settle(i, clockMs: clockMs, now: now, into: &effects, &out)
    }
}
