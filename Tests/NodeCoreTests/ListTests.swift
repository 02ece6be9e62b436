import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("Lists of events")
struct ListTests {
    private var world = NodeWorld(clocksAheadMs: [0, 250])
    private var order: [String] = []

    /// Ten events by two nodes whose clocks differ, the last of which reach node 0 late: the log's order is not the
    /// stamps'.
    init() {
        world.link(0, 1)
        for i in 1...10 {
            _ = world.post(i % 2, id: id(i), "test", scope: i % 3 == 0 ? "third" : "ui", trace: "t\(i % 4)", "{}")
            world.now = world.now.advanced(milliseconds: 100)
        }
        world.deliver()
        // Milliseconds after the start: 1 at 250, 2 at 100, 3 at 450, 4 at 300, and so on.
        order = [9, 10, 7, 8, 5, 6, 3, 4, 1, 2].map(id)
    }

    private mutating func page(_ i: Int, _ limit: Int, before: String? = nil) -> [String] {
        world.ask(i, .events(.init(limit: limit, before: before))).list.compactMap { $0["id"] as? String }
    }

    @Test("come newest first by stamp, the same at every node")
    mutating func newestFirst() {
        for i in 0...1 {
            #expect(page(i, 100) == order)
            #expect(page(i, 3) == Array(order.prefix(3)))
            let stamps = world.ask(i, .events(.init(limit: 100))).list.compactMap { $0["stamp"] as? String }
            #expect(stamps == stamps.sorted(by: >))
        }
    }

    @Test("page by id, by stamp and by timestamp, without a gap or a repeat", arguments: ["id", "stamp"])
    mutating func paging(by field: String) {
        var (seen, before) = ([String](), String?.none)
        for _ in 0..<6 {
            let list = world.ask(0, .events(.init(limit: 3, before: before))).list
            seen += list.compactMap { $0["id"] as? String }
            before = list.last?[field] as? String ?? before
        }
        #expect(seen == order)
        #expect(page(0, 9, before: order[4].uppercased()) == Array(order[5...]))
    }

    @Test("before a moment are those stamped before it")
    mutating func beforeMoment() {
        let list = world.ask(0, .events(.init(limit: 100))).list
        for (i, event) in list.enumerated() {
            let timestamp = event["timestamp"] as! String
            let expected = list[(i + 1)...].filter { ($0["timestamp"] as! String) < timestamp }.map {
                $0["id"] as! String
            }
            #expect(page(0, 100, before: timestamp) == expected)
        }
        #expect(page(0, 100, before: "2025-02-19T23:20:30.623+02:00").count == 4, "an offset is a moment, too")
        #expect(page(0, 100, before: "2024-01-01T00:00:00Z") == [])
        #expect(page(0, 100, before: "2030-01-01T00:00:00Z") == order)
    }

    @Test(
        "say what `before` may be",
        arguments: [
            (id(77), "no event \(id(77)) is stored here"),
            ("yesterday", "an event's id, stamp or timestamp, found \"yesterday\""),
            ("", "found \"\""),
        ])
    mutating func badBefore(before: String, message: String) {
        for request in [
            Request.events(.init(limit: 9, before: before)), .eventsInScope("ui", .init(limit: 9, before: before)),
            .eventsInTrace("t1", .init(limit: 9, before: before)),
        ] {
            let answer = world.ask(0, request)
            #expect(answer.status == 400)
            #expect(answer.message.contains(message))
        }
    }

    @Test("by scope or trace hold those alone, page alike, and nothing for a stranger")
    mutating func byScopeAndTrace() {
        func ids(_ request: Request) -> [String] {
            var world = world
            return world.ask(1, request).list.compactMap { $0["id"] as? String }
        }
        #expect(ids(.eventsInScope("third", .init(limit: 9))) == [9, 6, 3].map(id))
        #expect(ids(.eventsInScope("third", .init(limit: 1, before: id(9)))) == [id(6)])
        #expect(ids(.eventsInTrace("t2", .init(limit: 9))) == [10, 6, 2].map(id))
        #expect(ids(.eventsInTrace("t2", .init(limit: 2))) == [10, 6].map(id))
        #expect(ids(.eventsInScope("Third", .init(limit: 9))) == [])
        #expect(ids(.eventsInTrace("third", .init(limit: 9))) == [])
    }

    @Test(
        "find a scope by its text, however the event spelt it",
        arguments: [
            (#"a\/b"#, "a/b"), (#"\u00fcber \"uns\""#, "über \"uns\""), (#"tab\there"#, "tab\there"),
            (#"\ud83d\ude00"#, "😀"),
            (#"back\\slash"#, "back\\slash"), (#"\u0001"#, "\u{1}"), ("a%2Fb", "a%2Fb"),
        ])
    mutating func escapes(spelling: String, text: String) {
        let posted = world.post(
            0, id: id(50), "proposal", scope: spelling, trace: spelling, #"{"action":"\#(spelling)"}"#)
        #expect(world.ask(0, .eventsInScope(text, .init(limit: 9))).text == "[\(posted.text)]")
        #expect(world.ask(0, .eventsInTrace(text, .init(limit: 9))).text == "[\(posted.text)]")
        #expect(world.ask(0, .signal(scope: text, pattern: text, at: nil)).object["pattern"] as? String == text)
        #expect(world.ask(0, .signals(scope: text, pattern: nil, minimumStrength: nil, at: nil)).list.count == 1)
    }

    @Test("do not have an event that nobody posted")
    mutating func missing() {
        for text in [id(99), "x", ""] {
            let answer = world.ask(0, .event(id: text))
            #expect(answer.status == 404)
            #expect(answer.message.contains("no event"))
        }
        #expect(world.ask(1, .event(id: id(2).uppercased())).id == id(2))
    }
}
