public import CRDT

/// What becomes of a claim about somebody.
extension Membership {
    /// How a claim came here.
    enum Source: Equatable, Sendable {
        /// The member itself said it, in its own datagram or handshake.
        case firsthand
        /// As news, told from peer to peer.
        case gossip
        /// As part of somebody's whole view, which may be old: after a partition it is full of deaths that are none.
        case table
    }

    mutating func learn(_ rumor: Rumor, _ source: Source, now: Instant, into effects: inout Effects) {
        let claim = rumor.member
        guard claim.replica != me.replica else { return answerClaim(claim, now: now, into: &effects) }
        guard claim.gossip.isSpecific else { return }
        guard let at = index(of: claim.replica) else {
            return discover(rumor, source, now: now, into: &effects)
        }
        let known = records[at].member
        switch claim.state {
        case .suspect where source == .table, .dead where source == .table && known.isPresent:
            // What is true of it comes as a rumor, or this node's own probes find out. What is not is refuted, since
            // whoever believes it announces itself to the one it believes dead.
            break
        case .suspect:
            accuse(claim, by: rumor.accuser, now: now, into: &effects)
        case .alive, .dead, .left:
            guard claim.supersedes(known) else { break }
            adopt(claim, accuser: rumor.accuser, ageMs: rumor.ageMs, now: now, into: &effects)
        }
        if source == .firsthand { replaceOthers(at: claim, now: now, into: &effects) }
    }

    /// A claim about a stranger.
    private mutating func discover(_ rumor: Rumor, _ source: Source, now: Instant, into effects: inout Effects) {
        var claim = rumor.member
        claim.since = now
        switch claim.state {
        case .dead, .left:
            // The dead matter if they can come back with what only they have, and are not too long dead.
            guard claim.isDurable, rumor.ageMs < lifetimeMs(of: claim) else { return }
        case .alive, .suspect:
            break
        }
        guard makeRoom(for: claim, now: now, into: &effects) else {
            counters.refused += 1
            return
        }
        let suspected = claim.state == .suspect
        if suspected { claim.state = .alive }
        records.insert(
            Record(member: claim, accuser: rumor.accuser, forgetAt: now), at: position(of: claim.replica))
        settle(claim.replica, ageMs: rumor.ageMs, now: now)
        effects.list.append(.changed(claim, was: nil))
        complain(claim.replica, claim.protocols, at: claim.gossip, now: now, into: &effects)
        if claim.state == .alive {
            rumors.add(claim.replica, accuser: rumor.accuser)
            effects.list.append(.log(.info, "\(claim.name) (\(claim.replica)) joined from \(claim.gossip)"))
            if records.contains(where: {
                $0.member.name == claim.name && $0.member.replica != claim.replica
                    && $0.member.isPresent && $0.member.gossip != claim.gossip
            }) || me.name == claim.name {
                effects.list.append(
                    .log(
                        .warning, "two live nodes are named \(claim.name); give each its own --name to tell them apart")
                )
            }
        }
        if suspected { accuse(rumor.member, by: rumor.accuser, now: now, into: &effects) }
        if source == .firsthand { replaceOthers(at: claim, now: now, into: &effects) }
    }

    /// A member of an earlier life of this node: dead until it says otherwise, in any life but the last one known.
    mutating func remember(_ member: Member, now: Instant) {
        var member = member
        member.state = .dead
        member.since = now
        let last = member.incarnation
        member.incarnation =
            last.counter > 0
            ? Incarnation(epoch: last.epoch, counter: 0) : Incarnation(epoch: max(last.epoch, 1) - 1, counter: .max)
        records.insert(
            Record(
                member: member, accuser: me.replica,
                forgetAt: now.advanced(milliseconds: lifetimeMs(of: member))), at: position(of: member.replica))
    }

    /// The durable others, as rumors: what a durable node remembers of them when it starts again.
    public func encodeRemembered(into out: inout [UInt8]) {
        for record in records where record.member.isDurable {
            var member = record.member
            member.state = .dead
            Rumor(member: member, accuser: member.replica).encode(into: &out)
        }
    }

    /// Reads what `encodeRemembered` wrote.
    public static func remembered(_ bytes: RawSpan) throws(DecodeError) -> [Member] {
        var cursor = ByteCursor(bytes)
        var members: [Member] = []
        while cursor.remaining > 0 { members.append(try Rumor(&cursor, bytes).member) }
        return members
    }

