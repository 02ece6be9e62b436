/// One TCP connection to another peer. Chosen by the shell, never reused.
public struct LinkID: Hashable, Comparable, Sendable {
    /// The shell's number.
    public let rawValue: UInt64
    /// Wraps the shell's number.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// By number.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}
