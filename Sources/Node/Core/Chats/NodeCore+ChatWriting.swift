import CRDT
import Gossip

/// Making, changing and deleting chats.
extension NodeCore {
    /// The most agents in one request that makes a chat.
    private static let maximumParticipants = 1_000
    /// The most bytes of their names together: they are told to everybody in one event.
    private static let maximumParticipantBytes = 256 << 10
    /// The most members of one chat.
    static let maximumChatMembers = 10_000
    /// The most members that clients add to a chat, and their bytes.
    private static let maximumExtras = 64
    private static let maximumExtraBytes = 64 << 10

    private static let known = [
        "id", "chat_type", "created_by", "participants", "topic", "join", "access_rights", "created_at",
        "last_activity",
        "acting_admin",
    ]

    /// Who does something, for those who are told.
    static func source(_ agent: String?) -> String { agent ?? "operator" }

    // MARK: - Making

    mutating func createChat(
        _ request: RequestID, by asker: Asker, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let body = try Body(bytes)
        let type = try Self.type(try body.text("chat_type"))
        guard let creator = try asker.agent(or: try body.text("created_by"), "created_by") else {
            throw .invalid(field: "created_by", "required, the agent that makes it; or ask as that agent (Hypha-Agent)")
        }
        var agents = try body.texts("participants", most: Self.maximumParticipants) ?? []
        if !agents.contains(where: { $0.utf8.elementsEqual(creator.utf8) }) { agents.insert(creator, at: 0) }
        for agent in agents { try checkAgent(agent) }
        guard agents.reduce(0, { $0 + $1.utf8.count }) <= Self.maximumParticipantBytes else {
            throw NodeError(
                status: 413,
                message:
                    "the participants' names have more than \(Self.maximumParticipantBytes) bytes; add some of them "
                    + "afterwards")
        }
        let given = try body.text("id")
        let id: String
        if type == .private {
            guard agents.count == 2 else {
                throw .invalid(field: "participants", "a private chat is of just two agents, its maker one of them")
            }
            id = Self.privateID(agents)
            guard given == nil || given == id else {
                throw .invalid(field: "id", "a private chat's id is made from its two participants; leave it out")
            }
        } else {
            id = given ?? UUID(random: dice.next(), dice.next()).text
        }
        if let place = chats.place(of: id) {
            return try makeAgain(request, place, type, creator, now: now, into: &effects)
        }
        guard chats.count < Chats.maximum else {
            throw NodeError(
                status: 507,
                message: "there are \(Chats.maximum) chats already; delete some with DELETE /api/chats/{id}")
        }
        for agent in agents { try checkRoom(for: agent) }
        let changes = try creation(body, type, creator, agents, now: now)
        let stamp = try put(DocumentKind.chat.name(id), changes, now: now, into: &effects)
        try announce(
            .chatEvents, "ChatCreated", source: creator,
            [
                ("chatId", .string(id)), ("creatorId", .string(creator)), ("participants", .texts(agents)),
                ("chatType", .string(type.rawValue)), ("topic", .optional(try body.text("topic"))),
            ], now: now, into: &effects)
        reply(request, 201, chatJSON(try chatPlace(id)), stamp: stamp, into: &effects)
    }

    private static func type(_ text: String?) throws(NodeError) -> ChatType {
        let expected = "one of " + ChatType.allCases.map(\.rawValue).joined(separator: ", ")
        guard let text else { throw .invalid(field: "chat_type", "required, \(expected)") }
        guard let type = ChatType(rawValue: text) else {
            throw .invalid(field: "chat_type", "expected \(expected), found \"\(text.prefix(64))\"")
        }
        return type
    }

    private static func join(_ text: String) throws(NodeError) -> ChatJoin {
        guard let join = ChatJoin(rawValue: text) else {
            throw .invalid(field: "join", "expected open or invite, found \"\(text.prefix(64))\"")
        }
        return join
    }

    static func role(_ text: String, _ field: StaticString) throws(NodeError) -> ChatRole {
        guard let role = ChatRole(rawValue: text) else {
            throw .invalid(field: field, "expected \(ChatRole.expected), found \"\(text.prefix(64))\"")
        }
        return role
    }

