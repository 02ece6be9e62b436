/// Gives out stamps that rise, stay close to physical time, and come after everything seen.
///
/// Kulkarni et al., "Logical Physical Clocks" (OPODIS 2014), figure 5. A counter that overflows carries into the
/// milliseconds, which the packed form of `HybridTimestamp.time` does by itself.
public struct HybridClock: Equatable, Sendable {
    /// The highest time given out or seen: milliseconds above 16 bits of counter.
    public private(set) var last: UInt64

    /// A clock that has seen `last`; pass the persisted high-water mark after a restart.
    public init(last: UInt64 = 0) { self.last = last }

    /// The time of the next write, later than everything given out or seen.
    public mutating func next(physicalMilliseconds: UInt64) -> UInt64 {
        last = max(last + 1, physicalMilliseconds << 16)
        return last
    }

    /// Notes a time seen on somebody else's write.
    public mutating func observe(_ time: UInt64) { last = max(last, time) }

    /// The moment at which state is read, in milliseconds: never before anything seen.
    public func milliseconds(physicalMilliseconds: UInt64) -> UInt64 { max(last >> 16, physicalMilliseconds) }
}
