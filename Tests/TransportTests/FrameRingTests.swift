import Testing

@testable import Transport

/// `#expect` cannot look into values that are not copyable; this takes what was read from them.
private func equal<Value: Equatable>(_ found: Value, _ expected: Value, at place: SourceLocation = #_sourceLocation) {
    #expect(found == expected, sourceLocation: place)
}

extension FrameRing {
    /// Frames a text, and returns its bytes as they lie in the ring.
    fileprivate mutating func add(_ text: String, mark: UInt64 = 0) -> [UInt8] {
        let before = head
        var text = text
        text.withUTF8 { append(UnsafeRawBufferPointer($0).bytes, mark: mark) }
        return bytes(before, head)
    }

    fileprivate func bytes(_ start: UInt64, _ end: UInt64) -> [UInt8] {
        let (first, second) = pieces(start, to: end)
        return Array(first) + Array(second)
    }
}

@Suite("The ring of frames")
struct FrameRingTests {
    @Test("Frames come out as they went in, across the end of the ring and through its growth")
    func wrap() {
        var ring = FrameRing(smallest: 64)
        var expected: [UInt8] = []
        var boundaries: [UInt64] = [0]
        for round in 0..<200 {
            let text = String(repeating: Character(UnicodeScalar(UInt8(97 + round % 26))), count: round % 23)
            expected += FrameHeader(1, text.utf8.count).withBytes { Array($0) } + Array(text.utf8)
            _ = ring.add(text)
            boundaries.append(ring.head)
            equal(ring.bytes(ring.tail, ring.head), Array(expected.suffix(ring.held)))
            // Three frames are held on average, so the ring wraps all the time.
            if boundaries.count > 4 { ring.release(upTo: boundaries[boundaries.count - 4]) }
        }
        equal(ring.head, UInt64(expected.count))
        equal(ring.capacity, 128)
    }

    @Test("It grows to what is held, and shrinks when nothing is")
    func sizes() {
        var ring = FrameRing(smallest: 64)
        equal(ring.hasRoom(forMessage: 62), true)
        equal(ring.hasRoom(forMessage: 63), false)
        let text = String(repeating: "x", count: 1_000)
        let bytes = ring.add("first") + ring.add(text)
        equal(ring.capacity, 1_024)
        equal(ring.bytes(0, ring.head), bytes)
        ring.shrink()
        equal(ring.capacity, 1_024)
        ring.release(upTo: ring.head)
        ring.shrink()
        equal(ring.capacity, 64)
        equal(ring.add("again"), [0x81, 5] + Array("again".utf8))
    }

