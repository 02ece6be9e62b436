import CRDT
import Gossip

/// `Hypha-Clock`: reading one's own writes while hopping between nodes (DESIGN, section 7).
///
/// The answer to a write carries the write's place in the logs, the answer to a read how far this node has read. A
/// request that sends one is answered once this node has read as far. The wait is bounded: then a read is refused, a
/// write accepted as it is. An entry that only a dead log held is not waited for twice: it is named and dropped.
///
/// **Lost** is an entry whose log belongs to no present member, and which no linked present peer has read, by what it
/// last said. A node with present peers and a link to none of them cannot know, and calls nothing lost.
extension NodeCore {
    /// How far this node has read, made again only when that changed.
    struct Reading: Sendable {
        fileprivate var hash: UInt64?
        fileprivate(set) var vector = VersionVector()
        fileprivate var text: [UInt8] = []
    }

    /// What the peers know, for telling what is lost.
    struct Witnesses {
        fileprivate let present: [ReplicaID]
        fileprivate let read: VersionVector
        fileprivate let areHeard: Bool

        func haveLost(_ entry: CompactVector.Entry) -> Bool {
            areHeard && !present.contains(where: entry.matches) && !entry.isReadSomewhere(in: read)
        }
    }

    /// Answers of one turn end at about so many bytes when many requests stop waiting at once; the rest follows in the
    /// next.
    private static let maximumTurnBytes = 16 << 20

    /// Answers a request, at once or when this node has read what its client has seen.
    mutating func admit(
        _ id: RequestID, _ request: Request, after clock: CompactVector?, _ ack: AckLevel, _ bytes: RawSpan,
        now: Instant, into effects: inout Effects
    ) {
        // A client may ask for a level with whatever it sends; a read has nothing to be acknowledged.
        let ack = request.kind == .write ? ack : .local
        guard let clock, !clock.isEmpty, request.kind == .read || request.kind == .write else {
            return answerWithClock(id, request, ack, bytes, now: now, into: &effects)
        }
        refreshReading()
        let missing = clock.missing(from: reading.vector)
        guard !missing.isEmpty else { return answerWithClock(id, request, ack, bytes, now: now, into: &effects) }
        // What cannot be reached is refused at once.
        do throws(NodeError) { _ = try goal(of: ack) } catch { return refuse(id, error, into: &effects) }
        counters.clockWaits += 1
        guard settings.clockWaitMs > 0, !isLeaving else {
            return answerLate(id, request, ack, missing, bytes, witnesses(), now: now, into: &effects)
        }
        let waiter = ClockWaits.Waiter(
            id: id, request: request, ack: ack, body: bytes.withUnsafeBytes { Array($0) }, clock: missing, since: now,
            deadline: now.advanced(milliseconds: settings.clockWaitMs))
        guard !waits.add(waiter) else { return }
        counters.clockRefused += 1
        let error = NodeError(
            status: 503,
            message: "\(waits.count) requests wait for their Hypha-Clock here already; retry later or at another node")
        refuse(id, error, into: &effects)
    }

    /// Answers those who waited for what is here now, and those whose time is up.
    mutating func settleWaits(now: Instant, into effects: inout Effects) {
        var heard: Witnesses?
        repeat {
            if waits.isNews(cluster.log.digest) {
                refreshReading()
                waits.look(at: reading.vector, hash: cluster.log.digest)
            }
            waits.expire(isLeaving ? nil : now)
            while effects.bytes.count < Self.maximumTurnBytes, let waiter = waits.next() {
                counters.clockWait.observe(from: waiter.since, to: now)
                let body = waiter.body
                refreshReading()
                let missing = waiter.clock.missing(from: reading.vector)
                if missing.isEmpty {
                    answerWithClock(waiter.id, waiter.request, waiter.ack, body.span.bytes, now: now, into: &effects)
                } else {
                    let known = heard ?? witnesses()
                    heard = known
                    answerLate(
                        waiter.id, waiter.request, waiter.ack, missing, body.span.bytes, known, now: now,
                        into: &effects)
                }
            }
            // A write that was let through may be what others wait for.
        } while !waits.isEmpty && effects.bytes.count < Self.maximumTurnBytes && waits.isNews(cluster.log.digest)
    }

