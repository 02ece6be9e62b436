import CRDT

/// The members of one kind of event that this node knows by name.
protocol FieldName: CaseIterable, RawRepresentable, Sendable where RawValue == Int, AllCases == [Self] {
    /// What an object with these members is, for messages.
    static var subject: StaticString { get }
    /// The first of those that are ours: what a client sends under these names is replaced.
    static var timestamp: Self { get }
    /// The key in JSON.
    var word: StaticString { get }
}

/// Where the fields of one event lie in its JSON: the one scan that accepting and reading it share.
struct NamedFields<Name: FieldName> {
    private var known: InlineArray<16, JSONScanner.Value?> = .init(repeating: nil)
    /// Where the key `timestamp` starts: the end of what the client said, in an event that a node wrote.
    private(set) var timestampKey = 0
    /// Members that are kept though nobody here knows them.
    private(set) var extras: [(key: JSONScanner.Value, value: JSONScanner.Value)] = []

    subscript(name: Name) -> JSONScanner.Value? { known[name.rawValue] }

    /// Scans the one object that `bytes` must be.
    init(_ bytes: RawSpan) throws(NodeError) {
        try JSONScanner.oneObject(bytes, Name.subject) { (scanner, key) throws(JSONError) in
            let value = try scanner.value(bytes)
            guard let name = Name.allCases.first(where: { EventFields.matches(key, $0.word, bytes) }) else {
                guard extras.count < EventFields.maximumExtras else {
                    throw JSONError(offset: key.range.lowerBound, reason: "more than 256 unknown fields")
                }
                for (other, _) in extras where EventFields.isSame(other, key, bytes) { throw JSONError.twice(key) }
                return extras.append((key, value))
            }
            guard known[name.rawValue] == nil else { throw JSONError.twice(key) }
            if name.rawValue == Name.timestamp.rawValue { timestampKey = key.range.lowerBound }
            known[name.rawValue] = value
        }
    }

    /// A member that may be left out and else is a non-empty string; null says as much as nothing.
    func optionalText(_ name: Name) throws(NodeError) -> JSONScanner.Value? {
        guard let value = self[name], value.kind != .null else { return nil }
        return try EventDraft.text(value, name.word)
    }
}

/// Writing what a client said, as members of an object behind others.
extension [UInt8] {
    /// Appends the canonical text of a scanned string; says where it lies.
    @discardableResult
    mutating func append(canonical text: JSONScanner.Value, _ bytes: RawSpan) -> Range<Int> {
        let start = count
        JSONText.canonical(text, bytes, into: &self)
        return start..<count
    }

    /// Appends a member that is a string; says where its text lies.
    @discardableResult
    mutating func append(member name: StaticString, text: JSONScanner.Value, _ bytes: RawSpan) -> Range<Int> {
        append(key: name)
        append(UInt8(ascii: "\""))
        let range = append(canonical: text, bytes)
        append(UInt8(ascii: "\""))
        return range
    }

    /// Appends a member that is a string given as canonical text; says where that lies.
    @discardableResult
    mutating func append(member name: StaticString, canonical text: [UInt8]) -> Range<Int> {
        append(key: name)
        append(UInt8(ascii: "\""))
        let start = count
        append(contentsOf: text)
        append(UInt8(ascii: "\""))
        return start..<count - 1
    }

    /// Appends a member of any kind.
    mutating func append(member name: StaticString, _ value: JSONScanner.Value, _ bytes: RawSpan) {
        append(key: name)
        JSONText.compact(value, bytes, into: &self)
    }

    /// Appends members that nobody here knows.
    mutating func append(extras: [(key: JSONScanner.Value, value: JSONScanner.Value)], _ bytes: RawSpan) {
        for (key, value) in extras {
            append(constant: ",\"")
            JSONText.canonical(key, bytes, into: &self)
            append(constant: "\":")
            JSONText.compact(value, bytes, into: &self)
        }
    }

    /// Appends the key of a member behind others.
    mutating func append(key name: StaticString) {
        append(constant: ",\"")
        append(constant: name)
        append(constant: "\":")
    }
}
