import Glibc
import Testing

@testable import Transport

private final class Part: LoopPart {
    var deadline = UInt64.max
    var ends: [UInt64] = []
    func endTurn(now: UInt64) {
        ends.append(now)
        if now >= deadline { deadline = .max }
    }
}

private final class PipeReader: EventHandler {
    var tokens: [UInt32] = []
    var onReady: ((UInt32) -> Void)?
    func ready(_ token: UInt32, _ readiness: Readiness) {
        tokens.append(token)
        onReady?(token)
    }
}

/// Two descriptors that are ready to read.
private func readyPair() -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    #expect(write(ends[1], "x", 1) == 1)
    return (ends[0], ends[1])
}

@Suite("The event loop")
struct EventLoopTests {
    @Test("A turn serves every ready descriptor, then calls its ends once and in order")
    func order() throws {
        let world = try World()
        let reader = PipeReader()
        let pipes = (0..<3).map { _ in readyPair() }
        for (index, pipe) in pipes.enumerated() {
            try world.loop.register(pipe.read, for: .read, handler: reader, token: UInt32(index))
        }
        var log: [String] = []
        reader.onReady = { log.append("ready \($0)") }
        world.loop.onTurnEnd = { _ in log.append("end") }
        world.loop.deadline = world.clock.now
        world.loop.onDeadline = { _ in log.append("deadline") }
        let part = Part()
        world.loop.add(part)
        world.loop.turn(waitingAtMost: 0)
        #expect(log == ["ready 0", "ready 1", "ready 2", "deadline", "end"])
        #expect(part.ends == [world.clock.now])
        #expect(world.loop.deadline == .max)
        for pipe in pipes {
            world.loop.deregister(pipe.read)
            close(pipe.read)
            close(pipe.write)
        }
    }

    @Test("An event of a descriptor that was closed in the same turn does not reach its successor")
    func stale() throws {
        let world = try World()
        let reader = PipeReader()
        let (first, second) = (readyPair(), readyPair())
        try world.loop.register(first.read, for: .read, handler: reader, token: 1)
        try world.loop.register(second.read, for: .read, handler: reader, token: 2)
        var successor: (read: Int32, write: Int32) = (-1, -1)
        reader.onReady = { token in
            guard token == 1 else { return }
            world.loop.deregister(second.read)
            close(second.read)
            // An empty pipe that gets the same number.
            var ends: [Int32] = [0, 0]
            _ = pipe(&ends)
            successor = (ends[0], ends[1])
            try? world.loop.register(ends[0], for: .read, handler: reader, token: 3)
        }
        world.loop.turn(waitingAtMost: 0)
        #expect(reader.tokens == [1])
        for descriptor in [first.read, first.write, second.write, successor.read, successor.write] {
            world.loop.deregister(descriptor)
            close(descriptor)
        }
    }

    @Test("Deadlines end the wait: the loop's own and those of parts")
    func deadlines() throws {
        // A real clock, since it is the wait of the system call that is tried; nothing is measured.
        let loop = try EventLoop()
        let part = Part()
        loop.add(part)
        part.deadline = loop.now + 2_000
        while part.deadline != .max { loop.turn() }
        #expect(part.ends.last! >= part.ends.first!)
        var called = 0
        loop.onDeadline = { _ in called += 1 }
        loop.deadline = MonotonicClock.now() + 2_000
        while called == 0 { loop.turn() }
        #expect(called == 1)
    }

    @Test("Another thread can wake a loop that waits for ever")
    func wake() throws {
        let loop = try EventLoop()
        var woken = 0
        loop.onWake = {
            woken += 1
            loop.stop()
        }
        let waker = loop.waker
        var thread = pthread_t()
        let box = Unmanaged.passRetained(waker)
        pthread_create(
            &thread, nil,
            { raw in
                Unmanaged<EventLoop.Waker>.fromOpaque(raw!).takeRetainedValue().wake()
                return nil
            }, box.toOpaque())
        loop.run()
        pthread_join(thread, nil)
        #expect(woken == 1)
    }

    @Test("Signals come as events")
    func signals() throws {
        let loop = try EventLoop()
        var seen: [Int32] = []
        try loop.onSignals([SIGUSR2]) { seen.append($0) }
        // To this thread, which the source has just told to keep the signal for it.
        #expect(pthread_kill(pthread_self(), SIGUSR2) == 0)
        for _ in 0..<100 where seen.isEmpty { loop.turn(waitingAtMost: 25_000) }
        #expect(seen == [SIGUSR2])
    }

