import CRDT

/// The name of a queue group.
enum GroupName {
    static let maximumBytes = 128

    /// Throws unless a name is 1 to 128 printable ASCII characters: it stands in paths, in metrics and in documents.
    static func check(_ name: String) throws(NodeError) {
        guard isValid(name) else {
            throw .invalid(field: "group", "expected a name of 1 to \(maximumBytes) printable ASCII characters")
        }
    }

    static func isValid(_ name: String) -> Bool {
        (1...maximumBytes).contains(name.utf8.count) && name.utf8.allSatisfy { (0x20...0x7e).contains($0) }
    }
}

/// Who may take over a node's part of a group when it is gone.
enum Takeover: String, Sendable, CaseIterable {
    /// The next one, once the node is found dead or has left.
    case afterDead
    /// The same, but only on a side that sees more than half of the cluster.
    case majorityOnly
    /// Nobody: its events wait until it is back.
    case never
}

/// Who of a group's consumers gets an event.
enum Sharing: String, Sendable, CaseIterable {
    /// One at the node where the event stands, if it has room; else the one with the least under way.
    case nearest
    /// The one with the least under way, wherever it is.
    case even
    /// The same consumer for events with the same correlation id, as long as it is there and has room.
    case related
}

/// What is the same for all consumers of a group: decided by whoever made it.
struct GroupOptions: Equatable, Sendable {
    /// The most events that one consumer may take at once.
    static let maximumInFlight = 10_000
    static let defaultInFlight = 16
    static let deadlineMs: ClosedRange<UInt64> = 10...86_400_000
    static let attempts: ClosedRange<UInt32> = 1...100

    /// The filter as canonical JSON.
    var filter: [UInt8]
    /// So long a consumer has to acknowledge an event, in milliseconds.
    var ackDeadlineMs: UInt64 = 30_000
    /// So often an event is handed out before it is a dead letter.
    var maxAttempts: UInt32 = 5
    var deadLetterTopic: String
    var takeover = Takeover.afterDead
    var sharing = Sharing.nearest

    init(group: String, filter: [UInt8]) {
        self.filter = filter
        deadLetterTopic = "dead-letter.\(group)"
    }

    /// What a client says of a group when it joins; what it leaves out is as it is, or the default.
    struct Wishes: Equatable, Sendable {
        var ackDeadlineMs: UInt64?
        var maxAttempts: UInt32?
        var deadLetterTopic: String?
        var takeover: Takeover?
        var sharing: Sharing?
        /// Its own, not the group's.
        var maxInFlight: Int?

        /// The options of a group that such a client makes.
        func options(group: String, filter: [UInt8]) -> GroupOptions {
            var options = GroupOptions(group: group, filter: filter)
            options.ackDeadlineMs = ackDeadlineMs ?? options.ackDeadlineMs
            options.maxAttempts = maxAttempts ?? options.maxAttempts
            options.deadLetterTopic = deadLetterTopic ?? options.deadLetterTopic
            options.takeover = takeover ?? options.takeover
            options.sharing = sharing ?? options.sharing
            return options
        }

        /// The first option of a group that is not what such a client wants.
        func conflict(with options: GroupOptions) -> String? {
            if let ackDeadlineMs, ackDeadlineMs != options.ackDeadlineMs {
                return "ack_deadline_ms is \(options.ackDeadlineMs)"
            }
            if let maxAttempts, maxAttempts != options.maxAttempts { return "max_attempts is \(options.maxAttempts)" }
            if let deadLetterTopic, deadLetterTopic != options.deadLetterTopic {
                return "dead_letter_topic is \"\(options.deadLetterTopic)\""
            }
            if let takeover, takeover != options.takeover { return "takeover is \"\(options.takeover.rawValue)\"" }
            if let sharing, sharing != options.sharing { return "sharing is \"\(options.sharing.rawValue)\"" }
            return nil
        }
    }
}

extension GroupOptions.Wishes {
    /// Reads an option by its name; nil as text where it is no text. Throws if it is not what it should be.
    mutating func read(_ name: String, _ value: JSONValue) throws(NodeError) -> Bool {
        /// A whole number, as JSON or, from a query, as text.
        func number(_ range: ClosedRange<UInt64>, _ field: StaticString) throws(NodeError) -> UInt64 {
            var text: String?
            switch value {
            case .number(let digits), .string(let digits): text = digits
            case .null, .bool, .array, .object: break
            }
            guard let number = text.flatMap({ UInt64($0) }), range.contains(number) else {
                throw .invalid(field: field, "expected a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
        if case .null = value { return true }
        switch name {
        case "ack_deadline_ms": ackDeadlineMs = try number(GroupOptions.deadlineMs, "ack_deadline_ms")
        case "max_attempts":
            let range = UInt64(GroupOptions.attempts.lowerBound)...UInt64(GroupOptions.attempts.upperBound)
            maxAttempts = UInt32(try number(range, "max_attempts"))
        case "max_in_flight":
            maxInFlight = Int(try number(1...UInt64(GroupOptions.maximumInFlight), "max_in_flight"))
        case "dead_letter_topic":
            guard let topic = value.string, (1...1_024).contains(topic.utf8.count) else {
                throw .invalid(field: "dead_letter_topic", "expected a topic of 1 to 1024 bytes")
            }
            deadLetterTopic = topic
        case "takeover":
            guard let wish = value.string.flatMap({ Takeover(rawValue: $0) }) else {
                throw .invalid(field: "takeover", "expected afterDead, majorityOnly or never")
            }
            takeover = wish
        case "sharing":
            guard let wish = value.string.flatMap({ Sharing(rawValue: $0) }) else {
                throw .invalid(field: "sharing", "expected nearest, even or related")
            }
            sharing = wish
        default: return false
        }
        return true
    }
}

extension GroupOptions {
    /// The value of a group document's field `options`.
    func encode(into out: inout [UInt8]) {
        var object = JSONObjectWriter(&out)
        object.key("filter", into: &out)
        out += filter
        object.add("ack_deadline_ms", Int(ackDeadlineMs), into: &out)
        object.add("max_attempts", Int(maxAttempts), into: &out)
        object.add("dead_letter_topic", deadLetterTopic, into: &out)
        object.add("takeover", takeover.rawValue, into: &out)
        object.add("sharing", sharing.rawValue, into: &out)
        object.close(into: &out)
    }

    /// Reads what `encode` wrote; nil for what no node writes. What a newer node says besides is left out.
    init?(group: String, _ bytes: [UInt8]) {
        guard case .object(let members)? = try? JSONValue(bytes),
            let filter = members.last(where: { $0.key == "filter" })
        else { return nil }
        var wishes = Wishes()
        for (name, value) in members where name != "filter" {
            guard (try? wishes.read(name, value)) != nil else { return nil }
        }
        self = wishes.options(group: group, filter: filter.value.encoded())
    }
}
