/// `hypha data check`.
struct DataCheckOptions: CommandOptions, Equatable, Sendable {
    var directory = ""

    static let page = HelpPage(
        name: "data check", summary: "Read every record of a data directory and say what is damaged.",
        detail: "Changes nothing, and may run beside the node. Exits 0 if all is whole, 1 if something is damaged.",
        examples: [
            ("data check data/node-1", "a node's directory"), ("data check backups/monday", "a backup"),
        ])
    static var operands: [Operand<Self>] {
        [Operand(placeholder: "DIR", summary: "A node's directory or a backup of one", path: \.directory)]
    }
}

/// `hypha data show`.
struct DataShowOptions: CommandOptions, Equatable, Sendable {
    var directory = ""
    var json = false

    static let page = HelpPage(
        name: "data show", summary: "Show whose data a directory holds, and how much.",
        detail: "Changes nothing, and may run beside the node.",
        examples: [("data show data/node-1", "as a table"), ("data show --json data/node-1", "for programs")])
    static var flags: [Flag<Self>] { [.toggle("json", \.json, "Print JSON, one value on a line")] }
    static var operands: [Operand<Self>] {
        [Operand(placeholder: "DIR", summary: "A node's directory or a backup of one", path: \.directory)]
    }
}

/// `hypha data backup`.
struct DataBackupOptions: CommandOptions, Equatable, Sendable {
    var directory = ""
    var target = ""

    static let page = HelpPage(
        name: "data backup", summary: "Copy a node's data directory, while the node runs or not, and check the copy.",
        detail: """
            The copy holds everything that the node had acknowledged when the command began. If it is not whole, nothing
            is left of it.
            """,
        examples: [("data backup data/node-1 backups/monday", "a copy of this moment")])
    static var operands: [Operand<Self>] {
        [
            Operand(placeholder: "DIR", summary: "A node's directory", path: \.directory),
            Operand(placeholder: "TARGET", summary: "Where the copy goes: a new or empty directory", path: \.target),
        ]
    }
}

/// `hypha data restore`.
struct DataRestoreOptions: CommandOptions, Equatable, Sendable {
    var source = ""
    var directory = ""
    var acceptsLoss = false

    static let page = HelpPage(
        name: "data restore", summary: "Make a node's data directory of a backup, or of a copied directory.",
        detail: """
            The node that is started on it goes on under a new id, and takes from its peers what the backup lacks. The
            backup stays as it is.
            """,
        examples: [
            ("data restore backups/monday data/node-1", "then: hypha serve --data data/node-1"),
            ("data restore --accept-loss backups/monday data/node-1", "even if the backup is damaged"),
        ])
    static var flags: [Flag<Self>] {
        [
            .toggle(
                "accept-loss", \.acceptsLoss, "Restore what is left of a damaged backup", variable: false)
        ]
    }
    static var operands: [Operand<Self>] {
        [
            Operand(placeholder: "SOURCE", summary: "A backup, or a copy of a node's directory", path: \.source),
            Operand(placeholder: "DIR", summary: "The node's directory: new or empty", path: \.directory),
        ]
    }
}
