import NodeCore
import Foundation
import Glibc
import Testing
import Transport

@testable import Node

/// A server for one connection on a free port of this machine: reads a head and so many bytes of body, then writes
/// pieces, then closes. `answer` sees the request.
private final class OneShotServer: Sendable {
    let node: NodeURL
    private let request = Guarded([UInt8]())

    init(bodyBytes: Int = 0, _ answer: @escaping @Sendable (_ request: String) -> [[UInt8]]) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 1) == 0 && getsockname(listener, $0, &size) == 0
            }
        }
        try #require(bound)
        node = NodeURL(target: HostPort(host: "127.0.0.1", port: UInt16(bigEndian: address.sin_port)))
        Thread.detachNewThread { [self] in
            let connection = accept(listener, nil, nil)
            close(listener)
            var received: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 4_096)
            while true {
                let text = String(decoding: received, as: UTF8.self)
                if let end = text.range(of: "\r\n\r\n"), text[end.upperBound...].utf8.count >= bodyBytes { break }
                let count = recv(connection, &chunk, chunk.count, 0)
                if count <= 0 { break }
                received += chunk[..<count]
            }
            request.withLock { $0 = received }
            for piece in answer(String(decoding: received, as: UTF8.self)) {
                _ = piece.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            }
            // Closed only when the client has: closing with its bytes unread would throw away ours on their way to it.
            shutdown(connection, Int32(SHUT_WR))
            while recv(connection, &chunk, chunk.count, 0) > 0 {}
            close(connection)
        }
    }

    /// What the client sent; whole once its answer has come.
    var text: String { String(decoding: request.withLock { $0 }, as: UTF8.self) }
}

private func answer(_ head: String, _ body: String = "") -> [UInt8] {
    Array((head.replacing("\n", with: "\r\n") + "\r\n\r\n" + body).utf8)
}

/// The error that `body` ends with.
private func failure(_ body: () throws -> Void) -> ClientError? {
    do {
        try body()
        return nil
    } catch {
        return error as? ClientError
    }
}

@Suite("Clients of a node")
struct ClientTests {
    @Test("A request is whole, and so is what comes back, in however many pieces")
    func post() throws {
        let whole = answer("HTTP/1.1 201 Created\nContent-Length: 9\nHypha-Tick: 17", #"{"id":1}"# + " trailing")
        for cut in [1, 20, whole.count - 3] {
            let server = try OneShotServer(bodyBytes: 3) { _ in [Array(whole[..<cut]), Array(whole[cut...])] }
            let (value, reply) = try HTTPClient(server.node).json("POST", "/api/events?x=1", body: Array("{ }".utf8))
            #expect(value["id"]?.double == 1 && reply.status == 201 && reply.tick == 17)
            #expect(
                server.text
                    == "POST /api/events?x=1 HTTP/1.1\r\nHost: \(server.node.target)\r\nAccept: application/json\r\n"
                    + "Connection: close\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{ }")
        }
    }

