import CRDT
import Gossip

/// From the log to those who listen.
extension NodeCore {
    /// A quiet client is told so often how far it has come, in milliseconds: a rare filter must not fall behind what is
    /// kept, and proxies close what is silent.
    static let heartbeatMs: UInt64 = 15_000

    /// Shows an event that was just read to everybody who wants it. `json` is the event in the effects' bytes, `frame` the
    /// same as plain clients on `/ws` get it.
    mutating func deliver(
        _ view: EventView, _ position: Int, json: Range<Int>, frame: Range<Int>, now: Instant,
        into effects: inout Effects
    ) {
        switch view.surface {
        case .semp: break
        case .bus: answerWaits(view, json, now: now, into: &effects)
        case .message: return show(view, json, into: &effects)
        case .chat: return showChat(view, position, json, now: now, into: &effects)
        }
        guard !sessions.isSilent else { return }
        var channels: [ChannelID] = []
        swap(&channels, &channelScratch)
        sessions.channels(for: view, effects.bytes.span.bytes.extracting(json), into: &channels)
        // One frame of each kind, made when somebody wants it.
        var frames: (withCursor: Range<Int>?, stream: Range<Int>?)
        for channel in channels {
            let wish = sessions.wish(of: channel)
            let bytes: Range<Int>
            switch (wish.form, wish.wantsCursors) {
            case (.webSocket, false): bytes = frame
            case (.webSocket, true):
                bytes = frames.withCursor ?? appendFrame(json, .webSocket, position, into: &effects)
                frames.withCursor = bytes
            case (.eventStream, _), (.envelopes, _):
                bytes = frames.stream ?? appendFrame(json, .eventStream, position, into: &effects)
                frames.stream = bytes
            }
            effects.list.append(.broadcast(channel, bytes, mark: UInt64(position) + 1))
        }
        counters.delivered += channels.count
        channels.removeAll(keepingCapacity: true)
        swap(&channels, &channelScratch)
    }

    private mutating func appendFrame(
        _ json: Range<Int>, _ form: Sessions.Form, _ position: Int, into effects: inout Effects
    ) -> Range<Int> {
        EventFrame.append(json, form, cursor: cursorText(through: position), into: &effects.bytes)
    }

    // MARK: - Cursors

    /// The cursor of whoever has read everything up to a position, that one included.
    mutating func cursorText(through position: Int) -> [UInt8] {
        guard position + 1 < cluster.log.end else { return latestCursorText() }
        var text: [UInt8] = []
        CompactVector(cluster.log.seen(through: position)).encode(into: &text)
        return text
    }

    /// The cursor of whoever has read everything.
    private mutating func latestCursorText() -> [UInt8] {
        let digest = cluster.log.digest
        if latestCursor.digest != digest || latestCursor.text.isEmpty {
            latestCursor = (digest, [])
            CompactVector(cluster.log.everKnown).encode(into: &latestCursor.text)
        }
        return latestCursor.text
    }

    /// How far a session has come: on its channel as far as this node, while it is resumed as far as it was sent.
    mutating func cursorText(of session: SessionID) -> [UInt8] {
        guard let resume = sessions[session]?.resume else { return latestCursorText() }
        return resume.cursorText(cluster.log)
    }

    /// Tells quiet clients how far they have come.
    mutating func beatHearts(now: Instant, into effects: inout Effects) {
        guard sessions.needsHeartbeat else { return heartbeatDue = nil }
        guard let due = heartbeatDue else { return heartbeatDue = now.advanced(milliseconds: Self.heartbeatMs) }
        guard now >= due else { return }
        heartbeatDue = now.advanced(milliseconds: Self.heartbeatMs)
        let cursor = latestCursorText()
        let mark = UInt64(index.end)
        var frames: [Sessions.Form: Range<Int>] = [:]
        for channel in sessions.channelsWithCursors {
            let form = sessions.wish(of: channel).form
            let frame = frames[form] ?? EventFrame.append(cursor: cursor, form, into: &effects.bytes)
            frames[form] = frame
            effects.list.append(.broadcast(channel, frame, mark: mark))
        }
        // Who is served by itself for long, because it has seen more than this node.
        for session in sessions.resuming.sorted() {
            guard let state = sessions[session], state.wantsCursors, state.resume?.isWaiting == false else { continue }
            let frame = EventFrame.append(cursor: cursorText(of: session), state.form, into: &effects.bytes)
            effects.list.append(.send(session, frame))
        }
    }

    // MARK: - Slow clients

    /// The client reads too slowly. It is told from where to resume, and its history is its own cost.
    mutating func overran(_ session: SessionID, mark: UInt64?, into effects: inout Effects) {
        guard let state = sessions[session] else { return }
        if state.form == .envelopes { return envelopesOverran(session, into: &effects) }
        counters.overrun += 1
        // Of one that got nothing of its channel it is not known how much of what came before it has got; and of what is
        // no longer held, where one stood in it.
        let isKnown = state.resume == nil && state.channel != nil && mark ?? 0 >= UInt64(cluster.log.start)
        let cursor = mark.map { isKnown ? cursorText(through: Int($0) - 1) : [] } ?? []
        sessions.overran(session, into: &effects.list)
        say(session, "overrun", ref: nil, into: &effects) { out in
            if !cursor.isEmpty {
                out.append(constant: ",\"cursor\":\"")
                out += cursor
                out.append(UInt8(ascii: "\""))
            }
            out.append(
                constant: ",\"message\":\"too slow: read faster or ask for less; connect again, to any node, and")
            out.append(constant: " resume from this cursor or the last one that came\"")
        }
        let hint = cursor.isEmpty || cursor.count > 64 ? "" : "; resume from \(String(decoding: cursor, as: UTF8.self))"
        effects.list.append(.close(session, code: 1_013, reason: "too slow\(hint)"))
    }

    // MARK: - Leaving

    /// Sends every client away: to other nodes, with how far it has come.
    mutating func dismissSessions(into effects: inout Effects) {
        let nodes = cluster.membership.members.filter {
            $0.state == .alive && $0.replica != settings.replica && !$0.http.isEmpty
        }
        for session in sessions.ids {
            let cursor = cursorText(of: session)
            // The cursor covers what its channel still owes it, and what is said to one client overtakes that.
            effects.list.append(.tune(session, nil))
            say(session, "drain", ref: nil, into: &effects) { out in
                out.append(constant: ",\"nodes\":[")
                for (i, node) in nodes.enumerated() {
                    if i > 0 { out.append(UInt8(ascii: ",")) }
                    out.append(json: "http://\(node.http)")
                }
                out.append(constant: "],\"cursor\":\"")
                out += cursor
                out.append(UInt8(ascii: "\""))
            }
        }
        closeSessions(
            code: 1_001, reason: "this node is shutting down; connect to another one", into: &effects)
    }

    /// This node has read the state of a peer in place of entries that it missed, and cannot show them. Clients with cursors
    /// go on where they are: there, or here, they are told what is gone.
    mutating func dismissReaders(into effects: inout Effects) {
        for session in sessions.ids where sessions[session]?.wantsCursors == true {
            effects.list.append(
                .close(session, code: 1_012, reason: "this node skips what it missed; resume from the last cursor"))
            sessions.close(session, into: &effects.list)
        }
    }

    /// Ends every session.
    mutating func closeSessions(code: UInt16, reason: String, into effects: inout Effects) {
        for session in sessions.ids {
            if eventService[session] != nil {
                endEnvelopes(session, into: &effects)
                continue
            }
            effects.list.append(.close(session, code: code, reason: reason))
            sessions.close(session, into: &effects.list)
            presence.close(session)
        }
    }
}
