public import CRDT

/// That a log has ended: the replica that wrote it is gone for good, and every member had read it up to `last`.
///
/// Retirement is compression and nothing else. A vector need not name a log that ends where it was retired: whoever
/// has read the retirement has read the log. Should somebody hold entries beyond `last`, they are read like any other,
/// and the log is named again.
struct Retirement: Equatable, Sendable {
    /// The last number that everybody had read.
    let last: UInt64
    /// The entry that says so: a vector that covers it covers the log up to `last`.
    var by: VersionVector.Entry
    /// The entry that said so first, as far as it is known here: `by` moves on when the log of that entry is retired itself,
    /// and who has read this one has read the log, too.
    let first: VersionVector.Entry
    /// The running hash at `last`, once the log itself is gone: should more of it turn up, it goes on from there.
    var hash: UInt64?
    /// Set once every known member has read `by`: no entry from this position on can depend on the log.
    var stableAt: Int?

    init(last: UInt64, by: VersionVector.Entry) {
        self.last = last
        self.by = by
        first = by
    }

    /// Appends the body of a `Fact.Kind.retirement`: 8 bytes of replica, a varint of its last number.
    static func encode(_ replica: ReplicaID, last: UInt64, into out: inout [UInt8]) {
        out.append(replica: replica)
        out.append(varint: last)
    }

    /// Reads what `encode` wrote.
    static func decode(_ bytes: RawSpan) throws(DecodeError) -> VersionVector.Entry {
        var cursor = ByteCursor(bytes)
        let replica = try cursor.replica(bytes)
        let last = try cursor.varint(bytes)
        guard VersionVector.sequences.contains(last) else { throw .badValue(field: "last number") }
        return VersionVector.Entry(replica: replica, sequence: last)
    }
}

extension FactLog {
    /// Whether an entry of a log was read here, itself or by reading the log's retirement.
    public func hasRead(_ replica: ReplicaID, _ sequence: UInt64) -> Bool {
        if head(of: replica) >= sequence { return true }
        return (retirements[replica]?.last ?? 0) >= sequence && knownSlot(of: replica) == nil
    }

    /// Whether everything that `vector` has read was read here too.
    public func hasRead(_ vector: VersionVector) -> Bool {
        vector.entries.allSatisfy { hasRead($0.replica, $0.sequence) }
    }

    /// How far the owner of a vector has read a log. A log that it does not name may be one that it knows to be retired.
    public func head(of replica: ReplicaID, in vector: VersionVector) -> UInt64 {
        let named = vector[replica]
        if named > 0 { return named }
        guard let retirement = retirements[replica] else { return 0 }
        let isRead = [retirement.by, retirement.first].contains { vector[$0.replica] >= $0.sequence }
        return isRead ? retirement.last : 0
    }

    /// Whether the owner of a vector has read all that `other` names.
    func covers(_ vector: VersionVector, _ other: VersionVector) -> Bool {
        other.entries.allSatisfy { head(of: $0.replica, in: vector) >= $0.sequence }
    }

    /// Notes of these logs that all known members have read their retirements, and forgets retirements on which no
    /// entry that is held can depend any more. Returns the retirements of which the log is gone.
    mutating func settleRetirements(everywhere: [ReplicaID]) -> [Retirement] {
        for replica in everywhere {
            let now = end
            retirements[replica]?.stableAt = now
            if let slot = knownSlot(of: replica) { free(slot) }
        }
        var gone: [Retirement] = []
        for (replica, retirement) in retirements.sorted(by: { $0.key < $1.key }) {
            guard let stableAt = retirement.stableAt, knownSlot(of: replica) == nil else { continue }
            gone.append(retirement)
            if stableAt <= remembered { retirements[replica] = nil }
        }
        return gone
    }
}

extension Retirement {
    /// The most retirements that a snapshot may carry.
    static let maximumCount = VersionVector.maximumEntries
}

extension Replication {
    /// A gone writer's log is retired this many repair delays after it was found gone, so that a member of which only
    /// the entries have arrived yet is not taken for one that is gone.
    private static let retirementDelays: UInt64 = 5

    /// An entry that retires a log was written or read.
    mutating func noteRetirement(_ body: RawSpan, by: VersionVector.Entry) {
        guard let ended = try? Retirement.decode(body) else {
            counters.malformed += 1
            return
        }
        counters.retirements += 1
        log.retire(ended.replica, last: ended.sequence, by: by)
    }

    /// Takes over the retirements that came with a snapshot, each once the entry that says so was read: until then this
    /// node has not read the log to its end. The entry may be one that retired the log of the entry that said so first.
    mutating func adoptRetirements() {
        while let next = pendingRetirements.firstIndex(where: { log.hasRead($0.by.replica, $0.by.sequence) }) {
            let (replica, last, by) = pendingRetirements.remove(at: next)
            log.retire(replica, last: last, by: by)
        }
    }

    /// Retired logs leave the vectors as soon as everybody knows, and memory as soon as nothing held names them.
    mutating func settleRetirements(known: [ReplicaID]) {
        let settled = log.retirements.filter { _, retirement in
            retirement.stableAt == nil
                && known.allSatisfy { peer in
                    let vector = stability.vector(of: peer) ?? VersionVector()
                    return log.head(of: retirement.by.replica, in: vector) >= retirement.by.sequence
                }
        }.keys.sorted()
        let gone = log.settleRetirements(everywhere: settled)
        for replica in settled {
            for i in links.indices {
                links[i].vector.remove(replica)
                links[i].told.remove(replica)
                links[i].toldCollected.remove(replica)
                links[i].theirCollected.remove(replica)
                links[i].ahead?.vector.remove(replica)
            }
            stability.unname(replica)
            if collected[replica] > 0, let by = log.retirements[replica]?.by {
                collected.remove(replica)
                collected.advance(by.replica, to: by.sequence)
            }
        }
        // Who comes back without having read the retirement would name, and ask for, a log of which nothing is left here.
        for retirement in gone { collected.advance(retirement.by.replica, to: retirement.by.sequence) }
    }

    /// Notes that this much was collected. A peer may name a log for a little longer than this node, which then names
    /// the log's retirement: once both are forgotten, nobody who comes could have read what was named here.
    mutating func collect(_ vector: VersionVector) {
        for entry in vector.entries {
            if let ended = log.retirements[entry.replica], ended.stableAt != nil, entry.sequence <= ended.last {
                collected.advance(ended.by.replica, to: ended.by.sequence)
            } else {
                collected.advance(entry.replica, to: entry.sequence)
            }
        }
    }

    /// Finds logs whose writers are gone for good, once every present member has read them to the same end. One member
    /// writes the retirement, the one with the lowest id.
    mutating func retireGone(_ others: Others, now: Instant, into effects: inout [Effect]) {
        guard others.present.allSatisfy({ log.me < $0 }) else { return goneSince.removeAll() }
        var gone: [ReplicaID: Instant] = [:]
        for slot in 0..<log.slotCount where slot != log.mine {
            let replica = log.replica(in: slot)
            guard log.isNamed(slot), !others.writing.contains(replica) else { continue }
            let since = goneSince[replica] ?? now
            gone[replica] = since
            guard now.milliseconds(since: since) >= profile.repairDelayMs * Self.retirementDelays else { continue }
            let head = log.head(of: slot)
            let agree = others.present.allSatisfy { peer in
                links.contains { $0.peer == peer && log.head(of: replica, in: $0.vector) == head }
            }
            if agree { effects.append(.retire(replica, last: head)) }
        }
        goneSince = gone
    }
}
