import CRDT
import Gossip

/// One event of one log, wherever it is read.
struct EntryKey: Hashable, Comparable, BitwiseCopyable, Sendable {
    let log: ReplicaID
    let sequence: UInt64

    static func < (a: Self, b: Self) -> Bool { (a.log, a.sequence) < (b.log, b.sequence) }
}

/// What the node that decides about an event and the node of a consumer tell each other.
enum GroupMessage: Equatable, Sendable {
    /// To the consumer's node: hand this event to that session, and take it back after so long.
    case assign(EntryKey, attempt: UInt32, SessionID, deadlineMs: UInt64)
    /// Back: it was not handed out. `isGone` if no such session consumes the group.
    case bounce(EntryKey, attempt: UInt32, SessionID, isGone: Bool)
    /// To a node that was bounced: so many more fit.
    case free(SessionID, room: Int)
    /// To the deciding node: done with.
    case settle(EntryKey)
    /// To the deciding node: not done, try again after so long. Attempt 0 means whichever is under way.
    case giveBack(EntryKey, attempt: UInt32, delayMs: UInt64)
    /// To the consumer's node: this is not its any more.
    case revoke(EntryKey, attempt: UInt32)
}

/// The body of a groups frame: messages, again and again to its end.
///
/// | field | bytes | |
/// |---|---|---|
/// | group | varint length and UTF-8 | |
/// | message | 1 | 1 assign, 2 bounce, 3 free, 4 settle, 5 give back, 6 revoke |
/// | log, sequence | 8, varint | not in 3 |
/// | attempt | varint | not in 3 and 4 |
/// | session | varint | in 1, 2 and 3 |
/// | rest | varint | 1: deadline in ms; 2: whether the session is gone; 3: room; 5: delay in ms |
enum GroupFrame {
    /// A frame is about so large.
    static let bytes = 64 << 10
    /// The longest time that one message may name, in milliseconds: a day.
    static let maximumMs = 86_400_000

    static func append(_ group: String, _ message: GroupMessage, into out: inout [UInt8]) {
        out.append(text: group)
        func head(_ type: UInt8, _ key: EntryKey) {
            out.append(type)
            out.append(replica: key.log)
            out.append(varint: key.sequence)
        }
        switch message {
        case .assign(let key, let attempt, let session, let deadlineMs):
            head(1, key)
            out.append(varint: UInt64(attempt))
            out.append(varint: session.rawValue)
            out.append(varint: deadlineMs)
        case .bounce(let key, let attempt, let session, let isGone):
            head(2, key)
            out.append(varint: UInt64(attempt))
            out.append(varint: session.rawValue)
            out.append(isGone ? 1 : 0)
        case .free(let session, let room):
            out.append(3)
            out.append(varint: session.rawValue)
            out.append(varint: UInt64(room))
        case .settle(let key): head(4, key)
        case .giveBack(let key, let attempt, let delayMs):
            head(5, key)
            out.append(varint: UInt64(attempt))
            out.append(varint: delayMs)
        case .revoke(let key, let attempt):
            head(6, key)
            out.append(varint: UInt64(attempt))
        }
    }

    /// Reads the next message.
    static func next(
        _ cursor: inout ByteCursor, _ bytes: RawSpan
    ) throws(DecodeError) -> (group: String, GroupMessage) {
        let group = try cursor.text(bytes, limit: GroupName.maximumBytes)
        let type = try cursor.u8(bytes)
        if type == 3 {
            let session = SessionID(try cursor.varint(bytes))
            return (group, .free(session, room: try cursor.count(bytes, limit: GroupOptions.maximumInFlight)))
        }
        let replica = try cursor.replica(bytes)
        let sequence = try cursor.varint(bytes)
        guard VersionVector.sequences.contains(sequence) else { throw .badValue(field: "sequence") }
        let key = EntryKey(log: replica, sequence: sequence)
        if type == 4 { return (group, .settle(key)) }
        let attempt = UInt32(try cursor.count(bytes, limit: 1 << 31))
        switch type {
        case 1:
            let session = SessionID(try cursor.varint(bytes))
            let deadlineMs = UInt64(try cursor.count(bytes, limit: maximumMs))
            return (group, .assign(key, attempt: attempt, session, deadlineMs: deadlineMs))
        case 2:
            let session = SessionID(try cursor.varint(bytes))
            return (group, .bounce(key, attempt: attempt, session, isGone: try cursor.u8(bytes) == 1))
        case 5:
            let delayMs = UInt64(try cursor.count(bytes, limit: maximumMs))
            return (group, .giveBack(key, attempt: attempt, delayMs: delayMs))
        case 6: return (group, .revoke(key, attempt: attempt))
        default: throw .badValue(field: "group message")
        }
    }
}
