import Testing

@testable import Transport

/// What a receiver told, with the bytes that ranges pointed to.
enum Told: Equatable, CustomStringConvertible {
    case text(String)
    case binary([UInt8])
    case ping(String)
    case pong(String)
    case close(UInt16?, String)
    case failed(UInt16)

    var description: String {
        switch self {
        case .text(let text): "text(\(text.prefix(40)), \(text.utf8.count))"
        case .binary(let bytes): "binary(\(bytes.count))"
        case .ping(let text): "ping(\(text))"
        case .pong(let text): "pong(\(text))"
        case .close(let code, let reason): "close(\(code.map(String.init) ?? "-"), \(reason))"
        case .failed(let code): "failed(\(code))"
        }
    }
}

/// Tells what a receiver makes of bytes as they come.
struct Teller {
    private var receiver: WebSocketReceiver
    private var waiting: [UInt8] = []
    private(set) var told: [Told] = []
    private(set) var isOver = false

    init(_ role: WebSocketReceiver.Role, limit: Int = 1 << 20) { receiver = WebSocketReceiver(role, limit: limit) }

    mutating func forget() { told = [] }

    mutating func feed(_ piece: ArraySlice<UInt8>) {
        if isOver { return }
        waiting += piece
        var used = 0
        var (receiver, told, isOver) = (receiver, told, isOver)
        self.told = []
        waiting.withUnsafeMutableBytes { raw in
            var span = raw.mutableBytes
            func text(_ range: Range<Int>) -> String { String(decoding: raw[range], as: UTF8.self) }
            while !isOver {
                switch receiver.read(&span, at: &used) {
                case .needMore: return
                case .message(.text, let range): told.append(.text(text(range)))
                case .message(.binary, let range): told.append(.binary(Array(raw[range])))
                case .assembled(.text): told.append(.text(String(decoding: receiver.assembly, as: UTF8.self)))
                case .assembled(.binary): told.append(.binary(receiver.assembly))
                case .ping(let range): told.append(.ping(text(range)))
                case .pong(let range): told.append(.pong(text(range)))
                case .close(let code, let range):
                    told.append(.close(code, text(range)))
                    isOver = true
                case .failed(let code, _):
                    told.append(.failed(code))
                    isOver = true
                }
            }
        }
        (self.receiver, self.told, self.isOver) = (receiver, told, isOver)
        waiting.removeFirst(used)
    }
}

/// Feeds `pieces` as a connection would, until the conversation ends.
func receive(_ pieces: [[UInt8]], _ role: WebSocketReceiver.Role = .server, limit: Int = 1 << 20) -> [Told] {
    var teller = Teller(role, limit: limit)
    for piece in pieces { teller.feed(piece[...]) }
    return teller.told
}

