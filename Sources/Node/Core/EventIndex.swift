import CRDT
import Gossip

/// Finds events by id, scope, trace and stamp, and decides which of several copies of an id is the event.
///
/// One record per position of the log, for what is not an event too. Which copy counts is a function of the copies
/// alone, so nodes that hold the same copies agree, in whatever order they came.
struct EventIndex: Sendable {
    /// Copies stamped within this many milliseconds of the lowest stamp are one event.
    static let sameEventMs: UInt64 = 600_000

    private struct Record: BitwiseCopyable, Sendable {
        var idHigh: UInt64 = 0
        var idLow: UInt64 = 0
        var scopeHash: UInt32 = 0
        var traceHash: UInt32 = 0
        /// The chains of the tables in use, and those of the tables that are being filled to take their place.
        var even = Links()
        var odd = Links()
        /// Where the JSON starts in the entry; zero for what is not an event.
        var json: UInt32 = 0
        /// Whether this copy is the event.
        var isCanonical = false
        /// Where it belongs.
        var surface = Surface.semp

        var id: UUID { UUID(high: idHigh, low: idLow) }

        func links(_ isOdd: Bool) -> Links { isOdd ? odd : even }

        mutating func set(_ links: Links, _ isOdd: Bool) {
            if isOdd { odd = links } else { even = links }
        }
    }

    /// Distances back to the previous record of each bucket.
    private struct Links: BitwiseCopyable, Sendable {
        var id: UInt32 = 0
        var scope: UInt32 = 0
        var trace: UInt32 = 0
    }

    /// The three hash tables.
    private struct Tables: Sendable {
        /// Twice the buckets of the others: it is asked for every event, and an empty bucket answers without a look at
        /// a record, which is the dearest thing here.
        var byID: ChainIndex
        var byScope: ChainIndex
        var byTrace: ChainIndex

        init(buckets: Int) {
            byID = ChainIndex(buckets: buckets * 2)
            byScope = ChainIndex(buckets: buckets)
            byTrace = ChainIndex(buckets: buckets)
        }

        mutating func append(_ record: Record, _ position: Int) -> Links {
            Links(
                id: byID.append(EventIndex.hash(record.id), position),
                scope: byScope.append(record.scopeHash, position), trace: byTrace.append(record.traceHash, position))
        }
    }

    private var records: ChunkedQueue<Record>
    private var tables = Tables(buckets: 1 << 10)
    /// Which of a record's links belong to `tables`.
    private var isOdd = false
    /// Larger tables on their way to take over, and the position up to which they are filled.
    private var growing: (tables: Tables, through: Int)?
    private var order = StampOrder()
    /// Which scopes and topics there are.
    private var addresses = Addresses()
    /// How many positions hold the event itself, later copies not counted.
    private(set) var eventCount = 0
    /// Before this position entries are only remembered, not held.
    private var heldStart: Int

    /// An index whose first position is `start`.
    init(start: Int = 0) {
        records = ChunkedQueue(start: start)
        heldStart = start
    }

    /// One past the last position indexed.
    var end: Int { records.end }

    /// What another copy of a known id changes.
    struct Outcome {
        /// Copies that were the event and no longer are.
        var demoted: [Int] = []
        /// Copies that now are the event.
        var promoted: [Int] = []
        /// Another copy of the same event, if one is here.
        var sibling: Int?
    }

    /// Stands for the place of the JSON of an event that is only remembered.
    private static let notHeld = UInt32.max

    /// Notes an event of which only the id and the stamp are known, at the next position.
    mutating func remember(_ id: UUID, stamp: HybridTimestamp, log: borrowing FactLog) {
        let position = records.end
        let others = positions(of: id)
        var record = Record(idHigh: id.high, idLow: id.low, json: Self.notHeld)
        record.set(tables.append(record, position), isOdd)
        record.isCanonical = others.isEmpty
        add(record)
        if !others.isEmpty { _ = settle(others + [position], new: position, log: log) }
    }

    /// The id of the event at a position; nil where there is none.
    func id(at position: Int) -> UUID? { records[position].json == 0 ? nil : records[position].id }

    /// Notes a position that holds no event.
    mutating func skip() { add(Record()) }

