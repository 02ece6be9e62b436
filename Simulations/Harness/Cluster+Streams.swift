internal import Gossip
internal import NodeCore

/// Connections: whole frames, in order, each once; late when packets are lost, stuck while the way is cut, and given
/// up by the sender's kernel when nothing was confirmed for five seconds.
extension Cluster {
    private func linkID(_ wire: Int, _ side: Int) -> LinkID { LinkID(UInt64(wire) << 1 | UInt64(side)) }

    // MARK: Dialling

    func dial(from node: Node, to address: Address) {
        guard let to = Node.index(of: address, size: nodes.count) else {
            return agenda.add(
                .refused(node: node.index, life: node.life, address: address), at: now + Network.dialTimeoutUs)
        }
        let delay = network.delay(node.index, to) + network.retransmissionDelay()
        agenda.add(.knock(from: node.index, life: node.life, to: to, began: now), at: now + delay)
    }

    func knock(from: Int, life: Int, to: Int, began: UInt64) {
        guard nodes[from].life == life else { return }
        let address = nodes[to].address
        if network.isCut(from, to) || network.isCut(to, from) {
            return agenda.add(
                .refused(node: from, life: life, address: address), at: max(now, began + Network.dialTimeoutUs))
        }
        let back = now + network.delay(to, from)
        guard nodes[to].isRunning else {
            return agenda.add(.refused(node: from, life: life, address: address), at: back)
        }
        var wire = Wire(
            ends: [.init(node: from, life: life), .init(node: to, life: nodes[to].life)], address: address)
        let there = back + network.delay(from, to)
        wire.ends[0].lastArrival = there
        wire.ends[1].lastArrival = back
        agenda.add(.opened(wire: wires.count, side: 0), at: back)
        agenda.add(.opened(wire: wires.count, side: 1), at: there)
        wires.append(wire)
    }

    func opened(_ wire: Int, _ side: Int) {
        let end = wires[wire].ends[side]
        let node = nodes[end.node]
        guard node.isRunning, node.life == end.life else {
            return agenda.add(.reset(wire: wire, side: 1 - side, tries: 0), at: now + network.latencyUs)
        }
        // The other side may have died or hung up before the last packet of the handshake came.
        let other = wires[wire].ends[1 - side]
        if side == 1, !other.isOpen, !other.isFlushing { return }
        wires[wire].ends[side].isOpen = true
        wires[wire].ends[side].wasOpen = true
        if side == 0 { tally.add(.linksOpened) }
        let remote =
            side == 0
            ? wires[wire].address
            : Address(
                high: nodes[other.node].address.high, low: nodes[other.node].address.low,
                port: UInt16(32_768 + wire % 28_000))
        feed(node, .linkOpened(linkID(wire, side), remote: remote, dialled: side == 0 ? wires[wire].address : nil))
    }

    // MARK: Writing

    func write(_ link: LinkID, _ node: Node, _ frame: [UInt8]) {
        let (wire, side) = (Int(link.rawValue >> 1), Int(link.rawValue & 1))
        guard wire < wires.count, wires[wire].ends[side].node == node.index,
            wires[wire].ends[side].life == node.life, wires[wire].ends[side].wasOpen
        else { return fail("a node writes only to its own links", "node \(node.index) wrote to \(link.rawValue)") }
        // Closed a moment ago, and the node is about to learn so.
        guard wires[wire].ends[side].isOpen else { return }
        tally.add(.framesSent)
        traffic.streamBytes += frame.count + 4
        let other = wires[wire].ends[1 - side]
        if other.wasOpen, !other.isOpen, !network.isCut(node.index, other.node) {
            let back = network.delay(node.index, other.node) + network.delay(other.node, node.index)
            agenda.add(.reset(wire: wire, side: side, tries: 0), at: now + back)
        }
        let delay = network.delay(node.index, other.node) + network.retransmissionDelay()
        let bytesPerMs = network.bytesPerMs(node.index, other.node)
        withEnd(wire, side) { end in
            end.freeAt = max(now, end.freeAt) + UInt64(frame.count + 4) * 1_000 / bytesPerMs
            end.lastArrival = max(end.lastArrival + 1, end.freeAt + delay)
            end.queuedBytes += frame.count
            end.queue.append(frame)
            end.owesDrain = true
            agenda.add(.arrival(wire: wire, side: side), at: end.lastArrival)
        }
        scheduleDrain(wire, side)
    }

