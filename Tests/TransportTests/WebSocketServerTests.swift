import Glibc
import Testing

@testable import Transport

@Suite("WebSocket over sockets")
struct WebSocketServerTests {
    @Test("Messages go both ways, and frames sent with the handshake are read")
    func echo() throws {
        let world = try ServerWorld()
        world.handler.isEcho = true
        let peer = world.connect()
        let handshake =
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        peer.send(Array(handshake.utf8) + frame(0x81, "early") + frame(0x82, [1, 2]))
        world.world.turn {
            peer.read()
            return peer.received.suffix(2) == [1, 2]
        }
        let answer = WebSocketHandshake.Answer.accepted(consumed: peer.received.count - 7 - 4)
        #expect(
            peer.received.withUnsafeBytes {
                WebSocketHandshake.checkAnswer($0.bytes, key: Array("dGhlIHNhbXBsZSBub25jZQ==".utf8))
            } == answer)
        peer.drop(peer.received.count - 11)
        #expect(told(by: peer.received) == [.text("early"), .binary([1, 2])])
    }

    @Test("A ping is answered with its own bytes, between the messages of the turn")
    func ping() throws {
        let world = try ServerWorld()
        let (peer, _) = world.upgraded()
        peer.send(frame(0x89, "are you there?"))
        #expect(world.frames(peer, count: 1) == [.pong("are you there?")])
    }

    @Test("A close is answered with its code, and the connection ends")
    func clientCloses() throws {
        let world = try ServerWorld()
        let (peer, _) = world.upgraded()
        peer.send(frame(0x88, [3, 232] + Array("bye".utf8)) + frame(0x81, "after the end"))
        #expect(world.frames(peer, count: 1) == [.close(1000, "")])
        world.world.turn {
            peer.read()
            return peer.hasEnded || peer.wasReset
        }
        #expect(world.handler.events == ["closed 1000"])
        #expect(world.server.counters.open == 0)
    }

    @Test("Our close waits for the other side's, takes no more messages, and does not wait for ever")
    func serverCloses() throws {
        let world = try ServerWorld()
        let (polite, first) = world.upgraded()
        let (rude, second) = world.upgraded()
        world.server.close(first, code: 1008, reason: "no key")
        world.server.close(second, code: 1008, reason: "no key")
        world.handler.send(first, "after the close")
        #expect(world.frames(polite, count: 1) == [.close(1008, "no key")])
        polite.send(frame(0x81, "not heard") + frame(0x88, [3, 240]))
        #expect(world.receiveAll(polite).utf8.count > 0)
        world.world.turn { world.server.counters.open == 1 }
        world.world.pass(seconds: 6)
        rude.read()
        #expect(rude.hasEnded)
        #expect(world.handler.events == ["closed 1008", "closed 1008"])
    }

    @Test(
        "Who breaks the rules is told with the right code",
        arguments: [
            (frame(0x81, "x", isMasked: false), 1002), (frame(0xc1, "x"), 1002), (frame(0x81, [0xff]), 1007),
            ([0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0], 1009), (frame(0x88, [3, 237]), 1002),
        ] as [([UInt8], UInt16)])
    func violations(bytes: [UInt8], code: UInt16) throws {
        let world = try ServerWorld()
        let (peer, _) = world.upgraded()
        peer.send(frame(0x81, "fine") + bytes + frame(0x81, "not heard"))
        guard case .close(code, let reason) = world.frames(peer, count: 1).first else {
            Issue.record("no close frame with \(code)")
            return
        }
        #expect(!reason.isEmpty)
        peer.shutWriting()
        world.world.turn { world.server.counters.open == 0 }
        #expect(world.handler.events == ["text fine", "closed \(code)"])
        #expect(world.server.counters.badFrames == 1)
    }

    @Test("A handshake that is no good is answered, and the connection can be used again")
    func badHandshake() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("GET /ws HTTP/1.1\r\nHost: a\r\n\r\n")
        let plain = world.receive(peer) { $0.hasSuffix("\"}") }
        #expect(plain.hasPrefix("HTTP/1.1 426 Upgrade Required\r\n"))
        _ = peer.take()
        peer.send(
            "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n"
                + "Sec-WebSocket-Version: 8\r\n\r\n")
        let old = world.receive(peer) { $0.hasSuffix("\"}") }
        #expect(old.contains("\r\nSec-WebSocket-Version: 13\r\n"))
        #expect(world.handler.sockets.isEmpty)
    }

    @Test("A WebSocket is refused while the server drains")
    func drainRefuses() throws {
        let world = try ServerWorld()
        let peer = world.connect()
        peer.send("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n")
        world.world.turn { world.server.counters.bytesIn > 0 }
        world.server.drain()
        peer.send(
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        let answer = world.receiveAll(peer)
        #expect(answer.hasPrefix("HTTP/1.1 503 "))
        #expect(answer.contains("\r\nConnection: close\r\n"))
    }

    @Test("A quiet client is pinged, and closed when it does not answer")
    func quiet() throws {
        let world = try ServerWorld()
        let (alive, _) = world.upgraded()
        let (dead, _) = world.upgraded()
        world.world.pass(seconds: 31)
        #expect(world.frames(alive, count: 1) == [.ping("")])
        #expect(world.frames(dead, count: 1) == [.ping("")])
        _ = alive.take()
        _ = dead.take()
        alive.send(frame(0x8a, ""))
        world.world.settle()
        world.world.pass(seconds: 31)
        #expect(world.frames(alive, count: 1) == [.ping("")])
        alive.send(frame(0x8a, ""))
        world.world.settle()
        world.world.pass(seconds: 20)
        dead.read()
        #expect(dead.hasEnded)
        #expect(dead.take().isEmpty, "one ping is enough")
        alive.read()
        #expect(!alive.hasEnded)
        #expect(world.handler.events == ["closed 1006"])
    }
}

