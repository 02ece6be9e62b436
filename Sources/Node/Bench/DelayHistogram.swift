/// How often which delay was seen, in buckets that grow with the value: 64 for every doubling, so that a percentile is
/// at most 1.6 % above the truth, in 30 KiB whatever is recorded. `Histogram`, which nodes show of themselves, has 21 buckets instead.
///
/// After Gil Tene's HdrHistogram.
struct DelayHistogram: Sendable {
    /// Values below 64 have a bucket each; above, the six bits behind the highest one choose it.
    private var counts = [UInt64](repeating: 0, count: 59 * 64)
    /// How many values were recorded.
    private(set) var count: UInt64 = 0
    /// The largest of them.
    private(set) var maximum: UInt64 = 0
    private var sum = 0.0

    /// Adds one value.
    mutating func record(_ value: UInt64) {
        counts[Self.bucket(of: value)] += 1
        count += 1
        maximum = max(maximum, value)
        sum += Double(value)
    }

    /// The mean of what was recorded; 0 for nothing.
    var mean: Double { count == 0 ? 0 : sum / Double(count) }

    /// The least value, up to the width of its bucket, that at least this share of the values does not exceed.
    func percentile(_ share: Double) -> UInt64 {
        let wanted = max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (bucket, amount) in counts.enumerated() where amount > 0 {
            seen += amount
            if seen >= wanted { return min(Self.largest(in: bucket), maximum) }
        }
        return maximum
    }

    static func bucket(of value: UInt64) -> Int {
        if value < 64 { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        return (exponent - 5) * 64 + Int(value >> UInt64(exponent - 6) & 63)
    }

    /// The largest value that falls into a bucket.
    static func largest(in bucket: Int) -> UInt64 {
        if bucket < 64 { return UInt64(bucket) }
        let shift = UInt64(bucket / 64 - 1)
        return (UInt64(64 + bucket % 64) << shift) | ((1 << shift) - 1)
    }
}
