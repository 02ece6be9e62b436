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
/// Operations that every member has are folded into a *checkpoint*, the exact value right after the last of them. So
/// the state is a checkpoint and the operations stamped later, and joining two states takes the later checkpoint and,
/// of both sides' operations, those stamped later than it: the others are in it.
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

    /// What a reading says.
    public struct Reading: Equatable, Sendable {
        /// From 0.01 to 1.
        public let strength: Double
        /// When an operation last touched it, in milliseconds since the Unix epoch.
        public let lastUpdatedMs: UInt64
    }

    /// What became of an operation that was inserted.
    public enum Insertion: Equatable, Sendable {
        /// It was here already.
        case present
        /// It is in its place by stamp.
        case inserted
        /// It belongs before the checkpoint, which can no longer be taken apart: it was folded right after it.
        case late
        /// It is in its place, but there were too many, and the oldest are folded although others may still come.
        case capped
    }

    /// Everything up to here is folded into one number and can no longer be told apart.
    struct Checkpoint: Equatable, Sendable {
        var stamp: HybridTimestamp
        /// Right after the last operation folded, 0 if the signal was gone.
        var strength: Double
    }

    /// The decay per tick, the same in the whole cluster.
    public let lambda: Double
    private(set) var checkpoint: Checkpoint?
    /// By rising stamp, each above the checkpoint's.
    private(set) var operations: [Operation] = []

    /// A signal nobody touched yet. `lambda` is above 0 and at most `maximumLambda`.
    public init(lambda: Double = Signal.defaultLambda) {
        precondition(
            lambda > 0 && lambda <= Self.maximumLambda, "λ must be in (0, \(Self.maximumLambda)], is \(lambda)")
        self.lambda = lambda
    }

    /// A signal in parts as a peer sent them. The operations rise by stamp and are above the checkpoint.
    init(lambda: Double, checkpoint: Checkpoint?, operations: [Operation]) {
        self.init(lambda: lambda)
        self.checkpoint = checkpoint
        self.operations = operations
        refold(from: 0)
    }

    /// How many operations are held one by one.
    public var operationCount: Int { operations.count }

    /// Whether there is nothing here, not even something that faded.
    public var isEmpty: Bool { checkpoint == nil && operations.isEmpty }

    /// The packed HLC time from which on there is something to do here: the oldest operation can be folded or, without
    /// operations, the checkpoint has faded and everything can go. `UInt64.max` for never.
    public var due: UInt64 { operations.first?.stamp.time ?? fadesAt ?? 0 }

    /// The packed HLC time from which on the checkpoint reads as gone; nil without one.
    private var fadesAt: UInt64? {
        guard let checkpoint else { return nil }
        var strength = checkpoint.strength
        guard strength >= Self.vanishing else { return checkpoint.stamp.time }
        var tick = checkpoint.stamp.milliseconds / Self.tickMs
        while strength >= Self.vanishing {
            strength *= lambda
            tick += 1
        }
        return tick * Self.tickMs < 1 << 48 ? (tick * Self.tickMs) << 16 : .max
    }

    /// Adds an operation, in its place by stamp. Adding one twice changes nothing as long as it is held one by one.
    @discardableResult
    public mutating func insert(_ operation: SignalOperation, at stamp: HybridTimestamp) -> Insertion {
        if let folded = checkpoint, stamp <= folded.stamp {
            guard stamp < folded.stamp else { return .present }
            let late = Operation(operation, at: stamp)
            checkpoint?.strength = late.strength(after: folded.strength)
            refold(from: 0)
            return .late
        }
        let at = firstIndex(from: stamp)
        guard at == operations.count || operations[at].stamp != stamp else { return .present }
        operations.insert(Operation(operation, at: stamp), at: at)
        refold(from: at)
        return foldBeyondCap() ? .capped : .inserted
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

    /// The operation of that stamp, if it is held one by one.
    func operation(at stamp: HybridTimestamp) -> Operation? {
        let at = firstIndex(from: stamp)
        return at < operations.count && operations[at].stamp == stamp ? operations[at] : nil
    }

    /// The value at a moment, from the operations stamped no later; nil if there is no signal then, or if the moment
    /// is before the checkpoint.
    public func reading(atMs: UInt64) -> Reading? {
        let count = self.count(through: atMs < 1 << 48 ? atMs << 16 | 0xffff : .max)
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

    /// Folds the operations stamped at or before a packed HLC time into the checkpoint, the oldest first and at most
    /// so many. Returns how many. No reading at or after that time changes, as each operation remembers the strength
    /// right after it and the checkpoint takes over that number.
    @discardableResult public mutating func collapse(through time: UInt64, atMost limit: Int = .max) -> Int {
        let count = min(limit, self.count(through: time))
        guard count > 0 else { return 0 }
        let last = operations[count - 1]
        checkpoint = Checkpoint(stamp: last.stamp, strength: last.strength)
        operations.removeFirst(count)
        // `removeFirst` keeps the memory, which is the point of collapsing to give back.
        if operations.count * 4 < operations.capacity { operations = operations.map(\.self) }
        return count
    }

    /// Joins `other` into `self` and reports whether anything changed.
    @discardableResult public mutating func merge(_ other: borrowing Signal) -> Bool {
        let before = self
        if let theirs = other.checkpoint, checkpoint.map({ $0 < theirs }) ?? true { checkpoint = theirs }
        let mine = operations
        let theirs = other.operations
        var (i, j) = (countInside(checkpoint), other.countInside(checkpoint))
        operations = []
        operations.reserveCapacity(max(mine.count - i, theirs.count - j))
        while i < mine.count || j < theirs.count {
            if j == theirs.count || i < mine.count && mine[i].stamp < theirs[j].stamp {
                operations.append(mine[i])
                i += 1
            } else if i == mine.count || theirs[j].stamp < mine[i].stamp {
                operations.append(theirs[j])
                j += 1
            } else {
                operations.append(mine[i].orders(before: theirs[j]) ? theirs[j] : mine[i])
                (i, j) = (i + 1, j + 1)
            }
        }
        refold(from: 0)
        foldBeyondCap()
        return self != before
    }

    /// How many operations are stamped at or before a packed HLC time.
    func count(through time: UInt64) -> Int {
        time == .max ? operations.count : firstIndex(from: HybridTimestamp(time: time + 1, replica: ReplicaID(0)))
    }

    /// How many operations a checkpoint contains if it comes from the same history.
    func countInside(_ checkpoint: Checkpoint?) -> Int {
        guard let stamp = checkpoint?.stamp else { return 0 }
        let at = firstIndex(from: stamp)
        return at < operations.count && operations[at].stamp == stamp ? at + 1 : at
    }

    /// The one place that computes a history: S right after each operation from `index` on.
    private mutating func refold(from index: Int) {
        var (strength, then) =
            index > 0
            ? (operations[index - 1].strength, operations[index - 1].stamp.milliseconds)
            : (checkpoint?.strength ?? 0, checkpoint?.stamp.milliseconds ?? 0)
        for i in index..<operations.count {
            let now = operations[i].stamp.milliseconds
            strength = operations[i].strength(after: decayed(strength, from: then, to: now))
            operations[i].strength = strength
            then = now
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

    /// Folds the oldest where there are more than the cap, a quarter at a time, so that it is rare.
    @discardableResult private mutating func foldBeyondCap() -> Bool {
        guard operations.count > Self.maximumOperations else { return false }
        collapse(through: .max, atMost: operations.count - Self.maximumOperations * 3 / 4)
        return true
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

extension Signal.Checkpoint {
    /// By stamp. Those of one stamp differ only where one of them took in an operation that came too late; any rule
    /// does that all nodes share.
    static func < (a: Self, b: Self) -> Bool { (a.stamp, a.strength) < (b.stamp, b.strength) }
}
