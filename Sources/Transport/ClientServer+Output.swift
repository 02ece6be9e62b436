import Glibc

/// From answers and messages to bytes.
extension ClientServer {
    // MARK: HTTP

    /// Answers the request that this connection waits for; ignored if it does not wait.
    ///
    /// - Parameters:
    ///   - contentType: nil leaves the header out.
    ///   - headers: further whole lines, each ending with CR LF (see `HTTPHeaderLines`).
    ///   - body: copied; left out in the answer to `HEAD` (with its length kept) and with status 204.
    public func answer(
        _ id: ConnectionID, status: UInt16, contentType: StaticString? = "application/json",
        headers: RawSpan = RawSpan(), body: RawSpan
    ) {
        guard let connection = connection(id), connection.isWaiting, connection.phase == .http else { return }
        connection.isWaiting = false
        onAnswer?(connection.route, status, connection.requestedAt)
        connection.output.reserve(384 + headers.byteCount + body.byteCount)
        head.append(
            to: &connection.output, status: status, contentType: contentType, headers: headers,
            length: body.byteCount,
            keeping: connection.closesAfterAnswer ? .close : connection.saysKeepAlive ? .keepOld : .keep,
            second: seconds)
        if !connection.isHead, status != 204 { connection.output.append(body) }
        if connection.closesAfterAnswer {
            finish(connection)
        } else {
            markDirty(connection)
            if !connection.isProcessing, !connection.input.isEmpty || connection.hasEnded { resume(connection) }
        }
    }

    func resume(_ connection: ClientConnection) {
        guard !connection.isResuming else { return }
        connection.isResuming = true
        resuming.append(Int32(connection.id.slot))
    }

    /// Answers what cannot be read, and ends the connection.
    func refuse(_ connection: ClientConnection, _ refusal: HTTPRefusal) {
        count { $0.badRequests += 1 }
        connection.isWaiting = true
        connection.route = 0
        connection.requestedAt = loop.now
        connection.isHead = false
        connection.closesAfterAnswer = true
        let text = "{\"message\":\"\(refusal.message)\"}"
        var text8 = text
        text8.withUTF8 { answer(connection.id, status: refusal.status, body: UnsafeRawBufferPointer($0).bytes) }
    }

