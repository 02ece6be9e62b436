import CRDT
import Gossip

/// Who may decide what, as this node sees it.
struct GroupStanding: Equatable, Sendable {
    var me: ReplicaID
    /// Members that are present, this node among them.
    var present: Set<ReplicaID> = []
    /// Logs whose writers are gone for long enough that another may decide in their place.
    var orphans: Set<ReplicaID> = []
    /// Whether this side sees more than half of the cluster.
    var hasMajority = false
    /// What this node's log ended with when it started: what stands there may have been handed out before.
    var startHead: UInt64 = 0
}

/// One node's part in a queue group: it hands out the events of the logs it decides about, one consumer each, and tries
/// again until each is settled.
///
/// A log is decided about by its writer, else by the next in rendezvous order (Thaler and Ravishankar, 1998) among the
/// members present. An entry that somebody present has tried under more takeovers stays with that one. What is settled
/// is a CRDT (`Settled`), one per log and deciding node, and whoever takes over starts from the join of all of them.
///
/// A value with one door: events, consumers and answers go in, and out comes what is to be told to whom. Entries are
/// handed out in the order of their log; those that were tried before go first.
struct GroupDecider: Sendable {
    /// Entries found but not handed out yet that are held; the rest is found again in the log.
    static let window = 512
    /// Entries handed out and not settled.
    static let maximumOpen = 4_096
    /// Of one takeover; attempts count up from there.
    static let takeoverStep: UInt32 = 1_000
    /// Acknowledgements remembered of entries that this node does not decide about.
    static let maximumAcked = 4_096

    enum Input {
        /// An entry that belongs to the group lies at this position of the log.
        case found(EntryKey, position: Int, kin: Kinship = .none)
        /// An entry that was found or tried is no event of the group, or not held any more.
        case void(EntryKey)
        /// Entries before this one are not held any more.
        case dropped(ReplicaID, before: UInt64)
        /// Somebody consumes the group, and takes so many at once.
        case consumer(Seat, limit: Int)
        /// And no longer does.
        case gone(Seat)
        /// Whether frames reach a node now.
        case reach(ReplicaID, Bool)
        /// A bounce, a settle, a give-back or a room came from a node.
        case heard(GroupMessage, from: ReplicaID)
        /// The members changed.
        case standing(GroupStanding)
        /// What others have written of their progress with one log, by writer.
        case records(ReplicaID, [ReplicaID: Settled])
        /// Time has passed.
        case tick
    }

    /// What an entry has in common with others that are to go to the same consumer.
    struct Kinship: Equatable, Sendable {
        /// Entries of one kin go to one consumer; 0 for an entry that is like no other.
        var kin: UInt64
        /// The node among whose consumers it is looked for first.
        var home: ReplicaID?

        /// It is like no other.
        static let none = Kinship(kin: 0)
    }

    enum Effect: Equatable {
        case tell(ReplicaID, GroupMessage)
        /// It was tried so often in vain that it is a dead letter: answered by `void` once that is written, or by
        /// `heard(.giveBack)` if it cannot be now.
        case exhausted(EntryKey, position: Int, attempt: UInt32)
        /// Look in this log from that entry on for what was not handed out.
        case look(EntryKey)
    }

    enum State: Equatable, Sendable {
        case waiting
        case delayed
        case assigned(Seat)
        case exhausted
    }

    struct Item: Sendable {
        let position: Int
        let kin: Kinship
        var attempt: UInt32
        var state = State.waiting
        /// When it is taken back from whoever has it.
        var due: Instant?
        /// It is in the progress that others see.
        var wasTried: Bool

        func isAssigned(at node: ReplicaID) -> Bool {
            if case .assigned(let seat) = state { seat.node == node } else { false }
        }
    }

    struct Consumer: Sendable {
        let seat: Seat
        var limit: Int
        var inFlight = 0
        /// So many more its node is believed to take, other deciding nodes fill it too.
        var credit: Int
    }

