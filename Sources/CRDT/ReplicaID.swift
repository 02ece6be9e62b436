/// Names one log: the sequence of facts that one node wrote in one life of its data.
///
/// A random 64-bit number made together with the log. It belongs to the log and not to the host: a node whose
/// data is gone, restored or copied writes under a new one, so that no (replica, sequence) ever names two facts.
public struct ReplicaID: Hashable, Comparable, BitwiseCopyable, Sendable, CustomStringConvertible {
    /// The number itself; zero is never used for a real log.
    public let rawValue: UInt64

    /// Wraps a number that was drawn at random by the shell, or read from the wire.
    @inlinable public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// By number.
    @inlinable public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// 16 lower-case hexadecimal digits, as clients see it.
    public var description: String { hexadecimal(rawValue, digits: 16) }

    /// Reads the 16 hexadecimal digits of `description`; nil for anything else.
    public init?(text: some StringProtocol) {
        guard text.utf8.count == 16, let value = parsedHexadecimal(text) else { return nil }
        rawValue = value
    }
}

/// The number that hexadecimal digits, and nothing but digits, say: `UInt64(_:radix:)` takes a sign, too.
func parsedHexadecimal(_ text: some StringProtocol) -> UInt64? {
    guard let first = text.utf8.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-") else { return nil }
    return UInt64(text, radix: 16)
}

/// `value` in lower-case hexadecimal, padded with zeros to `digits`.
func hexadecimal(_ value: UInt64, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}
