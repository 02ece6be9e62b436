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

    private mutating func patch(_ i: Int, _ number: Int, _ body: String) -> Answer {
        world.ask(i, .patchNode(id: id(number)), body)
    }

    private mutating func cut(_ i: Int, _ from: Int, _ to: Int, _ type: String?) -> Answer {
        world.ask(i, .deleteEdges(node: id(from), to: id(to), type: type))
    }

    @Test("changes what a patch names, as RFC 7396 has it, and leaves the rest")
    mutating func patches() {
        _ = world.ask(
            0, .postNode, #"{"id":"\#(id(1))","type":"t","data":{"a":{"x":1,"y":[1]},"b":2,"é":"e"}}"#)
        func data(_ answer: Answer) -> String {
            answer.text.split(separator: #""data":"#).last?.split(separator: #","edges""#).first.map(String.init) ?? ""
        }
        #expect(patch(0, 1, #"{"type":"u"}"#).text.contains(#""type":"u","data":{"a""#))
        let merged = patch(0, 1, #"{ "data": { "a" : {"y":null,"z":{"w":null,"v":1.50}}, "b":null, "c":[null] } }"#)
        #expect(merged.status == 200 && !merged.stamp.isEmpty)
        #expect(data(merged) == #"{"a":{"x":1,"z":{"v":1.50}},"c":[null],"é":"e"}"#)
        #expect(data(patch(0, 1, #"{"data":{"a":3,"nothing":null}}"#)) == #"{"a":3,"c":[null],"é":"e"}"#)
        #expect(data(patch(0, 1, #"{"data":null}"#)) == "{}")
        let before = world.nodes[0].cluster.log.end
        let nothing = patch(0, 1, #"{"data":{"nothing":null}}"#)
        #expect((nothing.status, nothing.stamp) == (200, ""))
        #expect(world.nodes[0].cluster.log.end == before, "what changes nothing is not written")
    }

    @Test("keeps both of two patches of different members at two sides, and of one member the later one")
    mutating func concurrentPatches() {
        world.link(0, 1)
        _ = add(0, 1)
        world.deliver()
        _ = patch(0, 1, #"{"data":{"left":1,"both":"first"}}"#)
        world.now = world.now.advanced(milliseconds: 1)
        _ = patch(1, 1, #"{"type":"u","data":{"right":2,"both":"second","n":null}}"#)
        world.deliver()
        let answers = [world.ask(0, .node(id: id(1))), world.ask(1, .node(id: id(1)))]
        #expect(answers[0].text == answers[1].text)
        #expect(answers[0].text.contains(#""type":"u","data":{"both":"second","left":1,"right":2}"#))
    }

    @Test("removes a node everywhere, with what was written to it before; made anew it is empty")
    mutating func removal() {
        world.link(0, 1)
        _ = (add(0, 1), edge(0, 1, 2, "a"), add(0, 2))
        world.deliver()
        // One side removes it while the other still writes to it, with a lower stamp.
        _ = patch(1, 1, #"{"data":{"late":1}}"#)
        world.now = world.now.advanced(milliseconds: 1)
        let removed = world.ask(0, .deleteNode(id: id(1).uppercased()))
        #expect((removed.status, removed.text) == (204, ""))
        #expect(!removed.stamp.isEmpty && !removed.clock.isEmpty)
        world.deliver()
        for i in 0...1 {
            #expect(world.ask(i, .node(id: id(1))).status == 404)
            #expect(world.ask(i, .nodes(limit: 9)).list.count == 1)
            #expect(world.ask(i, .deleteNode(id: id(1))).message == "no graph node \(id(1)) exists here")
            #expect(
                patch(i, 1, "{}").status == 404 && edge(i, 1, 2, "b").status == 404 && cut(i, 1, 2, nil).status == 404)
        }
        world.now = world.now.advanced(milliseconds: 1)
        #expect(add(1, 1, type: "new").status == 201)
        world.deliver()
        let text = #"{"id":"\#(id(1))","type":"new","data":{"n":1},"edges":[]}"#
        #expect(world.ask(0, .node(id: id(1))).text == text)
    }

    @Test("removes an edge by its target and type, or all to a target")
    mutating func edgeRemoval() {
        world.link(0, 1)
        _ = (add(0, 1), edge(0, 1, 2, "a"), edge(0, 1, 2, #"b \"x\""#), edge(0, 1, 2, "ab"), edge(0, 1, 3, "a"))
        world.deliver()
        func edges(_ answer: Answer) -> [String] {
            (answer.object["edges"] as? [[String: String]] ?? []).map { "\($0["type"]!)\($0["to"]!.suffix(1))" }
                .sorted()
        }
        #expect(cut(1, 1, 2, "a").status == 204)
        #expect(cut(1, 1, 2, #"b "x""#).status == 204)
        world.deliver()
        for i in 0...1 { #expect(edges(world.ask(i, .node(id: id(1)))) == ["a3", "ab2"]) }
        #expect(cut(0, 1, 2, "a").message == #"no edge of type "a" from graph node \#(id(1)) to \#(id(2)) exists here"#)
        #expect(
            cut(0, 1, 4, nil).status == 404 && world.ask(0, .deleteEdges(node: id(1), to: "x", type: nil)).status == 404
        )
        _ = edge(0, 1, 2, "a")
        #expect(cut(0, 1, 2, nil).status == 204)
        world.deliver()
        for i in 0...1 { #expect(edges(world.ask(i, .node(id: id(1)))) == ["a3"]) }
    }

    @Test("answers each write with its stamp, and what is there already with the stamp of that")
    mutating func stamps() {
        world.link(0, 1)
        let made = add(0, 1)
        let drawn = edge(0, 1, 2, "a")
        #expect(made.stamp.hasSuffix("-00000000000000a1") && made.stamp < drawn.stamp)
        world.deliver()
        #expect(add(1, 1).stamp == made.stamp && edge(1, 1, 2, "a").stamp == drawn.stamp)
        #expect(world.ask(1, .node(id: id(1))).stamp == "")
    }

    @Test(
        "says what is wrong with a patch",
        arguments: [
            ("3", "the body must be one JSON object, not a number"),
            (#"{"type":null}"#, "type: required, so null cannot remove it"),
            (#"{"type":3}"#, "type: expected a non-empty string, found a number"),
            (#"{"data":[]}"#, "data: expected an object, found an array"),
            (#"{"edges":[]}"#, "edges: a patch may change type and data; edges are posted and deleted"),
            (#"{"data":{"a":1,"a":2}}"#, "invalid JSON at byte 15 (line 1, column 16): a field that is given twice"),
        ])
    mutating func badPatches(body: String, message: String) {
        _ = add(0, 1)
        let answer = patch(0, 1, body)
        #expect((answer.status, answer.message) == (400, "Validation error: \(message)"))
    }

    @Test("has a bound on the members of a node's data")
    mutating func bounds() {
        func members(_ range: Range<Int>) -> String { range.map { #""m\#($0)":1"# }.joined(separator: ",") }
        let full = #"{"id":"\#(id(1))","type":"t","data":{\#(members(0..<4_000))}}"#
        #expect(world.ask(0, .postNode, full).status == 201)
        #expect(patch(0, 1, #"{"data":{"one more":1}}"#).message.contains("at most 4000 members"))
        #expect(patch(0, 1, #"{"data":{"one more":1,"m1":null}}"#).status == 200)
        #expect(world.ask(0, .postNode, #"{"type":"t","data":{\#(members(0..<4_001))}}"#).status == 400)
        let name = String(repeating: "x", count: 1_025)
        #expect(world.ask(0, .postNode, #"{"type":"t","data":{"\#(name)":1}}"#).message.contains("1024 bytes"))
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
