public import CRDT

/// Who has what, and what to send next: the logs, and the links over which they travel.
///
/// - **Push.** Each own entry goes once to every linked peer, as soon as it is written.
/// - **Repair.** Vectors are compared when a link opens, when a peer says it has more, and when probes carry different
///   hashes; what is missing is asked of one peer at a time, which sends it in its own order of application.
/// - **Causal delivery.** An entry is applied once everything its origin had read is; until then it waits, bounded.
///
/// The caller reads what was applied from `log`, between the `log.end` before and after a call. DESIGN, section 4.
public struct Replication: Sendable {
    /// What the caller has to do; ranges point into the byte buffer passed along.
    public enum Effect: Sendable {
        /// Write one frame to a link.
        case write(LinkID, Range<Int>)
        /// Close a link: what came over it broke the protocol.
        case hangUp(LinkID)
        /// One line for the log.
        case log(Severity, String)
    }

    /// How much was done, for the metrics.
    public struct Counters: Sendable {
        /// Entries applied that came from peers.
        public var applied = 0
        /// Entries that came although they were here already.
        public var duplicates = 0
        /// Entries that had to wait for what they depend on, or for the clock.
        public var waited = 0
        /// Repairs asked for.
        public var repairs = 0
        /// Frames refused.
        public var badFrames = 0
        /// Logs of which entries were skipped, because no peer holds them any more.
        public var gaps = 0
        /// Logs that two peers hold differently.
        public var forks = 0
    }

    /// One peer to which a link is up.
    private struct Link: Sendable {
        let id: LinkID
        let peer: ReplicaID
        /// How far the peer has read, as far as it said so.
        var vector: VersionVector
        /// Own entries up to here were sent or will come in a repair.
        var pushed: UInt64
        /// What the peer was last told about our vector.
        var told: VersionVector
        /// Bytes handed to the transport and not yet gone.
        var unsentBytes = 0
        /// The next sequence number to send per slot, while the peer is being repaired.
        var repair: [UInt64]?
        /// What the peer had more than we, and since when.
        var ahead: (vector: VersionVector, since: Instant)?
        /// Logs of which it said that it no longer holds what we lack: its oldest entry, and the running hash before it.
        var floors: [ReplicaID: (floor: UInt64, hash: UInt64)] = [:]
        /// Since when its probes carry another vector hash.
        var differsSince: Instant?
    }

    /// A link is written to as long as less than this waits in the transport.
    private static let unsentLimitBytes = 4 << 20
    /// A repair sends frames of about this size, so that live traffic gets in between.
    private static let repairFrameBytes = 128 << 10
    /// A repair that brings nothing for so many repair delays is given up and asked of another.
    private static let repairPatience: UInt64 = 5

    /// The logs.
    public private(set) var log: FactLog
    /// How much was done.
    public private(set) var counters = Counters()
    private let profile: Profile
    let maxSkewMs: UInt64
    private var links: [Link] = []
    private var room = WaitingRoom()
    /// The link that repairs us, and when it last brought something.
    private var repairing: (link: LinkID, since: Instant)?
    private var nextTell: Instant
    private var isToldDue = false
    private var heldBackUntil: Instant?

    /// Replication of empty logs.
    public init(me: ReplicaID, logBytes: Int, profile: Profile, maxSkewMs: UInt64, now: Instant) {
        log = FactLog(me: me, limitBytes: logBytes)
        self.profile = profile
        self.maxSkewMs = maxSkewMs
        nextTell = now.advanced(milliseconds: profile.probeIntervalMs)
    }

    /// Bytes of entries that wait for what they depend on.
    public var waitingBytes: Int { room.heldBytes }
    /// Entries dropped from the waiting room at its bound.
    public var waitingDropped: Int { room.dropped }
    /// Whether this node is being sent what it lacked.
    public var isRepairing: Bool { repairing != nil }
    /// How far a linked peer has read, as far as it said so.
    public func vector(of peer: ReplicaID) -> VersionVector? { links.first { $0.peer == peer }?.vector }

