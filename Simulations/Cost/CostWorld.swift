internal import CRDT
internal import Gossip

/// Hundreds of peers on one virtual LAN, decided by one seed and light enough for days: datagrams that are late or lost,
/// links that are late but whole, machines that die without a word, and nothing that checks. It only counts.
///
/// The simulator of the stories (`Cluster`) is cruel and thorough for up to 64 nodes; this one is fast.
final class CostWorld {
    /// The weather and the wires.
    struct Network: Sendable {
        /// The least time from machine to machine, in microseconds; up to `jitterUs` is added at random.
        var latencyUs: UInt64 = 300
        var jitterUs: UInt64 = 100
        /// Share of datagrams that vanish; a segment of a stream that does is sent again and late.
        var lossRate = 0.0
        /// What one machine sends over all its links, in bytes per millisecond: 125,000 is 1 Gbit/s.
        var bytesPerMs: UInt64 = 125_000
    }

    let settings: CostPeer.Settings
    var network: Network {
        didSet { lossLimit = UInt64(network.lossRate * 0x1p53) }
    }
    /// Microseconds since the world began.
    private(set) var now: UInt64 = 0
    let peers: [CostPeer]
    var meter = CostMeter()
    /// Folds everything that was handed to a peer: two runs with the same hash went the same way.
    private(set) var hash: UInt64 = 0
    /// Peers on different sides do not hear each other.
    private(set) var side: [UInt8]

    var agenda = CostAgenda()
    var pool = BytePool()
    var ends: ContiguousArray<CostLinkEnd> = []
    /// When each machine's card has sent everything that its links were given so far.
    var cardFreeAt: [UInt64]
    private var dice: Dice
    private var lossLimit: UInt64
    private var starts: Dice
    private let dawnMs: UInt64
    private var indices: [ReplicaID: Int] = [:]
    /// What each peer believes of each machine's present or last life: rows are the believers. 255: never heard of it.
    private var beliefs: [UInt8]
    private var effects: [Gossip.Cluster.Effect] = []
    private var out: [UInt8] = []

    /// Whether the peer at work may have changed its mind about somebody.
    private var believesAnew = false

    private static let unknown: UInt8 = 255

    init(size: Int, seed: UInt64, settings: CostPeer.Settings = .init(), network: Network = .init()) {
        self.settings = settings
        self.network = network
        lossLimit = UInt64(network.lossRate * 0x1p53)
        peers = (0..<size).map { CostPeer(index: $0) }
        side = [UInt8](repeating: 0, count: size)
        cardFreeAt = [UInt64](repeating: 0, count: size)
        beliefs = [UInt8](repeating: Self.unknown, count: size * size)
        dice = Dice(seed: (seed, 0x636f_7374, 1, 0))
        starts = Dice(seed: (seed, 0x636f_7374, 2, 0))
        dawnMs = 1_767_225_600_000 + starts.below(600_000)
    }

    // MARK: Time

    /// Lets the world go on for so long.
    func run(milliseconds: UInt64) { run(until: now + milliseconds * 1_000) }

    private func run(until end: UInt64) {
        while let next = agenda.nextTime, next <= end {
            let (time, due) = agenda.removeFirst()
            now = time
            happen(due)
        }
        now = end
    }

    /// Lets the world go on until `condition` holds, looked at every `stepMs`; false if it did not within `limitMs`.
    func run(limitMs: UInt64, stepMs: UInt64 = 100, until condition: (CostWorld) -> Bool) -> Bool {
        let end = now + limitMs * 1_000
        while !condition(self) {
            guard now < end else { return false }
            run(milliseconds: stepMs)
        }
        return true
    }

    private func happen(_ due: CostDue) {
        switch due {
        case .wake(let index, let life): wake(peers[Int(index)], life)
        case .datagram(let from, let to, let place):
            let bytes = pool.take(place)
            feed(peers[Int(to)], .datagram(from: peers[Int(from)].address), bytes)
            pool.release(place, bytes)
        case .knock(let end): knock(end)
        case .opened(let end): opened(end)
        case .refused(let end): refused(end)
        case .arrival(let end, let place): arrival(end, place)
        case .drained(let end): drained(end)
        case .patience(let end, let token): giveUp(end, token)
        case .retransmit(let end): retransmit(end)
        case .closed(let end): closed(end)
        case .buried(let end): buried(end)
        }
    }

