import CRDT
import Gossip

/// Soorma's event service (docs/soorma.md): publishing, and streams on which the clients of one agent name share events.
extension NodeCore {
    /// The names of its topics.
    public static let soormaTopics = SoormaTopic.allCases.map(\.rawValue)

    /// What is asked of the event service.
    mutating func answer(
        _ id: RequestID, _ request: EventServiceRequest, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .publish: try publishEnvelope(id, bytes, now: now, into: &effects)
        case .stream(let topics, let agentID, let agentName):
            try openEnvelopes(id, topics, agentID, agentName, now: now, into: &effects)
        }
    }

    private mutating func publishEnvelope(
        _ request: RequestID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let (event, given) = try Envelope.read(bytes)
        let (status, body) = try postEvent(event.span.bytes, now: now, into: &effects)
        eventService.counters.published += 1
        let id = given ?? EventView(effects.bytes.span.bytes.extracting(body))?.id.text ?? ""
        let start = effects.bytes.count
        var answer = JSONObjectWriter(&effects.bytes)
        answer.add("success", true, into: &effects.bytes)
        answer.add("event_id", id, into: &effects.bytes)
        answer.add("message", status == 201 ? "published" : "published before", into: &effects.bytes)
        answer.close(into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    // MARK: - Streams

    private mutating func openEnvelopes(
        _ request: RequestID, _ patterns: [String], _ agentID: String, _ agentName: String?, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        guard !isLeaving, eventService.leaveDue == nil else {
            throw NodeError(status: 503, message: "this node is leaving the cluster; connect to another node")
        }
        // What its handlers publish here would be refused, and SDKs do not try again.
        try checkWritable()
        let session = SessionID(request.rawValue)
        let stream = EventService.Stream(
            name: agentName ?? agentID, topics: SoormaTopic.matching(patterns),
            connection: UUID(random: dice.next(), dice.next()))
        presence.open(session, agent: agentID, isStream: true, nowMs: cluster.nowMs(now))
        eventService.open(session, stream)
        do throws(NodeError) {
            try joinGroups(session, now: now, into: &effects)
        } catch {
            eventService.close(session)
            presence.close(session)
            throw error
        }
        effects.list.append(.stream(request))
        sessions.open(session, .envelopes, agent: agentID, into: &effects.list)
        sayFrame(session, "connected", into: &effects) { frame, out in
            frame.key("topics", into: &out)
            out += JSONValue.texts(patterns).encoded()
            frame.add("agent_id", agentID, into: &out)
        }
        if eventService.heartbeatDue == nil {
            eventService.heartbeatDue = now.advanced(milliseconds: EventService.heartbeatMs)
        }
    }

    /// Takes part in the queue groups of its name, one for each topic.
    private mutating func joinGroups(
        _ session: SessionID, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        guard let stream = eventService[session] else { return }
        for topic in stream.topics {
            var wishes = GroupOptions.Wishes()
            wishes.ackDeadlineMs = EventService.ackDeadlineMs
            wishes.deadLetterTopic = EventService.deadLetterTopic
            wishes.maxInFlight = EventService.maximumInFlight
            // A request is anybody's; what comes of it belongs to what came before.
            wishes.sharing = topic == .actionRequests ? .even : .related
            var filter = Filter()
            (filter.surface, filter.address) = (.bus, AddressPattern(Array(topic.rawValue.utf8)))
            let group = EventService.group(stream.name, topic)
            try joinGroup(session, group, filter, wishes, isAutomatic: false, now: now, into: &effects)
        }
    }

    /// Sends a frame about the stream itself.
    private func sayFrame(
        _ session: SessionID, _ event: StaticString, into effects: inout Effects,
        _ rest: (inout JSONObjectWriter, inout [UInt8]) -> Void = { _, _ in }
    ) {
        guard let stream = eventService[session] else { return }
        let start = effects.bytes.count
        effects.bytes.append(constant: "event: ")
        effects.bytes.append(constant: event)
        effects.bytes.append(constant: "\ndata: ")
        var frame = JSONObjectWriter(&effects.bytes)
        frame.add("connection_id", stream.connection.text, into: &effects.bytes)
        rest(&frame, &effects.bytes)
        frame.close(into: &effects.bytes)
        effects.bytes.append(constant: "\n\n")
        effects.list.append(.send(session, start..<effects.bytes.count))
    }

    /// A client of a stream is gone: what it was not done with goes to another.
    mutating func envelopesClosed(_ session: SessionID, now: Instant, into effects: inout Effects) {
        guard let stream = eventService[session] else { return }
        if stream.isStopping {
            finish(stream.handed.left, of: session, now: now, into: &effects)
        }
        eventService.close(session)
    }

    /// The agent of a stream stops, and will end it: what it was sent is its own to do. False if it is no such stream.
    mutating func noteStopping(_ session: SessionID) -> Bool {
        eventService.change(session) { $0.isStopping = true } != nil
    }

    /// Sends the clients of streams away. What they have not shown to be done with goes to others, or to them when they are
    /// back: what their handlers still publish here would be lost.
    mutating func dismissEnvelopes(now: Instant, into effects: inout Effects) {
        for session in eventService.sessions {
            sayFrame(session, "disconnected", into: &effects) { frame, out in
                frame.add("reason", "this node is leaving the cluster", into: &out)
            }
            endEnvelopes(session, into: &effects)
        }
        eventService.left()
        // Whoever decides next has to know what is done.
        for name in groups.all.keys { groups.all[name]?.mayWrite = now }
        settleGroups(now: now, into: &effects)
    }

    /// Ends a stream without its last chunk: a client that sees it end well connects again at once, for ever; of a lost
    /// connection it waits a little longer each time.
    mutating func endEnvelopes(_ session: SessionID, into effects: inout Effects) {
        eventService.close(session)
        effects.list.append(.close(session, code: 1_006, reason: "connect again"))
        sessions.close(session, into: &effects.list)
        presence.close(session)
    }

    /// The client reads nothing, and what it was sent is dropped.
    mutating func envelopesOverran(_ session: SessionID, into effects: inout Effects) {
        counters.overrun += 1
        endEnvelopes(session, into: &effects)
    }

    // MARK: - Events

    /// Sends an event of one of its groups to a client.
    mutating func sendEnvelope(
        _ key: EntryKey, at position: Int, _ id: UUID, attempt: UInt32, of group: String, to session: SessionID,
        now: Instant,
        into effects: inout Effects
    ) {
        guard eventService.note(id, key, of: group) else {
            return host(group, now: now, into: &effects) { _ = $0.acknowledge(key, into: &$1) }
        }
        // Only who decides about it has changed.
        if attempt > 1, eventService[session]?.handed.contains(key, of: group) == true { return }
        let start = effects.bytes.count
        effects.bytes.append(constant: "event: message\ndata: ")
        var event = HandedEvents.Event(group: group, key: key)
        readEvent(at: position) { json in
            Envelope.append(json, into: &effects.bytes)
            guard let fields = try? BusFields(json) else { return }
            if let id = fields[.correlationID], id.kind == .string {
                event.correlation = EventService.hash(json.extracting(id.inner))
            }
            if let response = fields[.responseEvent], response.kind == .string {
                event.response = EventService.hash(json.extracting(response.inner))
            }
            let (task, data) = Envelope.task(fields, json)
            if let task { event.task = EventService.hash(task.span.bytes) }
            if let data, let value = try? JSONValue(json.extracting(data.range)) {
                event.data = EventService.hash(value.encoded().span.bytes)
            }
        }
        effects.bytes.append(constant: "\n\n")
        effects.list.append(.send(session, start..<effects.bytes.count))
        eventService.counters.delivered += 1
        eventService.await(event, by: session)
        let bytes = effects.bytes.count - start
        let news = eventService.change(session) { stream -> (asks: Bool, isFull: Bool) in
            let wasFull = stream.owed > EventService.owedBytes
            stream.owed += bytes
            return (stream.handed.sent(event, now: now), !wasFull && stream.owed > EventService.owedBytes)
        }
        guard let news else { return }
        if news.asks { effects.list.append(.notify(session)) }
        if news.isFull { setFull(session, true, now: now, into: &effects) }
    }

    /// All that a client was sent before it was asked has left this process.
    mutating func envelopesLeft(_ session: SessionID, now: Instant, into effects: inout Effects) {
        let news = eventService.change(session) {
            stream -> (done: [HandedEvents.Event], asks: Bool, hasRoom: Bool, due: Instant?) in
            let (done, asksAgain) = stream.handed.emptied()
            let wasFull = stream.owed > EventService.owedBytes
            if !asksAgain { stream.owed = 0 }
            return (done, asksAgain, wasFull && !asksAgain, stream.handed.wake)
        }
        guard let news else { return }
        if let due = news.due { eventService.presumeDue = min(eventService.presumeDue ?? due, due) }
        if news.asks { effects.list.append(.notify(session)) }
        eventService.counters.presumed += news.done.count
        finish(news.done, of: session, now: now, into: &effects)
        if news.hasRoom, eventService.leaveDue == nil { setFull(session, false, now: now, into: &effects) }
    }

    private mutating func setFull(
        _ session: SessionID, _ isFull: Bool, now: Instant, into effects: inout Effects
    ) {
        for name in (presence.mine[session]?.groups ?? [:]).keys.sorted() {
            host(name, now: now, into: &effects) { $0.setFull(session, isFull, into: &$1) }
        }
    }

    /// A client is done with events.
    private mutating func finish(
        _ events: [HandedEvents.Event], of session: SessionID, now: Instant, into effects: inout Effects
    ) {
        for event in events {
            eventService.forget(event, of: session)
            var isElsewhere = false
            host(event.group, now: now, into: &effects) { host, out in
                if let delivery = host.deliveries[event.key] {
                    // It may have been taken back and given to another meanwhile.
                    if delivery.session == session { _ = host.acknowledge(event.key, into: &out) }
                } else {
                    // Who decides about it has changed, and the new one has not given it to anybody yet.
                    host.remember(event.key, decider: event.key.log)
                    isElsewhere = true
                }
            }
            guard isElsewhere, groups.all[event.group]?.decider.isSettled(event.key) == false,
                let owner = groups.all[event.group]?.decider.owner(of: event.key)
            else { continue }
            groups.outbox.append((owner, event.group, .settle(event.key)))
        }
    }

    // MARK: - Signs

    /// What a bus event says of its source: who asked for something, and how far a client of that name has come.
    struct Told {
        let name: String
        /// At which node it was published.
        let node: ReplicaID
        let isRequest: Bool
        let sign: HandedEvents.Sign
    }

    /// Reads that of a bus event; nil if it is on none of Soorma's topics.
    func told(by view: EventView, _ json: RawSpan, at position: Int) -> Told? {
        guard let topic = SoormaTopic(json.extracting(view.address)),
            let name = JSONText.text(canonical: json.extracting(view.agent))
        else { return nil }
        var sign = HandedEvents.Sign(type: EventService.hash(json.extracting(view.typeText)))
        if !view.correlation.isEmpty { sign.correlation = EventService.hash(json.extracting(view.correlation)) }
        if !eventService.sessions(of: name).isEmpty, let fields = try? BusFields(json) {
            // Clients publish where they listen; of several of one name here it is not known which one did.
            let isHere = cluster.log.record(at: position).slot == cluster.log.mine
            sign.isOwn = isHere && eventService.sessions(of: name).count == 1
            let named = Envelope.task(fields, json).id
            if let known = workedOn(JSONText.text(canonical: json.extracting(view.correlation))) {
                (sign.task, sign.data) = known
            } else if let named {
                sign.task = EventService.hash(named.span.bytes)
            }
        }
        let node = cluster.log.replica(in: Int(cluster.log.record(at: position).slot))
        return Told(name: name, node: node, isRequest: topic == .actionRequests, sign: sign)
    }

    /// A bus event was read: what an agent publishes is a sign of what it has got.
    mutating func note(_ told: Told, now: Instant, into effects: inout Effects) {
        if told.isRequest {
            eventService.noteRequest(told.sign.correlation, by: .init(name: told.name, node: told.node))
        }
        for session in eventService.sessions(of: told.name) {
            hear(session, told.sign, now: now, into: &effects)
        }
        guard told.sign.correlation != 0 else { return }
        let answer = HandedEvents.Event.answer(to: told.sign.correlation, told.sign.type)
        for session in eventService.awaiting(answer) {
            let done = eventService.change(session) { $0.handed.answered(answer) } ?? []
            eventService.counters.signed += done.count
            finish(done, of: session, now: now, into: &effects)
        }
    }

    /// Somebody asks what was kept under the correlation id of a request: whoever made that request has got an answer.
    mutating func noteLookup(_ correlation: String, now: Instant, into effects: inout Effects) {
        guard eventService.isListening else { return }
        let hash = EventService.hash(correlation)
        guard let name = eventService.requester(of: hash)?.name else { return }
        for session in eventService.sessions(of: name) {
            hear(session, HandedEvents.Sign(correlation: hash), now: now, into: &effects)
        }
    }

    private mutating func hear(
        _ session: SessionID, _ sign: HandedEvents.Sign, now: Instant, into effects: inout Effects
    ) {
        let done = eventService.change(session) { $0.handed.heard(sign, now: now) } ?? []
        eventService.counters.signed += done.count
        finish(done, of: session, now: now, into: &effects)
    }

    /// The task of whose sub-tasks one is asked for under this correlation id, and its data, as hashes. As far as contexts
    /// were read: `memories.refreshTaskContexts` comes first.
    private func workedOn(_ correlation: String?) -> (task: UInt64, data: UInt64)? {
        guard let correlation, let key = memories.taskContexts.newest(Array(correlation.utf8)),
            let task = Tenancy.parts(key).last
        else { return nil }
        let document = DocumentKind.taskContext.name(String(decoding: key, as: UTF8.self))
        let data = documents.value(of: "data", in: document)
        return (EventService.hash(task), data.map { EventService.hash($0.span.bytes) } ?? 0)
    }

    /// What an event of a group is about, so that what belongs together goes to one consumer. Results of one task's sub-tasks
    /// belong together, so that a worker collects them one after another; and they belong to where the agent has asked for
    /// them: an SDK publishes a request first and stores what it has to know of it then, and reads no result meanwhile.
    func kinship(of event: EventView, _ json: RawSpan, in group: String) -> GroupDecider.Kinship {
        guard !event.correlation.isEmpty else { return .none }
        let correlation = json.extracting(event.correlation)
        let hash = EventService.hash(correlation)
        var kinship = GroupDecider.Kinship(kin: hash)
        if let known = workedOn(JSONText.text(canonical: correlation)) { kinship.kin = known.task }
        if let topic = SoormaTopic(json.extracting(event.address)), let requester = eventService.requester(of: hash),
            EventService.group(requester.name, topic) == group
        {
            kinship.home = requester.node
        }
        return kinship
    }

    // MARK: - Time

    /// Does what has become due: called at the end of every input.
    mutating func settleEventService(now: Instant, into effects: inout Effects) {
        if let due = eventService.heartbeatDue, due <= now {
            let open = eventService.sessions
            for session in open { sayFrame(session, "heartbeat", into: &effects) }
            eventService.heartbeatDue = open.isEmpty ? nil : now.advanced(milliseconds: EventService.heartbeatMs)
        }
        if let due = eventService.presumeDue, due <= now { presume(now: now, into: &effects) }
        if let due = eventService.idleDue, due <= now { dropIdleGroups(now: now, into: &effects) }
        if eventService.idleDue == nil, groups.all.keys.contains(where: { $0.hasPrefix(EventService.groupPrefix) }) {
            eventService.idleDue = now.advanced(milliseconds: EventService.idleGroupMs / 60)
        }
    }

    /// Gives clients nothing more, so that they finish what they have in hand before this node leaves. False if there are
    /// none, or if they have had their time.
    mutating func letFinish(now: Instant, into effects: inout Effects) -> Bool {
        guard eventService.mustFinish(now: now) else { return false }
        for session in eventService.sessions { setFull(session, true, now: now, into: &effects) }
        return true
    }

    /// Leaves once clients have nothing in hand any more, or have had their time.
    mutating func leaveWhenFinished(now: Instant, into effects: inout Effects) {
        if !isLeaving, eventService.isFinished(now: now) { leave(now: now, into: &effects) }
    }

    /// Takes events for done with of which nothing was heard for too long.
    private mutating func presume(now: Instant, into effects: inout Effects) {
        eventService.presumeDue = nil
        for session in eventService.sessions {
            let done = eventService.change(session) { $0.handed.expire(now: now) } ?? []
            if let due = eventService[session]?.handed.wake {
                eventService.presumeDue = min(eventService.presumeDue ?? due, due)
            }
            eventService.counters.presumed += done.count
            finish(done, of: session, now: now, into: &effects)
        }
    }

    /// A group that a client takes part in was deleted: it makes it anew.
    mutating func rejoinGroups(now: Instant, into effects: inout Effects) {
        let sessions = eventService.orphans.sorted()
        eventService.orphans.removeAll()
        for session in sessions where eventService[session] != nil {
            do throws(NodeError) {
                try joinGroups(session, now: now, into: &effects)
            } catch {
                endEnvelopes(session, into: &effects)
            }
        }
        settleGroups(now: now, into: &effects)
    }

    /// Makes room for a group: of those of SDKs that nobody consumes, the one goes that has been idle for longest. SDKs make
    /// names up, and whoever comes next must not wait until they have been idle for long enough.
    mutating func dropIdlestGroup(now: Instant, into effects: inout Effects) {
        guard seesEverybody else { return }
        let idle = groups.all.filter {
            $0.key.hasPrefix(EventService.groupPrefix) && $0.value.decider.consumers.isEmpty
        }
        let idlest = idle.keys.min { a, b in
            (eventService.idleGroups[a] ?? now, a) < (eventService.idleGroups[b] ?? now, b)
        }
        guard let idlest, (try? put(QueueGroups.prefix + idlest, [.remove], now: now, into: &effects)) != nil
        else { return }
        eventService.counters.idle += 1
        readStaleGroups(now: now, into: &effects)
    }

    /// Whether no member is missing whose clients could consume something.
    private var seesEverybody: Bool {
        cluster.membership.members.allSatisfy { $0.state == .alive || $0.state == .left }
    }

    /// Deletes groups of agents that nobody plays any more. Only while everybody can be seen: who is cut off may have their
    /// clients.
    private mutating func dropIdleGroups(now: Instant, into effects: inout Effects) {
        eventService.idleDue = nil
        var idle: [String: Instant] = [:]
        for (name, group) in groups.all
        where name.hasPrefix(EventService.groupPrefix) && group.decider.consumers.isEmpty {
            idle[name] = eventService.idleGroups[name] ?? now
        }
        eventService.idleGroups = idle
        guard seesEverybody, !isIncomplete, (try? checkWritable()) != nil else { return }
        for (name, since) in idle.sorted(by: { $0.key < $1.key })
        where since.advanced(milliseconds: EventService.idleGroupMs) <= now {
            let document = QueueGroups.prefix + name
            guard owner(of: Array(document.utf8), named: nil) == settings.replica else { continue }
            if (try? put(document, [.remove], now: now, into: &effects)) != nil { eventService.counters.idle += 1 }
        }
    }
}
