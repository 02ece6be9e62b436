/// A 64-bit checksum and chain hash; fast, and not for secrets.
///
/// XXH64 as specified in "xxHash fast digest algorithm", version 0.1.1 (Collet), section "XXH64 algorithm
/// description". The log chains it by giving each entry the hash of the entry before as its seed.
public enum XXH64 {
    @usableFromInline static let p1: UInt64 = 0x9e37_79b1_85eb_ca87
    @usableFromInline static let p2: UInt64 = 0xc2b2_ae3d_27d4_eb4f
    @usableFromInline static let p3: UInt64 = 0x1656_67b1_9e37_79f9
    @usableFromInline static let p4: UInt64 = 0x85eb_ca77_c2b2_ae63
    @usableFromInline static let p5: UInt64 = 0x27d4_eb2f_1656_67c5

    /// The hash of `bytes`.
    public static func hash(_ bytes: RawSpan, seed: UInt64 = 0) -> UInt64 {
        bytes.withUnsafeBytes { hash($0, seed: seed) }
    }

    /// The hash of `bytes`.
    public static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
        func word(_ at: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
        }
        let count = bytes.count
        var at = 0
        var h: UInt64
        if count >= 32 {
            var (a, b, c, d) = (seed &+ p1 &+ p2, seed &+ p2, seed, seed &- p1)
            while at <= count - 32 {
                a = round(a, word(at))
                b = round(b, word(at + 8))
                c = round(c, word(at + 16))
                d = round(d, word(at + 24))
                at += 32
            }
            h = rotate(a, 1) &+ rotate(b, 7) &+ rotate(c, 12) &+ rotate(d, 18)
            h = (h ^ round(0, a)) &* p1 &+ p4
            h = (h ^ round(0, b)) &* p1 &+ p4
            h = (h ^ round(0, c)) &* p1 &+ p4
            h = (h ^ round(0, d)) &* p1 &+ p4
        } else {
            h = seed &+ p5
        }
        h = h &+ UInt64(count)
        while at <= count - 8 {
            h = rotate(h ^ round(0, word(at)), 27) &* p1 &+ p4
            at += 8
        }
        if at <= count - 4 {
            let half = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
            h = rotate(h ^ UInt64(half) &* p1, 23) &* p2 &+ p3
            at += 4
        }
        while at < count {
            h = rotate(h ^ UInt64(bytes[at]) &* p5, 11) &* p1
            at += 1
        }
        return avalanche(h)
    }

    /// Mixes one number so that every bit of it touches every bit of the result (the specification's last step).
    @inlinable public static func avalanche(_ value: UInt64) -> UInt64 {
        var h = value
        h = (h ^ h >> 33) &* p2
        h = (h ^ h >> 29) &* p3
        return h ^ h >> 32
    }

    @inline(__always) static func rotate(_ x: UInt64, _ by: UInt64) -> UInt64 { x << by | x >> (64 - by) }
    @inline(__always) static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        rotate(lane &+ input &* p2, 31) &* p1
    }
}
