import CRDT
import Testing

@testable import NodeCore

@Suite("Accepting an event")
struct AcceptTests {
    private static let texts = #""scope":"s","trace_id":"t","agent_id":"a""#

    @Test(
        "says which field is wrong and what was expected",
        arguments: [
            ("[1]", "an event must be one JSON object, not an array"),
            (" 7 ", "an event must be one JSON object, not a number"),
            ("", "invalid JSON at byte 0 (line 1, column 1): the text ends where a value should be"),
            ("{\n \"a\": x}", "invalid JSON at byte 8 (line 2, column 7): expected a value"),
            ("{}", "type: required, one of proposal, ready, test, reward, penalty"),
            (#"{"type":7}"#, "type: expected one of proposal, ready, test, reward, penalty, found a number"),
            (#"{"type":"joke"}"#, #"type: expected one of proposal, ready, test, reward, penalty, found "joke""#),
            (#"{"type":"test"}"#, "scope: required, a non-empty string"),
            (#"{"type":"test","scope":""}"#, "scope: must not be empty"),
            (#"{"type":"test","scope":null}"#, "scope: expected a non-empty string, found null"),
            (#"{"type":"test","scope":"s"}"#, "trace_id: required, a non-empty string"),
            (#"{"type":"test","scope":"s","trace_id":[]}"#, "trace_id: expected a non-empty string, found an array"),
            (#"{"type":"test","scope":"s","trace_id":"t"}"#, "agent_id: required, a non-empty string"),
            (
                #"{"type":"test","scope":"s","trace_id":"t","agent_id":true}"#,
                "agent_id: expected a non-empty string, found a boolean"
            ),
            (#"{"type":"test",\#(texts)}"#, "payload: required, an object"),
            (#"{"type":"test",\#(texts),"payload":[]}"#, "payload: expected an object, found an array"),
            (#"{"type":"reward",\#(texts),"payload":{}}"#, "payload.value: required for a reward or penalty, a number"),
            (
                #"{"type":"penalty",\#(texts),"payload":{"value":"1"}}"#,
                "payload.value: expected a number, found a string"
            ),
            (
                #"{"type":"reward",\#(texts),"payload":{"value":1,"α":"2"}}"#,
                "payload.α: expected a number, found a string"
            ),
            (
                #"{"type":"reward",\#(texts),"payload":{"value":1,"alpha":{}}}"#,
                "payload.alpha: expected a number, found an object"
            ),
            (
                #"{"type":"test",\#(texts),"payload":{},"parent_ids":"p"}"#,
                "parent_ids: expected an array of event ids, found a string"
            ),
            (
                #"{"type":"test",\#(texts),"payload":{},"parent_ids":[1]}"#,
                "parent_ids: every entry must be an event id, a string of 1 to 256 bytes"
            ),
            (
                #"{"type":"test",\#(texts),"payload":{},"parent_ids":[""]}"#,
                "parent_ids: every entry must be an event id, a string of 1 to 256 bytes"
            ),
            (
                #"{"id":null,"type":"test",\#(texts),"payload":{}}"#,
                "id: expected a UUID such as 0190b5e2-7c1a-4d3e-9f00-1234567890ab; leave it out to get one made"
            ),
            (
                #"{"type":"test",\#(texts),"payload":{},"parent_ids":null}"#,
                "parent_ids: expected an array of event ids, found null"
            ),
            (
                #"{"id":"7","type":"test",\#(texts),"payload":{}}"#,
                "id: expected a UUID such as 0190b5e2-7c1a-4d3e-9f00-1234567890ab; leave it out to get one made"
            ),
            (
                #"{"type":"test","type":"test"}"#,
                "invalid JSON at byte 15 (line 1, column 16): a field that is given twice"
            ),
            (#"{"x":1,"\u0078":1}"#, "invalid JSON at byte 7 (line 1, column 8): a field that is given twice"),
            (
                #"{"payload":{"value":1,"value":2}}"#,
                "invalid JSON at byte 22 (line 1, column 23): a field that is given twice"
            ),
            (
                #"{"type":"test",\#(texts),"payload":{},}"#,
                "invalid JSON at byte 70 (line 1, column 71): a comma with nothing after it"
            ),
            (#"{"type":"\ud800"}"#, "invalid JSON at byte 9 (line 1, column 10): a lone high surrogate"),
            (#"{"a":1e999}"#, "invalid JSON at byte 5 (line 1, column 6): a number too large for a double"),
            ("{} {}", "invalid JSON at byte 3 (line 1, column 4): nothing but white space may follow the value"),
        ])
    func refused(body: String, message: String) {
        var world = NodeWorld()
        let answer = world.post(0, body)
        #expect(answer.status == 400)
        #expect(answer.message == "Validation error: \(message)")
        #expect(world.ask(0, .events(.init(limit: 10))).text == "[]")
    }

    @Test(
        "takes what cannot name a signal, null above all, for a payload's own business",
        arguments: [
            (#""payload":{"pattern":null,"action":"a"}"#, ["a"]),
            (#""payload":{"pattern":"","action":"a"}"#, ["a"]), (#""payload":{"pattern":{"x":1},"action":7}"#, []),
            (#""payload":{"pattern":["p"],"action":null}"#, []),
        ] as [(String, [String])])
    func absent(members: String, signals: [String]) {
        var world = NodeWorld()
        let answer = world.post(0, #"{"type":"proposal",\#(Self.texts),\#(members)}"#)
        #expect(answer.status == 201)
        #expect(answer.signals == signals)
        #expect(answer.text.contains(#""parent_ids":[]"#))
        let reward = world.post(0, #"{"type":"reward",\#(Self.texts),"payload":{"value":0.5,"pattern":"r","α":null}}"#)
        #expect(reward.status == 201)
        #expect(world.strengths(0)["s/r"] == 0.5 * 1.2)
    }

    @Test("bounds every text and list")
    func bounds() {
        var world = NodeWorld()
        func event(scope: Int = 1, parents: Int = 0, parent: Int = 36, extras: Int = 0) -> String {
            let list = Array(repeating: "\"" + String(repeating: "p", count: parent) + "\"", count: parents)
            let more = (0..<extras).map { ",\"x\($0)\":0" }.joined()
            return #"{"type":"test","scope":""# + String(repeating: "s", count: scope)
                + #"","trace_id":"t","agent_id":"a","payload":{},"parent_ids":["# + list.joined(separator: ",")
                + "]\(more)}"
        }
        #expect(world.post(0, event(scope: 1_024)).status == 201)
        #expect(world.post(0, event(scope: 1_025)).message.contains("scope: longer than 1024 bytes"))
        #expect(world.post(0, event(parents: 1_024)).status == 201)
        #expect(world.post(0, event(parents: 1_025)).message.contains("parent_ids: more than 1024 entries"))
        #expect(world.post(0, event(parents: 1, parent: 256)).status == 201)
        #expect(world.post(0, event(parents: 1, parent: 257)).message.contains("a string of 1 to 256 bytes"))
        #expect(world.post(0, event(extras: 256)).status == 201)
        #expect(world.post(0, event(extras: 257)).message.contains("more than 256 unknown fields"))
    }

    @Test("writes it in one layout, to the byte")
    func layout() {
        var world = NodeWorld()
        let answer = world.post(
            0,
            """
             { "payload" : { "value": 0.50, "pattern" : "de\\u0070loy", "deep": [ 1 , {"k": "a b\\" c"} ] },
               "later" : null, "id":"\(id(0xAB).uppercased())", "agent_id":"ada\\/1", "trace_id":"tr\\u00e4ce",
               "scope":"ui.\\"x\\"", "type":"reward", "\\u006dood":"c\\u0061lm\\n" }
            """)
        let stamp = HybridTimestamp(milliseconds: NodeWorld.startMs, replica: ReplicaID(0xa1))
        let expected =
            #"{"id":"\#(id(0xab))","type":"reward","scope":"ui.\"x\"","trace_id":"träce","agent_id":"ada/1","#
            + #""parent_ids":[],"payload":{"value":0.50,"pattern":"de\u0070loy","deep":[1,{"k":"a b\" c"}]},"#
            + #""later":null,"mood":"c\u0061lm\n","timestamp":"2025-02-19T21:20:30.123Z","origin":"n0","#
            + #""replica":"00000000000000a1","seq":1,"stamp":"\#(stamp)","signals":["deploy"]}"#
        #expect(answer.status == 201)
        #expect(answer.text == expected)
        #expect(world.ask(0, .event(id: id(0xab))).text == expected)
        #expect(world.ask(0, .events(.init(limit: 1))).text == "[\(expected)]")
    }

    @Test("keeps fields that it does not know, and replaces those that are its own")
    func fields() {
        var world = NodeWorld()
        let answer = world.post(
            0,
            #"{"type":"test",\#(Self.texts),"payload":{"any":{"thing":[1]}},"mood":"calm","timestamp":"never","origin":1,"#
                + #""replica":"zz","seq":-5,"stamp":null,"signals":["stolen"],"cursor":{"a":1}}"#)
        #expect(answer.status == 201)
        #expect(answer.object["mood"] as? String == "calm")
        #expect((answer.object["cursor"] as? [String: Int]) == ["a": 1])
        #expect(answer.object["timestamp"] as? String == "2025-02-19T21:20:30.123Z")
        #expect(answer.object["origin"] as? String == "n0")
        #expect(answer.object["replica"] as? String == "00000000000000a1")
        #expect(answer.object["seq"] as? Int == 1)
        #expect((answer.object["stamp"] as? String)?.hasSuffix("-00000000000000a1") == true)
        #expect(answer.signals == [])
        #expect(world.strengths(0).isEmpty)
        for name in ["mood", "timestamp", "origin", "replica", "seq", "stamp", "signals", "cursor"] {
            #expect(answer.text.ranges(of: "\"\(name)\":").count == 1, "\(name) stands there once")
        }
    }

    @Test("makes an id of its own where none is given, and never the same twice")
    func ownIDs() {
        var world = NodeWorld()
        let ids = (0..<50).map { _ in world.post(0, "test", "{}").id }
        #expect(Set(ids).count == 50)
        #expect(ids.allSatisfy { UUID($0) != nil && Array($0)[14] == "4" && "89ab".contains(Array($0)[19]) })
    }

    @Test("accepts nothing while the node leaves, and says so")
    func leaving() {
        var world = NodeWorld()
        world.give(.leave, [], to: 0)
        let answer = world.post(0, "test", "{}")
        #expect(answer.status == 503)
        #expect(answer.message.contains("send the request to another node"))
        #expect(world.ask(0, .health(.init())).status == 503)
    }

    @Test("accepts arrays and objects 128 deep, and not 129", arguments: [(128, 201), (129, 400)])
    func depth(levels: Int, status: UInt16) {
        var world = NodeWorld()
        // The event and its payload are two of them.
        let deep = String(repeating: "[", count: levels - 2) + String(repeating: "]", count: levels - 2)
        #expect(world.post(0, "test", "{\"deep\":\(deep)}").status == status)
    }
}
