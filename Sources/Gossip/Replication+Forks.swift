public import CRDT

/// Why a node must not go on as it is: it takes a new id, keeps what only it wrote, reads the rest from its peers, and
/// submits the kept facts anew. docs/replication.md, "Collecting" and "Fork".
public struct Reset: Sendable {
    /// The kinds of reasons.
    public enum Cause: String, Sendable, CaseIterable {
        /// It was away for so long that others have collected what it never read.
        case belowFloor
        /// A log here differs from the copy that counts.
        case forked
        /// Another process runs under this node's id, and began earlier.
        case cloned
        /// It read the state of a peer that is gone since, and nobody has the entries behind it.
        case orphaned
        /// Its disk has lost entries that a peer may have.
        case damaged
    }

    /// The kind.
    public let cause: Cause
    /// One phrase for people.
    public let why: String
    /// What the side that stays has read; beyond it, own facts are kept.
    public let known: VersionVector
    /// A member of the side that stays, if one is known.
    public let side: ReplicaID?
    /// The log that was forked: the same numbers may mean other entries there, so all of it that is here is kept.
    public let forked: ReplicaID?

    /// A reason from its parts.
    public init(cause: Cause, why: String, known: VersionVector, side: ReplicaID?, forked: ReplicaID? = nil) {
        self.cause = cause
        self.why = why
        self.known = known
        self.side = side
        self.forked = forked
    }
}

/// What a node says about its own stamps: all it writes from now on is stamped later than `time`.
public struct Promise: Sendable {
    /// A packed time.
    public let time: UInt64
    /// The stamp clock, in milliseconds since the Unix epoch.
    public let clockMs: UInt64

    /// The highest time given out or seen, and the stamp clock, which may be set back by a few skews when its peers
    /// agree that it is wrong. One that is wrong by more than that is ahead of its peers, who believe their own instead.
    public init(last: UInt64, clockMs: UInt64, maxSkewMs: UInt64) {
        self.clockMs = clockMs
        time = max(last, (clockMs - min(clockMs, 4 * maxSkewMs)) << 16)
    }
}

extension FactLog {
    /// Appends the running hash of each log that a vector names, in its order.
    func encodeHashes(of vector: VersionVector, into out: inout [UInt8]) {
        for entry in vector.entries {
            let known = isLossy ? nil : knownSlot(of: entry.replica).flatMap { hash(of: $0, at: entry.sequence) }
            out.append(littleEndian: known ?? 0)
        }
    }
}

extension Replication {
    /// A promise of a peer, no further than this node's own clock.
    func believable(_ time: UInt64, clockMs: UInt64) -> UInt64 { min(time, clockMs << 16) }

    /// Compares the logs that a peer names with the copies here. Returns whether they can go on with each other.
    mutating func checkForks(
        _ vector: VersionVector, _ hashes: [UInt64], of i: Int, into effects: inout [Effect], _ out: inout [UInt8]
    ) -> Bool {
        for (entry, hash) in zip(vector.entries, hashes) {
            guard let slot = log.knownSlot(of: entry.replica) else { continue }
            if slot == log.mine, entry.sequence > log.head(of: log.mine) {
                effects.append(.reset(ownLogForked(seenAt: links[i].peer, known: vector)))
                return false
            }
            guard hash != 0, let mine = log.hash(of: slot, at: entry.sequence), mine != hash, !log.isLossy else {
                continue
            }
            return fork(slot, at: entry.sequence, hash: mine, of: i, into: &effects, &out)
        }
        return true
    }

    /// Two copies of a log differ. A writer with a disk has lost what it once wrote, and must not write on in it: it starts
    /// anew. One in memory knows what it wrote: its copy counts. Of two that only read it, that of the lower id does.
    private mutating func fork(
        _ slot: Int, at sequence: UInt64, hash: UInt64, of i: Int, into effects: inout [Effect], _ out: inout [UInt8]
    ) -> Bool {
        counters.forks += 1
        let (replica, peer) = (log.replica(in: slot), links[i].peer)
        effects.append(.log(.error, "log \(replica) differs from the copy at peer \(peer): it was forked"))
        let isMineWrong =
            replica == log.me
            ? links[i].sent.member.isDurable
            : replica == peer ? !links[i].hello.member.isDurable : peer < log.me
        if isMineWrong {
            let why = "log \(replica) was forked, and the copy here is not the one that counts"
            effects.append(
                .reset(Reset(cause: .forked, why: why, known: links[i].vector, side: peer, forked: replica)))
        } else {
            // The peer may not be able to tell, having read less: say what this node has at the number it named.
            links[i].isShunned = true
            let start = Frame.begin(.hash, into: &out)
            out.append(replica: replica)
            out.append(varint: sequence)
            out.append(littleEndian: hash)
            finish(start, i, into: &effects, &out)
        }
        return false
    }

    /// A peer says what its copy of a log hashes to at some number.
    mutating func receiveHash(
        _ cursor: inout ByteCursor, _ bytes: RawSpan, of i: Int, into effects: inout [Effect], _ out: inout [UInt8]
    ) throws(DecodeError) -> Bool {
        let (replica, sequence, hash) =
            (try cursor.replica(bytes), try cursor.varint(bytes), try cursor.u64(bytes))
        guard VersionVector.sequences.contains(sequence) else { throw .badValue(field: "sequence") }
        guard let slot = log.knownSlot(of: replica), let mine = log.hash(of: slot, at: sequence), mine != hash,
            !log.isLossy
        else {
            return true
        }
        return fork(slot, at: sequence, hash: mine, of: i, into: &effects, &out)
    }

    func ownLogForked(seenAt peer: ReplicaID, known: VersionVector) -> Reset {
        Reset(
            cause: .forked, why: "peer \(peer) holds more of this node's own log than this node", known: known,
            side: peer, forked: log.me)
    }
}
