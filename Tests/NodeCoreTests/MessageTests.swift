import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

/// A message as a client posts it.
func message(
    _ number: Int? = nil, from sender: String = "ada", to receiver: String = "bob", type: String = "notification",
    priority: Int? = nil, _ more: String = ""
) -> String {
    let given = number.map { "\"id\":\"\(id($0))\"," } ?? ""
    let priority = priority.map { ",\"priority\":\($0)" } ?? ""
    return "{\(given)\"sender\":\"\(sender)\",\"receiver\":\"\(receiver)\",\"message_type\":\"\(type)\","
        + "\"content\":{\"n\":1}\(priority)\(more)}"
}

extension NodeWorld {
    mutating func send(_ i: Int, _ message: String) -> Answer { ask(i, .bus(.postMessage), message) }

    /// Takes messages, and lets the world go on until the answer is there.
    mutating func take(_ i: Int, _ agent: String = "bob", type: String? = nil, max: Int = 100) -> Answer {
        let request = 1_000 + UInt64(replies[i].count)
        give(.request(RequestID(request), .bus(.take(agent: agent, type: type, most: max))), [], to: i)
        for _ in 0..<200 where answers(i, to: request).isEmpty {
            deliver()
            if answers(i, to: request).isEmpty { run(milliseconds: 50) }
        }
        deliver()
        return answers(i, to: request)[0]
    }

    mutating func taken(_ i: Int, _ agent: String = "bob", type: String? = nil, max: Int = 100) -> [String] {
        ids(take(i, agent, type: type, max: max))
    }

    mutating func peek(_ i: Int, _ agent: String = "bob", max: Int = 2_000) -> [String] {
        ids(ask(i, .bus(.peek(agent: agent, type: nil, most: max))))
    }

    mutating func count(_ i: Int, _ agent: String = "bob") -> Int {
        ask(i, .bus(.count(agent: agent, type: nil))).object["count"] as? Int ?? -1
    }

    mutating func history(_ i: Int, _ agent: String? = nil, since: String? = nil, limit: Int = 1_000) -> [String] {
        ids(ask(i, .bus(.history(agent: agent, since: since, limit: limit))))
    }

    func ids(_ answer: Answer) -> [String] { answer.list.compactMap { $0["id"] as? String } }
}

