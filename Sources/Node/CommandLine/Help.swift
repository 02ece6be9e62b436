/// What a command says about itself.
struct HelpPage {
    /// As typed after `hypha`, for example `bench post`.
    let name: String
    /// One line: what it does.
    let summary: String
    /// A sentence or two that a newcomer needs before the flags; may be empty.
    var detail = ""
    /// What follows the flags in the usage line.
    var tail = ""
    /// Commands to try, without the leading `hypha`, and what each does.
    let examples: [(command: String, meaning: String)]

    /// The whole help of a command: usage, the words it needs, aligned flags with their variables, examples.
    func text(rows: [FlagRow], operands: [(placeholder: String, summary: String)] = []) -> String {
        let shown = rows.filter { !$0.isHidden }
        let words = operands.map { " \($0.placeholder)" }.joined()
        var lines = [summary, "", "usage: hypha \(name)\(shown.isEmpty ? "" : " [flags]")\(words)\(tail)"]
        if !detail.isEmpty { lines += ["", detail] }
        if !operands.isEmpty {
            let width = operands.map(\.placeholder.count).max() ?? 0
            lines.append("")
            lines += operands.map { "  \(padded($0.placeholder, width))  \($0.summary)" }
        }
        if !shown.isEmpty { lines += ["", "flags:"] }
        let nameWidth = shown.map(\.usage.count).max() ?? 0
        let variableWidth = shown.map { $0.hasVariable ? $0.variable.count : 0 }.max() ?? 0
        for row in shown {
            let variable = row.hasVariable ? row.variable : ""
            var meaning = row.summary
            if row.isList { meaning += "; repeatable" }
            if !row.fallback.isEmpty { meaning += " (default: \(row.fallback))" }
            let gap = variableWidth > 0 ? padded(variable, variableWidth) + "  " : ""
            lines.append("  \(padded(row.usage, nameWidth))  \(gap)\(meaning)")
        }
        lines += ["", "examples:"]
        let exampleWidth = examples.map(\.command.count).max() ?? 0
        for example in examples {
            lines.append("  hypha \(padded(example.command, exampleWidth))  # \(example.meaning)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The help of the program: every command in one line, and where to start.
    static func overview(_ pages: [HelpPage], version: String) -> String {
        let width = pages.map(\.name.count).max() ?? 0
        var lines = [
            "hypha \(version): a peer for clusters of AI agents; no broker, every node takes every request", "",
            "usage: hypha <command> [flags]", "",
        ]
        for page in pages { lines.append("  \(padded(page.name, width))  \(page.summary)") }
        lines += [
            "", "start here:",
            "  hypha cluster                 # three nodes on this machine, until Ctrl-C",
            "  hypha watch                   # in a second terminal: events as they happen",
            "  hypha emit --type reward --scope ui.login --agent ada --pattern fast --value 0.5",
            "  hypha signals --node http://127.0.0.1:5002   # what it left, read at another node", "",
            "hypha <command> --help explains a command; hypha --version prints the version.",
        ]
        return lines.joined(separator: "\n") + "\n"
    }
}

/// `text` with spaces up to `width` characters; longer text stays as it is.
func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}
