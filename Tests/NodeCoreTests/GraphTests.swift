import Gossip
import Testing

@testable import NodeCore

@Suite("The graph")
struct GraphTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    private mutating func add(_ i: Int, _ number: Int, type: String = "task") -> Answer {
        world.ask(i, .postNode, #"{"id":"\#(id(number))","type":"\#(type)","data":{"n":\#(number)}}"#)
    }

    private mutating func edge(_ i: Int, _ from: Int, _ to: Int, _ type: String) -> Answer {
        world.ask(i, .postEdge(node: id(from)), #"{"to":"\#(id(to))","type":"\#(type)"}"#)
    }

    @Test("answers with the node and its edges, to the byte")
    mutating func layout() {
        #expect(add(0, 1).text == #"{"id":"\#(id(1))","type":"task","data":{"n":1},"edges":[]}"#)
        let answer = edge(0, 1, 2, #"depends \"on\""#)
        #expect(answer.status == 201)
        #expect(
            answer.text
                == #"{"id":"\#(id(1))","type":"task","data":{"n":1},"edges":[{"to":"\#(id(2))","type":"depends \"on\""}]}"#
        )
        #expect(world.ask(0, .node(id: id(1).uppercased())).text == answer.text)
        #expect(world.ask(0, .postNode, #"{ "type" : "t" }"#).text.contains(#""type":"t","data":{},"edges":[]"#))
    }

    @Test("keeps edges that were added at two sides at once, in one order")
    mutating func concurrent() {
        world.link(0, 1)
        _ = add(0, 1)
        world.deliver()
        // Both sides write before either hears of the other.
        for (i, to, type) in [(0, 2, "a"), (1, 3, "b"), (1, 2, "a"), (0, 2, "c"), (0, 4, "d")] {
            world.now = world.now.advanced(milliseconds: 1)
            _ = edge(i, 1, to, type)
        }
        world.deliver()
        let left = world.ask(0, .node(id: id(1)))
        #expect(left.text == world.ask(1, .node(id: id(1))).text)
        let edges = (left.object["edges"] as? [[String: String]] ?? []).map { "\($0["type"]!)\($0["to"]!.suffix(1))" }
        #expect(edges == ["b3", "a2", "c2", "d4"], "by the stamp of the write that won")
        #expect(edge(1, 1, 4, "d").text == left.text, "an edge that is there is not written again")
        #expect(world.nodes[0].counters.malformedPuts == 0)
    }

    @Test("merges a node that was made under one id at both sides")
    mutating func sameNode() {
        _ = (add(0, 1, type: "here"), edge(0, 1, 2, "a"))
        world.now = world.now.advanced(milliseconds: 1)
        _ = (add(1, 1, type: "there"), edge(1, 1, 3, "b"))
        world.link(0, 1)
        let answers = [world.ask(0, .node(id: id(1))), world.ask(1, .node(id: id(1)))]
        #expect(answers[0].text == answers[1].text)
        #expect(answers[0].object["type"] as? String == "there", "the last writer wins per field")
        #expect((answers[0].object["edges"] as? [Any])?.count == 2)
    }

    @Test("takes a node once under its id: the same again is fine, another is not")
    mutating func repeats() {
        let first = add(0, 1)
        #expect(first.status == 201)
        let spelt = world.ask(0, .postNode, #"{"data":{"n":1.0},"type":"t\u0061sk","id":"\#(id(1).uppercased())"}"#)
        #expect((spelt.status, spelt.text) == (200, first.text))
        #expect(add(0, 1, type: "other").status == 409)
        #expect(world.ask(0, .postNode, #"{"id":"\#(id(1))","type":"task"}"#).status == 409)
    }

    @Test("lists the newest nodes first")
    mutating func listing() {
        for number in 1...5 {
            _ = add(0, number)
            world.now = world.now.advanced(milliseconds: 1)
        }
        _ = edge(0, 1, 2, "late")
        let listed = world.ask(0, .nodes(limit: 3)).list.compactMap { $0["id"] as? String }
        #expect(listed == [5, 4, 3].map(id))
        #expect(world.ask(0, .nodes(limit: 100)).list.count == 5)
        #expect(world.ask(1, .nodes(limit: 100)).text == "[]")
    }

    @Test(
        "says what is wrong",
        arguments: [
            ("{}", "type: required, a non-empty string"), (#"{"type":""}"#, "type: must have 1 to 1024 bytes"),
            (#"{"type":3}"#, "type: expected a non-empty string, found a number"),
            (#"{"type":"t","data":[]}"#, "data: expected an object, found an array"),
            (#"{"type":"t","id":"x"}"#, "id: expected a UUID; leave it out to get one made"),
            (#"{"type":"t","type":"t"}"#, "invalid JSON at byte 12 (line 1, column 13): a field that is given twice"),
            ("3", "the body must be one JSON object, not a number"),
        ])
    mutating func badNodes(body: String, message: String) {
        let answer = world.ask(0, .postNode, body)
        #expect((answer.status, answer.message) == (400, "Validation error: \(message)"))
    }

    @Test("says what is wrong with an edge, too")
    mutating func badEdges() {
        #expect(edge(0, 1, 2, "a").status == 404)
        #expect(world.ask(0, .node(id: "x")).status == 404)
        _ = add(0, 1)
        for (body, message) in [
            (#"{"type":"t"}"#, "to: required, the id of a node"),
            (#"{"to":"x","type":"t"}"#, "to: expected the id of a node, a UUID"),
            (#"{"to":"\#(id(2))"}"#, "type: required, a non-empty string"),
        ] {
            let answer = world.ask(0, .postEdge(node: id(1)), body)
            #expect((answer.status, answer.message) == (400, "Validation error: \(message)"))
        }
    }
}
