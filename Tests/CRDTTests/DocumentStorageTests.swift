import Testing

@testable import CRDT

@Suite("What documents remember and forget")
struct DocumentStorageTests {
    @Test(
        "Forgetting removals changes nothing that is read, nor the hash, whenever it is done",
        arguments: 0..<30 as Range<UInt64>)
    func collecting(seed: UInt64) throws {
        var puts = RandomPuts(seed: seed)
        var (model, it) = (DocumentModel(), DocumentMap())
        var dice = Seeded(seed)
        var (horizon, forgotten): (UInt64, Int) = (0, 0)
        for step in 0..<300 {
            // What is stamped up to the horizon has been read: only later stamps still come.
            let put = puts.next(through: horizon + 1...horizon + 60)
            model.apply(put)
            try put.apply(to: &it)
            guard step.isMultiple(of: 10) else { continue }
            horizon += .random(in: 0...30, using: &dice)
            let (hash, tombstones) = (it.hash, it.tombstoneCount)
            let count = it.collect(through: horizon << 16 | 0xffff, atMost: .random(in: 0...30, using: &dice))
            forgotten += count
            #expect(it.hash == hash && it.tombstoneCount == tombstones - count)
            #expect(it.shown(RandomPuts.names) == model.shown(RandomPuts.names))
        }
        #expect(forgotten > 3)
        while it.isCollectionDue(through: .max) { it.collect(through: .max, atMost: 5) }
        #expect(it.tombstoneCount == 0)
        #expect(it.shown(RandomPuts.names) == model.shown(RandomPuts.names))
    }

    @Test("A removal is forgotten at its time, not before, and nothing is looked at while nothing is due")
    func due() throws {
        var it = try documents([
            Put("d", [.create, .set(field: "a", value: [1])], stamp(10)), Put("d", [.unset(field: "a")], stamp(20)),
            Put("e", [.create], stamp(10)), Put("e", [.remove], stamp(30)),
        ])
        #expect(it.tombstoneCount == 2)
        #expect(!it.isCollectionDue(through: stamp(20).time - 1))
        #expect(it.collect(through: stamp(20).time - 1, atMost: 9) == 0)
        #expect(it.collect(through: stamp(30).time, atMost: 0) == 0)
        #expect(it.collect(through: stamp(30).time, atMost: 1) == 1, "one at a time, the oldest first")
        #expect(it.registers.count == 0 && it.documents.count == 2)
        #expect(it.collect(through: stamp(30).time, atMost: 9) == 1)
        #expect(it.documents.count == 1 && it.exists("d"))
    }

    @Test("A removal that was overwritten, or came again, is forgotten at the later time")
    func again() throws {
        var it = try documents([
            Put("d", [.create], stamp(10)), Put("d", [.unset(field: "a")], stamp(20)),
            Put("d", [.unset(field: "a")], stamp(40)), Put("d", [.unset(field: "b")], stamp(21)),
            Put("d", [.set(field: "b", value: [1])], stamp(22)), Put("e", [.remove], stamp(23)),
            Put("e", [.remove], stamp(50)),
        ])
        #expect(it.tombstoneCount == 2)
        #expect(it.collect(through: stamp(39).time, atMost: 9) == 0)
        #expect(it.value(of: "b", in: "d") == [1] && it.tombstoneCount == 2)
        try Put("d", [.set(field: "a", value: [2])], stamp(30)).apply(to: &it)
        #expect(it.value(of: "a", in: "d") == nil, "the removal at 40 still counts")
        #expect(it.collect(through: stamp(50).time, atMost: 9) == 2)
    }

    @Test("No zombie rises once the removal is forgotten: not by a patch stamped later, nor by one stamped before it")
    func zombie() throws {
        let removed = try documents([
            Put("d", [.create, .set(field: "a", value: [1])], stamp(10)), Put("d", [.remove], stamp(20)),
        ])
        for late in [15, 20, 25] as [UInt64] {
            var it = removed
            #expect(it.collect(through: stamp(20).time, atMost: 9) == 1)
            #expect(it.documents.count == 0 && it.registers.count == 0)
            try Put("d", [.set(field: "b", value: [2])], stamp(late, by: 2)).apply(to: &it)
            #expect(!it.exists("d") && it.fields(of: "d").isEmpty && it.hash == 0)
        }
    }