    /// Notes an event at the next position. Returns nil where its id is new, which is nearly always.
    mutating func insert(
        _ event: EventView, _ json: RawSpan, jsonOffset: Int, stamp: HybridTimestamp, log: borrowing FactLog
    ) -> Outcome? {
        let (position, id) = (records.end, event.id)
        let others = copies(of: id, besides: stamp, log: log)
        let address = json.extracting(event.address)
        let hash = Self.hash(event.surface, address)
        var record = Record(
            idHigh: id.high, idLow: id.low, scopeHash: UInt32(truncatingIfNeeded: hash),
            traceHash: Self.hash(json.extracting(event.surface == .semp ? event.trace : event.correlation)),
            json: UInt32(jsonOffset))
        record.surface = event.surface
        if !event.surface.isPrivate { addresses.note(hash, event.surface, address, at: position) }
        record.set(tables.append(record, position), isOdd)
        record.isCanonical = others.isEmpty
        add(record)
        // The lists by stamp of other surfaces are their own.
        if event.surface == .semp { order.insert(StampOrder.Key(stamp: stamp, position: position)) }
        guard !others.isEmpty else {
            eventCount += 1
            return nil
        }
        return settle(others + [position], new: position, log: log)
    }

    /// The other copies of an id. One with the same stamp is the entry itself, of which a peer's state told: now that it
    /// is here, what was remembered of it is forgotten.
    private mutating func copies(of id: UUID, besides stamp: HybridTimestamp, log: borrowing FactLog) -> [Int] {
        var others: [Int] = []
        for position in positions(of: id) {
            if log.stamp(at: position) == stamp {
                records[position].json = 0
                records[position].isCanonical = false
            } else {
                others.append(position)
            }
        }
        return others
    }

    /// The copies in stamp order fall into events: each is opened by its lowest stamp and takes ten minutes.
    private mutating func settle(_ copies: [Int], new: Int, log: borrowing FactLog) -> Outcome {
        var outcome = Outcome()
        let sorted = copies.map { StampOrder.Key(stamp: log.stamp(at: $0), position: $0) }.sorted()
        var first: StampOrder.Key?
        var members: [Int] = []
        for key in sorted {
            if let opening = first, key.stamp.milliseconds <= opening.stamp.milliseconds + Self.sameEventMs {
                members.append(key.position)
                set(key.position, canonical: false, &outcome)
            } else {
                if members.contains(new) { outcome.sibling = members.first { $0 != new } }
                first = key
                members = [key.position]
                set(key.position, canonical: true, &outcome)
            }
        }
        if members.contains(new) { outcome.sibling = members.first { $0 != new } }
        return outcome
    }

    private mutating func set(_ position: Int, canonical: Bool, _ outcome: inout Outcome) {
        guard records[position].isCanonical != canonical else { return }
        records[position].isCanonical = canonical
        if position >= heldStart, records[position].json != Self.notHeld { eventCount += canonical ? 1 : -1 }
        if canonical { outcome.promoted.append(position) } else { outcome.demoted.append(position) }
    }

    /// Follows the log: entries before `held` are only remembered, those before `remembered` are forgotten.
    mutating func drop(held: Int, remembered: Int) {
        let held = min(held, records.end)
        if heldStart < held {
            for position in max(heldStart, records.start)..<held
            where records[position].isCanonical && records[position].json != Self.notHeld { eventCount -= 1 }
            heldStart = held
            order.drop(before: held)
            addresses.drop(before: held)
        }
        records.drop(before: min(remembered, records.end))
    }

    // MARK: - Finding

    /// Where the JSON of an event starts in its entry; nil for what is not one.
    func jsonOffset(at position: Int) -> Int? {
        let offset = Int(records[position].json)
        return offset == 0 ? nil : offset
    }

    /// Where the event at a position belongs.
    func surface(at position: Int) -> Surface { records[position].surface }

    /// Held events from `start` on, copies included, on the addresses that some filter wants, in order. Looks at those
    /// and at the names of all addresses, or at every record where there are fewer of these.
    func positions(from start: Int, wanting filters: [Filter]) -> [Int] {
        let start = max(start, heldStart, records.start)
        guard records.end - start > max(Self.fewRecords, addresses.count) else {
            return (start..<records.end).filter { position in
                let record = records[position]
                return record.json != 0 && record.json != Self.notHeld
                    && filters.contains { $0.surface == record.surface }
            }
        }
        var found: [Int] = []
        for address in addresses.matching(filters) where address.last >= start {
            let hash = UInt32(truncatingIfNeeded: address.hash)
            var position = tables.byScope.last(hash, end: records.end)
            while position >= start {
                let record = records[position]
                if record.scopeHash == hash, record.json != 0, record.json != Self.notHeld { found.append(position) }
                let back = record.links(isOdd).scope
                guard back > 0 else { break }
                position -= Int(back)
            }
        }
        found.sort()
        return found
    }

    /// Held events of a surface from `start` on, copies included, on an address or on one with the same hash; the newest
    /// first.
    func positions(from start: Int, _ surface: Surface, address: RawSpan) -> [Int] {
        let start = max(start, heldStart, records.start)
        let hash = UInt32(truncatingIfNeeded: Self.hash(surface, address))
        var found: [Int] = []
        var position = tables.byScope.last(hash, end: records.end)
        while position >= start {
            let record = records[position]
            if record.scopeHash == hash, record.surface == surface, record.json != 0, record.json != Self.notHeld {
                found.append(position)
            }
            let back = record.links(isOdd).scope
            guard back > 0 else { break }
            position -= Int(back)
        }
        return found
    }

