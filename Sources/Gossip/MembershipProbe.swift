import CRDT

/// The probe under way: one member, asked directly, then through others and over the link.
struct Probe: Sendable {
    let target: ReplicaID
    let sequence: UInt32
    /// When it began. An answer is no older.
    let sentAt: Instant
    /// When others are asked; nil once they are.
    var askOthersAt: Instant?
    /// When silence becomes a suspicion.
    var endsAt: Instant
    /// Members asked to ping, and how many of them said that they cannot reach it either.
    var asked = 0
    var nacks: Set<ReplicaID> = []

    var nextStep: Instant { askOthersAt ?? endsAt }

    mutating func shift(byMs lateMs: UInt64) {
        askOthersAt = askOthersAt?.advanced(milliseconds: lateMs)
        endsAt = endsAt.advanced(milliseconds: lateMs)
    }
}

/// A ping carried out for another member.
struct Relay: Sendable {
    /// The sequence of the ping sent from here, and the one its asker waits for.
    let sequence: UInt32
    let theirs: UInt32
    let asker: Address
    let target: ReplicaID
    /// When the asker is told that there was no answer.
    var nackAt: Instant
}

/// Whom to probe next: everybody in turn, in an order that is shuffled anew each round, so that each member is probed
/// within 2n − 1 intervals for certain (SWIM section 4.3).
struct ProbeRing: Sendable {
    private(set) var order: [ReplicaID] = []
    private var at = 0

    /// Adds a member at a random place, so that those who join together are not probed together.
    mutating func insert(_ replica: ReplicaID, _ dice: inout Dice) {
        guard !order.contains(replica) else { return }
        let place = Int(dice.below(UInt64(order.count + 1)))
        order.insert(replica, at: place)
        if place < at { at += 1 }
    }

    mutating func remove(_ replica: ReplicaID) {
        guard let place = order.firstIndex(of: replica) else { return }
        order.remove(at: place)
        if place < at { at -= 1 }
    }

    mutating func next(_ dice: inout Dice) -> ReplicaID? {
        guard !order.isEmpty else { return nil }
        if at >= order.count {
            order.shuffle(using: &dice)
            at = 0
        }
        defer { at += 1 }
        return order[at]
    }
}

extension Membership {
    /// One probe per interval (times the local health multiplier): ping, ask others, conclude.
    mutating func advanceProbe(now: Instant, into effects: inout Effects) {
        if var current = probe {
            if let askAt = current.askOthersAt, now >= askAt {
                askOthers(&current, now: now, into: &effects)
                probe = current
            } else if current.askOthersAt == nil, now >= current.endsAt {
                probe = nil
                unanswered(current, now: now, into: &effects)
            }
        }
        guard probe == nil, now >= nextProbe else { return }
        let multiplier = localHealth.multiplier
        nextProbe = now.advanced(milliseconds: profile.probeIntervalMs * multiplier)
        guard let target = ring.next(&dice), let record = index(of: target).map({ records[$0] }) else {
            localHealth.improve()
            return
        }
        counters.probes += 1
        sequence &+= 1
        probe = Probe(
            target: target, sequence: sequence, sentAt: now,
            askOthersAt: now.advanced(milliseconds: profile.probeTimeoutMs * multiplier), endsAt: nextProbe)
        send(
            .ping(sequence: sequence, target: target, table: tableHash, summary), to: record.member.gossip,
            now: now, into: &effects)
    }

    private mutating func askOthers(_ current: inout Probe, now: Instant, into effects: inout Effects) {
        guard let at = index(of: current.target) else { return current.askOthersAt = nil }
        let target = records[at].member
        let others = records.indices.filter { $0 != at && records[$0].member.state == .alive }
        let helpers = draw(profile.indirectProbes, from: others).map { records[$0].member }
        // A tick that is a little late must not eat the time in which the others can answer.
        let graceMs = (profile.probeIntervalMs - min(profile.probeTimeoutMs, profile.probeIntervalMs))
        current.endsAt = max(current.endsAt, now.advanced(milliseconds: graceMs * localHealth.multiplier))
        current.askOthersAt = nil
        current.asked = helpers.count
        effects.list.append(.askLink(target.replica))
        for helper in helpers {
            send(
                .ask(sequence: current.sequence, target: target.replica, at: target.gossip), to: helper.gossip,
                now: now, into: &effects)
        }
    }

