import CRDT
import Gossip

/// What clients say on `/ws`.
extension NodeCore {
    mutating func hear(_ session: SessionID, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        var message = SessionMessage()
        do throws(NodeError) {
            try message.read(bytes)
            let expected = "subscribe, unsubscribe, publish, request, ack, nack, send, take, identify or ping"
            guard let type = message.value("type", bytes), type.kind == .string else {
                throw .invalid(field: "type", "required: \(expected)")
            }
            let isKnown = try act(session, type, message, bytes, now: now, into: &effects)
            guard isKnown else {
                throw .invalid(
                    field: "type", "expected \(expected), found \"\(JSONText.text(type, bytes).prefix(64))\"")
            }
        } catch {
            counters.refused += 1
            say(session, "error", ref: message.ref, into: &effects) { out in
                out.append(constant: ",\"message\":")
                out.append(json: error.message)
            }
        }
    }

    /// Does what a message of this type asks for; false for an unknown type.
    private mutating func act(
        _ session: SessionID, _ type: JSONScanner.Value, _ message: SessionMessage, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) -> Bool {
        if EventFields.matches(type, "ping", bytes) {
            say(session, "pong", ref: message.ref, into: &effects) { _ in }
        } else if EventFields.matches(type, "publish", bytes) {
            guard let event = message.value("event", bytes) else {
                throw .invalid(
                    field: "event",
                    message.has("event", bytes) ? "expected an object, found null" : "required, the event to publish")
            }
            let goal = try goal(of: try Self.level(message, bytes))
            let (_, body) = try postEvent(bytes.extracting(event.range), now: now, into: &effects)
            guard let id = EventView(effects.bytes.span.bytes.extracting(body))?.id else { return true }
            publish(session, ref: message.ref, id, goal, now: now, into: &effects)
        } else if EventFields.matches(type, "subscribe", bytes) {
            try subscribe(session, message, bytes, now: now, into: &effects)
        } else if EventFields.matches(type, "unsubscribe", bytes) {
            if let group = try message.text("group", bytes) {
                try leaveGroup(session, group)
            } else if try message.flag("signals", bytes) {
                sessions.setSignals(session, nil)
            } else {
                let filter = try message.value("filter", bytes)
                    .map { value throws(NodeError) in try Filter(value, bytes) }
                sessions.unsubscribe(session, filter, into: &effects.list)
            }
            if message.ref != nil { say(session, "unsubscribed", ref: message.ref, into: &effects) { _ in } }
        } else if EventFields.matches(type, "ack", bytes) {
            try answerGroup(session, isAck: true, message, bytes, now: now, into: &effects)
        } else if EventFields.matches(type, "nack", bytes) {
            try answerGroup(session, isAck: false, message, bytes, now: now, into: &effects)
        } else if EventFields.matches(type, "identify", bytes) {
            guard let agent = try message.text("agent", bytes) else {
                throw .invalid(field: "agent", "required, the name of the agent that is connected here")
            }
            sessions.identify(session, agent)
            presence.identify(session, agent)
            // What it may see of chats depends on who it is.
            sessions.tune(session, into: &effects.list)
            agentConnected(agent, now: now, into: &effects)
            if message.ref != nil { say(session, "identified", ref: message.ref, into: &effects) { _ in } }
        } else if EventFields.matches(type, "send", bytes) {
            try send(session, message, bytes, now: now, into: &effects)
        } else if EventFields.matches(type, "take", bytes) {
            try take(session, message, bytes, now: now, into: &effects)
        } else if EventFields.matches(type, "request", bytes) {
            try request(session, message, bytes, now: now, into: &effects)
        } else {
            return false
        }
        return true
    }

    private mutating func subscribe(
        _ session: SessionID, _ message: SessionMessage, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let filters = try Self.filters(message, bytes)
        if message.has("group", bytes) {
            return try subscribeToGroup(session, message, filters, bytes, now: now, into: &effects)
        }
        if try message.flag("signals", bytes) {
            try watchSignals(session, filters)
            if message.ref != nil { say(session, "subscribed", ref: message.ref, into: &effects) { _ in } }
            return
        }
        try checkMayListen(filters, sessions[session]?.agent)
        let cursor = try Self.cursor(message, bytes)
        var resume: Resume?
        if case .seen(let seen) = cursor {
            guard sessions[session]?.filters?.isEmpty ?? true else {
                throw NodeError(
                    status: 409,
                    message: "a cursor says how far the whole connection has read, and this one has subscriptions "
                        + "already; give all filters at once as \"filters\", unsubscribe first, or use another connection"
                )
            }
            resume = try begin(seen, now: now)
        }
        try sessions.subscribe(
            session, filters, wantsCursors: cursor != .none, resume: resume, into: &effects.list)
        // What it has missed comes before the cursor that is behind it.
        if resume != nil { sayResumed(session, into: &effects) }
        if message.ref != nil || cursor != .none {
            let text = cursor == .none ? [] : cursorText(of: session)
            say(session, "subscribed", ref: message.ref, into: &effects) { out in
                guard !text.isEmpty else { return }
                out.append(constant: ",\"cursor\":\"")
                out += text
                out.append(UInt8(ascii: "\""))
            }
        }
        if resume != nil { advance(session, now: now, into: &effects) }
    }

