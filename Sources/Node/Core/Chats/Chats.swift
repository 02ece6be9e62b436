import CRDT
import Gossip

/// What this node has made of chats, their members and their messages: a fold over the documents `chat/<id>` and `marks/<id>`
/// and the log that every node makes for itself.
///
/// Nothing here keeps a message alive: when the log drops it, it is gone.
struct Chats: Sendable {
    /// The most chats, those of which only messages or marks are known included.
    static let maximum = 1_000_000
    /// The most chats that one agent may be in.
    static let maximumPerAgent = 10_000

    /// How many marks are to be written.
    var pendingCount: Int { pending.values.reduce(0) { $0 + $1.count } }
    /// What was handed to members and not written down yet, by place and person: packed times.
    typealias Pending = [Int: [Int: UInt64]]

    private var all = ByteMap<Chat>()
    /// The chats in which an agent is by its membership, by place.
    private var memberships = ByteMap<[Int]>()
    /// Chats that exist, the oldest first.
    private var order: [(born: UInt64, place: Int)] = []
    private var entryCount = 0
    /// Documents came with a peer's state, or all were thrown away: any of them may have changed.
    var isStale = false
    var pending: Pending = [:]
    /// When that is written.
    var marksDue: Instant?
    /// It is not before this.
    var marksFrom: Instant?

    /// Messages left out because too many chats, or people in one, were noted.
    private(set) var unfiled = 0
    /// Chats that exist.
    var count: Int { order.count }
    /// Messages in all chats, copies and a few that the log has dropped included.
    var messageCount: Int { entryCount }

    subscript(place: Int) -> Chat {
        _read { yield all.values[place] }
        _modify { yield &all.values[place] }
    }
    func id(at place: Int) -> String { String(decoding: all.keys[place], as: UTF8.self) }

    /// Where a chat that exists is.
    func place(of id: String) -> Int? {
        let key = Array(id.utf8)
        return all.index(of: key.span.bytes).flatMap { all.values[$0].isKnown ? $0 : nil }
    }

    /// Where the chat is that a message names, by canonical text; also one that does not exist.
    func place(canonical chat: RawSpan) -> Int? {
        Self.text(chat).flatMap { all.index(of: $0.span.bytes) }
    }

    /// The chats in which an agent is by its membership, by place.
    func places(of agent: String) -> [Int] {
        let key = Array(agent.utf8)
        return memberships.index(of: key.span.bytes).map { memberships.values[$0] } ?? []
    }

    /// Chats that exist, the newest first, behind one of them.
    func newest(before place: Int?, _ body: (Int) -> Bool) {
        var at = order.count
        if let place, let listed = all.values[place].listed { at = rank(listed, place) }
        while at > 0 {
            at -= 1
            guard body(order[at].place) else { return }
        }
    }

    /// Some of the chats, the newest first, behind one of them.
    func inOrder(_ places: Set<Int>, before place: Int?, most: Int) -> [Int] {
        func isNewer(_ a: Int, _ b: Int) -> Bool {
            let (x, y) = (all.values[a].born, all.values[b].born)
            return x != y ? x > y : all.keys[b].lexicographicallyPrecedes(all.keys[a])
        }
        return Array(
            places.filter { one in place.map { isNewer($0, one) } ?? true }.sorted(by: isNewer).prefix(most))
    }

    // MARK: - Messages

    /// Notes a message at a position of the log. Says in which chat, by whom, and whether the sender was out.
    mutating func file(
        _ view: EventView, _ json: RawSpan, at position: Int, _ stamp: HybridTimestamp, isCopy: Bool,
        _ log: borrowing FactLog, isAgent: (String) -> Bool
    ) -> (place: Int, person: Int, isAfterRemoval: Bool)? {
        guard let id = Self.text(json.extracting(view.address)), let sender = Self.text(json.extracting(view.agent)),
            let place = place(id.span.bytes),
            let person = all.values[place].number(of: sender.span.bytes, isAgent: isAgent)
        else {
            unfiled += 1
            return nil
        }
        var receiver: Int?
        if !view.receiver.isEmpty {
            guard let name = Self.text(json.extracting(view.receiver)),
                let number = all.values[place].number(of: name.span.bytes, isAgent: isAgent)
            else {
                unfiled += 1
                return nil
            }
            receiver = number
        }
        let entry = ChatTimeline.Entry(
            position: position, time: stamp.time, sender: person, receiver: receiver, isPrivate: view.isPrivate,
            isCopy: isCopy)
        let before = all.values[place].timeline.count
        all.values[place].file(entry, log)
        entryCount += all.values[place].timeline.count - before
        if entryCount > 2 * log.heldEntries + 4_096 { sweep(log) }
        return (place, person, all.values[place].isAfterRemoval(entry))
    }

    /// Another copy of an id turned up, or was found to be the message.
    mutating func mark(_ position: Int, _ time: UInt64, in chat: RawSpan, isCopy: Bool) {
        guard let place = place(canonical: chat) else { return }
        all.values[place].timeline.mark(position, time, isCopy: isCopy)
    }

    /// Forgets what the log has dropped.
    private mutating func sweep(_ log: borrowing FactLog) {
        entryCount = 0
        for place in all.values.indices {
            all.values[place].timeline.sweep(log)
            entryCount += all.values[place].timeline.count
        }
    }

    // MARK: - Documents

