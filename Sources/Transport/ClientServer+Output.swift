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
            length: .bytes(body.byteCount), keeping: keeping(connection), second: seconds)
        if !connection.isHead, status != 204 { connection.output.append(body) }
        answered(connection)
    }

    /// What the head of the next answer says.
    private func keeping(_ connection: ClientConnection) -> AnswerHead.Keeping {
        connection.closesAfterAnswer ? .close : connection.isOldHTTP ? .keepOld : .keep
    }

    /// A whole answer waits to be sent.
    private func answered(_ connection: ClientConnection) {
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

    /// Answers in good order instead of beginning a conversation.
    private func refuse(
        _ connection: ClientConnection, _ status: UInt16, _ message: StaticString, _ headers: StaticString = ""
    ) -> Bool {
        var text = "{\"message\":\"\(message)\"}"
        let lines = UnsafeRawBufferPointer(start: headers.utf8Start, count: headers.utf8CodeUnitCount)
        text.withUTF8 {
            answer(connection.id, status: status, headers: lines.bytes, body: UnsafeRawBufferPointer($0).bytes)
        }
        return false
    }

    private static let shuttingDown: StaticString = "this node is shutting down; connect to another one"

    /// Changes to WebSocket. Only during `request`, with what it was given. If the client's handshake is no good, that is
    /// answered (400, or 426 with the version to use) and false is returned.
    ///
    /// - Parameter messageBytes: the longest message that is taken; nil for that of the settings.
    public func upgrade(
        _ id: ConnectionID, _ head: HTTPHead, _ bytes: RawSpan, messageBytes: Int? = nil
    ) -> Bool {
        guard let connection = connection(id), connection.isWaiting, connection.phase == .http else { return false }
        if isDraining { return refuse(connection, 503, Self.shuttingDown) }
        switch WebSocketHandshake.check(head, bytes) {
        case .notAsked:
            return refuse(
                connection, 426, "this is a WebSocket; send a GET with Connection: Upgrade and Upgrade: websocket",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        case .wrongVersion:
            return refuse(
                connection, 426, "this version of WebSocket is not spoken here; send Sec-WebSocket-Version: 13",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        case .badKey:
            return refuse(
                connection, 400, "Sec-WebSocket-Key has to be 16 bytes in base64; let a WebSocket library make it")
        case .accept(let value):
            connection.isWaiting = false
            connection.phase = .webSocket
            connection.framing = .frames
            onAnswer?(connection.route, 101, connection.requestedAt)
            connection.receiver = WebSocketReceiver(.server, limit: messageBytes ?? settings.messageBytes)
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

    /// Answers the request that this connection waits for with an event stream (`text/event-stream`, status 200) that
    /// goes on until `close` or until the client ends the connection; its messages are sent as they are. Returns whether
    /// there now is one: not if the connection does not wait any more, not for `HEAD` (which gets the head alone), and
    /// not while the server drains (503).
    ///
    /// - Parameter headers: further whole lines, each ending with CR LF.
    public func stream(_ id: ConnectionID, headers: RawSpan = RawSpan()) -> Bool {
        guard let connection = connection(id), connection.isWaiting, connection.phase == .http else { return false }
        if isDraining { return refuse(connection, 503, Self.shuttingDown) }
        let isBare = connection.isOldHTTP
        connection.isWaiting = false
        onAnswer?(connection.route, 200, connection.requestedAt)
        head.append(
            to: &connection.output, status: 200, contentType: "text/event-stream", headers: headers,
            length: isBare ? .untilClose : .chunked, keeping: connection.isHead ? keeping(connection) : .close,
            second: seconds, also: "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n")
        if connection.isHead {
            answered(connection)
            return false
        }
        connection.phase = .eventStream
        connection.framing = isBare ? .bare : .chunks
        connection.lastActivity = seconds
        Socket.setUserTimeout(connection.descriptor, seconds: settings.unacknowledgedSeconds)
        count { $0.eventStreams += 1 }
        markDirty(connection)
        // What came behind the request is of no use any more, and the client's end ends the stream.
        if !connection.isProcessing, !connection.input.isEmpty || connection.hasEnded { resume(connection) }
        return true
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
            let flushing = dirtyChannels
            dirtyChannels.removeAll(keepingCapacity: true)
            for channel in flushing {
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
                case .webSocket, .eventStream, .closing, .lingering: break
                }
            }
            if !connection.output.isEmpty { return becomeFull(connection) }
        }
        if let channel = connection.fanout {
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
        if connection.wantsNotice {
            connection.wantsNotice = false
            notices.append(.emptied(connection.id))
        }
        switch connection.phase {
        case .finishing:
            if connection.hasEnded { return doom(connection) }
            shutdown(connection.descriptor, Int32(SHUT_WR))
            connection.phase = .lingering
            connection.deadline = seconds + 2
        case .http where connection.input.count > 0 && !connection.isWaiting && !connection.isProcessing:
            resume(connection)
        case .http, .webSocket, .eventStream, .closing, .lingering: break
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