    /// The moment at which `tick` is due; nil when nothing is pending.
    public var wake: Instant? {
        var due: Instant? = isToldDue && !links.isEmpty ? nextTell : nil
        func consider(_ moment: Instant) { due = min(due ?? moment, moment) }
        if let heldBackUntil { consider(heldBackUntil) }
        if let repairing {
            consider(repairing.since.advanced(milliseconds: profile.repairDelayMs * Self.repairPatience))
        }
        for link in links where repairing == nil {
            if let ahead = link.ahead { consider(ahead.since.advanced(milliseconds: profile.repairDelayMs)) }
        }
        return due
    }

    // MARK: - Own entries

    /// Writes an entry of the own log, and pushes it.
    public mutating func write(
        _ kind: Fact.Kind, time: UInt64, body: RawSpan, into effects: inout [Effect], _ out: inout [UInt8]
    ) -> Int {
        let position = log.write(kind, time: time, body: body)
        isToldDue = true
        for i in links.indices { push(i, into: &effects, &out) }
        return position
    }

    private mutating func push(_ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        let head = log.head(of: 0)
        guard links[i].repair == nil, links[i].pushed < head, links[i].unsentBytes < Self.unsentLimitBytes else {
            return
        }
        if links[i].pushed + 1 < log.floor(of: 0) {
            // So slow that its entries are gone from memory: let it ask, so that it learns what it missed.
            links[i].pushed = head
            return
        }
        let start = Frame.begin(.facts, into: &out)
        var writer = FactsWriter()
        while links[i].pushed < head, out.count - start < Self.repairFrameBytes {
            links[i].pushed += 1
            guard let position = log.position(slot: 0, sequence: links[i].pushed) else { break }
            writer.append(position, of: log, into: &out)
        }
        finish(start, i, into: &effects, &out)
        if links[i].pushed < head { push(i, into: &effects, &out) }
    }

    // MARK: - Links

    /// A link is up: both sides have said hello. `sentVector` is what our own hello said.
    public mutating func linkUp(
        _ id: LinkID, hello: Hello, sentVector: VersionVector, now: Instant, into effects: inout [Effect],
        _ out: inout [UInt8]
    ) {
        for (entry, hash) in zip(hello.vector.entries, hello.hashes) {
            guard let slot = log.knownSlot(of: entry.replica), log.head(of: slot) == entry.sequence,
                log.hash(of: slot) != hash
            else { continue }
            counters.forks += 1
            effects.append(
                .log(
                    .error, "log \(entry.replica) differs from the copy at peer \(hello.member.replica): it was forked")
            )
        }
        links.append(
            Link(
                id: id, peer: hello.member.replica, vector: hello.vector, pushed: sentVector[log.me], told: sentVector))
        links.sort { $0.id < $1.id }
        guard let i = index(of: id) else { return }
        push(i, into: &effects, &out)
        if repairing == nil, !reach().covers(hello.vector) { want(i, now: now, into: &effects, &out) }
        noteAhead(i, now: now)
    }

    /// Whether every linked peer said that it has read all own entries.
    public var isReadByAll: Bool { links.allSatisfy { $0.vector[log.me] >= log.head(of: 0) } }

    /// Asks every linked peer how far it has read.
    public mutating func askAll(into effects: inout [Effect], _ out: inout [UInt8]) {
        for i in links.indices { tell(i, whole: true, into: &effects, &out) }
    }

    /// A link is gone.
    public mutating func linkDown(_ id: LinkID, now: Instant) {
        links.removeAll { $0.id == id }
        if repairing?.link == id { repairing = nil }
    }

    /// What was written to a link has left.
    public mutating func linkDrained(
        _ id: LinkID, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard let i = index(of: id) else { return }
        links[i].unsentBytes = 0
        if links[i].repair != nil { continueRepair(i, into: &effects, &out) } else { push(i, into: &effects, &out) }
    }

