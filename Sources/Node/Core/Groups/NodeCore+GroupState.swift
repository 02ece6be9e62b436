import CRDT
import Gossip

/// Queue groups follow their documents, the members and who is connected.
extension NodeCore {
    // MARK: - Documents

    /// Reads all groups from the documents, which have changed as a whole.
    mutating func readAllGroups(now: Instant, into effects: inout Effects) {
        groups.isUnread = false
        let names = documents.newest(QueueGroups.maximumGroups, prefix: QueueGroups.prefix)
        groups.stale.formUnion(names.map { String($0.dropFirst(QueueGroups.prefix.count)) })
        groups.stale.formUnion(groups.all.keys)
        (groups.seenMembers, groups.seenLogs) = (-1, -1)
        // What came with a peer's state was not offered.
        for name in groups.all.keys.sorted() { lookFromStart(name) }
    }

    private mutating func lookFromStart(_ name: String) {
        groups.all[name]?.backlog = cluster.log.start
        groups.touched.insert(name)
    }

    /// Reads the groups whose documents have changed.
    mutating func readStaleGroups(now: Instant, into effects: inout Effects) {
        let names = groups.stale.sorted()
        groups.stale.removeAll()
        for name in names { readGroup(name, now: now, into: &effects) }
    }

    private mutating func readGroup(_ name: String, now: Instant, into effects: inout Effects) {
        let document = QueueGroups.prefix + name
        guard GroupName.isValid(name), let text = documents.value(of: "options", in: document),
            let options = GroupOptions(group: name, text), let filter = Filter(stored: options.filter)
        else { return dropGroup(name, now: now, into: &effects) }
        var since: [ReplicaID: QueueGroup.Since] = [:]
        var records: [ReplicaID: [ReplicaID: Settled]] = [:]
        for field in documents.fields(of: document) {
            let parts = field.name.split(separator: "/")
            if parts.count == 2, parts[0] == "since", let maker = ReplicaID(text: parts[1]) {
                var cursor = ByteCursor(field.value.span.bytes)
                guard let read = try? VersionVector(&cursor, field.value.span.bytes) else { continue }
                since[maker] = QueueGroup.Since(read: read, stamp: field.stamp)
            } else if parts.count == 3, parts[0] == "p", let log = ReplicaID(text: parts[1]),
                let writer = ReplicaID(text: parts[2]), let progress = try? Settled(field.value.span.bytes)
            {
                records[log, default: [:]][writer] = progress
            }
        }
        // Of a group that was deleted and made anew, nothing of before is left.
        if let known = groups.all[name]?.since, !known.contains(where: { since[$0.key] == $0.value }) {
            dropGroup(name, now: now, into: &effects)
        }
        if groups.all[name] == nil {
            guard groups.all.count < QueueGroups.maximumGroups else { return groups.counters.ignored += 1 }
            // With the first one, this node has to know who is there.
            if groups.all.isEmpty { groups.seenLogs = -1 }
            groups.all[name] = QueueGroup(name: name, options: options, filter: filter, standing: groups.standing)
            groups.index.insert(filter, name)
            for (node, peer) in presence.peers.sorted(by: { $0.key < $1.key }) where !peer.isLinked {
                decide(name, .reach(node, false), now: now, into: &effects)
            }
            for (seat, limit) in presence.consumers(of: name) {
                decide(name, .consumer(seat, limit: limit), now: now, into: &effects)
            }
        } else if let old = groups.all[name], old.filter != filter {
            groups.index.remove(old.filter, name)
            groups.index.insert(filter, name)
        }
        // Of what stands in the logs already, more may belong to it.
        let mayHaveMore = groups.all[name]?.since != since
        if mayHaveMore { groups.all[name]?.since = since }
        groups.all[name]?.options = options
        groups.all[name]?.filter = filter
        groups.all[name]?.decider.options = options
        let logs = Set(records.keys).union(groups.all[name]?.decider.records.keys.sorted() ?? [])
        for log in logs.sorted() { decide(name, .records(log, records[log] ?? [:]), now: now, into: &effects) }
        if mayHaveMore {
            groups.all[name]?.decider.isBase.removeAll()
            decide(name, .standing(groups.standing), now: now, into: &effects)
        }
    }

    private mutating func dropGroup(_ name: String, now: Instant, into effects: inout Effects) {
        guard let group = groups.all.removeValue(forKey: name) else { return }
        groups.index.remove(group.filter, name)
        groups.counters.past.add(group.decider.counters)
        groups.touched.remove(name)
        eventService.forget(group: name)
        for session in group.host.places.keys.sorted() {
            presence.leave(session, name)
            if eventService[session] != nil {
                eventService.orphans.insert(session)
                continue
            }
            say(session, "left", ref: nil, into: &effects) { out in
                out.append(constant: ",\"group\":")
                out.append(json: name)
                out.append(constant: ",\"message\":\"the group was deleted\"")
            }
        }
    }

