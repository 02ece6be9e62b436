import Glibc
import Testing

@testable import Transport

@Suite("Event streams over sockets")
struct EventStreamTests {
    @Test("The head says what comes, messages are chunks, and the end is the last chunk")
    func life() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        let head = world.receive(peer) { $0.hasSuffix("\r\n\r\n") }
        #expect(head.hasPrefix("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"))
        for line in [
            "Cache-Control: no-store", "X-Accel-Buffering: no", "Access-Control-Allow-Origin: *", "Connection: close",
        ] { #expect(head.contains("\r\n\(line)\r\n")) }
        #expect(!head.contains("Content-Length"))
        _ = peer.take()
        let id = try #require(world.handler.streams.first)
        #expect(world.server.counters.eventStreams == 1)
        world.handler.send(id, "data: 1\n\n")
        world.handler.send(id, "")
        world.handler.send(id, "data: 2\n\n")
        let some = world.chunks(peer, count: 2)
        #expect(some.texts == ["data: 1\n\n", "data: 2\n\n"] && !some.isWhole)
        world.handler.send(id, "data: 3\n\n")
        world.server.close(id, code: 1000, reason: "")
        world.handler.send(id, "behind the end")
        let all = world.chunks(peer, count: 4)
        #expect(all.texts == ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] && all.isWhole && all.rest == 0)
        _ = world.receiveAll(peer)
        peer.shutWriting()
        world.world.turn { world.server.counters.open == 0 }
        #expect(world.handler.events == ["closed 1000"])
        #expect(world.server.counters.eventStreams == 0)
    }

    @Test("An abrupt end has no last chunk, but all that was sent before")
    func abrupt() throws {
        let world = try ServerWorld()
        let (peer, id) = world.streaming()
        world.server.tune(id, BroadcastChannel(0))
        world.handler.broadcast(0, "one")
        world.server.close(id, code: 1012, reason: "", abruptly: true)
        world.world.turn {
            peer.read()
            return peer.hasEnded
        }
        let found = Chunks(peer.received)
        #expect(found.texts == ["one"] && !found.isWhole && found.rest == 0)
        let (socket, other) = world.upgraded()
        world.handler.send(other, "one")
        world.server.close(other, code: 1012, reason: "", abruptly: true)
        #expect(world.frames(socket, count: 2) == [.text("one")])
        #expect(socket.hasEnded)
    }

    @Test(
        "A client of HTTP/1.0 gets no chunks, on the channel of those that do, and its stream ends with the connection")
    func old() throws {
        let world = try ServerWorld()
        let old = world.streaming(version: "1.0")
        let new = world.streaming()
        for member in [old, new] { world.server.tune(member.id, BroadcastChannel(0)) }
        world.handler.broadcast(0, "a")
        world.handler.send(old.id, "own")
        world.handler.broadcast(0, "b")
        #expect(world.chunks(new.peer, count: 2).texts == ["a", "b"])
        _ = world.receive(old.peer) { $0.count == 5 }
        #expect(old.peer.take() == "ownab")
        world.server.closeChannel(BroadcastChannel(0))
        world.handler.broadcast(0, "nobody")
        world.server.close(old.id, code: 1000, reason: "")
        #expect(world.receiveAll(old.peer) == "")
        old.peer.shutWriting()
        world.world.turn { world.server.counters.open == 1 }
        #expect(world.handler.events == ["closed 1000"])
    }

