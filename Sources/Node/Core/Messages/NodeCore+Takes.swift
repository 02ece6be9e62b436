import CRDT
import Gossip

/// Taking from a mailbox, at any node.
///
/// One node, the mailbox's owner, sets messages aside for a client; the client's node notes in the mailbox's document that
/// they are taken, and answers. So nothing is taken before it is in the log of the node that answers, and what is set
/// aside for a client that is gone, or at a node that is, waits again. As long as all agree who the owner is, nobody gets
/// a message twice; where a partition makes two owners, both may hand it out.
extension NodeCore {
    /// What is set aside stays so for twice the time that a client waits.
    private var grantMs: UInt64 { settings.ackTimeoutMs * 2 }

    // MARK: - Asking

    /// Takes messages for a client: at once where this node is the owner, else the answer follows.
    mutating func take(
        _ client: Takes.Client, _ order: Takes.Order, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        try openMailbox(of: order.agent, now: now, into: &effects)
        guard let place = mailbox(of: order.agent) else {
            throw NodeError(
                status: 507,
                message: "too many agents are known here; take at another node, or after a restart of this one")
        }
        guard owner(of: order.agent, named: mailboxes[place].owner) != settings.replica else {
            grants.expire(now) { cluster.membership.member($0)?.isPresent ?? false }
            let (chosen, excess) = choose(order, place)
            settle(order.agent, place, taken: chosen, dropped: excess, now: now, into: &effects)
            return give(client, chosen, into: &effects)
        }
        guard takes.hasRoom else {
            throw NodeError(
                status: 503,
                message: "\(takes.count) clients wait for messages here already; retry later or at another node")
        }
        if takes.isFresh { takes.start(at: dice.next()) }
        messageCounters.takesAsked += 1
        let number = takes.add(
            client, order, now: now, deadline: now.advanced(milliseconds: settings.ackTimeoutMs))
        if let take = takes[number] { ask(take, place, now: now, into: &effects) }
    }

    /// `take` on `/ws`.
    mutating func take(
        _ session: SessionID, _ message: SessionMessage, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        guard let agent = sessions[session]?.agent else {
            throw NodeError(
                status: 400,
                message: "say first whose mailbox it is: connect with ?agent=NAME, or send {\"type\":\"identify\","
                    + "\"agent\":NAME}")
        }
        if isIncomplete { throw .incomplete }
        let most = try message.number("max", 1...Mailbox.capacity, bytes) ?? Self.defaultTake
        let order = Takes.Order(
            agent: try Self.agent(agent), type: try Self.messageType(try message.text("message_type", bytes)),
            most: most)
        try take(.session(session, ref: message.ref), order, now: now, into: &effects)
    }

    /// So many messages are taken if the client does not say.
    public static let defaultTake = 100

    /// What an order gets of a mailbox that this node owns, and what is more than the mailbox may hold.
    private func choose(_ order: Takes.Order, _ place: Int) -> (chosen: [Waiting], excess: [Mailbox.Entry]) {
        let unsettled = unsettled(place)
        let reserved = grants.reserved(order.agent)
        let excess = unsettled.lazy.filter { !$0.isCopy }.dropLast(Mailbox.capacity)
            .filter { !reserved.contains(entryName(at: $0.position)) }
        var (chosen, bytes) = ([Waiting](), 0)
        for next in waiting(unsettled, type: order.type) where !reserved.contains(next.name) {
            bytes += Int(cluster.log.record(at: next.entry.position).length)
            guard chosen.count < order.most, chosen.isEmpty || bytes < Self.maximumMessageBytes else { break }
            chosen.append(next)
        }
        return (chosen, Array(excess))
    }

