/// How far this node trusts its own timing: Lifeguard's local health multiplier.
///
/// A node that is slow itself (overloaded, paused, badly connected) hears answers late and would accuse the healthy.
/// Signs of that raise the multiplier, which stretches its own probe interval and timeout; successes lower it.
///
/// Dadgar, Phillips, Currey: "Lifeguard: Local Health Awareness for More Accurate Failure Detection" (2018), IV-A.
public struct LocalHealth: Equatable, Sendable {
    /// The highest multiplier; Lifeguard's S = 8.
    public static let ceiling: UInt64 = 8

    /// Times and timeouts of probes are multiplied by this: 1 (healthy) to 8.
    public private(set) var multiplier: UInt64 = 1

    /// A node without any doubt about itself.
    public init() {}

    /// A probe was answered, or there was nobody to probe.
    public mutating func improve() { multiplier = max(1, multiplier - 1) }

    /// So many signs that the fault is here: missed nacks, a refutation that was needed, a stalled loop.
    public mutating func worsen(by signs: Int = 1) {
        multiplier = min(Self.ceiling, multiplier + UInt64(min(max(signs, 0), Int(Self.ceiling))))
    }
}
