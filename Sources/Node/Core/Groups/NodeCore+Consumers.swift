import CRDT
import Gossip

/// What consumers of queue groups say, on their connection or at any node.
extension NodeCore {
    /// How a group's name stands in a client's message.
    static let groupMembers: [StaticString] = [
        "ack_deadline_ms", "max_attempts", "max_in_flight", "dead_letter_topic", "takeover",
        "sharing",
    ]

    /// A session on `/ws` wants its share of a group's events.
    mutating func subscribeToGroup(
        _ session: SessionID, _ message: SessionMessage, _ filters: [Filter], _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        guard let name = try message.text("group", bytes) else {
            throw .invalid(field: "group", "expected the name of a queue group")
        }
        guard message.value("cursor", bytes) == nil else {
            throw .invalid(field: "cursor", "a group remembers by itself what is done; subscribe to it without one")
        }
        guard filters.count == 1 else { throw .invalid(field: "filters", "a group has one filter") }
        var wishes = GroupOptions.Wishes()
        for name in Self.groupMembers {
            guard let value = message.value(name, bytes), let json = try? JSONValue(bytes.extracting(value.range))
            else { continue }
            _ = try wishes.read("\(name)", json)
        }
        try joinGroup(session, name, filters[0], wishes, isAutomatic: false, now: now, into: &effects)
        // It hears the group's events from here on, not everything.
        try sessions.subscribe(session, [], wantsCursors: false, resume: nil, into: &effects.list)
        guard message.ref != nil else { return }
        say(session, "subscribed", ref: message.ref, into: &effects) { out in
            out.append(constant: ",\"group\":")
            out.append(json: name)
        }
    }

    /// A session consumes a group from now on, which is made if there is none. Throws if there is one that wants other
    /// events or has other options than the client names.
    mutating func joinGroup(
        _ session: SessionID, _ name: String, _ filter: Filter, _ wishes: GroupOptions.Wishes, isAutomatic: Bool,
        now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try GroupName.check(name)
        guard !filter.surface.isPrivate else {
            throw .invalid(
                field: "filter.topic",
                "messages in chats go to their members, never to a queue group; subscribe without one")
        }
        guard !isIncomplete else { throw .incomplete }
        if groups.isUnread { readAllGroups(now: now, into: &effects) }
        readStaleGroups(now: now, into: &effects)
        let joined = presence.mine[session]?.groups ?? [:]
        guard joined[name] != nil || joined.count < Presence.maximumGroups else {
            throw .invalid(
                field: "group", "a session takes part in at most \(Presence.maximumGroups); use another connection")
        }
        if let group = groups.all[name] {
            guard group.filter == filter else {
                let known = String(decoding: group.options.filter, as: UTF8.self)
                throw .conflict(
                    "group \(name) has another filter, \(known); give the same one, or delete the group first")
            }
            if let conflict = wishes.conflict(with: group.options) {
                throw .conflict(
                    "the \(conflict) in group \(name); give the same or leave it out, or delete the group first")
            }
        } else {
            try makeGroup(name, filter, wishes, now: now, into: &effects)
        }
        let limit = wishes.maxInFlight ?? GroupOptions.defaultInFlight
        host(name, now: now, into: &effects) { $0.open(session, limit: limit, isAutomatic: isAutomatic, into: &$1) }
        presence.join(session, name, limit: limit)
    }

    private mutating func makeGroup(
        _ name: String, _ filter: Filter, _ wishes: GroupOptions.Wishes, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        if groups.all.count >= QueueGroups.maximumGroups { dropIdlestGroup(now: now, into: &effects) }
        guard groups.all.count < QueueGroups.maximumGroups else {
            throw .conflict(
                "there are \(groups.all.count) groups already, which is the most; delete one that nobody needs")
        }
        if let topic = wishes.deadLetterTopic, AddressPattern(JSONText.canonical(topic))?.address == nil {
            throw .invalid(
                field: "dead_letter_topic", "expected segments between dots, as in dead-letter.builds, without * and >")
        }
        guard wishes.deadLetterTopic != nil || AddressPattern(JSONText.canonical("dead-letter.\(name)"))?.address != nil
        else {
            throw .invalid(
                field: "group", "\"dead-letter.\(name)\" is no topic; give a dead_letter_topic, or another name")
        }
        var text: [UInt8] = []
        filter.encode(into: &text)
        var options: [UInt8] = []
        wishes.options(group: name, filter: text).encode(into: &options)
        // Logs that have ended are in no vector any more, and what they hold is still older than the group.
        var read = cluster.log.vector
        for entry in cluster.log.everKnown.entries where cluster.log.knownSlot(of: entry.replica) != nil {
            read.advance(entry.replica, to: entry.sequence)
        }
        var since: [UInt8] = []
        read.encode(into: &since)
        _ = try put(
            QueueGroups.prefix + name,
            [
                .create, .set(field: "options", value: options),
                .set(field: "since/\(settings.replica)", value: since),
            ], now: now, into: &effects)
        readStaleGroups(now: now, into: &effects)
        guard groups.all[name] != nil else {
            throw .conflict(
                "group \(name) could not be made; its document was removed by somebody whose clock is ahead")
        }
    }

