@testable import CRDT

/// One put, as replicas exchange it.
struct Put {
    let document: String
    let changes: [DocumentMap.Change]
    let stamp: HybridTimestamp

    init(_ document: String, _ changes: [DocumentMap.Change], _ stamp: HybridTimestamp) {
        self.document = document
        self.changes = changes
        self.stamp = stamp
    }

    func apply(to map: inout DocumentMap) throws {
        var body: [UInt8] = []
        DocumentMap.encode(document, changes, into: &body)
        try map.apply(body.span.bytes, at: stamp)
    }
}

func documents(_ puts: [Put]) throws -> DocumentMap {
    var map = DocumentMap()
    for put in puts { try put.apply(to: &map) }
    return map
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// What can be read of a document.
struct Shown: Equatable {
    let created: HybridTimestamp
    let fields: [DocumentMap.Field]
}

extension DocumentMap {
    /// Everything that can be read of these documents.
    func shown(_ names: [String]) -> [String: Shown] {
        names.reduce(into: [:]) { all, name in
            if let created = created(name) { all[name] = Shown(created: created, fields: fields(of: name)) }
        }
    }

    /// Everything held, as chunks of at most so many bytes.
    func chunks(atMost limit: Int, _ walk: Walk = Walk()) -> [[UInt8]] {
        var (chunks, walk): ([[UInt8]], Walk) = ([], walk)
        while true {
            var chunk: [UInt8] = []
            let goesOn = encodeChunk(&walk, atMost: limit, into: &chunk)
            chunks.append(chunk)
            if !goesOn { return chunks }
        }
    }
}

/// The rules of documents written down as plainly as can be: every write is kept for ever, and looked through when
/// asked.
struct DocumentModel {
    private var puts: [Put] = []

    mutating func apply(_ put: Put) { puts.append(put) }

    func shown(_ names: [String]) -> [String: Shown] {
        names.reduce(into: [:]) { all, name in all[name] = shown(name) }
    }

    private func shown(_ name: String) -> Shown? {
        var created: HybridTimestamp?
        var removed = HybridTimestamp(time: 0, replica: ReplicaID(0))
        var fields: [String: (value: [UInt8]?, stamp: HybridTimestamp)] = [:]
        for put in puts where put.document == name {
            for change in put.changes {
                switch change {
                case .create: created = max(created ?? put.stamp, put.stamp)
                case .remove: removed = max(removed, put.stamp)
                case .set(let field, let value):
                    if fields[field].map({ $0.stamp < put.stamp }) ?? true { fields[field] = (value, put.stamp) }
                case .unset(let field):
                    if fields[field].map({ $0.stamp < put.stamp }) ?? true { fields[field] = (nil, put.stamp) }
                }
            }
        }
        guard let created, removed < created else { return nil }
        let visible = fields.compactMap { name, field in
            field.stamp > removed
                ? field.value.map { DocumentMap.Field(name: name, value: $0, stamp: field.stamp) } : nil
        }
        return Shown(
            created: created, fields: visible.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) })
    }
}

/// Puts drawn at random: few documents and fields, so that most meet others, and stamps in no order, so that many are
/// late; each stamp once.
struct RandomPuts {
    static let names = (0..<6).map { "document \($0)" }
    private var dice: Seeded
    private var used: Set<HybridTimestamp> = []

    init(seed: UInt64) { dice = Seeded(seed) }

    mutating func next(through ms: ClosedRange<UInt64>) -> Put {
        var stamp: HybridTimestamp
        repeat {
            stamp = HybridTimestamp(
                milliseconds: .random(in: ms, using: &dice), counter: .random(in: 0...3, using: &dice),
                replica: ReplicaID(.random(in: 1...3, using: &dice)))
        } while !used.insert(stamp).inserted
        let changes = (0..<Int.random(in: 1...3, using: &dice)).map { _ in change() }
        return Put(Self.names.randomElement(using: &dice)!, changes, stamp)
    }

    private mutating func change() -> DocumentMap.Change {
        let field = "field \(Int.random(in: 0..<5, using: &dice))"
        switch Int.random(in: 0..<12, using: &dice) {
        case 0..<2: return .create
        case 2: return .remove
        case 3..<6: return .unset(field: field)
        default:
            let count = Bool.random(using: &dice) ? Int.random(in: 0..<20, using: &dice) : 300
            return .set(field: field, value: (0..<count).map { _ in .random(in: 0...255, using: &dice) })
        }
    }
}
