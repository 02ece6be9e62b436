import CRDT
import Gossip

/// Conversations: the order of the interactions of those that were asked about lately, and an index of the words of those
/// that were searched. What the interactions say is in the documents alone.
///
/// A document `episodes/<tenant>/<user>/<agent>` has for each interaction
///
/// | field | value |
/// |---|---|
/// | `i/<stamp>` | JSON `{role, content, metadata}`; sorting the names sorts the interactions by time |
/// | `v/<stamp>` | where the client supplied a vector: see `Embedding` |
struct Episodes: Sendable {
    static let prefix = "i/"
    static let vectorPrefix = "v/"
    static let roles = ["user", "assistant", "system", "tool"]

    /// The most conversations.
    var maximumDocuments = 100_000
    /// The most interactions of one, and their most bytes: the oldest go.
    var maximumInteractions = 10_000
    var maximumBytes = 16 << 20
    /// So many interactions are dropped with one that comes, at most: two sides of a partition may each have had as many as
    /// there may be.
    static let mostDropped = 64
    /// The most interactions of conversations whose order is kept at hand, and the most memory of their indexes in bytes;
    /// beyond that, those asked about least lately are read again when they are.
    var maximumOpen = 500_000
    var maximumIndexBytes = 256 << 20

    /// One conversation whose order is at hand.
    struct Conversation: Sendable {
        /// By rising stamp.
        fileprivate(set) var entries: [(stamp: HybridTimestamp, bytes: Int, number: UInt32)] = []
        fileprivate(set) var bytes = 0
        /// Made when it is first searched.
        fileprivate var index: SearchIndex?
        fileprivate var stamps: [HybridTimestamp] = []
        fileprivate var free: [UInt32] = []
        fileprivate var usedAt = 0

        var indexBytes: Int { index?.texts.byteCount ?? 0 }

        fileprivate func place(of stamp: HybridTimestamp) -> Int {
            var (low, high) = (0, entries.count)
            while low < high {
                let middle = (low + high) / 2
                if entries[middle].stamp < stamp { low = middle + 1 } else { high = middle }
            }
            return low
        }

        /// Notes what an interaction's field holds now; nil for nothing.
        fileprivate mutating func note(_ stamp: HybridTimestamp, _ value: [UInt8]?) {
            let at = place(of: stamp)
            if at < entries.count, entries[at].stamp == stamp {
                let old = entries.remove(at: at)
                bytes -= old.bytes
                index?.remove(old.number)
                free.append(old.number)
            }
            guard let value else { return }
            let number = add(stamp, value.count, at: at)
            index?.set(number, [Episodes.content(value)])
        }

        @discardableResult
        fileprivate mutating func add(_ stamp: HybridTimestamp, _ count: Int, at place: Int) -> UInt32 {
            let number = free.popLast() ?? UInt32(stamps.count)
            if number == stamps.count { stamps.append(stamp) } else { stamps[Int(number)] = stamp }
            entries.insert((stamp, count, number), at: place)
            bytes += count
            return number
        }
    }

    /// Which there are, as far as this node has read.
    private var known: Set<[UInt8]> = []
    private var isUnread = false
    private var open: [[UInt8]: Conversation] = [:]
    private var uses = 0
    /// The interactions of those that are open: asked for with each that opens, so it is not counted anew.
    private var openInteractions = 0
    /// About the memory that the indexes take, in bytes.
    private(set) var indexBytes = 0

    var count: Int { known.count }
    var openCount: Int { open.count }

    // MARK: - What has changed

    mutating func noteEverything() {
        isUnread = true
        open.removeAll()
        (openInteractions, indexBytes) = (0, 0)
    }

    /// Reads which there are, where they came other than by puts.
    mutating func refresh(_ documents: borrowing DocumentMap) {
        guard isUnread else { return }
        isUnread = false
        known = Set(documents.names(prefix: DocumentKind.episodes.prefix))
    }

    /// A conversation was written by a put, which is in the documents already.
    mutating func note(_ key: [UInt8], _ put: RawSpan, _ documents: borrowing DocumentMap) {
        known.insert(key)
        guard open[key] != nil else { return }
        guard let (name, changes) = try? DocumentMap.decode(put) else { return }
        for change in changes {
            switch change {
            case .create: break
            case .remove: close(key)
            case .set(let field, _), .unset(let field):
                guard let stamp = Self.stamp(Array(field.utf8)) else { continue }
                let value = documents.value(of: field, in: name)
                use(key) { $0.note(stamp, value) }
            }
        }
    }

