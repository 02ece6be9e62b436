import CRDT
import Gossip

/// Chats (docs/chats.md).
extension NodeCore {
    /// What was done since the start, for the metrics.
    struct ChatCounters: Sendable {
        /// Requests refused to those who may not.
        var forbidden = 0
        /// Messages sent to sessions of members, once for each channel.
        var shown = 0
        /// Marks written of what was handed to members, and of what they have read.
        var marksWritten = 0
        /// Messages found here whose senders had been removed elsewhere.
        var afterRemoval = 0
    }

    /// What is asked about chats.
    mutating func answer(
        _ id: RequestID, _ request: ChatRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        if chats.isStale { chats.readAll(documents) }
        if request.kind == .write { try checkWritable() }
        switch request {
        case .create: try createChat(id, by: asker, bytes, now: now, into: &effects)
        case .chats(let agent, let before, let limit):
            try listChats(id, of: agent, before: before, limit: limit, by: asker, into: &effects)
        case .chat(let chat):
            let place = try chatPlace(chat)
            try checkMaySee(place, asker)
            reply(id, 200, chatJSON(place), into: &effects)
        case .patch(let chat): try patchChat(id, chat, by: asker, bytes, now: now, into: &effects)
        case .delete(let chat): try deleteChat(id, chat, by: asker, now: now, into: &effects)
        case .setMember(let chat, let agent):
            try setMember(id, chat, agent, by: asker, bytes, now: now, into: &effects)
        case .removeMember(let chat, let agent):
            try removeMember(id, chat, agent, by: asker, now: now, into: &effects)
        case .post(let chat): try postChatMessage(id, chat, by: asker, bytes, now: now, into: &effects)
        case .messages(let chat, let after, let before, let limit):
            try listChatMessages(
                id, chat, after: after, before: before, limit: limit, by: asker, now: now, into: &effects)
        case .markRead(let chat, let message):
            try markRead(id, chat, message, by: asker, bytes, now: now, into: &effects)
        case .unread(let agent): try showUnread(id, agent, by: asker, into: &effects)
        }
    }

    /// The role of an agent in a chat, by what is known here; nil if it is no member. Of a chat without an admin the member
    /// who is in it longest counts as one.
    mutating func role(of agent: String, in chat: String) -> ChatRole? {
        if chats.isStale { chats.readAll(documents) }
        guard let place = chats.place(of: chat), let person = chats[place].person(agent) else { return nil }
        return chats[place].role(of: person)
    }

