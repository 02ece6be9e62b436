import CRDT
import Gossip

/// Documents of one kind, to be searched: in rooms that know nothing of each other, each with an index of its own. Made from
/// the documents alone, so that two nodes which have read the same find the same.
struct RecallShelf: Sendable {
    /// So many documents may have changed before they are read, though nobody has asked.
    private static let mostStale = 256
    /// What reading a document costs beyond its text, in bytes of text.
    private static let documentCost = 512

    /// What is searched of one document.
    struct Entry: Sendable {
        /// Which room it stands in.
        let room: [UInt8]
        /// Whose it is; nil for everybody's.
        let user: String?
        let isPublic: Bool
        let created: HybridTimestamp
        let parts: [String]
        let vector: [Float]?

        func isFor(_ user: String, includePublic: Bool) -> Bool {
            includePublic && isPublic || self.user.map { $0.isSame(as: user) } ?? true
        }

        /// What is kept once the index has the rest.
        fileprivate var withoutText: Entry {
            Entry(room: room, user: user, isPublic: isPublic, created: created, parts: [], vector: nil)
        }
    }

    private struct Room: Sendable {
        var index = SearchIndex()
        /// By number.
        var entries: [(key: [UInt8], entry: Entry)?] = []
        var free: [UInt32] = []

        var isEmpty: Bool { entries.count == free.count }

        mutating func add(_ key: [UInt8], _ entry: Entry) -> UInt32 {
            let number = free.popLast() ?? UInt32(entries.count)
            if number == entries.count { entries.append(nil) }
            set(number, key, entry)
            return number
        }

        mutating func set(_ number: UInt32, _ key: [UInt8], _ entry: Entry) {
            entries[Int(number)] = (key, entry.withoutText)
            index.set(number, entry.parts, vector: entry.vector)
        }

        mutating func remove(_ number: UInt32) {
            entries[Int(number)] = nil
            index.remove(number)
            free.append(number)
        }
    }

    let kind: DocumentKind
    /// Reads what is searched of a document; nil for one that is gone, or none.
    private let read: @Sendable (_ key: [UInt8], borrowing DocumentMap) -> Entry?
    /// Documents that have changed since they were last taken in.
    var stale = StaleDocuments()
    /// What is still to be read, the next one last.
    private var waiting: [[UInt8]] = []
    private var rooms: [[UInt8]: Room] = [:]
    private var places = ByteMap<(room: [UInt8], number: UInt32)>()
    /// About the memory that the indexes take, and that of the vectors among it, in bytes.
    private(set) var indexBytes = 0
    private(set) var vectorBytes = 0

    init(_ kind: DocumentKind, _ read: @escaping @Sendable (_ key: [UInt8], borrowing DocumentMap) -> Entry?) {
        (self.kind, self.read) = (kind, read)
    }

    /// How many documents there are, as far as this node has taken them in or knows that it must.
    var count: Int { places.count + waiting.count }
    /// How many documents are still to be taken in, as far as that is known.
    var behind: Int { waiting.count + stale.keys.count }
    /// Whether all that is known is in the index.
    var isReady: Bool { waiting.isEmpty && stale.isEmpty }
    /// Whether so much has changed that it is better read now than all at once.
    var isRefreshDue: Bool { !waiting.isEmpty || stale.isEverything || stale.keys.count >= Self.mostStale }

    // MARK: - Reading documents

    /// Takes in what has changed, until about so many bytes of text have been read.
    mutating func refresh(_ documents: borrowing DocumentMap, bytes: Int) {
        if !stale.isEmpty {
            let (keys, isEverything) = stale.take()
            if isEverything {
                (rooms, places, indexBytes, vectorBytes) = ([:], ByteMap(), 0, 0)
                waiting = documents.names(prefix: kind.prefix).reversed()
            } else {
                waiting += keys.reversed()
            }
        }
        var left = bytes
        while left > 0, let key = waiting.popLast() {
            let entry = read(key, documents)
            left -= Self.documentCost + (entry?.parts.reduce(0) { $0 + $1.utf8.count } ?? 0)
            take(key, entry)
        }
    }

    private mutating func take(_ key: [UInt8], _ entry: Entry?) {
        if let place = places.index(of: key.span.bytes) {
            let (room, number) = places.values[place]
            if let entry, entry.room == room {
                return change(room) { $0.set(number, key, entry) }
            }
            change(room) { $0.remove(number) }
            if rooms[room]?.isEmpty ?? false { rooms[room] = nil }
            places.remove(at: place)
        }
        guard let entry else { return }
        var number: UInt32 = 0
        change(entry.room) { number = $0.add(key, entry) }
        _ = places.index(of: key.span.bytes, default: (entry.room, number))
    }

    private mutating func change(_ room: [UInt8], _ body: (inout Room) -> Void) {
        func count(_ sign: Int, _ room: Room) {
            indexBytes += sign * (room.index.texts.byteCount + room.index.vectors.byteCount)
            vectorBytes += sign * room.index.vectors.byteCount
        }
        // In place: what is taken out of a dictionary and put back is not copied.
        var changed = rooms.removeValue(forKey: room) ?? Room()
        count(-1, changed)
        body(&changed)
        count(1, changed)
        rooms[room] = changed
    }

    // MARK: - Finding

    /// The best of a room for a query, at most so many; of equal ones that whose key comes first.
    mutating func search(
        _ room: [UInt8], _ query: String, vector: [Float]? = nil, most: Int, where isWanted: (Entry) -> Bool
    ) -> [(key: [UInt8], score: Double)] {
        guard let entries = rooms[room]?.entries else { return [] }
        func key(_ number: UInt32) -> [UInt8] { entries[Int(number)]?.key ?? [] }
        let hits =
            rooms[room]?.index.search(
                query, vector: vector, most: most, where: { entries[Int($0)].map { isWanted($0.entry) } ?? false },
                isBefore: { key($0).lexicographicallyPrecedes(key($1)) }) ?? []
        return hits.map { (key($0.number), $0.score) }
    }

    /// The newest of a room, at most so many.
    func newest(_ room: [UInt8], most: Int, where isWanted: (Entry) -> Bool) -> [[UInt8]] {
        var best: [(key: [UInt8], entry: Entry)] = []
        for case let found? in rooms[room]?.entries ?? [] where isWanted(found.entry) {
            if best.count == most, let last = best.last, last.entry.created > found.entry.created { continue }
            let at = best.firstIndex { $0.entry.created < found.entry.created } ?? best.count
            best.insert(found, at: at)
            if best.count > most { best.removeLast() }
        }
        return best.map(\.key)
    }
}