    // MARK: - Reading

    /// A conversation with its order at hand; without interactions if there is none of that key.
    mutating func opened(_ key: [UInt8], _ documents: borrowing DocumentMap) -> Conversation {
        open(key, documents)
        return open[key] ?? Conversation()
    }

    private mutating func open(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        uses += 1
        open[key]?.usedAt = uses
        guard open[key] == nil else { return }
        let name = Array(DocumentKind.episodes.prefix.utf8) + key
        var found: [(stamp: HybridTimestamp, bytes: Int)] = []
        documents.readFields(of: name.span.bytes, inOrder: false) { field, value, _ in
            if let stamp = Self.stamp(field.array) { found.append((stamp, value.byteCount)) }
        }
        guard !found.isEmpty else { return }
        found.sort { $0.stamp < $1.stamp }
        var conversation = Conversation()
        conversation.usedAt = uses
        for (at, entry) in found.enumerated() { conversation.add(entry.stamp, entry.bytes, at: at) }
        open[key] = conversation
        openInteractions += conversation.entries.count
        makeRoom(for: key)
    }

    /// The best interactions for a query, at most so many; of equal ones the newest first.
    mutating func search(
        _ key: [UInt8], _ query: String, most: Int, _ documents: borrowing DocumentMap
    ) -> [(stamp: HybridTimestamp, score: Double)] {
        open(key, documents)
        // No copy of the index, which the search would then have to make anew.
        guard let stamps = open[key]?.stamps, let entries = open[key]?.entries else { return [] }
        if open[key]?.index == nil {
            let name = DocumentKind.episodes.name(String(decoding: key, as: UTF8.self))
            var index = SearchIndex()
            for entry in entries {
                let value = documents.value(of: Self.field(entry.stamp), in: name) ?? []
                index.set(entry.number, [Self.content(value)])
            }
            use(key) { $0.index = index }
            makeRoom(for: key)
        }
        var hits: [SearchIndex.Hit] = []
        use(key) {
            hits =
                $0.index?.search(
                    query, most: most, where: { _ in true }, isBefore: { stamps[Int($0)] > stamps[Int($1)] }) ?? []
        }
        return hits.map { (stamps[Int($0.number)], $0.score) }
    }

    private mutating func use(_ key: [UInt8], _ body: (inout Conversation) -> Void) {
        guard var conversation = open.removeValue(forKey: key) else { return }
        indexBytes -= conversation.indexBytes
        openInteractions -= conversation.entries.count
        body(&conversation)
        indexBytes += conversation.indexBytes
        openInteractions += conversation.entries.count
        open[key] = conversation
    }

    private mutating func close(_ key: [UInt8]) {
        guard let conversation = open.removeValue(forKey: key) else { return }
        indexBytes -= conversation.indexBytes
        openInteractions -= conversation.entries.count
    }

    /// Closes those asked about least lately, all but this one, until half of what may be open is left.
    private mutating func makeRoom(for key: [UInt8]) {
        guard openInteractions > maximumOpen || indexBytes > maximumIndexBytes else { return }
        let others = open.filter { $0.key != key }.map { (key: $0.key, usedAt: $0.value.usedAt) }
        for other in others.sorted(by: { $0.usedAt < $1.usedAt }) {
            guard openInteractions > maximumOpen / 2 || indexBytes > maximumIndexBytes / 2 else { return }
            close(other.key)
        }
    }

    // MARK: - Names and values

    static func field(_ stamp: HybridTimestamp) -> String { prefix + stamp.description }
    static func vectorField(_ stamp: HybridTimestamp) -> String { vectorPrefix + stamp.description }

    private static func stamp(_ field: [UInt8]) -> HybridTimestamp? {
        guard field.starts(with: prefix.utf8) else { return nil }
        return HybridTimestamp(text: String(decoding: field[prefix.utf8.count...], as: UTF8.self))
    }

    private static func content(_ value: [UInt8]) -> String { (try? JSONValue(value))?["content"]?.string ?? "" }
}
