import Glibc

/// An IPv4 or IPv6 address and a port.
///
/// IPv4 is held in its IPv6-mapped form (RFC 4291, section 2.5.5.2), so that the two halves serve both. Zones of
/// link-local addresses are not kept.
public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
    /// The upper half of the IPv6 address, in host order.
    public let high: UInt64
    /// The lower half of the IPv6 address, in host order.
    public let low: UInt64
    /// The port, in host order.
    public let port: UInt16

    /// An address from the two halves of its IPv6 form.
    public init(high: UInt64, low: UInt64, port: UInt16) {
        self.high = high
        self.low = low
        self.port = port
    }

    /// An IPv4 address as one number in host order: 127.0.0.1 is 0x7f000001.
    public init(ipv4: UInt32, port: UInt16) { self.init(high: 0, low: 0xffff_0000_0000 | UInt64(ipv4), port: port) }

    /// `127.0.0.1` with this port.
    public static func loopback(port: UInt16) -> SocketAddress { .init(ipv4: 0x7f00_0001, port: port) }

    /// The IPv4 address in host order, if it is one.
    public var ipv4: UInt32? { high == 0 && low >> 32 == 0xffff ? UInt32(truncatingIfNeeded: low) : nil }

    /// Whether only this host can reach it: 127.0.0.0/8 or `::1`.
    public var isLoopback: Bool { ipv4.map { $0 >> 24 == 127 } ?? (high == 0 && low == 1) }

    /// Whether it names every interface: `0.0.0.0` or `::`.
    public var isUnspecified: Bool { high == 0 && (low == 0 || low == 0xffff_0000_0000) }

    /// `127.0.0.1:7946` or `[::1]:7946` (RFC 5952 for the IPv6 part).
    public var description: String {
        if let ipv4 { return "\(ipv4 >> 24).\(ipv4 >> 16 & 255).\(ipv4 >> 8 & 255).\(ipv4 & 255):\(port)" }
        var address = in6_addr()
        store(into: &address)
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard inet_ntop(AF_INET6, &address, &text, socklen_t(text.count)) != nil else { return "[?]:\(port)" }
        return "[\(String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))]:\(port)"
    }

    private static let expected = "HOST:PORT, for example 127.0.0.1:5000 or [::1]:5000"

    /// Splits `host:port` and `[v6]:port`.
    private static func split(_ text: String) throws(SocketError) -> (host: Substring, port: UInt16) {
        guard let colon = text.lastIndex(of: ":") else { throw .badAddress(text, expected: expected) }
        let digits = text[text.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits) else {
            throw .badAddress(text, expected: expected + ", with a port from 0 to 65535")
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw .badAddress(text, expected: "an IPv6 address in brackets, for example [::1]:5000")
        }
        guard !host.isEmpty else { throw .badAddress(text, expected: expected) }
        return (host, port)
    }

    private init?(numeric host: Substring, port: UInt16) {
        var four = in_addr()
        if inet_pton(AF_INET, String(host), &four) == 1 {
            self.init(ipv4: UInt32(bigEndian: four.s_addr), port: port)
            return
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, String(host), &six) == 1 else { return nil }
        self.init(six, port: port)
    }

    /// Reads a numeric `host:port`; names are for `resolve`.
    public init(parsing text: String) throws(SocketError) {
        let (host, port) = try Self.split(text)
        guard let address = SocketAddress(numeric: host, port: port) else {
            throw .badAddress(text, expected: "a numeric " + Self.expected)
        }
        self = address
    }

    /// Looks a `host:port` up, names included. It may take seconds: for the start of the program only.
    public static func resolve(_ text: String) throws(SocketError) -> [SocketAddress] {
        let (host, port) = try split(text)
        if let address = SocketAddress(numeric: host, port: port) { return [address] }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(String(host), nil, &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        guard code == 0 else { throw .unknownHost(String(host), reason: String(cString: gai_strerror(code))) }
        var found: [SocketAddress] = []
        var next = list
        while let entry = next {
            if let address = SocketAddress(entry.pointee.ai_addr, entry.pointee.ai_addrlen) {
                let address = SocketAddress(high: address.high, low: address.low, port: port)
                if !found.contains(address) { found.append(address) }
            }
            next = entry.pointee.ai_next
        }
        guard !found.isEmpty else { throw .unknownHost(String(host), reason: "it has no IPv4 or IPv6 address") }
        return found
    }
}

// Between the value and the C structures.
extension SocketAddress {
    init(_ address: in6_addr, port: UInt16) {
        let halves = withUnsafeBytes(of: address) {
            ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
        self.init(high: UInt64(bigEndian: halves.0), low: UInt64(bigEndian: halves.1), port: port)
    }

    init?(_ pointer: UnsafePointer<sockaddr>?, _ length: socklen_t) {
        guard let pointer else { return nil }
        let raw = UnsafeRawPointer(pointer)
        switch Int32(pointer.pointee.sa_family) {
        case AF_INET where Int(length) >= MemoryLayout<sockaddr_in>.size:
            let four = raw.loadUnaligned(as: sockaddr_in.self)
            self.init(ipv4: UInt32(bigEndian: four.sin_addr.s_addr), port: UInt16(bigEndian: four.sin_port))
        case AF_INET6 where Int(length) >= MemoryLayout<sockaddr_in6>.size:
            let six = raw.loadUnaligned(as: sockaddr_in6.self)
            self.init(six.sin6_addr, port: UInt16(bigEndian: six.sin6_port))
        default: return nil
        }
    }

    private func store(into address: inout in6_addr) {
        withUnsafeMutableBytes(of: &address) {
            $0.storeBytes(of: high.bigEndian, as: UInt64.self)
            $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
    }

    /// The family of a socket that listens here or connects to it.
    var family: Int32 { ipv4 == nil ? AF_INET6 : AF_INET }

    /// Lends the C form, as a socket of `family` wants it (an IPv6 socket takes IPv4 in mapped form).
    func withSockaddr<Result>(family: Int32, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        if family == AF_INET, let ipv4 {
            var four = sockaddr_in()
            four.sin_family = sa_family_t(AF_INET)
            four.sin_port = port.bigEndian
            four.sin_addr.s_addr = ipv4.bigEndian
            return withUnsafePointer(to: &four) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
        var six = sockaddr_in6()
        six.sin6_family = sa_family_t(AF_INET6)
        six.sin6_port = port.bigEndian
        store(into: &six.sin6_addr)
        return withUnsafePointer(to: &six) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in6>.size))
            }
        }
    }

    /// Lets a system call fill in an address.
    static func filled(
        by call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> (address: SocketAddress?, result: Int32) {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                let result = call(pointer, &length)
                return (result >= 0 ? SocketAddress(pointer, length) : nil, result)
            }
        }
    }

    /// The address a socket is bound to.
    static func local(of descriptor: Int32) -> SocketAddress? {
        filled { getsockname(descriptor, $0, $1) }.address
    }
}
