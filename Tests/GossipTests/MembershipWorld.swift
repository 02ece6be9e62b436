import CRDT

@testable import Gossip

/// A cluster on a virtual network and a virtual clock: the same seed gives the same story.
struct MembershipWorld {
    struct Node {
        var membership: Membership
        let address: Address
        var isUp = true
        var wakeAt: UInt64 = 0
        /// The event loop stands still until then; what arrives waits.
        var stalledUntil: UInt64 = 0
        var hasLeft = false
        var forgotten: [ReplicaID] = []
        var clones = 0
        var lines: [String] = []
        /// In which versions it wrote to whom, each change once.
        var spoken: [Int: [UInt8]] = [:]
    }

    /// One node changed its mind about another.
    struct Change {
        let ms: UInt64
        let observer: Int
        let subject: ReplicaID
        let was: MemberState?
        let now: MemberState
    }

    private struct Parcel {
        let at: UInt64
        let order: UInt64
        let from: Address
        let to: Int
        let bytes: [UInt8]
        /// Set: not a datagram but a frame over the link of this peer.
        var heard: ReplicaID?
    }

    var nodes: [Node] = []
    var changes: [Change] = []
    /// Share of datagrams that are lost.
    var lossRate = 0.0
    /// (from, to) pairs between which no datagram passes.
    var cutDatagrams: Set<[Int]> = []
    /// Pairs between which no link stands.
    var cutLinks: Set<[Int]> = []
    /// Whether the nodes have TCP links, so that `askLink` is answered.
    var hasLinks = false
    private(set) var nowUs: UInt64 = 1_000_000
    private var parcels: [Parcel] = []  // a heap, earliest first
    private var nextOrder: UInt64 = 0
    private var dice: Dice
    private var effects = Membership.Effects()
    let profile: Profile

    init(seed: UInt64 = 1, profile: Profile = .lan) {
        dice = Dice(seed: seed)
        self.profile = profile
    }

    /// `size` nodes that all join through the first, and have had time to.
    init(size: Int, seed: UInt64 = 1, profile: Profile = .lan, settleMs: UInt64 = 5_000) {
        self.init(seed: seed, profile: profile)
        for _ in 0..<size { add(seeds: nodes.isEmpty ? [] : [nodes[0].address]) }
        run(milliseconds: settleMs)
    }

    var now: Instant { Instant(microseconds: nowUs) }
    var nowMs: UInt64 { nowUs / 1_000 }

    static func address(_ i: Int) -> Address { Address(ipv4: 0x0a00_0001 + UInt32(i), port: 7946) }

    /// Starts a node; its replica id is random, so that ids and places are not in the same order.
    @discardableResult
    mutating func add(
        seeds: [Address], at address: Address? = nil, advertise: Address? = nil, durable: Bool = false,
        replica: ReplicaID? = nil, epoch: UInt64 = 1, limits: Membership.Limits = .init(),
        protocols: Versions = Frame.protocols
    ) -> ReplicaID {
        let address = address ?? Self.address(nodes.count)
        let id = replica ?? ReplicaID(dice.next() | 1)
        let me = Member(
            replica: id, name: "n\(nodes.count)", gossip: advertise ?? address, http: "10.0.0.1:5000",
            incarnation: Incarnation(epoch: epoch), isDurable: durable, protocols: protocols)
        let membership = Membership(
            me: me, seeds: seeds, cluster: "test", profile: profile, limits: limits, dice: Dice(seed: dice.next()),
            now: now)
        nodes.append(Node(membership: membership, address: address, wakeAt: nowUs))
        return id
    }

    func id(_ i: Int) -> ReplicaID { nodes[i].membership.me.replica }
    func state(of subject: Int, at observer: Int) -> MemberState? {
        nodes[observer].membership.member(id(subject))?.state
    }

    /// Every running node believes every running node (and nobody else) to be alive.
    var isUnanimous: Bool {
        let up = nodes.indices.filter { nodes[$0].isUp && !nodes[$0].hasLeft }
        return up.allSatisfy { i in
            let alive = nodes[i].membership.members.filter { $0.state == .alive }.map(\.replica)
            return alive == up.map { id($0) }.sorted()
        }
    }

    /// Runs until `condition` holds; nil if it does not within `limitMs`, else how long it took.
    mutating func run(until limitMs: UInt64, _ condition: (Self) -> Bool) -> UInt64? {
        let start = nowMs
        while nowMs - start <= limitMs {
            if condition(self) { return nowMs - start }
            run(milliseconds: 10)
        }
        return nil
    }

