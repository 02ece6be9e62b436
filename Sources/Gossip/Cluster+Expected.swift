/// Who could have a write.
extension Cluster {
    /// This node and every other that may come with what it had: neither left, nor retired, nor dead with another process
    /// at its address.
    public var expected: [Member] {
        let members = membership.members
        return members.filter { member in
            switch member.state {
            case .alive, .suspect: return true
            case .left: return member.replica == membership.me.replica
            case .dead:
                return log.retirements[member.replica] == nil
                    && !members.contains { $0.isPresent && $0.gossip == member.gossip }
            }
        }
    }
}
