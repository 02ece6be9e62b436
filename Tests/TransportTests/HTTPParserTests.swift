import Testing

@testable import Transport

/// A request as a test wants to compare it.
struct ParsedRequest: Equatable, CustomStringConvertible {
    var method: String
    var path: String
    var query = ""
    var body = ""
    var keepsAlive = true
    var contentType = ""
    var description: String { "\(method) \(path)?\(query) [\(body)] \(keepsAlive) \(contentType)" }
}

enum ParseResult: Equatable {
    case requests([ParsedRequest], left: Int)
    case refused(HTTPRefusal, after: Int)
}

/// Feeds `pieces` as a connection would: what was not consumed is passed again with what came behind.
func parse(_ pieces: [[UInt8]], limits: HTTPParser.Limits = .init()) -> ParseResult {
    var parser = HTTPParser()
    var waiting: [UInt8] = []
    var found: [ParsedRequest] = []
    for piece in pieces {
        waiting += piece
        while true {
            let bytes = waiting
            let step = bytes.withUnsafeBytes { parser.read($0.bytes, limits: limits) }
            switch step {
            case .needMore(let drop): waiting.removeSubrange(drop)
            case .refused(let why): return .refused(why, after: found.count)
            case .request(let consumed):
                let head = parser.head
                let (isChunked, range, decoded) = (parser.isChunked, parser.bodyRange, parser.decoded)
                bytes.withUnsafeBytes { raw in
                    let span = raw.bytes
                    found.append(
                        ParsedRequest(
                            method: span.text(head.methodName.range), path: span.text(head.path.range),
                            query: span.text(head.query.range),
                            body: isChunked ? String(decoding: decoded, as: UTF8.self) : span.text(range),
                            keepsAlive: head.keepsAlive, contentType: span.text(head.contentType.range)))
                }
                parser.reset()
                waiting.removeFirst(consumed)
                if !waiting.isEmpty { continue }
            }
            break
        }
    }
    return .requests(found, left: waiting.count)
}

func parse(_ text: String, limits: HTTPParser.Limits = .init()) -> ParseResult {
    parse([Array(text.utf8)], limits: limits)
}

private let plain = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
private let post =
    "POST /api/events?limit=5&x HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nContent-Type: application/json\r\n"
    + "CONTENT-LENGTH:  7 \r\nAccept: */*\r\n\r\n{\"a\":1}"
private let chunked =
    "PUT /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n4;name=\"v\"\r\nWiki\r\n6\r\npedia \r\n"
    + "E\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\n"
private let old = "GET /old HTTP/1.0\r\n\r\n"

private let plainRequest = ParsedRequest(method: "GET", path: "/health")
private let postRequest = ParsedRequest(
    method: "POST", path: "/api/events", query: "limit=5&x", body: "{\"a\":1}", contentType: "application/json")
private let chunkedRequest = ParsedRequest(method: "PUT", path: "/c", body: "Wikipedia in \r\n\r\nchunks.")
private let oldRequest = ParsedRequest(method: "GET", path: "/old", keepsAlive: false)

@Suite("HTTP requests")
struct HTTPParserTests {
    static let samples: [(String, [ParsedRequest])] = [
        (plain, [plainRequest]), (post, [postRequest]), (chunked, [chunkedRequest]), (old, [oldRequest]),
        (post + plain + chunked + plain, [postRequest, plainRequest, chunkedRequest, plainRequest]),
        ("\r\n\r\n" + plain + "\r\n" + plain, [plainRequest, plainRequest]),
    ]

    @Test("Each sample is read whole, byte by byte, and cut at every boundary", arguments: samples)
    func cuts(text: String, expected: [ParsedRequest]) {
        let bytes = Array(text.utf8)
        #expect(parse([bytes]) == .requests(expected, left: 0))
        #expect(parse(bytes.map { [$0] }) == .requests(expected, left: 0))
        for cut in 1..<bytes.count {
            #expect(parse([Array(bytes[..<cut]), Array(bytes[cut...])]) == .requests(expected, left: 0))
        }
    }

    @Test("An unfinished request is no request, wherever it stops")
    func unfinished() {
        for text in [plain, post] {
            for cut in 1..<text.utf8.count {
                #expect(parse([Array(text.utf8.prefix(cut))]) == .requests([], left: cut))
            }
        }
    }

