/// The members of a request of the memory service, each under its name as Soorma writes it (`planId`) or as Python does
/// (`plan_id`); where both are there, the former counts. `null` says as much as nothing, and so do members that nobody
/// here knows.
struct MemoryBody: Sendable {
    private let body: Body

    init(_ bytes: RawSpan) throws(NodeError) { body = try Body(bytes) }

    /// The value of a member; nil if it is not there or null.
    subscript(name: StaticString) -> JSONValue? { member(name).flatMap { $0 == .null ? nil : $0 } }

    /// The value of a member, which may be null; nil if it is not there.
    func member(_ name: StaticString) -> JSONValue? {
        let camel = Array("\(name)".utf8)
        var snake: [UInt8] = []
        for byte in camel {
            if (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) {
                snake += [UInt8(ascii: "_"), byte | 0x20]
            } else {
                snake.append(byte)
            }
        }
        return
            (body.members.first { $0.key.utf8.elementsEqual(camel) }
            ?? body.members.first { $0.key.utf8.elementsEqual(snake) })?.value
    }

    /// A text of at most `Body.maximumTextBytes` bytes, which may be empty; nil if it is not given.
    func text(_ name: StaticString) throws(NodeError) -> String? {
        guard let value = self[name] else { return nil }
        guard let text = value.string else {
            throw .invalid(field: name, "expected a string, found \(value.phrase)")
        }
        guard text.utf8.count <= Body.maximumTextBytes else {
            throw .invalid(field: name, "must have at most \(Body.maximumTextBytes) bytes")
        }
        return text
    }

    /// A text that has to be there and to say something.
    func requiredText(_ name: StaticString) throws(NodeError) -> String {
        guard let text = try text(name) else { throw .invalid(field: name, "required, a non-empty string") }
        guard !text.isEmpty else { throw .invalid(field: name, "must have 1 to \(Body.maximumTextBytes) bytes") }
        return text
    }

    /// The members of an object; nil if it is not given.
    func object(_ name: StaticString) throws(NodeError) -> [(key: String, value: JSONValue)]? {
        guard let value = self[name] else { return nil }
        return try value.members(of: name)
    }

    /// An array of texts in order; nil if it is not given.
    func texts(_ name: StaticString, most: Int) throws(NodeError) -> [String]? {
        guard let value = self[name] else { return nil }
        guard let elements = value.elements, elements.count <= most else {
            throw .invalid(field: name, "expected an array of at most \(most) strings, found \(value.phrase)")
        }
        var found: [String] = []
        for element in elements {
            guard let text = element.string, text.utf8.count <= Body.maximumTextBytes else {
                throw .invalid(field: name, "expected strings of at most \(Body.maximumTextBytes) bytes")
            }
            found.append(text)
        }
        return found
    }
}

extension JSONValue {
    /// The members of an object, none of which stands twice.
    func members(of name: StaticString) throws(NodeError) -> [(key: String, value: JSONValue)] {
        guard case .object(let members) = self else {
            throw .invalid(field: name, "expected an object, found \(phrase)")
        }
        var seen: Set<[UInt8]> = []
        for (key, _) in members where !seen.insert(Array(key.utf8)).inserted {
            throw .invalid(field: name, "\(key.prefix(64)) stands twice in it")
        }
        return members
    }
}
