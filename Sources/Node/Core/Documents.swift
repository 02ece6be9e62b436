import CRDT
import Gossip

/// The replicated documents: maps of fields, each the last writer's. Fed by puts from every log.
struct Documents: Sendable {
    /// The most fields that one put may write.
    static let maximumFields = 4_096
    /// The most bytes of a document's or field's name.
    static let maximumNameBytes = 4_096

    /// One thing that a put does to its document.
    enum Change: Equatable {
        case create
        case removeDocument
        case set(field: String, value: [UInt8])
        case remove(field: String)
    }

    private var documents: [String: LWWMap<String, [UInt8]>] = [:]
    /// Puts of peers that could not be read.
    private(set) var malformed = 0

    /// How many documents are known, removed ones included.
    var count: Int { documents.count }

    /// A document; nil if it does not exist.
    subscript(name: String) -> LWWMap<String, [UInt8]>? { documents[name].flatMap { $0.exists ? $0 : nil } }

    /// The documents whose names start with `prefix`, the newest first.
    func newest(_ most: Int, prefix: String) -> [(name: String, document: LWWMap<String, [UInt8]>)] {
        documents.filter { $0.key.hasPrefix(prefix) && $0.value.exists }
            .sorted { $0.value.createdAt! > $1.value.createdAt! }
            .prefix(most).map { ($0.key, $0.value) }
    }

    /// Appends the body of a put: the document's name, then each change as a tag, a name and a value.
    static func encode(_ document: String, _ changes: [Change], into out: inout [UInt8]) {
        out.append(text: document)
        out.append(varint: UInt64(changes.count))
        for change in changes {
            switch change {
            case .create: out.append(0)
            case .removeDocument: out.append(1)
            case .set(let field, let value):
                out.append(2)
                out.append(text: field)
                out.append(varint: UInt64(value.count))
                out.append(contentsOf: value)
            case .remove(let field):
                out.append(3)
                out.append(text: field)
            }
        }
    }

    /// Applies the body of a put.
    mutating func apply(_ bytes: RawSpan, at stamp: HybridTimestamp) {
        do throws(DecodeError) {
            var cursor = ByteCursor(bytes)
            let name = try cursor.text(bytes, limit: Self.maximumNameBytes)
            var document = documents[name] ?? LWWMap()
            for _ in 0..<(try cursor.count(bytes, limit: Self.maximumFields)) {
                switch try cursor.u8(bytes) {
                case 0: document.create(at: stamp)
                case 1: document.remove(at: stamp)
                case 2:
                    let field = try cursor.text(bytes, limit: Self.maximumNameBytes)
                    let value = try cursor.block(bytes, limit: Fact.maximumBytes)
                    document.put(field, bytes.extracting(value).withUnsafeBytes { Array($0) }, at: stamp)
                case 3: document.put(try cursor.text(bytes, limit: Self.maximumNameBytes), nil, at: stamp)
                default: throw .badValue(field: "change")
                }
            }
            documents[name] = document
        } catch {
            malformed += 1
        }
    }
}
