import CRDT
import Gossip

/// One queue group at this node: what its document says, and both of its sides here.
struct QueueGroup: Sendable {
    /// An entry may be stamped so long before the group was made and belong to it, in milliseconds: clocks differ.
    static let slackMs: UInt64 = 60_000
    /// Progress is written this often at most, in milliseconds, and so many bytes of it in each of them.
    static let writeMs: UInt64 = 100
    static let writeBytesPerMs = 32

    /// What a node had read of all logs when it made the group: what comes after that belongs to it.
    struct Since: Equatable, Sendable {
        let read: VersionVector
        let stamp: HybridTimestamp
    }

    var options: GroupOptions
    var filter: Filter
    /// By the node that made it: two sides of a partition may both have done so.
    var since: [ReplicaID: Since] = [:]
    var decider: GroupDecider
    var host = GroupHost()
    /// Positions of the log from here on were not looked at; nil if all were.
    var backlog: Int?
    /// Events given to a consumer here that this node has not read yet.
    var unread: [EntryKey] = []
    /// When progress may be written next.
    var mayWrite = Instant(microseconds: 0)

    init(name: String, options: GroupOptions, filter: Filter, standing: GroupStanding) {
        self.options = options
        self.filter = filter
        decider = GroupDecider(group: name, options: options, standing: standing)
    }

    /// Whether an entry was accepted after the group was made, as far as the node could know that made it.
    func belongs(_ key: EntryKey, timeMs: UInt64) -> Bool {
        since.values.contains {
            key.sequence > $0.read[key.log] && timeMs + Self.slackMs >= $0.stamp.milliseconds
        }
    }

    /// No entry of a log before this one belongs to the group.
    func first(of log: ReplicaID) -> UInt64 { (since.values.map { $0.read[log] }.min() ?? 0) + 1 }

    /// When progress is to be written; nil if there is none to write.
    var writeDue: Instant? {
        guard !decider.dirty.isEmpty else { return nil }
        return decider.isUrgent ? Instant(microseconds: 0) : mayWrite
    }

    /// When something is to be done; may be over.
    func wake(now: Instant) -> Instant? {
        var due = writeDue
        for mine in [decider.wake, host.wake, isScanning ? now.advanced(milliseconds: 1) : nil] {
            if let mine { due = min(due ?? mine, mine) }
        }
        return due
    }

    /// Whether there is more in the log to look at, and room for it.
    var isScanning: Bool { backlog != nil && decider.hasRoom }
}

/// All queue groups at this node.
struct QueueGroups: Sendable {
    /// The most groups; of more, which the sides of a partition can have made, the newest count.
    static let maximumGroups = 1_024
    /// The start of their documents' names.
    static let prefix = "group/"

    struct Counters: Sendable {
        var frames = 0
        var malformed = 0
        var scanned = 0
        var progressWrites = 0
        var progressBytes = 0
        var ignored = 0
        /// Of groups that were deleted.
        var past = GroupDecider.Counters()
    }

    var all: [String: QueueGroup] = [:]
    var index = FilterIndex<String>()
    /// Groups whose documents have changed.
    var stale: Set<String> = []
    /// Everything is to be read anew from the documents.
    var isUnread = false
    /// Groups with which something has happened in this turn.
    var touched: Set<String> = []
    /// Groups with events to deliver that were not read here yet, and how long the log was then.
    var unread: Set<String> = []
    var unreadEnd = 0
    /// What is to be told to whom; to this node too.
    var outbox: [(node: ReplicaID, group: String, message: GroupMessage)] = []
    /// No group is due before this moment.
    var wake: Instant?
    var standing: GroupStanding
    /// Since when writers of logs are no members that are present, by this node's own clock.
    var absentSince: [ReplicaID: Instant] = [:]
    /// When the next of them has been absent for long enough.
    var nextOrphan: Instant?
    /// What `standing` was made from.
    var seenMembers = -1
    var seenLogs = -1
    var counters = Counters()

    init(me: ReplicaID) { standing = GroupStanding(me: me) }

    /// Nothing was read.
    mutating func forget() {
        let (standing, counters) = (standing, counters)
        self = QueueGroups(me: standing.me)
        self.standing.startHead = standing.startHead
        self.counters = counters
        isUnread = true
    }
}