@Suite("Fan-out over sockets")
struct FanoutTests {
    @Test("Everybody on a channel gets every message once and in order; others get nothing")
    func everybody() throws {
        let world = try ServerWorld()
        let members = (0..<5).map { _ in world.upgraded() }
        let other = world.upgraded()
        let elsewhere = world.upgraded()
        for member in members { world.server.tune(member.id, BroadcastChannel(0)) }
        world.server.tune(elsewhere.id, BroadcastChannel(3))
        var expected: [Told] = []
        for round in 0..<300 {
            let text = String(repeating: "m", count: round) + "\(round)"
            world.handler.broadcast(0, text)
            expected.append(.text(text))
            if round % 7 == 0 { world.world.loop.turn(waitingAtMost: 0) }
        }
        world.handler.broadcast(3, "there")
        for member in members { #expect(world.frames(member.peer, count: 300) == expected) }
        #expect(world.frames(elsewhere.peer, count: 1) == [.text("there")])
        other.peer.read()
        #expect(other.peer.received.isEmpty)
    }

    @Test("A turn's messages leave with one send for each member")
    func oneSend() throws {
        let world = try ServerWorld()
        let members = (0..<3).map { _ in world.upgraded() }
        for member in members { world.server.tune(member.id, BroadcastChannel(0)) }
        for round in 0..<100 { world.handler.broadcast(0, "\(round)") }
        #expect(world.server.counters.deliveries == 0)
        world.world.loop.turn(waitingAtMost: 0)
        #expect(world.server.counters.deliveries == 3)
        for member in members { #expect(world.frames(member.peer, count: 100).count == 100) }
    }

    @Test(
        "Much in one turn leaves before its end, behind what a member was sent before, and nobody is called slow for it"
    )
    func floodInOneTurn() throws {
        let world = try ServerWorld { $0.subscriberBytes = 256 << 10 }
        let members = (0..<2).map { _ in world.upgraded() }
        for member in members { world.server.tune(member.id, BroadcastChannel(0)) }
        world.handler.send(members[0].id, "own")
        let text = String(repeating: "f", count: 10_000)
        for round in 0..<100 { world.handler.broadcast(0, text + "\(round)") }
        #expect(world.server.counters.slowSubscribers == 0)
        let expected = (0..<100).map { Told.text(text + "\($0)") }
        #expect(world.frames(members[0].peer, count: 101) == [.text("own")] + expected)
        #expect(world.frames(members[1].peer, count: 100) == expected)
        #expect(world.server.channels[0]?.ring.capacity == 64 << 10)
    }

    @Test("Who was just taken off its channel gets nothing that comes behind what was dropped, until the handler knows")
    func cutOff() throws {
        let world = try ServerWorld { $0.subscriberBytes = 256 << 10 }
        let slow = world.upgraded()
        world.server.tune(slow.id, BroadcastChannel(0))
        let text = String(repeating: "x", count: 50_000)
        var sent = 0
        while world.server.counters.slowSubscribers == 0, sent < 1_000 {
            world.handler.broadcast(0, text, mark: UInt64(sent))
            sent += 1
        }
        #expect(world.server.counters.slowSubscribers == 1)
        world.server.tune(slow.id, BroadcastChannel(1))
        world.handler.broadcast(1, "too late")
        world.handler.send(slow.id, "too late")
        #expect(world.handler.events.isEmpty)
        let frames = world.frames(slow.peer, count: sent)
        #expect(!frames.contains(.text("too late")) && frames.count > 1)
        #expect(world.handler.events.first?.hasPrefix("overran ") == true)
    }

    @Test("One that does not read delays nobody, is closed when it lags too far, and gets whole frames until then")
    func slow() throws {
        let world = try ServerWorld { $0.subscriberBytes = 256 << 10 }
        let slow = world.upgraded()
        let quick = world.upgraded()
        for member in [slow, quick] { world.server.tune(member.id, BroadcastChannel(0)) }
        let text = String(repeating: "x", count: 50_000)
        var sent = 0
        // The sockets' own buffers take some megabytes first.
        while world.server.counters.slowSubscribers == 0, sent < 1_000 {
            world.handler.broadcast(0, text + "\(sent)", mark: UInt64(sent) + 100)
            sent += 1
            world.world.loop.turn(waitingAtMost: 0)
            quick.peer.read()
        }
        #expect(world.server.counters.slowSubscribers == 1)
        let all = world.frames(quick.peer, count: sent)
        #expect(all.count == sent)
        #expect(all.last == .text(text + "\(sent - 1)"))
        let ring = try #require(world.server.channels[0])
        #expect(ring.count == 1)

        // The slow one wakes up: whole frames in order, then the close frame.
        let lastWords = world.frames(slow.peer, count: sent)
        #expect(lastWords.count < sent)
        for (index, frame) in lastWords.dropLast().enumerated() { #expect(frame == all[index]) }
        guard case .close(1013, _) = lastWords.last else {
            Issue.record("not closed with 1013 but \(lastWords.last.map(String.init(describing:)) ?? "nothing")")
            return
        }
        slow.peer.send(frame(0x88, [3, 245]))
        world.world.turn { world.handler.events.contains("closed 1013") }
        #expect(world.handler.events == ["overran \(lastWords.count - 2 + 100)", "closed 1013"])
    }

    @Test("One that pauses and reads again gets everything, with its own answers between whole frames")
    func pause() throws {
        let world = try ServerWorld()
        let member = world.upgraded()
        world.server.tune(member.id, BroadcastChannel(0))
        let text = String(repeating: "y", count: 30_000)
        var expected: [String] = []
        let connection = try #require(world.server.connection(member.id))
        while !connection.isFull, expected.count < 1_000 {
            world.handler.broadcast(0, text + "\(expected.count)")
            expected.append(text + "\(expected.count)")
            world.world.loop.turn(waitingAtMost: 0)
        }
        #expect(connection.isFull)
        for round in 0..<20 {
            world.handler.broadcast(0, "more \(round)")
            expected.append("more \(round)")
            world.handler.send(member.id, "own \(round)")
            member.peer.send(frame(0x89, "\(round)"))
            world.world.loop.turn(waitingAtMost: 0)
        }
        let frames = world.frames(member.peer, count: expected.count + 40)
        let broadcasts = frames.compactMap {
            if case .text(let text) = $0, !text.hasPrefix("own") { text } else { nil }
        }
        #expect(broadcasts == expected)
        let own = frames.compactMap { if case .text(let text) = $0, text.hasPrefix("own") { text } else { nil } }
        #expect(own == (0..<20).map { "own \($0)" })
        let pongs = frames.compactMap { if case .pong(let text) = $0 { text } else { nil } }
        #expect(pongs == (0..<20).map { "\($0)" })
        #expect(!connection.isFull)
        let channel = try #require(world.server.channels[0])
        channel.tidy()
        #expect(channel.ring.capacity == 64 << 10)
    }

    @Test("A change of channel loses nothing of the old one and mixes up nothing")
    func retune() throws {
        let world = try ServerWorld()
        let member = world.upgraded()
        let witness = world.upgraded()
        world.server.tune(member.id, BroadcastChannel(0))
        world.server.tune(witness.id, BroadcastChannel(1))
        world.handler.broadcast(0, "a")
        world.handler.broadcast(1, "not for it")
        world.server.tune(member.id, BroadcastChannel(1))
        world.handler.broadcast(0, "nobody hears this")
        world.handler.broadcast(1, "b")
        world.server.tune(member.id, nil)
        world.handler.broadcast(1, "c")
        world.handler.send(member.id, "d")
        #expect(world.frames(member.peer, count: 3) == [.text("a"), .text("b"), .text("d")])
        #expect(world.frames(witness.peer, count: 3) == [.text("not for it"), .text("b"), .text("c")])
    }

    @Test("A change of channel in the middle of a frame keeps the order, even if the new channel floods")
    func retuneBlocked() throws {
        let world = try ServerWorld()
        let member = world.upgraded()
        world.server.tune(member.id, BroadcastChannel(0))
        let connection = try #require(world.server.connection(member.id))
        let text = String(repeating: "z", count: 90_000)
        var expected: [Told] = []
        while !connection.isFull, expected.count < 1_000 {
            world.handler.broadcast(0, text + "\(expected.count)")
            expected.append(.text(text + "\(expected.count)"))
            world.world.loop.turn(waitingAtMost: 0)
        }
        world.handler.broadcast(0, "last of the old")
        world.server.tune(member.id, BroadcastChannel(1))
        expected.append(.text("last of the old"))
        for round in 0..<30 {
            world.handler.broadcast(1, text + "new \(round)")
            expected.append(.text(text + "new \(round)"))
        }
        world.server.closeChannel(BroadcastChannel(1))
        world.server.close(member.id, code: 1000, reason: "")
        expected.append(.close(1000, ""))
        #expect(world.frames(member.peer, count: expected.count) == expected)
    }

    @Test("A channel that is closed gives its members what they are owed, and its number can be used again")
    func closeChannel() throws {
        let world = try ServerWorld()
        let members = (0..<3).map { _ in world.upgraded() }
        for member in members { world.server.tune(member.id, BroadcastChannel(2)) }
        world.handler.broadcast(2, "one")
        world.server.closeChannel(BroadcastChannel(2))
        world.handler.broadcast(2, "nobody")
        world.server.tune(members[1].id, BroadcastChannel(2))
        world.handler.broadcast(2, "two")
        #expect(world.frames(members[1].peer, count: 2) == [.text("one"), .text("two")])
        #expect(world.frames(members[0].peer, count: 1) == [.text("one")])
        #expect(world.frames(members[2].peer, count: 1) == [.text("one")])
    }

    @Test("Members that go, in any order and between broadcasts, leave the others served")
    func leaving() throws {
        let world = try ServerWorld()
        var members = (0..<6).map { _ in world.upgraded() }
        for member in members { world.server.tune(member.id, BroadcastChannel(0)) }
        var expected: [Told] = []
        for gone in [2, 4, 0, 1] {
            members.remove(at: min(gone, members.count - 1))
            world.handler.broadcast(0, "without \(gone)")
            expected.append(.text("without \(gone)"))
            world.world.turn { world.server.counters.open == members.count }
            for member in members { #expect(world.frames(member.peer, count: expected.count) == expected) }
        }
        #expect(world.handler.events.count == 4)
    }
}
