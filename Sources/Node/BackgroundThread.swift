internal import Glibc

/// A thread for work that may block: the loop's thread never does.
enum BackgroundThread {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Runs `body` on a thread of its own.
    static func start(_ body: @escaping @Sendable () -> Void) {
        // Signals belong to the loop: one that reached this thread would end the process as if nobody listened.
        var everything = sigset_t()
        var before = sigset_t()
        sigfillset(&everything)
        pthread_sigmask(SIG_SETMASK, &everything, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Body(body)).toOpaque()
        let code = pthread_create(
            &thread, nil,
            { context in
                Unmanaged<Body>.fromOpaque(context!).takeRetainedValue().run()
                return nil
            }, context)
        precondition(code == 0, "the system starts no thread: \(systemMessage(code))")
        pthread_detach(thread)
    }
}

/// Counts what one thread has for another, which sleeps while there is nothing.
final class Semaphore: Sendable {
    nonisolated(unsafe) private let raw = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(raw, 0, 0) }

    deinit {
        sem_destroy(raw)
        raw.deallocate()
    }

    /// Adds one.
    func signal() { sem_post(raw) }

    /// Takes one, sleeping until there is one.
    func wait() { while sem_wait(raw) != 0 {} }
}
