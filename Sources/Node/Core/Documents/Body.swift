import CRDT

/// The members of a request's body, which must be one JSON object. `null` says as much as nothing, but for `isNull`.
struct Body: Sendable {
    /// In the order in which they came; no key stands twice.
    let members: [(key: String, value: JSONValue)]

    /// Reads a body. An empty one counts as an object without members where `mayBeEmpty`.
    init(_ bytes: RawSpan, mayBeEmpty: Bool = false) throws(NodeError) {
        if mayBeEmpty, bytes.byteCount == 0 {
            try self.init(members: [])
            return
        }
        // Says with place and reason what is not JSON.
        try JSONScanner.oneObject(bytes, "the body") { (scanner, _) throws(JSONError) in _ = try scanner.value(bytes) }
        guard case .object(let found)? = try? JSONValue(bytes) else { throw .invalid("the body: expected an object") }
        try self.init(members: found)
    }

    /// The members of an object that stood in a body.
    init(members found: [(key: String, value: JSONValue)]) throws(NodeError) {
        var seen: Set<[UInt8]> = []
        for (key, _) in found where !seen.insert(Array(key.utf8)).inserted {
            throw .invalid("\(key.prefix(64)): stands twice in the body")
        }
        members = found
    }

    /// The value of a member; nil if it is not there or null.
    subscript(name: StaticString) -> JSONValue? {
        let word = "\(name)"
        guard let value = members.first(where: { $0.key.utf8.elementsEqual(word.utf8) })?.value else { return nil }
        return if case .null = value { nil } else { value }
    }

    /// Whether a member is there and null: in a patch, its removal.
    func isNull(_ name: StaticString) -> Bool {
        let word = "\(name)"
        return members.contains { $0.key.utf8.elementsEqual(word.utf8) && $0.value == .null }
    }

    /// The members of other names, in order.
    func others(_ names: [String]) -> [(key: String, value: JSONValue)] {
        members.filter { member in !names.contains { $0.utf8.elementsEqual(member.key.utf8) } }
    }

    // MARK: - Members of a type

    /// A non-empty string of at most `limit` bytes; nil if it is not given.
    func text(_ name: StaticString, limit: Int = Body.maximumTextBytes) throws(NodeError) -> String? {
        guard let value = self[name] else { return nil }
        guard let text = value.string else {
            throw .invalid(field: name, "expected a non-empty string, found \(value.phrase)")
        }
        guard (1...limit).contains(text.utf8.count) else {
            throw .invalid(field: name, "must have 1 to \(limit) bytes")
        }
        return text
    }

    /// A non-empty string that has to be there.
    func requiredText(_ name: StaticString, limit: Int = Body.maximumTextBytes) throws(NodeError) -> String {
        guard let text = try text(name, limit: limit) else {
            throw .invalid(field: name, "required, a non-empty string")
        }
        return text
    }

    /// An array of non-empty strings, each kept once, in order; nil if it is not given.
    func texts(_ name: StaticString, most: Int = 1_000) throws(NodeError) -> [String]? {
        guard let value = self[name] else { return nil }
        guard let elements = value.elements, elements.count <= most else {
            throw .invalid(field: name, "expected an array of at most \(most) non-empty strings, found \(value.phrase)")
        }
        var seen: Set<[UInt8]> = []
        var found: [String] = []
        for element in elements {
            guard let text = element.string, (1...Self.maximumTextBytes).contains(text.utf8.count) else {
                throw .invalid(field: name, "expected strings of 1 to \(Self.maximumTextBytes) bytes")
            }
            if seen.insert(Array(text.utf8)).inserted { found.append(text) }
        }
        return found
    }

    /// A whole number within a range; nil if it is not given.
    func number(_ name: StaticString, _ range: ClosedRange<Int>) throws(NodeError) -> Int? {
        guard let value = self[name] else { return nil }
        guard let number = value.double.flatMap({ Int(exactly: $0) }), range.contains(number) else {
            throw .invalid(
                field: name,
                "expected a whole number from \(range.lowerBound) to \(range.upperBound), found "
                    + "\(value.phrase)")
        }
        return number
    }

    /// A number within a range; nil if it is not given.
    func double(_ name: StaticString, _ range: ClosedRange<Double>) throws(NodeError) -> Double? {
        guard let value = self[name] else { return nil }
        guard let number = value.double, range.contains(number) else {
            throw .invalid(
                field: name, "expected a number from \(range.lowerBound) to \(range.upperBound), found \(value.phrase)")
        }
        return number
    }

    /// True or false; nil if it is not given.
    func bool(_ name: StaticString) throws(NodeError) -> Bool? {
        guard let value = self[name] else { return nil }
        guard case .bool(let bool) = value else {
            throw .invalid(field: name, "expected true or false, found \(value.phrase)")
        }
        return bool
    }

    /// The members of an object; nil if it is not given.
    func object(_ name: StaticString) throws(NodeError) -> [(key: String, value: JSONValue)]? {
        guard let value = self[name] else { return nil }
        guard case .object(let members) = value else {
            throw .invalid(field: name, "expected an object, found \(value.phrase)")
        }
        return members
    }

    /// A moment, as an ISO 8601 text or a number of milliseconds since the Unix epoch; nil if it is not given.
    func moment(_ name: StaticString) throws(NodeError) -> UInt64? {
        guard let value = self[name] else { return nil }
        if let text = value.string, let ms = ISOTime.milliseconds(text) { return ms }
        if let number = value.double, let ms = UInt64(exactly: number), ms < 1 << 47 { return ms }
        throw .invalid(
            field: name, "expected a time like 2026-01-31T12:00:00Z, or milliseconds since 1970, found \(value.phrase)")
    }

    /// The most bytes of a short text: an id, a name, a status.
    static let maximumTextBytes = 1_024
}

extension JSONValue {
    /// What kind of value it is, for messages.
    var phrase: String {
        switch self {
        case .object: "an object"
        case .array: "an array"
        case .string: "a string"
        case .number(let text): "the number \(text.prefix(32))"
        case .bool(let value): value ? "true" : "false"
        case .null: "null"
        }
    }

    /// A moment as ISO 8601 text.
    static func time(_ milliseconds: UInt64) -> JSONValue {
        var out: [UInt8] = []
        ISOTime.write(milliseconds: milliseconds, into: &out)
        return .string(String(decoding: out, as: UTF8.self))
    }

    /// A whole number.
    static func number(_ value: Int) -> JSONValue { .number("\(value)") }
    /// Texts in order.
    static func texts(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }
    /// The text, or null.
    static func optional(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }
}
