import Glibc

/// Reads HTTP/1.x requests out of bytes that somebody else owns (RFC 9112). No I/O and no clock.
///
/// The caller keeps the bytes that were not consumed and passes them again with what came behind them:
///
///     switch parser.read(bytes) {
///     case .needMore(let drop):        // forget `drop` (it was decoded), then wait for more
///     case .request(let consumed):     // `parser.head` and the body; then forget `consumed` bytes
///     case .refused(let why):          // answer with why.status and close
///     }
///
/// Strict where leniency is a hole between two programs that read the same bytes: see `HTTPRefusal`.
public struct HTTPParser: Sendable {
    /// What one read came to.
    public enum Step: Equatable, Sendable {
        /// The request is not whole. `drop` is a range that has been taken over (decoded chunks): the caller removes
        /// it, and passes the rest again with more behind it.
        case needMore(drop: Range<Int>)
        /// A request is whole and takes this many bytes.
        case request(consumed: Int)
        /// Nothing more can be read from this connection.
        case refused(HTTPRefusal)
    }

    /// The limits of one request, in bytes.
    public struct Limits: Sendable {
        /// Request line and headers; at most 60,000.
        public var head: Int
        /// Body, decoded.
        public var body: Int

        /// By default 16 KiB and 1 MiB.
        public init(head: Int = 16 << 10, body: Int = 1 << 20) {
            precondition((64...60_000).contains(head) && body >= 0 && body <= Int(UInt32.max), "limits out of range")
            self.head = head
            self.body = body
        }
    }

    /// The head of the request being read; whole once `hasHead`.
    public private(set) var head = HTTPHead()
    /// Whether the head is whole.
    public private(set) var hasHead = false
    /// The decoded body of a chunked request.
    public private(set) var decoded: [UInt8] = []
    private var chunks = ChunkReader()
    /// How far line ends have been looked for, and where the line that is being looked at begins.
    private var scanned = 0
    private var lineStart = 0

    /// A parser at the start of a connection.
    public init() {}

    /// Whether the client waits for `100 Continue` before it sends the body.
    public var awaitsContinue: Bool { hasHead && head.flags.contains(.expectsContinue) }

    /// `100 Continue` was sent.
    public mutating func sentContinue() { head.flags.remove(.expectsContinue) }

    /// Where the body of a request lies in the bytes, unless it was chunked.
    public var bodyRange: Range<Int> { Int(head.end)..<Int(head.end) + Int(head.contentLength) }

    /// Whether the body was chunked and lies in `decoded`.
    public var isChunked: Bool { head.flags.contains(.chunked) }

    /// How many bytes the whole request takes if that is known: more than are there.
    var expectedBytes: Int? { hasHead && !isChunked ? bodyRange.upperBound : nil }

    /// Gets ready for the next request, after one was handled and its bytes consumed.
    public mutating func reset() {
        hasHead = false
        scanned = 0
        lineStart = 0
        if isChunked {
            decoded = []
            chunks = ChunkReader()
        }
        head.flags = []
    }

    /// Reads on. `bytes` begin with the first byte that was neither consumed nor dropped.
    public mutating func read(_ bytes: RawSpan, limits: Limits = Limits()) -> Step {
        do throws(HTTPRefusal) {
            if !hasHead {
                guard try findHead(bytes, limits) else { return .needMore(drop: 0..<0) }
                hasHead = true
                if Int(head.contentLength) > limits.body { throw .bodyTooLong }
            }
            if !isChunked {
                let end = bodyRange.upperBound
                return end <= bytes.byteCount ? .request(consumed: end) : .needMore(drop: 0..<0)
            }
            let start = Int(head.end)
            let used = try chunks.read(bytes, from: start, limit: limits.body, into: &decoded)
            return chunks.isDone ? .request(consumed: used) : .needMore(drop: start..<used)
        } catch {
            return .refused(error)
        }
    }

    /// Looks for the end of the head, line by line, and reads it once it is there.
    private mutating func findHead(_ bytes: RawSpan, _ limits: Limits) throws(HTTPRefusal) -> Bool {
        var refusal: HTTPRefusal?
        let isWhole = bytes.withUnsafeBytes { all -> Bool in
            guard let start = all.baseAddress, all.count > 0 else { return false }
            let base = start.assumingMemoryBound(to: UInt8.self)
            let end = min(all.count, limits.head)
            // Another protocol (TLS, say) is told at once, and not when its client gives up waiting.
            let isStart = lineStart == 0 && base[0] != 13 && base[0] != 10
            if isStart, !ByteScan.isToken(base[0]) {
                refusal = .badMethod
                return false
            }
            while let feed = ByteScan.find(10, base, scanned, end) {
                if feed == 0 || base[feed - 1] != 13 {
                    refusal = .bareLineEnd
                    return false
                }
                let isEmpty = feed - 1 == lineStart
                scanned = feed + 1
                lineStart = feed + 1
                if isEmpty {
                    if scanned <= 4, base[0] == 13 {
                        // Empty lines before a request are forgiven, two at most (RFC 9112, section 2.2).
                        continue
                    }
                    head = HTTPHead()
                    do throws(HTTPRefusal) {
                        try HeadReader.read(base, to: feed - 1, into: &head)
                    } catch {
                        refusal = error
                        return false
                    }
                    head.end = UInt16(feed + 1)
                    return true
                }
            }
            scanned = max(scanned, end)
            if all.count >= limits.head { refusal = .headTooLong }
            return false
        }
        if let refusal { throw refusal }
        return isWhole
    }
}