    private func scheduleDrain(_ wire: Int, _ side: Int) {
        let end = wires[wire].ends[side]
        guard end.owesDrain, !end.drainIsDue, end.isOpen else { return }
        if end.isStalled, end.queuedBytes > Network.socketBuffer { return }
        let bytesPerMs = network.bytesPerMs(end.node, wires[wire].ends[1 - side].node)
        let allowance = UInt64(Network.drainMark) * 1_000 / bytesPerMs
        wires[wire].ends[side].drainIsDue = true
        agenda.add(.drained(wire: wire, side: side), at: max(now + 20, end.freeAt - min(end.freeAt, allowance)))
    }

    func drained(_ wire: Int, _ side: Int) {
        wires[wire].ends[side].drainIsDue = false
        let end = wires[wire].ends[side]
        guard end.isOpen, end.owesDrain else { return }
        let bytesPerMs = network.bytesPerMs(end.node, wires[wire].ends[1 - side].node)
        let waiting = end.freeAt > now ? (end.freeAt - now) * bytesPerMs / 1_000 : 0
        guard waiting <= UInt64(Network.drainMark), !(end.isStalled && end.queuedBytes > Network.socketBuffer) else {
            return scheduleDrain(wire, side)
        }
        wires[wire].ends[side].owesDrain = false
        feed(nodes[end.node], .linkDrained(linkID(wire, side)))
    }

    // MARK: Arriving

    func arrival(_ wire: Int, _ side: Int) {
        let end = wires[wire].ends[side]
        guard end.head < end.queue.count else { return }
        let to = wires[wire].ends[1 - side].node
        if end.isStalled || network.isCut(end.node, to) {
            withEnd(wire, side) { end in
                end.held += 1
                end.isStalled = true
            }
            return startWaiting(wire, side)
        }
        deliver(wire, side)
    }

    private func deliver(_ wire: Int, _ side: Int) {
        guard let frame = withEnd(wire, side, { $0.takeFirst() }) else { return }
        let other = wires[wire].ends[1 - side]
        if network.isCut(other.node, wires[wire].ends[side].node) { startWaiting(wire, side) }
        guard other.isOpen else {
            return agenda.add(.reset(wire: wire, side: side, tries: 0), at: now + network.latencyUs)
        }
        feed(nodes[other.node], .linkFrame(linkID(wire, 1 - side)), frame)
    }

    private func startWaiting(_ wire: Int, _ side: Int) {
        guard wires[wire].ends[side].waiting == nil, wires[wire].ends[side].isOpen else { return }
        wires[wire].ends[side].waits += 1
        let token = wires[wire].ends[side].waits
        wires[wire].ends[side].waiting = token
        agenda.add(.patience(wire: wire, side: side, token: token), at: now + Network.userTimeoutUs)
    }

    /// The weather changed: every kernel that waits for a confirmation tries again within its retransmission timeout.
    func retransmitAll() {
        for wire in wires.indices {
            for side in 0...1 where wires[wire].ends[side].isStalled || wires[wire].ends[side].waiting != nil {
                agenda.add(.retransmit(wire: wire, side: side), at: now + 20_000 + network.roll(below: 1_200_000))
            }
        }
    }

