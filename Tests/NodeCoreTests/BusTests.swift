import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

/// What clients of the bus are shown.
extension NodeWorld {
    /// Posts a bus event, and says under which id.
    @discardableResult
    mutating func publish(_ i: Int, _ topic: String, _ type: String = "done", source: String = "ada") -> String {
        post(i, #"{"topic":"\#(topic)","type":"\#(type)","source":"\#(source)","data":{"n":1}}"#).id
    }

    /// The messages that a session got, as objects, from the `start`th on.
    func messages(_ session: UInt64, at i: Int, from start: Int = 0) -> [[String: Any]] {
        (heard[i][SessionID(session)] ?? []).dropFirst(start).map { text in
            // An event stream's data is the same as a message's, or the event itself.
            let line =
                text.split(separator: "\n").last { $0.hasPrefix("data: ") }.map { $0.dropFirst(6) } ?? Substring(text)
            return (try? JSONSerialization.jsonObject(with: Data(line.utf8))) as? [String: Any] ?? ["text": text]
        }
    }

    /// The ids of the events that a session was shown.
    func shown(_ session: UInt64, at i: Int) -> [String] {
        messages(session, at: i).compactMap { ($0["data"] as? [String: Any] ?? $0)["id"] as? String }
    }

    /// The last cursor that a session was given.
    func cursor(_ session: UInt64, at i: Int) -> String {
        for text in (heard[i][SessionID(session)] ?? []).reversed() {
            if let line = text.split(separator: "\n").first(where: { $0.hasPrefix("id: ") }) {
                return String(line.dropFirst(4))
            }
            if let object = (try? JSONSerialization.jsonObject(with: Data(text.utf8))) as? [String: Any],
                let cursor = object["cursor"] as? String
            {
                return cursor
            }
        }
        return ""
    }

    mutating func subscribe(_ session: UInt64, at i: Int, _ filter: String, cursor: String) {
        open(session, at: i)
        say(session, #"{"type":"subscribe","filter":\#(filter),"cursor":"\#(cursor)"}"#, to: i)
    }
}

@Suite("Bus events")
struct BusEventTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    @Test("are stored as they were sent, beside what the node adds, and have lists of their own")
    mutating func stored() {
        let event =
            #"{"topic":"tasks.build","type":"done","source":"ada","data":[1,{"x":null}],"correlation_id":"c\u0031","#
            + #""response_event":null,"response_topic":"re.1","mine":7,"seq":99}"#
        let answer = world.post(0, event)
        #expect(answer.status == 201)
        #expect(
            answer.text.contains(
                #","topic":"tasks.build","type":"done","source":"ada","correlation_id":"c1","response_topic":"re.1","data":[1,{"x":null}],"mine":7,"timestamp":""#
            ))
        #expect(answer.object["seq"] as? Int == 1)
        #expect(world.ask(0, .event(id: answer.id)).text == answer.text)
        #expect(world.ask(0, .events(.init(limit: 9))).list.isEmpty, "SEMP's lists show SEMP events")
        #expect(world.ask(0, .eventsInScope("tasks.build", .init(limit: 9))).list.isEmpty)
        #expect(world.ask(0, .eventsOnTopic("tasks.build", .init(limit: 9))).list.count == 1)
        world.link(0, 1)
        #expect(world.ask(1, .event(id: answer.id)).text == answer.text)
        #expect(world.ask(1, .eventsOnTopic("tasks.build", .init(limit: 9))).text == "[\(answer.text)]")
    }

    @Test("come once under one id, and differ from what else is sent under it")
    mutating func again() {
        let event = #"{"id":"\#(id(1))","topic":"a","type":"t","source":"s","data":1.0}"#
        #expect(world.post(0, event).status == 201)
        #expect(world.post(0, #"{"source":"s","type":"t","topic":"a","data":1,"id":"\#(id(1))"}"#).status == 200)
        #expect(world.post(0, #"{"id":"\#(id(1))","topic":"a","type":"t","source":"s","data":2}"#).status == 409)
        #expect(world.post(0, id: id(1), "test", "{}").status == 409, "nor is a SEMP event the same")
    }

