/// What can be due in the light world. Plain numbers only: a peer or an end of a link by its place, bytes by their place
/// in the pool.
enum CostDue {
    /// A peer asked to be woken; void when it asked for another moment since.
    case wake(peer: Int32, life: Int32)
    /// A datagram reached the machine of `to`.
    case datagram(from: Int32, to: Int32, bytes: Int32)
    /// The first packet of a dial reached the other machine; `end` is the dialling one.
    case knock(end: Int32)
    /// One end learns that the connection stands.
    case opened(end: Int32)
    /// A dial came to nothing.
    case refused(end: Int32)
    /// A frame written at `end` reached the other machine.
    case arrival(end: Int32, bytes: Int32)
    /// What was written at `end` has left the process.
    case drained(end: Int32)
    /// The kernel at `end` has waited its whole TCP_USER_TIMEOUT.
    case patience(end: Int32, token: Int32)
    /// The kernel at `end` tries again after a cut.
    case retransmit(end: Int32)
    /// The end learns that the other end closed.
    case closed(end: Int32)
    /// The process at `end` is told that the link it closed itself is gone.
    case buried(end: Int32)
}

/// What is due, ordered by (time, insertion): a binary heap of plain numbers, which allocates nothing once it is warm.
struct CostAgenda {
    private struct Entry {
        let time: UInt64
        let order: UInt64
        let due: CostDue

        @inline(__always)
        func comes(before other: Entry) -> Bool { time != other.time ? time < other.time : order < other.order }
    }

    private var heap: ContiguousArray<Entry> = []
    private var inserted: UInt64 = 0

    /// When the next thing happens, in microseconds; nil when nothing is due.
    var nextTime: UInt64? { heap.first?.time }

    /// Makes `due` happen at `time`.
    mutating func add(_ due: CostDue, at time: UInt64) {
        let entry = Entry(time: time, order: inserted, due: due)
        inserted += 1
        heap.append(entry)
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard entry.comes(before: heap[parent]) else { break }
            heap[child] = heap[parent]
            child = parent
        }
        heap[child] = entry
    }

    /// Takes out the first thing due; only called when there is one.
    mutating func removeFirst() -> (time: UInt64, due: CostDue) {
        let first = heap[0]
        let last = heap.removeLast()
        let count = heap.count
        guard count > 0 else { return (first.time, first.due) }
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < count else { break }
            if child + 1 < count, heap[child + 1].comes(before: heap[child]) { child += 1 }
            guard heap[child].comes(before: last) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = last
        return (first.time, first.due)
    }
}

/// Bytes on their way, by number; their memory is used again.
struct BytePool {
    /// Buffers that grew beyond this are given back to the system.
    private static let kept = 4_096
    private var buffers: ContiguousArray<[UInt8]> = []
    private var free: [Int32] = []

    /// How many buffers are on their way.
    var used: Int { buffers.count - free.count }

    /// Keeps a copy of `bytes[range]`.
    mutating func put(_ bytes: borrowing [UInt8], _ range: Range<Int>) -> Int32 {
        if let place = free.popLast() {
            buffers[Int(place)].append(contentsOf: bytes[range])
            return place
        }
        buffers.append(Array(bytes[range]))
        return Int32(buffers.count - 1)
    }

    /// How many bytes lie in a buffer.
    func count(_ place: Int32) -> Int { buffers[Int(place)].count }

    /// Takes the bytes out; they go back with `release`.
    mutating func take(_ place: Int32) -> [UInt8] {
        var bytes: [UInt8] = []
        swap(&bytes, &buffers[Int(place)])
        return bytes
    }

    /// Gives the memory of what was taken back.
    mutating func release(_ place: Int32, _ bytes: consuming [UInt8]) {
        var bytes = bytes
        if bytes.capacity > Self.kept { bytes = [] } else { bytes.removeAll(keepingCapacity: true) }
        swap(&bytes, &buffers[Int(place)])
        free.append(place)
    }

    /// Drops what was put.
    mutating func drop(_ place: Int32) { release(place, take(place)) }
}
