internal import Glibc
internal import Transport

/// One connection of a benchmark: a socket on the benchmark's loop, what of its input is not whole yet, and what of its
/// output the system has not taken yet.
final class LoadConnection {
    let socket: ClientSocket
    /// False once the other side has closed it or it has failed.
    private(set) var isOpen = true
    private var input: [UInt8]
    private var output: [UInt8] = []
    private var sent = 0
    private var wantsToWrite = false
    private let loop: EventLoop

    /// Registers the socket; `handler` is told `index`, its number among its kind. `input` is what has already been read from it.
    init(
        _ socket: consuming ClientSocket, index: Int, input: [UInt8] = [], loop: EventLoop, handler: any EventHandler
    ) throws(SocketError) {
        self.socket = socket
        self.input = input
        self.loop = loop
        try loop.register(self.socket.descriptor, for: .read, handler: handler, token: UInt32(index))
    }

    /// Stops watching and shuts the connection; the descriptor is closed with this object.
    func end() {
        guard isOpen else { return }
        isOpen = false
        loop.deregister(socket.descriptor)
        shutdown(socket.descriptor, Int32(SHUT_RDWR))
    }

    /// Bytes that wait for the system.
    var waitingBytes: Int { output.count - sent }

    /// Lets `make` append to the output; `flush` sends it.
    func write(_ make: (inout [UInt8]) -> Void) { make(&output) }

    /// Sends what it can, and asks to be called when there is room for the rest.
    func flush() {
        while isOpen, sent < output.count {
            let count = output.withUnsafeBytes {
                send(socket.descriptor, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count >= 0 {
                sent += count
            } else if errno == EAGAIN {
                watch(write: true)
                return
            } else if errno != EINTR {
                end()
                return
            }
        }
        output.removeAll(keepingCapacity: true)
        sent = 0
        if isOpen { watch(write: false) }
    }

    /// Reads once into `buffer` and lets `parse` take whole messages from what is there, moving its offset behind each.
    func receive(
        into buffer: UnsafeMutableRawBufferPointer, _ parse: (UnsafeMutableRawBufferPointer, inout Int) -> Void
    ) {
        let count = recv(socket.descriptor, buffer.baseAddress, buffer.count, 0)
        guard count > 0 else {
            if count == 0 || (errno != EAGAIN && errno != EINTR) { end() }
            return
        }
        var used = 0
        let fresh = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
        if input.isEmpty {
            parse(fresh, &used)
            input.append(contentsOf: fresh[used...])
        } else {
            input.append(contentsOf: fresh)
            input.withUnsafeMutableBytes { parse($0, &used) }
            input.removeFirst(used)
        }
    }

    private func watch(write: Bool) {
        guard write != wantsToWrite else { return }
        wantsToWrite = write
        loop.watch(socket.descriptor, for: write ? [.read, .write] : .read)
    }
}

/// When a benchmark warms up, measures and ends, in nanoseconds of the monotonic clock.
struct Timetable {
    let start: UInt64
    let warm: UInt64
    let stop: UInt64
    /// After the end everything posted may still arrive for so long.
    static let drainNanoseconds: UInt64 = 5_000_000_000

    init(_ load: Load, start: UInt64) {
        self.start = start
        warm = start + UInt64(load.warmup * 1e9)
        stop = warm + UInt64(load.seconds * 1e9)
    }

    /// Whether what happens at this moment is measured.
    func isMeasured(_ nanoseconds: UInt64) -> Bool { nanoseconds >= warm && nanoseconds < stop }
}

/// Makes room for the descriptors of a benchmark, or says how.
func makeRoom(forConnections count: Int) throws(Problem) {
    let limit = ResourceLimits.raiseOpenDescriptors()
    guard limit == 0 || count + 64 <= limit else {
        throw Problem(
            reason: "\(count) connections need \(count + 64) open files, the limit is \(limit); raise it with "
                + "`ulimit -n \(count + 64)`, or use fewer connections")
    }
}
