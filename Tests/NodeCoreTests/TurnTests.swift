import CRDT
import Gossip
import Testing

@testable import NodeCore

extension NodeWorld {
    /// Asks about turns, as an agent or an operator, and lets the nodes talk until there is an answer.
    fileprivate mutating func turn(
        _ i: Int, _ request: TurnRequest, as agent: String? = nil, _ body: String = ""
    ) -> Answer {
        forget(i, 7)
        if let answer = give(.request(RequestID(7), .turns(request, by: Asker(agent))), Array(body.utf8), to: i) {
            deliver()
            return answer
        }
        deliver()
        for _ in 0..<400 where answers(i).isEmpty { run(milliseconds: 20) }
        return answers(i).last ?? Answer(status: 0, text: "no answer", tick: nil)
    }

    fileprivate mutating func speaker(_ i: Int) -> String? {
        turn(i, .speaker(chat: "c")).object["current_speaker"] as? String
    }

    fileprivate mutating func say(_ i: Int, _ agent: String, _ more: String = "") -> Answer {
        let body = "{\"from\":\"\(agent)\",\"content\":\"hi\"\(more)}"
        let answer = ask(i, .chats(.post(chat: "c"), by: Asker()), body)
        deliver()
        return answer
    }

    /// Agents ada (the owner), bob, cyd and the guest gus in a chat that is made at the first node.
    fileprivate mutating func openChat() {
        for agent in ["ada", "bob", "cyd", "gus", "out"] { introduce(agent, at: 0) }
        let body =
            "{\"id\":\"c\",\"chat_type\":\"group\",\"created_by\":\"ada\",\"participants\":[\"ada\",\"bob\",\"cyd\"]}"
        #expect(ask(0, .chats(.create, by: Asker()), body).status == 201)
        let guest = ask(0, .chats(.setMember(chat: "c", agent: "gus"), by: Asker("ada")), "{\"role\":\"guest\"}")
        #expect(guest.status < 300, "\(guest.text)")
        deliver()
    }

    fileprivate mutating func changes(_ i: Int) -> [String] {
        announced(i, "ChatEvents").compactMap { event in
            guard let change = event["change"] as? String, change.hasPrefix("speaker_") else { return nil }
            return "\(change) \(event["agentId"] as? String ?? "-")"
        }
    }
}

private func linked() -> NodeWorld {
    var world = NodeWorld.linked(3)
    world.openChat()
    return world
}

private func trio() -> NodeWorld {
    var world = NodeWorld(clocksAheadMs: [], profile: .fast)
    world.hasNetwork = true
    for _ in 0..<3 { world.add(profile: .fast) }
    world.run(milliseconds: 2_000)
    world.openChat()
    world.run(milliseconds: 500)
    return world
}

private let rules = TurnRequest.setRules(chat: "c")
private let request = TurnRequest.ask(chat: "c")
private let release = TurnRequest.release(chat: "c")
private let grant = TurnRequest.grant(chat: "c")
private let revoke = TurnRequest.revoke(chat: "c")

