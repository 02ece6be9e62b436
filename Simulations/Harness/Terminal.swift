internal import Glibc

/// The only place where the simulator meets the machine it runs on: arguments, files, exit. No clock, no dice.
enum Terminal {
    /// What was typed behind the command's name.
    static var arguments: [String] { Array(CommandLine.arguments.dropFirst()) }

    /// How many runs fit side by side.
    static var processors: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// Ends the process.
    static func exit(_ status: Int32) -> Never { Glibc.exit(status) }

    /// A complaint for the standard error.
    static func complain(_ text: String) { write(text, to: STDERR_FILENO) }

    /// A line for the standard output that is out at once, whatever becomes of this process.
    static func say(_ text: String) { write(text, to: STDOUT_FILENO) }

    private static func write(_ text: String, to descriptor: Int32) {
        let bytes = Array((text + "\n").utf8)
        _ = Glibc.write(descriptor, bytes, bytes.count)
    }

    /// Writes a file anew; false when that fails.
    static func write(_ text: String, to path: String) -> Bool {
        guard let file = fopen(path, "w") else { return false }
        let bytes = Array(text.utf8)
        let isWhole = fwrite(bytes, 1, bytes.count, file) == bytes.count
        return fclose(file) == 0 && isWhole
    }

    /// The lines of a file; nil when it cannot be read.
    static func lines(of path: String) -> [String]? {
        text(of: path)?.split(separator: "\n").map(String.init)
    }

    /// A file as text; nil when it cannot be read.
    static func text(of path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while case let count = fread(&buffer, 1, buffer.count, file), count > 0 {
            bytes.append(contentsOf: buffer[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
