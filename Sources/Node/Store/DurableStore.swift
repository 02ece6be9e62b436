internal import CEpoll
internal import CRDT
internal import Glibc
internal import Gossip
internal import NodeCore
internal import Transport

/// What makes a node durable: its directory, which it alone uses, and the thread that writes to it.
final class DurableStore {
    private let lock: DirectoryLock
    private let log: Log
    private var thread: DiskThread?
    private var mayNeedRenewal = true

    /// Takes the directory, or says why it cannot be used.
    init(_ path: String, log: Log) throws(Problem) {
        lock = try DirectoryLock(path)
        self.log = log
        for warning in lock.warnings { log(.warning, warning) }
    }

    /// The node that the directory holds; jobs can be given from here on. A long reading is told about once a second.
    func open(
        _ settings: NodeSettings, acceptsLoss: Bool, wallMilliseconds: UInt64, dice: Dice, waker: EventLoop.Waker
    ) throws(StoreError) -> NodeCore {
        var reader = try DirectoryReader(lock.directory, path: lock.path)
        // What reading took goes back to the system.
        malloc_trim(0)
        let clock = MonotonicClock.now
        let writer = DiskWriter(SystemFiles(directory: lock.directory), directory: lock.path, clock: clock)
        if let newest = reader.newestSegment { try writer.settle(newest) }
        var opening = NodeCore.Opening(freshReplica: settings.replica)
        opening.renewsReplica = lock.renews
        opening.acceptsLoss = acceptsLoss
        let typed = [programName] + CommandLine.arguments.dropFirst().map(shellQuoted) + ["--accept-loss"]
        opening.commandToAcceptLoss = typed.joined(separator: " ")
        let begin = MonotonicClock.now()
        var told = begin
        let core = try NodeCore.open(
            settings, &reader, opening, wallMilliseconds: wallMilliseconds,
            now: Instant(microseconds: MonotonicClock.now()), dice: dice
        ) { done, all in
            let now = MonotonicClock.now()
            guard now - told >= 1_000_000 else { return }
            told = now
            log(.info, "reading \(lock.path): \(done >> 20) of \(all >> 20) MiB")
        }
        log(
            .info,
            "read \(lock.path): \(core.entryCount) entries in \((MonotonicClock.now() - begin) / 1_000) ms")
        reader.giveBackRoom()
        thread = DiskThread(writer, clock: clock, wake: { waker.wake() })
        return core
    }

    /// Asks the disk for something; returns at once.
    func add(_ job: DiskJob) { thread?.add(job) }

    /// What the disk has answered since the last call.
    func takeResults() -> [DiskResult] {
        let results = thread?.takeResults() ?? []
        if mayNeedRenewal, results.contains(where: { if case .committed = $0 { true } else { false } }) {
            mayNeedRenewal = false
            do throws(Problem) {
                try lock.wasRenewed()
            } catch {
                log(.warning, "\(error); the next start will take a new id once more")
            }
        }
        return results
    }

    /// For `/health` and `/metrics`.
    var health: DiskHealth? { thread?.health() }

    /// Ends the thread, with a moment for what it still has to do.
    func close() { thread?.close() }
}