    @Test("A chunked body takes no more memory than its head and what is decoded")
    func chunksAreDropped() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        let many = String(repeating: "1\r\nx\r\n", count: 1_000)
        #expect(parse([Array(head.utf8), Array(many.utf8)]) == .requests([], left: head.utf8.count))
    }

    static let refusals: [(String, HTTPRefusal)] = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", .bareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", .bareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", .bareLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", .badHeaderValue),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
        ("\u{16}\u{03}\u{01}", .badMethod),
        ("GET\r\n\r\n", .badMethod),
        (String(repeating: "G", count: 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
        ("GET /\r\n\r\n", .badVersion),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", .badVersion),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", .badVersion),
        ("GET / HTTP/1.11\r\nHost: a\r\n\r\n", .badVersion),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .unsupportedVersion),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .unsupportedVersion),
        ("GET  HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", .badTarget),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", .badHeaderName),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", .badHeaderName),
        ("GET / HTTP/1.1\r\nHost: a\r\nb\r\n\r\n", .badHeaderName),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n", .badHeaderValue),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 12345678901\u{7f}\r\n\r\n", .badHeaderValue),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", .foldedHeader),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", .foldedHeader),
        ("GET / HTTP/1.1\r\nX: a\r\n\r\n", .missingHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .badHost),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", .badHost),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", .badContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", .badContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", .badContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", .badContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", .badContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nx", .badContentLength),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", .badContentLength
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4294967297\r\n\r\n", .bodyTooLong),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", .bodyTooLong),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            .twoLengths
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", .unknownCoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", .unknownCoding),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            .unknownCoding
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", .codingInOldVersion),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", .unknownExpectation),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n", .repeatedHeader),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "x", count: 16 << 10), .headTooLong),
        ("GET /" + String(repeating: "x", count: 17 << 10) + " HTTP/1.1\r\nHost: a\r\n\r\n", .headTooLong),
    ]

    @Test("What others could read differently is refused, with the status that fits", arguments: refusals)
    func refusal(text: String, why: HTTPRefusal) {
        #expect(parse(text) == .refused(why, after: 0))
        #expect(parse(Array(text.utf8).map { [$0] }) == .refused(why, after: 0))
        #expect(parse(plain + text) == .refused(why, after: 1))
    }

    static let badChunks: [(String, HTTPRefusal)] = [
        ("x\r\n", .badChunk), ("\r\n", .badChunk), ("-1\r\n", .badChunk), ("1 2\r\n", .badChunk),
        ("0x1\r\na", .badChunk),
        ("1\nx", .bareLineEnd), ("1\r\nxy\r\n", .badChunk), ("1\r\nx\n\n", .badChunk), ("2\r\nxy0\r\n", .badChunk),
        ("100001\r\n", .bodyTooLong), ("ffffffffffffffff\r\n", .bodyTooLong),
        ("00000000000000000000000000000000ffffffffff\r\n", .bodyTooLong),
        ("1;a=\u{1}\r\n", .badChunk), ("0\r\n folded\r\n\r\n", .foldedHeader),
        ("0\r\nno colon\r\n\r\n", .badHeaderName),
        ("0\r\na : b\r\n\r\n", .badHeaderName), ("0\r\na: \u{1}\r\n\r\n", .badHeaderValue),
        ("0\r\na: b\n\r\n", .bareLineEnd),
        ("1;" + String(repeating: "e", count: 17 << 10) + "\r\nx\r\n0\r\n\r\n", .headTooLong),
        ("0\r\na:" + String(repeating: "e", count: 17 << 10), .headTooLong),
    ]

    @Test("A malformed chunk is refused", arguments: badChunks)
    func badChunk(text: String, why: HTTPRefusal) {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(parse(head + text) == .refused(why, after: 0))
        #expect(parse(Array((head + text).utf8).map { [$0] }) == .refused(why, after: 0))
    }

    @Test("A body is as long as its limit and no longer, chunked or not")
    func bodyLimit() {
        let limits = HTTPParser.Limits(head: 1_024, body: 8)
        let head = "POST / HTTP/1.1\r\nHost: a\r\n"
        let request = ParsedRequest(method: "POST", path: "/", body: "12345678")
        #expect(parse(head + "Content-Length: 8\r\n\r\n12345678", limits: limits) == .requests([request], left: 0))
        #expect(parse(head + "Content-Length: 9\r\n\r\n", limits: limits) == .refused(.bodyTooLong, after: 0))
        let chunks = head + "Transfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n"
        #expect(parse(chunks + "4\r\n5678\r\n0\r\n\r\n", limits: limits) == .requests([request], left: 0))
        #expect(parse(chunks + "5\r\n", limits: limits) == .refused(.bodyTooLong, after: 0))
    }

    @Test("A head is as long as its limit and no longer")
    func headLimit() {
        let limits = HTTPParser.Limits(head: 100, body: 0)
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: "
        func head(of length: Int) -> String {
            start + String(repeating: "x", count: length - start.utf8.count - 4) + "\r\n\r\n"
        }
        let request = ParsedRequest(method: "GET", path: "/")
        #expect(parse(head(of: 100), limits: limits) == .requests([request], left: 0))
        #expect(parse(head(of: 101), limits: limits) == .refused(.headTooLong, after: 0))
    }

    @Test(
        "Connections stay open as RFC 9112, section 9.3 says",
        arguments: [
            ("1.1", "", true), ("1.1", "close", false), ("1.1", "Keep-Alive, CLOSE", false), ("1.1", "upgrade", true),
            ("1.0", "", false), ("1.0", "Keep-Alive", true), ("1.0", "keep-alive, close", false),
            ("1.1", "closed", true),
        ])
    func keepAlive(version: String, connection: String, expected: Bool) {
        let text = "GET / HTTP/\(version)\r\nHost: a\r\nConnection: \(connection)\r\n\r\n"
        #expect(parse(text) == .requests([ParsedRequest(method: "GET", path: "/", keepsAlive: expected)], left: 0))
    }

    @Test("A target may be a whole URL, and * for OPTIONS")
    func targets() {
        #expect(
            parse("GET http://a:80/b/c?d=/e HTTP/1.1\r\nHost: a\r\n\r\n")
                == .requests([ParsedRequest(method: "GET", path: "/b/c", query: "d=/e")], left: 0))
        #expect(
            parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
                == .requests([ParsedRequest(method: "OPTIONS", path: "*")], left: 0))
    }

    @Test("A client that expects 100 Continue is told once, and only when a body is to come")
    func expectContinue() {
        func awaits(_ text: String) -> Bool {
            var parser = HTTPParser()
            var text = text
            text.withUTF8 { _ = parser.read(UnsafeRawBufferPointer($0).bytes) }
            return parser.awaitsContinue
        }
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
        #expect(awaits(head + "Content-Length: 5\r\n\r\n"))
        #expect(awaits(head + "Transfer-Encoding: chunked\r\n\r\n"))
        #expect(!awaits(head + "\r\n"))
        #expect(!awaits(head + "Content-Length: 5\r\n"))
        #expect(!awaits("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
    }

    @Test("Any header can be asked for, in any case, trimmed")
    func anyHeader() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nHypha-Ack: \t majority \r\nEmpty:\r\nhypha-ack: 2\r\n\r\n"
        var parser = HTTPParser()
        var copy = text
        copy.withUTF8 { raw in
            let span = UnsafeRawBufferPointer(raw).bytes
            #expect(parser.read(span) == .request(consumed: text.utf8.count))
            #expect(parser.head.header("hypha-ack", in: span).map { span.text($0) } == "majority")
            #expect(parser.head.header("empty", in: span).map { span.text($0) } == "")
            #expect(parser.head.header("host", in: span).map { span.text($0) } == "a")
            #expect(parser.head.header("missing", in: span) == nil)
        }
    }

    @Test("The lists in all headers of one name are one list")
    func lists() {
        let text =
            "GET / HTTP/1.1\r\nHost: a\r\nHypha-Clock: a, b ,,c\r\nX-Hypha-Clok: no\r\nOther: x,y\r\nhypha-clock:\r\n"
            + "HYPHA-CLOCK:d\r\n\r\n"
        var parser = HTTPParser()
        var copy = text
        copy.withUTF8 { raw in
            let span = UnsafeRawBufferPointer(raw).bytes
            #expect(parser.read(span) == .request(consumed: text.utf8.count))
            var found: [String] = []
            parser.head.eachListItem(of: "hypha-clock", in: span) { found.append(span.text($0)) }
            #expect(found == ["a", "b", "c", "d"])
            parser.head.eachListItem(of: "hypha-clack", in: span) { _ in Issue.record("no such header") }
            parser.head.eachListItem(of: "hypha-tick", in: span) { _ in Issue.record("no such header") }
        }
    }

    @Test(
        "Every refusal has a status of the right kind and a text that fits into JSON", arguments: HTTPRefusal.allCases)
    func texts(why: HTTPRefusal) {
        #expect((400..<600).contains(why.status))
        let text = "\(why.message)"
        #expect(text.utf8.count > 20)
        #expect(text.utf8.allSatisfy { $0 >= 32 && $0 < 127 && $0 != 34 && $0 != 92 })
        #expect(AnswerHead.reason(why.status).utf8CodeUnitCount > 0)
    }

    @Test("Every byte is a token byte or not, as RFC 9110 says")
    func tokens() {
        let allowed = Set("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
        for byte in UInt8.min...UInt8.max { #expect(ByteScan.isToken(byte) == allowed.contains(byte)) }
    }

    @Test("Control bytes are found at every place of a value, and only they")
    func controls() {
        for length in 1...17 {
            for place in 0..<length {
                for byte in UInt8.min...UInt8.max {
                    var bytes = [UInt8](repeating: 0x20, count: length)
                    bytes[place] = byte
                    let expected = (byte < 32 && byte != 9) || byte == 127
                    #expect(
                        bytes.withUnsafeBufferPointer { ByteScan.hasControl($0.baseAddress!, 0..<length) } == expected)
                }
            }
        }
    }
}

