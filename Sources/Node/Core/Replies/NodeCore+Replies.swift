import CRDT
import Gossip

/// Request and reply: an event is published, and its request waits for the first event on the topic that it names for
/// answers which carries its correlation id, wherever that is accepted.
extension NodeCore {
    // MARK: - Asking

    /// Publishes a bus event, with where and under what correlation id the answer is to come, and waits for it.
    mutating func request(
        _ client: ReplyWaits.Client, _ bytes: RawSpan, timeoutMs: UInt64?, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        guard replies.hasRoom else {
            replies.refused += 1
            throw NodeError(
                status: 503,
                message:
                    "\(replies.count) requests wait for their reply here already, and nothing was published; retry "
                    + "later or at another node")
        }
        let timeoutMs = timeoutMs ?? ReplyWaits.defaultTimeoutMs
        guard (1...ReplyWaits.maximumTimeoutMs).contains(timeoutMs) else {
            throw .badQuery("timeout_ms", "expected a whole number from 1 to \(ReplyWaits.maximumTimeoutMs)")
        }
        let (id, event) = try completed(bytes)
        let body = event.span.bytes
        let draft = try BusDraft(body)
        let (status, _) = try postEvent(body, now: now, into: &effects)
        func text(_ name: BusField) -> [UInt8]? {
            draft.fields[name].flatMap { $0.kind == .string ? JSONText.canonical($0, body) : nil }
        }
        let key = ReplyWaits.Key(
            topic: text(.responseTopic) ?? [], correlation: text(.correlationID) ?? [])
        let wait = ReplyWaits.Wait(
            client: client, key: key, type: text(.responseEvent), event: id, timeoutMs: timeoutMs,
            deadline: now.advanced(milliseconds: timeoutMs))
        replies.add(wait)
        // Asked again under the same id: the answer may be here already.
        if status == 200 { answerFromLog(wait, now: now, into: &effects) }
    }

    /// The event with what a request adds to it, where the client has not said it: its id, and where the answer goes.
    private mutating func completed(_ bytes: RawSpan) throws(NodeError) -> (id: UUID, event: [UInt8]) {
        let draft = try BusDraft(bytes)
        let id = draft.id ?? UUID(random: dice.next(), dice.next())
        func has(_ name: BusField) -> Bool { draft.fields[name].map { $0.kind != .null } ?? false }
        // Without its last brace; what is null is said anew, so it is left out.
        var out: [UInt8] = []
        out.append(constant: "{\"id\":\"")
        id.write(into: &out)
        out.append(UInt8(ascii: "\""))
        func add(_ name: StaticString, _ value: [UInt8]) {
            out.append(constant: ",\"")
            out.append(constant: name)
            out.append(constant: "\":")
            out += value
        }
        for name in BusField.allCases where name != .id && has(name) {
            guard let value = draft.fields[name] else { continue }
            add(name.word, bytes.extracting(value.range).withUnsafeBytes { Array($0) })
        }
        if !has(.correlationID) { add(BusField.correlationID.word, Array("\"\(id.text)\"".utf8)) }
        if !has(.responseTopic) { add(BusField.responseTopic.word, Array("\"reply.\(id.text)\"".utf8)) }
        for (key, value) in draft.fields.extras {
            out.append(UInt8(ascii: ","))
            out.append(copying: bytes.extracting(key.range))
            out.append(UInt8(ascii: ":"))
            out.append(copying: bytes.extracting(value.range))
        }
        out.append(UInt8(ascii: "}"))
        return (id, out)
    }

    /// `request` on `/ws`.
    mutating func request(
        _ session: SessionID, _ message: SessionMessage, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        guard let event = message.value("event", bytes) else {
            throw .invalid(field: "event", "required, the event to publish")
        }
        let timeout = try message.number("timeout_ms", 1...Int(ReplyWaits.maximumTimeoutMs), bytes)
        try request(
            .session(session, ref: message.ref), bytes.extracting(event.range), timeoutMs: timeout.map { UInt64($0) },
            now: now, into: &effects)
    }

