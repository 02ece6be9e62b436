import CRDT
import Testing

@testable import Gossip

/// One node's mesh, and what it wants done.
private struct Side {
    var mesh: Mesh
    let member: Member
    let log: FactLog
    var effects: [Mesh.Effect] = []
    var out: [UInt8] = []

    init(_ id: UInt64, cluster: String = "test") {
        let replica = ReplicaID(id)
        member = Member(
            replica: replica, name: "n\(id)", gossip: Address(ipv4: 0x7f00_0000 + UInt32(id), port: 7946),
            incarnation: Incarnation(epoch: 1))
        mesh = Mesh(me: replica, cluster: cluster, profile: .lan, dice: Dice(seed: id))
        log = FactLog(me: replica, retention: .init(bytes: 1 << 20))
    }

    private var greeting: Mesh.Greeting {
        Mesh.Greeting(
            member: member, clockMs: 1, lastTime: 0, startedMs: 1, members: 1, lowest: member.replica,
            collected: VersionVector())
    }
    var hello: Hello { Hello(cluster: "test", greeting: greeting, log: log) }

    mutating func learn(_ other: Side, state: MemberState = .alive, at now: Instant) {
        var member = other.member
        member.state = state
        mesh.changed(member, now: now, into: &effects)
    }

    mutating func opened(_ link: UInt64, dialled: Side?, at now: Instant) {
        mesh.opened(
            LinkID(link), dialled: dialled?.member.gossip, greeting: greeting, log: log, now: now, into: &effects, &out)
    }

    mutating func greeted(_ link: UInt64, by hello: Hello, at now: Instant) {
        mesh.greeted(LinkID(link), hello, now: now, into: &effects)
    }

    /// Ticks, and says whom it dials.
    mutating func dials(at now: Instant) -> [Address] {
        effects.removeAll()
        mesh.tick(now: now, into: &effects)
        return effects.compactMap { if case .dial(let address) = $0 { address } else { nil } }
    }

    func link(to other: Side) -> UInt64? { mesh.link(to: other.member.replica)?.rawValue }
    var hungUp: [UInt64] { effects.compactMap { if case .hangUp(let id) = $0 { id.rawValue } else { nil } } }
    var ups: [UInt64] { effects.compactMap { if case .up(let id, _, _) = $0 { id.rawValue } else { nil } } }
    var downs: [UInt64] { effects.compactMap { if case .down(let id, _) = $0 { id.rawValue } else { nil } } }
    var reasons: String {
        effects.compactMap { if case .log(_, let text) = $0 { text } else { nil } }.joined(separator: "\n")
    }
}

private func at(_ ms: UInt64) -> Instant { Instant(milliseconds: 100_000 + ms) }
private let dialMs = Profile.lan.dialIntervalMs

@Suite("The mesh")
struct MeshTests {
    private var low = Side(1)
    private var high = Side(2)

    @Test("the lower id dials at once, the higher after a dial interval without a link")
    mutating func whoDials() {
        low.learn(high, at: at(0))
        high.learn(low, at: at(0))
        #expect(low.mesh.wake == at(0))
        #expect(high.mesh.wake == at(dialMs))
        #expect(low.dials(at: at(0)) == [high.member.gossip])
        #expect(low.dials(at: at(dialMs * 5)) == [], "one dial at a time")
        #expect(high.dials(at: at(dialMs - 1)) == [])
        #expect(high.dials(at: at(dialMs)) == [low.member.gossip])
    }

    @Test("a peer with a link is not dialled, and one with a new address is dialled there")
    mutating func noNeed() {
        high.learn(low, at: at(0))
        high.opened(1, dialled: nil, at: at(10))
        high.greeted(1, by: low.hello, at: at(20))
        #expect(high.ups == [1])
        #expect(high.mesh.linkedPeers == [low.member.replica])
        #expect(high.mesh.peer(on: LinkID(1)) == low.member.replica)
        #expect(high.mesh.wake == nil)
        #expect(high.dials(at: at(dialMs)) == [])
        var moved = low.member
        moved.gossip = Address(ipv4: 0x7f00_0063, port: 1)
        high.mesh.changed(moved, now: at(dialMs), into: &high.effects)
        high.mesh.closed(LinkID(1), now: at(dialMs), into: &high.effects)
        #expect(high.downs == [1])
        #expect(high.dials(at: at(dialMs * 4)) == [moved.gossip])
    }

