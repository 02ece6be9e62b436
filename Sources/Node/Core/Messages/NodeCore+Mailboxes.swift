import CRDT
import Gossip

/// Mailboxes as clients see them: opened, looked into and closed at any node.
extension NodeCore {
    /// What was done since the start, for the metrics.
    struct MessageCounters: Sendable {
        var refusedMailboxes = 0
        /// Messages taken by clients of this node; takings that waited for another node; of them, those in vain.
        var taken = 0
        var takesAsked = 0
        var takeTimeouts = 0
        /// Messages dropped by this node, as the owner of full mailboxes.
        var dropped = 0
        var badFrames = 0
        /// Messages sent to sessions of their receivers as they came.
        var shown = 0
    }

    /// A message that waits.
    struct Waiting {
        let entry: Mailbox.Entry
        let name: EntryName
    }

    // MARK: - Opening and closing

    /// Opens an agent's mailbox unless it is: broadcasts accepted from now on wait there, too. For an agent that
    /// connects, takes or is written to.
    mutating func openMailbox(of agent: [UInt8], now: Instant, into effects: inout Effects) throws(NodeError) {
        let name = Mailboxes.name(of: agent)
        guard !documents.exists(name) else { return }
        try checkWritable()
        refreshMailboxes()
        guard mailboxes.openCount < Mailboxes.maximum else {
            messageCounters.refusedMailboxes += 1
            throw NodeError(
                status: 507,
                message: "there are \(Mailboxes.maximum) mailboxes already; close one that nobody needs with DELETE "
                    + "/api/bus/mailbox/{agent}")
        }
        let stamp = cluster.nextStamp(now: now)
        var time: [UInt8] = []
        time.append(littleEndian: stamp.time)
        var changes: [DocumentMap.Change] = [
            .create, .set(field: Mailbox.openedPrefix + settings.replica.description, value: time),
        ]
        // A node that has not read everything may not know that there is an owner.
        if !isIncomplete { changes.append(ownerChange(owner(of: agent, named: nil))) }
        putMailbox(name, changes, now: now, into: &effects)
    }

    /// Opens the mailbox of an agent that connected, if that can be done now.
    mutating func agentConnected(_ name: String, now: Instant, into effects: inout Effects) {
        guard !isIncomplete, let agent = try? Self.agent(name) else { return }
        try? openMailbox(of: agent, now: now, into: &effects)
    }

    mutating func closeMailbox(
        _ request: RequestID, _ agent: String, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let name = Mailboxes.name(of: try Self.agent(agent))
        guard documents.exists(name) else { throw .notFound("\(agent.prefix(64)) has no mailbox here") }
        putMailbox(name, [.remove], now: now, into: &effects)
        effects.list.append(.reply(request, Reply(status: 204), body: 0..<0))
    }

    func ownerChange(_ owner: ReplicaID) -> DocumentMap.Change {
        var value: [UInt8] = []
        value.append(replica: owner)
        return .set(field: Mailbox.ownerField, value: value)
    }

    mutating func putMailbox(
        _ name: String, _ changes: [DocumentMap.Change], now: Instant, into effects: inout Effects
    ) {
        scratch.removeAll(keepingCapacity: true)
        DocumentMap.encode(name, changes, into: &scratch)
        _ = write(.put, time: cluster.nextStamp(now: now).time, now: now, into: &effects)
        absorb(now: now, into: &effects)
    }

    /// An agent's name from a path or a query, as canonical text.
    static func agent(_ text: String) throws(NodeError) -> [UInt8] {
        let agent = JSONText.canonical(text)
        guard !agent.isEmpty, agent.count <= EventDraft.maximumTextBytes else {
            throw .badQuery("agent", "expected a name of 1 to \(EventDraft.maximumTextBytes) bytes")
        }
        guard agent != Mailboxes.everybody else {
            throw .badQuery("agent", "\"broadcast\" is the receiver that means everybody, and has no mailbox")
        }
        return agent
    }

    // MARK: - What waits

    mutating func refreshMailboxes() {
        let index = index
        mailboxes.refresh(documents, cluster.log) { Self.copies(index, $0) }
    }

