internal import Glibc
internal import Gossip
internal import NodeCore
internal import Transport

/// The log of a process: one line for each record, on standard error.
struct Log: Sendable {
    /// How a record looks.
    enum Format: Sendable, Equatable {
        /// `2026-11-21T09:45:00.123Z info  node-1 message`
        case text
        /// `{"time":"…","level":"info","name":"node-1","message":"…"}`
        case json
    }

    /// Whose log it is; nil leaves it out, where someone else marks the lines.
    let name: String?
    /// How a record looks.
    let format: Format
    /// Records below this level are not written.
    let minimum: LogLevel
    /// Takes one whole line with its newline.
    private let sink: @Sendable ([UInt8]) -> Void

    /// A log to standard error, or to whatever `sink` is.
    init(
        name: String?, format: Format = .text, minimum: LogLevel = .info,
        sink: @escaping @Sendable ([UInt8]) -> Void = { bytes in writeAll(bytes, to: STDERR_FILENO) }
    ) {
        self.name = name
        self.format = format
        self.minimum = minimum
        self.sink = sink
    }

    /// The same log into another sink.
    func writing(to sink: @escaping @Sendable ([UInt8]) -> Void) -> Log {
        Log(name: name, format: format, minimum: minimum, sink: sink)
    }

    /// Writes one record, unless its level is below the minimum; then the message is not even made.
    func callAsFunction(_ level: LogLevel, _ message: @autoclosure () -> String) {
        guard level >= minimum else { return }
        sink(line(level, message(), wallMilliseconds: WallClock.milliseconds()))
    }

    /// The bytes of one record. Line breaks and other control characters are escaped: one record stays one line, and
    /// what came from the network cannot steer a terminal.
    func line(_ level: LogLevel, _ message: String, wallMilliseconds: UInt64) -> [UInt8] {
        let time = ISOTime.text(milliseconds: wallMilliseconds)
        switch format {
        case .text:
            let owner = name.map { "\($0) " } ?? ""
            let word = level == .warning ? "warn" : Self.word(for: level)
            return Array("\(time) \(padded(word, 5)) \(owner)\(printable(message))\n".utf8)
        case .json:
            var fields: [(String, JSONValue)] = [("time", .string(time)), ("level", .string(Self.word(for: level)))]
            if let name { fields.append(("name", .string(name))) }
            fields.append(("message", .string(message)))
            return JSONValue.object(fields).encoded() + [UInt8(ascii: "\n")]
        }
    }

    /// The word for a level, in flags and in lines.
    static func word(for level: LogLevel) -> String {
        switch level {
        case .debug: "debug"
        case .info: "info"
        case .warning: "warning"
        case .error: "error"
        }
    }
}

/// The monotonic clock, as finely as the operating system tells it: for measuring delays.
enum SystemTime {
    /// Nanoseconds since an arbitrary start.
    static func monotonicNanoseconds() -> UInt64 { nanoseconds(CLOCK_MONOTONIC) }

    /// Nanoseconds that this thread kept a processor busy: what it did, whatever else the machine is doing.
    static func threadNanoseconds() -> UInt64 { nanoseconds(CLOCK_THREAD_CPUTIME_ID) }

    private static func nanoseconds(_ clock: clockid_t) -> UInt64 {
        var now = timespec()
        clock_gettime(clock, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }
}

/// `text` with control characters written as escapes (`\n`, `\u{1b}`).
func printable(_ text: String) -> String {
    let isControl = { (value: UInt32) in value < 0x20 || (0x7f...0x9f).contains(value) }
    guard text.unicodeScalars.contains(where: { isControl($0.value) }) else { return text }
    return text.unicodeScalars.reduce(into: "") { out, scalar in
        switch scalar {
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case _ where isControl(scalar.value): out += "\\u{\(String(scalar.value, radix: 16))}"
        default: out.unicodeScalars.append(scalar)
        }
    }
}

/// Writes everything, waiting where the reader is slow; gives up silently when the reader is gone.
func writeAll(_ bytes: [UInt8], to descriptor: Int32) {
    var written = 0
    while written < bytes.count {
        let count = bytes.withUnsafeBytes {
            write(descriptor, $0.baseAddress?.advanced(by: written), $0.count - written)
        }
        if count >= 0 {
            written += count
        } else if errno == EAGAIN {  // somebody else made the terminal non-blocking
            var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            if poll(&waiting, 1, 1_000) <= 0 { return }
        } else if errno != EINTR {
            return
        }
    }
}
