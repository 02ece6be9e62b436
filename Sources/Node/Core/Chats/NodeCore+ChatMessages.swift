import CRDT
import Gossip

/// Messages in chats: accepted at any node, kept as facts, and read by pages.
extension NodeCore {
    // MARK: - Accepting

    mutating func postChatMessage(
        _ request: RequestID, _ chat: String, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let message = try ChatDraft(bytes, chat: chat, by: asker)
        let draft = Draft.chat(message)
        if let id = message.id, let known = index.newest(id, log: cluster.log) {
            let json = try repeatEvent(draft, bytes, known, into: &effects)
            return reply(request, 200, message: json, into: &effects)
        }
        let place = try chatPlace(chat)
        guard let sender = try check(.write, place, message.sender) else { return }
        if let to = message.to.map({ JSONText.text($0, bytes) }) {
            guard let receiver = chats[place].person(to), chats[place][receiver].isMember else {
                try checkAgent(to)
                throw forbidden("to: \(to.prefix(64)) is no member of chat \(chat.prefix(64)) and could not read it")
            }
        }
        if !message.isPrivate {
            try checkTurn(message.sender, sender.role, in: chat, token: message.token, now: now)
        }
        let id = message.id ?? UUID(random: dice.next(), dice.next())
        let json = try accept(draft, bytes, id: id, patterns: [], now: now, into: &effects)
        counters.accepted += 1
        reply(request, 201, message: json, into: &effects)
    }

    /// Answers with a message that was just accepted: nobody has seen it.
    private func reply(_ request: RequestID, _ status: UInt16, message json: Range<Int>, into effects: inout Effects) {
        let start = effects.bytes.count
        effects.bytes.append(contentsOf: effects.bytes[json.lowerBound..<json.upperBound - 1])
        effects.bytes.append(constant: ",\"status\":\"sent\"}")
        effects.list.append(.reply(request, Reply(status: status), body: start..<effects.bytes.count))
    }

    // MARK: - Filing

    /// Notes a message that was just indexed in its chat.
    mutating func fileChat(_ view: EventView, _ position: Int, _ body: Range<Int>, at stamp: HybridTimestamp) {
        let isCopy = !index.isCanonical(position)
        let documents = documents
        let filed = cluster.log.read(position) { entry in
            chats.file(
                view, entry.extracting(body), at: position, stamp, isCopy: isCopy, cluster.log,
                isAgent: { documents.exists(DocumentKind.agent.name($0)) })
        }
        guard let filed, filed.isAfterRemoval, !isCopy, !chats.isStale, chats[filed.place].isKnown else { return }
        chatCounters.afterRemoval += 1
        noteSpeech(filed.place, filed.person)
    }

    /// A document of a chat or of its marks was written by this put.
    mutating func noteChatPut(_ put: RawSpan, _ kind: DocumentKind, _ key: [UInt8]) {
        // Otherwise all of them will be read.
        guard !chats.isStale, let (_, changes) = try? DocumentMap.decode(put) else { return }
        var fields: [String]? = []
        for change in changes {
            switch change {
            case .create, .remove: fields = nil
            case .set(let field, _), .unset(let field): fields?.append(field)
            }
        }
        guard let (place, people) = chats.read(kind, key, fields, documents), kind == .chat, fields != nil else {
            return
        }
        for person in Set(people).sorted() { noteConflicts(place, person) }
    }

    /// Somebody's membership or role was written: what other nodes have done meanwhile may not fit.
    private mutating func noteConflicts(_ place: Int, _ person: Int) {
        let somebody = chats[place][person]
        guard let membership = somebody.membership, !membership.isIn else { return }
        let why = membership.absence?.rawValue ?? ChatPerson.Absence.left.rawValue
        if let role = somebody.role {
            noteConflict(
                Conflict(
                    kind: .roleOfRemoved, subject: DocumentKind.chat.name(chats.id(at: place)),
                    detail: chats[place].name(of: person), kept: why, lost: "role \(role.rawValue)"))
        }
        var spoke = 0
        chats[place].timeline.descending(from: nil) { entry in
            if entry.sender == UInt32(person), entry.time > somebody.changed, !entry.isCopy { spoke += 1 }
            return entry.time > somebody.changed
        }
        guard spoke > 0 else { return }
        chatCounters.afterRemoval += spoke
        noteSpeech(place, person)
    }

    /// Messages are here of somebody who had been removed elsewhere before it said them.
    private mutating func noteSpeech(_ place: Int, _ person: Int) {
        noteConflict(
            Conflict(
                kind: .spokeAfterRemoval, subject: DocumentKind.chat.name(chats.id(at: place)),
                detail: chats[place].name(of: person), kept: "its messages, tagged after_removal", lost: ""))
    }