/// Reads a whole head. A separate type so that its pointers are seen to live for one call only.
private enum HeadReader {
    /// `end` is the offset of the empty line. Every line before it ends with CR LF (the caller has seen each).
    static func read(_ base: ByteScan.Base, to end: Int, into head: inout HTTPHead) throws(HTTPRefusal) {
        var at = 0
        while at + 1 < end, base[at] == 13, base[at + 1] == 10 { at += 2 }
        guard let firstFeed = ByteScan.find(10, base, at, end) else { throw .badVersion }
        try requestLine(base, at..<firstFeed - 1, into: &head)
        at = firstFeed + 1
        head.lines = Slice(at..<end)
        while at < end {
            let feed = ByteScan.find(10, base, at, end) ?? end
            try headerLine(base, at..<feed - 1, into: &head)
            at = feed + 1
        }
        let flags = head.flags
        if !flags.contains(.hasHost), !flags.contains(.http10) { throw .missingHost }
        if flags.contains(.hasTransferEncoding) {
            if flags.contains(.hasLength) { throw .twoLengths }
            if flags.contains(.http10) { throw .codingInOldVersion }
        }
        // An expectation of an old client or without a body is not waited for (RFC 9110, section 10.1.1).
        if flags.contains(.http10) || !(head.contentLength > 0 || flags.contains(.chunked)) {
            head.flags.remove(.expectsContinue)
        }
    }

    @inline(__always)
    private static func requestLine(
        _ base: ByteScan.Base, _ line: Range<Int>, into head: inout HTTPHead
    ) throws(HTTPRefusal) {
        var at = line.lowerBound
        while at < line.upperBound, ByteScan.isToken(base[at]) { at += 1 }
        let method = line.lowerBound..<at
        guard at < line.upperBound, base[at] == 32, !method.isEmpty, method.count <= 32 else { throw .badMethod }
        head.methodName = Slice(method)
        head.method = methodNamed(base, method)
        let target = at + 1
        // From the end, so that a space inside the target is the target's fault and not the version's.
        var space = line.upperBound - 1
        while space > target, base[space] != 32 { space -= 1 }
        guard space > target else { throw space == target && base[target] == 32 ? .badTarget : .badVersion }
        try version(base, space + 1..<line.upperBound, into: &head)
        try self.target(base, target..<space, into: &head)
    }

    @inline(__always)
    private static func methodNamed(_ base: ByteScan.Base, _ range: Range<Int>) -> HTTPMethod {
        func matches(_ text: StaticString) -> Bool { memcmp(base + range.lowerBound, text.utf8Start, range.count) == 0 }
        switch range.count {
        case 3: return matches("GET") ? .get : matches("PUT") ? .put : .other
        case 4: return matches("POST") ? .post : matches("HEAD") ? .head : .other
        case 5: return matches("PATCH") ? .patch : .other
        case 6: return matches("DELETE") ? .delete : .other
        case 7: return matches("OPTIONS") ? .options : .other
        default: return .other
        }
    }

    @inline(__always)
    private static func version(
        _ base: ByteScan.Base, _ range: Range<Int>, into head: inout HTTPHead
    ) throws(HTTPRefusal) {
        let start = base + range.lowerBound
        let prefix: StaticString = "HTTP/"
        guard range.count == 8, memcmp(start, prefix.utf8Start, 5) == 0, start[6] == 46, (48...57).contains(start[5]),
            (48...57).contains(start[7])
        else { throw .badVersion }
        guard start[5] == 49 else { throw .unsupportedVersion }
        if start[7] == 48 { head.flags.insert(.http10) }
    }

