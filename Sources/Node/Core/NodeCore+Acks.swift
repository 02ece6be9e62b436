import CRDT
import Gossip

/// `?ack=` and `Hypha-Ack`: a write is answered once enough nodes have it (DESIGN, section 6).
///
/// A level that the members known could never reach is refused before anything is written. Otherwise the write goes into
/// the own log as ever, and its answer waits until enough peers have said that they have read it (`Replication+Confirm`).
/// Everything that an entry depends on was read before it, so a peer that has the entry has all of that, too.
///
/// What has to be read is the entry that was written; for an event whose id is known, the stored copy of it, whoever
/// wrote that. Another write that changes nothing relies on entries that its node has read some time: then it is all
/// that this node has read, which is what an entry written now would have depended on.
extension NodeCore {
    /// Why a write is answered before it has reached its level.
    enum AckRelease {
        case timeout
        case leaving
        case startedAnew
    }

    // MARK: - Before the write

    /// What a level asks for now; nil for nobody but this node. Throws if it cannot be reached or too many wait.
    mutating func goal(of level: AckLevel) throws(NodeError) -> AckWaits.Goal? {
        guard level != .local else { return nil }
        let members = cluster.expected
        let size = max(settings.clusterSize, members.count)
        let goal: AckWaits.Goal
        switch level {
        case .local: return nil
        case .disks(let count): goal = AckWaits.Goal(level: level, countsDisks: true, needed: count)
        case .majority: goal = AckWaits.Goal(level: level, countsDisks: true, needed: size / 2 + 1)
        case .memory(let count): goal = AckWaits.Goal(level: level, countsDisks: false, needed: count)
        }
        let known = goal.countsDisks ? members.count(where: \.isDurable) : members.count
        guard goal.needed <= known else {
            counters.ackRefused += 1
            throw .conflict(unreachable(goal, known: known, of: members.count, size: size))
        }
        guard acks.hasRoom else {
            counters.ackRefused += 1
            throw NodeError(
                status: 503,
                message:
                    "\(acks.count) writes wait for other nodes here already, and nothing was written; retry later, "
                    + "at another node, or without an ack level")
        }
        return goal
    }

    private func unreachable(_ goal: AckWaits.Goal, known: Int, of members: Int, size: Int) -> String {
        let kind = goal.countsDisks ? " with --data" : ""
        let share = goal.level == .majority ? " (more than half of \(size))" : ""
        let remedy =
            goal.countsDisks
            ? "start nodes with --data, or use ack=mem:\(min(goal.needed, members)) for nodes that hold it in memory"
            : "use at most ack=mem:\(members), or wait until more nodes have joined"
        return
            "ack=\(goal.level) asks for \(goal.needed) \(Self.nodes(goal.needed))\(kind)\(share), and this node knows "
            + "\(known) among \(members) \(members == 1 ? "member" : "members"), itself included; nothing was written: "
            + remedy
    }

    private static func nodes(_ count: Int) -> String { count == 1 ? "node" : "nodes" }

    // MARK: - After the write

    /// Keeps the reply that was just given to a write back until enough nodes have read `place`.
    mutating func holdReply(
        _ goal: AckWaits.Goal, _ place: VersionVector, now: Instant, into effects: inout Effects
    ) {
        guard case .reply(let id, var reply, let body)? = effects.list.last, reply.status < 300 else { return }
        effects.list.removeLast()
        var tally = Tally(cluster)
        let nodes = tally.count(place, goal, in: cluster)
        guard nodes < goal.needed else {
            reply.ack = goal.reached(nodes)
            return effects.list.append(.reply(id, reply, body: body))
        }
        let (text, clock) = (Array(effects.bytes[body]), Array(effects.bytes[reply.clock]))
        hold(.request(id, reply), text, clock: clock, goal, place, now: now, into: &effects)
    }

    /// Says that an event was published, at once or when enough nodes have it.
    mutating func publish(
        _ session: SessionID, ref: [UInt8]?, _ event: UUID, _ goal: AckWaits.Goal?, now: Instant,
        into effects: inout Effects
    ) {
        guard let goal else { return sayPublished(session, ref: ref, event, nil, into: &effects) }
        var place = VersionVector()
        if let found = self.place(of: event) { place.advance(found.log, to: found.sequence) }
        var tally = Tally(cluster)
        let nodes = tally.count(place, goal, in: cluster)
        guard nodes < goal.needed else {
            return sayPublished(session, ref: ref, event, goal.reached(nodes), into: &effects)
        }
        hold(.session(session, ref: ref, event: event), [], clock: [], goal, place, now: now, into: &effects)
    }

