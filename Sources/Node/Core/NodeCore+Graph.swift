import CRDT
import Gossip

/// SEMP's graph: a node is a document; its type, each member of its data and each edge is a field of it. So what is
/// changed or added at two sides of a partition both stays, and of two changes of one field the later one.
extension NodeCore {
    private static let prefix = "node/"
    private static let edgePrefix = "edge/"
    private static let dataPrefix = "data/"
    /// The most bytes of a node's or edge's type.
    private static let maximumTypeBytes = 1_024
    /// The most members of a node's data: one put sets them all.
    private static let maximumMembers = 4_000
    /// The most bytes of a member's name.
    private static let maximumMemberBytes = 1_024

    // MARK: - Nodes

    mutating func postNode(
        _ request: RequestID, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let members = try Self.members(bytes)
        let type = try Self.text(members["type"], "type", bytes)
        let data = try members["data"].map { (value) throws(NodeError) in try Self.data(value, bytes) } ?? []
        var id = UUID(random: dice.next(), dice.next())
        if let value = members["id"] {
            guard value.kind == .string, let given = UUID(bytes.extracting(value.inner)) else {
                throw .invalid(field: "id", "expected a UUID; leave it out to get one made")
            }
            id = given
            let name = Self.prefix + id.text
            if isWhole(name), let created = documents.created(name) {
                guard documents.value(of: "type", in: name) == type, isData(of: name, data, bytes) else {
                    throw .conflict("node \(id.text) exists with another content; use a new id, or PATCH it")
                }
                return try showNode(request, id.text, Reply(status: 200, stamp: created), into: &effects)
            }
        }
        let changes = data.map { member in
            DocumentMap.Change.set(field: Self.dataPrefix + member.name, value: Self.compact(member.value, bytes))
        }
        let stamp = try put(
            Self.prefix + id.text, [.create, .set(field: "type", value: type)] + changes, now: now, into: &effects)
        try showNode(request, id.text, Reply(status: 201, stamp: stamp), into: &effects)
    }

    /// Changes what the body names and nothing else, as RFC 7396 has it: in `data`, null removes a member, an object is
    /// merged into the one that is there, and anything else takes its place.
    mutating func patchNode(
        _ request: RequestID, _ text: String, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let name = Self.prefix + (try existing(text))
        let members = try Self.members(bytes)
        if let other = members.keys.filter({ $0 != "type" && $0 != "data" }).min() {
            throw .invalid("\(other.prefix(64)): a patch may change type and data; edges are posted and deleted")
        }
        var changes: [DocumentMap.Change] = []
        if let type = members["type"] {
            guard type.kind != .null else { throw .invalid(field: "type", "required, so null cannot remove it") }
            changes.append(.set(field: "type", value: try Self.text(type, "type", bytes)))
        }
        if let patch = members["data"] { changes += try dataChanges(of: name, patch, bytes) }
        let stamp = changes.isEmpty ? nil : try put(name, changes, now: now, into: &effects)
        try showNode(request, text, Reply(status: 200, stamp: stamp), into: &effects)
    }

    mutating func deleteNode(
        _ request: RequestID, _ text: String, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let stamp = try put(Self.prefix + (try existing(text)), [.remove], now: now, into: &effects)
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }

    /// Shows a node; `reply` is the head of the answer.
    func showNode(
        _ request: RequestID, _ text: String, _ reply: Reply = Reply(status: 200), into effects: inout Effects
    ) throws(NodeError) {
        let id = try existing(text)
        let start = effects.bytes.count
        append(Self.prefix + id, into: &effects.bytes)
        effects.list.append(.reply(request, reply, body: start..<effects.bytes.count))
    }

