internal import Gossip

/// One end of a TCP connection. Ends 2k and 2k + 1 belong together; the number of an end is its `LinkID`.
struct CostLinkEnd {
    let peer: Int32
    var life: Int32
    /// When the dial began, in microseconds.
    let began: UInt64
    var isOpen = false
    var wasOpen = false
    /// When the network has taken everything written so far, and when the last of it arrives.
    var freeAt: UInt64 = 0
    var lastArrival: UInt64 = 0
    /// Frames that could not get through, oldest first, and their bytes.
    var held: [Int32] = []
    var heldBytes = 0
    var drainIsDue = false
    var owesDrain = false
    /// Counts the waits for a confirmation; nil while none is missing for long.
    var waiting: Int32?
    var waits: Int32 = 0
}

/// Links: whole frames, in order, each once; late when segments are lost, stuck while the way is cut or the other
/// machine is gone, and given up by the sender's kernel after five seconds without a confirmation, as the shell asks.
extension CostWorld {
    /// The shell's TCP_USER_TIMEOUT, its limit for dials, and its keep-alive of 30 min + 3 × 5 s, in microseconds.
    private static let userTimeoutUs: UInt64 = 5_000_000
    private static let dialTimeoutUs: UInt64 = 2_000_000
    private static let keepAliveUs: UInt64 = 1_815_000_000
    /// What a socket takes while the network takes nothing, and below what the shell calls it drained, in bytes.
    private static let socketBuffer = 256 << 10
    private static let drainMark: UInt64 = 64 << 10
    /// Payload of one segment on an Ethernet.
    private static let segment = 1_448

    private func isReached(_ end: Int32) -> Bool {
        let (from, to) = (Int(ends[Int(end)].peer), Int(ends[Int(end) ^ 1].peer))
        return side[from] == side[to] && peers[to].isRunning
    }

    private func lives(_ end: Int32) -> Bool {
        let place = Int(end)
        return peers[Int(ends[place].peer)].life == ends[place].life
    }

    /// How much later so many bytes come because segments were lost and sent again: the sender's timeout begins at the
    /// least that Linux uses, 200 ms, and doubles.
    private func retransmissionDelay(_ bytes: Int) -> UInt64 {
        guard network.lossRate > 0 else { return 0 }
        var worst: UInt64 = 0
        for _ in 0..<max(1, (bytes + Self.segment - 1) / Self.segment) {
            var (delay, timeout): (UInt64, UInt64) = (0, 200_000)
            while isLost(), timeout < 2_000_000 {
                delay += timeout
                timeout *= 2
            }
            worst = max(worst, delay)
        }
        return worst
    }

    // MARK: Dialling

    func dial(from peer: CostPeer, to address: Address) {
        let to = CostPeer.index(of: address)
        precondition(peers.indices.contains(to), "a peer dialled \(address), where nobody ever was")
        let end = Int32(ends.count)
        ends.append(CostLinkEnd(peer: Int32(peer.index), life: peer.life, began: now))
        ends.append(CostLinkEnd(peer: Int32(to), life: -1, began: now))
        agenda.add(.knock(end: end), at: now + delay() + retransmissionDelay(1))
    }

    func knock(_ end: Int32) {
        let place = Int(end)
        guard lives(end) else { return }
        guard isReached(end) else {
            return agenda.add(.refused(end: end), at: max(now, ends[place].began + Self.dialTimeoutUs))
        }
        ends[place ^ 1].life = peers[Int(ends[place ^ 1].peer)].life
        let back = now + delay()
        ends[place].lastArrival = back + delay()
        ends[place ^ 1].lastArrival = back
        agenda.add(.opened(end: end), at: back)
        agenda.add(.opened(end: end ^ 1), at: ends[place].lastArrival)
    }

    func refused(_ end: Int32) {
        guard lives(end) else { return }
        let address = peers[Int(ends[Int(end) ^ 1].peer)].address
        feed(peers[Int(ends[Int(end)].peer)], .dialFailed(address), [])
    }

    func opened(_ end: Int32) {
        let place = Int(end)
        let isDialler = place & 1 == 0
        guard lives(end), isDialler || ends[place ^ 1].isOpen else { return }
        ends[place].isOpen = true
        ends[place].wasOpen = true
        if isDialler { meter.links += 1 }
        let dialled = isDialler ? peers[Int(ends[place ^ 1].peer)].address : nil
        feed(peers[Int(ends[place].peer)], .linkOpened(LinkID(UInt64(place)), dialled: dialled), [])
    }

    // MARK: Frames

    func write(_ place: Int, _ bytes: borrowing [UInt8], _ range: Range<Int>) {
        guard ends[place].isOpen else { return }
        let size = range.count + 4
        meter.frames += 1
        meter.frameBytes += size
        // The type of a frame stands behind its checksum.
        if bytes[range.lowerBound + 4] == Frame.FrameType.facts.rawValue {
            meter.factFrames += 1
            meter.factFrameBytes += size
        }
        let late = delay() + retransmissionDelay(size)
        let machine = Int(ends[place].peer)
        cardFreeAt[machine] = max(now, cardFreeAt[machine]) + UInt64(size) * 1_000 / network.bytesPerMs
        ends[place].freeAt = cardFreeAt[machine]
        ends[place].lastArrival = max(ends[place].lastArrival, ends[place].freeAt + late)
        ends[place].owesDrain = true
        agenda.add(.arrival(end: Int32(place), bytes: pool.put(bytes, range)), at: ends[place].lastArrival)
        scheduleDrain(place)
    }

