import CRDT

/// What this node needs to know of an event in the form in which it is stored. Ranges point into that JSON.
struct EventView: Equatable {
    let id: UUID
    let type: EventType
    /// The scope's canonical text.
    let scope: Range<Int>
    /// The trace id's canonical text.
    let trace: Range<Int>
    /// The agent id's canonical text.
    let agent: Range<Int>
    /// What the client said: two copies of one event are equal there.
    let content: Range<Int>
    /// The array of patterns.
    let signals: Range<Int>
    /// What it does to each of them.
    let operation: SignalOperation

    /// What rendering an event knows without reading it again.
    init(
        id: UUID, type: EventType, scope: Range<Int>, trace: Range<Int>, agent: Range<Int>, content: Range<Int>,
        signals: Range<Int>, operation: SignalOperation
    ) {
        self.id = id
        self.type = type
        self.scope = scope
        self.trace = trace
        self.agent = agent
        self.content = content
        self.signals = signals
        self.operation = operation
    }

    /// Reads an event that a node wrote. Nil for what no node writes: a peer's mistake.
    init?(_ json: RawSpan) {
        guard let fields = try? EventFields(json), let idValue = fields[.id], let typeValue = fields[.type],
            let scopeValue = fields[.scope], let traceValue = fields[.traceID], let agentValue = fields[.agentID],
            let signalsValue = fields[.signals], idValue.kind == .string, typeValue.kind == .string,
            scopeValue.kind == .string, traceValue.kind == .string, agentValue.kind == .string,
            signalsValue.kind == .array, let id = UUID(json.extracting(idValue.inner)),
            let type = EventType.allCases.first(where: { EventFields.matches(typeValue, $0.word, json) }),
            fields.timestampKey >= idValue.range.upperBound
        else { return nil }
        self.id = id
        self.type = type
        scope = scopeValue.inner
        trace = traceValue.inner
        agent = agentValue.inner
        content = idValue.range.upperBound..<fields.timestampKey
        signals = signalsValue.range
        operation = fields.payload.operation(of: type, json)
    }

    /// Calls `body` with the canonical text of each pattern, in order.
    func eachPattern(_ json: RawSpan, _ body: (RawSpan) -> Void) {
        guard signals.count > 2 else { return }
        var scanner = JSONScanner(signals)
        _ = try? scanner.array(json) { (scanner) throws(JSONError) in
            let value = try scanner.value(json)
            if value.kind == .string { body(json.extracting(value.inner)) }
        }
    }
}
