import CRDT

/// A universally unique identifier, RFC 9562: 36 characters as text, 16 bytes as a key.
struct UUID: Hashable, Comparable {
    let high: UInt64
    let low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A random one: version 4, section 5.4.
    init(random a: UInt64, _ b: UInt64) {
        high = a & ~0xf000 | 0x4000
        low = b & ~(0b11 << 62) | 0b10 << 62
    }

    /// One computed from a name: version 8, section 5.8.
    init(computed a: UInt64, _ b: UInt64) {
        high = a & ~0xf000 | 0x8000
        low = b & ~(0b11 << 62) | 0b10 << 62
    }

    /// Reads 8-4-4-4-12 hexadecimal digits in either case; nil for anything else.
    init?(_ text: RawSpan) {
        guard text.byteCount == 36 else { return nil }
        var (high, low, digits) = (UInt64(0), UInt64(0), 0)
        for i in 0..<36 {
            let byte = text.unsafeLoad(fromUncheckedByteOffset: i, as: UInt8.self)
            if i == 8 || i == 13 || i == 18 || i == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
            } else {
                guard let digit = JSONScanner.digit(byte) else { return nil }
                if digits < 16 { high = high << 4 | UInt64(digit) } else { low = low << 4 | UInt64(digit) }
                digits += 1
            }
        }
        self.init(high: high, low: low)
    }

    init?(_ text: String) { self.init(Array(text.utf8).span.bytes) }

    static func < (a: Self, b: Self) -> Bool { (a.high, a.low) < (b.high, b.low) }

    /// Appends the 36 characters, in lower case.
    func write(into out: inout [UInt8]) {
        out.append(hex: high >> 32, digits: 8)
        out.append(UInt8(ascii: "-"))
        out.append(hex: high >> 16 & 0xffff, digits: 4)
        out.append(UInt8(ascii: "-"))
        out.append(hex: high & 0xffff, digits: 4)
        out.append(UInt8(ascii: "-"))
        out.append(hex: low >> 48, digits: 4)
        out.append(UInt8(ascii: "-"))
        out.append(hex: low & 0xffff_ffff_ffff, digits: 12)
    }

    /// The 36 characters.
    var text: String {
        var out: [UInt8] = []
        write(into: &out)
        return String(decoding: out, as: UTF8.self)
    }
}
