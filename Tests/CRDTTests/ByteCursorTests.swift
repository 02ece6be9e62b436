import CRDT
import Testing

/// Reads with a cursor over all of the bytes.
private func read<T>(
    _ bytes: [UInt8], _ body: (inout ByteCursor, RawSpan) throws(DecodeError) -> T
) throws(DecodeError) -> T {
    var cursor = ByteCursor(bytes.span.bytes)
    return try body(&cursor, bytes.span.bytes)
}

@Suite("A byte cursor")
struct ByteCursorTests {
    @Test("reads back what was written, and knows where it stands")
    func roundTrip() throws {
        var bytes: [UInt8] = []
        bytes.append(7)
        bytes.append(littleEndian: UInt16(0x0102))
        bytes.append(littleEndian: UInt32(0x0304_0506))
        bytes.append(replica: ReplicaID(0x0708_090a_0b0c_0d0e))
        bytes.append(varint: 300)
        bytes.append(text: "hýpha")
        bytes.append(constant: "end")
        try read(bytes) { (cursor, bytes) throws(DecodeError) in
            #expect(try cursor.u8(bytes) == 7)
            #expect(try cursor.u16(bytes) == 0x0102)
            #expect(try cursor.u32(bytes) == 0x0304_0506)
            #expect(try cursor.replica(bytes) == ReplicaID(0x0708_090a_0b0c_0d0e))
            #expect(try cursor.varint(bytes) == 300)
            #expect(try cursor.text(bytes, limit: 6) == "hýpha")
            #expect(cursor.remaining == 3)
            #expect(try cursor.take(3) == bytes.byteCount - 3..<bytes.byteCount)
            #expect(cursor.remaining == 0)
        }
    }

    @Test("writes the lowest byte first")
    func layout() {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(0x0102_0304))
        bytes.append(varint: 300)
        #expect(bytes == [4, 3, 2, 1, 0xac, 0x02])
    }

    @Test(
        "reads every varint in its shortest form",
        arguments: [0, 1, 127, 128, 16_383, 16_384, 1 << 62, 1 << 63, .max] as [UInt64])
    func varints(value: UInt64) throws {
        var bytes: [UInt8] = []
        bytes.append(varint: value)
        #expect(bytes.count == max(1, (64 - value.leadingZeroBitCount + 6) / 7))
        #expect(try read(bytes) { (cursor, bytes) throws(DecodeError) in try cursor.varint(bytes) } == value)
        for cut in 0..<bytes.count {
            #expect(throws: DecodeError.truncated) {
                try read(Array(bytes[..<cut])) { (cursor, bytes) throws(DecodeError) in try cursor.varint(bytes) }
            }
        }
    }

    @Test(
        "refuses a needless byte and more than 64 bits",
        arguments: [
            [0x80, 0x00], [0xff, 0x80, 0x00], [0x81, 0x80, 0x80, 0x00],
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00],
        ] as [[UInt8]])
    func badVarints(bytes: [UInt8]) {
        #expect(throws: DecodeError.badInteger) {
            try read(bytes) { (cursor, bytes) throws(DecodeError) in try cursor.varint(bytes) }
        }
    }

    @Test("reads nothing beyond its end", arguments: 0..<8)
    func truncated(count: Int) {
        let bytes = Array(repeating: UInt8(1), count: count)
        #expect(throws: DecodeError.truncated) { try read(bytes) { (c, b) throws(DecodeError) in try c.u64(b) } }
        if count < 4 {
            #expect(throws: DecodeError.truncated) { try read(bytes) { (c, b) throws(DecodeError) in try c.u32(b) } }
        }
        if count < 2 {
            #expect(throws: DecodeError.truncated) { try read(bytes) { (c, b) throws(DecodeError) in try c.u16(b) } }
        }
        if count == 0 {
            #expect(throws: DecodeError.truncated) { try read(bytes) { (c, b) throws(DecodeError) in try c.u8(b) } }
        }
        #expect(throws: DecodeError.truncated) {
            try read(bytes) { (c, b) throws(DecodeError) in try c.take(count + 1) }
        }
        #expect(throws: DecodeError.truncated) { try read(bytes) { (c, b) throws(DecodeError) in try c.take(-1) } }
    }

    @Test("stops at the end of its range, though more bytes lie behind it")
    func ranges() {
        let bytes: [UInt8] = [1, 2, 3, 4, 5]
        var cursor = ByteCursor(1..<3)
        #expect(throws: DecodeError.truncated) { try cursor.u32(bytes.span.bytes) }
        #expect(throws: Never.self) { try cursor.u16(bytes.span.bytes) }
        #expect(throws: DecodeError.truncated) { try cursor.u8(bytes.span.bytes) }
    }

    @Test("checks a length before it takes anything for it")
    func lengths() {
        var bytes: [UInt8] = []
        bytes.append(varint: .max)
        #expect(throws: DecodeError.tooLong(limit: 10)) {
            try read(bytes) { (c, b) throws(DecodeError) in try c.block(b, limit: 10) }
        }
        #expect(throws: DecodeError.truncated) {
            try read([5, 1, 2]) { (c, b) throws(DecodeError) in try c.block(b, limit: 10) }
        }
        #expect(throws: DecodeError.badValue(field: "text")) {
            try read([2, 0xc3, 0x28]) { (c, b) throws(DecodeError) in try c.text(b, limit: 10) }
        }
    }
}
