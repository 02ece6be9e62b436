import Glibc

/// HTTP/1.1, WebSocket and event streams for clients, on one loop.
///
/// Answers and messages are collected per connection and leave at the end of the turn, one system call for each
/// connection; what is broadcast is framed once and leaves from one shared ring (see `Fanout`). Bytes of a connection's
/// own (answers, `send`, pongs) go before what is broadcast in the same turn.
public final class ClientServer: EventHandler, LoopPart {
    let loop: EventLoop
    let settings: ClientSettings
    unowned let handler: any ClientHandler
    var connections: [ClientConnection?] = []
    private var freeSlots: [Int32] = []
    private var serial: UInt64 = 0
    private var listeners: [Listener] = []
    private(set) var isDraining = false
    /// `drain` was called and the last connection is gone: to be told at the end of the turn.
    private var hasNobodyLeft = false
    private var nextSweep = UInt64.max
    /// Read into by every connection in turn; what is not used up at once moves to the connection's own buffer.
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    var channels: [Fanout?] = []
    var dirty: [Int32] = []
    var dirtyChannels: [Fanout] = []
    /// What the handler is told at the end of the turn, since it is never called from inside a call.
    enum Notice {
        case overran(ConnectionID, mark: UInt64?)
        case emptied(ConnectionID)
    }
    var notices: [Notice] = []
    var resuming: [Int32] = []
    var doomed: [Int32] = []
    var trouble = Fanout.Trouble()
    var head = AnswerHead()
    private var tallies = TransportCounters()

    /// A request was answered, or refused here: what `setRoute` called it (0 if it did not), with which status, and the
    /// loop's clock in the turn that brought it. Called inside other calls: it must not call back.
    public var onAnswer: ((_ route: UInt8, _ status: UInt16, _ since: UInt64) -> Void)?

    /// A server that listens nowhere yet. It does not keep the handler alive.
    public init(_ loop: EventLoop, handler: any ClientHandler, settings: ClientSettings = ClientSettings()) {
        self.loop = loop
        self.handler = handler
        self.settings = settings
        head.standard = Array(settings.standardHeaders.utf8)
        loop.add(self)
    }

    deinit { room.deallocate() }

    /// What happened so far.
    public var counters: TransportCounters {
        var now = tallies
        now.refusedConnections += listeners.reduce(0) { $0 + $1.errors }
        return now
    }

    func count(_ change: (inout TransportCounters) -> Void) { change(&tallies) }

    /// Gives the request that is out a name of the caller's, for `onAnswer`.
    public func setRoute(_ id: ConnectionID, _ route: UInt8) { connection(id)?.route = route }

    /// Takes clients in at `address`; returns it with the port that the system chose for port 0.
    ///
    /// - Parameter option: the flag that chose the address, for the text of the error.
    @discardableResult
    public func listen(on address: SocketAddress, option: String = "--http") throws(SocketError) -> SocketAddress {
        let listener = try Listener(loop, on: address, option: option) { [unowned self] descriptor, _ in
            adopt(descriptor)
        }
        listeners.append(listener)
        return listener.address
    }

