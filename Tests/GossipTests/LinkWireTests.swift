import CRDT
import Testing

@testable import Gossip

/// A hello with something in every field.
private func sampleHello() -> Hello {
    var log = FactLog(me: ReplicaID(3), retention: .init(bytes: 1 << 20))
    for text in ["one", "two"] { _ = log.write(.sempEvent, time: 5, body: Array(text.utf8).span.bytes) }
    let slot = log.slot(of: ReplicaID(1))
    log.skip(slot: slot, to: 300, hash: 0xfeed)
    let member = Member(
        replica: ReplicaID(3), name: "adä", gossip: Address(ipv4: 0x7f00_0001, port: 7946), http: "127.0.0.1:5000",
        incarnation: Incarnation(epoch: 300, counter: 2), isDurable: true, nonce: 0xabcd)
    var collected = VersionVector()
    collected.advance(ReplicaID(1), to: 12)
    let greeting = Mesh.Greeting(
        member: member, clockMs: 1_740_000_000_000, lastTime: 77 << 16, startedMs: 1_739_999_000_000, members: 7,
        lowest: ReplicaID(2), collected: collected)
    return Hello(cluster: "garden", greeting: greeting, log: log)
}

private func encoded(_ hello: Hello) -> [UInt8] {
    var bytes: [UInt8] = []
    hello.encode(into: &bytes)
    return bytes
}

private func frame(_ type: Frame.FrameType, _ body: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    let start = Frame.begin(type, into: &bytes)
    bytes += body
    _ = Frame.end(start, into: &bytes)
    return bytes
}

/// Everything a facts frame's body says, as "replica/sequence:entry".
private func facts(_ body: [UInt8]) throws(DecodeError) -> [String] {
    var cursor = ByteCursor(body.span.bytes)
    var reader = FactsReader()
    var found: [String] = []
    while let entry = try reader.next(&cursor, body.span.bytes) {
        let bytes = body.span.bytes.extracting(entry.range).withUnsafeBytes { Array($0) }
        found.append("\(entry.replica.rawValue)/\(entry.sequence):\(bytes)")
    }
    return found
}

@Suite("What goes over a link")
struct LinkWireTests {
    @Test("A hello survives the wire, and fields of a newer version behind it are skipped")
    func hello() throws {
        let hello = sampleHello()
        for bytes in [encoded(hello), encoded(hello) + [1, 2, 3]] {
            var cursor = ByteCursor(bytes.span.bytes)
            let read = try Hello(&cursor, bytes.span.bytes)
            #expect(read.protocols == Frame.protocols)
            #expect(read.cluster == "garden")
            #expect(read.member == hello.member)
            #expect(read.clockMs == hello.clockMs)
            #expect(read.lastTime == hello.lastTime)
            #expect(read.startedMs == 1_739_999_000_000)
            #expect(read.members == 7 && read.lowest == ReplicaID(2))
            #expect(read.collected == hello.collected && read.collected[ReplicaID(1)] == 12)
            #expect(read.head == 2)
            #expect(read.vector == hello.vector)
            #expect(read.hashes == hello.hashes)
            #expect(read.hashes.first == 0xfeed)
            #expect(read.hashes.count == 2)
        }
    }

    @Test("A hello cut anywhere is refused")
    func helloCut() {
        let bytes = encoded(sampleHello())
        for cut in 0..<bytes.count {
            var cursor = ByteCursor(0..<cut)
            #expect(throws: DecodeError.truncated) { try Hello(&cursor, bytes.span.bytes) }
        }
    }

    @Test("A hello with another magic or an upside-down protocol range is refused")
    func helloRefused() {
        for (at, value) in [(0, 0x41), (3, 0x51), (4, 9)] as [(Int, UInt8)] {
            var bytes = encoded(sampleHello())
            bytes[at] = value
            var cursor = ByteCursor(bytes.span.bytes)
            #expect(throws: DecodeError.self) { try Hello(&cursor, bytes.span.bytes) }
        }
    }

