import CRDT

/// What surrounds an event on its way to a client: of an event stream, a Server-Sent Event (HTML standard, section
/// 9.2.6), whose data have no line break.
enum EventFrame {
    /// Before the event's JSON on `/ws`.
    static let opening: StaticString = "{\"type\":\"event\",\"data\":"

    /// Begins a frame; the event's JSON follows.
    static func open(_ form: Sessions.Form, _ cursor: @autoclosure () -> [UInt8], into out: inout [UInt8]) {
        switch form {
        case .webSocket: out.append(constant: opening)
        // Clients of queue groups alone get no event by any other way.
        case .eventStream, .envelopes:
            out.append(constant: "id: ")
            out += cursor()
            out.append(constant: "\nevent: message\ndata: ")
        }
    }

    /// Ends a frame behind the event's JSON.
    static func close(_ form: Sessions.Form, cursor: @autoclosure () -> [UInt8]?, into out: inout [UInt8]) {
        switch form {
        case .webSocket:
            if let cursor = cursor() {
                out.append(constant: ",\"cursor\":\"")
                out += cursor
                out.append(UInt8(ascii: "\""))
            }
            out.append(UInt8(ascii: "}"))
        case .eventStream, .envelopes: out.append(constant: "\n\n")
        }
    }

    /// A frame for an event whose JSON is in the buffer already.
    static func append(
        _ json: Range<Int>, _ form: Sessions.Form, cursor: [UInt8], into out: inout [UInt8]
    ) -> Range<Int> {
        let start = out.count
        open(form, cursor, into: &out)
        out.append(contentsOf: out[json])
        close(form, cursor: cursor, into: &out)
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
        case .eventStream, .envelopes:
            out.append(constant: ": heartbeat\nid: ")
            out += cursor
            out.append(constant: "\n\n")
        }
        return start..<out.count
    }
}
