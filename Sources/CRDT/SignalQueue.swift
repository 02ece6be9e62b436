/// Which signal is due next: an ordered queue of slots that can be moved while they wait.
///
/// A binary heap that knows where each slot is (Sedgewick and Wayne, "Algorithms", 4th edition, section 2.4, indexed
/// priority queue), so each signal stands in it once and moving one costs O(log n).
struct SignalQueue: Sendable {
    private struct Entry: Sendable {
        var due: UInt64
        var slot: Int32
    }

    /// What one signal costs here.
    static let bytesPerSignal = MemoryLayout<Entry>.stride + MemoryLayout<Int32>.stride

    private var heap: [Entry] = []
    /// Where in the heap a slot is; -1 if it is not.
    private var places: [Int32] = []

    /// The slot that is due first, and when.
    var first: (due: UInt64, slot: Int)? { heap.first.map { ($0.due, Int($0.slot)) } }

    /// Puts a slot into the queue, or moves it there.
    mutating func set(_ slot: Int, due: UInt64) {
        while places.count <= slot { places.append(-1) }
        var place = Int(places[slot])
        if place < 0 {
            place = heap.count
            heap.append(Entry(due: due, slot: Int32(slot)))
            places[slot] = Int32(place)
        } else if heap[place].due == due {
            return
        }
        heap[place].due = due
        sink(rise(place))
    }

    /// Takes a slot out of the queue.
    mutating func remove(_ slot: Int) {
        guard slot < places.count, places[slot] >= 0 else { return }
        let place = Int(places[slot])
        swap(place, heap.count - 1)
        heap.removeLast()
        places[slot] = -1
        if place < heap.count { sink(rise(place)) }
    }

    private mutating func rise(_ start: Int) -> Int {
        var place = start
        while place > 0, heap[place].due < heap[(place - 1) / 2].due {
            swap(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
        return place
    }

    private mutating func sink(_ start: Int) {
        var place = start
        while true {
            var least = place
            for child in 2 * place + 1...2 * place + 2 where child < heap.count && heap[child].due < heap[least].due {
                least = child
            }
            guard least != place else { return }
            swap(place, least)
            place = least
        }
    }

    private mutating func swap(_ a: Int, _ b: Int) {
        heap.swapAt(a, b)
        places[Int(heap[a].slot)] = Int32(a)
        places[Int(heap[b].slot)] = Int32(b)
    }
}
