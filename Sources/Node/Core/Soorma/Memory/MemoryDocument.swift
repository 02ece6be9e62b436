import CRDT

/// A document of the memory service as it is: its fields, whose values are JSON, and when each was written.
struct MemoryDocument: Sendable {
    /// A field.
    struct Field: Sendable {
        let name: [UInt8]
        let value: [UInt8]
        let stamp: HybridTimestamp
    }

    /// By the bytes of their names.
    let fields: [Field]
    /// When it was made.
    let created: HybridTimestamp
    /// When it was last written.
    let updated: HybridTimestamp

    /// Reads a document; nil if it does not exist.
    init?(_ kind: DocumentKind, _ key: String, _ documents: borrowing DocumentMap) {
        var fields: [Field] = []
        let name = Array(kind.name(key).utf8)
        guard
            let created = documents.readFields(
                of: name.span.bytes,
                { name, value, stamp in
                    fields.append(Field(name: name.array, value: value.array, stamp: stamp))
                })
        else { return nil }
        self.fields = fields
        self.created = created
        updated = fields.reduce(created) { max($0, $1.stamp) }
    }

    /// The field of this name.
    func field(_ name: [UInt8]) -> Field? {
        var (low, high) = (0, fields.count)
        while low < high {
            let middle = (low + high) / 2
            if fields[middle].name.lexicographicallyPrecedes(name) { low = middle + 1 } else { high = middle }
        }
        return low < fields.count && fields[low].name == name ? fields[low] : nil
    }

    /// The value of a field; nil if it has none.
    subscript(name: StaticString) -> [UInt8]? { field(Array("\(name)".utf8))?.value }

    /// The fields whose names begin with `prefix`, and where in their names the rest begins.
    func fields(_ prefix: StaticString) -> (fields: [Field], rest: Int) {
        let start = Array("\(prefix)".utf8)
        return (fields.filter { $0.name.starts(with: start) }, start.count)
    }

    /// How many bytes it has in names and values.
    var byteCount: Int { fields.reduce(0) { $0 + $1.name.count + $1.value.count } }
}

/// What a request writes to a document of the memory service: only what differs from what is there.
struct MemoryChanges {
    /// The most bytes of one value.
    static let maximumValueBytes = 512 << 10
    /// The most bytes of a document that is answered as a whole: SDKs send it back whole, and a request has 1 MiB.
    static let maximumBytes = 896 << 10
    /// The field that is written where otherwise something would only be removed, which leaves no time.
    private static let touched = "touched"

    private(set) var list: [DocumentMap.Change] = []
    /// What is there; nil for a document that is new.
    let old: MemoryDocument?
    private var byteCount: Int
    private var onlyRemoves = true

    init(_ old: MemoryDocument?) {
        self.old = old
        byteCount = old?.byteCount ?? 0
    }

    /// Lets a field have a value; one that is there already stays as it is, unless it has to be written with others.
    mutating func set(_ name: String, _ value: [UInt8], always: Bool = false) throws(NodeError) {
        let bytes = Array(name.utf8)
        let before = old?.field(bytes)
        guard always || before?.value != value else { return }
        guard value.count <= Self.maximumValueBytes else {
            throw NodeError(
                status: 413,
                message: "\(name.prefix(64)): one value may have \(Self.maximumValueBytes) bytes, and this one has "
                    + "\(value.count); spread it over several keys, or keep it elsewhere and name it here")
        }
        byteCount += value.count - (before?.value.count ?? -bytes.count)
        guard byteCount <= Self.maximumBytes else {
            throw NodeError(
                status: 413,
                message: "all of it may have \(Self.maximumBytes) bytes, and would have more with "
                    + "\(name.prefix(64)); remove what is no longer needed, or keep it in working memory")
        }
        list.append(.set(field: name, value: value))
        onlyRemoves = false
    }

    mutating func set(_ name: String, _ value: JSONValue) throws(NodeError) { try set(name, value.encoded()) }
    mutating func set(_ name: String, text: String?) throws(NodeError) {
        if let text { try set(name, JSONValue.string(text)) }
    }

    /// Lets a field hold an object. One that is not given stays as it is, and is empty at first.
    mutating func set(_ name: String, object: [(key: String, value: JSONValue)]?) throws(NodeError) {
        if let object { try set(name, .object(object)) } else if old == nil { try set(name, .object([])) }
    }

    /// What plans and their contexts alike say of a goal.
    mutating func setGoal(_ body: Body) throws(NodeError) {
        try set("sessionId", text: try body.memoryText("sessionId"))
        try set("goalEvent", text: try body.requiredText("goalEvent"))
        try set("goalData", object: try body.object("goalData"))
    }

    /// What a new plan says of itself: that it runs, and whose it is.
    mutating func setNewPlan(of tenancy: Tenancy) throws(NodeError) {
        guard old == nil else { return }
        try set("status", text: NodeCore.runningPlan)
        try set("userId", text: tenancy.user)
    }

    /// Removes a field.
    mutating func unset(_ name: String) {
        guard let before = old?.field(Array(name.utf8)) else { return }
        byteCount -= before.name.count + before.value.count
        list.append(.unset(field: name))
    }

    /// The changes for one put; nothing if all is there already.
    var finished: [DocumentMap.Change] {
        guard old != nil, !list.isEmpty, onlyRemoves else { return list }
        return list + [.set(field: Self.touched, value: Array("true".utf8))]
    }
}

extension Body {
    /// A short text, which may be empty; nil if it is not given.
    func memoryText(_ name: StaticString) throws(NodeError) -> String? {
        try anyText(name, limit: Self.maximumTextBytes)
    }
}

extension [UInt8] {
    /// Appends a member of an answer that holds JSON; null where there is none.
    mutating func append(member name: StaticString, json value: [UInt8]?) {
        append(key: name)
        if let value { self += value } else { append(constant: "null") }
    }

    mutating func append(member name: StaticString, json text: String) {
        append(key: name)
        append(json: text)
    }

    /// Appends a member of an answer that is a moment.
    mutating func append(member name: StaticString, time stamp: HybridTimestamp) {
        append(key: name)
        append(UInt8(ascii: "\""))
        ISOTime.write(milliseconds: stamp.milliseconds, into: &self)
        append(UInt8(ascii: "\""))
    }

    /// Appends a text that is at hand as UTF-8.
    mutating func append(jsonText text: [UInt8]) {
        append(UInt8(ascii: "\""))
        JSONText.escape(text.span.bytes, into: &self)
        append(UInt8(ascii: "\""))
    }
}
