import CRDT
import Gossip

/// What waits for whom, by the messages that this node has read and the documents `mailbox/<agent>`: a fold that every
/// node makes for itself.
///
/// A broadcast stands here once for all agents. Nothing here keeps a message alive: when the log drops it, it is gone.
struct Mailboxes: Sendable {
    /// The most mailboxes that are open.
    static let maximum = 65_536
    /// The most agents that something is noted of, those without a mailbox included.
    private static let maximumAgents = 2 * maximum
    /// How many of the newest messages history shows.
    static let maximumHistory = 10_000
    /// The name of an agent's document begins so.
    static let prefix = "mailbox/"

    /// The receiver that means everybody.
    static let everybody = Array("\(MessageDraft.everybody)".utf8)

    /// One message, for history.
    struct Past: BitwiseCopyable, Sendable {
        let position: Int
        let time: UInt64
        /// XXH64 of the canonical texts.
        let sender: UInt64
        let receiver: UInt64
    }

    private var boxes = ByteMap<Mailbox>()
    /// Broadcasts, by rising stamp: the newest.
    private var broadcasts: [Mailbox.Entry] = []
    private(set) var past: [Past] = []
    /// Places of mailboxes whose documents have changed.
    private var stale: [Int] = []
    /// Documents may have changed without a word.
    private var areAllStale = false
    /// Places of mailboxes that hold more than they may.
    private var overfull: [Int] = []
    private var entryCount = 0

    /// Mailboxes whose documents exist.
    private(set) var openCount = 0
    private(set) var byType = Array(repeating: 0, count: MessageType.allCases.count)
    /// Messages left out because too many agents were noted.
    private(set) var unfiled = 0
    /// Messages forgotten here at the memory's bound, before anybody decided that they be dropped.
    private(set) var forgotten = 0

    /// Messages that may wait, and copies.
    var waitingCount: Int { entryCount + broadcasts.count }
    var agentCount: Int { boxes.count }
    var dropped: Int { boxes.values.reduce(0) { $0 + $1.dropped } }
    /// Whether some mailbox holds more than it may.
    var isOverfull: Bool { !overfull.isEmpty }

    static func name(of agent: [UInt8]) -> String { prefix + String(decoding: agent, as: UTF8.self) }

    subscript(place: Int) -> Mailbox { boxes.values[place] }
    func agent(at place: Int) -> [UInt8] { boxes.keys[place] }
    /// The place of an agent, if anything is known of it.
    func known(_ agent: [UInt8]) -> Int? { boxes.index(of: agent.span.bytes) }

    // MARK: - Filing

    /// Notes a message at a position of the log.
    mutating func file(
        _ view: EventView, _ type: MessageType, priority: UInt8, _ json: RawSpan, at position: Int,
        _ stamp: HybridTimestamp, isCopy: Bool, _ log: borrowing FactLog
    ) {
        let (sender, receiver) = (json.extracting(view.agent), json.extracting(view.address))
        let entry = Mailbox.Entry(
            position: position, time: stamp.time, sender: XXH64.hash(sender), type: type.rawValue,
            priority: priority, isCopy: isCopy, hasCopies: isCopy)
        if !isCopy {
            byType[Int(type.rawValue)] += 1
            if let from = place(of: sender) { boxes.values[from].sent += 1 }
            remember(
                Past(position: position, time: stamp.time, sender: entry.sender, receiver: XXH64.hash(receiver)), log)
        }
        guard !receiver.isEqual(to: Self.everybody) else {
            Mailbox.insert(entry, into: &broadcasts, log)
            if broadcasts.count > Mailbox.slack {
                broadcasts.removeFirst()
                forgotten += 1
            }
            return
        }
        guard let to = place(of: receiver) else { return unfiled += 1 }
        boxes.values[to].add(entry, log)
        entryCount += 1
        if !isCopy { boxes.values[to].received += 1 }
        if boxes.values[to].direct.count > Mailbox.capacity, !boxes.values[to].isOverfull {
            boxes.values[to].isOverfull = true
            overfull.append(to)
        }
        if boxes.values[to].direct.count > Mailbox.slack { shorten(to, log) }
        if entryCount > 2 * log.heldEntries + 4_096 { sweep(log) }
    }