    /// The id of the chat of just these two: the same whoever makes it and wherever, so that two sides of a partition make
    /// one chat.
    static func privateID(_ agents: [String]) -> String {
        var key: [UInt8] = []
        for agent in agents.map({ Array($0.utf8) }).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            key.append(varint: UInt64(agent.count))
            key += agent
        }
        return UUID(computed: XXH64.hash(key.span.bytes), XXH64.hash(key.span.bytes, seed: 1)).text
    }

    private func creation(
        _ body: Body, _ type: ChatType, _ creator: String, _ agents: [String], now: Instant
    ) throws(NodeError) -> [DocumentMap.Change] {
        let nowMs = cluster.nowMs(now)
        func json(_ field: String, _ value: JSONValue) -> DocumentMap.Change {
            .set(field: field, value: value.encoded())
        }
        var roles: [[UInt8]: ChatRole] = [:]
        for (agent, value) in try body.object("access_rights") ?? [] {
            guard let text = value.string else {
                throw .invalid(field: "access_rights", "expected a role for each agent")
            }
            roles[Array(agent.utf8)] = try Self.role(text, "access_rights")
        }
        guard roles.allSatisfy({ agent, role in (role == .owner) == agent.elementsEqual(creator.utf8) }) else {
            throw .invalid(field: "access_rights", "whoever makes the chat is its owner, and nobody else")
        }
        guard roles.keys.allSatisfy({ agent in agents.contains { agent.elementsEqual($0.utf8) } }) else {
            throw .invalid(field: "access_rights", "names an agent that is not among the participants")
        }
        guard type == .group || roles.isEmpty else {
            throw .invalid(field: "access_rights", "the roles in a private chat are fixed")
        }
        let join = try body.text("join").map { text throws(NodeError) in try Self.join(text) }
        guard type == .group || join != .open else {
            throw .invalid(field: "join", "nobody else joins a private chat")
        }
        var changes: [DocumentMap.Change] = [
            .create, json("chat_type", .string(type.rawValue)), json("created_by", .string(creator)),
            json("created", .number("\(nowMs)")),
            json("join", .string((join ?? (type == .group ? .open : .invite)).rawValue)), bornChange(now: now),
        ]
        if let topic = try body.text("topic") { changes.append(json("topic", .string(topic))) }
        for agent in agents {
            let isCreator = agent.utf8.elementsEqual(creator.utf8)
            let membership = ChatPerson.Membership(isIn: true, since: nowMs, by: isCreator ? nil : creator)
            let role = isCreator ? ChatRole.owner : roles[Array(agent.utf8)] ?? .member
            changes.append(.set(field: Chat.memberPrefix + agent, value: membership.encoded()))
            changes.append(json(Chat.rolePrefix + agent, .string(role.rawValue)))
        }
        let extras = body.others(Self.known)
        try Self.check(extras)
        return changes + extras.filter { $0.value != .null }.map { json(Chat.extraPrefix + $0.key, $0.value) }
    }

    /// What this node says of when a chat was made: what is written in one put with it is not older.
    private func bornChange(now: Instant) -> DocumentMap.Change {
        var time: [UInt8] = []
        time.append(littleEndian: max(cluster.nowMs(now) << 16, cluster.hybrid.last))
        return .set(field: Chat.bornPrefix + settings.replica.description, value: time)
    }

    private static func check(_ extras: [(key: String, value: JSONValue)]) throws(NodeError) {
        let bytes = extras.reduce(0) { $0 + $1.key.utf8.count + $1.value.encoded().count }
        guard extras.count <= maximumExtras, bytes <= maximumExtraBytes,
            extras.allSatisfy({ $0.key.utf8.count <= Body.maximumTextBytes })
        else {
            throw .invalid(
                "a chat keeps at most \(maximumExtras) members of your own of \(maximumExtraBytes) bytes together")
        }
    }

    /// Refuses to put an agent into one chat too many.
    func checkRoom(for agent: String) throws(NodeError) {
        guard chats.places(of: agent).count < Chats.maximumPerAgent else {
            throw .conflict(
                "\(agent.prefix(64)) is in \(Chats.maximumPerAgent) chats already; it has to leave one first")
        }
    }

    /// The chat is there already: the same request again, or the private chat of the two.
    private mutating func makeAgain(
        _ request: RequestID, _ place: Int, _ type: ChatType, _ creator: String, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let id = chats.id(at: place)
        guard chats[place].type == type else {
            throw .conflict("chat \(id.prefix(64)) is there already, and of another type; choose another id")
        }
        guard type == .private else {
            guard chats[place].creator.utf8.elementsEqual(creator.utf8) else {
                throw .conflict(
                    "chat \(id.prefix(64)) was made by \(chats[place].creator.prefix(64)); choose another id, or leave it "
                        + "out to get one made")
            }
            return reply(request, 200, chatJSON(place), into: &effects)
        }
        // Who has left comes back; both of them were named.
        for person in 0..<chats[place].people.count
        where chats[place][person].membership != nil && !chats[place][person].isMember {
            let agent = chats[place].name(of: person)
            guard isAgent(agent) else { continue }
            try bring(agent, into: id, role: .member, by: creator, now: now, into: &effects)
        }
        reply(request, 200, chatJSON(place), into: &effects)
    }

    // MARK: - Changing

    mutating func patchChat(
        _ request: RequestID, _ chat: String, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let place = try chatPlace(chat)
        let body = try Body(bytes)
        _ = try check(.edit, place, asker.agent)
        for (key, _) in body.members where Self.known.contains(key) && key != "topic" && key != "join" {
            throw .invalid(
                "\(key): cannot be changed here; members come and go with PUT and DELETE .../members/{agent_id}")
        }
        var changes: [DocumentMap.Change] = []
        var told: [(key: String, value: JSONValue)] = []
        if body.isNull("topic") {
            if chats[place].topic != nil { changes.append(.unset(field: "topic")) }
        } else if let topic = try body.text("topic"),
            !(chats[place].topic.map { $0.utf8.elementsEqual(topic.utf8) } ?? false)
        {
            changes.append(.set(field: "topic", value: JSONValue.string(topic).encoded()))
        }
        if !changes.isEmpty { told.append(("topic", .optional(try body.text("topic")))) }
        if let join = try body.text("join").map({ text throws(NodeError) in try Self.join(text) }),
            join != chats[place].join
        {
            guard chats[place].type == .group else { throw .invalid(field: "join", "nobody else joins a private chat") }
            changes.append(.set(field: "join", value: JSONValue.string(join.rawValue).encoded()))
            told.append(("join", .string(join.rawValue)))
        }
        let extras = body.others(Self.known)
        let kept = chats[place].extras.filter { old in !extras.contains { $0.key.utf8.elementsEqual(old.key.utf8) } }
        try Self.check(kept + extras.filter { $0.value != .null })
        for (key, value) in extras {
            let field = Chat.extraPrefix + key
            changes.append(value == .null ? .unset(field: field) : .set(field: field, value: value.encoded()))
            told.append((key, value))
        }
        guard !changes.isEmpty else { return reply(request, 200, chatJSON(place), into: &effects) }
        let stamp = try put(DocumentKind.chat.name(chat), changes, now: now, into: &effects)
        let change = told.contains { $0.key == "topic" } ? "topic_changed" : "chat_changed"
        try tell(
            chat, change, nil, by: asker.agent, told.filter { $0.key == "topic" || $0.key == "join" }, now: now,
            into: &effects)
        reply(request, 200, chatJSON(place), stamp: stamp, into: &effects)
    }

    mutating func deleteChat(
        _ request: RequestID, _ chat: String, by asker: Asker, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let place = try chatPlace(chat)
        _ = try check(.delete, place, asker.agent)
        let stamp = try put(DocumentKind.chat.name(chat), [.remove], now: now, into: &effects)
        for kind in [DocumentKind.marks, .turn] where documents.exists(kind.name(chat)) {
            try put(kind.name(chat), [.remove], now: now, into: &effects)
        }
        try announce(
            .chatEvents, "ChatDeleted", source: Self.source(asker.agent),
            [("chatId", .string(chat)), ("by", .optional(asker.agent))], now: now, into: &effects)
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }

    /// Tells everybody that a chat has changed.
    mutating func tell(
        _ chat: String, _ change: String, _ agent: String?, by: String?,
        _ more: [(key: String, value: JSONValue)] = [], now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        var fields: [(key: String, value: JSONValue)] = [("chatId", .string(chat)), ("change", .string(change))]
        if let agent { fields.append(("agentId", .string(agent))) }
        try announce(
            .chatEvents, "ChatUpdated", source: Self.source(by), fields + [("by", .optional(by))] + more, now: now,
            into: &effects)
    }
}
