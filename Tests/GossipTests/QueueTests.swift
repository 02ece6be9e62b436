import CRDT
import Testing

@testable import Gossip

@Suite("A chunked queue")
struct ChunkedQueueTests {
    @Test("holds what an array holds, under numbers that never change", arguments: 1...4 as ClosedRange<UInt64>)
    func againstArray(seed: UInt64) {
        var dice = Dice(seed: seed)
        let start = Int(dice.below(100))
        var queue = ChunkedQueue<UInt64>(start: start)
        var model: [UInt64] = []
        var first = start
        for _ in 0..<200 {
            for _ in 0..<dice.below(300) {
                let element = dice.next()
                #expect(queue.append(element) == first + model.count)
                model.append(element)
            }
            if dice.below(3) == 0 {
                // Also before the start, and past the end.
                let floor = first - 5 + Int(dice.below(UInt64(model.count + 10)))
                queue.drop(before: floor)
                let gone = min(max(0, floor - first), model.count)
                model.removeFirst(gone)
                first += gone
            }
            if !model.isEmpty {
                let at = Int(dice.below(UInt64(model.count)))
                queue[first + at] += 1
                model[at] += 1
            }
            #expect((queue.start, queue.end, queue.count) == (first, first + model.count, model.count))
        }
        #expect(Array(queue.start..<queue.end).map { queue[$0] } == model)
    }

    @Test("goes on at a chunk's edge after all of it was dropped")
    func edges() {
        var queue = ChunkedQueue<Int>()
        for i in 0..<4_096 { queue.append(i) }
        queue.drop(before: 4_096)
        #expect(queue.count == 0)
        #expect(queue.append(7) == 4_096)
        #expect(queue[4_096] == 7)
        queue.drop(before: 1 << 40)
        #expect((queue.start, queue.end) == (4_097, 4_097))
        #expect(queue.append(8) == 4_097)
        #expect(queue[4_097] == 8)
    }
}

private let limitBytes = 32 << 20
private func bytes(_ some: [UInt8]) -> [UInt8] { some }

@Suite("The waiting room")
struct WaitingRoomTests {
    /// What keeping an entry of so many bytes weighs.
    private static func weight(_ bytes: Int) -> Int {
        var room = WaitingRoom(limitBytes: limitBytes)
        room.keep(slot: 0, sequence: 1, entry: Array(repeating: UInt8(0), count: bytes).span.bytes)
        return room.heldBytes
    }

    @Test("keeps entries until they are called, and knows their weight")
    func keeping() {
        var room = WaitingRoom(limitBytes: limitBytes)
        #expect(room.isEmpty)
        room.keep(slot: 2, sequence: 5, entry: bytes([1, 2, 3]).span.bytes)
        room.keep(slot: 2, sequence: 5, entry: bytes([9, 9]).span.bytes)
        room.keep(slot: 1, sequence: 7, entry: bytes([4]).span.bytes)
        #expect(room.slots == [1, 2])
        #expect(room.heldBytes == Self.weight(3) + Self.weight(1), "a second copy weighs nothing")
        #expect(Self.weight(0) > 0, "an empty entry costs memory, too")
        #expect(room.entry(slot: 2, sequence: 5) == [1, 2, 3])
        #expect(room.entry(slot: 2, sequence: 6) == nil)
        room.remove(slot: 2, sequence: 5)
        room.remove(slot: 2, sequence: 5)
        #expect(room.heldBytes == Self.weight(1))
        #expect(room.slots == [1])
    }

    @Test("forgets a run of entries at once")
    func through() {
        var room = WaitingRoom(limitBytes: limitBytes)
        for sequence in 3...9 as ClosedRange<UInt64> {
            room.keep(slot: 0, sequence: sequence, entry: bytes([0, 0]).span.bytes)
        }
        room.remove(slot: 0, through: 7)
        #expect(room.heldBytes == 2 * Self.weight(2))
        #expect(room.entry(slot: 0, sequence: 7) == nil)
        #expect(room.entry(slot: 0, sequence: 8) == [0, 0])
        room.remove(slot: 0, through: 100)
        #expect(room.isEmpty)
        #expect(room.heldBytes == 0)
    }

    @Test(
        "knows how far what waits goes on without a gap, whatever comes and goes",
        arguments: 1...4 as ClosedRange<UInt64>)
    func contiguous(seed: UInt64) {
        var dice = Dice(seed: seed)
        var room = WaitingRoom(limitBytes: limitBytes)
        var waiting: Set<UInt64> = []
        var head: UInt64 = 0
        for _ in 0..<2_000 {
            switch dice.below(8) {
            case 0..<5:
                let sequence = head + 1 + dice.below(12)
                room.keep(slot: 3, sequence: sequence, entry: bytes([1]).span.bytes)
                waiting.insert(sequence)
            case 5, 6:
                // The next one is applied, from here or from elsewhere.
                head += 1
                room.remove(slot: 3, sequence: head)
                waiting.remove(head)
            default:
                head += dice.below(6)
                room.remove(slot: 3, through: head)
                waiting = waiting.filter { $0 > head }
            }
            var last = head
            while waiting.contains(last + 1) { last += 1 }
            #expect(room.contiguous(slot: 3, after: head) == last)
        }
        #expect(room.contiguous(slot: 4, after: 9) == 9)
    }

    @Test("drops what is beyond its bound, and counts it")
    func bound() {
        var room = WaitingRoom(limitBytes: limitBytes)
        let entry = Array(repeating: UInt8(0), count: limitBytes / 4 - (Self.weight(0)))
        for sequence in 1...6 as ClosedRange<UInt64> { room.keep(slot: 0, sequence: sequence, entry: entry.span.bytes) }
        #expect(room.heldBytes == limitBytes)
        #expect(room.dropped == 2)
        #expect(room.entry(slot: 0, sequence: 4) != nil)
        #expect(room.entry(slot: 0, sequence: 5) == nil)
        room.remove(slot: 0, sequence: 1)
        room.keep(slot: 0, sequence: 5, entry: entry.span.bytes)
        #expect(room.entry(slot: 0, sequence: 5) != nil)
    }
}
