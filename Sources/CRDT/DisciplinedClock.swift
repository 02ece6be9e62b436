/// Physical time for stamps: the monotonic clock plus an offset that a step of the wall clock does not touch.
///
/// The offset is the wall clock's at start. Where at least two peers agree that it is off by more than `maxSkewMs`,
/// it is set to their median, so one broken clock disturbs nobody (DESIGN: a disciplined clock).
public struct DisciplinedClock: Equatable, Sendable {
    /// A peer's clock as last heard.
    private struct Reading: Equatable, Sendable {
        let peer: ReplicaID
        let aheadMs: Int64
        let heardMs: UInt64
    }

    /// Readings older than this say nothing any more.
    private static let memoryMs: UInt64 = 120_000
    /// The most peers whose clocks are remembered; a median of so many is as good as any.
    private static let maximumReadings = 64

    /// What is added to monotonic milliseconds to give milliseconds since the Unix epoch.
    public private(set) var offsetMs: Int64
    /// How often the offset was set to the peers' median.
    public private(set) var corrections = 0
    /// How far the peers' median is ahead of this clock, as last computed.
    public private(set) var medianAheadMs: Int64 = 0
    private let maxSkewMs: Int64
    private var readings: [Reading] = []

    /// A clock that starts with the wall clock's time.
    public init(wallMs: UInt64, monotonicMs: UInt64, maxSkewMs: UInt64) {
        offsetMs = Int64(wallMs) - Int64(monotonicMs)
        self.maxSkewMs = Int64(maxSkewMs)
    }

    /// Milliseconds since the Unix epoch, within the 48 bits of a stamp.
    public func milliseconds(monotonicMs: UInt64) -> UInt64 {
        UInt64(min(max(Int64(monotonicMs) + offsetMs, 0), (1 << 48) - 1))
    }

    /// Notes a peer's clock, read at most `ageMs` ago (nil: nobody knows how long ago). Returns the correction in
    /// milliseconds if this made the offset change.
    ///
    /// A message that was long on its way, or waited while this process was stopped, makes its sender look behind, and
    /// never ahead. So a clock that looks behind counts only where its age is bounded well below `maxSkewMs`.
    public mutating func observe(
        _ peer: ReplicaID, clockMs: UInt64, ageMs: UInt64?, monotonicMs: UInt64
    ) -> Int64? {
        guard clockMs < 1 << 48 else { return nil }
        let isFresh = ageMs.map { $0 <= UInt64(maxSkewMs) / 4 } ?? false
        guard isFresh || clockMs >= milliseconds(monotonicMs: monotonicMs) else { return nil }
        readings.removeAll { $0.peer == peer || $0.heardMs + Self.memoryMs < monotonicMs }
        if readings.count == Self.maximumReadings { readings.removeFirst() }
        let ahead = Int64(clockMs) - Int64(milliseconds(monotonicMs: monotonicMs))
        readings.append(Reading(peer: peer, aheadMs: ahead, heardMs: monotonicMs))

        let sorted = readings.map(\.aheadMs).sorted()
        medianAheadMs = sorted[(sorted.count - 1) / 2]
        let median = medianAheadMs
        let agreeing = sorted.count { abs($0 - median) <= maxSkewMs }
        guard agreeing >= 2, agreeing * 2 > sorted.count, abs(median) > maxSkewMs else { return nil }
        offsetMs += median
        corrections += 1
        medianAheadMs = 0
        readings.removeAll()
        return median
    }

    /// Forgets a peer that is gone.
    public mutating func forget(_ peer: ReplicaID) { readings.removeAll { $0.peer == peer } }
}