    private func wake(_ peer: CostPeer, _ life: Int32) {
        guard peer.life == life, peer.scheduledAt == now else { return }
        peer.scheduledAt = nil
        guard let wakeAt = peer.wakeAt else { return }
        guard wakeAt <= now else { return schedule(peer) }
        peer.wakeAt = nil
        feed(peer, .tick, [])
    }

    private func schedule(_ peer: CostPeer) {
        guard let wakeAt = peer.wakeAt, wakeAt < peer.scheduledAt ?? .max else { return }
        peer.scheduledAt = wakeAt
        agenda.add(.wake(peer: Int32(peer.index), life: peer.life), at: wakeAt)
    }

    // MARK: The door

    /// Hands an input to a peer that runs, and carries out what it answers with.
    func feed(_ peer: CostPeer, _ input: Gossip.Cluster.Input, _ bytes: [UInt8]) {
        guard peer.isRunning else { return }
        meter.inputs += 1
        hash = XXH64.avalanche((hash << 7 | hash >> 57) ^ now << 20 ^ UInt64(peer.index) << 48 ^ UInt64(bytes.count))
        perform(peer) { effects, out in peer.handle(input, bytes, now: now, into: &effects, &out) }
    }

    /// Lets a peer write a fact with this body.
    func write(at index: Int, _ body: [UInt8]) {
        let peer = peers[index]
        perform(peer) { effects, out in peer.write(body, now: now, into: &effects, &out) }
    }

    private func perform(_ peer: CostPeer, _ act: (inout [Gossip.Cluster.Effect], inout [UInt8]) -> Void) {
        // Moved out and back with their memory, so that nothing touches them twice at once.
        var (list, bytes): ([Gossip.Cluster.Effect], [UInt8]) = ([], [])
        swap(&list, &effects)
        swap(&bytes, &out)
        act(&list, &bytes)
        believesAnew = false
        for effect in list { carryOut(effect, bytes, peer) }
        if believesAnew { for member in peer.members { believe(peer, member) } }
        list.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
        swap(&list, &effects)
        swap(&bytes, &out)
    }

    private func carryOut(_ effect: Gossip.Cluster.Effect, _ bytes: borrowing [UInt8], _ peer: CostPeer) {
        switch effect {
        case .datagram(let to, let range): send(bytes, range, from: peer, to: to)
        case .write(let link, let range): write(Int(link.rawValue), bytes, range)
        case .dial(let address): dial(from: peer, to: address)
        case .hangUp(let link, let flush): hangUp(Int(link.rawValue), flush: flush)
        case .wake(let instant):
            peer.wakeAt = max(now + 1, CostPeer.world(instant))
            schedule(peer)
        // Every change of a belief is worth a line; the beliefs themselves are looked up, since no effect names them.
        case .log: believesAnew = true
        case .reset: preconditionFailure("peer \(peer.index) lost its place, and a light world collects nothing")
        // Documents and their snapshots belong to the node core; here are none.
        case .snapshotBegins, .chunkDue, .snapshotEnded, .state, .adopted, .caughtUp, .gaveUp, .linkLost, .compare,
            .linked, .unlinked, .frame, .left:
            break
        }
    }

    // MARK: Datagrams

    private func send(_ bytes: borrowing [UInt8], _ range: Range<Int>, from peer: CostPeer, to address: Address) {
        meter.datagrams += 1
        meter.datagramBytes += range.count
        let to = CostPeer.index(of: address)
        guard peers.indices.contains(to), side[to] == side[peer.index], !isLost() else { return meter.lost += 1 }
        let place = pool.put(bytes, range)
        agenda.add(.datagram(from: Int32(peer.index), to: Int32(to), bytes: place), at: now + delay())
    }

