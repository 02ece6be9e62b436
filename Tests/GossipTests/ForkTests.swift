import CRDT
import Testing

@testable import Gossip

/// Two peers of which the second has all of the first's log, and the first starts again under its old id with nothing.
private func restored() -> LinkWorld {
    var world = LinkWorld(2)
    world.connect(0, 1)
    world.settle()
    for i in 1...5 { world.write(0, "entry \(i)") }
    world.settle()
    world.restart(0, as: ReplicaID(1))
    return world
}

/// Two copies of log 99, equal up to the third entry and then different; each is read by one peer that the writer of
/// the other copy never met. Peer 0 has id 1, peer 1 has id 2.
private func forkedThirdParty(lengths: [Int]) -> LinkWorld {
    var world = LinkWorld(2)
    world.add(ReplicaID(99))
    world.add(ReplicaID(99))
    world.connect(0, 2)
    world.connect(1, 3)
    world.settle()
    for (reader, writer) in [(0, 2), (1, 3)] {
        for i in 1...lengths[reader] { world.write(writer, i <= 3 ? "both \(i)" : "\(writer) wrote \(i)") }
        world.settle()
        world.disconnect(reader, writer)
    }
    return world
}

@Suite("A forked log")
struct ForkTests {
    @Test("that is longer at a peer than at its writer makes the writer start anew, before it writes again")
    func ownLogLonger() throws {
        var world = restored()
        world.connect(0, 1)
        world.settle()
        let reset = try #require(world.resets[0].first)
        #expect(reset.cause == .forked && reset.side == ReplicaID(2))
        #expect(reset.known[ReplicaID(1)] == 5)
        #expect(world.resets[1].isEmpty)
        #expect(world.clusters[0].log.head(of: 0) == 0, "nothing of the lost log is taken for its own")
    }

    @Test("that went on under its old id makes the writer start anew as long as it is shorter")
    func ownLogShorter() {
        var world = restored()
        world.write(0, "another first")
        world.connect(0, 1)
        world.settle()
        #expect(world.resets[0].first?.cause == .forked)
    }

    @Test("counts as its living writer has it, once that is as long: the reader starts anew", arguments: [5, 9])
    func ownersCopyCounts(length: Int) throws {
        var world = restored()
        for i in 1...length { world.write(0, "another \(i)") }
        world.connect(0, 1)
        world.settle()
        #expect(world.resets[0].isEmpty)
        let reset = try #require(world.resets[1].first)
        #expect(reset.cause == .forked && reset.side == ReplicaID(1))
        #expect(world.clusters[1].replication.counters.forks > 0)
        #expect(!world.states[1].contains("another 1"), "nothing is mixed in before that")
    }

    @Test("that a peer sends more of than its writer has makes the writer start anew, also without a hello")
    func entriesOfOwn() {
        var world = LinkWorld(2)
        let link = world.connect(0, 1)
        world.settle()
        world.write(0, "mine")
        world.settle()
        var body: [UInt8] = []
        Fact.encodeHeader(kind: .sempEvent, time: 1 << 16, dependencies: [], into: &body)
        var frame: [UInt8] = []
        let start = Frame.begin(.facts, into: &frame)
        frame.append(0)
        frame.append(replica: ReplicaID(1))
        frame.append(varint: 2)
        frame.append(1)
        frame.append(varint: UInt64(body.count))
        frame += body
        _ = Frame.end(start, into: &frame)
        world.give(.linkFrame(link), frame, to: 0)
        #expect(world.resets[0].map(\.cause) == [.forked])
        #expect(world.clusters[0].log.head(of: 0) == 1)
    }

    @Test(
        "that two others read makes the higher id start anew, whichever has read more",
        arguments: [[5, 5], [4, 9], [9, 4]])
    func thirdParty(lengths: [Int]) {
        var world = forkedThirdParty(lengths: lengths)
        world.connect(0, 1)
        world.settle()
        #expect(world.resets[0].isEmpty)
        #expect(world.resets[1].first?.cause == .forked)
        #expect(world.resets[1].first?.side == ReplicaID(1))
        for i in 0...1 {
            let log = world.clusters[i].log
            #expect(log.head(of: ReplicaID(99)) == UInt64(lengths[i]), "neither takes the other's for the rest of its")
        }
    }

