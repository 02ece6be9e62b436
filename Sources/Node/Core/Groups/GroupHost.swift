import CRDT
import Gossip

/// The consumers of one queue group that are connected to this node, and what each of them has under way.
///
/// Several nodes decide about events and give them to the same consumer: that no one has more than it takes at once is
/// seen to here. What does not fit goes back to whoever sent it, which is told when there is room.
struct GroupHost: Sendable {
    /// Acknowledgements remembered, to be said again when a link is new and when a deciding node is gone.
    static let maximumRecent = 2_048

    enum Effect: Equatable {
        case tell(ReplicaID, GroupMessage)
        /// Send this event to that session, as soon as it is held here; then say `sent`.
        case deliver(EntryKey, attempt: UInt32, SessionID)
        /// Say `emptied` once all that was sent to this session has left this process.
        case notify(SessionID)
    }

    struct Delivery: Equatable, Sendable {
        var decider: ReplicaID
        var attempt: UInt32
        let session: SessionID
        var until: Instant
        /// The event's id, once it was sent.
        var id: UUID?
    }

    struct Place: Sendable {
        var limit: Int
        /// What is sent counts as acknowledged once it has left this process.
        let isAutomatic: Bool
        /// Its connection takes no more for now.
        var isFull = false
        var inFlight = 0
        /// What was sent before it was asked whether all has left, and since.
        var leaving: [EntryKey] = []
        var following: [EntryKey] = []
        /// Nodes that were bounced and wait for room, in turn.
        var waiting: [ReplicaID] = []
        /// Nodes that think there is less room than there may be.
        var cramped: Set<ReplicaID> = []
    }

    private struct Expiry: BitwiseCopyable, Sendable {
        let until: Instant
        let key: EntryKey
    }

    private(set) var places: [SessionID: Place] = [:]
    private(set) var deliveries: [EntryKey: Delivery] = [:]
    private var keys: [UUID: EntryKey] = [:]
    private var expiries = ChunkedQueue<Expiry>()
    /// What was acknowledged here last, and which node decided about it.
    private(set) var recent: [(key: EntryKey, decider: ReplicaID)] = []
    private var recentKeys: Set<EntryKey> = []

    /// When `expire` is due.
    var wake: Instant? { expiries.count > 0 ? expiries[expiries.start].until : nil }

    // MARK: - Consumers

    mutating func open(_ session: SessionID, limit: Int, isAutomatic: Bool, into effects: inout [Effect]) {
        guard places[session] == nil else {
            places[session]?.limit = limit
            return makeRoom(session, into: &effects)
        }
        places[session] = Place(limit: limit, isAutomatic: isAutomatic)
    }

    /// What it had is not said to the deciding nodes one by one: they hear that it is gone.
    mutating func close(_ session: SessionID) {
        guard places.removeValue(forKey: session) != nil else { return }
        for (key, delivery) in deliveries where delivery.session == session { forget(key, delivery) }
    }

    /// Whether a consumer's connection takes no more for now.
    mutating func setFull(_ session: SessionID, _ isFull: Bool, into effects: inout [Effect]) {
        places[session]?.isFull = isFull
        if !isFull { makeRoom(session, into: &effects) }
    }

    // MARK: - From the deciding nodes

    mutating func assign(
        _ key: EntryKey, attempt: UInt32, to session: SessionID, deadlineMs: UInt64, by decider: ReplicaID,
        now: Instant, into effects: inout [Effect]
    ) {
        // It is done with here; the word of it is on its way, or was lost with a link.
        if recentKeys.contains(key) { return effects.append(.tell(decider, .settle(key))) }
        guard let place = places[session] else {
            return effects.append(.tell(decider, .bounce(key, attempt: attempt, session, isGone: true)))
        }
        let until = now.advanced(milliseconds: deadlineMs)
        if let known = deliveries[key] {
            guard known.attempt < attempt else { return }
            if known.session == session {
                // Who decides about it has changed; the consumer has it already.
                deliveries[key]?.decider = decider
                deliveries[key]?.attempt = attempt
                deliveries[key]?.until = until
                expiries.append(Expiry(until: until, key: key))
                return
            }
            end(key, known, into: &effects)
        }
        guard place.inFlight < place.limit, !place.isFull else {
            if !place.waiting.contains(decider) { places[session]?.waiting.append(decider) }
            places[session]?.cramped.insert(decider)
            return effects.append(.tell(decider, .bounce(key, attempt: attempt, session, isGone: false)))
        }
        deliveries[key] = Delivery(decider: decider, attempt: attempt, session: session, until: until)
        expiries.append(Expiry(until: until, key: key))
        if expiries.count > 2 * deliveries.count + 4_096 { compactExpiries() }
        places[session]?.inFlight += 1
        effects.append(.deliver(key, attempt: attempt, session))
    }

    /// Most are acknowledged long before.
    private mutating func compactExpiries() {
        var kept = ChunkedQueue<Expiry>()
        for at in expiries.start..<expiries.end where deliveries[expiries[at].key]?.until == expiries[at].until {
            kept.append(expiries[at])
        }
        expiries = kept
    }

