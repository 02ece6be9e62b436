import CRDT

/// A pattern of scopes or topics: segments between dots, `*` for any one segment, `>` at the end for one or more.
struct AddressPattern: Hashable, Sendable {
    enum Segment: Hashable, Sendable { case text([UInt8]), any, tail }
    let segments: [Segment]

    /// Reads a pattern in canonical JSON text; nil if `>` stands anywhere but at the end or a segment is empty.
    init?(_ pattern: [UInt8]) {
        var segments: [Segment] = []
        for part in pattern.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard !part.isEmpty, segments.last != .tail else { return nil }
            switch part {
            case [UInt8(ascii: "*")]: segments.append(.any)
            case [UInt8(ascii: ">")]: segments.append(.tail)
            default: segments.append(.text(Array(part)))
            }
        }
        self.segments = segments
    }

    /// The one address that it fits; nil if it may fit several.
    var address: [UInt8]? {
        var text: [UInt8] = []
        for segment in segments {
            guard case .text(let part) = segment else { return nil }
            if !text.isEmpty { text.append(UInt8(ascii: ".")) }
            text += part
        }
        return text
    }

    /// As it was written.
    var text: [UInt8] {
        var text: [UInt8] = []
        for (i, segment) in segments.enumerated() {
            if i > 0 { text.append(UInt8(ascii: ".")) }
            switch segment {
            case .text(let part): text += part
            case .any: text.append(UInt8(ascii: "*"))
            case .tail: text.append(UInt8(ascii: ">"))
            }
        }
        return text
    }

    func matches(_ address: RawSpan) -> Bool {
        var at = 0
        for segment in segments {
            guard at <= address.byteCount else { return false }
            let end = Self.segmentEnd(address, from: at)
            switch segment {
            case .tail: return true
            case .any: break
            case .text(let text): guard address.extracting(at..<end).isEqual(to: text) else { return false }
            }
            at = end + 1
        }
        return at == address.byteCount + 1
    }

    /// Where the segment ends that starts at `start`.
    static func segmentEnd(_ address: RawSpan, from start: Int) -> Int {
        var end = start
        while end < address.byteCount, address.unsafeLoad(fromByteOffset: end, as: UInt8.self) != UInt8(ascii: ".") {
            end += 1
        }
        return end
    }
}
