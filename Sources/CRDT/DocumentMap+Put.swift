/// Puts: what the log holds of documents.
///
/// | put | bytes |
/// |---|---|
/// | document | varint length and UTF-8 |
/// | changes | varint count, then each: |
/// | 0 | create the document |
/// | 1 | remove the document |
/// | 2 | set a field: its name as varint length and UTF-8, the value as varint length and bytes |
/// | 3 | remove a field: its name |
extension DocumentMap {
    /// One thing that a put does to its document.
    public enum Change: Equatable, Sendable {
        /// Let the document exist.
        case create
        /// Remove the document with all its fields.
        case remove
        /// Write a field.
        case set(field: String, value: [UInt8])
        /// Remove a field.
        case unset(field: String)
    }

    /// Appends the body of a put. At most `maximumChanges`, names and values within their bounds.
    public static func encode(_ document: String, _ changes: [Change], into out: inout [UInt8]) {
        precondition(changes.count <= maximumChanges, "a put with \(changes.count) changes would be refused by peers")
        out.append(text: document)
        out.append(varint: UInt64(changes.count))
        for change in changes {
            switch change {
            case .create: out.append(0)
            case .remove: out.append(1)
            case .set(let field, let value):
                out.append(2)
                out.append(text: field)
                out.append(varint: UInt64(value.count))
                out.append(contentsOf: value)
            case .unset(let field):
                out.append(3)
                out.append(text: field)
            }
        }
    }

    /// Reads what `encode` wrote.
    public static func decode(_ put: RawSpan) throws(DecodeError) -> (document: String, changes: [Change]) {
        var cursor = ByteCursor(put)
        let document = try cursor.text(put, limit: maximumNameBytes)
        var changes: [Change] = []
        for _ in 0..<(try cursor.count(put, limit: maximumChanges)) {
            func text(_ range: Range<Int>) -> String {
                put.extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
            }
            switch try RawChange(&cursor, put) {
            case .create: changes.append(.create)
            case .remove: changes.append(.remove)
            case .set(let field, let value):
                let bytes = put.extracting(value).withUnsafeBytes { Array($0) }
                changes.append(.set(field: text(field), value: bytes))
            case .unset(let field): changes.append(.unset(field: text(field)))
            }
        }
        return (document, changes)
    }

    /// Applies the body of a put: all of it, or nothing if it is malformed.
    public mutating func apply(_ put: RawSpan, at stamp: HybridTimestamp) throws(DecodeError) {
        var cursor = ByteCursor(put)
        let name = try Self.name(&cursor, put)
        let count = try cursor.count(put, limit: Self.maximumChanges)
        let start = cursor
        var change = RawChange.create
        for _ in 0..<count { change = try RawChange(&cursor, put) }
        guard cursor.remaining == 0 else { throw .badValue(field: "end of the put") }
        guard count > 0, .never < stamp else { return }
        let hash = XXH64.hash(put.extracting(name))
        let slot = slot(ofDocument: put.extracting(name), hash)
        guard count > 1 else { return apply(change, put, to: slot, hash, at: stamp) }
        cursor = start
        for _ in 0..<count { apply(try RawChange(&cursor, put), put, to: slot, hash, at: stamp) }
    }

    private mutating func apply(
        _ change: RawChange, _ put: RawSpan, to slot: UInt32, _ hash: UInt64, at stamp: HybridTimestamp
    ) {
        switch change {
        case .create: _ = create(slot, at: stamp)
        case .remove: _ = remove(slot, at: stamp)
        case .set(let field, let value):
            _ = write(slot, hash, put.extracting(field), put.extracting(value), at: stamp)
        case .unset(let field): _ = write(slot, hash, put.extracting(field), nil, at: stamp)
        }
    }

    /// A change as it lies in a put.
    private enum RawChange {
        case create, remove
        case set(field: Range<Int>, value: Range<Int>)
        case unset(field: Range<Int>)

        @inline(__always) init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
            switch try cursor.u8(bytes) {
            case 0: self = .create
            case 1: self = .remove
            case 2:
                let field = try DocumentMap.name(&cursor, bytes)
                self = .set(field: field, value: try cursor.block(bytes, limit: maximumValueBytes))
            case 3: self = .unset(field: try DocumentMap.name(&cursor, bytes))
            default: throw .badValue(field: "change")
            }
        }
    }

    /// Where a name lies that is within its bound and is UTF-8.
    @inline(__always)
    static func name(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) -> Range<Int> {
        let range = try cursor.block(bytes, limit: maximumNameBytes)
        guard isText(bytes.extracting(range)) else { throw .badValue(field: "name") }
        return range
    }

    /// Names are mostly ASCII, which is seen eight bytes at a time.
    @inline(__always) private static func isText(_ bytes: RawSpan) -> Bool {
        bytes.withUnsafeBytes { bytes in
            var seen: UInt64 = 0
            var at = 0
            while at <= bytes.count - 8 {
                seen |= bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                at += 8
            }
            while at < bytes.count {
                seen |= UInt64(bytes[at])
                at += 1
            }
            return seen & 0x8080_8080_8080_8080 == 0 || String(validating: bytes, as: UTF8.self) != nil
        }
    }
}