    /// Believes a claim that supersedes what was believed, and passes it on.
    mutating func adopt(
        _ claim: Member, accuser: ReplicaID, ageMs: UInt64 = 0, now: Instant, into effects: inout Effects
    ) {
        guard let at = index(of: claim.replica) else { return }
        let was = records[at].member
        assert(claim.supersedes(was), "\(claim) does not supersede \(was)")
        var updated = claim
        updated.since = claim.state == was.state ? was.since : now
        records[at].member = updated
        records[at].accuser = accuser
        settle(claim.replica, ageMs: ageMs, now: now)
        rumors.add(claim.replica, accuser: accuser)
        effects.list.append(.changed(updated, was: was.state))
        if claim.protocols != was.protocols {
            complain(claim.replica, claim.protocols, at: claim.gossip, now: now, into: &effects)
        }
        guard claim.state != was.state else { return }
        let by = accuser == me.replica ? "this node" : member(accuser)?.name ?? accuser.description
        switch claim.state {
        case .alive: effects.list.append(.log(.info, "\(claim.name) (\(claim.replica)) is alive again"))
        case .suspect: effects.list.append(.log(.info, "\(claim.name) (\(claim.replica)) is suspected by \(by)"))
        case .dead: effects.list.append(.log(.warning, "\(claim.name) (\(claim.replica)) is dead, says \(by)"))
        case .left: effects.list.append(.log(.info, "\(claim.name) (\(claim.replica)) left"))
        }
        if claim.state == .dead { counters.deaths += 1 }
        if claim.state >= .dead { keepGoneBounded(now: now, into: &effects) }
    }

    /// Brings ring, suspicions and the moment of forgetting in line with a record's state.
    private mutating func settle(_ replica: ReplicaID, ageMs: UInt64, now: Instant) {
        guard let at = index(of: replica) else { return }
        let member = records[at].member
        if member.state != .suspect { suspicions.removeAll { $0.replica == replica } }
        if member.isPresent {
            ring.insert(replica, &dice)
        } else {
            ring.remove(replica)
            if probe?.target == replica { probe = nil }
            let lifetime = lifetimeMs(of: member)
            records[at].forgetAt = now.advanced(milliseconds: lifetime - min(ageMs, lifetime))
            records[at].isDeafToDatagrams = false
        }
    }

    /// One address holds one process: whoever was there before the member that speaks from it now is gone. That is
    /// how a node without a disk, restarted at its address under a new id, costs no suspicion.
    private mutating func replaceOthers(at claim: Member, now: Instant, into effects: inout Effects) {
        guard let mine = member(claim.replica), mine.state == .alive, mine.incarnation == claim.incarnation,
            mine.gossip == claim.gossip
        else { return }
        if claim.gossip == me.gossip {
            effects.list.append(
                .log(
                    .error,
                    "\(claim.name) (\(claim.replica)) advertises this node's address \(me.gossip); fix --advertise"))
        }
        let others = records.indices.filter {
            records[$0].member.gossip == claim.gossip && records[$0].member.isPresent
                && records[$0].member.replica != claim.replica
        }.map { records[$0].member }
        for other in others {
            var verdict = other
            verdict.state = .dead
            adopt(verdict, accuser: me.replica, now: now, into: &effects)
        }
    }

    /// Somebody claims something about this node.
    private mutating func answerClaim(_ claim: Member, now: Instant, into effects: inout Effects) {
        guard phase == .present else { return }
        if claim.incarnation.epoch > me.incarnation.epoch
            || (claim.incarnation.epoch == me.incarnation.epoch && claim.nonce != me.nonce)
        {
            reportClone(epoch: claim.incarnation.epoch, nonce: claim.nonce, at: claim.gossip, now: now, into: &effects)
        }
        if claim.incarnation.epoch > me.incarnation.epoch, claim.state >= .dead, claim.incarnation.epoch < .max {
            // A copy of the data directory ran under this id and is gone: this node is not, and must count as later.
            counters.refutations += 1
            return outlive(epoch: claim.incarnation.epoch, into: &effects)
        }
        if claim.incarnation.epoch < me.incarnation.epoch {
            // About an earlier start, which may well be dead; the news is that there is a later one.
            return spreadMyself()
        }
        // Only exactly this id and epoch is this node: what is said of a later start is not for it to deny.
        guard claim.incarnation.epoch == me.incarnation.epoch, claim.state != .alive,
            claim.incarnation >= me.incarnation
        else { return }
        guard claim.incarnation.counter < .max else {
            effects.list.append(
                .log(.error, "cannot refute that this node is \(claim.state): no incarnation is above; restart it"))
            return
        }
        counters.refutations += 1
        localHealth.worsen()
        me.incarnation.counter = claim.incarnation.counter + 1
        spreadMyself()
        effects.list.append(.changed(me, was: me.state))
        effects.list.append(.log(.info, "refuting that this node is \(claim.state)"))
    }

    /// Begins an epoch after one that a copy has used.
    mutating func outlive(epoch: UInt64, into effects: inout Effects) {
        guard phase == .present, epoch >= me.incarnation.epoch, epoch < .max else { return }
        me.incarnation = Incarnation(epoch: epoch + 1)
        spreadMyself()
        effects.list.append(.changed(me, was: me.state))
        effects.list.append(
            .log(.info, "a copy of this node ran in epoch \(epoch); this node goes on in epoch \(epoch + 1)"))
    }

