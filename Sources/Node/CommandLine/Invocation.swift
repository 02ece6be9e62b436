internal import NodeCore

/// What one call of the program asks for. Reading it touches nothing outside its parameters.
enum Invocation {
    /// Print this and end well.
    case print(String)
    case serve(ServeOptions)
    case cluster(ClusterOptions)
    case members(MembersOptions)
    case emit(EmitOptions)
    case signals(SignalsOptions)
    case events(EventsOptions)
    case watch(WatchOptions)
    case dataCheck(DataCheckOptions)
    case dataShow(DataShowOptions)
    case dataBackup(DataBackupOptions)
    case dataRestore(DataRestoreOptions)
    case benchPost(BenchPostOptions)
    case benchFanout(BenchFanoutOptions)
    case benchMerge(BenchMergeOptions)

    /// What the surroundings of a process tell it.
    struct Surroundings {
        var environment: [String: String] = [:]
        var hostName = "hypha"
        var readFile: (String) -> Result<String, Problem> = { _ in .failure(Problem(reason: "no such file")) }
    }

    /// Every command in the order of the help.
    static let pages: [HelpPage] = [
        ServeOptions.page, ClusterOptions.page, MembersOptions.page, EmitOptions.page, SignalsOptions.page,
        EventsOptions.page, WatchOptions.page, DataCheckOptions.page, DataShowOptions.page, DataBackupOptions.page,
        DataRestoreOptions.page, BenchPostOptions.page, BenchFanoutOptions.page, BenchMergeOptions.page,
    ]

    /// Reads the arguments that follow the program's name.
    static func parse(_ arguments: [String], _ surroundings: Surroundings) throws(UsageError) -> Invocation {
        guard var word = arguments.first else {
            throw UsageError(message: "a command is missing; the commands are \(names.joined(separator: ", "))")
        }
        var rest = Array(arguments.dropFirst())
        switch word {
        case "--help", "-h": return .print(overview)
        case "--version", "version": return .print("hypha \(NodeCore.version)\n")
        case "help":
            guard let subject = rest.first else { return .print(overview) }
            word = subject
            rest = Array(rest.dropFirst()) + ["--help"]
        default: break
        }
        let kinds = pages.map(\.name).filter { $0.hasPrefix("\(word) ") }.map { String($0.dropFirst(word.count + 1)) }
        if !kinds.isEmpty {
            let expected = "\(word): expected \(kinds.dropLast().joined(separator: ", ")) or \(kinds[kinds.count - 1])"
            guard let kind = rest.first else { throw UsageError(message: expected, command: word) }
            if ["--help", "-h"].contains(kind) {
                var texts: [String] = []
                for kind in kinds {
                    if case .print(let text) = try parse([word, kind, "--help"], surroundings) { texts.append(text) }
                }
                return .print(texts.joined(separator: "\n"))
            }
            guard kinds.contains(kind) else {
                let hint = nearest(to: kind, in: kinds).map { "; did you mean \($0)?" } ?? ""
                throw UsageError(message: "\(expected), not '\(kind)'\(hint)", command: word)
            }
            word = "\(word) \(kind)"
            rest.removeFirst()
        }
        let asksForHelp = rest.prefix { $0 != "--" }.contains { $0 == "--help" || $0 == "-h" }
        let environment = surroundings.environment

        func read<Options: CommandOptions>(
            _ make: (Options) -> Invocation
        ) throws(UsageError) -> Invocation {
            if asksForHelp { return .print(help(Options.self)) }
            return make(try Options.parse(arguments: rest, environment: environment))
        }

        switch word {
        case "serve":
            if asksForHelp { return .print(help(ServeOptions.self)) }
            return .serve(
                try ServeOptions.parse(
                    arguments: rest, environment: environment, hostName: surroundings.hostName,
                    readFile: surroundings.readFile))
        case "cluster":
            if asksForHelp { return .print(help(ClusterOptions.self)) }
            return .cluster(try ClusterOptions.parse(arguments: rest, environment: environment))
        case "members": return try read(Invocation.members)
        case "emit": return try read(Invocation.emit)
        case "signals": return try read(Invocation.signals)
        case "events": return try read(Invocation.events)
        case "watch": return try read(Invocation.watch)
        case "data check": return try read(Invocation.dataCheck)
        case "data show": return try read(Invocation.dataShow)
        case "data backup": return try read(Invocation.dataBackup)
        case "data restore": return try read(Invocation.dataRestore)
        case "bench post": return try read(Invocation.benchPost)
        case "bench fanout": return try read(Invocation.benchFanout)
        case "bench merge": return try read(Invocation.benchMerge)
        default:
            let hint = nearest(to: word, in: names).map { "did you mean \($0)?" }
            throw UsageError(
                message: "'\(word)' is not a command; " + (hint ?? "the commands are \(names.joined(separator: ", "))"))
        }
    }

    private static var names: [String] {
        pages.map { String($0.name.prefix { $0 != " " }) }.reduce(into: []) { names, name in
            if !names.contains(name) { names.append(name) }
        }
    }

    private static var overview: String { HelpPage.overview(pages, version: NodeCore.version) }

    private static func help<Options: CommandOptions>(_: Options.Type) -> String {
        Options.page.text(
            rows: Options.flags.map(\.row), operands: Options.operands.map { ($0.placeholder, $0.summary) })
    }
}
