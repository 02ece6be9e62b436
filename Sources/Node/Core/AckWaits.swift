import CRDT
import Gossip

/// Writes that are in the log of this node, and whose answers wait until enough nodes have them.
///
/// All wait equally long, so the oldest is the first whose time is up. Bounded in number and in bytes; beyond that a
/// write is refused before it is written. The answer to the last one let in may exceed the bytes: how long it is, is
/// known when it is there.
struct AckWaits: Sendable {
    /// The most writes that wait.
    static let maximumWaiters = 4_096
    /// The most bytes of their answers.
    static let maximumBytes = 32 << 20

    /// What an acknowledgement level meant at the moment of the write.
    struct Goal: Equatable, Sendable {
        /// As the client asked.
        let level: AckLevel
        /// Only durable nodes count, once it is on their disks.
        let countsDisks: Bool
        /// So many nodes, this one included.
        let needed: Int

        /// The level that so many nodes make.
        func reached(_ nodes: Int) -> AckLevel {
            countsDisks ? (nodes == 0 ? .local : .disks(nodes)) : .memory(nodes)
        }
    }

    /// Who waits, and for what answer.
    enum Client: Sendable {
        /// An HTTP request; the reply as it would have been given without waiting.
        case request(RequestID, Reply)
        /// A `publish` on `/ws`: its `ref` as JSON, if it had one, and the event's id.
        case session(SessionID, ref: [UInt8]?, event: UUID)
    }

    /// One write.
    struct Waiter: Sendable {
        let client: Client
        /// The body of the answer, and the text of its `Hypha-Clock`.
        let body: [UInt8]
        let clock: [UInt8]
        /// The entries that the others have to read.
        let place: VersionVector
        let goal: Goal
        let deadline: Instant

        var heldBytes: Int {
            body.count + clock.count + place.entries.count * MemoryLayout<VersionVector.Entry>.stride
        }
    }

    /// By age.
    private var waiting: [Waiter] = []
    private(set) var heldBytes = 0
    /// What peers had said when the waiters were last looked at, as `Replication.words`.
    private var looked: UInt64?

    var count: Int { waiting.count }
    var isEmpty: Bool { waiting.isEmpty }
    /// Whether one more may wait.
    var hasRoom: Bool { waiting.count < Self.maximumWaiters && heldBytes < Self.maximumBytes }
    /// When the first one's time is up.
    var wake: Instant? { waiting.first?.deadline }

    mutating func add(_ waiter: Waiter) {
        assert(hasRoom, "a write is refused before it is written if its answer could not wait")
        heldBytes += waiter.heldBytes
        waiting.append(waiter)
    }

    /// Forgets a request whose client is gone.
    mutating func remove(_ id: RequestID) {
        take { if case .request(id, _) = $0.client { true } else { false } }
    }

    /// Forgets the writes of a session that is gone.
    mutating func remove(_ session: SessionID) {
        take { if case .session(session, _, _) = $0.client { true } else { false } }
    }

    /// Whether peers have said anything since the last call.
    mutating func isNews(_ words: UInt64) -> Bool {
        defer { looked = words }
        return looked != words
    }

    /// Takes out those that have reached their goal, by age. `count` says how many nodes have a write.
    mutating func takeReached(_ count: (Waiter) -> Int) -> [(waiter: Waiter, nodes: Int)] {
        var nodes: [Int] = []
        let reached = take { waiter in
            let found = count(waiter)
            guard found >= waiter.goal.needed else { return false }
            nodes.append(found)
            return true
        }
        return zip(reached, nodes).map { ($0, $1) }
    }

    /// Takes out those whose time is up, by age.
    mutating func takeLate(_ now: Instant) -> [Waiter] {
        guard let wake, wake <= now else { return [] }
        return take { $0.deadline <= now }
    }

    /// Takes out everybody, by age.
    mutating func takeAll() -> [Waiter] { take { _ in true } }

    /// Takes out some; each is asked about once, by age.
    @discardableResult private mutating func take(_ isWanted: (Waiter) -> Bool) -> [Waiter] {
        var taken: [Waiter] = []
        waiting.removeAll { waiter in
            guard isWanted(waiter) else { return false }
            taken.append(waiter)
            return true
        }
        for waiter in taken { heldBytes -= waiter.heldBytes }
        return taken
    }
}