    @Test(
        "of two links at once both sides keep the one that the lower id dialled", arguments: [true, false],
        [true, false])
    mutating func twoAtOnce(lowHearsItsOwnFirst: Bool, highHearsItsOwnFirst: Bool) {
        low.learn(high, at: at(0))
        high.learn(low, at: at(0))
        // Link 1 was dialled by the lower, link 2 by the higher.
        low.opened(1, dialled: high, at: at(0))
        high.opened(1, dialled: nil, at: at(1))
        high.opened(2, dialled: low, at: at(1))
        low.opened(2, dialled: nil, at: at(2))
        for link in lowHearsItsOwnFirst ? [1, 2] as [UInt64] : [2, 1] { low.greeted(link, by: high.hello, at: at(3)) }
        for link in highHearsItsOwnFirst ? [2, 1] as [UInt64] : [1, 2] { high.greeted(link, by: low.hello, at: at(3)) }
        for (side, other) in [(low, high), (high, low)] {
            #expect(side.link(to: other) == 1)
            #expect(side.mesh.linkedPeers == [other.member.replica])
            #expect(side.hungUp == [2])
            #expect(side.ups.last == 1)
            #expect(side.ups.filter { !side.downs.contains($0) } == [1])
        }
    }

    @Test("a peer that dials again long after has lost the old link, which is replaced")
    mutating func zombie() {
        for (first, second) in [(low, nil), (nil, low)] as [(Side?, Side?)] {
            var side = high
            side.opened(1, dialled: first, at: at(0))
            side.greeted(1, by: low.hello, at: at(1))
            side.opened(2, dialled: second, at: at(dialMs * 2))
            side.greeted(2, by: low.hello, at: at(dialMs * 2 + 1))
            #expect(side.link(to: low) == 2)
            #expect(side.ups == [1, 2])
            #expect(side.downs == [1])
            #expect(side.hungUp == [1])
        }
    }

    @Test("refuses another cluster, another protocol, and itself; each says why")
    mutating func refusals() {
        var (stranger, newer, mirror) = (low.hello, low.hello, high.hello)
        stranger.cluster = "other"
        newer.protocols = 2...9
        mirror.clockMs = 2
        for (link, hello) in [(1, stranger), (2, newer), (3, mirror)] as [(UInt64, Hello)] {
            high.opened(link, dialled: nil, at: at(0))
            high.greeted(link, by: hello, at: at(1))
        }
        #expect(high.hungUp == [1, 2, 3])
        #expect(high.ups == [])
        #expect(high.mesh.linkedPeers == [])
        #expect(high.mesh.refused == 2, "to have met itself is nobody's fault")
        #expect(high.reasons.contains("cluster \"other\", not \"test\""))
        #expect(high.reasons.contains("protocol 2...9"))
    }

    @Test("accepts a peer that speaks this protocol among others")
    mutating func newerPeer() {
        var hello = low.hello
        hello.protocols = 1...7
        high.opened(1, dialled: nil, at: at(0))
        high.greeted(1, by: hello, at: at(1))
        #expect(high.ups == [1])
    }

    @Test("takes one hello per link, and is not turned by a second")
    mutating func secondHello() {
        high.opened(1, dialled: nil, at: at(0))
        high.greeted(1, by: low.hello, at: at(1))
        high.greeted(1, by: Side(9).hello, at: at(2))
        #expect(high.mesh.linkedPeers == [low.member.replica])
        #expect(high.ups == [1])
        // The cluster, which sees the frame, hangs up.
        var world = LinkWorld(2)
        let link = world.connect(0, 1)
        let hello = world.frames(0, 1)[0]
        world.settle()
        #expect(world.isLinked(0, 1) && world.isLinked(1, 0))
        world.give(.linkFrame(link), hello, to: 1)
        #expect(!world.isLinked(1, 0))
        #expect(!world.isLinked(0, 1))
        #expect(world.lines[1].contains { $0.text.contains("second hello") })
    }