    @Test("A reader that was cut anywhere knows the end of its frame", arguments: [Framing.frames, .chunks, .bare])
    func cuts(framing: Framing) {
        // Lengths on both sides of each change of the header.
        let lengths = [1, 15, 16, 125, 126, 127, 255, 256, 300, 4_095, 4_096, 65_535, 65_536, 3]
        var ring = FrameRing(framing, smallest: 64)
        var boundaries: [UInt64] = []
        let start = FrameReader(at: ring)
        for length in lengths {
            _ = ring.add(String(repeating: "x", count: length))
            boundaries.append(ring.head)
        }
        let step = 97
        for cut in stride(from: 0, through: ring.held, by: step) {
            var reader = start
            reader.sent(cut, of: ring)
            let end = cut == 0 ? 0 : boundaries.first { $0 >= UInt64(cut) }!
            #expect(reader.position == UInt64(cut))
            #expect(reader.isInsideFrame == (end > UInt64(cut)))
            if reader.isInsideFrame { #expect(reader.frameEnd == end) }
        }
        // Sent in many small parts, the frame's end is still known at every one.
        var reader = start
        while reader.position < ring.head {
            reader.sent(min(step, Int(ring.head - reader.position)), of: ring)
            let end = boundaries.first { $0 >= reader.position }!
            #expect(reader.isInsideFrame ? reader.frameEnd == end : reader.position == end)
        }
    }

    @Test(
        "Every way to send two small frames in parts leaves the reader at the right boundary",
        arguments: [Framing.frames, .chunks, .bare])
    func allParts(framing: Framing) {
        var ring = FrameRing(framing, smallest: 16)
        _ = ring.add("ab")
        let first = FrameReader(at: ring)
        ring.release(upTo: ring.head)
        _ = ring.add("cde")
        let middle = ring.head
        _ = ring.add("f")
        let total = ring.held
        // Each bit says whether a send ended behind that byte.
        for pattern in 0..<(1 << (total - 1)) {
            var reader = first
            var part = 0
            for byte in 0..<total {
                part += 1
                guard byte == total - 1 || pattern >> byte & 1 == 1 else { continue }
                reader.sent(part, of: ring)
                part = 0
                let end = reader.position <= middle ? middle : ring.head
                #expect(max(reader.position, reader.frameEnd) == end)
            }
            equal(reader.position, ring.head)
            #expect(!reader.isInsideFrame)
        }
    }

    @Test("Chunks carry their size in hexadecimal", arguments: [(1, "1"), (15, "f"), (16, "10"), (0xabcde, "abcde")])
    func chunks(length: Int, digits: String) {
        var ring = FrameRing(.chunks)
        let text = String(repeating: "x", count: length)
        equal(String(decoding: ring.add(text), as: UTF8.self), digits + "\r\n" + text + "\r\n")
        equal(ring.held, Framing.chunks.size(ofMessage: length))
        let largest = FrameHeader(chunk: 0xffff_ffff).withBytes { String(decoding: $0, as: UTF8.self) }
        #expect(largest == "ffffffff\r\n")
    }

    @Test("Each frame keeps its mark while it is held, and the last that is gone keeps its own")
    func marks() {
        var ring = FrameRing(.bare, smallest: 64)
        equal(ring.mark(endingAt: 0), nil)
        var ends: [UInt64] = []
        for number in 0..<1_000 {
            _ = ring.add(String(repeating: "m", count: 1 + number % 5), mark: UInt64(number) * 3)
            ends.append(ring.head)
            // One is let go of for each that comes, after the first hundred.
            guard number >= 100 else { continue }
            ring.release(upTo: ends[number - 100])
            equal(ring.heldFrames, 100)
            for held in number - 100...number { equal(ring.mark(endingAt: ends[held]), UInt64(held) * 3) }
            if ends[number] - ends[number - 1] > 1 { equal(ring.mark(endingAt: ends[number] - 1), nil) }
        }
        ring.release(upTo: ring.head)
        equal(ring.heldFrames, 0)
        equal(ring.mark(endingAt: ring.head), 999 * 3)
        ring.shrink()
        equal(ring.mark(endingAt: ring.head), 999 * 3)
    }

    @Test("A reader skips the frame it is in, and nothing at a boundary")
    func skip() {
        var ring = FrameRing(smallest: 64)
        var reader = FrameReader(at: ring)
        _ = ring.add("abc")
        let boundary = ring.head
        _ = ring.add("def")
        reader.skipFrame()
        #expect(reader.position == 0)
        reader.sent(1, of: ring)
        reader.skipFrame()
        #expect(reader.position == boundary)
        reader.sentAll(to: ring.head)
        #expect(!reader.isInsideFrame)
        _ = ring.add("ghi")
        reader.skipFrame()
        #expect(reader.position == boundary + 5)
    }
}

@Suite("Buffers")
struct ByteBufferTests {
    @Test("Bytes leave in the order in which they came, and the memory with the last")
    func order() {
        var buffer = ByteBuffer()
        var expected: [UInt8] = []
        for round in 0..<500 {
            let piece = [UInt8](repeating: UInt8(round & 255), count: round % 37)
            piece.withUnsafeBytes { buffer.append($0) }
            expected += piece
            let gone = min(buffer.count, round % 29)
            buffer.consume(gone)
            expected.removeFirst(gone)
            equal(Array(buffer.readable), expected)
        }
        buffer.consume(buffer.count)
        equal(buffer.isEmpty, true)
        equal(buffer.reserved, 0)
    }

    @Test("A range is removed from the middle")
    func removal() {
        var buffer = ByteBuffer()
        [UInt8](0..<10).withUnsafeBytes { buffer.append($0) }
        buffer.consume(2)
        buffer.remove(1..<3)
        equal(Array(buffer.readable), [2, 5, 6, 7, 8, 9])
        buffer.remove(0..<6)
        equal(buffer.reserved, 0)
    }

    @Test("Numbers are written in decimal", arguments: [0, 1, 9, 10, 99, 100, 12_345, 999_999_999, Int.max])
    func decimal(number: Int) {
        var buffer = ByteBuffer()
        buffer.append(decimal: number)
        equal(String(decoding: buffer.readable, as: UTF8.self), String(number))
    }
}