    private mutating func remember(_ entry: Past, _ log: borrowing FactLog) {
        func isBefore(_ a: Past, _ b: Past) -> Bool {
            if a.time != b.time { return a.time < b.time }
            guard a.position >= log.remembered, b.position >= log.remembered else { return a.position < b.position }
            return log.stamp(at: a.position) < log.stamp(at: b.position)
        }
        var at = past.count
        while at > 0, isBefore(entry, past[at - 1]) { at -= 1 }
        past.insert(entry, at: at)
        // Cut back a part at a time, so that the rest is seldom moved.
        if past.count >= Self.maximumHistory * 5 / 4 { past.removeFirst(past.count - Self.maximumHistory) }
    }

    /// What is more than a mailbox may hold in memory goes, the oldest first.
    private mutating func shorten(_ place: Int, _ log: borrowing FactLog) {
        let before = boxes.values[place].direct.count
        boxes.values[place].direct.removeAll { !log.holds($0.position) }
        let excess = boxes.values[place].direct.count - Mailbox.slack
        if excess > 0 {
            boxes.values[place].direct.removeFirst(excess)
            forgotten += excess
        }
        entryCount -= before - boxes.values[place].direct.count
    }

    /// Forgets what the log has dropped.
    private mutating func sweep(_ log: borrowing FactLog) {
        entryCount = 0
        for place in boxes.values.indices {
            boxes.values[place].direct.removeAll { !log.holds($0.position) }
            entryCount += boxes.values[place].direct.count
        }
        broadcasts.removeAll { !log.holds($0.position) }
    }

    /// Another copy of an id turned up, or was found to be the message.
    mutating func mark(_ position: Int, of receiver: RawSpan, isCopy: Bool) {
        func change(_ list: inout [Mailbox.Entry]) {
            guard let at = list.lastIndex(where: { $0.position == position }) else { return }
            list[at].isCopy = isCopy
            list[at].hasCopies = true
        }
        if receiver.isEqual(to: Self.everybody) {
            change(&broadcasts)
        } else if let place = boxes.index(of: receiver) {
            change(&boxes.values[place].direct)
        }
    }

    // MARK: - Documents

    /// A document was written by this put: perhaps it is a mailbox.
    mutating func notePut(_ put: RawSpan) {
        var cursor = ByteCursor(put)
        guard let range = try? cursor.block(put, limit: DocumentMap.maximumNameBytes) else { return }
        let name = put.extracting(range)
        let prefix = Self.prefixBytes
        guard name.byteCount > prefix.count, name.extracting(0..<prefix.count).isEqual(to: prefix) else { return }
        let agent = name.extracting(prefix.count..<name.byteCount).withUnsafeBytes { Array($0) }
        guard let place = place(of: agent.span.bytes) else { return }
        guard !boxes.values[place].isStale || boxes.values[place].opened == nil else { return }
        boxes.values[place].isStale = true
        stale.append(place)
    }

    /// Documents came with a state: any may have changed.
    mutating func noteDocuments() { areAllStale = true }

    private static let prefixBytes = Array(prefix.utf8)

    /// Reads all documents that have changed.
    mutating func refresh(_ documents: borrowing DocumentMap, _ log: borrowing FactLog, _ copies: (Int) -> [Int]) {
        if areAllStale {
            areAllStale = false
            for name in documents.newest(Self.maximumAgents, prefix: Self.prefix) {
                let agent = Array(name.utf8.dropFirst(Self.prefixBytes.count))
                _ = place(of: agent.span.bytes)
            }
            for place in boxes.values.indices { boxes.values[place].isStale = true }
            stale = Array(boxes.values.indices)
        }
        guard !stale.isEmpty else { return }
        let places = stale
        stale.removeAll(keepingCapacity: true)
        for place in places where place < boxes.count && boxes.values[place].isStale {
            refresh(place, documents, log, copies)
        }
    }