    /// A probe of this peer carried its vector's hash.
    public mutating func heard(
        vectorHash: UInt64, of peer: ReplicaID, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard let i = links.firstIndex(where: { $0.peer == peer }) else { return }
        guard vectorHash != log.vectorHash else {
            links[i].differsSince = nil
            return
        }
        let since = links[i].differsSince ?? now
        links[i].differsSince = since
        guard now.milliseconds(since: since) >= profile.repairDelayMs else { return }
        links[i].differsSince = nil
        // The peer compares this with its own, asks for what it lacks, and tells us what it has.
        tell(i, whole: true, into: &effects, &out)
    }

    /// A frame that belongs to replication. `clockMs` is the local stamp clock.
    public mutating func receive(
        _ type: Frame.FrameType, _ cursor: ByteCursor, _ bytes: RawSpan, on id: LinkID, clockMs: UInt64, now: Instant,
        into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        guard let i = index(of: id) else { return }
        do throws(DecodeError) {
            var cursor = cursor
            switch type {
            case .facts: try receiveFacts(&cursor, bytes, on: i, clockMs: clockMs, now: now)
            case .have:
                let isWhole = try cursor.u8(bytes) & 1 == 1
                links[i].vector.merge(try VersionVector(&cursor, bytes))
                if isWhole { tell(i, whole: false, into: &effects, &out) }
            case .want:
                // What the peer holds back counts for what to send, not for what it has read.
                startRepair(i, from: try VersionVector(&cursor, bytes), into: &effects, &out)
            case .done:
                links[i].vector.merge(try VersionVector(&cursor, bytes))
                if repairing?.link == id { repairing = nil }
            case .floor: try receiveFloor(&cursor, bytes, on: i, into: &effects)
            default: return
            }
        } catch {
            refuse(id, error, into: &effects)
            return
        }
        drainRoom(clockMs: clockMs, now: now)
        noteAhead(i, now: now)
    }

    /// Time passed.
    public mutating func tick(clockMs: UInt64, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        if let due = heldBackUntil, due <= now {
            heldBackUntil = nil
            drainRoom(clockMs: clockMs, now: now)
        }
        if let current = repairing,
            now.milliseconds(since: current.since) >= profile.repairDelayMs * Self.repairPatience
        {
            repairing = nil
        }
        for i in links.indices {
            guard let ahead = links[i].ahead else { continue }
            if reach().covers(ahead.vector) {
                links[i].ahead = nil
                noteAhead(i, now: now)
            } else if repairing == nil, now.milliseconds(since: ahead.since) >= profile.repairDelayMs {
                want(i, now: now, into: &effects, &out)
            }
        }
        if isToldDue, now >= nextTell {
            isToldDue = false
            nextTell = now.advanced(milliseconds: profile.probeIntervalMs)
            for i in links.indices { tell(i, whole: false, into: &effects, &out) }
        }
    }

    // MARK: - Receiving

    private enum Verdict { case apply(time: UInt64), wait, heldBack(milliseconds: UInt64) }

    private mutating func receiveFacts(
        _ cursor: inout ByteCursor, _ bytes: RawSpan, on i: Int, clockMs: UInt64, now: Instant
    ) throws(DecodeError) {
        var reader = FactsReader()
        if repairing?.link == links[i].id { repairing?.since = now }
        while let entry = try reader.next(&cursor, bytes) {
            let slot = try slot(ofPeers: entry.replica)
            let head = log.head(of: slot)
            if entry.sequence <= head {
                counters.duplicates += 1
                continue
            }
            // Nobody else writes the own log, so nobody can have more of it.
            guard slot != 0 else { throw .badValue(field: "sequence of the receiver's own log") }
            let lent = bytes.extracting(entry.range)
            if entry.sequence == head + 1, case .apply(let time) = try judge(lent, clockMs: clockMs, now: now) {
                apply(slot: slot, sequence: entry.sequence, time: time, entry: lent)
                if !room.isEmpty { drainRoom(clockMs: clockMs, now: now) }
            } else {
                _ = try Fact(lent)
                counters.waited += 1
                room.keep(slot: slot, sequence: entry.sequence, entry: lent)
            }
        }
    }

