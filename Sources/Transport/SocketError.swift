import Glibc

/// Why the operating system, or an address given by a person, was no good. Each text says what to do next.
public enum SocketError: Error, Equatable, Sendable {
    /// An address to listen on could not be taken. `option` is the flag that chose it, for the text.
    case cannotListen(address: String, code: Int32, option: String)
    /// A text is not `host:port`.
    case badAddress(String, expected: String)
    /// A host name has no address.
    case unknownHost(String, reason: String)
    /// A system call that should work did not; `call` is its name.
    case system(call: String, code: Int32)

    /// The system's words for an error number, in lower case.
    static func words(_ code: Int32) -> String {
        guard let text = strerror(code) else { return "error \(code)" }
        let words = String(cString: text)
        return words.prefix(1).lowercased() + words.dropFirst()
    }
}

extension SocketError: CustomStringConvertible {
    /// One sentence: what was tried, why it failed, what to do.
    public var description: String {
        switch self {
        case .cannotListen(let address, let code, let option):
            let start = "cannot listen on \(address): \(Self.words(code)); "
            return switch code {
            case EADDRINUSE: start + "stop the other program or choose another port with \(option)"
            case EADDRNOTAVAIL: start + "no interface of this host has that address; choose one that has with \(option)"
            case EACCES: start + "ports below 1024 need privileges; choose a higher one with \(option)"
            default: start + "choose another address with \(option)"
            }
        case .badAddress(let text, let expected): return "\"\(text)\" is not an address; write \(expected)"
        case .unknownHost(let host, let reason):
            return "cannot find the address of \"\(host)\": \(reason); check the name or give a numeric address"
        case .system(let call, let code):
            let advice =
                switch code {
                case EMFILE, ENFILE: "raise the limit of open files (ulimit -n)"
                case ENOMEM, ENOBUFS: "the system is out of memory; free some and start again"
                default: "this is not expected on Linux 5 or later; report it with this line"
                }
            return "\(call): \(Self.words(code)); \(advice)"
        }
    }
}
