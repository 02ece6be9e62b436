import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

@Suite("Chats")
struct ChatTests {
    private static let everybody = ["owner", "admin", "member", "guest", "other", "stranger", "x"]

    /// A chat with somebody in every role.
    private static func world(join: String = "open") -> NodeWorld {
        var world = NodeWorld()
        world.introduce(everybody)
        world.group(
            0, "c", ["owner", "admin", "member", "guest", "other"], roles: ["admin": "admin", "guest": "guest"],
            join: join)
        return world
    }

    @Test("are made once, with roles, and everybody is told")
    func made() {
        var world = NodeWorld.linked(2)
        world.introduce(["ada", "bob", "eve"])
        let body =
            #"{"id":"a/b","chat_type":"group","created_by":"ada","participants":["bob","ada"],"topic":"plans","#
            + #""access_rights":{"bob":"admin"},"mine":{"x":[1]}}"#
        let made = world.chats(0, .create, body)
        #expect(made.status == 201 && !made.stamp.isEmpty && !made.clock.isEmpty, "\(made.text)")
        let chat = made.object
        #expect(chat["id"] as? String == "a/b" && chat["chat_type"] as? String == "group")
        #expect(chat["created_by"] as? String == "ada" && chat["topic"] as? String == "plans")
        #expect(chat["participants"] as? [String] == ["ada", "bob"] && chat["join"] as? String == "open")
        #expect(chat["access_rights"] as? [String: String] == ["ada": "owner", "bob": "admin"])
        #expect((chat["mine"] as? [String: [Int]]) == ["x": [1]])
        #expect(chat["created_at"] as? String == chat["last_activity"] as? String)
        world.deliver()
        #expect(world.chats(1, .chat("a/b")).text == made.text)
        #expect(world.chats(1, .create, body).status == 200, "again it is the same")
        #expect(world.chats(1, .create, body.replacing("\"ada\",\"part", with: "\"bob\",\"part")).status == 409)
        let told = world.told(1)
        #expect(told.count == 1 && told[0]["eventType"] as? String == "ChatCreated")
        #expect(told[0]["chatId"] as? String == "a/b" && told[0]["creatorId"] as? String == "ada")
        #expect(told[0]["participants"] as? [String] == ["bob", "ada"] && told[0]["chatType"] as? String == "group")
        #expect(world.nodes[1].documents.hash == world.nodes[0].documents.hash)
    }