/// One frame of a client, masked, with every bit to choose.
func frame(_ first: UInt8, _ payload: [UInt8], isMasked: Bool = true) -> [UInt8] {
    var bytes = [first]
    let bit: UInt8 = isMasked ? 0x80 : 0
    switch payload.count {
    case 0..<126: bytes.append(bit | UInt8(payload.count))
    case 126..<65_536: bytes += [bit | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
    default: bytes += [bit | 127] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
    }
    let mask: [UInt8] = [0x37, 0xfa, 0x21, 0x3d]
    return bytes + (isMasked ? mask + payload.enumerated().map { $1 ^ mask[$0 & 3] } : payload)
}

func frame(_ first: UInt8, _ text: String, isMasked: Bool = true) -> [UInt8] {
    frame(first, Array(text.utf8), isMasked: isMasked)
}

@Suite("WebSocket frames")
struct WebSocketFrameTests {
    @Test("The samples of RFC 6455, section 5.7")
    func samples() {
        let hello: [UInt8] = [0x48, 0x65, 0x6c, 0x6c, 0x6f]
        #expect(receive([[0x81, 0x05] + hello], .client) == [.text("Hello")])
        #expect(receive([[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]]) == [.text("Hello")])
        #expect(receive([[0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]], .client) == [.text("Hello")])
        #expect(receive([[0x89, 0x05] + hello], .client) == [.ping("Hello")])
        #expect(receive([[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]]) == [.pong("Hello")])
        let long = [UInt8](repeating: 7, count: 256)
        #expect(receive([[0x82, 0x7e, 0x01, 0x00] + long], .client) == [.binary(long)])
        let longer = [UInt8](repeating: 7, count: 65_536)
        #expect(receive([[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0] + longer], .client) == [.binary(longer)])
    }

    @Test("A conversation is told alike, whole, byte by byte, and cut at every boundary")
    func cuts() {
        let text = String(repeating: "grüße ", count: 30)
        let bytes =
            frame(0x81, "a") + frame(0x01, "fr") + frame(0x89, "p") + frame(0x00, "") + frame(0x8a, "q")
            + frame(0x80, "ag") + frame(0x82, [0, 255]) + frame(0x81, text) + frame(0x81, "")
            + frame(0x88, [3, 232, 98])
        let expected: [Told] = [
            .text("a"), .ping("p"), .pong("q"), .text("frag"), .binary([0, 255]), .text(text), .text(""),
            .close(1000, "b"),
        ]
        #expect(receive([bytes]) == expected)
        #expect(receive(bytes.map { [$0] }) == expected)
        for cut in 1..<bytes.count { #expect(receive([Array(bytes[..<cut]), Array(bytes[cut...])]) == expected) }
    }

    static let violations: [(String, [UInt8], UInt16)] = [
        ("unmasked", frame(0x81, "x", isMasked: false), 1002),
        ("reserved bit 1", frame(0xc1, "x"), 1002), ("reserved bit 2", frame(0xa1, "x"), 1002),
        ("reserved bit 3", frame(0x91, "x"), 1002),
        ("opcode 3", frame(0x83, "x"), 1002), ("opcode 7", frame(0x87, "x"), 1002),
        ("opcode 11", frame(0x8b, "x"), 1002),
        ("opcode 15", frame(0x8f, "x"), 1002),
        ("fragmented ping", frame(0x09, "x"), 1002), ("fragmented close", frame(0x08, [3, 232]), 1002),
        ("long ping", frame(0x89, [UInt8](repeating: 0, count: 126)), 1002),
        ("long close", frame(0x88, [3, 232] + [UInt8](repeating: 97, count: 124)), 1002),
        ("continuation of nothing", frame(0x80, "x"), 1002), ("open continuation of nothing", frame(0x00, "x"), 1002),
        ("text in a fragmented text", frame(0x01, "x") + frame(0x81, "y"), 1002),
        ("binary in a fragmented text", frame(0x01, "x") + frame(0x02, "y"), 1002),
        ("continuation after the end", frame(0x01, "x") + frame(0x80, "y") + frame(0x80, "z"), 1002),
        ("needless length of 16 bits", [0x81, 0xfe, 0, 125], 1002),
        ("needless length of 64 bits", [0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002),
        ("highest bit of a length", [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("hostile length", [0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255], 1009),
        ("one byte too long", [0x82, 0xff, 0, 0, 0, 0, 0, 16, 0, 1], 1009),
        ("half a close code", frame(0x88, [3]), 1002),
        ("not UTF-8", frame(0x81, [0x61, 0xff]), 1007), ("half a character", frame(0x81, [0xe2, 0x82]), 1007),
        ("not UTF-8 in a fragment", frame(0x01, [0xc3]) + frame(0x00, [0x28]), 1007),
        ("half a character at the end", frame(0x01, [0x61]) + frame(0x80, [0xc3]), 1007),
        ("reason not UTF-8", frame(0x88, [3, 232, 0xff]), 1007), ("half a reason", frame(0x88, [3, 232, 0xc3]), 1007),
    ]

    @Test("What breaks the rules ends the conversation with the right code", arguments: violations)
    func violation(name: String, bytes: [UInt8], code: UInt16) {
        #expect(receive([bytes]).last == .failed(code), "\(name)")
        #expect(receive(bytes.map { [$0] }).last == .failed(code), "\(name), byte by byte")
        #expect(receive([frame(0x81, "before") + bytes]).first == .text("before"))
    }

    @Test("A client refuses masked frames")
    func maskedServer() { #expect(receive([frame(0x81, "x")], .client) == [.failed(1002)]) }

    @Test("A character may be cut by fragments, with a ping in between")
    func cutCharacter() {
        let bytes = frame(0x01, [0xf0, 0x9f]) + frame(0x89, "p") + frame(0x00, [0x8d]) + frame(0x80, [0x84])
        #expect(receive([bytes]) == [.ping("p"), .text("🍄")])
        // The next message begins afresh.
        #expect(receive([bytes + frame(0x81, "ok")]).last == .text("ok"))
    }

    @Test("The limit is that of the message, not of its frames")
    func limit() {
        #expect(receive([frame(0x02, [1, 2, 3]) + frame(0x80, [4, 5])], limit: 5) == [.binary([1, 2, 3, 4, 5])])
        #expect(receive([frame(0x02, [1, 2, 3]) + frame(0x80, [4, 5, 6])], limit: 5) == [.failed(1009)])
        #expect(receive([frame(0x81, "12345")], limit: 5) == [.text("12345")])
        #expect(receive([frame(0x89, "a longer ping")], limit: 5) == [.ping("a longer ping")])
    }

    @Test("Close codes are those of RFC 6455, section 7.4, and of the registry")
    func closeCodes() {
        let valid = Set([UInt16](1000...1003) + [UInt16](1007...1014) + [UInt16](3000...4999))
        for code in UInt16.min...UInt16.max {
            let told = receive([frame(0x88, [UInt8(code >> 8), UInt8(code & 255)])])
            #expect(told == (valid.contains(code) ? [.close(code, "")] : [.failed(1002)]))
        }
        #expect(receive([frame(0x88, "")]) == [.close(nil, "")])
    }

    @Test("Frames of a client are read by a server, at every length where the header changes")
    func clientFrames() {
        for length in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_000] {
            let text = String(repeating: "m", count: length)
            var out: [UInt8] = []
            Array(text.utf8).withUnsafeBytes {
                WebSocketFrame.appendFromClient(.text, $0.bytes, mask: 0x8123_45fe, into: &out)
            }
            #expect(receive([out]) == [.text(text)])
            if length > 8 { #expect(!out.suffix(length).elementsEqual(text.utf8)) }
        }
    }

    @Test("A server's header is read by a client, at every length where it changes")
    func serverHeaders() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let header = FrameHeader(1, length).withBytes { Array($0) }
            let text = String(repeating: "m", count: length)
            #expect(receive([header + Array(text.utf8)], .client) == [.text(text)])
            #expect(Framing.frames.size(ofMessage: length) == header.count + length)
        }
    }

    @Test("A reason is cut to what fits, between characters")
    func reasons() {
        #expect(WebSocketFrame.closePayload(1001, "bye") == [3, 233] + Array("bye".utf8))
        let long = WebSocketFrame.closePayload(1001, String(repeating: "é", count: 100))
        #expect(long.count == 124)
        #expect(String(validating: long[2...], as: UTF8.self) != nil)
    }
}

@Suite("UTF-8 in pieces")
struct UTF8ValidatorTests {
    private func isValid(_ pieces: [[UInt8]]) -> Bool {
        var validator = UTF8Validator()
        for piece in pieces { if !piece.withUnsafeBytes({ validator.accept($0) }) { return false } }
        return validator.isAtBoundary
    }

    @Test("Every sequence of two bytes, and all borders of longer ones, are judged as the standard library does")
    func exhaustive() {
        for first in UInt8.min...UInt8.max {
            #expect(isValid([[first]]) == (String(validating: [first], as: UTF8.self) != nil))
            for second in UInt8.min...UInt8.max {
                let bytes = [first, second]
                let expected = String(validating: bytes, as: UTF8.self) != nil
                if isValid([bytes]) != expected { Issue.record("\(bytes)") }
            }
        }
        let edges: [UInt8] = [
            0, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff,
        ]
        for first in UInt8(0xc0)...0xff {
            for second in edges {
                for third in edges {
                    for bytes in [[first, second, third]] + edges.map({ [first, second, third, $0] }) {
                        let expected = String(validating: bytes, as: UTF8.self) != nil
                        if isValid([bytes]) != expected || isValid(bytes.map { [$0] }) != expected {
                            Issue.record("\(bytes)")
                        }
                    }
                }
            }
        }
    }

    @Test("ASCII runs around other characters do not hide anything")
    func runs() {
        for before in 0..<20 {
            let ascii = [UInt8](repeating: 0x61, count: before)
            #expect(isValid([ascii + Array("é€🍄".utf8) + ascii]))
            #expect(!isValid([ascii + [0xff] + ascii]))
            #expect(!isValid([ascii + [0xc3]]))
            #expect(!isValid([[0xc3] + ascii + [0x80]]) || before == 0)
        }
    }
}

@Suite("The opening handshake")
struct HandshakeTests {
    @Test("The key of RFC 6455, section 1.3")
    func sample() {
        let value = WebSocketHandshake.acceptValue(for: Array("dGhlIHNhbXBsZSBub25jZQ==".utf8))
        #expect(String(decoding: value, as: UTF8.self) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    }

    private func verdict(_ text: String) -> WebSocketHandshake.Verdict? {
        var parser = HTTPParser()
        var text = text
        return text.withUTF8 { raw in
            let bytes = UnsafeRawBufferPointer(raw)
            guard case .request = parser.read(bytes.bytes) else { return nil }
            return WebSocketHandshake.check(parser.head, bytes.bytes)
        }
    }

    private func request(
        _ start: String = "GET /ws HTTP/1.1", upgrade: String = "websocket", connection: String = "Upgrade",
        key: String = "dGhlIHNhbXBsZSBub25jZQ==", version: String = "13"
    ) -> String {
        "\(start)\r\nHost: a\r\nUpgrade: \(upgrade)\r\nConnection: \(connection)\r\nSec-WebSocket-Key: \(key)\r\n"
            + "Sec-WebSocket-Version: \(version)\r\n\r\n"
    }

    @Test("A server accepts what is right and says what is wrong")
    func verdicts() {
        let accepted = WebSocketHandshake.Verdict.accept(Array("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".utf8))
        #expect(verdict(request()) == accepted)
        #expect(verdict(request(upgrade: "h2c, WebSocket", connection: "keep-alive, UPGRADE")) == accepted)
        #expect(verdict(request(version: "8")) == .wrongVersion)
        #expect(verdict(request(version: "")) == .wrongVersion)
        #expect(verdict(request(key: "")) == .badKey)
        #expect(verdict(request(key: "dGhlIHNhbXBsZSBub25jZQ")) == .badKey)
        #expect(verdict(request(key: "dGhlIHNhbXBsZSBub25j!Q==")) == .badKey)
        #expect(verdict(request(key: "dGhlIHNhbXBsZSBub25jZSBsb25nZXI=")) == .badKey)
        #expect(verdict(request(upgrade: "h2c")) == .notAsked)
        #expect(verdict(request(connection: "keep-alive")) == .notAsked)
        #expect(verdict(request("POST /ws HTTP/1.1")) == .notAsked)
        #expect(verdict(request("GET /ws HTTP/1.0")) == .notAsked)
    }

    private func check(_ answer: String, key: [UInt8]) -> WebSocketHandshake.Answer {
        var answer = answer
        return answer.withUTF8 { WebSocketHandshake.checkAnswer(UnsafeRawBufferPointer($0).bytes, key: key) }
    }

    @Test("A client checks the answer, wherever it is cut")
    func answers() {
        let key = Array("dGhlIHNhbXBsZSBub25jZQ==".utf8)
        let good =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        #expect(check(good + "frames", key: key) == .accepted(consumed: good.utf8.count))
        for cut in 0..<good.utf8.count {
            #expect(check(String(decoding: good.utf8.prefix(cut), as: UTF8.self), key: key) == .needMore)
        }
        func status(_ answer: WebSocketHandshake.Answer) -> Int? {
            if case .refused(let status, _) = answer { status } else { nil }
        }
        #expect(status(check(good, key: Array("AAAAAAAAAAAAAAAAAAAAAA==".utf8))) == 101)
        #expect(status(check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", key: key)) == 404)
        #expect(status(check("SSH-2.0-OpenSSH_9.6\r\n\r\n", key: key)) == 0)
    }

    @Test("The request that a client makes is one that the server accepts")
    func ownRequest() {
        let key = WebSocketHandshake.key(1, 2)
        let text = String(
            decoding: WebSocketHandshake.request(host: "a:1", target: "/ws?x=1", key: key, headers: "X: y\r\n"),
            as: UTF8.self)
        #expect(verdict(text) == .accept(WebSocketHandshake.acceptValue(for: key)))
    }
}