    @Test("An answer has its body by length, by chunks or up to the end; cut anywhere it is refused")
    func answers() throws {
        let rows: [([UInt8], status: Int, body: String)] = [
            (answer("HTTP/1.1 200 OK\nContent-Length: 2", "{}"), 200, "{}"),
            (answer("HTTP/1.1 200 OK\ncontent-LENGTH:2", "{}"), 200, "{}"),
            (
                answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", "2;x=y\r\n{}\r\nA\r\n0123456789\r\n0\r\n\r\n"),
                200, "{}0123456789"
            ),
            (answer("HTTP/1.0 404 Not Found\nServer: x", "gone"), 404, "gone"),
            (answer("HTTP/1.1 204 No Content\nServer: x"), 204, ""),
        ]
        for (bytes, status, body) in rows {
            let parsed = try #require(try HTTPAnswer.parse(bytes, atEnd: true))
            #expect(parsed.status == status && String(decoding: parsed.body, as: UTF8.self) == body)
        }
        let measured = rows[0].0
        for end in 0..<measured.count {
            #expect(try HTTPAnswer.parse(Array(measured[..<end]), atEnd: false) == nil)
            #expect(throws: Problem.self) { try HTTPAnswer.parse(Array(measured[..<end]), atEnd: true) }
        }
        #expect(throws: Problem.self) {
            try HTTPAnswer.parse(Array("SSH-2.0-OpenSSH_9.2\r\n\r\n".utf8), atEnd: false)
        }
        #expect(throws: Problem.self) {
            try HTTPAnswer.parse(
                answer("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", "ffffffffffffffff\r\n"), atEnd: true)
        }
    }

    @Test("The node's own message is what the user reads")
    func refused() throws {
        let body = #"{"message":"scope\u0007empty"}"#
        let server = try OneShotServer { _ in
            [answer("HTTP/1.1 400 Bad Request\nContent-Length: \(body.utf8.count)", body)]
        }
        let error = failure { _ = try HTTPClient(server.node).json("GET", "/") }
        #expect(error == .refused(status: 400, message: "scope\u{7}empty"))
        #expect(error?.description == "scope\\u{7}empty (HTTP 400)")
    }

    @Test("Whoever is no node is called so, and where nobody is, the error says how to start one")
    func strangers() throws {
        let strange = try OneShotServer { _ in [Array("220 smtp ready\r\n\r\n".utf8)] }
        let node = strange.node
        #expect(
            failure { _ = try HTTPClient(node).json("GET", "/") } == .notANode(node, reason: "it does not speak HTTP"))
        let silent = try OneShotServer { _ in [] }
        let closed = silent.node
        #expect(
            failure { _ = try HTTPClient(closed).json("GET", "/") }
                == .notANode(closed, reason: "it closed the connection"))
        // Both have closed their listeners: the ports are free again.
        let error = failure { _ = try HTTPClient(node).json("GET", "/") }
        #expect(error == .unreachable(node, reason: "connection refused"))
        #expect(error?.description.contains("serve --http \(node.target)`, or name another with --node URL") == true)
    }

    @Test("A WebSocket connection hands out texts, answers pings, joins fragments and tells how it was closed")
    func webSocket() throws {
        let server = try OneShotServer { request in
            let key =
                request.split(separator: "\r\n").first { $0.hasPrefix("Sec-WebSocket-Key: ") }?.dropFirst(19) ?? ""
            let accept = String(decoding: WebSocketHandshake.acceptValue(for: Array(key.utf8)), as: UTF8.self)
            let frames: [[UInt8]] = [
                [0x81, 2, 0x68, 0x69], [0x89, 1, 0x21], [0x01, 1, 0x61], [0x80, 1, 0x62],
                [0x81, 126, 0, 200] + [UInt8](repeating: 0x78, count: 200), [0x88, 5, 0x03, 0xe9] + Array("bye".utf8),
            ]
            let head =
                "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: \(accept)"
            return [answer(head) + frames[0]] + frames.dropFirst()
        }
        var client = try WebSocketClient(to: server.node, path: "/ws?x=1")
        #expect(server.text.hasPrefix("GET /ws?x=1 HTTP/1.1\r\n"))
        #expect(try client.next(milliseconds: 10_000) == .text(Array("hi".utf8)))
        #expect(try client.next(milliseconds: 10_000) == .text(Array("ab".utf8)))
        #expect(try client.next(milliseconds: 10_000) == .text([UInt8](repeating: 0x78, count: 200)))
        var ending: ClientError?
        do throws(ClientError) { _ = try client.next(milliseconds: 10_000) } catch { ending = error }
        #expect(ending == .brokenOff(server.node, reason: "bye, close code 1001"))
    }

    @Test("A server without the WebSocket of a node is refused")
    func noWebSocket() throws {
        let server = try OneShotServer { _ in [answer("HTTP/1.1 404 Not Found\nContent-Length: 0")] }
        let error = failure { _ = try WebSocketClient(to: server.node, path: "/ws") }
        #expect(error == .notANode(server.node, reason: "the server answered 404 instead of 101"))
    }

    @Test("Waits double from one second to thirty, and begin anew after a success")
    func backoff() {
        var backoff = Backoff()
        #expect((0..<8).map { _ in backoff.next() } == [1, 2, 4, 8, 16, 30, 30, 30])
        backoff.reset()
        #expect(backoff.next() == 1)
    }

    @Test("Queries hold what was given, escaped")
    func queries() {
        #expect(query([("scope", "a b/ü&c"), ("pattern", nil), ("at", "5")]) == "?scope=a%20b%2F%C3%BC%26c&at=5")
        #expect(query([("scope", nil)]) == "")
    }
}
