import CRDT
import Gossip

/// The messages of one chat in the order of their stamps, by where they lie in the log: for pages of history and for
/// counting what somebody has not read.
///
/// Nearly all come in order and are appended; a late one is inserted into a chunk of at most 1,024. What is counted is
/// summed up chunk by chunk, each anew when it has changed. 24 bytes a message; a chunk that was counted takes up to 12
/// bytes more for each of its messages, if all are by and to different members.
struct ChatTimeline: Sendable {
    /// One message.
    struct Entry: BitwiseCopyable, Sendable {
        let position: Int
        /// The stamp's packed time; the log's replica completes it.
        let time: UInt64
        /// By number among the people of the chat.
        let sender: UInt32
        private var packed: UInt32

        private static let nobody: UInt32 = 1 << 30 - 1

        init(position: Int, time: UInt64, sender: Int, receiver: Int?, isPrivate: Bool, isCopy: Bool) {
            self.position = position
            self.time = time
            self.sender = UInt32(sender)
            packed = (receiver.map { UInt32($0) } ?? Self.nobody) | (isPrivate ? 1 << 30 : 0) | (isCopy ? 1 << 31 : 0)
        }

        /// To whom it is addressed.
        var receiver: Int? { packed & Self.nobody == Self.nobody ? nil : Int(packed & Self.nobody) }
        /// Nobody but its sender and its receiver may see it.
        var isPrivate: Bool { packed & 1 << 30 != 0 }
        /// Another copy of its id is the message.
        var isCopy: Bool {
            get { packed & 1 << 31 != 0 }
            set { packed = newValue ? packed | 1 << 31 : packed & ~(1 << 31) }
        }
    }

    /// How many of a chunk's messages are by, or only for, somebody.
    private struct Share: BitwiseCopyable, Sendable {
        let person: UInt32
        let count: UInt32
    }

    /// What a chunk adds to what is unread.
    private struct Summary: Sendable {
        /// For everybody.
        var loud = 0
        /// Of those, by sender.
        var own: ContiguousArray<Share> = []
        /// Private ones, by receiver.
        var direct: ContiguousArray<Share> = []
    }

    private struct Chunk: Sendable {
        var entries = ContiguousArray<Entry>()
        var oldest = Int.max
        var newest = Int.min
        var summary: Summary?

        mutating func note(_ position: Int) {
            oldest = min(oldest, position)
            newest = max(newest, position)
            summary = nil
        }
    }

    private static let chunkSize = 1_024
    private var chunks: ContiguousArray<Chunk> = []
    /// How many there are, copies and what the log has dropped included.
    private(set) var count = 0

    // MARK: - Changing

    /// Adds an entry where it belongs.
    mutating func insert(_ entry: Entry, _ log: borrowing FactLog) {
        drop(before: log.start)
        count += 1
        guard let last = chunks.last?.entries.last, Self.isBefore(entry, last, log) else {
            if chunks.last.map({ $0.entries.count >= Self.chunkSize }) ?? true { chunks.append(Chunk()) }
            chunks[chunks.count - 1].entries.append(entry)
            return chunks[chunks.count - 1].note(entry.position)
        }
        var chunk = chunks.count - 1
        while chunk > 0, Self.isBefore(entry, chunks[chunk].entries[0], log) { chunk -= 1 }
        let at = Self.firstIndex(in: 0..<chunks[chunk].entries.count) {
            Self.isBefore(entry, chunks[chunk].entries[$0], log)
        }
        chunks[chunk].entries.insert(entry, at: at)
        chunks[chunk].note(entry.position)
        guard chunks[chunk].entries.count > Self.chunkSize else { return }
        var half = Chunk()
        for entry in chunks[chunk].entries[(Self.chunkSize / 2)...] {
            half.entries.append(entry)
            half.note(entry.position)
        }
        chunks[chunk].entries.removeSubrange((Self.chunkSize / 2)...)
        chunks.insert(half, at: chunk + 1)
    }

    /// Sums up the chunk before the one that was just begun: whoever counts first after many messages need not.
    mutating func sumFull(_ wasOut: (_ sender: Int, UInt64) -> Bool) {
        let full = chunks.count - 2
        guard full >= 0, chunks[full + 1].entries.count == 1, chunks[full].summary == nil else { return }
        chunks[full].summary = Self.sum(chunks[full].entries, wasOut)
    }

    private static func isBefore(_ a: Entry, _ b: Entry, _ log: borrowing FactLog) -> Bool {
        if a.time != b.time { return a.time < b.time }
        guard a.position >= log.remembered, b.position >= log.remembered else { return a.position < b.position }
        return log.stamp(at: a.position) < log.stamp(at: b.position)
    }

    /// Another copy of an id turned up, or was found to be the message.
    mutating func mark(_ position: Int, _ time: UInt64, isCopy: Bool) {
        var chunk = firstChunk(reaching: time)
        while chunk < chunks.count, chunks[chunk].entries[0].time <= time {
            if let at = chunks[chunk].entries.firstIndex(where: { $0.position == position }) {
                chunks[chunk].entries[at].isCopy = isCopy
                chunks[chunk].summary = nil
                return
            }
            chunk += 1
        }
    }

