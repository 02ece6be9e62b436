import Glibc
import Testing

@testable import Transport

private final class LinkRecorder: LinksHandler {
    var links: Links!
    var opened: [(id: TransportLinkID, remote: SocketAddress, dialled: SocketAddress?)] = []
    var failed: [SocketAddress] = []
    var frames: [String] = []
    var drained: [TransportLinkID] = []
    var closed: [TransportLinkID] = []
    var lengths: [Int] = []

    func linkOpened(_ link: TransportLinkID, remote: SocketAddress, dialled: SocketAddress?) {
        opened.append((link, remote, dialled))
    }
    func dialFailed(_ address: SocketAddress) { failed.append(address) }
    func linkFrame(_ link: TransportLinkID, _ body: RawSpan) {
        lengths.append(body.byteCount)
        if body.byteCount < 100 { frames.append(body.text(0..<body.byteCount)) }
    }
    func linkDrained(_ link: TransportLinkID) { drained.append(link) }
    func linkClosed(_ link: TransportLinkID) { closed.append(link) }

    func write(_ link: TransportLinkID, _ text: String) {
        var text = text
        text.withUTF8 { links.write(link, UnsafeRawBufferPointer($0).bytes) }
    }
}

/// Two ends on one loop.
private final class Pair {
    let world: World
    let a = LinkRecorder()
    let b = LinkRecorder()
    let address: SocketAddress

    init(_ settings: LinkSettings = LinkSettings()) throws {
        world = try World()
        a.links = Links(world.loop, handler: a, settings: settings)
        b.links = Links(world.loop, handler: b, settings: settings)
        address = try b.links.listen(on: .loopback(port: 0))
    }

    deinit {
        a.links.shutDown()
        b.links.shutDown()
    }

    func connect() {
        let count = a.opened.count
        a.links.dial(address)
        world.turn { a.opened.count > count && b.opened.count > count }
    }
}

@Suite("Links")
struct LinksTests {
    @Test("A dial opens a link at both ends, and frames go both ways in order")
    func frames() throws {
        let pair = try Pair()
        pair.connect()
        #expect(pair.a.opened[0].dialled == pair.address)
        #expect(pair.a.opened[0].remote == pair.address)
        #expect(pair.b.opened[0].dialled == nil)
        #expect(pair.b.opened[0].remote.isLoopback)
        for round in 0..<100 { pair.a.write(pair.a.opened[0].id, "to b \(round)") }
        pair.b.write(pair.b.opened[0].id, "")
        pair.world.turn { pair.b.frames.count == 100 && pair.a.frames.count == 1 }
        #expect(pair.b.frames == (0..<100).map { "to b \($0)" })
        #expect(pair.a.frames == [""])
        #expect(pair.a.drained == [pair.a.opened[0].id])
        #expect(pair.a.links.counters.framesOut == 100)
        #expect(pair.b.links.counters.framesIn == 100)
    }

    @Test("Large frames arrive whole, and drained comes once when they have left")
    func large() throws {
        let pair = try Pair()
        pair.connect()
        let id = pair.a.opened[0].id
        let body = [UInt8](repeating: 7, count: 5 << 20)
        body.withUnsafeBytes { pair.a.links.write(id, $0.bytes) }
        body.withUnsafeBytes { pair.a.links.write(id, $0.bytes) }
        #expect(pair.a.links.unsentBytes(id) == 2 * (4 + (5 << 20)))
        pair.world.turn { pair.b.lengths.count == 2 && !pair.a.drained.isEmpty }
        #expect(pair.b.lengths == [5 << 20, 5 << 20])
        #expect(pair.a.drained == [id])
        #expect(pair.a.links.unsentBytes(id) == 0)
    }

    @Test("A frame cut anywhere is put together")
    func cuts() throws {
        let pair = try Pair()
        let peer = Peer(to: pair.address)
        for byte in [3, 0, 0, 0, 97, 98, 99, 0, 0, 0, 0, 1, 0, 0, 0, 100] as [UInt8] {
            peer.send([byte])
            pair.world.loop.turn(waitingAtMost: 25_000)
        }
        pair.world.turn { pair.b.frames.count == 3 }
        #expect(pair.b.frames == ["abc", "", "d"])
    }

    @Test("A length above the limit closes the link before anything is kept for it")
    func oversized() throws {
        let pair = try Pair()
        let peer = Peer(to: pair.address)
        peer.send([1, 0, 0, 0, 97, 1, 0, 0, 1])
        pair.world.turn { pair.b.closed.count == 1 }
        #expect(pair.b.frames == ["a"])
        #expect(pair.b.closed.count == 1)
        #expect(pair.b.links.counters.oversized == 1)
    }

