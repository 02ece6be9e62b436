import Testing

@testable import CRDT

@Suite("Documents")
struct DocumentMapTests {
    private static func set(_ field: String, _ value: String) -> DocumentMap.Change {
        .set(field: field, value: bytes(value))
    }

    /// Small histories of one document: each with a removal, a late write, and a tie that the replica decides.
    private static let histories: [[Put]] = [
        [
            Put("d", [.create], stamp(10, by: 1)), Put("d", [set("status", "idle")], stamp(11, by: 1)),
            Put("d", [.remove], stamp(20, by: 2)), Put("d", [set("status", "busy")], stamp(20, by: 3)),
            Put("d", [.create], stamp(30, by: 1)),
        ],
        [
            Put("d", [.create, set("a", "1"), set("b", "1")], stamp(10)), Put("d", [.unset(field: "a")], stamp(12)),
            Put("d", [set("a", "2")], stamp(11)), Put("d", [set("b", "lower")], stamp(13, by: 1)),
            Put("d", [set("b", "higher, though it sorts first")], stamp(13, by: 2)),
        ],
        [
            Put("d", [.create, .remove, set("a", "hidden by its own put")], stamp(10)),
            Put("d", [set("a", "late")], stamp(9)), Put("d", [set("b", "patch")], stamp(11)),
            Put("d", [.create], stamp(12)), Put("d", [.unset(field: "c")], stamp(13)),
        ],
        [
            Put("d", [.create], stamp(10)), Put("e", [.create, set("a", "1")], stamp(10, by: 2)),
            Put("d", [set("a", "1"), set("a", "second in one put")], stamp(11)), Put("d", [.remove], stamp(11, by: 2)),
            Put("e", [.remove, .create], stamp(12)),
        ],
    ]

    @Test("are the same after every order of their writes, each delivered twice", arguments: histories.indices)
    func everyDelivery(history: Int) throws {
        let history = Self.histories[history]
        let expected = try documents(history)
        var model = DocumentModel()
        for put in history { model.apply(put) }
        #expect(expected.shown(["d", "e"]) == model.shown(["d", "e"]))
        try everyOrder(of: history) { order in
            let once = try documents(order)
            #expect(once == expected && once.hash == expected.hash)
            #expect(try documents(order + order.reversed()) == expected)
        }
    }

    @Test("obey the laws of a join, however their writes are spread over replicas", arguments: histories.indices)
    func laws(history: Int) throws {
        let history = Self.histories[history]
        let whole = try documents(history)
        try everySplit(of: history.count, into: 2) { owners in
            let parts = try (0..<2).map { part in try documents(zip(history, owners).filter { $1 == part }.map(\.0)) }
            #expect(brokenLaw(parts + [DocumentMap()]) == nil)
            var merged = parts[0]
            merged.merge(parts[1])
            #expect(merged == whole && merged.hash == whole.hash)
            // The same by chunks, the smallest there can be.
            var chunked = parts[0]
            for chunk in parts[1].chunks(atMost: 1) { try chunked.merge(chunk: chunk.span.bytes) }
            #expect(chunked == whole && chunked.hash == whole.hash)
        }
    }

