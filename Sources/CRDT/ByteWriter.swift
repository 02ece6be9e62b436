/// Writing what `ByteCursor` reads: appended to a buffer that its owner reuses.
extension [UInt8] {
    /// Appends a fixed-width integer, little-endian.
    @inlinable public mutating func append<T: FixedWidthInteger>(littleEndian value: T) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// Appends a LEB128 integer.
    @inlinable public mutating func append(varint value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(truncatingIfNeeded: rest))
    }

    /// Appends a replica id: eight bytes.
    @inlinable public mutating func append(replica: ReplicaID) { append(littleEndian: replica.rawValue) }

    /// Appends a text behind its length in bytes.
    public mutating func append(text: String) {
        append(varint: UInt64(text.utf8.count))
        append(contentsOf: text.utf8)
    }

    /// Appends bytes that somebody else owns.
    @inlinable public mutating func append(copying bytes: RawSpan) {
        bytes.withUnsafeBytes { append(contentsOf: $0) }
    }

    /// Appends the constant's UTF-8 bytes.
    @inlinable public mutating func append(constant: StaticString) {
        append(contentsOf: UnsafeBufferPointer(start: constant.utf8Start, count: constant.utf8CodeUnitCount))
    }
}
