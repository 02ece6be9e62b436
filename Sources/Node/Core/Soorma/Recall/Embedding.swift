import CRDT

/// A vector that a client has made of a text, as a document keeps it: the hash of the text (XXH64, 8 bytes), then the numbers
/// as 32-bit floats, all little-endian. Where the text has been changed by somebody else at the same time, the hash tells that
/// the vector is not of the text that has stayed.
enum Embedding {
    /// How many numbers a vector may have.
    static let dimensions = 1...4_096
    static let field = "embedding"

    /// The vector in a body; nil if there is none.
    static func read(_ body: Body) throws(NodeError) -> [Float]? {
        guard let value = body["embedding"] else { return nil }
        guard let elements = value.elements, dimensions.contains(elements.count) else {
            throw .invalid(
                field: "embedding",
                "expected an array of \(dimensions.lowerBound) to \(dimensions.upperBound) numbers, found "
                    + (value.elements.map { "\($0.count) elements" } ?? value.phrase))
        }
        var vector: [Float] = []
        for element in elements {
            guard let number = element.double.map({ Float($0) }), number.isFinite else {
                throw .invalid(field: "embedding", "expected numbers within ±3.4e38, found \(element.phrase)")
            }
            vector.append(number)
        }
        guard VectorIndex.unit(vector) != nil else {
            throw .invalid(field: "embedding", "all numbers are zero, which points nowhere; leave it out instead")
        }
        return vector
    }

    /// As a document keeps it.
    static func encoded(_ vector: [Float], of text: String) -> [UInt8] {
        var out: [UInt8] = []
        func append(_ word: UInt64, bytes: Int) {
            for byte in 0..<bytes { out.append(UInt8(truncatingIfNeeded: word >> (8 * UInt64(byte)))) }
        }
        append(hash(text), bytes: 8)
        for value in vector { append(UInt64(value.bitPattern), bytes: 4) }
        return out
    }

    /// What a document keeps; nil for no vector, or that of another text.
    static func decoded(_ bytes: [UInt8], of text: String) -> [Float]? {
        func word(_ at: Int, bytes count: Int) -> UInt64 {
            (0..<count).reduce(0) { $0 | UInt64(bytes[at + $1]) << (8 * UInt64($1)) }
        }
        guard bytes.count >= 12, bytes.count % 4 == 0, dimensions.contains(bytes.count / 4 - 2),
            word(0, bytes: 8) == hash(text)
        else { return nil }
        return stride(from: 8, to: bytes.count, by: 4).map {
            Float(bitPattern: UInt32(truncatingIfNeeded: word($0, bytes: 4)))
        }
    }

    private static func hash(_ text: String) -> UInt64 { XXH64.hash(Array(text.utf8).span.bytes) }
}
