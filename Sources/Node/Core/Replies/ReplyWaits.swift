import CRDT
import Gossip

/// Requests that wait for the first event on a topic with a correlation id: the answer to an event of theirs.
///
/// Bounded in number; beyond that a request is refused before its event is published. An event finds who waits for it by
/// topic and correlation id, at a cost that does not grow with how many wait.
struct ReplyWaits: Sendable {
    /// The most that wait.
    static let maximum = 4_096
    /// How long a request waits if it does not say, and at the most, in milliseconds.
    static let defaultTimeoutMs: UInt64 = 30_000
    static let maximumTimeoutMs: UInt64 = 600_000

    /// Who waits.
    enum Client: Hashable, Sendable {
        case request(RequestID)
        /// A `request` on `/ws`, with its `ref` as JSON if it had one.
        case session(SessionID, ref: [UInt8]?)
    }

    /// What an answer has; canonical texts.
    struct Key: Hashable, Sendable {
        let topic: [UInt8]
        let correlation: [UInt8]
    }

    struct Wait: Sendable {
        let client: Client
        let key: Key
        /// The answer's type, as canonical text; nil for any.
        let type: [UInt8]?
        /// The event that was published.
        let event: UUID
        let timeoutMs: UInt64
        let deadline: Instant
    }

    private struct Due: Comparable {
        let deadline: Instant
        let number: UInt64
        static func < (a: Self, b: Self) -> Bool { (a.deadline, a.number) < (b.deadline, b.number) }
    }

    private var waits: [UInt64: Wait] = [:]
    private var byKey: [Key: [UInt64]] = [:]
    private var numbers: [Client: [UInt64]] = [:]
    /// By rising deadline.
    private var due: [Due] = []
    private var next: UInt64 = 0

    /// Requests that had to wait; of them, those in vain; those refused because too many waited.
    private(set) var added = 0
    private(set) var timeouts = 0
    var refused = 0

    var isEmpty: Bool { waits.isEmpty }
    var count: Int { waits.count }
    var hasRoom: Bool { waits.count < Self.maximum }
    func waits(for client: Client) -> Bool { numbers[client] != nil }
    /// When the first one's time is up.
    var wake: Instant? { due.first?.deadline }

    mutating func add(_ wait: Wait) {
        assert(hasRoom, "a request is refused before its event is published if it could not wait")
        let number = next
        next += 1
        added += 1
        waits[number] = wait
        byKey[wait.key, default: []].append(number)
        numbers[wait.client, default: []].append(number)
        let mine = Due(deadline: wait.deadline, number: number)
        due.insert(mine, at: place(of: mine))
    }

    /// Takes out those whom this event answers, in the order in which they came.
    mutating func takeAnswered(by event: EventView, _ json: RawSpan) -> [Wait] {
        guard !waits.isEmpty, !event.correlation.isEmpty else { return [] }
        func bytes(_ range: Range<Int>) -> [UInt8] { json.extracting(range).withUnsafeBytes { Array($0) } }
        let found = byKey[Key(topic: bytes(event.address), correlation: bytes(event.correlation))] ?? []
        let type = bytes(event.typeText)
        return found.filter { number in
            guard let wait = waits[number], wait.event != event.id else { return false }
            return wait.type.map { $0 == type } ?? true
        }.compactMap { remove($0) }
    }

    /// Takes out those whose time is up.
    mutating func takeLate(_ now: Instant) -> [Wait] {
        var late: [Wait] = []
        while let first = due.first, first.deadline <= now {
            if let wait = remove(first.number) { late.append(wait) }
        }
        timeouts += late.count
        return late
    }

    /// Takes out everybody, in the order in which they came.
    mutating func takeAll() -> [Wait] { waits.keys.sorted().compactMap { remove($0) } }

    /// Forgets one that was answered otherwise.
    mutating func forget(_ wait: Wait) {
        for number in numbers[wait.client] ?? [] where waits[number]?.event == wait.event { _ = remove(number) }
    }

    /// Forgets a request whose client is gone.
    mutating func forget(_ id: RequestID) {
        for number in numbers[.request(id)] ?? [] { _ = remove(number) }
    }

    /// Forgets the requests of a session that is gone.
    mutating func forget(_ session: SessionID) {
        for client in numbers.keys {
            guard case .session(session, _) = client else { continue }
            for number in numbers[client] ?? [] { _ = remove(number) }
        }
    }

    private mutating func remove(_ number: UInt64) -> Wait? {
        guard let wait = waits.removeValue(forKey: number) else { return nil }
        byKey[wait.key]?.removeAll { $0 == number }
        if byKey[wait.key]?.isEmpty ?? false { byKey[wait.key] = nil }
        numbers[wait.client]?.removeAll { $0 == number }
        if numbers[wait.client]?.isEmpty ?? false { numbers[wait.client] = nil }
        let mine = Due(deadline: wait.deadline, number: number)
        let at = place(of: mine)
        if at < due.count, due[at] == mine { due.remove(at: at) }
        return wait
    }

    /// Where a deadline stands or would.
    private func place(of wanted: Due) -> Int {
        var (low, high) = (0, due.count)
        while low < high {
            let middle = (low + high) / 2
            if due[middle] < wanted { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
