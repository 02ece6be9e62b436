/// Messages to WebSockets and event streams: to one, or to all of a channel.
extension ClientServer {
    // MARK: One connection

    /// Sends one message to a WebSocket, or to an event stream (where its kind makes no difference and an empty one is
    /// nothing); ignored if it is closing, has overrun, or is gone.
    public func send(_ id: ConnectionID, _ kind: WebSocketMessage = .text, _ bytes: RawSpan) {
        guard let connection = connection(id), connection.isOpen, !connection.hasOverrun, !connection.isCutOff else {
            return
        }
        if connection.output.count > settings.subscriberBytes {
            connection.hasOverrun = true
            overrun(connection)
        } else if connection.phase == .webSocket {
            appendFrame(connection, kind == .text ? .text : .binary, bytes)
        } else {
            appendPiece(connection, bytes)
        }
    }

    /// Asks for one call of `emptied`, at the end of the turn or later, when all that was sent and broadcast to this
    /// connection so far is in the hands of its socket. Asking again before is the same; never answered if the
    /// connection is closing, or ends before.
    public func notify(_ id: ConnectionID) {
        guard let connection = connection(id), connection.isOpen else { return }
        connection.wantsNotice = true
        // Answered where what waits is flushed.
        markDirty(connection)
    }

    /// Ends a WebSocket conversation or an event stream, after what was sent and broadcast to it before.
    ///
    /// - Parameters:
    ///   - code: what `closed` will say, too.
    ///   - reason: for WebSockets; cut to 123 bytes.
    ///   - abruptly: without the close frame or the last chunk, so that the client takes it for a lost connection.
    public func close(_ id: ConnectionID, code: UInt16, reason: String, abruptly: Bool = false) {
        guard let connection = connection(id), connection.isOpen else { return }
        tune(id, nil)
        if connection.phase == .webSocket, !abruptly { return sendClose(connection, code, reason) }
        if connection.framing == .chunks, !abruptly { connection.output.append("0\r\n\r\n") }
        connection.closeCode = code
        connection.input.clear()
        finish(connection)
    }

    private func sendClose(_ connection: ClientConnection, _ code: UInt16, _ reason: String) {
        WebSocketFrame.closePayload(code, reason).withUnsafeBytes { appendFrame(connection, .close, $0.bytes) }
        connection.closeCode = code
        connection.phase = .closing
        connection.deadline = seconds + settings.closeSeconds
    }

    /// A subscriber reads too slowly: what it is owed of its channel is dropped, and the handler told.
    private func overrun(_ connection: ClientConnection) {
        count { $0.slowSubscribers += 1 }
        let mark = connection.fanout?.mark(connection.member, behind: connection.tunedAt)
        leaveChannel(connection)
        connection.isCutOff = true
        notices.append(.overran(connection.id, mark: mark))
    }

    /// Appends a frame of the connection's own.
    func appendFrame(_ connection: ClientConnection, _ opcode: WebSocketFrame.Opcode, _ payload: RawSpan) {
        holdMember(connection)
        FrameHeader(opcode.rawValue, payload.byteCount).withBytes { connection.output.append($0) }
        connection.output.append(payload)
        markDirty(connection)
    }

    /// Appends a piece of an event stream of the connection's own.
    func appendPiece(_ connection: ClientConnection, _ bytes: RawSpan) {
        holdMember(connection)
        if connection.framing == .chunks {
            connection.output.append(chunk: bytes)
        } else {
            connection.output.append(bytes)
        }
        markDirty(connection)
    }

    /// Own bytes go first, but never into the middle of a frame from the ring.
    private func holdMember(_ connection: ClientConnection) {
        guard let channel = connection.fanout else { return }
        channel.takeFrameRest(connection.member, into: &connection.output)
        channel.setHeld(connection.member, true)
    }

    // MARK: Channels