    /// The place of an agent's mailbox, up to date; nil if nothing is known of the agent.
    mutating func mailbox(of agent: [UInt8]) -> Int? {
        let index = index
        return mailboxes.current(agent, documents, cluster.log) { Self.copies(index, $0) }
    }

    private static func copies(_ index: EventIndex, _ position: Int) -> [Int] {
        index.id(at: position).map { index.positions(of: $0) } ?? []
    }

    /// Whatever belongs to a mailbox and was neither taken nor dropped, by rising stamp, copies included.
    func unsettled(_ place: Int) -> [Mailbox.Entry] {
        mailboxes.unsettled(place, cluster.log) { Self.copies(index, $0) }
    }

    /// How many messages to an agent alone were neither taken nor dropped.
    func unsettledDirect(_ place: Int) -> Int {
        mailboxes.unsettledDirect(place, cluster.log) { Self.copies(index, $0) }.count { !$0.isCopy }
    }

    func entryName(at position: Int) -> EntryName {
        let record = cluster.log.record(at: position)
        return EntryName(log: cluster.log.replica(in: Int(record.slot)), sequence: record.sequence)
    }

    /// The messages that may be taken now: of the newest thousand the highest priority first, then the oldest.
    func waiting(_ unsettled: [Mailbox.Entry], type: MessageType?) -> [Waiting] {
        // By rising stamp, so that what ties in priority stays in order.
        let inOrder = unsettled.lazy.filter { !$0.isCopy }.suffix(Mailbox.capacity)
        var byPriority: [[Waiting]] = Array(repeating: [], count: Int(MessageDraft.maximumPriority) + 1)
        for entry in inOrder where type.map({ $0.rawValue == entry.type }) ?? true {
            byPriority[Int(entry.priority)].append(Waiting(entry: entry, name: entryName(at: entry.position)))
        }
        return byPriority.reversed().flatMap(\.self)
    }

    // MARK: - Reading

    mutating func peek(
        _ request: RequestID, _ agent: String, type: String?, most: Int, into effects: inout Effects
    ) throws(NodeError) {
        let name = try Self.agent(agent)
        let type = try Self.messageType(type)
        let found = mailbox(of: name).map { waiting(unsettled($0), type: type) } ?? []
        reply(request, messages: found.prefix(most).map(\.entry.position), into: &effects)
    }

