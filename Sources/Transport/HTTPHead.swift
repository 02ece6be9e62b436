/// A place in the head of a request, in four bytes: a head is kept for every connection.
public struct Slice: Equatable, Sendable {
    var start: UInt16 = 0
    var length: UInt16 = 0

    init() {}

    init(_ range: Range<Int>) {
        start = UInt16(range.lowerBound)
        length = UInt16(range.count)
    }

    /// The place as offsets into the bytes that came with the head.
    public var range: Range<Int> { Int(start)..<Int(start) + Int(length) }
    /// Whether nothing is there.
    public var isEmpty: Bool { length == 0 }
}

/// The method of a request.
public enum HTTPMethod: UInt8, Sendable {
    /// `GET`.
    case get
    /// `HEAD`; answered as `GET`, without the body.
    case head
    /// `POST`.
    case post
    /// `PUT`.
    case put
    /// `PATCH`.
    case patch
    /// `DELETE`.
    case delete
    /// `OPTIONS`.
    case options
    /// Any other token; see `HTTPHead.methodName`.
    case other
}

/// The head of one request: places in the bytes that are passed beside it (RFC 9112, sections 3 and 5).
public struct HTTPHead: Sendable {
    /// The method.
    public internal(set) var method = HTTPMethod.other
    /// The method as it was written.
    public internal(set) var methodName = Slice()
    /// The path without the query, still percent-encoded; begins with `/`, or is `*`.
    public internal(set) var path = Slice()
    /// What stands behind `?`, still percent-encoded; empty if there is none.
    public internal(set) var query = Slice()
    /// The value of `Content-Type`.
    public internal(set) var contentType = Slice()
    /// The value of `Host`.
    public internal(set) var host = Slice()
    /// All header lines, for `header(_:in:)`.
    public internal(set) var lines = Slice()
    /// The value of `Sec-WebSocket-Key`.
    var webSocketKey = Slice()
    /// The value of `Sec-WebSocket-Version`.
    var webSocketVersion = Slice()
    /// Where the head ends: the body, if it is not chunked, begins here.
    var end: UInt16 = 0
    /// Length of a body that is not chunked.
    var contentLength: UInt32 = 0
    /// Which lengths the headers' names have, one bit each (31 for longer ones): a header that is not there is mostly
    /// known to be missing without a look at the lines.
    var nameLengths: UInt32 = 0
    var flags = Flags()

    struct Flags: OptionSet, Sendable {
        let rawValue: UInt16
        static let http10 = Flags(rawValue: 1)
        static let close = Flags(rawValue: 2)
        static let keepAlive = Flags(rawValue: 4)
        static let connectionUpgrade = Flags(rawValue: 8)
        static let upgradeWebSocket = Flags(rawValue: 16)
        static let chunked = Flags(rawValue: 32)
        static let hasLength = Flags(rawValue: 64)
        static let hasHost = Flags(rawValue: 128)
        static let expectsContinue = Flags(rawValue: 256)
        static let hasTransferEncoding = Flags(rawValue: 512)
        static let hasContentType = Flags(rawValue: 1_024)
        static let hasKey = Flags(rawValue: 2_048)
    }

    /// Whether the connection stays open after the answer (RFC 9112, section 9.3).
    public var keepsAlive: Bool {
        if flags.contains(.close) { return false }
        return !flags.contains(.http10) || flags.contains(.keepAlive)
    }
    /// Whether the request came with a body, even an empty one.
    public var hasBody: Bool { flags.contains(.chunked) || flags.contains(.hasLength) }
    /// Whether the client asks to change to WebSocket (RFC 6455, section 4.2.1).
    public var wantsWebSocket: Bool {
        method == .get && flags.contains([.connectionUpgrade, .upgradeWebSocket]) && !flags.contains(.http10)
    }

    /// The value of the first header of this name, which has to be given in lower case; nil if there is none.
    public func header(_ name: StaticString, in bytes: RawSpan) -> Range<Int>? {
        guard mayHave(name) else { return nil }
        var found: Range<Int>?
        eachValue(of: name, bytes) { _, value in
            found = value
            return false
        }
        return found
    }

    /// Calls `item` for each element of the comma-separated lists in all headers of this name, which has to be given in
    /// lower case, in order (RFC 9110, sections 5.3 and 5.6.1). Empty elements are passed over.
    public func eachListItem(of name: StaticString, in bytes: RawSpan, _ item: (Range<Int>) -> Void) {
        guard mayHave(name) else { return }
        eachValue(of: name, bytes) { base, value in
            ByteScan.forEachListItem(base, value, item)
            return true
        }
    }

    static func lengthBit(_ length: Int) -> UInt32 { 1 << UInt32(min(length, 31)) }

    @inline(__always)
    private func mayHave(_ name: StaticString) -> Bool { nameLengths & Self.lengthBit(name.utf8CodeUnitCount) != 0 }

