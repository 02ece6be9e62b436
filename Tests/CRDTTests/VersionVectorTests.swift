import CRDT
import Testing

private func vector(_ entries: (UInt64, UInt64)...) -> VersionVector {
    var vector = VersionVector()
    for (replica, sequence) in entries { vector.advance(ReplicaID(replica), to: sequence) }
    return vector
}

private func decoded(_ bytes: [UInt8]) throws(DecodeError) -> VersionVector {
    var cursor = ByteCursor(bytes.span.bytes)
    return try VersionVector(&cursor, bytes.span.bytes)
}

@Suite("A version vector")
struct VersionVectorTests {
    @Test("obeys the laws of a join")
    func laws() {
        let some = [
            vector(), vector((1, 1)), vector((1, 2)), vector((2, 1)), vector((1, 1), (2, 5)), vector((3, 9), (1, 3)),
        ]
        #expect(brokenLaw(some) == nil)
    }

    @Test("is the same after every order of what was read")
    func everyDelivery() {
        let reads: [(UInt64, UInt64)] = [(7, 1), (7, 3), (2, 4), (9, 1), (2, 2)]
        everyOrder(of: reads) { order in
            var it = VersionVector()
            for (replica, sequence) in order { it.advance(ReplicaID(replica), to: sequence) }
            #expect(it == vector((2, 4), (7, 3), (9, 1)))
            #expect(it.entries.map(\.replica.rawValue) == [2, 7, 9])
        }
    }

    @Test("never goes back, and does not list what was not read")
    func monotone() {
        var it = vector((1, 5))
        #expect(it.advance(ReplicaID(1), to: 4) == false)
        #expect(it.advance(ReplicaID(1), to: 5) == false)
        #expect(it.advance(ReplicaID(1), to: 6) == true)
        #expect(it.advance(ReplicaID(2), to: 0) == false)
        #expect(it.entries.count == 1)
        #expect(it[ReplicaID(1)] == 6)
        #expect(it[ReplicaID(2)] == 0)
    }

    @Test("covers what it joined, and nothing that is further along")
    func covers() {
        let (a, b) = (vector((1, 5), (2, 1)), vector((1, 4), (3, 2)))
        #expect(!a.covers(b))
        #expect(!b.covers(a))
        #expect(a.covers(a))
        #expect(a.covers(vector()))
        #expect(!vector().covers(a))
        var both = a
        both.merge(b)
        #expect(both.covers(a))
        #expect(both.covers(b))
    }

    @Test("has a hash that can be kept entry by entry, and differs where vectors do")
    func hash() {
        var random = Seeded(1)
        var (it, kept) = (VersionVector(), UInt64(0))
        var seen: [UInt64: VersionVector] = [:]
        for _ in 0..<2_000 {
            let replica = ReplicaID(UInt64.random(in: 1...20, using: &random))
            let next = it[replica] + UInt64.random(in: 1...3, using: &random)
            kept = kept &- VersionVector.hash64(replica, it[replica]) &+ VersionVector.hash64(replica, next)
            it.advance(replica, to: next)
            #expect(kept == it.hash64)
            #expect(seen.updateValue(it, forKey: kept) == nil, "two vectors with one hash")
        }
        #expect(VersionVector().hash64 == 0)
    }

    @Test("survives the wire")
    func wire() throws {
        for it in [vector(), vector((1, 1)), vector((.max, 1), (0, 300), (77, 1 << 61))] {
            var bytes: [UInt8] = []
            it.encode(into: &bytes)
            #expect(try decoded(bytes) == it)
            for cut in 0..<bytes.count {
                #expect(throws: DecodeError.truncated) { try decoded(Array(bytes[..<cut])) }
            }
        }
    }

    @Test("refuses from the wire what no vector writes")
    func hostile() {
        var many: [UInt8] = []
        many.append(varint: UInt64(VersionVector.maximumEntries) + 1)
        #expect(throws: DecodeError.tooLong(limit: VersionVector.maximumEntries)) { try decoded(many) }

        func pairs(_ entries: [(UInt64, UInt64)]) -> [UInt8] {
            var bytes: [UInt8] = []
            bytes.append(varint: UInt64(entries.count))
            for (replica, sequence) in entries {
                bytes.append(littleEndian: replica)
                bytes.append(varint: sequence)
            }
            return bytes
        }
        // Twice, out of order, not read at all, and beyond any sequence number that a log can reach.
        for entries in [[(5, 1), (5, 2)], [(6, 1), (5, 2)], [(5, 0)], [(5, .max)], [(5, 1 << 62)]]
            as [[(UInt64, UInt64)]]
        {
            #expect(throws: DecodeError.self, "\(entries)") { try decoded(pairs(entries)) }
        }
    }
}
