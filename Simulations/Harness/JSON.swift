/// A JSON value as the checkers see it. Written apart from the node's own JSON, so that one mistake in there does not
/// hide itself.
enum JSON: Equatable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    /// The member called `key`, if this is an object that has one.
    subscript(key: String) -> JSON? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    /// The object without one of its members; nil if this is none.
    func without(_ key: String) -> JSON? {
        guard case .object(var members) = self else { return nil }
        members[key] = nil
        return .object(members)
    }

    /// The text, if this is one.
    var text: String? { if case .string(let text) = self { text } else { nil } }
    /// The number, if this is one.
    var number: Double? { if case .number(let number) = self { number } else { nil } }
    /// The elements, if this is an array.
    var array: [JSON]? { if case .array(let elements) = self { elements } else { nil } }
}

/// Bytes that are not JSON, and where that shows.
struct MalformedJSON: Error {
    let offset: Int
}

/// Reads JSON from bytes, or skims over it without building anything.
struct JSONReader {
    let bytes: [UInt8]
    private(set) var at: Int
    private let end: Int

    init(_ bytes: [UInt8], _ range: Range<Int>? = nil) {
        self.bytes = bytes
        at = range?.lowerBound ?? 0
        end = range?.upperBound ?? bytes.count
    }

    /// The value that `bytes` hold, and nothing behind it.
    static func parse(_ bytes: [UInt8]) throws(MalformedJSON) -> JSON {
        var reader = JSONReader(bytes)
        let value = try reader.value()
        reader.skipSpace()
        guard reader.at == reader.end else { throw MalformedJSON(offset: reader.at) }
        return value
    }

    /// Calls `visit` for each member of the object that comes next: with where its key lies (without the quotes, as
    /// written) and this reader before the value. `visit` must read or skip the value.
    mutating func members(
        _ visit: (Range<Int>, inout JSONReader) throws(MalformedJSON) -> Void
    ) throws(MalformedJSON) {
        try expect(UInt8(ascii: "{"))
        if take(UInt8(ascii: "}")) { return }
        repeat {
            let key = try rawText()
            try expect(UInt8(ascii: ":"))
            try visit(key, &self)
        } while take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "}"))
    }

    /// Whether the bytes in `range` are those of `text`.
    func matches(_ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        for i in 0..<range.count where bytes[range.lowerBound + i] != text.utf8Start[i] { return false }
        return true
    }

    /// The string that comes next: where it lies, without its quotes and with its escapes.
    mutating func rawText() throws(MalformedJSON) -> Range<Int> {
        try expect(UInt8(ascii: "\""))
        let start = at
        while at < end, bytes[at] != UInt8(ascii: "\"") { at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1 }
        guard at < end else { throw MalformedJSON(offset: start) }
        at += 1
        return start..<at - 1
    }

    /// The number that comes next, as it is written.
    mutating func rawNumber() throws(MalformedJSON) -> Range<Int> {
        skipSpace()
        let start = at
        while at < end {
            switch bytes[at] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
                UInt8(ascii: "e"), UInt8(ascii: "E"):
                at += 1
            default:
                guard at > start else { throw MalformedJSON(offset: at) }
                return start..<at
            }
        }
        guard at > start else { throw MalformedJSON(offset: at) }
        return start..<at
    }

    /// Passes over the value that comes next.
    mutating func skip() throws(MalformedJSON) {
        skipSpace()
        guard at < end else { throw MalformedJSON(offset: at) }
        switch bytes[at] {
        case UInt8(ascii: "\""): _ = try rawText()
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            var depth = 0
            repeat {
                switch bytes[at] {
                case UInt8(ascii: "{"), UInt8(ascii: "["):
                    depth += 1
                    at += 1
                case UInt8(ascii: "}"), UInt8(ascii: "]"):
                    depth -= 1
                    at += 1
                case UInt8(ascii: "\""): _ = try rawText()
                default: at += 1
                }
            } while depth > 0 && at < end
            guard depth == 0 else { throw MalformedJSON(offset: at) }
        case UInt8(ascii: "t"), UInt8(ascii: "n"): at += 4
        case UInt8(ascii: "f"): at += 5
        default: _ = try rawNumber()
        }
    }

    /// Reads the value that comes next.
    mutating func value() throws(MalformedJSON) -> JSON {
        skipSpace()
        guard at < end else { throw MalformedJSON(offset: at) }
        switch bytes[at] {
        case UInt8(ascii: "{"):
            var members: [String: JSON] = [:]
            try self.members { (key, reader) throws(MalformedJSON) in
                let name = try reader.unescaped(key)
                guard members.updateValue(try reader.value(), forKey: name) == nil else {
                    throw MalformedJSON(offset: key.lowerBound)
                }
            }
            return .object(members)
        case UInt8(ascii: "["):
            at += 1
            var elements: [JSON] = []
            if take(UInt8(ascii: "]")) { return .array([]) }
            repeat { elements.append(try value()) } while take(UInt8(ascii: ","))
            try expect(UInt8(ascii: "]"))
            return .array(elements)
        case UInt8(ascii: "\""):
            let raw = try rawText()
            return .string(try unescaped(raw))
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        default:
            let range = try rawNumber()
            guard let number = Double(String(decoding: bytes[range], as: UTF8.self)) else {
                throw MalformedJSON(offset: range.lowerBound)
            }
            return .number(number)
        }
    }

    private mutating func literal(_ text: StaticString, _ value: JSON) throws(MalformedJSON) -> JSON {
        let range = at..<min(end, at + text.utf8CodeUnitCount)
        guard matches(range, text) else { throw MalformedJSON(offset: at) }
        at = range.upperBound
        return value
    }

    private func unescaped(_ range: Range<Int>) throws(MalformedJSON) -> String {
        guard bytes[range].contains(UInt8(ascii: "\\")) else { return String(decoding: bytes[range], as: UTF8.self) }
        var units: [UInt16] = []
        var text: [UInt8] = []
        func flush() { text.append(contentsOf: String(decoding: units, as: UTF16.self).utf8); units.removeAll() }
        var i = range.lowerBound
        while i < range.upperBound {
            guard bytes[i] == UInt8(ascii: "\\") else {
                flush()
                text.append(bytes[i])
                i += 1
                continue
            }
            guard i + 1 < range.upperBound else { throw MalformedJSON(offset: i) }
            if bytes[i + 1] == UInt8(ascii: "u") {
                guard i + 6 <= range.upperBound,
                    let unit = UInt16(String(decoding: bytes[i + 2..<i + 6], as: UTF8.self), radix: 16)
                else { throw MalformedJSON(offset: i) }
                units.append(unit)
                i += 6
                continue
            }
            flush()
            switch bytes[i + 1] {
            case UInt8(ascii: "n"): text.append(10)
            case UInt8(ascii: "t"): text.append(9)
            case UInt8(ascii: "r"): text.append(13)
            case UInt8(ascii: "b"): text.append(8)
            case UInt8(ascii: "f"): text.append(12)
            case let plain: text.append(plain)
            }
            i += 2
        }
        flush()
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func skipSpace() {
        while at < end, bytes[at] == 32 || (bytes[at] >= 9 && bytes[at] <= 13) { at += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        skipSpace()
        guard at < end, bytes[at] == byte else { return false }
        at += 1
        return true
    }

    private mutating func expect(_ byte: UInt8) throws(MalformedJSON) {
        guard take(byte) else { throw MalformedJSON(offset: at) }
    }
}
