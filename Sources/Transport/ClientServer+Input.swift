import Glibc

/// From bytes to requests and messages.
extension ClientServer {
    /// How much may wait behind a request that is not answered yet.
    static let waitingBytes = 64 << 10

    func read(_ connection: ClientConnection) {
        switch Socket.receive(connection.descriptor, into: room) {
        case .nothing: return
        case .failed: doom(connection)
        case .end:
            connection.hasEnded = true
            ended(connection)
        case .bytes(let count):
            self.count { $0.bytesIn += count }
            connection.lastActivity = seconds
            connection.wasPinged = false
            switch connection.phase {
            case .finishing, .lingering, .eventStream: return
            case .http, .webSocket, .closing: break
            }
            let fresh = UnsafeMutableRawBufferPointer(rebasing: room[..<count])
            if connection.input.isEmpty {
                let (used, drop) = process(connection, fresh)
                if connection.isDoomed { return }
                connection.input.append(UnsafeRawBufferPointer(rebasing: fresh[used..<drop.lowerBound]))
                reserveBody(connection)
                connection.input.append(UnsafeRawBufferPointer(rebasing: fresh[drop.upperBound...]))
            } else {
                connection.input.append(UnsafeRawBufferPointer(fresh))
                processInput(connection)
            }
        }
        settle(connection)
    }

    /// Room for the whole of a large body at once, instead of growing with every piece of it.
    private func reserveBody(_ connection: ClientConnection) {
        if connection.phase == .http, let expected = connection.parser.expectedBytes, expected > connection.input.count
        {
            connection.input.reserve(expected - connection.input.count)
        }
    }

    private func processInput(_ connection: ClientConnection) {
        let (used, drop) = process(connection, connection.input.readable)
        if connection.input.isEmpty { return }
        connection.input.remove(drop)
        connection.input.consume(used)
        reserveBody(connection)
    }

    /// Goes on with what waited for an answer or for the socket.
    func processWaiting(_ connection: ClientConnection) {
        guard !connection.isDoomed else { return }
        if !connection.input.isEmpty { processInput(connection) }
        if connection.hasEnded { ended(connection) }
        settle(connection)
    }

    /// Decides whether to read on.
    private func settle(_ connection: ClientConnection) {
        guard !connection.isDoomed else { return }
        switch connection.phase {
        case .finishing, .lingering, .eventStream: connection.input.clear()
        case .http, .webSocket, .closing: break
        }
        updateInterest(connection)
    }

    /// The other side sends no more. What it asked before that is still answered.
    private func ended(_ connection: ClientConnection) {
        switch connection.phase {
        case .http:
            if connection.isWaiting || connection.isResuming { return }
            if !connection.input.isEmpty, connection.output.count > settings.unsentBytes { return }
            if connection.output.isEmpty { doom(connection) } else { finish(connection) }
        case .finishing: markDirty(connection)
        case .webSocket, .eventStream, .closing, .lingering: doom(connection)
        }
    }

    /// Ends the connection once what waits has been sent.
    func finish(_ connection: ClientConnection) {
        connection.phase = .finishing
        connection.deadline = seconds + settings.closeSeconds
        markDirty(connection)
    }

    /// Serves what is there. Returns how many bytes were used, and a range behind them that is no longer needed.
    private func process(
        _ connection: ClientConnection, _ bytes: UnsafeMutableRawBufferPointer
    ) -> (used: Int, drop: Range<Int>) {
        connection.isProcessing = true
        defer { connection.isProcessing = false }
        var used = 0
        if connection.phase == .http {
            let drop = processRequests(connection, bytes, &used)
            if connection.phase == .http { return (used, drop) }
        }
        switch connection.phase {
        case .webSocket, .closing: processFrames(connection, bytes, &used)
        case .http, .eventStream, .finishing, .lingering: used = bytes.count
        }
        return (used, used..<used)
    }