    /// The slot of a log that a peer names; there are no more of them than a vector can name.
    private mutating func slot(ofPeers replica: ReplicaID) throws(DecodeError) -> Int {
        if let slot = log.knownSlot(of: replica) { return slot }
        guard log.slotCount < VersionVector.maximumEntries else { throw .tooLong(limit: VersionVector.maximumEntries) }
        return log.slot(of: replica)
    }

    private mutating func apply(slot: Int, sequence: UInt64, time: UInt64, entry: RawSpan) {
        _ = log.adopt(slot: slot, time: time, entry: entry)
        counters.applied += 1
        isToldDue = true
        if !room.isEmpty { room.remove(slot: slot, sequence: sequence) }
    }

    /// May the next entry of a log be applied now?
    private mutating func judge(_ entry: RawSpan, clockMs: UInt64, now: Instant) throws(DecodeError) -> Verdict {
        let fact = try Fact(entry)
        var cursor = ByteCursor(fact.dependencies)
        for _ in 0..<fact.dependencyCount {
            let replica = try cursor.replica(entry)
            if log.head(of: replica) < (try cursor.varint(entry)) { return .wait }
        }
        // Stamps from the future wait until the clock gets there: nothing poisons the cluster's clock.
        let stampMs = fact.time >> 16
        guard stampMs <= clockMs + maxSkewMs else {
            let due = now.advanced(milliseconds: min(stampMs - clockMs - maxSkewMs, 60_000))
            heldBackUntil = min(heldBackUntil ?? due, due)
            return .heldBack(milliseconds: stampMs - clockMs)
        }
        return .apply(time: fact.time)
    }

    /// Applies what can be applied, until nothing moves.
    private mutating func drainRoom(clockMs: UInt64, now: Instant) {
        var moved = !room.isEmpty
        while moved {
            moved = false
            for slot in room.slots {
                while let entry = room.entry(slot: slot, sequence: log.head(of: slot) + 1),
                    case .apply(let time)? = try? judge(entry.span.bytes, clockMs: clockMs, now: now)
                {
                    apply(slot: slot, sequence: log.head(of: slot) + 1, time: time, entry: entry.span.bytes)
                    moved = true
                }
            }
        }
    }

    private mutating func receiveFloor(
        _ cursor: inout ByteCursor, _ bytes: RawSpan, on i: Int, into effects: inout [Effect]
    ) throws(DecodeError) {
        let replica = try cursor.replica(bytes)
        let (floor, hash) = (try cursor.varint(bytes), try cursor.u64(bytes))
        guard VersionVector.sequences.contains(floor) else { throw .badValue(field: "floor") }
        let slot = try slot(ofPeers: replica)
        guard slot != 0, log.head(of: slot) + 1 < floor else { return }
        links[i].floors[replica] = (floor, hash)
        // Only when nobody who has read further still holds what lies between is it skipped, and as little as can be.
        let holders = links.filter { $0.vector[replica] > log.head(of: slot) || $0.id == links[i].id }
        let floors = holders.compactMap { $0.floors[replica] }
        guard floors.count == holders.count, let (floor, hash) = floors.min(by: { $0.floor < $1.floor }) else { return }
        counters.gaps += 1
        effects.append(
            .log(
                .warning,
                "entries \(log.head(of: slot) + 1) to \(floor - 1) of log \(replica) are held by no linked peer any more; "
                    + "start nodes with a larger --log-bytes to keep more"))
        log.skip(slot: slot, to: floor, hash: hash)
        room.remove(slot: slot, through: floor - 1)
    }

    private mutating func refuse(_ id: LinkID, _ error: DecodeError, into effects: inout [Effect]) {
        counters.badFrames += 1
        effects.append(.log(.warning, "link \(id.rawValue): bad frame, \(error); closing the link"))
        effects.append(.hangUp(id))
    }

    // MARK: - Repair

    /// How far this node has read, counting what waits here without a gap before it: asking for that again would bring
    /// it again and change nothing.
    private mutating func reach() -> VersionVector {
        var vector = log.vector
        for slot in room.slots {
            vector.advance(log.replica(in: slot), to: room.contiguous(slot: slot, after: log.head(of: slot)))
        }
        return vector
    }

