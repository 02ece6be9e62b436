import Glibc
import Testing

@testable import Transport

private func get(_ path: String, _ more: String = "") -> String { "GET \(path) HTTP/1.1\r\nHost: a\r\n\(more)\r\n" }

private func body(_ answer: String) -> String {
    answer.range(of: "\r\n\r\n").map { String(answer[$0.upperBound...]) } ?? ""
}

private func status(_ answer: String) -> Int? { Int(answer.split(separator: " ").dropFirst().first ?? "") }

extension String {
    /// Where `text` stands first.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        let (all, wanted) = (Array(utf8), Array(text.utf8))
        guard all.count >= wanted.count else { return nil }
        for start in 0...(all.count - wanted.count) where all[start..<start + wanted.count].elementsEqual(wanted) {
            let lower = utf8.index(utf8.startIndex, offsetBy: start)
            return lower..<utf8.index(lower, offsetBy: wanted.count)
        }
        return nil
    }

    fileprivate func count(of text: String) -> Int {
        var rest = self
        var count = 0
        while let found = rest.range(of: text) {
            count += 1
            rest = String(rest[found.upperBound...])
        }
        return count
    }
}

@Suite("HTTP over sockets")
struct ClientServerTests {
    @Test("A connection is kept, and each answer says how long it is")
    func keepAlive() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        for round in 0..<3 {
            peer.send("POST /\(round) HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            let answer = world.receive(peer) { $0.hasSuffix(">") }
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n"))
            #expect(answer.contains("\r\nAccess-Control-Allow-Origin: *\r\n"))
            #expect(answer.contains(" GMT\r\n"))
            #expect(body(answer) == "</\(round):hi>")
            #expect(!answer.contains("Connection:"))
            _ = peer.take()
        }
        #expect(world.server.counters.accepted == 1)
        #expect(world.server.counters.requests == 3)
    }