@Suite("Direct messages")
struct MessageTests {
    @Test("are answered as stored, wait at every node, and are taken once")
    func once() {
        var world = NodeWorld.linked(3)
        let posted = world.send(0, message(1, ",\"run_id\":\"r\",\"mine\":[1]"))
        #expect(posted.status == 201 && !posted.clock.isEmpty)
        let object = posted.object
        #expect(object["sender"] as? String == "ada" && object["receiver"] as? String == "bob")
        #expect(object["message_type"] as? String == "notification" && object["priority"] as? Int == 5)
        #expect(object["run_id"] as? String == "r" && object["mine"] as? [Int] == [1])
        #expect((object["metadata"] as? [String: Any])?.isEmpty == true)
        #expect(object["origin"] as? String == "n0" && object["seq"] as? Int != nil)
        world.deliver()
        for i in 0..<3 { #expect(world.peek(i) == [id(1)] && world.count(i) == 1) }
        let taken = world.take(2)
        #expect(taken.status == 200 && !taken.clock.isEmpty)
        #expect(taken.text == "[\(posted.text)]")
        for i in 0..<3 { #expect(world.taken(i) == [] && world.count(i) == 0) }
        for i in 0..<3 { #expect(world.history(i) == [id(1)]) }
    }

    @Test("whoever takes, everything is taken once, whichever node is the owner")
    func everywhere() {
        var world = NodeWorld.linked(3)
        for agent in ["a", "b", "c", "d", "e", "f"] {
            for number in 0..<12 { _ = world.send(number % 3, message(from: "x", to: agent)) }
            world.deliver()
            var seen: [String] = []
            for round in 0..<6 { seen += world.taken(round % 3, agent, max: 2) }
            #expect(Set(seen).count == 12 && seen.count == 12, "\(agent)")
        }
        let owners = Set(["a", "b", "c", "d", "e", "f"].map { world.nodes[0].owner(of: Array($0.utf8), named: nil) })
        #expect(owners.count > 1, "the test asks different owners")
        #expect((0..<3).reduce(0) { $0 + world.metric($1, "takes_asked_total")! } > 0)
    }

    @Test("refuse what is no message, with the field and the reason")
    func refused() {
        var world = NodeWorld()
        let whole = #"{"sender":"a","receiver":"b","message_type":"query","content":1"#
        for (text, part) in [
            (#"{"receiver":"b","message_type":"query","content":1}"#, "sender: required"),
            (#"{"sender":"","receiver":"b","message_type":"query","content":1}"#, "sender: must not be empty"),
            (#"{"sender":"broadcast","receiver":"b","message_type":"query","content":1}"#, "sender: "),
            (#"{"sender":"a","message_type":"query","content":1}"#, "receiver: required"),
            (
                #"{"sender":"a","receiver":3,"message_type":"query","content":1}"#,
                "receiver: expected a non-empty string"
            ),
            (#"{"sender":"a","receiver":"b","content":1}"#, "message_type: required"),
            (#"{"sender":"a","receiver":"b","message_type":"shout","content":1}"#, "found \"shout\""),
            (#"{"sender":"a","receiver":"b","message_type":"query"}"#, "content: required"),
            (whole + #","priority":11}"#, "priority: expected a whole number from 0 to 10"),
            (whole + #","priority":1.5}"#, "priority: "), (whole + #","priority":"5"}"#, "priority: "),
            (whole + #","metadata":[]}"#, "metadata: expected an object"),
            (whole + #","correlation_id":7}"#, "correlation_id: "), (whole + #","id":"x"}"#, "id: expected a UUID"),
            (whole, "invalid JSON"), ("[]", "one JSON object"),
        ] {
            let answer = world.send(0, text)
            #expect(answer.status == 400 && answer.message.contains(part), "\(text): \(answer.message)")
        }
        #expect(world.send(0, whole + #","priority":10.0}"#).object["priority"] as? Int == 10)
        #expect(world.take(0, "broadcast").status == 400 && world.take(0, "").status == 400)
        #expect(world.take(0, type: "shout").message.contains("query parameter type"))
    }

    @Test("have ids of their own: repeated they are the same, with another content refused")
    func ids() {
        var world = NodeWorld()
        let first = world.send(0, message(1))
        let again = world.send(0, message(1))
        #expect(again.status == 200 && again.text == first.text && again.clock == first.clock)
        #expect(world.send(0, message(1, to: "eve")).status == 409)
        #expect(world.post(0, id: id(1), "test", "{}").status == 409, "an event under a message's id")
        _ = world.post(0, id: id(2), "test", "{}")
        #expect(world.send(0, message(2)).status == 409, "a message under an event's id")
        #expect(world.peek(0) == [id(1)])
    }

    @Test("are in no list and no stream of events")
    func hidden() {
        var world = NodeWorld.linked(2)
        for i in 0..<2 { world.open(1, at: i) }
        // It looks like a SEMP event as much as it can.
        let disguised =
            ",\"type\":\"test\",\"scope\":\"ui\",\"trace_id\":\"t\",\"agent_id\":\"a\",\"payload\":{},"
            + "\"signals\":[\"p\"],\"topic\":\"t\",\"source\":\"s\""
        #expect(world.send(0, message(1, disguised)).status == 201)
        world.deliver()
        for i in 0..<2 {
            #expect(world.ask(i, .events(.init(limit: 10))).list.isEmpty)
            #expect(world.ask(i, .eventsInScope("ui", .init(limit: 10))).list.isEmpty)
            #expect(world.ask(i, .eventsInTrace("t", .init(limit: 10))).list.isEmpty)
            #expect(world.ask(i, .eventsOnTopic("t", .init(limit: 10))).list.isEmpty)
            #expect(world.ask(i, .event(id: id(1))).status == 404)
            #expect(world.broadcasts[i].isEmpty && world.sent[i].isEmpty)
            #expect(world.strengths(i).isEmpty)
        }
    }

    @Test("come by priority and then by age, of one type if asked")
    func order() {
        var world = NodeWorld.linked(2)
        for (number, priority) in [(1, 5), (2, 9), (3, 0), (4, 9), (5, 10)] {
            world.now = world.now.advanced(milliseconds: 1)
            _ = world.send(number % 2, message(number, type: number == 4 ? "vote" : "query", priority: priority))
            world.deliver()
        }
        #expect(world.peek(0) == [5, 2, 4, 1, 3].map { id($0) })
        #expect(world.peek(1, max: 2) == [5, 2].map { id($0) })
        #expect(world.taken(0, type: "vote") == [id(4)])
        #expect(world.taken(1, max: 2) == [5, 2].map { id($0) })
        #expect(world.taken(0) == [1, 3].map { id($0) })
    }

    @Test("to all wait for every agent whose mailbox was open, but for the sender")
    func broadcast() {
        var world = NodeWorld.linked(3)
        _ = world.send(0, message(1, to: "bob"))
        world.deliver()
        #expect(world.taken(1, "eve") == [], "taking opens a mailbox")
        world.give(.sessionOpened(SessionID(5), agent: "ada"), [], to: 2)
        world.deliver()
        #expect(world.send(2, message(2, to: "broadcast", type: "broadcast")).status == 201)
        world.deliver()
        #expect(world.taken(1, "late") == [], "opened afterwards")
        _ = world.send(1, message(3, from: "bob", to: "broadcast"))
        world.deliver()
        for i in 0..<3 {
            #expect(world.peek(i, "bob") == [1, 2].map { id($0) })
            #expect(world.peek(i, "eve") == [2, 3].map { id($0) })
            #expect(world.peek(i, "ada") == [3].map { id($0) })
            #expect(world.peek(i, "late") == [3].map { id($0) })
        }
        #expect(world.taken(0, "eve") == [2, 3].map { id($0) })
        #expect(world.taken(1, "bob") == [1, 2].map { id($0) })
        for i in 0..<3 {
            #expect(world.count(i, "bob") == 0 && world.count(i, "eve") == 0 && world.count(i, "late") == 1)
        }
    }

    @Test("of more than a thousand the oldest are dropped and counted, the same everywhere")
    func full() {
        var world = NodeWorld.linked(2)
        for number in 1...1_203 {
            _ = world.send(number % 2, message(number))
            world.deliver()
            world.now = world.now.advanced(milliseconds: 1)
        }
        #expect(world.count(0) == 1_000 && world.count(1) == 1_000)
        world.run(milliseconds: 1_000)
        for i in 0..<2 {
            let all = world.peek(i)
            #expect(all.count == 1_000 && all.first == id(204) && all.last == id(1_203))
            let stats = world.ask(i, .bus(.stats)).object
            #expect(stats["dropped"] as? Int == 203 && stats["mailboxes"] as? Int == 1)
        }
        #expect(world.taken(0, max: 1_000).count == 1_000)
        #expect(world.taken(1, max: 1_000).isEmpty, "what was dropped does not come back")
        #expect((0..<2).reduce(0) { $0 + world.metric($1, "messages_dropped_total")! } == 203)
    }

    @Test("are in history and conversations, at every node")
    func past() {
        var world = NodeWorld.linked(2)
        for (number, sender, receiver, correlation) in [
            (1, "ada", "bob", "x"), (2, "bob", "ada", "x"), (3, "eve", "ada", "y"), (4, "eve", "bob", "x"),
        ] {
            world.now = world.now.advanced(milliseconds: 1)
            _ = world.send(
                number % 2, message(number, from: sender, to: receiver, ",\"correlation_id\":\"\(correlation)\""))
            world.deliver()
        }
        for i in 0..<2 {
            #expect(world.history(i) == [1, 2, 3, 4].map { id($0) })
            #expect(world.history(i, "bob") == [1, 2, 4].map { id($0) })
            #expect(world.history(i, "eve") == [3, 4].map { id($0) })
            #expect(world.history(i, limit: 2) == [3, 4].map { id($0) })
            #expect(world.history(i, since: id(2)) == [3, 4].map { id($0) })
            #expect(world.history(i, "bob", since: id(1), limit: 1) == [id(2)])
            #expect(world.ids(world.ask(i, .bus(.conversation("x", limit: 100)))) == [1, 2, 4].map { id($0) })
            let stats = world.ask(i, .bus(.stats)).object
            #expect(stats["messages"] as? Int == 4)
            #expect((stats["by_type"] as? [String: Int]) == ["notification": 4])
            let agents = stats["by_agent"] as? [String: [String: Int]]
            #expect(agents?["eve"] == ["sent": 2, "received": 0] && agents?["ada"] == ["sent": 1, "received": 2])
        }
        #expect(world.ask(0, .bus(.history(agent: nil, since: "soon", limit: 1))).status == 400)
    }

    @Test("reach connected agents at once and stay until taken")
    func live() {
        var world = NodeWorld.linked(2)
        world.give(.sessionOpened(SessionID(1), agent: "bob"), [], to: 1)
        world.open(2, at: 1)
        world.deliver()
        let posted = world.send(0, message(1))
        world.deliver()
        #expect(world.sent[1].map(\.text) == [#"{"type":"message","data":\#(posted.text)}"#])
        #expect(world.sent[1].map(\.session) == [SessionID(1)])
        world.say(1, #"{"type":"take","max":5,"ref":9}"#, to: 1)
        for _ in 0..<20 { world.run(milliseconds: 20) }
        #expect(world.sent[1].last?.text == #"{"type":"taken","ref":9,"data":[\#(posted.text)]}"#)
        world.say(2, #"{"type":"take"}"#, to: 1)
        #expect(world.sent[1].last?.text.contains("say first whose mailbox it is") == true)
        world.say(2, #"{"type":"send","ref":"s","message":\#(message(7, from: "bob", to: "ada"))}"#, to: 1)
        #expect(world.sent[1].last?.text == #"{"type":"sent","ref":"s","id":"\#(id(7))"}"#)
        #expect(world.count(1) == 0 && world.peek(1, "ada") == [id(7)])
    }

    @Test("of a mailbox that was closed are gone, and it can be opened again")
    func closed() {
        var world = NodeWorld.linked(2)
        _ = world.send(0, message(1))
        world.deliver()
        #expect(world.ask(1, .bus(.closeMailbox(agent: "bob"))).status == 204)
        world.deliver()
        #expect(world.ask(0, .bus(.closeMailbox(agent: "bob"))).status == 404)
        _ = world.send(0, message(2))
        world.deliver()
        for i in 0..<2 { #expect(world.peek(i) == [id(2)]) }
        #expect(world.taken(1) == [id(2)])
    }
}
