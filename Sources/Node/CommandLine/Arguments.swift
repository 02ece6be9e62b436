/// One value as it was given, and where, so that a message can point at it.
struct Given: Equatable {
    let text: String
    /// `--http`, `HYPHA_HTTP` or `node.conf:3: http`.
    let origin: String
}

/// Fills the settings of a command. A flag is stronger than a variable, that than a line of the file, that than the
/// default. Pure: what it reads comes in as parameters.
struct ArgumentReader<Settings: CommandOptions> {
    private let flags: [Flag<Settings>]
    private let command: String
    /// Values by the name of their flag, each from its strongest source.
    private var given: [String: [Given]] = [:]
    /// The words that are no flags, in their order.
    private var words: [String] = []
    /// What stood after `--`.
    private(set) var rest: [String]?

    init() {
        flags = Settings.flags
        command = Settings.page.name
    }

    private func fail(_ message: String) -> UsageError { UsageError(message: message, command: command) }

    /// Reads `--name value`, `--name=value` and flags without a value; everything after `--` is kept as `rest`.
    mutating func read(arguments: [String]) throws(UsageError) {
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if argument == "--" {
                rest = Array(arguments[index...])
                return
            }
            guard argument.hasPrefix("-"), argument != "-" else {
                if words.count < Settings.operands.count {
                    words.append(argument)
                    continue
                }
                guard Settings.operands.isEmpty else {
                    throw fail("unexpected argument '\(argument)'; usage: \(usage)")
                }
                throw fail("unexpected argument '\(argument)'; every setting is a flag, for example \(example)")
            }
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let row = try row(forFlag: String(parts[0]))
            if parts.count == 2 {
                append(String(parts[1]), to: row)
            } else if row.placeholder.isEmpty {
                append("true", to: row)
            } else {
                guard index < arguments.count, !arguments[index].hasPrefix("--") else {
                    throw fail("--\(row.name) needs a value: \(row.usage)")
                }
                append(arguments[index], to: row)
                index += 1
            }
        }
    }

    /// Reads the `HYPHA_…` variables of every flag that was not given. An empty variable counts as not set.
    mutating func read(environment: [String: String]) {
        for flag in flags where flag.row.hasVariable && given[flag.row.name] == nil {
            guard let text = environment[flag.row.variable], !text.isEmpty else { continue }
            given[flag.row.name] = [Given(text: text, origin: flag.row.variable)]
        }
    }

    /// Reads `key = value` lines. `#` starts a comment at the start of a line or after a blank.
    mutating func read(file text: String, path: String) throws(UsageError) {
        var lines: [String: Int] = [:]
        let stronger = Set(given.keys)
        // A carriage return and a newline are one Character, so lines are split as bytes.
        for (index, raw) in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .enumerated()
        {
            let line = trimmed(withoutComment(Substring(raw)))
            if line.isEmpty { continue }
            let place = "\(path):\(index + 1)"
            guard let equals = line.firstIndex(of: "=") else {
                throw fail("\(place): expected 'key = value', not '\(line)'")
            }
            let key = trimmed(line[..<equals])
            let value = trimmed(line[line.index(after: equals)...])
            guard let flag = flags.first(where: { $0.row.name == key && $0.row.hasVariable }), key != "config" else {
                let known = flags.filter { $0.row.hasVariable && $0.row.name != "config" }.map(\.row.name)
                let hint = nearest(to: key, in: known).map { "; did you mean '\($0)'?" }
                throw fail(
                    "\(place): unknown key '\(key)'" + (hint ?? "; the keys are \(known.joined(separator: ", "))"))
            }
            if let earlier = lines[key], !flag.row.isList {
                throw fail("\(place): '\(key)' was already set in line \(earlier)")
            }
            lines[key] = index + 1
            if stronger.contains(key) { continue }
            given[key, default: []].append(Given(text: value, origin: "\(place): \(key)"))
        }
    }

    /// The last text given for a flag so far.
    func text(of name: String) -> Given? { given[name]?.last }

    /// Turns every text into a value and checks the whole.
    func settings() throws(UsageError) -> Settings {
        var settings = Settings()
        for (index, operand) in Settings.operands.enumerated() {
            guard index < words.count, !words[index].isEmpty else {
                throw fail("\(operand.placeholder) is missing; usage: \(usage)")
            }
            settings[keyPath: operand.path] = words[index]
        }
        for flag in flags {
            for (index, value) in (given[flag.row.name] ?? []).enumerated() {
                do throws(BadValue) {
                    try flag.store(value.text, index == 0, &settings)
                } catch {
                    let hint = error.nearest.map { "; did you mean '\($0)'?" } ?? ""
                    throw fail("\(value.origin): expected \(error.expected), not '\(value.text)'\(hint)")
                }
            }
        }
        try settings.check()
        return settings
    }

    private mutating func append(_ text: String, to row: FlagRow) {
        given[row.name, default: []].append(Given(text: text, origin: "--\(row.name)"))
    }

    private func row(forFlag text: String) throws(UsageError) -> FlagRow {
        if text.hasPrefix("--"), let flag = flags.first(where: { $0.row.name == text.dropFirst(2) }) { return flag.row }
        let known = flags.filter { !$0.row.isHidden }.map { "--\($0.row.name)" }
        let dashes = text.prefix { $0 == "-" }.count
        let hint = nearest(to: "--" + text.dropFirst(dashes), in: known).map { "; did you mean \($0)?" }
        throw fail(
            "\(text) is not a flag of hypha \(command)"
                + (hint ?? (known.isEmpty ? "; it takes none" : "; the flags are \(known.joined(separator: " "))")))
    }

    private var usage: String { "hypha \(command) " + Settings.operands.map(\.placeholder).joined(separator: " ") }

    private var example: String { flags.first { !$0.row.isHidden }?.row.usage ?? "--help" }

    private func withoutComment(_ line: Substring) -> Substring {
        var previous: Character = " "
        for index in line.indices {
            if line[index] == "#", previous == " " || previous == "\t" { return line[..<index] }
            previous = line[index]
        }
        return line
    }
}

extension CommandOptions {
    /// Settings from flags and variables, for the commands that read no file.
    static func parse(arguments: [String], environment: [String: String]) throws(UsageError) -> Self {
        var reader = ArgumentReader<Self>()
        try reader.read(arguments: arguments)
        reader.read(environment: environment)
        if let rest = reader.rest, !rest.isEmpty {
            throw UsageError(
                message: "unexpected arguments after '--': \(rest.joined(separator: " "))", command: page.name)
        }
        return try reader.settings()
    }
}