    private func processRequests(
        _ connection: ClientConnection, _ bytes: UnsafeMutableRawBufferPointer, _ used: inout Int
    ) -> Range<Int> {
        while connection.phase == .http, !connection.isWaiting, used < bytes.count {
            if connection.output.count > settings.unsentBytes { break }
            let rest = UnsafeRawBufferPointer(rebasing: bytes[used...]).bytes
            switch connection.parser.read(rest, limits: settings.request) {
            case .needMore(let drop):
                if connection.requestStart == 0 { connection.requestStart = max(1, seconds) }
                if connection.parser.awaitsContinue {
                    connection.parser.sentContinue()
                    connection.output.append("HTTP/1.1 100 Continue\r\n\r\n")
                    markDirty(connection)
                }
                return drop.isEmpty ? used..<used : used + drop.lowerBound..<used + drop.upperBound
            case .request(let size):
                connection.requestStart = 0
                count { $0.requests += 1 }
                connection.isWaiting = true
                connection.route = 0
                connection.requestedAt = loop.now
                connection.isHead = connection.parser.head.method == .head
                connection.closesAfterAnswer = !connection.parser.head.keepsAlive || isDraining
                connection.isOldHTTP = connection.parser.head.flags.contains(.http10)
                let head = connection.parser.head
                if connection.parser.isChunked {
                    let body = connection.parser.decoded
                    body.withUnsafeBytes { handler.request(connection.id, head, rest, body: $0.bytes) }
                } else {
                    let range = connection.parser.bodyRange
                    let body = UnsafeRawBufferPointer(
                        rebasing: bytes[used + range.lowerBound..<used + range.upperBound])
                    handler.request(connection.id, head, rest, body: body.bytes)
                }
                connection.parser.reset()
                used += size
            case .refused(let refusal):
                refuse(connection, refusal)
                used = bytes.count
            }
        }
        return used..<used
    }

    private func processFrames(
        _ connection: ClientConnection, _ bytes: UnsafeMutableRawBufferPointer, _ used: inout Int
    ) {
        // Taken out, so that a message that is being put together is never copied.
        guard var receiver = connection.receiver.take() else { return }
        defer { connection.receiver = receiver }
        var span = bytes.mutableBytes
        reading: while !connection.isDoomed {
            let step = receiver.read(&span, at: &used)
            switch step {
            case .needMore: break reading
            case .message(let kind, let range):
                guard connection.phase == .webSocket else { continue }
                count { $0.messages += 1 }
                handler.message(connection.id, kind, UnsafeRawBufferPointer(rebasing: bytes[range]).bytes)
            case .assembled(let kind):
                guard connection.phase == .webSocket else { continue }
                count { $0.messages += 1 }
                receiver.assembly.withUnsafeBytes { handler.message(connection.id, kind, $0.bytes) }
            case .ping(let range):
                guard connection.phase == .webSocket else { continue }
                // A client that pings and does not read is not given memory for it.
                if connection.output.count > settings.unsentBytes { continue }
                appendFrame(connection, .pong, UnsafeRawBufferPointer(rebasing: bytes[range]).bytes)
            case .pong: continue
            case .close(let code, _):
                used = bytes.count
                peerClosed(connection, code)
                break reading
            case .failed(let code, let reason):
                used = bytes.count
                count { $0.badFrames += 1 }
                if connection.phase == .webSocket {
                    close(connection.id, code: code, reason: reason)
                    connection.closeCode = code
                }
                finish(connection)
                break reading
            }
        }
    }

    /// The other side's close frame: answered with the same code, unless it answers ours.
    private func peerClosed(_ connection: ClientConnection, _ code: UInt16?) {
        if connection.phase == .webSocket {
            leaveChannel(connection)
            var payload: [UInt8] = []
            if let code { payload = WebSocketFrame.closePayload(code, "") }
            payload.withUnsafeBytes { appendFrame(connection, .close, $0.bytes) }
            connection.closeCode = code ?? 1005
        }
        connection.hasEnded = true
        finish(connection)
    }
}
