internal import CRDT
internal import Glibc
internal import NodeCore

/// `hypha data check`: one line for each file and a verdict. Returns the exit code.
func checkData(_ options: DataCheckOptions) throws -> Int32 {
    let (report, _) = try DataDirectories.report(options.directory)
    say(checkText(report, directory: options.directory))
    return report.isWhole ? 0 : 1
}

/// `hypha data show`: whose data it is, how far each log is there, how much of everything.
func showData(_ options: DataShowOptions) throws {
    let (report, purpose) = try DataDirectories.report(options.directory)
    say(options.json ? line(showJSON(report, purpose)) : showText(report, purpose))
}

/// `hypha data backup`: a checked copy that no node runs on.
func backUpData(_ options: DataBackupOptions) throws {
    let report = try DirectoryCopy.make(of: options.directory, at: options.target, as: .backup, acceptsLoss: false)
    let target = shellQuoted(options.target)
    say(
        """
        backed up \(options.directory) to \(options.target): \(sizeLine(report))
        to make a node's directory of it: \(programName) data restore \(target) NEWDIR

        """)
}

/// `hypha data restore`: a checked copy for a node with an id of its own.
func restoreData(_ options: DataRestoreOptions) throws {
    let report = try DirectoryCopy.make(
        of: options.source, at: options.directory, as: .renew, acceptsLoss: options.acceptsLoss)
    for damage in report.damage { complain("damaged: \(damage)") }
    say(
        """
        restored \(options.source) to \(options.directory): \(sizeLine(report))
        a node started on it takes a new id: \(programName) serve --data \(shellQuoted(options.directory))

        """)
}

/// Data directories as the commands for people look at them: without locking them.
enum DataDirectories {
    /// What a directory holds, and what its lock file says that it is for.
    static func report(_ path: String) throws -> (DataReport, LockMark.State?) {
        let directory = try DirectoryPath.open(path)
        defer { close(directory) }
        var reader = try DirectoryReader(directory, path: path)
        guard !(try reader.files()).isEmpty else { throw Problem(reason: "\(path) holds no data of a node") }
        return (try DataReport.of(&reader), DirectoryLock.state(directory))
    }
}

extension DataReport {
    /// Nothing is wrong with any file, nothing is missing.
    var isWhole: Bool { damage.isEmpty && files.allSatisfy { $0.problem == nil } }
}

/// What `hypha data check` prints.
func checkText(_ report: DataReport, directory: String) -> String {
    var table = Table(["FILE", "BYTES", "RECORDS", "ENTRIES", "STATE"], rightAligned: [1, 2, 3])
    for file in report.files {
        let state = file.problem.map { "damaged: \($0)" } ?? file.note ?? "whole"
        table.add(["\(file.file)", "\(file.size)", "\(file.records)", "\(file.entries)", state])
    }
    if report.isWhole { return table.text + "\(printable(directory)) is whole: \(sizeLine(report))\n" }
    let damage = report.damage.map { "  \(printable($0))\n" }.joined()
    return table.text + "\(printable(directory)) is damaged:\n\(damage)"
}

/// What `hypha data show` prints.
func showText(_ report: DataReport, _ purpose: LockMark.State?) -> String {
    let rows = [
        ("cluster", report.cluster), ("replica", report.replica.map { "\($0)" } ?? "none yet"),
        ("epoch", "\(report.epoch)"), ("purpose", words(purpose)), ("events", "\(report.events)"),
        ("documents", "\(report.documents)"), ("signals", "\(report.signals)"), ("files", sizeLine(report)),
        ("state", report.isWhole ? "whole" : "damaged; see hypha data check"),
    ]
    var table = Table(["LOG", "HEAD"], rightAligned: [1])
    for log in report.logs {
        table.add(["\(log.replica)" + (log.replica == report.replica ? " *" : ""), "\(log.head)"])
    }
    return rows.map { "\(padded($0.0, 9))  \(printable($0.1))\n" }.joined() + table.text
}

/// What `hypha data show --json` prints.
func showJSON(_ report: DataReport, _ purpose: LockMark.State?) -> JSONValue {
    func number(_ value: some BinaryInteger) -> JSONValue { .number("\(value)") }
    let files = report.files.map { file in
        JSONValue.object([
            ("name", .string(file.file.name)), ("bytes", number(file.size)), ("records", number(file.records)),
            ("entries", number(file.entries)), ("problem", file.problem.map(JSONValue.string) ?? .null),
            ("note", file.note.map(JSONValue.string) ?? .null),
        ])
    }
    return .object([
        ("cluster", .string(report.cluster)), ("replica", report.replica.map { .string("\($0)") } ?? .null),
        ("epoch", number(report.epoch)), ("purpose", purpose.map { .string($0.rawValue) } ?? .null),
        ("events", number(report.events)), ("documents", number(report.documents)),
        ("signals", number(report.signals)),
        ("logs", .object(report.logs.map { ("\($0.replica)", number($0.head)) })), ("files", .array(files)),
        ("damage", .array(report.damage.map(JSONValue.string))),
    ])
}

private func words(_ purpose: LockMark.State?) -> String {
    switch purpose {
    case .live: "a node's directory"
    case .renew: "a restored directory: the next start takes a new id"
    case .backup: "a backup"
    case .copying: "a copy that was never finished"
    case nil: "unknown: its lock file is missing or damaged"
    }
}

private func sizeLine(_ report: DataReport) -> String {
    let bytes = report.files.reduce(0) { $0 + $1.size }
    let entries = report.files.reduce(0) { $0 + $1.entries }
    let files = report.files.count == 1 ? "1 file" : "\(report.files.count) files"
    return "\(files), \(bytes) bytes, \(entries) entries"
}
