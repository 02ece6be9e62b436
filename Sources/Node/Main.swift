internal import Glibc
internal import Gossip
internal import NodeCore

/// The program. Exit codes: 0 for success, 1 for a failure at run time, 2 for a mistake in how it was called.
@main struct Hypha {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        do throws(UsageError) {
            let invocation = try Invocation.parse(arguments, surroundings)
            exit(run(invocation))
        } catch {
            let help = error.command.isEmpty ? "\(programName) --help" : "\(programName) \(error.command) --help"
            complain("\(error.message)\nsee: \(help)")
            exit(2)
        }
    }

    private static func run(_ invocation: Invocation) -> Int32 {
        do {
            switch invocation {
            case .print(let text): say(text)
            case .serve(let options):
                let log = Log(
                    name: options.exitWithStdin && options.logFormat == .text ? nil : options.name,
                    format: options.logFormat, minimum: options.logLevel)
                for warning in options.warnings(environment: environment) { log(.warning, warning) }
                return try serve(options, log: log)
            case .cluster(let options): return try runCluster(options)
            case .members(let options): try showMembers(options)
            case .emit(let options): try emit(options)
            case .signals(let options): try showSignals(options)
            case .events(let options): try showEvents(options)
            case .watch(let options): try watch(options)
            case .dataCheck(let options): return try checkData(options)
            case .dataShow(let options): try showData(options)
            case .dataBackup(let options): try backUpData(options)
            case .dataRestore(let options): try restoreData(options)
            case .benchPost(let options): return try benchPost(options)
            case .benchFanout(let options): return try benchFanout(options)
            case .benchMerge(let options): return benchMerge(options)
            }
            return 0
        } catch {
            complain("\(error)")
            return 1
        }
    }

    private static var surroundings: Invocation.Surroundings {
        Invocation.Surroundings(environment: environment, hostName: hostName, readFile: readSettingsFile)
    }

    /// The variables that begin with `HYPHA_`.
    private static var environment: [String: String] {
        var found: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let parts = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2, parts[0].hasPrefix("HYPHA_") { found[String(parts[0])] = String(parts[1]) }
            entry += 1
        }
        return found
    }

    private static var hostName: String {
        var buffer = [UInt8](repeating: 0, count: 65)  // HOST_NAME_MAX and its terminator
        let failed = buffer.withUnsafeMutableBytes { gethostname($0.baseAddress!, $0.count - 1) } != 0
        let name = String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
        return failed || name.isEmpty ? "hypha" : name
    }
}

/// How the user called this program, for messages that name a command to type.
var programName: String {
    let called = CommandLine.arguments.first ?? "hypha"
    return called.contains("/") ? shortPath(called) : called
}

/// A path without the working directory in front of it.
private func shortPath(_ path: String) -> String {
    guard let raw = getcwd(nil, 0) else { return path }
    defer { free(raw) }
    let here = String(cString: raw) + "/"
    return path.hasPrefix(here) ? String(path.dropFirst(here.count)) : path
}

/// Writes to standard output.
func say(_ text: String) { writeAll(Array(text.utf8), to: STDOUT_FILENO) }

/// Writes a line to standard error, with the program's name in front.
func complain(_ text: String) { writeAll(Array("hypha: \(text)\n".utf8), to: STDERR_FILENO) }

/// Reads a file of settings; more than 1 MiB is none.
private func readSettingsFile(_ path: String) -> Result<String, Problem> {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return .failure(Problem(reason: systemMessage(errno))) }
    defer { close(descriptor) }
    let limit = 1 << 20
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while bytes.count <= limit {
        let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { return .failure(Problem(reason: systemMessage(errno))) }
        if count == 0 {
            let text = String(validating: bytes, as: UTF8.self)
            return text.map { .success($0) } ?? .failure(Problem(reason: "it is not UTF-8 text"))
        }
        bytes += chunk[..<count]
    }
    return .failure(Problem(reason: "it is larger than 1 MiB"))
}

/// The system's words for an error number.
func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)).lowercased() }
