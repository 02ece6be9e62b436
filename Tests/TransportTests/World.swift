import Glibc
import Testing

@testable import Transport

/// A loop whose clock a test moves by hand, with whatever is added to it.
final class World {
    final class Clock { var now: UInt64 = 1_000_000_000 }
    let clock = Clock()
    let loop: EventLoop

    init() throws {
        let clock = clock
        loop = try EventLoop(clock: { clock.now })
    }

    /// Takes turns until `isDone`, or until it is clear that it will never be: loopback answers within milliseconds, and
    /// each turn waits for the next event.
    func turn(until isDone: () -> Bool) {
        var turns = 0
        while !isDone(), turns < 400 {
            loop.turn(waitingAtMost: 25_000)
            turns += 1
        }
    }

    /// A few turns that wait for nothing.
    func settle() { for _ in 0..<5 { loop.turn(waitingAtMost: 0) } }

    func pass(seconds: UInt64) {
        clock.now += seconds * 1_000_000
        settle()
    }
}

/// The other end of a connection: an ordinary socket.
final class Peer {
    let descriptor: Int32
    private(set) var received: [UInt8] = []
    private(set) var hasEnded = false
    private(set) var wasReset = false

    init(adopting descriptor: Int32) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    convenience init(to address: SocketAddress) {
        let raw = socket(address.family, Int32(SOCK_STREAM.rawValue), 0)
        let code = address.withSockaddr(family: address.family) { connect(raw, $0, $1) }
        #expect(code == 0, "cannot connect to \(address): \(SocketError.words(errno))")
        self.init(adopting: raw)
    }

    deinit { close(descriptor) }

    /// Sends as much as the socket takes; how much that was.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    func send(_ text: String) { #expect(send(Array(text.utf8)) == text.utf8.count) }

    func shutWriting() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Reads what is there.
    func read(atMost limit: Int = .max) {
        var room = [UInt8](repeating: 0, count: min(limit, 1 << 16))
        var left = limit
        while left > 0 {
            let count = recv(descriptor, &room, min(room.count, left), 0)
            if count <= 0 {
                if count == 0 { hasEnded = true } else if errno != EAGAIN { wasReset = true }
                return
            }
            received += room[..<count]
            left -= count
        }
    }

    private var teller = Teller(.client, limit: 64 << 20)
    private var fed = 0
    /// The frames among what came.
    var told: [Told] { teller.told }
    /// Whether a close frame came.
    var isOver: Bool { teller.isOver }

    /// Reads what is there, as frames.
    func readFrames() {
        read()
        teller.feed(received[fed...])
        fed = received.count
    }

    /// What came, as text, and forgets it.
    func take() -> String {
        defer {
            received = []
            fed = 0
            teller.forget()
        }
        return String(decoding: received, as: UTF8.self)
    }

    func drop(_ count: Int) { received.removeFirst(count) }
}

/// Answers every request and records everything.
final class RecordingHandler: ClientHandler {
    var server: ClientServer!
    var requests: [String] = []
    var events: [String] = []
    /// Requests whose answer the test gives itself.
    var held: [ConnectionID] = []
    var holds = false
    var sockets: [ConnectionID] = []
    var streams: [ConnectionID] = []
    /// What to do with one that overran, before it is closed with 1013.
    var onOverrun: ((ConnectionID) -> Void)?
    var bodies: [Int] = []
    var isEcho = false

    func request(_ connection: ConnectionID, _ head: HTTPHead, _ bytes: RawSpan, body: RawSpan) {
        let path = bytes.text(head.path.range)
        requests.append(bytes.text(head.methodName.range) + " " + path)
        bodies.append(body.byteCount)
        if path == "/ws" {
            if server.upgrade(connection, head, bytes) { sockets.append(connection) }
        } else if path == "/stream" {
            if server.stream(connection) { streams.append(connection) }
        } else if holds {
            held.append(connection)
        } else if path == "/large" {
            [UInt8](repeating: 120, count: 3 << 20).withUnsafeBytes {
                server.answer(connection, status: 200, contentType: "text/plain", body: $0.bytes)
            }
        } else if path == "/none" {
            server.answer(connection, status: 204, contentType: nil, body: RawSpan())
        } else {
            body.withUnsafeBytes { answer(connection, "<" + path + ":" + String(decoding: $0, as: UTF8.self) + ">") }
        }
    }

    func answer(_ connection: ConnectionID, _ text: String) {
        var text = text
        text.withUTF8 {
            server.answer(connection, status: 200, contentType: "text/plain", body: UnsafeRawBufferPointer($0).bytes)
        }
    }

    func send(_ connection: ConnectionID, _ text: String) {
        var text = text
        text.withUTF8 { server.send(connection, .text, UnsafeRawBufferPointer($0).bytes) }
    }

    func broadcast(_ channel: UInt32, _ text: String, mark: UInt64 = 0) {
        var text = text
        text.withUTF8 { server.broadcast(BroadcastChannel(channel), UnsafeRawBufferPointer($0).bytes, mark: mark) }
    }

