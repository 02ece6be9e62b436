import CEpoll
import Glibc

/// What a descriptor is ready for, or is watched for.
public struct Readiness: OptionSet, Sendable {
    /// Bits of epoll.
    public let rawValue: UInt32
    /// Bits of epoll.
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// There is something to read, or the end.
    public static let read = Readiness(rawValue: EPOLLIN.rawValue)
    /// There is room to write.
    public static let write = Readiness(rawValue: EPOLLOUT.rawValue)
    /// Both directions are shut, or the socket failed. Reported whether asked for or not.
    public static let failed = Readiness(rawValue: EPOLLHUP.rawValue | EPOLLERR.rawValue)
}

/// Someone whose descriptors are watched.
public protocol EventHandler: AnyObject {
    /// A descriptor that was registered with `token` is ready. Called on the loop's thread, never re-entered.
    func ready(_ token: UInt32, _ readiness: Readiness)
}

/// Someone with work to do at the end of every turn, or at a certain time.
public protocol LoopPart: AnyObject {
    /// When the loop has to make a turn at the latest, in microseconds of the loop's clock; `.max` for never.
    var deadline: UInt64 { get }
    /// All descriptors that were ready have been served; `now` is the loop's clock in microseconds.
    func endTurn(now: UInt64)
}

/// One thread's event loop over level-triggered epoll.
///
/// A turn: wait; serve every descriptor that is ready; call `onDeadline` if its time has come; call `onTurnEnd`; let
/// every part end its turn (this is where sockets are flushed, so that a turn's writes leave together).
///
/// Everything is called on the thread that calls `run` or `turn`. Only the `waker` may cross threads.
public final class EventLoop {
    /// Wakes a loop from another thread.
    public final class Waker: Sendable {
        let descriptor: Int32

        fileprivate init() throws(SocketError) {
            descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
            if descriptor < 0 { throw .system(call: "eventfd", code: errno) }
        }

        /// Makes the loop take a turn soon; many calls before that turn are one.
        public func wake() {
            var one: UInt64 = 1
            _ = write(descriptor, &one, 8)
        }

        deinit { _ = close(descriptor) }
    }

    private struct Entry {
        var handler: (any EventHandler)?
        var token: UInt32 = 0
        /// Tells an event of a closed descriptor from one of its successor with the same number.
        var generation: UInt32 = 0
    }

    private static let batch = 1_024

