/// State transfer: signals travel whole, each as its checkpoint and its operations, in chunks that any map can join.
///
/// A chunk is λ (8 bytes) and the sender's target (8 bytes), then signals until its end. A signal is its scope and
/// pattern behind their lengths, 0 or 1 and a checkpoint (time, replica, strength, 8 bytes each), the count of its
/// operations, and for each of them kind (1 byte), time since the one before (varint), replica (8 bytes) and, unless
/// it is a touch, the amount (8 bytes). Integers are little-endian, lengths and counts are varints.
///
/// Joining knows of operations that were added, not of any taken out by `remove`: a chunk is for a node that reads on
/// from the sender's vector, or that has read as far as the sender.
extension SignalMap {
    /// A way through all signals, one chunk at a time, while the map goes on changing.
    ///
    /// Every signal that is here from the first chunk to the last is in one of them. What comes meanwhile may be in
    /// none: the receiver gets those operations as the entries that they come from.
    public struct Walk: Sendable {
        fileprivate var slot = 0
        fileprivate var numbering: Int?
        fileprivate let minutes: Set<UInt64>?

        /// A walk over all signals, or over those with an operation in one of these minutes since the Unix epoch.
        public init(minutes: Set<UInt64>? = nil) { self.minutes = minutes }
    }

    /// The most slots that one call looks at, so that a walk that picks few signals out of many yields the loop.
    private static let slotsPerChunk = 16_384

    /// Appends the next chunk, at most `limit` bytes long except where a single signal is longer (about 100 KB at the
    /// cap). Returns whether more is left.
    public func encodeChunk(_ walk: inout Walk, atMost limit: Int, into out: inout [UInt8]) -> Bool {
        if walk.numbering != numbering {
            // Signals have other slots than when the walk began. Sending some of them again does no harm.
            walk.slot = 0
            walk.numbering = numbering
        }
        let start = out.count
        out.append(littleEndian: lambda.bitPattern)
        out.append(littleEndian: target)
        let first = out.count
        let end = min(slots.count, walk.slot + Self.slotsPerChunk)
        while walk.slot < end {
            if let held = slots[walk.slot], walk.picks(held.signal) {
                let before = out.count
                out.append(varint: UInt64(held.scope.count))
                out.append(contentsOf: held.scope)
                out.append(varint: UInt64(held.pattern.count))
                out.append(contentsOf: held.pattern)
                held.signal.encode(into: &out)
                if out.count - start > limit, before > first {
                    out.removeLast(out.count - before)
                    return true
                }
            }
            walk.slot += 1
        }
        return walk.slot < slots.count
    }

    /// Joins a chunk of another map: of each signal, the later checkpoint stays and operations that are in it go; both
    /// sides' later operations stay. What the sender had folded or deleted by its target is folded or deleted here by
    /// `collapse`, and until then reads the same.
    ///
    /// All or nothing: a chunk with a fault changes nothing and throws. So does one with a stamp above `latest`, as
    /// what is folded at a time that has not come would spoil all that happens until then.
    public mutating func merge(chunk: RawSpan, latest: UInt64 = .max) throws(DecodeError) {
        var cursor = ByteCursor(chunk)
        guard try cursor.u64(chunk) == lambda.bitPattern else { throw .badValue(field: "decay") }
        let theirs = try cursor.u64(chunk)
        guard theirs <= latest else { throw .badValue(field: "target") }
        var signals: [(scope: Range<Int>, pattern: Range<Int>, signal: Signal)] = []
        while cursor.remaining > 0 {
            let scope = try cursor.block(chunk, limit: chunk.byteCount)
            let pattern = try cursor.block(chunk, limit: chunk.byteCount)
            signals.append((scope, pattern, try Signal(&cursor, chunk, lambda: lambda, latest: latest)))
        }
        adopt(target: theirs)
        for (scope, pattern, signal) in signals {
            adopt(signal, scope: chunk.extracting(scope), pattern: chunk.extracting(pattern))
        }
        _ = collapse(through: target, atMost: 0)
    }
}

extension SignalMap.Walk {
    fileprivate func picks(_ signal: Signal) -> Bool {
        guard let minutes else { return true }
        return signal.operations.contains { minutes.contains(SignalHashes.minute($0.stamp.time)) }
    }
}

extension Signal {
    fileprivate func encode(into out: inout [UInt8]) {
        out.append(checkpoint == nil ? 0 : 1)
        if let checkpoint {
            out.append(littleEndian: checkpoint.stamp.time)
            out.append(replica: checkpoint.stamp.replica)
            out.append(littleEndian: checkpoint.strength.bitPattern)
        }
        out.append(varint: UInt64(operations.count))
        var time: UInt64 = 0
        for operation in operations {
            out.append(UInt8(operation.kind.rawValue))
            out.append(varint: operation.stamp.time - time)
            out.append(replica: operation.stamp.replica)
            if operation.kind != .touch { out.append(littleEndian: operation.amount.bitPattern) }
            time = operation.stamp.time
        }
    }

    /// Reads what `encode` wrote. Refuses what no map holds: nothing at all, stamps that do not rise from the
    /// checkpoint on, a strength that no fold results in, more operations than the cap.
    fileprivate init(
        _ cursor: inout ByteCursor, _ bytes: RawSpan, lambda: Double, latest: UInt64
    ) throws(DecodeError) {
        var checkpoint: Checkpoint?
        switch try cursor.u8(bytes) {
        case 0: break
        case 1:
            let stamp = HybridTimestamp(time: try cursor.u64(bytes), replica: try cursor.replica(bytes))
            let strength = Double(bitPattern: try cursor.u64(bytes))
            guard strength.bitPattern == 0 || (Self.vanishing...1).contains(strength) else {
                throw .badValue(field: "strength")
            }
            checkpoint = Checkpoint(stamp: stamp, strength: strength)
        default: throw .badValue(field: "checkpoint")
        }
        var last = checkpoint?.stamp
        var time: UInt64 = 0
        var operations: [Operation] = []
        for _ in 0..<(try cursor.count(bytes, limit: Self.maximumOperations)) {
            guard let kind = Operation.Kind(rawValue: UInt64(try cursor.u8(bytes))) else {
                throw .badValue(field: "operation")
            }
            let (sum, overflow) = time.addingReportingOverflow(try cursor.varint(bytes))
            guard !overflow else { throw .badInteger }
            time = sum
            let stamp = HybridTimestamp(time: time, replica: try cursor.replica(bytes))
            if let last, last >= stamp { throw .badValue(field: "order of stamps") }
            let amount = kind == .touch ? 0 : Double(bitPattern: try cursor.u64(bytes))
            operations.append(Operation(kind, amount: amount, at: stamp))
            last = stamp
        }
        guard let last else { throw .badValue(field: "signal") }
        guard last.time <= latest else { throw .badValue(field: "stamp") }
        self.init(lambda: lambda, checkpoint: checkpoint, operations: operations)
    }
}