    mutating func run(milliseconds: UInt64) {
        let end = nowUs + milliseconds * 1_000
        while true {
            let wake = nodes.indices.filter { nodes[$0].isUp && !nodes[$0].hasLeft }
                .map { (max(nodes[$0].wakeAt, nodes[$0].stalledUntil), $0) }.min { $0 < $1 }
            let parcelAt = parcels.first?.at ?? .max
            guard min(wake?.0 ?? .max, parcelAt) <= end else { break }
            if let wake, wake.0 <= parcelAt {
                nowUs = max(nowUs, wake.0)
                give(.tick, [], to: wake.1)
            } else {
                let parcel = popParcel()
                nowUs = max(nowUs, parcel.at)
                let node = nodes[parcel.to]
                guard node.isUp else { continue }
                if node.stalledUntil > nowUs {
                    pushParcel(
                        Parcel(
                            at: node.stalledUntil, order: parcel.order, from: parcel.from, to: parcel.to,
                            bytes: parcel.bytes, heard: parcel.heard))
                } else if let heard = parcel.heard {
                    give(.heard(heard), [], to: parcel.to)
                } else {
                    give(.datagram(from: parcel.from), parcel.bytes, to: parcel.to)
                }
            }
        }
        nowUs = end
    }

    /// Hands one input to a node and carries out what it asks for.
    mutating func give(_ input: Membership.Input, _ bytes: [UInt8], to i: Int) {
        effects.removeAll()
        let own = Membership.Summary(digest: UInt64(i), clockMs: nowMs)
        nodes[i].membership.handle(input, bytes.span.bytes, summary: own, now: now, into: &effects)
        for effect in effects.list {
            switch effect {
            case .datagram(let to, let range): post(Array(effects.bytes[range]), from: i, to: to)
            case .askLink(let peer): ask(peer, from: i)
            case .changed(let member, let was):
                guard member.replica != id(i) else { continue }
                changes.append(
                    Change(ms: nowMs, observer: i, subject: member.replica, was: was, now: member.state))
            case .forgotten(let member): nodes[i].forgotten.append(member.replica)
            case .cloned: nodes[i].clones += 1
            case .wake(let at): nodes[i].wakeAt = at.microseconds
            case .left: nodes[i].hasLeft = true
            case .log(_, let text): nodes[i].lines.append(text)
            case .summary: break
            }
        }
    }

    private mutating func post(_ bytes: [UInt8], from: Int, to: Address) {
        precondition(bytes.count <= 1_400, "a datagram of \(bytes.count) bytes")
        if let target = nodes.lastIndex(where: { $0.address == to }), nodes[from].spoken[target]?.last != bytes[6] {
            nodes[from].spoken[target, default: []].append(bytes[6])
        }
        guard let target = nodes.lastIndex(where: { $0.address == to && $0.isUp }),
            !cutDatagrams.contains([from, target])
        else { return }
        guard Double(dice.below(1_000_000)) >= lossRate * 1_000_000 else { return }
        let latencyUs = 200 + dice.below(1_800)
        nextOrder += 1
        pushParcel(
            Parcel(at: nowUs + latencyUs, order: nextOrder, from: nodes[from].address, to: target, bytes: bytes))
    }

    private mutating func ask(_ peer: ReplicaID, from: Int) {
        guard hasLinks, let target = nodes.indices.last(where: { id($0) == peer && nodes[$0].isUp }),
            !cutLinks.contains([from, target]), !cutLinks.contains([target, from])
        else { return }
        nextOrder += 1
        pushParcel(
            Parcel(at: nowUs + 2_000, order: nextOrder, from: nodes[target].address, to: from, bytes: [], heard: peer))
    }

    /// Cuts everything between the two sides, both ways.
    mutating func partition(_ side: Set<Int>) {
        for a in nodes.indices {
            for b in nodes.indices where side.contains(a) != side.contains(b) {
                cutDatagrams.insert([a, b])
                cutLinks.insert([a, b])
            }
        }
    }

    mutating func heal() {
        cutDatagrams = []
        cutLinks = []
    }

    private mutating func pushParcel(_ parcel: Parcel) {
        parcels.append(parcel)
        var child = parcels.count - 1
        while child > 0, isEarlier(child, (child - 1) / 2) {
            parcels.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func popParcel() -> Parcel {
        parcels.swapAt(0, parcels.count - 1)
        let first = parcels.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < parcels.count && isEarlier(child, least) {
                least = child
            }
            guard least != parent else { return first }
            parcels.swapAt(least, parent)
            parent = least
        }
    }

    private func isEarlier(_ a: Int, _ b: Int) -> Bool {
        (parcels[a].at, parcels[a].order) < (parcels[b].at, parcels[b].order)
    }
}
