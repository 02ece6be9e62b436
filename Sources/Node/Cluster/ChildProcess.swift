internal import Glibc

/// One process that `hypha cluster` started: its pipes, its half-read line, how it ended.
struct ChildProcess {
    /// How a process ended.
    enum End: Equatable {
        case exited(Int32)
        case signalled(Int32)

        /// Reads what `waitpid` tells: the low seven bits are a signal, the next byte the exit code.
        init(waitStatus: Int32) {
            let signal = waitStatus & 0x7f
            self = signal == 0 ? .exited(waitStatus >> 8 & 0xff) : .signalled(signal)
        }

        var description: String {
            switch self {
            case .exited(let code): "ended with exit code \(code)"
            case .signalled(let signal): "was ended by signal \(signal) (\(systemSignal(signal)))"
            }
        }
    }

    /// The node's name.
    let name: String
    /// The process, which leads a process group of its own: Ctrl-C reaches this program only, which then ends it.
    let pid: pid_t
    /// Standard output and standard error of the child, non-blocking; -1 once it has ended.
    private(set) var output: Int32
    /// The other end of the child's standard input. It ends when this process does, however that comes.
    private let lifeline: Int32
    /// Set by `reap`.
    private(set) var end: End?
    private var lines = LineSplitter()

    /// Starts `executable` with these arguments, and none of this process's `HYPHA_…` variables: each setting of a
    /// child is on its command line.
    init(name: String, executable: String, arguments: [String]) throws(Problem) {
        self.name = name
        let (inputRead, inputWrite) = try Self.makePipe()
        let (outputRead, outputWrite) = try Self.makePipe()
        defer {
            close(inputRead)
            close(outputWrite)
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, inputRead, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, outputWrite, STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, outputWrite, STDERR_FILENO)

        // The signals that this program blocks to read them from a descriptor are the child's own again.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))

        var words: [UnsafeMutablePointer<CChar>?] = (["hypha"] + arguments).map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = []
        var entry = environ
        while let text = entry.pointee {
            if strncmp(text, "HYPHA_", 6) != 0 { variables.append(text) }
            entry += 1
        }
        variables.append(nil)
        defer { for word in words { free(word) } }
        var started: pid_t = 0
        let code = posix_spawn(&started, executable, &actions, &attributes, &words, &variables)
        guard code == 0 else {
            close(inputWrite)
            close(outputRead)
            throw Problem(reason: "cannot start \(executable): \(systemMessage(code))")
        }
        _ = fcntl(outputRead, F_SETFL, O_NONBLOCK)
        pid = started
        output = outputRead
        lifeline = inputWrite
    }

    /// Whether it still runs.
    var isRunning: Bool { end == nil }

    /// Reads what the child has written and hands out whole lines.
    mutating func readLines(_ handle: (ArraySlice<UInt8>) -> Void) {
        guard output >= 0 else { return }
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = chunk.withUnsafeMutableBytes { read(output, $0.baseAddress, $0.count) }
            if count > 0 {
                lines.feed(chunk[..<count], handle)
            } else if count == 0 {
                lines.finish(handle)
                close(output)
                output = -1
                return
            } else if errno != EINTR {
                return
            }
        }
    }

    /// Takes note of the child's end if it has come; true the one time it has.
    mutating func reap() -> Bool {
        guard isRunning else { return false }
        var status: Int32 = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return false }
        end = End(waitStatus: status)
        close(lifeline)
        return true
    }

    /// Sends a signal if the child still runs.
    func signal(_ number: Int32) {
        if isRunning { kill(pid, number) }
    }

    private static func makePipe() throws(Problem) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Problem(reason: "cannot make a pipe: \(systemMessage(errno))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }
}

/// The system's word for a signal.
func systemSignal(_ number: Int32) -> String { strsignal(number).map { String(cString: $0).lowercased() } ?? "unknown" }

/// Cuts a stream of bytes into lines. A line longer than `maximum` is handed out in pieces.
struct LineSplitter {
    private var pending: [UInt8] = []
    private let maximum: Int

    init(maximum: Int = 65_536) { self.maximum = maximum }

    /// Takes more of the stream; hands out each line that is whole now, without its newline.
    mutating func feed(_ bytes: ArraySlice<UInt8>, _ handle: (ArraySlice<UInt8>) -> Void) {
        var rest = bytes
        while let newline = rest.firstIndex(of: 0x0a) {
            if pending.isEmpty {
                handle(rest[..<newline])
            } else {
                pending += rest[..<newline]
                handle(pending[...])
                pending.removeAll(keepingCapacity: true)
            }
            rest = rest[(newline + 1)...]
        }
        pending += rest
        if pending.count > maximum { finish(handle) }
    }

    /// Hands out what has no newline yet.
    mutating func finish(_ handle: (ArraySlice<UInt8>) -> Void) {
        if !pending.isEmpty { handle(pending[...]) }
        pending.removeAll(keepingCapacity: true)
    }
}
