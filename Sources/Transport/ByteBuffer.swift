import Glibc

/// Bytes that wait to be sent or for their rest to arrive. Takes memory only while it holds something.
///
/// Safe although made of a pointer: the memory is owned here alone (no copies of the value exist), every access stays
/// within `start ..< end`, which stays within `0 ..< capacity`, and it is freed when emptied or with the value.
struct ByteBuffer: ~Copyable {
    private var base: UnsafeMutableRawPointer?
    private var capacity = 0
    private var start = 0
    private var end = 0

    init() {}

    deinit { free(base) }

    var count: Int { end - start }
    var isEmpty: Bool { end == start }
    /// Memory held, for the accounting of tests.
    var reserved: Int { capacity }

    /// The bytes held; valid until the next change.
    var readable: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: base.map { $0 + start }, count: count)
    }

    /// Makes room for `extra` more bytes behind the end.
    mutating func reserve(_ extra: Int) {
        if capacity - end >= extra { return }
        if start > 0, capacity - count >= extra, start >= count {
            memmove(base!, base! + start, count)
        } else {
            // Exact at first, since most buffers are filled once; by half more when they turn out to grow.
            let wanted = max(256, count + extra + (capacity == 0 ? 0 : (count + extra) / 2))
            guard let fresh = malloc(wanted) else { fatalError("out of memory: \(wanted) bytes for a buffer") }
            if let base { memcpy(fresh, base + start, count) }
            free(base)
            base = fresh
            capacity = wanted
        }
        end -= start
        start = 0
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        reserve(bytes.count)
        memcpy(base! + end, source, bytes.count)
        end += bytes.count
    }

    mutating func append(_ bytes: borrowing RawSpan) { bytes.withUnsafeBytes { append($0) } }

    mutating func append(_ text: StaticString) {
        append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func append(_ byte: UInt8) {
        reserve(1)
        base!.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
        end += 1
    }

    /// Appends a number in decimal digits.
    mutating func append(decimal number: Int) {
        reserve(20)
        var digits = 1
        var bound = 10
        while digits < 19, number >= bound {
            digits += 1
            bound = digits < 19 ? bound * 10 : bound
        }
        var rest = number
        var at = end + digits
        repeat {
            at -= 1
            base!.storeBytes(of: UInt8(truncatingIfNeeded: 48 + rest % 10), toByteOffset: at, as: UInt8.self)
            rest /= 10
        } while at > end
        end += digits
    }

    /// Lets `fill` write up to `room` bytes behind the end; it returns how many it wrote.
    mutating func append(upTo room: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Int) -> Int {
        reserve(room)
        let written = fill(UnsafeMutableRawBufferPointer(start: base! + end, count: room))
        precondition(written <= room, "a read returned more than was asked for")
        if written > 0 { end += written }
        return written
    }

    /// Forgets the first `count` bytes; the memory goes with the last one.
    mutating func consume(_ count: Int) {
        precondition(count <= self.count, "more was consumed than was there")
        start += count
        if start == end { clear() }
    }

    /// Forgets `range`, counted from the first byte held; what is behind it moves up.
    mutating func remove(_ range: Range<Int>) {
        precondition(range.upperBound <= count, "a range to remove is not there")
        guard let base, !range.isEmpty else { return }
        memmove(base + start + range.lowerBound, base + start + range.upperBound, count - range.upperBound)
        end -= range.count
        if start == end { clear() }
    }

    /// Forgets everything and gives the memory back.
    mutating func clear() {
        free(base)
        base = nil
        capacity = 0
        start = 0
        end = 0
    }
}