@Suite("Paths and queries")
struct PercentEncodingTests {
    @Test(
        "Escapes are decoded, and what is malformed is nil",
        arguments: [
            ("a%2Fb%3ac", false, "a/b:c"), ("%e2%82%ac", false, "€"), ("a+b", true, "a b"), ("a+b", false, "a+b"),
            ("", false, ""),
            ("%", false, nil), ("%4", false, nil), ("%4g", false, nil), ("%ff", false, nil), ("%c3", false, nil),
        ] as [(String, Bool, String?)])
    func decode(text: String, plus: Bool, expected: String?) {
        var copy = text
        let found = copy.withUTF8 {
            PercentEncoding.decode(UnsafeRawBufferPointer($0).bytes, 0..<$0.count, plusIsSpace: plus)
        }
        #expect(found == expected)
    }

    @Test("What is encoded is decoded to the same text")
    func roundTrip() {
        for text in ["", "ui.>/a b:c?&=#%", "grüße €", "\u{0}\u{7f}"] {
            var encoded = PercentEncoding.encode(text)
            #expect(encoded.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != 47 })
            let back = encoded.withUTF8 { PercentEncoding.decode(UnsafeRawBufferPointer($0).bytes, 0..<$0.count) }
            #expect(back == text)
        }
    }

    @Test(
        "A path falls into its segments",
        arguments: [
            ("/", [""]), ("/a", ["a"]), ("/a/b%2Fc", ["a", "b%2Fc"]), ("/a/", ["a", ""]), ("//", ["", ""]),
        ])
    func segments(path: String, expected: [String]) {
        var copy = path
        var found: [String] = []
        copy.withUTF8 {
            let span = UnsafeRawBufferPointer($0).bytes
            PercentEncoding.forEachSegment(span, 0..<$0.count) { found.append(span.text($0)) }
        }
        #expect(found == expected)
    }

    @Test("A query falls into names and values")
    func parameters() {
        var query = "a=1&&b&c=&=d&e=f=g"
        var found: [String] = []
        query.withUTF8 {
            let span = UnsafeRawBufferPointer($0).bytes
            PercentEncoding.forEachParameter(span, 0..<$0.count) { found.append(span.text($0) + ":" + span.text($1)) }
        }
        #expect(found == ["a:1", "b:", "c:", ":d", "e:f=g"])
    }
}
