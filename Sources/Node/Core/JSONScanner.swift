import CRDT

/// Where and why a text is not JSON.
struct JSONError: Error, Equatable {
    /// Offset of the offending byte in the bytes that were scanned.
    let offset: Int
    /// What was expected or is wrong.
    let reason: StaticString

    /// A key that stood before in the same object: nobody could say which of the two counts.
    static func twice(_ key: JSONScanner.Value) -> JSONError {
        JSONError(offset: key.range.lowerBound, reason: "a field that is given twice")
    }

    static func == (a: Self, b: Self) -> Bool { a.offset == b.offset && "\(a.reason)" == "\(b.reason)" }
}

/// Validates JSON in place (RFC 8259) and reports where values lie; nothing is copied or built.
///
/// The span is passed with every call and the scanner only counts. Strict: no comments, no trailing commas, valid
/// UTF-8, no lone surrogates, numbers that a double can hold, and at most 128 levels of arrays and objects.
struct JSONScanner {
    /// The most levels of arrays and objects inside each other.
    static let maximumDepth = 128

    enum Kind: UInt8, Equatable { case object, array, string, number, true_, false_, null }

    /// A value in the scanned bytes. Small, because an event's parse holds a dozen of them: no body has 4 GiB.
    struct Value: Equatable {
        private let start: UInt32
        private let end: UInt32
        let kind: Kind
        /// For a string: it has escapes, so its bytes are not its text. For others: it has insignificant white space.
        let isLoose: Bool

        init(kind: Kind, range: Range<Int>, isLoose: Bool) {
            start = UInt32(truncatingIfNeeded: range.lowerBound)
            end = UInt32(truncatingIfNeeded: range.upperBound)
            self.kind = kind
            self.isLoose = isLoose
        }

        /// All of it, quotes and brackets included.
        var range: Range<Int> { Int(start)..<Int(end) }
        /// For a string: what is between the quotes.
        var inner: Range<Int> { Int(start) + 1..<Int(end) - 1 }
    }

    /// Offset of the next byte.
    private(set) var at: Int
    private let end: Int
    private var depth = 0
    /// Bytes of white space passed so far.
    private var skipped = 0

    init(_ range: Range<Int>) {
        at = range.lowerBound
        end = range.upperBound
    }

    init(_ bytes: RawSpan) { self.init(0..<bytes.byteCount) }

    // MARK: - Values

    /// Scans the one value that the bytes must hold.
    mutating func document(_ bytes: RawSpan) throws(JSONError) -> Value {
        let value = try self.value(bytes)
        try finish(bytes)
        return value
    }

    /// Checks that nothing but white space is left.
    mutating func finish(_ bytes: RawSpan) throws(JSONError) {
        skipSpace(bytes)
        guard at == end else { throw JSONError(offset: at, reason: "nothing but white space may follow the value") }
    }

    /// Scans the next value whole.
    mutating func value(_ bytes: RawSpan) throws(JSONError) -> Value {
        skipSpace(bytes)
        let start = at
        guard at < end else { throw JSONError(offset: at, reason: "the text ends where a value should be") }
        switch byte(bytes) {
        case UInt8(ascii: "\""):
            return try string(bytes)
        case UInt8(ascii: "{"):
            let before = skipped
            try enterObject(bytes)
            while let _ = try nextKey(bytes) { _ = try value(bytes) }
            return Value(kind: .object, range: start..<at, isLoose: skipped > before)
        case UInt8(ascii: "["):
            let before = skipped
            try enterArray(bytes)
            while try nextElement(bytes) { _ = try value(bytes) }
            return Value(kind: .array, range: start..<at, isLoose: skipped > before)
        case UInt8(ascii: "t"): return try word("true", .true_, bytes)
        case UInt8(ascii: "f"): return try word("false", .false_, bytes)
        case UInt8(ascii: "n"): return try word("null", .null, bytes)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number(bytes)
        default: throw JSONError(offset: at, reason: "expected a value")
        }
    }

