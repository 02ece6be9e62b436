import CRDT
import Gossip

/// Queue groups: what happens to them, and what follows from it.
extension NodeCore {
    /// Positions of the log looked at in one turn, so that none of them is long.
    private static let scannedPerTurn = 1_024

    // MARK: - Hooks

    /// An event was read that is the event among the copies of its id.
    mutating func offerToGroups(_ position: Int, _ view: EventView, _ json: RawSpan) {
        guard !groups.index.isEmpty else { return }
        var names: [String] = []
        groups.index.match(view, json, into: &names)
        guard !names.isEmpty else { return }
        memories.refreshTaskContexts(documents)
        let record = cluster.log.record(at: position)
        let key = EntryKey(log: cluster.log.replica(in: Int(record.slot)), sequence: record.sequence)
        for name in names where groups.all[name]?.backlog == nil {
            guard groups.all[name]?.belongs(key, timeMs: record.time >> 16) == true else { continue }
            guard groups.all[name]?.decider.base(of: key.log) == settings.replica else { continue }
            groups.touched.insert(name)
            guard groups.all[name]?.decider.hasRoom == true else {
                groups.all[name]?.backlog = position
                continue
            }
            var none: [GroupDecider.Effect] = []
            let now = Instant(microseconds: 0)
            let input = GroupDecider.Input.found(key, position: position, kin: kinship(of: name, view, json))
            groups.all[name]?.decider.handle(input, now: now, into: &none)
        }
    }

    /// What an event has in common with others that are to go to the same consumer.
    private func kinship(of name: String, _ view: EventView, _ json: RawSpan) -> GroupDecider.Kinship {
        groups.all[name]?.options.sharing == .related ? kinship(of: view, json, in: name) : .none
    }

    /// A put was applied: `put` is its body.
    mutating func documentChanged(_ put: RawSpan) {
        var cursor = ByteCursor(put)
        let prefix = Array(QueueGroups.prefix.utf8)
        guard let range = try? cursor.block(put, limit: DocumentMap.maximumNameBytes), range.count > prefix.count,
            put.extracting(range.lowerBound..<range.lowerBound + prefix.count).isEqual(to: prefix)
        else { return }
        let name = put.extracting(range.lowerBound + prefix.count..<range.upperBound)
        groups.stale.insert(name.withUnsafeBytes { String(decoding: $0, as: UTF8.self) })
    }

    /// A peer's frame about groups came.
    mutating func heardGroups(_ peer: ReplicaID, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        groups.counters.frames += 1
        var cursor = ByteCursor(bytes)
        do throws(DecodeError) {
            while cursor.remaining > 0 {
                let (group, message) = try GroupFrame.next(&cursor, bytes)
                hear(message, of: group, from: peer, now: now, into: &effects)
            }
        } catch {
            groups.counters.malformed += 1
            closeLink(to: peer, "a bad frame about groups (\(error))", now: now, into: &effects)
        }
    }

    /// What a session was sent has left this process.
    mutating func groupSessionEmptied(_ session: SessionID, now: Instant, into effects: inout Effects) {
        eachGroup(of: session, now: now, into: &effects) { $0.emptied(session, into: &$1) }
    }

    /// What a session was owed was dropped.
    mutating func groupSessionOverran(_ session: SessionID, now: Instant, into effects: inout Effects) {
        eachGroup(of: session, now: now, into: &effects) { $0.overran(session, into: &$1) }
    }

    private mutating func eachGroup(
        of session: SessionID, now: Instant, into effects: inout Effects,
        _ body: (inout GroupHost, inout [GroupHost.Effect]) -> Void
    ) {
        for name in (presence.mine[session]?.groups ?? [:]).keys.sorted() {
            host(name, now: now, into: &effects, body)
        }
    }

    // MARK: - The turn's end