    @Test("HEAD gets the head alone, and the connection serves on")
    func head() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        let answers = world.receive(peer) { $0.hasSuffix("</next:>") }
        #expect(answers.contains("\r\nTransfer-Encoding: chunked\r\n"))
        #expect(answers.split(separator: "HTTP/1.1 200 OK").count == 2)
        #expect(!answers.contains("Connection: close"))
        #expect(world.handler.streams.isEmpty)
        #expect(world.handler.requests == ["HEAD /stream", "GET /next"])
    }

    @Test("It may begin long after the request; what the client sends is dropped, and its end ends the stream")
    func late() throws {
        let world = try ServerWorld()
        world.handler.holds = true
        let peer = world.connect()
        peer.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        world.world.turn { !world.handler.held.isEmpty }
        let id = world.handler.held[0]
        #expect(world.server.stream(id))
        #expect(!world.server.stream(id), "only one answer")
        _ = world.receive(peer) { $0.hasSuffix("\r\n\r\n") }
        _ = peer.take()
        for _ in 0..<50 {
            peer.send([UInt8](repeating: 71, count: 20_000))
            world.world.settle()
        }
        let connection = try #require(world.server.connection(id))
        let isBare = connection.input.isEmpty && connection.input.reserved == 0
        #expect(isBare)
        world.handler.send(id, "still here")
        #expect(world.chunks(peer, count: 1).texts == ["still here"])
        peer.shutWriting()
        world.world.turn { world.server.counters.open == 0 }
        #expect(world.handler.requests == ["GET /wait"])
        #expect(world.handler.events == ["closed 1006"])
        #expect(!world.server.stream(id), "the connection is gone")
    }

    @Test("A client that ended its side before the stream began has none")
    func endedBefore() throws {
        let world = try ServerWorld()
        world.handler.holds = true
        let peer = world.connect()
        peer.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        peer.shutWriting()
        world.world.turn { !world.handler.held.isEmpty }
        world.world.settle()
        #expect(world.server.stream(world.handler.held[0]))
        world.world.turn { world.server.counters.open == 0 }
        #expect(world.handler.events == ["closed 1006"])
    }

    @Test("A silent client is not late; it gets an empty comment now and then")
    func silence() throws {
        let world = try ServerWorld()
        let (peer, id) = world.streaming()
        for _ in 0..<10 {
            world.world.pass(seconds: 31)
            world.handler.send(id, "x")
            world.world.settle()
        }
        let found = world.chunks(peer, count: 20)
        #expect(found.texts == Array(repeating: [":\n\n", "x"], count: 10).flatMap { $0 })
        #expect(world.server.counters.open == 1)
        #expect(world.server.counters.timeouts == 0)
    }

    @Test("A drain leaves streams to the handler, and begins none")
    func drain() throws {
        let world = try ServerWorld()
        world.handler.holds = true
        let (peer, id) = world.streaming()
        let late = world.connect()
        late.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        world.world.turn { !world.handler.held.isEmpty }
        world.server.drain()
        world.handler.send(id, "last words")
        world.server.close(id, code: 1001, reason: "gone")
        let all = world.chunks(peer, count: 2)
        #expect(all.texts == ["last words"] && all.isWhole)
        #expect(!world.server.stream(world.handler.held[0]))
        #expect(world.receiveAll(late).hasPrefix("HTTP/1.1 503 "))
        for peer in [peer, late] { peer.shutWriting() }
        world.world.turn { world.handler.events.contains("drained") }
        #expect(world.handler.events == ["closed 1001", "drained"])
    }

    @Test("Everybody on a channel gets every message once and in order, with what is sent to one alone between")
    func everybody() throws {
        let world = try ServerWorld()
        let members = (0..<4).map { _ in world.streaming() }
        for member in members { world.server.tune(member.id, BroadcastChannel(5)) }
        var expected: [String] = []
        for round in 0..<300 {
            let text = String(repeating: "m", count: round * 7) + "\(round)"
            world.handler.broadcast(5, text, mark: UInt64(round))
            world.handler.broadcast(5, "")
            expected.append(text)
            if round % 7 == 0 { world.world.loop.turn(waitingAtMost: 0) }
            if round % 11 == 0 { world.handler.send(members[0].id, "own") }
        }
        for member in members[1...] { #expect(world.chunks(member.peer, count: 300).texts == expected) }
        let mixed = world.chunks(members[0].peer, count: 300 + 28).texts
        #expect(mixed.filter { $0 != "own" } == expected)
        #expect(mixed.count == 300 + 28)
    }

    @Test("Sockets that take little at a time get whole chunks", arguments: [1, 7, 60])
    func trickle(size: Int) throws {
        let world = try ServerWorld()
        let member = world.streaming()
        world.server.tune(member.id, BroadcastChannel(0))
        let connection = try #require(world.server.connection(member.id))
        Socket.set(connection.descriptor, SOL_SOCKET, SO_SNDBUF, 4_096)
        let text = String(repeating: "t", count: size * 1_000)
        var expected: [String] = []
        while !connection.isFull || expected.count < 50, expected.count < 10_000 {
            world.handler.broadcast(0, text + "\(expected.count)")
            expected.append(text + "\(expected.count)")
            world.world.loop.turn(waitingAtMost: 0)
        }
        #expect(connection.isFull)
        for round in 0..<10 {
            world.handler.send(member.id, "own \(round)")
            world.handler.broadcast(0, "more \(round)")
            expected.append("more \(round)")
            world.world.loop.turn(waitingAtMost: 0)
        }
        let found = world.chunks(member.peer, count: expected.count + 10)
        #expect(found.texts.filter { !$0.hasPrefix("own") } == expected)
        #expect(found.texts.count == expected.count + 10 && found.rest == 0)
    }
}

