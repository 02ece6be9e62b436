import CRDT

/// What kind of SEMP event it is.
enum EventType: UInt8, CaseIterable {
    case proposal, ready, test, reward, penalty

    /// The word on the wire.
    var word: StaticString {
        switch self {
        case .proposal: "proposal"
        case .ready: "ready"
        case .test: "test"
        case .reward: "reward"
        case .penalty: "penalty"
        }
    }
}

/// Where the fields of one event lie in its JSON: the one scan that accepting, replicating and reading an event share.
struct EventFields {
    /// The most members of an event besides those that SEMP and this node know.
    static let maximumExtras = 256

    enum Name: Int, CaseIterable {
        case id, type, scope, traceID, agentID, parentIDs, payload
        // Ours from here on: what a client sends under these names is replaced.
        case timestamp, origin, replica, seq, stamp, signals

        var word: StaticString {
            switch self {
            case .id: "id"
            case .type: "type"
            case .scope: "scope"
            case .traceID: "trace_id"
            case .agentID: "agent_id"
            case .parentIDs: "parent_ids"
            case .payload: "payload"
            case .timestamp: "timestamp"
            case .origin: "origin"
            case .replica: "replica"
            case .seq: "seq"
            case .stamp: "stamp"
            case .signals: "signals"
            }
        }
    }

    /// What signals need to know of the payload.
    struct Payload {
        var pattern: JSONScanner.Value?
        var action: JSONScanner.Value?
        var value: JSONScanner.Value?
        /// The Greek letter is the field's name; the Latin spelling is accepted where it is not given.
        var greekAlpha: JSONScanner.Value?
        var latinAlpha: JSONScanner.Value?

        var alpha: JSONScanner.Value? { greekAlpha ?? latinAlpha }
        var alphaName: StaticString { greekAlpha == nil ? "payload.alpha" : "payload.α" }

        /// What an event of this type does to each signal that it touches.
        func operation(of type: EventType, _ bytes: RawSpan) -> SignalOperation {
            func number(_ value: JSONScanner.Value?) -> Double? {
                value.flatMap { $0.kind == .number ? JSONText.double(bytes, $0.range) : nil }
            }
            return switch type {
            case .proposal, .ready, .test: .touch
            case .reward: .reward(gain: (number(value) ?? 0) * (number(alpha) ?? Signal.defaultAlpha))
            case .penalty: .penalty(loss: abs(number(value) ?? 0))
            }
        }
    }

    private var known: InlineArray<13, JSONScanner.Value?> = .init(repeating: nil)
    /// Where the key `timestamp` starts: the end of what the client said, in an event that this node wrote.
    private(set) var timestampKey = 0
    private(set) var payload = Payload()
    /// Strings of `parent_ids`, if all of them are.
    private(set) var parents: [JSONScanner.Value] = []
    private(set) var hasForeignParent = false
    /// Members that are kept though nobody here knows them.
    private(set) var extras: [(key: JSONScanner.Value, value: JSONScanner.Value)] = []

    subscript(name: Name) -> JSONScanner.Value? { known[name.rawValue] }

    /// Scans the one object that `bytes` must be.
    init(_ bytes: RawSpan) throws(NodeError) {
        try JSONScanner.oneObject(bytes, "an event") { (scanner, key) throws(JSONError) in
            try member(key, &scanner, bytes)
        }
    }

