import CRDT

extension Body {
    /// What an SDK says of one thing, which stands under `name` in the body, or is all of it. Members may be called as SDKs
    /// write them (`agentId`) or as their models call them (`agent_id`): the first is how they are found and kept.
    init(_ bytes: RawSpan, of name: StaticString, known: [String]) throws(NodeError) {
        let whole = try Body(bytes)
        var members = whole.members
        if whole.members.contains(where: { $0.key.utf8.elementsEqual("\(name)".utf8) }) {
            guard let inner = try whole.object(name) else {
                throw .invalid(field: name, "expected an object, found null")
            }
            members = inner
        }
        let spelt = Dictionary(known.map { (Array(Self.snake($0).utf8), $0) }) { first, _ in first }
        try self.init(members: members.map { (spelt[Array($0.key.utf8)] ?? $0.key, $0.value) })
    }

    /// `agentId` is `agent_id` to Python.
    private static func snake(_ name: String) -> String {
        var out: [UInt8] = []
        for byte in name.utf8 {
            if (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) {
                out += [UInt8(ascii: "_"), byte | 0x20]
            } else {
                out.append(byte)
            }
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// A text that may be empty; nil if it is not given.
    func anyText(_ name: StaticString) throws(NodeError) -> String? {
        guard let value = self[name] else { return nil }
        guard let text = value.string else { throw .invalid(field: name, "expected a string, found \(value.phrase)") }
        return text
    }
}
