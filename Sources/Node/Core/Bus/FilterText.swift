import CRDT

/// Reading what clients say they want.
extension Filter {
    private static let expectedPattern =
        "expected segments between dots, * for one of them, > at the end for the rest: ui.*.done or ui.>"

    /// Reads `{"scope" or "topic": pattern, "types": [...], "agents": [...]}`.
    init(_ value: JSONScanner.Value, _ bytes: RawSpan) throws(NodeError) {
        self.init()
        guard value.kind == .object else {
            throw .invalid(
                field: "filter", "expected an object with scope, types or agents, found \(value.kind.phrase)")
        }
        var (scope, topic, types, agents): (JSONScanner.Value?, JSONScanner.Value?, [[UInt8]]?, [[UInt8]]?)
        var (hasTypes, hasAgents) = (false, false)
        do throws(JSONError) {
            var scanner = JSONScanner(value.range)
            _ = try scanner.peek(bytes)
            _ = try scanner.object(bytes) { (scanner, key) throws(JSONError) in
                if EventFields.matches(key, "types", bytes) {
                    (hasTypes, types) = (true, try Self.texts(&scanner, bytes))
                } else if EventFields.matches(key, "agents", bytes) {
                    (hasAgents, agents) = (true, try Self.texts(&scanner, bytes))
                } else {
                    let value = try scanner.value(bytes)
                    guard value.kind != .null else { return }
                    if EventFields.matches(key, "scope", bytes) { scope = value }
                    if EventFields.matches(key, "topic", bytes) { topic = value }
                }
            }
        } catch {
            throw .invalid(error, in: bytes)
        }
        func text(_ value: JSONScanner.Value?, _ field: StaticString) throws(NodeError) -> [UInt8]? {
            guard let value else { return nil }
            guard value.kind == .string else { throw .invalid(field: field, Self.expectedPattern) }
            return JSONText.canonical(value, bytes)
        }
        try set(
            scope: try text(scope, "filter.scope"), topic: try text(topic, "filter.topic"),
            types: hasTypes ? types ?? [] : nil, agents: hasAgents ? agents ?? [] : nil)
    }

    /// A filter from the parts of a query.
    init(_ wish: Request.StreamWish) throws(NodeError) {
        self.init()
        try set(
            scope: wish.scope.map { JSONText.canonical($0) }, topic: wish.topic.map { JSONText.canonical($0) },
            types: wish.types.isEmpty ? nil : wish.types.map { JSONText.canonical($0) },
            agents: wish.agents.isEmpty ? nil : wish.agents.map { JSONText.canonical($0) })
    }

    private mutating func set(
        scope: [UInt8]?, topic: [UInt8]?, types: [[UInt8]]?, agents: [[UInt8]]?
    ) throws(NodeError) {
        if scope != nil, topic != nil {
            throw .invalid(
                field: "filter", "scope is for SEMP events, topic for bus events; subscribe twice to hear both")
        }
        if let text = scope ?? topic {
            address = text.count <= EventDraft.maximumTextBytes ? AddressPattern(text) : nil
            guard address != nil else {
                throw .invalid(field: topic == nil ? "filter.scope" : "filter.topic", Self.expectedPattern)
            }
        }
        if topic != nil { surface = .bus }
        if let topic, topic.elementsEqual(AnnouncedTopic.messages.rawValue.utf8) {
            // Each is shown to those alone who may read it: no address says who that is.
            (surface, address) = (.chat, nil)
        }
        if surface == .chat, let types {
            guard types == [Array("MessageSent".utf8)] else {
                throw .invalid(field: "filter.types", "events on the topic Messages are of the type MessageSent")
            }
        } else if let types {
            let known = EventType.allCases.map { Array("\($0.word)".utf8) }
            guard surface == .bus || !types.isEmpty && types.allSatisfy({ known.contains($0) }) else {
                throw .invalid(
                    field: "filter.types", "expected an array of proposal, ready, test, reward or penalty")
            }
            self.types = try Self.choices(types, "filter.types", "types")
        }
        if let agents { self.agents = try Self.choices(agents, "filter.agents", "agent ids") }
        guard (self.types?.count ?? 1) * (self.agents?.count ?? 1) <= Self.maximumPairs else {
            throw .invalid(
                field: "filter", "names more than \(Self.maximumPairs) pairs of a type and an agent; leave one list out"
            )
        }
    }

    private static func choices(
        _ texts: [[UInt8]], _ field: StaticString, _ noun: String
    ) throws(NodeError) -> [[UInt8]] {
        let choices = Set(texts).sorted { $0.lexicographicallyPrecedes($1) }
        guard (1...maximumChoices).contains(choices.count) else {
            throw .invalid(field: field, "expected an array of 1 to \(maximumChoices) \(noun)")
        }
        return choices
    }

    /// The canonical texts of an array of strings; nil if it is anything else.
    private static func texts(_ scanner: inout JSONScanner, _ bytes: RawSpan) throws(JSONError) -> [[UInt8]]? {
        guard try scanner.peek(bytes) == .array else {
            _ = try scanner.value(bytes)
            return nil
        }
        var texts: [[UInt8]] = []
        var isValid = true
        _ = try scanner.array(bytes) { (scanner) throws(JSONError) in
            let value = try scanner.value(bytes)
            if value.kind == .string, texts.count <= maximumChoices {
                texts.append(JSONText.canonical(value, bytes))
            } else {
                isValid = false
            }
        }
        return isValid ? texts : nil
    }
}