    func abandoned(_ connection: ConnectionID) { events.append("abandoned") }

    func message(_ connection: ConnectionID, _ kind: WebSocketMessage, _ bytes: RawSpan) {
        if isEcho {
            server.send(connection, kind, bytes)
        } else {
            events.append("\(kind) " + bytes.text(0..<bytes.byteCount))
        }
    }

    func overran(_ connection: ConnectionID, mark: UInt64?) {
        events.append("overran \(mark.map { "\($0)" } ?? "nil")")
        onOverrun?(connection)
        server.close(connection, code: 1013, reason: "too slow")
    }

    func emptied(_ connection: ConnectionID) { events.append("emptied") }
    func closed(_ connection: ConnectionID, code: UInt16) { events.append("closed \(code)") }
    func drained() { events.append("drained") }
}

/// A server in a world of its own.
final class ServerWorld {
    let world: World
    let handler = RecordingHandler()
    let server: ClientServer
    let address: SocketAddress

    init(_ change: (inout ClientSettings) -> Void = { _ in }) throws {
        world = try World()
        var settings = ClientSettings()
        change(&settings)
        server = ClientServer(world.loop, handler: handler, settings: settings)
        handler.server = server
        address = try server.listen(on: .loopback(port: 0))
    }

    deinit { server.shutDown() }

    func connect() -> Peer { Peer(to: address) }

    /// Turns until what `peer` received satisfies `isDone`, and returns it.
    func receive(_ peer: Peer, until isDone: (String) -> Bool) -> String {
        world.turn {
            peer.read()
            return isDone(String(decoding: peer.received, as: UTF8.self)) || peer.hasEnded || peer.wasReset
        }
        return String(decoding: peer.received, as: UTF8.self)
    }

    /// Turns until `peer` is told that the connection ends.
    func receiveAll(_ peer: Peer) -> String {
        world.turn {
            peer.read()
            return peer.hasEnded || peer.wasReset
        }
        #expect(peer.hasEnded, "the connection ends in good order")
        return peer.take()
    }

    func upgraded() -> (peer: Peer, id: ConnectionID) {
        let peer = connect()
        let count = handler.sockets.count
        peer.send(
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        let answer = receive(peer) { $0.hasSuffix("\r\n\r\n") }
        #expect(answer.hasPrefix("HTTP/1.1 101 "))
        #expect(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))
        _ = peer.take()
        return (peer, handler.sockets[count])
    }

    /// A connection that gets an event stream; its head is taken.
    func streaming(version: String = "1.1") -> (peer: Peer, id: ConnectionID) {
        let peer = connect()
        let count = handler.streams.count
        peer.send("GET /stream HTTP/\(version)\r\nHost: a\r\n\r\n")
        let answer = receive(peer) { $0.hasSuffix("\r\n\r\n") }
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"))
        _ = peer.take()
        return (peer, handler.streams[count])
    }

    /// Turns until `peer` has got so many chunks, or the end, and returns all that came.
    func chunks(_ peer: Peer, count: Int) -> Chunks {
        var found = Chunks(peer.received)
        world.turn {
            let before = peer.received.count
            peer.read()
            if peer.received.count > before { found = Chunks(peer.received) }
            return found.texts.count >= count || found.isWhole || peer.hasEnded || peer.wasReset
        }
        return found
    }

    /// Turns until `peer` has been told so many things, and returns them.
    func frames(_ peer: Peer, count: Int) -> [Told] {
        world.turn {
            peer.readFrames()
            return peer.told.count >= count || peer.hasEnded || peer.isOver
        }
        return peer.told
    }
}

/// What a client makes of a chunked body (RFC 9112, section 7.1).
struct Chunks {
    /// Whole chunks, in order.
    var texts: [String] = []
    /// The last chunk came.
    var isWhole = false
    /// Bytes behind the last whole chunk.
    var rest = 0

    init(_ bytes: [UInt8]) {
        var at = 0
        while !isWhole, let lineEnd = bytes[at...].firstIndex(of: 13) {
            guard let size = Int(String(decoding: bytes[at..<lineEnd], as: UTF8.self), radix: 16) else {
                Issue.record("\(String(decoding: bytes[at..<lineEnd], as: UTF8.self)) is no size of a chunk")
                break
            }
            let end = lineEnd + 2 + size
            guard bytes.count >= end + 2 else { break }
            #expect(Array(bytes[lineEnd..<lineEnd + 2]) == [13, 10] && Array(bytes[end..<end + 2]) == [13, 10])
            if size == 0 {
                isWhole = true
            } else {
                texts.append(String(decoding: bytes[lineEnd + 2..<end], as: UTF8.self))
            }
            at = end + 2
        }
        rest = bytes.count - at
    }
}

/// What a client makes of all that a server sent.
func told(by bytes: [UInt8]) -> [Told] { receive([bytes], .client, limit: 64 << 20) }
