import CRDT

/// One member on trial, and who accuses it.
struct Suspicion: Sendable {
    let replica: ReplicaID
    var startedAt: Instant
    /// The first accuser, then at most k independent ones.
    var accusers: [ReplicaID]

    func deadline(members: Int, _ profile: Profile) -> Instant {
        startedAt.advanced(
            milliseconds: Membership.suspicionMs(members: members, confirmations: accusers.count - 1, profile))
    }
}

extension Membership {
    /// How many independent confirmations a suspicion waits for: min(3, n − 2), n being the members that are neither
    /// dead nor suspect. Those who are cannot confirm; waiting for them would keep a lone survivor waiting for long.
    static func confirmationsWanted(members: Int) -> Int { min(3, max(0, members - 2)) }

    /// How long a member has to refute, in milliseconds, after so many confirmations.
    ///
    /// Lifeguard, IV-B: from its maximum it shrinks with the logarithm of the confirmations C to its minimum at K:
    /// max − (max − min) × log(C + 1) / log(K + 1); with K = 0 nobody can confirm, and it is the minimum.
    static func suspicionMs(members: Int, confirmations: Int, _ profile: Profile) -> UInt64 {
        let minimum = Double(profile.suspicionMinMs) * max(1, log10(Double(max(1, members))))
        let wanted = confirmationsWanted(members: members)
        guard confirmations < wanted else { return UInt64(minimum + 0.5) }
        let maximum = minimum * profile.suspicionMaxFactor
        let share = log10(Double(confirmations + 1)) / log10(Double(wanted + 1))
        return UInt64(max(minimum, maximum - (maximum - minimum) * share) + 0.5)
    }

    /// Begins a suspicion, or adds an accuser to it.
    mutating func accuse(_ member: Member, by accuser: ReplicaID, now: Instant, into effects: inout Effects) {
        guard let at = index(of: member.replica) else { return }
        let known = records[at].member
        var claim = member
        claim.state = .suspect
        if claim.supersedes(known) {
            suspicions.removeAll { $0.replica == claim.replica }
            suspicions.append(Suspicion(replica: claim.replica, startedAt: now, accusers: [accuser]))
            counters.suspicions += 1
            adopt(claim, accuser: accuser, now: now, into: &effects)
        } else if known.state == .suspect, claim.incarnation == known.incarnation,
            let on = suspicions.firstIndex(where: { $0.replica == claim.replica }),
            !suspicions[on].accusers.contains(accuser),
            suspicions[on].accusers.count <= Self.confirmationsWanted(members: .max)
        {
            suspicions[on].accusers.append(accuser)
            counters.suspicions += 1
            rumors.add(claim.replica, accuser: accuser)
        }
    }

    /// Who did not refute in time is dead.
    mutating func expireSuspicions(now: Instant, into effects: inout Effects) {
        let trusted = aliveCount
        for suspicion in suspicions.sorted(by: { $0.replica < $1.replica })
        where now >= suspicion.deadline(members: trusted, profile) {
            guard let at = index(of: suspicion.replica) else { continue }
            var verdict = records[at].member
            verdict.state = .dead
            adopt(verdict, accuser: me.replica, now: now, into: &effects)
        }
    }
}
