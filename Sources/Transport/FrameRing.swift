import Glibc

/// The frames of one channel, made once for all its members: a ring of bytes in which a member is a position.
///
/// Positions count bytes since the channel began and never wrap; `tail ..< head` is held. Safe although made of a
/// pointer: the memory is owned here alone, positions are checked against `tail` and `head` before they become
/// addresses, and an address is the position modulo the capacity, which is a power of two.
struct FrameRing: ~Copyable {
    private var base: UnsafeMutableRawPointer
    private(set) var capacity: Int
    private let smallest: Int
    /// How messages are framed.
    let framing: Framing
    private var ends = FrameEnds()
    /// Behind the newest byte; always a boundary between frames.
    private(set) var head: UInt64 = 0
    /// The oldest byte held.
    private(set) var tail: UInt64 = 0

    /// A ring that takes `smallest` bytes (a power of two) until more are needed.
    init(_ framing: Framing = .frames, smallest: Int = 64 << 10) {
        precondition(smallest.nonzeroBitCount == 1, "the size of a ring is a power of two")
        self.framing = framing
        self.smallest = smallest
        capacity = smallest
        base = Self.memory(smallest)
    }

    deinit { free(base) }

    private static func memory(_ size: Int) -> UnsafeMutableRawPointer {
        guard let memory = malloc(size) else { fatalError("out of memory: \(size) bytes for a ring of frames") }
        return memory
    }

    /// Bytes held.
    var held: Int { Int(head - tail) }

    /// Frames held in whole or in part.
    var heldFrames: Int { ends.count }

    /// Whether a message fits without taking more memory.
    func hasRoom(forMessage length: Int) -> Bool { held + framing.size(ofMessage: length) <= capacity }

    /// Frames a message once (as text, where that makes a difference); takes more memory if there is no room.
    mutating func append(_ payload: borrowing RawSpan, mark: UInt64 = 0) {
        let length = payload.byteCount
        if !hasRoom(forMessage: length) { grow(toHold: held + framing.size(ofMessage: length)) }
        switch framing {
        case .frames:
            FrameHeader(WebSocketFrame.Opcode.text.rawValue, length).withBytes { put($0) }
            payload.withUnsafeBytes { put($0) }
        case .chunks:
            precondition(length > 0, "an empty chunk would end the stream")
            FrameHeader(chunk: length).withBytes { put($0) }
            payload.withUnsafeBytes { put($0) }
            let lineEnd: StaticString = "\r\n"
            put(UnsafeRawBufferPointer(start: lineEnd.utf8Start, count: 2))
        case .bare: payload.withUnsafeBytes { put($0) }
        }
        ends.append(end: head, mark: mark)
    }

    @inline(__always)
    private mutating func put(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        let at = Int(truncatingIfNeeded: head) & (capacity - 1)
        let first = min(bytes.count, capacity - at)
        memcpy(base + at, source, first)
        if first < bytes.count { memcpy(base, source + first, bytes.count - first) }
        head += UInt64(bytes.count)
    }

    private mutating func grow(toHold wanted: Int) {
        var larger = capacity
        while larger < wanted { larger *= 2 }
        resize(to: larger)
    }

    private mutating func resize(to size: Int) {
        let fresh = Self.memory(size)
        var at = tail
        while at < head {
            // No farther than to the end of either ring.
            let from = Int(truncatingIfNeeded: at) & (capacity - 1)
            let to = Int(truncatingIfNeeded: at) & (size - 1)
            let count = min(Int(head - at), capacity - from, size - to)
            memcpy(fresh + to, base + from, count)
            at += UInt64(count)
        }
        free(base)
        base = fresh
        capacity = size
    }

    /// Forgets what every member has got.
    @inline(__always)
    mutating func release(upTo position: UInt64) {
        precondition(position >= tail && position <= head, "a ring is released within what it holds")
        tail = position
        ends.release(upTo: position)
    }

    /// Gives back what a crowd of slow members made it take.
    mutating func shrink() {
        guard tail == head, capacity > smallest else { return }
        resize(to: smallest)
        ends.shrink()
    }

    /// The bytes from `position` to `end`, in one piece or two.
    @inline(__always)
    func pieces(_ position: UInt64, to end: UInt64) -> (UnsafeRawBufferPointer, UnsafeRawBufferPointer) {
        precondition(position >= tail && end <= head && position <= end, "a position is not in the ring")
        let at = Int(truncatingIfNeeded: position) & (capacity - 1)
        let count = Int(end - position)
        let first = min(count, capacity - at)
        return (
            UnsafeRawBufferPointer(start: base + at, count: first),
            UnsafeRawBufferPointer(start: base, count: count - first)
        )
    }

    /// The end of the frame that holds the byte before `position`: `position` itself if it is a boundary.
    func frameEnd(around position: UInt64) -> UInt64 { ends.end(around: position) }

    /// The mark of the frame that ends at `boundary`, which is not before `tail`; nil if none ends there.
    func mark(endingAt boundary: UInt64) -> UInt64? { ends.mark(endingAt: boundary) }
}

/// Where one member of a channel stands.
struct FrameReader: Equatable {
    /// What is before it was handed to the socket.
    private(set) var position: UInt64
    /// If above `position`: where the frame ends of which a part was sent. Else `position` is between two frames.
    private(set) var frameEnd: UInt64

    /// A reader that gets what comes after now.
    init(at ring: borrowing FrameRing) {
        position = ring.head
        frameEnd = ring.head
    }

    var isInsideFrame: Bool { frameEnd > position }
    /// Behind the last frame of which anything was sent.
    var boundary: UInt64 { max(position, frameEnd) }

    /// Everything up to `head` was sent.
    @inline(__always)
    mutating func sentAll(to head: UInt64) { position = head }

    /// Only `count` bytes were sent.
    mutating func sent(_ count: Int, of ring: borrowing FrameRing) {
        position += UInt64(count)
        frameEnd = ring.frameEnd(around: position)
    }

    /// Goes on behind the frame that is being sent; the caller has taken its rest over.
    mutating func skipFrame() { position = boundary }
}
