import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

@Suite("Streams of messages in chats")
struct ChatStreamTests {
    private static let wish = #"{"topic":"Messages"}"#

    /// Two nodes; a and b are in the chat, eve is not.
    private static func world(_ nodes: Int = 2) -> NodeWorld {
        var world = NodeWorld.linked(nodes)
        world.introduce(["a", "b", "c", "eve"])
        world.group(0, "c", ["a", "b", "c"])
        return world
    }

    private static func listen(
        _ world: inout NodeWorld, _ session: UInt64, at i: Int, as agent: String?, _ filter: String = wish,
        cursor: String? = nil
    ) {
        world.give(.sessionOpened(SessionID(session), agent: agent), [], to: i)
        let cursor = cursor.map { #","cursor":"\#($0)""# } ?? ""
        world.say(session, #"{"type":"subscribe","ref":1,"filter":\#(filter)\#(cursor)}"#, to: i)
    }

    @Test("reach the members who said who they are, at any node, as events with the seed's fields")
    func live() throws {
        var world = Self.world()
        Self.listen(&world, 1, at: 0, as: "b")
        Self.listen(&world, 2, at: 1, as: "c", cursor: "")
        world.give(.request(RequestID(9), .stream(wishFor("a"))), [], to: 1)
        let posted = world.speak(0, "a", 1, #","to":"b","langchain_context":{"k":1}"#).object
        world.deliver()
        for (session, node) in [(UInt64(1), 0), (2, 1), (9, 1)] {
            let events = world.messages(session, at: node).map { $0["data"] as? [String: Any] ?? $0 }
                .filter { ($0["topic"] as? String) == "Messages" || ($0["eventType"] != nil) }
            #expect(events.count == 1, "\(session): \(world.heard[node][SessionID(session)] ?? [])")
        }
        let event = try #require(
            world.messages(1, at: 0).compactMap { $0["data"] as? [String: Any] }.first { $0["topic"] != nil })
        #expect(event["id"] as? String == id(1) && event["type"] as? String == "MessageSent")
        #expect(event["source"] as? String == "a" && event["stamp"] as? String == posted["stamp"] as? String)
        #expect(event["origin"] as? String == "n0" && event["seq"] as? Int == posted["seq"] as? Int)
        let data = try #require(event["data"] as? [String: Any])
        #expect(data["eventType"] as? String == "MessageSent" && data["messageId"] as? String == id(1))
        #expect(data["from"] as? String == "a" && data["to"] as? String == "b" && data["chatId"] as? String == "c")
        #expect(data["content"] as? [String: Int] == ["n": 1] && data["message_type"] as? String == "text")
        #expect(data["is_private"] as? Bool == false && data["langchain_context"] as? [String: Int] == ["k": 1])
        #expect(data["timestamp"] as? String == posted["timestamp"] as? String)
        #expect(!world.cursor(2, at: 1).isEmpty && !world.cursor(9, at: 1).isEmpty)
        // What was handed to them is written down.
        world.run(milliseconds: 2_000)
        #expect(world.page(0, as: nil).list[0]["status"] as? String == "delivered")
    }

    private func wishFor(_ agent: String?) -> Request.StreamWish {
        var wish = Request.StreamWish()
        (wish.topic, wish.agent) = ("Messages", agent)
        return wish
    }

    @Test("reach nobody else: no list, no wildcard, no group, no agent outside, no third one if private")
    func secret() {
        var world = Self.world()
        for i in 0..<2 {
            Self.listen(&world, 1, at: i, as: "eve")
            Self.listen(&world, 2, at: i, as: "a", #"{"topic":">"}"#)
            Self.listen(&world, 3, at: i, as: "a", "{}")
            Self.listen(&world, 4, at: i, as: "c")
            Self.listen(&world, 5, at: i, as: "b")
            world.open(6, at: i)
        }
        let before = (0..<2).map { i in (1...6).map { world.heard[i][SessionID(UInt64($0))]?.count ?? 0 } }
        #expect(world.speak(0, "a", 1, #","is_private":true,"to":"b","topic":"Messages","scope":"x""#).status == 201)
        world.deliver()
        for i in 0..<2 {
            let after = (1...6).map { world.heard[i][SessionID(UInt64($0))]?.count ?? 0 }
            #expect(zip(after, before[i]).map { $0 - $1 } == [0, 0, 0, 0, 1, 0], "b alone hears it")
            #expect(world.said(i, as: "a") == [id(1)] && world.said(i, as: "b") == [id(1)])
            #expect(world.said(i, as: "c").isEmpty && world.said(i, as: nil).isEmpty && world.unread(i, "c") == 0)
            #expect(world.ask(i, .event(id: id(1))).status == 404)
            #expect(world.ask(i, .events(.init(limit: 10))).list.isEmpty)
            #expect(world.ask(i, .eventsInScope("x", .init(limit: 10))).list.isEmpty)
            #expect(world.ask(i, .eventsOnTopic("Messages", .init(limit: 10))).list.isEmpty)
            #expect(world.history(i).isEmpty)
            #expect(world.chats(i, .markRead(chat: "c", message: id(1)), by: "c").status == 404)
        }
        // Two agents with one wish share no channel.
        #expect(world.tuned[0][SessionID(4)] != world.tuned[0][SessionID(5)])
    }

    @Test("are refused to nobody in particular, and to queue groups")
    func refused() {
        var world = Self.world(1)
        Self.listen(&world, 1, at: 0, as: nil)
        #expect(world.messages(1, at: 0).last?["message"].map { "\($0)".contains("say who you are") } ?? false)
        world.give(.request(RequestID(9), .stream(wishFor(nil))), [], to: 0)
        #expect(world.answers(0, to: 9).last?.status == 403)
        world.say(1, #"{"type":"identify","agent":"a"}"#, to: 0)
        for (wish, part) in [
            (#""filter":{"topic":"Messages"},"group":"g""#, "never to a queue group"),
            (#""filter":{"topic":"Messages","types":["x"]}"#, "MessageSent"),
        ] {
            world.say(1, #"{"type":"subscribe",\#(wish)}"#, to: 0)
            #expect(world.messages(1, at: 0).last?["message"].map { "\($0)".contains(part) } ?? false)
        }
        world.say(
            1, #"{"type":"subscribe","filter":{"topic":"Messages","types":["MessageSent"],"agents":["b"]}}"#, to: 0)
        world.speak(0, "b", 1)
        world.speak(0, "c", 2)
        #expect(world.shownMessages(1, at: 0) == [id(1)])
        world.say(
            1, #"{"type":"unsubscribe","filter":{"topic":"Messages","types":["MessageSent"],"agents":["b"]}}"#, to: 0)
        world.speak(0, "b", 3)
        #expect(world.shownMessages(1, at: 0) == [id(1)])
    }

    @Test("follow who is in the chat, and who the client says it is")
    func following() {
        var world = Self.world(1)
        Self.listen(&world, 1, at: 0, as: "eve")
        world.speak(0, "a", 1)
        _ = world.setRole(0, "eve", nil, by: "eve")
        world.speak(0, "a", 2)
        #expect(world.shownMessages(1, at: 0) == [id(2)])
        _ = world.remove(0, "eve", by: "a")
        world.speak(0, "a", 3)
        #expect(world.shownMessages(1, at: 0) == [id(2)])
        world.say(1, #"{"type":"identify","agent":"b"}"#, to: 0)
        world.speak(0, "a", 4)
        #expect(world.shownMessages(1, at: 0) == [id(2), id(4)])
        _ = world.chats(0, .delete("c"), by: "a")
        #expect(world.speak(0, "a", 5).status == 404)
    }

    @Test("resume with a cursor at another node: nothing missed, nothing twice, nothing that is another's")
    func resumes() {
        var world = Self.world(3)
        world.group(0, "d", ["eve", "b"])
        Self.listen(&world, 1, at: 0, as: "b", cursor: "")
        world.speak(0, "a", 1)
        world.speak(1, "c", 2)
        world.deliver()
        #expect(world.shownMessages(1, at: 0) == [id(1), id(2)])
        let cursor = world.cursor(1, at: 0)
        world.close(1, at: 0)
        world.speak(0, "a", 3)
        world.speak(1, "a", 4, #","is_private":true,"to":"c""#)
        world.speak(2, "c", 5, #","is_private":true,"to":"b""#)
        world.speak(0, "eve", 6, in: "d")
        world.group(0, "e", ["a", "c"])
        world.speak(0, "a", 7, in: "e")
        world.deliver()
        for (session, agent, expected) in [
            (UInt64(2), "b", [3, 5, 6]), (3, "eve", [6]), (4, "c", [3, 4, 5, 7]),
        ] {
            Self.listen(&world, session, at: 2, as: agent, cursor: cursor)
            world.deliver()
            #expect(Set(world.shownMessages(session, at: 2)) == Set(expected.map(id)), "\(agent)")
            #expect(world.shownMessages(session, at: 2).count == expected.count)
            #expect(
                world.messages(session, at: 2).contains {
                    $0["type"] as? String == "resumed" && $0["recovered"] as? Bool == true
                })
        }
        world.speak(1, "a", 8)
        world.deliver()
        #expect(world.shownMessages(2, at: 2).last == id(8) && world.shownMessages(3, at: 2).last == id(6))
        // All that is kept, on an event stream.
        var wish = wishFor("b")
        wish.cursor = "earliest"
        world.give(.request(RequestID(9), .stream(wish)), [], to: 1)
        world.deliver()
        let all = world.messages(9, at: 1).compactMap { $0["topic"] == nil ? nil : $0["id"] as? String }
        #expect(all.count == 6 && Set(all) == Set([1, 2, 3, 5, 6, 8].map(id)))
    }
}
