/// A moment on the monotonic clock of one process, as a number that the caller supplies.
///
/// Unit: microseconds since an arbitrary start that differs from process to process.
public struct Instant: Hashable, Comparable, BitwiseCopyable, Sendable, CustomStringConvertible {
    /// Microseconds since the arbitrary start.
    public var microseconds: UInt64

    /// A moment so many microseconds after the start.
    @inlinable public init(microseconds: UInt64) { self.microseconds = microseconds }
    /// A moment so many milliseconds after the start.
    @inlinable public init(milliseconds: UInt64) { microseconds = milliseconds * 1_000 }

    /// The moment as whole milliseconds, rounded down.
    @inlinable public var milliseconds: UInt64 { microseconds / 1_000 }

    /// By time.
    @inlinable public static func < (a: Self, b: Self) -> Bool { a.microseconds < b.microseconds }

    /// The moment `milliseconds` later.
    @inlinable public func advanced(milliseconds: UInt64) -> Instant {
        Instant(microseconds: microseconds + milliseconds * 1_000)
    }

    /// Milliseconds from `earlier` to this moment; zero if `earlier` is later.
    @inlinable public func milliseconds(since earlier: Instant) -> UInt64 {
        microseconds > earlier.microseconds ? (microseconds - earlier.microseconds) / 1_000 : 0
    }

    /// For logs and traces: milliseconds with three decimals.
    public var description: String {
        let fraction = String(microseconds % 1_000)
        return "\(milliseconds).\(String(repeating: "0", count: 3 - fraction.utf8.count))\(fraction)"
    }
}