    @Test("A patch on a removed document outlives the removal, for a creation still to come")
    func orphan() throws {
        var it = try documents([
            Put("d", [.create], stamp(10)), Put("d", [.remove], stamp(20)),
            Put("d", [.set(field: "a", value: [1])], stamp(25)),
        ])
        #expect(it.collect(through: stamp(30).time, atMost: 9) == 1)
        try Put("d", [.create], stamp(40)).apply(to: &it)
        #expect(it.value(of: "a", in: "d") == [1])
    }

    @Test("Slots and bytes are used again: rounds of documents that come and go take no more than the first")
    func reuse() throws {
        var it = DocumentMap()
        var most = 0
        for round in 0..<12 as Range<UInt64> {
            for i in 0..<600 {
                let field = DocumentMap.Change.set(field: "f", value: Array(repeating: UInt8(round), count: 200))
                try Put("round \(round)/\(i)", [.create, field], stamp(round * 10 + 1)).apply(to: &it)
            }
            #expect(it.count == 600)
            for i in 0..<600 { try Put("round \(round)/\(i)", [.remove], stamp(round * 10 + 2)).apply(to: &it) }
            #expect(it.collect(through: stamp(round * 10 + 2).time, atMost: 10_000) == 600)
            #expect(it.count == 0 && it.tombstoneCount == 0 && it.hash == 0 && it.documents.count == 0)
            if round == 0 { most = it.byteCount } else { #expect(it.byteCount <= most) }
        }
        #expect(it.documents.end == 600 && it.registers.end == 600)
    }

    @Test("Values that grow and shrink leave no more garbage than half of what is there, and keep their bytes")
    func compaction() throws {
        var it = DocumentMap()
        var dice = Seeded(11)
        var values: [Int: [UInt8]] = [:]
        func write(_ i: Int, _ count: Int, _ step: Int) throws {
            // Bytes drawn one by one would take most of the test's time.
            let first = UInt8.random(in: 0...255, using: &dice)
            let value = (0..<count).map { first &+ UInt8(truncatingIfNeeded: $0 &* 167) }
            values[i] = value
            try Put("d\(i)", [.create, .set(field: "f", value: value)], stamp(UInt64(step + 1))).apply(to: &it)
        }
        for step in 0..<20_000 {
            try write(.random(in: 0..<400, using: &dice), .random(in: 0..<4_000, using: &dice), step)
        }
        for (i, value) in values { #expect(it.value(of: "f", in: "d\(i)") == value) }
        let live = values.values.reduce(0) { $0 + $1.count }
        #expect(it.texts.byteCount < live * 3 / 2 + 6 << 16, "\(it.texts.byteCount) bytes for \(live)")
        // Large values have chunks of their own, which go at once.
        let before = it.texts.byteCount
        for step in 20_000..<20_020 { try write(7, 1 << 20, step) }
        #expect(it.texts.byteCount < before + 2 << 20)
        try write(7, 3, 20_020)
        #expect(it.texts.byteCount < before + 1 << 17)
        #expect(it.value(of: "f", in: "d7") == values[7])
    }

    @Test("A copy is a value of its own")
    func copies() throws {
        let before = try documents((0..<50).map { Put("d\($0)", [.create, .set(field: "f", value: [1])], stamp(1)) })
        var after = before
        for i in 0..<50 { try Put("d\(i)", [.set(field: "f", value: [2])], stamp(2)).apply(to: &after) }
        #expect(before.value(of: "f", in: "d7") == [1] && after.value(of: "f", in: "d7") == [2])
        #expect(before != after && before.hash != after.hash)
    }

    @Test("Tables split and join buckets as records come and go, and find each of them all the way")
    func table() {
        var table = LinkedTable<DocumentMap.Document>()
        var slots: [UInt64: UInt32] = [:]
        var dice = Seeded(5)
        func find(_ hash: UInt64) -> UInt32 {
            var slot = table.first(hash)
            while slot != noSlot, table[slot].hash != hash { slot = table[slot].next }
            return slot
        }
        for target in [5_000, 100, 3_000, 0] {
            while slots.count != target {
                if slots.count < target {
                    let hash = dice.next() >> UInt64.random(in: 0...40, using: &dice)
                    guard slots[hash] == nil else { continue }
                    slots[hash] = table.insert(DocumentMap.Document(hash: hash, text: 0))
                } else if let gone = slots.keys.min() {
                    table.remove(slots.removeValue(forKey: gone)!)
                    #expect(find(gone) == noSlot)
                }
            }
            #expect(slots.allSatisfy { find($0.key) == $0.value } && table.count == target)
        }
        #expect(table.end == 5_000)
    }
}