    mutating func revoke(_ key: EntryKey, attempt: UInt32, into effects: inout [Effect]) {
        guard let delivery = deliveries[key], delivery.attempt <= attempt else { return }
        end(key, delivery, into: &effects)
    }

    /// An event was sent to its consumer, under this id.
    mutating func sent(_ key: EntryKey, _ id: UUID, into effects: inout [Effect]) {
        guard let session = deliveries[key]?.session else { return }
        deliveries[key]?.id = id
        keys[id] = key
        guard places[session]?.isAutomatic == true else { return }
        if places[session]?.leaving.isEmpty == true {
            places[session]?.leaving.append(key)
            effects.append(.notify(session))
        } else {
            places[session]?.following.append(key)
        }
    }

    // MARK: - From the consumers

    /// The entry that a consumer means by an id, if it was sent here.
    func key(of id: UUID) -> EntryKey? { keys[id] }

    /// A consumer is done with an event. Says whether it was under way here.
    mutating func acknowledge(_ key: EntryKey, into effects: inout [Effect]) -> Bool {
        guard let delivery = deliveries[key] else { return false }
        remember(key, decider: delivery.decider)
        end(key, delivery, into: &effects)
        effects.append(.tell(delivery.decider, .settle(key)))
        return true
    }

    /// An event is acknowledged that another node's consumer may have, or whose time here is over.
    mutating func remember(_ key: EntryKey, decider: ReplicaID) {
        guard recentKeys.insert(key).inserted else { return }
        recent.append((key, decider))
        // In one go for many: what is removed from the front moves the rest.
        guard recent.count >= Self.maximumRecent + 256 else { return }
        for old in recent.prefix(256) { recentKeys.remove(old.key) }
        recent.removeFirst(256)
    }

    /// A consumer gives an event back. Says whether it was under way here.
    mutating func giveBack(_ key: EntryKey, delayMs: UInt64, into effects: inout [Effect]) -> Bool {
        guard let delivery = deliveries[key] else { return false }
        end(key, delivery, into: &effects)
        effects.append(.tell(delivery.decider, .giveBack(key, attempt: delivery.attempt, delayMs: delayMs)))
        return true
    }

    /// All that was sent to this session before it was asked has left this process.
    mutating func emptied(_ session: SessionID, into effects: inout [Effect]) {
        guard let place = places[session], !place.leaving.isEmpty else { return }
        places[session]?.leaving = place.following
        places[session]?.following = []
        if !place.following.isEmpty { effects.append(.notify(session)) }
        for key in place.leaving where deliveries[key]?.session == session { _ = acknowledge(key, into: &effects) }
    }

    /// What was sent to this session was dropped, since it reads too slowly.
    mutating func overran(_ session: SessionID, into effects: inout [Effect]) {
        for key in deliveries.filter({ $0.value.session == session }).keys.sorted() {
            _ = giveBack(key, delayMs: 0, into: &effects)
        }
    }

    // MARK: - Links and time

    /// Frames to a node may have been lost: what was acknowledged last is said again.
    func linked(_ node: ReplicaID, into effects: inout [Effect]) {
        for entry in recent where entry.decider == node { effects.append(.tell(node, .settle(entry.key))) }
    }

    /// Nodes are gone that decided about some entries: whoever does so next has to know what was acknowledged last.
    func lost(_ gone: Set<ReplicaID>, _ nodes: [ReplicaID], into effects: inout [Effect]) {
        for entry in recent where gone.contains(entry.decider) {
            for node in nodes { effects.append(.tell(node, .settle(entry.key))) }
        }
    }

    /// Who decides has taken these back by now; should it not know, its own time is over too.
    mutating func expire(now: Instant, into effects: inout [Effect]) {
        while expiries.count > 0, expiries[expiries.start].until <= now {
            let expiry = expiries[expiries.start]
            expiries.drop(before: expiries.start + 1)
            guard let delivery = deliveries[expiry.key], delivery.until == expiry.until else { continue }
            end(expiry.key, delivery, into: &effects)
        }
    }

    private mutating func forget(_ key: EntryKey, _ delivery: Delivery) {
        deliveries[key] = nil
        if let id = delivery.id, keys[id] == key { keys[id] = nil }
    }

    private mutating func end(_ key: EntryKey, _ delivery: Delivery, into effects: inout [Effect]) {
        forget(key, delivery)
        places[delivery.session]?.inFlight -= 1
        makeRoom(delivery.session, into: &effects)
    }

    private mutating func makeRoom(_ session: SessionID, into effects: inout [Effect]) {
        guard let place = places[session], place.inFlight < place.limit, !place.isFull else { return }
        let room = place.limit - place.inFlight
        if !place.waiting.isEmpty {
            let served = place.waiting.prefix(room)
            for node in served { effects.append(.tell(node, .free(session, room: max(1, room / place.waiting.count)))) }
            places[session]?.waiting.removeFirst(served.count)
        } else if !place.cramped.isEmpty, place.inFlight <= place.limit / 2 {
            for node in place.cramped.sorted() { effects.append(.tell(node, .free(session, room: room))) }
            places[session]?.cramped.removeAll()
        }
    }
}