    /// From now on a WebSocket or an event stream gets what is broadcast on `channel`, and on no other; nil for nothing.
    /// What it was owed of its former channel still comes, first. All members of a channel have to be of one form.
    public func tune(_ id: ConnectionID, _ channel: BroadcastChannel?) {
        guard let connection = connection(id), connection.isOpen, !connection.isCutOff, let framing = connection.framing
        else { return }
        let wanted = channel.map { Int32($0.rawValue) } ?? -1
        if connection.channel == wanted { return }
        if let old = connection.fanout, old.owes(connection.member) {
            old.takeRest(connection.member, into: &connection.output)
            markDirty(connection)
        }
        leaveChannel(connection)
        guard wanted >= 0 else { return }
        let fanout = fanout(Int(wanted), framing)
        connection.channel = wanted
        connection.fanout = fanout
        connection.tunedAt = fanout.ring.head
        connection.member = fanout.add(
            connection.descriptor, slot: Int32(connection.id.slot),
            isHeld: connection.isFull || !connection.output.isEmpty)
    }

    /// Where the members of a channel with this framing are; made if there is none.
    private func fanout(_ index: Int, _ framing: Framing) -> Fanout {
        while channels.count <= index { channels.append(nil) }
        let base: Framing = framing.isStream ? .chunks : .frames
        let found: Fanout
        if let fanout = channels[index], fanout.ring.framing == base || fanout.totalCount > 0 {
            precondition(fanout.ring.framing == base, "channel \(index) has members of the other form")
            found = fanout
        } else {
            found = Fanout(base, budget: settings.subscriberBytes)
            channels[index] = found
        }
        if framing == base { return found }
        let bare = found.bare ?? Fanout(framing, budget: settings.subscriberBytes)
        found.bare = bare
        return bare
    }

    /// Takes a connection off its channel. The rest of a frame that was sent in part moves to its own bytes.
    func leaveChannel(_ connection: ClientConnection) {
        guard let channel = connection.fanout else { return }
        if !connection.isDoomed { channel.takeFrameRest(connection.member, into: &connection.output) }
        if let moved = channel.remove(connection.member) { connections[Int(moved)]?.member = connection.member }
        connection.fanout = nil
        connection.channel = -1
        connection.member = -1
    }

    /// Sends one message to every connection of a channel. It leaves at the end of the turn, or before if much is
    /// broadcast in one turn.
    ///
    /// - Parameter mark: what `overran` says of the last one that a member got.
    public func broadcast(_ channel: BroadcastChannel, _ bytes: RawSpan, mark: UInt64 = 0) {
        guard Int(channel.rawValue) < channels.count, let fanout = channels[Int(channel.rawValue)] else { return }
        broadcast(fanout, bytes, mark)
        if let bare = fanout.bare { broadcast(bare, bytes, mark) }
    }

    private func broadcast(_ fanout: Fanout, _ bytes: RawSpan, _ mark: UInt64) {
        guard fanout.count > 0, bytes.byteCount > 0 || !fanout.ring.framing.isStream else { return }
        if !fanout.hasRoom(forMessage: bytes.byteCount) {
            // All of it, since members whose own bytes go first would hold the ring.
            flushAll()
            if !fanout.hasRoom(forMessage: bytes.byteCount) {
                fanout.findSlow(beforeMessage: bytes.byteCount, into: &trouble)
                settleTrouble()
                fanout.release()
            }
        }
        fanout.append(bytes, mark: mark)
        if !fanout.isDirty {
            fanout.isDirty = true
            dirtyChannels.append(fanout)
        }
    }

    /// Ends a channel, whose number may then be used for another. Members get what they are owed.
    public func closeChannel(_ channel: BroadcastChannel) {
        let index = Int(channel.rawValue)
        guard index < channels.count, let fanout = channels[index] else { return }
        empty(fanout)
        if let bare = fanout.bare { empty(bare) }
        channels[index] = nil
    }

    private func empty(_ fanout: Fanout) {
        while fanout.count > 0 {
            guard let connection = connections[Int(fanout.slot(fanout.count - 1))] else {
                preconditionFailure("a member of a channel has no connection")
            }
            tune(connection.id, nil)
            // A connection that is closing has left its channel already; one that is doomed is owed nothing.
            if connection.fanout != nil { leaveChannel(connection) }
        }
    }

    /// Looks after the members that a flush could not serve.
    func settleTrouble() {
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
            if let connection = connections[Int(slot)], connection.isOpen { overrun(connection) }
        }
    }
}
