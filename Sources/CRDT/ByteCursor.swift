/// Why bytes from outside were refused. Nothing is allocated for a length before it is checked.
public enum DecodeError: Error, Equatable, Sendable {
    /// The bytes end before the field does.
    case truncated
    /// A length or count is above its cap.
    case tooLong(limit: Int)
    /// A variable-length integer has more than 64 bits or a needless byte.
    case badInteger
    /// A field has a value that its type does not know.
    case badValue(field: StaticString)
    /// The checksum over the bytes does not match.
    case badChecksum

    /// Two refusals are equal when they name the same reason (fields compare by text).
    public static func == (a: Self, b: Self) -> Bool { a.description == b.description }
}

extension DecodeError: CustomStringConvertible {
    /// One phrase for a log line.
    public var description: String {
        switch self {
        case .truncated: "bytes end before the field does"
        case .tooLong(let limit): "a length is above its cap of \(limit)"
        case .badInteger: "a variable-length integer is malformed"
        case .badValue(let field): "the field \(field) has an unknown value"
        case .badChecksum: "the checksum does not match"
        }
    }
}

/// A position in bytes that somebody else owns: the span flows down with each call, the cursor only counts.
///
/// All fixed-width integers are little-endian. Varints are LEB128: seven bits a byte, low bits first.
public struct ByteCursor: Sendable {
    /// Offset of the next byte to read.
    public var offset: Int
    /// Reading stops here.
    public let end: Int

    /// A cursor over `range` of the bytes that will be passed with each call.
    @inlinable public init(_ range: Range<Int>) {
        offset = range.lowerBound
        end = range.upperBound
    }

    /// A cursor over all of `bytes`.
    @inlinable public init(_ bytes: RawSpan) { self.init(0..<bytes.byteCount) }

    /// Bytes not read yet.
    @inlinable public var remaining: Int { end - offset }

    /// Skips `count` bytes and returns where they lie.
    @inlinable public mutating func take(_ count: Int) throws(DecodeError) -> Range<Int> {
        guard count >= 0, count <= end - offset else { throw .truncated }
        defer { offset += count }
        return offset..<offset + count
    }

    /// One byte.
    @inlinable public mutating func u8(_ bytes: RawSpan) throws(DecodeError) -> UInt8 {
        guard offset < end else { throw .truncated }
        defer { offset += 1 }
        return bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// Two bytes.
    @inlinable public mutating func u16(_ bytes: RawSpan) throws(DecodeError) -> UInt16 {
        UInt16(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: try take(2).lowerBound, as: UInt16.self))
    }

    /// Four bytes.
    @inlinable public mutating func u32(_ bytes: RawSpan) throws(DecodeError) -> UInt32 {
        UInt32(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: try take(4).lowerBound, as: UInt32.self))
    }

    /// Eight bytes.
    @inlinable public mutating func u64(_ bytes: RawSpan) throws(DecodeError) -> UInt64 {
        UInt64(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: try take(8).lowerBound, as: UInt64.self))
    }

    /// A LEB128 integer of at most 64 bits in its shortest form.
    @inlinable public mutating func varint(_ bytes: RawSpan) throws(DecodeError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte = try u8(bytes)
            if shift == 63, byte > 1 { throw .badInteger }
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 {
                if byte == 0, shift > 0 { throw .badInteger }
                return value
            }
            shift += 7
            if shift > 63 { throw .badInteger }
        }
    }

    /// A varint that counts or measures something and must not be above `limit`.
    @inlinable public mutating func count(_ bytes: RawSpan, limit: Int) throws(DecodeError) -> Int {
        let value = try varint(bytes)
        guard value <= UInt64(limit) else { throw .tooLong(limit: limit) }
        return Int(value)
    }

    /// A replica id: eight bytes.
    @inlinable public mutating func replica(_ bytes: RawSpan) throws(DecodeError) -> ReplicaID {
        ReplicaID(try u64(bytes))
    }

    /// A length-prefixed run of bytes, at most `limit` long: where it lies.
    @inlinable public mutating func block(_ bytes: RawSpan, limit: Int) throws(DecodeError) -> Range<Int> {
        try take(try count(bytes, limit: limit))
    }

    /// A length-prefixed text, at most `limit` bytes of valid UTF-8.
    public mutating func text(_ bytes: RawSpan, limit: Int) throws(DecodeError) -> String {
        let range = try block(bytes, limit: limit)
        let text = bytes.extracting(range).withUnsafeBytes { String(validating: $0, as: UTF8.self) }
        guard let text else { throw .badValue(field: "text") }
        return text
    }
}
