import CRDT

/// What kind of direct message it is.
enum MessageType: UInt8, CaseIterable, Sendable {
    case request, response, notification, taskAssignment, taskComplete, taskFailed, query, answer, proposal, vote
    case heartbeat, shutdown, error, broadcast

    /// The word on the wire.
    var word: StaticString {
        switch self {
        case .request: "request"
        case .response: "response"
        case .notification: "notification"
        case .taskAssignment: "task_assignment"
        case .taskComplete: "task_complete"
        case .taskFailed: "task_failed"
        case .query: "query"
        case .answer: "answer"
        case .proposal: "proposal"
        case .vote: "vote"
        case .heartbeat: "heartbeat"
        case .shutdown: "shutdown"
        case .error: "error"
        case .broadcast: "broadcast"
        }
    }

    /// The type with this word.
    init?(_ text: String) {
        guard let found = Self.allCases.first(where: { "\($0.word)" == text }) else { return nil }
        self = found
    }

    /// The type that a scanned string names.
    init?(_ value: JSONScanner.Value, _ bytes: RawSpan) {
        guard let found = Self.allCases.first(where: { EventFields.matches(value, $0.word, bytes) }) else { return nil }
        self = found
    }

    /// All words, for messages.
    static let expected = "one of " + allCases.map { "\($0.word)" }.joined(separator: ", ")
}

/// Where the fields of one direct message lie in its JSON: the one scan that accepting and reading a message share.
struct MessageFields {
    /// The most members of a message besides those that this node knows.
    static let maximumExtras = 256

    enum Name: Int, CaseIterable {
        case id, sender, receiver, messageType, content, runID, correlationID, metadata, priority
        // Ours from here on: what a client sends under these names is replaced.
        case timestamp, origin, replica, seq, stamp

        var word: StaticString {
            switch self {
            case .id: "id"
            case .sender: "sender"
            case .receiver: "receiver"
            case .messageType: "message_type"
            case .content: "content"
            case .runID: "run_id"
            case .correlationID: "correlation_id"
            case .metadata: "metadata"
            case .priority: "priority"
            case .timestamp: "timestamp"
            case .origin: "origin"
            case .replica: "replica"
            case .seq: "seq"
            case .stamp: "stamp"
            }
        }
    }

    private var known: [JSONScanner.Value?] = Array(repeating: nil, count: Name.allCases.count)
    /// Where the key `timestamp` starts: the end of what the client said, in a message that a node wrote.
    private(set) var timestampKey = 0
    /// Members that are kept though nobody here knows them.
    private(set) var extras: [(key: JSONScanner.Value, value: JSONScanner.Value)] = []

    subscript(name: Name) -> JSONScanner.Value? { known[name.rawValue] }

    /// Scans the one object that `bytes` must be.
    init(_ bytes: RawSpan) throws(NodeError) {
        try JSONScanner.oneObject(bytes, "a message") { (scanner, key) throws(JSONError) in
            guard let name = Name.allCases.first(where: { EventFields.matches(key, $0.word, bytes) }) else {
                guard extras.count < Self.maximumExtras else {
                    throw JSONError(offset: key.range.lowerBound, reason: "more than 256 unknown fields")
                }
                for (other, _) in extras where EventFields.isSame(other, key, bytes) { throw JSONError.twice(key) }
                return extras.append((key, try scanner.value(bytes)))
            }
            guard known[name.rawValue] == nil else { throw JSONError.twice(key) }
            if name == .timestamp { timestampKey = key.range.lowerBound }
            known[name.rawValue] = try scanner.value(bytes)
        }
    }
}