    /// Asks the owner, or takes if this node has become it.
    private mutating func ask(_ take: Takes.Take, _ place: Int, now: Instant, into effects: inout Effects) {
        let owner = owner(of: take.order.agent, named: mailboxes[place].owner)
        takes.asked(take.number, owner, now: now)
        guard owner != settings.replica else {
            grants.expire(now) { cluster.membership.member($0)?.isPresent ?? false }
            let (chosen, excess) = choose(take.order, place)
            settle(take.order.agent, place, taken: [], dropped: excess, now: now, into: &effects)
            return takes.note(take.number, granted: chosen.map(\.name))
        }
        // The owner must know what this node knows of the mailbox, and what was written here.
        var read = VersionVector()
        read.advance(cluster.log.me, to: cluster.log.head(of: cluster.log.mine))
        for entry in unsettled(place) {
            let name = entryName(at: entry.position)
            read.advance(name.log, to: name.sequence)
        }
        let frame = MailboxFrame.ask(take.number, take.order, read: read)
        tell(owner, .mailbox, now: now, into: &effects) { frame.encode(into: &$0) }
    }

    // MARK: - Frames

    mutating func heardMailbox(_ peer: ReplicaID, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        let frame: MailboxFrame?
        do throws(DecodeError) { frame = try MailboxFrame(bytes) } catch {
            messageCounters.badFrames += 1
            return effects.list.append(.log(.warning, "a bad mailbox frame of \(peer) (\(error)) is ignored"))
        }
        switch frame {
        case .ask(let number, let order, let read):
            let answer = grant(order, number, to: peer, after: read, now: now, into: &effects)
            tell(peer, .mailbox, now: now, into: &effects) { answer.encode(into: &$0) }
        case .grant(let number, let agent, let entries):
            if let take = takes[number], take.order.agent == agent {
                if take.granted == nil { takes.note(number, granted: entries) }
            } else if !entries.isEmpty {
                release(number, agent, at: peer, now: now, into: &effects)
            }
        case .release(let number, let agent): grants.remove(agent, peer, number)
        // It is asked again in a moment.
        case .refuse, nil: break
        }
    }

    /// Answers a peer that asks for messages.
    private mutating func grant(
        _ order: Takes.Order, _ number: UInt64, to peer: ReplicaID, after read: VersionVector, now: Instant,
        into effects: inout Effects
    ) -> MailboxFrame {
        guard !isIncomplete, !isLeaving, journal?.takesMore ?? true, cluster.log.hasRead(read),
            let place = mailbox(of: order.agent),
            owner(of: order.agent, named: mailboxes[place].owner) == settings.replica
        else { return .refuse(number) }
        grants.expire(now) { cluster.membership.member($0)?.isPresent ?? false }
        let until = now.advanced(milliseconds: grantMs)
        if let known = grants.entries(order.agent, peer, number) {
            grants.add(Grants.Grant(asker: peer, number: number, entries: known, until: until), for: order.agent)
            return .grant(number, agent: order.agent, known)
        }
        let (chosen, excess) = choose(order, place)
        // From now on all know that this node decides.
        settle(order.agent, place, taken: [], dropped: excess, now: now, into: &effects)
        let entries = chosen.map(\.name)
        if !entries.isEmpty {
            grants.add(Grants.Grant(asker: peer, number: number, entries: entries, until: until), for: order.agent)
        }
        return .grant(number, agent: order.agent, entries)
    }

    private mutating func release(
        _ number: UInt64, _ agent: [UInt8], at owner: ReplicaID, now: Instant, into effects: inout Effects
    ) {
        let frame = MailboxFrame.release(number, agent: agent)
        tell(owner, .mailbox, now: now, into: &effects) { frame.encode(into: &$0) }
    }

    // MARK: - Taking

    /// Goes on with what waits: takes what was granted and has been read, asks again, and gives up.
    mutating func settleTakes(now: Instant, into effects: inout Effects) {
        guard takes.grantedCount > 0 || takes.wake.map({ $0 <= now }) ?? false else { return }
        for take in takes.due(now) where !isIncomplete {
            if let place = mailbox(of: take.order.agent) { ask(take, place, now: now, into: &effects) }
        }
        for take in takes.granted {
            guard let entries = take.granted, entries.allSatisfy({ cluster.log.hasRead($0.log, $0.sequence) }),
                !isIncomplete, journal?.takesMore ?? true
            else { continue }
            finish(take, entries, now: now, into: &effects)
        }
        for take in takes.late(now) {
            messageCounters.takeTimeouts += 1
            giveUp(take, lateMessage(take), now: now, into: &effects)
        }
    }

