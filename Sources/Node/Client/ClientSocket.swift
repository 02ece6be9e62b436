internal import Glibc
internal import Gossip
internal import Transport

/// Why a node could not be asked, in words for the person at the terminal.
enum ClientError: Error, Equatable, CustomStringConvertible {
    /// Nothing answers there.
    case unreachable(NodeURL, reason: String)
    /// The connection ended in the middle.
    case brokenOff(NodeURL, reason: String)
    /// No answer in time.
    case tooSlow(NodeURL, seconds: Int)
    /// Something answers that is not a node.
    case notANode(NodeURL, reason: String)
    /// The node said no.
    case refused(status: Int, message: String)
    /// The node said no on a WebSocket.
    case rejected(String)

    var description: String {
        switch self {
        case .unreachable(let node, let reason):
            "no node answers at \(node) (\(reason)); "
                + (node.target.isLoopback
                    ? "start one with `\(programName) serve --http \(node.target)`, or name another with --node URL"
                    : "is one running there? name another with --node URL")
        case .brokenOff(let node, let reason):
            "the connection to \(node) broke off (\(reason)); try again, or another --node"
        case .tooSlow(let node, let seconds): "\(node) did not answer within \(seconds) s; try another --node"
        case .notANode(let node, let reason): "what answers at \(node) is not a Hypha node (\(reason)); check --node"
        case .refused(let status, let message): "\(printable(message)) (HTTP \(status))"
        case .rejected(let message): "the node refuses: \(message)"
        }
    }
}

/// A blocking TCP connection whose every wait has an end. For the commands that talk to a node, not for the node.
struct ClientSocket: ~Copyable {
    /// The descriptor, non-blocking; owned by this value.
    let descriptor: Int32
    private let node: NodeURL

    /// Connects to the first address of the node that takes it, within `milliseconds` for each.
    init(to node: NodeURL, milliseconds: Int) throws(ClientError) {
        let addresses: [Address]
        do throws(SocketError) {
            addresses = try node.target.resolve()
        } catch {
            throw .unreachable(node, reason: "\(error)")
        }
        var reason = "no address"
        for address in addresses {
            switch Self.connect(to: address, milliseconds: milliseconds) {
            case .success(let descriptor):
                self.descriptor = descriptor
                self.node = node
                return
            case .failure(let failure): reason = failure.reason
            }
        }
        throw .unreachable(node, reason: reason)
    }

    deinit { close(descriptor) }

    /// Sends everything, waiting at most `milliseconds` in all.
    func send(_ bytes: [UInt8], milliseconds: Int) throws(ClientError) {
        let deadline = Deadline(milliseconds: milliseconds)
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count >= 0 {
                sent += count
            } else if errno == EAGAIN {
                guard Self.wait(descriptor, POLLOUT, deadline) else { throw tooSlow(milliseconds) }
            } else if errno != EINTR {
                throw .brokenOff(node, reason: systemMessage(errno))
            }
        }
    }

    /// Appends what has come to `buffer`, waiting for it until `deadline`; false at the end of the stream.
    func receive(into buffer: inout [UInt8], deadline: Deadline) throws(ClientError) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = chunk.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
            if count > 0 {
                buffer += chunk[..<count]
                return true
            }
            if count == 0 { return false }
            if errno == EAGAIN {
                guard Self.wait(descriptor, POLLIN, deadline) else { throw tooSlow(deadline.milliseconds) }
            } else if errno != EINTR {
                throw .brokenOff(node, reason: systemMessage(errno))
            }
        }
    }

    private func tooSlow(_ milliseconds: Int) -> ClientError { .tooSlow(node, seconds: (milliseconds + 999) / 1_000) }

    private static func connect(to address: Address, milliseconds: Int) -> Result<Int32, Problem> {
        let family = address.ipv4 == nil ? AF_INET6 : AF_INET
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else { return .failure(Problem(reason: systemMessage(errno))) }
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        var code = withSocketAddress(address) { Glibc.connect(descriptor, $0, $1) } == 0 ? 0 : errno
        if code == EINPROGRESS {
            var size = socklen_t(4)
            if !wait(descriptor, POLLOUT, Deadline(milliseconds: milliseconds)) {
                code = ETIMEDOUT
            } else if getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) != 0 {
                code = errno
            }
        }
        if code == 0 { return .success(descriptor) }
        close(descriptor)
        return .failure(Problem(reason: systemMessage(code)))
    }

    private static func wait(_ descriptor: Int32, _ event: Int32, _ deadline: Deadline) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(event), revents: 0)
        while true {
            let count = poll(&entry, 1, Int32(clamping: deadline.remainingMs))
            if count > 0 { return true }
            if count == 0 || errno != EINTR { return false }
        }
    }
}

/// A moment after which nobody waits any longer.
struct Deadline {
    /// How long the wait was to be.
    let milliseconds: Int
    private let end: UInt64

    /// So many milliseconds from now.
    init(milliseconds: Int) {
        self.milliseconds = milliseconds
        end = SystemTime.monotonicNanoseconds() + UInt64(milliseconds) * 1_000_000
    }

    /// Milliseconds until then, rounded up; zero afterwards.
    var remainingMs: Int {
        let now = SystemTime.monotonicNanoseconds()
        return now < end ? Int((end - now + 999_999) / 1_000_000) : 0
    }
}

/// Calls `body` with the address as the system wants it.
func withSocketAddress<R>(_ address: Address, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    func lend<Raw>(_ raw: Raw) -> R {
        withUnsafePointer(to: raw) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<Raw>.size)) }
        }
    }
    if let ipv4 = address.ipv4 {
        var raw = sockaddr_in()
        raw.sin_family = sa_family_t(AF_INET)
        raw.sin_port = address.port.bigEndian
        raw.sin_addr.s_addr = ipv4.bigEndian
        return lend(raw)
    }
    var raw = sockaddr_in6()
    raw.sin6_family = sa_family_t(AF_INET6)
    raw.sin6_port = address.port.bigEndian
    withUnsafeMutableBytes(of: &raw.sin6_addr) { bytes in
        bytes.storeBytes(of: address.high.bigEndian, as: UInt64.self)
        bytes.storeBytes(of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
    }
    return lend(raw)
}
