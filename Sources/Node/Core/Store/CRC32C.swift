/// The checksum of everything on the disk: CRC-32C (Castagnoli; RFC 3720, appendix B.4), eight bytes at a step
/// ("slicing-by-8", Kounavis and Berry, ISCC 2005).
enum CRC32C {
    /// Table k holds what a byte does that k more bytes follow.
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var sum = UInt32(byte)
            for _ in 0..<8 { sum = sum & 1 == 1 ? sum >> 1 ^ 0x82f6_3b78 : sum >> 1 }
            tables[byte] = sum
        }
        for k in 1..<8 {
            for byte in 0..<256 {
                let before = tables[(k - 1) * 256 + byte]
                tables[k * 256 + byte] = before >> 8 ^ tables[Int(before & 0xff)]
            }
        }
        return tables
    }()

    /// The checksum of `bytes`, going on from that of what came before them.
    static func sum(_ bytes: RawSpan, after before: UInt32 = 0) -> UInt32 {
        tables.withUnsafeBufferPointer { tables in
            bytes.withUnsafeBytes { bytes in
                var sum = ~before
                var at = 0
                while at + 8 <= bytes.count {
                    let word = bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self).littleEndian ^ UInt64(sum)
                    func step(_ k: Int) -> UInt32 {
                        tables[(7 - k) * 256 + Int(truncatingIfNeeded: word >> (8 * k) & 0xff)]
                    }
                    sum = step(0) ^ step(1) ^ step(2) ^ step(3) ^ step(4) ^ step(5) ^ step(6) ^ step(7)
                    at += 8
                }
                while at < bytes.count {
                    sum = sum >> 8 ^ tables[Int((sum ^ UInt32(bytes[at])) & 0xff)]
                    at += 1
                }
                return ~sum
            }
        }
    }
}