    // MARK: - Reading

    /// A message's place in the order of a chat.
    private struct Bound {
        let stamp: HybridTimestamp
        /// The first moment behind a time rather than that of a message.
        let isTime: Bool
    }

    mutating func listChatMessages(
        _ request: RequestID, _ chat: String, after: String?, before: String?, limit: Int, by asker: Asker,
        now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let place = try chatPlace(chat)
        let reader = try check(.read, place, asker.agent)
        let after = try stamp(ofMessage: after, "after", place)
        let before = try stamp(ofMessage: before, "before", place)
        let log = cluster.log
        let chat = chats[place]
        var found: [ChatTimeline.Entry] = []
        var bytes = 0
        var isCut = false
        func take(_ entry: ChatTimeline.Entry) -> Bool {
            guard chat.counts(entry, log), chat.maySee(entry, reader) else { return true }
            guard found.count < limit else { return false }
            bytes += Int(log.record(at: entry.position).length) + 64
            isCut = bytes > Self.maximumMessageBytes && !found.isEmpty
            if !isCut { found.append(entry) }
            return !isCut
        }
        if let after {
            chat.timeline.ascending(from: after.time) { entry in
                let stamp = log.stamp(at: max(entry.position, log.remembered))
                if let before, entry.time > before.time || !(stamp < before) { return entry.time <= before.time }
                return entry.time == after.time && !(after < stamp) ? true : take(entry)
            }
        } else {
            chat.timeline.descending(from: before?.time) { entry in
                guard entry.time >= chat.born else { return false }
                if let before, entry.position >= log.remembered, !(log.stamp(at: entry.position) < before) {
                    return true
                }
                return take(entry)
            }
            found.reverse()
        }
        reply(request, found, place, isCut: isCut, isForward: after != nil, into: &effects)
        guard let reader, let last = found.last(where: { $0.sender != UInt32(reader.person) }) else { return }
        noteDelivered(place, reader.person, last.time, now: now)
    }

    private mutating func reply(
        _ request: RequestID, _ entries: [ChatTimeline.Entry], _ place: Int, isCut: Bool, isForward: Bool,
        into effects: inout Effects
    ) {
        let start = effects.bytes.count
        let progress = ChatProgress(chats[place])
        effects.bytes.append(UInt8(ascii: "["))
        for (i, entry) in entries.enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            readEvent(at: entry.position) { json in
                effects.bytes.append(copying: json.extracting(0..<json.byteCount - 1))
            }
            effects.bytes.append(constant: ",\"status\":\"")
            effects.bytes.append(contentsOf: progress.status(of: entry, in: chats[place]).rawValue.utf8)
            effects.bytes.append(UInt8(ascii: "\""))
            if chats[place].isAfterRemoval(entry) { effects.bytes.append(constant: ",\"after_removal\":true") }
            effects.bytes.append(UInt8(ascii: "}"))
        }
        effects.bytes.append(UInt8(ascii: "]"))
        var reply = Reply(status: 200)
        if isCut { reply.more = (isForward ? entries.last : entries.first).map { cluster.log.stamp(at: $0.position) } }
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    /// The stamp that a message's id, a stamp or a time names.
    private func stamp(
        ofMessage text: String?, _ parameter: String, _ place: Int
    ) throws(NodeError) -> HybridTimestamp? {
        guard let text else { return nil }
        if let id = UUID(text) {
            guard let position = message(id, in: place) else {
                throw .badQuery(
                    parameter, "no message \(text) of this chat is stored here; use its stamp or timestamp instead")
            }
            return cluster.log.stamp(at: position)
        }
        if let stamp = HybridTimestamp(text: text) { return stamp }
        if let milliseconds = ISOTime.milliseconds(text) {
            return HybridTimestamp(milliseconds: milliseconds, replica: ReplicaID(0))
        }
        throw .badQuery(parameter, "expected a message's id, stamp or timestamp, found \"\(text.prefix(64))\"")
    }

    /// Where a message of a chat is in the log.
    private func message(_ id: UUID, in place: Int) -> Int? {
        guard let position = index.newest(id, log: cluster.log), cluster.log.holds(position),
            index.surface(at: position) == .chat
        else { return nil }
        let isHere = readEvent(at: position) { json in
            EventView(json).map { chats.place(canonical: json.extracting($0.address)) == place } ?? false
        }
        return isHere && cluster.log.record(at: position).time >= chats[place].born ? position : nil
    }

    // MARK: - What was read