    private mutating func hold(
        _ client: AckWaits.Client, _ body: [UInt8], clock: [UInt8], _ goal: AckWaits.Goal, _ place: VersionVector,
        now: Instant, into effects: inout Effects
    ) {
        counters.ackWaits += 1
        acks.add(
            AckWaits.Waiter(
                client: client, body: body, clock: clock, place: place, goal: goal, since: now,
                deadline: now.advanced(milliseconds: settings.ackTimeoutMs)))
        cluster.ask(
            for: place, durableOnly: goal.countsDisks, now: now, into: &clusterEffects, &effects.bytes)
        flushCluster(RawSpan(), now: now, into: &effects)
    }

    /// Answers those whose writes have reached their level, and those whose time is up.
    mutating func settleAcks(now: Instant, into effects: inout Effects) {
        if acks.isNews(cluster.replication.words) {
            let cluster = cluster
            var tally = Tally(cluster)
            for (waiter, nodes) in acks.takeReached({ tally.count($0.place, $0.goal, in: cluster) }) {
                counters.ackWait.observe(from: waiter.since, to: now)
                confirm(waiter, waiter.goal.reached(nodes), into: &effects)
            }
        }
        for waiter in acks.takeLate(now) {
            counters.ackTimeouts += 1
            counters.ackWait.observe(from: waiter.since, to: now)
            release(waiter, .timeout, into: &effects)
        }
        if acks.isEmpty { cluster.stopAsking() }
    }

    /// Answers everybody who waits with what is known by now.
    mutating func releaseAcks(_ why: AckRelease, into effects: inout Effects) {
        for waiter in acks.takeAll() { release(waiter, why, into: &effects) }
        cluster.stopAsking()
    }

    /// How many nodes have what is waited for. Only those count that the cluster still expects, and how far each has
    /// read a log is looked up once.
    private struct Tally {
        private let expected: Set<ReplicaID>
        private var heads: [ReplicaID: (disks: [UInt64], all: [UInt64])] = [:]

        init(_ cluster: Cluster) { expected = Set(cluster.expected.map(\.replica)) }

        /// Who has read this, this node included, by rising id behind it.
        func nodes(_ place: VersionVector, _ goal: AckWaits.Goal, in cluster: Cluster) -> [ReplicaID] {
            let me = cluster.membership.me
            let mine = !goal.countsDisks || me.isDurable ? [me.replica] : []
            return mine
                + cluster.replication.readers(of: place).filter {
                    (!goal.countsDisks || $0.isDurable) && expected.contains($0.peer)
                }.map(\.peer)
        }

        mutating func count(_ place: VersionVector, _ goal: AckWaits.Goal, in cluster: Cluster) -> Int {
            guard let entry = place.entries.first, place.entries.count == 1 else {
                return nodes(place, goal, in: cluster).count
            }
            let known = heads[entry.replica] ?? readers(of: entry.replica, in: cluster)
            heads[entry.replica] = known
            let mine = !goal.countsDisks || cluster.membership.me.isDurable ? 1 : 0
            return mine + (goal.countsDisks ? known.disks : known.all).prefix { $0 >= entry.sequence }.count
        }

        /// How far the durable peers, and how far all of them have read a log, the furthest first.
        private func readers(of replica: ReplicaID, in cluster: Cluster) -> (disks: [UInt64], all: [UInt64]) {
            let heads = cluster.replication.heads(of: replica).filter { expected.contains($0.reader.peer) }
                .sorted { $0.head > $1.head }
            return (heads.filter(\.reader.isDurable).map(\.head), heads.map(\.head))
        }
    }

    // MARK: - Answers

    private func confirm(_ waiter: AckWaits.Waiter, _ reached: AckLevel, into effects: inout Effects) {
        switch waiter.client {
        case .request(let id, var reply):
            reply.ack = reached
            Self.give(id, reply, clock: waiter.clock, into: &effects) { $0 += waiter.body }
        case .session(let session, let ref, let event):
            sayPublished(session, ref: ref, event, reached, into: &effects)
        }
    }

