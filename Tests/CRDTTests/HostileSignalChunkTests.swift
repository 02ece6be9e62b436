import Testing

@testable import CRDT

private let minute: UInt64 = 60_000
private let start: UInt64 = 29_000_000 * minute

@Suite("Hostile chunks of signals")
struct HostileSignalChunkTests {
    private static let valid: [UInt8] = {
        var map = SignalMap(lambda: 0.95)
        for i in 0..<4 as Range<UInt64> {
            map.insert(MapStep("s", "p", .reward(gain: 0.1), stamp(start + i * minute)))
            map.insert(MapStep("s", "q\(i)", .touch, stamp(start + i * minute)))
        }
        map.collapseAll(through: stamp(start + minute).time)
        return map.chunks()[0]
    }()

    private static let receiver: SignalMap = {
        var map = SignalMap(lambda: 0.95)
        map.insert(MapStep("s", "p", .penalty(loss: 0.1), stamp(start + 90_000)))
        map.insert(MapStep("s", "own", .touch, stamp(start + 3 * minute)))
        return map
    }()

    private func state(_ map: SignalMap) -> [[UInt8]] { map.chunks() }

    @Test("cut anywhere but between signals, a chunk changes nothing")
    func cut() {
        var wholes = 0
        for end in 0..<Self.valid.count {
            var map = Self.receiver
            do throws(DecodeError) {
                let part = Array(Self.valid[..<end])
                try map.merge(chunk: part.span.bytes)
                wholes += 1
            } catch {
                #expect(state(map) == state(Self.receiver))
                #expect(map.target == 0 && map.foldedThrough == 0)
            }
            #expect(map.inconsistency == nil)
        }
        #expect(wholes == 5, "an end before each of the five signals")
    }

    @Test("with bytes that are wrong a chunk is refused whole, or is another sound chunk")
    func damaged() {
        var random = Seeded(11)
        var refused = 0
        for _ in 0..<1_200 {
            var bytes = Self.valid
            for _ in 0...Int.random(in: 0..<3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            var map = Self.receiver
            do throws(DecodeError) {
                try map.merge(chunk: bytes.span.bytes)
            } catch {
                refused += 1
                #expect(state(map) == state(Self.receiver))
            }
            #expect(map.inconsistency == nil)
            for held in map.entries(scope: nil, pattern: nil, minimumStrength: 0, atMs: start + 5 * minute) {
                #expect((0.01...1).contains(held.reading.strength))
            }
            map.collapseAll(through: .max)
            #expect(map.operationCount == 0)
            #expect(map.inconsistency == nil)
        }
        #expect(refused > 300)
    }

    private static func chunk(
        lambda: Double = 0.95, target: UInt64 = 0, _ checkpoint: (UInt64, Double)?, count: UInt64? = nil,
        _ operations: [(UInt8, UInt64)]
    ) -> [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: lambda.bitPattern)
        out.append(littleEndian: target)
        out.append(text: "s")
        out.append(text: "p")
        out.append(checkpoint == nil ? 0 : 1)
        if let (time, strength) = checkpoint {
            out.append(littleEndian: time)
            out.append(littleEndian: UInt64(1))
            out.append(littleEndian: strength.bitPattern)
        }
        out.append(varint: count ?? UInt64(operations.count))
        for (kind, delta) in operations {
            out.append(kind)
            out.append(varint: delta)
            out.append(littleEndian: UInt64(1))
            if kind > 0 { out.append(littleEndian: 0.5.bitPattern) }
        }
        return out
    }

    @Test(
        "says what is wrong",
        arguments: [
            (chunk((10, 0.5), [(1, 11), (0, 1)]), nil),
            (chunk((10, 0), []), nil),
            (chunk((10, 0.01), [(2, 1_000)]), nil),
            (chunk(lambda: 0.9, (10, 0.5), []), .badValue(field: "decay")),
            (chunk(target: 1_001, (10, 0.5), []), .badValue(field: "target")),
            (chunk(nil, []), .badValue(field: "signal")),
            (chunk((10, 0.009), []), .badValue(field: "strength")),
            (chunk((10, 1.1), []), .badValue(field: "strength")),
            (chunk((10, -0.0), []), .badValue(field: "strength")),
            (chunk((10, .nan), []), .badValue(field: "strength")),
            (chunk((1_001, 0.5), []), .badValue(field: "stamp")),
            (chunk((10, 0.5), [(1, 1_001)]), .badValue(field: "stamp")),
            (chunk((10, 0.5), [(1, 10)]), .badValue(field: "order of stamps")),
            (chunk((10, 0.5), [(1, 11), (1, 0)]), .badValue(field: "order of stamps")),
            (chunk(nil, [(3, 11)]), .badValue(field: "operation")),
            (chunk(nil, [(0, .max), (0, 2)]), .badInteger),
            (chunk(nil, count: 4_097, [(0, 11)]), .tooLong(limit: 4_096)),
            (chunk(nil, count: 4_096, [(0, 11)]), .truncated),
        ] as [([UInt8], DecodeError?)])
    func reasons(bytes: [UInt8], reason: DecodeError?) {
        var map = SignalMap(lambda: 0.95)
        var found: DecodeError?
        do throws(DecodeError) { try map.merge(chunk: bytes.span.bytes, latest: 1_000) } catch { found = error }
        #expect(found == reason)
        #expect(map.count == (reason == nil ? 1 : 0))
    }
}