    @Test("A frame says its type and body, and one flipped bit anywhere is noticed")
    func frames() throws {
        let bytes = frame(.have, [9, 8, 7])
        let (type, cursor) = try Frame.open(bytes.span.bytes)
        #expect(type == .have)
        #expect(Array(bytes[cursor.offset..<cursor.end]) == [9, 8, 7])
        for bit in 0..<bytes.count * 8 {
            var flipped = bytes
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: DecodeError.badChecksum) { try Frame.open(flipped.span.bytes) }
        }
        for cut in 0..<bytes.count {
            #expect(throws: DecodeError.self) { try Frame.open(Array(bytes[..<cut]).span.bytes) }
        }
    }

    @Test("A frame under a key that nobody has is refused")
    func keyed() {
        var bytes: [UInt8] = []
        let start = Frame.begin(.ping, into: &bytes)
        bytes[5] = 1
        _ = Frame.end(start, into: &bytes)
        #expect(throws: DecodeError.badValue(field: "key id")) { try Frame.open(bytes.span.bytes) }
    }

    @Test("Entries survive the wire: each log in order, interleaved as they were applied")
    func factsRoundTrip() throws {
        var log = FactLog(me: ReplicaID(1), retention: .init(bytes: 1 << 20))
        var other = FactLog(me: ReplicaID(2), retention: .init(bytes: 1 << 20))
        var dice = Dice(seed: 4)
        var expected: [String] = []
        for i in 0..<60 {
            var position = i
            if dice.below(3) == 0 {
                let theirs = other.write(.put, time: UInt64(i), body: Array("b\(i)".utf8).span.bytes)
                let slot = log.slot(of: other.me)
                position = other.read(theirs) { log.adopt(slot: slot, time: UInt64(i), entry: $0) }
            } else {
                position = log.write(.sempEvent, time: UInt64(i), body: Array("a\(i)".utf8).span.bytes)
            }
            let record = log.record(at: position)
            let bytes = log.read(position) { $0.withUnsafeBytes { Array($0) } }
            expected.append("\(log.replica(in: Int(record.slot)).rawValue)/\(record.sequence):\(bytes)")
        }
        var body: [UInt8] = []
        var writer = FactsWriter()
        #expect(writer.isEmpty)
        for position in 0..<60 { writer.append(position, of: log, into: &body) }
        #expect(!writer.isEmpty)
        #expect(try facts(body) == expected)

        // A cut between two items is a shorter frame, which no checksum lets through; elsewhere it is refused.
        for cut in 0..<body.count {
            let read = try? facts(Array(body[..<cut]))
            #expect(read.map { expected.starts(with: $0) } ?? true)
        }
    }

    @Test(
        "Entries that no writer writes are refused",
        arguments: [
            [1, 0], [2], [0], [0, 1, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 5, 0],
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0],
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] as [[UInt8]])
    func hostileFacts(body: [UInt8]) {
        #expect(throws: DecodeError.self) { try facts(body) }
    }

    @Test("An entry's fixed part is read back, whatever its kind, and its body is the rest")
    func fact() throws {
        var bytes: [UInt8] = []
        let causes = [
            VersionVector.Entry(replica: ReplicaID(5), sequence: 1), .init(replica: ReplicaID(4), sequence: 1 << 40),
        ]
        Fact.encodeHeader(kind: .init(rawValue: 200), time: 0x1234_5678, dependencies: causes, into: &bytes)
        let header = bytes.count
        bytes += [1, 2, 3]
        let fact = try Fact(bytes.span.bytes)
        #expect(fact.kind == Fact.Kind(rawValue: 200))
        #expect(fact.time == 0x1234_5678)
        #expect(fact.dependencyCount == 2)
        #expect(fact.body == header..<header + 3)
        for cut in 0..<header {
            #expect(throws: DecodeError.truncated) { try Fact(Array(bytes[..<cut]).span.bytes) }
        }
        var many: [UInt8] = Array(repeating: 0, count: 9)
        many.append(varint: UInt64(Fact.maximumDependencies) + 1)
        #expect(throws: DecodeError.tooLong(limit: Fact.maximumDependencies)) { try Fact(many.span.bytes) }
    }
}
