import CRDT

/// What this node has made of the documents of one kind, to find them by more than their names: for each term the documents
/// that have it, in the order of their creation. The same at every node that has read the same documents.
struct DocumentIndex: Sendable {
    /// What is remembered of one document.
    struct Entry: Sendable {
        let created: HybridTimestamp
        /// When it was last written.
        var updated: HybridTimestamp
        /// What leads to it; each once.
        var terms: [[UInt8]] = []
        /// Where it says what has become of it, and when that was written.
        var status: (text: [UInt8], at: HybridTimestamp)?
        /// Whose it is, where it says so.
        var user: [UInt8]?
    }

    private struct Place: Sendable {
        let created: HybridTimestamp
        let key: [UInt8]
        func isBefore(_ other: Place) -> Bool {
            created == other.created ? key.lexicographicallyPrecedes(other.key) : created < other.created
        }
    }

    /// Documents that have changed since they were last read.
    var stale = StaleDocuments()
    private var entries: [[UInt8]: Entry] = [:]
    private var byTerm: [[UInt8]: [Place]] = [:]

    /// So many documents may have changed before they are read, though nobody has asked for any.
    private static let mostStale = 256
    /// Whether so much has changed that it is better read now than all at once.
    var isRefreshDue: Bool { stale.isEverything || stale.keys.count >= Self.mostStale }

    /// How many documents there were when they were last read.
    var count: Int { entries.count }
    /// How many terms lead to any.
    var termCount: Int { byTerm.count }

    subscript(key: [UInt8]) -> Entry? { entries[key] }

    /// Reads the documents that have changed. `note` takes from a field what the entry is to know.
    mutating func refresh(
        _ kind: DocumentKind, _ documents: borrowing DocumentMap,
        _ note: (inout Entry, _ field: RawSpan, _ value: RawSpan, _ stamp: HybridTimestamp) -> Void,
        finish: (inout Entry, _ key: [UInt8]) -> Void
    ) {
        guard !stale.isEmpty else { return }
        var (keys, isEverything) = stale.take()
        if isEverything {
            (entries, byTerm) = ([:], [:])
            keys = documents.names(prefix: kind.prefix)
        }
        for key in keys {
            let name = Array(kind.prefix.utf8) + key
            var entry = Entry(created: .zero, updated: .zero)
            let created = documents.readFields(of: name.span.bytes, inOrder: false) { field, value, stamp in
                entry.updated = max(entry.updated, stamp)
                note(&entry, field, value, stamp)
            }
            guard let created else {
                change(key, nil)
                continue
            }
            var found = Entry(created: created, updated: max(created, entry.updated))
            (found.terms, found.status, found.user) = (entry.terms, entry.status, entry.user)
            finish(&found, key)
            change(key, found)
        }
    }

    private mutating func change(_ key: [UInt8], _ new: Entry?) {
        let old = entries[key]
        entries[key] = new
        // One that was made anew has another place in the order.
        let isMoved = old?.created != new?.created
        let (before, after) = (Set(old?.terms ?? []), Set(new?.terms ?? []))
        if let old {
            let place = Place(created: old.created, key: key)
            for term in before where isMoved || !after.contains(term) { remove(place, from: term) }
        }
        if let new {
            let place = Place(created: new.created, key: key)
            for term in after where isMoved || !before.contains(term) { insert(place, into: term) }
        }
    }

    private mutating func insert(_ place: Place, into term: [UInt8]) {
        let at = Self.end(of: byTerm[term] ?? [], before: place)
        byTerm[term, default: []].insert(place, at: at)
    }

    private mutating func remove(_ place: Place, from term: [UInt8]) {
        let at = Self.end(of: byTerm[term] ?? [], before: place)
        byTerm[term]?.remove(at: at)
        if byTerm[term]?.isEmpty ?? false { byTerm[term] = nil }
    }

    /// How many places come before one.
    private static func end(of places: [Place], before place: Place) -> Int {
        var (low, high) = (0, places.count)
        while low < high {
            let middle = (low + high) / 2
            if places[middle].isBefore(place) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: - Finding

    /// The documents to which a term leads, the newest first.
    func keys(_ term: [UInt8]) -> some Sequence<[UInt8]> { (byTerm[term] ?? []).reversed().lazy.map(\.key) }

    /// The newest one to which a term leads, of any tenant or of this one.
    func newest(_ term: [UInt8], of tenancy: Tenancy? = nil) -> [UInt8]? {
        guard let tenancy else { return byTerm[term]?.last?.key }
        let tenant = Memories.term(tenancy, "")
        return keys(term).first { $0.starts(with: tenant) }
    }
}

extension HybridTimestamp {
    /// Before every write.
    fileprivate static let zero = HybridTimestamp(time: 0, replica: ReplicaID(0))
}
