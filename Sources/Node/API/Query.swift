internal import NodeCore
internal import Transport

/// A query parameter is not what it should be.
struct BadQuery: Error {
    let message: String
}

/// The parameters of a query, decoded; the last of several with one name counts, unknown ones are ignored.
struct Query {
    private var values: [String: String] = [:]

    /// Nil if an escape is malformed.
    init?(_ bytes: RawSpan, _ query: Range<Int>) {
        var isValid = true
        PercentEncoding.forEachParameter(bytes, query) { name, value in
            guard let name = PercentEncoding.decode(bytes, name, plusIsSpace: true),
                let value = PercentEncoding.decode(bytes, value, plusIsSpace: true)
            else {
                isValid = false
                return
            }
            values[name] = value
        }
        if !isValid { return nil }
    }

    subscript(name: String) -> String? { values[name] }

    func page(default limit: Int) throws(BadQuery) -> Request.Page {
        guard let text = values["limit"] else { return Request.Page(limit: limit, before: values["before"]) }
        guard let wanted = Int(text), wanted > 0 else {
            throw refusal("limit", "a whole number from 1 to \(Route.maximumLimit)", text)
        }
        return Request.Page(limit: min(wanted, Route.maximumLimit), before: values["before"])
    }

    /// A whole number from 1 on; nil if it is not given.
    func number(_ name: String) throws(BadQuery) -> Int? {
        guard let text = values[name] else { return nil }
        guard let number = Int(text), number > 0 else { throw refusal(name, "a whole number from 1 on", text) }
        return number
    }

    /// Yes or no, as Python and others write it.
    func flag(_ name: String, default value: Bool) throws(BadQuery) -> Bool {
        switch self[name]?.lowercased() {
        case nil, "": return value
        case "true", "1": return true
        case "false", "0": return false
        case let other?: throw refusal(name, "true or false", other)
        }
    }

    /// Who connects.
    func agent() throws(BadQuery) -> String? {
        guard let agent = values["agent"] else { return nil }
        guard (1...1_024).contains(agent.utf8.count) else { throw refusal("agent", "1 to 1024 bytes", agent) }
        return agent
    }

    /// What a stream is to show. Where a browser connects again it says how far it has got in a header, and the address is
    /// still the first one.
    func wish(lastEventID: String?) throws(BadQuery) -> Request.StreamWish {
        func list(_ name: String) -> [String] {
            (values[name] ?? "").split(separator: ",").map { String($0) }
        }
        var wish = Request.StreamWish()
        (wish.scope, wish.topic) = (values["scope"], values["topic"])
        (wish.types, wish.agents) = (list("types"), list("agents"))
        wish.cursor = lastEventID.flatMap { $0.isEmpty ? nil : $0 } ?? values["cursor"]
        wish.agent = try agent()
        wish.group = values["group"]
        for name in ["ack_deadline_ms", "max_attempts", "max_in_flight", "dead_letter_topic", "takeover", "sharing"] {
            wish.options[name] = values[name]
        }
        switch values["ack"] {
        case nil, "auto": break
        case "manual": wish.acksByHand = true
        case let other?: throw refusal("ack", "auto or manual", other)
        }
        return wish
    }

    func strength() throws(BadQuery) -> Double? {
        guard let text = values["min_strength"] else { return nil }
        // `Double` reads hexadecimal too, which nobody means here.
        guard text.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }), let value = Double(text), value >= 0,
            value <= 1
        else {
            throw refusal("min_strength", "a number from 0 to 1", text)
        }
        return value
    }

    func moment() throws(BadQuery) -> UInt64? {
        guard let text = values["at"] else { return nil }
        guard let value = UInt64(text), value < 1 << 47 else {
            throw refusal("at", "milliseconds since 1970-01-01 UTC", text)
        }
        return value
    }

    func refusal(_ name: String, _ expected: String, _ found: String) -> BadQuery {
        BadQuery(
            message: "Validation error: query parameter \(name): expected \(expected), found \"\(found.prefix(64))\"")
    }
}
