import CRDT

/// A JSON text as a tree (RFC 8259): for showing what a node answered, and for comparing two bodies that differ as bytes.
///
/// The node itself reads events in place and does not build this on its hot path. Numbers keep their text and objects
/// their order, so that what is written again is what came.
public indirect enum JSONValue: Equatable, Sendable {
    /// `null`.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// The number as it stood in the text.
    case number(String)
    /// The text of a string, its escapes resolved.
    case string(String)
    /// Values in order.
    case array([JSONValue])
    /// Members in order; a key may stand twice.
    case object([(key: String, value: JSONValue)])

    /// Where a text stops being JSON, and why.
    public struct Malformed: Error, Equatable, CustomStringConvertible {
        /// Bytes from the start.
        public let offset: Int
        /// What was expected or is wrong.
        public let reason: String
        /// The reason and the place.
        public var description: String { "\(reason) at byte \(offset)" }
    }

    /// Reads a whole JSON text in UTF-8.
    public init(_ bytes: [UInt8]) throws(Malformed) { self = try JSONValue(bytes.span.bytes) }

    /// Reads a whole JSON text in UTF-8.
    public init(_ bytes: RawSpan) throws(Malformed) {
        do throws(JSONError) {
            var scanner = JSONScanner(bytes)
            self = try Self.read(&scanner, bytes)
            try scanner.finish(bytes)
        } catch {
            throw Malformed(offset: error.offset, reason: "\(error.reason)")
        }
    }

    private static func read(_ scanner: inout JSONScanner, _ bytes: RawSpan) throws(JSONError) -> JSONValue {
        switch try scanner.peek(bytes) {
        case .object:
            var members: [(key: String, value: JSONValue)] = []
            _ = try scanner.object(bytes) { (scanner, key) throws(JSONError) in
                members.append((JSONText.text(key, bytes), try read(&scanner, bytes)))
            }
            return .object(members)
        case .array:
            var elements: [JSONValue] = []
            _ = try scanner.array(bytes) { (scanner) throws(JSONError) in elements.append(try read(&scanner, bytes)) }
            return .array(elements)
        case .string: return .string(JSONText.text(try scanner.value(bytes), bytes))
        case .number:
            let number = try scanner.value(bytes)
            return .number(
                bytes.extracting(number.range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) })
        case .true_, .false_: return .bool(try scanner.value(bytes).kind == .true_)
        case .null:
            _ = try scanner.value(bytes)
            return .null
        }
    }

    /// The value of a key, the last one's if it stands twice; nil if there is none or this is not an object.
    public subscript(_ key: String) -> JSONValue? {
        if case .object(let fields) = self { fields.last { $0.key == key }?.value } else { nil }
    }

    /// The text of a string.
    public var string: String? { if case .string(let text) = self { text } else { nil } }
    /// The number as a double.
    public var double: Double? { if case .number(let text) = self { Double(text) } else { nil } }
    /// The elements of an array.
    public var elements: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }

    /// A string without its quotes, anything else as JSON: what a table shows.
    public var plain: String { string ?? String(decoding: encoded(), as: UTF8.self) }

    /// The value as compact JSON.
    public func encoded() -> [UInt8] {
        var out: [UInt8] = []
        write(into: &out)
        return out
    }

    private func write(into out: inout [UInt8]) {
        switch self {
        case .null: out += "null".utf8
        case .bool(let value): out += (value ? "true" : "false").utf8
        case .number(let text): out += text.utf8
        case .string(let text): out.append(json: text)
        case .array(let elements):
            out.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                element.write(into: &out)
            }
            out.append(UInt8(ascii: "]"))
        case .object(let fields):
            out.append(UInt8(ascii: "{"))
            for (index, field) in fields.enumerated() {
                if index > 0 { out.append(UInt8(ascii: ",")) }
                out.append(json: field.key)
                out.append(UInt8(ascii: ":"))
                field.value.write(into: &out)
            }
            out.append(UInt8(ascii: "}"))
        }
    }

    /// This value changed by a JSON merge patch (RFC 7396, section 2): null removes a member, objects are merged, and
    /// anything else takes its place. Members keep their order; new ones follow.
    public func merging(_ patch: JSONValue) -> JSONValue {
        guard case .object(let changes) = patch else { return patch }
        var members: [(key: String, value: JSONValue?)] = []
        if case .object(let mine) = self { members = mine.map { ($0.key, $0.value) } }
        // By bytes: texts that look alike in Unicode are different keys.
        var places = Dictionary(members.indices.map { (Array(members[$0].key.utf8), $0) }) { _, last in last }
        for (key, change) in changes {
            let place = places[Array(key.utf8)]
            if case .null = change {
                if let place { members[place].value = nil }
            } else if let place {
                members[place].value = (members[place].value ?? .null).merging(change)
            } else {
                places[Array(key.utf8)] = members.count
                members.append((key, JSONValue.null.merging(change)))
            }
        }
        return .object(members.compactMap { member in member.value.map { (member.key, $0) } })
    }

    /// Whether both say the same: the order of members and the spelling of numbers do not matter, texts are compared
    /// byte by byte.
    public func means(_ other: JSONValue) -> Bool {
        switch (self, other) {
        case (.number(let a), .number(let b)): Double(a) == Double(b)
        case (.string(let a), .string(let b)): a.utf8.elementsEqual(b.utf8)
        case (.array(let a), .array(let b)): a.count == b.count && zip(a, b).allSatisfy { $0.means($1) }
        case (.object(let a), .object(let b)):
            a.count == b.count
                && zip(Self.sorted(a), Self.sorted(b)).allSatisfy {
                    $0.key.utf8.elementsEqual($1.key.utf8) && $0.value.means($1.value)
                }
        default: self == other
        }
    }

    private static func sorted(_ members: [(key: String, value: JSONValue)]) -> [(key: String, value: JSONValue)] {
        members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
    }

    /// Equal texts of numbers, equal members in equal order; see `means` for less.
    public static func == (a: Self, b: Self) -> Bool {
        switch (a, b) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.number(let a), .number(let b)), (.string(let a), .string(let b)): a == b
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)): a.elementsEqual(b) { $0.key == $1.key && $0.value == $1.value }
        case (.null, _), (.bool, _), (.number, _), (.string, _), (.array, _), (.object, _): false
        }
    }
}