    /// Who was in the chat when has changed, from this time on.
    mutating func recount(from time: UInt64) {
        var chunk = firstChunk(reaching: time)
        while chunk < chunks.count {
            chunks[chunk].summary = nil
            chunk += 1
        }
    }

    /// Forgets chunks at the front of which the log has dropped everything.
    private mutating func drop(before start: Int) {
        var whole = 0
        while whole < chunks.count, chunks[whole].newest < start {
            count -= chunks[whole].entries.count
            whole += 1
        }
        if whole > 0 { chunks.removeFirst(whole) }
    }

    /// Forgets all that the log has dropped.
    mutating func sweep(_ log: borrowing FactLog) {
        guard chunks.contains(where: { $0.oldest < log.start }) else { return }
        var kept = ChatTimeline()
        for chunk in chunks {
            for entry in chunk.entries where log.holds(entry.position) { kept.insert(entry, log) }
        }
        self = kept
    }

    // MARK: - Reading

    /// Calls `body` with those of this packed time and earlier (nil: all), the newest first, until it returns false.
    func descending(from time: UInt64?, _ body: (Entry) -> Bool) {
        var chunk = chunks.count - 1
        if let time { chunk = Self.firstIndex(in: 0..<chunks.count) { chunks[$0].entries[0].time > time } - 1 }
        while chunk >= 0 {
            var at = chunks[chunk].entries.count
            while at > 0 {
                at -= 1
                let entry = chunks[chunk].entries[at]
                if let time, entry.time > time { continue }
                guard body(entry) else { return }
            }
            chunk -= 1
        }
    }

    /// Calls `body` with those of this packed time and later, the oldest first, until it returns false.
    func ascending(from time: UInt64, _ body: (Entry) -> Bool) {
        var chunk = firstChunk(reaching: time)
        while chunk < chunks.count {
            for entry in chunks[chunk].entries where entry.time >= time {
                guard body(entry) else { return }
            }
            chunk += 1
        }
    }

    /// How many of those stamped after a mark somebody has to read: by others, for everybody or for just this one, and
    /// said while their senders were in the chat.
    mutating func unread(
        by person: Int, after mark: UInt64, _ log: borrowing FactLog, _ wasOut: (_ sender: Int, UInt64) -> Bool
    ) -> Int {
        var unread = 0
        var chunk = firstChunk(reaching: mark == .max ? mark : mark + 1)
        let who = UInt32(person)
        while chunk < chunks.count {
            // What the log has dropped is in no summary.
            if chunks[chunk].entries[0].time > mark, chunks[chunk].oldest >= log.start {
                if chunks[chunk].summary == nil { chunks[chunk].summary = Self.sum(chunks[chunk].entries, wasOut) }
                if let sum = chunks[chunk].summary {
                    unread += sum.loud - Self.share(of: who, in: sum.own) + Self.share(of: who, in: sum.direct)
                }
            } else {
                for entry in chunks[chunk].entries
                where entry.time > mark && !entry.isCopy && entry.sender != who
                    && (!entry.isPrivate || entry.receiver == person) && log.holds(entry.position)
                    && !wasOut(Int(entry.sender), entry.time)
                { unread += 1 }
            }
            chunk += 1
        }
        return unread
    }

    private static func sum(_ entries: ContiguousArray<Entry>, _ wasOut: (Int, UInt64) -> Bool) -> Summary {
        var summary = Summary()
        var own: [UInt32] = []
        var direct: [UInt32] = []
        for entry in entries where !entry.isCopy && !wasOut(Int(entry.sender), entry.time) {
            if !entry.isPrivate {
                summary.loud += 1
                own.append(entry.sender)
            } else if let receiver = entry.receiver, receiver != entry.sender {
                direct.append(UInt32(receiver))
            }
        }
        summary.own = shares(&own)
        summary.direct = shares(&direct)
        return summary
    }

    private static func shares(_ people: inout [UInt32]) -> ContiguousArray<Share> {
        people.sort()
        var shares = ContiguousArray<Share>()
        var start = 0
        for at in people.indices where at + 1 == people.count || people[at + 1] != people[at] {
            shares.append(Share(person: people[at], count: UInt32(at + 1 - start)))
            start = at + 1
        }
        return shares
    }

    private static func share(of person: UInt32, in shares: ContiguousArray<Share>) -> Int {
        let at = firstIndex(in: 0..<shares.count) { shares[$0].person >= person }
        return at < shares.count && shares[at].person == person ? Int(shares[at].count) : 0
    }

    /// The first chunk that may hold something of this time or later.
    private func firstChunk(reaching time: UInt64) -> Int {
        Self.firstIndex(in: 0..<chunks.count) { (chunks[$0].entries.last?.time ?? 0) >= time }
    }

    /// The first index for which `isPast` holds, if it holds for all that follow it.
    private static func firstIndex(in range: Range<Int>, _ isPast: (Int) -> Bool) -> Int {
        var (low, high) = (range.lowerBound, range.upperBound)
        while low < high {
            let middle = (low + high) / 2
            if isPast(middle) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
