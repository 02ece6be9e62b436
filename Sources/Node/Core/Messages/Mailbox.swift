import CRDT
import Gossip

/// What waits for one agent, as far as it is not the same for all: direct messages, and how far they were taken.
///
/// The document `mailbox/<agent>` says the rest, the same at every node. Its fields:
///
/// | field | value |
/// |---|---|
/// | `owner` | 8 bytes: the node that decides who gets what, as long as it is present |
/// | `o/<node>` | 8 bytes: the packed time at which that node opened the mailbox; the earliest counts |
/// | `p/<log>/<node>` | `Settled`: what that node knows of that log to be taken or dropped; the union counts |
/// | `d/<node>` | varint: how many messages that node has dropped at the bound; the sum counts |
struct Mailbox: Sendable {
    /// One message that may wait, by its place in the log of this node.
    struct Entry: BitwiseCopyable, Sendable {
        let position: Int
        /// The stamp's packed time; the log's replica completes it.
        let time: UInt64
        /// XXH64 of the sender's canonical text.
        let sender: UInt64
        let type: MessageType.RawValue
        let priority: UInt8
        /// Another copy of the same id is the message.
        var isCopy = false
        /// There are other copies, and if one of them was taken, so was this one.
        var hasCopies = false
    }

    /// The most messages that wait for one agent; of more, the oldest are dropped and counted.
    static let capacity = 1_000
    /// What a node that does not decide holds at the most: what it has not read yet may make room again.
    static let slack = 2 * capacity

    /// The packed time from which on messages belong to it; nil while its document is not known.
    private(set) var opened: UInt64?
    private(set) var owner: ReplicaID?
    /// What was taken or dropped, by log.
    private(set) var settled: [ReplicaID: Settled] = [:]
    private(set) var dropped = 0
    /// Direct messages, by rising stamp.
    var direct: [Entry] = []
    /// Its document has changed since it was last read.
    var isStale = true
    /// More waits than may, and its owner is to say so.
    var isOverfull = false
    var sent = 0
    var received = 0

    static let ownerField = "owner"
    static let openedPrefix = "o/"
    static let settledPrefix = "p/"
    static let droppedPrefix = "d/"

    /// Reads its document.
    mutating func read(_ fields: [DocumentMap.Field], exists: Bool) {
        isStale = false
        (opened, owner, dropped, settled) = (nil, nil, 0, [:])
        guard exists else { return }
        opened = .max
        for field in fields {
            let value = field.value.span.bytes
            var cursor = ByteCursor(value)
            if field.name == Self.ownerField {
                owner = try? cursor.replica(value)
            } else if field.name.hasPrefix(Self.openedPrefix) {
                opened = min(opened ?? .max, (try? cursor.u64(value)) ?? .max)
            } else if field.name.hasPrefix(Self.droppedPrefix) {
                dropped += Int(truncatingIfNeeded: min((try? cursor.varint(value)) ?? 0, 1 << 40))
            } else if let (log, _) = Self.parse(settledField: field.name),
                let part = try? Settled(value)
            {
                settled[log, default: Settled()].merge(part)
            }
        }
    }

    /// The log and the writer that a field `p/<log>/<writer>` names.
    static func parse(settledField name: String) -> (log: ReplicaID, writer: ReplicaID)? {
        guard name.hasPrefix(settledPrefix) else { return nil }
        let parts = name.dropFirst(settledPrefix.count).split(separator: "/")
        guard parts.count == 2, let log = UInt64(parts[0], radix: 16), let writer = UInt64(parts[1], radix: 16) else {
            return nil
        }
        return (ReplicaID(log), ReplicaID(writer))
    }

    /// Adds a direct message where it belongs by its stamp.
    mutating func add(_ entry: Entry, _ log: borrowing FactLog) {
        Self.insert(entry, into: &direct, log)
    }

    /// Adds an entry to a list in stamp order: nearly always at its end.
    static func insert(_ entry: Entry, into list: inout [Entry], _ log: borrowing FactLog) {
        var at = list.count
        while at > 0, isBefore(entry, list[at - 1], log) { at -= 1 }
        list.insert(entry, at: at)
    }

    static func isBefore(_ a: Entry, _ b: Entry, _ log: borrowing FactLog) -> Bool {
        if a.time != b.time { return a.time < b.time }
        guard a.position >= log.remembered, b.position >= log.remembered else { return a.position < b.position }
        return log.stamp(at: a.position) < log.stamp(at: b.position)
    }

    /// Whether an entry was taken or dropped, by what is known here. `copies` are those of its id, itself included.
    func isSettled(_ entry: Entry, _ log: borrowing FactLog, _ copies: (Int) -> [Int]) -> Bool {
        func isSettled(at position: Int) -> Bool {
            let record = log.record(at: position)
            return settled[log.replica(in: Int(record.slot))]?.isSettled(record.sequence) ?? false
        }
        if isSettled(at: entry.position) { return true }
        guard entry.hasCopies else { return false }
        for copy in copies(entry.position) where copy != entry.position && copy >= log.remembered {
            let (a, b) = (log.record(at: copy).time >> 16, entry.time >> 16)
            if max(a, b) - min(a, b) <= EventIndex.sameEventMs, isSettled(at: copy) { return true }
        }
        return false
    }
}
