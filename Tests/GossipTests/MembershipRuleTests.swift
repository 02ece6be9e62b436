import CRDT
import Testing

@testable import Gossip

@Suite("Membership, rule by rule")
struct MembershipRuleTests {
    @Test(
        "Suspicion lasts 4 s × max(1, log10 n) to 6 times that, and shrinks with each confirmation",
        arguments: [
            (1, 0, 4_000), (2, 0, 4_000),  // nobody can confirm: the minimum
            (3, 0, 24_000), (3, 1, 4_000), (3, 9, 4_000),  // k = 1
            (4, 0, 24_000), (4, 1, 11_381), (4, 2, 4_000),  // k = 2
            (5, 0, 24_000), (5, 1, 14_000), (5, 2, 8_150), (5, 3, 4_000),  // k = 3
            (10, 3, 4_000), (100, 0, 48_000), (100, 1, 28_000), (100, 3, 8_000), (1_000, 3, 12_000),
        ] as [(Int, Int, UInt64)])
    func suspicion(members: Int, confirmations: Int, expectedMs: UInt64) {
        #expect(Membership.suspicionMs(members: members, confirmations: confirmations, .lan) == expectedMs)
        let fast = Membership.suspicionMs(members: members, confirmations: confirmations, .fast)
        #expect(fast <= expectedMs / 10 + 1 && fast + 1 >= expectedMs / 10, "a tenth in the fast profile")
    }

    @Test(
        "A rumor is told 4 × log10(n + 1) times, rounded up",
        arguments: [(1, 2), (2, 2), (3, 3), (9, 4), (10, 5), (99, 8), (100, 9), (999, 12)])
    func retransmits(members: Int, expected: Int) {
        #expect(RumorQueue.limit(members: members, factor: 4) == expected)
    }

