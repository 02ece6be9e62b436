internal import Glibc
internal import NodeCore
internal import Synchronization

/// The thread that a durable node's disk jobs are carried out on, and the two queues between it and the loop.
///
/// The queues need no bound of their own: the core has one commit under way at a time, and the bytes of a snapshot only
/// as fast as it makes them.
final class DiskThread: Sendable {
    private struct State {
        var jobs: [DiskJob] = []
        var results: [DiskResult] = []
        var health = DiskHealth()
        /// Jobs that were taken and are not done.
        var taken = 0
        /// When the present job began, in microseconds of the clock; 0 for none.
        var busySince: UInt64 = 0
        /// The last job was given: the thread ends once it is done.
        var isClosing = false
        var hasEnded = false
    }

    /// What crosses the threads.
    private final class Shared: Sendable {
        let state = Mutex(State())
        let signal = Semaphore()
    }

    private let shared = Shared()
    private let clock: @Sendable () -> UInt64

    /// A thread that owns `writer`. `wake` is called on it after each answer; `clock` counts microseconds.
    init<Calls: FileCalls>(
        _ writer: DiskWriter<Calls>, clock: @escaping @Sendable () -> UInt64, wake: @escaping @Sendable () -> Void
    ) {
        self.clock = clock
        BackgroundThread.start { [shared] in
            var writer = writer
            while Self.work(shared, &writer, clock, wake) {}
            writer.close()
            shared.state.withLock { $0.hasEnded = true }
        }
    }

    /// Waits for jobs and does them; false once there will be no more.
    private static func work<Calls: FileCalls>(
        _ shared: Shared, _ writer: inout DiskWriter<Calls>, _ clock: () -> UInt64, _ wake: () -> Void
    ) -> Bool {
        shared.signal.wait()
        let (jobs, isClosing) = shared.state.withLock { state in
            let jobs = state.jobs
            state.jobs = []
            state.taken = jobs.count
            return (jobs, state.isClosing)
        }
        for job in jobs {
            let now = clock()
            shared.state.withLock { $0.busySince = max(1, now) }
            let result = writer.perform(job)
            shared.state.withLock { state in
                if let result { state.results.append(result) }
                state.health = writer.health
                state.taken -= 1
                state.busySince = 0
            }
            if result != nil { wake() }
        }
        return !isClosing
    }

    /// Asks for a job; returns at once.
    func add(_ job: DiskJob) {
        shared.state.withLock { $0.jobs.append(job) }
        shared.signal.signal()
    }

    /// The answers since the last call, in the order of their jobs.
    func takeResults() -> [DiskResult] {
        shared.state.withLock { state in
            let results = state.results
            state.results = []
            return results
        }
    }

    /// What the disk has done, and what it is doing.
    func health() -> DiskHealth {
        let now = clock()
        return shared.state.withLock { state in
            var health = state.health
            health.waitingJobs = state.jobs.count + state.taken
            if state.busySince != 0, now > state.busySince { health.busyMicroseconds = now - state.busySince }
            return health
        }
    }

    /// Gives the jobs so far a moment to be done and the files to be closed, at the end of the process. What a disk that
    /// hangs has not done by then is found at the next start, or was never answered.
    func close() {
        shared.state.withLock { $0.isClosing = true }
        shared.signal.signal()
        for _ in 0..<250 {
            if shared.state.withLock({ $0.hasEnded }) { return }
            usleep(4_000)
        }
    }
}
