internal import Transport

/// A blocking WebSocket connection to a node, for the commands that listen.
struct WebSocketClient: ~Copyable {
    /// What came, or did not.
    enum Arrival: Equatable {
        case text([UInt8])
        /// Nothing came in time; a ping was sent, so that the next wait tells whether anybody is there.
        case silence
    }

    private let socket: ClientSocket
    private let node: NodeURL
    private var receiver = WebSocketReceiver(.client, limit: 16 << 20)
    /// Bytes received; those before `consumed` are done with.
    private var received: [UInt8] = []
    private var consumed = 0
    private var isWaitingForPong = false
    private static let patienceMs = 10_000

    /// Connects and shakes hands (RFC 6455, section 4.1).
    init(to node: NodeURL, path: String) throws(ClientError) {
        let socket = try ClientSocket(to: node, milliseconds: 3_000)
        (received, consumed) = try Self.shakeHands(socket, node, path)
        self.socket = socket
        self.node = node
    }

    /// Asks for the WebSocket. Returns what has come, and where the frames begin in it.
    static func shakeHands(
        _ socket: borrowing ClientSocket, _ node: NodeURL, _ path: String
    ) throws(ClientError) -> ([UInt8], Int) {
        let key = WebSocketHandshake.key(Entropy.next(), Entropy.next())
        let request = WebSocketHandshake.request(host: node.target.description, target: path, key: key)
        try socket.send(request, milliseconds: patienceMs)
        let deadline = Deadline(milliseconds: patienceMs)
        var received: [UInt8] = []
        while try socket.receive(into: &received, deadline: deadline) {
            switch WebSocketHandshake.checkAnswer(received.span.bytes, key: key) {
            case .needMore: continue
            case .accepted(let end): return (received, end)
            case .refused(503, _): throw .refused(status: 503, message: "\(node) takes no more clients")
            case .refused(_, let reason): throw .notANode(node, reason: reason)
            }
        }
        throw .notANode(node, reason: "it closed the connection")
    }

    /// Sends one text message.
    func send(_ text: [UInt8]) throws(ClientError) { try send(.text, text) }

    /// The next text message. Pings are answered on the way. After `milliseconds` without anything it sends a ping; after
    /// as long again the connection counts as lost.
    mutating func next(milliseconds: Int) throws(ClientError) -> Arrival {
        while true {
            if let text = try takeMessage() {
                isWaitingForPong = false
                return .text(text)
            }
            do throws(ClientError) {
                guard try socket.receive(into: &received, deadline: Deadline(milliseconds: milliseconds)) else {
                    throw ClientError.brokenOff(node, reason: "it closed the connection")
                }
            } catch .tooSlow where !isWaitingForPong {
                isWaitingForPong = true
                try send(.ping, [])
                return .silence
            }
        }
    }

    /// Takes a message out of what was received; nil if none is whole.
    private mutating func takeMessage() throws(ClientError) -> [UInt8]? {
        while true {
            switch readFrame() {
            case .needMore:
                received.removeFirst(consumed)
                consumed = 0
                return nil
            case .message(_, let range): return Array(received[range])
            case .assembled: return receiver.assembly
            case .ping(let range): try send(.pong, Array(received[range]))
            case .pong: isWaitingForPong = false
            case .close(let code, let reason):
                let words = String(decoding: received[reason], as: UTF8.self)
                let number = code.map { "close code \($0)" } ?? "no close code"
                throw .brokenOff(node, reason: words.isEmpty ? number : "\(printable(words)), \(number)")
            case .failed(_, let reason): throw .notANode(node, reason: reason)
            }
        }
    }

    private mutating func readFrame() -> WebSocketReceiver.Step {
        // Taken out for the call: the receiver may change itself while it reads bytes that are lent to it.
        var bytes: [UInt8] = []
        swap(&bytes, &received)
        defer { swap(&bytes, &received) }
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        return receiver.read(&raw, at: &consumed)
    }

    private func send(_ opcode: WebSocketFrame.Opcode, _ payload: [UInt8]) throws(ClientError) {
        var frame: [UInt8] = []
        let mask = UInt32(truncatingIfNeeded: Entropy.next())
        WebSocketFrame.appendFromClient(opcode, payload.span.bytes, mask: mask, into: &frame)
        try socket.send(frame, milliseconds: Self.patienceMs)
    }
}
