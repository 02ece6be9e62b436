import CRDT
import Testing

@testable import Gossip

private func type(_ frame: [UInt8]) -> Frame.FrameType? { try? Frame.open(frame.span.bytes).0 }

private func vector(_ entries: (UInt64, UInt64)...) -> VersionVector {
    entries.reduce(into: VersionVector()) { $0.advance(ReplicaID($1.0), to: $1.1) }
}

private func confirm(_ body: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    let start = Frame.begin(.confirm, into: &bytes)
    bytes += body
    _ = Frame.end(start, into: &bytes)
    return bytes
}

extension LinkWorld {
    fileprivate func readers(_ i: Int, of place: VersionVector) -> [UInt64] {
        clusters[i].replication.readers(of: place).map(\.peer.rawValue)
    }

    /// Durable nodes, linked each to each, that have read an entry of each.
    fileprivate static func settled(_ count: Int, durable: Set<Int> = []) -> LinkWorld {
        var world = LinkWorld(0)
        for i in 0..<count { world.add(ReplicaID(UInt64(i + 1)), isDurable: durable.contains(i)) }
        world.linkAll()
        for i in 0..<count { world.write(i, "first of \(i)") }
        world.run(milliseconds: 3_000)
        return world
    }
}

@Suite("Confirming")
struct ConfirmTests {
    @Test("is asked for in a frame of its own, and answered in the input that brings the entry")
    func prompt() {
        var world = LinkWorld.settled(3)
        world.write(0, "one")
        world.ask(0, for: vector((1, 2)), durableOnly: false)
        #expect(world.frames(0, 1).map(type) == [.facts, .confirm])
        world.deliver(0, 1)
        #expect(world.frames(1, 0).isEmpty, "without being asked it tells later")
        world.deliver(0, 1)
        #expect(world.frames(1, 0).map(type) == [.have])
        let before = world.clusters[0].replication.words
        world.deliver(1, 0)
        #expect(world.clusters[0].replication.words != before)
        #expect(world.readers(0, of: vector((1, 2))) == [2])
        #expect(
            world.clusters[0].replication.heads(of: ReplicaID(1)).map { "\($0.reader.peer.rawValue):\($0.head)" }
                .sorted()
                == ["2:2", "3:1"])
        // What has been said is not said again, and the next entry is not confirmed unless that is asked for, too.
        world.ask(0, for: vector((1, 2)), durableOnly: false)
        #expect(world.frames(0, 1).isEmpty)
        world.settle()
        world.write(0, "two")
        world.deliver(0, 1)
        #expect(world.frames(1, 0).isEmpty)
    }

    @Test("waits for an entry that is still to come, from whomever, and then is done")
    func later() {
        var world = LinkWorld.settled(3)
        world.write(1, "from another")
        world.deliver(1, 0)
        world.ask(0, for: vector((2, 2)), durableOnly: false)
        world.deliver(0, 2)
        #expect(world.frames(2, 0).isEmpty)
        #expect(world.clusters[2].replication.links.filter(\.isAsked).map(\.peer) == [ReplicaID(1)])
        world.deliver(1, 2)
        #expect(world.frames(2, 0).map(type) == [.have])
        #expect(world.frames(2, 1).isEmpty)
        world.deliver(2, 0)
        #expect(world.readers(0, of: vector((2, 2))) == [3])
        #expect(world.clusters[2].replication.links.allSatisfy { !$0.isAsked })
        #expect(!world.clusters[2].replication.hasAskers)
    }

    @Test("says nothing of an entry that waits for its cause, and all at once when that has come")
    func heldBack() {
        var world = LinkWorld.settled(3)
        world.write(1, "cause")
        world.deliver(1, 0)
        world.write(0, "effect")
        world.ask(0, for: vector((1, 2)), durableOnly: false)
        world.deliver(0, 2)
        world.deliver(0, 2)
        #expect(world.clusters[2].replication.waitingBytes > 0 && world.frames(2, 0).isEmpty)
        world.deliver(1, 2)
        #expect(world.frames(2, 0).map(type) == [.have])
        world.deliver(2, 0)
        #expect(world.readers(0, of: vector((1, 2), (2, 2))) == [3])
    }

    @Test("is asked of durable peers only where only they count, and of a link that comes up later")
    func durable() {
        var world = LinkWorld.settled(3, durable: [1])
        world.disconnect(0, 1)
        world.write(0, "one")
        world.ask(0, for: vector((1, 2)), durableOnly: true)
        #expect(world.frames(0, 2).map(type) == [.facts])
        world.connect(0, 1)
        world.settle()
        let readers = world.clusters[0].replication.readers(of: vector((1, 2)))
        #expect(readers == [Replication.Reader(peer: ReplicaID(2), isDurable: true)])
        // Nobody waits any more: the next link is not asked.
        world.stopAsking(0)
        world.disconnect(0, 1)
        world.write(0, "two")
        world.connect(0, 1)
        world.settle()
        #expect(world.readers(0, of: vector((1, 3))).isEmpty)
    }

    @Test("stands as the last word of a durable peer whose link is gone, until it speaks again or is forgotten")
    func lastWord() {
        var world = LinkWorld.settled(3, durable: [1])
        #expect(world.readers(0, of: vector((1, 1))) == [2, 3])
        world.disconnect(0, 1)
        world.disconnect(0, 2)
        #expect(world.readers(0, of: vector((1, 1))) == [2])
        #expect(world.readers(0, of: vector((1, 2))).isEmpty)
        world.connect(0, 1)
        world.settle()
        #expect(world.clusters[0].replication.lastWords.isEmpty)
        #expect(world.readers(0, of: vector((1, 1))) == [2])
        // Another process has its address: its disk is gone, or comes back elsewhere and starts anew.
        world.disconnect(0, 1)
        world.restart(1, as: ReplicaID(20), isDurable: true)
        world.connect(0, 1)
        world.run(milliseconds: 2_000)
        #expect(world.readers(0, of: vector((1, 1))) == [20])
        #expect(world.clusters[0].replication.lastWords.isEmpty)
    }

    @Test("is remembered for so many logs of one link and no more, and hostile requests are refused")
    func bounds() throws {
        var world = LinkWorld.settled(2)
        let link = try #require(world.linkID(1, 0))
        var many = VersionVector()
        for i in 0..<2_000 { many.advance(ReplicaID(UInt64(1_000 + i)), to: 5) }
        var body: [UInt8] = []
        many.encode(into: &body)
        for _ in 0..<2 { world.give(.linkFrame(link), confirm(body), to: 1) }
        #expect(world.clusters[1].replication.links.map { $0.asked.entries.count } == [Replication.maximumAsked])
        // A log that is remembered may be asked for further on.
        body = []
        vector((1_000, 7)).encode(into: &body)
        world.give(.linkFrame(link), confirm(body), to: 1)
        #expect(world.clusters[1].replication.links.map { $0.asked[ReplicaID(1_000)] } == [7])
        #expect(world.clusters[1].replication.counters.badFrames == 0)
        for bad in [[], [1], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0xff, 0xff, 0xff, 0x7f]] as [[UInt8]] {
            var world = LinkWorld.settled(2)
            let link = try #require(world.linkID(1, 0))
            world.give(.linkFrame(link), confirm(bad), to: 1)
            #expect(world.clusters[1].replication.counters.badFrames == 1 && !world.isLinked(1, 0))
        }
    }

    @Test("leaves all frames as they are while nobody asks")
    func quiet() {
        var world = LinkWorld.settled(3)
        var seen: Set<UInt8> = []
        for round in 0..<20 {
            world.write(round % 3, "entry \(round)")
            for a in 0..<3 { for b in 0..<3 { seen.formUnion(world.frames(a, b).compactMap { type($0)?.rawValue }) } }
            world.run(milliseconds: 300)
        }
        #expect(seen == [Frame.FrameType.facts.rawValue])
        #expect(world.agrees)
    }

    @Test("among nodes whose members are expected: not those that left, and not those replaced at their address")
    func expected() {
        var world = LinkWorld(1, profile: .fast)
        world.hasNetwork = true
        for i in 1..<4 { world.add(ReplicaID(UInt64(i + 1)), isDurable: i == 3) }
        world.run(milliseconds: 2_000)
        func names(_ world: LinkWorld) -> [UInt64] { world.clusters[0].expected.map(\.replica.rawValue).sorted() }
        #expect(names(world) == [1, 2, 3, 4])
        world.give(.leave, to: 1)
        world.isDown = [3]
        world.run(milliseconds: 10_000)
        #expect(world.clusters[0].membership.member(ReplicaID(4))?.state == .dead)
        #expect(names(world) == [1, 3, 4], "the dead one comes back with its disk")
        world.restart(2, as: ReplicaID(30))
        world.run(milliseconds: 10_000)
        #expect(names(world) == [1, 4, 30])
        world.restart(3, as: ReplicaID(40), isDurable: true)
        world.run(milliseconds: 5_000)
        #expect(names(world) == [1, 30, 40], "its disk is gone, or comes back elsewhere and starts anew")
    }
}