    @Test("that is equal as far as both have read is none")
    func noFork() {
        var world = forkedThirdParty(lengths: [3, 2])
        world.connect(0, 1)
        world.settle()
        #expect(world.resets.joined().isEmpty)
        #expect(world.clusters[1].log.head(of: ReplicaID(99)) == 3)
        #expect(world.clusters.prefix(2).map(\.replication.counters.forks) == [0, 0])
    }

    @Test("is found while the link stands, when probes carry other digests")
    func whileLinked() {
        var world = LinkWorld(0, profile: .fast)
        world.hasNetwork = true
        for id in 1...2 as ClosedRange<UInt64> { world.add(ReplicaID(id)) }
        world.run(milliseconds: 1_000)
        // One entry under one number that says something else to each: a writer that breaks every rule.
        for (reader, text) in [(0, "one"), (1, "another")] {
            let link = world.linkID(0, 1)!
            world.give(.linkFrame(link), Self.fact(of: ReplicaID(99), 1, text), to: reader)
        }
        #expect(world.states[0] == ["one"] && world.states[1] == ["another"])
        world.run(milliseconds: 1_000)
        #expect(world.resets[0].isEmpty)
        #expect(world.resets[1].first?.cause == .forked)
    }

    private static func fact(of replica: ReplicaID, _ sequence: UInt64, _ text: String) -> [UInt8] {
        var entry: [UInt8] = []
        Fact.encodeHeader(kind: .sempEvent, time: LinkWorld.startMs << 16, dependencies: [], into: &entry)
        entry += Array(text.utf8)
        var frame: [UInt8] = []
        let start = Frame.begin(.facts, into: &frame)
        frame.append(0)
        frame.append(replica: replica)
        frame.append(varint: sequence)
        frame.append(1)
        frame.append(varint: UInt64(entry.count))
        frame += entry
        _ = Frame.end(start, into: &frame)
        return frame
    }
}

@Suite("Twins: two processes under one id")
struct TwinTests {
    @Test("find each other, and the one that started later takes another id")
    func later() throws {
        for order in [[0, 1], [1, 0]] {
            var world = LinkWorld(0)
            world.add(ReplicaID(7))
            world.run(milliseconds: 500)
            world.add(ReplicaID(7))
            world.run(milliseconds: 500)
            world.connect(order[0], order[1])
            world.settle()
            #expect(world.resets[0].isEmpty)
            let reset = try #require(world.resets[1].first)
            #expect(reset.cause == .cloned && reset.side == nil)
            #expect(reset.known == VersionVector(), "whatever it wrote is submitted again")
            #expect(!world.isLinked(0, 1))
        }
    }

    @Test("that started at the same moment are told apart by their nonces")
    func sameMoment() {
        var world = LinkWorld(0)
        for _ in 0..<2 { world.add(ReplicaID(7)) }
        world.connect(0, 1)
        world.settle()
        #expect(world.resets[0].isEmpty && world.resets[1].map(\.cause) == [.cloned])
    }

    @Test("hear of each other through a third, and look")
    func throughThird() {
        var world = LinkWorld(0, profile: .fast)
        world.hasNetwork = true
        world.add(ReplicaID(1))
        world.add(ReplicaID(7))
        world.run(milliseconds: 2_000)
        world.add(ReplicaID(7))
        world.run(milliseconds: 3_000)
        #expect(world.resets[0].isEmpty && world.resets[1].isEmpty)
        #expect(world.resets[2].first?.cause == .cloned)
    }

    @Test("do not include a node that meets itself")
    func mirror() {
        var world = LinkWorld(1)
        world.connect(0, 0)
        world.settle()
        #expect(world.resets[0].isEmpty)
    }
}