    // MARK: - Time is up

    private mutating func answerLate(
        _ id: RequestID, _ request: Request, _ ack: AckLevel, _ missing: CompactVector, _ bytes: RawSpan,
        _ witnesses: Witnesses, now: Instant, into effects: inout Effects
    ) {
        counters.clockTimeouts += 1
        var (lost, behind) = missing.split(witnesses.haveLost)
        if !lost.isEmpty { counters.clockLost += 1 }
        let refusal = request.kind == .read && !behind.isEmpty ? tooEarly(behind) : nil
        counters.clockShortened += lost.shorten { _ in true } + behind.shorten { _ in true }
        var late = Late()
        if !lost.isEmpty { lost.encode(into: &late.lost) }
        if !behind.isEmpty { behind.encode(into: &late.behind) }
        if let refusal {
            refuse(id, refusal, into: &effects)
            Self.update(id, in: &effects) { reply, _ in late.note(in: &reply) }
        } else {
            answerWithClock(id, request, ack, bytes, late: late, now: now, into: &effects)
        }
    }

    /// What of a request's clock was not read here when the wait was over.
    struct Late: Sendable {
        var behind: [UInt8] = []
        var lost: [UInt8] = []

        func note(in reply: inout Reply) { (reply.behind, reply.lost) = (behind, lost) }
    }

    private func tooEarly(_ behind: CompactVector) -> NodeError {
        let shown = behind.entries.prefix(3).map(\.description).joined(separator: ", ")
        let more = behind.entries.count > 3 ? " and \(behind.entries.count - 3) more" : ""
        return NodeError(
            status: 503,
            message:
                "this node has not read what Hypha-Clock names within \(settings.clockWaitMs) ms (log \(shown)\(more)); "
                + "retry, ask the node that took the write, or send the request without the header to read what is here"
        )
    }

    /// What present peers have read, by what they last said.
    func witnesses() -> Witnesses {
        var read = VersionVector()
        var present: [ReplicaID] = []
        var (others, linked) = (0, 0)
        for member in cluster.membership.members where member.isPresent {
            present.append(member.replica)
            guard member.replica != settings.replica else { continue }
            others += 1
            guard let vector = cluster.replication.vector(of: member.replica) else { continue }
            linked += 1
            read.merge(vector)
        }
        return Witnesses(present: present, read: read, areHeard: others == 0 || linked > 0)
    }

    // MARK: - The clock of an answer

    private mutating func answerWithClock(
        _ id: RequestID, _ request: Request, _ ack: AckLevel, _ bytes: RawSpan, late: Late = Late(), now: Instant,
        into effects: inout Effects
    ) {
        let before = cluster.log.head(of: cluster.log.mine)
        var goal: AckWaits.Goal?
        do throws(NodeError) {
            goal = try self.goal(of: ack)
            answer(id, request, bytes, now: now, into: &effects)
        } catch {
            refuse(id, error, into: &effects)
        }
        if request.isList { noteReach(id, in: &effects) }
        guard request.kind == .read || request.kind == .write else { return }
        guard case .reply(id, _, _)? = effects.list.last else { return deferReply(id, goal, late, after: before) }
        let head = cluster.log.head(of: cluster.log.mine)
        // What was written, or what was there already when the same was posted again.
        var written = head > before ? (log: cluster.log.me, sequence: head) : nil
        if request.isPost, written == nil { written = place(ofRepeated: id, effects) }
        if written == nil { refreshReading() }
        Self.update(id, in: &effects) { reply, bytes in
            late.note(in: &reply)
            // A refused write has seen nothing; that something is not there yet has been seen, too.
            guard reply.status < 300 || (request.kind == .read && reply.status == 404) else { return }
            let start = bytes.count
            if let written {
                CompactVector.encode(written.log, sequence: written.sequence, into: &bytes)
            } else {
                bytes.append(contentsOf: reading.text)
            }
            reply.clock = start..<bytes.count
        }
        guard let goal else { return }
        var place = reading.vector
        if let written {
            place = VersionVector()
            place.advance(written.log, to: written.sequence)
        }
        holdReply(goal, place, now: now, into: &effects)
    }