    private func sayPublished(
        _ session: SessionID, ref: [UInt8]?, _ event: UUID, _ reached: AckLevel?, into effects: inout Effects
    ) {
        say(session, "published", ref: ref, into: &effects) { out in
            out.append(constant: ",\"id\":\"")
            event.write(into: &out)
            out.append(UInt8(ascii: "\""))
            guard let reached else { return }
            out.append(constant: ",\"ack\":")
            out.append(json: reached.description)
        }
    }

    /// Answers a write that has not reached its level: 504, because it is written and stays so.
    private func release(_ waiter: AckWaits.Waiter, _ why: AckRelease, into effects: inout Effects) {
        let goal = waiter.goal
        let have = Tally(cluster).nodes(waiter.place, goal, in: cluster)
        let message = explanation(goal, have, why)
        switch waiter.client {
        case .request(let id, var reply):
            reply.status = 504
            reply.ack = goal.reached(have.count)
            Self.give(id, reply, clock: waiter.clock, into: &effects) { bytes in
                var out = JSONObjectWriter(&bytes)
                out.add("message", message, into: &bytes)
                out.add("reached", have.count, into: &bytes)
                out.add("needed", goal.needed, into: &bytes)
                out.key("nodes", into: &bytes)
                bytes.append(UInt8(ascii: "["))
                for (i, replica) in have.enumerated() {
                    if i > 0 { bytes.append(UInt8(ascii: ",")) }
                    var node = JSONObjectWriter(&bytes)
                    node.add("name", name(of: replica), into: &bytes)
                    node.add("replica", replica.description, into: &bytes)
                    node.close(into: &bytes)
                }
                bytes.append(UInt8(ascii: "]"))
                if !waiter.body.isEmpty {
                    out.key("written", into: &bytes)
                    bytes += waiter.body
                }
                out.close(into: &bytes)
            }
        case .session(let session, let ref, let event):
            say(session, "error", ref: ref, into: &effects) { out in
                out.append(constant: ",\"id\":\"")
                event.write(into: &out)
                out.append(constant: "\",\"message\":")
                out.append(json: message)
            }
        }
    }

    private func explanation(_ goal: AckWaits.Goal, _ have: [ReplicaID], _ why: AckRelease) -> String {
        let shown = have.prefix(8).map { $0 == settings.replica ? "\(name(of: $0)), this node" : name(of: $0) }
        let more = have.count > shown.count ? ", and \(have.count - shown.count) more" : ""
        let names = have.isEmpty ? "" : " (\(shown.joined(separator: ", "))\(more))"
        let what = goal.countsDisks ? "\(Self.nodes(goal.needed)) had the write on disk" : "nodes held the write"
        let reached = "only \(have.count) of \(goal.needed) \(what)\(names)"
        switch why {
        case .timeout:
            return
                "written, but not acknowledged by ack=\(goal.level): \(reached) within \(settings.ackTimeoutMs) ms. It "
                + "stays and will spread by itself: do not send it again under another id. To wait on, send it again "
                + "under the same id"
        case .leaving:
            return
                "written, but not acknowledged by ack=\(goal.level): this node leaves the cluster, and \(reached) so "
                + "far. Do not send it again under another id; under the same id it can be sent to another node"
        case .startedAnew:
            return "written, but not acknowledged by ack=\(goal.level): this node started anew under another id, and "
                + "\(reached) until then. What the others lack of it is submitted again here by itself: do not send it "
                + "again under another id"
        }
    }

    private func name(of replica: ReplicaID) -> String {
        cluster.membership.member(replica)?.name ?? replica.description
    }

    private static func give(
        _ id: RequestID, _ reply: Reply, clock: [UInt8], into effects: inout Effects, _ body: (inout [UInt8]) -> Void
    ) {
        var reply = reply
        let start = effects.bytes.count
        effects.bytes += clock
        reply.clock = start..<effects.bytes.count
        body(&effects.bytes)
        effects.list.append(.reply(id, reply, body: reply.clock.upperBound..<effects.bytes.count))
    }
}
