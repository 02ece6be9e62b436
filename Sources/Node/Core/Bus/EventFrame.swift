import CRDT

/// What surrounds an event on its way to a client.
enum EventFrame {
    /// Before the event's JSON on `/ws`; a brace ends it.
    static let opening: StaticString = "{\"type\":\"event\",\"data\":"

    /// An event on `/ws` with the cursor behind it.
    static func append(_ json: Range<Int>, cursor: [UInt8], into out: inout [UInt8]) -> Range<Int> {
        let start = out.count
        out.append(constant: opening)
        out.append(contentsOf: out[json])
        out.append(constant: ",\"cursor\":\"")
        out += cursor
        out.append(constant: "\"}")
        return start..<out.count
    }

    /// An event as a Server-Sent Event (HTML standard, section 9.2.6). Its JSON has no line break.
    static func appendStream(_ json: Range<Int>, cursor: [UInt8], into out: inout [UInt8]) -> Range<Int> {
        let start = out.count
        out.append(constant: "id: ")
        out += cursor
        out.append(constant: "\nevent: message\ndata: ")
        out.append(contentsOf: out[json])
        out.append(constant: "\n\n")
        return start..<out.count
    }

    /// How far a quiet client has come. On an event stream it changes the last event id, and no handler is called.
    static func append(cursor: [UInt8], _ form: Sessions.Form, into out: inout [UInt8]) -> Range<Int> {
        let start = out.count
        switch form {
        case .webSocket:
            out.append(constant: "{\"type\":\"cursor\",\"cursor\":\"")
            out += cursor
            out.append(constant: "\"}")
        case .eventStream:
            out.append(constant: ": heartbeat\nid: ")
            out += cursor
            out.append(constant: "\n\n")
        }
        return start..<out.count
    }
}