    /// The kind of the next value, without moving past it.
    mutating func peek(_ bytes: RawSpan) throws(JSONError) -> Kind {
        skipSpace(bytes)
        guard at < end else { throw JSONError(offset: at, reason: "the text ends where a value should be") }
        switch byte(bytes) {
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "t"): return .true_
        case UInt8(ascii: "f"): return .false_
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        default: throw JSONError(offset: at, reason: "expected a value")
        }
    }

    /// Scans the one object that a body must be; `visit` must scan each member's value.
    @inline(__always)
    static func oneObject(
        _ bytes: RawSpan, _ subject: StaticString,
        _ visit: (inout JSONScanner, _ key: Value) throws(JSONError) -> Void
    ) throws(NodeError) {
        var kind = Kind.object
        do throws(JSONError) {
            var scanner = JSONScanner(bytes)
            kind = try scanner.peek(bytes)
            if kind == .object {
                _ = try scanner.object(bytes, visit)
                try scanner.finish(bytes)
            } else {
                _ = try scanner.document(bytes)
            }
        } catch {
            throw .invalid(error, in: bytes)
        }
        guard kind == .object else { throw .invalid("\(subject) must be one JSON object, not \(kind.phrase)") }
    }

    // MARK: - Objects and arrays, step by step

    /// Scans an object that `peek` has seen; `visit` must scan each member's value.
    @inline(__always)
    mutating func object(
        _ bytes: RawSpan, _ visit: (inout JSONScanner, _ key: Value) throws(JSONError) -> Void
    ) throws(JSONError) -> Value {
        let (start, before) = (at, skipped)
        try enterObject(bytes)
        while let key = try nextKey(bytes) { try visit(&self, key) }
        return Value(kind: .object, range: start..<at, isLoose: skipped > before)
    }

    /// Scans an array that `peek` has seen; `visit` must scan each element.
    @inline(__always)
    mutating func array(
        _ bytes: RawSpan, _ visit: (inout JSONScanner) throws(JSONError) -> Void
    ) throws(JSONError) -> Value {
        let (start, before) = (at, skipped)
        try enterArray(bytes)
        while try nextElement(bytes) { try visit(&self) }
        return Value(kind: .array, range: start..<at, isLoose: skipped > before)
    }

    /// Passes the brace of an object that `peek` has seen.
    mutating func enterObject(_ bytes: RawSpan) throws(JSONError) {
        try enter()
        isFirst = true
    }

    /// Passes the bracket of an array that `peek` has seen.
    mutating func enterArray(_ bytes: RawSpan) throws(JSONError) {
        try enter()
        isFirst = true
    }

    /// Passes the next member's key and colon; nil at the object's end.
    mutating func nextKey(_ bytes: RawSpan) throws(JSONError) -> Value? {
        guard try step(UInt8(ascii: "}"), "expected ',' or '}' after a member", bytes) else { return nil }
        guard at < end, byte(bytes) == UInt8(ascii: "\"") else {
            throw JSONError(offset: at, reason: "expected a key in double quotes")
        }
        let key = try string(bytes)
        skipSpace(bytes)
        guard at < end, byte(bytes) == UInt8(ascii: ":") else {
            throw JSONError(offset: at, reason: "expected ':' after a key")
        }
        at += 1
        return key
    }

    /// Moves to the next element; false at the array's end.
    mutating func nextElement(_ bytes: RawSpan) throws(JSONError) -> Bool {
        try step(UInt8(ascii: "]"), "expected ',' or ']' after an element", bytes)
    }

    /// Whether the bracket just passed is the last thing before the next element.
    private var isFirst = false

    private mutating func enter() throws(JSONError) {
        guard depth < Self.maximumDepth else {
            throw JSONError(offset: at, reason: "more than 128 levels of arrays and objects")
        }
        depth += 1
        at += 1
    }

    private mutating func step(
        _ close: UInt8, _ expected: StaticString, _ bytes: RawSpan
    ) throws(JSONError) -> Bool {
        skipSpace(bytes)
        guard at < end else { throw JSONError(offset: at, reason: "the text ends inside an object or array") }
        if byte(bytes) == close {
            at += 1
            depth -= 1
            isFirst = false
            return false
        }
        if !isFirst {
            guard byte(bytes) == UInt8(ascii: ",") else { throw JSONError(offset: at, reason: expected) }
            at += 1
            skipSpace(bytes)
            if at < end, byte(bytes) == close { throw JSONError(offset: at, reason: "a comma with nothing after it") }
        }
        isFirst = false
        return true
    }

    // MARK: - Strings

    /// Scans a string, eight bytes at a time while they are plain.
    mutating func string(_ bytes: RawSpan) throws(JSONError) -> Value {
        let start = at
        at += 1
        var hasEscapes = false
        while true {
            while at + 8 <= end {
                let word = UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: at, as: UInt64.self))
                let special = Self.special(word)
                if special == 0 {
                    at += 8
                } else {
                    at += special.trailingZeroBitCount / 8
                    break
                }
            }
            guard at < end else { throw JSONError(offset: at, reason: "the text ends inside a string") }
            let next = byte(bytes)
            switch next {
            case UInt8(ascii: "\""):
                at += 1
                return Value(kind: .string, range: start..<at, isLoose: hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                try escape(bytes)
            case 0..<0x20: throw JSONError(offset: at, reason: "a control character in a string; write it as \\u00XX")
            case 0x20..<0x80: at += 1
            default: at += try Self.sequence(bytes, at: at, end: end)
            }
        }
    }

    /// A word with the high bit set in each byte that ends a run of plain string bytes. A byte above the lowest marked
    /// one may be marked wrongly, which does no harm: only the lowest is used.
    @inline(__always) private static func special(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs: UInt64 = 0x8080_8080_8080_8080
        let quote = word ^ (ones &* 0x22)
        let slash = word ^ (ones &* 0x5c)
        let below = (word &- (ones &* 0x20)) & ~word
        return (((quote &- ones) & ~quote) | ((slash &- ones) & ~slash) | below | word) & highs
    }

    private mutating func escape(_ bytes: RawSpan) throws(JSONError) {
        let start = at
        guard at + 1 < end else { throw JSONError(offset: at, reason: "the text ends inside a string") }
        at += 1
        switch byte(bytes) {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            at += 1
        case UInt8(ascii: "u"):
            let unit = try hexadecimal(bytes)
            if unit & 0xfc00 == 0xdc00 { throw JSONError(offset: start, reason: "a lone low surrogate") }
            guard unit & 0xfc00 == 0xd800 else { return }
            guard at + 1 < end, byte(bytes) == UInt8(ascii: "\\"),
                bytes.unsafeLoad(fromUncheckedByteOffset: at + 1, as: UInt8.self) == UInt8(ascii: "u")
            else { throw JSONError(offset: start, reason: "a lone high surrogate") }
            at += 1
            guard try hexadecimal(bytes) & 0xfc00 == 0xdc00 else {
                throw JSONError(offset: start, reason: "a lone high surrogate")
            }
        default: throw JSONError(offset: start, reason: "an unknown escape in a string")
        }
    }

    /// The four digits behind `u`.
    private mutating func hexadecimal(_ bytes: RawSpan) throws(JSONError) -> UInt32 {
        at += 1
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard at < end, let digit = Self.digit(byte(bytes)) else {
                throw JSONError(offset: min(at, end), reason: "expected four hexadecimal digits after \\u")
            }
            unit = unit << 4 | digit
            at += 1
        }
        return unit
    }

    static func digit(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
        default: nil
        }
    }

    /// The length of the UTF-8 sequence at an offset (Unicode 15, table 3-7).
    private static func sequence(_ bytes: RawSpan, at: Int, end: Int) throws(JSONError) -> Int {
        func byte(_ i: Int) -> UInt8 { i < end ? bytes.unsafeLoad(fromUncheckedByteOffset: i, as: UInt8.self) : 0 }
        let lead = byte(at)
        let second = byte(at + 1)
        let length: Int
        let isValid: Bool
        switch lead {
        case 0xc2...0xdf: (length, isValid) = (2, second & 0xc0 == 0x80)
        case 0xe0: (length, isValid) = (3, second >= 0xa0 && second <= 0xbf)
        case 0xed: (length, isValid) = (3, second >= 0x80 && second <= 0x9f)
        case 0xe1...0xef: (length, isValid) = (3, second & 0xc0 == 0x80)
        case 0xf0: (length, isValid) = (4, second >= 0x90 && second <= 0xbf)
        case 0xf1...0xf3: (length, isValid) = (4, second & 0xc0 == 0x80)
        case 0xf4: (length, isValid) = (4, second >= 0x80 && second <= 0x8f)
        default: throw JSONError(offset: at, reason: "invalid UTF-8")
        }
        guard isValid, length < 3 || byte(at + 2) & 0xc0 == 0x80, length < 4 || byte(at + 3) & 0xc0 == 0x80 else {
            throw JSONError(offset: at, reason: "invalid UTF-8")
        }
        return length
    }

    // MARK: - Numbers and words

    private mutating func number(_ bytes: RawSpan) throws(JSONError) -> Value {
        let start = at
        if byte(bytes) == UInt8(ascii: "-") { at += 1 }
        let integer = at
        if at < end, byte(bytes) == UInt8(ascii: "0") {
            at += 1
            if at < end, isDigit(bytes) { throw JSONError(offset: start, reason: "a number with a leading zero") }
        } else {
            try digits(bytes)
        }
        var mayOverflow = at - integer > 300
        if at < end, byte(bytes) == UInt8(ascii: ".") {
            at += 1
            try digits(bytes)
        }
        if at < end, byte(bytes) | 0x20 == UInt8(ascii: "e") {
            at += 1
            if at < end, byte(bytes) == UInt8(ascii: "+") || byte(bytes) == UInt8(ascii: "-") { at += 1 }
            let exponent = at
            try digits(bytes)
            if at - exponent > 2 || at - integer > 200 { mayOverflow = true }
        }
        if mayOverflow, !(JSONText.double(bytes, start..<at)?.isFinite ?? false) {
            throw JSONError(offset: start, reason: "a number too large for a double")
        }
        return Value(kind: .number, range: start..<at, isLoose: false)
    }

    private mutating func digits(_ bytes: RawSpan) throws(JSONError) {
        let start = at
        while at < end, isDigit(bytes) { at += 1 }
        guard at > start else { throw JSONError(offset: at, reason: "expected a digit") }
    }

    private func isDigit(_ bytes: RawSpan) -> Bool { byte(bytes) &- UInt8(ascii: "0") < 10 }

    private mutating func word(_ word: StaticString, _ kind: Kind, _ bytes: RawSpan) throws(JSONError) -> Value {
        let start = at
        for i in 0..<word.utf8CodeUnitCount {
            guard at < end, byte(bytes) == word.utf8Start[i] else {
                throw JSONError(offset: start, reason: "expected a value")
            }
            at += 1
        }
        return Value(kind: kind, range: start..<at, isLoose: false)
    }

    // MARK: - Bytes

    @inline(__always) private func byte(_ bytes: RawSpan) -> UInt8 {
        bytes.unsafeLoad(fromUncheckedByteOffset: at, as: UInt8.self)
    }

    @inline(__always) private mutating func skipSpace(_ bytes: RawSpan) {
        while at < end {
            switch byte(bytes) {
            case 0x20, 0x0a, 0x0d, 0x09:
                at += 1
                skipped += 1
            default: return
            }
        }
    }
}
