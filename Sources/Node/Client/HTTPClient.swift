internal import NodeCore
internal import Transport

/// One answer of a node.
struct HTTPAnswer: Equatable {
    /// The three digits.
    var status: Int
    /// The moment that signals were read at, from the header `Hypha-Tick`, in milliseconds since the Unix epoch.
    var tick: UInt64?
    /// The headers `Hypha-Clock`, `Hypha-Clock-Behind` and `Hypha-Clock-Lost`.
    var clock: String?
    var behind: String?
    var lost: String?
    var body: [UInt8]

    /// Reads a whole answer (RFC 9112): head, then a body by chunks, by length or up to the end. Nil while more must
    /// come; `atEnd` says that nothing more will. Throws a reason if it is not HTTP.
    static func parse(_ bytes: [UInt8], atEnd: Bool) throws(Problem) -> HTTPAnswer? {
        switch HTTPAnswerHead.read(bytes.span.bytes) {
        case .malformed: throw Problem(reason: "it does not speak HTTP")
        case .needMore:
            if atEnd { throw Problem(reason: bytes.isEmpty ? "it closed the connection" : "the answer breaks off") }
            return nil
        case .head(let head):
            guard let body = try body(bytes[head.end...], head, atEnd: atEnd) else { return nil }
            func header(_ name: StaticString) -> String? {
                head.header(name, in: bytes.span.bytes).map { bytes.span.bytes.text($0) }
            }
            return HTTPAnswer(
                status: head.status, tick: header("hypha-tick").flatMap { UInt64($0) }, clock: header("hypha-clock"),
                behind: header("hypha-clock-behind"), lost: header("hypha-clock-lost"), body: body)
        }
    }

    private static func body(
        _ bytes: ArraySlice<UInt8>, _ head: HTTPAnswerHead, atEnd: Bool
    ) throws(Problem) -> [UInt8]? {
        if let length = head.contentLength {
            if bytes.count >= length { return Array(bytes.prefix(length)) }
            if atEnd { throw Problem(reason: "the answer breaks off") }
            return nil
        }
        // The client asks for one answer per connection, so one without a length is complete when the connection ends.
        guard atEnd else { return nil }
        return head.isChunked ? try dechunked(bytes) : Array(bytes)
    }

    private static func dechunked(_ bytes: ArraySlice<UInt8>) throws(Problem) -> [UInt8] {
        var rest = bytes
        var body: [UInt8] = []
        while let newline = rest.firstIndex(of: 0x0a) {
            let digits = String(decoding: rest[..<newline].prefix { $0 != 0x0d && $0 != 0x3b }, as: UTF8.self)
            rest = rest[(newline + 1)...]
            guard let size = Int(digits, radix: 16), size >= 0, size <= rest.count else { break }
            if size == 0 { return body }
            body += rest.prefix(size)
            rest = rest.dropFirst(size + 2)
        }
        throw Problem(reason: "the answer breaks off")
    }
}

/// Asks a node, one connection for each request.
struct HTTPClient {
    let node: NodeURL
    /// For connecting.
    var connectMs = 3_000
    /// For the whole answer: longer than a node may wait for a clock.
    var answerMs = 90_000
    /// What was seen before, for the header `Hypha-Clock`; nil or empty for none.
    var clock: String?
    /// An answer longer than this is not read.
    static let maximumBytes = 64 << 20

    init(_ node: NodeURL, clock: String? = nil) {
        self.node = node
        self.clock = clock
    }

    /// Sends a request and returns the answer, whatever its status.
    func ask(_ method: String, _ path: String, body: [UInt8]? = nil) throws(ClientError) -> HTTPAnswer {
        let socket = try ClientSocket(to: node, milliseconds: connectMs)
        var head =
            "\(method) \(path) HTTP/1.1\r\nHost: \(node.target)\r\nAccept: application/json\r\nConnection: close\r\n"
        if let clock, !clock.isEmpty { head += "Hypha-Clock: \(clock)\r\n" }
        if let body { head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        try socket.send(Array("\(head)\r\n".utf8) + (body ?? []), milliseconds: answerMs)
        let deadline = Deadline(milliseconds: answerMs)
        var received: [UInt8] = []
        var needed = 0
        while true {
            let isOpen = try socket.receive(into: &received, deadline: deadline)
            guard received.count <= Self.maximumBytes else {
                throw .notANode(node, reason: "the answer is longer than \(sizeText(Self.maximumBytes))")
            }
            // A long answer is looked at each time it has doubled, not each time a piece comes.
            if isOpen, received.count < needed { continue }
            do throws(Problem) {
                if let answer = try HTTPAnswer.parse(received, atEnd: !isOpen) { return answer }
            } catch {
                throw .notANode(node, reason: error.reason)
            }
            needed = Self.expectedBytes(received) ?? 0
        }
    }

    /// Asks and reads the JSON of the answer. A status beyond 299 becomes an error with the node's own message.
    func json(_ method: String, _ path: String, body: [UInt8]? = nil) throws(ClientError) -> (JSONValue, HTTPAnswer) {
        let answer = try ask(method, path, body: body)
        let value: JSONValue
        do throws(JSONValue.Malformed) {
            value = try JSONValue(answer.body)
        } catch {
            guard (200..<300).contains(answer.status) else {
                throw .notANode(node, reason: "\(method) \(path) is answered with HTTP \(answer.status)")
            }
            throw .notANode(node, reason: "\(method) \(path): \(error)")
        }
        guard (200..<300).contains(answer.status) else {
            throw .refused(status: answer.status, message: value["message"]?.string ?? value.plain)
        }
        return (value, answer)
    }

    /// How long the whole answer will be, once its head tells.
    private static func expectedBytes(_ bytes: [UInt8]) -> Int? {
        guard case .head(let head) = HTTPAnswerHead.read(bytes.span.bytes), let length = head.contentLength,
            length <= maximumBytes
        else { return nil }
        return head.end + length
    }
}

/// `?a=1&b=2` of the pairs that have a value; empty if none has.
func query(_ pairs: [(String, String?)]) -> String {
    let parts = pairs.compactMap { name, value in value.map { "\(name)=\(PercentEncoding.encode($0))" } }
    return parts.isEmpty ? "" : "?" + parts.joined(separator: "&")
}
