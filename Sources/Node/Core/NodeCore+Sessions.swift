import CRDT
import Gossip

/// What clients say on `/ws`.
extension NodeCore {
    /// The parts of a message that any type may have.
    private struct Message {
        var type: JSONScanner.Value?
        var ref: JSONScanner.Value?
        var filter: JSONScanner.Value?
        var event: JSONScanner.Value?
        var ack: JSONScanner.Value?
        /// Asked for by later versions of the protocol; refused by name.
        var unsupported: StaticString?
    }

    mutating func hear(_ session: SessionID, _ bytes: RawSpan, now: Instant, into effects: inout Effects) {
        var message = Message()
        do throws(NodeError) {
            do throws(JSONError) { message = try Self.read(bytes) } catch { throw .invalid(error, in: bytes) }
            guard let type = message.type, type.kind == .string else {
                throw .invalid(field: "type", "required: subscribe, unsubscribe, publish or ping")
            }
            try act(session, type, message, bytes, now: now, into: &effects)
        } catch {
            counters.refused += 1
            say(session, "error", ref: Self.text(message.ref, bytes), into: &effects) { out in
                out.append(constant: ",\"message\":")
                out.append(json: error.message)
            }
        }
    }

    private mutating func act(
        _ session: SessionID, _ type: JSONScanner.Value, _ message: Message, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let ref = Self.text(message.ref, bytes)
        if EventFields.matches(type, "ping", bytes) {
            say(session, "pong", ref: ref, into: &effects) { _ in }
        } else if EventFields.matches(type, "publish", bytes) {
            guard let event = message.event else { throw .invalid(field: "event", "required, the event to publish") }
            let goal = try goal(of: try Self.level(message.ack, bytes))
            let (_, body) = try postEvent(bytes.extracting(event.range), now: now, into: &effects)
            guard let id = EventView(effects.bytes.span.bytes.extracting(body))?.id else { return }
            publish(session, ref: ref, id, goal, now: now, into: &effects)
        } else if EventFields.matches(type, "subscribe", bytes) {
            if let unsupported = message.unsupported {
                throw .invalid(field: unsupported, "this version does not serve it; subscribe without it")
            }
            let filter = try message.filter.map { value throws(NodeError) in try Self.filter(value, bytes) } ?? .all
            try sessions.subscribe(session, filter, into: &effects.list)
            if ref != nil { say(session, "subscribed", ref: ref, into: &effects) { _ in } }
        } else if EventFields.matches(type, "unsubscribe", bytes) {
            let filter = try message.filter.map { value throws(NodeError) in try Self.filter(value, bytes) }
            sessions.unsubscribe(session, filter, into: &effects.list)
            if ref != nil { say(session, "unsubscribed", ref: ref, into: &effects) { _ in } }
        } else {
            throw .invalid(
                field: "type",
                "expected subscribe, unsubscribe, publish or ping, found \"\(JSONText.text(type, bytes).prefix(64))\"")
        }
    }

    /// A `ref` as it is echoed.
    private static func text(_ ref: JSONScanner.Value?, _ bytes: RawSpan) -> [UInt8]? {
        guard let ref else { return nil }
        var text: [UInt8] = []
        JSONText.compact(ref, bytes, into: &text)
        return text
    }

    /// The level that a message asks for.
    private static func level(_ ack: JSONScanner.Value?, _ bytes: RawSpan) throws(NodeError) -> AckLevel {
        guard let ack, ack.kind != .null else { return .local }
        let text =
            switch ack.kind {
            case .string: JSONText.text(ack, bytes)
            case .number: String(decoding: text(ack, bytes) ?? [], as: UTF8.self)
            case .null, .true_, .false_, .array, .object: ""
            }
        guard let level = AckLevel(text) else {
            throw .invalid("ack: expected \(AckLevel.expected)")
        }
        return level
    }

    func say(
        _ session: SessionID, _ type: StaticString, ref: [UInt8]?, into effects: inout Effects,
        _ rest: (inout [UInt8]) -> Void
    ) {
        let start = effects.bytes.count
        effects.bytes.append(constant: "{\"type\":\"")
        effects.bytes.append(constant: type)
        effects.bytes.append(UInt8(ascii: "\""))
        if let ref {
            effects.bytes.append(constant: ",\"ref\":")
            effects.bytes += ref
        }
        rest(&effects.bytes)
        effects.bytes.append(UInt8(ascii: "}"))
        effects.list.append(.send(session, start..<effects.bytes.count))
    }