    /// Takes over a connected stream socket (also how tests bring a socket pair in).
    @discardableResult
    public func adopt(_ descriptor: consuming FileDescriptor) -> ConnectionID? {
        guard tallies.open < settings.connections, !isDraining else {
            tallies.refusedConnections += 1
            return nil
        }
        Socket.setNoDelay(descriptor.raw)
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = Int(free)
        } else {
            slot = connections.count
            connections.append(nil)
        }
        serial += 1
        let id = ConnectionID(serial: serial, slot: slot)
        let connection = ClientConnection(id, descriptor.release(), now: seconds)
        do {
            try loop.register(connection.descriptor, for: .read, handler: self, token: UInt32(slot))
        } catch {
            freeSlots.append(Int32(slot))
            tallies.refusedConnections += 1
            return nil
        }
        connections[slot] = connection
        tallies.accepted += 1
        tallies.open += 1
        if nextSweep == .max { nextSweep = loop.now + 1_000_000 }
        return id
    }

    /// The loop's clock in seconds.
    var seconds: UInt32 { UInt32(truncatingIfNeeded: loop.now / 1_000_000) }

    func connection(_ id: ConnectionID) -> ClientConnection? {
        guard id.slot < connections.count, let found = connections[id.slot], found.id == id else { return nil }
        return found
    }

    // MARK: The loop's side

    /// When something has to be done at the latest.
    public var deadline: UInt64 {
        dirty.isEmpty && dirtyChannels.isEmpty && resuming.isEmpty && doomed.isEmpty && notices.isEmpty
            && !hasNobodyLeft ? nextSweep : 0
    }

    /// A client's socket is ready.
    public func ready(_ token: UInt32, _ readiness: Readiness) {
        guard let connection = connections[Int(token)] else { return }
        if readiness.contains(.write) { flush(connection) }
        if !readiness.isDisjoint(with: [.read, .failed]), !connection.isDoomed {
            // A failed socket says so when it is read; one that is not being read would be reported for ever.
            if connection.watched.contains(.read) {
                read(connection)
            } else if readiness.contains(.failed) {
                doom(connection)
            }
        }
        if connection.isDoomed { destroy(connection) }
    }

    /// Sends what this turn collected, and looks after time.
    public func endTurn(now: UInt64) {
        // Bounded: what callbacks add beyond that leaves in the next turn, which `deadline` asks for.
        for _ in 0..<8 {
            flushAll()
            resumeAll()
            tellAll()
            if !doomed.isEmpty {
                let gone = doomed
                doomed.removeAll(keepingCapacity: true)
                for slot in gone {
                    if let connection = connections[Int(slot)], connection.isDoomed { destroy(connection) }
                }
            }
            if deadline != 0 { break }
        }
        if hasNobodyLeft {
            hasNobodyLeft = false
            handler.drained()
        }
        if now >= nextSweep {
            sweep()
            nextSweep = tallies.open == 0 ? .max : now + 1_000_000
        }
    }

    private func resumeAll() {
        guard !resuming.isEmpty else { return }
        let slots = resuming
        resuming.removeAll(keepingCapacity: true)
        for slot in slots {
            guard let connection = connections[Int(slot)], connection.isResuming else { continue }
            connection.isResuming = false
            processWaiting(connection)
        }
    }

    private func tellAll() {
        guard !notices.isEmpty else { return }
        let told = notices
        notices.removeAll(keepingCapacity: true)
        for notice in told {
            switch notice {
            case .overran(let id, let mark):
                connection(id)?.isCutOff = false
                if isOpen(id) { handler.overran(id, mark: mark) }
            case .emptied(let id): if isOpen(id) { handler.emptied(id) }
            }
        }
    }

    private func isOpen(_ id: ConnectionID) -> Bool { connection(id).map { $0.isOpen && !$0.isDoomed } ?? false }

    // MARK: Ends

    /// The connection cannot be used any more; it is destroyed when no call is using it.
    func doom(_ connection: ClientConnection) {
        guard !connection.isDoomed else { return }
        connection.isDoomed = true
        doomed.append(Int32(connection.id.slot))
    }

    func destroy(_ connection: ClientConnection) {
        let slot = connection.id.slot
        guard connections[slot] === connection else { return }
        leaveChannel(connection)
        loop.deregister(connection.descriptor)
        connections[slot] = nil
        freeSlots.append(Int32(slot))
        tallies.open -= 1
        connection.isDoomed = true
        if let framing = connection.framing {
            if framing.isStream { tallies.eventStreams -= 1 } else { tallies.webSockets -= 1 }
            handler.closed(connection.id, code: connection.closeCode)
        } else if connection.isWaiting {
            handler.abandoned(connection.id)
        }
        if isDraining, tallies.open == 0 { hasNobodyLeft = true }
    }

    /// Stops taking clients in, lets requests that are being served finish, and then calls `drained` at the end of the turn
    /// in which the last connection went. WebSocket conversations and event streams are the handler's to end: it may have
    /// something to say to them. Cannot be taken back.
    public func drain() {
        for listener in listeners { listener.close() }
        tallies.refusedConnections += listeners.reduce(0) { $0 + $1.errors }
        listeners = []
        isDraining = true
        for case let connection? in connections {
            switch connection.phase {
            case .http where !connection.isWaiting && connection.requestStart == 0 && connection.input.isEmpty:
                connection.phase = .finishing
                connection.deadline = seconds + settings.closeSeconds
                markDirty(connection)
            case .http: connection.closesAfterAnswer = true
            case .webSocket, .eventStream, .closing, .finishing, .lingering: break
            }
        }
        hasNobodyLeft = tallies.open == 0
    }

    /// Ends everything at once, without a word to anyone; for the end of the process and of tests.
    public func shutDown() {
        for listener in listeners { listener.close() }
        listeners = []
        for slot in connections.indices {
            guard let connection = connections[slot] else { continue }
            loop.deregister(connection.descriptor)
            leaveChannel(connection)
            connections[slot] = nil
        }
        tallies.open = 0
        tallies.webSockets = 0
        tallies.eventStreams = 0
        loop.remove(self)
    }

    // MARK: Time

    /// Once a second: who is late, who is silent.
    private func sweep() {
        let now = seconds
        for case let connection? in connections {
            let silence = now &- connection.lastActivity
            switch connection.phase {
            case .http:
                if connection.requestStart != 0, !connection.isWaiting {
                    let taken = now &- connection.requestStart
                    let allowed = connection.parser.hasHead ? settings.requestSeconds : settings.headSeconds
                    if taken >= allowed {
                        tallies.timeouts += 1
                        refuse(connection, .timeout)
                    }
                } else if !connection.isWaiting || !connection.output.isEmpty, silence >= settings.idleSeconds {
                    tallies.timeouts += 1
                    destroy(connection)
                }
            case .webSocket:
                if silence >= settings.idleSeconds {
                    tallies.timeouts += 1
                    destroy(connection)
                } else if silence >= settings.pingSeconds, !connection.wasPinged, !connection.isFull {
                    connection.wasPinged = true
                    appendFrame(connection, .ping, RawSpan())
                }
            case .eventStream:
                // A comment of nothing (WHATWG HTML, section 9.2.6).
                if silence >= settings.pingSeconds, !connection.isFull {
                    connection.lastActivity = now
                    let comment: StaticString = ":\n\n"
                    appendPiece(connection, UnsafeRawBufferPointer(start: comment.utf8Start, count: 3).bytes)
                }
            case .closing, .finishing, .lingering:
                if now >= connection.deadline {
                    if connection.phase != .lingering { tallies.timeouts += 1 }
                    destroy(connection)
                }
            }
        }
        for case let channel? in channels {
            channel.tidy()
            channel.bare?.tidy()
        }
        flushAll()
    }
}
