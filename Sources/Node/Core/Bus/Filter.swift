import CRDT

/// Which events a subscription wants: by scope or topic pattern, type and agent; what is not given does not restrict.
/// It wants events of one surface: bus events if it names a topic, SEMP events otherwise; messages in chats if that topic
/// is just `Messages`.
struct Filter: Hashable, Sendable {
    /// The most entries of `types` or `agents`.
    static let maximumChoices = 64
    /// The most pairs of a type and an agent: each is an entry of the index.
    static let maximumPairs = 1_024

    var surface = Surface.semp
    /// Of scopes or topics.
    var address: AddressPattern?
    /// Types as canonical text, sorted.
    var types: [[UInt8]]?
    /// Agent ids, of bus events sources, as canonical text, sorted.
    var agents: [[UInt8]]?

    /// Every SEMP event.
    static let all = Filter()

    func matches(_ event: EventView, _ json: RawSpan) -> Bool {
        guard event.surface == surface else { return false }
        if let types {
            let type = json.extracting(event.typeText)
            guard types.contains(where: { type.isEqual(to: $0) }) else { return false }
        }
        if let address, !address.matches(json.extracting(event.address)) { return false }
        if let agents {
            let agent = json.extracting(event.agent)
            return agents.contains { agent.isEqual(to: $0) }
        }
        return true
    }

    /// As clients write it.
    func encode(into out: inout [UInt8]) {
        var isEmpty = true
        func key(_ name: StaticString, into out: inout [UInt8]) {
            out.append(UInt8(ascii: isEmpty ? "{" : ","))
            isEmpty = false
            out.append(UInt8(ascii: "\""))
            out.append(constant: name)
            out.append(constant: "\":")
        }
        func list(_ texts: [[UInt8]], into out: inout [UInt8]) {
            for (i, text) in texts.enumerated() {
                out.append(UInt8(ascii: i == 0 ? "[" : ","))
                out.append(UInt8(ascii: "\""))
                out += text
                out.append(UInt8(ascii: "\""))
            }
            out.append(UInt8(ascii: "]"))
        }
        if surface == .chat {
            key("topic", into: &out)
            out.append(constant: "\"Messages\"")
        }
        if let address {
            key(surface == .bus ? "topic" : "scope", into: &out)
            out.append(UInt8(ascii: "\""))
            out += address.text
            out.append(UInt8(ascii: "\""))
        }
        if let types {
            key("types", into: &out)
            list(types, into: &out)
        }
        if let agents {
            key("agents", into: &out)
            list(agents, into: &out)
        }
        if isEmpty { out.append(UInt8(ascii: "{")) }
        out.append(UInt8(ascii: "}"))
    }
}
