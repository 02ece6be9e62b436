/// A command line that cannot be followed, and why.
struct Misunderstood: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

/// The words of the command line that are not used up yet.
struct Arguments {
    private var rest: [String]

    init(_ words: [String]) { rest = words }

    /// The next word.
    mutating func word() -> String? { rest.isEmpty ? nil : rest.removeFirst() }

    /// The next word, which names a story.
    mutating func story() throws(Misunderstood) -> any Scenario.Type {
        guard let name = word() else { throw Misunderstood("which story? `simulate list` names them") }
        guard let story = Scenarios.named(name) else { throw Misunderstood("there is no story \"\(name)\"") }
        return story
    }

    /// The story named behind the option; nil when it was not given.
    mutating func named(_ option: String) throws(Misunderstood) -> (any Scenario.Type)? {
        guard let place = rest.firstIndex(of: option) else { return nil }
        var value = Arguments(Array(rest[(place + 1)...].prefix(1)))
        let story = try value.story()
        rest.removeSubrange(place...place + 1)
        return story
    }

    /// Whether the option was given.
    mutating func flag(_ name: String) -> Bool {
        guard let place = rest.firstIndex(of: name) else { return false }
        rest.remove(at: place)
        return true
    }

    /// The word behind the option; nil when it was not given.
    mutating func text(_ name: String) throws(Misunderstood) -> String? {
        guard let place = rest.firstIndex(of: name) else { return nil }
        guard place + 1 < rest.count, !rest[place + 1].hasPrefix("-") else {
            throw Misunderstood("\(name) needs a word behind it")
        }
        let word = rest[place + 1]
        rest.removeSubrange(place...place + 1)
        return word
    }

    /// The plan behind the option; nil when it was not given.
    mutating func plan(_ name: String) throws(Misunderstood) -> Plan? {
        guard let text = try text(name) else { return nil }
        return try Plan(text: text)
    }

    /// The number behind the option; nil when it was not given.
    mutating func number(_ name: String) throws(Misunderstood) -> UInt64? {
        guard let place = rest.firstIndex(of: name) else { return nil }
        guard place + 1 < rest.count, let number = UInt64(rest[place + 1]), number > 0 else {
            throw Misunderstood("\(name) needs a whole number above 0")
        }
        rest.removeSubrange(place...place + 1)
        return number
    }

    /// Everything must be used up.
    func end() throws(Misunderstood) {
        if let word = rest.first { throw Misunderstood("\"\(word)\" was not expected here") }
    }
}
