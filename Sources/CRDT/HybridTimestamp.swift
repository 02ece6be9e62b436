/// A hybrid logical timestamp: wall-clock milliseconds that never run backwards.
///
/// Unit: `milliseconds` counts from the Unix epoch (UTC). `counter` orders writes inside one millisecond;
/// `replica` breaks the last tie, so two stamps are equal only if they are the same write.
///
/// Follows Kulkarni et al., "Logical Physical Clocks" (OPODIS 2014), section 3.
public struct HybridTimestamp: Hashable, Comparable, BitwiseCopyable, Sendable, CustomStringConvertible {
    /// 48 bits of milliseconds above 16 bits of counter: one number that orders like the pair.
    public let time: UInt64
    /// The log that wrote; breaks ties.
    public let replica: ReplicaID

    /// A stamp from its packed time and its replica.
    @inlinable public init(time: UInt64, replica: ReplicaID) {
        self.time = time
        self.replica = replica
    }

    /// A stamp from its three parts. `milliseconds` must be below 2^48.
    @inlinable public init(milliseconds: UInt64, counter: UInt16 = 0, replica: ReplicaID) {
        self.init(time: milliseconds << 16 | UInt64(counter), replica: replica)
    }

    /// Milliseconds since the Unix epoch, UTC.
    @inlinable public var milliseconds: UInt64 { time >> 16 }
    /// Order inside one millisecond.
    @inlinable public var counter: UInt16 { UInt16(truncatingIfNeeded: time) }

    /// By time, then by replica.
    @inlinable public static func < (a: Self, b: Self) -> Bool {
        a.time != b.time ? a.time < b.time : a.replica < b.replica
    }

    /// 12 hexadecimal digits of milliseconds, 4 of counter, a dash, 16 of replica: sorting the text sorts the writes.
    public var description: String { "\(hexadecimal(time, digits: 16))-\(replica)" }

    /// Reads `description` back; nil for anything else.
    public init?(text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].utf8.count == 16, let time = parsedHexadecimal(parts[0]),
            let replica = ReplicaID(text: parts[1])
        else { return nil }
        self.init(time: time, replica: replica)
    }
}
