internal import Gossip

extension Cluster {
    /// Sends one datagram: it comes, comes late, comes twice, or does not come.
    func sendDatagram(from node: Node, to address: Address, _ bytes: [UInt8]) {
        if bytes.count > 1_400 {
            return fail("a datagram has at most 1,400 bytes", "node \(node.index) sent one of \(bytes.count)")
        }
        tally.add(.datagramsSent)
        traffic.datagramBytes += bytes.count
        guard let to = Node.index(of: address, size: nodes.count) else { return tally.add(.datagramsLost) }
        if network.isCut(node.index, to) { return tally.add(.datagramsCut) }
        if network.happens(network.currentLoss) { return tally.add(.datagramsLost) }
        var delay = network.delay(node.index, to)
        if let detour = network.detour() {
            tally.add(.datagramsLate)
            delay += detour
        }
        agenda.add(.datagram(from: node.index, to: to, bytes: bytes), at: now + delay)
        if network.happens(network.currentDuplicates) {
            tally.add(.datagramsTwice)
            let again = now + delay + network.delay(node.index, to)
            agenda.add(.datagram(from: node.index, to: to, bytes: bytes), at: again)
        }
    }
}