    mutating func markRead(
        _ request: RequestID, _ chat: String, _ message: String, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let place = try chatPlace(chat)
        let body = try Body(bytes, mayBeEmpty: true)
        guard let agent = try asker.agent(or: try body.text("agent_id"), "agent_id") else {
            throw .invalid(field: "agent_id", "required, the member that has read; or ask as that agent (Hypha-Agent)")
        }
        guard let reader = try check(.read, place, agent) else { return }
        guard let id = UUID(message), let position = self.message(id, in: place), maySee(position, place, reader) else {
            throw .notFound("no message \(message.prefix(64)) of chat \(chat.prefix(64)) is stored here")
        }
        let time = cluster.log.record(at: position).time
        var stamp: HybridTimestamp?
        if chats[place][reader.person].marked < time {
            stamp = try writeMarks(place, [reader.person: time], areRead: true, now: now, into: &effects).stamp
        }
        reply(
            request, 200,
            .object([
                ("chat_id", .string(chat)), ("agent_id", .string(agent)),
                ("unread", .number(chats[place].unread(reader.person, cluster.log))),
            ]), stamp: stamp, into: &effects)
    }

    /// Whether somebody may see the message at a position.
    func maySee(_ position: Int, _ place: Int, _ reader: (person: Int, role: ChatRole)?) -> Bool {
        guard let entry = entry(at: position, in: place) else { return false }
        return chats[place].counts(entry, cluster.log) && chats[place].maySee(entry, reader)
    }

    /// The entry of a message, by the log.
    func entry(at position: Int, in place: Int) -> ChatTimeline.Entry? {
        readEvent(at: position) { json in
            EventView(json).flatMap { view in
                entry(view, json, at: position, in: place)
            }
        }
    }

    /// The entry of a message whose parts are known.
    func entry(_ view: EventView, _ json: RawSpan, at position: Int, in place: Int) -> ChatTimeline.Entry? {
        guard let from = Chats.text(json.extracting(view.agent)), let sender = chats[place].person(from.span.bytes)
        else { return nil }
        let to = view.receiver.isEmpty ? nil : Chats.text(json.extracting(view.receiver))
        return ChatTimeline.Entry(
            position: position, time: cluster.log.record(at: position).time, sender: sender,
            receiver: to.flatMap { chats[place].person($0.span.bytes) }, isPrivate: view.isPrivate, isCopy: false)
    }

    mutating func showUnread(
        _ request: RequestID, _ agent: String, by asker: Asker, into effects: inout Effects
    ) throws(NodeError) {
        try checkAgent(agent)
        if let asking = asker.agent, !asking.utf8.elementsEqual(agent.utf8) {
            throw forbidden(
                "what \(agent.prefix(64)) has not read is its own affair; \(asking.prefix(64)) may not see it")
        }
        var total = 0
        var list: [JSONValue] = []
        for chat in chats(of: agent) {
            let count = unreadCount(of: agent, in: chat)
            total += count
            list.append(.object([("chat_id", .string(chat)), ("unread", .number(count))]))
        }
        reply(
            request, 200,
            .object([("agent_id", .string(agent)), ("unread", .number(total)), ("chats", .array(list))]), into: &effects
        )
    }
}

/// How far the members of a chat have come, for saying what became of its messages.
struct ChatProgress {
    /// What became of a message.
    enum Status: String, CaseIterable, Sendable { case sent, delivered, read }

    /// The lowest mark of all members, whose it is, and the lowest of the others.
    private struct Lowest {
        var first = UInt64.max
        var whose = -1
        var second = UInt64.max

        mutating func note(_ mark: UInt64, of person: Int) {
            if mark < first {
                (first, whose, second) = (mark, person, first)
            } else {
                second = min(second, mark)
            }
        }

        func besides(_ person: Int) -> UInt64 { person == whose ? second : first }
    }

    private var reads = Lowest()
    private var deliveries = Lowest()
    private var members = 0

    init(_ chat: Chat) {
        for (number, person) in chat.people.values.enumerated() where person.isMember {
            members += 1
            reads.note(person.readThrough, of: number)
            deliveries.note(person.deliveredThrough, of: number)
        }
    }

    /// What became of a message: by all other members, or by the one to whom it is addressed.
    func status(of entry: ChatTimeline.Entry, in chat: Chat) -> Status {
        var (read, delivered) = (reads.besides(Int(entry.sender)), deliveries.besides(Int(entry.sender)))
        if let receiver = entry.receiver {
            (read, delivered) = (chat[receiver].readThrough, chat[receiver].deliveredThrough)
        } else if members < 2 {
            return .sent
        }
        return read >= entry.time ? .read : delivered >= entry.time ? .delivered : .sent
    }
}
