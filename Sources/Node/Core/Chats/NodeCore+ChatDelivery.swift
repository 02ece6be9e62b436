import CRDT
import Gossip

/// Messages on their way to the sessions of members, as events on the topic `Messages`; and what is noted of that.
extension NodeCore {
    // MARK: - Who may listen

    /// Refuses to show the messages of chats to nobody in particular.
    func checkMayListen(_ filters: [Filter], _ agent: String?) throws(NodeError) {
        guard agent == nil, filters.contains(where: { $0.surface == .chat }) else { return }
        throw NodeError(
            status: 403,
            message: "messages in chats are shown to their members: say who you are first, with ?agent=NAME or "
                + "{\"type\":\"identify\",\"agent\":\"NAME\"}")
    }

    // MARK: - Live

    /// Shows a message that was just read to the sessions here of those who may read it.
    mutating func showChat(
        _ view: EventView, _ position: Int, _ json: Range<Int>, now: Instant, into effects: inout Effects
    ) {
        guard !sessions.chatChannels.isEmpty else { return }
        if chats.isStale { chats.readAll(documents) }
        let bytes = Array(effects.bytes[json])
        guard let place = chats.place(canonical: bytes.span.bytes.extracting(view.address)),
            let entry = entry(view, bytes.span.bytes, at: position, in: place),
            chats[place].counts(entry, cluster.log)
        else { return }
        var targets: [ChannelID] = []
        for person in listeners(place) {
            guard let role = chats[place].role(of: person), chats[place].maySee(entry, (person, role)) else { continue }
            let channels = sessions.chatChannels[chats[place].people.keys[person]] ?? []
            let mine = channels.filter { wants(sessions.wish(of: $0).filters, view, bytes.span.bytes) }
            guard !mine.isEmpty else { continue }
            targets += mine
            if person != Int(entry.sender) { noteDelivered(place, person, entry.time, now: now) }
        }
        guard !targets.isEmpty else { return }
        let isLate = chats[place].isAfterRemoval(entry)
        let from = effects.bytes.count
        Self.append(messageEvent: bytes.span.bytes, isAfterRemoval: isLate, into: &effects.bytes)
        let event = from..<effects.bytes.count
        var frames: [Sessions.Wish: Range<Int>] = [:]
        for channel in targets.sorted() {
            let wish = sessions.wish(of: channel)
            let kind = Sessions.Wish(filters: [], form: wish.form, wantsCursors: wish.wantsCursors)
            let frame: Range<Int>
            if let made = frames[kind] {
                frame = made
            } else {
                let cursor = wish.form == .eventStream || wish.wantsCursors ? cursorText(through: position) : nil
                let start = effects.bytes.count
                EventFrame.open(wish.form, cursor ?? [], into: &effects.bytes)
                effects.bytes.append(contentsOf: effects.bytes[event])
                EventFrame.close(wish.form, cursor: cursor, into: &effects.bytes)
                frame = start..<effects.bytes.count
                frames[kind] = frame
            }
            effects.list.append(.broadcast(channel, frame, mark: UInt64(position) + 1))
        }
        chatCounters.shown += targets.count
    }

    /// Members of a chat who listen here: looked for among the fewer of the two.
    private mutating func listeners(_ place: Int) -> [Int] {
        let listening = sessions.chatChannels
        if chats[place].people.count < listening.count {
            return chats[place].people.keys.indices.filter { listening[chats[place].people.keys[$0]] != nil }
        }
        return listening.keys.compactMap { chats[place].person($0.span.bytes) }
    }

    private func wants(_ filters: Set<Filter>, _ view: EventView, _ json: RawSpan) -> Bool {
        filters.contains { $0.matches(view, json) }
    }

    /// A message as members hear of it: an event on the topic `Messages`.
    private static func append(messageEvent json: RawSpan, isAfterRemoval: Bool, into out: inout [UInt8]) {
        guard let fields = try? ChatFields(json), let id = fields[.id], let from = fields[.from] else { return }
        out.append(constant: "{\"id\":")
        JSONText.compact(id, json, into: &out)
        out.append(constant: ",\"topic\":\"Messages\",\"type\":\"MessageSent\"")
        out.append(member: "source", from, json)
        out.append(key: "data")
        out.append(constant: "{\"eventType\":\"MessageSent\"")
        for (name, field) in [
            ("messageId", ChatField.id), ("from", .from), ("to", .to), ("chatId", .chatID), ("content", .content),
            ("message_type", .messageType), ("is_private", .isPrivate), ("langchain_context", .langchainContext),
            ("timestamp", .timestamp),
        ] as [(StaticString, ChatField)] {
            if let value = fields[field] { out.append(member: name, value, json) }
        }
        if isAfterRemoval { out.append(constant: ",\"after_removal\":true") }
        out.append(constant: "},")
        // The time, the origin and what else the accepting node added stand last.
        out.append(copying: json.extracting(fields.timestampKey..<json.byteCount))
    }

    // MARK: - Resuming

    /// Messages of an agent's chats from a position on, in no order.
    mutating func chatPositions(from start: Int, _ agent: String?) -> [Int] {
        guard let agent else { return [] }
        return chats(of: agent).flatMap { chat in
            let text = JSONText.canonical(chat)
            return index.positions(from: start, .chat, address: text.span.bytes)
        }
    }