    struct Counters: Equatable, Sendable {
        /// Events handed out; of them, those that were tried before.
        var delivered = 0
        var redelivered = 0
        var acked = 0
        /// Given back; taken back at the deadline; refused by a consumer's node for want of room.
        var returned = 0
        var missed = 0
        var bounced = 0
        var takenOver = 0
        var deadLettered = 0

        mutating func add(_ other: Counters) {
            delivered += other.delivered
            redelivered += other.redelivered
            acked += other.acked
            returned += other.returned
            missed += other.missed
            bounced += other.bounced
            takenOver += other.takenOver
            deadLettered += other.deadLettered
        }
    }

    let group: String
    var options: GroupOptions
    var standing: GroupStanding
    var items: [EntryKey: Item] = [:]
    /// Items that were never handed out.
    var freshCount = 0
    var fresh = ChunkedQueue<EntryKey>()
    /// Items to be handed out again, by falling position: the last one is next.
    var retries: [Retry] = []
    var delayed: [(due: Instant, key: EntryKey)] = []
    var deadlines = ChunkedQueue<Deadline>()
    var consumers: [Consumer] = []
    var cursor = 0
    var unreachable: Set<ReplicaID> = []
    /// This node's progress, and what others have written of theirs.
    var mine: [ReplicaID: Settled] = [:]
    var records: [ReplicaID: [ReplicaID: Settled]] = [:]
    var others: [ReplicaID: Settled] = [:]
    /// Logs about which this node decides, as far as it was asked.
    var bases: [ReplicaID: ReplicaID?] = [:]
    var isBase: Set<ReplicaID> = []
    var acked: Set<EntryKey> = []
    var ackedOrder = ChunkedQueue<EntryKey>()
    /// Logs of which `mine` is to be written, and whether at once.
    var dirty: Set<ReplicaID> = []
    var isUrgent = false
    var counters = Counters()

    struct Retry: Sendable {
        let position: Int
        let key: EntryKey
    }

    struct Deadline: BitwiseCopyable, Sendable {
        let due: Instant
        let key: EntryKey
    }

    init(group: String, options: GroupOptions, standing: GroupStanding) {
        self.group = group
        self.options = options
        self.standing = standing
    }

    /// Whether another entry that was found can be held.
    var hasRoom: Bool { freshCount < Self.window && items.count - freshCount < Self.maximumOpen }
    /// Entries handed out that are under way.
    var inFlight: Int { consumers.reduce(0) { $0 + $1.inFlight } }

    /// When `tick` is due.
    var wake: Instant? {
        let first = deadlines.count > 0 ? deadlines[deadlines.start].due : nil
        guard let next = delayed.first?.due else { return first }
        return min(first ?? next, next)
    }

    /// The only way in. `hand` follows once all that came together was given.
    mutating func handle(_ input: Input, now: Instant, into effects: inout [Effect]) {
        switch input {
        case .found(let key, let position, let kin): find(key, position, kin)
        case .void(let key): finish(key, into: &effects)
        case .dropped(let log, let before): drop(log, before: before, into: &effects)
        case .consumer(let seat, let limit): join(seat, limit)
        case .gone(let seat): leave(seat, now: now, into: &effects)
        case .reach(let node, true): reach(node, into: &effects)
        case .reach(let node, false): unreachable.insert(node)
        case .heard(let message, let node): hear(message, from: node, now: now, into: &effects)
        case .standing(let new):
            standing = new
            bases.removeAll(keepingCapacity: true)
            for log in knownLogs { reconsider(log, into: &effects) }
        case .records(let log, let written): read(written, of: log, into: &effects)
        case .tick: expire(now: now, into: &effects)
        }
    }

    private mutating func hear(
        _ message: GroupMessage, from node: ReplicaID, now: Instant, into effects: inout [Effect]
    ) {
        switch message {
        case .bounce(let key, let attempt, let session, let isGone):
            bounce(key, attempt, Seat(node: node, session: session), isGone: isGone)
        case .free(let session, let room):
            guard let at = index(of: Seat(node: node, session: session)) else { return }
            consumers[at].credit = min(consumers[at].limit, consumers[at].credit + room)
        case .settle(let key): settle(key, by: node, into: &effects)
        case .giveBack(let key, let attempt, let delayMs):
            guard let item = items[key], attempt == 0 || item.attempt == attempt else { return }
            counters.returned += 1
            takeBack(key, from: node, delayMs: delayMs, now: now, into: &effects)
        // For the consumers' side.
        case .assign, .revoke: break
        }
    }