@Suite("Taking turns in a chat")
struct TurnTests {
    @Test("Asked for, granted, given back, each step at another node; the others are told who has it and until when")
    func flow() {
        var world = linked()
        #expect(world.turn(1, .speaker(chat: "c")).object["queue"] as? [String] == [])
        let first = world.turn(0, request, as: "ada")
        #expect(first.status == 200 && first.object["granted"] as? Bool == true, "\(first.text)")
        let waits = world.turn(1, request, as: "bob")
        #expect(waits.object["granted"] as? Bool == false && waits.object["position"] as? Int == 1)
        for i in 0..<3 { #expect(world.speaker(i) == "ada") }
        #expect(world.say(2, "ada").status == 201)
        let refusal = world.say(2, "bob")
        #expect(refusal.status == 409)
        let until = first.object["until"] as? String ?? "?"
        #expect(refusal.message.contains("not your turn: ada has the turn in chat c until \(until)"), "\(refusal.text)")
        #expect(world.say(1, "bob", ",\"is_private\":true,\"to\":\"ada\"").status == 201, "private messages are free")
        let next = world.turn(2, release, as: "ada", "{\"token\":\(first.object["token"] as? Int ?? 0)}")
        #expect(next.object["current_speaker"] as? String == "bob")
        #expect(world.say(0, "bob", ",\"token\":\(next.object["token"] as? Int ?? 0)").status == 201)
        let stale = world.say(1, "ada", ",\"token\":\(first.object["token"] as? Int ?? 0)")
        #expect(
            stale.status == 409 && stale.message.contains("stale token") && stale.message.contains("bob has it until"))
        #expect(world.turn(0, revoke, as: "ada").object["current_speaker"] is String == false)
        #expect(world.say(1, "cyd").status == 201, "the floor is free")
        let late = world.say(1, "bob", ",\"token\":\(next.object["token"] as? Int ?? 0)")
        #expect(late.status == 409 && late.message.contains("your turn in chat c is over"))
        #expect(
            world.changes(2) == [
                "speaker_requested ada", "speaker_granted ada", "speaker_requested bob", "speaker_released ada",
                "speaker_granted bob", "speaker_revoked bob",
            ])
        #expect(Set(world.nodes.map { $0.documents.hash }).count == 1)
    }

    @Test("Where turns are required nobody speaks without one; guests never do")
    func required() {
        var world = linked()
        #expect(world.say(0, "gus").message.contains("guests speak only with it"))
        #expect(world.say(0, "cyd").status == 201)
        #expect(world.turn(2, rules, as: "ada", "{\"required\":true}").object["required"] as? Bool == true)
        let refusal = world.say(0, "cyd")
        #expect(refusal.status == 409 && refusal.message.contains("nobody speaks without it"))
        #expect(world.turn(1, request, as: "gus").status == 200)
        #expect(world.say(0, "gus").status == 201 && world.say(0, "ada").status == 409)
        let unknown = world.say(0, "gus", ",\"token\":9007199254740991")
        #expect(unknown.status == 409 && unknown.message.contains("unknown token"))
    }

    @Test("Every refusal says who may")
    func refusals() {
        var world = linked()
        for i in 0..<3 {
            let rows: [(Answer, UInt16, String)] = [
                (world.turn(i, request, as: "out"), 403, "out is not a member of chat c"),
                (world.turn(i, request, as: "nobody"), 404, "unknown agent nobody"),
                (world.turn(i, .ask(chat: "x"), as: "ada"), 404, "unknown chat x"),
                (world.turn(i, .speaker(chat: "x")), 404, "unknown chat x"),
                (world.turn(i, request), 400, "agent_id"),
                (world.turn(i, request, as: "ada", "{\"agent_id\":\"bob\"}"), 403, "the request comes from ada"),
                (world.turn(i, request, as: "ada", "{\"priority\":11}"), 400, "priority"),
                (world.turn(i, grant, as: "bob"), 403, "bob is member of chat c and may not grant"),
                (world.turn(i, revoke, as: "gus"), 403, "its owner or an admin may"),
                (world.turn(i, rules, as: "bob", "{\"slot_ms\":500}"), 403, "change how turns are taken"),
                (world.turn(i, rules, as: "ada", "{\"slot_ms\":5}"), 400, "slot_ms"),
                (world.turn(i, rules, as: "ada", "{\"moderator\":\"out\"}"), 403, "out is not a member"),
                (world.turn(i, rules, as: "ada", "{\"nonsense\":1}"), 400, "nonsense"),
                (world.turn(i, grant, as: "ada"), 409, "nobody waits"),
                (world.turn(i, grant, as: "ada", "{\"agent_id\":\"out\"}"), 403, "out is not a member"),
                (world.turn(i, release, as: "bob"), 409, "nobody has had it yet"),
                (world.turn(i, release, as: "bob", "{\"token\":\"x\"}"), 400, "token"),
            ]
            for (answer, status, text) in rows {
                #expect(answer.status == status && answer.message.contains(text), "\(answer.status) \(answer.text)")
            }
        }
    }

    @Test("A moderator grants; so may the owner, and nobody else")
    func moderator() {
        var world = linked()
        #expect(world.turn(1, rules, as: "ada", "{\"moderator\":\"bob\",\"slot_ms\":5000}").status == 200)
        #expect(world.turn(2, request, as: "cyd").object["granted"] as? Bool == false)
        #expect(world.turn(0, grant, as: "cyd").message.contains("the moderator bob, the owner or an admin"))
        #expect(world.turn(0, grant, as: "bob").object["current_speaker"] as? String == "cyd")
        #expect(
            world.turn(1, grant, as: "ada", "{\"agent_id\":\"gus\"}").message.contains(
                "cyd has the turn in chat c until"))
        #expect(world.turn(2, revoke, as: "bob").status == 200)
        #expect(world.turn(1, grant, as: "ada", "{\"agent_id\":\"gus\"}").object["current_speaker"] as? String == "gus")
    }

    @Test("A turn ends with its time at the node that decides, and the next one follows")
    func expiry() {
        var world = linked()
        _ = world.turn(0, rules, as: "ada", "{\"slot_ms\":1000}")
        _ = world.turn(1, request, as: "bob")
        _ = world.turn(2, request, as: "cyd")
        world.run(milliseconds: 900)
        for i in 0..<3 { #expect(world.speaker(i) == "bob") }
        world.run(milliseconds: 200)
        for i in 0..<3 { #expect(world.speaker(i) == "cyd") }
        world.run(milliseconds: 1_100)
        for i in 0..<3 { #expect(world.speaker(i) == nil) }
        #expect(world.changes(1).suffix(3) == ["speaker_expired bob", "speaker_granted cyd", "speaker_expired cyd"])
        #expect((0..<3).compactMap { world.metric($0, "turns_expired_total") }.reduce(0, +) == 2)
        #expect((0..<3).compactMap { world.metric($0, "turns_timed") }.reduce(0, +) == 0)
    }

    @Test(
        "Who is removed, leaves or retires has no turn any more, wherever that is asked; a chat takes its turns with it"
    )
    func gone() {
        for i in 0..<3 {
            var world = linked()
            _ = world.turn(0, request, as: "bob")
            _ = world.turn(0, request, as: "gus")
            _ = world.turn(0, request, as: "cyd")
            #expect(world.ask(i, .chats(.removeMember(chat: "c", agent: "bob"), by: Asker("ada"))).status < 300)
            world.deliver()
            for j in 0..<3 { #expect(world.speaker(j) == "cyd", "of two who asked at once the first by name") }
            world.removeAgent("cyd", at: i)
            for j in 0..<3 { #expect(world.speaker(j) == "gus") }
            #expect(
                world.changes(i).filter { $0.hasPrefix("speaker_revoked") } == [
                    "speaker_revoked bob", "speaker_revoked cyd",
                ])
            #expect(world.ask(i, .chats(.delete("c"), by: Asker("ada"))).status < 300)
            world.deliver()
            for j in 0..<3 { #expect(!world.nodes[j].documents.exists("turn/c")) }
            #expect((0..<3).compactMap { world.metric($0, "turns_active") }.reduce(0, +) == 0)
        }
    }

    @Test("When the node that decides is gone another follows it, from what the document says")
    func takeover() {
        var world = trio()
        _ = world.turn(0, rules, as: "ada", "{\"slot_ms\":8000}")
        _ = world.turn(0, request, as: "bob")
        let before = world.turn(1, request, as: "cyd")
        world.run(milliseconds: 200)
        let decider = (0..<3).first { before.object["decided_by"] as? String == "n\($0)" }!
        let others = [0, 1, 2].filter { $0 != decider }
        world.cutOff = [decider]
        world.run(milliseconds: 3_000)
        #expect(world.speaker(others[0]) == "bob", "its time is not over")
        world.run(milliseconds: 6_000)
        for i in others { #expect(world.speaker(i) == "cyd") }
        let token = world.turn(others[0], .speaker(chat: "c")).object["token"] as? Int ?? 0
        #expect(token >> 32 == 2, "a new term")
        // The former one has granted the same turn by itself; the lower token is revoked, and nobody has two.
        world.cutOff = []
        world.run(milliseconds: 20_000)
        for i in 0..<3 { #expect(world.speaker(i) == nil) }
        #expect(Set(world.nodes.map { $0.documents.hash }).count == 1)
    }

    @Test("Both sides of a partition grant: after it the higher token counts, and the other is revoked for all to see")
    func partition() {
        var world = trio()
        world.cutOff = [2]
        world.run(milliseconds: 5_000)
        let here = world.turn(0, request, as: "bob")
        let there = world.turn(2, request, as: "cyd")
        #expect(here.object["granted"] as? Bool == true && there.object["granted"] as? Bool == true)
        #expect(world.say(1, "bob").status == 201 && world.say(2, "cyd").status == 201)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        let speakers = (0..<3).map { world.speaker($0) }
        #expect(Set(speakers).count == 1 && speakers[0] != nil)
        let loser = speakers[0] == "bob" ? "cyd" : "bob"
        let token = (loser == "bob" ? here : there).object["token"] as? Int ?? 0
        for i in 0..<3 {
            #expect(world.changes(i).filter { $0.hasPrefix("speaker_revoked") } == ["speaker_revoked \(loser)"])
            #expect(world.say(i, loser).message.contains("not your turn: \(speakers[0] ?? "") has"))
            #expect(world.say(i, loser, ",\"token\":\(token)").status == 409)
        }
        let healed = world.ask(0, .eventsOnTopic("ClusterEvents", .init(limit: 50))).text
        #expect(healed.contains("double_grant") && healed.contains("bob, cyd"), "\(healed)")
        #expect(Set(world.nodes.map { $0.documents.hash }).count == 1)
    }

    @Test("Where turns are strict the smaller side refuses, with numbers, and the larger goes on")
    func strict() {
        var world = trio()
        _ = world.turn(0, rules, as: "ada", "{\"strict\":true}")
        world.run(milliseconds: 500)
        world.cutOff = [2]
        world.run(milliseconds: 5_000)
        let refusal = world.turn(2, request, as: "cyd")
        #expect(refusal.status == 503)
        #expect(refusal.message.contains("this side reaches 1 node and needs 2"), "\(refusal.text)")
        #expect(world.turn(1, request, as: "bob").object["granted"] as? Bool == true)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        for i in 0..<3 { #expect(world.speaker(i) == "bob") }
        #expect(world.changes(0).filter { $0.hasPrefix("speaker_revoked") }.isEmpty)
    }
}
