internal import NodeCore
internal import Glibc

/// How long to wait before the next attempt: 1 s, doubling to 30 s, as SEMP's clients do.
struct Backoff {
    private var seconds = 1

    /// Seconds to wait now; the next wait is longer.
    mutating func next() -> Int {
        defer { seconds = min(30, seconds * 2) }
        return seconds
    }

    /// The attempt succeeded.
    mutating func reset() { seconds = 1 }
}

/// `hypha watch`: prints events as they happen. Ends only by a signal, or if the node cannot be reached at the start.
func watch(_ options: WatchOptions) throws(ClientError) {
    let node = options.access.node
    var backoff = Backoff()
    var wasConnected = false
    while true {
        do throws(ClientError) {
            var connection = try WebSocketClient(to: node, path: "/ws")
            if let scope = options.scope { try connection.send(subscription(to: scope)) }
            complain("watching \(options.scope ?? "all events") at \(node)")
            wasConnected = true
            backoff.reset()
            while true {
                guard case .text(let text) = try connection.next(milliseconds: 20_000) else { continue }
                if let line = try watchLine(text, options) { say(line) }
            }
        } catch {
            if case .rejected = error { throw error }
            guard wasConnected else { throw error }
            let seconds = backoff.next()
            complain("\(error); again in \(seconds) s")
            poll(nil, 0, Int32(seconds * 1_000))
        }
    }
}

/// The frame that asks for matching scopes only.
func subscription(to scope: String) -> [UInt8] {
    JSONValue.object([("type", .string("subscribe")), ("filter", .object([("scope", .string(scope))]))]).encoded()
}

/// What to print of a frame; nil for one that is not an event. Throws if the node refused the subscription.
func watchLine(_ text: [UInt8], _ options: WatchOptions) throws(ClientError) -> String? {
    guard let frame = try? JSONValue(text) else { return nil }
    switch frame["type"]?.string {
    case "event":
        guard let event = frame["data"] else { return nil }
        return options.access.json ? line(event) : eventText(event) + "\n"
    case "error": throw .rejected(printable(frame["message"]?.string ?? frame.plain))
    default: return nil  // of a later version
    }
}