    private static func read(_ bytes: RawSpan) throws(JSONError) -> Message {
        var message = Message()
        var scanner = JSONScanner(bytes)
        guard try scanner.peek(bytes) == .object else {
            throw JSONError(offset: 0, reason: "a message must be one JSON object")
        }
        _ = try scanner.object(bytes) { (scanner, key) throws(JSONError) in
            let value = try scanner.value(bytes)
            if EventFields.matches(key, "type", bytes) {
                message.type = value
            } else if EventFields.matches(key, "ref", bytes) {
                // Echoed into every answer, so it is kept to a size that no answer suffers from.
                guard value.range.count <= 256 else {
                    throw JSONError(offset: value.range.lowerBound, reason: "a ref of more than 256 bytes")
                }
                message.ref = value
            } else if EventFields.matches(key, "filter", bytes) {
                message.filter = value
            } else if EventFields.matches(key, "event", bytes) {
                message.event = value
            } else if EventFields.matches(key, "ack", bytes) {
                message.ack = value
            } else if EventFields.matches(key, "cursor", bytes) {
                message.unsupported = "cursor"
            } else if EventFields.matches(key, "group", bytes) {
                message.unsupported = "group"
            } else if EventFields.matches(key, "signals", bytes), value.kind == .true_ {
                message.unsupported = "signals"
            }
        }
        try scanner.finish(bytes)
        return message
    }

    /// Reads `{"scope": pattern, "types": [...], "agents": [...]}`.
    private static func filter(_ value: JSONScanner.Value, _ bytes: RawSpan) throws(NodeError) -> Filter {
        guard value.kind == .object else {
            throw .invalid(
                field: "filter", "expected an object with scope, types or agents, found \(value.kind.phrase)")
        }
        var filter = Filter()
        var problem: NodeError?
        do throws(JSONError) {
            var scanner = JSONScanner(value.range)
            _ = try scanner.peek(bytes)
            _ = try scanner.object(bytes) { (scanner, key) throws(JSONError) in
                if EventFields.matches(key, "scope", bytes) {
                    let scope = try scanner.value(bytes)
                    if scope.kind == .null { return }
                    filter.scope = scope.kind == .string ? .init(JSONText.canonical(scope, bytes)) : nil
                    if filter.scope == nil {
                        problem = .invalid(
                            field: "filter.scope",
                            "expected segments between dots, * for one of them, > at the end for the rest: ui.*.done or ui.>"
                        )
                    }
                } else if EventFields.matches(key, "types", bytes) {
                    let words = try texts(&scanner, bytes)
                    filter.types = words.map { words in
                        words.reduce(0) { bits, word in
                            EventType.allCases.first { "\($0.word)" == String(decoding: word, as: UTF8.self) }
                                .map { bits | 1 << $0.rawValue } ?? bits
                        }
                    }
                    let known = filter.types.map { $0.nonzeroBitCount } ?? -1
                    if known != Set(words ?? [[]]).count {
                        problem = .invalid(
                            field: "filter.types", "expected an array of proposal, ready, test, reward or penalty")
                    }
                } else if EventFields.matches(key, "agents", bytes) {
                    filter.agents = try texts(&scanner, bytes)?.sorted { $0.lexicographicallyPrecedes($1) }
                    if filter.agents == nil {
                        problem = .invalid(
                            field: "filter.agents", "expected an array of 1 to \(Filter.maximumChoices) agent ids")
                    }
                } else {
                    _ = try scanner.value(bytes)
                }
            }
        } catch {
            throw .invalid(error, in: bytes)
        }
        if let problem { throw problem }
        return filter
    }

    /// The canonical texts of an array of strings; nil if it is anything else, empty, or too long.
    private static func texts(_ scanner: inout JSONScanner, _ bytes: RawSpan) throws(JSONError) -> [[UInt8]]? {
        guard try scanner.peek(bytes) == .array else {
            _ = try scanner.value(bytes)
            return nil
        }
        var texts: [[UInt8]] = []
        var isValid = true
        _ = try scanner.array(bytes) { (scanner) throws(JSONError) in
            let value = try scanner.value(bytes)
            if value.kind == .string, texts.count < Filter.maximumChoices {
                texts.append(JSONText.canonical(value, bytes))
            } else {
                isValid = false
            }
        }
        return isValid && !texts.isEmpty ? texts : nil
    }
}
