import CRDT

/// Joining, healing, spreading and leaving.
extension Membership {
    /// Everybody who might not know that this node is here is told so, for ever: seeds that no live member has, and
    /// the dead who are not forgotten. That is how a partition heals without anybody's help.
    mutating func announceRound(now: Instant, into effects: inout Effects) {
        let unanswered = seeds.filter { !$0.isMe && !isPresent($0.answeredBy) }.map(\.address)
        let dead = records.indices.filter { records[$0].member.state == .dead }.map { records[$0].member.gossip }
        var targets = Set(unanswered + dead)
        if !targets.isEmpty {
            targets.remove(me.gossip)
            for at in records.indices where records[at].member.isPresent { targets.remove(records[at].member.gossip) }
        }
        var order = targets.sorted()
        if order.count > limits.announces {
            order.shuffle(using: &dice)
            order.removeLast(order.count - limits.announces)
        }
        for address in order { announce(to: address, wantsTable: true, now: now, into: &effects) }

        // Two quick ones, in case that all were started at once and the seeds were not up yet.
        let pauseMs =
            switch announceRounds {
            case 0: profile.dialIntervalMs / 4
            case 1: profile.dialIntervalMs / 2
            default: profile.announceIntervalMs
            }
        announceRounds = min(announceRounds + 1, 2)
        // Between three and five quarters, so that a cluster does not fall into step.
        nextAnnounce = now.advanced(milliseconds: pauseMs * 3 / 4 + dice.below(pauseMs / 2 + 1))
    }

    private func isPresent(_ replica: ReplicaID?) -> Bool { replica.flatMap { member($0)?.isPresent } ?? false }

    /// Tells an address of this node, and the one who was last there what is said of it, so that it can refute.
    mutating func announce(
        to address: Address, wantsTable: Bool = false, now: Instant, into effects: inout Effects
    ) {
        var words = myRumor
        let accused = records.indices.filter {
            records[$0].member.gossip == address && [.suspect, .dead].contains(records[$0].member.state)
        }.map { records[$0] }
        if let last = accused.max(by: { ($0.member.since, $0.member.replica) < ($1.member.since, $1.member.replica) }) {
            words.append(rumor(last, now: now))
        }
        send(
            .announce(you: address, wantsTable: wantsTable, summary), to: address, first: words, now: now,
            into: &effects)
    }

    /// Answers an announcement; with `everybody`, the newcomer is told of the others at once.
    mutating func welcome(
        _ address: Address, first: [Rumor] = [], everybody: Bool = false, now: Instant, into effects: inout Effects
    ) {
        var words = myRumor + first
        if everybody {
            let said = Set(words.map(\.member.replica))
            words += records.filter { $0.member.state != .left && !said.contains($0.member.replica) }
                .shuffled(using: &dice).map { rumor($0, now: now) }
        }
        var scratch: [UInt8] = []
        var datagrams = 0
        repeat {
            scratch.removeAll(keepingCapacity: true)
            let fitting = words.prefix { word in
                word.encode(into: &scratch)
                return scratch.count <= Datagram.sizeLimit - Datagram.headLimit
            }
            send(.welcome(you: address, summary), to: address, first: Array(fitting), now: now, into: &effects)
            words.removeFirst(fitting.count)
            datagrams += 1
        } while !words.isEmpty && datagrams < limits.welcomeDatagrams
    }

    /// Takes over the address at which another one reaches this node, if it has no specific one of its own. True if
    /// there is a new one, which nobody knows yet.
    @discardableResult
    mutating func adoptAddress(_ seen: Address, now: Instant, into effects: inout Effects) -> Bool {
        guard !me.gossip.isSpecific, seen.isSpecific else { return false }
        let hasHost = Address(high: me.gossip.high, low: me.gossip.low, port: 1).isSpecific
        me.gossip = Address(
            high: hasHost ? me.gossip.high : seen.high, low: hasHost ? me.gossip.low : seen.low,
            port: me.gossip.port != 0 ? me.gossip.port : seen.port)
        spreadMyself()
        effects.list.append(.changed(me, was: me.state))
        effects.list.append(.log(.info, "others reach this node at \(me.gossip), which it advertises from now on"))
        return true
    }