    // MARK: - Members

    /// Who decides about what may have changed.
    mutating func followMembers(now: Instant, into effects: inout Effects) {
        (groups.seenMembers, groups.seenLogs) = (cluster.memberChanges, cluster.log.logCount)
        let standing = standing(now: now)
        guard standing != groups.standing else { return }
        let gone = groups.standing.present.subtracting(standing.present)
        groups.standing = standing
        for name in groups.all.keys.sorted() {
            decide(name, .standing(standing), now: now, into: &effects)
            guard !gone.isEmpty else { continue }
            let nodes = standing.present.sorted()
            host(name, now: now, into: &effects) { $0.lost(gone, nodes, into: &$1) }
        }
    }

    private mutating func standing(now: Instant) -> GroupStanding {
        var standing = groups.standing
        // A new link to a member that was found dead is sooner than its word that it lives.
        let linked = Set(cluster.mesh.linkedPeers)
        standing.present = Set(
            cluster.membership.members.filter { $0.isPresent || $0.state == .dead && linked.contains($0.replica) }
                .map(\.replica))
        // Who leaves decides nothing more, and does not wait for others to notice.
        if isLeaving { standing.present.remove(settings.replica) } else { standing.present.insert(settings.replica) }
        standing.hasMajority = standing.present.count * 2 > max(settings.clusterSize, cluster.expected.count)
        let patience = settings.profile.suspicionMinMs
        // A node that has just started does not know yet who else is there.
        let settledAt = startedAt.advanced(milliseconds: patience)
        var absent: [ReplicaID: Instant] = [:]
        standing.orphans = []
        groups.nextOrphan = nil
        for slot in 0..<cluster.log.slotCount where cluster.log.head(of: slot) > 0 {
            let log = cluster.log.replica(in: slot)
            guard log != settings.replica, !standing.present.contains(log) else { continue }
            let since = groups.absentSince[log] ?? now
            absent[log] = since
            // One that was seen to die or leave has had its time, but for what was acknowledged to it last and is told to
            // others now; of one that nobody knows, word may be on its way.
            let isKnown = cluster.membership.member(log) != nil
            let waitMs = isKnown ? settings.profile.gossipIntervalMs * 2 : patience
            let due = max(since.advanced(milliseconds: waitMs), settledAt)
            if due <= now {
                standing.orphans.insert(log)
            } else {
                groups.nextOrphan = min(groups.nextOrphan ?? due, due)
            }
        }
        groups.absentSince = absent
        return standing
    }

    // MARK: - Presence

    /// What changed of who is connected.
    mutating func applyPresence(now: Instant, into effects: inout Effects) {
        for change in presence.takeChanges() {
            switch change {
            case .joined(let seat, let group, let limit):
                guard groups.all[group] != nil else { continue }
                decide(group, .consumer(seat, limit: limit), now: now, into: &effects)
            case .left(let seat, let group):
                guard groups.all[group] != nil else { continue }
                if seat.node == settings.replica {
                    host(group, now: now, into: &effects) { host, _ in host.close(seat.session) }
                }
                decide(group, .gone(seat), now: now, into: &effects)
            case .linked(let node, let isLinked):
                groups.seenMembers = -1
                for name in groups.all.keys.sorted() {
                    decide(name, .reach(node, isLinked), now: now, into: &effects)
                    guard isLinked else { continue }
                    host(name, now: now, into: &effects) { $0.linked(node, into: &$1) }
                }
            }
        }
    }

    /// Tells the peers what changed of this node's sessions.
    mutating func tellRosters(now: Instant, into effects: inout Effects) {
        let frames = presence.takeDelta()
        guard !frames.isEmpty else { return }
        for peer in presence.linkedPeers {
            for frame in frames { tell(peer, .roster, now: now, into: &effects) { $0 += frame } }
        }
    }

    // MARK: - Progress

    /// Writes down how far this node has come, if it is time to.
    mutating func writeProgress(_ name: String, now: Instant, into effects: inout Effects) {
        guard let due = groups.all[name]?.writeDue, due <= now else { return }
        groups.all[name]?.mayWrite = now.advanced(milliseconds: QueueGroup.writeMs)
        guard journal?.takesMore ?? true else { return groups.all[name]!.decider.isUrgent = false }
        guard let progress = groups.all[name]?.decider.takeProgress() else { return }
        var changes = progress.prefix(DocumentMap.maximumChanges - Self.forgottenPerWrite).map { log, settled in
            let field = "p/\(log)/\(settings.replica)"
            guard let settled else { return DocumentMap.Change.unset(field: field) }
            var value: [UInt8] = []
            settled.encode(into: &value)
            return .set(field: field, value: value)
        }
        changes += pastProgress(name).prefix(Self.forgottenPerWrite).map { .unset(field: $0) }
        guard (try? put(QueueGroups.prefix + name, changes, now: now, into: &effects)) != nil else { return }
        // It is what this node knows already.
        let bytes = scratch.count
        groups.counters.progressWrites += 1
        groups.counters.progressBytes += bytes
        let pauseMs = max(QueueGroup.writeMs, UInt64(bytes / QueueGroup.writeBytesPerMs))
        groups.all[name]?.mayWrite = now.advanced(milliseconds: pauseMs)
    }

