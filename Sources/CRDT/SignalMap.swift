/// All signals, by scope and pattern. Both are bytes of UTF-8 text as JSON writes it.
///
/// Memory is bounded by collapsing: operations that every member has are folded into their signal's checkpoint, and a
/// signal that is nothing but a faded checkpoint is deleted. Neither changes any reading at or after the horizon.
public struct SignalMap: Sendable {
    /// One signal as it is read.
    public struct Entry: Sendable {
        /// The scope's bytes.
        public let scope: [UInt8]
        /// The pattern's bytes.
        public let pattern: [UInt8]
        /// Strength and last touch.
        public let reading: Signal.Reading
    }

    /// A signal in its slot, which it keeps for as long as it is here.
    struct Held: Sendable {
        var signal: Signal
        let scope: [UInt8]
        let pattern: [UInt8]
        /// A hash of scope and pattern, which makes equal operations of different signals differ.
        let key: UInt64
    }

    /// The decay per tick of every signal here.
    public let lambda: Double
    /// How often a value became approximate: an operation came when those after it were folded already, or a signal
    /// outgrew `Signal.maximumOperations`. Zero as long as the horizon is causally stable and no signal is that busy.
    public private(set) var approximations = 0
    /// How many signals there are, those that faded included until they are deleted.
    public private(set) var count = 0
    /// Operations held one by one.
    public private(set) var operationCount = 0
    /// Packed HLC time: every operation stamped at or before it is folded into a checkpoint.
    public private(set) var horizon: UInt64 = 0
    /// Packed HLC time up to which operations are, or are about to be, folded: the latest that was asked for here or
    /// that came with a chunk. Above `horizon` while `collapse` has more to do.
    public private(set) var target: UInt64 = 0
    /// Packed HLC time: no operation stamped later was folded. Above `target` only after a signal outgrew its cap.
    /// What two nodes compare with `hashes(after:)` must be later than both nodes' value.
    public private(set) var foldedThrough: UInt64 = 0

    /// By scope and pattern: the slot.
    private var scopes = ByteMap<ByteMap<Int32>>()
    /// Slots are not renumbered while the map is in use, so a queue and a walk can name signals by them.
    private(set) var slots: [Held?] = []
    private var freeSlots: [Int32] = []
    /// Changes when the slots are numbered anew.
    private(set) var numbering = 0
    private var queue = SignalQueue()
    private var minuteHashes = SignalHashes()
    private var nameBytes = 0

    /// No signals yet.
    public init(lambda: Double) { self.lambda = lambda }

    /// Scopes that have a signal.
    var scopeCount: Int { scopes.count }

    /// Memory in use, to within what containers keep spare: 32 bytes per operation, about 150 per signal, the names.
    public var byteCount: Int {
        operationCount * MemoryLayout<Signal.Operation>.stride + nameBytes
            + slots.count * (MemoryLayout<Held?>.stride + SignalQueue.bytesPerSignal)
    }

    /// The earliest moment that can be read, in milliseconds since the Unix epoch: before it, operations that had not
    /// happened yet are folded together with those that had, and a reading would be wrong.
    public var oldestReadableMs: UInt64 { foldedThrough >> 16 }

    // MARK: - Operations

    /// Adds an operation to a signal. One at or below the horizon came too late: it counts as an approximation, and
    /// where its signal's checkpoint is later, it acts right after it.
    public mutating func insert(
        _ operation: SignalOperation, scope: RawSpan, pattern: RawSpan, at stamp: HybridTimestamp
    ) {
        let slot = slot(scope, pattern) ?? add(scope, pattern)
        let before = slots[slot]!.signal.operationCount
        let outcome = slots[slot]!.signal.insert(operation, at: stamp)
        guard outcome != .present else { return }
        operationCount += slots[slot]!.signal.operationCount - before
        if outcome != .inserted || stamp.time <= target { approximations += 1 }
        if outcome == .capped { noteFolded(slots[slot]!.signal) }
        minuteHashes.add(Signal.Operation(operation, at: stamp), key: slots[slot]!.key)
        queue.set(slot, due: slots[slot]!.signal.due)
    }

    /// Takes an operation out again. One that is folded stays in, which counts as an approximation; one that may never
    /// have been here does not, where that is said.
    public mutating func remove(
        scope: RawSpan, pattern: RawSpan, at stamp: HybridTimestamp, mayBeAbsent: Bool = false
    ) {
        guard let slot = slot(scope, pattern) else {
            if stamp.time <= target, !mayBeAbsent { approximations += 1 }
            return
        }
        guard slots[slot]!.signal.operation(at: stamp) != nil else {
            let checkpoint = slots[slot]!.signal.checkpoint?.stamp
            let isFolded = stamp.time <= target || checkpoint.map({ stamp <= $0 }) ?? false
            if isFolded, !mayBeAbsent { approximations += 1 }
            return
        }
        remove(slot, at: stamp)
    }