    private mutating func finish(
        _ take: Takes.Take, _ entries: [EntryName], now: Instant, into effects: inout Effects
    ) {
        guard let place = mailbox(of: take.order.agent) else { return }
        let wanted = Set(entries)
        // What somebody else has taken meanwhile, or the log has dropped, is not given out.
        let chosen = waiting(unsettled(place), type: nil).filter { wanted.contains($0.name) }
        guard entries.isEmpty || !chosen.isEmpty else {
            // A partition: the owner did not know. It is asked for others.
            if let owner = take.asked, owner != settings.replica {
                release(take.number, take.order.agent, at: owner, now: now, into: &effects)
            }
            return takes.note(take.number, granted: nil)
        }
        takes.remove(take.number)
        settle(take.order.agent, place, taken: chosen, dropped: [], now: now, into: &effects)
        give(take.client, chosen, into: &effects)
        if case .request(let id) = take.client { complete(id, isWritten: !chosen.isEmpty, now: now, into: &effects) }
    }

    /// Notes in a mailbox's document what of it is taken, and what dropped.
    private mutating func settle(
        _ agent: [UInt8], _ place: Int, taken: [Waiting], dropped: [Mailbox.Entry], now: Instant,
        into effects: inout Effects
    ) {
        let (name, me) = (Mailboxes.name(of: agent), settings.replica.description)
        var changes: [DocumentMap.Change] = []
        let isOwner = owner(of: agent, named: mailboxes[place].owner) == settings.replica
        if isOwner, mailboxes[place].owner != settings.replica { changes.append(ownerChange(settings.replica)) }
        if !taken.isEmpty || !dropped.isEmpty {
            var gone = Set(dropped.map(\.position))
            for next in taken { gone.insert(next.entry.position) }
            // With a message go its copies.
            for next in taken.map(\.entry) + dropped where next.hasCopies {
                for copy in index.id(at: next.position).map({ index.positions(of: $0) }) ?? [] { gone.insert(copy) }
            }
            var through: [ReplicaID: UInt64] = [:]
            for position in gone where position >= cluster.log.remembered {
                let entry = entryName(at: position)
                through[entry.log] = max(through[entry.log] ?? 0, entry.sequence)
            }
            var open: [ReplicaID: [UInt64]] = [:]
            for entry in unsettled(place) where !gone.contains(entry.position) {
                let entry = entryName(at: entry.position)
                open[entry.log, default: []].append(entry.sequence)
            }
            for (log, last) in through.sorted(by: { $0.key < $1.key }) {
                let field = Mailbox.settledPrefix + log.description + "/" + me
                var mine = documents.value(of: field, in: name).flatMap { try? Settled($0.span.bytes) } ?? Settled()
                var known = Settled()
                let end = max(last, mine.through)
                for sequence in (open[log] ?? []).sorted() where sequence <= end { known.tried(sequence, attempt: 0) }
                known.pass(end)
                mine.merge(known)
                var value: [UInt8] = []
                mine.encode(into: &value)
                changes.append(.set(field: field, value: value))
            }
            changes += forgettable(name)
        }
        if !dropped.isEmpty {
            let field = Mailbox.droppedPrefix + me
            let old = documents.value(of: field, in: name).flatMap { value -> UInt64? in
                var cursor = ByteCursor(value.span.bytes)
                return try? cursor.varint(value.span.bytes)
            }
            var value: [UInt8] = []
            value.append(varint: (old ?? 0) + UInt64(dropped.count))
            changes.append(.set(field: field, value: value))
            messageCounters.dropped += dropped.count
        }
        messageCounters.taken += taken.count
        if !changes.isEmpty { putMailbox(name, changes, now: now, into: &effects) }
        _ = mailbox(of: agent)
    }

