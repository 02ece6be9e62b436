import CRDT
import Gossip

/// Direct messages (docs/messages.md): accepted at any node, kept as facts, shown to their sender and receivers alone.
extension NodeCore {
    /// What surrounds a message on `/ws`.
    private static let messageOpening: StaticString = "{\"type\":\"message\",\"data\":"

    // MARK: - Accepting

    /// Accepts one message: returns 201 and where its JSON lies in the effects' bytes, or 200 and the message as first
    /// stored if its id is known.
    mutating func postMessage(
        _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> (status: UInt16, body: Range<Int>) {
        try checkWritable()
        let draft = try MessageDraft(bytes)
        if let id = draft.id, let known = index.newest(id, log: cluster.log) {
            return (200, try repeatMessage(draft, bytes, known, into: &effects))
        }
        return (201, try accept(draft, bytes, id: draft.id, now: now, into: &effects))
    }

    /// Writes a message into the own log and files it. Returns where its JSON lies in the effects' bytes.
    mutating func accept(
        _ draft: MessageDraft, _ bytes: RawSpan, id: UUID?, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> Range<Int> {
        guard bytes.byteCount + 4_096 <= Fact.maximumBodyBytes else {
            throw NodeError(status: 413, message: "the message is too large; shorten its content")
        }
        if !EventFields.matches(draft.receiver, MessageDraft.everybody, bytes) {
            try openMailbox(of: JSONText.canonical(draft.receiver, bytes), now: now, into: &effects)
        }
        let stamp = cluster.nextStamp(now: now)
        let acceptance = EventDraft.Acceptance(
            stamp: stamp, sequence: cluster.log.head(of: cluster.log.mine) + 1, origin: origin, signals: [])
        scratch.removeAll(keepingCapacity: true)
        draft.render(bytes, id: id ?? UUID(random: dice.next(), dice.next()), accepted: acceptance, into: &scratch)
        let position = write(.message, time: stamp.time, now: now, into: &effects)
        let body = cluster.log.read(position) { (try? Fact($0).body) ?? 0..<0 }
        let json = absorbMessage(position, body, at: stamp, into: &effects)
        messageCounters.accepted += 1
        return json
    }

    /// The same id again: the same message, or a mistake of the client's.
    private mutating func repeatMessage(
        _ draft: MessageDraft, _ bytes: RawSpan, _ known: Int, into effects: inout Effects
    ) throws(NodeError) -> Range<Int> {
        let id = draft.id ?? UUID(high: 0, low: 0)
        let isHeld = cluster.log.holds(known)
        let stamp = isHeld ? HybridTimestamp(time: 0, replica: ReplicaID(0)) : cluster.log.stamp(at: known)
        let origin = cluster.membership.member(stamp.replica)?.name ?? stamp.replica.description
        scratch.removeAll(keepingCapacity: true)
        draft.render(
            bytes, id: id,
            accepted: EventDraft.Acceptance(
                stamp: stamp, sequence: cluster.log.record(at: known).sequence, origin: JSONText.canonical(origin),
                signals: []), into: &scratch)
        let start = effects.bytes.count
        if isHeld {
            readEvent(at: known) { effects.bytes.append(copying: $0) }
            guard index.isPrivate(known),
                Self.isSameMessage(scratch.span.bytes, effects.bytes.span.bytes.extracting(start..<effects.bytes.count))
            else {
                throw .conflict(
                    "the id \(id.text) is stored with another content; send a different message under a new id")
            }
        } else {
            // Of one that retention has dropped, only the id and the stamp are known.
            effects.bytes += scratch
        }
        messageCounters.repeated += 1
        return start..<effects.bytes.count
    }

    /// Whether two copies say the same, whatever the nodes that accepted them added.
    private static func isSameMessage(_ a: RawSpan, _ b: RawSpan) -> Bool {
        guard let left = MessageView(a), let right = MessageView(b) else { return false }
        let same = a.extracting(left.content).withUnsafeBytes { mine in
            b.extracting(right.content).withUnsafeBytes { mine.elementsEqual($0) }
        }
        if same { return true }
        // Bytes differ: a client may have written the members in another order or a number in another way.
        func said(_ bytes: RawSpan) -> JSONValue? {
            guard case .object(let members)? = try? JSONValue(bytes) else { return nil }
            let ours = ["timestamp", "origin", "replica", "seq", "stamp"]
            return .object(members.filter { !ours.contains($0.key) })
        }
        guard let mine = said(a), let theirs = said(b) else { return false }
        return mine.means(theirs)
    }

    // MARK: - Absorbing

    /// Takes a message from the log into the index and the mailboxes, and shows it to its receivers here. Returns where
    /// its JSON lies in the effects' bytes.
    @discardableResult
    mutating func absorbMessage(
        _ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp, into effects: inout Effects
    ) -> Range<Int> {
        let start = effects.bytes.count
        effects.bytes.append(constant: Self.messageOpening)
        let from = effects.bytes.count
        cluster.log.read(position) { effects.bytes.append(copying: $0.extracting(body)) }
        let json = from..<effects.bytes.count
        effects.bytes.append(UInt8(ascii: "}"))
        let frame = start..<effects.bytes.count
        guard let (view, isFirst) = fileMessage(position, body, at: stamp) else { return json }
        if isFirst { show(view, json, frame, into: &effects) }
        return json
    }

    /// Enters a message of the log into the index and the mailboxes. Nil if it is none; says whether it is the first
    /// copy of its id.
    @discardableResult
    mutating func fileMessage(
        _ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp
    ) -> (view: MessageView, isFirst: Bool)? {
        let noted = cluster.log.read(position) { entry -> (MessageView, EventIndex.Outcome?)? in
            let json = entry.extracting(body)
            guard let view = MessageView(json) else {
                counters.malformedEvents += 1
                index.skip()
                return nil
            }
            let outcome = index.insert(
                id: view.id, scope: json.extracting(view.receiver), trace: json.extracting(view.correlation),
                jsonOffset: body.lowerBound, stamp: stamp, isPrivate: true, log: cluster.log)
            mailboxes.file(
                view, json, at: position, stamp, isCopy: !index.isCanonical(position), cluster.log)
            return (view, outcome)
        }
        guard let (view, outcome) = noted else { return nil }
        guard let outcome else { return (view, true) }
        settle(outcome, with: position)
        // Whoever is done with one of them is done with all.
        for copy in index.positions(of: view.id) { markCopy(copy, isCopy: !index.isCanonical(copy)) }
        return (view, outcome.sibling == nil)
    }

    /// A copy of a message is the message after all, or no longer is.
    mutating func markCopy(_ position: Int, isCopy: Bool) {
        guard cluster.log.holds(position), index.isPrivate(position) else { return }
        readEvent(at: position) { json in
            guard let view = MessageView(json) else { return }
            mailboxes.mark(
                position, of: json.extracting(view.receiver), isBroadcast: view.isBroadcast(json), isCopy: isCopy)
        }
    }

    // MARK: - Showing

    /// Sends a message to the sessions of its receivers here. It stays in their mailboxes until they take it.
    private mutating func show(
        _ view: MessageView, _ json: Range<Int>, _ frame: Range<Int>, into effects: inout Effects
    ) {
    }
}
