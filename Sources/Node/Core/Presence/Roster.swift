import CRDT

/// The body of a roster frame: which sessions its sender has.
///
/// | field | bytes | |
/// |---|---|---|
/// | flags | 1 | 1: part of everything, 2: its first part, 4: its last part; without 1: what changed |
/// | session | varint | again and again to the end of the frame: |
/// | state | 1 | 0: gone, and nothing more of it; 1: on `/ws`; 2: an event stream |
/// | agent | varint length and UTF-8 | empty for none |
/// | since | varint | milliseconds since the Unix epoch |
/// | groups | varint count, then each: | its name as varint length and UTF-8, a varint of what is taken at once |
enum Roster {
    struct Flags: OptionSet {
        let rawValue: UInt8
        static let whole = Flags(rawValue: 1)
        static let first = Flags(rawValue: 2)
        static let last = Flags(rawValue: 4)
    }

    /// A frame is about so large.
    static let frameBytes = 64 << 10

    /// One frame or more; at least one where it is everything.
    static func encode(_ sessions: [(SessionID, Presence.Session?)], isWhole: Bool) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        var frame: [UInt8] = [0]
        for (id, session) in sessions {
            if frame.count >= frameBytes {
                frames.append(frame)
                frame = [0]
            }
            frame.append(varint: id.rawValue)
            guard let session else {
                frame.append(0)
                continue
            }
            frame.append(session.isStream ? 2 : 1)
            frame.append(text: session.agent ?? "")
            frame.append(varint: session.sinceMs)
            frame.append(varint: UInt64(session.groups.count))
            for (group, limit) in session.groups.sorted(by: { $0.key < $1.key }) {
                frame.append(text: group)
                frame.append(varint: UInt64(limit))
            }
        }
        frames.append(frame)
        guard isWhole else { return frames }
        for at in frames.indices {
            var flags = Flags.whole
            if at == 0 { flags.insert(.first) }
            if at == frames.count - 1 { flags.insert(.last) }
            frames[at][0] = flags.rawValue
        }
        return frames
    }

    static func decode(_ bytes: RawSpan) throws(DecodeError) -> (Flags, [(SessionID, Presence.Session?)]) {
        var cursor = ByteCursor(bytes)
        let flags = Flags(rawValue: try cursor.u8(bytes))
        var sessions: [(SessionID, Presence.Session?)] = []
        while cursor.remaining > 0 {
            let id = SessionID(try cursor.varint(bytes))
            let state = try cursor.u8(bytes)
            guard state > 0 else {
                sessions.append((id, nil))
                continue
            }
            guard state <= 2 else { throw .badValue(field: "state of a session") }
            var session = Presence.Session(isStream: state == 2)
            let agent = try cursor.text(bytes, limit: Presence.maximumAgentBytes)
            session.agent = agent.isEmpty ? nil : agent
            session.sinceMs = try cursor.varint(bytes)
            guard session.sinceMs < 1 << 48 else { throw .badValue(field: "since") }
            for _ in 0..<(try cursor.count(bytes, limit: Presence.maximumGroups)) {
                let group = try cursor.text(bytes, limit: GroupName.maximumBytes)
                session.groups[group] = try cursor.count(bytes, limit: GroupOptions.maximumInFlight)
            }
            sessions.append((id, session))
        }
        return (flags, sessions)
    }
}