    /// Takes out what the events with these stamps did, whichever signals they touched. Looks at every operation. Returns
    /// how many operations there were.
    @discardableResult public mutating func remove(at stamps: Set<HybridTimestamp>) -> Int {
        guard !stamps.isEmpty else { return 0 }
        var found: [(scope: [UInt8], pattern: [UInt8], stamp: HybridTimestamp)] = []
        for case let held? in slots {
            for operation in held.signal.operations where stamps.contains(operation.stamp) {
                found.append((held.scope, held.pattern, operation.stamp))
            }
        }
        // By name, because removing one may number the slots anew.
        for (scope, pattern, stamp) in found {
            remove(scope: scope.span.bytes, pattern: pattern.span.bytes, at: stamp)
        }
        return found.count
    }

    private mutating func remove(_ slot: Int, at stamp: HybridTimestamp) {
        guard let operation = slots[slot]?.signal.operation(at: stamp) else { return }
        slots[slot]!.signal.remove(at: stamp)
        operationCount -= 1
        minuteHashes.remove(operation, key: slots[slot]!.key)
        if slots[slot]!.signal.isEmpty { delete(slot) } else { queue.set(slot, due: slots[slot]!.signal.due) }
    }

    // MARK: - Readings

    /// One signal at a moment, not before `oldestReadableMs`.
    public func reading(scope: RawSpan, pattern: RawSpan, atMs: UInt64) -> Signal.Reading? {
        slot(scope, pattern).flatMap { slots[$0]!.signal.reading(atMs: atMs) }
    }

    /// The signals that exist at a moment, not before `oldestReadableMs`, by scope and then pattern.
    public func entries(scope: [UInt8]?, pattern: [UInt8]?, minimumStrength: Double, atMs: UInt64) -> [Entry] {
        var found: [Entry] = []
        func collect(_ slot: Int32) {
            let held = slots[Int(slot)]!
            guard let reading = held.signal.reading(atMs: atMs), reading.strength >= minimumStrength else { return }
            found.append(Entry(scope: held.scope, pattern: held.pattern, reading: reading))
        }
        func collect(scope s: Int) {
            if let pattern {
                if let p = scopes.values[s].index(of: pattern.span.bytes) { collect(scopes.values[s].values[p]) }
            } else {
                for slot in scopes.values[s].values { collect(slot) }
            }
        }
        if let scope {
            if let s = scopes.index(of: scope.span.bytes) { collect(scope: s) }
        } else {
            for s in 0..<scopes.count { collect(scope: s) }
        }
        return found.sorted {
            $0.scope == $1.scope
                ? $0.pattern.lexicographicallyPrecedes($1.pattern) : $0.scope.lexicographicallyPrecedes($1.scope)
        }
    }

    /// The strongest signals of a scope at a moment, not before `oldestReadableMs`: the strongest first, ties by
    /// pattern.
    public func strongest(_ most: Int, scope: [UInt8], atMs: UInt64) -> [Entry] {
        guard most > 0, let s = scopes.index(of: scope.span.bytes) else { return [] }
        var found: [(reading: Signal.Reading, slot: Int)] = []
        func precedes(_ a: (reading: Signal.Reading, slot: Int), _ b: (reading: Signal.Reading, slot: Int)) -> Bool {
            a.reading.strength == b.reading.strength
                ? slots[a.slot]!.pattern.lexicographicallyPrecedes(slots[b.slot]!.pattern)
                : a.reading.strength > b.reading.strength
        }
        for slot in scopes.values[s].values {
            guard let reading = slots[Int(slot)]!.signal.reading(atMs: atMs) else { continue }
            found.append((reading, Int(slot)))
            // Sorting twice the answer now and then, a scope of 20,000 patterns never needs all of them at once.
            guard found.count >= 2 * most else { continue }
            found.sort(by: precedes)
            found.removeLast(found.count - most)
        }
        return found.sorted(by: precedes).prefix(most).map {
            Entry(scope: scope, pattern: slots[$0.slot]!.pattern, reading: $0.reading)
        }
    }

    /// An order-independent hash of the operations of each minute (since the Unix epoch), by rising minute: those that
    /// lie wholly after the packed HLC time `time` and after what is folded here. Pass the later of both nodes'
    /// `foldedThrough`, and nodes with the same operations have the same hashes, however far each has folded.
    public func hashes(after time: UInt64) -> [(minute: UInt64, hash: UInt64)] { minuteHashes.list(after: time) }

    // MARK: - Collapsing

    /// Folds operations stamped at or before the packed HLC time `time` into checkpoints and deletes what has faded by
    /// then, at most so many operations and signals per call. Returns whether more is left; `horizon` moves when
    /// nothing is.
    ///
    /// Every member must have all operations up to `time`, and none may come any more: a causally stable cut.
    /// Costs O(log signals) for each signal that is due, and nothing for the others.
    public mutating func collapse(through time: UInt64, atMost limit: Int) -> Bool {
        target = max(target, time)
        foldThrough(target)
        var left = limit
        while let (due, slot) = queue.first, due <= target {
            guard left > 0 else { return true }
            left -= max(1, collapse(slot, atMost: left))
        }
        horizon = target
        return false
    }

