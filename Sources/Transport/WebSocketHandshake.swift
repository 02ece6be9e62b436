/// The opening handshake (RFC 6455, section 4), from both ends.
public enum WebSocketHandshake {
    /// What a server makes of a request.
    enum Verdict: Equatable {
        /// Answer 101 with this in `Sec-WebSocket-Accept`.
        case accept([UInt8])
        /// 426: the version is not 13.
        case wrongVersion
        /// 400: the key is not 16 bytes in base64.
        case badKey
        /// 400: not a handshake at all.
        case notAsked
    }

    static func check(_ head: HTTPHead, _ bytes: RawSpan) -> Verdict {
        guard head.wantsWebSocket else { return .notAsked }
        guard bytes.equals(head.webSocketVersion.range, "13") else { return .wrongVersion }
        let key = head.webSocketKey.range
        guard key.count == 24, bytes.equals(key.upperBound - 2..<key.upperBound, "=="),
            (key.lowerBound..<key.upperBound - 2).allSatisfy({ isBase64(bytes.byte($0)) })
        else { return .badKey }
        return .accept(acceptValue(for: bytes.withUnsafeBytes { Array($0[key]) }))
    }

    private static func isBase64(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, 43, 47: true
        default: false
        }
    }

    /// `Sec-WebSocket-Accept` for a key (section 4.2.2, item 5.4).
    public static func acceptValue(for key: [UInt8]) -> [UInt8] {
        Base64.encode(SHA1.digest(key + Array("258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8)))
    }

    /// A key for `request`, from 16 random bytes.
    public static func key(_ high: UInt64, _ low: UInt64) -> [UInt8] {
        Base64.encode(withUnsafeBytes(of: (high, low)) { Array($0) })
    }

    /// What a client sends. `target` is path and query, already percent-encoded; `headers` are whole extra lines.
    public static func request(host: String, target: String, key: [UInt8], headers: String = "") -> [UInt8] {
        Array(
            """
            GET \(target) HTTP/1.1\r
            Host: \(host)\r
            Upgrade: websocket\r
            Connection: Upgrade\r
            Sec-WebSocket-Key: \(String(decoding: key, as: UTF8.self))\r
            Sec-WebSocket-Version: 13\r
            \(headers)\r

            """.utf8)
    }

    /// What a client makes of the answer.
    public enum Answer: Equatable, Sendable {
        /// The head is not whole.
        case needMore
        /// Frames begin at this offset.
        case accepted(consumed: Int)
        /// The server does not want to; the text says why as far as it is known.
        case refused(status: Int, String)
    }

    /// Checks the answer to a request that was sent with `key`.
    public static func checkAnswer(_ bytes: RawSpan, key: [UInt8]) -> Answer {
        switch HTTPAnswerHead.read(bytes) {
        case .needMore: return .needMore
        case .malformed: return .refused(status: 0, "the answer is not HTTP; is another service on this port?")
        case .head(let head):
            guard head.status == 101 else {
                return .refused(status: head.status, "the server answered \(head.status) instead of 101")
            }
            guard let accept = head.header("sec-websocket-accept", in: bytes),
                bytes.text(accept) == String(decoding: acceptValue(for: key), as: UTF8.self)
            else {
                return .refused(status: 101, "the answer's Sec-WebSocket-Accept does not belong to the request's key")
            }
            return .accepted(consumed: head.end)
        }
    }
}
