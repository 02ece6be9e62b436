import CRDT
import Gossip

/// How an agent is to do something, as the document `procedure/<tenant>/<id>` has it. It never changes but for its vector, as
/// its id is made from all of it.
///
/// | field | value |
/// |---|---|
/// | `agentId`, `procedureType`, `content` | JSON text |
/// | `userId` | JSON text, where it is for one user only |
/// | `triggerCondition` | JSON text, where it has one |
/// | `embedding` | see `Embedding` |
struct Procedure: Sendable {
    static let types = ["system_prompt", "few_shot_example"]

    let tenant: String
    let id: String
    let agent: String
    /// For whom alone it is; nil for everybody whom the agent works for.
    let user: String?
    let trigger: String?
    let type: String
    let content: String
    var embedding: [Float]?
    var created = HybridTimestamp(time: 0, replica: ReplicaID(0))

    init(_ body: Body, of tenancy: Tenancy) throws(NodeError) {
        tenant = tenancy.tenant
        agent = try body.requiredText("agentId")
        user = try body.text("userId")
        trigger = try body.text("triggerCondition", limit: 8 << 10)
        let type = try body.requiredText("procedureType")
        self.type = type
        guard Self.types.contains(where: { $0.isSame(as: type) }) else {
            throw .invalid(
                field: "procedureType", "expected \(Self.types.joined(separator: " or ")), found \"\(type.shown)\"")
        }
        content = try body.recalledText("content")
        embedding = try Embedding.read(body)
        let named = [user, trigger].flatMap { $0.map { ["1", $0] } ?? ["0"] }
        id = UUID(named: [tenant, agent, type, content] + named).text
    }

    /// What a document says; nil for one that is gone, or none of these.
    init?(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let names = Tenancy.parts(key)
        let name = DocumentKind.procedure.name(String(decoding: key, as: UTF8.self))
        guard names.count == 2, let created = documents.created(name) else { return nil }
        let fields = RecallFields(documents.fields(of: name))
        guard let content = fields["content"]?.string, let agent = fields["agentId"]?.string,
            let type = fields["procedureType"]?.string
        else { return nil }
        (tenant, id, self.created) = (names[0], names[1], created)
        (self.agent, self.content, self.type) = (agent, content, type)
        user = fields["userId"]?.string
        trigger = fields["triggerCondition"]?.string
        embedding = fields.embedding(of: content)
    }

    var key: String { Tenancy.key(tenant, id) }

    /// Everything that its document is to say; nil for what it is not to have.
    var fields: [(name: String, value: [UInt8]?)] {
        [
            ("agentId", JSONValue.string(agent).encoded()), ("procedureType", JSONValue.string(type).encoded()),
            ("content", JSONValue.string(content).encoded()),
            ("userId", user.map { JSONValue.string($0).encoded() }),
            ("triggerCondition", trigger.map { JSONValue.string($0).encoded() }),
            (Embedding.field, embedding.map { Embedding.encoded($0, of: content) }),
        ]
    }

    /// What is searched of it: all that an agent of a tenant knows is one room.
    var entry: RecallShelf.Entry {
        RecallShelf.Entry(
            room: Self.room(tenant, agent), user: user, isPublic: false, created: created,
            parts: (trigger.map { [$0] } ?? []) + [content], vector: embedding)
    }

    static func room(_ tenant: String, _ agent: String) -> [UInt8] { Array(Tenancy.key(tenant, agent).utf8) }

    /// As the SDKs read it, who cannot say "everybody": then it is whoever asks.
    func json(for asker: String, score: Double?) -> JSONValue {
        .object([
            ("id", .string(id)), ("tenantId", .string(tenant)), ("userId", .string(user ?? asker)),
            ("agentId", .string(agent)), ("triggerCondition", .optional(trigger)), ("procedureType", .string(type)),
            ("content", .string(content)), ("createdAt", .time(created.milliseconds)), ("score", .score(score)),
        ])
    }
}