    /// The place of an agent's mailbox, its document read.
    mutating func current(
        _ agent: [UInt8], _ documents: borrowing DocumentMap, _ log: borrowing FactLog, _ copies: (Int) -> [Int]
    ) -> Int? {
        if areAllStale { refresh(documents, log, copies) }
        guard let place = boxes.index(of: agent.span.bytes) else { return nil }
        if boxes.values[place].isStale { refresh(place, documents, log, copies) }
        return place
    }

    private mutating func refresh(
        _ place: Int, _ documents: borrowing DocumentMap, _ log: borrowing FactLog, _ copies: (Int) -> [Int]
    ) {
        let name = Self.name(of: boxes.keys[place])
        let wasOpen = boxes.values[place].opened != nil
        boxes.values[place].read(documents.fields(of: name), exists: documents.exists(name))
        let box = boxes.values[place]
        if (box.opened != nil) != wasOpen { openCount += wasOpen ? -1 : 1 }
        let before = box.direct.count
        boxes.values[place].direct.removeAll { !log.holds($0.position) || box.isSettled($0, log, copies) }
        entryCount -= before - boxes.values[place].direct.count
        if boxes.values[place].direct.count <= Mailbox.capacity { boxes.values[place].isOverfull = false }
    }

    // MARK: - Reading

    /// Whatever belongs to a mailbox and was neither taken nor dropped, by rising stamp, copies included.
    func unsettled(_ place: Int, _ log: borrowing FactLog, _ copies: (Int) -> [Int]) -> [Mailbox.Entry] {
        let box = boxes.values[place]
        guard let opened = box.opened else { return [] }
        let name = boxes.keys[place]
        let me = XXH64.hash(name.span.bytes)
        let direct = unsettledDirect(place, log, copies)
        let all = broadcasts.filter {
            $0.time >= opened && $0.sender != me && log.holds($0.position) && !box.isSettled($0, log, copies)
        }
        if all.isEmpty { return direct }
        if direct.isEmpty { return all }
        return (direct + all).sorted { Mailbox.isBefore($0, $1, log) }
    }

    /// The same without broadcasts.
    func unsettledDirect(_ place: Int, _ log: borrowing FactLog, _ copies: (Int) -> [Int]) -> [Mailbox.Entry] {
        let box = boxes.values[place]
        guard let opened = box.opened else { return [] }
        return box.direct.filter { $0.time >= opened && log.holds($0.position) && !box.isSettled($0, log, copies) }
    }

    /// Mailboxes that hold more than they may; each is told once.
    mutating func takeOverfull() -> [Int] {
        defer { overfull.removeAll() }
        for place in overfull where place < boxes.count { boxes.values[place].isOverfull = false }
        return overfull
    }

    /// Agents that have sent or received most, and how much.
    func busiest(_ most: Int) -> [(agent: [UInt8], sent: Int, received: Int)] {
        boxes.values.indices.filter { boxes.values[$0].sent + boxes.values[$0].received > 0 }
            .sorted { a, b in
                let (x, y) = (boxes.values[a], boxes.values[b])
                let (left, right) = (x.sent + x.received, y.sent + y.received)
                return left != right ? left > right : boxes.keys[a].lexicographicallyPrecedes(boxes.keys[b])
            }
            .prefix(most).map { (boxes.keys[$0], boxes.values[$0].sent, boxes.values[$0].received) }
    }

    /// The place of an agent, made if it is new; nil if too many are known.
    private mutating func place(of agent: RawSpan) -> Int? {
        if let known = boxes.index(of: agent) { return known }
        if boxes.count >= Self.maximumAgents {
            // Those that only ever sent something are not missed.
            guard stale.isEmpty else { return nil }
            boxes.removeAll { $0.opened == nil && $0.direct.isEmpty && !$0.isStale }
            overfull = boxes.values.indices.filter { boxes.values[$0].isOverfull }
            guard boxes.count < Self.maximumAgents else { return nil }
        }
        let place = boxes.index(of: agent, default: Mailbox())
        stale.append(place)
        return place
    }
}
