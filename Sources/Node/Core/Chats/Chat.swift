import CRDT
import Gossip

/// One chat: what its documents say, and its messages.
///
/// Besides what `ChatPerson` has, the document `chat/<id>` holds `chat_type`, `created_by`, `created` (milliseconds),
/// `topic`, `join` and `extra/<key>`, each JSON, and `born/<node>` (8 bytes): the packed time at which that node made the
/// chat; the earliest counts, and messages from before belong to a chat of the same id that was deleted.
struct Chat: Sendable {
    static let memberPrefix = "member/"
    static let rolePrefix = "role/"
    static let bornPrefix = "born/"
    static let extraPrefix = "extra/"
    static let readPrefix = "r/"
    static let deliveredPrefix = "d/"

    /// The most agents of which something is known in one chat.
    static let maximumPeople = 65_536

    /// Its document exists.
    var isKnown = false
    private(set) var people = ByteMap<ChatPerson>()
    var timeline = ChatTimeline()
    /// What else its document says, by field.
    private var texts: [[UInt8]: [UInt8]] = [:]
    private var births: [ReplicaID: UInt64] = [:]
    /// Under what it stands in the list of chats.
    var listed: UInt64?
    /// Who has which role by computation; nil where something has changed.
    private var computed: (owner: Int?, acting: Int?, members: Int)?

    // MARK: - What it is

