import CRDT
import Gossip

/// Event types and schemas that agents have described (docs/soorma-registry.md): a document each.
extension NodeCore {
    mutating func refreshCatalog() { catalog.refresh(documents) }

    private mutating func noRoom(_ what: String, _ most: Int, _ advice: String) -> NodeError {
        .noRoom(&catalog.refused, "there are \(most) \(what) already, which is the most; \(advice)")
    }

    // MARK: - Event types

    private static let eventTypeMembers = [
        "eventName", "topic", "description", "payloadSchemaName", "responseSchemaName", "payloadSchema",
        "responseSchema",
    ]

    mutating func registerEventType(
        _ request: RequestID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes, of: "event", known: Self.eventTypeMembers)
        let name = try body.requiredText("eventName")
        let topic = JSONValue.string(try body.requiredText("topic")).encoded()
        let description = try body.anyText("description")
        let definition = JSONValue.object(
            description == nil
                ? body.members.filter { $0.key != "description" } + [("description", .string(""))] : body.members
        ).encoded()
        refreshCatalog()
        let document = DocumentKind.eventType.name(name)
        // Both in one put, so that they never are of two definitions.
        let changes: [DocumentMap.Change] = [
            .set(field: Catalog.definition, value: definition), .set(field: Catalog.topic, value: topic),
        ]
        var reply = Reply(status: 200)
        if !documents.exists(document) {
            let most = catalog.maximumEventTypes
            guard catalog.eventTypes.count < most else {
                throw noRoom("event types", most, "use one of them")
            }
            reply.stamp = try create(document, changes, now: now, into: &effects)
        } else if documents.value(of: Catalog.definition, in: document) != definition {
            reply.stamp = try put(document, changes, now: now, into: &effects)
        }
        showDone(request, reply, "eventName", name, "The event is registered.", into: &effects)
    }

    mutating func listEventTypes(_ request: RequestID, name: String?, topic: String?, into effects: inout Effects) {
        refreshCatalog()
        let topic = topic.map { JSONValue.string($0).encoded() }
        let names = name.map { [Array($0.utf8)] } ?? catalog.eventTypes
        showList(request, under: "events", names, into: &effects) { key, out in
            guard let of = catalog.topic(of: key), topic == nil || topic == of else { return }
            let document = DocumentKind.eventType.name(String(decoding: key, as: UTF8.self))
            out += documents.value(of: Catalog.definition, in: document) ?? []
        }
    }

    // MARK: - Schemas

    private static let schemaMembers = [
        "schemaName", "version", "jsonSchema", "description", "ownerAgentId", "createdAt", "updatedAt",
    ]
    /// The most bytes of a version.
    private static let maximumVersionBytes = 128

    mutating func registerSchema(
        _ request: RequestID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes, of: "schema", known: Self.schemaMembers)
        let name = try body.requiredText("schemaName")
        let version = try body.requiredText("version", limit: Self.maximumVersionBytes)
        guard try body.object("jsonSchema") != nil else {
            throw .invalid(field: "jsonSchema", "required, an object")
        }
        _ = try body.anyText("description")
        let owner = try body.text("ownerAgentId").map { JSONValue.string($0).encoded() }
        refreshCatalog()
        let document = DocumentKind.schema.name(name)
        let field = Catalog.version + version
        let old = documents.value(of: field, in: document).flatMap { try? JSONValue($0) }
        try checkCatalogRoom(document, name, isNewVersion: old == nil)
        let said = body.others(["createdAt", "updatedAt"])
        var reply = Reply(status: 200)
        if old.map({ !Self.isSameSchema($0, said) }) ?? true {
            let time = JSONValue.time(cluster.nowMs(now))
            let whole = JSONValue.object(said + [("createdAt", old?["createdAt"] ?? time), ("updatedAt", time)])
            var changes: [DocumentMap.Change] = [.set(field: field, value: whole.encoded())]
            changes.append(
                owner.map { .set(field: Catalog.owner + version, value: $0) } ?? .unset(field: Catalog.owner + version))
            reply.stamp =
                documents.exists(document)
                ? try put(document, changes, now: now, into: &effects)
                : try create(document, changes, now: now, into: &effects)
        }
        showDone(
            request, reply, "schemaName", name, more: [("version", .string(version))], "The schema is registered.",
            into: &effects)
    }

    private mutating func checkCatalogRoom(
        _ document: String, _ name: String, isNewVersion: Bool
    ) throws(NodeError) {
        if !documents.exists(document), catalog.schemas.count >= catalog.maximumSchemas {
            throw noRoom("schemas", catalog.maximumSchemas, "add a version to one of them")
        }
        if isNewVersion, catalog.versions(of: Array(name.utf8)).count >= catalog.maximumVersions {
            throw noRoom(
                "versions of \(name.prefix(64))", catalog.maximumVersions, "register a schema of another name")
        }
    }

    /// Whether a version that is stored says the same but for its times.
    private static func isSameSchema(_ old: JSONValue, _ said: [(key: String, value: JSONValue)]) -> Bool {
        guard case .object(let members) = old else { return false }
        let kept = members.filter { $0.key != "createdAt" && $0.key != "updatedAt" }
        return JSONValue.object(kept).encoded() == JSONValue.object(said).encoded()
    }

    mutating func listSchemas(_ request: RequestID, owner: String?, into effects: inout Effects) {
        refreshCatalog()
        let owner = owner.map { JSONValue.string($0).encoded() }
        let all = catalog.schemas.lazy.flatMap { [catalog] key in
            catalog.versions(of: key).lazy.filter { owner == nil || $0.owner == owner }.map { (key, $0.number) }
        }
        showList(request, under: "schemas", all, into: &effects) { version, out in
            out += schema(version.0, version.1) ?? []
        }
    }

    /// One version, or the highest.
    mutating func showSchema(
        _ request: RequestID, _ name: String, version: String?, into effects: inout Effects
    ) throws(NodeError) {
        refreshCatalog()
        let key = Array(name.utf8)
        let number = version.map { SemanticVersion(Array($0.utf8)) } ?? catalog.versions(of: key).first?.number
        guard let number, let text = schema(key, number) else {
            let which = version.map { " in version \($0.prefix(64))" } ?? ""
            throw .notFound("no schema \(name.prefix(64))\(which) is registered; see GET /v1/schemas")
        }
        show(request, into: &effects) { $0 += text }
    }

    private func schema(_ name: [UInt8], _ version: SemanticVersion) -> [UInt8]? {
        documents.value(
            of: Catalog.version + String(decoding: version.text, as: UTF8.self),
            in: DocumentKind.schema.name(String(decoding: name, as: UTF8.self)))
    }
}
