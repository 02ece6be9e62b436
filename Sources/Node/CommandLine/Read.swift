internal import Gossip
internal import NodeCore

/// How the text of a flag becomes a value. Each reader says what it expects when the text does not fit.
enum Read {
    /// A name for people or a cluster: 1 to 64 bytes without blanks and control characters.
    static func name(_ text: String) throws(BadValue) -> String {
        guard (1...64).contains(text.utf8.count),
            text.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7f })
        else { throw BadValue(expected: "a name of 1 to 64 bytes without blanks") }
        return text
    }

    /// Any text that is not empty.
    static func text(_ text: String) throws(BadValue) -> String {
        guard !text.isEmpty else { throw BadValue(expected: "some text") }
        return text
    }

    /// One of a few words.
    static func choice<Value>(_ choices: [(String, Value)]) -> (String) throws(BadValue) -> Value {
        { (text) throws(BadValue) in
            if let found = choices.first(where: { $0.0 == text }) { return found.1 }
            let words = choices.map(\.0)
            let list = words.dropLast().joined(separator: ", ") + " or " + (words.last ?? "")
            throw BadValue(expected: list, nearest: nearest(to: text, in: words))
        }
    }

    /// A whole number within bounds.
    static func integer(_ range: ClosedRange<Int>) -> (String) throws(BadValue) -> Int {
        { (text) throws(BadValue) in
            guard let value = Int(text), range.contains(value) else {
                throw BadValue(expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
    }

    /// A decimal number that `fits`.
    static func decimal(
        _ expected: String, _ fits: @escaping (Double) -> Bool
    ) -> (String) throws(BadValue) -> Double {
        { (text) throws(BadValue) in
            guard let value = plainDecimal(text), fits(value) else { throw BadValue(expected: expected) }
            return value
        }
    }

    /// Milliseconds from `500ms`, `2s`, `1.5m` or `1h`, within bounds.
    static func duration(_ range: ClosedRange<UInt64>) -> (String) throws(BadValue) -> UInt64 {
        { (text) throws(BadValue) in
            guard let milliseconds = quantity(text, units: durationUnits) else {
                throw BadValue(expected: "a duration with its unit, such as 500ms, 2s, 1.5m or 1h")
            }
            guard range.contains(milliseconds) else {
                throw BadValue(expected: "\(durationText(range.lowerBound)) to \(durationText(range.upperBound))")
            }
            return milliseconds
        }
    }

    /// Bytes from `64KiB`, `1.5GiB`, `100MB` or a plain number, within bounds.
    static func size(_ range: ClosedRange<Int>) -> (String) throws(BadValue) -> Int {
        { (text) throws(BadValue) in
            guard let bytes = quantity(text, units: sizeUnits).flatMap({ Int(exactly: $0) }) else {
                throw BadValue(expected: "a size such as 512MiB, 1GiB, 100MB or a number of bytes")
            }
            guard range.contains(bytes) else {
                throw BadValue(expected: "\(sizeText(range.lowerBound)) to \(sizeText(range.upperBound))")
            }
            return bytes
        }
    }

    /// Where to listen or to whom to speak.
    static func hostPort(_ text: String) throws(BadValue) -> HostPort {
        guard let value = HostPort(text) else { throw BadValue(expected: HostPort.expected) }
        return value
    }

    /// Like `hostPort`, for a port that others use: not 0.
    static func reachableHostPort(_ text: String) throws(BadValue) -> HostPort {
        guard let value = HostPort(text), value.port != 0 else {
            throw BadValue(expected: HostPort.expected + " with a port above 0")
        }
        return value
    }

    /// The levels of the log by their names.
    static let logLevels: [(String, LogLevel)] = LogLevel.allCases.map { (Log.word(for: $0), $0) }
    /// The formats of the log by their names.
    static let logFormats: [(String, Log.Format)] = [("text", .text), ("json", .json)]

    /// Digits with an optional fraction and exponent; not the hexadecimal and infinite forms that `Double` accepts.
    static func plainDecimal(_ text: String) -> Double? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) || ".eE+-".utf8.contains($0) }) else { return nil }
        return Double(text)
    }

    private static let durationUnits: [(String, Double)] = [
        ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000),
    ]
    private static let sizeUnits: [(String, Double)] = [
        ("", 1), ("B", 1), ("KiB", 0x1p10), ("MiB", 0x1p20), ("GiB", 0x1p30), ("TiB", 0x1p40), ("kB", 1e3), ("KB", 1e3),
        ("MB", 1e6), ("GB", 1e9), ("TB", 1e12),
    ]

    /// A number and its unit, multiplied and rounded; nil if either is wrong or the product is negative or too large.
    private static func quantity(_ text: String, units: [(String, Double)]) -> UInt64? {
        let digits = text.prefix { ("0"..."9").contains($0) || $0 == "." }
        let unit = trimmed(text[digits.endIndex...])
        guard let factor = units.first(where: { $0.0 == unit })?.1, let number = plainDecimal(String(digits)) else {
            return nil
        }
        let product = (number * factor).rounded()
        return product < 0x1p62 ? UInt64(product) : nil
    }
}

/// `2s`, `1m` or `1500ms`: the largest unit that divides `milliseconds`.
func durationText(_ milliseconds: UInt64) -> String {
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] as [(String, UInt64)]
    where milliseconds >= size && milliseconds.isMultiple(of: size) { return "\(milliseconds / size)\(unit)" }
    return "\(milliseconds)ms"
}

/// `1GiB`, `64KiB` or `1000B`: the largest unit that divides `bytes`.
func sizeText(_ bytes: Int) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
    where bytes >= 1 << shift && bytes.isMultiple(of: 1 << shift) { return "\(bytes >> shift)\(unit)" }
    return "\(bytes)B"
}