    @Test("The longest turn is remembered for ten seconds")
    func lag() {
        var meter = LagMeter()
        meter.record(500, now: 100_000_000)
        meter.record(900, now: 101_500_000)
        meter.record(300, now: 105_000_000)
        #expect(meter.longest(now: 105_000_000) == 900)
        #expect(meter.longest(now: 110_900_000) == 900)
        #expect(meter.longest(now: 111_000_000) == 300)
        #expect(meter.longest(now: 1_000_000_000) == 0)
    }

    @Test("A slow turn shows")
    func slowTurn() throws {
        let world = try World()
        world.loop.onTurnEnd = { _ in world.clock.now += 70_000 }
        world.loop.turn(waitingAtMost: 0)
        #expect(world.loop.longestTurn() == 70_000)
    }
}

@Suite("Addresses and errors")
struct AddressTests {
    @Test(
        "What is written is read back",
        arguments: [
            ("127.0.0.1:5000", "127.0.0.1:5000"), ("0.0.0.0:0", "0.0.0.0:0"),
            ("255.255.255.255:65535", "255.255.255.255:65535"),
            ("[::1]:80", "[::1]:80"), ("[2001:db8:0:0::1]:7946", "[2001:db8::1]:7946"), ("[::]:1", "[::]:1"),
            ("[::ffff:10.0.0.1]:2", "10.0.0.1:2"),
        ])
    func roundTrip(text: String, expected: String) throws {
        let address = try SocketAddress(parsing: text)
        #expect(address.description == expected)
        #expect(try SocketAddress(parsing: address.description) == address)
        let back = address.withSockaddr(family: address.family) { SocketAddress($0, $1) }
        #expect(back == address)
        #expect(address.withSockaddr(family: AF_INET6) { SocketAddress($0, $1) } == address)
    }

    @Test(
        "What is no address is refused with what was expected",
        arguments: [
            "", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "::1:80", "[::1]",
            "[::1]80", "a:80",
            "1.2.3:80", "1.2.3.4.5:80", "127.0.0.1:8o",
        ])
    func refused(text: String) {
        let error = #expect(throws: SocketError.self) { try SocketAddress(parsing: text) }
        #expect(error?.description.contains("\"\(text)\" is not an address; write ") == true)
    }

    @Test("The halves are those of the mapped form, and the kinds are told apart")
    func halves() throws {
        let four = SocketAddress.loopback(port: 5_000)
        #expect(four.high == 0)
        #expect(four.low == 0xffff_7f00_0001)
        #expect(SocketAddress(high: four.high, low: four.low, port: 5_000) == four)
        #expect(four.isLoopback && !four.isUnspecified)
        #expect(try SocketAddress(parsing: "[::1]:1").isLoopback)
        #expect(try SocketAddress(parsing: "[::]:1").isUnspecified)
        #expect(try SocketAddress(parsing: "0.0.0.0:1").isUnspecified)
        #expect(try !SocketAddress(parsing: "10.0.0.1:1").isLoopback)
    }

    @Test("Names are looked up, numbers need no lookup")
    func resolve() throws {
        #expect(try SocketAddress.resolve("127.0.0.1:80") == [.loopback(port: 80)])
        #expect(try SocketAddress.resolve("localhost:80").allSatisfy { $0.isLoopback && $0.port == 80 })
    }

    @Test("Errors say what to do")
    func texts() {
        #expect(
            SocketError.cannotListen(address: "10.9.9.9:80", code: EADDRNOTAVAIL, option: "--http").description
                == "cannot listen on 10.9.9.9:80: cannot assign requested address; "
                + "no interface of this host has that address; choose one that has with --http")
        #expect(SocketError.system(call: "socket", code: EMFILE).description.contains("ulimit -n"))
    }

    @Test("Dates are those of RFC 9110, section 5.6.7")
    func dates() {
        #expect(HTTPDate.text(unixSeconds: 784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(HTTPDate.text(unixSeconds: 0) == "Thu, 01 Jan 1970 00:00:00 GMT")
    }

    @Test("No value of a header can begin another line")
    func headerLines() {
        var lines = HTTPHeaderLines()
        lines.add("Allow", "GET\r\nX: y")
        #expect(String(decoding: lines.bytes, as: UTF8.self) == "Allow: GET  X: y\r\n")
    }
}
