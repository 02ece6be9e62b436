import CRDT
import Gossip

/// Requests that are answered in a later turn than the one in which they came: takings decided elsewhere, and requests
/// that wait for the answer to their event.
extension NodeCore {
    /// What the answer needs besides its body.
    struct Deferral: Sendable {
        /// What the write is to reach before it is answered.
        let goal: AckWaits.Goal?
        /// What of the request's clock was not read here.
        let late: Late
        /// Where the write stands, if it was written when the wait began.
        let place: VersionVector?
    }

    /// A request was not answered: its answer follows. `sequence` is that of the last own entry before it.
    mutating func deferReply(_ id: RequestID, _ goal: AckWaits.Goal?, _ late: Late, after sequence: UInt64) {
        guard takes.waits(for: .request(id)) || replies.waits(for: .request(id)) || forwards.waits(for: id) else {
            return
        }
        var place: VersionVector?
        let head = cluster.log.head(of: cluster.log.mine)
        if head > sequence {
            place = VersionVector()
            place?.advance(cluster.log.me, to: head)
        }
        deferrals[id] = Deferral(goal: goal, late: late, place: place)
    }

    mutating func forgetDeferred(_ id: RequestID) { deferrals[id] = nil }

    /// Adds to the reply that was just given, after a wait, what every reply carries. `isWritten`: the last entry of the
    /// own log is what it tells of.
    mutating func complete(_ id: RequestID, isWritten: Bool, now: Instant, into effects: inout Effects) {
        let head = cluster.log.head(of: cluster.log.mine)
        complete(id, at: isWritten ? (cluster.log.me, head) : nil, now: now, into: &effects)
    }

    /// The same for a reply that tells of this entry, whoever wrote it; nil for one that tells of what was read here.
    mutating func complete(
        _ id: RequestID, at entry: (log: ReplicaID, sequence: UInt64)?, now: Instant, into effects: inout Effects
    ) {
        guard let deferral = deferrals.removeValue(forKey: id) else { return }
        let text = readingText()
        Self.update(id, in: &effects) { reply, bytes in
            deferral.late.note(in: &reply)
            let start = bytes.count
            if let entry {
                CompactVector.encode(entry.log, sequence: entry.sequence, into: &bytes)
            } else {
                bytes += text
            }
            reply.clock = start..<bytes.count
        }
        guard let goal = deferral.goal else { return }
        var place = deferral.place ?? reading.vector
        if let entry {
            place = VersionVector()
            place.advance(entry.log, to: entry.sequence)
        }
        holdReply(goal, place, now: now, into: &effects)
    }

    /// The same for a refusal, which has written nothing and so has no clock.
    mutating func completeRefusal(_ id: RequestID, into effects: inout Effects) {
        guard let deferral = deferrals.removeValue(forKey: id) else { return }
        Self.update(id, in: &effects) { reply, _ in deferral.late.note(in: &reply) }
    }

    /// Everybody who waits is answered: this node leaves, or starts anew.
    mutating func releaseDeferred(_ why: String, now: Instant, into effects: inout Effects) {
        releaseTakes(why, now: now, into: &effects)
        releaseReplies(why, into: &effects)
        releaseForwards(why, into: &effects)
    }

    /// The client of a request is gone.
    mutating func abandon(_ id: RequestID, now: Instant, into effects: inout Effects) {
        deferrals[id] = nil
        replies.forget(id)
        forwards.abandon(id)
        abandonTakes(now: now, into: &effects) { $0 == .request(id) }
    }

    /// A session is gone.
    mutating func abandon(_ session: SessionID, now: Instant, into effects: inout Effects) {
        replies.forget(session)
        abandonTakes(now: now, into: &effects) { if case .session(session, _) = $0 { true } else { false } }
    }

    /// When `tickMessages` is due.
    mutating func messagesWake(_ now: Instant) -> Instant? {
        if mailboxes.isOverfull, dropDue == nil { dropDue = now.advanced(milliseconds: Self.dropEveryMs) }
        var due = takes.wake
        for mine in [replies.wake, dropDue, forwards.wake] {
            if let mine { due = min(due ?? mine, mine) }
        }
        return due
    }

    mutating func tickMessages(now: Instant, into effects: inout Effects) {
        expireReplies(now: now, into: &effects)
        if !grants.isEmpty { grants.expire(now) { cluster.membership.member($0)?.isPresent ?? false } }
        if let due = dropDue, due <= now { dropExcess(now: now, into: &effects) }
    }
}
