import CRDT
import Gossip

/// An entry of a log, as peers name it to each other.
struct EntryName: Hashable, Sendable {
    let log: ReplicaID
    let sequence: UInt64
}

/// Takings that clients of this node wait for, because another node decides about the mailbox.
///
/// All wait equally long. Bounded in number; beyond that a taking is refused before anything was asked.
struct Takes: Sendable {
    /// The most that wait.
    static let maximum = 4_096
    /// The owner is asked again after so many milliseconds: first, and at last.
    private static let firstPauseMs: UInt64 = 20
    private static let longestPauseMs: UInt64 = 320

    /// Who waits.
    enum Client: Hashable, Sendable {
        case request(RequestID)
        /// A `take` on `/ws`, with its `ref` as JSON if it had one.
        case session(SessionID, ref: [UInt8]?)
    }

    /// What is wanted.
    struct Order: Hashable, Sendable {
        /// The agent's canonical text.
        let agent: [UInt8]
        /// Nil for all types.
        let type: MessageType?
        let most: Int
    }

    struct Take: Sendable {
        /// Chosen here, for the owner to know it again.
        let number: UInt64
        let client: Client
        let order: Order
        let deadline: Instant
        /// Who was asked last.
        var asked: ReplicaID?
        /// What the owner has set aside for this client; not all of it may have been read here yet.
        var granted: [EntryName]?
        fileprivate(set) var nextAsk: Instant
        fileprivate var pauseMs = Takes.firstPauseMs
    }

    private var takes: [UInt64: Take] = [:]
    private var nextNumber: UInt64?
    /// When the next one is to be asked for again, or its time is up.
    private(set) var wake: Instant?
    /// How many have been granted something.
    private(set) var grantedCount = 0

    /// Whether the first number is still to be drawn.
    var isFresh: Bool { nextNumber == nil }
    var isEmpty: Bool { takes.isEmpty }
    var count: Int { takes.count }
    var hasRoom: Bool { takes.count < Self.maximum }

    /// Kept up to date with each change: it is asked for far more often.
    private mutating func look() {
        (wake, grantedCount) = (nil, 0)
        for take in takes.values {
            let mine = take.granted == nil ? min(take.deadline, take.nextAsk) : take.deadline
            wake = min(wake ?? mine, mine)
            if take.granted != nil { grantedCount += 1 }
        }
    }

    /// Numbers start anywhere, so that those of an earlier start of this node are not used again.
    mutating func start(at number: UInt64) { nextNumber = number >> 1 }

    mutating func add(_ client: Client, _ order: Order, now: Instant, deadline: Instant) -> UInt64 {
        let number = nextNumber ?? 0
        nextNumber = number + 1
        takes[number] = Take(number: number, client: client, order: order, deadline: deadline, nextAsk: now)
        look()
        return number
    }

    subscript(number: UInt64) -> Take? { takes[number] }

    mutating func remove(_ number: UInt64) {
        takes[number] = nil
        look()
    }

    /// Notes that an owner was asked, and when to ask again.
    mutating func asked(_ number: UInt64, _ owner: ReplicaID?, now: Instant) {
        guard var take = takes[number] else { return }
        take.asked = owner
        take.nextAsk = now.advanced(milliseconds: take.pauseMs)
        take.pauseMs = min(take.pauseMs * 2, Takes.longestPauseMs)
        takes[number] = take
        look()
    }

    /// Notes what was granted; nil to ask again.
    mutating func note(_ number: UInt64, granted entries: [EntryName]?) {
        takes[number]?.granted = entries
        look()
    }

    /// Those that have been granted something, in the order in which they came.
    var granted: [Take] { takes.values.filter { $0.granted != nil }.sorted { $0.number < $1.number } }

    /// Those that are to be asked for again.
    func due(_ now: Instant) -> [Take] {
        takes.values.filter { $0.granted == nil && $0.nextAsk <= now && $0.deadline > now }
            .sorted { $0.number < $1.number }
    }

    /// Those whose time is up.
    func late(_ now: Instant) -> [Take] {
        takes.values.filter { $0.deadline <= now }.sorted { $0.number < $1.number }
    }

    func waits(for client: Client) -> Bool { takes.values.contains { $0.client == client } }

    /// What a client that is gone has waited for.
    func waiting(where isGone: (Client) -> Bool) -> [Take] {
        takes.values.filter { isGone($0.client) }.sorted { $0.number < $1.number }
    }
}

/// What this node, as the owner of mailboxes, has set aside for clients of its peers, until those have taken it.
struct Grants: Sendable {
    struct Grant: Sendable {
        let asker: ReplicaID
        let number: UInt64
        let entries: [EntryName]
        /// The asker took it by then, or never will.
        var until: Instant
    }

