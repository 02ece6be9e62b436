/// A hash index whose chains run through the records themselves: each record holds the distance back to the previous
/// one in its bucket. Adding allocates nothing, and records dropped at the front need no unlinking: a link to below the
/// floor is the end of the chain.
///
/// A bucket holds the low half of its last position. Whoever follows it compares what he finds, so a bucket untouched
/// for four billion positions, which then seems to point at a recent one, costs a look and nothing else.
struct ChainIndex: Sendable {
    private static let chunkBits = 11

    /// Buckets in chunks that are made when they are first needed, so that a large index costs nothing to begin with.
    private var chunks: ContiguousArray<ContiguousArray<UInt32>>
    /// How many buckets there are; the owner rebuilds with more when its records outnumber them.
    let bucketCount: Int

    /// An index with a power of two of buckets.
    init(buckets: Int) {
        bucketCount = buckets
        chunks = ContiguousArray(repeating: [], count: max(1, buckets >> Self.chunkBits))
    }

    /// The last position in the bucket of `hash`, where `end` is one past the last position of all; below the floor for
    /// none.
    @inline(__always) func last(_ hash: UInt32, end: Int) -> Int {
        let bucket = Int(hash) & (bucketCount - 1)
        let chunk = chunks[bucket >> Self.chunkBits]
        guard !chunk.isEmpty else { return -1 }
        let head = chunk[bucket & (1 << Self.chunkBits - 1)]
        return end - 1 - Int(UInt32(truncatingIfNeeded: end - 1) &- head)
    }

    /// Puts a position, which must be the highest so far, at the end of its chain and returns the distance back to the
    /// one before; zero for none.
    @inline(__always) mutating func append(_ hash: UInt32, _ position: Int) -> UInt32 {
        let bucket = Int(hash) & (bucketCount - 1)
        let chunk = bucket >> Self.chunkBits
        if chunks[chunk].isEmpty {
            chunks[chunk] = ContiguousArray(repeating: .max, count: min(bucketCount, 1 << Self.chunkBits))
        }
        let at = bucket & (1 << Self.chunkBits - 1)
        let distance = UInt32(truncatingIfNeeded: position) &- chunks[chunk][at]
        chunks[chunk][at] = UInt32(truncatingIfNeeded: position)
        return Int(distance) > position ? 0 : distance
    }
}
