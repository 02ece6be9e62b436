/// What an event does to a signal. Amounts are already what the formulas add or take away.
public enum SignalOperation: Equatable, Sendable {
    /// A proposal, ready or test: creates the signal at 0.3 where there is none, else only touches it.
    case touch
    /// A reward: adds value × α, from 0 where there is none.
    case reward(gain: Double)
    /// A penalty: takes |value| away; nothing where there is none.
    case penalty(loss: Double)
}

/// A pheromone: a decaying, clamped counter, replicated as the set of operations that touched it.
///
/// Its value is the seed's formulas folded over the operations in stamp order, so any two replicas with the same
/// operations show the same value to the last bit, and it is what one broker would have computed. Decay is a function
/// of the reading's time and never written. Late operations refold only what follows them: each operation remembers
/// the strength after it.
///
/// A plain PN-counter would not do: clamping and creation do not commute (DESIGN, section 3).
public struct Signal: Mergeable, Sendable {
    /// Where a touch creates a signal.
    public static let initialStrength = 0.3
    /// Below this a signal is gone, at an operation or at a reading.
    public static let vanishing = 0.01
    /// The reward's amplification where the event names none.
    public static let defaultAlpha = 1.2
    /// The decay per tick where the cluster sets none.
    public static let defaultLambda = 0.95
    /// A slower decay would never end: at 0.995 a full signal is gone after 919 ticks.
    public static let maximumLambda = 0.995
    /// A decay tick, in milliseconds.
    public static let tickMs: UInt64 = 60_000
    /// More operations than this are collapsed even before all members are known to have them.
    public static let maximumOperations = 4_096

    /// One operation and the strength right after it (negative: the signal is gone).
    private struct Operation: Equatable, Sendable {
        let stamp: HybridTimestamp
        let amount: Double
        let kind: Kind
        var strength: Double

        enum Kind: UInt8, Sendable { case touch, reward, penalty }

        static func == (a: Self, b: Self) -> Bool { a.stamp == b.stamp && a.amount == b.amount && a.kind == b.kind }
    }

    /// What a reading says.
    public struct Reading: Equatable, Sendable {
        /// From 0.01 to 1.
        public let strength: Double
        /// When an operation last touched it, in milliseconds since the Unix epoch.
        public let lastUpdatedMs: UInt64
    }

    /// Everything up to here is folded into one number and can no longer be told apart.
    private struct Checkpoint: Equatable, Sendable {
        var stamp: HybridTimestamp
        var strength: Double
    }

    /// The decay per tick, the same in the whole cluster.
    public let lambda: Double
    private var checkpoint: Checkpoint?
    private var operations: [Operation] = []

    /// A signal nobody touched yet. `lambda` is above 0 and at most `maximumLambda`.
    public init(lambda: Double = Signal.defaultLambda) {
        precondition(
            lambda > 0 && lambda <= Self.maximumLambda, "λ must be in (0, \(Self.maximumLambda)], is \(lambda)")
        self.lambda = lambda
    }

    /// How many operations are held one by one.
    public var operationCount: Int { operations.count }

    /// Adds an operation, in its place by stamp. Adding one twice changes nothing.
    ///
    /// Returns whether the value is now approximate, which is only so beyond `maximumOperations`: an operation that
    /// belongs before the checkpoint is folded right after it.
    @discardableResult
    public mutating func insert(_ operation: SignalOperation, at stamp: HybridTimestamp) -> Bool {
        let (kind, amount): (Operation.Kind, Double) =
            switch operation {
            case .touch: (.touch, 0)
            case .reward(let gain): (.reward, gain)
            case .penalty(let loss): (.penalty, loss)
            }
        let at = firstIndex(from: stamp)
        guard at == operations.count || operations[at].stamp != stamp else { return false }
        guard checkpoint?.stamp != stamp else { return false }
        let isLate = checkpoint.map { stamp < $0.stamp } ?? false
        operations.insert(Operation(stamp: stamp, amount: amount, kind: kind, strength: -1), at: at)
        refold(from: at)
        guard operations.count > Self.maximumOperations else { return isLate }
        collapse(count: operations.count - Self.maximumOperations * 3 / 4)
        return true
    }

