import CRDT
import Testing

@testable import Gossip

@Suite("Versions of the protocol between peers")
struct VersionTests {
    @Test(
        "Two peers speak the highest version that both have, or none",
        arguments: [
            (1...1, 1...1, 1), (1...1, 1...9, 1), (1...3, 2...4, 3), (2...4, 1...9, 4), (3...3, 1...2, nil),
            (0...255, 255...255, 255),
        ] as [(Versions, Versions, UInt8?)])
    func common(mine: Versions, theirs: Versions, expected: UInt8?) {
        #expect(mine.highestCommon(with: theirs) == expected)
        #expect(theirs.highestCommon(with: mine) == expected)
    }

    @Test(
        "Two nodes of overlapping ranges join, and soon write to each other in the highest both have",
        arguments: [
            (1...1, 1...2, 1), (1...2, 1...1, 1), (1...2, 2...2, 2), (2...2, 1...2, 2), (1...3, 2...4, 3),
            (2...4, 1...3, 3), (1...2, 1...2, 2), (7...9, 9...12, 9),
        ] as [(Versions, Versions, UInt8)])
    func overlap(seed: Versions, joining: Versions, expected: UInt8) throws {
        var world = MembershipWorld()
        world.add(seeds: [], protocols: seed)
        world.add(seeds: [MembershipWorld.address(0)], protocols: joining)
        let ms = try #require(world.run(until: 5_000) { $0.isUnanimous })
        #expect(ms <= 2_000)
        world.run(milliseconds: 30_000)
        #expect(world.isUnanimous && world.changes.allSatisfy { $0.now == .alive })
        #expect(world.nodes[0].spoken[1]?.last == expected && world.nodes[1].spoken[0]?.last == expected)
        #expect(world.nodes[1].spoken[0]?.first == joining.lowerBound, "a stranger is addressed in the lowest")
        #expect(world.nodes.allSatisfy { $0.membership.counters.foreignVersion <= 3 }, "only at first")
        #expect(world.nodes.allSatisfy { node in !node.lines.contains { $0.contains("upgrade") } })
        #expect(world.nodes[0].membership.member(world.id(1))?.protocols == joining)
    }

    @Test("Two nodes without a common version stay apart; both logs say why, once in five minutes")
    func disjoint() {
        var world = MembershipWorld()
        world.add(seeds: [], protocols: 1...1)
        world.add(seeds: [MembershipWorld.address(0)], protocols: 2...3)
        for round in 1...3 {
            world.run(milliseconds: round == 1 ? 290_000 : 300_000)
            for (i, theirs) in [(0, "2...3"), (1, "1...1")] {
                let lines = world.nodes[i].lines.filter { $0.contains("speaks protocol \(theirs)") }
                #expect(lines.count == round, "\(lines)")
                #expect(world.nodes[i].membership.members.count == 1)
            }
        }
        #expect(world.nodes[0].membership.counters.foreignVersion > 300, "every announcement counts")
        #expect((1...3).contains(world.nodes[1].membership.counters.foreignVersion), "and is answered once a complaint")
    }

    @Test("Members without a common version know each other through one who speaks with both, who vouches for them")
    func mixed() throws {
        var world = MembershipWorld()
        world.add(seeds: [], protocols: 1...2)
        world.add(seeds: [MembershipWorld.address(0)], protocols: 1...1)
        world.add(seeds: [MembershipWorld.address(0)], protocols: 2...2)
        _ = try #require(world.run(until: 10_000) { $0.isUnanimous })
        world.run(milliseconds: 600_000)
        #expect(world.isUnanimous && world.changes.allSatisfy { $0.now == .alive }, "nobody is even suspected")
        #expect(world.nodes[1].spoken[2] == nil && world.nodes[2].spoken[1] == nil, "nothing is sent in vain")
        #expect(world.nodes[1].membership.counters.unspeakable > 100)
        #expect(world.nodes[1].lines.count { $0.contains("speaks protocol 2...2, this node 1...1") } == 1)
        #expect(world.nodes[2].lines.count { $0.contains("speaks protocol 1...1, this node 2...2") } == 1)
    }