    // MARK: - Finding

    private mutating func find(_ key: EntryKey, _ position: Int, _ kin: Kinship) {
        guard items[key] == nil, !isSettled(key) else { return }
        guard let known = attempt(of: key) else {
            guard base(of: key.log) == standing.me else { return }
            let isNew = key.log == standing.me && key.sequence > standing.startHead
            items[key] = Item(position: position, kin: kin, attempt: isNew ? 0 : Self.takeoverStep, wasTried: false)
            freshCount += 1
            fresh.append(key)
            return
        }
        guard owner(of: key) == standing.me else { return }
        let attempt = (known / Self.takeoverStep + 1) * Self.takeoverStep
        items[key] = Item(position: position, kin: kin, attempt: attempt, wasTried: true)
        note(key, attempt)
        isUrgent = true
        counters.takenOver += 1
        retry(key)
    }

    // MARK: - Consumers

    func index(of seat: Seat) -> Int? {
        var (low, high) = (0, consumers.count)
        while low < high {
            let middle = (low + high) / 2
            if consumers[middle].seat < seat { low = middle + 1 } else { high = middle }
        }
        return low < consumers.count && consumers[low].seat == seat ? low : nil
    }

    private mutating func join(_ seat: Seat, _ limit: Int) {
        if let at = index(of: seat) {
            let more = limit - consumers[at].limit
            consumers[at].limit = limit
            return consumers[at].credit = min(limit, max(0, consumers[at].credit + more))
        }
        consumers.append(Consumer(seat: seat, limit: limit, credit: limit))
        consumers.sort { $0.seat < $1.seat }
    }

    /// What a consumer had goes back at once.
    private mutating func leave(_ seat: Seat, now: Instant, into effects: inout [Effect]) {
        guard let at = index(of: seat) else { return }
        consumers.remove(at: at)
        for key in items.filter({ $0.value.state == .assigned(seat) }).keys.sorted() {
            takeBack(key, from: seat.node, delayMs: 0, now: now, into: &effects)
        }
    }

    /// Frames may have been lost with the link: what was handed out is said again.
    private mutating func reach(_ node: ReplicaID, into effects: inout [Effect]) {
        unreachable.remove(node)
        for at in consumers.indices where consumers[at].seat.node == node {
            consumers[at].credit = consumers[at].limit - min(consumers[at].limit, consumers[at].inFlight)
        }
        for (key, item) in items.sorted(by: { $0.key < $1.key }) {
            guard case .assigned(let seat) = item.state, seat.node == node, node != standing.me else { continue }
            effects.append(.tell(node, assignment(key, item.attempt, seat)))
        }
    }

    private func assignment(_ key: EntryKey, _ attempt: UInt32, _ seat: Seat) -> GroupMessage {
        .assign(key, attempt: attempt, seat.session, deadlineMs: options.ackDeadlineMs)
    }

    // MARK: - Handing out

    /// Hands out what can be. `isWanted` says whether the entry at a position is still held, and still the event.
    mutating func hand(now: Instant, isWanted: (Int) -> Bool, into effects: inout [Effect]) {
        guard !consumers.isEmpty else { return }
        while let key = nextWaiting(isWanted, into: &effects), var item = items[key], let at = nextConsumer(item.kin) {
            if item.wasTried { retries.removeLast() } else { pop(&fresh) }
            if !item.wasTried { freshCount -= 1 }
            item.attempt += 1
            let seat = consumers[at].seat
            let due = now.advanced(milliseconds: options.ackDeadlineMs)
            (item.state, item.due) = (.assigned(seat), due)
            item.wasTried = true
            items[key] = item
            note(key, item.attempt)
            // Under a takeover the others have to hear of it before the next one is tempted.
            if item.attempt >= Self.takeoverStep { isUrgent = true }
            counters.delivered += 1
            if item.attempt > 1 { counters.redelivered += 1 }
            consumers[at].inFlight += 1
            consumers[at].credit -= 1
            cursor = at + 1
            deadlines.append(Deadline(due: due, key: key))
            if deadlines.count > 2 * Self.maximumOpen { compactDeadlines() }
            effects.append(.tell(seat.node, assignment(key, item.attempt, seat)))
        }
    }

