/// A queue addressed by a number that never changes: append at the end, drop at the front, both without moving the rest.
///
/// Elements sit in chunks of 4,096, so growing never copies what is there and dropping gives memory back. Inlinable,
/// because a queue of records is read and appended to several times for each event.
public struct ChunkedQueue<Element: BitwiseCopyable & Sendable>: Sendable {
    @usableFromInline static var shift: Int { 12 }
    @usableFromInline static var mask: Int { 1 << shift - 1 }
    @usableFromInline var chunks: ContiguousArray<ContiguousArray<Element>> = []
    /// The number of the first chunk's first element.
    @usableFromInline var base: Int
    @usableFromInline var first: Int
    @usableFromInline var next: Int

    /// An empty queue whose first element will have the number `start`.
    @inlinable public init(start: Int = 0) {
        base = start
        first = start
        next = start
    }

    /// The number of the first element still here.
    @inlinable public var start: Int { first }
    /// One past the number of the last element.
    @inlinable public var end: Int { next }
    /// How many elements are here.
    @inlinable public var count: Int { next - first }

    /// The element with a number from `start` on and below `end`.
    @inlinable public subscript(index: Int) -> Element {
        get {
            precondition(index >= first && index < next, "no such element in the queue")
            return chunks[(index - base) >> Self.shift][(index - base) & Self.mask]
        }
        _modify {
            precondition(index >= first && index < next, "no such element in the queue")
            yield &chunks[(index - base) >> Self.shift][(index - base) & Self.mask]
        }
    }

    /// Adds an element and returns its number.
    @discardableResult @inlinable public mutating func append(_ element: Element) -> Int {
        if (next - base) >> Self.shift == chunks.count {
            var chunk = ContiguousArray<Element>()
            // The first one grows as it needs to: there is a queue for every log, and most logs are short.
            if !chunks.isEmpty { chunk.reserveCapacity(1 << Self.shift) }
            chunks.append(chunk)
        }
        chunks[chunks.count - 1].append(element)
        next += 1
        return next - 1
    }

    /// Drops everything before `index`.
    @inlinable public mutating func drop(before index: Int) {
        first = min(max(first, index), next)
        let whole = (first - base) >> Self.shift
        guard whole > 0 else { return }
        chunks.removeFirst(whole)
        base += whole << Self.shift
    }
}
