import Foundation
import Gossip
import Testing

@testable import Simulate

@Suite("The virtual world")
struct HarnessTests {
    @Test("What is due comes in the order of its time, and of its insertion within one moment")
    func agenda() {
        var agenda = Agenda()
        var dice = Dice(seed: 11)
        var expected: [(time: UInt64, number: Int)] = []
        for number in 0..<500 {
            let time = dice.below(50)
            agenda.add(.agent(number), at: time)
            expected.append((time, number))
        }
        expected.sort { ($0.time, $0.number) < ($1.time, $1.number) }
        for (time, number) in expected {
            #expect(agenda.nextTime == time)
            guard case (time, .agent(number)) = agenda.removeFirst() else {
                Issue.record("\(number) was due at \(time)")
                return
            }
        }
        #expect(agenda.nextTime == nil)
    }

    @Test("A drifting clock is read backwards to the first moment that shows it", arguments: [-200, -50, 0, 50, 200])
    func clocks(drift: Int64) {
        let node = Node(index: 0, skewMs: 0, driftPpm: drift, clockBase: 5_000_000)
        for world in [0, 1, 999, 1_000_003, 3_600_000_000] as [UInt64] {
            let instant = node.clock(at: world)
            let first = node.world(at: instant)
            #expect(node.clock(at: first) >= instant)
            #expect(first <= world + 1_000, "asked for \(world), would wake at \(first)")
        }
    }

    @Test("Cuts have directions, and a machine always reaches itself")
    func cuts() {
        var options = Options()
        options.size = 4
        var network = Network(options, dice: Dice(seed: 1))
        network.cuts = Cut.between([0], [1, 2]) + Cut.oneWay(from: [3], to: [0, 3])
        let reached = (0..<4).map { a in (0..<4).filter { !network.isCut(a, $0) } }
        #expect(reached == [[0, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3]])
        network.cuts = []
        #expect((0..<4).allSatisfy { a in (0..<4).allSatisfy { !network.isCut(a, $0) } })
    }

    @Test("Ids are written and read as UUIDs of version 4")
    func keys() {
        var dice = Dice(seed: 3)
        for _ in 0..<100 {
            let key = EventKey(&dice)
            #expect(UUID(uuidString: key.text)?.uuidString.lowercased() == key.text)
            #expect(Array(key.text.utf8)[14] == UInt8(ascii: "4"))
            #expect(EventKey(text: key.text) == key)
        }
        #expect(EventKey(text: "00000000-0000-4000-8000-00000000000g") == nil)
        #expect(EventKey(text: "00000000-0000-4000-8000-0000000000011") == nil)
    }

    @Test(
        "JSON is read as Foundation reads it",
        arguments: [
            #"{"a":[1,-2.5e-3,true,false,null,""],"b":{"c":"\u00e9\n\"\\\/ 😀 \ud83d\ude00"}}"#, " [ ] ", "0.1", #""x""#,
        ])
    func json(text: String) throws {
        let theirs = try JSONDecoder().decode(JSON.self, from: Data(text.utf8))
        #expect(try JSONReader.parse(Array(text.utf8)) == theirs)
    }

    @Test(
        "What is no JSON is refused",
        arguments: ["", "{", "[1,]", #"{"a" 1}"#, "nul", #""x"#, "1 2", #"{"a":1,"a":2}"#])
    func malformed(text: String) {
        #expect(throws: MalformedJSON.self) { try JSONReader.parse(Array(text.utf8)) }
    }

    @Test("A subscriber's message is skimmed for what the checkers need")
    func messages() {
        let id = "00000000-0000-4000-8000-000000000001"
        func message(_ text: String) -> Message? { Message(Array(text.utf8), 0..<text.utf8.count) }
        let event = message(
            #"{"type":"event","data":{"id":"\#(id)","payload":{"seq":3,"id":"x"},"replica":"00000000000000ff","#
                + #""seq":12,"stamp":"019b77000000000a-00000000000000ff"}}"#)
        guard case .event(let sighting, nil) = event else {
            Issue.record("no event: \(String(describing: event))")
            return
        }
        #expect(
            sighting
                == Sighting(key: EventKey(text: id)!, replica: 255, sequence: 12, stamp: 0x019b_7700_0000_000a))
        #expect(message(#"{"type":"event","data":{"id":"\#(id)","seq":12}}"#) == nil)
        guard case .other? = message(#"{"type":"pong"}"#) else {
            Issue.record("a pong is nothing to the checkers")
            return
        }
    }

    @Test(
        "A command line that cannot be followed says why",
        arguments: [
            (["run"], "which story? `simulate list` names them"), (["run", "x"], #"there is no story "x""#),
        ])
    func arguments(words: [String], complaint: String) {
        var arguments = Arguments(words)
        _ = arguments.word()
        do throws(Misunderstood) {
            _ = try arguments.story()
            Issue.record("\(words) was understood")
        } catch { #expect(error.text == complaint) }
    }
}

/// The same values, read by Foundation.
extension JSON: Decodable {
    /// Tries each kind of value in turn.
    public init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let text = try? value.decode(String.self) {
            self = .string(text)
        } else if let elements = try? value.decode([JSON].self) {
            self = .array(elements)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }
}
