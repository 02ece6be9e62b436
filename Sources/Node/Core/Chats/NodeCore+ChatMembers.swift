import CRDT
import Gossip

/// Who is in a chat: joining, bringing in, leaving, removing, and roles.
extension NodeCore {
    // MARK: - Coming

    mutating func setMember(
        _ request: RequestID, _ chat: String, _ agent: String, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let place = try chatPlace(chat)
        let body = try Body(bytes, mayBeEmpty: true)
        let role = try body.text("role").map { text throws(NodeError) in try Self.role(text, "role") }
        try checkAgent(agent)
        if let person = chats[place].person(agent), let current = chats[place].role(of: person) {
            return try changeRole(
                request, place, person, from: current, to: role, by: asker.agent, now: now, into: &effects)
        }
        let wanted = role ?? .member
        let isSelf = asker.agent.map { $0.utf8.elementsEqual(agent.utf8) } ?? false
        if chats[place].type == .private {
            guard chats[place].person(agent).flatMap({ chats[place][$0].membership }) != nil,
                isSelf || asker.agent == nil
            else { throw forbidden("a private chat is of just two agents; make a group chat for more") }
        } else if isSelf {
            try checkMayJoin(agent, place, wanted)
        } else if let inviter = try check(.invite, place, asker.agent) {
            let most: ChatRole = inviter.role >= .admin ? .admin : .member
            guard wanted <= most else {
                throw forbidden(
                    "\(asker.agent?.prefix(64) ?? "") is \(inviter.role.rawValue) and may bring in others as "
                        + "\(most.rawValue) at most")
            }
            guard inviter.role >= .admin || !wasRemoved(agent, place) else {
                throw forbidden(
                    "\(agent.prefix(64)) was removed from the chat; ask \(whoMay(.remove, place)) to bring it back")
            }
        }
        guard wanted != .owner || asker.agent == nil && chats[place].owner() == nil else {
            throw forbidden("a chat has one owner, and a member becomes it by the owner's word alone")
        }
        guard chats[place].memberCount() < Self.maximumChatMembers else {
            throw .conflict("the chat has \(Self.maximumChatMembers) members already; somebody has to leave first")
        }
        guard chats[place].people.count < Chat.maximumPeople / 2 else {
            throw .conflict("more than \(Chat.maximumPeople / 2) agents have been in this chat; make another one")
        }
        try checkRoom(for: agent)
        let stamp = try bring(agent, into: chat, role: wanted, by: isSelf ? nil : asker.agent, now: now, into: &effects)
        reply(request, 201, memberJSON(place, agent), stamp: stamp, into: &effects)
    }

    private mutating func checkMayJoin(_ agent: String, _ place: Int, _ role: ChatRole) throws(NodeError) {
        guard chats[place].join == .open else {
            throw forbidden(
                "chat \(chats.id(at: place).prefix(64)) takes whom its admins bring in; ask \(whoMay(.invite, place))")
        }
        guard !wasRemoved(agent, place) else {
            throw forbidden(
                "\(agent.prefix(64)) was removed from chat \(chats.id(at: place).prefix(64)); ask "
                    + "\(whoMay(.remove, place)) to be brought back")
        }
        guard role <= .member else {
            throw forbidden("who joins by itself is member or guest; ask \(whoMay(.setRole, place)) for more")
        }
    }

