import CRDT
import Gossip

/// Shared context (docs/context.md): a namespace is a document, each key a field of it with `{value, agent_name, at}`. Every
/// change is told on the namespace's own topic, and these events are its history.
extension NodeCore {
    /// What is asked about shared context.
    mutating func answer(
        _ id: RequestID, _ request: ContextRequest, by asker: Asker, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        refreshContexts()
        switch request {
        case .namespaces(let after, let limit): listNamespaces(id, after: after, limit: limit, into: &effects)
        case .entries(let namespace, let after, let limit, let withValues):
            try Self.checkNamespace(namespace)
            listContext(id, namespace, after: after, limit: limit, withValues: withValues, into: &effects)
        case .value(let namespace, let key):
            let entry = try entry(key, in: namespace)
            answer(id, Reply(status: 200), entry, into: &effects)
        case .set(let namespace, let key):
            let write = try contextWrite(namespace, key, by: asker, bytes)
            let known = contextEntry(key, in: namespace)
            try checkContextRoom(namespace, isNewKey: known == nil)
            try change(id, write, .set, from: known, to: write.value, now: now, into: &effects)
        case .patch(let namespace, let key):
            let write = try contextWrite(namespace, key, by: asker, bytes)
            let known = try entry(key, in: namespace)
            try change(id, write, .update, from: known, to: known.value.merging(write.value), now: now, into: &effects)
        case .delete(let namespace, let key):
            try checkWritable()
            let agent = try Self.checkWriter(asker.agent)
            let known = try entry(key, in: namespace)
            let write = ContextWrite(namespace: namespace, key: key, agent: agent, value: .null)
            try change(id, write, .delete, from: known, to: .null, now: now, into: &effects)
        case .history(let namespace, let key, let page):
            try Self.checkNamespace(namespace)
            try showContextHistory(id, namespace, key: key, page, into: &effects)
        }
    }

    // MARK: - Writing

    /// What a history says was done.
    private enum ContextAction: String { case set, update, delete }

    /// What a client wants written.
    private struct ContextWrite {
        let namespace: String
        let key: String
        /// Nil for an operator.
        let agent: String?
        let value: JSONValue
    }

    private mutating func contextWrite(
        _ namespace: String, _ key: String, by asker: Asker, _ bytes: RawSpan
    ) throws(NodeError) -> ContextWrite {
        try checkWritable()
        try Self.checkNamespace(namespace)
        try Self.checkKey(key)
        let body = try Body(bytes)
        if let other = body.others(["value", "agent_name"]).first {
            throw .invalid(
                "\(other.key.prefix(64)): the body may have value and agent_name; what is to be kept goes into value")
        }
        // Null is a value like any other.
        guard let value = body["value"] ?? (body.isNull("value") ? .null : nil) else {
            throw .invalid(field: "value", "required, any JSON value")
        }
        let agent = try Self.checkWriter(try asker.agent(or: try body.text("agent_name"), "agent_name"))
        return ContextWrite(namespace: namespace, key: key, agent: agent, value: value)
    }

    /// Writes a key, tells of it, and answers with what is there now.
    private mutating func change(
        _ request: RequestID, _ write: ContextWrite, _ action: ContextAction, from old: ContextEntry?,
        to new: JSONValue,
        now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        // All that could be refused is refused before anything is written.
        guard new.isNested(atMost: Contexts.maximumDepth) else {
            throw .invalid(field: "value", "nested more than \(Contexts.maximumDepth) levels deep")
        }
        let entry = ContextEntry(value: new, agent: write.agent, at: cluster.nowMs(now), key: write.key)
        let encoded = entry.encoded()
        guard encoded.count <= Contexts.maximumValueBytes else {
            throw NodeError(
                status: 413,
                message: "a value may have \(Contexts.maximumValueBytes) bytes, and this one would have "
                    + "\(encoded.count); spread it over several keys")
        }
        let document = DocumentKind.context.name(write.namespace)
        let field = Contexts.prefix + write.key
        var changes: [DocumentMap.Change] = documents.exists(document) ? [] : [.create]
        changes.append(action == .delete ? .unset(field: field) : .set(field: field, value: encoded))
        let stamp = try put(document, changes, now: now, into: &effects)
        try announce(
            topic: Self.contextTopic(write.namespace), "ContextChanged", source: write.agent ?? settings.name,
            correlation: write.key,
            [
                ("namespace", .string(write.namespace)), ("action", .string(action.rawValue)),
                ("key", .string(write.key)), ("old_value", old?.value ?? .null), ("new_value", new),
                ("agent_name", .optional(write.agent)),
            ], now: now, into: &effects)
        guard action != .delete else {
            return effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
        }
        answer(request, Reply(status: old == nil ? 201 : 200, stamp: stamp), entry, into: &effects)
    }

