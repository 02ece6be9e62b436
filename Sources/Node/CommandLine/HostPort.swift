internal import Gossip
internal import Transport

/// A host, by name or address, and a port: `node-2.lan:7946`, `127.0.0.1:5000` or `[::1]:5000`.
struct HostPort: Hashable, Sendable, CustomStringConvertible {
    /// A name or an address; an IPv6 address stands here without its brackets.
    let host: String
    /// The port; 0 asks the system for a free one where one listens.
    let port: UInt16

    /// What messages say that a text should have been.
    static let expected = "HOST:PORT, for example 127.0.0.1:5000 or [::1]:5000"

    init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Reads `host:port`; nil for anything else.
    init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Self.port(text[text.index(after: colon)...]) else {
            return nil
        }
        let host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            let inner = host.dropFirst().dropLast()
            guard inner.contains(":"), inner.utf8.allSatisfy({ Self.isHexDigit($0) || $0 == 0x3a || $0 == 0x2e }) else {
                return nil
            }
            self.init(host: String(inner), port: port)
        } else {
            // RFC 1123 names, and underscores because container networks use them.
            guard (1...253).contains(host.utf8.count),
                host.utf8.allSatisfy({ Self.isLetterOrDigit($0) || ".-_".utf8.contains($0) })
            else { return nil }
            self.init(host: String(host), port: port)
        }
    }

    /// `host:port`, with brackets around an IPv6 address.
    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Whether only this machine can reach it. A name other than `localhost` counts as reachable by others.
    var isLoopback: Bool {
        host == "localhost" || host == "::1" || host == "0:0:0:0:0:0:0:1"
            || (host.hasPrefix("127.") && host.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x2e })
    }

    /// The addresses that the system's resolver knows for this host, each once, in its order. May block: for the start
    /// of a program only.
    func resolve() throws(SocketError) -> [Address] {
        try SocketAddress.resolve(description).map { Address(high: $0.high, low: $0.low, port: $0.port) }
    }

    private static func port(_ text: Substring) -> UInt16? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(text) : nil
    }
    private static func isHexDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte | 0x20)
    }
    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x7a).contains(byte | 0x20)
    }
}