    /// So many records are looked at one by one rather than by address.
    private static let fewRecords = 1_024

    /// Whether the copy at a position is the event.
    func isCanonical(_ position: Int) -> Bool { records[position].isCanonical }

    /// Every copy that is not the event. Looks at every record.
    func copies() -> [Int] {
        (records.start..<records.end).filter { records[$0].json != 0 && !records[$0].isCanonical }
    }

    /// Every copy of an id, the newest in the log first.
    func positions(of id: UUID) -> [Int] {
        var found: [Int] = []
        var position = tables.byID.last(Self.hash(id), end: records.end)
        while position >= records.start {
            let record = records[position]
            if record.idHigh == id.high, record.idLow == id.low, record.json != 0 { found.append(position) }
            let back = record.links(isOdd).id
            guard back > 0 else { break }
            position -= Int(back)
        }
        return found
    }

    /// The event with this id that has the highest stamp.
    func newest(_ id: UUID, log: borrowing FactLog) -> Int? {
        var best: Int?
        for position in positions(of: id) where records[position].isCanonical {
            if best.map({ log.stamp(at: $0) < log.stamp(at: position) }) ?? true { best = position }
        }
        return best
    }

    /// Events before `stamp`, the newest first, until `body` returns false.
    func descending(before stamp: HybridTimestamp?, _ body: (Int) -> Bool) {
        order.descending(before: stamp) { position in
            position < heldStart || !records[position].isCanonical || records[position].surface != .semp
                ? true : body(position)
        }
    }

    /// Events on an address or on one with the same hash, the newest in the log first; the caller compares the text.
    func candidates(_ surface: Surface, address: RawSpan) -> [Int] {
        let hash = UInt32(truncatingIfNeeded: Self.hash(surface, address))
        return walk(tables.byScope.last(hash, end: records.end)) { ($0.scopeHash == hash, $0.links(isOdd).scope) }
    }

    /// Positions whose trace has this hash, the newest in the log first and at most so many; of bus events and messages,
    /// whose correlation id.
    func candidates(trace: RawSpan, most: Int = .max) -> [Int] {
        let hash = Self.hash(trace)
        return walk(tables.byTrace.last(hash, end: records.end), most: most) {
            ($0.traceHash == hash, $0.links(isOdd).trace)
        }
    }

    private func walk(
        _ last: Int, most: Int = .max, _ look: (Record) -> (matches: Bool, back: UInt32)
    ) -> [Int] {
        var found: [Int] = []
        var position = last
        while position >= records.start, found.count < most {
            let record = records[position]
            let (matches, back) = look(record)
            if matches, record.isCanonical, position >= heldStart { found.append(position) }
            guard back > 0 else { break }
            position -= Int(back)
        }
        return found
    }

    // MARK: - Hashes

    private static func hash(_ surface: Surface, _ address: RawSpan) -> UInt64 {
        XXH64.hash(address, seed: UInt64(surface.rawValue))
    }
    private static func hash(_ text: RawSpan) -> UInt32 { UInt32(truncatingIfNeeded: XXH64.hash(text)) }
    private static func hash(_ id: UUID) -> UInt32 {
        UInt32(truncatingIfNeeded: XXH64.avalanche(id.high ^ XXH64.avalanche(id.low)))
    }

    // MARK: - Growing

    /// How many records move to larger tables for each one that is added: enough to arrive long before they are full.
    private static let movesPerRecord = 8

    /// Adds a record. When the tables are full, larger ones are filled beside them, a few records at a time, so that no
    /// single event pays for the growth.
    private mutating func add(_ record: Record) {
        records.append(record)
        if growing == nil {
            guard records.count > tables.byScope.bucketCount else { return }
            growing = (Tables(buckets: tables.byScope.bucketCount * 4), records.start)
        }
        for _ in 0..<Self.movesPerRecord {
            let position = max(growing?.through ?? 0, records.start)
            guard position < records.end else { return takeOver() }
            if records[position].json != 0, let links = growing?.tables.append(records[position], position) {
                records[position].set(links, !isOdd)
            }
            growing?.through = position + 1
        }
    }

    private mutating func takeOver() {
        guard let grown = growing?.tables else { return }
        tables = grown
        growing = nil
        isOdd.toggle()
    }
}

extension FactLog {
    /// The stamp of the entry at a position.
    func stamp(at position: Int) -> HybridTimestamp {
        let record = record(at: position)
        return HybridTimestamp(time: record.time, replica: replica(in: Int(record.slot)))
    }
}