    func retransmit(_ wire: Int, _ side: Int) {
        let (from, to) = (wires[wire].ends[side].node, wires[wire].ends[1 - side].node)
        guard !network.isCut(from, to) else { return }
        let held = withEnd(wire, side) { end in
            end.isStalled = false
            if !network.isCut(to, from) { end.waiting = nil }
            defer { end.held = 0 }
            return end.held
        }
        for _ in 0..<held { deliver(wire, side) }
        scheduleDrain(wire, side)
    }

    // MARK: Ending

    func giveUp(_ wire: Int, _ side: Int, _ token: Int) {
        let end = wires[wire].ends[side]
        guard end.waiting == token, end.isOpen || end.isFlushing else { return }
        tally.add(.linksTimedOut)
        let told = end.isOpen
        withEnd(wire, side) { end in
            end.isOpen = false
            end.isFlushing = false
            end.dropQueue()
        }
        agenda.add(.reset(wire: wire, side: 1 - side, tries: 0), at: now + Network.keepAliveUs)
        if told { feed(nodes[end.node], .linkClosed(linkID(wire, side))) }
    }

    func hangUp(_ link: LinkID, _ node: Node, flush: Bool) {
        let (wire, side) = (Int(link.rawValue >> 1), Int(link.rawValue & 1))
        guard wire < wires.count, wires[wire].ends[side].node == node.index, wires[wire].ends[side].life == node.life
        else { return fail("a node closes only its own links", "node \(node.index) closed \(link.rawValue)") }
        guard wires[wire].ends[side].isOpen else { return }
        close(wire, side, flush: flush)
        feedLater(wire, side)
    }

    /// Closes this end and lets the other end know.
    private func close(_ wire: Int, _ side: Int, flush: Bool) {
        let delay = network.delay(wires[wire].ends[side].node, wires[wire].ends[1 - side].node)
        let told = withEnd(wire, side) { end in
            end.isOpen = false
            end.isFlushing = flush && end.head < end.queue.count
            if !flush { end.dropQueue() }
            return flush ? max(end.lastArrival, now + delay) : now + delay
        }
        agenda.add(.reset(wire: wire, side: 1 - side, tries: 0), at: told)
    }

    /// The shell reports every end of a link, its own hanging up too.
    private func feedLater(_ wire: Int, _ side: Int) { agenda.add(.reset(wire: wire, side: side, tries: -1), at: now) }

    func reset(_ wire: Int, _ side: Int, _ tries: Int) {
        let end = wires[wire].ends[side]
        let node = nodes[end.node]
        guard node.isRunning, node.life == end.life else { return }
        if tries < 0 { return feed(node, .linkClosed(linkID(wire, side))) }
        guard end.isOpen else { return }
        let other = wires[wire].ends[1 - side]
        // The last word waits behind what is stuck, and cannot pass a cut either; keep-alive ends the wait.
        if tries <= Network.lastWords, network.isCut(other.node, end.node) || (other.isFlushing && other.isStalled) {
            let wait = tries < Network.lastWords ? Network.lastWordUs : Network.keepAliveUs
            return agenda.add(.reset(wire: wire, side: side, tries: tries + 1), at: now + wait)
        }
        withEnd(wire, side) { end in
            end.isOpen = false
            end.dropQueue()
        }
        feed(node, .linkClosed(linkID(wire, side)))
    }

    /// The process is gone: what its kernel has not sent is lost, and the other ends are told.
    func breakWires(of node: Node) {
        for wire in wires.indices {
            for side in 0...1 where wires[wire].ends[side].node == node.index && wires[wire].ends[side].isOpen {
                // Leaving in good order, the last words are flushed. Killed, the kernel sends the rest too, unless
                // something unread makes it reset the connection.
                close(wire, side, flush: node.state == .left || network.roll(below: 2) == 0)
            }
        }
    }

    @discardableResult
    private func withEnd<T>(_ wire: Int, _ side: Int, _ body: (inout Wire.End) -> T) -> T {
        body(&wires[wire].ends[side])
    }
}
