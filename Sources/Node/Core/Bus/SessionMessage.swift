import CRDT

/// One message of a client on `/ws`: a JSON object, whose members are looked up by name.
struct SessionMessage {
    private var members: [(key: JSONScanner.Value, value: JSONScanner.Value)] = []
    /// `ref` as it is echoed into the answer.
    private(set) var ref: [UInt8]?

    /// The most bytes of a `ref`: it is echoed into every answer, so it is kept to a size that no answer suffers from.
    private static let maximumRefBytes = 256
    /// The most members.
    private static let maximumMembers = 64

    /// Nothing said.
    init() {}

    /// Reads the object that `bytes` must be, as far as it is one: what came before an error can still be looked up.
    mutating func read(_ bytes: RawSpan) throws(NodeError) {
        do throws(JSONError) { try scan(bytes) } catch { throw .invalid(error, in: bytes) }
    }

    private mutating func scan(_ bytes: RawSpan) throws(JSONError) {
        var scanner = JSONScanner(bytes)
        guard try scanner.peek(bytes) == .object else {
            throw JSONError(offset: 0, reason: "a message must be one JSON object")
        }
        _ = try scanner.object(bytes) { (scanner, key) throws(JSONError) in
            let value = try scanner.value(bytes)
            guard members.count < Self.maximumMembers else {
                throw JSONError(offset: key.range.lowerBound, reason: "a message of more than 64 members")
            }
            members.append((key, value))
            guard EventFields.matches(key, "ref", bytes) else { return }
            guard value.range.count <= Self.maximumRefBytes else {
                throw JSONError(offset: value.range.lowerBound, reason: "a ref of more than 256 bytes")
            }
            var text: [UInt8] = []
            JSONText.compact(value, bytes, into: &text)
            ref = text
        }
        try scanner.finish(bytes)
    }

    /// A member's value; nil if it is not there, or null. Of several with one name the last counts.
    func value(_ name: StaticString, _ bytes: RawSpan) -> JSONScanner.Value? {
        members.last { EventFields.matches($0.key, name, bytes) }.flatMap { $0.value.kind == .null ? nil : $0.value }
    }

    /// Whether a member is there, be it null.
    func has(_ name: StaticString, _ bytes: RawSpan) -> Bool {
        members.contains { EventFields.matches($0.key, name, bytes) }
    }

    /// A member that has to be a non-empty string of at most 1,024 bytes, as text.
    func text(_ name: StaticString, _ bytes: RawSpan) throws(NodeError) -> String? {
        guard let value = value(name, bytes) else { return nil }
        return JSONText.text(try EventDraft.text(value, name), bytes)
    }

    /// A member that has to be a whole number within bounds.
    func number(
        _ name: StaticString, _ bounds: ClosedRange<Int>, _ bytes: RawSpan
    ) throws(NodeError) -> Int? {
        guard let value = value(name, bytes) else { return nil }
        let text = bytes.extracting(value.range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        guard value.kind == .number, let number = Int(text), bounds.contains(number) else {
            throw .invalid(
                field: name, "expected a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return number
    }

    /// Whether a member is true; one that is no boolean is refused.
    func flag(_ name: StaticString, _ bytes: RawSpan) throws(NodeError) -> Bool {
        guard let value = value(name, bytes) else { return false }
        switch value.kind {
        case .true_: return true
        case .false_: return false
        case .object, .array, .string, .number, .null: throw .invalid(field: name, "expected true or false")
        }
    }
}
