internal import CRDT
internal import Glibc
internal import Gossip
internal import NodeCore
internal import Transport

/// Runs one node until SIGTERM or until its disk fails, and returns the exit code.
func serve(_ options: ServeOptions, log: Log) throws -> Int32 {
    signal(SIGPIPE, SIG_IGN)
    ResourceLimits.raiseOpenDescriptors()
    let writer = LogWriter(STDERR_FILENO)
    let log = log.writing(to: { writer.write($0) })
    defer { writer.close() }
    let shell = try Shell(options, log: log)
    return shell.run()
}

/// The shell around the core: turns what sockets bring into inputs, and effects into what sockets send. Decides nothing.
final class Shell: ClientHandler, LinksHandler, DatagramHandler {
    /// How long a node that leaves waits for its clients and peers, in microseconds. SIGTERM ends within 5 s.
    private static let drainMicroseconds: UInt64 = 3_500_000

    private let log: Log
    private let loop: EventLoop
    private var core: NodeCore!
    private var effects = NodeCore.Effects()
    /// The header lines of the answer being written.
    private var lines = HTTPHeaderLines()
    private var server: ClientServer!
    private var links: Links!
    private var datagrams: DatagramSocket!
    private var meters: Meters!
    private var stdin: StandardInput?
    /// Nil for a node in memory.
    private let store: DurableStore?
    /// Set when leaving began: when to stop waiting.
    private var leavingUntil: UInt64?
    private var hasLeft = false
    private var hasDrained = false
    private var exitCode: Int32 = 0
    /// Connections to `/ws/echo`, of which the core knows nothing; nil if that is not served.
    private var echoes: Set<ConnectionID>?

    /// A node that listens from here on, and takes part from the first turn of its loop on.
    init(_ options: ServeOptions, log: Log) throws {
        self.log = log
        echoes = options.testEcho ? [] : nil
        store = try options.data.isEmpty ? nil : DurableStore(options.data, log: log)
        loop = try EventLoop()
        let gossip = try Self.address(of: options.gossip)
        let advertise = try options.advertise.map { try Self.address(of: $0) }
        var seeds: [Address] = []
        for seed in options.join { seeds += try seed.resolve() }

        // Sockets first: their ports are known once they are taken, and only then can the core be told.
        var clients = ClientSettings()
        // Well within the five seconds that a node has to end after SIGTERM.
        clients.closeSeconds = 2
        server = ClientServer(loop, handler: self, settings: clients)
        links = Links(loop, handler: self)
        meters = Meters(loop, server, links)
        let bound = try listenForPeers(on: SocketAddress(gossip))
        var urls: [String] = []
        for address in options.http {
            urls.append("\(try server.listen(on: SocketAddress(Self.address(of: address))))")
        }
        var settings = NodeSettings(
            name: options.name, replica: Self.freshReplica(),
            advertise: advertise ?? Address(bound), httpAddress: urls.first ?? "", cluster: options.cluster,
            seeds: seeds, profile: options.profile, decay: options.decay, replication: options.replication,
            clockWaitMs: options.clockWaitMs)
        settings.limits.forgetAfterMs = options.forgetAfterMs
        settings.clusterSize = options.clusterSize
        settings.ackTimeoutMs = options.ackTimeoutMs
        let dice = Dice(seed: (Entropy.next(), Entropy.next(), Entropy.next(), Entropy.next()))
        let (wall, now) = (WallClock.milliseconds(), Instant(microseconds: loop.now))
        if let store {
            core = try store.open(
                settings, acceptsLoss: options.acceptsLoss, wallMilliseconds: wall, dice: dice, waker: loop.waker)
            loop.onWake = { [unowned self] in takeDiskResults() }
            loop.onTurnEnd = { [unowned self] _ in feed(.turnEnded) }
        } else {
            core = NodeCore(settings, wallMilliseconds: wall, now: now, dice: dice)
        }
        loop.onDeadline = { [unowned self] now in
            if let leavingUntil, now >= leavingUntil { return loop.stop() }
            feed(.tick)
            loop.deadline = min(loop.deadline, leavingUntil ?? .max)
        }
        try loop.onSignals([SIGTERM, SIGINT]) { [unowned self] number in
            leave(number == SIGTERM ? "SIGTERM" : "SIGINT")
        }
        if options.exitWithStdin {
            stdin = try StandardInput(loop) { [unowned self] in leave("the end of standard input") }
        }
        log(
            .info,
            "node \(options.name) (\(core.replica)) serves \(urls.map { "http://\($0)" }.joined(separator: ", ")), gossip on \(bound)"
        )
    }