    private mutating func member(
        _ key: JSONScanner.Value, _ scanner: inout JSONScanner, _ bytes: RawSpan
    ) throws(JSONError) {
        guard let name = Self.name(key, bytes) else {
            guard extras.count < Self.maximumExtras else {
                throw JSONError(offset: key.range.lowerBound, reason: "more than 256 unknown fields")
            }
            for (other, _) in extras where Self.isSame(other, key, bytes) {
                throw JSONError.twice(key)
            }
            return extras.append((key, try scanner.value(bytes)))
        }
        guard known[name.rawValue] == nil else {
            throw JSONError.twice(key)
        }
        switch name {
        case .payload where try scanner.peek(bytes) == .object:
            known[name.rawValue] = try scanner.object(bytes) { (scanner, key) throws(JSONError) in
                try payloadMember(key, &scanner, bytes)
            }
        case .parentIDs where try scanner.peek(bytes) == .array:
            known[name.rawValue] = try scanner.array(bytes) { (scanner) throws(JSONError) in
                let parent = try scanner.value(bytes)
                if parent.kind == .string { parents.append(parent) } else { hasForeignParent = true }
            }
        default:
            if name == .timestamp { timestampKey = key.range.lowerBound }
            known[name.rawValue] = try scanner.value(bytes)
        }
    }

    private mutating func payloadMember(
        _ key: JSONScanner.Value, _ scanner: inout JSONScanner, _ bytes: RawSpan
    ) throws(JSONError) {
        let value = try scanner.value(bytes)
        func note(_ slot: inout JSONScanner.Value?) throws(JSONError) {
            guard slot == nil else {
                throw JSONError.twice(key)
            }
            slot = value
        }
        if Self.matches(key, "pattern", bytes) {
            try note(&payload.pattern)
        } else if Self.matches(key, "action", bytes) {
            try note(&payload.action)
        } else if Self.matches(key, "value", bytes) {
            try note(&payload.value)
        } else if Self.matches(key, "α", bytes) {
            try note(&payload.greekAlpha)
        } else if Self.matches(key, "alpha", bytes) {
            try note(&payload.latinAlpha)
        }
    }

    private static func name(_ key: JSONScanner.Value, _ bytes: RawSpan) -> Name? {
        guard !key.isLoose else { return Name.allCases.first { matches(key, $0.word, bytes) } }
        // A length leaves at most three names, and one letter tells those apart.
        let range = key.inner
        let candidate: Name
        switch range.count {
        case 2: candidate = .id
        case 3: candidate = .seq
        case 4: candidate = .type
        case 5:
            candidate =
                bytes.unsafeLoad(fromByteOffset: range.lowerBound + 1, as: UInt8.self) == UInt8(ascii: "c")
                ? .scope : .stamp
        case 6: candidate = .origin
        case 7:
            switch bytes.unsafeLoad(fromByteOffset: range.lowerBound, as: UInt8.self) {
            case UInt8(ascii: "p"): candidate = .payload
            case UInt8(ascii: "r"): candidate = .replica
            default: candidate = .signals
            }
        case 8:
            candidate =
                bytes.unsafeLoad(fromByteOffset: range.lowerBound, as: UInt8.self) == UInt8(ascii: "t")
                ? .traceID : .agentID
        case 9: candidate = .timestamp
        case 10: candidate = .parentIDs
        default: return nil
        }
        return matches(key, candidate.word, bytes) ? candidate : nil
    }

    /// Whether a scanned string says this word.
    static func matches(_ string: JSONScanner.Value, _ word: StaticString, _ bytes: RawSpan) -> Bool {
        guard !string.isLoose else {
            return JSONText.text(string, bytes) == "\(word)"
        }
        let range = string.inner
        guard range.count == word.utf8CodeUnitCount else { return false }
        for i in 0..<range.count
        where bytes.unsafeLoad(fromUncheckedByteOffset: range.lowerBound + i, as: UInt8.self) != word.utf8Start[i] {
            return false
        }
        return true
    }

    static func isSame(_ a: JSONScanner.Value, _ b: JSONScanner.Value, _ bytes: RawSpan) -> Bool {
        JSONText.canonical(a, bytes) == JSONText.canonical(b, bytes)
    }
}

extension JSONScanner.Kind {
    /// The kind in words, for messages.
    var phrase: String {
        switch self {
        case .object: "an object"
        case .array: "an array"
        case .string: "a string"
        case .number: "a number"
        case .true_, .false_: "a boolean"
        case .null: "null"
        }
    }
}