    /// Does what has become due: called at the end of every input.
    mutating func settleGroups(now: Instant, into effects: inout Effects) {
        if presence.wake.map({ $0 <= now }) ?? false { presence.expire(now: now) }
        if presence.seenMembers != cluster.memberChanges {
            presence.seenMembers = cluster.memberChanges
            let members = cluster.membership
            presence.follow(now: now) { members.member($0)?.isPresent ?? false }
        }
        if groups.standing.me != settings.replica { (groups.standing.me, groups.isUnread) = (settings.replica, true) }
        guard !isIncomplete else {
            groups.seenMembers = -1
            return tellRosters(now: now, into: &effects)
        }
        if groups.isUnread { readAllGroups(now: now, into: &effects) }
        if !groups.stale.isEmpty { readStaleGroups(now: now, into: &effects) }
        if presence.hasNews { applyPresence(now: now, into: &effects) }
        if !groups.all.isEmpty {
            let isDue = groups.nextOrphan.map { $0 <= now } ?? false
            let hasNews = groups.seenMembers != cluster.memberChanges || groups.seenLogs != cluster.log.logCount
            if hasNews || isDue { followMembers(now: now, into: &effects) }
        }
        let isDue = groups.wake.map { $0 <= now } ?? false
        if isDue {
            let soon = now.advanced(milliseconds: 1)
            for (name, group) in groups.all where group.wake(now: now).map({ $0 <= soon }) ?? false {
                groups.touched.insert(name)
            }
        }
        if !groups.unread.isEmpty, groups.unreadEnd != index.end { deliverUnread(now: now, into: &effects) }
        if !groups.touched.isEmpty || !groups.outbox.isEmpty { work(now: now, into: &effects) }
        if isDue {
            groups.wake = nil
            setWake(of: groups.all.keys.sorted(), now: now)
        }
        tellRosters(now: now, into: &effects)
    }

    /// Works off the groups with which something has happened.
    private mutating func work(now: Instant, into effects: inout Effects) {
        var worked: Set<String> = []
        var budget = Self.scannedPerTurn
        // What is handed out here is heard here, and may make room for more.
        while !groups.touched.isEmpty || !groups.outbox.isEmpty {
            // What is settled is not handed out.
            route(now: now, into: &effects)
            let names = groups.touched.sorted()
            worked.formUnion(names)
            for name in names {
                decide(name, .tick, now: now, into: &effects)
                host(name, now: now, into: &effects) { $0.expire(now: now, into: &$1) }
                if groups.all[name]?.isScanning == true { scan(name, &budget, now: now, into: &effects) }
                handOut(name, now: now, into: &effects)
                // By then it was touched again, which is no news. A dead letter may have touched others.
                groups.touched.remove(name)
            }
        }
        for name in worked.sorted() { writeProgress(name, now: now, into: &effects) }
        setWake(of: worked.sorted(), now: now)
    }

    private mutating func setWake(of names: [String], now: Instant) {
        for name in names {
            guard let due = groups.all[name]?.wake(now: now) else { continue }
            groups.wake = min(groups.wake ?? due, due)
        }
    }

    /// When `settleGroups` is due.
    var groupsWake: Instant? {
        var due = groups.wake
        for mine in [presence.wake, groups.all.isEmpty ? nil : groups.nextOrphan] {
            if let mine { due = min(due ?? mine, mine) }
        }
        return due
    }

    // MARK: - Both sides

    /// Gives the deciding side of a group an input, and carries out what follows.
    mutating func decide(_ name: String, _ input: GroupDecider.Input, now: Instant, into effects: inout Effects) {
        var out: [GroupDecider.Effect] = []
        groups.all[name]?.decider.handle(input, now: now, into: &out)
        groups.touched.insert(name)
        carryOut(out, name, now: now, into: &effects)
    }

    private mutating func carryOut(
        _ list: [GroupDecider.Effect], _ name: String, now: Instant, into effects: inout Effects
    ) {
        for effect in list {
            switch effect {
            case .tell(let node, let message): groups.outbox.append((node, name, message))
            case .look(let key): lookAgain(name, key, now: now, into: &effects)
            case .exhausted(let key, let position, let attempt):
                bury(name, key, position, attempt, now: now, into: &effects)
            }
        }
    }

    private mutating func handOut(_ name: String, now: Instant, into effects: inout Effects) {
        var out: [GroupDecider.Effect] = []
        let (log, index) = (cluster.log, index)
        groups.all[name]?.decider.hand(
            now: now, isWanted: { $0 >= log.start && log.holds($0) && index.isCanonical($0) }, into: &out)
        carryOut(out, name, now: now, into: &effects)
    }

