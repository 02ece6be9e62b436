internal import Glibc
internal import Synchronization

/// Writes log lines on a thread of its own, so that a reader who stops reading never stops the node.
///
/// Bounded: beyond 1 MiB of waiting lines new ones are dropped, and a line says how many once there is room.
final class LogWriter: Sendable {
    private struct State {
        var waiting: [UInt8] = []
        var dropped = 0
        var isBusy = false
    }

    /// What crosses the threads; shared with the thread, which lives as long as the process.
    private final class Shared: Sendable {
        let state = Mutex(State())
        let descriptor: Int32
        let signal = Semaphore()

        init(_ descriptor: Int32) { self.descriptor = descriptor }

        func run() -> Never {
            while true {
                signal.wait()
                let bytes = state.withLock { state in
                    let bytes = state.waiting
                    state.waiting = []
                    state.isBusy = !bytes.isEmpty
                    return bytes
                }
                guard !bytes.isEmpty else { continue }
                writeAll(bytes, to: descriptor)
                state.withLock { $0.isBusy = false }
            }
        }
    }

    private static let limitBytes = 1 << 20
    private let shared: Shared

    /// A writer to a descriptor, with its thread.
    init(_ descriptor: Int32) {
        shared = Shared(descriptor)
        BackgroundThread.start { [shared] in shared.run() }
    }

    /// Takes one whole line; returns at once.
    func write(_ line: [UInt8]) {
        shared.state.withLock { state in
            guard state.waiting.count + line.count <= Self.limitBytes else {
                state.dropped += 1
                return
            }
            if state.dropped > 0 {
                state.waiting += "\(state.dropped) log lines were dropped: standard error is read too slowly\n".utf8
                state.dropped = 0
            }
            state.waiting += line
        }
        shared.signal.signal()
    }

    /// Gives what waits a moment to be written, at the end of the process.
    func close() {
        for _ in 0..<50 {
            if shared.state.withLock({ $0.waiting.isEmpty && !$0.isBusy }) { return }
            usleep(4_000)
        }
    }
}