    /// Says with a list that was just given of how much of the cluster it can be.
    private func noteReach(_ id: RequestID, in effects: inout Effects) {
        let reach = Reply.Reach(
            alive: UInt16(clamping: cluster.membership.aliveCount), known: UInt16(clamping: cluster.expected.count))
        Self.update(id, in: &effects) { reply, _ in if reply.status == 200 { reply.reach = reach } }
    }

    /// Where the event that was just shown in answer to its repetition stands in the logs.
    private func place(ofRepeated request: RequestID, _ effects: Effects) -> (log: ReplicaID, sequence: UInt64)? {
        guard case .reply(request, let reply, let body)? = effects.list.last, reply.status == 200,
            let id = EventView(effects.bytes.span.bytes.extracting(body))?.id
        else { return nil }
        return place(of: id)
    }

    /// Where the event of an id stands in the logs.
    func place(of event: UUID) -> (log: ReplicaID, sequence: UInt64)? {
        guard let position = index.newest(event, log: cluster.log) else { return nil }
        let record = cluster.log.record(at: position)
        return (cluster.log.replica(in: Int(record.slot)), record.sequence)
    }

    /// Changes the reply that was just given.
    static func update(
        _ id: RequestID, in effects: inout Effects, _ change: (inout Reply, inout [UInt8]) -> Void
    ) {
        let last = effects.list.count - 1
        guard case .reply(id, var reply, let body)? = effects.list.last else {
            return assertionFailure("a request was answered, and something came after its reply")
        }
        change(&reply, &effects.bytes)
        effects.list[last] = .reply(id, reply, body: body)
    }

    /// How far this node has read, as clients carry it.
    mutating func readingText() -> [UInt8] {
        refreshReading()
        return reading.text
    }

    /// Brings `reading` up to date.
    private mutating func refreshReading() {
        let hash = cluster.log.digest
        guard reading.hash != hash else { return }
        reading.hash = hash
        reading.vector = cluster.log.vector
        var compact = CompactVector(reading.vector)
        if compact.isTooLong {
            // A client gains most from what may still grow.
            let present = cluster.membership.members.filter(\.isPresent)
            counters.clockShortened += compact.shorten { entry in present.contains { entry.matches($0.replica) } }
        }
        reading.text.removeAll(keepingCapacity: true)
        compact.encode(into: &reading.text)
    }
}

extension Request {
    /// What a clock means for a request.
    enum Kind {
        /// Shows what was read from the logs.
        case read
        /// Adds to the own log.
        case write
        /// Says how the node is, whatever it has read.
        case status
        /// Does not end: it says by itself how far it has come.
        case stream
    }

    var kind: Kind {
        switch self {
        case .events, .event, .eventsInScope, .eventsInTrace, .eventsOnTopic, .signals, .signal, .nodes, .node: .read
        case .groups, .groupNamed: .read
        case .bus(let request): request.kind
        case .agents(let request, _): request.kind
        case .attention(let request, _): request.kind
        case .chats(let request, _): request.kind
        case .turns(let request, _): request.kind
        case .tasks(let request, _): request.kind
        case .context(let request, _): request.kind
        case .soorma(let request): request.kind
        case .postEvent, .postNode, .patchNode, .deleteNode, .postEdge, .deleteEdges: .write
        case .deleteGroup, .ackGroup, .nackGroup: .write
        case .health, .cluster, .metrics, .presence, .presenceOf: .status
        case .stream: .stream
        }
    }
}
