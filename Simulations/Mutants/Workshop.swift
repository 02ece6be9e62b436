internal import Glibc

/// What the hunt for mutants needs of the machine: files, and processes with a bound on their time and memory.
enum Workshop {
    /// How a process ended.
    enum End: Equatable {
        case exited(Int32)
        case signalled(Int32)
        /// It said nothing for longer than it may, and was killed.
        case hung
    }

    /// The names of the files in a directory, sorted; nil when it cannot be read.
    static func names(in path: String) -> [String]? {
        guard let directory = opendir(path) else { return nil }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    /// Runs a command and hands out each line of its output (standard error included) as it comes.
    ///
    /// `silence` is how many seconds it may go without a line before it counts as hung. A run-away world must not take
    /// the machine with it: the process gets 4 GiB of addresses when `isBounded`.
    static func run(
        _ words: [String], in directory: String, silence: Int32, isBounded: Bool = false, _ line: (String) -> Void
    ) -> End? {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        let (input, output) = (ends[0], ends[1])
        _ = fcntl(input, F_SETFD, FD_CLOEXEC)
        defer { close(input) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)
        posix_spawn_file_actions_addclose(&actions, output)
        let limit = isBounded ? "ulimit -v 4194304 && " : ""
        let script = "cd \"$0\" && \(limit)exec \"$@\""
        var strings = (["sh", "-c", script, directory] + words).map { strdup($0) } + [nil]
        defer { for string in strings { free(string) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, "/bin/sh", &actions, nil, &strings, environ)
        close(output)
        guard code == 0 else { return nil }

        let isHung = !readLines(from: input, silence: silence, line)
        if isHung { kill(pid, SIGKILL) }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) == -1, errno == EINTR {}
        if isHung { return .hung }
        let signal = status & 0x7f
        return signal == 0 ? .exited(status >> 8 & 0xff) : .signalled(signal)
    }

    /// Reads to the end; false when nothing came for too long.
    private static func readLines(from input: Int32, silence: Int32, _ line: (String) -> Void) -> Bool {
        var pending: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            var wait = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
            let ready = poll(&wait, 1, silence * 1_000)
            if ready == 0 { return false }
            if ready < 0, errno == EINTR { continue }
            let count = read(input, &buffer, buffer.count)
            guard count > 0 else { break }
            for byte in buffer[..<count] {
                if byte == UInt8(ascii: "\n") {
                    line(String(decoding: pending, as: UTF8.self))
                    pending.removeAll(keepingCapacity: true)
                } else if pending.count < 65_536 {
                    pending.append(byte)
                }
            }
        }
        if !pending.isEmpty { line(String(decoding: pending, as: UTF8.self)) }
        return true
    }
}