    /// Another process runs under this id. It is visited, now and again until one of the two has yielded: the first visit
    /// may not have got through.
    mutating func reportClone(
        epoch: UInt64, nonce: UInt64, at address: Address, now: Instant, into effects: inout Effects
    ) {
        if let lastClone, lastClone.epoch == epoch, lastClone.nonce == nonce,
            now.milliseconds(since: lastClone.at) < profile.probeIntervalMs * Self.cloneVisits
        {
            return
        }
        lastClone = (epoch, nonce, now)
        effects.list.append(.cloned(epoch: epoch, nonce: nonce, at: address))
    }

    /// A handshake over a link succeeded: the peer is there, whatever was said of it.
    mutating func meet(_ peer: Member, now: Instant, into effects: inout Effects) {
        if peer.replica == me.replica {
            guard peer.nonce != me.nonce, peer.incarnation.epoch >= me.incarnation.epoch else { return }
            return reportClone(
                epoch: peer.incarnation.epoch, nonce: peer.nonce, at: peer.gossip, now: now, into: &effects)
        }
        var claim = peer
        claim.state = .alive
        learn(Rumor(member: claim, accuser: claim.replica), .firsthand, now: now, into: &effects)
        if probe?.target == peer.replica { answered(viaLink: true, into: &effects) }
        guard let at = index(of: peer.replica), records[at].member.state != .alive else { return }
        announce(to: records[at].member.gossip, now: now, into: &effects)
    }
}

// MARK: Forgetting, and the table as a whole

extension Membership {
    /// How long a dead or left member is known, in milliseconds.
    func lifetimeMs(of member: Member) -> UInt64 {
        switch member.state {
        // A durable one is stopped and started again: it comes back with what only it has.
        case .left where !member.isDurable: scaled(60_000)
        case .alive, .suspect, .dead, .left:
            member.isDurable ? limits.forgetAfterMs : scaled(limits.forgetVolatileAfterMs)
        }
    }

    mutating func forget(now: Instant, into effects: inout Effects) {
        guard census.present < records.count else { return }
        for record in records where record.member.state >= .dead && now >= record.forgetAt {
            drop(record.member.replica, into: &effects)
        }
    }

    private mutating func drop(_ replica: ReplicaID, into effects: inout Effects) {
        guard let at = index(of: replica) else { return }
        let member = records.remove(at: at).member
        rumors.remove(replica)
        effects.list.append(.forgotten(member))
    }

    /// Of more gone members than the limit, those that would be forgotten first are forgotten now.
    private mutating func keepGoneBounded(now: Instant, into effects: inout Effects) {
        while records.count - census.present > limits.gone { _ = dropFirstGone(into: &effects) }
    }

    private mutating func dropFirstGone(into effects: inout Effects) -> Bool {
        let gone = records.filter { $0.member.state >= .dead }
        guard let first = gone.min(by: { ($0.forgetAt, $0.member.replica) < ($1.forgetAt, $1.member.replica) }) else {
            return false
        }
        drop(first.member.replica, into: &effects)
        return true
    }

    private mutating func makeRoom(for claim: Member, now: Instant, into effects: inout Effects) -> Bool {
        if claim.state >= .dead, records.count - census.present >= limits.gone { return false }
        if records.count + 1 < limits.members { return true }
        return claim.isPresent && dropFirstGone(into: &effects)
    }

    /// What is told about a record: the member, who accuses it, and for how long it is gone.
    func rumor(_ record: Record, accuser: ReplicaID? = nil, now: Instant) -> Rumor {
        let lifetime = lifetimeMs(of: record.member)
        let age = record.member.state >= .dead ? lifetime - min(lifetime, record.forgetAt.milliseconds(since: now)) : 0
        return Rumor(member: record.member, accuser: accuser ?? record.accuser, ageMs: age)
    }

    /// Appends rumors about everybody for a link's handshake: this node first, then the others by replica.
    ///
    /// At most `maxBytes` at a time; returns the last replica written if there is more, which is `after` for the next
    /// call, and nil at the end. The bytes are for `Input.learned`.
    public func encodeTable(
        after: ReplicaID? = nil, maxBytes: Int = 64 * 1_024, now: Instant, into out: inout [UInt8]
    ) -> ReplicaID? {
        let start = out.count
        if after == nil, me.gossip.isSpecific { Rumor(member: me, accuser: me.replica).encode(into: &out) }
        var last = after
        for record in records[(after.map { index(of: $0).map { $0 + 1 } ?? position(of: $0) } ?? 0)...] {
            let before = out.count
            rumor(record, now: now).encode(into: &out)
            if out.count - start > maxBytes, last != after {
                out.removeLast(out.count - before)
                return last
            }
            last = record.member.replica
        }
        return nil
    }

    mutating func learnTable(_ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        var cursor = ByteCursor(bytes)
        do {
            // Bounded by the frame it came in, and by the caps of what is kept.
            while cursor.remaining > 0 {
                learn(try Rumor(&cursor, bytes), .table, now: now, into: &effects)
            }
        } catch {
            counters.malformed += 1
            effects.list.append(.log(.warning, "a member table over a link was not readable: \(error)"))
        }
    }
}
