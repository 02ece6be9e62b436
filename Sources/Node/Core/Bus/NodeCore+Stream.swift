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
        var resume: Resume?
        if let cursor = wish.cursor, case .seen(let seen) = try CursorWish(cursor) {
            resume = try begin(seen, now: now)
        }
        let session = SessionID(request.rawValue)
        effects.list.append(.stream(request))
        sessions.open(session, .eventStream, agent: wish.agent, end: index.end, into: &effects.list)
        try sessions.subscribe(
            session, [filter], wantsCursors: true, resume: resume, end: index.end, into: &effects.list)
        guard resume != nil else {
            // From here on it can resume, even if nothing comes.
            let frame = EventFrame.append(cursor: cursorText(of: session), .eventStream, into: &effects.bytes)
            return effects.list.append(.send(session, frame))
        }
        sayResumed(session, into: &effects)
        advance(session, now: now, into: &effects)
    }
}