    /// Folds what is due of one signal, and deletes it when nothing is left but a checkpoint that has faded.
    ///
    /// That changes nothing. Strength only falls between operations, so a checkpoint below 0.01 at the target is below
    /// it at every later reading: no signal, like one that is not here. And an operation after the target finds S
    /// below 0.01, where each formula starts anew: a touch creates at 0.3, a reward adds to 0, a penalty does nothing,
    /// just as they do to a signal that is not here. Nothing else of a checkpoint is ever used.
    @discardableResult private mutating func collapse(_ slot: Int, atMost limit: Int = .max) -> Int {
        let folded = slots[slot]!.signal.collapse(through: target, atMost: limit)
        operationCount -= folded
        let due = slots[slot]!.signal.due
        if slots[slot]!.signal.operationCount == 0, due <= target { delete(slot) } else { queue.set(slot, due: due) }
        return folded
    }

    private mutating func foldThrough(_ time: UInt64) {
        foldedThrough = max(foldedThrough, time)
        minuteHashes.drop(through: foldedThrough)
    }

    private mutating func noteFolded(_ signal: Signal) {
        if let checkpoint = signal.checkpoint { foldThrough(checkpoint.stamp.time) }
    }

    // MARK: - Joining

    /// Notes how far the sender of a chunk has folded: what it deleted by then must go here as well.
    mutating func adopt(target theirs: UInt64) {
        target = max(target, theirs)
        foldThrough(target)
    }

    /// Joins a signal of another map, whose `adopt(target:)` came before.
    mutating func adopt(_ signal: Signal, scope: RawSpan, pattern: RawSpan) {
        let slot = slot(scope, pattern) ?? add(scope, pattern)
        var joined = slots[slot]!.signal
        let key = slots[slot]!.key
        operationCount -= joined.operationCount
        for operation in joined.operations { minuteHashes.remove(operation, key: key) }
        // Only a fold beyond the cap can hold a checkpoint above both targets. Whether the other side's operations
        // are in it, nobody can tell any more.
        for checkpoint in [joined.checkpoint, signal.checkpoint] {
            guard let checkpoint, checkpoint.stamp.time > target else { continue }
            if joined.countInside(checkpoint) + signal.countInside(checkpoint) > 0 { approximations += 1 }
        }
        joined.merge(signal)
        noteFolded(joined)
        operationCount += joined.operationCount
        for operation in joined.operations { minuteHashes.add(operation, key: key) }
        slots[slot]!.signal = joined
        collapse(slot)
    }

    // MARK: - Slots

    private func slot(_ scope: RawSpan, _ pattern: RawSpan) -> Int? {
        guard let s = scopes.index(of: scope), let p = scopes.values[s].index(of: pattern) else { return nil }
        return Int(scopes.values[s].values[p])
    }

    private mutating func add(_ scope: RawSpan, _ pattern: RawSpan) -> Int {
        let slot = freeSlots.popLast().map(Int.init) ?? slots.count
        let s = scopes.index(of: scope, default: ByteMap())
        let p = scopes.values[s].index(of: pattern, default: Int32(slot))
        if slot == slots.count { slots.append(nil) }
        // The names are the maps' own arrays, held twice and stored once.
        slots[slot] = Held(
            signal: Signal(lambda: lambda), scope: scopes.keys[s], pattern: scopes.values[s].keys[p],
            key: XXH64.hash(pattern, seed: XXH64.hash(scope)))
        count += 1
        nameBytes += pattern.byteCount + (scopes.values[s].count == 1 ? scope.byteCount : 0)
        return slot
    }

    private mutating func delete(_ slot: Int) {
        let held = slots[slot]!
        let s = scopes.index(of: held.scope.span.bytes)!
        let p = scopes.values[s].index(of: held.pattern.span.bytes)!
        scopes.values[s].remove(at: p)
        if scopes.values[s].count == 0 {
            scopes.remove(at: s)
            nameBytes -= held.scope.count
        }
        queue.remove(slot)
        slots[slot] = nil
        freeSlots.append(Int32(slot))
        count -= 1
        nameBytes -= held.pattern.count
        if slots.count > Self.slotsWorthKeeping, count < slots.count / 4 { renumber() }
    }

    /// Fewer slots than this are kept, free or not.
    static let slotsWorthKeeping = 1_024

    /// Gives the memory of deleted signals back. Rare: three quarters of all signals must have gone since the last time.
    private mutating func renumber() {
        let kept = slots.compactMap { $0 }
        numbering += 1
        (scopes, slots, freeSlots, queue) = (ByteMap(), [], [], SignalQueue())
        for held in kept {
            let s = scopes.index(of: held.scope.span.bytes, default: ByteMap())
            _ = scopes.values[s].index(of: held.pattern.span.bytes, default: Int32(slots.count))
            queue.set(slots.count, due: held.signal.due)
            slots.append(held)
        }
    }
}
