import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

@Suite("Chats in bad weather")
struct ChatFaultTests {
    private static func trio() -> NodeWorld {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 2_000)
        return world
    }

    private static func inChat(_ world: inout NodeWorld, _ agents: [String] = ["o", "a", "b"]) {
        world.introduce(agents)
        world.group(0, "c", agents)
        world.run(milliseconds: 500)
    }

    /// What every node makes of the chat must be the same.
    private static func checkAgreement(_ world: inout NodeWorld) {
        for agent in [nil, "o", "b"] {
            let pages = (0..<3).map { world.page($0, as: agent, limit: 1_000).text }
            #expect(Set(pages).count == 1, "\(agent ?? "operator"): \(pages)")
        }
        #expect(Set((0..<3).map { world.chats($0, .chat("c")).text }).count == 1)
        #expect(Set((0..<3).map { world.unread($0, "o") }).count == 1)
        #expect(Set(world.nodes.map { $0.documents.hash }).count == 1)
    }

    @Test("A member removed on one side stays removed, though the other gave it another role, before or after")
    func removedAndPromoted() {
        for removesFirst in [false, true] {
            var world = Self.trio()
            Self.inChat(&world)
            world.cutOff = [2]
            world.run(milliseconds: 10_000)
            for isRemoval in [removesFirst, !removesFirst] {
                if isRemoval {
                    #expect(world.remove(0, "a", by: "o").status == 204)
                } else {
                    #expect(world.setRole(2, "a", "admin", by: "o").status == 200)
                }
                world.run(milliseconds: 100)
            }
            world.cutOff = []
            world.run(milliseconds: 20_000)
            for i in 0..<3 {
                #expect(world.rights(i) == ["o": "owner", "b": "member"])
                #expect(world.speak(i, "a").status == 403)
                #expect(world.chats(i, .chats(agent: "a", before: nil, limit: 9)).list.isEmpty)
            }
            // Brought back it is what it is brought back as.
            #expect(world.setRole(1, "a", nil, by: "o").object["role"] as? String == "member")
            world.run(milliseconds: 500)
            Self.checkAgreement(&world)
        }
    }

    @Test(
        "What was said on behalf of an agent that another side had retired or removed is kept, tagged, for admins alone"
    )
    func spokeAfterRemoval() {
        for retires in [false, true] {
            var world = Self.trio()
            Self.inChat(&world)
            world.speak(2, "a", 1)
            world.run(milliseconds: 500)
            world.cutOff = [2]
            world.run(milliseconds: 10_000)
            world.speak(2, "a", 2)
            world.run(milliseconds: 100)
            if retires { world.leaveAndRetire("a", at: 0) } else { _ = world.remove(0, "a", by: "o") }
            world.run(milliseconds: 100)
            #expect(world.speak(2, "a", 3).status == 201, "this side does not know")
            #expect(world.speak(2, "b", 4).status == 201)
            world.cutOff = []
            world.run(milliseconds: 20_000)
            for i in 0..<3 {
                #expect(world.said(i, as: "b") == [1, 2, 4].map(id) && world.unread(i, "o") == 3)
                let all = world.page(i, as: "o").list
                #expect(all.compactMap { $0["id"] as? String } == (1...4).map(id))
                #expect(all.map { $0["after_removal"] as? Bool ?? false } == [false, false, true, false])
                #expect(world.page(i, as: nil).list.count == 4)
                #expect(world.speak(i, "a").status == (retires ? 404 : 403))
            }
            #expect((0..<3).contains { world.metric($0, "chat_after_removal_total")! > 0 })
            if !retires {
                // Back again, what it said meanwhile stays what it was.
                #expect(world.setRole(1, "a", nil, by: "o").status == 201)
                world.speak(1, "a", 5)
                world.run(milliseconds: 500)
                #expect(world.said(0, as: "b") == [1, 2, 4, 5].map(id))
            }
            Self.checkAgreement(&world)
        }
    }

    @Test("Members of both sides see what the other said, and marks of both count")
    func bothSides() {
        var world = Self.trio()
        Self.inChat(&world)
        world.cutOff = [2]
        world.run(milliseconds: 10_000)
        for n in 0..<20 {
            world.speak(n % 2 == 0 ? 0 : 2, n % 2 == 0 ? "a" : "b", n)
            world.run(milliseconds: 50)
        }
        _ = world.chats(0, .markRead(chat: "c", message: id(8)), by: "o")
        _ = world.chats(2, .markRead(chat: "c", message: id(13)), by: "o")
        world.cutOff = []
        world.run(milliseconds: 20_000)
        for i in 0..<3 {
            #expect(world.said(i, as: "o") == (0..<20).map(id))
            #expect(world.unread(i, "o") == 6, "the later mark counts")
        }
        Self.checkAgreement(&world)
    }

    @Test("Whoever starts anew says again what it kept, and reads the rest")
    func startsAnew() {
        var world = Self.trio()
        Self.inChat(&world)
        for n in 0..<6 { world.speak(n % 3, "a", n) }
        _ = world.chats(1, .markRead(chat: "c", message: id(2)), by: "b")
        world.run(milliseconds: 2_000)
        let before = world.said(0, as: "b")
        world.startAnew(2)
        world.run(milliseconds: 20_000)
        for i in 0..<3 { #expect(Set(world.said(i, as: "b")) == Set(before)) }
        world.speak(2, "b", 9)
        world.run(milliseconds: 2_000)
        Self.checkAgreement(&world)
        // Alone, it keeps everything.
        var alone = NodeWorld()
        alone.introduce(["o", "a"])
        alone.group(0, "c", ["o", "a"])
        for n in 0..<3 { alone.speak(0, "a", n) }
        alone.startAnew(0)
        alone.run(milliseconds: 60_000)
        #expect(alone.said(0, as: "o") == (0..<3).map(id) && alone.unread(0, "o") == 3)
        #expect(alone.rights() == ["o": "owner", "a": "member"])
    }

    @Test("Whoever comes later reads the same chat, from a snapshot if need be")
    func newcomer() {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        let small = Replication.Settings(retention: .init(entries: 400))
        for _ in 0..<2 { world.add(replication: small, profile: .fast) }
        world.run(milliseconds: 2_000)
        Self.inChat(&world)
        for n in 0..<1_000 {
            let padding = String(repeating: "x", count: 8_000)
            world.speak(n % 2, n % 2 == 0 ? "a" : "b", n, #","pad":"\#(padding)""#)
            if n % 50 == 0 { world.run(milliseconds: 50) }
        }
        _ = world.chats(0, .markRead(chat: "c", message: id(900)), by: "o")
        world.run(milliseconds: 2_000)
        world.add(replication: small, profile: .fast)
        world.run(milliseconds: 10_000)
        #expect(world.nodes[2].snapshotsRead > 0)
        for i in 0..<3 {
            let held = world.said(i, as: "o", limit: 100_000)
            #expect(held.count < 1_000 && held.last == id(999), "the log has dropped the oldest")
            #expect(world.unread(i, "o") == 99)
            #expect(world.nodes[i].chats.messageCount <= 2 * world.nodes[i].cluster.log.heldEntries + 4_097)
        }
        #expect(Set((0..<3).map { world.chats($0, .chat("c")).text }).count == 1)
    }

    @Test("Chats, marks and messages are on the disk")
    func restarted() throws {
        for withSnapshot in [false, true] {
            var world = try StoreWorld(segmentBytes: withSnapshot ? 4_096 : nil)
            func ask(_ request: ChatRequest, _ agent: String? = nil, _ body: String = "") -> String {
                world.give(
                    .request(RequestID(UInt64(world.replies.count) + 100), .chats(request, by: Asker(agent))), body)
                world.give(.turnEnded)
                return world.replies.last?.text ?? ""
            }
            for agent in ["a", "b"] {
                var effects = NodeCore.Effects()
                _ = try world.core.put(DocumentKind.agent.name(agent), [.create], now: world.now, into: &effects)
            }
            _ = ask(.create, "a", #"{"id":"c","chat_type":"group","participants":["b"],"topic":"t"}"#)
            for n in 0..<60 {
                _ = ask(
                    .post(chat: "c"), "a", #"{"id":"\#(id(n))","content":"\#(String(repeating: "x", count: 200))"}"#)
            }
            _ = ask(.markRead(chat: "c", message: id(49)), "b")
            let pages = [
                ask(.messages(chat: "c", after: nil, before: nil, limit: 100), "b"), ask(.chat("c")),
                ask(.unread(agent: "b"), "b"),
            ]
            #expect(pages[2].contains(#""unread":10"#), "\(pages[2])")
            try world.restart()
            #expect(
                pages == [
                    ask(.messages(chat: "c", after: nil, before: nil, limit: 100), "b"), ask(.chat("c")),
                    ask(.unread(agent: "b"), "b"),
                ])
        }
    }
}
