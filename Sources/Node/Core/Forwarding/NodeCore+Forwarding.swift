import CRDT
import Gossip

/// Requests that one node decides, at any node: the node that was asked passes them to the one that decides, and answers
/// its client once it has itself read what the answer tells of.
///
/// Whoever decides must have read all that the asked node had read when the client came, so it knows what its client knows.
/// An ask is repeated until it is answered; it is known again by its number, and decided once by one node. Should that node
/// die with its answer, its successor decides again, which is why every one of these requests may be repeated.
extension NodeCore {
    // MARK: - Asking

    /// Decides a request, or passes it to the node that does; then the answer follows.
    mutating func decideOrForward(
        _ id: RequestID, _ request: Forwarded, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        guard decider(of: request) != settings.replica else {
            let verdict = try decide(request, by: asker, bytes, now: now, into: &effects)
            return reply(id, verdict, into: &effects)
        }
        guard forwards.hasRoom(for: bytes.byteCount) else {
            forwards.refused += 1
            throw NodeError(
                status: 503,
                message: "\(forwards.count) requests wait for other nodes to decide here already; retry later or at "
                    + "another node")
        }
        if forwards.isFresh { forwards.start(at: dice.next()) }
        let wait = forwards.add(
            id, request, asker, bytes.withUnsafeBytes { Array($0) }, read: cluster.log.vector, now: now,
            deadline: now.advanced(milliseconds: settings.ackTimeoutMs))
        ask(wait, now: now, into: &effects)
    }

    /// The node that decides a request.
    private func decider(of request: Forwarded) -> ReplicaID {
        switch request {
        case .turn: turnDecider(of: request.key)
        case .task: taskDecider(of: request.key)
        }
    }

    private mutating func decide(
        _ request: Forwarded, by asker: Asker, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> Verdict {
        try checkWritable()
        switch request {
        case .turn(let request): return try decide(request, by: asker, bytes, now: now, into: &effects)
        case .task(let request): return try decide(request, by: asker, bytes, now: now, into: &effects)
        }
    }

    private func reply(_ id: RequestID, _ verdict: Verdict, into effects: inout Effects) {
        let start = effects.bytes.count
        effects.bytes += verdict.body
        effects.list.append(
            .reply(id, Reply(status: verdict.status, stamp: verdict.stamp), body: start..<effects.bytes.count))
    }

    /// Asks whoever decides now, or decides if that has become this node.
    private mutating func ask(_ wait: Forwards.Wait, now: Instant, into effects: inout Effects) {
        let node = decider(of: wait.request)
        forwards.asked(wait.number, node, now: now)
        guard node != settings.replica else {
            guard canDecide else { return }
            let verdict: Verdict
            let body = wait.body
            do throws(NodeError) {
                verdict = try decide(wait.request, by: wait.asker, body.span.bytes, now: now, into: &effects)
            } catch {
                verdict = Verdict(error)
            }
            let head = cluster.log.head(of: cluster.log.mine)
            return forwards.note(wait.number, verdict, by: settings.replica, head: head)
        }
        let frame = ForwardFrame.ask(wait.number, wait.request, wait.asker, body: wait.body, read: wait.read)
        tell(node, .forward, now: now, into: &effects) { frame.encode(into: &$0) }
    }

    // MARK: - Frames

    mutating func heardForward(_ peer: ReplicaID, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        let frame: ForwardFrame?
        do throws(DecodeError) { frame = try ForwardFrame(bytes) } catch {
            forwards.badFrames += 1
            return closeLink(to: peer, "a bad frame about a request (\(error))", now: now, into: &effects)
        }
        switch frame {
        case .ask(let number, let request, let asker, let body, let read):
            let answer = answer(number, request, by: asker, body, of: peer, after: read, now: now, into: &effects)
            tell(peer, .forward, now: now, into: &effects) { answer.encode(into: &$0) }
        case .answer(let number, let verdict, let head):
            // Only whoever was asked, and only once.
            guard let wait = forwards[number], wait.asked == peer, wait.verdict == nil else { return }
            forwards.note(number, verdict, by: peer, head: head)
        // It is asked again in a moment, or whoever decides then.
        case .notNow, nil: break
        }
    }

    /// Decides for a client of a peer, if this node is the one to decide. It never passes the request on.
    private mutating func answer(
        _ number: UInt64, _ request: Forwarded, by asker: Asker, _ body: [UInt8], of peer: ReplicaID,
        after read: VersionVector, now: Instant, into effects: inout Effects
    ) -> ForwardFrame {
        if let (verdict, head) = verdicts.verdict(for: number, of: peer) {
            return .answer(number, verdict, head: head)
        }
        guard !isIncomplete, !isLeaving, journal?.takesMore ?? true, cluster.log.hasRead(read),
            decider(of: request) == settings.replica
        else {
            forwards.turnedAway += 1
            return .notNow(number)
        }
        let verdict: Verdict
        do throws(NodeError) {
            verdict = try decide(request, by: asker, body.span.bytes, now: now, into: &effects)
        } catch {
            verdict = Verdict(error)
        }
        forwards.decided += 1
        let head = cluster.log.head(of: cluster.log.mine)
        verdicts.add(
            verdict, head: head, for: number, of: peer, now: now,
            until: now.advanced(milliseconds: settings.ackTimeoutMs * 2))
        return .answer(number, verdict, head: head)
    }

    // MARK: - Answering

    /// Goes on with what waits: answers what was decided and has been read here, asks again, and gives up.
    mutating func settleForwards(now: Instant, into effects: inout Effects) {
        guard forwards.answeredCount > 0 || forwards.wake.map({ $0 <= now }) ?? false else { return }
        for wait in forwards.due(now) { ask(wait, now: now, into: &effects) }
        for wait in forwards.answered {
            guard let (verdict, node, head) = wait.verdict else { continue }
            // What was decided is done, whether or not it was read here in time; the answer's clock tells its place.
            guard head == 0 || cluster.log.hasRead(node, head) || wait.deadline <= now else { continue }
            forwards.remove(wait.number)
            reply(wait.client, verdict, into: &effects)
            guard verdict.status < 300 else {
                counters.refused += 1
                completeRefusal(wait.client, into: &effects)
                continue
            }
            complete(
                wait.client, at: head > 0 ? (log: node, sequence: head) : nil, now: now, into: &effects)
        }
        for wait in forwards.late(now) {
            forwards.timeouts += 1
            giveUp(wait, lateMessage(wait), into: &effects)
        }
    }

    private func lateMessage(_ wait: Forwards.Wait) -> String {
        let node = wait.asked.map { shownName($0) } ?? "another node"
        return
            "\(node) decides about \(wait.request.subject) and did not answer within \(settings.ackTimeoutMs) ms; it may have "
            + "decided all the same. Send the request again in a moment: if that node is gone, another follows it"
    }

    private mutating func giveUp(_ wait: Forwards.Wait, _ message: String, into effects: inout Effects) {
        forwards.remove(wait.number)
        forgetDeferred(wait.client)
        refuse(wait.client, NodeError(status: 503, message: message), into: &effects)
    }

    /// Gives up all: this node leaves, or starts anew.
    mutating func releaseForwards(_ why: String, into effects: inout Effects) {
        for wait in forwards.all {
            let node = wait.asked.map { shownName($0) } ?? "another node"
            giveUp(
                wait,
                "\(why) before \(node) had decided about \(wait.request.subject), or may have; send the request again to "
                    + "another node", into: &effects)
        }
    }
}
