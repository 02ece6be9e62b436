internal import Transport

/// `hypha bench fanout`: publishers post events, and every WebSocket subscriber must get each exactly once, those of one
/// publisher in order. Returns the exit code: 1 if one did not.
func benchFanout(_ options: BenchFanoutOptions) throws -> Int32 {
    try makeRoom(forConnections: options.subscribers + options.publishers)
    let loop = try EventLoop()
    let run = UInt32(truncatingIfNeeded: Entropy.next())
    let subscribers = try Subscribers(options, run: run, loop: loop)
    let publishers = try Publishers(
        count: options.publishers, pipeline: 1, nodes: options.load.nodes, run: run, loop: loop)
    // A node tells its peers of the first subscribers of a kind; give that time to spread.
    let settled = SystemTime.monotonicNanoseconds() + 300_000_000
    while SystemTime.monotonicNanoseconds() < settled { loop.turn(waitingAtMost: 10_000) }

    let times = Timetable(options.load, start: SystemTime.monotonicNanoseconds())
    subscribers.times = times
    while SystemTime.monotonicNanoseconds() < times.stop, publishers.closed < options.publishers {
        let wait = pump(options, publishers, subscribers, times)
        publishers.flush()
        loop.turn(waitingAtMost: wait)
    }
    // Everything posted must still arrive; a little longer would show what comes twice.
    let limit = SystemTime.monotonicNanoseconds() + Timetable.drainNanoseconds
    var end = limit
    while SystemTime.monotonicNanoseconds() < end {
        publishers.flush()
        loop.turn(waitingAtMost: 5_000)
        if end == limit, publishers.waiting == 0,
            subscribers.delivered == publishers.sent * UInt64(options.subscribers)
        {
            end = min(limit, SystemTime.monotonicNanoseconds() + 100_000_000)
        }
    }
    let result = BenchResult(
        title: "fanout: \(options.subscribers) subscribers, \(options.publishers) publishers, "
            + (options.rate.map { "\(fixed($0, 0)) events/s" } ?? "window \(options.window)"),
        load: options.load, unit: "deliveries", delays: subscribers.delays,
        faults: [
            ("missing", subscribers.missing(publishers)), ("duplicates", subscribers.duplicates),
            ("out_of_order", subscribers.late), ("errors", Int(publishers.errors) + subscribers.errors),
            ("closed", publishers.closed + subscribers.closed),
        ], firstError: publishers.firstError ?? subscribers.firstError)
    say(result.output(json: options.load.json))
    return result.isClean ? 0 : 1
}

/// Posts what is due. Returns how long to wait at most, in microseconds.
private func pump(
    _ options: BenchFanoutOptions, _ publishers: Publishers, _ subscribers: Subscribers, _ times: Timetable
) -> UInt64 {
    guard let rate = options.rate else {
        let delivered = { subscribers.delivered / UInt64(options.subscribers) }
        while publishers.sent - delivered() < UInt64(options.window),
            publishers.publishOnAny(at: SystemTime.monotonicNanoseconds())
        {}
        return 5_000
    }
    while true {
        let due = times.start + UInt64(Double(publishers.sent) * 1e9 / rate)
        let now = SystemTime.monotonicNanoseconds()
        // The loop waits in whole milliseconds: the last one before an event is due is spent turning.
        if due > now { return (due - now) / 1_000_000 * 1_000 }
        if !publishers.publishOnAny(at: due) { return 1_000 }
    }
}

/// WebSocket clients that check what they get.
final class Subscribers: EventHandler {
    private var connections: [LoadConnection] = []
    private var receivers: [WebSocketReceiver] = []
    /// One for each subscriber and publisher.
    private var checks: [SequenceCheck]
    private var hint = 0
    private let publishers: Int
    private let run: UInt32
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    /// When to measure; nothing is measured before it is set.
    var times: Timetable?
    /// Delays of what arrived while it was measured.
    private(set) var delays = DelayHistogram()
    /// First arrivals, measured or not.
    private(set) var delivered: UInt64 = 0
    private(set) var duplicates = 0
    private(set) var late = 0
    private(set) var errors = 0
    private(set) var firstError: String?

    /// Connects them one after the other, spread over the nodes.
    init(_ options: BenchFanoutOptions, run: UInt32, loop: EventLoop) throws {
        publishers = options.publishers
        self.run = run
        checks = Array(repeating: SequenceCheck(), count: options.subscribers * options.publishers)
        for index in 0..<options.subscribers {
            let node = options.load.nodes[index % options.load.nodes.count]
            let socket = try ClientSocket(to: node, milliseconds: 5_000)
            let (received, start) = try WebSocketClient.shakeHands(socket, node, "/ws")
            // A frame that came together with the handshake's answer is from before the run: nothing of it counts.
            connections.append(
                try LoadConnection(
                    socket, index: index, input: Array(received[start...]), loop: loop, handler: self))
            receivers.append(WebSocketReceiver(.client))
        }
    }

    deinit { buffer.deallocate() }

    /// Connections that ended before the benchmark did.
    var closed: Int { connections.count { !$0.isOpen } }

    /// Deliveries that never came.
    func missing(_ publishers: Publishers) -> Int {
        checks.indices.reduce(0) { $0 + checks[$1].missing(sent: publishers.sequence($1 % self.publishers)) }
    }

    func ready(_ token: UInt32, _ readiness: Readiness) {
        let index = Int(token)
        let connection = connections[index]
        if readiness.contains(.write) { connection.flush() }
        connection.receive(into: buffer) { bytes, used in read(bytes, &used, index) }
    }

    private func read(_ bytes: UnsafeMutableRawBufferPointer, _ used: inout Int, _ index: Int) {
        let now = SystemTime.monotonicNanoseconds()
        var span = bytes.mutableBytes
        while true {
            switch receivers[index].read(&span, at: &used) {
            case .needMore: return
            case .message(_, let range): take(UnsafeRawBufferPointer(rebasing: bytes[range]).bytes, index, now)
            case .assembled:
                let whole = receivers[index].assembly
                take(whole.span.bytes, index, now)
            case .ping(let range):
                let mask = UInt32(truncatingIfNeeded: now)
                let payload = UnsafeRawBufferPointer(rebasing: bytes[range])
                connections[index].write {
                    WebSocketFrame.appendFromClient(.pong, payload.bytes, mask: mask, into: &$0)
                }
                connections[index].flush()
            case .pong: continue
            case .close(let code, let reason):
                let words = String(decoding: bytes[reason], as: UTF8.self)
                firstError = firstError ?? printable("a subscriber was closed: \(code.map(String.init) ?? "") \(words)")
                used = bytes.count
                return connections[index].end()
            case .failed(_, let reason):
                errors += 1
                firstError = firstError ?? reason
                used = bytes.count
                return connections[index].end()
            }
        }
    }

    private func take(_ message: RawSpan, _ index: Int, _ now: UInt64) {
        // Others may use the cluster too: what has no mark of this run is theirs.
        guard let mark = Mark.find(in: message, run: run, hint: &hint), Int(mark.publisher) < publishers else { return }
        switch checks[index * publishers + Int(mark.publisher)].receive(mark.sequence) {
        case .inOrder: delivered += 1
        case .late:
            delivered += 1
            late += 1
        case .duplicate:
            duplicates += 1
            return
        }
        if times?.isMeasured(now) == true { delays.record(now > mark.nanoseconds ? now - mark.nanoseconds : 0) }
    }
}