    /// Remembers what a peer has more than we do; what is on its way has one repair delay to arrive.
    private mutating func noteAhead(_ i: Int, now: Instant) {
        let reach = reach()
        if let ahead = links[i].ahead, !reach.covers(ahead.vector) { return }
        links[i].ahead = reach.covers(links[i].vector) ? nil : (links[i].vector, now)
    }

    private mutating func want(_ i: Int, now: Instant, into effects: inout [Effect], _ out: inout [UInt8]) {
        counters.repairs += 1
        repairing = (links[i].id, now)
        links[i].ahead = nil
        let start = Frame.begin(.want, into: &out)
        reach().encode(into: &out)
        finish(start, i, into: &effects, &out)
    }

    private mutating func startRepair(
        _ i: Int, from theirs: VersionVector, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        links[i].repair = (0..<log.slotCount).map { theirs[log.replica(in: $0)] + 1 }
        continueRepair(i, into: &effects, &out)
    }

    /// Says that a log's entries before the floor are gone here.
    private mutating func sayFloor(_ slot: Int, _ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        let start = Frame.begin(.floor, into: &out)
        out.append(replica: log.replica(in: slot))
        out.append(varint: log.floor(of: slot))
        out.append(littleEndian: log.floorHash(of: slot))
        finish(start, i, into: &effects, &out)
    }

    /// Sends what the peer lacks, in the order in which this node applied it: each log's missing entries are a suffix,
    /// and the next one to send is the one with the lowest position among them.
    private mutating func continueRepair(_ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        guard var next = links[i].repair else { return }
        while next.count < log.slotCount { next.append(1) }
        while links[i].unsentBytes < Self.unsentLimitBytes {
            // The logs that have more to send; the log may have dropped old entries since the last frame.
            var lacking = next.indices.filter { next[$0] <= log.head(of: $0) }
            for slot in lacking where next[slot] < log.floor(of: slot) {
                next[slot] = log.floor(of: slot)
                sayFloor(slot, i, into: &effects, &out)
            }
            let start = Frame.begin(.facts, into: &out)
            var writer = FactsWriter()
            while out.count - start < Self.repairFrameBytes {
                var lowest: (position: Int, slot: Int)?
                for slot in lacking {
                    guard let position = log.position(slot: slot, sequence: next[slot]) else { continue }
                    if lowest.map({ position < $0.position }) ?? true { lowest = (position, slot) }
                }
                guard let (position, slot) = lowest else { break }
                writer.append(position, of: log, into: &out)
                next[slot] += 1
                if next[slot] > log.head(of: slot) { lacking.removeAll { $0 == slot } }
            }
            if writer.isEmpty { out.removeSubrange(start...) } else { finish(start, i, into: &effects, &out) }
            if writer.isEmpty || !next.indices.contains(where: { next[$0] <= log.head(of: $0) }) {
                links[i].repair = nil
                links[i].pushed = log.head(of: 0)
                let start = Frame.begin(.done, into: &out)
                log.vector.encode(into: &out)
                finish(start, i, into: &effects, &out)
                return
            }
        }
        links[i].repair = next
    }

    // MARK: - Telling

    /// Tells a peer how far this node has read: what changed since it was last told, or everything, which asks the
    /// peer to do the same.
    private mutating func tell(_ i: Int, whole: Bool, into effects: inout [Effect], _ out: inout [UInt8]) {
        var news = VersionVector()
        let vector = log.vector
        for entry in vector.entries where whole || links[i].told[entry.replica] < entry.sequence {
            news.advance(entry.replica, to: entry.sequence)
        }
        guard whole || !news.entries.isEmpty else { return }
        links[i].told = vector
        let start = Frame.begin(.have, into: &out)
        out.append(whole ? 1 : 0)
        news.encode(into: &out)
        finish(start, i, into: &effects, &out)
    }

    private mutating func finish(_ start: Int, _ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        let range = Frame.end(start, into: &out)
        links[i].unsentBytes += range.count
        effects.append(.write(links[i].id, range))
    }

    private func index(of id: LinkID) -> Int? { links.firstIndex { $0.id == id } }
}
