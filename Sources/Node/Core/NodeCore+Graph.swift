import CRDT
import Gossip

/// SEMP's graph: a node is a document, each edge a field of it, so edges added at two sides of a partition both stay.
extension NodeCore {
    private static let prefix = "node/"
    private static let edgePrefix = "edge/"
    /// The most bytes of a node's or edge's type.
    private static let maximumTypeBytes = 1_024

    mutating func postNode(
        _ request: RequestID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let members = try Self.members(bytes)
        let type = try Self.text(members["type"], "type", bytes)
        var data: [UInt8] = Array("{}".utf8)
        if let value = members["data"] {
            guard value.kind == .object else {
                throw .invalid(field: "data", "expected an object, found \(value.kind.phrase)")
            }
            data.removeAll()
            JSONText.compact(value, bytes, into: &data)
        }
        var id = UUID(random: dice.next(), dice.next())
        if let value = members["id"] {
            guard value.kind == .string, let given = UUID(bytes.extracting(value.inner)) else {
                throw .invalid(field: "id", "expected a UUID; leave it out to get one made")
            }
            id = given
            let name = Self.prefix + id.text
            if documents.exists(name) {
                guard documents.value(of: "type", in: name) == type,
                    Self.isSame(documents.value(of: "data", in: name), data)
                else { throw .conflict("node \(id.text) exists with another content; use a new id") }
                return try showNode(request, id.text, status: 200, into: &effects)
            }
        }
        put(
            Self.prefix + id.text,
            [.create, .set(field: "type", value: type), .set(field: "data", value: data)], now: now, into: &effects)
        try showNode(request, id.text, status: 201, into: &effects)
    }

    mutating func postEdge(
        _ request: RequestID, _ text: String, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let id = try existing(text)
        let members = try Self.members(bytes)
        guard let to = members["to"] else { throw .invalid(field: "to", "required, the id of a node") }
        guard to.kind == .string, let target = UUID(bytes.extracting(to.inner)) else {
            throw .invalid(field: "to", "expected the id of a node, a UUID")
        }
        let type = try Self.text(members["type"], "type", bytes)
        var value: [UInt8] = Array("{\"to\":\"\(target.text)\",\"type\":\"".utf8)
        value.append(contentsOf: type)
        value.append(contentsOf: "\"}".utf8)
        let field = Self.edgePrefix + target.text + "/" + Self.ascii(type)
        // An edge that is there already is not written again.
        if documents.value(of: field, in: Self.prefix + id) == nil {
            put(Self.prefix + id, [.set(field: field, value: value)], now: now, into: &effects)
        }
        try showNode(request, id, status: 201, into: &effects)
    }

    func showNode(
        _ request: RequestID, _ text: String, status: UInt16, into effects: inout Effects
    ) throws(NodeError) {
        let id = try existing(text)
        let start = effects.bytes.count
        append(Self.prefix + id, into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: status), body: start..<effects.bytes.count))
    }

    func listNodes(_ request: RequestID, limit: Int, into effects: inout Effects) {
        let start = effects.bytes.count
        effects.bytes.append(UInt8(ascii: "["))
        for (i, name) in documents.newest(limit, prefix: Self.prefix).enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            append(name, into: &effects.bytes)
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    /// Writes a put and applies it.
    private mutating func put(
        _ document: String, _ changes: [DocumentMap.Change], now: Instant, into effects: inout Effects
    ) {
        scratch.removeAll(keepingCapacity: true)
        DocumentMap.encode(document, changes, into: &scratch)
        _ = write(.put, time: cluster.nextStamp(now: now).time, now: now, into: &effects)
        absorb(into: &effects)
    }

    private static func isSame(_ stored: [UInt8]?, _ given: [UInt8]) -> Bool {
        guard let stored, let stored = try? JSONValue(stored), let given = try? JSONValue(given) else { return false }
        return stored.means(given)
    }

    /// A text as ASCII, one for one: strings that look alike in Unicode count as equal, and two edges must not.
    private static func ascii(_ text: [UInt8]) -> String {
        text.reduce(into: "") { out, byte in
            if byte < 0x80, byte != UInt8(ascii: "%") {
                out.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                out += "%" + String(byte, radix: 16)
            }
        }
    }

    private func existing(_ text: String) throws(NodeError) -> String {
        guard let id = UUID(text), documents.exists(Self.prefix + id.text) else {
            throw .notFound("no graph node \(text.prefix(64)) exists here")
        }
        return id.text
    }

    private func append(_ name: String, into out: inout [UInt8]) {
        out.append(constant: "{\"id\":\"")
        out.append(contentsOf: name.dropFirst(Self.prefix.count).utf8)
        out.append(constant: "\",\"type\":\"")
        out.append(contentsOf: documents.value(of: "type", in: name) ?? [])
        out.append(constant: "\",\"data\":")
        out.append(contentsOf: documents.value(of: "data", in: name) ?? Array("{}".utf8))
        out.append(constant: ",\"edges\":[")
        let edges = documents.fields(of: name, prefix: Self.edgePrefix).sorted { $0.stamp < $1.stamp }
        for (i, edge) in edges.enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            out.append(contentsOf: edge.value)
        }
        out.append(constant: "]}")
    }

    /// The members of the one object that the body must be.
    private static func members(_ bytes: RawSpan) throws(NodeError) -> [String: JSONScanner.Value] {
        var members: [String: JSONScanner.Value] = [:]
        try JSONScanner.oneObject(bytes, "the body") { (scanner, key) throws(JSONError) in
            let name = JSONText.text(key, bytes)
            guard members[name] == nil else { throw JSONError.twice(key) }
            members[name] = try scanner.value(bytes)
        }
        return members
    }

    private static func text(
        _ value: JSONScanner.Value?, _ field: StaticString, _ bytes: RawSpan
    ) throws(NodeError) -> [UInt8] {
        guard let value else { throw .invalid(field: field, "required, a non-empty string") }
        guard value.kind == .string else {
            throw .invalid(field: field, "expected a non-empty string, found \(value.kind.phrase)")
        }
        guard !value.inner.isEmpty, value.inner.count <= maximumTypeBytes else {
            throw .invalid(field: field, "must have 1 to \(maximumTypeBytes) bytes")
        }
        return JSONText.canonical(value, bytes)
    }
}
