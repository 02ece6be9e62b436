/// Checks that bytes are UTF-8 (RFC 3629) as they arrive in pieces: no overlong forms, surrogates or values above
/// U+10FFFF.
struct UTF8Validator: Sendable {
    /// Continuation bytes still to come, and the bounds of the next one.
    private var missing: UInt8 = 0
    private var lowest: UInt8 = 0x80
    private var highest: UInt8 = 0xbf

    /// Whether the bytes so far end with a whole character.
    var isAtBoundary: Bool { missing == 0 }

    /// Takes the bytes in `range`; false as soon as no continuation can make them valid.
    mutating func accept(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress else { return true }
        let count = bytes.count
        var at = 0
        while at < count {
            if missing == 0 {
                // Eight ASCII bytes at a time: most text is nothing else.
                while count - at >= 8,
                    (base + at).loadUnaligned(as: UInt64.self) & 0x8080_8080_8080_8080 == 0
                { at += 8 }
                if at == count { return true }
            }
            let byte = (base + at).load(as: UInt8.self)
            at += 1
            if missing > 0 {
                guard byte >= lowest, byte <= highest else { return false }
                missing -= 1
                lowest = 0x80
                highest = 0xbf
                continue
            }
            switch byte {
            case 0..<0x80: break
            case 0xc2...0xdf: missing = 1
            case 0xe0...0xef:
                missing = 2
                if byte == 0xe0 { lowest = 0xa0 }
                if byte == 0xed { highest = 0x9f }
            case 0xf0...0xf4:
                missing = 3
                if byte == 0xf0 { lowest = 0x90 }
                if byte == 0xf4 { highest = 0x8f }
            default: return false
            }
        }
        return true
    }
}
