import Testing

@testable import CRDT

@Suite("Documents in chunks")
struct DocumentChunkTests {
    @Test("All chunks of a map make the same map, whatever their size", arguments: [1, 40, 333, 1_000, 1 << 20])
    func roundTrip(limit: Int) throws {
        var puts = RandomPuts(seed: UInt64(limit))
        var (it, other) = (DocumentMap(), DocumentMap())
        for i in 0..<200 {
            let put = puts.next(through: 1...300)
            try put.apply(to: &it)
            if i.isMultiple(of: 3) { try puts.next(through: 1...300).apply(to: &other) }
        }
        let chunks = it.chunks(atMost: limit)
        #expect(limit < 100 ? chunks.count > 10 : limit > 1 << 19 ? chunks.count == 1 : chunks.count > 1)
        // 300 bytes of value, its field and document with all their stamps: one register may be that much above.
        #expect(chunks.allSatisfy { $0.count <= max(limit, 420) })
        var copy = DocumentMap()
        for chunk in chunks { try copy.merge(chunk: chunk.span.bytes) }
        #expect(copy == it && copy.hash == it.hash && copy.tombstoneCount == it.tombstoneCount)

        // Into what holds something else already, in any order, some of them twice.
        var (joined, merged) = (other, other)
        for chunk in chunks.reversed() + chunks { try joined.merge(chunk: chunk.span.bytes) }
        merged.merge(it)
        #expect(joined == merged && joined.hash == merged.hash)
        for chunk in chunks { #expect(try joined.merge(chunk: chunk.span.bytes) == false) }
    }

    @Test("One huge document travels in parts, and each call goes on where the last one stopped")
    func huge() throws {
        var it = DocumentMap()
        for start in stride(from: 0, to: 20_000, by: 1_000) {
            let fields = (start..<start + 1_000).map { DocumentMap.Change.set(field: "field \($0)", value: [1, 2, 3]) }
            try Put("huge", [.create] + fields, stamp(10)).apply(to: &it)
        }
        let chunks = it.chunks(atMost: 8_192)
        #expect(chunks.allSatisfy { $0.count <= 8_192 })
        let total = chunks.reduce(0) { $0 + $1.count }
        #expect(total < 20_000 * 35 && chunks.count < 100, "nothing is sent twice")
        var copy = DocumentMap()
        for chunk in chunks { try copy.merge(chunk: chunk.span.bytes) }
        #expect(copy == it)
    }

    @Test("A walk while writes go on misses nothing that was there and still is", arguments: 0..<20 as Range<UInt64>)
    func whileWritesGoOn(seed: UInt64) throws {
        var dice = Seeded(seed)
        var it = DocumentMap()
        var ms: UInt64 = 1
        func field() -> String { "field \(Int.random(in: 0..<40, using: &dice))" }
        for _ in 0..<400 {
            ms += 1
            try Put("d\(Int.random(in: 0..<6, using: &dice))", [.create, .set(field: field(), value: [1])], stamp(ms))
                .apply(to: &it)
        }
        let names = (0..<6).map { "d\($0)" }
        let before = it.shown(names)
        var (walk, copy) = (DocumentMap.Walk(), DocumentMap())
        while true {
            var chunk: [UInt8] = []
            let goesOn = it.encodeChunk(&walk, atMost: 150, into: &chunk)
            try copy.merge(chunk: chunk.span.bytes)
            guard goesOn else { break }
            // Fields are removed and forgotten, so that their slots hold others when the walk comes by.
            for _ in 0..<3 {
                ms += 1
                try Put("d\(Int.random(in: 0..<6, using: &dice))", [.unset(field: field())], stamp(ms)).apply(to: &it)
            }
            it.collect(through: stamp(ms).time, atMost: 3)
            ms += 1
            try Put("x\(ms % 9)", [.create, .set(field: field(), value: [2])], stamp(ms)).apply(to: &it)
        }
        for name in names {
            for field in before[name]?.fields ?? [] where it.value(of: field.name, in: name) != nil {
                #expect(copy.value(of: field.name, in: name) != nil, "\(name) \(field.name)")
            }
        }
    }

    @Test("A walk goes on after the field it sent last is gone, and after its document's fields were numbered anew")
    func lostPlace() throws {
        var it = try documents([
            Put("d", [.create] + (0..<9).map { .set(field: "\($0)", value: [0]) }, stamp(10))
        ])
        it.documents[0].births = .max - 1
        var last = it.documents[0].first
        while it.registers[last].following != noSlot { last = it.registers[last].following }
        it.registers[last].birth = .max - 2
        var (walk, copy) = (DocumentMap.Walk(), DocumentMap())
        func next() throws -> Bool {
            var chunk: [UInt8] = []
            let goesOn = it.encodeChunk(&walk, atMost: 1, into: &chunk)
            try copy.merge(chunk: chunk.span.bytes)
            return goesOn
        }
        for _ in 0..<4 { #expect(try next()) }
        try Put("d", [.unset(field: "3")], stamp(20)).apply(to: &it)
        #expect(it.collect(through: stamp(20).time, atMost: 1) == 1)
        #expect(try next())
        #expect(copy.fields(of: "d").map(\.name) == ["0", "1", "2", "3", "4"], "on to the next one, not back")
        try Put("d", [.set(field: "a", value: [0]), .set(field: "b", value: [0])], stamp(30)).apply(to: &it)
        #expect(it.documents[0].births < 20, "numbered anew")
        try Put("d", [.unset(field: "4")], stamp(40)).apply(to: &it)
        it.collect(through: stamp(40).time, atMost: 1)
        while try next() {}
        #expect(copy.fields(of: "d").map(\.name) == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "a", "b"])
    }

    @Test("A walk over some buckets brings their documents and no others")
    func buckets() throws {
        var it = DocumentMap()
        for i in 0..<3_000 {
            try Put("document \(i)", [.create, .set(field: "f", value: [1])], stamp(10)).apply(to: &it)
        }
        let wanted: Set = [0, 7, 255]
        var copy = DocumentMap()
        for chunk in it.chunks(atMost: 200, DocumentMap.Walk(buckets: wanted)) {
            try copy.merge(chunk: chunk.span.bytes)
        }
        #expect(copy.count > 10 && copy.count < 100)
        for bucket in 0..<DocumentMap.bucketCount {
            #expect(copy.hash(ofBucket: bucket) == (wanted.contains(bucket) ? it.hash(ofBucket: bucket) : 0))
        }
    }

    @Test("A malformed chunk changes nothing: cut anywhere, with a byte changed, or with lengths beyond all bounds")
    func malformed() throws {
        let it = try documents([
            Put("d", [.create, .set(field: "a", value: [1, 2]), .unset(field: "b")], stamp(10)),
            Put("e", [.remove], stamp(11)),
        ])
        let chunk = it.chunks(atMost: 1_000)[0]
        var ends: Set<Int> = []
        for count in 0...chunk.count {
            var copy = DocumentMap()
            do {
                try copy.merge(chunk: chunk.span.bytes.extracting(0..<count))
                ends.insert(count)
            } catch {
                #expect(copy == DocumentMap())
            }
        }
        #expect(ends.count == 5, "after none, the document, its two fields, and the other document")
        let huge: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0x0f]
        let stamp16 = Array(repeating: 1 as UInt8, count: 16)
        let head = [0, 1, 0x64] + stamp16 + stamp16
        let rows: [[UInt8]] = [
            [1, 1, 0x61] + stamp16 + [0], [2, 1, 0x61] + stamp16, [3, 1, 0x61] + stamp16, head + [9],
            [0] + huge, head + [1, 1, 0x61] + stamp16 + huge, head + [2, 1, 0xff] + stamp16,
            [0, 0x81, 0x20] + Array(repeating: 0x61, count: 4_097) + stamp16 + stamp16, chunk + [0],
        ]
        for row in rows {
            var copy = DocumentMap()
            #expect(throws: DecodeError.self, "\(row.prefix(30))") { try copy.merge(chunk: row.span.bytes) }
            #expect(copy == DocumentMap())
        }
        var dice = Seeded(1)
        for _ in 0..<2_000 {
            var bent = chunk
            for _ in 0..<3 { bent[.random(in: bent.indices, using: &dice)] = .random(in: 0...255, using: &dice) }
            var copy = DocumentMap()
            let isWhole = (try? copy.merge(chunk: bent.span.bytes)) != nil
            #expect(isWhole || copy == DocumentMap())
        }
    }

    @Test("Stamps of never say nothing, and leave nothing behind")
    func never() throws {
        var it = DocumentMap()
        let zeroes = Array(repeating: 0 as UInt8, count: 16)
        let chunk = [0, 1, 0x64] + zeroes + zeroes + [1, 1, 0x61] + zeroes + [1, 7]
        #expect(try it.merge(chunk: chunk.span.bytes) == false)
        try Put("d", [.create, .remove, .unset(field: "a")], HybridTimestamp(time: 0, replica: ReplicaID(0)))
            .apply(to: &it)
        #expect(it.documents.count == 0 && it == DocumentMap())
    }
}
