import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

@Suite("Messages in chats")
struct ChatMessageTests {
    private static func world(_ nodes: Int = 1) -> NodeWorld {
        var world = NodeWorld.linked(nodes)
        world.introduce(["a", "b", "c", "eve"])
        world.group(0, "c", ["a", "b", "c"])
        return world
    }

    @Test("are answered as stored, and are the same at every node")
    func stored() {
        var world = Self.world(2)
        let posted = world.chats(
            0, .post(chat: "c"), by: "a",
            #"{"to":"b","message_type":"text","content":"hé","langchain_context":{"k":1},"mine":true,"status":"read"}"#)
        #expect(posted.status == 201 && !posted.clock.isEmpty)
        let message = posted.object
        #expect(message["chat_id"] as? String == "c" && message["from"] as? String == "a")
        #expect(message["to"] as? String == "b" && message["content"] as? String == "hé")
        #expect(message["message_type"] as? String == "text" && message["is_private"] as? Bool == false)
        #expect(message["langchain_context"] as? [String: Int] == ["k": 1] && message["mine"] as? Bool == true)
        #expect(message["status"] as? String == "sent" && message["origin"] as? String == "n0")
        world.deliver()
        #expect(world.page(1, as: "c").text == "[\(posted.text)]")
        #expect(world.speak(0, "b").object["message_type"] as? String == "text")
    }

    @Test("refuse what is none, and whoever may not")
    func refused() {
        var world = Self.world()
        for (agent, body, status, part) in [
            ("a", "{}", 400, "content: required"), ("a", "[]", 400, "one JSON object"),
            ("a", #"{"content":1,"from":"b"}"#, 403, "from is b"),
            (nil, #"{"content":1}"#, 400, "from: required"),
            (nil, #"{"content":1,"from":"x"}"#, 404, "unknown agent x"),
            ("eve", #"{"content":1}"#, 403, "eve is no member"),
            ("a", #"{"content":1,"chat_id":"d"}"#, 400, "chat_id: "),
            ("a", #"{"content":1,"to":"eve"}"#, 403, "eve is no member"),
            ("a", #"{"content":1,"to":"x"}"#, 404, "unknown"),
            ("a", #"{"content":1,"is_private":true}"#, 400, "to: required"),
            ("a", #"{"content":1,"is_private":1}"#, 400, "is_private: expected true or false"),
            ("a", #"{"content":1,"token":"x"}"#, 400, "token: "),
            ("a", #"{"content":1,"id":"x"}"#, 400, "id: expected a UUID"),
            ("a", #"{"content":1,"message_type":""}"#, 400, "message_type: must not be empty"),
        ] as [(String?, String, UInt16, String)] {
            let answer = world.chats(0, .post(chat: "c"), by: agent, body)
            #expect(answer.status == status && answer.message.contains(part), "\(body): \(answer.text)")
        }
        #expect(world.chats(0, .post(chat: "c"), #"{"content":1,"from":"a","chat_id":"c"}"#).status == 201)
        #expect(world.page(as: "eve").status == 403 && world.page(as: "nobody").status == 404)
        #expect(world.page(as: "a", after: "x").status == 400 && world.page(as: "a", before: id(9)).status == 400)
    }

    @Test("have ids of their own: repeated they are the same, with another content refused")
    func ids() {
        var world = Self.world(2)
        let first = world.speak(0, "a", 1)
        world.deliver()
        let again = world.speak(1, "a", 1)
        #expect(again.status == 200 && again.text == first.text)
        #expect(world.speak(0, "b", 1).status == 409, "somebody else's")
        #expect(world.post(0, id: id(1), "test", "{}").status == 409 && world.send(0, message(1)).status == 409)
        #expect(world.said(as: "a") == [id(1)])
        // Posted on both sides of a partition it is one message.
        world.unlink(0, 1)
        world.speak(0, "a", 2)
        world.now = world.now.advanced(milliseconds: 5)
        world.speak(1, "a", 2)
        world.speak(1, "a", 3)
        world.link(0, 1)
        for i in 0..<2 {
            #expect(world.said(i, as: "b") == [1, 2, 3].map(id) && world.unread(i, "b") == 3)
        }
        #expect(world.page(0, as: "a").text == world.page(1, as: "a").text)
    }

    @Test("come by pages: the last ones, before one, after one, by id, stamp and time")
    func pages() {
        var world = Self.world()
        var stamps: [String] = []
        for n in 0..<10 {
            stamps.append(world.speak(0, n % 2 == 0 ? "a" : "b", n).object["stamp"] as? String ?? "")
            world.now = world.now.advanced(milliseconds: 10)
        }
        #expect(world.said(as: "c") == (0..<10).map(id) && world.said(as: "c", limit: 3) == (7..<10).map(id))
        for before in [id(7), stamps[7]] {
            #expect(world.said(as: "c", before: before, limit: 3) == (4..<7).map(id))
        }
        for after in [id(4), stamps[4]] {
            #expect(world.said(as: "c", after: after, limit: 3) == (5..<8).map(id))
            #expect(world.said(as: "c", after: after, before: id(7)) == (5..<7).map(id))
        }
        let time = world.page(as: "c").list[5]["timestamp"] as? String ?? ""
        #expect(world.said(as: "c", before: time).count == 5 && world.said(as: "c", after: time, limit: 1) == [id(5)])
        #expect(world.said(as: "c", before: id(0)).isEmpty && world.said(as: "c", after: id(9)).isEmpty)
        #expect(world.said(as: "c", after: id(7), before: id(4)).isEmpty)
    }

    @Test("Late ones and many: pages and counts are what a plain list says")
    func manyOfThem() {
        var world = Self.world(2)
        world.unlink(0, 1)
        var expected: [(time: Int, id: String, from: String, to: String?)] = []
        var dice = Dice(seed: 5)
        for n in 0..<3_000 {
            world.now = world.now.advanced(milliseconds: 1)
            let from = ["a", "b", "c"][Int(dice.next() % 3)]
            let isPrivate = dice.next() % 5 == 0
            let to = ["a", "b", "c"].first { $0 != from }!
            let node = Int(dice.next() % 2)
            let more = isPrivate ? #","is_private":true,"to":"\#(to)""# : ""
            #expect(world.speak(node, from, n, more).status == 201)
            expected.append((n, id(n), from, isPrivate ? to : nil))
        }
        world.link(0, 1)
        for i in 0..<2 {
            for agent in ["a", "b", "c"] {
                let visible = expected.filter { $0.to == nil || $0.from == agent || $0.to == agent }
                #expect(world.said(i, as: agent, limit: 10_000) == visible.map(\.id))
                #expect(
                    world.said(i, as: agent, before: id(1_500), limit: 50)
                        == visible.filter { $0.time < 1_500 }.suffix(50).map(\.id))
                #expect(
                    world.said(i, as: agent, after: id(1_500), limit: 50)
                        == visible.filter { $0.time > 1_500 }.prefix(50).map(\.id))
                #expect(world.unread(i, agent) == visible.count { $0.from != agent })
                for mark in [700, 2_048, 2_999] {
                    guard let last = visible.last(where: { $0.time <= mark }) else { continue }
                    #expect(world.chats(i, .markRead(chat: "c", message: last.id), by: agent).status == 200)
                    #expect(world.unread(i, agent) == visible.count { $0.from != agent && $0.time > last.time })
                }
            }
            world.deliver()
            guard i == 0 else { continue }
            for agent in ["a", "b", "c"] { #expect(world.unread(1, agent) == world.unread(0, agent)) }
            return
        }
    }

    @Test("are sent, then delivered, then read, by all others or the one they are to; marks may come from any node")
    func status() {
        var world = Self.world(3)
        func status(_ i: Int = 2) -> [String] {
            world.page(i, as: nil).list.compactMap { $0["status"] as? String }
        }
        world.speak(0, "a", 1)
        world.speak(0, "a", 2, #","to":"b""#)
        world.deliver()
        #expect(status() == ["sent", "sent"])
        _ = world.page(1, as: "b")
        world.run(milliseconds: 2_000)
        #expect(status() == ["sent", "delivered"])
        _ = world.page(2, as: "c")
        world.run(milliseconds: 2_000)
        #expect(status() == ["delivered", "delivered"])
        #expect(world.metric(1, "chat_marks_total") == 1 && world.metric(2, "chat_marks_total") == 1)
        let read = world.chats(0, .markRead(chat: "c", message: id(2)), by: "b")
        #expect(read.status == 200 && read.object["unread"] as? Int == 0 && !read.stamp.isEmpty)
        world.deliver()
        #expect(status() == ["delivered", "read"] && world.unread(2, "b") == 0 && world.unread(2, "c") == 2)
        // An older mark changes nothing, and writes nothing.
        #expect(world.chats(2, .markRead(chat: "c", message: id(1)), by: "b").stamp.isEmpty)
        #expect(
            world.chats(1, .markRead(chat: "c", message: id(1)), #"{"agent_id":"c"}"#).object["unread"] as? Int == 1)
        world.deliver()
        #expect(status() == ["read", "read"])
        #expect(world.chats(0, .markRead(chat: "c", message: id(1)), by: "eve").status == 403)
        #expect(world.chats(0, .markRead(chat: "c", message: id(7)), by: "b").status == 404)
        #expect(world.chats(0, .markRead(chat: "c", message: id(1))).status == 400)
        #expect(world.chats(0, .unread(agent: "b"), by: "c").status == 403)
        // Who comes later need not have read what was said before.
        _ = world.setRole(0, "eve", nil, by: "eve")
        world.deliver()
        #expect(status() == ["read", "read"] && world.unread(1, "eve") == 0)
    }

    @Test("Marks of many members are written together, at most a hundred in a second")
    func marks() {
        var world = NodeWorld()
        let names = (0..<300).map { "m\($0)" }
        world.introduce(names)
        world.group(0, "c", names)
        world.speak(0, "m0", 1)
        for name in names { _ = world.page(as: name) }
        let before = world.written(0)
        world.run(milliseconds: 1_100)
        #expect(world.written(0) == before + 1, "one put")
        #expect(world.metric(0, "chat_marks_total") == 299 && world.metric(0, "chat_marks_pending") == 0)
        world.speak(0, "m0", 2)
        _ = world.page(as: "m1")
        world.run(milliseconds: 1_500)
        #expect(world.metric(0, "chat_marks_pending") == 1, "the others have used up three seconds")
        world.run(milliseconds: 2_000)
        #expect(world.metric(0, "chat_marks_total") == 300)
    }
}