    /// Takes one port for both datagrams and links. Where the system chooses it, the one it chose for datagrams may be
    /// taken for connections: then it chooses again.
    private func listenForPeers(on address: SocketAddress) throws -> SocketAddress {
        for _ in 1..<(address.port == 0 ? 16 : 1) {
            datagrams = try DatagramSocket(loop, on: address, handler: self)
            if let bound = try? links.listen(on: datagrams.address) { return bound }
            datagrams.close()
        }
        datagrams = try DatagramSocket(loop, on: address, handler: self)
        return try links.listen(on: datagrams.address)
    }

    /// Serves until the node has left, and returns the exit code.
    func run() -> Int32 {
        // To read a data directory may have taken long.
        loop.updateClock()
        feed(.tick)
        loop.run()
        links.shutDown()
        server.shutDown()
        store?.close()
        log(.info, "stopped")
        return exitCode
    }

    private static func address(of host: HostPort) throws -> Address {
        guard let address = try host.resolve().first else {
            throw SocketError.badAddress("\(host)", expected: HostPort.expected)
        }
        return address
    }

    /// A log of its own for each start of a node in memory, and for each new data directory.
    private static func freshReplica() -> ReplicaID {
        var number = Entropy.next()
        while number == 0 { number = Entropy.next() }
        return ReplicaID(number)
    }

    // MARK: - In

    private func feed(_ input: NodeCore.Input, _ bytes: RawSpan = RawSpan()) {
        core.handle(input, bytes, now: Instant(microseconds: loop.now), into: &effects)
        carryOut()
    }

    func request(_ connection: ConnectionID, _ head: HTTPHead, _ bytes: RawSpan, body: RawSpan) {
        let route = Route.find(head, bytes, servesEcho: echoes != nil)
        server.setRoute(connection, route.group.rawValue)
        switch route {
        case .ask(let request):
            ask(connection, request, head, bytes, body)
        case .askWithHealth(_, let make):
            let measured = meters.read(datagrams, disk: store?.health)
            feed(.request(RequestID(connection.rawValue), make(measured)), body)
        case .socket(let agent):
            if server.upgrade(connection, head, bytes) {
                feed(.sessionOpened(SessionID(connection.rawValue), agent: agent))
            }
        case .echo:
            // Conformance tests send messages of 16 MiB.
            if server.upgrade(connection, head, bytes, messageBytes: 32 << 20) { echoes?.insert(connection) }
        case .preflight:
            let lines = HTTPHeaderLines.preflight.bytes
            server.answer(connection, status: 204, contentType: nil, headers: lines.span.bytes, body: RawSpan())
        case .reference(let reference):
            server.answer(
                connection, status: 200, contentType: reference.contentType, headers: reference.headers.span.bytes,
                body: reference.bytes.span.bytes)
        case .refuse(let status, let message, let allow):
            refuse(connection, status: status, message, allow: allow, isSoorma: Route.isSoorma(head, bytes))
        }
    }

    private func ask(
        _ connection: ConnectionID, _ request: Request, _ head: HTTPHead, _ bytes: RawSpan, _ body: RawSpan
    ) {
        let ack: AckLevel
        do throws(BadAck) { ack = try AckParameter.read(head, bytes) } catch {
            return refuse(connection, status: 400, error.message)
        }
        do throws(BadClock) {
            let clock = try ClockHeader.read(head, bytes)
            feed(.request(RequestID(connection.rawValue), request, after: clock, ack: ack), body)
        } catch {
            refuse(connection, status: 400, error.message)
        }
    }

