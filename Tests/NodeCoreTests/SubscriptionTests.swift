import Gossip
import Testing

@testable import NodeCore

@Suite("A scope pattern")
struct ScopePatternTests {
    @Test(
        "fits whole segments, `*` one, `>` the rest",
        arguments: [
            ("ui", "ui", true), ("ui", "uix", false), ("ui", "u", false), ("ui", "ui.x", false), ("ui.x", "ui", false),
            ("ui.*", "ui.x", true), ("ui.*", "ui", false), ("ui.*", "ui.x.y", false), ("*", "ui", true),
            ("*", "ui.x", false),
            ("*.x", "ui.x", true), ("ui.*.done", "ui.save.done", true), ("ui.*.done", "ui.done", false),
            (">", "ui", true), (">", "ui.x.y", true), ("ui.>", "ui.x", true), ("ui.>", "ui.x.y", true),
            ("ui.>", "ui", false),
            ("ui.>", "uix.y", false), ("*.>", "a.b", true), ("*.>", "a", false), ("*.*", "a.b", true),
            ("ui.x*", "ui.x*", true),
            ("ui.x*", "ui.xy", false), ("UI", "ui", false), ("a b", "a b", true),
        ])
    func table(pattern: String, scope: String, fits: Bool) throws {
        let it = try #require(AddressPattern(Array(pattern.utf8)))
        #expect(it.matches(Array(scope.utf8).span.bytes) == fits)
    }

    @Test(
        "is refused where a segment is empty or something follows the tail",
        arguments: ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b", ">.>"])
    func refused(pattern: String) {
        #expect(AddressPattern(Array(pattern.utf8)) == nil)
    }
}

@Suite("Clients on /ws")
struct SubscriptionTests {
    private var world = NodeWorld()

    private mutating func answers(_ session: UInt64, to text: String) -> [String] {
        let before = world.sent[0].count
        world.say(session, text, to: 0)
        return world.sent[0][before...].map(\.text)
    }