    @Test("A cluster is upgraded peer by peer: the new version is spoken once both have it")
    func upgrade() throws {
        var world = MembershipWorld()
        var ids: [ReplicaID] = []
        for _ in 0..<3 { ids.append(world.add(seeds: [MembershipWorld.address(0)], durable: true, protocols: 1...1)) }
        _ = try #require(world.run(until: 10_000) { $0.isUnanimous })
        for i in 0..<3 {
            world.nodes[i].isUp = false
            world.run(milliseconds: 500)
            let seeds = (0..<3).map(MembershipWorld.address)
            world.add(
                seeds: seeds, at: MembershipWorld.address(i), durable: true, replica: ids[i], epoch: 2,
                protocols: 1...2)
            let ms = try #require(world.run(until: 20_000) { $0.isUnanimous })
            #expect(ms <= 10_000)
            world.run(milliseconds: 5_000)
        }
        let up = world.nodes.indices.filter { world.nodes[$0].isUp }
        for a in up { for b in up where a != b { #expect(world.nodes[a].spoken[b]?.last == 2, "\(a) to \(b)") } }
        #expect(world.changes.allSatisfy { $0.now != .dead }, "and nobody is called dead for it")
    }

    @Test("Facts cross between peers without a common version by way of one who speaks with both")
    func facts() {
        var world = LinkWorld(0)
        world.hasNetwork = true
        world.add(ReplicaID(10), protocols: 1...2)
        world.add(ReplicaID(5), protocols: 1...1)
        world.add(ReplicaID(20), protocols: 2...2)
        world.run(milliseconds: 10_000)
        #expect(world.isLinked(0, 1) && world.isLinked(0, 2) && !world.isLinked(1, 2) && !world.isLinked(2, 1))
        #expect(world.clusters[0].mesh.link(to: ReplicaID(5)).flatMap(world.clusters[0].mesh.version) == 1)
        #expect(world.clusters[0].mesh.link(to: ReplicaID(20)).flatMap(world.clusters[0].mesh.version) == 2)
        #expect(world.clusters.allSatisfy { $0.mesh.refused == 0 }, "nobody dials in vain")
        world.write(1, "old")
        world.write(2, "new")
        world.run(milliseconds: 10_000)
        #expect(world.agrees)
        for i in 0..<3 { #expect(world.texts(i).sorted() == ["new", "old"]) }
    }

    @Test("A link to a peer without a common version is refused before anything else of its hello is read")
    func refusedLink() {
        var world = LinkWorld(0)
        world.add(ReplicaID(1), protocols: 1...1)
        world.add(ReplicaID(2), protocols: 2...3)
        for _ in 1...3 {
            world.connect(0, 1)
            world.settle()
        }
        for (i, theirs) in [(0, "2...3"), (1, "1...1")] {
            #expect(world.clusters[i].mesh.linkedPeers.isEmpty)
            #expect(world.clusters[i].mesh.refused == 3 && world.clusters[i].mesh.incompatible == 3)
            #expect(world.clusters[i].badFrames == 0)
            let said = world.lines[i].filter { $0.text.contains("speaks protocol \(theirs)") }
            #expect(said.count { $0.severity == .warning } == 1, "once in a while: \(said)")
            #expect(said.count { $0.severity == .debug } == 2)
        }
    }

    @Test("Of an incompatible hello only the part that is the same in every version is read")
    func foreignHello() throws {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: Hello.magic)
        bytes.append(versions: 7...9)
        bytes.append(text: "garden")
        bytes.append(replica: ReplicaID(77))
        bytes += [0xff, 0xff, 0xff]
        var cursor = ByteCursor(bytes.span.bytes)
        let hello = try Hello(&cursor, bytes.span.bytes)
        #expect(hello.protocols == 7...9 && hello.cluster == "garden" && hello.member.replica == ReplicaID(77))
        var again = ByteCursor(bytes.span.bytes)
        #expect(throws: DecodeError.self) { try Hello(&again, bytes.span.bytes, speaking: 1...7) }
    }

    @Test("A peer is complained about once in five minutes, and of many only the latest are remembered")
    func complaints() {
        var complaints = Complaints()
        func isDue(_ id: UInt64, afterMs: UInt64) -> Bool {
            complaints.isDue(ReplicaID(id), now: Instant(milliseconds: 5_000 + afterMs))
        }
        #expect(isDue(1, afterMs: 0))
        #expect(isDue(2, afterMs: 1))
        #expect(!isDue(1, afterMs: Complaints.intervalMs - 1))
        #expect(isDue(1, afterMs: Complaints.intervalMs))
        for i in 100..<100 + UInt64(Complaints.limit) { #expect(isDue(i, afterMs: Complaints.intervalMs)) }
        #expect(isDue(1, afterMs: Complaints.intervalMs + 1), "forgotten for the others")
        #expect(!isDue(150, afterMs: Complaints.intervalMs + 1))
    }
}
