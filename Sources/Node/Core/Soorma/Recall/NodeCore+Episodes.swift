import CRDT
import Gossip

/// What an agent and a user have said to each other.
extension NodeCore {
    mutating func logInteraction(
        _ request: RequestID, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes)
        let agent = try body.requiredText("agentId")
        let role = try body.requiredText("role")
        guard Episodes.roles.contains(where: { $0.isSame(as: role) }) else {
            throw .invalid(
                field: "role", "expected \(Episodes.roles.joined(separator: ", ")), found \"\(role.shown)\"")
        }
        let content = try body.recalledText("content")
        let interaction = Interaction(
            tenancy: tenancy, agent: agent, role: role, content: content, metadata: try body.recalledMetadata(),
            stamp: HybridTimestamp(time: 0, replica: settings.replica))
        let vector = try Embedding.read(body)
        let name = DocumentKind.episodes.name(interaction.key)
        recall.episodes.refresh(documents)
        if !documents.exists(name), recall.episodes.count >= recall.episodes.maximumDocuments {
            throw .noRoom(
                &recall.counters.refused,
                "there are \(recall.episodes.count) conversations of an agent and a user already, which is the "
                    + "most; log what is said under one that is there")
        }
        // A stamp of its own, so that no other interaction has this name, whoever writes at the same time.
        let stamp = cluster.nextStamp(now: now)
        let logged = interaction.at(stamp)
        var fields = FieldChanges()
        fields.set(Episodes.field(stamp), logged.encoded())
        if let vector { fields.set(Episodes.vectorField(stamp), Embedding.encoded(vector, of: content)) }
        let dropped = surplus(Array(interaction.key.utf8), adding: logged.encoded().count)
        for old in dropped {
            fields.set(Episodes.field(old), nil)
            fields.set(Episodes.vectorField(old), nil)
        }
        // It is never removed, and what the other side of a partition has said in it stays.
        let changes: [DocumentMap.Change] = documents.exists(name) ? [] : [.create]
        let written = try put(name, changes + fields.changes(of: name, in: documents), now: now, into: &effects)
        recall.counters.dropped += dropped.count
        show(request, logged.json(score: nil), Reply(status: 200, stamp: written), into: &effects)
    }

    /// The oldest interactions that must go for one of so many bytes to come.
    private mutating func surplus(_ key: [UInt8], adding bytes: Int) -> [HybridTimestamp] {
        let conversation = recall.episodes.opened(key, documents)
        var (count, total) = (conversation.entries.count + 1, conversation.bytes + bytes)
        var dropped: [HybridTimestamp] = []
        for entry in conversation.entries {
            guard count > recall.episodes.maximumInteractions || total > recall.episodes.maximumBytes,
                dropped.count < Episodes.mostDropped
            else { break }
            dropped.append(entry.stamp)
            (count, total) = (count - 1, total - entry.bytes)
        }
        return dropped
    }

    mutating func listInteractions(
        _ request: RequestID, with agent: String, limit: Int, of tenancy: Tenancy, into effects: inout Effects
    ) throws(NodeError) {
        let key = Tenancy.key(tenancy.tenant, tenancy.user, agent)
        let newest = recall.episodes.opened(Array(key.utf8), documents).entries.suffix(limit).reversed()
        showList(request, newest, into: &effects) { entry, out in
            let interaction = Interaction(entry.stamp, with: agent, of: tenancy, documents)
            out += interaction?.json(score: nil).encoded() ?? []
        }
    }

    mutating func searchInteractions(
        _ request: RequestID, with agent: String, _ query: String, limit: Int, of tenancy: Tenancy,
        into effects: inout Effects
    ) throws(NodeError) {
        let key = Tenancy.key(tenancy.tenant, tenancy.user, agent)
        let found = recall.episodes.search(Array(key.utf8), query, most: limit, documents)
        recall.counters.queries += 1
        showList(request, found, into: &effects) { hit, out in
            let interaction = Interaction(hit.stamp, with: agent, of: tenancy, documents)
            out += interaction?.json(score: hit.score).encoded() ?? []
        }
    }
}

/// One thing said.
private struct Interaction {
    let tenancy: Tenancy
    let agent: String
    let role: String
    let content: String
    let metadata: JSONValue
    let stamp: HybridTimestamp

    var key: String { Tenancy.key(tenancy.tenant, tenancy.user, agent) }

    func at(_ stamp: HybridTimestamp) -> Interaction {
        Interaction(tenancy: tenancy, agent: agent, role: role, content: content, metadata: metadata, stamp: stamp)
    }

    /// As its field has it.
    func encoded() -> [UInt8] {
        JSONValue.object([("role", .string(role)), ("content", .string(content)), ("metadata", metadata)]).encoded()
    }

    func json(score: Double?) -> JSONValue {
        .object([
            ("id", .string(UUID(named: [key, stamp.description]).text)), ("tenantId", .string(tenancy.tenant)),
            ("userId", .string(tenancy.user)), ("agentId", .string(agent)), ("role", .string(role)),
            ("content", .string(content)), ("metadata", metadata), ("createdAt", .time(stamp.milliseconds)),
            ("score", .score(score)),
        ])
    }
}

extension Interaction {
    /// What a document says; nil for nothing, or what is no interaction.
    init?(
        _ stamp: HybridTimestamp, with agent: String, of tenancy: Tenancy, _ documents: borrowing DocumentMap
    ) {
        let name = DocumentKind.episodes.name(Tenancy.key(tenancy.tenant, tenancy.user, agent))
        guard let stored = documents.value(of: Episodes.field(stamp), in: name).flatMap({ try? JSONValue($0) }),
            let role = stored["role"]?.string, let content = stored["content"]?.string
        else { return nil }
        self.init(
            tenancy: tenancy, agent: agent, role: role, content: content,
            metadata: stored["metadata"] ?? .object([]), stamp: stamp)
    }
}