    @Test(
        "The logarithm is the one of the tables",
        arguments: [
            (1.0, 0.0), (2.0, 0.301029995663981), (3.0, 0.477121254719662), (10.0, 1.0), (1_024.0, 3.01029995663981),
            (0.5, -0.301029995663981),
        ])
    func logarithm(x: Double, expected: Double) { #expect(abs(log10(x) - expected) < 1e-14) }

    @Test("Every claim overrides exactly those below it, in whatever order three of them come")
    func supersede() {
        let base = peer(7)
        var claims: [Member] = []
        for epoch in 1...2 as ClosedRange<UInt64> {
            for counter in 0...1 as ClosedRange<UInt32> {
                for state in MemberState.allCases {
                    var claim = base
                    claim.incarnation = Incarnation(epoch: epoch, counter: counter)
                    claim.state = state
                    claims.append(claim)
                }
            }
        }
        for (i, a) in claims.enumerated() {
            for (j, b) in claims.enumerated() { #expect(a.supersedes(b) == (i > j), "\(a) over \(b)") }
        }
        for a in claims.indices {
            for b in claims.indices where b != a {
                for c in claims.indices where c != a && c != b {
                    var one = OneNode()
                    one.learn(base)
                    for i in [a, b, c] { one.learn(claims[i]) }
                    let highest = claims[max(a, b, c)]
                    let believed = one.swim.member(base.replica)
                    #expect(believed?.incarnation == highest.incarnation && believed?.state == highest.state)
                    #expect(one.swim.suspicions.count == (highest.state == .suspect ? 1 : 0))
                    #expect(one.swim.ring.order.count == (highest.state >= .dead ? 0 : 1))
                }
            }
        }
    }

    @Test("Only distinct accusers confirm, and at most three of them")
    func confirmations() {
        var one = OneNode()
        for i in 1...9 as ClosedRange<UInt64> { one.learn(peer(i)) }
        var suspect = peer(1)
        suspect.state = .suspect
        for (accuser, expected) in [(2, 1), (2, 1), (3, 2), (4, 3), (3, 3), (5, 4), (6, 4)] as [(UInt64, Int)] {
            one.learn(suspect, accuser: ReplicaID(accuser))
            #expect(one.swim.suspicions.first?.accusers.count == expected)
        }
    }

    @Test("Local health stays between one and eight")
    func localHealth() {
        var health = LocalHealth()
        health.improve()
        #expect(health.multiplier == 1)
        health.worsen(by: 3)
        #expect(health.multiplier == 4)
        health.worsen(by: 1_000)
        #expect(health.multiplier == 8)
        for _ in 0..<20 { health.improve() }
        #expect(health.multiplier == 1)
    }

    @Test("The ring probes everybody once a round, whoever comes and goes")
    func ring() {
        var dice = Dice(seed: 4)
        var ring = ProbeRing()
        #expect(ring.next(&dice) == nil)
        for i in 1...10 as ClosedRange<UInt64> { ring.insert(ReplicaID(i), &dice) }
        ring.insert(ReplicaID(3), &dice)
        _ = (0..<10).map { _ in ring.next(&dice) }
        for _ in 0..<5 { #expect(Set((0..<10).compactMap { _ in ring.next(&dice) }).count == 10) }
        let first = (0..<4).compactMap { _ in ring.next(&dice) }
        ring.remove(first[0])
        #expect(Set((0..<6).compactMap { _ in ring.next(&dice) }).isDisjoint(with: first), "nobody is skipped")
        #expect(Set((0..<9).compactMap { _ in ring.next(&dice) }).count == 9)
    }

    @Test("The least told rumor goes first, and of those the newest")
    func queue() {
        var queue = RumorQueue()
        for i in 1...3 as ClosedRange<UInt64> { queue.add(ReplicaID(i), accuser: ReplicaID(i)) }
        func tell(_ count: Int) -> [UInt64] {
            var told: [UInt64] = []
            queue.tell(limit: 2) { item in
                guard told.count < count else { return false }
                told.append(item.replica.rawValue)
                return true
            }
            return told
        }
        #expect(tell(2) == [3, 2])
        #expect(tell(2) == [1, 3])
        queue.add(ReplicaID(2), accuser: ReplicaID(9))
        #expect(
            queue.items.map(\.replica.rawValue).sorted() == [1, 2], "news replace what was told of the same member")
        #expect(tell(9) == [2, 1])
        #expect(tell(9) == [2])
        #expect(queue.isEmpty)
    }
}

/// A member at an address of its own.
func peer(_ i: UInt64, durable: Bool = false) -> Member {
    Member(
        replica: ReplicaID(i), name: "peer \(i)",
        gossip: Address(ipv4: 0x0a01_0000 + UInt32(truncatingIfNeeded: i & 0xffff), port: 7946),
        http: "10.1.0.\(i):5000", incarnation: Incarnation(epoch: 1), isDurable: durable, nonce: i)
}

/// One node alone with its inputs, and everything it answered.
struct OneNode {
    var swim: Membership
    var now = Instant(milliseconds: 1_000)
    var effects = Membership.Effects()

    init(id: UInt64 = 100, epoch: UInt64 = 1, seeds: [Address] = [], limits: Membership.Limits = .init()) {
        var me = peer(id)
        me.incarnation.epoch = epoch
        swim = Membership(
            me: me, seeds: seeds, cluster: "test", profile: .lan, limits: limits, dice: Dice(seed: 5), now: now)
    }

    mutating func give(_ input: Membership.Input, _ bytes: [UInt8] = []) {
        effects.removeAll()
        swim.handle(input, bytes.span.bytes, summary: .init(), now: now, into: &effects)
    }

    /// Ticks whenever asked to, until `ms` have passed.
    mutating func pass(milliseconds ms: UInt64) -> [Membership.Effect] {
        var seen: [Membership.Effect] = []
        let end = now.advanced(milliseconds: ms)
        while true {
            give(.tick)
            seen += effects.list
            guard let wake = swim.asked, wake <= end else { break }
            now = max(wake, now)
        }
        now = end
        return seen
    }

    /// A datagram of the member arrives, with these rumors.
    mutating func hear(_ message: Message, from sender: Member, rumors: [Rumor] = [], cluster: String = "test") {
        var bytes: [UInt8] = []
        Datagram.open(
            message, from: sender, counter: 1, cluster: XXH64.hash(Array(cluster.utf8).span.bytes), into: &bytes)
        for rumor in rumors { rumor.encode(into: &bytes) }
        Datagram.seal(from: 0, &bytes)
        give(.datagram(from: sender.gossip), bytes)
    }

    mutating func learn(_ member: Member, accuser: ReplicaID = ReplicaID(50)) {
        let accuser = member.state == .alive ? member.replica : accuser
        hear(.gossip, from: peer(60), rumors: [Rumor(member: member, accuser: accuser)])
    }

    /// What the last input made it send, and to whom.
    var sent: [(to: Address, datagram: Datagram)] {
        effects.list.compactMap { effect in
            guard case .datagram(let to, let range) = effect else { return nil }
            let reading = try? Datagram.read(effects.bytes.span.bytes.extracting(range), cluster: swim.clusterHash)
            guard case .datagram(let datagram) = reading else { return nil }
            return (to, datagram)
        }
    }
}
