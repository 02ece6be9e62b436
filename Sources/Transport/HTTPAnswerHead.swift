/// The head of an answer, for clients: status, length and headers (RFC 9112, sections 4 and 6). Offsets point into
/// the bytes it was read from.
public struct HTTPAnswerHead: Equatable, Sendable {
    /// The status code.
    public let status: Int
    /// Where the head ends and the body begins.
    public let end: Int
    /// The length of the body; nil if it is chunked or goes on until the connection ends.
    public let contentLength: Int?
    /// Whether the body is chunked.
    public let isChunked: Bool
    /// Whether the server will close the connection after this answer.
    public let closes: Bool
    private let lines: Range<Int>

    /// What a read came to.
    public enum Result: Equatable, Sendable {
        /// The head is not whole.
        case needMore
        /// A whole head.
        case head(HTTPAnswerHead)
        /// This is not an answer of HTTP/1.x.
        case malformed
    }

    /// Reads the head at the beginning of `bytes`.
    public static func read(_ bytes: RawSpan) -> Result {
        bytes.withUnsafeBytes { all in
            guard let start = all.baseAddress, all.count > 0 else { return .needMore }
            let base = start.assumingMemoryBound(to: UInt8.self)
            var feeds: [Int] = []
            var at = 0
            while let feed = ByteScan.find(10, base, at, all.count) {
                if feed - at <= 1 {
                    return parse(base, feeds, end: feed + 1)
                }
                feeds.append(feed)
                at = feed + 1
                if at > 64 << 10 { return .malformed }
            }
            return all.count > 64 << 10 ? .malformed : .needMore
        }
    }

    private static func parse(_ base: ByteScan.Base, _ feeds: [Int], end: Int) -> Result {
        guard let first = feeds.first, first >= 12, ByteScan.equalsIgnoringCase(base, 0..<4, "http"), base[4] == 47,
            base[5] == 49, base[8] == 32, (9..<12).allSatisfy({ (48...57).contains(base[$0]) })
        else { return .malformed }
        let status = (9..<12).reduce(0) { $0 * 10 + Int(base[$1] - 48) }
        var length: Int?
        var isChunked = false
        var closes = base[7] == 48
        var at = first + 1
        for feed in feeds.dropFirst() {
            guard let colon = ByteScan.find(58, base, at, feed) else { return .malformed }
            let value = ByteScan.trimmed(base, colon + 1..<max(colon + 1, base[feed - 1] == 13 ? feed - 1 : feed))
            if ByteScan.equalsIgnoringCase(base, at..<colon, "content-length") {
                guard !value.isEmpty, value.count <= 18, value.allSatisfy({ (48...57).contains(base[$0]) }) else {
                    return .malformed
                }
                length = value.reduce(0) { $0 * 10 + Int(base[$1] - 48) }
            } else if ByteScan.equalsIgnoringCase(base, at..<colon, "transfer-encoding") {
                isChunked = ByteScan.equalsIgnoringCase(base, value, "chunked")
            } else if ByteScan.equalsIgnoringCase(base, at..<colon, "connection") {
                if ByteScan.equalsIgnoringCase(base, value, "close") { closes = true }
            }
            at = feed + 1
        }
        if status == 204 || status == 304 || status < 200 { length = 0 }
        return .head(
            HTTPAnswerHead(
                status: status, end: end, contentLength: isChunked ? nil : length, isChunked: isChunked,
                closes: closes, lines: first + 1..<end))
    }

    /// The value of the first header of this name, which has to be given in lower case; nil if there is none.
    public func header(_ name: StaticString, in bytes: RawSpan) -> Range<Int>? {
        bytes.withUnsafeBytes { all in
            let base = all.baseAddress!.assumingMemoryBound(to: UInt8.self)
            var at = lines.lowerBound
            while at < lines.upperBound, let feed = ByteScan.find(10, base, at, lines.upperBound) {
                if let colon = ByteScan.find(58, base, at, feed), ByteScan.equalsIgnoringCase(base, at..<colon, name) {
                    return ByteScan.trimmed(base, colon + 1..<max(colon + 1, base[feed - 1] == 13 ? feed - 1 : feed))
                }
                at = feed + 1
            }
            return nil
        }
    }
}