    @Test("closes a connection that says nothing for three dial intervals, and not before")
    mutating func stranger() {
        high.opened(1, dialled: nil, at: at(0))
        #expect(high.mesh.wake == at(dialMs * 3))
        #expect(high.dials(at: at(dialMs * 3 - 1)) == [])
        #expect(high.hungUp == [])
        #expect(high.dials(at: at(dialMs * 3)) == [])
        #expect(high.hungUp == [1])
        #expect(high.reasons.contains("did not say hello"))
        #expect(high.mesh.wake == nil)
    }

    @Test("listens to at most 256 strangers")
    mutating func manyStrangers() {
        for link in 1...300 as ClosedRange<UInt64> { high.opened(link, dialled: nil, at: at(0)) }
        #expect(high.hungUp == Array(257...300))
        high.greeted(1, by: low.hello, at: at(1))
        high.effects.removeAll()
        high.opened(301, dialled: nil, at: at(2))
        #expect(high.hungUp == [], "one who has said hello is no stranger")
    }

    @Test("waits after a dial that failed, the lower id less than the higher")
    mutating func backsOff() {
        for (side, other, leastMs) in [(low, high, dialMs / 4), (high, low, dialMs)] {
            var side = side
            side.learn(other, at: at(0))
            var now = dialMs
            for _ in 0..<20 {
                #expect(side.dials(at: at(now)) == [other.member.gossip])
                side.mesh.dialFailed(other.member.gossip, now: at(now))
                let waitMs = side.mesh.wake?.milliseconds(since: at(now)) ?? 0
                #expect(waitMs >= leastMs && waitMs <= leastMs + dialMs / 4)
                #expect(side.dials(at: at(now + max(1, waitMs) - 1)) == [])
                now += waitMs
            }
        }
    }

    @Test("waits after a link that was lost, the lower id less than the higher")
    mutating func lost() {
        for (side, other, leastMs) in [(low, high, dialMs / 4), (high, low, dialMs)] {
            var side = side
            side.learn(other, at: at(0))
            side.opened(1, dialled: other, at: at(0))
            side.greeted(1, by: other.hello, at: at(1))
            side.mesh.closed(LinkID(1), now: at(dialMs * 9), into: &side.effects)
            #expect(side.downs == [1])
            let waitMs = side.mesh.wake?.milliseconds(since: at(dialMs * 9)) ?? 0
            #expect(waitMs >= leastMs && waitMs <= leastMs + dialMs / 4)
            side.mesh.closed(LinkID(1), now: at(dialMs * 9), into: &side.effects)
            #expect(side.downs == [1], "a link is lost once")
        }
    }

    @Test("hangs up on the dead, and lets one that left speak its last words; dials neither")
    mutating func gone() {
        for state in [MemberState.dead, .left] {
            var side = low
            side.learn(high, at: at(0))
            side.opened(1, dialled: high, at: at(0))
            side.greeted(1, by: high.hello, at: at(1))
            side.learn(high, state: .suspect, at: at(2))
            #expect(side.link(to: high) == 1, "a suspect still has its say")
            side.learn(high, state: state, at: at(3))
            #expect(side.hungUp == (state == .dead ? [1] : []))
            side.mesh.closed(LinkID(1), now: at(4), into: &side.effects)
            #expect(side.downs == [1])
            #expect(side.mesh.wake == nil)
            #expect(side.dials(at: at(dialMs * 9)) == [])
            side.learn(high, at: at(dialMs * 9))
            #expect(side.dials(at: at(dialMs * 9)) == [high.member.gossip], "it came back")
        }
    }

    @Test("makes no links while this node leaves, and keeps those it has")
    mutating func leaving() {
        low.learn(high, at: at(0))
        low.opened(1, dialled: high, at: at(0))
        low.greeted(1, by: high.hello, at: at(1))
        low.mesh.leave()
        let other = Side(3)
        low.learn(other, at: at(2))
        low.opened(2, dialled: nil, at: at(2))
        #expect(low.hungUp == [2])
        #expect(low.link(to: high) == 1)
        #expect(low.dials(at: at(dialMs * 9)) == [])
    }
}