    mutating func countMessages(
        _ request: RequestID, _ agent: String, type: String?, into effects: inout Effects
    ) throws(NodeError) {
        let name = try Self.agent(agent)
        let type = try Self.messageType(type)
        let place = mailbox(of: name)
        let count = place.map { waiting(unsettled($0), type: type).count } ?? 0
        let start = effects.bytes.count
        var out = JSONObjectWriter(&effects.bytes)
        out.add("agent", agent, into: &effects.bytes)
        out.add("count", count, into: &effects.bytes)
        out.add("dropped", place.map { mailboxes[$0].dropped } ?? 0, into: &effects.bytes)
        out.close(into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    static func messageType(_ text: String?) throws(NodeError) -> MessageType? {
        guard let text else { return nil }
        guard let type = MessageType(text) else {
            throw .badQuery("type", "expected \(MessageType.expected), found \"\(text.prefix(64))\"")
        }
        return type
    }

    /// The newest messages, or the first ones after `since`, in the order of their stamps.
    func showHistory(
        _ request: RequestID, agent: String?, since: String?, limit: Int, into effects: inout Effects
    ) throws(NodeError) {
        var hash: UInt64?
        if let agent {
            let name = try Self.agent(agent)
            hash = XXH64.hash(name.span.bytes)
        }
        let since = try stamp(of: since, "since")
        var found: [Int] = []
        let past = mailboxes.past.suffix(Mailboxes.maximumHistory)
        func isWanted(_ entry: Mailboxes.Past) -> Bool {
            if let hash, hash != entry.sender, hash != entry.receiver { return false }
            return cluster.log.holds(entry.position) && index.isCanonical(entry.position)
        }
        if let since {
            for entry in past where found.count < limit && entry.time >= since.time && isWanted(entry) {
                if cluster.log.stamp(at: entry.position) > since { found.append(entry.position) }
            }
        } else {
            for entry in past.reversed() where found.count < limit && isWanted(entry) { found.append(entry.position) }
            found.reverse()
        }
        reply(request, messages: found, into: &effects)
    }

    /// The messages with a correlation id, in the order of their stamps.
    func showConversation(_ request: RequestID, _ correlation: String, limit: Int, into effects: inout Effects) {
        let text = JSONText.canonical(correlation)
        let found = index.candidates(trace: text.span.bytes).filter { position in
            guard index.surface(at: position) == .message else { return false }
            return readEvent(at: position) { json in
                EventView(json).map { json.extracting($0.correlation).isEqual(to: text) } ?? false
            }
        }
        let sorted = found.map { StampOrder.Key(stamp: cluster.log.stamp(at: $0), position: $0) }.sorted()
        reply(request, messages: sorted.suffix(limit).map(\.position), into: &effects)
    }

    /// The stamp that a message's id, a stamp or a time names.
    private func stamp(of text: String?, _ parameter: String) throws(NodeError) -> HybridTimestamp? {
        guard let text else { return nil }
        if let id = UUID(text) {
            guard let position = index.newest(id, log: cluster.log), index.surface(at: position) == .message else {
                throw .badQuery(parameter, "no message \(text) is stored here; use its stamp or timestamp instead")
            }
            return cluster.log.stamp(at: position)
        }
        if let stamp = HybridTimestamp(text: text) { return stamp }
        if let milliseconds = ISOTime.milliseconds(text) {
            return HybridTimestamp(milliseconds: milliseconds, replica: ReplicaID(0))
        }
        throw .badQuery(parameter, "expected a message's id, stamp or timestamp, found \"\(text.prefix(64))\"")
    }

    /// The most agents that the statistics name.
    private static let maximumBusiest = 1_000

    mutating func showMessageStats(_ request: RequestID, into effects: inout Effects) {
        refreshMailboxes()
        let start = effects.bytes.count
        var out = JSONObjectWriter(&effects.bytes)
        out.add("messages", mailboxes.byType.reduce(0, +), into: &effects.bytes)
        out.key("by_type", into: &effects.bytes)
        var types = JSONObjectWriter(&effects.bytes)
        for type in MessageType.allCases where mailboxes.byType[Int(type.rawValue)] > 0 {
            types.add("\(type.word)", mailboxes.byType[Int(type.rawValue)], into: &effects.bytes)
        }
        types.close(into: &effects.bytes)
        out.key("by_agent", into: &effects.bytes)
        var agents = JSONObjectWriter(&effects.bytes)
        for (agent, sent, received) in mailboxes.busiest(Self.maximumBusiest) {
            agents.key(canonical: agent, into: &effects.bytes)
            var one = JSONObjectWriter(&effects.bytes)
            one.add("sent", sent, into: &effects.bytes)
            one.add("received", received, into: &effects.bytes)
            one.close(into: &effects.bytes)
        }
        agents.close(into: &effects.bytes)
        out.add("mailboxes", mailboxes.openCount, into: &effects.bytes)
        out.add("waiting", mailboxes.waitingCount, into: &effects.bytes)
        out.add("dropped", mailboxes.dropped, into: &effects.bytes)
        out.close(into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    // MARK: - Answers

    private func reply(_ request: RequestID, messages positions: [Int], into effects: inout Effects) {
        let start = effects.bytes.count
        append(messages: positions, into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    /// Appends an array of messages, as many as an answer may hold.
    func append(messages positions: [Int], into out: inout [UInt8]) {
        let start = out.count
        out.append(UInt8(ascii: "["))
        for position in positions where cluster.log.holds(position) && out.count - start < Self.maximumMessageBytes {
            if out.count > start + 1 { out.append(UInt8(ascii: ",")) }
            readEvent(at: position) { out.append(copying: $0) }
        }
        out.append(UInt8(ascii: "]"))
    }

    /// An answer ends after so many bytes of messages.
    static let maximumMessageBytes = 8 << 20
}

extension JSONObjectWriter {
    /// Writes a key that is canonical text already.
    fileprivate mutating func key(canonical name: [UInt8], into out: inout [UInt8]) {
        key("", into: &out)
        // Between the quotes of the empty name.
        out.insert(contentsOf: name, at: out.count - 2)
    }
}