    @Test("let two agents that edit different fields both win")
    func fieldLevel() throws {
        var left = try documents([Put("d", [.create, Self.set("status", "idle")], stamp(10))])
        var right = left
        try Put("d", [Self.set("status", "busy")], stamp(20, by: 1)).apply(to: &left)
        try Put("d", [Self.set("mood", "calm")], stamp(20, by: 2)).apply(to: &right)
        try Put("d", [Self.set("status", "gone")], stamp(19, by: 2)).apply(to: &right)
        left.merge(right)
        right.merge(left)
        #expect(left == right)
        #expect(
            left.fields(of: "d") == [
                .init(name: "mood", value: bytes("calm"), stamp: stamp(20, by: 2)),
                .init(name: "status", value: bytes("busy"), stamp: stamp(20, by: 1)),
            ])
        #expect(left.fields(of: "d", prefix: "mo").map(\.name) == ["mood"])
        #expect(left.value(of: "status", in: "d") == bytes("busy") && left.value(of: "x", in: "d") == nil)
    }

    @Test("are raised by no late patch once removed, and inherit nothing when made anew")
    func zombie() throws {
        var it = try documents([
            Put("d", [.create, Self.set("a", "old"), Self.set("c", "old")], stamp(10)), Put("d", [.remove], stamp(20)),
        ])
        #expect(!it.exists("d") && it.count == 0 && it.hash == 0)
        try Put("d", [Self.set("b", "late patch")], stamp(25)).apply(to: &it)
        try Put("d", [Self.set("c", "later patch than it seems")], stamp(15)).apply(to: &it)
        #expect(!it.exists("d") && it.value(of: "b", in: "d") == nil && it.fields(of: "d").isEmpty && it.hash == 0)

        try Put("d", [.create], stamp(30)).apply(to: &it)
        #expect(it.exists("d") && it.count == 1 && it.created("d") == stamp(30))
        #expect(it.fields(of: "d").map(\.name) == ["b"], "written after the removal; the others before it")
    }

    @Test("do not exist without having been created, whatever is written to them")
    func neverCreated() throws {
        var it = try documents([Put("d", [Self.set("a", "1")], stamp(11))])
        #expect(!it.exists("d") && it.value(of: "a", in: "d") == nil && it.hash == 0)
        try Put("d", [.create], stamp(5)).apply(to: &it)
        #expect(it.value(of: "a", in: "d") == bytes("1"))
    }

    @Test("are named by bytes: texts that look alike are two documents, and no text is too odd")
    func names() throws {
        let names = ["é", "e\u{301}", "", "\u{0}", String(repeating: "n", count: 4_096)]
        let it = try documents(
            names.enumerated().map { Put($1, [.create, Self.set($1, "v\($0)")], stamp(10 + UInt64($0))) })
        #expect(it.count == 5)
        for (i, name) in names.enumerated() { #expect(it.value(of: name, in: name) == bytes("v\(i)")) }
    }

    @Test("list the newest of a prefix first")
    func newest() throws {
        var it = DocumentMap()
        var dice = Seeded(3)
        for i in (0..<500).shuffled(using: &dice) {
            try Put(i.isMultiple(of: 2) ? "even/\(i)" : "odd/\(i)", [.create], stamp(UInt64(i + 1))).apply(to: &it)
        }
        try Put("even/498", [.remove], stamp(900)).apply(to: &it)
        #expect(it.newest(3, prefix: "even/") == ["even/496", "even/494", "even/492"])
        #expect(it.newest(1, prefix: "") == ["odd/499"])
        #expect(it.newest(1_000, prefix: "odd/").count == 250)
        #expect(it.newest(0, prefix: "").isEmpty && it.newest(9, prefix: "x").isEmpty)
    }

    @Test("show what the rules say, and hash alike just when they show alike", arguments: 0..<40 as Range<UInt64>)
    func model(seed: UInt64) throws {
        var puts = RandomPuts(seed: seed)
        var (model, it) = (DocumentModel(), DocumentMap())
        var seen: [UInt64: [String: Shown]] = [0: [:]]
        for _ in 0..<120 {
            let put = puts.next(through: 1...200)
            model.apply(put)
            try put.apply(to: &it)
            let shown = it.shown(RandomPuts.names)
            #expect(shown == model.shown(RandomPuts.names))
            #expect(shown.count == it.count)
            #expect(seen[it.hash] == nil || seen[it.hash] == shown, "two contents have one hash")
            seen[it.hash] = shown
            #expect((0..<DocumentMap.bucketCount).reduce(0) { $0 &+ it.hash(ofBucket: $1) } == it.hash)
        }
        // One content, one hash: another order, and a replica that only ever saw what is visible.
        let hashes = Set(seen.keys)
        #expect(hashes.count == Set(seen.values.map { "\($0.sorted { $0.key < $1.key })" }).count)
    }

    @Test("are refused whole when malformed: no byte may be missing, wrong or too many")
    func malformed() throws {
        var it = try documents([Put("d", [.create, Self.set("a", "1")], stamp(10))])
        let before = it
        var body: [UInt8] = []
        DocumentMap.encode("d", [.remove, Self.set("a", "2"), .unset(field: "b"), .create], into: &body)
        for count in body.indices {
            #expect(throws: DecodeError.self) { try it.apply(body.span.bytes.extracting(0..<count), at: stamp(20)) }
        }
        var rows: [[UInt8]] = [body + [0], [1, 0xff, 0], [1, 0x64, 1, 4], [1, 0x64, 1, 3, 1, 0xc0]]
        // Lengths far beyond what is there, and beyond what is allowed though it is there.
        rows.append([0xff, 0xff, 0xff, 0xff, 0x0f])
        rows.append([1, 0x64, 0xff, 0xff, 0xff, 0xff, 0x0f, 0])
        rows.append([1, 0x64, 1, 2, 1, 0x61, 0xff, 0xff, 0xff, 0xff, 0x0f])
        var long: [UInt8] = []
        long.append(text: String(repeating: "n", count: 4_097))
        rows.append(long + [0])
        rows.append([1, 0x64, 0x81, 0x20] + Array(repeating: 0, count: 4_097))
        for row in rows {
            #expect(throws: DecodeError.self, "\(row.prefix(20))") { try it.apply(row.span.bytes, at: stamp(20)) }
        }
        #expect(it == before && it.shown(["d"]) == before.shown(["d"]))
        try it.apply(body.span.bytes, at: stamp(20))
        #expect(!it.exists("d"), "whole, it counts")
    }
}
