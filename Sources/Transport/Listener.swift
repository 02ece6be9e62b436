import CEpoll
import Glibc

/// A TCP socket that takes connections in, some per turn, and rests when the process has no descriptors left.
final class Listener: EventHandler, LoopPart {
    /// Per turn, so that a crowd of new clients does not keep the others waiting.
    private static let batch = 128
    private static let restMicroseconds: UInt64 = 100_000

    private let loop: EventLoop
    private let descriptor: FileDescriptor
    private let accepted: (consuming FileDescriptor, SocketAddress?) -> Void
    /// Connections that the operating system refused.
    private(set) var errors = 0
    /// Until when the listener rests; `.max` if it does not.
    private(set) var deadline = UInt64.max
    /// Where it listens, with the port that the system chose for port 0.
    let address: SocketAddress

    init(
        _ loop: EventLoop, on address: SocketAddress, option: String,
        accepted: @escaping (_ descriptor: consuming FileDescriptor, _ remote: SocketAddress?) -> Void
    ) throws(SocketError) {
        self.loop = loop
        self.accepted = accepted
        let family = address.family
        let raw = socket(family, Int32(SOCK_STREAM.rawValue) | nonBlocking, 0)
        if raw < 0 { throw .system(call: "socket", code: errno) }
        let descriptor = FileDescriptor(adopting: raw)
        Socket.set(raw, SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6 { Socket.set(raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, address.isUnspecified ? 0 : 1) }
        guard address.withSockaddr(family: family, { bind(raw, $0, $1) }) == 0, listen(raw, 4_096) == 0 else {
            throw .cannotListen(address: "\(address)", code: errno, option: option)
        }
        self.address = SocketAddress.local(of: raw) ?? address
        self.descriptor = descriptor
        try loop.register(raw, for: .read, handler: self)
        loop.add(self)
    }

    /// Stops listening; connections that were taken in stay.
    func close() {
        loop.deregister(descriptor.raw)
        loop.remove(self)
        shutdown(descriptor.raw, Int32(SHUT_RDWR))
    }

    func ready(_ token: UInt32, _ readiness: Readiness) {
        for _ in 0..<Self.batch {
            let (remote, raw) = SocketAddress.filled { cepoll_accept(descriptor.raw, $0, $1, nonBlocking) }
            if raw >= 0 {
                accepted(FileDescriptor(adopting: raw), remote)
                continue
            }
            switch errno {
            case EAGAIN: return
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                // The connection stays in the queue, and epoll would report it again and again.
                errors += 1
                loop.watch(descriptor.raw, for: [])
                deadline = loop.now + Self.restMicroseconds
                return
            default:
                // The client gave up meanwhile, or the like (accept(2)).
                errors += 1
            }
        }
    }

    func endTurn(now: UInt64) {
        guard now >= deadline else { return }
        deadline = .max
        loop.watch(descriptor.raw, for: .read)
    }
}
