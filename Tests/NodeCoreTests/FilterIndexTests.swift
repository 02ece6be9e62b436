import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("An index of filters")
struct FilterIndexTests {
    private static let words = ["ui", "db", "x", "save", "a b", ""]

    private static func text(_ dice: inout Dice, wild: Bool) -> String {
        var segments: [String] = []
        for _ in 0...Int(dice.below(4)) {
            let word = words[Int(dice.below(UInt64(wild ? 5 : 6)))]
            segments.append(wild && dice.below(4) == 0 ? "*" : word)
        }
        if wild, dice.below(3) == 0 { segments.append(">") }
        return segments.joined(separator: ".")
    }

    private static func filter(_ dice: inout Dice) throws -> Filter {
        var filter = Filter()
        filter.surface = dice.below(2) == 0 ? .semp : .bus
        if dice.below(8) > 0 { filter.address = try #require(AddressPattern(Array(text(&dice, wild: true).utf8))) }
        func some(_ prefix: String, _ dice: inout Dice) -> [[UInt8]] {
            Set((0...dice.below(3)).map { _ in "\(prefix)\(dice.below(4))" }).sorted().map { Array($0.utf8) }
        }
        if dice.below(3) == 0 { filter.types = some("t", &dice) }
        if dice.below(3) == 0 { filter.agents = some("a", &dice) }
        return filter
    }

    private static func event(_ dice: inout Dice) -> (EventView, [UInt8]) {
        let (address, type, agent) = (text(&dice, wild: false), "t\(dice.below(4))", "a\(dice.below(4))")
        let json = Array((address + type + agent).utf8)
        let first = address.utf8.count
        let view = EventView(
            id: UUID(high: 1, low: dice.next()), surface: dice.below(2) == 0 ? .semp : .bus,
            typeText: first..<first + 2, address: 0..<first, agent: first + 2..<first + 4, content: 0..<0)
        return (view, json)
    }

    @Test(
        "finds whom trying every filter would find, each once and in order, whatever comes and goes", arguments: 1...6)
    func model(seed: UInt64) throws {
        var dice = Dice(seed: seed)
        var index = FilterIndex<Int>()
        var model: [(filter: Filter, target: Int)] = []
        for step in 0..<3_000 {
            if model.isEmpty || dice.below(5) < (step < 2_000 ? 3 : 1) {
                let next = (filter: try Self.filter(&dice), target: Int(dice.below(40)))
                model.append(next)
                index.insert(next.filter, next.target)
            } else {
                let gone = model.remove(at: Int(dice.below(UInt64(model.count))))
                index.remove(gone.filter, gone.target)
            }
            #expect(index.count == model.count)
            let (view, json) = Self.event(&dice)
            var found = [7]
            index.match(view, json.span.bytes, into: &found)
            let expected = Set(model.filter { $0.filter.matches(view, json.span.bytes) }.map(\.target)).sorted()
            #expect(found == [7] + expected)
        }
        for entry in model { index.remove(entry.filter, entry.target) }
        #expect(index.isEmpty)
        #expect(index.nodeCount == 2, "what nobody wants any more takes no room")
    }

    @Test("tells filters by their texts where their hashes are equal")
    func bare() throws {
        var index = FilterIndex<Int>()
        var filter = Filter()
        filter.agents = [Array("ada".utf8)]
        index.insert(filter, 1)
        let json = Array("testbob".utf8)
        let view = EventView(
            id: UUID(high: 0, low: 1), surface: .semp, typeText: 0..<4, address: 0..<0, agent: 4..<7, content: 0..<0)
        var found: [Int] = []
        index.match(view, json.span.bytes, into: &found)
        #expect(found == [])
    }
}