    @Test("Requests that come together are answered in order")
    func pipelining() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send((0..<50).map { get("/\($0)") }.joined())
        let answers = world.receive(peer) { $0.hasSuffix("</49:>") }
        let bodies = answers.split(separator: "<").dropFirst().map { $0.prefix { $0 != ">" } }
        #expect(bodies.map(String.init) == (0..<50).map { "/\($0):" })
        #expect(world.handler.requests == (0..<50).map { "GET /\($0)" })
    }

    @Test("One request is out at a time, however late its answer")
    func lateAnswers() throws {
        let world = try ServerWorld()
        world.handler.holds = true
        let peer = world.connect()
        peer.send(get("/a") + get("/b"))
        world.world.turn { !world.handler.held.isEmpty }
        world.world.settle()
        #expect(world.handler.requests == ["GET /a"])
        world.handler.answer(world.handler.held[0], "first")
        world.world.turn { world.handler.held.count == 2 }
        #expect(world.handler.requests == ["GET /a", "GET /b"])
        world.handler.answer(world.handler.held[1], "second")
        world.handler.answer(world.handler.held[1], "answered twice")
        let text = world.receive(peer) { $0.hasSuffix("second") }
        #expect(text.count(of: "HTTP/1.1 200 OK") == 2)
        #expect(body(text).hasPrefix("first"))
        #expect(!text.contains("twice"))
    }

    @Test("A client that goes before its answer is reported, and the answer is dropped")
    func abandoned() throws {
        let world = try ServerWorld()
        world.handler.holds = true
        var peer: Peer? = world.connect()
        peer?.send(get("/a"))
        world.world.turn { !world.handler.held.isEmpty }
        // Data that nobody reads makes the close a reset, which is a client that is gone for good.
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(peer!.descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        peer = nil
        world.world.turn { !world.handler.events.isEmpty }
        #expect(world.handler.events == ["abandoned"])
        world.handler.answer(world.handler.held[0], "too late")
        world.world.settle()
        #expect(world.server.counters.open == 0)
    }

    @Test("A client that has said all it will say still gets its answers")
    func halfClosed() throws {
        let world = try ServerWorld()
        world.handler.holds = true
        let peer = world.connect()
        peer.send(get("/a") + get("/b"))
        peer.shutWriting()
        world.world.turn { world.handler.held.count == 1 }
        world.world.settle()
        world.handler.answer(world.handler.held[0], "first")
        world.world.turn { world.handler.held.count == 2 }
        world.handler.answer(world.handler.held[1], "second")
        let text = world.receiveAll(peer)
        #expect(text.count(of: "HTTP/1.1 200 OK") == 2)
        #expect(world.server.counters.open == 0)
    }

    @Test("HEAD has the length and not the body; 204 has neither")
    func bodiless() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("HEAD /large HTTP/1.1\r\nHost: a\r\n\r\n" + get("/none") + get("/end"))
        let text = world.receive(peer) { $0.hasSuffix(">") }
        #expect(text.contains("Content-Length: 3145728\r\n"))
        #expect(text.contains("HTTP/1.1 204 No Content\r\nAccess-Control"))
        #expect(text.utf8.count < 1_000)
    }

    @Test("A client of HTTP/1.0 is told that its connection is kept, or sees it end")
    func oldClients() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(world.receive(peer) { $0.hasSuffix(">") }.contains("\r\nConnection: keep-alive\r\n"))
        _ = peer.take()
        peer.send("GET /b HTTP/1.0\r\n\r\n")
        let last = world.receiveAll(peer)
        #expect(last.contains("\r\nConnection: close\r\n"))
        #expect(body(last) == "</b:>")
    }

    @Test("A client that expects 100 Continue gets it before it sends the body")
    func expectContinue() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        #expect(world.receive(peer) { $0.hasSuffix("\r\n\r\n") } == "HTTP/1.1 100 Continue\r\n\r\n")
        _ = peer.take()
        peer.send("bo")
        world.world.settle()
        peer.send("dy")
        #expect(body(world.receive(peer) { $0.hasSuffix(">") }) == "</a:body>")
    }

    @Test("A chunked body arrives whole, however it is cut")
    func chunked() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        let text =
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\nT: u\r\n\r\n"
        for byte in text.utf8 {
            peer.send([byte])
            world.world.loop.turn(waitingAtMost: 25_000)
        }
        peer.send(get("/b"))
        let answers = world.receive(peer) { $0.hasSuffix("</b:>") }
        #expect(body(answers).hasPrefix("</a:abcdef>HTTP/1.1 200 OK"))
    }

    @Test(
        "What cannot be read is answered with its status and a text, and the connection ends",
        arguments: [
            ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            ("POST / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\nContent-Length: 1\r\n\r\n", 417),
            ("GET /" + String(repeating: "a", count: 20_000) + " HTTP/1.1\r\n", 431),
        ])
    func refusals(text: String, expected: Int) throws {
        let world = try ServerWorld()
        let peer = world.connect()
        // What comes behind is not read as a request.
        peer.send(text + get("/smuggled"))
        let answer = world.receive(peer) { $0.hasSuffix("\"}") }
        #expect(status(answer) == expected)
        #expect(answer.contains("\r\nConnection: close\r\n"))
        #expect(body(answer).hasPrefix("{\"message\":\""))
        peer.shutWriting()
        _ = world.receiveAll(peer)
        world.world.turn { world.server.counters.open == 0 }
        #expect(world.handler.requests.isEmpty)
        #expect(world.server.counters.badRequests == 1)
        #expect(world.server.counters.open == 0)
    }

    @Test("The last answer arrives even while the client still sends a body that was refused")
    func refusedBody() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        for _ in 0..<20 {
            peer.send([UInt8](repeating: 0, count: 10_000))
            world.world.settle()
        }
        let answer = world.receive(peer) { $0.hasSuffix("\"}") }
        #expect(status(answer) == 413)
        #expect(!peer.wasReset)
    }

    @Test("A client that does not read its answers is not read from, and goes on later")
    func backPressure() throws {
        let world = try ServerWorld { $0.unsentBytes = 1 << 20 }
        let peer = world.connect()
        peer.send((0..<8).map { _ in get("/large") }.joined())
        world.world.turn { !world.handler.requests.isEmpty }
        world.world.settle()
        // One answer alone is above the limit, so the rest waits.
        #expect(world.handler.requests.count < 8)
        var total = 0
        world.world.turn {
            peer.read()
            total += peer.take().utf8.count
            return total >= 8 * (3 << 20)
        }
        #expect(world.handler.requests.count == 8)
        #expect(total > 8 * (3 << 20))
    }

    @Test("Who is too slow with a head gets 408, who is silent is closed, and who waits for us is not")
    func timeouts() throws {
        let world = try ServerWorld()
        let slow = world.connect()
        let silent = world.connect()
        let patient = world.connect()
        slow.send("GET / HTTP/1.1\r\nHo")
        patient.send(get("/a"))
        world.handler.holds = true
        world.world.turn { world.handler.held.count == 1 && world.server.counters.open == 3 }
        world.world.settle()
        world.world.pass(seconds: 9)
        #expect(world.server.counters.timeouts == 0)
        world.world.pass(seconds: 2)
        #expect(status(world.receive(slow) { $0.hasSuffix("\"}") }) == 408)
        world.world.pass(seconds: 80)
        silent.read()
        #expect(silent.hasEnded)
        #expect(world.server.counters.open == 1)
        world.handler.answer(world.handler.held[0], "at last")
        #expect(world.receive(patient) { $0.hasSuffix("at last") }.hasSuffix("at last"))
    }

    @Test("Draining finishes what was asked, leaves WebSockets to the handler, and takes nobody in")
    func drain() throws {
        let world = try ServerWorld()
        let (socket, id) = world.upgraded()
        let idle = world.connect()
        idle.send(get("/a"))
        _ = world.receive(idle) { $0.hasSuffix(">") }
        _ = idle.take()
        let busy = world.connect()
        world.handler.holds = true
        busy.send(get("/b"))
        world.world.turn { world.handler.held.count == 1 }

        world.server.drain()
        world.handler.send(id, "go there")
        world.server.close(id, code: 1001, reason: "gone")
        #expect(world.frames(socket, count: 2) == [.text("go there"), .close(1001, "gone")])
        socket.send(frame(0x88, [3, 233]))
        #expect(world.receiveAll(idle) == "")
        world.world.settle()
        #expect(!world.handler.events.contains("drained"))
        world.handler.answer(world.handler.held[0], "done")
        let answer = world.receive(busy) { $0.hasSuffix("done") }
        #expect(answer.contains("\r\nConnection: close\r\n"))
        busy.shutWriting()
        idle.shutWriting()
        world.world.turn { world.handler.events.contains("drained") }
        #expect(world.handler.events == ["closed 1001", "drained"])

        let late = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(late) }
        #expect(world.address.withSockaddr(family: AF_INET) { Glibc.connect(late, $0, $1) } == -1)
    }

    @Test("Connections beyond the limit are closed at once and counted")
    func limit() throws {
        let world = try ServerWorld { $0.connections = 2 }
        let peers = (0..<3).map { _ in world.connect() }
        world.world.turn { world.server.counters.refusedConnections == 1 }
        peers[2].read()
        #expect(peers[2].hasEnded || peers[2].wasReset)
        peers[0].send(get("/a"))
        #expect(world.receive(peers[0]) { $0.hasSuffix(">") }.hasSuffix("</a:>"))
    }

    @Test("An idle connection holds no buffer")
    func idle() throws {
        let world = try ServerWorld()
        let (peer, id) = world.upgraded()
        peer.send(frame(0x81, "hello"))
        world.world.turn { !world.handler.events.isEmpty }
        let connection = try #require(world.server.connection(id))
        #expect(connection.input.reserved == 0)
        #expect(connection.output.reserved == 0)
    }

    @Test("A port that is taken is an error that says so")
    func taken() throws {
        let world = try ServerWorld()
        let other = try World()
        let server = ClientServer(other.loop, handler: world.handler)
        defer { server.shutDown() }
        let error = #expect(throws: SocketError.self) { try server.listen(on: world.address) }
        #expect(
            error?.description
                == "cannot listen on \(world.address): address already in use; "
                + "stop the other program or choose another port with --http")
    }
}