    /// Puts an agent into a chat, and tells everybody.
    @discardableResult
    mutating func bring(
        _ agent: String, into chat: String, role: ChatRole, by: String?, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp {
        var membership = ChatPerson.Membership(isIn: true, since: cluster.nowMs(now), by: by)
        if let place = chats.place(of: chat), let person = chats[place].person(agent) {
            let before = chats[place][person]
            membership.away = before.membership?.away ?? []
            if before.membership?.isIn == false {
                membership.away.append((before.changed, cluster.nextStamp(now: now).time))
            }
            membership.away.removeFirst(max(0, membership.away.count - ChatPerson.Membership.maximumAway))
        }
        let changes: [DocumentMap.Change] = [
            .set(field: Chat.memberPrefix + agent, value: membership.encoded()), Self.roleChange(agent, role),
        ]
        let stamp = try put(DocumentKind.chat.name(chat), changes, now: now, into: &effects)
        try tell(
            chat, "member_joined", agent, by: by ?? agent, [("role", .string(role.rawValue))], now: now, into: &effects)
        return stamp
    }

    private static func roleChange(_ agent: String, _ role: ChatRole) -> DocumentMap.Change {
        .set(field: Chat.rolePrefix + agent, value: JSONValue.string(role.rawValue).encoded())
    }

    private func memberJSON(_ place: Int, _ agent: String) -> JSONValue {
        // Asked for right after it was written.
        var chat = chats[place]
        let person = chat.person(agent)
        let membership = person.flatMap { chat[$0].membership }
        return .object([
            ("chat_id", .string(chats.id(at: place))), ("agent_id", .string(agent)),
            ("role", .optional(person.flatMap { chat.role(of: $0) }?.rawValue)), ("by", .optional(membership?.by)),
            ("since", .time(membership?.since ?? 0)),
        ])
    }

    // MARK: - Roles

    private mutating func changeRole(
        _ request: RequestID, _ place: Int, _ person: Int, from current: ChatRole, to role: ChatRole?,
        by asker: String?,
        now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        let (chat, agent) = (chats.id(at: place), chats[place].name(of: person))
        guard let role, role != chats[place][person].role || role == .owner && current != .owner else {
            // Nothing to do; but whoever asks has to be in the chat.
            _ = try member(place, asker)
            return reply(request, 200, memberJSON(place, agent), into: &effects)
        }
        guard chats[place].type == .group else { throw forbidden("the roles in a private chat are fixed") }
        _ = try check(role == .owner ? .handOver : .setRole, place, asker)
        guard current != .owner || asker == nil else {
            throw forbidden("the owner stays it until it makes another member the owner")
        }
        var changes = [Self.roleChange(agent, role)]
        let former = role == .owner ? chats[place].owner().map { chats[place].name(of: $0) } : nil
        if let former { changes.append(Self.roleChange(former, .admin)) }
        let stamp = try put(DocumentKind.chat.name(chat), changes, now: now, into: &effects)
        try tell(chat, "role_changed", agent, by: asker, [("role", .string(role.rawValue))], now: now, into: &effects)
        if let former {
            try tell(
                chat, "role_changed", former, by: asker, [("role", .string(ChatRole.admin.rawValue))], now: now,
                into: &effects)
        }
        reply(request, 200, memberJSON(place, agent), stamp: stamp, into: &effects)
    }

    // MARK: - Going

    mutating func removeMember(
        _ request: RequestID, _ chat: String, _ agent: String, by asker: Asker, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        let place = try chatPlace(chat)
        let isSelf = asker.agent.map { $0.utf8.elementsEqual(agent.utf8) } ?? false
        if !isSelf { _ = try check(.remove, place, asker.agent) }
        guard let person = chats[place].person(agent), let role = chats[place].role(of: person) else {
            throw .notFound("\(agent.prefix(64)) is no member of chat \(chat.prefix(64))")
        }
        if !isSelf {
            guard chats[place].type == .group else {
                throw forbidden("nobody can be removed from a private chat; each of the two may leave it")
            }
            guard role != .owner else {
                throw forbidden(
                    "\(agent.prefix(64)) is the owner and cannot be removed; it may leave, or make another member the owner"
                )
            }
        }
        let stamp = try take(
            agent, outOf: chat, isSelf ? .left : .removed, by: isSelf ? nil : asker.agent, now: now, into: &effects)
        try releaseTurns(agent, in: chat, now: now, into: &effects)
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }

    /// Takes an agent out of a chat, and tells everybody. Its membership keeps a value, which says since when it is out.
    @discardableResult
    mutating func take(
        _ agent: String, outOf chat: String, _ absence: ChatPerson.Absence, by: String?, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) -> HybridTimestamp {
        var membership = ChatPerson.Membership(isIn: false, since: cluster.nowMs(now), by: by, absence: absence)
        if let place = chats.place(of: chat), let person = chats[place].person(agent) {
            membership.away = chats[place][person].membership?.away ?? []
        }
        let changes: [DocumentMap.Change] = [
            .set(field: Chat.memberPrefix + agent, value: membership.encoded()),
            .unset(field: Chat.rolePrefix + agent),
        ]
        let stamp = try put(DocumentKind.chat.name(chat), changes, now: now, into: &effects)
        let change = absence == .removed ? "member_removed" : "member_left"
        try tell(
            chat, change, agent, by: absence == .removed ? by : agent,
            absence == .retired ? [("reason", .string(absence.rawValue))] : [], now: now, into: &effects)
        return stamp
    }
}