    private let epoll: Int32
    private let clock: () -> UInt64
    private let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: EventLoop.batch)
    private var entries: [Entry] = []
    private var parts: [any LoopPart] = []
    private var signals: SignalSource?
    private var isStopping = false
    private var lag = LagMeter()

    /// Wakes this loop; may be given to other threads.
    public let waker: Waker
    /// The clock at the start of this turn, in microseconds.
    public private(set) var now: UInt64
    /// Turns made since the start.
    public private(set) var turns = 0
    /// When to call `onDeadline`, in microseconds of the loop's clock; `.max` for never. Reset before the call.
    public var deadline = UInt64.max
    /// The moment in `deadline` has come.
    public var onDeadline: ((_ now: UInt64) -> Void)?
    /// Every ready descriptor of this turn has been served and nothing has been flushed yet.
    public var onTurnEnd: ((_ now: UInt64) -> Void)?
    /// A turn is over and all that was collected has been sent: how long it took since it began, in microseconds.
    public var onTurnMeasured: ((_ took: UInt64) -> Void)?
    /// Another thread called `wake`.
    public var onWake: (() -> Void)?

    /// A loop on `clock`, which counts microseconds and never goes back.
    public init(clock: @escaping () -> UInt64 = MonotonicClock.now) throws(SocketError) {
        self.clock = clock
        now = clock()
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        if epoll < 0 { throw .system(call: "epoll_create1", code: errno) }
        do {
            waker = try Waker()
        } catch {
            events.deallocate()
            _ = close(epoll)
            throw error
        }
        try register(waker.descriptor, for: .read, handler: WakeReader(self))
    }

    deinit {
        events.deallocate()
        _ = close(epoll)
    }

    // MARK: Descriptors

    /// Watches a descriptor. The handler is kept until `deregister`, which has to come before the descriptor is closed.
    public func register(
        _ descriptor: Int32, for readiness: Readiness, handler: any EventHandler, token: UInt32 = 0
    ) throws(SocketError) {
        let at = Int(descriptor)
        while entries.count <= at { entries.append(Entry()) }
        entries[at].handler = handler
        entries[at].token = token
        entries[at].generation &+= 1
        if control(EPOLL_CTL_ADD, descriptor, readiness) != 0 {
            entries[at].handler = nil
            throw .system(call: "epoll_ctl", code: errno)
        }
    }

    /// Changes what a registered descriptor is watched for.
    public func watch(_ descriptor: Int32, for readiness: Readiness) {
        let code = control(EPOLL_CTL_MOD, descriptor, readiness)
        precondition(code == 0, "epoll_ctl refused descriptor \(descriptor) with error \(errno): it is not registered")
    }

    /// Stops watching; events of this turn that were not served yet are dropped.
    public func deregister(_ descriptor: Int32) {
        let at = Int(descriptor)
        guard at < entries.count, entries[at].handler != nil else { return }
        entries[at].handler = nil
        _ = control(EPOLL_CTL_DEL, descriptor, [])
    }

    private func control(_ operation: Int32, _ descriptor: Int32, _ readiness: Readiness) -> Int32 {
        var event = epoll_event()
        event.events = readiness.rawValue
        event.data.u64 = UInt64(entries[Int(descriptor)].generation) << 32 | UInt64(UInt32(bitPattern: descriptor))
        return epoll_ctl(epoll, operation, descriptor, &event)
    }

    /// Lets `part` end every turn from now on, after those that were added before.
    public func add(_ part: any LoopPart) { parts.append(part) }

    /// Forgets a part.
    public func remove(_ part: any LoopPart) { parts.removeAll { $0 === part } }

    /// Takes these signals out of the thread's (and later threads') ordinary delivery and reports them here.
    public func onSignals(_ numbers: [Int32], _ report: @escaping (Int32) -> Void) throws(SocketError) {
        let source = try SignalSource(numbers, report)
        try register(source.descriptor.raw, for: .read, handler: source)
        signals = source
    }

    // MARK: Turns

    /// Makes turns until `stop`.
    public func run() {
        isStopping = false
        while !isStopping { turn() }
    }

    /// Looks at the clock: something took long before the first turn.
    public func updateClock() { now = clock() }

    /// Ends `run` after this turn.
    public func stop() { isStopping = true }

    /// The longest turn of the last ten seconds, in microseconds: how late anything may have been served.
    public func longestTurn() -> UInt64 { lag.longest(now: now) }

    /// One turn. Waits for something to happen until the nearest deadline, and no longer than `microseconds`.
    public func turn(waitingAtMost microseconds: UInt64 = .max) {
        let before = clock()
        var until = min(deadline, microseconds > .max - before ? .max : before + microseconds)
        for part in parts { until = min(until, part.deadline) }
        // Rounded up, so that a deadline is not met by turns that come just too early.
        let wait = until == .max ? -1 : until <= before ? 0 : Int32(clamping: (until - before + 999) / 1_000)
        let count = epoll_wait(epoll, events, Int32(Self.batch), wait)
        precondition(count >= 0 || errno == EINTR, "epoll_wait failed with error \(errno)")
        now = clock()
        turns &+= 1
        var at = 0
        while at < Int(count) {
            let event = events[at]
            at += 1
            let entry = entries[Int(UInt32(truncatingIfNeeded: event.data.u64))]
            guard entry.generation == UInt32(truncatingIfNeeded: event.data.u64 >> 32) else { continue }
            entry.handler?.ready(entry.token, Readiness(rawValue: event.events))
        }
        if now >= deadline {
            deadline = .max
            onDeadline?(now)
        }
        onTurnEnd?(now)
        for part in parts { part.endTurn(now: now) }
        let took = clock() &- now
        lag.record(took, now: now)
        onTurnMeasured?(took)
    }

    private final class WakeReader: EventHandler {
        unowned let loop: EventLoop
        init(_ loop: EventLoop) { self.loop = loop }

        func ready(_ token: UInt32, _ readiness: Readiness) {
            var count: UInt64 = 0
            _ = read(loop.waker.descriptor, &count, 8)
            loop.onWake?()
        }
    }
}

/// The longest of the turns of the last ten seconds, kept as one maximum per second.
struct LagMeter {
    private var maxima = [UInt64](repeating: 0, count: 10)
    private var second: UInt64 = 0

    mutating func record(_ microseconds: UInt64, now: UInt64) {
        advance(to: now / 1_000_000)
        let slot = Int(second % 10)
        if microseconds > maxima[slot] { maxima[slot] = microseconds }
    }

    mutating func longest(now: UInt64) -> UInt64 {
        advance(to: now / 1_000_000)
        return maxima.max() ?? 0
    }

    private mutating func advance(to newer: UInt64) {
        guard newer > second else { return }
        for step in 1...min(10, newer - second) { maxima[Int((second + step) % 10)] = 0 }
        second = newer
    }
}

/// Signals as a descriptor (signalfd), so that they are served between other events and never in a handler.
final class SignalSource: EventHandler {
    let descriptor: FileDescriptor
    private let report: (Int32) -> Void

    init(_ numbers: [Int32], _ report: @escaping (Int32) -> Void) throws(SocketError) {
        self.report = report
        var set = sigset_t()
        sigemptyset(&set)
        for number in numbers { sigaddset(&set, number) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        let raw = signalfd(-1, &set, Int32(SFD_NONBLOCK | SFD_CLOEXEC))
        descriptor = FileDescriptor(adopting: raw)
        if raw < 0 { throw .system(call: "signalfd", code: errno) }
    }

    func ready(_ token: UInt32, _ readiness: Readiness) {
        var info = signalfd_siginfo()
        while read(descriptor.raw, &info, MemoryLayout<signalfd_siginfo>.size) == MemoryLayout<signalfd_siginfo>.size {
            report(Int32(info.ssi_signo))
        }
    }
}
