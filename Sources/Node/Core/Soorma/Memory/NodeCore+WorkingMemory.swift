import CRDT
import Gossip

/// What the agents of a plan tell each other (docs/soorma-memory.md): the document `working/<tenant>/<plan>`, one field
/// `key/<key>` for each key.
extension NodeCore {
    private static let workingPrefix: StaticString = "key/"

    private static func workingField(_ key: String) throws(NodeError) -> String {
        guard (1...Body.maximumTextBytes).contains(key.utf8.count) else {
            throw .invalid("key: must have 1 to \(Body.maximumTextBytes) bytes")
        }
        return "\(workingPrefix)\(key)"
    }

    mutating func setWorking(
        _ request: RequestID, _ key: String, of plan: String, _ tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let field = try Self.workingField(key)
        // Null is a value like any other.
        let body = try Body(soorma: bytes)
        guard let value = (body["value"] ?? (body.isNull("value") ? .null : nil))?.encoded() else {
            throw .invalid(field: "value", "required, any JSON value")
        }
        guard value.count <= MemoryChanges.maximumValueBytes else {
            throw NodeError(
                status: 413,
                message: "one value may have \(MemoryChanges.maximumValueBytes) bytes, and this one has "
                    + "\(value.count); spread it over several keys")
        }
        let name = Tenancy.key(tenancy.tenant, plan)
        let document = DocumentKind.working.name(name)
        let old = documents.value(of: field, in: document)
        var reply = Reply(status: 200)
        if old != value {
            let change = DocumentMap.Change.set(field: field, value: value)
            if documents.exists(document) {
                let count = old == nil ? workingKeys(document).count : 0
                guard count < memories.maximumKeys else {
                    throw .noRoom(
                        &memories.refused,
                        "the working memory of plan \(plan.prefix(64)) has \(count) keys, which is the most; delete "
                            + "some, or put more into one of them")
                }
                reply.stamp = try put(document, [change], now: now, into: &effects)
            } else {
                var changes = MemoryChanges(nil)
                try changes.set(field, value)
                reply = try writeMemory(.working, name, changes, now: now, into: &effects)
            }
        }
        try showWorking(request, key, of: plan, tenancy, reply, into: &effects)
    }

    func showWorking(
        _ request: RequestID, _ key: String, of plan: String, _ tenancy: Tenancy, _ reply: Reply = Reply(status: 200),
        into effects: inout Effects
    ) throws(NodeError) {
        let document = DocumentKind.working.name(Tenancy.key(tenancy.tenant, plan))
        guard let field = documents.field(try Self.workingField(key), of: document) else {
            throw .notFound("no \(key.prefix(64)) in the working memory of plan \(plan.prefix(64)); PUT sets one")
        }
        show(request, reply, into: &effects) { out in
            out.append(constant: "{\"id\":")
            out.append(json: "\(plan)/\(key)")
            out.append(member: "tenantId", json: tenancy.tenant)
            out.append(member: "planId", json: plan)
            out.append(member: "key", json: key)
            out.append(member: "value", json: field.value)
            out.append(member: "updatedAt", time: field.stamp)
            out.append(UInt8(ascii: "}"))
        }
    }

    /// Removes a key; whether it was there is told, and is no mistake.
    mutating func deleteWorking(
        _ request: RequestID, _ key: String, of plan: String, _ tenancy: Tenancy, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let field = try Self.workingField(key)
        let document = DocumentKind.working.name(Tenancy.key(tenancy.tenant, plan))
        var reply = Reply(status: 200)
        let isThere = documents.value(of: field, in: document) != nil
        if isThere { reply.stamp = try put(document, [.unset(field: field)], now: now, into: &effects) }
        show(request, reply, into: &effects) { out in
            out.append(constant: "{\"success\":true,\"deleted\":")
            out.append(constant: isThere ? "true" : "false")
            out.append(
                member: "message", json: isThere ? "deleted \(key)" : "there was no \(key) in plan \(plan)")
            out.append(UInt8(ascii: "}"))
        }
    }

    /// Removes all keys of a plan.
    mutating func deleteWorking(
        _ request: RequestID, of plan: String, _ tenancy: Tenancy, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let document = DocumentKind.working.name(Tenancy.key(tenancy.tenant, plan))
        var reply = Reply(status: 200)
        let count = workingKeys(document).count
        if documents.exists(document) { reply.stamp = try put(document, [.remove], now: now, into: &effects) }
        show(request, reply, into: &effects) { out in
            out.append(constant: "{\"success\":true,\"countDeleted\":")
            out.append(json: count)
            out.append(member: "message", json: "deleted \(count) keys of plan \(plan)")
            out.append(UInt8(ascii: "}"))
        }
    }

    /// The keys of a plan's working memory, in no order.
    private func workingKeys(_ document: String) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        let (name, prefix) = (Array(document.utf8), Self.workingPrefix.utf8CodeUnitCount)
        documents.readFields(of: name.span.bytes, inOrder: false) { field, _, _ in
            if field.byteCount > prefix { keys.append(field.extracting(prefix..<field.byteCount).array) }
        }
        return keys
    }
}