    private mutating func checkContextRoom(_ namespace: String, isNewKey: Bool) throws(NodeError) {
        guard isNewKey else { return }
        if !documents.exists(DocumentKind.context.name(namespace)), contexts.names.count >= contexts.maximumNamespaces {
            contexts.refused += 1
            throw NodeError(
                status: 507,
                message:
                    "there are \(contexts.names.count) namespaces of shared context already, which is the most; use "
                    + "one of them")
        }
        let count = contextKeyCount(namespace)
        if count >= contexts.maximumKeys {
            contexts.refused += 1
            throw NodeError(
                status: 507,
                message: "namespace \(namespace.prefix(64)) has \(count) keys, which is the most; delete some, or use "
                    + "another namespace")
        }
    }

    // MARK: - Names

    /// The topic on which a namespace's changes are told.
    public static func contextTopic(_ namespace: String) -> String { AnnouncedTopic.contextPrefix + namespace }

    private static func checkNamespace(_ namespace: String) throws(NodeError) {
        let topic = JSONText.canonical(contextTopic(namespace))
        guard topic.count <= EventDraft.maximumTextBytes, AddressPattern(topic)?.address != nil else {
            throw .invalid(
                "namespace: expected segments between dots, as in global or team.alpha, without * and >, of at most "
                    + "\(EventDraft.maximumTextBytes - AnnouncedTopic.contextPrefix.utf8.count) bytes in all")
        }
    }

    private static func checkKey(_ key: String) throws(NodeError) {
        guard !Contexts.reserved.contains(where: { $0.utf8.elementsEqual(key.utf8) }) else {
            throw .invalid(
                "key: \(Contexts.reserved.joined(separator: " and ")) are what a namespace's history and its stream of "
                    + "changes are called; choose another key")
        }
        guard (1...EventDraft.maximumTextBytes).contains(JSONText.canonical(key).count) else {
            throw .invalid("key: must have 1 to \(EventDraft.maximumTextBytes) bytes")
        }
    }

    /// Whoever writes becomes the source of an event.
    private static func checkWriter(_ agent: String?) throws(NodeError) -> String? {
        guard let agent else { return nil }
        guard (1...EventDraft.maximumTextBytes).contains(JSONText.canonical(agent).count) else {
            throw .invalid("agent_name: must have 1 to \(EventDraft.maximumTextBytes) bytes")
        }
        return agent
    }

    // MARK: - Reading

    /// What a key holds.
    private struct ContextEntry {
        let value: JSONValue
        let agent: String?
        /// Milliseconds since the Unix epoch.
        let at: UInt64
        let key: String

        init(value: JSONValue, agent: String?, at: UInt64, key: String) {
            (self.value, self.agent, self.at, self.key) = (value, agent, at, key)
        }

        /// Nil for what no node writes.
        init?(_ bytes: [UInt8], key: String) {
            guard let stored = try? JSONValue(bytes), let value = stored["value"] else { return nil }
            self.init(
                value: value, agent: stored["agent_name"]?.string,
                at: stored["at"]?.double.flatMap { UInt64(exactly: $0) } ?? 0, key: key)
        }

        /// As it is stored.
        func encoded() -> [UInt8] {
            JSONValue.object([
                ("value", value), ("agent_name", .optional(agent)), ("at", .number("\(at)")),
            ]).encoded()
        }

        /// As clients see it.
        func shown(withValue: Bool = true) -> JSONValue {
            .object(
                [("key", .string(key))] + (withValue ? [("value", value)] : [])
                    + [("agent_name", .optional(agent)), ("timestamp", .time(at))])
        }
    }

    private func contextEntry(_ key: String, in namespace: String) -> ContextEntry? {
        documents.value(of: Contexts.prefix + key, in: DocumentKind.context.name(namespace)).flatMap {
            ContextEntry($0, key: key)
        }
    }

    private func entry(_ key: String, in namespace: String) throws(NodeError) -> ContextEntry {
        try Self.checkNamespace(namespace)
        try Self.checkKey(key)
        guard let entry = contextEntry(key, in: namespace) else {
            throw .notFound("no key \(key.prefix(64)) in namespace \(namespace.prefix(64)); PUT sets one")
        }
        return entry
    }