    /// The chats of which an agent is a member, by id.
    mutating func chats(of agent: String) -> [String] {
        if chats.isStale { chats.readAll(documents) }
        return chats.places(of: agent)
            .filter { place in chats[place].person(agent).map { chats[place][$0].isMember } ?? false }
            .map { chats.id(at: $0) }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    /// How many messages an agent has not read in a chat.
    mutating func unreadCount(of agent: String, in chat: String) -> Int {
        if chats.isStale { chats.readAll(documents) }
        guard let place = chats.place(of: chat), let person = chats[place].person(agent) else { return 0 }
        return chats[place].unread(person, cluster.log)
    }

    /// An agent retires: it leaves its chats, and they are told.
    mutating func leaveChats(_ agent: String, now: Instant, into effects: inout Effects) throws(NodeError) {
        if chats.isStale { chats.readAll(documents) }
        for chat in chats.places(of: agent).map({ chats.id(at: $0) }).sorted(by: {
            $0.utf8.lexicographicallyPrecedes($1.utf8)
        }) {
            try take(agent, outOf: chat, .retired, by: nil, now: now, into: &effects)
        }
    }

    // MARK: - Who may what

    /// Where a chat is.
    func chatPlace(_ chat: String) throws(NodeError) -> Int {
        guard let place = chats.place(of: chat) else {
            throw .notFound(
                "no chat \(chat.prefix(64)) is known here: it was deleted, or made at a node from which this one has not "
                    + "heard; send that answer's Hypha-Clock along")
        }
        return place
    }

    /// The member that asks, and its role; nil for an operator, who may everything.
    mutating func member(
        _ place: Int, _ agent: String?
    ) throws(NodeError) -> (person: Int, role: ChatRole)? {
        guard let agent else { return nil }
        try checkAgent(agent)
        guard let person = chats[place].person(agent), let role = chats[place].role(of: person) else {
            chatCounters.forbidden += 1
            throw notAMember(agent, place)
        }
        return (person, role)
    }

    /// Refuses what a role does not allow.
    mutating func check(
        _ action: ChatAction, _ place: Int, _ agent: String?
    ) throws(NodeError) -> (person: Int, role: ChatRole)? {
        guard let member = try member(place, agent) else { return nil }
        guard member.role.may(action, join: chats[place].join) else {
            throw forbidden(
                "\(agent?.prefix(64) ?? "") is \(member.role.rawValue) in chat \(chats.id(at: place).prefix(64)) and may not "
                    + "\(action.phrase); ask \(whoMay(action, place))")
        }
        return member
    }

    mutating func forbidden(_ message: String) -> NodeError {
        chatCounters.forbidden += 1
        return NodeError(status: 403, message: message)
    }

    private mutating func notAMember(_ agent: String, _ place: Int) -> NodeError {
        let id = chats.id(at: place)
        let who = "\(agent.prefix(64)) is no member of chat \(id.prefix(64))"
        guard chats[place].type == .group else {
            return NodeError(status: 403, message: "\(who), which is between two others")
        }
        if chats[place].join == .open, !wasRemoved(agent, place) {
            return NodeError(
                status: 403, message: "\(who): join it with PUT /api/chats/{id}/members/{agent_id}")
        }
        let action = wasRemoved(agent, place) ? ChatAction.remove : .invite
        return NodeError(status: 403, message: "\(who): ask \(whoMay(action, place)) to be brought in")
    }

    func wasRemoved(_ agent: String, _ place: Int) -> Bool {
        chats[place].person(agent).flatMap { chats[place][$0].membership }?.absence == .removed
    }

    /// Members who may do something, in words.
    mutating func whoMay(_ action: ChatAction, _ place: Int) -> String {
        let join = chats[place].join
        var found: [String] = []
        for person in chats[place].members where found.count < 3 {
            if chats[place].role(of: person)?.may(action, join: join) ?? false {
                found.append(String(chats[place].name(of: person).prefix(64)))
            }
        }
        return found.isEmpty ? "an operator" : found.joined(separator: " or ")
    }

    /// Whether somebody may see that a chat is there: its members, and whoever may join it.
    func maySee(_ place: Int, _ agent: String?) -> Bool {
        guard let agent else { return true }
        if chats[place].type == .group, chats[place].join == .open { return true }
        return chats[place].person(agent).map { chats[place][$0].isMember } ?? false
    }

    private mutating func checkMaySee(_ place: Int, _ asker: Asker) throws(NodeError) {
        guard !maySee(place, asker.agent) else { return }
        _ = try member(place, asker.agent)
    }

    // MARK: - Reading

    private mutating func listChats(
        _ request: RequestID, of agent: String?, before: String?, limit: Int, by asker: Asker,
        into effects: inout Effects
    ) throws(NodeError) {
        if let asking = asker.agent { try checkAgent(asking) }
        if let agent { try checkAgent(agent) }
        var behind: Int?
        if let before {
            guard let place = chats.place(of: before) else {
                throw .notFound("query parameter before: no chat \(before.prefix(64)) is known here")
            }
            behind = place
        }
        var found: [Int] = []
        if let agent {
            let mine = Set(
                chats.places(of: agent).filter { place in
                    chats[place].person(agent).map { chats[place][$0].isMember } ?? false && maySee(place, asker.agent)
                })
            // Those of one agent are few among all.
            found = chats.inOrder(mine, before: behind, most: limit)
        } else {
            chats.newest(before: behind) { place in
                if maySee(place, asker.agent) { found.append(place) }
                return found.count < limit
            }
        }
        let start = effects.bytes.count
        effects.bytes.append(UInt8(ascii: "["))
        for (i, place) in found.enumerated() where effects.bytes.count - start < Self.maximumMessageBytes {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            effects.bytes += chatJSON(place).encoded()
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    func reply(
        _ request: RequestID, _ status: UInt16, _ value: JSONValue, stamp: HybridTimestamp? = nil,
        into effects: inout Effects
    ) {
        let start = effects.bytes.count
        effects.bytes += value.encoded()
        effects.list.append(.reply(request, Reply(status: status, stamp: stamp), body: start..<effects.bytes.count))
    }

    /// A chat as clients see it.
    mutating func chatJSON(_ place: Int) -> JSONValue {
        let people = chats[place].members
        var rights: [(key: String, value: JSONValue)] = []
        for person in people {
            let role = chats[place].role(of: person) ?? .member
            rights.append((chats[place].name(of: person), .string(role.rawValue)))
        }
        let acting = chats[place].acting().map { chats[place].name(of: $0) }
        let chat = chats[place]
        var members: [(key: String, value: JSONValue)] = [
            ("id", .string(chats.id(at: place))), ("chat_type", .string(chat.type.rawValue)),
            ("created_by", .string(chat.creator)), ("participants", .texts(people.map { chat.name(of: $0) })),
            ("access_rights", .object(rights)), ("topic", .optional(chat.topic)), ("join", .string(chat.join.rawValue)),
            ("created_at", .time(chat.createdMs)),
            ("last_activity", .time(max(chat.createdMs, (lastMessage(place)?.time ?? 0) >> 16))),
        ]
        if let acting { members.append(("acting_admin", .string(acting))) }
        return .object(members + chat.extras)
    }

    private func lastMessage(_ place: Int) -> ChatTimeline.Entry? {
        var found: ChatTimeline.Entry?
        chats[place].timeline.descending(from: nil) { entry in
            if chats[place].counts(entry, cluster.log), !chats[place].isAfterRemoval(entry) { found = entry }
            return found == nil && entry.time >= chats[place].born
        }
        return found
    }
}
