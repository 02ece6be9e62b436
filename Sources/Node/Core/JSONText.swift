import CRDT

/// Reading scanned values and writing JSON, all on bytes.
enum JSONText {
    /// The text of a scanned string as the bytes that this node would write between the quotes: a string without
    /// escapes as it is, others unescaped and escaped again with the fewest escapes. Equal texts give equal bytes.
    static func canonical(_ string: JSONScanner.Value, _ bytes: RawSpan, into out: inout [UInt8]) {
        guard string.isLoose else { return out.append(copying: bytes.extracting(string.inner)) }
        var text: [UInt8] = []
        unescape(string, bytes, into: &text)
        escape(text.span.bytes, into: &out)
    }

    /// The canonical bytes of a scanned string, on their own.
    static func canonical(_ string: JSONScanner.Value, _ bytes: RawSpan) -> [UInt8] {
        var out: [UInt8] = []
        canonical(string, bytes, into: &out)
        return out
    }

    /// The canonical bytes of a text from outside JSON (a path or a query).
    static func canonical(_ text: String) -> [UInt8] {
        var out: [UInt8] = []
        escape(Array(text.utf8).span.bytes, into: &out)
        return out
    }

    /// The text of a scanned string.
    static func text(_ string: JSONScanner.Value, _ bytes: RawSpan) -> String {
        var out: [UInt8] = []
        if string.isLoose {
            unescape(string, bytes, into: &out)
        } else {
            out.append(copying: bytes.extracting(string.inner))
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// The text whose canonical bytes these are; nil if they are none.
    static func text(canonical bytes: RawSpan) -> String? {
        var quoted: [UInt8] = [UInt8(ascii: "\"")]
        quoted.append(copying: bytes)
        quoted.append(UInt8(ascii: "\""))
        var scanner = JSONScanner(0..<quoted.count)
        guard let value = try? scanner.document(quoted.span.bytes), value.kind == .string else { return nil }
        return text(value, quoted.span.bytes)
    }

    /// Appends the text of a scanned string.
    private static func unescape(_ string: JSONScanner.Value, _ bytes: RawSpan, into out: inout [UInt8]) {
        var at = string.inner.lowerBound
        let end = string.inner.upperBound
        func unit(_ at: Int) -> UInt32 {
            (0..<4).reduce(0) { value, i in
                value << 4 | (JSONScanner.digit(bytes.unsafeLoad(fromByteOffset: at + i, as: UInt8.self)) ?? 0)
            }
        }
        while at < end {
            let byte = bytes.unsafeLoad(fromByteOffset: at, as: UInt8.self)
            guard byte == UInt8(ascii: "\\") else {
                out.append(byte)
                at += 1
                continue
            }
            let letter = bytes.unsafeLoad(fromByteOffset: at + 1, as: UInt8.self)
            at += 2
            switch letter {
            case UInt8(ascii: "b"): out.append(0x08)
            case UInt8(ascii: "f"): out.append(0x0c)
            case UInt8(ascii: "n"): out.append(0x0a)
            case UInt8(ascii: "r"): out.append(0x0d)
            case UInt8(ascii: "t"): out.append(0x09)
            case UInt8(ascii: "u"):
                var scalar = unit(at)
                at += 4
                if scalar & 0xfc00 == 0xd800 {
                    scalar = 0x10000 + (scalar & 0x3ff) << 10 + unit(at + 2) & 0x3ff
                    at += 6
                }
                // The scanner has refused lone surrogates, so this is always a scalar.
                if let scalar = Unicode.Scalar(scalar) { out.append(contentsOf: UTF8.encode(scalar)!) }
            default: out.append(letter)
            }
        }
    }

    /// Appends a text with the fewest escapes that JSON needs, without quotes.
    static func escape(_ text: RawSpan, into out: inout [UInt8]) {
        for i in 0..<text.byteCount {
            let byte = text.unsafeLoad(fromUncheckedByteOffset: i, as: UInt8.self)
            switch byte {
            case UInt8(ascii: "\""): out.append(constant: "\\\"")
            case UInt8(ascii: "\\"): out.append(constant: "\\\\")
            case 0x0a: out.append(constant: "\\n")
            case 0x0d: out.append(constant: "\\r")
            case 0x09: out.append(constant: "\\t")
            case 0x08: out.append(constant: "\\b")
            case 0x0c: out.append(constant: "\\f")
            case 0..<0x20:
                out.append(constant: "\\u00")
                out.append(hexDigit(byte >> 4))
                out.append(hexDigit(byte & 15))
            default: out.append(byte)
            }
        }
    }

    /// Appends a scanned value without the white space between its parts.
    static func compact(_ value: JSONScanner.Value, _ bytes: RawSpan, into out: inout [UInt8]) {
        guard value.isLoose, value.kind != .string else { return out.append(copying: bytes.extracting(value.range)) }
        var isInString = false
        var isEscaped = false
        for i in value.range {
            let byte = bytes.unsafeLoad(fromByteOffset: i, as: UInt8.self)
            if isInString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
            } else if byte <= 0x20 {
                continue
            } else if byte == UInt8(ascii: "\"") {
                isInString = true
            }
            out.append(byte)
        }
    }

    /// The number in a range that was scanned as one, rounded correctly.
    ///
    /// Up to 15 digits and small exponents are exact in two steps (Clinger, "How to Read Floating Point Numbers
    /// Accurately", PLDI 1990, section 3); the rest goes through the standard library.
    static func double(_ bytes: RawSpan, _ range: Range<Int>) -> Double? {
        var (mantissa, digits, scale, at) = (UInt64(0), 0, 0, range.lowerBound)
        let isNegative = bytes.unsafeLoad(fromByteOffset: at, as: UInt8.self) == UInt8(ascii: "-")
        if isNegative { at += 1 }
        var isFraction = false
        while at < range.upperBound {
            let byte = bytes.unsafeLoad(fromByteOffset: at, as: UInt8.self)
            if byte == UInt8(ascii: ".") {
                isFraction = true
            } else if byte &- UInt8(ascii: "0") < 10, digits < 16 {
                mantissa = mantissa * 10 + UInt64(byte - UInt8(ascii: "0"))
                digits += mantissa == 0 ? 0 : 1
                scale += isFraction ? 1 : 0
            } else {
                break
            }
            at += 1
        }
        guard at == range.upperBound, digits <= 15, scale <= 22 else {
            return bytes.extracting(range).withUnsafeBytes { Double(String(decoding: $0, as: UTF8.self)) }
        }
        let value = Double(mantissa) / powers[scale]
        return isNegative ? -value : value
    }

    private static let powers: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22,
    ]