    /// A session no longer consumes a group.
    mutating func leaveGroup(_ session: SessionID, _ name: String) throws(NodeError) {
        guard presence.mine[session]?.groups[name] != nil else {
            throw .notFound("this connection does not consume the group \(name.prefix(128))")
        }
        presence.leave(session, name)
    }

    // MARK: - Answers

    /// An ack or nack on `/ws`.
    mutating func answerGroup(
        _ session: SessionID, isAck: Bool, _ message: SessionMessage, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        guard let name = try message.text("group", bytes) else {
            throw .invalid(field: "group", "required, the name of the queue group that the event came for")
        }
        let answer = try GroupAnswer(
            id: message.value("id", bytes), ids: message.value("ids", bytes),
            delay: message.value("delay_ms", bytes), bytes)
        let unknown = try give(answer, to: name, isAck: isAck, now: now, into: &effects)
        guard message.ref != nil || !unknown.isEmpty else { return }
        say(session, isAck ? "acked" : "nacked", ref: message.ref, into: &effects) { out in
            out.append(constant: ",\"group\":")
            out.append(json: name)
            Self.append(unknown, into: &out)
        }
    }

    /// `POST /api/groups/{name}/ack` and `nack`.
    mutating func answerGroup(
        _ request: RequestID, _ name: String, isAck: Bool, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        var message = SessionMessage()
        try message.read(bytes)
        let answer = try GroupAnswer(
            id: message.value("id", bytes), ids: message.value("ids", bytes),
            delay: message.value("delay_ms", bytes), bytes)
        let unknown = try give(answer, to: name, isAck: isAck, now: now, into: &effects)
        let start = effects.bytes.count
        effects.bytes.append(constant: isAck ? "{\"acked\":" : "{\"nacked\":")
        effects.bytes.append(json: answer.ids.count - unknown.count)
        Self.append(unknown, into: &effects.bytes)
        effects.bytes.append(UInt8(ascii: "}"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    private static func append(_ unknown: [UUID], into out: inout [UInt8]) {
        out.append(constant: ",\"unknown\":[")
        for (i, id) in unknown.enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            out.append(json: id.text)
        }
        out.append(UInt8(ascii: "]"))
    }

    /// Hands an answer on to whoever decides. Returns the ids that nobody here knows.
    private mutating func give(
        _ answer: GroupAnswer, to name: String, isAck: Bool, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> [UUID] {
        guard groups.all[name] != nil else { throw Self.noGroup(name) }
        var unknown: [UUID] = []
        for id in answer.ids {
            let here = groups.all[name]?.host.key(of: id)
            var isDone = false
            if let here {
                host(name, now: now, into: &effects) { host, out in
                    isDone =
                        isAck
                        ? host.acknowledge(here, into: &out)
                        : host.giveBack(here, delayMs: answer.delayMs, into: &out)
                }
            }
            if isDone { continue }
            // Another node's consumer has it, or its time is over and somebody else has it by now.
            guard let key = here ?? place(of: id).map({ EntryKey(log: $0.log, sequence: $0.sequence) }) else {
                unknown.append(id)
                continue
            }
            guard groups.all[name]?.decider.isSettled(key) == false else { continue }
            guard let owner = groups.all[name]?.decider.owner(of: key) else { continue }
            if isAck { groups.all[name]?.host.remember(key, decider: owner) }
            let message: GroupMessage =
                isAck ? .settle(key) : .giveBack(key, attempt: 0, delayMs: answer.delayMs)
            groups.outbox.append((owner, name, message))
        }
        return unknown
    }

    static func noGroup(_ name: String) -> NodeError {
        .notFound("no queue group \(name.prefix(128)) is known here; a group is made by the first who subscribes to it")
    }
}

/// Which events an ack or nack is about.
struct GroupAnswer {
    /// The most ids at once.
    static let maximumIDs = 10_000

    var ids: [UUID] = []
    var delayMs: UInt64 = 0

    init(
        id: JSONScanner.Value?, ids list: JSONScanner.Value?, delay: JSONScanner.Value?, _ bytes: RawSpan
    ) throws(NodeError) {
        var values: [JSONScanner.Value] = id.map { [$0] } ?? []
        if let list {
            guard list.kind == .array else {
                throw .invalid(field: "ids", "expected an array of event ids, found \(list.kind.phrase)")
            }
            do throws(JSONError) {
                var scanner = JSONScanner(list.range)
                _ = try scanner.array(bytes) { (scanner) throws(JSONError) in values.append(try scanner.value(bytes)) }
            } catch {
                throw .invalid(error, in: bytes)
            }
        }
        guard (1...Self.maximumIDs).contains(values.count) else {
            throw .invalid(field: "ids", "expected the id of an event as \"id\", or 1 to \(Self.maximumIDs) as \"ids\"")
        }
        for value in values {
            guard value.kind == .string, let id = UUID(bytes.extracting(value.inner)) else {
                throw .invalid(field: "ids", "expected ids of events, each a UUID")
            }
            ids.append(id)
        }
        guard let delay else { return }
        // However it is written: 5000.0 is whole, too.
        let number = delay.kind == .number ? JSONText.double(bytes, delay.range) : nil
        guard let number, let milliseconds = UInt64(exactly: number), milliseconds <= GroupFrame.maximumMs else {
            throw .invalid(field: "delay_ms", "expected a whole number from 0 to \(GroupFrame.maximumMs)")
        }
        delayMs = milliseconds
    }
}
