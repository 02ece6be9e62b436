/// A counter that only grows: one slot per node, its value the sum.
///
/// Shapiro et al., "A comprehensive study of CRDTs" (INRIA RR-7506, 2011), specification 6.
public struct GCounter: Mergeable, Sendable {
    private var slots: [ReplicaID: UInt64] = [:]

    /// Zero.
    public init() {}

    /// The sum of all slots; stays at the highest number instead of overflowing.
    public var value: UInt64 {
        slots.values.reduce(0) { sum, slot in
            let (next, overflow) = sum.addingReportingOverflow(slot)
            return overflow ? .max : next
        }
    }

    /// Adds to the slot of the node that counts.
    public mutating func add(_ amount: UInt64, by replica: ReplicaID) {
        guard amount > 0 else { return }
        let (next, overflow) = slots[replica, default: 0].addingReportingOverflow(amount)
        slots[replica] = overflow ? .max : next
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing GCounter) -> Bool {
        var changed = false
        for (replica, theirs) in other.slots where slots[replica, default: 0] < theirs {
            slots[replica] = theirs
            changed = true
        }
        return changed
    }
}

/// A counter that grows and shrinks: two that grow.
///
/// Shapiro et al., "A comprehensive study of CRDTs" (INRIA RR-7506, 2011), specification 7.
public struct PNCounter: Mergeable, Sendable {
    private var increments = GCounter()
    private var decrements = GCounter()

    /// Zero.
    public init() {}

    /// Increments less decrements, held within the range of `Int64`.
    public var value: Int64 {
        let (up, down) = (increments.value, decrements.value)
        return up >= down ? Int64(clamping: up - down) : -Int64(clamping: down - up)
    }

    /// Adds a positive or negative amount on behalf of a node.
    public mutating func add(_ amount: Int64, by replica: ReplicaID) {
        if amount >= 0 {
            increments.add(amount.magnitude, by: replica)
        } else {
            decrements.add(amount.magnitude, by: replica)
        }
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing PNCounter) -> Bool {
        let up = increments.merge(other.increments)
        return decrements.merge(other.decrements) || up
    }
}
