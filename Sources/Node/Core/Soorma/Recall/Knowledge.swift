import CRDT
import Gossip

/// A piece of knowledge, as the document `knowledge/<tenant>/<id>` has it.
///
/// | field | value |
/// |---|---|
/// | `content`, `userId` | JSON text |
/// | `externalId`, `source` | JSON text, where the client named one |
/// | `isPublic` | JSON true or false |
/// | `metadata` | JSON object |
/// | `tags` | JSON array of texts, where the client named some |
/// | `embedding` | see `Embedding` |
struct Knowledge: Sendable {
    let tenant: String
    let id: String
    let user: String
    let content: String
    let externalID: String?
    let isPublic: Bool
    let metadata: JSONValue
    let tags: [String]?
    let source: String?
    var embedding: [Float]?
    /// When it was first stored, and last changed.
    var created = HybridTimestamp(time: 0, replica: ReplicaID(0))
    var updatedMs: UInt64 = 0

    /// What a client wants stored. Its id follows from whose it is and from its external id, or else from its content, so that
    /// two nodes that store the same make one document.
    init(_ body: Body, of tenancy: Tenancy) throws(NodeError) {
        (tenant, user) = (tenancy.tenant, tenancy.user)
        content = try body.recalledText("content")
        externalID = try body.text("externalId")
        isPublic = try body.bool("isPublic") ?? false
        metadata = try body.recalledMetadata()
        tags = try body.texts("tags", most: 100)
        source = try body.text("source")
        embedding = try Embedding.read(body)
        let named = if let externalID { ["id", externalID] } else { ["content", content] }
        id = UUID(named: [tenant, user] + named).text
    }

    /// What a document says; nil for one that is gone, or none of these.
    init?(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let names = Tenancy.parts(key)
        let name = DocumentKind.knowledge.name(String(decoding: key, as: UTF8.self))
        guard names.count == 2, let created = documents.created(name) else { return nil }
        let fields = RecallFields(documents.fields(of: name))
        guard let content = fields["content"]?.string, let user = fields["userId"]?.string else { return nil }
        (tenant, id) = (names[0], names[1])
        (self.user, self.content, self.created) = (user, content, created)
        externalID = fields["externalId"]?.string
        isPublic = fields["isPublic"] == .bool(true)
        metadata = fields["metadata"] ?? .object([])
        tags = fields["tags"]?.elements?.compactMap(\.string)
        source = fields["source"]?.string
        embedding = fields.embedding(of: content)
        updatedMs = max(created.milliseconds, fields.latestMs)
    }

    var key: String { Tenancy.key(tenant, id) }

    /// Everything that its document is to say; nil for what it is not to have.
    var fields: [(name: String, value: [UInt8]?)] {
        [
            ("content", JSONValue.string(content).encoded()), ("userId", JSONValue.string(user).encoded()),
            ("isPublic", JSONValue.bool(isPublic).encoded()), ("metadata", metadata.encoded()),
            ("externalId", externalID.map { JSONValue.string($0).encoded() }),
            ("source", source.map { JSONValue.string($0).encoded() }),
            ("tags", tags.map { JSONValue.texts($0).encoded() }),
            (Embedding.field, embedding.map { Embedding.encoded($0, of: content) }),
        ]
    }

    /// What is searched of it: all of a tenant's knowledge is one room.
    var entry: RecallShelf.Entry {
        RecallShelf.Entry(
            room: Self.room(tenant), user: user, isPublic: isPublic, created: created, parts: [content] + (tags ?? []),
            vector: embedding)
    }

    static func room(_ tenant: String) -> [UInt8] { Array(tenant.utf8) }

    /// As the SDKs read it.
    func json(score: Double?) -> JSONValue {
        .object([
            ("id", .string(id)), ("tenantId", .string(tenant)), ("userId", .string(user)),
            ("content", .string(content)),
            ("externalId", .optional(externalID)), ("isPublic", .bool(isPublic)), ("metadata", metadata),
            ("tags", tags.map { .texts($0) } ?? .null), ("source", .optional(source)),
            ("createdAt", .time(created.milliseconds)), ("updatedAt", .time(updatedMs)), ("score", .score(score)),
        ])
    }
}

/// The fields of a document that is searched, by their names.
struct RecallFields {
    private let fields: [DocumentMap.Field]

    init(_ fields: [DocumentMap.Field]) { self.fields = fields }

    /// What a field holds, if it is JSON.
    subscript(name: String) -> JSONValue? {
        fields.first { $0.name.isSame(as: name) }.flatMap { try? JSONValue($0.value) }
    }

    /// The vector, if it is of this text.
    func embedding(of text: String) -> [Float]? {
        fields.first { $0.name.isSame(as: Embedding.field) }.flatMap { Embedding.decoded($0.value, of: text) }
    }

    /// When a field was last written, in milliseconds since the Unix epoch.
    var latestMs: UInt64 { fields.map(\.stamp.milliseconds).max() ?? 0 }
}

extension UUID {
    /// The same for the same texts, at every node.
    init(named parts: [String]) {
        var name: [UInt8] = []
        for part in parts { name.append(text: part) }
        self.init(computed: XXH64.hash(name.span.bytes), XXH64.hash(name.span.bytes, seed: 1))
    }
}

extension JSONValue {
    /// How well something was found; null where nobody searched.
    static func score(_ value: Double?) -> JSONValue { value.map { .number("\($0)") } ?? .null }
}

extension Body {
    /// A text that is searched.
    func recalledText(_ name: StaticString) throws(NodeError) -> String {
        guard let value = self[name] else { throw .invalid(field: name, "required, a non-empty string") }
        guard let text = value.string, !text.isEmpty else {
            throw .invalid(field: name, "expected a non-empty string, found \(value.phrase)")
        }
        try Self.checkRecalled(text.utf8.count, name)
        return text
    }

    /// What a client says besides, an object; none by default.
    func recalledMetadata() throws(NodeError) -> JSONValue {
        let metadata = JSONValue.object(try object("metadata") ?? [])
        try Self.checkRecalled(metadata.encoded().count, "metadata")
        return metadata
    }

    private static func checkRecalled(_ bytes: Int, _ name: StaticString) throws(NodeError) {
        guard bytes > Recall.maximumContentBytes else { return }
        throw NodeError(
            status: 413,
            message:
                "\(name): may have \(Recall.maximumContentBytes) bytes, and this one has \(bytes); store it in parts")
    }
}
