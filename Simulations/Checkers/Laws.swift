internal import CRDT
internal import Gossip

/// The laws of the replicated values, tried with random histories: whatever the order in which three replicas hear of
/// the same writes, one by one or merged, they hold the same, and it is what a plain reading of the writes says.
struct Laws {
    /// One write, as everybody hears of it.
    private enum Write {
        case create
        case removeDocument
        case put(field: Int, value: Int?)
    }

    private static let fields = 3
    private static let replicas: [ReplicaID] = [ReplicaID(1), ReplicaID(2), ReplicaID(3)]
    private var dice: Dice

    init(seed: UInt64) { dice = Dice(seed: (seed, 0x6c_6177_73, 0, 0)) }

    /// Tries so many histories of each kind of value.
    mutating func check(histories: Int) throws(Violation) {
        for _ in 0..<histories {
            try documents()
            try counters()
            try vectors()
            try signals()
        }
    }

    private mutating func roll(_ bound: Int) -> Int { Int(dice.below(UInt64(bound))) }

    // MARK: Documents

    private mutating func documents() throws(Violation) {
        var writes: [(stamp: HybridTimestamp, write: Write)] = []
        for _ in 0..<1 + roll(10) {
            // Few moments, so that the replica often has to break a tie; one write for each stamp.
            let stamp = HybridTimestamp(milliseconds: UInt64(1 + roll(4)), replica: Self.replicas[roll(3)])
            guard !writes.contains(where: { $0.stamp == stamp }) else { continue }
            let write: Write =
                switch roll(6) {
                case 0, 1: .create
                case 2: .removeDocument
                case 3: .put(field: roll(Self.fields), value: nil)
                default: .put(field: roll(Self.fields), value: roll(100))
                }
            writes.append((stamp, write))
        }
        let expected = Self.reading(writes.sorted { $0.stamp < $1.stamp })
        var documents: [DocumentMap] = []
        for _ in 0..<3 {
            writes.shuffle(using: &dice)
            var document = DocumentMap()
            var other = DocumentMap()
            for (stamp, write) in writes {
                // Each write reaches one half, or both: a merge must not care.
                let place = roll(3)
                if place != 0 { Self.apply(write, at: stamp, to: &document) }
                if place != 1 { Self.apply(write, at: stamp, to: &other) }
            }
            document.merge(other)
            if document.merge(other) {
                throw Violation("merging again changes nothing", "\(writes)")
            }
            documents.append(document)
        }
        for document in documents {
            let seen =
                document.exists(Self.name)
                ? (0..<Self.fields).map { document.value(of: "\($0)", in: Self.name)?.first.map(Int.init) } : nil
            let listed = document.fields(of: Self.name).compactMap { Int($0.name) }
            if seen != expected || listed != (0..<Self.fields).filter({ seen?[$0] != nil }) {
                throw Violation(
                    "a document is what its writes say in the order of their stamps",
                    "\(seen.map { "\($0)" } ?? "absent") and fields \(listed), not "
                        + "\(expected.map { "\($0)" } ?? "absent"), after \(writes)")
            }
        }
    }

    private static let name = "document"

    private static func apply(_ write: Write, at stamp: HybridTimestamp, to document: inout DocumentMap) {
        let change: DocumentMap.Change =
            switch write {
            case .create: .create
            case .removeDocument: .remove
            case .put(let field, let value?): .set(field: "\(field)", value: [UInt8(value)])
            case .put(let field, nil): .unset(field: "\(field)")
            }
        var put: [UInt8] = []
        DocumentMap.encode(name, [change], into: &put)
        do throws(DecodeError) {
            try document.apply(put.span.bytes, at: stamp)
        } catch {
            preconditionFailure("a put that was just encoded is malformed: \(error)")
        }
    }

    /// The writes played one after the other; nil when the document does not exist in the end.
    private static func reading(_ writes: [(stamp: HybridTimestamp, write: Write)]) -> [Int?]? {
        var exists = false
        var values = [Int?](repeating: nil, count: fields)
        for (_, write) in writes {
            switch write {
            case .create: exists = true
            case .removeDocument:
                exists = false
                values = [Int?](repeating: nil, count: fields)
            case .put(let field, let value): values[field] = value
            }
        }
        return exists ? values : nil
    }