    func listNodes(_ request: RequestID, limit: Int, into effects: inout Effects) {
        let start = effects.bytes.count
        effects.bytes.append(UInt8(ascii: "["))
        for (i, name) in documents.newest(limit, prefix: Self.prefix).filter(isWhole).enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            append(name, into: &effects.bytes)
        }
        effects.bytes.append(UInt8(ascii: "]"))
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    // MARK: - Edges

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
        let field = Self.edgeField(to: target, type)
        // An edge that is there already is not written again.
        var stamp = edges(of: id, to: target, type).first?.stamp
        if stamp == nil {
            stamp = try put(Self.prefix + id, [.set(field: field, value: value)], now: now, into: &effects)
        }
        try showNode(request, id, Reply(status: 201, stamp: stamp), into: &effects)
    }

    /// Removes the edges to a target: those of one type, or with nil all that are known here.
    mutating func deleteEdges(
        _ request: RequestID, _ text: String, to targetText: String, type: String?, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let id = try existing(text)
        let type = type.map { JSONText.canonical($0) }
        let found = UUID(targetText).map { edges(of: id, to: $0, type) } ?? []
        guard !found.isEmpty else {
            let kind = type.map { " of type \"\(String(decoding: $0.prefix(64), as: UTF8.self))\"" } ?? ""
            throw .notFound("no edge\(kind) from graph node \(id) to \(targetText.prefix(64)) exists here")
        }
        guard found.count <= DocumentMap.maximumChanges else {
            throw .conflict("\(found.count) edges are too many for one request; name their types one by one: ?type=")
        }
        let stamp = try put(
            Self.prefix + id, found.map { .unset(field: $0.name) }, now: now, into: &effects)
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }

    private static func edgeField(to target: UUID, _ type: [UInt8]) -> String {
        edgePrefix + target.text + "/" + ascii(type)
    }

    /// The edges from a node to a target, of one type or of any.
    private func edges(of id: String, to target: UUID, _ type: [UInt8]?) -> [DocumentMap.Field] {
        let field = type.map { Self.edgeField(to: target, $0) }
        let prefix = field ?? Self.edgePrefix + target.text + "/"
        return documents.fields(of: Self.prefix + id, prefix: prefix).filter { field == nil || $0.name == field }
    }

    // MARK: - Data

    /// One member of an object in a body.
    private struct Member {
        let name: String
        let value: JSONScanner.Value
    }

    /// What a patch does to the members of a node's data.
    private func dataChanges(
        of name: String, _ patch: JSONScanner.Value, _ bytes: RawSpan
    ) throws(NodeError) -> [DocumentMap.Change] {
        var known: [[UInt8]: [UInt8]] = [:]
        for field in documents.fields(of: name, prefix: Self.dataPrefix) { known[Array(field.name.utf8)] = field.value }
        if patch.kind == .null {
            return documents.fields(of: name, prefix: Self.dataPrefix).map { .unset(field: $0.name) }
        }
        var count = known.count
        var changes: [DocumentMap.Change] = []
        for member in try Self.data(patch, bytes) {
            let field = Self.dataPrefix + member.name
            let old = known[Array(field.utf8)]
            switch member.value.kind {
            case .null:
                guard old != nil else { continue }
                changes.append(.unset(field: field))
                count -= 1
                continue
            case .object:
                // It was scanned, so it can be read.
                guard let new = try? JSONValue(bytes.extracting(member.value.range)) else { continue }
                let whole = old.flatMap { try? JSONValue($0) } ?? .null
                changes.append(.set(field: field, value: whole.merging(new).encoded()))
            case .array, .string, .number, .true_, .false_:
                changes.append(.set(field: field, value: Self.compact(member.value, bytes)))
            }
            if old == nil { count += 1 }
        }
        guard count <= Self.maximumMembers else { throw Self.tooManyMembers }
        return changes
    }

    /// The members of a node's data in a body.
    private static func data(_ value: JSONScanner.Value, _ bytes: RawSpan) throws(NodeError) -> [Member] {
        guard value.kind == .object else {
            throw .invalid(field: "data", "expected an object, found \(value.kind.phrase)")
        }
        var members: [Member] = []
        var seen: Set<[UInt8]> = []
        var longest = 0
        do throws(JSONError) {
            var scanner = JSONScanner(value.range)
            _ = try scanner.object(bytes) { (scanner, key) throws(JSONError) in
                let name = JSONText.text(key, bytes)
                guard seen.insert(Array(name.utf8)).inserted else { throw JSONError.twice(key) }
                longest = max(longest, name.utf8.count)
                members.append(Member(name: name, value: try scanner.value(bytes)))
            }
        } catch {
            throw .invalid(error, in: bytes)
        }
        guard members.count <= maximumMembers else { throw tooManyMembers }
        guard longest <= maximumMemberBytes else {
            throw .invalid(field: "data", "a name may have at most \(maximumMemberBytes) bytes")
        }
        return members
    }

    private static var tooManyMembers: NodeError {
        .invalid(field: "data", "may have at most \(maximumMembers) members; put more inside one of them")
    }

    /// Whether a node's data say the same as a body.
    private func isData(of name: String, _ given: [Member], _ bytes: RawSpan) -> Bool {
        let stored = documents.fields(of: name, prefix: Self.dataPrefix)
        let given = given.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        guard stored.count == given.count else { return false }
        for (field, member) in zip(stored, given) {
            guard field.name.utf8.elementsEqual((Self.dataPrefix + member.name).utf8),
                let mine = try? JSONValue(field.value),
                let theirs = try? JSONValue(bytes.extracting(member.value.range)),
                mine.means(theirs)
            else { return false }
        }
        return true
    }

    private static func compact(_ value: JSONScanner.Value, _ bytes: RawSpan) -> [UInt8] {
        var out: [UInt8] = []
        JSONText.compact(value, bytes, into: &out)
        return out
    }

    // MARK: - Documents

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

    /// Whether a graph node is there. One is made with its type and never loses it; so a document without one is what is left
    /// of a node that was removed, of which somebody who had missed that said a part again (`NodeCore+Reset`).
    private func isWhole(_ name: String) -> Bool { documents.value(of: "type", in: name) != nil }

    private func existing(_ text: String) throws(NodeError) -> String {
        guard let id = UUID(text), isWhole(Self.prefix + id.text) else {
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
        out.append(UInt8(ascii: "{"))
        for (i, member) in documents.fields(of: name, prefix: Self.dataPrefix).enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            out.append(json: String(member.name.unicodeScalars.dropFirst(Self.dataPrefix.unicodeScalars.count)))
            out.append(UInt8(ascii: ":"))
            out.append(contentsOf: member.value)
        }
        out.append(constant: "},\"edges\":[")
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