    @Test("hear everything until they subscribe, in one frame for all of them")
    mutating func everything() {
        for session in 1...3 as ClosedRange<UInt64> { world.open(session, at: 0) }
        let event = world.post(0, id: id(1), "test", "{}")
        #expect(world.broadcasts[0].map(\.text) == [#"{"type":"event","data":\#(event.text)}"#])
        #expect(world.broadcasts[0].map(\.channel) == [ChannelID(0)])
        for session in 1...3 as ClosedRange<UInt64> { #expect(world.delivered(session, at: 0) == [id(1)]) }
    }

    @Test("nobody listening costs nothing")
    mutating func silence() {
        world.open(1, at: 0)
        world.close(1, at: 0)
        _ = world.post(0, "test", "{}")
        #expect(world.broadcasts[0].isEmpty)
        #expect(world.nodes[0].sessions.count == 0)
    }

    @Test(
        "hear what any of their filters wants, once",
        arguments: [
            (#"{"scope":"ui.>"}"#, [1, 2, 5]), (#"{"scope":"*"}"#, [3, 4]),
            (#"{"types":["reward","penalty"]}"#, [2, 4]),
            (#"{"agents":["ada"]}"#, [1, 3, 4]), (#"{"agents":["b\u006fb","cyd"],"scope":"ui.*"}"#, [2]),
            (#"{"scope":"ui.>","types":["proposal"],"agents":["ada"]}"#, [1]), (#"{}"#, [1, 2, 3, 4, 5]), ("null", []),
            (#"{"scope":null}"#, [1, 2, 3, 4, 5]), (#"{"types":["test","test"]}"#, [3]),
            (#"{"agents":["nobody"],"more":[1]}"#, []),
            (#"{"scope":"ui."}"#, []),
        ] as [(String, [Int])])
    mutating func filters(filter: String, expected: [Int]) {
        world.open(1, at: 0)
        let answer = answers(1, to: #"{"type":"subscribe","filter":\#(filter),"ref":1}"#)
        guard filter != "null", !filter.contains("ui.\"") else {
            #expect(answer.count == 1)
            return #expect(answer[0].contains("Validation error: filter"))
        }
        #expect(answer == [#"{"type":"subscribed","ref":1}"#])
        for (i, (type, scope, agent)) in [
            ("proposal", "ui.a", "ada"), ("reward", "ui.b", "bob"), ("test", "db", "ada"), ("penalty", "db", "ada"),
            ("ready", "ui.c.d", "cyd"),
        ].enumerated() {
            let event =
                #"{"id":"\#(id(i + 1))","type":"\#(type)","scope":"\#(scope)","trace_id":"t","agent_id":"\#(agent)","payload":{"value":1}}"#
            #expect(world.post(0, event).status == 201)
        }
        #expect(world.delivered(1, at: 0) == expected.map(id))
    }

    @Test(
        "are told what is wrong with a filter",
        arguments: [
            ("7", "filter: expected an object with scope, types or agents, found a number"),
            (#"{"scope":7}"#, "filter.scope: expected segments between dots"),
            (#"{"types":[]}"#, "filter.types: expected an array of"),
            (#"{"types":["joke"]}"#, "filter.types"), (#"{"types":"test"}"#, "filter.types"),
            (#"{"types":[1]}"#, "filter.types"),
            (#"{"agents":[]}"#, "filter.agents: expected an array of 1 to 64 agent ids"),
            (#"{"agents":{}}"#, "filter.agents"),
            (#"{"agents":[\#((0..<65).map { "\"a\($0)\"" }.joined(separator: ","))]}"#, "filter.agents"),
        ])
    mutating func badFilters(filter: String, message: String) {
        world.open(1, at: 0)
        let answer = answers(1, to: #"{"type":"subscribe","filter":\#(filter)}"#)
        #expect(answer.count == 1)
        #expect(answer[0].hasPrefix(#"{"type":"error","message":"Validation error: \#(message)"#))
        #expect(world.tuned[0][SessionID(1)] == ChannelID(0), "nothing changed")
    }

    @Test("share a channel when they want the same, and close it when the last one leaves")
    mutating func channels() {
        for session in 1...4 as ClosedRange<UInt64> { world.open(session, at: 0) }
        let ui = #"{"type":"subscribe","filter":{"scope":"ui.>"}}"#
        world.say(1, ui, to: 0)
        world.say(2, #"{"filter":{"scope":"\u0075i.>"},"type":"subscribe"}"#, to: 0)
        world.say(3, #"{"type":"subscribe","filter":{"scope":"db.>"}}"#, to: 0)
        let tuned = world.tuned[0]
        #expect(tuned[SessionID(1)] == tuned[SessionID(2)])
        #expect(Set(tuned.values).count == 3)
        #expect(world.nodes[0].sessions.channelCount == 3)

        // Two wishes, both fitting, are still one frame.
        world.say(3, ui, to: 0)
        #expect(world.closedChannels[0] == [tuned[SessionID(3)]!])
        _ = world.post(0, id: id(1), "test", scope: "ui.x", "{}")
        for session in 1...4 as ClosedRange<UInt64> { #expect(world.delivered(session, at: 0) == [id(1)]) }
        #expect(world.broadcasts[0].count == 3)

        world.close(1, at: 0)
        #expect(world.closedChannels[0].count == 1)
        world.say(2, #"{"type":"unsubscribe","filter":{"scope":"ui.>"}}"#, to: 0)
        #expect(world.closedChannels[0].count == 2)
        #expect(world.tuned[0][SessionID(2)] == nil)
        world.say(3, #"{"type":"unsubscribe"}"#, to: 0)
        world.close(4, at: 0)
        _ = world.post(0, id: id(2), "test", scope: "ui.x", "{}")
        #expect(world.broadcasts[0].count == 3)
        #expect(world.nodes[0].sessions.channelCount == 1)
        world.say(2, #"{"type":"subscribe"}"#, to: 0)
        #expect(world.tuned[0][SessionID(2)] == ChannelID(0), "no filter is everything")
    }

    @Test("have at most 64 subscriptions")
    mutating func bound() {
        world.open(1, at: 0)
        for i in 0..<64 { #expect(answers(1, to: #"{"type":"subscribe","filter":{"scope":"s\#(i)"}}"#) == []) }
        let refused = answers(1, to: #"{"type":"subscribe","filter":{"scope":"s64"},"ref":"r"}"#)
        #expect(refused.count == 1)
        #expect(refused[0].contains("use wider patterns"))
        #expect(
            answers(1, to: #"{"type":"subscribe","filter":{"scope":"s1"},"ref":2}"#) == [
                #"{"type":"subscribed","ref":2}"#
            ])
    }

    @Test("publish, and hear under which id; the ref comes back as it was sent")
    mutating func publish() {
        world.open(1, at: 0)
        let event = #"{"id":"\#(id(9))","type":"test","scope":"ui","trace_id":"t","agent_id":"a","payload":{}}"#
        let published = #"{"type":"published","ref":{"n":[1,"x y"]},"id":"\#(id(9))"}"#
        for _ in 0..<2 {
            #expect(
                answers(1, to: #"{"ref" : { "n" : [ 1, "x y" ] },"event":\#(event),"type":"publish"}"#) == [published])
        }
        #expect(world.delivered(1, at: 0) == [id(9)], "published twice, delivered once")
        #expect(world.ask(0, .event(id: id(9))).status == 200)
        let refused = answers(1, to: #"{"type":"publish","ref":"r","event":{"type":"joke"}}"#)
        #expect(refused.count == 1)
        #expect(refused[0].hasPrefix(#"{"type":"error","ref":"r","message":"Validation error: type: expected one of"#))
    }

    @Test(
        "are answered when they ping, and told what a message may be",
        arguments: [
            (#"{"type":"ping"}"#, #"{"type":"pong"}"#),
            (#"{"type":"ping","ref":null}"#, #"{"type":"pong","ref":null}"#),
            (#"{"type":"p\u0069ng","x":1}"#, #"{"type":"pong"}"#),
            (
                "{}",
                #"{"type":"error","message":"Validation error: type: required: subscribe, unsubscribe, publish, request, ack, nack, send, take, identify or ping"}"#
            ),
            (
                #"{"type":"dance","ref":5}"#,
                #"{"type":"error","ref":5,"message":"Validation error: type: expected subscribe, unsubscribe, publish, request, ack, nack, send, take, identify or ping, found \"dance\""}"#
            ),
            (
                #"{"type":"publish"}"#,
                #"{"type":"error","message":"Validation error: event: required, the event to publish"}"#
            ),
            (
                "[]",
                #"{"type":"error","message":"Validation error: invalid JSON at byte 0 (line 1, column 1): a message must be one JSON object"}"#
            ),
            (
                "{\"type\":",
                #"{"type":"error","message":"Validation error: invalid JSON at byte 8 (line 1, column 9): the text ends where a value should be"}"#
            ),
            (
                #"{"type":"subscribe","cursor":"c"}"#,
                #"{"type":"error","message":"Validation error: cursor: no cursor of an event (the field base64url has an unknown value); send it back unchanged, \"earliest\" for all that is kept, or \"\" for what comes from now on"}"#
            ),
            (
                #"{"type":"subscribe","group":null}"#,
                #"{"type":"error","message":"Validation error: group: expected the name of a queue group"}"#
            ),
            (#"{"type":"subscribe","signals":true,"ref":1}"#, #"{"type":"subscribed","ref":1}"#),
            (#"{"type":"subscribe","signals":false,"ref":1}"#, #"{"type":"subscribed","ref":1}"#),
            (#"{"type":"unsubscribe","ref":1}"#, #"{"type":"unsubscribed","ref":1}"#),
        ])
    mutating func messages(text: String, answer: String) {
        world.open(1, at: 0)
        #expect(answers(1, to: text) == [answer])
    }

    @Test("may not send a ref that every answer would suffer from")
    mutating func longRef() {
        world.open(1, at: 0)
        let answer = answers(1, to: #"{"type":"ping","ref":"\#(String(repeating: "r", count: 255))"}"#)
        #expect(answer.count == 1)
        #expect(answer[0].contains("a ref of more than 256 bytes"))
        #expect(answer[0].utf8.count < 200)
    }
}
