import Glibc

/// Who gets datagrams.
public protocol DatagramHandler: AnyObject {
    /// One datagram, lent for the call.
    func datagram(_ bytes: RawSpan, from sender: SocketAddress)
}

/// A UDP socket. How long a datagram may be is the caller's choice; what the system has no room for is dropped and
/// counted, as the network would.
public final class DatagramSocket: EventHandler {
    /// What happened since the start, in datagrams.
    public struct Counters: Equatable, Sendable {
        /// Came.
        public var received = 0
        /// Went.
        public var sent = 0
        /// Refused for want of room in the socket's buffer.
        public var dropped = 0
        /// Refused for another reason, such as an unreachable network.
        public var errors = 0

        /// All zero.
        public init() {}
    }

    /// Per turn, so that a flood does not keep everybody else waiting.
    private static let batch = 256

    private let loop: EventLoop
    private unowned let handler: any DatagramHandler
    private let descriptor: FileDescriptor
    private let family: Int32
    private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    /// What happened so far.
    public private(set) var counters = Counters()
    /// Where it listens, with the port that the system chose for port 0.
    public let address: SocketAddress

    /// A socket bound to `address`. The handler is not kept alive.
    ///
    /// - Parameter option: the flag that chose the address, for the text of the error.
    public init(
        _ loop: EventLoop, on address: SocketAddress, option: String = "--gossip", handler: any DatagramHandler
    ) throws(SocketError) {
        self.loop = loop
        self.handler = handler
        family = address.family
        let raw = socket(family, Int32(SOCK_DGRAM.rawValue) | nonBlocking, 0)
        let failure = raw < 0 ? errno : 0
        if raw >= 0, family == AF_INET6 {
            Socket.set(raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, address.isUnspecified ? 0 : 1)
        }
        let bound = raw < 0 ? -1 : address.withSockaddr(family: family) { bind(raw, $0, $1) }
        let refusal = bound < 0 ? errno : 0
        descriptor = FileDescriptor(adopting: raw)
        self.address = SocketAddress.local(of: raw) ?? address
        if failure != 0 { throw .system(call: "socket", code: failure) }
        if refusal != 0 { throw .cannotListen(address: "\(address)", code: refusal, option: option) }
        try loop.register(raw, for: .read, handler: self)
    }

    deinit { room.deallocate() }

    /// Stops receiving.
    public func close() { loop.deregister(descriptor.raw) }

    /// Sends one datagram now.
    public func send(_ bytes: RawSpan, to address: SocketAddress) {
        let code = bytes.withUnsafeBytes { payload in
            address.withSockaddr(family: family) {
                sendto(
                    descriptor.raw, payload.baseAddress, payload.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL), $0, $1)
            }
        }
        if code >= 0 {
            counters.sent += 1
        } else if errno == EAGAIN || errno == ENOBUFS {
            counters.dropped += 1
        } else {
            counters.errors += 1
        }
    }

    /// The socket is ready.
    public func ready(_ token: UInt32, _ readiness: Readiness) {
        for _ in 0..<Self.batch {
            var count = 0
            let (sender, code) = SocketAddress.filled {
                count = recvfrom(descriptor.raw, room.baseAddress, room.count, Int32(MSG_DONTWAIT), $0, $1)
                return count < 0 ? -1 : 0
            }
            if code < 0 {
                // Errors here are news of earlier datagrams (ICMP); EAGAIN is the end of this turn's.
                if errno == EAGAIN { return }
                counters.errors += 1
                continue
            }
            counters.received += 1
            if let sender { handler.datagram(UnsafeRawBufferPointer(rebasing: room[..<count]).bytes, from: sender) }
        }
    }
}
