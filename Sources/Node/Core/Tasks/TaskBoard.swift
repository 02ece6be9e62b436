import CRDT
import Gossip

/// What this node has made of tasks, to find them by and to decide about those that are its to decide.
struct TaskBoard: Sendable {
    /// The most tasks; beyond that none is accepted.
    static let maximum = 1_000_000

    /// Documents that have changed since they were last read.
    var stale = StaleDocuments()
    /// When claims, pauses and deadlines end about which this node decides.
    var timers = LeaseTimers()
    /// The change of members that was last followed.
    var seenMembers = -1
    /// When to try again, as this node could not decide anything.
    var retryAt: Instant?
    var counters = Counters()

    /// What was done since the start, for the metrics.
    struct Counters: Sendable {
        var posted = 0
        var refused = 0
        var claimed = 0
        var completed = 0
        var failed = 0
        var revoked = 0
    }

    /// What lists need to know of a task.
    struct Entry: Sendable {
        let created: HybridTimestamp
        let status: TaskState.Status
        /// Who does it, or did; empty for nobody.
        let agent: [UInt8]
        let skills: [[UInt8]]
        /// When something is due with it.
        let dueMs: UInt64?

        /// Whether whoever decides has something to wait for.
        var isLive: Bool { !status.isFinal && dueMs != nil }
    }

    private(set) var entries: [[UInt8]: Entry] = [:]
    /// By rising stamp.
    private var order: [(created: HybridTimestamp, key: [UInt8])] = []
    private var byStatus: [TaskState.Status: Int] = [:]
    /// Tasks with which something becomes due for whoever decides.
    private var live: Set<[UInt8]> = []
    /// The tasks that an agent has claimed.
    private var claims: [[UInt8]: Set<[UInt8]>] = [:]

    var count: Int { entries.count }
    var hasRoom: Bool { entries.count < Self.maximum }
    func claimed(by agent: [UInt8]) -> Int { claims[agent]?.count ?? 0 }

    /// While nothing can be decided, what is due waits.
    var wake: Instant? { retryAt ?? timers.wake }

    /// Notes what has become of a task; nil if it is gone.
    mutating func note(_ key: [UInt8], _ entry: Entry?) {
        let before = entries[key]
        if let before {
            byStatus[before.status, default: 0] -= 1
            if before.status == .claimed {
                claims[before.agent]?.remove(key)
                if claims[before.agent]?.isEmpty ?? false { claims[before.agent] = nil }
            }
        }
        if before?.created != entry?.created {
            if let before, let at = place(of: before.created) { order.remove(at: at) }
            if let entry { order.insert((entry.created, key), at: end(before: entry.created)) }
        }
        entries[key] = entry
        if entry?.isLive ?? false { live.insert(key) } else { live.remove(key) }
        guard let entry else { return }
        byStatus[entry.status, default: 0] += 1
        if entry.status == .claimed { claims[entry.agent, default: []].insert(key) }
    }

    /// An agent's document has changed: it may have retired.
    mutating func noteAgent(_ agent: [UInt8]) { for task in claims[agent] ?? [] { stale.note(task) } }

    /// The tasks that changed, or may have, in order; `known` are all there are if any may have changed.
    mutating func takeStale(hasNewMembers: Bool, _ known: [[UInt8]]) -> [[UInt8]] {
        let (keys, isEverything) = stale.take()
        guard isEverything || hasNewMembers else { return keys }
        return Set(keys).union(isEverything ? Array(entries.keys) : Array(live)).union(known).sorted {
            $0.lexicographicallyPrecedes($1)
        }
    }

    /// Tasks that are wanted, the newest first, older than `before`.
    func newest(_ most: Int, before: HybridTimestamp?, where isWanted: (Entry) -> Bool) -> [[UInt8]] {
        var found: [[UInt8]] = []
        var at = before.map { end(before: $0) } ?? order.count
        while at > 0, found.count < most {
            at -= 1
            if let entry = entries[order[at].key], isWanted(entry) { found.append(order[at].key) }
        }
        return found
    }

    /// How many tasks in the order come before a stamp.
    private func end(before stamp: HybridTimestamp) -> Int {
        var (low, high) = (0, order.count)
        while low < high {
            let middle = (low + high) / 2
            if order[middle].created < stamp { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func place(of stamp: HybridTimestamp) -> Int? {
        let at = end(before: stamp)
        return at < order.count && order[at].created == stamp ? at : nil
    }

    func writeMetrics(into out: inout MetricsWriter) {
        out.family("tasks", .gauge, "Tasks known, by what has become of them.")
        for status in TaskState.Status.allCases {
            out.sample(["status": status.rawValue], byStatus[status] ?? 0)
        }
        out.gauge("tasks_timed", "Claims, pauses and deadlines whose end this node decides.", timers.count)
        out.counter("tasks_posted_total", "Tasks accepted from clients.", counters.posted)
        out.counter("tasks_refused_total", "Tasks refused at the bound.", counters.refused)
        out.counter("tasks_claimed_total", "Claims granted by this node.", counters.claimed)
        out.counter("tasks_completed_total", "Results taken by this node.", counters.completed)
        out.counter("tasks_failed_total", "Attempts that failed, as decided here.", counters.failed)
        out.counter("tasks_revoked_total", "Claims and results revoked by this node.", counters.revoked)
    }
}