    @Test("refuse what makes no chat, with the field and the reason")
    func refused() {
        var world = Self.world()
        for (body, status, part) in [
            (#"{}"#, 400, "chat_type: required"), (#"{"chat_type":"room"}"#, 400, "found \"room\""),
            (#"{"chat_type":"group"}"#, 400, "created_by: required"),
            (#"{"chat_type":"group","created_by":"nobody"}"#, 404, "unknown agent nobody"),
            (#"{"chat_type":"group","created_by":"x","participants":["nobody"]}"#, 404, "unknown agent nobody"),
            (#"{"chat_type":"group","created_by":"x","participants":"x"}"#, 400, "participants: "),
            (#"{"chat_type":"group","created_by":"x","join":"closed"}"#, 400, "join: expected open or invite"),
            (#"{"chat_type":"group","created_by":"x","access_rights":{"x":"admin"}}"#, 400, "its owner"),
            (#"{"chat_type":"group","created_by":"x","access_rights":{"owner":"admin"}}"#, 400, "not among"),
            (#"{"chat_type":"private","created_by":"x"}"#, 400, "just two agents"),
            (#"{"chat_type":"private","created_by":"x","participants":["owner","admin"]}"#, 400, "just two"),
            (#"{"chat_type":"private","created_by":"x","participants":["owner"],"id":"p"}"#, 400, "id: "),
            (#"{"chat_type":"private","created_by":"x","participants":["owner"],"join":"open"}"#, 400, "join: "),
            (#"{"chat_type":"private","id":"c","created_by":"x","participants":["owner"]}"#, 400, "id: "),
            (#"{"chat_type":"group","id":"c","created_by":"x"}"#, 409, "made by owner"),
        ] {
            let answer = world.chats(0, .create, body)
            #expect(answer.status == status && answer.message.contains(part), "\(body): \(answer.text)")
        }
        #expect(world.chats(0, .create, by: "owner", #"{"chat_type":"group","created_by":"x"}"#).status == 403)
        #expect(world.chats(0, .chat("nowhere")).status == 404)
        #expect(world.chats(0, .post(chat: "nowhere"), by: "x", #"{"content":1}"#).status == 404)
        #expect(world.told().count == 1)
    }

    @Test("The table of roles, for everybody and everything", arguments: ["open", "invite"])
    func table(join: String) {
        /// Who asks, then whether it may: read, write, bring in a member, bring in an admin, remove a member, make a member an
        /// admin, make an admin a guest, change the topic, hand over, delete.
        let rows: [(String, [Bool])] = [
            ("owner", [true, true, true, true, true, true, true, true, true, true]),
            ("admin", [true, true, true, true, true, true, true, true, false, false]),
            ("member", [true, true, join == "open", false, false, false, false, false, false, false]),
            ("guest", [true, true, false, false, false, false, false, false, false, false]),
            ("stranger", Array(repeating: false, count: 10)),
        ]
        for (who, allowed) in rows {
            for (at, isAllowed) in allowed.enumerated() {
                // Guests write while they have the turn.
                if who == "guest", at == 1 { continue }
                var world = Self.world(join: join)
                let answer =
                    switch at {
                    case 0: world.page(as: who)
                    case 1: world.speak(0, who)
                    case 2: world.setRole(0, "x", nil, by: who)
                    case 3: world.setRole(0, "x", "admin", by: who)
                    case 4: world.remove(0, "other", by: who)
                    case 5: world.setRole(0, "other", "admin", by: who)
                    case 6: world.setRole(0, "admin", "guest", by: who)
                    case 7: world.chats(0, .patch("c"), by: who, #"{"topic":"new"}"#)
                    case 8: world.setRole(0, "member", "owner", by: who)
                    default: world.chats(0, .delete("c"), by: who)
                    }
                #expect(
                    isAllowed ? answer.status < 300 : answer.status == 403,
                    "\(who) \(at): \(answer.status) \(answer.text)")
                #expect(isAllowed || answer.message.contains(who), "\(answer.message)")
            }
        }
        // An operator may do everything, but read what is private.
        var world = Self.world(join: join)
        #expect(world.setRole(0, "x", "admin", by: nil).status == 201 && world.remove(0, "x", by: nil).status == 204)
        #expect(world.setRole(0, "other", "owner", by: nil).status == 200)
        #expect(
            world.rights() == [
                "other": "owner", "owner": "admin", "admin": "admin", "member": "member", "guest": "guest",
            ])
        #expect(world.chats(0, .delete("c")).status == 204)
    }

    @Test("Joining, leaving and coming back; nobody removes the owner, and who was removed needs somebody")
    func comingAndGoing() {
        var world = Self.world()
        let joined = world.setRole(0, "stranger", nil, by: "stranger")
        #expect(joined.status == 201 && joined.object["role"] as? String == "member")
        #expect(world.setRole(0, "stranger", nil, by: "stranger").status == 200, "it is in")
        #expect(world.setRole(0, "x", "admin", by: "x").status == 403, "nobody makes itself an admin")
        #expect(world.setRole(0, "x", "guest", by: "x").object["role"] as? String == "guest")
        #expect(world.remove(0, "owner", by: "admin").status == 403 && world.remove(0, "owner", by: nil).status == 403)
        #expect(world.setRole(0, "owner", "member", by: "admin").status == 403)
        #expect(world.setRole(0, "owner", "member", by: "owner").status == 403, "it hands over or leaves")
        #expect(world.remove(0, "stranger", by: "admin").status == 204)
        #expect(world.remove(0, "stranger", by: "admin").status == 404)
        #expect(world.setRole(0, "stranger", nil, by: "stranger").message.contains("ask admin or owner"))
        #expect(world.setRole(0, "stranger", nil, by: "member").status == 403, "a member does not undo it")
        #expect(world.setRole(0, "stranger", nil, by: "admin").status == 201)
        #expect(world.remove(0, "x", by: "x").status == 204 && world.setRole(0, "x", nil, by: "x").status == 201)
        #expect(world.setRole(0, "nobody", nil, by: "owner").status == 404)
        #expect(world.setRole(0, "x", "king", by: "owner").status == 400)
        let changes = world.told().compactMap { $0["change"] as? String }
        #expect(
            changes == [
                "member_joined", "member_joined", "member_removed", "member_joined", "member_left", "member_joined",
            ])
    }

    @Test("Without an admin the longest member counts as one, and writes nothing of it")
    func acting() {
        var world = NodeWorld()
        world.introduce(["o", "a", "b", "c"])
        world.group(0, "c", ["o"], roles: [:])
        for agent in ["c", "b", "a"] {
            world.now = world.now.advanced(milliseconds: 10)
            _ = world.setRole(0, agent, agent == "c" ? "guest" : nil, by: agent)
        }
        #expect(world.chats(0, .chat("c")).object["acting_admin"] == nil)
        #expect(world.remove(0, "o", by: "o").status == 204)
        let chat = world.chats(0, .chat("c")).object
        #expect(chat["acting_admin"] as? String == "b", "the guest has been here longer")
        #expect(world.rights() == ["a": "member", "b": "admin", "c": "guest"])
        #expect(
            world.nodes[0].documents.value(of: "role/b", in: "chat/c").map { String(decoding: $0, as: UTF8.self) }
                == "\"member\"")
        #expect(world.remove(0, "a", by: "b").status == 204 && world.remove(0, "b", by: "b").status == 204)
        #expect(world.rights() == ["c": "admin"])
    }

    @Test("Of two agents there is one private chat, wherever it is made; nobody else comes, nobody is removed")
    func privates() {
        var world = NodeWorld.linked(2)
        world.introduce(["a", "b", "eve"])
        world.unlink(0, 1)
        let first = world.chats(0, .create, by: "a", #"{"chat_type":"private","participants":["b"]}"#)
        let second = world.chats(1, .create, by: "b", #"{"chat_type":"private","participants":["b","a"]}"#)
        #expect(first.status == 201 && second.status == 201 && first.id == second.id)
        let id = first.id
        world.speak(0, "a", 1, in: id)
        world.speak(1, "b", 2, in: id)
        world.link(0, 1)
        for i in 0..<2 {
            #expect(Set(world.said(i, as: "a", in: id)) == [NodeCoreTests.id(1), NodeCoreTests.id(2)])
            #expect(world.chats(i, .create, by: "a", #"{"chat_type":"private","participants":["b"]}"#).status == 200)
            #expect(world.chats(i, .chat(id), by: "eve").status == 403)
            #expect(world.chats(i, .chats(agent: nil, before: nil, limit: 9), by: "eve").list.isEmpty)
            #expect(world.page(i, as: "eve", in: id).status == 403)
            #expect(world.chats(i, .setMember(chat: id, agent: "eve"), by: "a").status == 403)
            #expect(world.chats(i, .setMember(chat: id, agent: "eve"), by: "eve").status == 403)
            #expect(world.chats(i, .removeMember(chat: id, agent: "b"), by: "a").status == 403)
            #expect(world.chats(i, .setMember(chat: id, agent: "b"), by: "a", #"{"role":"guest"}"#).status == 403)
        }
        #expect(world.chats(0, .removeMember(chat: id, agent: "b"), by: "b").status == 204)
        #expect(world.speak(0, "b", in: id).status == 403)
        #expect(world.chats(0, .create, by: "a", #"{"chat_type":"private","participants":["b"]}"#).status == 200)
        #expect(world.speak(0, "b", in: id).status == 201, "who had left was brought back")
    }

    @Test("Lists: newest first by pages, an agent's own, and what it may join")
    func lists() {
        var world = NodeWorld()
        world.introduce(["a", "b"])
        for n in 0..<5 {
            world.now = world.now.advanced(milliseconds: 5)
            world.group(0, "g\(n)", [n % 2 == 0 ? "a" : "b"], join: n == 1 ? "invite" : "open")
        }
        func ids(_ answer: Answer) -> [String] { answer.list.compactMap { $0["id"] as? String } }
        #expect(ids(world.chats(0, .chats(agent: nil, before: nil, limit: 10))) == ["g4", "g3", "g2", "g1", "g0"])
        #expect(ids(world.chats(0, .chats(agent: nil, before: "g3", limit: 2))) == ["g2", "g1"])
        #expect(ids(world.chats(0, .chats(agent: "a", before: nil, limit: 10))) == ["g4", "g2", "g0"])
        #expect(ids(world.chats(0, .chats(agent: "a", before: "g4", limit: 1))) == ["g2"])
        #expect(ids(world.chats(0, .chats(agent: nil, before: nil, limit: 10), by: "a")) == ["g4", "g3", "g2", "g0"])
        #expect(world.chats(0, .chats(agent: nil, before: "x", limit: 10)).status == 404)
        #expect(world.chats(0, .chats(agent: "x", before: nil, limit: 10)).status == 404)
        #expect(world.chats(0, .delete("g2"), by: "a").status == 204)
        #expect(ids(world.chats(0, .chats(agent: "a", before: nil, limit: 10))) == ["g4", "g0"])
        #expect(world.told().last?["eventType"] as? String == "ChatDeleted")
        world.speak(0, "a", 1, in: "g4")
        world.group(0, "g2", ["a"])
        #expect(world.said(as: "a", in: "g2").isEmpty, "made anew, it has none of what was said before")
        #expect(world.nodes[0].chats.count == 5 && world.metric(0, "chats") == 5)
    }

    @Test("What a chat says of itself is changed by a patch")
    func patched() {
        var world = Self.world()
        _ = world.chats(0, .patch("c"), by: "owner", #"{"topic":"new","mine":7,"join":"invite"}"#)
        var chat = world.chats(0, .chat("c")).object
        #expect(chat["topic"] as? String == "new" && chat["mine"] as? Int == 7 && chat["join"] as? String == "invite")
        _ = world.chats(0, .patch("c"), by: "owner", #"{"topic":null,"mine":null}"#)
        chat = world.chats(0, .chat("c")).object
        #expect(chat["topic"] is NSNull && chat["mine"] == nil)
        #expect(world.chats(0, .patch("c"), by: "owner", #"{"participants":[]}"#).status == 400)
        #expect(world.chats(0, .patch("c"), by: "owner", #"{"join":"x"}"#).status == 400)
        #expect(world.chats(0, .patch("c"), by: "owner", "{}").status == 200)
        let told = world.told().filter { $0["eventType"] as? String == "ChatUpdated" }
        #expect(told.map { $0["change"] as? String } == ["topic_changed", "topic_changed"])
        #expect(told[0]["topic"] as? String == "new" && told[0]["by"] as? String == "owner")
    }
}
