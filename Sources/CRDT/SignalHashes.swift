/// An order-independent hash of all signals' operations for each minute of their stamps: what two nodes compare.
///
/// Minutes in which operations may have been folded are left out: how far nodes have folded is no difference. A minute
/// costs about 50 bytes and there are as many as lie between the last fold and now.
struct SignalHashes: Sendable {
    private struct Minute: Sendable {
        var count = 0
        var sum: UInt64 = 0
    }

    private var minutes: [UInt64: Minute] = [:]
    private var lastFolded: UInt64 = 0

    static func minute(_ time: UInt64) -> UInt64 { (time >> 16) / 60_000 }

    mutating func add(_ operation: Signal.Operation, key: UInt64) {
        let minute = Self.minute(operation.stamp.time)
        guard minute > lastFolded else { return }
        minutes[minute, default: Minute()].count += 1
        minutes[minute]!.sum &+= operation.hash(key: key)
    }

    mutating func remove(_ operation: Signal.Operation, key: UInt64) {
        let minute = Self.minute(operation.stamp.time)
        guard minute > lastFolded, var rest = minutes[minute] else { return }
        rest.count -= 1
        rest.sum &-= operation.hash(key: key)
        minutes[minute] = rest.count > 0 ? rest : nil
    }

    /// Forgets the minutes up to and with the one of `time`, for good.
    mutating func drop(through time: UInt64) {
        guard Self.minute(time) > lastFolded else { return }
        lastFolded = Self.minute(time)
        let bound = lastFolded
        minutes = minutes.filter { $0.key > bound }
    }

    func list(after time: UInt64) -> [(minute: UInt64, hash: UInt64)] {
        let bound = max(lastFolded, Self.minute(time))
        return minutes.filter { $0.key > bound }.map { (minute: $0.key, hash: $0.value.sum) }
            .sorted { $0.minute < $1.minute }
    }
}