    private var byAgent: [[UInt8]: [Grant]] = [:]

    var isEmpty: Bool { byAgent.isEmpty }
    var count: Int { byAgent.values.reduce(0) { $0 + $1.count } }

    /// What was set aside for this taking already.
    func entries(_ agent: [UInt8], _ asker: ReplicaID, _ number: UInt64) -> [EntryName]? {
        byAgent[agent]?.first { $0.asker == asker && $0.number == number }?.entries
    }

    mutating func add(_ grant: Grant, for agent: [UInt8]) {
        byAgent[agent, default: []].removeAll { $0.asker == grant.asker && $0.number == grant.number }
        byAgent[agent, default: []].append(grant)
    }

    mutating func remove(_ agent: [UInt8], _ asker: ReplicaID, _ number: UInt64) {
        byAgent[agent]?.removeAll { $0.asker == asker && $0.number == number }
        if byAgent[agent]?.isEmpty ?? false { byAgent[agent] = nil }
    }

    /// Everything set aside of a mailbox.
    func reserved(_ agent: [UInt8]) -> Set<EntryName> {
        Set((byAgent[agent] ?? []).flatMap(\.entries))
    }

    /// Forgets what is over, and what was set aside for clients of nodes that are gone.
    mutating func expire(_ now: Instant, isPresent: (ReplicaID) -> Bool) {
        for agent in byAgent.keys {
            byAgent[agent]?.removeAll { $0.until <= now || !isPresent($0.asker) }
            if byAgent[agent]?.isEmpty ?? false { byAgent[agent] = nil }
        }
    }
}

/// What nodes tell each other about mailboxes, in frames of type `Frame.FrameType.mailbox`.
///
/// | frame | bytes |
/// |---|---|
/// | 0 ask | number, agent, type as text or empty, how many at the most, what the owner must have read: a vector |
/// | 1 grant | number, agent, a count and for each entry 8 of replica and its number |
/// | 2 refuse | number: not the owner, or it has not read that far; ask again |
/// | 3 release | number, agent: nothing of the grant was taken |
///
/// Numbers and counts are varints, texts have their length before them.
enum MailboxFrame {
    case ask(UInt64, Takes.Order, read: VersionVector)
    case grant(UInt64, agent: [UInt8], [EntryName])
    case refuse(UInt64)
    case release(UInt64, agent: [UInt8])

    func encode(into out: inout [UInt8]) {
        func append(_ bytes: [UInt8]) {
            out.append(varint: UInt64(bytes.count))
            out += bytes
        }
        switch self {
        case .ask(let number, let order, let read):
            out.append(0)
            out.append(varint: number)
            append(order.agent)
            append(order.type.map { Array("\($0.word)".utf8) } ?? [])
            out.append(varint: UInt64(order.most))
            read.encode(into: &out)
        case .grant(let number, let agent, let entries):
            out.append(1)
            out.append(varint: number)
            append(agent)
            out.append(varint: UInt64(entries.count))
            for entry in entries {
                out.append(replica: entry.log)
                out.append(varint: entry.sequence)
            }
        case .refuse(let number):
            out.append(2)
            out.append(varint: number)
        case .release(let number, let agent):
            out.append(3)
            out.append(varint: number)
            append(agent)
        }
    }

    /// Nil for a frame of a later version.
    init?(_ bytes: RawSpan) throws(DecodeError) {
        var cursor = ByteCursor(bytes)
        let kind = try cursor.u8(bytes)
        guard kind <= 3 else { return nil }
        let number = try cursor.varint(bytes)
        func agent() throws(DecodeError) -> [UInt8] {
            Array(try cursor.text(bytes, limit: EventDraft.maximumTextBytes).utf8)
        }
        switch kind {
        case 0:
            let name = try agent()
            let word = try cursor.text(bytes, limit: 64)
            let type = MessageType(word)
            guard word.isEmpty || type != nil else { throw .badValue(field: "type") }
            let most = try cursor.count(bytes, limit: Mailbox.capacity)
            let order = Takes.Order(agent: name, type: type, most: most)
            self = .ask(number, order, read: try VersionVector(&cursor, bytes))
        case 1:
            let name = try agent()
            var entries: [EntryName] = []
            for _ in 0..<(try cursor.count(bytes, limit: Mailbox.capacity)) {
                entries.append(EntryName(log: try cursor.replica(bytes), sequence: try cursor.varint(bytes)))
            }
            self = .grant(number, agent: name, entries)
        case 2: self = .refuse(number)
        default: self = .release(number, agent: try agent())
        }
    }
}
