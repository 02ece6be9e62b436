import CRDT

/// Bodies as Soorma's SDKs send them. Their models have a name for JSON (`agentId`) and one for Python (`agent_id`): either is
/// taken, and what has both stands twice. Members are found and kept under the first.
extension Body {
    /// Reads a body whose members nobody here knows by all of their names: those that are not asked for count for nothing.
    init(soorma bytes: RawSpan, mayBeEmpty: Bool = false) throws(NodeError) {
        try self.init(members: Body(bytes, mayBeEmpty: mayBeEmpty).members.map { (Self.camelCase($0.key), $0.value) })
    }

    /// What is said of one thing, which stands under `name` in the body, or is all of it. Members other than the known ones
    /// are kept as they came.
    init(soorma bytes: RawSpan, of name: StaticString, known: [String]) throws(NodeError) {
        let whole = try Body(bytes)
        var members = whole.members
        if whole.members.contains(where: { $0.key.isSame(as: "\(name)") }) {
            guard let inner = try whole.object(name) else {
                throw .invalid(field: name, "expected an object, found null")
            }
            members = inner
        }
        try self.init(
            members: members.map { key, value in
                let spelt = Self.camelCase(key)
                return (known.contains { $0.isSame(as: spelt) } ? spelt : key, value)
            })
    }

    /// `agent_id` is `agentId` in JSON.
    private static func camelCase(_ name: String) -> String {
        var out: [UInt8] = []
        var isNext = false
        for byte in name.utf8 {
            if byte == UInt8(ascii: "_"), !out.isEmpty, !isNext {
                isNext = true
            } else if isNext, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) {
                out.append(byte & ~0x20)
                isNext = false
            } else {
                if isNext { out.append(UInt8(ascii: "_")) }
                out.append(byte)
                isNext = false
            }
        }
        if isNext { out.append(UInt8(ascii: "_")) }
        return String(decoding: out, as: UTF8.self)
    }

    /// A text that may be empty; nil if it is not given.
    func anyText(_ name: StaticString, limit: Int = .max) throws(NodeError) -> String? {
        guard let value = self[name] else { return nil }
        guard let text = value.string else { throw .invalid(field: name, "expected a string, found \(value.phrase)") }
        guard text.utf8.count <= limit else { throw .invalid(field: name, "must have at most \(limit) bytes") }
        return text
    }

    /// An array of texts that may be empty, and may be the same; nil if it is not given.
    func anyTexts(_ name: StaticString, most: Int) throws(NodeError) -> [String]? {
        guard let value = self[name] else { return nil }
        guard let elements = value.elements, elements.count <= most else {
            throw .invalid(field: name, "expected an array of at most \(most) strings, found \(value.phrase)")
        }
        var found: [String] = []
        for element in elements {
            guard let text = element.string, text.utf8.count <= Self.maximumTextBytes else {
                throw .invalid(field: name, "expected strings of at most \(Self.maximumTextBytes) bytes")
            }
            found.append(text)
        }
        return found
    }
}

extension JSONValue {
    /// The members of an object, none of which may stand twice, as each becomes a field.
    func members(of name: StaticString) throws(NodeError) -> [(key: String, value: JSONValue)] {
        guard case .object(let members) = self else {
            throw .invalid(field: name, "expected an object, found \(phrase)")
        }
        var seen: Set<[UInt8]> = []
        for (key, _) in members where !seen.insert(Array(key.utf8)).inserted {
            throw .invalid(field: name, "\(key.prefix(64)) stands twice in it")
        }
        return members
    }
}