    /// Gives the consumers' side of a group something, and carries out what follows.
    mutating func host(
        _ name: String, now: Instant, into effects: inout Effects,
        _ body: (inout GroupHost, inout [GroupHost.Effect]) -> Void
    ) {
        guard groups.all[name] != nil else { return }
        var out: [GroupHost.Effect] = []
        body(&groups.all[name]!.host, &out)
        groups.touched.insert(name)
        var at = 0
        while at < out.count {
            switch out[at] {
            case .tell(let node, let message): groups.outbox.append((node, name, message))
            case .notify(let session): effects.list.append(.notify(session))
            case .deliver(let key, let attempt, let session):
                if let id = send(key, attempt: attempt, of: name, to: session, now: now, into: &effects) {
                    groups.all[name]!.host.sent(key, id, into: &out)
                } else {
                    groups.all[name]!.unread.append(key)
                    groups.unread.insert(name)
                    groups.unreadEnd = index.end
                }
            }
            at += 1
        }
    }

    /// Sends an event to a consumer; nil if it is not read here yet.
    private mutating func send(
        _ key: EntryKey, attempt: UInt32, of name: String, to session: SessionID, now: Instant,
        into effects: inout Effects
    ) -> UUID? {
        guard let position = position(of: key), let id = index.id(at: position) else { return nil }
        if sessions[session]?.form == .envelopes {
            sendEnvelope(key, at: position, id, attempt: attempt, of: name, to: session, now: now, into: &effects)
            return id
        }
        let isStream = sessions[session]?.form == .eventStream
        let start = effects.bytes.count
        if isStream { effects.bytes.append(constant: "event: message\ndata: ") }
        effects.bytes.append(constant: "{\"type\":\"event\",\"group\":")
        effects.bytes.append(json: name)
        effects.bytes.append(constant: ",\"attempt\":")
        effects.bytes.append(json: UInt64(attempt))
        effects.bytes.append(constant: ",\"data\":")
        readEvent(at: position) { effects.bytes.append(copying: $0) }
        effects.bytes.append(UInt8(ascii: "}"))
        if isStream { effects.bytes.append(constant: "\n\n") }
        effects.list.append(.send(session, start..<effects.bytes.count))
        return id
    }

    /// Where an event lies in the log here, once it was read.
    func position(of key: EntryKey) -> Int? {
        let log = cluster.log
        guard let slot = log.knownSlot(of: key.log), let position = log.position(slot: slot, sequence: key.sequence),
            position < index.end, log.holds(position), index.jsonOffset(at: position) != nil
        else { return nil }
        return position
    }

    /// Events that were given to a consumer here may have been read by now.
    private mutating func deliverUnread(now: Instant, into effects: inout Effects) {
        groups.unreadEnd = index.end
        let names = groups.unread.sorted()
        groups.unread.removeAll()
        for name in names {
            let keys = groups.all[name]?.unread ?? []
            groups.all[name]?.unread = []
            host(name, now: now, into: &effects) { host, out in
                for key in keys {
                    guard let delivery = host.deliveries[key], delivery.id == nil else { continue }
                    out.append(.deliver(key, attempt: delivery.attempt, delivery.session))
                }
            }
        }
    }

    // MARK: - Messages

    private mutating func hear(
        _ message: GroupMessage, of name: String, from node: ReplicaID, now: Instant, into effects: inout Effects
    ) {
        switch message {
        case .assign(let key, let attempt, let session, let deadlineMs):
            guard groups.all[name] != nil else {
                let bounce = GroupMessage.bounce(key, attempt: attempt, session, isGone: true)
                return groups.outbox.append((node, name, bounce))
            }
            host(name, now: now, into: &effects) {
                $0.assign(key, attempt: attempt, to: session, deadlineMs: deadlineMs, by: node, now: now, into: &$1)
            }
        case .revoke(let key, let attempt):
            host(name, now: now, into: &effects) { $0.revoke(key, attempt: attempt, into: &$1) }
        case .bounce, .free, .settle, .giveBack:
            guard groups.all[name] != nil else { return }
            decide(name, .heard(message, from: node), now: now, into: &effects)
        }
    }