    @Test("A dial that is refused fails, and one that nobody answers fails after its time")
    func dialFails() throws {
        let pair = try Pair()
        // A listener whose queue is full does not answer: that is as silent as a host that is gone.
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        let any = SocketAddress.loopback(port: 0)
        #expect(any.withSockaddr(family: AF_INET) { bind(listener, $0, $1) } == 0)
        let silent = try #require(SocketAddress.local(of: listener))
        pair.a.links.dial(silent)
        pair.world.turn { !pair.a.failed.isEmpty }
        #expect(pair.a.failed == [silent])
        listen(listener, 0)
        var crowd: [Peer] = []
        for _ in 0..<4 {
            let raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | nonBlocking, 0)
            _ = silent.withSockaddr(family: AF_INET) { connect(raw, $0, $1) }
            crowd.append(Peer(adopting: raw))
        }
        pair.a.links.dial(silent)
        pair.world.settle()
        #expect(pair.a.failed.count == 1)
        pair.world.clock.now += 2_000_000
        pair.world.settle()
        #expect(pair.a.failed == [silent, silent])
        #expect(pair.a.links.counters.dialsFailed == 2)
        #expect(pair.a.links.counters.open == 0)
    }

    @Test("A link that was hung up can be dialled again, under a new number")
    func again() throws {
        let pair = try Pair()
        for round in 0..<3 {
            pair.connect()
            pair.a.write(pair.a.opened[round].id, "round \(round)")
            pair.a.links.hangUp(pair.a.opened[round].id, flush: true)
            pair.a.write(pair.a.opened[round].id, "after the end")
            pair.world.turn { pair.b.closed.count == round + 1 && pair.a.closed.count == round + 1 }
        }
        #expect(pair.b.frames == ["round 0", "round 1", "round 2"])
        #expect(Set(pair.a.opened.map(\.id)).count == 3)
        #expect(pair.a.links.counters.open == 0)
        #expect(pair.b.links.counters.open == 0)
    }

    @Test("Hanging up without flush drops what waits; either way each end hears of it once")
    func hangUp() throws {
        let pair = try Pair()
        pair.connect()
        pair.b.links.hangUp(pair.b.opened[0].id, flush: false)
        pair.b.links.hangUp(pair.b.opened[0].id, flush: false)
        pair.world.turn { pair.a.closed.count == 1 && pair.b.closed.count == 1 }
        pair.world.settle()
        #expect(pair.a.closed.count == 1)
        #expect(pair.b.closed.count == 1)
    }

    @Test("More unsent bytes than allowed close the link, and so do more links than allowed")
    func limits() throws {
        var settings = LinkSettings()
        settings.unsentBytes = 1_000
        settings.inbound = 1
        let pair = try Pair(settings)
        pair.connect()
        pair.a.links.dial(pair.address)
        pair.world.turn { pair.a.closed.count == 1 }
        #expect(pair.b.links.counters.refused == 1)
        let text = String(repeating: "x", count: 600)
        pair.a.write(pair.a.opened[0].id, text)
        pair.a.write(pair.a.opened[0].id, text)
        pair.world.turn { pair.a.closed.count == 2 }
        #expect(pair.a.closed.count == 2)
        #expect(pair.a.links.counters.overflowed == 1)
    }
}

private final class DatagramRecorder: DatagramHandler {
    var heard: [(text: String, sender: SocketAddress)] = []
    func datagram(_ bytes: RawSpan, from sender: SocketAddress) {
        heard.append((bytes.text(0..<bytes.byteCount), sender))
    }
}

@Suite("Datagrams")
struct DatagramTests {
    @Test("Datagrams go both ways, with their sender, one by one", arguments: ["127.0.0.1:0", "[::1]:0"])
    func bothWays(text: String) throws {
        let world = try World()
        let (first, second) = (DatagramRecorder(), DatagramRecorder())
        let a = try DatagramSocket(world.loop, on: SocketAddress(parsing: text), handler: first)
        let b = try DatagramSocket(world.loop, on: SocketAddress(parsing: text), handler: second)
        defer {
            a.close()
            b.close()
        }
        func send(_ socket: DatagramSocket, _ text: String, to address: SocketAddress) {
            var text = text
            text.withUTF8 { socket.send(UnsafeRawBufferPointer($0).bytes, to: address) }
        }
        for round in 0..<10 { send(a, "ping \(round)", to: b.address) }
        send(a, "", to: b.address)
        world.turn { second.heard.count == 11 }
        #expect(second.heard.map(\.text) == (0..<10).map { "ping \($0)" } + [""])
        #expect(second.heard.allSatisfy { $0.sender == a.address })
        send(b, String(repeating: "x", count: 1_400), to: second.heard[0].sender)
        world.turn { first.heard.count == 1 }
        #expect(first.heard.first?.text.utf8.count == 1_400)
        #expect(a.counters.sent == 11)
        #expect(b.counters.received == 11)
    }

    @Test("What cannot be sent is counted and does not stop the rest")
    func errors() throws {
        let world = try World()
        let recorder = DatagramRecorder()
        let socket = try DatagramSocket(world.loop, on: .loopback(port: 0), handler: recorder)
        defer { socket.close() }
        [UInt8](repeating: 0, count: 70_000).withUnsafeBytes { socket.send($0.bytes, to: socket.address) }
        #expect(socket.counters.errors == 1)
        [UInt8]("ok".utf8).withUnsafeBytes { socket.send($0.bytes, to: socket.address) }
        world.turn { !recorder.heard.isEmpty }
        #expect(recorder.heard.map(\.text) == ["ok"])
        let error = #expect(throws: SocketError.self) {
            try DatagramSocket(world.loop, on: socket.address, handler: recorder)
        }
        #expect(error?.description.contains("choose another port with --gossip") == true)
    }
}