    /// What this node says about itself; nothing while it does not know its own address.
    var myRumor: [Rumor] { me.gossip.isSpecific ? [Rumor(member: me, accuser: me.replica)] : [] }

    mutating func spreadMyself() {
        if me.gossip.isSpecific { rumors.add(me.replica, accuser: me.replica) }
    }
}

// MARK: Comparing tables

extension Member {
    /// Names one incarnation of one member; see `Membership.tableHash`.
    var lifeHash: UInt64 {
        let life = incarnation.epoch << 32 ^ UInt64(incarnation.counter)
        return XXH64.avalanche(replica.rawValue ^ XXH64.avalanche(life &+ 1))
    }
}

extension Membership {
    /// A hash of who takes part, and in which incarnation. It does not depend on who suspects whom.
    ///
    /// Rumors are told a bounded number of times, so one in some hundreds misses somebody; when many join at once,
    /// before they know of each other, more do. Equal hashes on probes and answers prove that nothing was missed.
    var tableHash: UInt32 {
        UInt32(truncatingIfNeeded: census.lives &+ me.lifeHash)
    }

    /// A hash that differs is nothing while a rumor is on its way. When it still does after a while, the table is
    /// asked for, from the one whose hash it was.
    mutating func compareTables(_ theirs: UInt32, with peer: Address, now: Instant, into effects: inout Effects) {
        guard theirs != tableHash else { return differsSince = nil }
        let since = differsSince ?? now
        differsSince = since
        guard now.milliseconds(since: since) >= profile.repairDelayMs, now >= nextPull else { return }
        nextPull = now.advanced(milliseconds: profile.announceIntervalMs)
        announce(to: peer, wantsTable: true, now: now, into: &effects)
    }
}

// MARK: Spreading rumors

extension Membership {
    /// The recently dead hear the gossip too: if they are not dead, that is how they learn what is said.
    func hearsGossip(_ record: Record, now: Instant) -> Bool {
        record.member.isPresent
            || (record.member.state == .dead && now.milliseconds(since: record.member.since) < scaled(30_000))
    }

    /// Tells some at random what is new; silent when nothing is.
    mutating func gossip(now: Instant, into effects: inout Effects) {
        guard now >= nextGossip, !rumors.isEmpty else { return }
        nextGossip = now.advanced(milliseconds: profile.gossipIntervalMs)
        let ears = records.indices.filter { hearsGossip(records[$0], now: now) }
        for at in draw(profile.gossipFanout, from: ears) where !rumors.isEmpty {
            send(.gossip, to: records[at].member.gossip, now: now, into: &effects)
        }
    }
}

// MARK: Leaving

extension Membership {
    /// Told to so many in each of the three rounds; the others hear it from these.
    private static let goodbyes = 10
    private static let goodbyeRounds = 3

    /// Says goodbye under an incarnation of its own, which no accusation of before can override.
    mutating func startLeaving(now: Instant, into effects: inout Effects) {
        guard phase == .present else { return }
        if me.incarnation.counter < .max { me.incarnation.counter += 1 }
        me.state = .left
        me.since = now
        phase = .leaving(rounds: Self.goodbyeRounds)
        probe = nil
        suspicions = []
        relays = []
        nextGossip = now
        effects.list.append(.changed(me, was: .alive))
        sayGoodbye(now: now, into: &effects)
    }

    mutating func sayGoodbye(now: Instant, into effects: inout Effects) {
        guard case .leaving(let rounds) = phase, now >= nextGossip else { return }
        let peers = draw(Self.goodbyes, from: records.map(\.member).filter(\.isPresent))
        for peer in peers { send(.gossip, to: peer.gossip, first: myRumor, now: now, into: &effects) }
        nextGossip = now.advanced(milliseconds: profile.gossipIntervalMs)
        phase = rounds == 1 || peers.isEmpty ? .gone : .leaving(rounds: rounds - 1)
        if phase == .gone { effects.list.append(.left) }
    }
}