    /// Changes to WebSocket. Only during `request`, with what it was given. If the client's handshake is no good, that is
    /// answered (400, or 426 with the version to use) and false is returned.
    public func upgrade(_ id: ConnectionID, _ head: HTTPHead, _ bytes: RawSpan) -> Bool {
        guard let connection = connection(id), connection.isWaiting, connection.phase == .http else { return false }
        func refuse(_ status: UInt16, _ message: StaticString, _ headers: StaticString) -> Bool {
            var text = "{\"message\":\"\(message)\"}"
            let lines = UnsafeRawBufferPointer(start: headers.utf8Start, count: headers.utf8CodeUnitCount)
            text.withUTF8 {
                answer(id, status: status, headers: lines.bytes, body: UnsafeRawBufferPointer($0).bytes)
            }
            return false
        }
        if isDraining { return refuse(503, "this node is shutting down; connect to another one", "") }
        switch WebSocketHandshake.check(head, bytes) {
        case .notAsked:
            return refuse(
                426, "this is a WebSocket; send a GET with Connection: Upgrade and Upgrade: websocket",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        case .wrongVersion:
            return refuse(
                426, "this version of WebSocket is not spoken here; send Sec-WebSocket-Version: 13",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        case .badKey:
            return refuse(400, "Sec-WebSocket-Key has to be 16 bytes in base64; let a WebSocket library make it", "")
        case .accept(let value):
            connection.isWaiting = false
            connection.phase = .webSocket
            connection.wasUpgraded = true
            onAnswer?(connection.route, 101, connection.requestedAt)
            connection.receiver = WebSocketReceiver(.server, limit: settings.messageBytes)
            connection.output.append(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            )
            value.withUnsafeBytes { connection.output.append($0) }
            connection.output.append("\r\n\r\n")
            count { $0.webSockets += 1 }
            markDirty(connection)
            return true
        }
    }

    // MARK: WebSocket

    /// Sends one message to one WebSocket connection; ignored if it is closing or gone.
    public func send(_ id: ConnectionID, _ kind: WebSocketMessage = .text, _ bytes: RawSpan) {
        guard let connection = connection(id), connection.phase == .webSocket else { return }
        if connection.output.count > settings.subscriberBytes {
            cutOff(connection)
        } else {
            appendFrame(connection, kind == .text ? .text : .binary, bytes)
        }
    }

    /// Ends a WebSocket conversation, after what was sent and broadcast to it before.
    ///
    /// - Parameter reason: cut to 123 bytes.
    public func close(_ id: ConnectionID, code: UInt16, reason: String) {
        guard let connection = connection(id), connection.phase == .webSocket else { return }
        tune(id, nil)
        sendClose(connection, code, reason)
    }

    private func sendClose(_ connection: ClientConnection, _ code: UInt16, _ reason: String) {
        WebSocketFrame.closePayload(code, reason).withUnsafeBytes { appendFrame(connection, .close, $0.bytes) }
        connection.closeCode = code
        connection.phase = .closing
        connection.deadline = seconds + settings.closeSeconds
    }

    /// Ends the conversation with a subscriber that reads too slowly. What it is owed is dropped.
    private func cutOff(_ connection: ClientConnection) {
        guard connection.phase == .webSocket else { return }
        count { $0.slowSubscribers += 1 }
        leaveChannel(connection)
        sendClose(connection, 1013, "too slow: read faster or ask for less, then connect again")
    }

    /// Appends a frame of the connection's own.
    func appendFrame(_ connection: ClientConnection, _ opcode: WebSocketFrame.Opcode, _ payload: RawSpan) {
        holdMember(connection)
        FrameHeader(opcode.rawValue, payload.byteCount).withBytes { connection.output.append($0) }
        connection.output.append(payload)
        markDirty(connection)
    }

    /// Own bytes go first, but never into the middle of a frame from the ring.
    private func holdMember(_ connection: ClientConnection) {
        guard connection.channel >= 0, let channel = channels[Int(connection.channel)] else { return }
        channel.takeFrameRest(connection.member, into: &connection.output)
        channel.setHeld(connection.member, true)
    }

    // MARK: Channels

    /// From now on a WebSocket connection gets what is broadcast on `channel`, and on no other; nil for nothing. What it
    /// was owed of its former channel still comes, first.
    public func tune(_ id: ConnectionID, _ channel: BroadcastChannel?) {
        guard let connection = connection(id), connection.phase == .webSocket else { return }
        let wanted = channel.map { Int32($0.rawValue) } ?? -1
        if connection.channel == wanted { return }
        if connection.channel >= 0, let old = channels[Int(connection.channel)], old.owes(connection.member) {
            old.takeRest(connection.member, into: &connection.output)
            markDirty(connection)
        }
        leaveChannel(connection)
        guard wanted >= 0 else { return }
        while channels.count <= Int(wanted) { channels.append(nil) }
        let fanout = channels[Int(wanted)] ?? Fanout(budget: settings.subscriberBytes)
        channels[Int(wanted)] = fanout
        connection.channel = wanted
        connection.member = fanout.add(
            connection.descriptor, slot: Int32(connection.id.slot),
            isHeld: connection.isFull || !connection.output.isEmpty)
    }

    /// Takes a connection off its channel. The rest of a frame that was sent in part moves to its own bytes.
    func leaveChannel(_ connection: ClientConnection) {
        guard connection.channel >= 0, let channel = channels[Int(connection.channel)] else { return }
        if !connection.isDoomed { channel.takeFrameRest(connection.member, into: &connection.output) }
        if let moved = channel.remove(connection.member) { connections[Int(moved)]?.member = connection.member }
        connection.channel = -1
        connection.member = -1
    }

    /// Sends one text message to every connection of a channel. It leaves at the end of the turn, or before if much is
    /// broadcast in one turn.
    public func broadcast(_ channel: BroadcastChannel, _ text: RawSpan) {
        guard Int(channel.rawValue) < channels.count, let fanout = channels[Int(channel.rawValue)], fanout.count > 0
        else { return }
        if !fanout.hasRoom(forMessage: text.byteCount) {
            // All of it, since members whose own bytes go first would hold the ring.
            flushAll()
            if !fanout.hasRoom(forMessage: text.byteCount) {
                fanout.findSlow(beforeMessage: text.byteCount, into: &trouble)
                settleTrouble()
                fanout.release()
            }
        }
        fanout.append(text)
        if !fanout.isDirty {
            fanout.isDirty = true
            dirtyChannels.append(Int32(channel.rawValue))
        }
    }

    /// Ends a channel, whose number may then be used for another. Members get what they are owed.
    public func closeChannel(_ channel: BroadcastChannel) {
        let index = Int(channel.rawValue)
        guard index < channels.count, let fanout = channels[index] else { return }
        while fanout.count > 0 {
            guard let connection = connections[Int(fanout.slot(fanout.count - 1))] else {
                preconditionFailure("a member of a channel has no connection")
            }
            tune(connection.id, nil)
            // A connection that is closing has left its channel already; one that is doomed is owed nothing.
            if connection.channel >= 0 { leaveChannel(connection) }
        }
        channels[index] = nil
    }

    /// Looks after the members that a flush could not serve.
    private func settleTrouble() {
        guard !trouble.isEmpty || trouble.sends > 0 else { return }
        let found = trouble
        trouble = Fanout.Trouble()
        count {
            $0.bytesOut += found.bytes
            $0.deliveries += found.sends
        }
        for slot in found.full {
            guard let connection = connections[Int(slot)] else { continue }
            connection.isFull = true
            updateInterest(connection)
        }
        for slot in found.failed {
            guard let connection = connections[Int(slot)] else { continue }
            count { $0.sendErrors += 1 }
            doom(connection)
        }
        for slot in found.slow {
            if let connection = connections[Int(slot)] { cutOff(connection) }
        }
    }

    // MARK: Sending

    func markDirty(_ connection: ClientConnection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(Int32(connection.id.slot))
    }

    /// Own bytes of all connections first, then the channels.
    func flushAll() {
        if !dirty.isEmpty {
            let slots = dirty
            dirty.removeAll(keepingCapacity: true)
            for slot in slots {
                guard let connection = connections[Int(slot)], connection.isDirty else { continue }
                connection.isDirty = false
                if !connection.isFull { flush(connection) }
            }
        }
        if !dirtyChannels.isEmpty {
            let indices = dirtyChannels
            dirtyChannels.removeAll(keepingCapacity: true)
            for index in indices {
                guard let channel = channels[Int(index)], channel.isDirty else { continue }
                channel.isDirty = false
                channel.flush(into: &trouble)
                settleTrouble()
            }
        }
    }

    /// Sends what waits for one connection, as far as its socket takes it.
    func flush(_ connection: ClientConnection) {
        guard !connection.isDoomed else { return }
        if !connection.output.isEmpty {
            let waiting = UnsafeRawBufferPointer(connection.output.readable)
            guard let sent = Socket.send(connection.descriptor, waiting) else { return sendFailed(connection) }
            count { $0.bytesOut += sent }
            if sent > 0 {
                connection.output.consume(sent)
                switch connection.phase {
                case .http: connection.lastActivity = seconds
                case .finishing: connection.deadline = seconds + settings.closeSeconds
                // What a subscriber takes in says nothing about it: the system's buffers do that for a dead one too.
                case .webSocket, .closing, .lingering: break
                }
            }
            if !connection.output.isEmpty { return becomeFull(connection) }
        }
        if connection.channel >= 0, let channel = channels[Int(connection.channel)] {
            var bytes = 0
            guard let isDone = channel.flush(connection.member, bytes: &bytes) else { return sendFailed(connection) }
            if bytes > 0 {
                count {
                    $0.bytesOut += bytes
                    $0.deliveries += 1
                }
            }
            channel.setHeld(connection.member, !isDone)
            if !isDone { return becomeFull(connection) }
        }
        connection.isFull = false
        switch connection.phase {
        case .finishing:
            if connection.hasEnded { return doom(connection) }
            shutdown(connection.descriptor, Int32(SHUT_WR))
            connection.phase = .lingering
            connection.deadline = seconds + 2
        case .http where connection.input.count > 0 && !connection.isWaiting && !connection.isProcessing:
            resume(connection)
        case .http, .webSocket, .closing, .lingering: break
        }
        updateInterest(connection)
    }

    private func becomeFull(_ connection: ClientConnection) {
        connection.isFull = true
        updateInterest(connection)
    }

    private func sendFailed(_ connection: ClientConnection) {
        count { $0.sendErrors += 1 }
        doom(connection)
    }

    /// Watches for what the connection's state needs, and calls the system only when that changed.
    func updateInterest(_ connection: ClientConnection) {
        guard !connection.isDoomed else { return }
        var wanted: Readiness = []
        let isPaused =
            connection.hasEnded || connection.output.count > settings.unsentBytes
            || (connection.isWaiting && connection.input.count > Self.waitingBytes)
        if !isPaused { wanted.insert(.read) }
        if connection.isFull { wanted.insert(.write) }
        if wanted != connection.watched {
            connection.watched = wanted
            loop.watch(connection.descriptor, for: wanted)
        }
    }
}
