public import CRDT

/// Where a peer listens: an IPv4 or IPv6 address and a port. UDP and TCP share the port.
///
/// IPv4 is held in its IPv6-mapped form (RFC 4291, section 2.5.5.2), so that one shape serves both.
public struct Address: Hashable, Comparable, Sendable, CustomStringConvertible {
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

    /// The IPv4 address in host order, if it is one.
    public var ipv4: UInt32? { high == 0 && low >> 32 == 0xffff ? UInt32(truncatingIfNeeded: low) : nil }

    /// Whether this is an address that one can send to: neither 0.0.0.0, `::` nor port 0.
    public var isSpecific: Bool { port != 0 && (high != 0 || (low != 0 && low != 0xffff_0000_0000)) }

    /// By address, then by port.
    public static func < (a: Self, b: Self) -> Bool { (a.high, a.low, a.port) < (b.high, b.low, b.port) }

    /// `127.0.0.1:7946`, or `[::1]:7946` with every group written out where it is not zero.
    public var description: String {
        if let ipv4 {
            let bytes: [UInt32] = [ipv4 >> 24, ipv4 >> 16 & 255, ipv4 >> 8 & 255, ipv4 & 255]
            return "\(bytes[0]).\(bytes[1]).\(bytes[2]).\(bytes[3]):\(port)"
        }
        let groups = (0..<8).map { (i: Int) -> String in
            let half: UInt64 = i < 4 ? high : low
            let shift = UInt64((3 - i % 4) * 16)
            return String(half >> shift & 0xffff, radix: 16)
        }
        return "[\(groups.joined(separator: ":"))]:\(port)"
    }

    /// Appends 18 bytes: the address and the port.
    public func encode(into out: inout [UInt8]) {
        out.append(littleEndian: high)
        out.append(littleEndian: low)
        out.append(littleEndian: port)
    }

    /// Reads what `encode` wrote.
    public init(_ cursor: inout ByteCursor, _ bytes: RawSpan) throws(DecodeError) {
        self.init(high: try cursor.u64(bytes), low: try cursor.u64(bytes), port: try cursor.u16(bytes))
    }
}