    /// Reads a document that was written: these fields of it, or with nil all of it.
    ///
    /// - Returns: where the chat is, and those whose membership or role was read.
    mutating func read(
        _ kind: DocumentKind, _ key: [UInt8], _ fields: [String]?, _ documents: borrowing DocumentMap
    ) -> (place: Int, people: [Int])? {
        guard let place = place(key.span.bytes) else { return nil }
        let name = kind.name(String(decoding: key, as: UTF8.self))
        func isAgent(_ agent: String) -> Bool { documents.exists(DocumentKind.agent.name(agent)) }
        var touched: [Int] = []
        if kind == .marks {
            if let fields {
                for field in fields {
                    let value = documents.value(of: field, in: name)
                    all.values[place].readMark(Array(field.utf8), value, isAgent: isAgent)
                }
            } else {
                all.values[place].forgetMarks()
                for field in documents.fields(of: name) {
                    all.values[place].readMark(Array(field.name.utf8), field.value, isAgent: isAgent)
                }
            }
        } else if let fields {
            for field in fields {
                let value = documents.field(field, of: name)
                guard let person = all.values[place].read(Array(field.utf8), value, isAgent: isAgent) else { continue }
                touched.append(person)
                enlist(person, place)
            }
        } else {
            let before = all.values[place].people.count
            all.values[place].forgetDocument()
            for field in documents.fields(of: name) {
                all.values[place].read(Array(field.name.utf8), field, isAgent: isAgent)
            }
            all.values[place].isKnown = documents.exists(name)
            touched = Array(0..<max(before, all.values[place].people.count))
            for person in touched { enlist(person, place) }
        }
        if kind == .chat { list(place) }
        return (place, touched)
    }

    /// Reads all documents.
    mutating func readAll(_ documents: borrowing DocumentMap) {
        isStale = false
        for place in all.values.indices {
            all.values[place].forgetDocument()
            all.values[place].forgetMarks()
            for person in all.values[place].people.values.indices {
                let agent = DocumentKind.agent.name(all.values[place].name(of: person))
                all.values[place].setAgent(person, documents.exists(agent))
                enlist(person, place)
            }
            list(place)
        }
        for kind in [DocumentKind.chat, .marks] {
            for key in documents.names(prefix: kind.prefix) { _ = read(kind, key, nil, documents) }
        }
    }

    /// The document of an agent was written: it may have come or gone.
    mutating func noteAgent(_ agent: [UInt8], _ documents: borrowing DocumentMap) {
        guard let at = memberships.index(of: agent.span.bytes) else { return }
        let isAgent = documents.exists(DocumentKind.agent.name(String(decoding: agent, as: UTF8.self)))
        for place in memberships.values[at] {
            if let person = all.values[place].person(agent.span.bytes) { all.values[place].setAgent(person, isAgent) }
        }
    }

    /// Keeps the list of an agent's chats.
    private mutating func enlist(_ person: Int, _ place: Int) {
        let agent = all.values[place].people.keys[person]
        let isIn = all.values[place].isKnown && all.values[place][person].membership?.isIn == true
        guard isIn || memberships.index(of: agent.span.bytes) != nil else { return }
        let at = memberships.index(of: agent.span.bytes, default: [])
        if let known = memberships.values[at].firstIndex(of: place) {
            guard !isIn else { return }
            memberships.values[at].remove(at: known)
            if memberships.values[at].isEmpty { memberships.remove(at: at) }
        } else if isIn {
            memberships.values[at].append(place)
        }
    }

    /// Keeps the list of all chats.
    private mutating func list(_ place: Int) {
        let born = all.values[place].isKnown ? all.values[place].born : nil
        guard all.values[place].listed != born else { return }
        if let listed = all.values[place].listed { order.remove(at: rank(listed, place)) }
        all.values[place].listed = born
        if let born { order.insert((born, place), at: rank(born, place)) }
    }

    /// The first place in the order that is not before this; ties are broken by id, so that every node lists alike.
    private func rank(_ born: UInt64, _ place: Int) -> Int {
        var (low, high) = (0, order.count)
        while low < high {
            let middle = (low + high) / 2
            let other = order[middle]
            let isBefore =
                other.born != born
                ? other.born < born : all.keys[other.place].lexicographicallyPrecedes(all.keys[place])
            if isBefore { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The place of a chat, made if it is new; nil if too many are known.
    private mutating func place(_ id: RawSpan) -> Int? {
        if let known = all.index(of: id) { return known }
        if all.count >= 2 * Self.maximum { compact() }
        guard all.count < 2 * Self.maximum else { return nil }
        return all.index(of: id, default: Chat())
    }

    /// Forgets chats of which nothing is left; the others get new places.
    private mutating func compact() {
        all.removeAll { !$0.isKnown && $0.timeline.count == 0 }
        (memberships, order, pending) = (ByteMap(), [], [:])
        for place in all.values.indices {
            all.values[place].listed = nil
            list(place)
            for person in all.values[place].people.values.indices { enlist(person, place) }
        }
    }

    /// The bytes of a name given as canonical text.
    static func text(_ canonical: RawSpan) -> [UInt8]? {
        let bytes = canonical.withUnsafeBytes { Array($0) }
        guard bytes.contains(UInt8(ascii: "\\")) else { return bytes }
        return JSONText.text(canonical: canonical).map { Array($0.utf8) }
    }
}
