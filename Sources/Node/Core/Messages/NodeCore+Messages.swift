import CRDT
import Gossip

/// Direct messages (docs/messages.md): accepted at any node, kept as facts, shown to their sender and receivers alone.
extension NodeCore {
    /// What is asked of the bus.
    mutating func answer(
        _ id: RequestID, _ request: BusRequest, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .postMessage:
            let (status, body) = try postMessage(bytes, now: now, into: &effects)
            effects.list.append(.reply(id, Reply(status: status), body: body))
        case .take(let agent, let type, let most):
            let order = Takes.Order(
                agent: try Self.agent(agent), type: try Self.messageType(type),
                most: min(max(1, most), Mailbox.capacity))
            try take(.request(id), order, now: now, into: &effects)
        case .closeMailbox(let agent): try closeMailbox(id, agent, now: now, into: &effects)
        case .peek(let agent, let type, let most): try peek(id, agent, type: type, most: most, into: &effects)
        case .count(let agent, let type): try countMessages(id, agent, type: type, into: &effects)
        case .history(let agent, let since, let limit):
            try showHistory(id, agent: agent, since: since, limit: limit, into: &effects)
        case .conversation(let correlation, let limit):
            showConversation(id, correlation, limit: limit, into: &effects)
        case .stats: showMessageStats(id, into: &effects)
        case .request(let timeoutMs):
            try self.request(.request(id), bytes, timeoutMs: timeoutMs, now: now, into: &effects)
        }
    }

    // MARK: - Accepting

    /// Accepts one message: returns 201 and where its JSON lies in the effects' bytes, or 200 and the message as first
    /// stored if its id is known.
    mutating func postMessage(
        _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> (status: UInt16, body: Range<Int>) {
        try checkWritable()
        let draft = Draft.message(try MessageDraft(bytes))
        if let id = draft.id, let known = index.newest(id, log: cluster.log) {
            return (200, try repeatEvent(draft, bytes, known, into: &effects))
        }
        let id = draft.id ?? UUID(random: dice.next(), dice.next())
        let body = try accept(draft, bytes, id: id, patterns: [], now: now, into: &effects)
        counters.accepted += 1
        return (201, body)
    }

    /// A message opens its receiver's mailbox.
    mutating func openMailbox(
        for message: MessageDraft, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let receiver = JSONText.canonical(message.receiver, bytes)
        guard receiver != Mailboxes.everybody else { return }
        try openMailbox(of: receiver, now: now, into: &effects)
    }

    /// `send` on `/ws`.
    mutating func send(
        _ session: SessionID, _ message: SessionMessage, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        guard let value = message.value("message", bytes) else {
            throw .invalid(field: "message", "required, the message to send")
        }
        let (_, body) = try postMessage(bytes.extracting(value.range), now: now, into: &effects)
        guard let id = EventView(effects.bytes.span.bytes.extracting(body))?.id else { return }
        say(session, "sent", ref: message.ref, into: &effects) { out in
            out.append(constant: ",\"id\":\"")
            id.write(into: &out)
            out.append(UInt8(ascii: "\""))
        }
    }

    // MARK: - Filing

    /// Notes a message that was just indexed where it belongs; an event of another surface nowhere.
    mutating func file(_ view: EventView, _ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp) {
        switch view.surface {
        case .semp, .bus: break
        case .message: fileDirect(view, position, body, at: stamp)
        case .chat: fileChat(view, position, body, at: stamp)
        }
    }

    private mutating func fileDirect(
        _ view: EventView, _ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp
    ) {
        let isCopy = !index.isCanonical(position)
        cluster.log.read(position) { entry in
            let json = entry.extracting(body)
            guard let fields = try? MessageFields(json), let typeValue = fields[.messageType],
                let type = MessageType(typeValue, json)
            else { return }
            let priority = (try? MessageDraft.priority(fields[.priority], json)) ?? MessageDraft.defaultPriority
            mailboxes.file(view, type, priority: priority, json, at: position, stamp, isCopy: isCopy, cluster.log)
        }
    }

    /// There are several copies of what lies at a position: of messages one counts, and whoever is done with one of them
    /// is done with all.
    mutating func markCopies(of position: Int) {
        guard let id = index.id(at: position) else { return }
        for copy in index.positions(of: id) where index.surface(at: copy).isPrivate && cluster.log.holds(copy) {
            let isCopy = !index.isCanonical(copy)
            let time = cluster.log.record(at: copy).time
            readEvent(at: copy) { json in
                guard let view = EventView(json) else { return }
                let address = json.extracting(view.address)
                if view.surface == .message {
                    mailboxes.mark(copy, of: address, isCopy: isCopy)
                } else {
                    chats.mark(copy, time, in: address, isCopy: isCopy)
                }
            }
        }
    }

    // MARK: - Showing

    /// Sends a message to the sessions of its receivers here. It stays in their mailboxes until they take it.
    mutating func show(_ view: EventView, _ json: Range<Int>, into effects: inout Effects) {
        let receivers = listeners(to: view, effects.bytes.span.bytes.extracting(json))
        guard !receivers.isEmpty else { return }
        var (socket, stream): (Range<Int>?, Range<Int>?) = (nil, nil)
        for session in receivers {
            let isStream = sessions[session]?.form == .eventStream
            var frame = isStream ? stream : socket
            if frame == nil { frame = Self.frame(json, isStream: isStream, into: &effects.bytes) }
            guard let frame else { continue }
            if isStream { stream = frame } else { socket = frame }
            effects.list.append(.send(session, frame))
        }
        messageCounters.shown += receivers.count
    }

    /// The sessions here that a message is for.
    private func listeners(to view: EventView, _ json: RawSpan) -> [SessionID] {
        guard sessions.hasAgents else { return [] }
        guard json.extracting(view.address).isEqual(to: Mailboxes.everybody) else {
            return JSONText.text(canonical: json.extracting(view.address)).map { sessions.ids(of: $0) } ?? []
        }
        return sessions.agentNames.filter { !json.extracting(view.agent).isEqual(to: JSONText.canonical($0)) }
            .flatMap { sessions.ids(of: $0) }
    }

    /// A message as it goes to a session; on an event stream its event is `direct`, and there is no id: a message moves
    /// no cursor.
    private static func frame(_ json: Range<Int>, isStream: Bool, into out: inout [UInt8]) -> Range<Int> {
        let start = out.count
        out.append(constant: isStream ? "event: direct\ndata: " : "{\"type\":\"message\",\"data\":")
        out.append(contentsOf: out[json])
        out.append(constant: isStream ? "\n\n" : "}")
        return start..<out.count
    }
}
