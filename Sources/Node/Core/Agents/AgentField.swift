import CRDT

/// The fields of the document `agent/<id>`. Values are JSON.
///
/// | field | value |
/// |---|---|
/// | `status` | a text |
/// | `activity/<x>`, `room/<x>`, `resource/<x>` | `true`: `<x>` is in the set |
/// | `capability/<x>` | `true`, or the capability as its agent described it |
/// | `profile/<key>`, `extra/<key>`, `metadata/<key>` | any value |
/// | `type`, `description` | texts of the registration |
/// | `soorma` | what a Soorma SDK said of itself, as an object: its name, its capabilities in order, its events |
/// | `registered`, `heartbeat`, `last_seen` | milliseconds since the Unix epoch |
/// | `updated` | `true`, written where otherwise something would only be removed, which leaves no time |
enum AgentField: Equatable {
    case status, type, description, soorma, registered, heartbeat, lastSeen, updated
    case activity, room, resource, capability, profile, extra, metadata

    /// The name, or what it begins with.
    var word: StaticString {
        switch self {
        case .status: "status"
        case .type: "type"
        case .description: "description"
        case .soorma: "soorma"
        case .registered: "registered"
        case .heartbeat: "heartbeat"
        case .lastSeen: "last_seen"
        case .updated: "updated"
        case .activity: "activity/"
        case .room: "room/"
        case .resource: "resource/"
        case .capability: "capability/"
        case .profile: "profile/"
        case .extra: "extra/"
        case .metadata: "metadata/"
        }
    }

    var name: String { "\(word)" }
    /// The name of the field for a member of a set or of an object.
    func name(_ key: String) -> String { "\(word)\(key)" }

    private static let single: [AgentField] = [
        .status, .type, .description, .soorma, .registered, .heartbeat, .lastSeen, .updated,
    ]
    private static let groups: [AgentField] = [.activity, .room, .resource, .capability, .profile, .extra, .metadata]

    /// What a field is, and where in its name the rest begins; nil for what this version does not know.
    static func split(_ name: RawSpan) -> (field: AgentField, rest: Int)? {
        name.withUnsafeBytes { name in
            for field in groups where Self.begins(name, field.word) { return (field, field.word.utf8CodeUnitCount) }
            for field in single where name.count == field.word.utf8CodeUnitCount && begins(name, field.word) {
                return (field, name.count)
            }
            return nil
        }
    }

    private static func begins(_ name: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
        let count = word.utf8CodeUnitCount
        guard name.count >= count else { return false }
        for i in 0..<count where name[i] != word.utf8Start[i] { return false }
        return true
    }
}

extension RawSpan {
    /// The bytes on their own.
    var array: [UInt8] { withUnsafeBytes { Array($0) } }

    /// The text of a JSON string as UTF-8; nil if it is none.
    var jsonText: [UInt8]? {
        withUnsafeBytes { bytes in
            guard bytes.count >= 2, bytes[0] == UInt8(ascii: "\""), bytes[bytes.count - 1] == UInt8(ascii: "\"") else {
                return nil
            }
            guard bytes.contains(UInt8(ascii: "\\")) else { return Array(bytes[1..<bytes.count - 1]) }
            return (try? JSONValue(Array(bytes)))?.string.map { Array($0.utf8) }
        }
    }

    /// A whole number in JSON; nil if it is none.
    var jsonNumber: UInt64? {
        withUnsafeBytes { bytes in
            guard (1...15).contains(bytes.count) else { return nil }
            var number: UInt64 = 0
            for byte in bytes {
                guard byte &- UInt8(ascii: "0") < 10 else { return nil }
                number = number * 10 + UInt64(byte - UInt8(ascii: "0"))
            }
            return number
        }
    }
}
