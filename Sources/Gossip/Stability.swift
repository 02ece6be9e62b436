import CRDT

/// What is known to be everywhere, so that what is only kept for latecomers can go.
///
/// A peer that tells its vector together with a time claims: whatever I send you beyond this vector is stamped later.
/// Once this node has read as far as the claim, nothing stamped up to that time can come from that peer any more. The
/// lowest such time over all known members, this node included, is what this node has read *completely*. A *cut* pairs
/// that time with this node's vector; when every known member has read the cut's vector, everything stamped up to its
/// time is everywhere: the cut is stable. This is causal stability (Baquero, Almeida, Shoker: "Making Operation-Based
/// CRDTs Operation-Based", DAIS 2014, section 5) in terms of stamps.
struct Stability: Sendable {
    /// Everything stamped up to `time` lies within `vector`, and nothing beyond it does.
    struct Cut: Equatable, Sendable {
        /// A packed time.
        let time: UInt64
        /// Which entries those are, and perhaps some later ones.
        var vector: VersionVector
    }

    /// What one member said last.
    private struct Peer: Sendable {
        /// How far it has read.
        var vector = VersionVector()
        /// A claim that this node has not read far enough to rely on.
        var claimed: Cut?
        /// Nothing stamped up to here will come from it.
        var promised: UInt64 = 0
    }

    /// Cuts of one purpose, the oldest first.
    private struct Ring: Sendable {
        let windowMs: UInt64
        var cuts: [Cut] = []
        /// So many of them are stable.
        var stable = 0
    }

    /// Cuts kept per purpose: enough that one of the right age is always there.
    private static let cutsPerWindow: UInt64 = 16
    private static let maximumCuts = 24

    private var peers: [ReplicaID: Peer] = [:]
    /// Whom `advance` was told of last.
    private var known: Set<ReplicaID> = []
    private var rings: [Ring]

    init(operationsMs: UInt64, tombstonesMs: UInt64) {
        rings = [Ring(windowMs: operationsMs), Ring(windowMs: tombstonesMs)]
    }

    /// How far a member has read, as far as it said so.
    func vector(of peer: ReplicaID) -> VersionVector? { peers[peer]?.vector }

    /// A peer has read `vector`, and stamps whatever it sends beyond that later than `time`.
    mutating func claim(_ peer: ReplicaID, _ vector: VersionVector, time: UInt64, log: borrowing FactLog) {
        var state = peers[peer] ?? Peer()
        state.vector.merge(vector)
        if log.hasRead(vector) {
            state.promised = max(state.promised, time)
        } else if state.claimed == nil {
            state.claimed = Cut(time: time, vector: vector)
        }
        peers[peer] = state
    }

    /// Time passed: believes claims that can be believed, and takes or settles cuts. `known` are all members that may
    /// still send something, without this node, whose own stamps all come after `promise`.
    mutating func advance(known: [ReplicaID], promise: UInt64, log: borrowing FactLog) {
        for (peer, state) in peers {
            guard known.contains(peer) else {
                peers[peer] = nil
                continue
            }
            if let claimed = state.claimed, log.hasRead(claimed.vector) {
                peers[peer]?.promised = max(state.promised, claimed.time)
                peers[peer]?.claimed = nil
            }
        }
        var complete = promise
        for peer in known { complete = min(complete, peers[peer]?.promised ?? 0) }
        // A cut that is stable and not given out yet must be read by who became known since, too: what this node settled
        // while it was alone would put all that it meets below it.
        let isAnybodyNew = !self.known.isSuperset(of: known)
        self.known = Set(known)
        for i in rings.indices {
            if isAnybodyNew { rings[i].stable = 0 }
            take(complete, i, log)
            while rings[i].stable < rings[i].cuts.count {
                let cut = rings[i].cuts[rings[i].stable]
                guard known.allSatisfy({ log.covers(peers[$0]?.vector ?? VersionVector(), cut.vector) }) else { break }
                rings[i].stable += 1
            }
        }
    }

    private mutating func take(_ complete: UInt64, _ i: Int, _ log: borrowing FactLog) {
        let spacing = (rings[i].windowMs / Self.cutsPerWindow) << 16
        guard complete > (rings[i].cuts.last?.time ?? 0) + spacing else { return }
        if rings[i].cuts.count == Self.maximumCuts {
            // Somebody has not read for long. Every other cut will do: what is old enough is only found a little later.
            let stable = rings[i].cuts[..<rings[i].stable].enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
            let rest = rings[i].cuts[rings[i].stable...].enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
            rings[i].cuts = stable + rest
            rings[i].stable = stable.count
        }
        rings[i].cuts.append(Cut(time: complete, vector: log.vector))
    }

    /// The latest stable cut that is old enough for its purpose; each is given out once.
    mutating func collectable(_ purpose: Replication.Purpose, clockMs: UInt64) -> Cut? {
        let ring = rings[purpose.rawValue]
        let limit = clockMs > ring.windowMs ? (clockMs - ring.windowMs) << 16 : 0
        guard let at = ring.cuts[..<ring.stable].lastIndex(where: { $0.time <= limit }) else { return nil }
        rings[purpose.rawValue].cuts.removeFirst(at + 1)
        rings[purpose.rawValue].stable -= at + 1
        return ring.cuts[at]
    }

    /// No vector here names this log any more.
    mutating func unname(_ replica: ReplicaID) {
        for peer in peers.keys {
            peers[peer]?.vector.remove(replica)
            peers[peer]?.claimed?.vector.remove(replica)
        }
        for i in rings.indices {
            for c in rings[i].cuts.indices { rings[i].cuts[c].vector.remove(replica) }
        }
    }
}

extension Replication {
    /// What can be collected once it is everywhere.
    public enum Purpose: Int, CaseIterable, Sendable {
        /// Operations on signals fold into a checkpoint.
        case operations
        /// Removed documents and fields are forgotten.
        case tombstones
    }

    /// Everything stamped up to the time returned is at every known member; nil when there is no news of that.
    mutating func collectable(_ purpose: Purpose, clockMs: UInt64) -> UInt64? {
        guard let cut = stability.collectable(purpose, clockMs: clockMs) else { return nil }
        collect(cut.vector)
        isToldDue = true
        return cut.time
    }
}
