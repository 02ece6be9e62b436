import CRDT
import Gossip

/// Who decides about what only one node may decide: who gets a message, who speaks, who does a task.
extension NodeCore {
    /// The node that decides: the one that a document names while that is present, else the one that all who see the same
    /// members choose by rendezvous hashing (Thaler, Ravishankar, 1998). So a node that joins takes nothing over, and one
    /// that is found dead is followed at once.
    func owner(of key: [UInt8], named: ReplicaID?) -> ReplicaID {
        if let named, named == settings.replica || isPresent(named) { return named }
        let hash = XXH64.hash(key.span.bytes)
        var best = (weight: XXH64.avalanche(hash ^ settings.replica.rawValue), replica: settings.replica)
        for member in cluster.membership.members where member.isPresent {
            let weight = XXH64.avalanche(hash ^ member.replica.rawValue)
            if (weight, member.replica) > best { best = (weight, member.replica) }
        }
        return best.replica
    }

    /// Whether this node may decide anything now. One that has not read everything, cannot write or is about to go must not.
    var canDecide: Bool { !isIncomplete && (try? checkWritable()) != nil }

    /// This node and the members that are present.
    var presentNodes: Set<ReplicaID> {
        Set(cluster.membership.members.filter(\.isPresent).map(\.replica)).union([settings.replica])
    }

    /// What logs said that have ended and of which nothing is left, a few fields at a time; each is named after the prefix.
    func forgettable(_ document: String, prefix: String) -> [DocumentMap.Change] {
        documents.fields(of: document, prefix: prefix).lazy.filter { field in
            guard let log = ReplicaID(text: field.name.dropping(bytes: prefix.utf8.count)) else { return false }
            return cluster.log.knownSlot(of: log) == nil && cluster.log.hasRead(log, 1)
        }.prefix(64).map { .unset(field: $0.name) }
    }

    /// How many members this side of the cluster reaches, and how many are more than half.
    var majority: Majority {
        let members = cluster.membership.members
        // Whoever does not answer is not seen, long before it is found dead and the other side goes on without this one.
        let others = members.count { $0.state == .alive && $0.replica != settings.replica }
        return Majority(
            reachable: others + 1, needed: max(settings.clusterSize, cluster.expected.count) / 2 + 1)
    }

    /// How a node is shown to people.
    func shownName(_ node: ReplicaID) -> String {
        node == settings.replica ? settings.name : cluster.membership.member(node)?.name ?? node.description
    }
}

/// Whether this side of a partition is the larger.
struct Majority: Equatable, Sendable {
    /// Members that are alive, suspected ones not, this node included.
    let reachable: Int
    /// More than half of what the cluster is meant to have, or of the members that may come back if those are more.
    let needed: Int

    /// Refuses on the smaller side.
    func check(_ what: String) throws(NodeError) {
        guard reachable >= needed else {
            throw NodeError(
                status: 503,
                message:
                    "\(what) is strict: this side reaches \(reachable) \(reachable == 1 ? "node" : "nodes") and needs "
                    + "\(needed); ask a node of the larger side, or wait until the cluster has healed")
        }
    }

    var isHere: Bool { reachable >= needed }
}

extension String {
    /// Whether two names are the same bytes: texts that look alike in Unicode are different names.
    func isSame(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }
    /// What follows the first `count` bytes.
    func dropping(bytes count: Int) -> String { String(decoding: utf8.dropFirst(count), as: UTF8.self) }
    /// So much of a name as a message shows.
    var shown: String { String(prefix(64)) }
}
