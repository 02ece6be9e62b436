/// Paths and queries of targets, taken apart (RFC 3986).
public enum PercentEncoding {
    /// Decodes `range` to text; nil if an escape is malformed or the result is not UTF-8.
    ///
    /// - Parameter plusIsSpace: what forms do in queries.
    public static func decode(_ bytes: RawSpan, _ range: Range<Int>, plusIsSpace: Bool = false) -> String? {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(range.count)
        var at = range.lowerBound
        while at < range.upperBound {
            let byte = bytes.byte(at)
            at += 1
            if byte == 37 {
                guard range.upperBound - at >= 2, let high = ByteScan.hex(bytes.byte(at)),
                    let low = ByteScan.hex(bytes.byte(at + 1))
                else { return nil }
                decoded.append(high << 4 | low)
                at += 2
            } else {
                decoded.append(byte == 43 && plusIsSpace ? 32 : byte)
            }
        }
        return String(validating: decoded, as: UTF8.self)
    }

    /// Writes text so that it can stand as one segment of a path or one value of a query.
    public static func encode(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var out: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, 45, 46, 95, 126: out.append(byte)
            default: out += [37, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// Takes the segments of a path apart, each still encoded: `/a/b%2Fc` has two. An empty last one counts.
    public static func forEachSegment(_ bytes: RawSpan, _ path: Range<Int>, _ segment: (Range<Int>) -> Void) {
        var start = path.lowerBound + 1
        guard start <= path.upperBound else { return }
        for at in start..<path.upperBound where bytes.byte(at) == 47 {
            segment(start..<at)
            start = at + 1
        }
        segment(start..<path.upperBound)
    }

    /// Takes a query apart into names and values, each still encoded (`plusIsSpace` applies); no `=` is an empty value.
    public static func forEachParameter(
        _ bytes: RawSpan, _ query: Range<Int>, _ parameter: (_ name: Range<Int>, _ value: Range<Int>) -> Void
    ) {
        var start = query.lowerBound
        while start < query.upperBound {
            var end = start
            var equals: Int?
            while end < query.upperBound, bytes.byte(end) != 38 {
                if equals == nil, bytes.byte(end) == 61 { equals = end }
                end += 1
            }
            if end > start {
                let split = equals ?? end
                parameter(start..<split, min(split + 1, end)..<end)
            }
            start = end + 1
        }
    }
}
