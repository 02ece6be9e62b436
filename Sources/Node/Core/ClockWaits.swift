import CRDT
import Gossip

/// Requests that wait until this node has read what their clients have seen elsewhere.
///
/// All wait equally long, so the oldest is the first whose time is up. Bounded in number and in bytes; beyond that a
/// request is refused instead of waiting. While nothing is applied nothing is looked at, and when something is, only
/// one mark for each log that is waited for, until one of them is passed.
struct ClockWaits: Sendable {
    /// The most requests that wait.
    static let maximumRequests = 4_096
    /// The most bytes of their bodies and clocks.
    static let maximumBytes = 32 << 20

    /// One request.
    struct Waiter: Sendable {
        let id: RequestID
        let request: Request
        let ack: AckLevel
        let body: [UInt8]
        /// What is still missing, as far as that was looked at.
        var clock: CompactVector
        let since: Instant
        let deadline: Instant

        var heldBytes: Int { body.count + clock.entries.count * MemoryLayout<CompactVector.Entry>.stride }
    }

    /// By age.
    private var waiting: [Waiter] = []
    /// To be answered now, in order: what was waited for came, or time is up.
    private var due: [Waiter] = []
    /// How many of `due` were taken.
    private var taken = 0
    private(set) var heldBytes = 0
    /// For each log that somebody waits for first, the lowest number: unless one of these is read, nobody need be
    /// looked at.
    private var marks: [CompactVector.Entry] = []
    /// The hash of the vector that `marks` were last compared with.
    private var checked: UInt64?

    /// How many requests wait or are about to be answered.
    var count: Int { waiting.count + due.count - taken }
    var isEmpty: Bool { waiting.isEmpty && due.isEmpty }

    /// When to look again at the latest.
    func wake(_ now: Instant) -> Instant? { due.isEmpty ? waiting.first?.deadline : now }

    /// Lets a request wait; false if there are too many.
    mutating func add(_ waiter: Waiter) -> Bool {
        guard count < Self.maximumRequests, heldBytes + waiter.heldBytes <= Self.maximumBytes else { return false }
        heldBytes += waiter.heldBytes
        mark(waiter)
        waiting.append(waiter)
        return true
    }

    /// Forgets a request whose client is gone.
    mutating func remove(_ id: RequestID) {
        if let at = waiting.firstIndex(where: { $0.id == id }) {
            heldBytes -= waiting.remove(at: at).heldBytes
        } else if let at = due[taken...].firstIndex(where: { $0.id == id }) {
            heldBytes -= due.remove(at: at).heldBytes
            clearTaken()
        }
    }

    /// Takes out everybody, in order.
    mutating func removeAll() -> [Waiter] {
        defer { self = ClockWaits() }
        return due[taken...] + waiting
    }

    /// Whether the logs have moved since the last look.
    func isNews(_ vectorHash: UInt64) -> Bool { checked != vectorHash }

    /// Finds out who need not wait any longer now that so much was read.
    mutating func look(at vector: VersionVector, hash: UInt64) {
        checked = hash
        guard marks.contains(where: { $0.isRead(in: vector) }) else { return }
        marks.removeAll(keepingCapacity: true)
        var still: [Waiter] = []
        still.reserveCapacity(waiting.count)
        for var waiter in waiting {
            if let first = waiter.clock.entries.first, first.isRead(in: vector) {
                let missing = waiter.clock.missing(from: vector)
                heldBytes -= waiter.heldBytes
                waiter.clock = missing
                heldBytes += waiter.heldBytes
            }
            if waiter.clock.isEmpty {
                due.append(waiter)
            } else {
                mark(waiter)
                still.append(waiter)
            }
        }
        waiting = still
    }

    /// Lets nobody wait beyond `now`; nil for nobody at all.
    mutating func expire(_ now: Instant?) {
        let late = now.map { now in waiting.firstIndex { $0.deadline > now } ?? waiting.count } ?? waiting.count
        guard late > 0 else { return }
        due += waiting[..<late]
        waiting.removeFirst(late)
    }

    /// The next one to answer.
    mutating func next() -> Waiter? {
        guard taken < due.count else { return nil }
        let waiter = due[taken]
        taken += 1
        heldBytes -= waiter.heldBytes
        clearTaken()
        return waiter
    }

    private mutating func clearTaken() {
        guard taken == due.count else { return }
        due.removeAll(keepingCapacity: due.capacity <= 64)
        taken = 0
        if waiting.isEmpty {
            marks.removeAll(keepingCapacity: true)
            checked = nil
        }
    }

    private mutating func mark(_ waiter: Waiter) {
        guard let first = waiter.clock.entries.first else { return }
        let at = marks.firstIndex { $0.prefix == first.prefix && $0.prefixBytes == first.prefixBytes }
        if let at {
            if first.sequence < marks[at].sequence { marks[at] = first }
        } else {
            marks.append(first)
        }
    }
}