@Suite("Slow subscribers and notices")
struct OverrunTests {
    @Test("One stream that does not read is told apart by the mark of the last chunk that it gets")
    func marks() throws {
        let world = try ServerWorld { $0.subscriberBytes = 256 << 10 }
        let slow = world.streaming()
        let quick = world.streaming()
        for member in [slow, quick] { world.server.tune(member.id, BroadcastChannel(0)) }
        world.handler.onOverrun = { [handler = world.handler] in handler.send($0, "gap") }
        let text = String(repeating: "x", count: 20_000)
        var sent = 0
        while world.handler.events.isEmpty, sent < 2_000 {
            world.handler.broadcast(0, text + "\(sent)", mark: UInt64(sent) + 1_000)
            sent += 1
            world.world.loop.turn(waitingAtMost: 0)
            quick.peer.read()
        }
        #expect(world.server.counters.slowSubscribers == 1)
        let channel = try #require(world.server.channels[0])
        #expect(channel.count == 1)
        #expect(channel.ring.capacity <= 512 << 10)
        #expect(world.chunks(quick.peer, count: sent).texts.count == sent)
        let found = world.chunks(slow.peer, count: sent)
        #expect(found.isWhole && found.rest == 0)
        #expect(found.texts.last == "gap")
        #expect(found.texts.dropLast().enumerated().allSatisfy { $1 == text + "\($0)" })
        #expect(world.handler.events.first == "overran \(1_000 + found.texts.count - 2)")
    }

    @Test("One that got nothing since it was tuned overruns without a mark")
    func noMark() throws {
        let world = try ServerWorld { $0.subscriberBytes = 64 << 10 }
        let member = world.streaming()
        let connection = try #require(world.server.connection(member.id))
        let text = String(repeating: "x", count: 30_000)
        while !connection.isFull {
            world.handler.send(member.id, text)
            world.world.loop.turn(waitingAtMost: 0)
        }
        // Another one moved the channel on before.
        let early = world.streaming()
        world.server.tune(early.id, BroadcastChannel(0))
        world.handler.broadcast(0, "before", mark: 1)
        world.world.settle()
        world.server.tune(member.id, BroadcastChannel(0))
        for round in 0..<5 {
            world.handler.broadcast(0, text, mark: 2 + UInt64(round))
            world.world.loop.turn(waitingAtMost: 0)
        }
        #expect(world.handler.events == ["overran nil"])
        #expect(world.chunks(early.peer, count: 6).texts.count == 6)
    }

    @Test("Own bytes above the budget overrun once; what is sent then is dropped, but not the close")
    func ownBytes() throws {
        let world = try ServerWorld { $0.subscriberBytes = 100_000 }
        let (peer, id) = world.upgraded()
        world.handler.onOverrun = { [handler = world.handler] in handler.send($0, "dropped") }
        let text = String(repeating: "o", count: 60_000)
        var sent = 0
        while world.handler.events.isEmpty, sent < 1_000 {
            world.handler.send(id, text + "\(sent)")
            sent += 1
            if sent % 10 == 0 { world.handler.send(id, "") }
            world.world.loop.turn(waitingAtMost: 0)
        }
        let connection = try #require(world.server.connection(id))
        #expect(connection.output.count < 200_000)
        #expect(world.handler.events == ["overran nil"])
        #expect(world.server.counters.slowSubscribers == 1)
        let told = world.frames(peer, count: sent * 2).filter { $0 != .text("") }
        #expect(told.dropLast().enumerated().allSatisfy { $1 == .text(text + "\($0)") })
        #expect(told.last == .close(1013, "too slow"))
        #expect(!told.contains(.text("dropped")))
    }

    @Test("Notice is given once, when everything has left")
    func notice() throws {
        let world = try ServerWorld()
        let member = world.streaming()
        world.server.notify(member.id)
        world.server.notify(member.id)
        #expect(world.handler.events.isEmpty, "never inside the call")
        world.world.settle()
        #expect(world.handler.events == ["emptied"])

        world.server.tune(member.id, BroadcastChannel(0))
        let connection = try #require(world.server.connection(member.id))
        let text = String(repeating: "n", count: 50_000)
        var count = 0
        while !connection.isFull {
            world.handler.broadcast(0, text)
            count += 1
            world.world.loop.turn(waitingAtMost: 0)
        }
        world.handler.send(member.id, text)
        world.server.notify(member.id)
        world.world.settle()
        #expect(world.handler.events == ["emptied"])
        #expect(world.chunks(member.peer, count: count + 1).texts.count == count + 1)
        world.world.settle()
        #expect(world.handler.events == ["emptied", "emptied"])
    }

    @Test("One that closes or goes is not told that it is empty")
    func noNotice() throws {
        let world = try ServerWorld()
        let member = world.upgraded()
        world.server.notify(member.id)
        world.server.close(member.id, code: 1000, reason: "")
        world.server.notify(member.id)
        world.world.settle()
        #expect(world.handler.events.isEmpty)
        member.peer.send(frame(0x88, [3, 232]))
        world.world.turn { world.server.counters.open == 0 }
        world.server.notify(member.id)
        world.world.settle()
        #expect(world.handler.events == ["closed 1000"])
    }
}
