/// Who sent an event of a benchmark, which of theirs it was, and when: 41 ASCII bytes inside its payload, of fixed
/// width so that a message is made by overwriting them.
///
/// `@@RRRRRRRR.PP.SSSSSSSS.TTTTTTTTTTTTTTTT@@` in hexadecimal: run, publisher, sequence, nanoseconds on the sender's
/// monotonic clock.
struct Mark: Equatable, Sendable {
    static let byteCount = 41
    /// Tells the events of this run from those of others on the same cluster.
    var run: UInt32
    var publisher: UInt8
    var sequence: UInt32
    var nanoseconds: UInt64

    /// Writes the mark over the bytes from `offset`.
    func write(over bytes: inout [UInt8], at offset: Int) {
        bytes[offset] = 0x40
        bytes[offset + 1] = 0x40
        Self.put(UInt64(run), digits: 8, &bytes, offset + 2)
        bytes[offset + 10] = 0x2e
        Self.put(UInt64(publisher), digits: 2, &bytes, offset + 11)
        bytes[offset + 13] = 0x2e
        Self.put(UInt64(sequence), digits: 8, &bytes, offset + 14)
        bytes[offset + 22] = 0x2e
        Self.put(nanoseconds, digits: 16, &bytes, offset + 23)
        bytes[offset + 39] = 0x40
        bytes[offset + 40] = 0x40
    }

    /// Finds a mark of this run. `hint` is where the last one stood: most messages of a run look alike, so it is tried
    /// first, and set to where this one stands.
    static func find(in bytes: RawSpan, run: UInt32, hint: inout Int) -> Mark? {
        if let mark = read(bytes, at: hint), mark.run == run { return mark }
        var offset = 0
        while offset <= bytes.byteCount - byteCount {
            if let mark = read(bytes, at: offset), mark.run == run {
                hint = offset
                return mark
            }
            offset += 1
        }
        return nil
    }

    private static func read(_ bytes: RawSpan, at offset: Int) -> Mark? {
        guard offset >= 0, offset <= bytes.byteCount - byteCount,
            bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self) == 0x4040,
            bytes.unsafeLoadUnaligned(fromByteOffset: offset + 39, as: UInt16.self) == 0x4040,
            let run = number(bytes, offset + 2, digits: 8), let publisher = number(bytes, offset + 11, digits: 2),
            let sequence = number(bytes, offset + 14, digits: 8),
            let nanoseconds = number(bytes, offset + 23, digits: 16)
        else { return nil }
        return Mark(
            run: UInt32(run), publisher: UInt8(publisher), sequence: UInt32(sequence), nanoseconds: nanoseconds)
    }

    static func put(_ value: UInt64, digits: Int, _ bytes: inout [UInt8], _ offset: Int) {
        var rest = value
        for index in stride(from: offset + digits - 1, through: offset, by: -1) {
            let digit = UInt8(rest & 15)
            bytes[index] = digit < 10 ? 0x30 + digit : 0x57 + digit
            rest >>= 4
        }
    }

    private static func number(_ bytes: RawSpan, _ offset: Int, digits: Int) -> UInt64? {
        var value: UInt64 = 0
        for index in offset..<offset + digits {
            let byte = bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt64(byte - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(byte - 0x57)
            default: return nil
            }
        }
        return value
    }
}
