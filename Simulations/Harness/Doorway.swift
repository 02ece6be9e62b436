internal import Gossip
internal import NodeCore

/// Inputs and effects as numbers for the trace hash and as text for people.
extension NodeCore.Input {
    /// Which case it is, with its number.
    var code: UInt64 {
        switch self {
        case .tick: 1
        case .request(let id, _, _, _): 2 ^ id.rawValue << 32
        case .sessionOpened(let id, _): 3 ^ id.rawValue << 32
        case .sessionText(let id): 4 ^ id.rawValue << 32
        case .sessionClosed(let id): 5 ^ id.rawValue << 32
        case .datagram(let from): 6 ^ from.low << 32
        case .linkOpened(let id, _, let dialled): 7 ^ id.rawValue << 32 ^ (dialled == nil ? 0 : 1 << 31)
        case .dialFailed(let address): 8 ^ address.low << 32
        case .linkFrame(let id): 9 ^ id.rawValue << 32
        case .linkDrained(let id): 10 ^ id.rawValue << 32
        case .linkClosed(let id): 11 ^ id.rawValue << 32
        case .leave: 12
        case .requestAbandoned(let id): 13 ^ id.rawValue << 32
        case .turnEnded: 14
        case .disk: 15
        case .sessionEmptied(let id): 16 ^ id.rawValue << 32
        case .sessionOverran(let id, let mark): 17 ^ id.rawValue << 32 ^ (mark ?? 0) << 8
        }
    }

    /// One phrase for the written trace.
    var summary: String {
        switch self {
        case .tick: "tick"
        case .request(let id, let request, _, _): "request \(id.rawValue) \(request)"
        case .sessionOpened(let id, _): "session \(id.rawValue) opens"
        case .sessionText(let id): "session \(id.rawValue) says"
        case .sessionClosed(let id): "session \(id.rawValue) closes"
        case .sessionEmptied(let id): "session \(id.rawValue) has got all"
        case .sessionOverran(let id, _): "session \(id.rawValue) reads too slowly"
        case .datagram(let from): "datagram from \(from)"
        case .linkOpened(let id, let remote, let dialled):
            "link \(id.rawValue) \(dialled == nil ? "from" : "to") \(remote) stands"
        case .dialFailed(let address): "no link to \(address)"
        case .linkFrame(let id): "frame on link \(id.rawValue)"
        case .linkDrained(let id): "link \(id.rawValue) drained"
        case .linkClosed(let id): "link \(id.rawValue) closed"
        case .leave: "leave"
        case .requestAbandoned(let id): "request \(id.rawValue) is abandoned"
        case .turnEnded: "the turn ends"
        case .disk(let result): "disk: \(result)"
        }
    }
}

extension NodeCore.Effect {
    /// Which case it is, with its number.
    var code: UInt64 {
        switch self {
        case .reply(let id, let reply, _): 21 ^ id.rawValue << 32 ^ UInt64(reply.status) << 8
        case .send(let id, _): 22 ^ id.rawValue << 32
        case .close(let id, let code, _): 23 ^ id.rawValue << 32 ^ UInt64(code) << 8
        case .tune(let id, let channel): 24 ^ id.rawValue << 32 ^ UInt64(channel?.rawValue ?? .max) << 8
        case .broadcast(let channel, _, let mark): 25 ^ UInt64(channel.rawValue) << 8 ^ mark << 32
        case .closeChannel(let channel): 26 ^ UInt64(channel.rawValue) << 8
        case .datagram(let to, _): 27 ^ to.low << 8
        case .dial(let address): 28 ^ address.low << 8
        case .write(let id, _): 29 ^ id.rawValue << 32
        case .hangUp(let id, let flush): 30 ^ id.rawValue << 32 ^ (flush ? 256 : 0)
        case .wake(let instant): 31 ^ instant.microseconds << 8
        case .log(let level, let text): 32 ^ UInt64(level.rawValue) << 8 ^ UInt64(text.utf8.count) << 16
        case .left: 33
        case .leaving: 37
        case .disk: 34
        case .stream(let id): 35 ^ id.rawValue << 32
        case .notify(let id): 36 ^ id.rawValue << 32
        }
    }

    /// Where its bytes lie, if it has some.
    var range: Range<Int>? {
        switch self {
        case .reply(_, _, let range), .send(_, let range), .broadcast(_, let range, _), .datagram(_, let range),
            .write(_, let range):
            range
        case .stream, .notify, .close, .tune, .closeChannel, .dial, .hangUp, .wake, .log, .leaving, .left, .disk: nil
        }
    }

    /// Wakes are so many that the written trace leaves them out.
    var isWake: Bool { if case .wake = self { true } else { false } }

    /// One phrase for the written trace.
    var summary: String {
        switch self {
        case .reply(let id, let reply, let body): "reply \(id.rawValue) \(reply.status) \(body.count) B"
        case .send(let id, let range): "session \(id.rawValue) gets \(range.count) B"
        case .close(let id, let code, let reason): "close session \(id.rawValue): \(code) \(reason)"
        case .tune(let id, let channel): "session \(id.rawValue) on channel \(channel.map { "\($0.rawValue)" } ?? "-")"
        case .broadcast(let channel, let range, _): "channel \(channel.rawValue) gets \(range.count) B"
        case .closeChannel(let channel): "channel \(channel.rawValue) ends"
        case .datagram(let to, let range): "datagram to \(to) \(range.count) B"
        case .dial(let address): "dial \(address)"
        case .write(let id, let range): "write to link \(id.rawValue) \(range.count) B"
        case .hangUp(let id, let flush): "hang up link \(id.rawValue)\(flush ? " after the last frame" : "")"
        case .wake(let instant): "wake at \(instant)"
        case .log(let level, let text): "log \(level): \(text)"
        case .left: "left"
        case .leaving: "begins to leave"
        case .stream(let id): "request \(id.rawValue) becomes a stream"
        case .notify(let id): "say when session \(id.rawValue) has got all"
        case .disk(let job): "disk: \(job.summary)"
        }
    }
}
