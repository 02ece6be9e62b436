import CRDT

/// What this node needs to know of an event in the form in which it is stored, of whichever surface. Ranges point into
/// that JSON; they are empty for what an event of its surface does not have.
struct EventView: Equatable {
    let id: UUID
    let surface: Surface
    /// What kind of SEMP event it is; nil for one of another surface.
    let type: EventType?
    /// The type's canonical text.
    let typeText: Range<Int>
    /// The canonical text of its scope or topic; of a direct message, of its receiver, of a message in a chat of its chat.
    let address: Range<Int>
    /// The trace id's canonical text, of a SEMP event.
    let trace: Range<Int>
    /// The agent id's canonical text: of a bus event its source, of messages their sender.
    let agent: Range<Int>
    /// The correlation id's canonical text, of a bus event or message that has one.
    let correlation: Range<Int>
    /// To whom a message in a chat is addressed, as canonical text, if to somebody in particular.
    let receiver: Range<Int>
    /// Of a message in a chat, whether nobody but its sender and its receiver may see it.
    let isPrivate: Bool
    /// What the client said: two copies of one event are equal there.
    let content: Range<Int>
    /// The array of patterns, of a SEMP event.
    let signals: Range<Int>
    /// What it does to each of them.
    let operation: SignalOperation

    /// What rendering an event knows without reading it again.
    init(
        id: UUID, surface: Surface, type: EventType? = nil, typeText: Range<Int>, address: Range<Int>,
        trace: Range<Int> = 0..<0, agent: Range<Int>, correlation: Range<Int> = 0..<0,
        receiver: Range<Int> = 0..<0, isPrivate: Bool = false, content: Range<Int>,
        signals: Range<Int> = 0..<0, operation: SignalOperation = .touch
    ) {
        self.id = id
        self.surface = surface
        self.type = type
        self.typeText = typeText
        self.address = address
        self.trace = trace
        self.agent = agent
        self.correlation = correlation
        self.receiver = receiver
        self.isPrivate = isPrivate
        self.content = content
        self.signals = signals
        self.operation = operation
    }

    /// Reads an event that a node wrote. Nil for what no node writes: a peer's mistake.
    init?(_ json: RawSpan) {
        switch Surface(of: json) {
        case .semp: self.init(semp: json)
        case .bus: self.init(bus: json)
        case .message: self.init(message: json)
        case .chat: self.init(chat: json)
        }
    }

    private init?(semp json: RawSpan) {
        guard let fields = try? EventFields(json), let idValue = fields[.id], let typeValue = fields[.type],
            let scopeValue = fields[.scope], let traceValue = fields[.traceID], let agentValue = fields[.agentID],
            let signalsValue = fields[.signals], idValue.kind == .string, typeValue.kind == .string,
            scopeValue.kind == .string, traceValue.kind == .string, agentValue.kind == .string,
            signalsValue.kind == .array, let id = UUID(json.extracting(idValue.inner)),
            let type = EventType.allCases.first(where: { EventFields.matches(typeValue, $0.word, json) }),
            fields.timestampKey >= idValue.range.upperBound
        else { return nil }
        self.init(
            id: id, surface: .semp, type: type, typeText: typeValue.inner, address: scopeValue.inner,
            trace: traceValue.inner, agent: agentValue.inner,
            content: idValue.range.upperBound..<fields.timestampKey, signals: signalsValue.range,
            operation: fields.payload.operation(of: type, json))
    }

    private init?(bus json: RawSpan) {
        guard let fields = try? BusFields(json), let idValue = fields[.id], let topic = fields[.topic],
            let type = fields[.type], let source = fields[.source], idValue.kind == .string, topic.kind == .string,
            type.kind == .string, source.kind == .string, let id = UUID(json.extracting(idValue.inner)),
            fields.timestampKey >= idValue.range.upperBound
        else { return nil }
        let correlation = fields[.correlationID]
        self.init(
            id: id, surface: .bus, typeText: type.inner, address: topic.inner, agent: source.inner,
            correlation: correlation?.kind == .string ? correlation?.inner ?? 0..<0 : 0..<0,
            content: idValue.range.upperBound..<fields.timestampKey)
    }

    private init?(message json: RawSpan) {
        guard let fields = try? MessageFields(json), let idValue = fields[.id], let sender = fields[.sender],
            let receiver = fields[.receiver], let type = fields[.messageType], idValue.kind == .string,
            sender.kind == .string, receiver.kind == .string, type.kind == .string,
            let id = UUID(json.extracting(idValue.inner)), MessageType(type, json) != nil,
            (1...EventDraft.maximumTextBytes).contains(sender.inner.count),
            (1...EventDraft.maximumTextBytes).contains(receiver.inner.count),
            fields.timestampKey >= idValue.range.upperBound
        else { return nil }
        let correlation = fields[.correlationID]
        self.init(
            id: id, surface: .message, typeText: type.inner, address: receiver.inner, agent: sender.inner,
            correlation: correlation?.kind == .string ? correlation?.inner ?? 0..<0 : 0..<0,
            content: idValue.range.upperBound..<fields.timestampKey)
    }

    private init?(chat json: RawSpan) {
        guard let fields = try? ChatFields(json), let idValue = fields[.id], let chat = fields[.chatID],
            let from = fields[.from], let type = fields[.messageType], let isPrivate = fields[.isPrivate],
            idValue.kind == .string, chat.kind == .string, from.kind == .string, type.kind == .string,
            isPrivate.kind == .true_ || isPrivate.kind == .false_, let id = UUID(json.extracting(idValue.inner)),
            (1...ChatDraft.maximumCanonicalBytes).contains(chat.inner.count),
            (1...ChatDraft.maximumCanonicalBytes).contains(from.inner.count),
            fields.timestampKey >= idValue.range.upperBound
        else { return nil }
        let to = fields[.to]
        guard to.map({ $0.kind == .string && $0.inner.count <= ChatDraft.maximumCanonicalBytes }) ?? true else {
            return nil
        }
        self.init(
            id: id, surface: .chat, typeText: type.inner, address: chat.inner, agent: from.inner,
            receiver: to?.inner ?? 0..<0, isPrivate: isPrivate.kind == .true_,
            content: idValue.range.upperBound..<fields.timestampKey)
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