    /// Takes an operation out again: the event turned out to be a later copy of another one.
    /// Returns false where it was not held one by one any more.
    @discardableResult public mutating func remove(at stamp: HybridTimestamp) -> Bool {
        let at = firstIndex(from: stamp)
        guard at < operations.count, operations[at].stamp == stamp else { return false }
        operations.remove(at: at)
        refold(from: at)
        return true
    }

    /// The value at a moment, from the operations stamped no later; nil if there is no signal then.
    public func reading(atMs: UInt64) -> Reading? {
        let count = firstIndex(from: HybridTimestamp(time: (atMs + 1) << 16, replica: ReplicaID(0)))
        let last: (strength: Double, stamp: HybridTimestamp)
        if count > 0 {
            last = (operations[count - 1].strength, operations[count - 1].stamp)
        } else if let checkpoint, checkpoint.stamp.milliseconds <= atMs {
            last = (checkpoint.strength, checkpoint.stamp)
        } else {
            return nil
        }
        let strength = decayed(last.strength, from: last.stamp.milliseconds, to: atMs)
        return strength < Self.vanishing ? nil : Reading(strength: strength, lastUpdatedMs: last.stamp.milliseconds)
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing Signal) -> Bool {
        precondition(checkpoint == nil && other.checkpoint == nil, "checkpoints are merged by the snapshot protocol")
        var changed = false
        for operation in other.operations {
            let at = firstIndex(from: operation.stamp)
            guard at == operations.count || operations[at].stamp != operation.stamp else { continue }
            operations.insert(operation, at: at)
            refold(from: at)
            changed = true
        }
        return changed
    }

    /// The one place that computes: S right after the operation at `index`, given S before it.
    private mutating func refold(from index: Int) {
        var (strength, then): (Double, UInt64) =
            index > 0
            ? (operations[index - 1].strength, operations[index - 1].stamp.milliseconds)
            : (checkpoint?.strength ?? -1, 0)
        // An operation that came too late for the checkpoint acts right after it, so no tick is counted twice.
        then = max(then, checkpoint?.stamp.milliseconds ?? 0)
        for i in index..<operations.count {
            let now = operations[i].stamp.milliseconds
            strength = decayed(strength, from: then, to: now)
            let isGone = strength < Self.vanishing
            switch operations[i].kind {
            case .touch: if isGone { strength = Self.initialStrength }
            case .reward: strength = min(1, (isGone ? 0 : strength) + operations[i].amount)
            case .penalty: strength = isGone ? -1 : max(0, strength - operations[i].amount)
            }
            if strength < Self.vanishing { strength = -1 }
            operations[i].strength = strength
            then = max(then, now)
        }
    }

    /// One multiplication per tick that passed, so that every build agrees to the bit.
    private func decayed(_ strength: Double, from: UInt64, to: UInt64) -> Double {
        var strength = strength
        var ticks = to / Self.tickMs - min(to, from) / Self.tickMs
        while ticks > 0, strength >= Self.vanishing {
            strength *= lambda
            ticks -= 1
        }
        return strength
    }

    private mutating func collapse(count: Int) {
        let last = operations[count - 1]
        checkpoint = Checkpoint(stamp: last.stamp, strength: last.strength)
        operations.removeFirst(count)
    }

    /// The index of the first operation stamped `stamp` or later.
    private func firstIndex(from stamp: HybridTimestamp) -> Int {
        if let last = operations.last, last.stamp < stamp { return operations.count }
        var (low, high) = (0, operations.count)
        while low < high {
            let middle = (low + high) / 2
            if operations[middle].stamp < stamp { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