    private mutating func unanswered(_ failed: Probe, now: Instant, into effects: inout Effects) {
        counters.probesFailed += 1
        // Lifeguard, IV-A: whoever was asked and did not even say no is a sign that the fault is here. Without
        // anybody to ask, the failed probe itself has to do.
        localHealth.worsen(by: failed.asked == 0 ? 1 : failed.asked - failed.nacks.count)
        guard let at = index(of: failed.target) else { return }
        accuse(records[at].member, by: me.replica, now: now, into: &effects)
    }

    /// The member under probe showed that it lives.
    mutating func answered(viaLink: Bool, into effects: inout Effects) {
        guard let current = probe else { return }
        probe = nil
        localHealth.improve()
        guard let at = index(of: current.target) else { return }
        // A frame that came before the direct ping timed out says nothing about datagrams.
        guard !viaLink || current.askOthersAt == nil else { return }
        if viaLink, !records[at].isDeafToDatagrams {
            let member = records[at].member
            effects.list.append(
                .log(
                    .warning, "\(member.name) (\(member.gossip)) answers over TCP but not over UDP; is UDP blocked?"))
        }
        if records[at].isDeafToDatagrams != viaLink { records[at].isDeafToDatagrams = viaLink }
    }

    /// How old an answer to the probe under way can be; nil when this is not its answer.
    func probeAgeMs(sequence: UInt32, of replica: ReplicaID, now: Instant) -> UInt64? {
        isProbe(sequence, of: replica) ? probe.map { now.milliseconds(since: $0.sentAt) } : nil
    }

    func isProbe(_ sequence: UInt32, of replica: ReplicaID) -> Bool {
        probe?.sequence == sequence && probe?.target == replica
    }

    mutating func receiveAck(
        _ ackSequence: UInt32, of replica: ReplicaID, table: UInt32, _ theirs: Summary, now: Instant,
        into effects: inout Effects
    ) {
        if isProbe(ackSequence, of: replica) {
            answered(viaLink: false, into: &effects)
        } else if let at = relays.firstIndex(where: { $0.sequence == ackSequence && $0.target == replica }) {
            let relay = relays.remove(at: at)
            send(
                .ack(sequence: relay.theirs, of: replica, table: table, theirs), to: relay.asker, now: now,
                into: &effects)
        } else {
            counters.stale += 1
        }
    }

    mutating func receiveAsk(
        _ theirs: UInt32, target: ReplicaID, at address: Address, asker: Address, now: Instant,
        into effects: inout Effects
    ) {
        let known = member(target)?.gossip ?? address
        guard target != me.replica else {
            return send(
                .ack(sequence: theirs, of: target, table: tableHash, summary), to: asker, now: now, into: &effects)
        }
        guard relays.count < limits.relays, known.isSpecific else { return counters.refused += 1 }
        sequence &+= 1
        // The no must be back before the asker's own interval ends: 80 % of a timeout, as in HashiCorp's memberlist.
        relays.append(
            Relay(
                sequence: sequence, theirs: theirs, asker: asker, target: target,
                nackAt: now.advanced(milliseconds: profile.probeTimeoutMs * 4 / 5)))
        send(
            .ping(sequence: sequence, target: target, table: tableHash, summary), to: known, now: now, into: &effects)
    }

    mutating func receiveNack(_ theirs: UInt32, from sender: ReplicaID) {
        guard probe?.sequence == theirs, (probe?.nacks.count ?? 0) < (probe?.asked ?? 0) else { return }
        probe?.nacks.insert(sender)
    }

    mutating func sendNacks(now: Instant, into effects: inout Effects) {
        for relay in relays where now >= relay.nackAt {
            send(.nack(sequence: relay.theirs), to: relay.asker, now: now, into: &effects)
        }
        relays.removeAll { now >= $0.nackAt }
    }
}
