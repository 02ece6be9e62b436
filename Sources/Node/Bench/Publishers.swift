internal import Transport

/// Connections that post events over HTTP and wait for the answers, each with at most `pipeline` under way.
final class Publishers: EventHandler {
    private struct State {
        /// When each unanswered request was sent, or due; from `head` on.
        var sentAt: [UInt64] = []
        var head = 0
        var sequence: UInt32 = 0
    }

    /// Every connection; one that ended stays, so that indices hold.
    private(set) var connections: [LoadConnection] = []
    private var states: [State] = []
    private var template: EventTemplate
    private let pipeline: Int
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    private var turn = 0
    private(set) var sent: UInt64 = 0
    /// Answers with a 2xx status.
    private(set) var accepted: UInt64 = 0
    /// Answers with another status, or that were no HTTP.
    private(set) var errors: UInt64 = 0
    /// The first of those, for the person who reads the result.
    private(set) var firstError: String?
    /// Called after each answer with the moment its request was sent.
    var onAnswer: (_ connection: Int, _ sentAt: UInt64) -> Void = { _, _ in }

    init(count: Int, pipeline: Int, nodes: [NodeURL], run: UInt32, loop: EventLoop) throws {
        self.pipeline = pipeline
        template = EventTemplate(run: run, host: nodes[0].target.description)
        for index in 0..<count {
            let socket = try ClientSocket(to: nodes[index % nodes.count], milliseconds: 5_000)
            connections.append(try LoadConnection(socket, index: index, loop: loop, handler: self))
            states.append(State())
        }
    }

    deinit { buffer.deallocate() }

    /// Events posted by one connection.
    func sequence(_ index: Int) -> UInt32 { states[index].sequence }

    /// Requests without an answer on connections that are still open.
    var waiting: Int { connections.indices.reduce(0) { $0 + (connections[$1].isOpen ? outstanding($1) : 0) } }

    /// Connections that ended before the benchmark did.
    var closed: Int { connections.count { !$0.isOpen } }

    private func outstanding(_ index: Int) -> Int { states[index].sentAt.count - states[index].head }

    /// Posts one event on this connection, unless it is closed or has enough under way; `moment` is when it was due.
    @discardableResult func publish(on index: Int, at moment: UInt64) -> Bool {
        guard connections[index].isOpen, outstanding(index) < pipeline else { return false }
        template.fill(publisher: index, sequence: states[index].sequence, nanoseconds: moment)
        connections[index].write { $0 += template.bytes }
        states[index].sequence += 1
        states[index].sentAt.append(moment)
        sent += 1
        return true
    }

    /// Posts one event on the next connection that can; false if none can.
    func publishOnAny(at moment: UInt64) -> Bool {
        for _ in connections.indices {
            turn = (turn + 1) % connections.count
            if publish(on: turn, at: moment) { return true }
        }
        return false
    }

    /// Sends what was posted.
    func flush() {
        for connection in connections where connection.waitingBytes > 0 { connection.flush() }
    }

    func ready(_ token: UInt32, _ readiness: Readiness) {
        let index = Int(token)
        let connection = connections[index]
        if readiness.contains(.write) { connection.flush() }
        connection.receive(into: buffer) { bytes, used in
            while let answer = takeAnswer(UnsafeRawBufferPointer(rebasing: bytes[used...])) {
                used += answer.byteCount
                note(answer, index)
            }
        }
        // So many are kept before the answered ones are forgotten, that forgetting costs nothing per answer.
        if states[index].head > 1_024 {
            states[index].sentAt.removeFirst(states[index].head)
            states[index].head = 0
        }
    }

    private struct Answer {
        var byteCount: Int
        var isAccepted: Bool
        var complaint: String?
    }

    private func takeAnswer(_ bytes: UnsafeRawBufferPointer) -> Answer? {
        guard !bytes.isEmpty else { return nil }
        switch HTTPAnswerHead.read(bytes.bytes) {
        case .needMore: return nil
        case .malformed:
            return Answer(byteCount: bytes.count, isAccepted: false, complaint: "the answer is not HTTP")
        case .head(let head):
            // A node gives every answer's length; nothing else could be pipelined.
            guard let length = head.contentLength else {
                return Answer(byteCount: bytes.count, isAccepted: false, complaint: "an answer without Content-Length")
            }
            guard bytes.count >= head.end + length else { return nil }
            let isAccepted = (200..<300).contains(head.status)
            let body = isAccepted ? nil : String(decoding: bytes[head.end..<head.end + min(length, 300)], as: UTF8.self)
            return Answer(
                byteCount: head.end + length, isAccepted: isAccepted,
                complaint: body.map { "HTTP \(head.status) \($0)" })
        }
    }

    private func note(_ answer: Answer, _ index: Int) {
        if answer.isAccepted { accepted += 1 } else { errors += 1 }
        if let complaint = answer.complaint, firstError == nil { firstError = printable(complaint) }
        guard outstanding(index) > 0 else { return }
        let sentAt = states[index].sentAt[states[index].head]
        states[index].head += 1
        onAnswer(index, sentAt)
    }
}

/// A whole request to post one event, whose few changing places are overwritten in place.
struct EventTemplate {
    /// The request as it goes over the wire.
    private(set) var bytes: [UInt8]
    private let scopeAt: Int
    private let traceAt: Int
    private let markAt: Int
    private let run: UInt32

    init(run: UInt32, host: String) {
        self.run = run
        let hole = { (count: Int) in String(repeating: "0", count: count) }
        let parts = [
            #"{"type":"reward","scope":"bench.s"#, hole(2), #"","trace_id":"trace-"#, hole(16),
            #"","agent_id":"bench-agent-1","parent_ids":[],"payload":{"value":0.01,"note":"load generator","mark":""#,
            hole(Mark.byteCount), #""}}"#,
        ]
        let body = parts.joined()
        let head =
            "POST /api/events HTTP/1.1\r\nHost: \(host)\r\nContent-Type: application/json\r\n"
            + "Content-Length: \(body.utf8.count)\r\n\r\n"
        bytes = Array((head + body).utf8)
        let offsets = parts.reduce(into: [head.utf8.count]) { $0.append($0[$0.count - 1] + $1.utf8.count) }
        (scopeAt, traceAt, markAt) = (offsets[1], offsets[3], offsets[5])
    }

    /// Makes it the request for this event.
    mutating func fill(publisher: Int, sequence: UInt32, nanoseconds: UInt64) {
        bytes[scopeAt] = 0x30 + UInt8(sequence / 10 % 10)
        bytes[scopeAt + 1] = 0x30 + UInt8(sequence % 10)
        let mark = Mark(
            run: run, publisher: UInt8(truncatingIfNeeded: publisher), sequence: sequence, nanoseconds: nanoseconds)
        Mark.put(UInt64(run) << 32 | UInt64(sequence), digits: 16, &bytes, traceAt)
        mark.write(over: &bytes, at: markAt)
    }
}