    // MARK: Counters

    private mutating func counters() throws(Violation) {
        var slots = [PNCounter](repeating: PNCounter(), count: 3)
        var sum: Int64 = 0
        for _ in 0..<roll(12) {
            let amount = Int64(roll(21)) - 10
            let (place, from) = (roll(3), roll(3))
            slots[place].add(amount, by: Self.replicas[place])
            sum += amount
            slots[roll(3)].merge(slots[from])
        }
        var all = PNCounter()
        for place in [roll(3), 0, 1, 2, roll(3)] { all.merge(slots[place]) }
        if all.value != sum { throw Violation("a tally is the sum of what was counted", "\(all.value), not \(sum)") }
        if all.merge(slots[roll(3)]) { throw Violation("merging again changes nothing", "a tally of \(sum)") }
    }

    // MARK: Signals

    private mutating func signals() throws(Violation) {
        var history: [(stamp: HybridTimestamp, operation: SignalOperation)] = []
        for i in 0..<1 + roll(8) {
            let stamp = HybridTimestamp(
                milliseconds: UInt64(roll(6)) * 40_000 + UInt64(i), replica: Self.replicas[roll(3)])
            let operation: SignalOperation =
                switch roll(3) {
                case 0: .touch
                case 1: .reward(gain: Double(roll(60)) / 100)
                default: .penalty(loss: Double(roll(60)) / 100)
                }
            history.append((stamp, operation))
        }
        var inOrder = Signal()
        for (stamp, operation) in history.sorted(by: { $0.stamp < $1.stamp }) { inOrder.insert(operation, at: stamp) }
        // Some are heard of twice, and one that never was is taken out again.
        let stranger = HybridTimestamp(milliseconds: UInt64(roll(240_000)), replica: ReplicaID(4))
        var heard = history + history.prefix(roll(3)) + [(stranger, .reward(gain: 0.7))]
        heard.shuffle(using: &dice)
        var (one, other) = (Signal(), Signal())
        for (stamp, operation) in heard {
            if roll(2) == 0 { one.insert(operation, at: stamp) } else { other.insert(operation, at: stamp) }
        }
        one.merge(other)
        one.remove(at: stranger)
        for minute in 0..<8 as Range<UInt64>
        where one.reading(atMs: minute * 60_000) != inOrder.reading(atMs: minute * 60_000) {
            throw Violation("a signal is the fold of its operations in stamp order", "at minute \(minute): \(history)")
        }
    }

    // MARK: Vectors

    private mutating func vectors() throws(Violation) {
        var vectors = [VersionVector](repeating: VersionVector(), count: 2)
        var expected = [[ReplicaID: UInt64]](repeating: [:], count: 2)
        for _ in 0..<roll(8) {
            let (side, replica, sequence) = (roll(2), Self.replicas[roll(3)], UInt64(roll(5)))
            vectors[side].advance(replica, to: sequence)
            if sequence > 0 { expected[side][replica] = max(sequence, expected[side][replica] ?? 0) }
        }
        let covers = expected[1].allSatisfy { (expected[0][$0.key] ?? 0) >= $0.value }
        if vectors[0].covers(vectors[1]) != covers {
            throw Violation("a vector covers what was read here too", "\(vectors[0].entries), \(vectors[1].entries)")
        }
        var joined = vectors[0]
        joined.merge(vectors[1])
        let highest = expected[0].merging(expected[1], uniquingKeysWith: max)
        let seen = Dictionary(uniqueKeysWithValues: joined.entries.map { ($0.replica, $0.sequence) })
        let isSorted = zip(joined.entries, joined.entries.dropFirst()).allSatisfy { $0.replica < $1.replica }
        if seen != highest || !isSorted || joined.hash64 != Self.hash(highest) {
            throw Violation("a joined vector has the highest of each log", "\(joined.entries), not \(highest)")
        }
    }

    private static func hash(_ entries: [ReplicaID: UInt64]) -> UInt64 {
        entries.reduce(0) { $0 &+ VersionVector.hash64($1.key, $1.value) }
    }
}
