import CRDT

/// What this node has made of the documents of event types and schemas, to count and find them: the same at every node that
/// has read the same documents. They are never removed, so all of it is bounded by what may be registered.
struct Catalog: Sendable {
    /// A version of a schema, and whose it is.
    struct Version: Sendable {
        let number: SemanticVersion
        /// The agent that owns it, as JSON text.
        var owner: [UInt8]?
    }

    var staleEventTypes = StaleDocuments()
    var staleSchemas = StaleDocuments()
    /// The topic of each event type, as JSON text.
    private var topics: [[UInt8]: [UInt8]] = [:]
    /// The versions of each schema, the highest first.
    private var versions: [[UInt8]: [Version]] = [:]
    /// Names of both, in order.
    private(set) var eventTypes: [[UInt8]] = []
    private(set) var schemas: [[UInt8]] = []
    /// Event types, schemas and versions not taken at a bound.
    var refused = 0

    /// The most event types, schemas, and versions of one schema.
    var maximumEventTypes = 10_000
    var maximumSchemas = 10_000
    var maximumVersions = 100

    mutating func noteEverything() {
        staleEventTypes.noteEverything()
        staleSchemas.noteEverything()
    }

    /// The topic of an event type as JSON text; nil for one that is not known.
    func topic(of eventType: [UInt8]) -> [UInt8]? { topics[eventType] }
    /// The versions of a schema, the highest first.
    func versions(of schema: [UInt8]) -> [Version] { versions[schema] ?? [] }

    // MARK: - Reading documents

    /// Fields of an event type: all that was said of it, and its topic as JSON text.
    static let definition = "definition"
    static let topic = "topic"
    /// What the names of a schema's fields begin with: a version as it was said, and who owns it, as JSON text.
    static let version = "version/"
    static let owner = "owner/"

    mutating func refresh(_ documents: borrowing DocumentMap) {
        if !staleEventTypes.isEmpty {
            let (keys, isEverything) = staleEventTypes.take()
            if isEverything { (topics, eventTypes) = ([:], []) }
            for key in isEverything ? documents.names(prefix: DocumentKind.eventType.prefix) : keys {
                readEventType(key, documents)
            }
        }
        guard !staleSchemas.isEmpty else { return }
        let (keys, isEverything) = staleSchemas.take()
        if isEverything { (versions, schemas) = ([:], []) }
        for key in isEverything ? documents.names(prefix: DocumentKind.schema.prefix) : keys {
            readSchema(key, documents)
        }
    }

    private mutating func readEventType(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let name = Array(DocumentKind.eventType.prefix.utf8) + key
        var topic: [UInt8] = []
        let created = documents.readFields(of: name.span.bytes, inOrder: false) { field, value, _ in
            if field.isEqual(to: Array(Self.topic.utf8)) { topic = value.array }
        }
        guard created != nil else { return }
        if topics.updateValue(topic, forKey: key) == nil { Self.insert(key, into: &eventTypes) }
    }

    private mutating func readSchema(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let name = Array(DocumentKind.schema.prefix.utf8) + key
        var found: [Version] = []
        var owners: [[UInt8]: [UInt8]] = [:]
        let created = documents.readFields(of: name.span.bytes) { field, value, _ in
            let bytes = field.array
            if bytes.starts(with: Self.version.utf8) {
                found.append(Version(number: SemanticVersion(Array(bytes.dropFirst(Self.version.utf8.count)))))
            } else if bytes.starts(with: Self.owner.utf8) {
                owners[Array(bytes.dropFirst(Self.owner.utf8.count))] = value.array
            }
        }
        guard created != nil, !found.isEmpty else { return }
        for i in found.indices { found[i].owner = owners[found[i].number.text] }
        found.sort { $1.number < $0.number }
        if versions.updateValue(found, forKey: key) == nil { Self.insert(key, into: &schemas) }
    }

    private static func insert(_ key: [UInt8], into names: inout [[UInt8]]) {
        var (low, high) = (0, names.count)
        while low < high {
            let middle = (low + high) / 2
            if names[middle].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
        }
        names.insert(key, at: low)
    }

    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("event_types", "Event types that agents have described, as last read.", eventTypes.count)
        out.gauge("schemas", "Schemas of payloads, as last read.", schemas.count)
        out.counter("catalog_refused_total", "Event types and schemas refused at a bound.", refused)
    }
}