    /// Origin form, absolute form (whose host is ignored in favour of `Host`, being our own) or `*`.
    @inline(__always)
    private static func target(
        _ base: ByteScan.Base, _ range: Range<Int>, into head: inout HTTPHead
    ) throws(HTTPRefusal) {
        var start = range.lowerBound
        let end = range.upperBound
        if base[start] != 47 {
            if base[start] == 42, end - start == 1, head.method == .options {
                head.path = Slice(range)
                return
            }
            guard end - start > 7, ByteScan.equalsIgnoringCase(base, start..<start + 4, "http"), base[start + 4] == 58,
                base[start + 5] == 47, base[start + 6] == 47, let slash = ByteScan.find(47, base, start + 7, end),
                slash > start + 7
            else { throw .badTarget }
            start = slash
        }
        var question = end
        var at = start
        while at < end {
            let byte = base[at]
            if byte <= 32 || byte >= 127 || byte == 35 { throw .badTarget }
            if byte == 63, question == end { question = at }
            at += 1
        }
        head.path = Slice(start..<question)
        head.query = Slice(min(question + 1, end)..<end)
    }

    @inline(__always)
    private static func headerLine(
        _ base: ByteScan.Base, _ line: Range<Int>, into head: inout HTTPHead
    ) throws(HTTPRefusal) {
        var at = line.lowerBound
        if base[at] == 32 || base[at] == 9 { throw .foldedHeader }
        while at < line.upperBound, ByteScan.isToken(base[at]) { at += 1 }
        let name = line.lowerBound..<at
        guard !name.isEmpty, at < line.upperBound, base[at] == 58 else { throw .badHeaderName }
        let value = ByteScan.trimmed(base, at + 1..<line.upperBound)
        if ByteScan.hasControl(base, value) { throw .badHeaderValue }
        head.nameLengths |= HTTPHead.lengthBit(name.count)
        func isNamed(_ text: StaticString) -> Bool { ByteScan.equalsIgnoringCase(base, name, text) }
        switch name.count {
        case 4 where isNamed("host"): try host(base, value, into: &head)
        case 6 where isNamed("expect"):
            guard ByteScan.equalsIgnoringCase(base, value, "100-continue") else { throw .unknownExpectation }
            head.flags.insert(.expectsContinue)
        case 7 where isNamed("upgrade"):
            ByteScan.forEachListItem(base, value) {
                if ByteScan.equalsIgnoringCase(base, $0, "websocket") { head.flags.insert(.upgradeWebSocket) }
            }
        case 10 where isNamed("connection"):
            ByteScan.forEachListItem(base, value) {
                if ByteScan.equalsIgnoringCase(base, $0, "close") { head.flags.insert(.close) }
                if ByteScan.equalsIgnoringCase(base, $0, "keep-alive") { head.flags.insert(.keepAlive) }
                if ByteScan.equalsIgnoringCase(base, $0, "upgrade") { head.flags.insert(.connectionUpgrade) }
            }
        case 12 where isNamed("content-type"):
            if head.flags.contains(.hasContentType) { throw .repeatedHeader }
            head.flags.insert(.hasContentType)
            head.contentType = Slice(value)
        case 14 where isNamed("content-length"): try contentLength(base, value, into: &head)
        case 17 where isNamed("transfer-encoding"):
            // One coding, once: what follows from two is read differently by different programs.
            guard !head.flags.contains(.hasTransferEncoding), ByteScan.equalsIgnoringCase(base, value, "chunked") else {
                throw .unknownCoding
            }
            head.flags.formUnion([.hasTransferEncoding, .chunked])
        case 17 where isNamed("sec-websocket-key"):
            if head.flags.contains(.hasKey) { throw .repeatedHeader }
            head.flags.insert(.hasKey)
            head.webSocketKey = Slice(value)
        case 21 where isNamed("sec-websocket-version"): head.webSocketVersion = Slice(value)
        default: break
        }
    }

    private static func host(
        _ base: ByteScan.Base, _ value: Range<Int>, into head: inout HTTPHead
    ) throws(HTTPRefusal) {
        if head.flags.contains(.hasHost) { throw .badHost }
        for at in value {
            switch base[at] {
            case 32, 9, 34, 35, 44, 47, 60, 62, 63, 64, 92, 127...: throw .badHost
            default: break
            }
        }
        head.flags.insert(.hasHost)
        head.host = Slice(value)
    }

    private static func contentLength(
        _ base: ByteScan.Base, _ value: Range<Int>, into head: inout HTTPHead
    ) throws(HTTPRefusal) {
        guard !head.flags.contains(.hasLength), !value.isEmpty, value.count <= 18 else { throw .badContentLength }
        var length = 0
        for at in value {
            guard (48...57).contains(base[at]) else { throw .badContentLength }
            length = length * 10 + Int(base[at] - 48)
        }
        head.flags.insert(.hasLength)
        // Beyond 32 bits is beyond every limit of a body.
        head.contentLength = UInt32(clamping: length)
    }
}
