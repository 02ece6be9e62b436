import CRDT
import Gossip

/// Partitions as one node sees them: which members it lost, what they wrote meanwhile that could not know of what was
/// written here, and what of that cannot both stay.
///
/// Two writes are concurrent if neither writer had read the other's (Lamport, 1978). What a lost member wrote after it was
/// lost says itself what it had read: each entry names what its writer had read of other logs.
struct Healing: Sendable {
    /// The most conflicts that are kept for one report; the others are counted.
    static let maximumConflicts = 1_000

    /// A member that was found dead, until it is back and everything it wrote was read.
    struct Rift: Sendable {
        let name: String
        let epoch: UInt64
        let sinceMs: UInt64
        /// What was read of its log when it was lost.
        let head: UInt64
        /// What it has read: what it said last, and what its later entries say.
        var read: VersionVector
        /// Since when it is a member that is present again.
        var returned: Instant?
        /// It has started again meanwhile: perhaps it was only down.
        var wasRestarted = false
    }

    /// What a conflict is told by once, however often both sides wrote.
    private struct Key: Hashable {
        let kind: Conflict.Kind
        let subject: [UInt8]
        let detail: [UInt8]
    }

    private(set) var rifts: [ReplicaID: Rift] = [:]
    /// What was found since members came back, in the order in which it was found.
    private(set) var conflicts: [Conflict] = []
    private var places: [Key: Int] = [:]
    /// How many more there were than are kept.
    private(set) var excess = 0
    /// When what was found is told, if nobody else does so first.
    private(set) var due: Instant?
    /// What the membership had changed to when it was followed last.
    var seenMembers = -1
    /// A peer's state came in place of entries: what it overwrote is not known.
    var isPartial = false
    var counters = Counters()

    /// What was done since the start.
    struct Counters: Sendable {
        /// Members lost and back again; reports of this node's.
        var heals = 0
        var reports = 0
        /// Conflicts found, by kind.
        var conflicts = Array(repeating: 0, count: Conflict.Kind.allCases.count)
    }

    /// Whether what peers write is to be compared with what is here.
    var isWatching: Bool { !rifts.isEmpty }
    /// Since when the first of them was lost, in milliseconds since the Unix epoch; nil if nobody was.
    var sinceMs: UInt64? { rifts.values.map(\.sinceMs).min() }
    /// Members that are back.
    var returned: [ReplicaID] { rifts.filter { $0.value.returned != nil }.keys.sorted() }

    // MARK: - Members

    /// Follows the membership. `read` says what a member has read, by its last word; `head` how far its log was read here.
    mutating func follow(
        _ members: [Member], me: ReplicaID, nowMs: UInt64, now: Instant, head: (ReplicaID) -> UInt64,
        read: (ReplicaID) -> VersionVector
    ) {
        var known: Set<ReplicaID> = []
        for member in members where member.replica != me {
            let id = member.replica
            known.insert(id)
            switch (member.state, rifts[id]) {
            case (.dead, nil):
                rifts[id] = Rift(
                    name: member.name, epoch: member.incarnation.epoch, sinceMs: nowMs, head: head(id), read: read(id))
            case (.dead, .some): rifts[id]?.returned = nil
            case (.alive, .some(let rift)) where rift.returned == nil:
                rifts[id]?.returned = now
                rifts[id]?.wasRestarted = member.incarnation.epoch != rift.epoch
                counters.heals += 1
            // Whoever said goodbye is on no other side.
            case (.left, .some): rifts[id] = nil
            case (.left, nil), (.alive, _), (.suspect, _): break
            }
        }
        for id in rifts.keys where !known.contains(id) { rifts[id] = nil }
        if returned.isEmpty { due = nil }
    }

    /// A lost member has written an entry, which names what it had read of other logs.
    mutating func note(_ log: ReplicaID, _ sequence: UInt64, read: some Sequence<VersionVector.Entry>) {
        guard let head = rifts[log]?.head, sequence > head else { return }
        for entry in read { rifts[log]?.read.advance(entry.replica, to: entry.sequence) }
    }

    /// What a lost member had read when it wrote an entry after it was lost; nil for an entry of anybody else's.
    func context(of log: ReplicaID, _ sequence: UInt64) -> VersionVector? {
        guard let rift = rifts[log], sequence > rift.head else { return nil }
        return rift.read
    }

    // MARK: - Conflicts

    /// Notes a conflict; of one thing the last one found counts.
    mutating func note(_ conflict: Conflict) {
        let key = Key(kind: conflict.kind, subject: Array(conflict.subject.utf8), detail: Array(conflict.detail.utf8))
        if let place = places[key] {
            conflicts[place] = conflict
            return
        }
        counters.conflicts[Conflict.Kind.allCases.firstIndex(of: conflict.kind) ?? 0] += 1
        guard conflicts.count < Self.maximumConflicts else { return excess += 1 }
        places[key] = conflicts.count
        conflicts.append(conflict)
    }

    // MARK: - Telling

    /// Sets when to tell: once everything of those that are back was read, after a pause, and later the more nodes there
    /// are that might tell first.
    mutating func schedule(now: Instant, pauseMs: UInt64, rank: Int, isRead: (ReplicaID) -> Bool) {
        let back = returned
        guard !back.isEmpty, back.allSatisfy(isRead) else { return due = nil }
        if due == nil { due = now.advanced(milliseconds: pauseMs * UInt64(rank + 1)) }
    }

    /// Something was read that belongs to it: the pause begins again.
    mutating func postpone() { due = nil }

    /// Somebody has told of a heal between all of these.
    mutating func heard(_ members: Set<ReplicaID>) {
        let told = returned
        guard !told.isEmpty, told.allSatisfy(members.contains) else { return }
        finish(told)
    }

    /// What is to be told now; from now on it is.
    mutating func takeReport() -> Report? {
        let told = returned
        guard !told.isEmpty else { return nil }
        let rifts = told.compactMap { id in self.rifts[id].map { (id, $0) } }
        let report = Report(
            returned: rifts.map { Report.Returned(replica: $0.0, name: $0.1.name, sinceMs: $0.1.sinceMs) },
            conflicts: conflicts, excess: excess, isPartial: isPartial)
        // Nodes that were only down have not been on another side.
        let isNews = !conflicts.isEmpty || rifts.contains { !$0.1.wasRestarted }
        finish(told)
        guard isNews else { return nil }
        counters.reports += 1
        return report
    }

    private mutating func finish(_ told: [ReplicaID]) {
        for id in told { rifts[id] = nil }
        (conflicts, places, excess, due, isPartial) = ([], [:], 0, nil, false)
    }

    /// What one node has seen of a heal.
    struct Report: Sendable {
        struct Returned: Sendable {
            let replica: ReplicaID
            let name: String
            let sinceMs: UInt64
        }
        let returned: [Returned]
        let conflicts: [Conflict]
        let excess: Int
        let isPartial: Bool
    }
}
