import CRDT
import Gossip

/// Accepting, replicating and reading events.
extension NodeCore {
    // MARK: - Accepting

    /// Accepts one event: returns 201 and where its JSON lies in the effects' bytes, or 200 and the event as first
    /// stored if its id is known.
    mutating func postEvent(
        _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> (status: UInt16, body: Range<Int>) {
        try checkWritable()
        let draft = try Draft(bytes)
        if let id = draft.id, let known = index.newest(id, log: cluster.log) {
            return (200, try repeatEvent(draft, bytes, known, into: &effects))
        }
        let id = draft.id ?? UUID(random: dice.next(), dice.next())
        var patterns: [[UInt8]] = []
        if case .semp(let event) = draft { patterns = self.patterns(for: event, bytes, now: now) }
        let body = try accept(draft, bytes, id: id, patterns: patterns, now: now, into: &effects)
        counters.accepted += 1
        return (201, body)
    }

    /// Writes an event into the own log and lets it act. Returns where its JSON lies in the effects' bytes.
    mutating func accept(
        _ draft: Draft, _ bytes: RawSpan, id: UUID, patterns: [[UInt8]], now: Instant, into effects: inout Effects
    ) throws(NodeError) -> Range<Int> {
        guard bytes.byteCount + patterns.reduce(0, { $0 + $1.count + 3 }) + 4_096 <= Fact.maximumBodyBytes else {
            throw NodeError(
                status: 413, message: "the event is too large with the signals it touches; shorten its payload")
        }
        if case .message(let message) = draft { try openMailbox(for: message, bytes, now: now, into: &effects) }
        let stamp = cluster.nextStamp(now: now)
        let acceptance = EventDraft.Acceptance(
            stamp: stamp, sequence: cluster.log.head(of: cluster.log.mine) + 1, origin: origin, signals: patterns)
        scratch.removeAll(keepingCapacity: true)
        let view = draft.render(bytes, id: id, accepted: acceptance, into: &scratch)
        let position = write(draft.surface.kind, time: stamp.time, now: now, into: &effects)
        let body = cluster.log.read(position) { (try? Fact($0).body) ?? 0..<0 }
        let json = absorbEvent(position, body, at: stamp, view: view, now: now, into: &effects)
        return json
    }

    /// The same id again: the same event, or a mistake of the client's.
    mutating func repeatEvent(
        _ draft: Draft, _ bytes: RawSpan, _ known: Int, into effects: inout Effects
    ) throws(NodeError) -> Range<Int> {
        guard cluster.log.holds(known) else { return rememberedEvent(draft, bytes, known, into: &effects) }
        scratch.removeAll(keepingCapacity: true)
        let nobody = EventDraft.Acceptance(
            stamp: HybridTimestamp(time: 0, replica: ReplicaID(0)), sequence: 0, origin: [], signals: [])
        _ = draft.render(bytes, id: draft.id ?? UUID(high: 0, low: 0), accepted: nobody, into: &scratch)
        let start = effects.bytes.count
        appendEvent(at: known, into: &effects.bytes)
        let json = start..<effects.bytes.count
        guard Self.isSameEvent(scratch.span.bytes, effects.bytes.span.bytes.extracting(json)) else {
            throw .conflict(
                "event \(draft.id?.text ?? "") is stored with another content; send a different event under a new id")
        }
        counters.repeated += 1
        return json
    }

    /// The same id again, of an event that retention has dropped: what can still be said of it.
    private mutating func rememberedEvent(
        _ draft: Draft, _ bytes: RawSpan, _ known: Int, into effects: inout Effects
    ) -> Range<Int> {
        let stamp = cluster.log.stamp(at: known)
        let origin = cluster.membership.member(stamp.replica)?.name ?? stamp.replica.description
        scratch.removeAll(keepingCapacity: true)
        _ = draft.render(
            bytes, id: draft.id ?? UUID(high: 0, low: 0),
            accepted: EventDraft.Acceptance(
                stamp: stamp, sequence: cluster.log.record(at: known).sequence, origin: JSONText.canonical(origin),
                signals: []), into: &scratch)
        counters.repeated += 1
        let start = effects.bytes.count
        effects.bytes.append(contentsOf: scratch)
        return start..<effects.bytes.count
    }

    /// Whether two copies say the same, whatever the nodes that accepted them added.
    private static func isSameEvent(_ a: RawSpan, _ b: RawSpan) -> Bool {
        guard let left = EventView(a), let right = EventView(b) else { return false }
        let same = a.extracting(left.content).withUnsafeBytes { mine in
            b.extracting(right.content).withUnsafeBytes { mine.elementsEqual($0) }
        }
        if same { return true }
        // Bytes differ: a client may have written the members in another order or a number in another way.
        func said(_ bytes: RawSpan) -> JSONValue? {
            guard case .object(let members)? = try? JSONValue(bytes) else { return nil }
            let ours = ["timestamp", "origin", "replica", "seq", "stamp", "signals"]
            return .object(members.filter { !ours.contains($0.key) })
        }
        guard let mine = said(a), let theirs = said(b) else { return false }
        return mine.means(theirs)
    }

    // MARK: - Which signals an event touches

    /// Decided once, by the node that accepts the event, and stored in it (DESIGN, section 3).
    private func patterns(for draft: EventDraft, _ bytes: RawSpan, now: Instant) -> [[UInt8]] {
        if let own = draft.ownPatterns(bytes) { return own }
        let parents = draft.parents(bytes)
        guard parents.isEmpty else { return patterns(ofAncestors: parents) }
        let scope = JSONText.canonical(draft.scope, bytes)
        return signals.strongest(Self.maximumPatterns, scope: scope, atMs: cluster.nowMs(now)).map(\.pattern)
    }

    /// The most patterns that one event touches.
    private static let maximumPatterns = 256
    /// The most ancestors that are asked for theirs.
    private static let maximumAncestors = 64

    /// Breadth first over the parents in order, each event once: the patterns of the nearest generation that has any.
    /// One that is unknown here could be nearer than all others, so it decides that there are none.
    private func patterns(ofAncestors parents: [UUID?]) -> [[UInt8]] {
        var generation = parents
        var seen: Set<UUID> = []
        while !generation.isEmpty {
            var found: [[UInt8]] = []
            var next: [UUID?] = []
            for id in generation {
                guard let id else { return [] }
                guard seen.insert(id).inserted else { continue }
                guard seen.count <= Self.maximumAncestors else { return found }
                guard let position = index.newest(id, log: cluster.log), cluster.log.holds(position) else { return [] }
                readEvent(at: position) { json in
                    guard let fields = try? EventFields(json), let view = EventView(json) else { return }
                    view.eachPattern(json) { pattern in
                        let text = pattern.withUnsafeBytes { Array($0) }
                        if found.count < Self.maximumPatterns, !found.contains(text) { found.append(text) }
                    }
                    next += fields.parents.map { UUID(json.extracting($0.inner)) }
                }
            }
            if !found.isEmpty { return found }
            generation = next
        }
        return []
    }

    // MARK: - Absorbing

    /// Takes an event from the log into the index, the signals and the subscribers' streams. Returns where its JSON
    /// lies in the effects' bytes. Own events and those of peers come the same way; only that `view`, what there is to
    /// know of the event, need not be read from one that was just written.
    @discardableResult
    mutating func absorbEvent(
        _ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp, view known: EventView? = nil, now: Instant,
        into effects: inout Effects
    ) -> Range<Int> {
        let start = effects.bytes.count
        effects.bytes.append(constant: EventFrame.opening)
        let from = effects.bytes.count
        cluster.log.read(position) { effects.bytes.append(copying: $0.extracting(body)) }
        let json = from..<effects.bytes.count
        effects.bytes.append(UInt8(ascii: "}"))
        let frame = start..<effects.bytes.count

        guard let view = known ?? EventView(effects.bytes.span.bytes.extracting(json)) else {
            counters.malformedEvents += 1
            index.skip()
            return json
        }
        let outcome = index.insert(
            view, effects.bytes.span.bytes.extracting(json), jsonOffset: body.lowerBound, stamp: stamp,
            log: cluster.log)
        file(view, position, body, at: stamp)
        if index.isCanonical(position) {
            offerToGroups(position, view, effects.bytes.span.bytes.extracting(json))
        }
        if let outcome {
            settle(outcome, with: position)
            if let sibling = outcome.sibling {
                compare(position, sibling, view.id, into: &effects)
                return json
            }
        } else {
            fold(view, effects.bytes.span.bytes.extracting(json), at: stamp)
        }
        if view.surface == .bus, eventService.isListening || !groups.all.isEmpty {
            memories.refreshTaskContexts(documents)
            if let told = told(by: view, effects.bytes.span.bytes.extracting(json), at: position) {
                note(told, now: now, into: &effects)
            }
        }
        if healing.isWatching, view.surface == .bus { heardHeal(view, effects.bytes.span.bytes.extracting(json)) }
        deliver(view, position, json: json, frame: frame, now: now, into: &effects)
        return json
    }

    /// Notes an event whose effect is in the state already, which came as a snapshot. Of the copies of an id only the
    /// event is in there, by what its sender knew; this node may know of others.
    mutating func indexOnly(_ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp) {
        guard let outcome = note(position, body, at: stamp)?.outcome else { return }
        markCopies(of: position)
        for copy in outcome.demoted { retract(copy, mayBeAbsent: true) }
        for copy in outcome.promoted where !isFolded(copy) { actAnew(copy) }
        if !index.isCanonical(position) { retract(position, mayBeAbsent: true) }
    }

    /// Notes an event and lets it act, without showing it to anybody.
    mutating func indexAndFold(_ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp) {
        guard let (view, outcome) = note(position, body, at: stamp) else { return }
        if let outcome { return settle(outcome, with: position) }
        cluster.log.read(position) { fold(view, $0.extracting(body), at: stamp) }
    }

    /// Enters an event of the log into the index; nil if it is none.
    private mutating func note(
        _ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp
    ) -> (view: EventView, outcome: EventIndex.Outcome?)? {
        let noted = cluster.log.read(position) { entry -> (view: EventView, outcome: EventIndex.Outcome?)? in
            let json = entry.extracting(body)
            guard let view = EventView(json) else {
                counters.malformedEvents += 1
                index.skip()
                return nil
            }
            return (
                view,
                index.insert(view, json, jsonOffset: body.lowerBound, stamp: stamp, log: cluster.log)
            )
        }
        if let noted { file(noted.view, position, body, at: stamp) }
        return noted
    }

    /// Lets an event's operations act on its signals.
    private mutating func fold(_ view: EventView, _ json: RawSpan, at stamp: HybridTimestamp) {
        view.eachPattern(json) { pattern in
            signals.insert(view.operation, scope: json.extracting(view.address), pattern: pattern, at: stamp)
            noteSignal(scope: json.extracting(view.address), pattern: pattern)
        }
    }

    /// Another copy of an id came: the one with the lowest stamp is the event, so the fold may have to change.
    private mutating func settle(_ outcome: EventIndex.Outcome, with copy: Int) {
        markCopies(of: copy)
        for position in outcome.demoted { retract(position, mayBeAbsent: position == copy) }
        for position in outcome.promoted { actAnew(position) }
        // A peer's state may have brought what it did before the copy itself.
        if !index.isCanonical(copy) { retract(copy, mayBeAbsent: true) }
    }

    /// Takes back what a copy did that is not the event.
    private mutating func retract(_ position: Int, mayBeAbsent: Bool) {
        let stamp = cluster.log.stamp(at: position)
        // Which signals it touched is not remembered.
        guard cluster.log.holds(position) else {
            let found = signals.remove(at: [stamp])
            if found == 0, !mayBeAbsent, stamp.time <= signals.foldedThrough { counters.unresolvedCopies += 1 }
            return
        }
        readEvent(at: position) { json in
            guard let view = EventView(json) else { return }
            view.eachPattern(json) { pattern in
                signals.remove(
                    scope: json.extracting(view.address), pattern: pattern, at: stamp, mayBeAbsent: mayBeAbsent)
            }
        }
    }

    /// Lets a copy act that is the event after all.
    private mutating func actAnew(_ position: Int) {
        guard cluster.log.holds(position) else { return counters.unresolvedCopies += 1 }
        let stamp = cluster.log.stamp(at: position)
        readEvent(at: position) { json in
            guard let view = EventView(json) else { return }
            fold(view, json, at: stamp)
        }
    }

    /// Takes back what copies did that are not the event: they may have come back with a peer's state.
    mutating func retractCopies() {
        let log = cluster.log
        signals.remove(at: Set(index.copies().map { log.stamp(at: $0) }))
    }

    /// Two copies of one id should say the same.
    private mutating func compare(_ position: Int, _ sibling: Int, _ id: UUID, into effects: inout Effects) {
        guard cluster.log.holds(sibling) else { return }
        let same = readEvent(at: position) { a in readEvent(at: sibling) { b in Self.isSameEvent(a, b) } }
        guard !same else { return }
        counters.conflicts += 1
        effects.list.append(
            .log(.warning, "event \(id.text) was accepted twice with different contents; the one stamped lower counts"))
    }

    // MARK: - Reading

    /// Lends the JSON of the event at a position.
    func readEvent<R>(at position: Int, _ body: (RawSpan) -> R) -> R {
        let offset = index.jsonOffset(at: position) ?? 0
        return cluster.log.read(position) { body($0.extracting(offset..<$0.byteCount)) }
    }

    private func appendEvent(at position: Int, into out: inout [UInt8]) {
        readEvent(at: position) { out.append(copying: $0) }
    }

    func showEvent(_ request: RequestID, _ text: String, into effects: inout Effects) throws(NodeError) {
        guard let id = UUID(text), let position = index.newest(id, log: cluster.log), cluster.log.holds(position),
            !index.surface(at: position).isPrivate
        else {
            throw .notFound("no event \(text.prefix(64)) is stored here; it may be older than what is kept")
        }
        let start = effects.bytes.count
        appendEvent(at: position, into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    func listEvents(_ request: RequestID, _ page: Request.Page, into effects: inout Effects) throws(NodeError) {
        let before = try stamp(before: page.before)
        var positions: [Int] = []
        index.descending(before: before) { position in
            positions.append(position)
            return positions.count < page.limit
        }
        reply(request, positions.prefix(page.limit), into: &effects)
    }

    func listEvents(
        _ request: RequestID, scope: String, _ page: Request.Page, into effects: inout Effects
    ) throws(NodeError) {
        let text = JSONText.canonical(scope)
        try list(request, index.candidates(.semp, address: text.span.bytes), page, into: &effects) { view, json in
            view.surface == .semp && json.extracting(view.address).isEqual(to: text)
        }
    }

    func listEvents(
        _ request: RequestID, topic: String, _ page: Request.Page, into effects: inout Effects
    ) throws(NodeError) {
        let text = JSONText.canonical(topic)
        try list(request, index.candidates(.bus, address: text.span.bytes), page, into: &effects) { view, json in
            view.surface == .bus && json.extracting(view.address).isEqual(to: text)
        }
    }

    func listEvents(
        _ request: RequestID, trace: String, _ page: Request.Page, into effects: inout Effects
    ) throws(NodeError) {
        let text = JSONText.canonical(trace)
        try list(request, index.candidates(trace: text.span.bytes), page, into: &effects) { view, json in
            view.surface == .semp && json.extracting(view.trace).isEqual(to: text)
        }
    }

    /// The newest of the candidates that match, by stamp.
    private func list(
        _ request: RequestID, _ candidates: [Int], _ page: Request.Page, into effects: inout Effects,
        where matches: (EventView, RawSpan) -> Bool
    ) throws(NodeError) {
        let before = try stamp(before: page.before)
        reply(request, newest(candidates, before: before, most: page.limit, where: matches)[...], into: &effects)
    }

    /// The newest of the candidates that match, by stamp. Nearly all do: those that share a hash with another text do not.
    func newest(
        _ candidates: [Int], before: HybridTimestamp?, most: Int, where matches: (EventView, RawSpan) -> Bool
    ) -> [Int] {
        var positions: [Int] = []
        var end = before
        while positions.count < most {
            let batch = highest(candidates, before: end, most: most)
            for key in batch where positions.count < most {
                let isWanted = readEvent(at: key.position) { json in
                    EventView(json).map { matches($0, json) } ?? false
                }
                if isWanted { positions.append(key.position) }
            }
            guard batch.count == most else { break }
            end = batch.last?.stamp
        }
        return positions
    }

    /// The highest stamps of the candidates, without sorting all of them for a page of few.
    private func highest(_ candidates: [Int], before: HybridTimestamp?, most: Int) -> [StampOrder.Key] {
        var found: [StampOrder.Key] = []
        var lowest: HybridTimestamp?
        for position in candidates {
            let stamp = cluster.log.stamp(at: position)
            if let before, stamp >= before { continue }
            if let lowest, stamp < lowest { continue }
            found.append(StampOrder.Key(stamp: stamp, position: position))
            guard found.count >= 2 * most else { continue }
            found.sort(by: >)
            found.removeSubrange(most...)
            lowest = found.last?.stamp
        }
        found.sort(by: >)
        return Array(found.prefix(most))
    }

    private func reply(_ request: RequestID, _ positions: ArraySlice<Int>, into effects: inout Effects) {
        let start = effects.bytes.count
        var reply = Reply(status: 200)
        var last: Int?
        effects.bytes.append(UInt8(ascii: "["))
        for position in positions {
            guard effects.bytes.count - start < Self.maximumListBytes else {
                reply.more = last.map { cluster.log.stamp(at: $0) }
                break
            }
            if last != nil { effects.bytes.append(UInt8(ascii: ",")) }
            appendEvent(at: position, into: &effects.bytes)
            last = position
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    /// A list answer ends after so many bytes, so that one request neither stalls the loop nor fills the memory.
    static let maximumListBytes = 16 << 20

    /// The stamp that `before=` names: an event's id, a stamp, or a time.
    func stamp(before text: String?) throws(NodeError) -> HybridTimestamp? {
        guard let text else { return nil }
        if let id = UUID(text) {
            guard let position = index.newest(id, log: cluster.log) else {
                throw .badQuery("before", "no event \(text) is stored here; page by its stamp or timestamp instead")
            }
            return cluster.log.stamp(at: position)
        }
        if let stamp = HybridTimestamp(text: text) { return stamp }
        if let milliseconds = ISOTime.milliseconds(text) {
            return HybridTimestamp(milliseconds: milliseconds, replica: ReplicaID(0))
        }
        throw .badQuery("before", "expected an event's id, stamp or timestamp, found \"\(text.prefix(64))\"")
    }
}
