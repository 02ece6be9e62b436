/// What must not leave before the disk has what it follows from (DESIGN, section 4: nothing leaves a durable node
/// before its own fdatasync).
///
/// Effects are held in the order in which they came, in two batches: those that go with the commit under way, and those
/// that wait for the next. What says nothing about the state passes at once.
struct Gate: Sendable {
    /// Held until the commit under way is done.
    private(set) var flying = NodeCore.Effects()
    /// Held until the commit after it is.
    var waiting = NodeCore.Effects()

    /// Effects held.
    var count: Int { flying.list.count + waiting.list.count }
    /// Bytes that they point to.
    var byteCount: Int { flying.bytes.count + waiting.bytes.count }

    /// What waits goes with the commit that was just given to the disk.
    mutating func launch() {
        precondition(flying.list.isEmpty, "one commit at a time is under way")
        swap(&flying, &waiting)
    }

    /// The commit under way is done.
    mutating func release(into effects: inout NodeCore.Effects) { Self.move(&flying, into: &effects) }

    /// Nothing is under way, and nothing was noted: what waits waited for what is done.
    mutating func releaseAll(into effects: inout NodeCore.Effects) {
        Self.move(&flying, into: &effects)
        Self.move(&waiting, into: &effects)
    }

    /// Lets pass what waits from `start` on and need not.
    mutating func pass(from start: Int, _ mayPass: (NodeCore.Effect) -> Bool, into effects: inout NodeCore.Effects) {
        var kept = start
        for at in start..<waiting.list.count {
            let effect = waiting.list[at]
            if mayPass(effect) {
                effects.append(effect, waiting.bytes)
            } else {
                waiting.list[kept] = effect
                kept += 1
            }
        }
        waiting.list.removeLast(waiting.list.count - kept)
        if waiting.list.isEmpty { waiting.removeAll() }
    }

    /// A session's channel has gone on without it: what is held for it alone comes no more. `waiting` is what waits while
    /// an input is taken.
    mutating func cutOff(_ session: SessionID, _ waiting: inout NodeCore.Effects) {
        func isForIt(_ effect: NodeCore.Effect) -> Bool {
            switch effect {
            case .send(session, _), .tune(session, _), .notify(session): true
            default: false
            }
        }
        flying.list.removeAll(where: isForIt)
        waiting.list.removeAll(where: isForIt)
    }

    private static func move(_ from: inout NodeCore.Effects, into effects: inout NodeCore.Effects) {
        if effects.list.isEmpty, effects.bytes.isEmpty {
            swap(&from, &effects)
        } else {
            for effect in from.list { effects.append(effect, from.bytes) }
        }
        from.removeAll()
    }
}

extension NodeCore.Effects {
    /// Appends an effect whose bytes lie in another buffer.
    mutating func append(_ effect: NodeCore.Effect, _ bytes: [UInt8]) {
        func moved(_ range: Range<Int>) -> Range<Int> {
            let start = self.bytes.count
            self.bytes += bytes[range]
            return start..<self.bytes.count
        }
        switch effect {
        case .reply(let id, var reply, let body):
            if !reply.clock.isEmpty { reply.clock = moved(reply.clock) }
            list.append(.reply(id, reply, body: moved(body)))
        case .send(let session, let range): list.append(.send(session, moved(range)))
        case .broadcast(let channel, let range, let mark): list.append(.broadcast(channel, moved(range), mark: mark))
        case .datagram(let to, let range): list.append(.datagram(to: to, moved(range)))
        case .write(let link, let range): list.append(.write(link, moved(range)))
        case .stream, .notify, .close, .tune, .closeChannel, .dial, .hangUp, .wake, .log, .disk, .leaving, .left:
            list.append(effect)
        }
    }
}

extension NodeCore.Effect {
    /// Whether it says nothing about what was written or read. Datagrams carry who is alive and a hash of the logs.
    var passesGate: Bool {
        switch self {
        case .datagram, .dial, .wake, .log, .disk: true
        // A request that could not be understood or not be served: nothing was looked at.
        case .reply(_, let reply, _): [400, 413, 422, 503, 504, 507].contains(reply.status)
        case .stream, .send, .notify, .close, .tune, .broadcast, .closeChannel, .write, .hangUp, .leaving,
            .left:
            false
        }
    }
}