    private func refuse(
        _ connection: ConnectionID, status: UInt16, _ message: String, allow: String? = nil, isSoorma: Bool = false
    ) {
        var lines = HTTPHeaderLines()
        if let allow { lines.add("Allow", allow) }
        let said = [(key: "message", value: JSONValue.string(message))]
        let text = JSONValue.object(said + (isSoorma ? [(key: "detail", value: .string(message))] : [])).encoded()
        server.answer(connection, status: status, headers: lines.bytes.span.bytes, body: text.span.bytes)
    }

    func abandoned(_ connection: ConnectionID) { feed(.requestAbandoned(RequestID(connection.rawValue))) }

    func message(_ connection: ConnectionID, _ kind: WebSocketMessage, _ bytes: RawSpan) {
        if let echoes, echoes.contains(connection) { return server.send(connection, kind, bytes) }
        guard kind == .text else {
            return server.close(connection, code: 1003, reason: "send text: messages are JSON")
        }
        feed(.sessionText(SessionID(connection.rawValue)), bytes)
    }

    func overran(_ connection: ConnectionID, mark: UInt64?) {
        guard echoes?.contains(connection) != true else {
            return server.close(connection, code: 1013, reason: "too slow: read faster, then connect again")
        }
        feed(.sessionOverran(SessionID(connection.rawValue), mark: mark))
    }

    func emptied(_ connection: ConnectionID) { feed(.sessionEmptied(SessionID(connection.rawValue))) }

    func closed(_ connection: ConnectionID, code: UInt16) {
        if echoes?.remove(connection) == nil { feed(.sessionClosed(SessionID(connection.rawValue))) }
    }

    func linkOpened(_ link: TransportLinkID, remote: SocketAddress, dialled: SocketAddress?) {
        feed(.linkOpened(LinkID(link.rawValue), remote: Address(remote), dialled: dialled.map { Address($0) }))
    }

    func dialFailed(_ address: SocketAddress) { feed(.dialFailed(Address(address))) }
    func linkFrame(_ link: TransportLinkID, _ body: RawSpan) { feed(.linkFrame(LinkID(link.rawValue)), body) }
    func linkDrained(_ link: TransportLinkID) { feed(.linkDrained(LinkID(link.rawValue))) }
    func linkClosed(_ link: TransportLinkID) { feed(.linkClosed(LinkID(link.rawValue))) }
    func datagram(_ bytes: RawSpan, from sender: SocketAddress) { feed(.datagram(from: Address(sender)), bytes) }

    private func takeDiskResults() {
        for result in store?.takeResults() ?? [] {
            if case .failed(let reason) = result {
                // Nothing that waits for the disk leaves any more; what was acknowledged is on it.
                log(
                    .error,
                    "the disk failed: \(reason); the node ends, as it cannot keep what it would acknowledge; look after "
                        + "the disk, then start it again")
                exitCode = 1
                return loop.stop()
            }
            feed(.disk(result))
        }
    }

    // MARK: - Out

    private func carryOut() {
        // Moved out, so that nothing here touches the buffers twice at once, and moved back with their memory.
        var work = NodeCore.Effects()
        swap(&work, &effects)
        perform(work.list, work.bytes.span.bytes)
        work.removeAll()
        swap(&work, &effects)
    }

    private func perform(_ list: [NodeCore.Effect], _ bytes: RawSpan) {
        for effect in list {
            switch effect {
            case .reply(let request, let reply, let body): answer(request, reply, bytes, body)
            case .send(let session, let range):
                server.send(ConnectionID(session.rawValue), .text, bytes.extracting(range))
            case .stream(let request):
                // Whoever only asked for the head, or is gone, is no session.
                if !server.stream(ConnectionID(request.rawValue)) { feed(.sessionClosed(SessionID(request.rawValue))) }
            case .notify(let session): server.notify(ConnectionID(session.rawValue))
            case .close(let session, let code, let reason):
                // Which no close frame may say (RFC 6455, section 7.4.1): the client is to think that the connection was lost.
                server.close(ConnectionID(session.rawValue), code: code, reason: reason, abruptly: code == 1_006)
            case .tune(let session, let channel):
                server.tune(ConnectionID(session.rawValue), channel.map { BroadcastChannel($0.rawValue) })
            case .broadcast(let channel, let range, let mark):
                server.broadcast(BroadcastChannel(channel.rawValue), bytes.extracting(range), mark: mark)
            case .closeChannel(let channel): server.closeChannel(BroadcastChannel(channel.rawValue))
            case .datagram(let to, let range): datagrams.send(bytes.extracting(range), to: SocketAddress(to))
            case .dial(let address): links.dial(SocketAddress(address))
            case .write(let link, let range): links.write(TransportLinkID(link.rawValue), bytes.extracting(range))
            case .hangUp(let link, let flush): links.hangUp(TransportLinkID(link.rawValue), flush: flush)
            case .wake(let at): loop.deadline = min(at.microseconds, leavingUntil ?? .max)
            case .log(let level, let text): log(level, text)
            case .disk(let job): store?.add(job)
            case .leaving: drain()
            case .left:
                hasLeft = true
                stopIfDone()
            }
        }
    }

