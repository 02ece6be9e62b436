import Testing

@testable import CRDT

private func vector(_ entries: [(UInt64, UInt64)]) -> VersionVector {
    var vector = VersionVector()
    for (replica, sequence) in entries { vector.advance(ReplicaID(replica), to: sequence) }
    return vector
}

private func text(_ it: CompactVector) -> String {
    var out: [UInt8] = []
    it.encode(into: &out)
    return String(decoding: out, as: UTF8.self)
}

private func read(_ text: String) throws(DecodeError) -> CompactVector {
    let bytes = Array(text.utf8)
    return try CompactVector(text: bytes.span.bytes)
}

/// The text of bytes that no `CompactVector` need have written.
private func base64(_ bytes: [UInt8]) -> String {
    var out: [UInt8] = []
    var writer = Base64URL.Writer()
    for byte in bytes { writer.append(byte, into: &out) }
    writer.finish(into: &out)
    return String(decoding: out, as: UTF8.self)
}

private let safe = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

/// Ids drawn so that prefixes clash at every length.
private func drawnVector(_ random: inout Seeded, logs: ClosedRange<Int>) -> VersionVector {
    var it = VersionVector()
    for _ in 0..<Int.random(in: logs, using: &random) {
        let kept = UInt64.random(in: 0...7, using: &random) * 8
        let low =
            kept == 0 ? UInt64.random(in: 1...(.max), using: &random) : UInt64.random(in: 0..<1 << kept, using: &random)
        let id = kept == 0 ? low : 0x0123_4567_89ab_cdef & ~(1 << kept - 1) | low
        let sequence = UInt64(1) << UInt64.random(in: 0..<62, using: &random)
        it.advance(ReplicaID(id), to: sequence + UInt64.random(in: 0..<sequence, using: &random) / 2)
    }
    return it
}

@Suite("A compact vector")
struct CompactVectorTests {
    @Test("is read back as it was written, and covers exactly what its vector covers")
    func roundTrip() throws {
        var random = Seeded(11)
        for _ in 0..<500 {
            let whole = drawnVector(&random, logs: 0...40)
            let it = CompactVector(whole)
            let token = text(it)
            #expect(token.allSatisfy(safe.contains))
            #expect(try read(token) == it)
            #expect(it.isCovered(by: whole))
            #expect(it.missing(from: whole).isEmpty)
            // One short in one log is noticed, and named.
            guard let log = whole.entries.randomElement(using: &random) else { continue }
            var less = VersionVector()
            for entry in whole.entries {
                less.advance(entry.replica, to: entry.replica == log.replica ? entry.sequence - 1 : entry.sequence)
            }
            let missing = it.missing(from: less)
            #expect(missing.entries.count == 1)
            #expect(missing.entries.first?.matches(log.replica) == true)
            #expect(missing.entries.first?.sequence == log.sequence)
        }
    }

    @Test("tells every log from the others in its vector, with at least four bytes of its id")
    func prefixes() {
        let ids: [UInt64] = [
            0x0102_0304_0506_0708, 0x0102_0304_0506_0709, 0x0102_0304_ff00_0000, 0xaaaa_aaaa_0000_0001,
        ]
        let it = CompactVector(vector(ids.map { ($0, 5) }))
        #expect(it.entries.map(\.prefixBytes) == [8, 8, 5, 4])
        var random = Seeded(3)
        for _ in 0..<200 {
            let whole = drawnVector(&random, logs: 1...60)
            for (entry, log) in zip(CompactVector(whole).entries, whole.entries) {
                #expect(whole.entries.filter { entry.matches($0.replica) } == [log])
            }
        }
    }

    @Test(
        "takes at most 64 bytes for three peers",
        arguments: [(4, 1 << 62 - 1), (5, 1 << 62 - 1), (8, 1 << 42 - 1)] as [(UInt64, UInt64)])
    func short(sharedUpTo: UInt64, sequence: UInt64) {
        // Ids that need so many bytes each.
        let ids = (1...3).map { 0x5555_5555_5555_5555 ^ (UInt64($0) << (64 - sharedUpTo * 8)) }
        let it = CompactVector(vector(ids.map { ($0, sequence) }))
        #expect(it.entries.allSatisfy { UInt64($0.prefixBytes) == sharedUpTo })
        #expect(text(it).utf8.count <= 64)
    }

    @Test("of one write is short, and names the whole id")
    func oneWrite() throws {
        var out: [UInt8] = []
        CompactVector.encode(ReplicaID(0x0102_0304_0506_0708), sequence: 300, into: &out)
        let token = String(decoding: out, as: UTF8.self)
        #expect(token.utf8.count == 16)
        #expect(try read(token) == CompactVector(ReplicaID(0x0102_0304_0506_0708), sequence: 300))
        #expect(try read(token).isCovered(by: vector([(0x0102_0304_0506_0708, 300)])))
        #expect(try !read(token).isCovered(by: vector([(0x0102_0304_0506_0709, 300)])))
    }