    // MARK: - Answering

    /// Answers those who wait for a bus event that was just read; it lies in the effects' bytes.
    mutating func answerWaits(_ view: EventView, _ json: Range<Int>, now: Instant, into effects: inout Effects) {
        guard !replies.isEmpty, !view.correlation.isEmpty else { return }
        let answered = replies.takeAnswered(by: view, effects.bytes.span.bytes.extracting(json))
        for wait in answered { answer(wait, json, now: now, into: &effects) }
    }

    private mutating func answer(
        _ wait: ReplyWaits.Wait, _ json: Range<Int>, now: Instant, into effects: inout Effects
    ) {
        switch wait.client {
        case .request(let id):
            effects.list.append(.reply(id, Reply(status: 200), body: json))
            complete(id, isWritten: false, now: now, into: &effects)
        case .session(let session, let ref):
            say(session, "reply", ref: ref, into: &effects) { out in
                out.append(constant: ",\"data\":")
                out.append(contentsOf: out[json])
            }
        }
    }

    /// Looks for an answer that came before its request was sent again.
    private mutating func answerFromLog(_ wait: ReplyWaits.Wait, now: Instant, into effects: inout Effects) {
        let found = index.candidates(trace: wait.key.correlation.span.bytes).filter { position in
            guard index.surface(at: position) == .bus, cluster.log.holds(position) else { return false }
            return readEvent(at: position) { json in
                guard let view = EventView(json), view.id != wait.event else { return false }
                return json.extracting(view.address).isEqual(to: wait.key.topic)
                    && json.extracting(view.correlation).isEqual(to: wait.key.correlation)
                    && wait.type.map { json.extracting(view.typeText).isEqual(to: $0) } ?? true
            }
        }
        guard let first = found.min(by: { cluster.log.stamp(at: $0) < cluster.log.stamp(at: $1) }) else { return }
        replies.forget(wait)
        let start = effects.bytes.count
        readEvent(at: first) { effects.bytes.append(copying: $0) }
        answer(wait, start..<effects.bytes.count, now: now, into: &effects)
    }

    // MARK: - Giving up

    /// Tells those whose time is up; what they published stays.
    mutating func expireReplies(now: Instant, into effects: inout Effects) {
        for wait in replies.takeLate(now) {
            let message =
                "no reply within \(wait.timeoutMs) ms; the request stays published, and whoever answers it later answers on "
                + "response_topic"
            giveUp(wait, status: 504, message, into: &effects)
        }
    }

    mutating func releaseReplies(_ why: String, into effects: inout Effects) {
        for wait in replies.takeAll() {
            giveUp(
                wait, status: 503,
                "\(why) before a reply came; the request stays published: wait for its reply at another node, with the "
                    + "same id, or on response_topic", into: &effects)
        }
    }

    private mutating func giveUp(
        _ wait: ReplyWaits.Wait, status: UInt16, _ message: String, into effects: inout Effects
    ) {
        func append(_ out: inout [UInt8]) {
            out.append(constant: "\"message\":")
            out.append(json: message)
            out.append(constant: ",\"id\":\"")
            wait.event.write(into: &out)
            out.append(constant: "\",\"correlation_id\":\"")
            out += wait.key.correlation
            out.append(constant: "\",\"response_topic\":\"")
            out += wait.key.topic
            out.append(UInt8(ascii: "\""))
        }
        switch wait.client {
        case .request(let id):
            forgetDeferred(id)
            let start = effects.bytes.count
            effects.bytes.append(UInt8(ascii: "{"))
            append(&effects.bytes)
            effects.bytes.append(UInt8(ascii: "}"))
            effects.list.append(.reply(id, Reply(status: status), body: start..<effects.bytes.count))
        case .session(let session, let ref):
            say(session, "error", ref: ref, into: &effects) { out in
                out.append(UInt8(ascii: ","))
                append(&out)
            }
        }
    }
}
