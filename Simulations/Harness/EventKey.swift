internal import CRDT
internal import Gossip

/// An event's id: a UUID as two numbers, so that the checkers compare and hash no text.
struct EventKey: Hashable, Sendable {
    let high: UInt64
    let low: UInt64

    /// A random one (RFC 9562, version 4).
    init(_ dice: inout Dice) {
        high = dice.next() & ~0xf000 | 0x4000
        low = dice.next() & ~(3 << 62) | 2 << 62
    }

    /// Reads the 36 characters at `range`; nil for anything else.
    init?(_ bytes: [UInt8], _ range: Range<Int>) {
        guard range.count == 36 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        var digits = 0
        for i in range {
            if [8, 13, 18, 23].contains(i - range.lowerBound) {
                guard bytes[i] == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = hexadecimalDigit(bytes[i]) else { return nil }
            if digits < 16 { words.0 = words.0 << 4 | digit } else { words.1 = words.1 << 4 | digit }
            digits += 1
        }
        (high, low) = words
    }

    /// Reads `text` back; nil for anything else.
    init?(text: String) {
        let bytes = Array(text.utf8)
        self.init(bytes, 0..<bytes.count)
    }

    /// The usual lower-case text.
    var text: String {
        let h = Array(ReplicaID(high).description.utf8) + Array(ReplicaID(low).description.utf8)
        func part(_ range: Range<Int>) -> String { String(decoding: h[range], as: UTF8.self) }
        return "\(part(0..<8))-\(part(8..<12))-\(part(12..<16))-\(part(16..<20))-\(part(20..<32))"
    }
}

private func hexadecimalDigit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
    default: nil
    }
}

/// The number that the lower-case hexadecimal digits at `range` write; nil for anything else.
func hexadecimal(_ bytes: [UInt8], _ range: Range<Int>) -> UInt64? {
    guard !range.isEmpty, range.count <= 16 else { return nil }
    var value: UInt64 = 0
    for i in range {
        guard let digit = hexadecimalDigit(bytes[i]) else { return nil }
        value = value << 4 | digit
    }
    return value
}