    /// Shows a message to a client that is being resumed, if it may read it and has not seen it.
    mutating func showChat(
        _ position: Int, to session: SessionID, _ state: Sessions.Session, _ resume: Resume, _ filters: [Filter],
        now: Instant, into effects: inout Effects
    ) {
        let log = cluster.log
        guard let agent = state.agent, !resume.covers(position, log) else { return }
        if chats.isStale { chats.readAll(documents) }
        let json = readEvent(at: position) { $0.withUnsafeBytes { Array($0) } }
        guard let view = EventView(json.span.bytes), filters.contains(where: { $0.matches(view, json.span.bytes) }),
            let place = chats.place(canonical: json.span.bytes.extracting(view.address)),
            let person = chats[place].person(agent), let role = chats[place].role(of: person),
            let entry = entry(view, json.span.bytes, at: position, in: place),
            entry.time >= chats[place].born, chats[place].isKnown, chats[place].maySee(entry, (person, role)),
            !isKnown(view.id, besides: position, resume)
        else { return }
        let cursor = resume.cursorText(log)
        let start = effects.bytes.count
        EventFrame.open(state.form, cursor, into: &effects.bytes)
        Self.append(
            messageEvent: json.span.bytes, isAfterRemoval: chats[place].isAfterRemoval(entry), into: &effects.bytes)
        EventFrame.close(state.form, cursor: state.wantsCursors ? cursor : nil, into: &effects.bytes)
        counters.replayed += 1
        effects.list.append(.send(session, start..<effects.bytes.count))
        if person != Int(entry.sender) { noteDelivered(place, person, entry.time, now: now) }
    }

    // MARK: - Marks

    /// What was handed to members is written down so often, in milliseconds.
    private static let marksEveryMs: UInt64 = 1_000
    /// And at most a hundred marks in a second: so long each of them puts off the next writing, in milliseconds.
    private static let msPerMark: UInt64 = 10
    /// The most marks of one put.
    private static let marksPerPut = 500

    /// A message was handed to a member.
    mutating func noteDelivered(_ place: Int, _ person: Int, _ time: UInt64, now: Instant) {
        guard chats[place][person].deliveredThrough < time, chats.pending[place]?[person] ?? 0 < time else { return }
        chats.pending[place, default: [:]][person] = time
        if chats.marksDue == nil {
            chats.marksDue = max(now.advanced(milliseconds: Self.marksEveryMs), chats.marksFrom ?? now)
        }
    }

    /// Writes down what was handed to members, if it is time.
    mutating func tickChats(now: Instant, into effects: inout Effects) {
        guard let due = chats.marksDue, due <= now else { return }
        let later = now.advanced(milliseconds: Self.marksEveryMs)
        guard !isIncomplete, (try? checkWritable()) != nil else { return chats.marksDue = isLeaving ? nil : later }
        if chats.isStale { chats.readAll(documents) }
        chats.marksDue = nil
        var written: UInt64 = 0
        for place in chats.pending.keys.sorted() {
            guard let marks = chats.pending[place], written < UInt64(Self.marksPerPut) else { break }
            let news = marks.filter { person, time in
                chats[place].isKnown && chats[place][person].isMember && chats[place][person].deliveredThrough < time
            }
            let some = news.sorted { $0.key < $1.key }.prefix(Self.marksPerPut)
            chats.pending[place] = nil
            if some.count < news.count {
                let done = Set(some.map(\.key))
                chats.pending[place] = news.filter { !done.contains($0.key) }
            }
            guard !some.isEmpty else { continue }
            let batch = Dictionary(uniqueKeysWithValues: some.map { ($0.key, $0.value) })
            written += UInt64((try? writeMarks(place, batch, areRead: false, now: now, into: &effects))?.count ?? 0)
        }
        chats.marksFrom = now.advanced(milliseconds: written * Self.msPerMark)
        if !chats.pending.isEmpty { chats.marksDue = max(later, chats.marksFrom ?? later) }
    }

    /// Writes how far members have come, by what this node knows; and drops what nodes said that are gone for good.
    mutating func writeMarks(
        _ place: Int, _ marks: [Int: UInt64], areRead: Bool, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> (count: Int, stamp: HybridTimestamp) {
        let name = DocumentKind.marks.name(chats.id(at: place))
        var changes: [DocumentMap.Change] = documents.exists(name) ? [] : [.create]
        for (person, time) in marks.sorted(by: { $0.key < $1.key }) {
            let prefix = (areRead ? Chat.readPrefix : Chat.deliveredPrefix) + chats[place].name(of: person) + "/"
            var value: [UInt8] = []
            value.append(littleEndian: time)
            changes.append(.set(field: prefix + settings.replica.description, value: value))
            let known = areRead ? chats[place][person].reads : chats[place][person].deliveries
            for mark in known where mark.time <= time && mark.node != settings.replica {
                // Of one that may still write, a later word could be on its way, stamped before this.
                if cluster.membership.member(mark.node) == nil {
                    changes.append(.unset(field: prefix + mark.node.description))
                }
            }
        }
        let stamp = try put(name, Array(changes.prefix(DocumentMap.maximumChanges)), now: now, into: &effects)
        chatCounters.marksWritten += marks.count
        return (marks.count, stamp)
    }
}