    private func answer(_ request: RequestID, _ reply: Reply, _ entry: ContextEntry, into effects: inout Effects) {
        let start = effects.bytes.count
        effects.bytes += entry.shown().encoded()
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    private func listContext(
        _ request: RequestID, _ namespace: String, after: String?, limit: Int, withValues: Bool,
        into effects: inout Effects
    ) {
        let after = Array((after ?? "").utf8)
        var names = contextKeys(namespace)[...]
        if !after.isEmpty { names = names.drop { !after.lexicographicallyPrecedes($0.utf8) } }
        let start = effects.bytes.count
        effects.bytes.append(UInt8(ascii: "["))
        for name in names.prefix(limit) where effects.bytes.count - start < Self.maximumListBytes {
            guard let entry = contextEntry(name, in: namespace) else { continue }
            if effects.bytes.count > start + 1 { effects.bytes.append(UInt8(ascii: ",")) }
            effects.bytes += entry.shown(withValue: withValues).encoded()
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    /// A namespace's keys, in the order of their bytes.
    private func contextKeys(_ namespace: String) -> [String] {
        var keys: [String] = []
        eachContextKey(namespace, inOrder: true) { key in
            keys.append(key.withUnsafeBytes { String(decoding: $0, as: UTF8.self) })
        }
        return keys
    }

    private func contextKeyCount(_ namespace: String) -> Int {
        var count = 0
        eachContextKey(namespace, inOrder: false) { _ in count += 1 }
        return count
    }

    private func eachContextKey(_ namespace: String, inOrder: Bool, _ body: (RawSpan) -> Void) {
        let document = Array(DocumentKind.context.name(namespace).utf8)
        let prefix = Array(Contexts.prefix.utf8)
        documents.readFields(of: document.span.bytes, inOrder: inOrder) { field, _, _ in
            guard field.byteCount > prefix.count, field.extracting(0..<prefix.count).isEqual(to: prefix) else { return }
            body(field.extracting(prefix.count..<field.byteCount))
        }
    }

    private func listNamespaces(_ request: RequestID, after: String?, limit: Int, into effects: inout Effects) {
        let names = contexts.names(after: after, limit: limit).map { name in
            JSONValue.object([
                ("namespace", .string(name)),
                ("keys", .number(contextKeyCount(name))),
            ])
        }
        let start = effects.bytes.count
        effects.bytes += JSONValue.array(names).encoded()
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    /// Changes that are still in the logs, the newest first: all, or those of one key.
    private func showContextHistory(
        _ request: RequestID, _ namespace: String, key: String?, _ page: Request.Page, into effects: inout Effects
    ) throws(NodeError) {
        let topic = JSONText.canonical(Self.contextTopic(namespace))
        let key = key.map { JSONText.canonical($0) }
        let before = try stamp(before: page.before)
        // Each event about a key carries the key as its correlation id, by which it is found among all others.
        let candidates =
            key.map { index.candidates(trace: $0.span.bytes) } ?? index.candidates(.bus, address: topic.span.bytes)
        let found = newest(candidates, before: before, most: page.limit) { view, json in
            view.surface == .bus && json.extracting(view.address).isEqual(to: topic)
                && (key.map { json.extracting(view.correlation).isEqual(to: $0) } ?? true)
        }
        let start = effects.bytes.count
        var reply = Reply(status: 200)
        var last: Int?
        effects.bytes.append(UInt8(ascii: "["))
        for position in found {
            guard effects.bytes.count - start < Self.maximumListBytes else {
                reply.more = last.map { cluster.log.stamp(at: $0) }
                break
            }
            if last != nil { effects.bytes.append(UInt8(ascii: ",")) }
            effects.bytes += readEvent(at: position) { Self.change($0) }
            last = position
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    /// An entry of a history, from the event that told of it.
    private static func change(_ json: RawSpan) -> [UInt8] {
        let event = (try? JSONValue(json)) ?? .null
        let data = event["data"] ?? .null
        return JSONValue.object(
            [
                ("id", event["id"] ?? .null), ("stamp", event["stamp"] ?? .null),
                ("timestamp", event["timestamp"] ?? .null),
            ]
                + ["action", "key", "old_value", "new_value", "agent_name"].map { ($0, data[$0] ?? .null) }
        ).encoded()
    }

    /// Reads which namespaces there are, where they came other than by puts.
    private mutating func refreshContexts() {
        guard contexts.isUnread else { return }
        contexts.isUnread = false
        for name in documents.names(prefix: DocumentKind.context.prefix) { contexts.note(name) }
    }
}

extension JSONValue {
    /// Whether arrays and objects stand in each other at most so deep.
    func isNested(atMost levels: Int) -> Bool {
        switch self {
        case .null, .bool, .number, .string: true
        case .array(let elements): levels > 0 && elements.allSatisfy { $0.isNested(atMost: levels - 1) }
        case .object(let members): levels > 0 && members.allSatisfy { $0.value.isNested(atMost: levels - 1) }
        }
    }
}
