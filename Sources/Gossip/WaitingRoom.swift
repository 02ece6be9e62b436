import CRDT

/// Entries that came before what they depend on. Bounded in bytes: beyond that they are dropped and asked for again.
struct WaitingRoom: Sendable {
    /// The bound, in bytes of entries and of what keeping one costs.
    let limitBytes: Int
    /// What keeping an entry costs besides its bytes, roughly.
    private static let overheadBytes = 128

    private var entries: [Int: [UInt64: [UInt8]]] = [:]
    /// Where the run of entries right after the log's head was last seen to end.
    private var runs: [Int: UInt64] = [:]
    /// Bytes of the entries that wait.
    private(set) var heldBytes = 0
    /// Entries dropped at the bound so far.
    private(set) var dropped = 0

    /// An empty room with this bound.
    init(limitBytes: Int) { self.limitBytes = limitBytes }

    /// Whether nothing waits.
    var isEmpty: Bool { entries.isEmpty }

    /// The slots for which something waits, in order.
    var slots: [Int] { entries.keys.sorted() }

    /// Keeps an entry, unless there is no room.
    mutating func keep(slot: Int, sequence: UInt64, entry: RawSpan) {
        guard entries[slot]?[sequence] == nil else { return }
        guard heldBytes + entry.byteCount + Self.overheadBytes <= limitBytes else {
            dropped += 1
            return
        }
        heldBytes += entry.byteCount + Self.overheadBytes
        entries[slot, default: [:]][sequence] = entry.withUnsafeBytes { Array($0) }
    }

    /// The entry with this number, if it waits.
    func entry(slot: Int, sequence: UInt64) -> [UInt8]? { entries[slot]?[sequence] }

    /// The last number of the run of entries that wait right after `sequence`; `sequence` itself if none does.
    mutating func contiguous(slot: Int, after sequence: UInt64) -> UInt64 {
        guard let waiting = entries[slot] else { return sequence }
        // Entries leave only as they are applied, so the end of the last run found is a place to go on from.
        var last = max(sequence, runs[slot] ?? 0)
        while waiting[last + 1] != nil { last += 1 }
        runs[slot] = last
        return last
    }

    /// Forgets one entry: it was applied, from here or from elsewhere.
    mutating func remove(slot: Int, sequence: UInt64) {
        guard let bytes = entries[slot]?.removeValue(forKey: sequence) else { return }
        heldBytes -= bytes.count + Self.overheadBytes
        if entries[slot]?.isEmpty ?? false {
            entries[slot] = nil
            runs[slot] = nil
        }
    }

    /// Forgets a slot's entries up to a number: they were skipped.
    mutating func remove(slot: Int, through sequence: UInt64) {
        for number in (entries[slot] ?? [:]).keys where number <= sequence { remove(slot: slot, sequence: number) }
    }

    /// Forgets all that waits for a slot, which is another log's from now on.
    mutating func forget(slot: Int) { remove(slot: slot, through: .max) }
}