    private func scheduleDrain(_ place: Int) {
        guard ends[place].owesDrain, !ends[place].drainIsDue, ends[place].isOpen,
            ends[place].heldBytes <= Self.socketBuffer
        else { return }
        ends[place].drainIsDue = true
        // The loop writes at the end of its turn.
        let allowance = Self.drainMark * 1_000 / network.bytesPerMs
        agenda.add(
            .drained(end: Int32(place)), at: max(now + 20, ends[place].freeAt - min(ends[place].freeAt, allowance)))
    }

    func drained(_ end: Int32) {
        let place = Int(end)
        ends[place].drainIsDue = false
        guard lives(end), ends[place].isOpen, ends[place].owesDrain, ends[place].heldBytes <= Self.socketBuffer
        else { return }
        let waiting = ends[place].freeAt > now ? (ends[place].freeAt - now) * network.bytesPerMs / 1_000 : 0
        guard waiting <= Self.drainMark else { return scheduleDrain(place) }
        ends[place].owesDrain = false
        feed(peers[Int(ends[place].peer)], .linkDrained(LinkID(UInt64(place))), [])
    }

    func arrival(_ end: Int32, _ bytes: Int32) {
        let place = Int(end)
        guard ends[place].held.isEmpty, isReached(end) else {
            // Nobody sends again what a machine that is gone had sent, or what a kernel has given up.
            guard lives(end), ends[place].isOpen else { return pool.drop(bytes) }
            ends[place].heldBytes += pool.count(bytes)
            ends[place].held.append(bytes)
            return startWaiting(place)
        }
        deliver(end, bytes)
    }

    private func deliver(_ end: Int32, _ bytes: Int32) {
        let other = Int(end) ^ 1
        guard lives(Int32(other)), ends[other].isOpen else {
            pool.drop(bytes)
            return agenda.add(.closed(end: end), at: now + delay())
        }
        let frame = pool.take(bytes)
        feed(peers[Int(ends[other].peer)], .linkFrame(LinkID(UInt64(other))), frame)
        pool.release(bytes, frame)
    }

    private func startWaiting(_ place: Int) {
        guard ends[place].waiting == nil else { return }
        ends[place].waits += 1
        ends[place].waiting = ends[place].waits
        agenda.add(.patience(end: Int32(place), token: ends[place].waits), at: now + Self.userTimeoutUs)
    }

    /// The cut changed: every kernel that waits for a confirmation tries again within its retransmission timeout.
    func retransmitAll() {
        for place in ends.indices where !ends[place].held.isEmpty {
            agenda.add(.retransmit(end: Int32(place)), at: now + 20_000 + roll(below: 1_200_000))
        }
    }

    func retransmit(_ end: Int32) {
        let place = Int(end)
        guard isReached(end), lives(end), ends[place].isOpen else { return }
        let held = ends[place].held
        ends[place].held = []
        ends[place].heldBytes = 0
        ends[place].waiting = nil
        for bytes in held { deliver(end, bytes) }
        scheduleDrain(place)
    }

    // MARK: Ends

    func giveUp(_ end: Int32, _ token: Int32) {
        guard ends[Int(end)].waiting == token, lives(end), ends[Int(end)].isOpen else { return }
        shut(Int(end))
        agenda.add(.closed(end: end ^ 1), at: now + Self.keepAliveUs)
        feed(peers[Int(ends[Int(end)].peer)], .linkClosed(LinkID(UInt64(end))), [])
    }

    private func shut(_ place: Int) {
        ends[place].isOpen = false
        ends[place].waiting = nil
        for bytes in ends[place].held { pool.drop(bytes) }
        ends[place].held = []
        ends[place].heldBytes = 0
    }

    /// The process closes its end. What it wrote before and what is not stuck still arrives.
    func hangUp(_ place: Int, flush: Bool) {
        guard ends[place].isOpen else { return }
        let told = flush ? max(ends[place].lastArrival, now + delay()) : now + delay()
        shut(place)
        agenda.add(.closed(end: Int32(place ^ 1)), at: told)
        agenda.add(.buried(end: Int32(place)), at: now)
    }

    func buried(_ end: Int32) {
        guard lives(end) else { return }
        feed(peers[Int(ends[Int(end)].peer)], .linkClosed(LinkID(UInt64(end))), [])
    }

    func closed(_ end: Int32) {
        let place = Int(end)
        guard lives(end), ends[place].isOpen else { return }
        // The last word does not pass a cut; the kernel's keep-alive notices in the end.
        if side[Int(ends[place].peer)] != side[Int(ends[place ^ 1].peer)] {
            return agenda.add(.closed(end: end), at: now + Self.userTimeoutUs)
        }
        shut(place)
        feed(peers[Int(ends[place].peer)], .linkClosed(LinkID(UInt64(place))), [])
    }
}
