import Glibc

/// Looking at bytes quickly. Everything here works on memory that a caller lends for the call, within the bounds that
/// the caller gives; callers get both from a span, and no pointer is kept.
enum ByteScan {
    typealias Base = UnsafePointer<UInt8>

    /// The offset of the first `byte` in `start ..< end`.
    @inline(__always)
    static func find(_ byte: UInt8, _ base: Base, _ start: Int, _ end: Int) -> Int? {
        guard start < end, let hit = memchr(base + start, Int32(byte), end - start) else { return nil }
        return UnsafeRawPointer(hit) - UnsafeRawPointer(base)
    }

    /// Whether a byte may stand in a token (RFC 9110, section 5.6.2).
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool {
        // One bit per byte: !#$%&'*+-. and digits; then letters and ^_`|~
        let low: UInt64 = 0x03ff_6cfa_0000_0000
        let high: UInt64 = 0x57ff_ffff_c7ff_fffe
        return byte < 64 ? low >> UInt64(byte) & 1 != 0 : byte < 128 && high >> UInt64(byte & 63) & 1 != 0
    }

    /// Whether `range` holds a control byte other than a tab: eight bytes at a time.
    @inline(__always)
    static func hasControl(_ base: Base, _ range: Range<Int>) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let tops: UInt64 = 0x8080_8080_8080_8080
        var at = range.lowerBound
        while range.upperBound - at >= 8 {
            let word = UnsafeRawPointer(base + at).loadUnaligned(as: UInt64.self)
            // A byte below 0x20 borrows into its top bit; one that equals 0x7f becomes zero first.
            let below = (word &- ones &* 0x20) & ~word & tops
            let delete = word ^ (ones &* 0x7f)
            let isDelete = (delete &- ones) & ~delete & tops
            if below | isDelete != 0 {
                for byte in 0..<8 where isControl(base[at + byte]) { return true }
            }
            at += 8
        }
        while at < range.upperBound {
            if isControl(base[at]) { return true }
            at += 1
        }
        return false
    }

    @inline(__always)
    private static func isControl(_ byte: UInt8) -> Bool { (byte < 0x20 && byte != 9) || byte == 0x7f }

    /// `range` without spaces and tabs at its ends.
    @inline(__always)
    static func trimmed(_ base: Base, _ range: Range<Int>) -> Range<Int> {
        var (start, end) = (range.lowerBound, range.upperBound)
        while start < end, base[start] == 32 || base[start] == 9 { start += 1 }
        while end > start, base[end - 1] == 32 || base[end - 1] == 9 { end -= 1 }
        return start..<end
    }

    /// Compares with `text`, which is in lower case and made of token bytes (so that setting bit 5 only folds letters).
    @inline(__always)
    static func equalsIgnoringCase(_ base: Base, _ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        let other = text.utf8Start
        for i in 0..<range.count where base[range.lowerBound + i] | 0x20 != other[i] | 0x20 { return false }
        return true
    }

    /// The value of a hexadecimal digit.
    @inline(__always)
    static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }

    /// Calls `item` for each element of a comma-separated list (RFC 9110, section 5.6.1).
    static func forEachListItem(_ base: Base, _ range: Range<Int>, _ item: (Range<Int>) -> Void) {
        var at = range.lowerBound
        while at <= range.upperBound {
            let comma = find(44, base, at, range.upperBound) ?? range.upperBound
            let element = trimmed(base, at..<comma)
            if !element.isEmpty { item(element) }
            at = comma + 1
        }
    }
}

extension RawSpan {
    /// Whether the bytes in `range` are exactly `text`.
    public func equals(_ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        return withUnsafeBytes { all in
            range.isEmpty || memcmp(all.baseAddress! + range.lowerBound, text.utf8Start, range.count) == 0
        }
    }

    /// The bytes in `range` as text; bytes that are no UTF-8 are replaced.
    public func text(_ range: Range<Int>) -> String {
        withUnsafeBytes { String(decoding: UnsafeRawBufferPointer(rebasing: $0[range]), as: UTF8.self) }
    }
}
