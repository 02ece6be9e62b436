import CRDT
import Testing

@Suite("A map by bytes")
struct ByteMapTests {
    @Test("holds what a dictionary holds, through growth and removals", arguments: 1...8 as ClosedRange<UInt64>)
    func againstDictionary(seed: UInt64) {
        var random = Seeded(seed)
        var map = ByteMap<Int>()
        var model: [[UInt8]: Int] = [:]
        for step in 0..<3_000 {
            // Keys of 0 to 40 bytes out of few, so that they come again, differ late, and are prefixes of each other.
            let length = Int.random(in: 0...40, using: &random)
            let key = (0..<length).map { UInt8($0 == length - 1 ? Int.random(in: 0..<8, using: &random) : 7) }
            switch Int.random(in: 0..<100, using: &random) {
            case 0:
                let rest = Int.random(in: 2...5, using: &random)
                map.removeAll { $0 % rest == 0 }
                model = model.filter { $0.value % rest != 0 }
            case 1..<20:
                guard let index = map.index(of: key.span.bytes) else { continue }
                let last = map.keys[map.count - 1]
                map.remove(at: index)
                model[key] = nil
                #expect(map.index(of: key.span.bytes) == nil)
                if last != key { #expect(map.index(of: last.span.bytes) == index, "the last one moves up") }
            case 20..<50:
                let index = map.index(of: key.span.bytes)
                #expect(index.map { map.values[$0] } == model[key])
                #expect(index.map { map.keys[$0] } ?? key == key)
            default:
                let isNew = model[key] == nil
                let index = map.index(of: key.span.bytes, default: step)
                if isNew { model[key] = step }
                #expect(map.values[index] == model[key])
                map.values[index] += 1
                model[key]! += 1
            }
        }
        #expect(map.count == model.count)
        #expect(Dictionary(uniqueKeysWithValues: zip(map.keys, map.values)) == model)
        map.removeAll { _ in true }
        #expect(map.count == 0)
        #expect(map.index(of: [UInt8]().span.bytes) == nil)
    }

    @Test("keeps the index of a value while others come")
    func indices() {
        var map = ByteMap<Int>()
        let indices = (0..<500).map { map.index(of: Array("\($0)".utf8).span.bytes, default: $0) }
        #expect(indices == Array(0..<500))
        for i in 0..<500 { #expect(map.index(of: Array("\(i)".utf8).span.bytes) == i) }
    }
}
