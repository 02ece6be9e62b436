import CRDT
import Gossip

/// What peers tell each other besides facts: who is connected to them, and the work of queue groups and mailboxes. It
/// is worth nothing without the node that said it, so it is neither kept nor replicated.
extension NodeCore {
    /// A link to a peer stands; `nonce` names its start. Said again for each further link to it.
    mutating func peerLinked(_ peer: ReplicaID, nonce: UInt64, now: Instant, into effects: inout Effects) {
        linkedPresence(peer, nonce: nonce, now: now, into: &effects)
    }

    /// No link to a peer stands any more; what was sent last may not have come.
    mutating func peerUnlinked(_ peer: ReplicaID, now: Instant, into effects: inout Effects) {
        presence.unlinked(peer)
    }

    /// A peer's frame came.
    mutating func heardPeer(
        _ peer: ReplicaID, _ type: Frame.FrameType, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) {
        switch type {
        case .roster: heardRoster(peer, bytes, now: now, into: &effects)
        case .groups: heardGroups(peer, bytes, now: now, into: &effects)
        case .mailbox: heardMailbox(peer, bytes, now: now, into: &effects)
        case .forward: heardForward(peer, bytes, now: now, into: &effects)
        default: break
        }
    }

    /// Sends a frame to a peer; false if there is no link to it.
    @discardableResult
    mutating func tell(
        _ peer: ReplicaID, _ type: Frame.FrameType, now: Instant, into effects: inout Effects,
        _ body: (inout [UInt8]) -> Void
    ) -> Bool {
        let isSent = cluster.send(type, to: peer, into: &clusterEffects, &effects.bytes, body)
        flushCluster(RawSpan(), now: now, into: &effects)
        return isSent
    }
}
