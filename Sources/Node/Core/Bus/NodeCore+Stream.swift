import CRDT
import Gossip

/// `GET /api/stream`: events as Server-Sent Events.
extension NodeCore {
    /// Answers with a stream, from now on or from where the client says that it has got to.
    mutating func openStream(
        _ request: RequestID, _ wish: Request.StreamWish, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        guard !isLeaving else {
            throw NodeError(status: 503, message: "this node is leaving the cluster; connect to another node")
        }
        let filter = try Filter(wish)
        if let group = wish.group {
            return try openGroupStream(request, group, filter, wish, now: now, into: &effects)
        }
        try checkMayListen([filter], wish.agent)
        var resume: Resume?
        if let cursor = wish.cursor, case .seen(let seen) = try CursorWish(cursor) {
            resume = try begin(seen, now: now)
        }
        let session = SessionID(request.rawValue)
        effects.list.append(.stream(request))
        sessions.open(session, .eventStream, agent: wish.agent, into: &effects.list)
        presence.open(session, agent: wish.agent, isStream: true, nowMs: cluster.nowMs(now))
        if let agent = wish.agent { agentConnected(agent, now: now, into: &effects) }
        try sessions.subscribe(
            session, [filter], wantsCursors: true, resume: resume, into: &effects.list)
        guard resume != nil else {
            // From here on it can resume, even if nothing comes.
            let frame = EventFrame.append(cursor: cursorText(of: session), .eventStream, into: &effects.bytes)
            return effects.list.append(.send(session, frame))
        }
        sayResumed(session, into: &effects)
        advance(session, now: now, into: &effects)
    }

    /// Answers with a stream of what is given to this consumer of a group. What has left this process counts as done,
    /// unless the client wants to say so itself.
    private mutating func openGroupStream(
        _ request: RequestID, _ group: String, _ filter: Filter, _ wish: Request.StreamWish, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        var wishes = GroupOptions.Wishes()
        for (name, text) in wish.options.sorted(by: { $0.key < $1.key }) { _ = try wishes.read(name, .string(text)) }
        let session = SessionID(request.rawValue)
        presence.open(session, agent: wish.agent, isStream: true, nowMs: cluster.nowMs(now))
        do throws(NodeError) {
            try joinGroup(
                session, group, filter, wishes, isAutomatic: !wish.acksByHand, now: now, into: &effects)
        } catch {
            presence.close(session)
            throw error
        }
        effects.list.append(.stream(request))
        sessions.open(session, .eventStream, agent: wish.agent, into: &effects.list)
        say(session, "subscribed", ref: nil, into: &effects) { out in
            out.append(constant: ",\"group\":")
            out.append(json: group)
        }
    }
}
