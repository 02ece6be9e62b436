/// Values by a key of bytes, looked up from a span without making a key first.
///
/// Open addressing with linear probing over XXH64. A value keeps its index for as long as it is in the map, until a
/// removal: `remove(at:)` gives the last value the free index, `removeAll(where:)` numbers the rest anew.
public struct ByteMap<Value: Sendable>: Sendable {
    private var slots: [Int32] = Array(repeating: -1, count: 8)
    private var hashes: [UInt64] = []
    /// The keys, by index.
    public private(set) var keys: [[UInt8]] = []
    /// The values, by index; assign through the index to change one in place.
    public var values: [Value] = []

    /// An empty map.
    public init() {}

    /// How many keys there are.
    public var count: Int { keys.count }

    /// The index of a key, if it is here.
    public func index(of key: RawSpan) -> Int? {
        let hash = XXH64.hash(key)
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if hashes[index] == hash, key.isEqual(to: keys[index]) { return index }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// The index of a key, which is added with `value` if it is not here.
    public mutating func index(of key: RawSpan, default value: @autoclosure () -> Value) -> Int {
        if let index = index(of: key) { return index }
        keys.append(key.withUnsafeBytes { Array($0) })
        hashes.append(XXH64.hash(key))
        values.append(value())
        if keys.count * 4 > slots.count * 3 { rebuild(slots.count * 2) } else { place(keys.count - 1) }
        return keys.count - 1
    }

    /// Removes one value; the last one takes over its index. Costs no more than a look-up.
    public mutating func remove(at index: Int) {
        let last = keys.count - 1
        var hole = slot(of: index)
        if index != last { slots[slot(of: last)] = Int32(index) }
        keys.swapAt(index, last)
        hashes.swapAt(index, last)
        values.swapAt(index, last)
        keys.removeLast()
        hashes.removeLast()
        values.removeLast()
        // Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R: whatever was pushed past the
        // hole moves into it, or a search for that would end too early.
        let mask = slots.count - 1
        var slot = hole
        slots[hole] = -1
        while true {
            slot = (slot + 1) & mask
            guard slots[slot] >= 0 else { return }
            let home = Int(truncatingIfNeeded: hashes[Int(slots[slot])]) & mask
            if (slot &- home) & mask >= (slot &- hole) & mask {
                slots[hole] = slots[slot]
                slots[slot] = -1
                hole = slot
            }
        }
    }

    /// Removes what matches; the remaining values get new indices.
    public mutating func removeAll(where matches: (Value) -> Bool) {
        let kept = values.indices.filter { !matches(values[$0]) }
        guard kept.count < values.count else { return }
        keys = kept.map { keys[$0] }
        hashes = kept.map { hashes[$0] }
        values = kept.map { values[$0] }
        rebuild(slots.count)
    }

    private func slot(of index: Int) -> Int {
        var slot = Int(truncatingIfNeeded: hashes[index]) & (slots.count - 1)
        while slots[slot] != Int32(index) { slot = (slot + 1) & (slots.count - 1) }
        return slot
    }

    private mutating func rebuild(_ size: Int) {
        slots = Array(repeating: -1, count: size)
        for index in keys.indices { place(index) }
    }

    private mutating func place(_ index: Int) {
        var slot = Int(truncatingIfNeeded: hashes[index]) & (slots.count - 1)
        while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = Int32(index)
    }
}

extension RawSpan {
    /// Whether the span holds just these bytes.
    public func isEqual(to other: [UInt8]) -> Bool {
        guard byteCount == other.count else { return false }
        return withUnsafeBytes { mine in other.withUnsafeBytes { mine.elementsEqual($0) } }
    }
}
