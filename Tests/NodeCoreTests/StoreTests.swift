import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("A durable node") struct StoreTests {
    @Test("Not even a datagram leaves before the first segment of a start is on the disk")
    func opening() throws {
        var world = try StoreWorld()
        world.isPrompt = false
        try #require(world.commits == 1)
        var fresh = world
        fresh.directory = MemoryDirectory()
        try fresh.restart()
        #expect(fresh.kinds.contains("wake"))
        // The same with a disk that does nothing.
        var silent = world
        silent.directory = MemoryDirectory()
        silent.settings.seeds = [Address(ipv4: 0x7f00_0002, port: 7946)]
        try silent.restartSilently()
        #expect(!silent.kinds.contains("datagram"))
        silent.work()
        #expect(silent.kinds.contains("datagram"))
    }

    @Test("A reply leaves when its event is on the disk, and what one turn brought goes there together")
    func groupCommit() throws {
        var world = try StoreWorld()
        world.isPrompt = false
        let before = world.replies.count
        for i in 1...3 { world.give(.request(RequestID(UInt64(900 + i)), .postEvent), StoreWorld.event(i)) }
        world.give(.turnEnded)
        #expect(world.replies.count == before)
        #expect(world.jobs.count == 1)
        // While the disk is busy, more piles up for the next commit; a read waits for what it has seen.
        world.give(.request(RequestID(910), .postEvent), StoreWorld.event(4))
        world.give(.request(RequestID(911), .events(.init(limit: 10))))
        world.give(.request(RequestID(912), .health(.init())))
        world.give(.turnEnded)
        #expect(world.jobs.count == 1)
        #expect(world.replies.map(\.request).last == 912)
        world.work()
        #expect(world.replies.suffix(3).map(\.status) == [201, 201, 201])
        world.give(.turnEnded)
        #expect(world.jobs.count == 1)
        world.work()
        #expect(world.replies.suffix(2).map(\.request) == [910, 911])
    }

    @Test("A datagram tells the digest of what is on the disk")
    func digest() throws {
        var world = try StoreWorld()
        #expect(world.post(1) == 201)
        #expect(world.core.cluster.syncedDigest == world.core.cluster.log.digest)
        world.isPrompt = false
        #expect(world.post(2) == nil)
        #expect(world.core.cluster.syncedDigest != world.core.cluster.log.digest)
        world.work()
        #expect(world.core.cluster.syncedDigest == world.core.cluster.log.digest)
    }

    @Test("A restart goes on under the same id with the next epoch, and shows what it showed")
    func restart() throws {
        var world = try StoreWorld()
        for i in 0..<50 { #expect(world.post(i, ["proposal", "reward", "penalty"][i % 3]) == 201) }
        let node = world.ask(.postNode, "{\"type\":\"agent\",\"data\":{\"a\":1,\"b\":[2]}}")?.text ?? ""
        let id = String(node.dropFirst(7).prefix(36))
        #expect(world.ask(.patchNode(id: id), "{\"data\":{\"a\":null,\"c\":\"d\"}}")?.status == 200)
        let replica = world.core.replica
        let before = world.everything()
        try world.restart()
        #expect(world.everything() == before)
        #expect(world.core.replica == replica)
        #expect(world.core.settings.epoch == 2)
        #expect(world.post(50) == 201)
        #expect(world.post(3) == 200)
        try world.restart()
        #expect(world.core.settings.epoch == 3)
        #expect(world.everything()[0].contains("p\(50 % 7)"))
    }

    @Test("What was not committed is not there after a crash")
    func crash() throws {
        var world = try StoreWorld()
        #expect(world.post(1) == 201)
        world.isPrompt = false
        #expect(world.post(2) == nil)
        try world.restart()
        #expect(!world.everything()[0].contains("000000000002\""))
        #expect(world.everything()[0].contains("000000000001\""))
    }

    @Test("Snapshots take the place of old segments, and a restart from them shows the same")
    func snapshots() throws {
        var world = try StoreWorld(segmentBytes: 16 << 10, retention: .init(bytes: 48 << 10))
        var most = 0
        for i in 0..<600 {
            #expect(world.post(i, i % 2 == 0 ? "proposal" : "reward", filler: 100) == 201)
            world.pass(milliseconds: 10, step: 2)
            most = max(most, world.directory.contents.values.reduce(0) { $0 + $1.count })
        }
        #expect(world.directory.contents.keys.filter { $0.kind == .snapshot }.count == 2)
        #expect(most < 400 << 10)
        let before = world.everything()
        for _ in 0..<3 {
            try world.restart()
            let after = world.everything()
            // The disk may hold a few events more than memory did.
            #expect(after[0].hasPrefix(before[0].dropLast()))
            #expect(after[1...] == before[1...])
        }
        // What is no longer held is still known by its id.
        #expect(world.core.cluster.log.start > 0)
        #expect(world.post(0, filler: 100) == 200)
        #expect(world.post(599, "reward", filler: 100) == 200)
        #expect(world.post(600) == 201)
    }

    @Test("A full disk refuses writes with 507, reads go on, and writes come back by themselves")
    func full() throws {
        var world = try StoreWorld()
        #expect(world.post(1) == 201)
        world.isFull = true
        // The first one has been taken in before the disk said no: it is answered when there is room.
        #expect(world.post(2) == nil)
        #expect(world.post(3) == 507)
        #expect(world.ask(.health(.init()))?.text.contains("read-only") == true)
        world.pass(milliseconds: 1_500, step: 100)
        #expect(world.post(3) == 507)
        world.isFull = false
        world.pass(milliseconds: 1_500, step: 100)
        #expect(world.replies.contains { $0.status == 201 && $0.text.contains("000000000002\"") })
        #expect(world.post(3) == 201)
        try world.restart()
        for i in 1...3 { #expect(world.everything()[0].contains("00000000000\(i)\"")) }
    }

    @Test("A torn commit is dropped and told; alone, the node goes on under a new id")
    func torn() throws {
        var world = try StoreWorld()
        for i in 0..<5 { world.post(i) }
        let replica = world.core.replica
        let before = world.everything()
        let file = world.directory.contents.keys.max()!
        var other = try StoreWorld()
        _ = other
        world.isPrompt = false
        world.post(5)
        guard case .commit(let bytes)? = world.jobs.first else {
            Issue.record("no commit")
            return
        }
        for kept in [1, 11, 12, 40, bytes.count - 1] {
            var torn = world
            torn.directory.contents[file]! += bytes.prefix(kept)
            try torn.restart()
            #expect(torn.everything() == before)
            #expect(torn.core.replica != replica)
            #expect(torn.lines.contains { $0.contains("not whole") })
            #expect(torn.post(6) == 201)
            let after = torn.everything()
            try torn.restart()
            #expect(torn.everything() == after)
        }
        other.pass(milliseconds: 10)
    }

    @Test("With peers to ask, a node with a torn end writes nothing until one has answered or the time is up")
    func doubt() throws {
        var world = try StoreWorld(seeds: [Address(ipv4: 0x7f00_0002, port: 7946)])
        world.post(1)
        let replica = world.core.replica
        let file = world.directory.contents.keys.max()!
        world.directory.contents[file]! += [1, 2, 3]
        try world.restart()
        #expect(world.core.replica == replica)
        #expect(world.post(2) == 503)
        world.pass(milliseconds: 15_000, step: 100)
        #expect(world.core.replica != replica)
        #expect(world.post(2) == 201)
        let before = world.everything()
        try world.restart()
        #expect(world.everything() == before)
    }

    @Test("A newer format and another cluster are refused by name")
    func refusals() throws {
        var world = try StoreWorld()
        world.post(1)
        let file = world.directory.contents.keys.max()!
        var newer: [UInt8] = Array("HYPHALOG".utf8)
        newer.append(littleEndian: UInt32(7))
        newer.append(littleEndian: CRC32C.sum(newer.span.bytes))
        world.directory.contents[file]!.replaceSubrange(0..<16, with: newer)
        var refused = world
        #expect { try refused.restart() } throws: { ($0 as? StoreError)?.message.contains("version 7") == true }
        world = try StoreWorld()
        world.settings.cluster = "other"
        #expect { try world.restart() } throws: { ($0 as? StoreError)?.cause == .otherCluster }
    }

    @Test("CRC-32C of the check string, whole and in two parts")
    func checksum() {
        let text = Array("123456789".utf8)
        #expect(CRC32C.sum(text.span.bytes) == 0xe306_9283)
        for cut in 0...9 {
            let first = CRC32C.sum(text.span.bytes.extracting(0..<cut))
            #expect(CRC32C.sum(text.span.bytes.extracting(cut..<9), after: first) == 0xe306_9283)
        }
    }
}

extension StoreWorld {
    /// A restart with a disk that does nothing yet.
    mutating func restartSilently() throws {
        kinds.removeAll()
        core = try NodeCore.open(
            settings, &directory, .init(freshReplica: ReplicaID(0xc1)), wallMilliseconds: Self.wallMs, now: now,
            dice: Dice(seed: 99)
        ) { _, _ in }
        isPrompt = false
        give(.tick)
        give(.turnEnded)
    }
}
