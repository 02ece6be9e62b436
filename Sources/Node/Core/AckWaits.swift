import CRDT
import Gossip

/// Writes that are in the log of this node, and whose answers wait until enough nodes have them.
///
/// All wait equally long, so of two the older one's time is up first. Bounded in number and in bytes; beyond that a
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
        let since: Instant
        let deadline: Instant

        var heldBytes: Int {
            body.count + clock.count + place.entries.count * MemoryLayout<VersionVector.Entry>.stride
        }
    }

    /// Waiters that reach their goal in the order in which they came: entries of one log, by rising number, and one
    /// goal. So a peer's word need only be compared with the first of each lane until that does not suffice.
    private struct Lane: Sendable {
        /// Nil for those of which each has to be looked at.
        let log: ReplicaID?
        let goal: Goal
        var waiters: [Waiter] = []
        /// How many of them were taken.
        var taken = 0

        var first: Waiter? { taken < waiters.count ? waiters[taken] : nil }

        /// Whether this one would be the last to reach its goal.
        func isNext(_ waiter: Waiter) -> Bool {
            guard goal == waiter.goal, waiter.place.entries.count == 1, let entry = waiter.place.entries.first,
                entry.replica == log, let last = waiters.last?.place.entries.first
            else { return false }
            return entry.sequence >= last.sequence
        }

        mutating func removeFirst() -> Waiter {
            defer {
                taken += 1
                if taken >= 64, taken * 2 >= waiters.count { close() }
            }
            return waiters[taken]
        }

        /// Takes out those that match, wherever they stand.
        mutating func remove(where isWanted: (Waiter) -> Bool) {
            close()
            waiters.removeAll(where: isWanted)
        }

        private mutating func close() {
            waiters.removeFirst(taken)
            taken = 0
        }
    }

    private var lanes: [Lane] = []
    private(set) var count = 0
    private(set) var heldBytes = 0
    /// What peers had said when the waiters were last looked at, as `Replication.words`.
    private var looked: UInt64?

    var isEmpty: Bool { count == 0 }
    /// Whether one more may wait.
    var hasRoom: Bool { count < Self.maximumWaiters && heldBytes < Self.maximumBytes }
    /// When the first one's time is up.
    var wake: Instant? {
        var due: Instant?
        for lane in lanes {
            if let deadline = lane.first?.deadline { due = min(due ?? deadline, deadline) }
        }
        return due
    }

    mutating func add(_ waiter: Waiter) {
        assert(hasRoom, "a write is refused before it is written if its answer could not wait")
        count += 1
        heldBytes += waiter.heldBytes
        let isPlain = waiter.place.entries.count == 1
        let lane = lanes.firstIndex { $0.isNext(waiter) || (!isPlain && $0.log == nil && $0.goal == waiter.goal) }
        if let lane {
            lanes[lane].waiters.append(waiter)
        } else {
            let log = isPlain ? waiter.place.entries.first?.replica : nil
            lanes.append(Lane(log: log, goal: waiter.goal, waiters: [waiter]))
        }
    }

    /// Forgets a request whose client is gone.
    mutating func remove(_ id: RequestID) {
        remove { if case .request(id, _) = $0.client { true } else { false } }
    }

    /// Forgets the writes of a session that is gone.
    mutating func remove(_ session: SessionID) {
        remove { if case .session(session, _, _) = $0.client { true } else { false } }
    }

    /// Whether peers have said anything since the last call.
    mutating func isNews(_ words: UInt64) -> Bool {
        defer { looked = words }
        return looked != words
    }

    /// Takes out those that have reached their goal. `nodes` says how many nodes have a write.
    mutating func takeReached(_ nodes: (Waiter) -> Int) -> [(waiter: Waiter, nodes: Int)] {
        var reached: [(waiter: Waiter, nodes: Int)] = []
        for i in lanes.indices {
            guard lanes[i].log == nil else {
                while let first = lanes[i].first {
                    let found = nodes(first)
                    guard found >= first.goal.needed else { break }
                    reached.append((lanes[i].removeFirst(), found))
                }
                continue
            }
            lanes[i].remove { waiter in
                let found = nodes(waiter)
                guard found >= waiter.goal.needed else { return false }
                reached.append((waiter, found))
                return true
            }
        }
        forget(reached.map(\.waiter))
        return reached
    }

    /// Takes out those whose time is up.
    mutating func takeLate(_ now: Instant) -> [Waiter] {
        var late: [Waiter] = []
        for i in lanes.indices {
            while let first = lanes[i].first, first.deadline <= now { late.append(lanes[i].removeFirst()) }
        }
        forget(late)
        return late
    }

    /// Takes out everybody.
    mutating func takeAll() -> [Waiter] {
        defer { self = AckWaits() }
        return lanes.flatMap { $0.waiters[$0.taken...] }
    }

    private mutating func remove(_ isGone: (Waiter) -> Bool) {
        var gone: [Waiter] = []
        for i in lanes.indices {
            lanes[i].remove { waiter in
                guard isGone(waiter) else { return false }
                gone.append(waiter)
                return true
            }
        }
        forget(gone)
    }

    /// These are no longer in their lanes.
    private mutating func forget(_ waiters: [Waiter]) {
        guard !waiters.isEmpty else { return }
        count -= waiters.count
        for waiter in waiters { heldBytes -= waiter.heldBytes }
        lanes.removeAll { $0.first == nil }
    }
}