    /// Calls `body` for the value of each header of this name, until it returns false.
    private func eachValue(
        of name: StaticString, _ bytes: RawSpan, _ body: (ByteScan.Base, Range<Int>) -> Bool
    ) {
        bytes.withUnsafeBytes { all in
            let base = all.baseAddress!.assumingMemoryBound(to: UInt8.self)
            var at = lines.range.lowerBound
            let end = min(lines.range.upperBound, all.count)
            while at < end {
                let line = ByteScan.find(10, base, at, end) ?? end
                let colon = ByteScan.find(58, base, at, line) ?? line
                if ByteScan.equalsIgnoringCase(base, at..<colon, name),
                    !body(base, ByteScan.trimmed(base, colon + 1..<max(colon + 1, line - 1)))
                {
                    return
                }
                at = line + 1
            }
        }
    }
}

/// Why a request is refused and its connection closed.
public enum HTTPRefusal: Error, Equatable, Sendable, CaseIterable {
    /// A line does not end with CR LF, or a CR stands alone.
    case bareLineEnd
    /// The method is not a token.
    case badMethod
    /// The target is not a path.
    case badTarget
    /// The request line has no version, or one that is no version.
    case badVersion
    /// A version other than 1.0 and 1.1.
    case unsupportedVersion
    /// A header's name is empty or has a byte that is no token's, such as a space before the colon.
    case badHeaderName
    /// A header's value has a control byte.
    case badHeaderValue
    /// A header line begins with white space.
    case foldedHeader
    /// HTTP/1.1 without `Host`.
    case missingHost
    /// More than one `Host`, or one that is no host.
    case badHost
    /// `Content-Length` is no number or stands twice.
    case badContentLength
    /// Both `Content-Length` and `Transfer-Encoding`.
    case twoLengths
    /// A transfer coding other than `chunked`.
    case unknownCoding
    /// `Transfer-Encoding` in HTTP/1.0.
    case codingInOldVersion
    /// A chunk's length or end is malformed.
    case badChunk
    /// The head is above its limit.
    case headTooLong
    /// The body is above its limit.
    case bodyTooLong
    /// The request did not arrive in time.
    case timeout
    /// `Expect` with anything but `100-continue`.
    case unknownExpectation
    /// Two values of a header that may stand once.
    case repeatedHeader

    /// The status of the answer.
    public var status: UInt16 {
        switch self {
        case .bareLineEnd, .badMethod, .badTarget, .badVersion, .badHeaderName, .badHeaderValue, .foldedHeader,
            .missingHost, .badHost, .badContentLength, .twoLengths, .codingInOldVersion, .badChunk, .repeatedHeader:
            400
        case .unsupportedVersion: 505
        case .unknownCoding: 501
        case .headTooLong: 431
        case .bodyTooLong: 413
        case .timeout: 408
        case .unknownExpectation: 417
        }
    }

    /// What is wrong and what to send instead. Free of quotes and backslashes, so that it fits into JSON as it is.
    public var message: StaticString {
        switch self {
        case .bareLineEnd: "a line ends without CR LF; end every line of the head with both (RFC 9112, section 2.2)"
        case .badMethod: "the request line does not begin with a method; if you speak TLS, use http:// instead"
        case .badTarget: "the target is not a path; send one that begins with / and percent-encode other bytes"
        case .badVersion: "the request line does not end with a version; end it with HTTP/1.1"
        case .unsupportedVersion: "this version of HTTP is not spoken here; use HTTP/1.1"
        case .badHeaderName:
            "a header name is empty or has a byte that is not allowed, such as a space before the colon"
        case .badHeaderValue: "a header value has a control character; remove it"
        case .foldedHeader: "a header goes on in the next line; write each header in one line"
        case .missingHost: "the Host header is missing; HTTP/1.1 needs exactly one"
        case .badHost: "Host has to stand once and name one host"
        case .badContentLength: "Content-Length has to be one decimal number and to stand once"
        case .twoLengths: "both Content-Length and Transfer-Encoding; send only one of them"
        case .unknownCoding: "the only transfer coding understood here is chunked, alone; send the body without others"
        case .codingInOldVersion: "Transfer-Encoding is not part of HTTP/1.0; use HTTP/1.1 or Content-Length"
        case .badChunk: "a chunk is malformed; write its length in hexadecimal digits, CR LF, its bytes, CR LF"
        case .headTooLong: "the head of the request is above 16 KiB; send shorter or fewer headers"
        case .bodyTooLong: "the body is above the limit of 1 MiB; split it into several requests"
        case .timeout: "the request did not arrive in time; send it faster"
        case .unknownExpectation: "the only expectation met here is 100-continue; leave the Expect header out"
        case .repeatedHeader: "a header that may stand only once stands twice; send it once"
        }
    }
}
