import CRDT

/// Peers of other releases: in which version each is spoken to, and what happens where there is none.
///
/// A member that shares no version with this node is known all the same: others may speak to both. It is then neither
/// pinged nor dialled from here; probes of it go through others, and so do its facts, as over any bridge.
extension Membership {
    /// The version in which an address is written to: the highest that both speak, and this node's lowest to a
    /// stranger. Nil when there is none.
    func version(for address: Address) -> UInt8? {
        let mine = me.protocols
        if let heard, heard.from == address { return mine.highestCommon(with: heard.protocols) }
        // Where all speak the one version there is, nobody has to be looked up.
        guard census.isMixed || mine.count > 1 else { return mine.lowerBound }
        let there = records.indices.filter { records[$0].member.gossip == address }
        guard let at = there.first(where: { records[$0].member.isPresent }) ?? there.last else {
            return mine.lowerBound
        }
        return mine.highestCommon(with: records[at].member.protocols)
    }

    /// A datagram came that cannot be read. One in a version between both ranges was written by somebody who does not
    /// know this node: it is told, in a version that it reads. If there is none, it is told so that its log says it,
    /// too, and no more often than this one's.
    mutating func answerForeign(
        _ sender: ReplicaID, _ theirs: Versions, at address: Address, now: Instant, into effects: inout Effects
    ) {
        guard sender != me.replica else { return }
        if me.protocols.overlaps(theirs) {
            introduce(to: address, now: now, into: &effects)
        } else if complain(sender, theirs, at: address, now: now, into: &effects) {
            // No version is right; any shows the range, which stands where every version has it.
            heard = (address, me.protocols)
            announce(to: address, now: now, into: &effects)
        }
    }

    /// Says in the log, once in a while, that a peer cannot be spoken to, if so; true if it was said now.
    @discardableResult
    mutating func complain(
        _ replica: ReplicaID, _ theirs: Versions, at address: Address, now: Instant, into effects: inout Effects
    ) -> Bool {
        guard !me.protocols.overlaps(theirs), complaints.isDue(replica, now: now) else { return false }
        effects.list.append(
            .log(
                .warning,
                "\(replica) at \(address) speaks protocol \(theirs), this node \(me.protocols); "
                    + "they cannot talk: upgrade the older one"))
        return true
    }
}