    /// What a client says about cursors.
    enum CursorWish: Equatable {
        /// It wants none.
        case none
        /// It wants them from now on.
        case fromNow
        /// It has seen this.
        case seen(CompactVector)

        /// Reads the text of a cursor, `earliest`, or nothing.
        init(_ text: String) throws(NodeError) {
            switch text {
            case "": self = .fromNow
            case "earliest": self = .seen(CompactVector())
            default:
                let bytes = Array(text.utf8)
                do throws(DecodeError) { self = .seen(try CompactVector(text: bytes.span.bytes)) } catch {
                    throw .invalid(
                        field: "cursor",
                        "no cursor of an event (\(error)); send it back unchanged, \"earliest\" for all that is kept, or "
                            + "\"\" for what comes from now on")
                }
            }
        }
    }

    private static func cursor(_ message: SessionMessage, _ bytes: RawSpan) throws(NodeError) -> CursorWish {
        guard let value = message.value("cursor", bytes) else { return .none }
        switch value.kind {
        case .true_: return .fromNow
        case .false_: return .none
        case .string: return try CursorWish(JSONText.text(value, bytes))
        case .object, .array, .number, .null:
            throw .invalid(field: "cursor", "expected the text of a cursor, or true for cursors from now on")
        }
    }

    /// `filter`, or several as `filters`; without either everything on SEMP's surface.
    private static func filters(_ message: SessionMessage, _ bytes: RawSpan) throws(NodeError) -> [Filter] {
        if message.has("filter", bytes), message.value("filter", bytes) == nil {
            throw .invalid(field: "filter", "expected an object with scope, types or agents, found null")
        }
        if let filter = message.value("filter", bytes) { return [try Filter(filter, bytes)] }
        guard let list = message.value("filters", bytes) else { return [.all] }
        guard list.kind == .array else {
            throw .invalid(field: "filters", "expected an array of filters, found \(list.kind.phrase)")
        }
        var values: [JSONScanner.Value] = []
        do throws(JSONError) {
            var scanner = JSONScanner(list.range)
            _ = try scanner.array(bytes) { (scanner) throws(JSONError) in values.append(try scanner.value(bytes)) }
        } catch {
            throw .invalid(error, in: bytes)
        }
        guard (1...Sessions.maximumFilters).contains(values.count) else {
            throw .invalid(field: "filters", "expected 1 to \(Sessions.maximumFilters) filters")
        }
        var filters: [Filter] = []
        for value in values { filters.append(try Filter(value, bytes)) }
        return filters
    }

    /// The level that a message asks for.
    private static func level(_ message: SessionMessage, _ bytes: RawSpan) throws(NodeError) -> AckLevel {
        guard let ack = message.value("ack", bytes) else { return .local }
        let text =
            switch ack.kind {
            case .string: JSONText.text(ack, bytes)
            case .number: bytes.extracting(ack.range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            case .null, .true_, .false_, .array, .object: ""
            }
        guard let level = AckLevel(text) else {
            throw .invalid("ack: expected \(AckLevel.expected)")
        }
        return level
    }

    /// Says something to a session. On an event stream, the type is the name of the event.
    func say(
        _ session: SessionID, _ type: StaticString, ref: [UInt8]?, into effects: inout Effects,
        _ rest: (inout [UInt8]) -> Void
    ) {
        // One that has just been closed was on `/ws`: streams wait for nothing.
        let isStream = sessions[session].map { $0.form != .webSocket } ?? false
        let start = effects.bytes.count
        if isStream {
            effects.bytes.append(constant: "event: ")
            effects.bytes.append(constant: type)
            effects.bytes.append(constant: "\ndata: ")
        }
        effects.bytes.append(constant: "{\"type\":\"")
        effects.bytes.append(constant: type)
        effects.bytes.append(UInt8(ascii: "\""))
        if let ref {
            effects.bytes.append(constant: ",\"ref\":")
            effects.bytes += ref
        }
        rest(&effects.bytes)
        effects.bytes.append(UInt8(ascii: "}"))
        if isStream { effects.bytes.append(constant: "\n\n") }
        effects.list.append(.send(session, start..<effects.bytes.count))
    }
}
