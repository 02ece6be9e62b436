internal import Gossip

/// How often which amount was seen, in fixed buckets that double: what `/metrics` shows as a histogram.
///
/// To add a value is a count of leading zeros and three additions, without memory of its own, so that hot paths can. The
/// price is that a percentile is only known to within a factor of two.
public struct Histogram: Equatable, Sendable {
    /// What is counted, and with it where the buckets lie.
    public enum Unit: Sendable {
        /// Times, given in microseconds and shown in seconds: up to 16 µs, then to 8.4 s.
        case seconds
        /// Sizes: up to 64 bytes, then to 32 MiB.
        case bytes

        /// The first bucket ends at two to this power.
        var firstBit: Int {
            switch self {
            case .seconds: 4
            case .bytes: 6
            }
        }
    }

    /// How many buckets there are; the last one has no end.
    public static let bucketCount = 21

    /// What is counted.
    public let unit: Unit
    /// How many values were added.
    public private(set) var count: UInt64 = 0
    /// Their sum, in microseconds or bytes.
    public private(set) var sum: UInt64 = 0
    private var buckets = InlineArray<21, UInt64>(repeating: 0)

    /// Nothing seen yet.
    public init(_ unit: Unit) { self.unit = unit }

    /// Adds a value, in microseconds or bytes, as often as it was seen.
    public mutating func observe(_ value: UInt64, times: UInt64 = 1) {
        // Bucket i ends at 2^(firstBit + i), which it includes.
        let bits = UInt64.bitWidth - (value &- 1).leadingZeroBitCount
        let bucket = value == 0 ? 0 : max(0, bits - unit.firstBit)
        buckets[min(bucket, Self.bucketCount - 1)] &+= times
        count &+= times
        sum &+= value &* times
    }

    /// Adds the time from one moment to another; nothing for a moment that has not come.
    mutating func observe(from start: Instant, to end: Instant) {
        observe(end > start ? end.microseconds - start.microseconds : 0)
    }

    /// How many values fell into a bucket.
    public func count(inBucket bucket: Int) -> UInt64 { buckets[bucket] }

    /// The largest value that falls into a bucket, in microseconds or bytes; nil for the last one.
    func limit(ofBucket bucket: Int) -> UInt64? {
        bucket < Self.bucketCount - 1 ? 1 << UInt64(bucket + unit.firstBit) : nil
    }

    /// By what was counted.
    public static func == (a: Self, b: Self) -> Bool {
        a.unit == b.unit && a.count == b.count && a.sum == b.sum
            && (0..<bucketCount).allSatisfy { a.buckets[$0] == b.buckets[$0] }
    }
}
