/// The program was called in a way it does not understand. Exit code 2; the message says what was expected.
struct UsageError: Error, Equatable {
    /// What is wrong, and with which flag, variable or line.
    let message: String
    /// The command whose help explains more, for example `serve`; empty for the program's own help.
    var command = ""
}

/// A value that does not fit. The caller knows where it stood and makes a `UsageError` of it.
struct BadValue: Error, Equatable {
    /// What would have fitted, to follow the word "expected".
    let expected: String
    /// The nearest thing that would have fitted, if one is near.
    var nearest: String?
}

/// What help shows of one flag.
struct FlagRow: Equatable {
    /// The name without dashes.
    let name: String
    /// What stands for the value in help; empty for a flag that takes none.
    let placeholder: String
    /// One sentence without its full stop.
    let summary: String
    /// The default as people would write it; empty if there is none.
    let fallback: String
    /// May be given more than once, or as a list with commas.
    let isList: Bool
    /// Not shown: for Hypha's own use.
    let isHidden: Bool
    /// Whether it may also come from a `HYPHA_…` variable or a line of a file; if not, it is meant for one call only.
    let hasVariable: Bool

    /// `--max-skew` is `HYPHA_MAX_SKEW`.
    var variable: String {
        let upper = name.utf8.map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : $0 & 0b1101_1111 }
        return "HYPHA_" + String(decoding: upper, as: UTF8.self)
    }

    /// `--http HOST:PORT`, as help and messages show it.
    var usage: String { placeholder.isEmpty ? "--\(name)" : "--\(name) \(placeholder)" }
}

/// One flag of a command whose settings are a `Settings`: its row in the help, and how its text becomes a value.
struct Flag<Settings> {
    /// What help shows.
    let row: FlagRow
    /// Stores one value. `isFirst` tells a list to forget its default.
    let store: (_ text: String, _ isFirst: Bool, inout Settings) throws(BadValue) -> Void

    /// A flag with one value; the last one given counts.
    static func value<Value>(
        _ name: String, _ placeholder: String, _ path: WritableKeyPath<Settings, Value>, _ summary: String,
        default fallback: String = "", variable: Bool = true,
        _ read: @escaping (String) throws(BadValue) -> Value
    ) -> Flag {
        let row = FlagRow(
            name: name, placeholder: placeholder, summary: summary, fallback: fallback, isList: false, isHidden: false,
            hasVariable: variable)
        return Flag(row: row) { (text, _, settings) throws(BadValue) in settings[keyPath: path] = try read(text) }
    }

    /// A flag that may be given more than once. A list from a stronger source replaces one from a weaker.
    /// With `splits`, commas separate values too.
    static func list<Value>(
        _ name: String, _ placeholder: String, _ path: WritableKeyPath<Settings, [Value]>, _ summary: String,
        default fallback: String = "", variable: Bool = true, splits: Bool = true,
        _ read: @escaping (String) throws(BadValue) -> Value
    ) -> Flag {
        let row = FlagRow(
            name: name, placeholder: placeholder, summary: summary, fallback: fallback, isList: true, isHidden: false,
            hasVariable: variable)
        return Flag(row: row) { (text, isFirst, settings) throws(BadValue) in
            var values: [Value] = isFirst ? [] : settings[keyPath: path]
            let parts = splits ? text.split(separator: ",", omittingEmptySubsequences: false) : [text[...]]
            for part in parts { values.append(try read(trimmed(part))) }
            settings[keyPath: path] = values
        }
    }

    /// A flag without a value. From a variable or a file it takes `true` or `false`.
    static func toggle(
        _ name: String, _ path: WritableKeyPath<Settings, Bool>, _ summary: String, hidden: Bool = false,
        variable: Bool = true
    ) -> Flag {
        let row = FlagRow(
            name: name, placeholder: "", summary: summary, fallback: "", isList: false, isHidden: hidden,
            hasVariable: variable)
        return Flag(row: row) { (text, _, settings) throws(BadValue) in
            switch text {
            case "true", "1", "yes": settings[keyPath: path] = true
            case "false", "0", "no": settings[keyPath: path] = false
            default: throw BadValue(expected: "true or false")
            }
        }
    }
}

/// A word that a command needs besides its flags, such as the directory it is about.
struct Operand<Settings> {
    /// What stands for it in help, for example `DIR`.
    let placeholder: String
    /// One sentence without its full stop.
    let summary: String
    /// Where it goes.
    let path: WritableKeyPath<Settings, String>
}

/// The settings of one command, filled from its flags, the environment and a file.
protocol CommandOptions {
    /// Every setting at its default.
    init()
    /// The command in the help: name, purpose, examples.
    static var page: HelpPage { get }
    /// Every flag, in the order of the help.
    static var flags: [Flag<Self>] { get }
    /// The words it needs besides, in their order.
    static var operands: [Operand<Self>] { get }
    /// What no single flag can tell: refuses settings that do not go together.
    func check() throws(UsageError)
}

extension CommandOptions {
    static var flags: [Flag<Self>] { [] }
    static var operands: [Operand<Self>] { [] }
    func check() throws(UsageError) {}
}

/// The candidate that `text` most likely meant: few edits away, or a longer word it begins. Nil if nothing is near.
func nearest(to text: String, in candidates: [String]) -> String? {
    let allowed = max(1, text.count / 3)
    let best = candidates.map { (edits(from: text, to: $0), $0) }.min { $0.0 < $1.0 }
    if let best, best.0 <= allowed { return best.1 }
    return text.count >= 2 ? candidates.first { $0.hasPrefix(text) } : nil
}

/// How many letters must be inserted, removed, changed or swapped with their neighbour to make `b` of `a` (optimal
/// string alignment).
func edits(from a: String, to b: String) -> Int {
    let (a, b) = (Array(a.utf8.prefix(64)), Array(b.utf8.prefix(64)))
    guard !a.isEmpty, !b.isEmpty else { return a.count + b.count }
    var older: [Int] = []
    var previous = Array(0...b.count)
    for i in 1...a.count {
        var row = [i]
        for j in 1...b.count {
            let change = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
            var least = min(change, previous[j] + 1, row[j - 1] + 1)
            if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { least = min(least, older[j - 2] + 1) }
            row.append(least)
        }
        (older, previous) = (previous, row)
    }
    return previous[b.count]
}

/// `text` without spaces and tabs at either end.
func trimmed(_ text: some StringProtocol) -> String {
    let isBlank = { (byte: UInt8) in byte == 0x20 || byte == 0x09 || byte == 0x0d }
    let bytes = Array(text.utf8)
    guard let first = bytes.firstIndex(where: { !isBlank($0) }), let last = bytes.lastIndex(where: { !isBlank($0) })
    else { return "" }
    return String(decoding: bytes[first...last], as: UTF8.self)
}