    /// The eight digits of a number, the first one in the lowest byte: all at once instead of one by one.
    static func hexText(_ value: UInt32) -> UInt64 {
        var x = UInt64(value)
        x = (x & 0xffff_0000) << 16 | x & 0xffff
        x = (x << 8 | x) & 0x00ff_00ff_00ff_00ff
        x = (x << 4 | x) & 0x0f0f_0f0f_0f0f_0f0f
        let isLetter = (x &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
        return (x &+ 0x3030_3030_3030_3030 &+ isLetter &* 39).byteSwapped
    }

    static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}

extension [UInt8] {
    /// Appends a text in quotes.
    mutating func append(json text: String) {
        append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { JSONText.escape(UnsafeRawBufferPointer($0).bytes, into: &self) }
        append(UInt8(ascii: "\""))
    }

    /// Appends a whole number.
    mutating func append(json number: UInt64) {
        guard number >= 10 else { return append(UInt8(ascii: "0") + UInt8(number)) }
        let start = count
        var rest = number
        while rest > 0 {
            append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        }
        var (low, high) = (start, count - 1)
        while low < high {
            swapAt(low, high)
            low += 1
            high -= 1
        }
    }

    /// Appends a whole number.
    mutating func append(json number: Int) {
        if number < 0 { append(UInt8(ascii: "-")) }
        append(json: UInt64(number.magnitude))
    }

    /// Appends a finite number in the fewest digits that read back to the same bits.
    mutating func append(json number: Double) { append(contentsOf: number.description.utf8) }

    /// Appends the lower-case hexadecimal digits of the lowest `digits` halves of bytes: 4, 8, 12 or 16.
    mutating func append(hex value: UInt64, digits: Int) {
        if digits > 8 { append(hex: value >> 32, digits: digits - 8) }
        let text = JSONText.hexText(UInt32(truncatingIfNeeded: value))
        if digits >= 8 {
            append(littleEndian: text)
        } else {
            append(littleEndian: UInt32(truncatingIfNeeded: text >> 32))
        }
    }
}
