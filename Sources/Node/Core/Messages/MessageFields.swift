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

/// The members of a direct message.
enum MessageField: Int, FieldName {
    case id, sender, receiver, messageType, content, runID, correlationID, metadata, priority
    // Ours from here on.
    case timestamp, origin, replica, seq, stamp

    static let subject: StaticString = "a message"

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

/// Where the fields of one direct message lie in its JSON.
typealias MessageFields = NamedFields<MessageField>