    @Test(
        "are refused with the field and the reason",
        arguments: [
            (#"{"topic":"","type":"t","source":"s"}"#, "topic: must not be empty"),
            (#"{"topic":"a..b","type":"t","source":"s"}"#, "topic: expected segments between dots"),
            (#"{"topic":"a.*","type":"t","source":"s"}"#, "topic: expected segments between dots"),
            (#"{"topic":7,"type":"t","source":"s"}"#, "topic: expected a non-empty string, found a number"),
            (#"{"topic":"a","source":"s"}"#, "type: required"), (#"{"topic":"a","type":"t"}"#, "source: required"),
            (#"{"topic":"a","type":"t","source":"s","response_topic":"x.>"}"#, "response_topic: expected"),
            (#"{"topic":"a","type":"t","source":"s","correlation_id":""}"#, "correlation_id: must not be empty"),
            (#"{"topic":"a","type":"t","source":"s","id":"x"}"#, "id: expected a UUID"),
            (#"{"topic":"a","type":"t","source":"s","data":1,"data":2}"#, "invalid JSON"),
            (#"{"topic":"a","scope":"b","type":"t","source":"s"}"#, "type: expected one of proposal"),
            (#"{"type":"test"}"#, "scope: required"),
        ])
    mutating func refused(event: String, message: String) {
        let answer = world.post(0, event)
        #expect(answer.status == 400)
        #expect(answer.message.hasPrefix("Validation error: \(message)"), "\(answer.message)")
    }

    @Test("reach those who asked for their topic, and nobody who hears SEMP")
    mutating func surfaces() {
        for session in 1...4 as ClosedRange<UInt64> { world.open(session, at: 0) }
        world.say(2, #"{"type":"subscribe","filter":{"topic":"tasks.>"}}"#, to: 0)
        world.say(3, #"{"type":"subscribe","filter":{"topic":">","types":["done"],"agents":["bob"]}}"#, to: 0)
        world.say(4, #"{"type":"subscribe","filters":[{},{"topic":"tasks.*"}]}"#, to: 0)
        let first = world.publish(0, "tasks.build")
        let second = world.publish(0, "mail", source: "bob")
        let semp = world.post(0, "test", "{}").id
        #expect(world.shown(1, at: 0) == [semp])
        #expect(world.shown(2, at: 0) == [first])
        #expect(world.shown(3, at: 0) == [second])
        #expect(world.shown(4, at: 0) == [first, semp])
        world.say(1, #"{"type":"subscribe","filter":{"topic":"a","scope":"b"}}"#, to: 0)
        #expect(world.sent[0].last?.text.contains("scope is for SEMP events, topic for bus events") == true)
    }
}

@Suite("A cursor")
struct CursorTests {
    private var world = NodeWorld(clocksAheadMs: [])

    /// Ids that differ in what a cursor names of them, as random ones do.
    init() { for i in 1...2 as ClosedRange<UInt64> { world.add(replica: ReplicaID(i << 56 | 0xa0)) } }

    @Test("comes with every event, and resumes at another node with nothing missed and nothing twice")
    mutating func resumes() {
        world.link(0, 1)
        world.subscribe(1, at: 0, #"{"scope":"ui.>"}"#, cursor: "")
        #expect(world.messages(1, at: 0)[0]["type"] as? String == "subscribed")
        var expected: [String] = []
        for n in 0..<6 {
            expected.append(world.post(n % 2, "test", scope: "ui.\(n)", "{}").id)
            _ = world.post(n % 2, "test", scope: "db", "{}")
            world.deliver()
        }
        #expect(world.shown(1, at: 0) == expected)
        let cursor = world.cursor(1, at: 0)
        world.close(1, at: 0)
        let missed = (0..<5).map { world.post($0 % 2, "test", scope: "ui.x\($0)", "{}").id }
        world.deliver()
        world.subscribe(2, at: 1, #"{"scope":"ui.>"}"#, cursor: cursor)
        let messages = world.messages(2, at: 1)
        #expect(messages.first { $0["type"] as? String == "resumed" }?["recovered"] as? Bool == true)
        let live = world.post(0, "test", scope: "ui.live", "{}").id
        world.deliver()
        let shown = world.shown(2, at: 1)
        #expect(Set(shown) == Set(missed + [live]))
        #expect(shown.count == 6 && shown.last == live)
        #expect(world.tuned[1][SessionID(2)] != nil, "it has joined a channel")
    }

    @Test("in the middle of what came at once leaves out nothing behind it")
    mutating func batch() {
        for n in 0..<50 { _ = world.post(0, id: id(n), "test", scope: "s\(n % 3)", "{}") }
        world.subscribe(1, at: 1, #"{"scope":"s1"}"#, cursor: "")
        world.link(0, 1)
        let shown = world.messages(1, at: 1).filter { $0["type"] as? String == "event" }
        #expect(shown.count == 17)
        for (n, message) in shown.enumerated() {
            let session = UInt64(100 + n)
            world.subscribe(session, at: n % 2, #"{"scope":"s1"}"#, cursor: message["cursor"] as? String ?? "")
            #expect(world.shown(session, at: n % 2) == (n + 1..<17).map { id($0 * 3 + 1) })
        }
    }

    @Test("ahead of its new node hides what the client has seen until the node has caught up")
    mutating func ahead() {
        world.link(0, 1)
        _ = world.post(0, id: id(1), "test", "{}")
        world.deliver()
        world.unlink(0, 1)
        world.subscribe(1, at: 0, "{}", cursor: "earliest")
        for n in 2...4 { _ = world.post(0, id: id(n), "test", "{}") }
        let cursor = world.cursor(1, at: 0)
        #expect(world.shown(1, at: 0) == (1...4).map(id))
        world.subscribe(2, at: 1, "{}", cursor: cursor)
        _ = world.post(1, id: id(5), "test", "{}")
        #expect(world.shown(2, at: 1) == [id(5)])
        #expect(world.tuned[1][SessionID(2)] == nil, "it is shown events by itself for now")
        // Another client goes on from what this one was given: it has seen what both nodes had.
        let both = world.cursor(2, at: 1)
        world.link(0, 1)
        _ = world.post(0, id: id(6), "test", "{}")
        world.deliver()
        #expect(world.shown(2, at: 1) == [id(5), id(6)])
        #expect(world.tuned[1][SessionID(2)] != nil)
        world.subscribe(3, at: 0, "{}", cursor: both)
        #expect(world.shown(3, at: 0) == [id(6)])
    }

    @Test("stays ahead of a node that has found the others dead: a partition loses nothing")
    mutating func aheadInPartition() {
        world = NodeWorld(clocksAheadMs: [])
        world.hasNetwork = true
        // A cursor names logs by the beginning of their ids.
        for i in 1...2 { world.add(profile: .fast, replica: ReplicaID(UInt64(i) << 56)) }
        world.run(milliseconds: 3_000)
        world.cutOff = [1]
        world.run(milliseconds: 10_000)
        #expect(world.nodes[1].cluster.membership.aliveCount == 1)
        world.subscribe(1, at: 0, "{}", cursor: "earliest")
        for n in 1...3 { _ = world.post(0, id: id(n), "test", "{}") }
        let cursor = world.cursor(1, at: 0)
        #expect(world.shown(1, at: 0) == (1...3).map(id))
        world.subscribe(2, at: 1, "{}", cursor: cursor)
        _ = world.post(1, id: id(4), "test", "{}")
        world.run(milliseconds: 100)
        #expect(world.shown(2, at: 1) == [id(4)])
        // What it was given there names what it had seen before.
        let both = world.cursor(2, at: 1)
        world.cutOff = []
        world.run(milliseconds: 10_000)
        world.subscribe(3, at: 1, "{}", cursor: both)
        _ = world.post(0, id: id(5), "test", "{}")
        world.run(milliseconds: 1_000)
        #expect(world.shown(2, at: 1) == [id(4), id(5)])
        #expect(world.shown(3, at: 1) == [id(5)])
        #expect(world.tuned[1][SessionID(2)] != nil, "it has caught up")
    }

    @Test("counts one event once, whichever copies of it the nodes saw first")
    mutating func copies() {
        _ = world.post(0, id: id(1), "test", "{}")
        _ = world.post(1, id: id(1), "test", "{}")
        _ = world.post(1, id: id(2), "test", "{}")
        world.subscribe(1, at: 0, "{}", cursor: "earliest")
        let cursor = world.cursor(1, at: 0)
        world.link(0, 1)
        #expect(world.shown(1, at: 0) == [id(1), id(2)])
        for (session, node) in [(2 as UInt64, 0), (3, 1)] {
            world.subscribe(session, at: node, "{}", cursor: cursor)
            #expect(world.shown(session, at: node) == [id(2)])
        }
        world.subscribe(4, at: 1, "{}", cursor: "earliest")
        #expect(world.shown(4, at: 1).sorted() == [id(1), id(2)])
    }

    @Test("says what is gone for good, and only that")
    mutating func gaps() throws {
        world = NodeWorld(clocksAheadMs: [0, 0], replication: .init(retention: .init(bytes: 1 << 30, entries: 64)))
        world.subscribe(1, at: 0, #"{"scope":"a"}"#, cursor: "")
        _ = world.post(0, "test", scope: "a", "{}")
        let cursor = world.cursor(1, at: 0)
        world.close(1, at: 0)
        for _ in 0..<400 { _ = world.post(0, "test", scope: "b", "{}") }
        world.subscribe(2, at: 0, #"{"scope":"a"}"#, cursor: cursor)
        let resumed = try #require(world.messages(2, at: 0).first { $0["type"] as? String == "resumed" })
        #expect(resumed["recovered"] as? Bool == false)
        let gap = try #require((resumed["gaps"] as? [[String: Any]])?.first)
        #expect(gap["replica"] as? String == "00000000000000a1" && gap["from"] as? Int == 2)
        let to = try #require(gap["to"] as? Int)
        #expect(to > 100 && to < 401)
        // Who was told that the rest is there has missed nothing.
        world.subscribe(3, at: 0, #"{"scope":"a"}"#, cursor: world.cursor(2, at: 0))
        #expect(world.messages(3, at: 0).first { $0["type"] as? String == "resumed" }?["recovered"] as? Bool == true)
        world.subscribe(4, at: 0, "{}", cursor: "earliest")
        #expect(world.messages(4, at: 0).first { $0["type"] as? String == "resumed" }?["recovered"] as? Bool == true)
        #expect(world.shown(4, at: 0).count == 401 - to)
    }

    @Test("of a quiet stream moves on by itself every 15 seconds")
    mutating func heartbeat() {
        world.subscribe(1, at: 0, #"{"scope":"rare"}"#, cursor: "")
        let first = world.cursor(1, at: 0)
        _ = world.post(0, "test", scope: "busy", "{}")
        #expect(world.cursor(1, at: 0) == first)
        world.run(milliseconds: 15_100)
        #expect(world.messages(1, at: 0).last?["type"] as? String == "cursor")
        #expect(world.cursor(1, at: 0) != first)
        let count = world.heard[0][SessionID(1)]!.count
        world.run(milliseconds: 30_000)
        #expect(world.heard[0][SessionID(1)]!.count == count + 2)
        world.close(1, at: 0)
        world.run(milliseconds: 30_000)
    }

    @Test("of a long history comes in pieces that the client takes one by one")
    mutating func pieces() {
        let filler = String(repeating: "x", count: 10_000)
        for n in 0..<100 { _ = world.post(0, id: id(n), "test", #"{"text":"\#(filler)"}"#) }
        world.subscribe(1, at: 0, "{}", cursor: "earliest")
        let first = world.shown(1, at: 0).count
        #expect(first > 20 && first < 30, "a quarter of a megabyte")
        let late = world.post(0, id: id(100), "test", "{}").id
        #expect(world.shown(1, at: 0).count == first)
        let middle = world.cursor(1, at: 0)
        world.deliver()
        #expect(world.shown(1, at: 0) == (0...100).map(id))
        #expect(world.shown(1, at: 0).last == late)
        world.subscribe(2, at: 0, "{}", cursor: middle)
        world.deliver()
        #expect(world.shown(2, at: 0) == (first...100).map(id))
    }

    @Test("is for a whole connection: a second one is refused where there are subscriptions")
    mutating func once() {
        world.subscribe(1, at: 0, "{}", cursor: "")
        world.say(1, #"{"type":"subscribe","filter":{"scope":"a"},"cursor":"earliest"}"#, to: 0)
        #expect(world.sent[0].last?.text.contains("a cursor says how far the whole connection has read") == true)
    }
}

@Suite("Clients that cannot stay")
struct DismissalTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    @Test("who read too slowly are told from where to go on, exactly")
    mutating func overrun() throws {
        world.open(1, at: 0)
        for n in 0..<5 { _ = world.post(0, id: id(n), "test", "{}") }
        // It got the first three whole: their marks are their positions and one.
        world.give(.sessionOverran(SessionID(1), mark: 3), [], to: 0)
        let message = try #require(world.messages(1, at: 0).last)
        #expect(message["type"] as? String == "overrun")
        #expect(world.closedSessions[0].map(\.code) == [1_013])
        world.give(.sessionClosed(SessionID(1)), [], to: 0)
        world.subscribe(2, at: 0, "{}", cursor: try #require(message["cursor"] as? String))
        #expect(world.shown(2, at: 0) == [id(3), id(4)])
        #expect(world.metric(0, "sessions") == 1)
    }

    @Test("whose node leaves are sent to the others, with how far they have come")
    mutating func drain() throws {
        world.hasNetwork = true
        world.link(0, 1)
        world.open(1, at: 0)
        let streaming = world.give(.request(RequestID(9), .stream(.init())), [], to: 0)
        #expect(streaming == nil && world.streams[0] == [9])
        _ = world.post(0, "test", "{}")
        world.give(.leave, [], to: 0)
        for session in [1, 9] as [UInt64] {
            let message = try #require(world.messages(session, at: 0).last)
            #expect(message["type"] as? String == "drain")
            #expect(message["nodes"] as? [String] == ["http://127.0.0.1:5001"])
            #expect((message["cursor"] as? String)?.isEmpty == false)
        }
        #expect(world.closedSessions[0].map(\.code) == [1_001, 1_001])
        #expect(world.give(.request(RequestID(10), .stream(.init())), [], to: 0)?.status == 503)
    }
}

@Suite("An event stream")
struct EventStreamTests {
    private var world = NodeWorld()

    private mutating func stream(_ id: UInt64, _ change: (inout Request.StreamWish) -> Void) -> Answer? {
        var wish = Request.StreamWish()
        change(&wish)
        return world.give(.request(RequestID(id), .stream(wish)), [], to: 0)
    }

    @Test("shows events with their cursors as ids, and begins with one")
    mutating func events() {
        #expect(stream(1) { $0.scope = "ui.>" } == nil)
        #expect(world.heard[0][SessionID(1)]?.count == 1)
        #expect(world.heard[0][SessionID(1)]?[0].hasPrefix(": heartbeat\nid: ") == true)
        let event = world.post(0, "test", scope: "ui.x", "{}")
        _ = world.post(0, "test", scope: "db", "{}")
        let text = world.heard[0][SessionID(1)]!.last!
        #expect(text.hasSuffix("\nevent: message\ndata: \(event.text)\n\n"))
        #expect(stream(2) { ($0.scope, $0.cursor) = ("ui.>", "earliest") } == nil)
        #expect(
            world.heard[0][SessionID(2)]?[0]
                == "event: resumed\ndata: {\"type\":\"resumed\",\"recovered\":true,\"gaps\":[]}\n\n")
        #expect(world.shown(2, at: 0) == [event.id])
        #expect(world.tuned[0][SessionID(1)] == world.tuned[0][SessionID(2)])
        world.give(.sessionClosed(SessionID(1)), [], to: 0)
        world.give(.requestAbandoned(RequestID(2)), [], to: 0)
        #expect(world.nodes[0].sessions.count == 0)
    }

    @Test("is refused with what to do about it")
    mutating func refused() {
        #expect(stream(1) { $0.cursor = "nonsense!" }?.message.contains("send it back unchanged") == true)
        #expect(stream(1) { $0.types = ["joke"] }?.message.contains("filter.types") == true)
        #expect(stream(1) { $0.scope = "a..b" }?.message.contains("filter.scope") == true)
        #expect(stream(1) { ($0.scope, $0.topic) = ("a", "b") }?.status == 400)
        #expect(world.nodes[0].sessions.count == 0 && world.streams[0].isEmpty)
    }
}

@Suite("Signals as they change")
struct SignalWatchTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    private func strengths(_ session: UInt64) -> [Double] {
        world.messages(session, at: 1).compactMap { ($0["data"] as? [String: Any])?["strength"] as? Double }
    }

    @Test("are told where the client is, of the scopes that it asked for, with the value that all nodes show")
    mutating func told() {
        world.link(0, 1)
        world.open(1, at: 1)
        world.say(1, #"{"type":"subscribe","signals":true,"filter":{"scope":"ui.>"}}"#, to: 1)
        world.say(1, #"{"type":"unsubscribe"}"#, to: 1)
        _ = world.post(0, "proposal", scope: "ui.x", #"{"action":"p"}"#)
        world.deliver()
        _ = world.post(0, "proposal", scope: "db", #"{"action":"p"}"#)
        _ = world.post(0, "reward", scope: "ui.x", #"{"pattern":"p","value":0.25}"#)
        world.deliver()
        #expect(strengths(1) == [0.3, 0.6])
        _ = world.post(0, "penalty", scope: "ui.x", #"{"pattern":"p","value":1}"#)
        world.deliver()
        #expect(strengths(1) == [0.3, 0.6, 0], "gone")
        world.say(1, #"{"type":"unsubscribe","signals":true}"#, to: 1)
        _ = world.post(1, "proposal", scope: "ui.x", #"{"action":"p"}"#)
        #expect(strengths(1).count == 3)
    }

    @Test("are told once, with the last value, to who takes them slowly")
    mutating func conflated() {
        world.open(1, at: 1)
        world.say(1, #"{"type":"subscribe","signals":true}"#, to: 1)
        _ = world.post(1, "proposal", #"{"action":"p"}"#)
        for _ in 0..<5 { _ = world.post(1, "reward", #"{"pattern":"p","value":0.1}"#) }
        #expect(strengths(1) == [0.3])
        world.deliver()
        #expect(strengths(1).count == 2)
        #expect(abs(strengths(1)[1] - 0.9) < 1e-9)
    }
}
