internal import CRDT

/// Writes `/metrics` in the Prometheus text format, version 0.0.4.
///
/// Each noun writes its own families with it, in a file of its own. Names come without the prefix `hypha_`; counters end
/// with `_total`; times are in seconds, sizes in bytes. What is written here stands in `docs/metrics.md` too, and a test
/// compares the two.
public struct MetricsWriter: Sendable {
    /// What a family is, as Prometheus calls it.
    public enum Kind: Sendable {
        /// A sum since the start.
        case counter
        /// A value that rises and falls.
        case gauge
        /// A distribution.
        case histogram
    }

    /// Names of labels and their values, in the order in which they are shown. A family has the same names in every
    /// sample. What stands in a value is bounded by the cluster (a route, a state, a peer), never by what clients send.
    public typealias Labels = KeyValuePairs<StaticString, String>

    /// The text.
    public private(set) var bytes: [UInt8] = []
    /// The family being written.
    private var name = ""
    private var written: Set<String> = []

    /// Nothing written yet.
    public init() { bytes.reserveCapacity(32 << 10) }

    // MARK: - Families without labels

    /// A sum since the start.
    public mutating func counter(_ name: String, _ help: String, _ value: Int) {
        family(name, .counter, help)
        sample([:], value)
    }

    /// A value that rises and falls.
    public mutating func gauge(_ name: String, _ help: String, _ value: Int) {
        family(name, .gauge, help)
        sample([:], value)
    }

    /// A time that rises and falls, shown in seconds.
    public mutating func gauge(_ name: String, _ help: String, microseconds: Int64) {
        family(name, .gauge, help)
        begin("", [:])
        if microseconds < 0 { bytes.append(UInt8(ascii: "-")) }
        append(microseconds: microseconds.magnitude)
        bytes.append(UInt8(ascii: "\n"))
    }

    /// A distribution.
    public mutating func histogram(_ name: String, _ help: String, _ value: Histogram) {
        family(name, .histogram, help)
        sample([:], value)
    }

    // MARK: - Families with labels

    /// Begins a family; its samples follow. One without samples is still named, so that it is known to exist.
    public mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        assert(written.insert(name).inserted, "hypha_\(name) is written twice")
        assert(name.hasSuffix("_total") == (kind == .counter), "hypha_\(name): counters end with _total, others do not")
        self.name = name
        bytes.append(constant: "# HELP hypha_")
        bytes.append(contentsOf: name.utf8)
        bytes.append(UInt8(ascii: " "))
        append(escaped: help, quotes: false)
        bytes.append(constant: "\n# TYPE hypha_")
        bytes.append(contentsOf: name.utf8)
        switch kind {
        case .counter: bytes.append(constant: " counter\n")
        case .gauge: bytes.append(constant: " gauge\n")
        case .histogram: bytes.append(constant: " histogram\n")
        }
    }

    /// One sample of the family that was begun last.
    public mutating func sample(_ labels: Labels, _ value: Int) {
        begin("", labels)
        bytes.append(json: value)
        bytes.append(UInt8(ascii: "\n"))
    }

    /// One distribution of the family that was begun last.
    public mutating func sample(_ labels: Labels, _ value: Histogram) {
        var seen: UInt64 = 0
        for bucket in 0..<Histogram.bucketCount {
            seen += value.count(inBucket: bucket)
            begin("_bucket", labels, limit: .some(value.limit(ofBucket: bucket)), of: value.unit)
            bytes.append(json: seen)
            bytes.append(UInt8(ascii: "\n"))
        }
        begin("_sum", labels)
        append(value.sum, of: value.unit)
        bytes.append(UInt8(ascii: "\n"))
        begin("_count", labels)
        bytes.append(json: value.count)
        bytes.append(UInt8(ascii: "\n"))
    }

    // MARK: - Text

    /// A sample up to its value. `limit` is the end of a bucket: nil for no bucket, an inner nil for the last one.
    private mutating func begin(
        _ suffix: StaticString, _ labels: Labels, limit: UInt64?? = nil, of unit: Histogram.Unit = .bytes
    ) {
        bytes.append(constant: "hypha_")
        bytes.append(contentsOf: name.utf8)
        bytes.append(constant: suffix)
        var separator = UInt8(ascii: "{")
        for (label, value) in labels {
            bytes.append(separator)
            separator = UInt8(ascii: ",")
            bytes.append(constant: label)
            bytes.append(constant: "=\"")
            append(escaped: value, quotes: true)
            bytes.append(UInt8(ascii: "\""))
        }
        if let limit {
            bytes.append(separator)
            separator = UInt8(ascii: ",")
            bytes.append(constant: "le=\"")
            if let limit { append(limit, of: unit) } else { bytes.append(constant: "+Inf") }
            bytes.append(UInt8(ascii: "\""))
        }
        bytes.append(constant: separator == UInt8(ascii: ",") ? "} " : " ")
    }

    private mutating func append(_ amount: UInt64, of unit: Histogram.Unit) {
        switch unit {
        case .seconds: append(microseconds: amount)
        case .bytes: bytes.append(json: amount)
        }
    }

    /// Microseconds as seconds with six decimals.
    private mutating func append(microseconds: UInt64) {
        bytes.append(json: microseconds / 1_000_000)
        bytes.append(UInt8(ascii: "."))
        var place: UInt64 = 100_000
        while place > 0 {
            bytes.append(UInt8(ascii: "0") + UInt8(microseconds / place % 10))
            place /= 10
        }
    }

    private mutating func append(escaped text: String, quotes: Bool) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): bytes.append(constant: "\\\\")
            case UInt8(ascii: "\n"): bytes.append(constant: "\\n")
            case UInt8(ascii: "\"") where quotes: bytes.append(constant: "\\\"")
            default: bytes.append(byte)
            }
        }
    }
}