    /// Delivers what is to be told: here at once, to others in as few frames as it takes.
    private mutating func route(now: Instant, into effects: inout Effects) {
        var frames: [ReplicaID: [UInt8]] = [:]
        func flush(_ node: ReplicaID, _ frame: [UInt8], _ core: inout NodeCore, _ effects: inout Effects) {
            core.tell(node, .groups, now: now, into: &effects) { $0 += frame }
        }
        var at = 0
        while at < groups.outbox.count {
            let (node, name, message) = groups.outbox[at]
            at += 1
            if node == settings.replica {
                hear(message, of: name, from: node, now: now, into: &effects)
                continue
            }
            GroupFrame.append(name, message, into: &frames[node, default: []])
            guard let frame = frames[node], frame.count >= GroupFrame.bytes else { continue }
            flush(node, frame, &self, &effects)
            frames[node] = nil
        }
        groups.outbox.removeAll(keepingCapacity: true)
        for (node, frame) in frames.sorted(by: { $0.key < $1.key }) { flush(node, frame, &self, &effects) }
    }

    // MARK: - Looking through the log

    /// In this log there may be something to hand out from an entry on.
    private mutating func lookAgain(_ name: String, _ key: EntryKey, now: Instant, into effects: inout Effects) {
        guard let group = groups.all[name] else { return }
        guard let slot = cluster.log.knownSlot(of: key.log) else {
            return decide(name, .dropped(key.log, before: .max), now: now, into: &effects)
        }
        let floor = cluster.log.floor(of: slot)
        if key.sequence < floor { decide(name, .dropped(key.log, before: floor), now: now, into: &effects) }
        let from = max(key.sequence, floor, min(group.first(of: key.log), cluster.log.head(of: slot) + 1))
        guard let position = cluster.log.position(slot: slot, sequence: from) else { return }
        groups.all[name]?.backlog = min(group.backlog ?? .max, position)
    }

    private mutating func scan(_ name: String, _ budget: inout Int, now: Instant, into effects: inout Effects) {
        guard var position = groups.all[name]?.backlog, let filter = groups.all[name]?.filter else { return }
        position = max(position, cluster.log.start)
        memories.refreshTaskContexts(documents)
        while position < index.end {
            guard budget > 0, groups.all[name]?.decider.hasRoom == true else {
                groups.all[name]?.backlog = position
                return
            }
            budget -= 1
            groups.counters.scanned += 1
            look(at: position, name, filter, now: now, into: &effects)
            position += 1
        }
        groups.all[name]?.backlog = nil
    }

    private mutating func look(
        at position: Int, _ name: String, _ filter: Filter, now: Instant, into effects: inout Effects
    ) {
        guard cluster.log.holds(position), index.jsonOffset(at: position) != nil else { return }
        let record = cluster.log.record(at: position)
        let key = EntryKey(log: cluster.log.replica(in: Int(record.slot)), sequence: record.sequence)
        guard groups.all[name]?.decider.isSettled(key) == false else { return }
        let isOpen = groups.all[name]?.decider.attempt(of: key) != nil
        guard isOpen || groups.all[name]?.decider.base(of: key.log) == settings.replica else { return }
        var isIts = groups.all[name]?.belongs(key, timeMs: record.time >> 16) == true && index.isCanonical(position)
        var kin = GroupDecider.Kinship.none
        if isIts {
            (isIts, kin) = readEvent(at: position) { json in
                guard let view = EventView(json), filter.matches(view, json) else { return (false, .none) }
                return (true, kinship(of: name, view, json))
            }
        }
        if isIts {
            decide(name, .found(key, position: position, kin: kin), now: now, into: &effects)
        } else if isOpen {
            decide(name, .void(key), now: now, into: &effects)
        }
    }

    /// Closes the link to a peer that says what no peer says.
    mutating func closeLink(to peer: ReplicaID, _ why: String, now: Instant, into effects: inout Effects) {
        guard let link = cluster.mesh.link(to: peer) else { return }
        effects.list.append(.log(.warning, "link \(link.rawValue): \(why); closing the link"))
        close(link, now: now, into: &effects)
    }
}