    @Test("waits for every log that a prefix may mean")
    func ambiguous() {
        let (a, b): (UInt64, UInt64) = (0x0102_0304_0000_0001, 0x0102_0304_0000_0002)
        let it = CompactVector(vector([(a, 7)]))
        #expect(it.entries.first?.prefixBytes == 4)
        #expect(!it.isCovered(by: vector([])))
        #expect(!it.isCovered(by: vector([(b, 6)])))
        #expect(it.isCovered(by: vector([(a, 7)])))
        #expect(!it.isCovered(by: vector([(a, 7), (b, 6)])), "it could have meant the other one")
        #expect(it.isCovered(by: vector([(a, 7), (b, 8)])))
        #expect(it.entries[0].isReadSomewhere(in: vector([(a, 7), (b, 6)])))
        #expect(!it.entries[0].isReadSomewhere(in: vector([(a, 6), (b, 6)])))
    }

    @Test("obeys the laws of a join, and the join is covered where both are")
    func laws() {
        var random = Seeded(5)
        let some = (0..<7).map { _ in CompactVector(drawnVector(&random, logs: 0...4)) }
        #expect(brokenLaw(some) == nil)
        for _ in 0..<300 {
            let (a, b) = (drawnVector(&random, logs: 0...12), drawnVector(&random, logs: 0...12))
            let (left, right) = (CompactVector(a), CompactVector(b))
            var both = left
            both.merge(right)
            let reader = drawnVector(&random, logs: 0...12)
            for seen in [a, b, reader] {
                #expect(both.isCovered(by: seen) == (left.isCovered(by: seen) && right.isCovered(by: seen)))
            }
        }
    }

    @Test("leaves logs out at 8 KiB, those that matter last")
    func bound() throws {
        var random = Seeded(9)
        var whole = VersionVector()
        while whole.entries.count < 3_000 {
            whole.advance(
                ReplicaID(.random(in: 1...(.max), using: &random)), to: .random(in: 1...1 << 40, using: &random))
        }
        var it = CompactVector(whole)
        let important = Set(it.entries.shuffled(using: &random).prefix(50))
        let left = it.shorten(keeping: important.contains)
        #expect(left > 0 && it.entries.count == 3_000 - left)
        #expect(important.isSubset(of: it.entries))
        let token = text(it)
        #expect((8_000...CompactVector.maximumTextBytes).contains(token.utf8.count))
        #expect(try read(token) == it)
        #expect(it.isCovered(by: whole))
        // Whoever forgets to shorten is held to the bound all the same.
        #expect(text(CompactVector(whole)).utf8.count <= CompactVector.maximumTextBytes)
        #expect(throws: DecodeError.tooLong(limit: 8_192)) { try read(String(repeating: "A", count: 8_193)) }
    }

    @Test("is refused when it is anything but what is written")
    func hostile() throws {
        #expect(try read("AQ").isEmpty)
        let good = text(CompactVector(vector([(0x0102_0304_0506_0708, 300)])))
        #expect(throws: DecodeError.truncated) { try read("") }
        for bad in ["A", "AR", "AQ==", "AQ=", "A+", "A/", "AQ AQ", " AQ", "AQ,", "Ä", good + "A", good + "\u{0}"] {
            #expect(throws: DecodeError.self, "\(bad)") { try read(bad) }
        }
        let id: [UInt8] = [1, 2, 3, 4]
        let cases: [([UInt8], DecodeError)] = [
            ([2] + [4] + id + [1], .badValue(field: "version")), ([0], .badValue(field: "version")),
            ([1, 3, 1, 2, 3, 1], .badValue(field: "length of a prefix")),
            ([1, 9] + id + id + [0, 1], .badValue(field: "length of a prefix")),
            ([1, 4] + id, .truncated), ([1, 4, 1, 2, 3], .truncated), ([1, 8] + id + [1], .truncated),
            ([1, 4] + id + [0], .badValue(field: "sequence")), ([1, 4] + id + [0x80, 0], .badInteger),
            ([1, 4] + id + Array(repeating: 0xff, count: 9) + [1], .badValue(field: "sequence")),
            ([1, 4] + id + Array(repeating: 0xff, count: 10), .badInteger),
            ([1, 4] + id + [1, 4] + id + [2], .badValue(field: "order of prefixes")),
            ([1, 5] + id + [0, 1, 4] + id + [2], .badValue(field: "order of prefixes")),
        ]
        for (bytes, error) in cases { #expect(throws: error, "\(bytes)") { try read(base64(bytes)) } }
    }

    @Test("of random bytes is refused or written back the same")
    func fuzz() throws {
        var random = Seeded(13)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes: [UInt8] = [1]
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let length = UInt8.random(in: 3...9, using: &random)
                bytes.append(length)
                for _ in 0..<length { bytes.append(.random(in: 0...255, using: &random)) }
                bytes.append(.random(in: 0...255, using: &random))
            }
            let token = base64(bytes)
            guard let it = try? read(token) else { continue }
            accepted += 1
            #expect(text(it) == token)
        }
        #expect(accepted > 1_000)
    }
}