    /// What a mailbox says of logs that have ended and of which nothing is left, a few at a time.
    private func forgettable(_ name: String) -> [DocumentMap.Change] {
        documents.fields(of: name, prefix: Mailbox.settledPrefix).lazy.filter { field in
            guard let (log, _) = Mailbox.parse(settledField: field.name) else { return false }
            return cluster.log.knownSlot(of: log) == nil && cluster.log.hasRead(log, 1)
        }.prefix(64).map { .unset(field: $0.name) }
    }

    /// Drops what is more than mailboxes may hold, where this node decides.
    mutating func dropExcess(now: Instant, into effects: inout Effects) {
        dropDue = nil
        guard !isIncomplete, !isLeaving, journal?.takesMore ?? true, doubtfulUntil == nil else { return }
        refreshMailboxes()
        for place in mailboxes.takeOverfull() {
            let agent = mailboxes.agent(at: place)
            guard owner(of: agent, named: mailboxes[place].owner) == settings.replica else { continue }
            let (_, excess) = choose(Takes.Order(agent: agent, type: nil, most: 0), place)
            if !excess.isEmpty { settle(agent, place, taken: [], dropped: excess, now: now, into: &effects) }
        }
    }

    /// Full mailboxes are seen to this often, in milliseconds.
    static let dropEveryMs: UInt64 = 100

    // MARK: - Answers

    private func give(_ client: Takes.Client, _ chosen: [Waiting], into effects: inout Effects) {
        let positions = chosen.map(\.entry.position)
        switch client {
        case .request(let id):
            let start = effects.bytes.count
            append(messages: positions, into: &effects.bytes)
            effects.list.append(.reply(id, Reply(status: 200), body: start..<effects.bytes.count))
        case .session(let session, let ref):
            say(session, "taken", ref: ref, into: &effects) { out in
                out.append(constant: ",\"data\":")
                append(messages: positions, into: &out)
            }
        }
    }

    private func lateMessage(_ take: Takes.Take) -> String {
        let agent = String(decoding: take.order.agent.prefix(64), as: UTF8.self)
        let owner = take.asked.map { cluster.membership.member($0)?.name ?? $0.description } ?? "another node"
        return
            "the mailbox of \(agent) is kept by \(owner), which did not answer within \(settings.ackTimeoutMs) ms; nothing "
            + "was taken. Take again in a moment: if it is gone, another node follows it"
    }

    private mutating func giveUp(
        _ take: Takes.Take, _ message: String, now: Instant, into effects: inout Effects
    ) {
        takes.remove(take.number)
        if let owner = take.asked, owner != settings.replica {
            release(take.number, take.order.agent, at: owner, now: now, into: &effects)
        }
        switch take.client {
        case .request(let id):
            forgetDeferred(id)
            refuse(id, NodeError(status: 503, message: message), into: &effects)
        case .session(let session, let ref):
            say(session, "error", ref: ref, into: &effects) { out in
                out.append(constant: ",\"message\":")
                out.append(json: message)
            }
        }
    }

    /// Gives up all takings: this node leaves, or starts anew.
    mutating func releaseTakes(_ why: String, now: Instant, into effects: inout Effects) {
        for take in takes.waiting(where: { _ in true }) {
            giveUp(take, "\(why), and nothing was taken; take again at another node", now: now, into: &effects)
        }
    }

    /// Whoever waited is gone: what was set aside waits again.
    mutating func abandonTakes(
        now: Instant, into effects: inout Effects, where isGone: (Takes.Client) -> Bool
    ) {
        guard !takes.isEmpty else { return }
        for take in takes.waiting(where: isGone) {
            takes.remove(take.number)
            guard let owner = take.asked, owner != settings.replica else { continue }
            release(take.number, take.order.agent, at: owner, now: now, into: &effects)
        }
    }
}
