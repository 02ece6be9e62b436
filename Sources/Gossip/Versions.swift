import CRDT

/// The versions of the protocol between peers that somebody speaks: all from the lower bound to the upper one.
///
/// Every datagram, every rumor about a member and every handshake states one. Two peers speak the highest version that
/// both have; a stranger, whose range is not known yet, is addressed in one's lowest. A cluster can therefore be
/// upgraded peer by peer as long as neighbouring releases overlap.
public typealias Versions = ClosedRange<UInt8>

extension ClosedRange<UInt8> {
    /// The version in which two peers speak to each other; nil when they have none in common.
    func highestCommon(with other: Self) -> UInt8? {
        overlaps(other) ? Swift.min(upperBound, other.upperBound) : nil
    }
}

extension [UInt8] {
    /// Appends two bytes: the lowest and the highest version.
    mutating func append(versions: Versions) {
        append(versions.lowerBound)
        append(versions.upperBound)
    }
}

extension ByteCursor {
    /// Reads what `append(versions:)` wrote.
    mutating func versions(_ bytes: RawSpan) throws(DecodeError) -> Versions {
        let (lowest, highest) = (try u8(bytes), try u8(bytes))
        guard lowest <= highest else { throw .badValue(field: "protocol range") }
        return lowest...highest
    }
}

/// Who was complained about lately: a peer that cannot be understood says so with every datagram, the log should not.
struct Complaints: Sendable {
    /// The same peer is complained about again after so long, in milliseconds.
    static let intervalMs: UInt64 = 300_000
    /// Peers remembered at once; beyond it the one complained about first is forgotten.
    static let limit = 64

    private var made: [(about: ReplicaID, at: Instant)] = []

    /// Whether a complaint about this peer is due; the caller makes it then.
    mutating func isDue(_ replica: ReplicaID, now: Instant) -> Bool {
        made.removeAll { now.milliseconds(since: $0.at) >= Self.intervalMs }
        guard !made.contains(where: { $0.about == replica }) else { return false }
        if made.count == Self.limit { made.removeFirst() }
        made.append((replica, now))
        return true
    }
}