    var type: ChatType { text("chat_type").flatMap { ChatType(rawValue: $0) } ?? .group }
    var join: ChatJoin { text("join").flatMap { ChatJoin(rawValue: $0) } ?? .invite }
    var creator: String { text("created_by") ?? "" }
    var createdMs: UInt64 { value("created")?.double.flatMap { UInt64(exactly: $0) } ?? born >> 16 }
    var topic: String? { text("topic") }
    /// The packed time before which nothing belongs to it.
    var born: UInt64 { births.values.min() ?? 0 }
    /// What clients added to it, by name.
    var extras: [(key: String, value: JSONValue)] {
        texts.keys.filter { $0.starts(with: Self.extraPrefix.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }
            .compactMap { field in
                let key = String(decoding: field.dropFirst(Self.extraPrefix.utf8.count), as: UTF8.self)
                return texts[field].flatMap { try? JSONValue($0) }.map { (key, $0) }
            }
    }

    private func value(_ field: String) -> JSONValue? { texts[Array(field.utf8)].flatMap { try? JSONValue($0) } }
    private func text(_ field: String) -> String? { value(field)?.string }

    // MARK: - Who is in it

    func person(_ agent: RawSpan) -> Int? { people.index(of: agent) }
    func person(_ agent: String) -> Int? {
        let name = Array(agent.utf8)
        return people.index(of: name.span.bytes)
    }
    subscript(person: Int) -> ChatPerson { people.values[person] }
    func name(of person: Int) -> String { String(decoding: people.keys[person], as: UTF8.self) }

    /// The number of somebody, who is noted if new; nil if too many are.
    mutating func number(of agent: RawSpan, isAgent: (String) -> Bool) -> Int? {
        if let known = people.index(of: agent) { return known }
        guard people.count < Self.maximumPeople else { return nil }
        let place = people.index(of: agent, default: ChatPerson())
        people.values[place].isAgent = isAgent(name(of: place))
        return place
    }

    mutating func setAgent(_ person: Int, _ isAgent: Bool) {
        guard people.values[person].isAgent != isAgent else { return }
        people.values[person].isAgent = isAgent
        computed = nil
    }

    /// The members, by their names.
    var members: [Int] {
        people.values.indices.filter { people.values[$0].isMember }
            .sorted { people.keys[$0].lexicographicallyPrecedes(people.keys[$1]) }
    }

    /// How many members it has.
    mutating func memberCount() -> Int { standing().members }

    /// The role of somebody; nil for no member. Of several owners, which two sides of a partition may have made, the one made
    /// last counts, and the others are admins. Without an owner and an admin the member counts as an admin who is in it
    /// longest.
    mutating func role(of person: Int) -> ChatRole? {
        guard isKnown, people.values[person].isMember else { return nil }
        let standing = standing()
        if person == standing.owner { return .owner }
        if person == standing.acting || people.values[person].role == .owner { return .admin }
        return people.values[person].role ?? .member
    }

    /// The member who counts as an admin though nobody made it one.
    mutating func acting() -> Int? { standing().acting }
    /// The member who is the owner.
    mutating func owner() -> Int? { standing().owner }

    private mutating func standing() -> (owner: Int?, acting: Int?, members: Int) {
        if let computed { return computed }
        var owner: Int?
        var hasAdmin = false
        var count = 0
        var longest: Int?
        for (at, person) in people.values.enumerated() where person.isMember {
            count += 1
            switch person.role {
            case .owner: if owner.map({ people.values[$0].roleStamp < person.roleStamp }) ?? true { owner = at }
            case .admin: hasAdmin = true
            case .member, .guest, nil: break
            }
            if longest.map({ isSenior(at, to: $0) }) ?? true { longest = at }
        }
        let standing = (owner, owner == nil && !hasAdmin ? longest : nil, count)
        computed = standing
        return standing
    }

    private func isSenior(_ a: Int, to b: Int) -> Bool {
        let (x, y) = (people.values[a], people.values[b])
        if (x.role == .guest) != (y.role == .guest) { return y.role == .guest }
        let (left, right) = (x.membership?.since ?? 0, y.membership?.since ?? 0)
        return left != right ? left < right : people.keys[a].lexicographicallyPrecedes(people.keys[b])
    }

    // MARK: - Its messages

    /// Notes a message.
    mutating func file(_ entry: ChatTimeline.Entry, _ log: borrowing FactLog) {
        let sender = Int(entry.sender)
        people.values[sender].wrote = min(people.values[sender].wrote, entry.time)
        timeline.insert(entry, log)
        let people = people.values
        timeline.sumFull { people[$0].wasOut(at: $1) }
    }

    /// Whether an entry is a message of this chat at all.
    func counts(_ entry: ChatTimeline.Entry, _ log: borrowing FactLog) -> Bool {
        isKnown && !entry.isCopy && entry.time >= born && log.holds(entry.position)
    }

    /// Whether its sender was no member when it was said.
    func isAfterRemoval(_ entry: ChatTimeline.Entry) -> Bool { people.values[Int(entry.sender)].wasOut(at: entry.time) }

    /// Whether somebody may see a message; with nil an operator.
    func maySee(_ entry: ChatTimeline.Entry, _ reader: (person: Int, role: ChatRole)?) -> Bool {
        guard let reader else { return !entry.isPrivate }
        if entry.isPrivate, entry.sender != UInt32(reader.person), entry.receiver != reader.person { return false }
        return reader.role.may(.seeRemoved, join: .open) || !isAfterRemoval(entry)
    }

    /// How many messages a member has not read.
    mutating func unread(_ person: Int, _ log: borrowing FactLog) -> Int {
        guard isKnown, people.values[person].isMember else { return 0 }
        let mark = max(people.values[person].readThrough, born == 0 ? 0 : born - 1)
        let people = people.values
        return timeline.unread(by: person, after: mark, log) { people[$0].wasOut(at: $1) }
    }

    // MARK: - Documents

    /// The document of the chat is not what it was: all of it is to be read again.
    mutating func forgetDocument() {
        (isKnown, texts, births, computed) = (false, [:], [:], nil)
        for person in people.values.indices { people.values[person].forgetChat() }
        timeline.recount(from: 0)
    }

    mutating func forgetMarks() { for person in people.values.indices { people.values[person].forgetMarks() } }

    /// Reads a field of the chat's document; nil for one without a value. Says whose it is, if it is somebody's membership or
    /// role.
    @discardableResult
    mutating func read(_ name: [UInt8], _ field: DocumentMap.Field?, isAgent: (String) -> Bool) -> Int? {
        if name.starts(with: Self.memberPrefix.utf8) {
            guard let person = number(of: name[...], after: Self.memberPrefix, isAgent) else { return nil }
            let before = people.values[person].earliest
            people.values[person].membership = field.flatMap { ChatPerson.Membership($0.value) }
            people.values[person].changed = field?.stamp.time ?? 0
            people.values[person].isAgent = isAgent(self.name(of: person))
            computed = nil
            timeline.recount(from: max(people.values[person].wrote, min(before, people.values[person].earliest)))
            return person
        }
        if name.starts(with: Self.rolePrefix.utf8) {
            guard let person = number(of: name[...], after: Self.rolePrefix, isAgent) else { return nil }
            people.values[person].role = field.flatMap { (try? JSONValue($0.value))?.string }
                .flatMap { ChatRole(rawValue: $0) }
            if let stamp = field?.stamp { people.values[person].roleStamp = stamp }
            computed = nil
            return person
        }
        if name.starts(with: Self.bornPrefix.utf8) {
            let node = String(decoding: name.dropFirst(Self.bornPrefix.utf8.count), as: UTF8.self)
            if let node = ReplicaID(text: node) { births[node] = field.flatMap { Self.time($0.value) } }
            return nil
        }
        texts[name] = field?.value
        return nil
    }

    /// Reads a field of the document of its marks.
    mutating func readMark(_ name: [UInt8], _ value: [UInt8]?, isAgent: (String) -> Bool) {
        let isRead = name.starts(with: Self.readPrefix.utf8)
        guard isRead || name.starts(with: Self.deliveredPrefix.utf8), name.count > 19,
            let node = ReplicaID(text: String(decoding: name.suffix(16), as: UTF8.self)),
            let person = number(of: name.dropLast(17), after: Self.readPrefix, isAgent)
        else { return }
        let time = value.flatMap { Self.time($0) }
        if isRead {
            people.values[person].setRead(time, by: node)
        } else {
            people.values[person].setDelivered(time, by: node)
        }
    }

    private mutating func number(
        of field: ArraySlice<UInt8>, after prefix: String, _ isAgent: (String) -> Bool
    ) -> Int? {
        let agent = Array(field.dropFirst(prefix.utf8.count))
        return number(of: agent.span.bytes, isAgent: isAgent)
    }

    private static func time(_ value: [UInt8]) -> UInt64? {
        var cursor = ByteCursor(value.span.bytes)
        return try? cursor.u64(value.span.bytes)
    }
}