    /// So much of what is past goes with one write of progress.
    private static let forgottenPerWrite = 64

    /// What others have written of logs that have ended and of which nothing is left: nobody takes them over any more, and
    /// nodes in memory that restart leave one behind each time.
    private func pastProgress(_ name: String) -> [String] {
        guard let records = groups.all[name]?.decider.records else { return [] }
        let gone = records.keys.filter { cluster.log.knownSlot(of: $0) == nil && cluster.membership.member($0) == nil }
        return gone.sorted().flatMap { log in
            (records[log] ?? [:]).keys.filter { $0 != settings.replica }.sorted().map { "p/\(log)/\($0)" }
        }
    }

    // MARK: - Dead letters

    /// An event was tried so often in vain that it goes to the dead letters. One that came from there does not go back.
    mutating func bury(
        _ name: String, _ key: EntryKey, _ position: Int, _ attempt: UInt32, now: Instant, into effects: inout Effects
    ) {
        guard let group = groups.all[name], self.position(of: key) != nil, let id = index.id(at: position) else {
            return decide(name, .void(key), now: now, into: &effects)
        }
        let topic = JSONText.canonical(group.options.deadLetterTopic)
        let isLetter = readEvent(at: position) { json in
            EventView(json).map { $0.surface == .bus && json.extracting($0.address).isEqual(to: topic) } ?? false
        }
        if !isLetter {
            let body = letter(name, group.options, id, position, attempt)
            do throws(NodeError) {
                _ = try postEvent(body.span.bytes, now: now, into: &effects)
            } catch {
                // Another node has buried it too, and counted otherwise.
                guard error.status != 409 else { return buried(name, key, now: now, into: &effects) }
                let later = GroupMessage.giveBack(key, attempt: 0, delayMs: 1_000)
                effects.list.append(.log(.warning, "group \(name): a dead letter is not written (\(error.message))"))
                return decide(name, .heard(later, from: settings.replica), now: now, into: &effects)
            }
        }
        buried(name, key, now: now, into: &effects)
    }

    private mutating func buried(_ name: String, _ key: EntryKey, now: Instant, into effects: inout Effects) {
        groups.all[name]?.decider.counters.deadLettered += 1
        decide(name, .void(key), now: now, into: &effects)
    }

    /// The dead letter of an event: the same id at every node, so that two that bury it write one event.
    private func letter(
        _ name: String, _ options: GroupOptions, _ id: UUID, _ position: Int, _ attempt: UInt32
    ) -> [UInt8] {
        var seed = Array(name.utf8)
        seed.append(0)
        id.write(into: &seed)
        let letterID = UUID(computed: XXH64.hash(seed.span.bytes), XXH64.hash(seed.span.bytes, seed: 1))
        var out: [UInt8] = []
        var letter = JSONObjectWriter(&out)
        letter.add("id", letterID.text, into: &out)
        letter.add("topic", options.deadLetterTopic, into: &out)
        letter.add("type", "dead_letter", into: &out)
        letter.add("source", "hypha", into: &out)
        letter.add("correlation_id", id.text, into: &out)
        letter.key("data", into: &out)
        var data = JSONObjectWriter(&out)
        data.add("group", name, into: &out)
        data.add("attempts", Int(attempt % GroupDecider.takeoverStep), into: &out)
        data.add("reason", "no consumer acknowledged it in \(options.maxAttempts) attempts", into: &out)
        data.key("event", into: &out)
        let size = cluster.log.record(at: position).length
        if Int(size) + 8_192 <= Fact.maximumBodyBytes {
            readEvent(at: position) { out.append(copying: $0) }
        } else {
            // It would not fit into an event that holds it.
            out.append(constant: "null")
        }
        data.close(into: &out)
        letter.close(into: &out)
        return out
    }
}

extension Filter {
    /// A filter as a document holds it; nil for what no node writes.
    init?(stored bytes: [UInt8]) {
        var scanner = JSONScanner(bytes.span.bytes)
        guard let value = try? scanner.value(bytes.span.bytes), let filter = try? Filter(value, bytes.span.bytes),
            !filter.surface.isPrivate
        else { return nil }
        self = filter
    }
}