    private func answer(_ request: RequestID, _ reply: Reply, _ bytes: RawSpan, _ body: Range<Int>) {
        lines.removeAll()
        if !reply.clock.isEmpty { lines.add("Hypha-Clock", bytes.extracting(reply.clock)) }
        if !reply.behind.isEmpty { lines.add("Hypha-Clock-Behind", reply.behind.span.bytes) }
        if !reply.lost.isEmpty { lines.add("Hypha-Clock-Lost", reply.lost.span.bytes) }
        if let ack = reply.ack { lines.add("Hypha-Ack", "\(ack)") }
        if let tick = reply.tick { lines.add("Hypha-Tick", "\(tick)") }
        if let stamp = reply.stamp { lines.add("Hypha-Stamp", "\(stamp)") }
        if let more = reply.more { lines.add("Hypha-More", "\(more)") }
        if let reach = reply.reach { lines.add("Hypha-Reachable", "\(reach)") }
        let headers = lines.bytes
        server.answer(
            ConnectionID(request.rawValue), status: reply.status,
            contentType: reply.status == 204 ? nil : reply.content.type,
            headers: headers.span.bytes, body: bytes.extracting(body))
    }

    // MARK: - Leaving

    /// Says goodbye to peers and clients; a second request to stop does not wait for them.
    private func leave(_ why: String) {
        guard leavingUntil == nil else { return loop.stop() }
        log(.info, "leaving the cluster (\(why))")
        leavingUntil = loop.now + Self.drainMicroseconds
        loop.deadline = min(loop.deadline, loop.now + Self.drainMicroseconds)
        feed(.leave)
    }

    /// Takes no more clients.
    private func drain() {
        for echo in echoes ?? [] { server.close(echo, code: 1001, reason: "this node is shutting down") }
        server.drain()
    }

    func drained() {
        hasDrained = true
        stopIfDone()
    }

    private func stopIfDone() {
        if hasLeft, hasDrained { loop.stop() }
    }
}

/// Watches standard input for its end: `hypha cluster` holds the other end, so that no child outlives it.
private final class StandardInput: EventHandler {
    private let loop: EventLoop
    private let onEnd: () -> Void

    init(_ loop: EventLoop, onEnd: @escaping () -> Void) throws {
        self.loop = loop
        self.onEnd = onEnd
        try loop.register(STDIN_FILENO, for: .read, handler: self)
    }

    func ready(_ token: UInt32, _ readiness: Readiness) {
        var room: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        let count = withUnsafeMutableBytes(of: &room) { read(STDIN_FILENO, $0.baseAddress, $0.count) }
        guard count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) else { return }
        loop.deregister(STDIN_FILENO)
        onEnd()
    }
}

// The two layers know addresses, but not each other's.
extension SocketAddress {
    init(_ address: Address) { self.init(high: address.high, low: address.low, port: address.port) }
}

extension Address {
    init(_ address: SocketAddress) { self.init(high: address.high, low: address.low, port: address.port) }
}

extension Reply.Content {
    /// The value of `Content-Type`.
    fileprivate var type: StaticString {
        switch self {
        case .json: "application/json"
        case .metrics: "text/plain; version=0.0.4; charset=utf-8"
        case .page: "text/html; charset=utf-8"
        }
    }
}