    /// How long one packet takes, in microseconds.
    func delay() -> UInt64 { network.latencyUs + dice.below(network.jitterUs + 1) }

    /// Whether the weather takes this packet.
    func isLost() -> Bool { lossLimit > 0 && dice.next() >> 11 < lossLimit }

    /// A number below `bound`.
    func roll(below bound: UInt64) -> UInt64 { dice.below(bound) }

    // MARK: Machines

    /// Starts a peer that does not run, with an empty memory and a new id.
    func start(_ index: Int) {
        let peer = peers[index]
        precondition(!peer.isRunning, "peer \(index) runs already")
        peer.start(settings, wallMs: dawnMs + now / 1_000, now: now, dice: &starts)
        indices[peer.replica] = index
        for believer in peers.indices { beliefs[believer * peers.count + index] = Self.unknown }
        for subject in peers.indices { beliefs[index * peers.count + subject] = Self.unknown }
        beliefs[index * peers.count + index] = MemberState.alive.rawValue
        feed(peer, .tick, [])
    }

    /// The machine is gone without a word: no reset reaches anybody.
    func kill(_ index: Int) {
        guard peers[index].isRunning else { return }
        peers[index].kill()
    }

    /// Puts these peers on the other side: neither side hears the other from now on.
    func cut(off others: some Sequence<Int>) {
        for index in side.indices { side[index] = 0 }
        for index in others { side[index] = 1 }
        retransmitAll()
    }

    /// Everybody hears everybody again.
    func heal() { cut(off: []) }

    // MARK: Beliefs

    private func believe(_ peer: CostPeer, _ member: Member) {
        guard let subject = indices[member.replica] else { return }
        let claim = CostMeter.Claim(replica: member.replica.rawValue, counter: member.incarnation.counter)
        let isCurrent = peers[subject].replica == member.replica
        let lives = isCurrent && peers[subject].isRunning
        if subject == peer.index {
            if isCurrent, member.incarnation.counter > 0 { meter.refutations.insert(claim) }
            return
        }
        let place = peer.index * peers.count + subject
        guard !isCurrent || beliefs[place] != member.state.rawValue else { return }
        if member.state == .suspect {
            meter.suspicions.insert(claim)
            if lives { meter.falseSuspicions.insert(claim) }
        }
        guard isCurrent else { return }
        beliefs[place] = member.state.rawValue
        if lives, member.state == .dead {
            meter.falseBeliefs += 1
            meter.falseDeaths.insert(claim)
        }
    }

    /// What one peer believes of the machine `subject`; nil if it never heard of its present or last life.
    func belief(of believer: Int, about subject: Int) -> MemberState? {
        MemberState(rawValue: beliefs[believer * peers.count + subject])
    }

    /// Whether every running peer believes every running peer to be alive.
    var isUnanimous: Bool {
        peers.allSatisfy { believer in
            !believer.isRunning
                || peers.allSatisfy { subject in
                    !subject.isRunning
                        || beliefs[believer.index * peers.count + subject.index] == MemberState.alive.rawValue
                }
        }
    }

    /// Whether every running peer believes the machine `subject` to be dead, or never heard of it.
    func isKnownDead(_ subject: Int) -> Bool {
        peers.allSatisfy { believer in
            let belief = beliefs[believer.index * peers.count + subject]
            return !believer.isRunning || belief == MemberState.dead.rawValue || belief == Self.unknown
        }
    }

    /// Whether some running peer believes the machine `subject` to be dead.
    func isBelievedDead(_ subject: Int) -> Bool {
        peers.contains { $0.isRunning && belief(of: $0.index, about: subject) == .dead }
    }

    /// Whether all running peers have read the same.
    var isConverged: Bool {
        var digest: UInt64?
        for peer in peers where peer.isRunning {
            if let digest, peer.digest != digest { return false }
            digest = peer.digest
        }
        return true
    }

    /// Whether every pair of running peers has a link.
    var isMeshed: Bool {
        let running = peers.filter(\.isRunning)
        return running.allSatisfy { $0.links == running.count - 1 }
    }
}