    /// Most are settled long before: only those that may still be missed are kept.
    private mutating func compactDeadlines() {
        var kept = ChunkedQueue<Deadline>()
        for at in deadlines.start..<deadlines.end where items[deadlines[at].key]?.due == deadlines[at].due {
            kept.append(deadlines[at])
        }
        deadlines = kept
    }

    func pop(_ queue: inout ChunkedQueue<EntryKey>) { queue.drop(before: queue.start + 1) }

    /// An item waits again; so that each log is handed out in its order as far as that goes, the oldest comes first.
    mutating func retry(_ key: EntryKey) {
        guard let position = items[key]?.position else { return }
        var (low, high) = (0, retries.count)
        while low < high {
            let middle = (low + high) / 2
            if retries[middle].position > position { low = middle + 1 } else { high = middle }
        }
        retries.insert(Retry(position: position, key: key), at: low)
    }

    /// The entry that is next; what need not be handed out any more is passed over.
    private mutating func nextWaiting(_ isWanted: (Int) -> Bool, into effects: inout [Effect]) -> EntryKey? {
        while let key = retries.last?.key {
            if let item = items[key], item.state == .waiting, item.wasTried {
                if isWanted(item.position), !acked.contains(key) { return key }
                finish(key, into: &effects)
            }
            retries.removeLast()
        }
        guard items.count - freshCount < Self.maximumOpen else { return nil }
        while fresh.count > 0 {
            let key = fresh[fresh.start]
            if let item = items[key], item.state == .waiting, !item.wasTried {
                if isWanted(item.position), !acked.contains(key) { return key }
                finish(key, into: &effects)
            }
            pop(&fresh)
        }
        return nil
    }

    /// A local consumer with room, else one of a peer's, unless all are to get the same: the one with the least, in turn
    /// where they are equal. What has kin goes where that goes, if there is room.
    private func nextConsumer(_ kin: Kinship) -> Int? {
        if kin.kin != 0, let at = relative(of: kin), hasRoom(consumers[at]) { return at }
        var best: (rank: (Int, Int), at: Int)?
        for offset in 0..<consumers.count {
            let at = (cursor + offset) % consumers.count
            let consumer = consumers[at]
            guard hasRoom(consumer) else { continue }
            let distance = consumer.seat.node == standing.me ? 0 : 1
            let rank = options.sharing == .nearest ? (distance, consumer.inFlight) : (consumer.inFlight, distance)
            if let best, best.rank <= rank { continue }
            best = (rank, at)
        }
        return best?.at
    }

    private func hasRoom(_ consumer: Consumer) -> Bool {
        consumer.credit > 0 && consumer.inFlight < consumer.limit && !unreachable.contains(consumer.seat.node)
    }

    /// The consumer for what has this kin: the same at every node that sees the same consumers.
    private func relative(of kin: Kinship) -> Int? {
        let reached = consumers.indices.filter { !unreachable.contains(consumers[$0].seat.node) }
        let home = reached.filter { consumers[$0].seat.node == kin.home }
        return (home.isEmpty ? reached : home).max { a, b in
            weight(kin.kin, consumers[a].seat) < weight(kin.kin, consumers[b].seat)
        }
    }

    private func weight(_ kin: UInt64, _ seat: Seat) -> UInt64 {
        XXH64.avalanche(kin ^ XXH64.avalanche(seat.node.rawValue ^ XXH64.avalanche(seat.session.rawValue)))
    }
}
