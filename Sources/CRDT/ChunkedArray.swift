/// An array in chunks of 2,048: growing never copies what is there, so no single append pays for the growth.
struct ChunkedArray<Element: BitwiseCopyable & Sendable>: Sendable {
    private static var shift: Int { 11 }
    private static var mask: Int { 1 << shift - 1 }
    private var chunks: ContiguousArray<ContiguousArray<Element>> = []
    /// How many elements there are.
    private(set) var count = 0

    /// Memory taken, in bytes.
    var byteCount: Int { (chunks.count << Self.shift) * MemoryLayout<Element>.stride }

    subscript(index: Int) -> Element {
        @inline(__always) get { chunks[index >> Self.shift][index & Self.mask] }
        @inline(__always) _modify { yield &chunks[index >> Self.shift][index & Self.mask] }
    }

    /// Adds an element at the end.
    mutating func append(_ element: Element) {
        if count >> Self.shift == chunks.count {
            var chunk = ContiguousArray<Element>()
            chunk.reserveCapacity(1 << Self.shift)
            chunks.append(chunk)
        }
        chunks[count >> Self.shift].append(element)
        count += 1
    }

    /// Removes the last element. A chunk goes when the one before it is no longer full, so that a count that swings
    /// around a boundary allocates nothing.
    mutating func removeLast() {
        count -= 1
        chunks[count >> Self.shift].removeLast()
        if chunks.count > count >> Self.shift + 1 { chunks.removeLast() }
    }
}
