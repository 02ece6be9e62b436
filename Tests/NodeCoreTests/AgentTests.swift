import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("Agents")
struct AgentTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    private static let alpha = """
        {"status":"busy","current_activities":["task_001"],"room_participation":["room_beta","room_alpha"],
        "available_resources":["translation","data_analysis","translation"],
        "public_profile":{"name":"Alpha","bio":null,"links":{"a":[1.50]}},"team":{"lead":"bob"},"note":null}
        """

    private mutating func introduce(_ i: Int, _ agent: String, _ body: String = "{}") -> Answer {
        world.ask(i, .introduce(agent), body)
    }

    @Test("A manifest shows its fields as the seed names them, to the byte, at every node")
    mutating func layout() {
        world.link(0, 1)
        let made = introduce(0, "agent/é", Self.alpha)
        #expect(made.status == 201 && !made.stamp.isEmpty && !made.clock.isEmpty)
        #expect(
            made.text
                == #"{"agent_id":"agent/é","status":"busy","current_activities":["task_001"],"room_participation":["#
                + #""room_alpha","room_beta"],"available_resources":["data_analysis","translation"],"capabilities":[],"#
                + #""public_profile":{"links":{"a":[1.50]},"name":"Alpha"},"online_status":"offline","last_seen":null,"#
                + #""current_focus":null,"team":{"lead":"bob"},"last_updated":"2025-02-19T21:20:30.123Z"}"#)
        world.deliver()
        #expect(world.ask(1, .manifest("agent/é")).text == made.text)
        // The same text in another Unicode form is another agent.
        #expect(world.ask(1, .manifest("agent/e\u{301}")).status == 404)
    }

    @Test("PUT lets the manifest be what it says, writes only what differs, and leaves the registry's part")
    mutating func replacing() throws {
        _ = world.ask(0, .register, #"{"name":"a","capabilities":["x"],"metadata":{"m":1}}"#)
        _ = introduce(0, "a", Self.alpha)
        let before = world.nodes[0].cluster.log.end
        let again = introduce(0, "a", Self.alpha)
        #expect((again.status, again.stamp) == (200, ""))
        #expect(world.nodes[0].cluster.log.end == before, "what is there is not written again")
        let whole = introduce(
            0, "a", #"{"agent_id":"a","available_resources":["translation"],"online_status":"online"}"#)
        #expect(whole.status == 200)
        #expect(whole.text.contains(#""status":"active","current_activities":[],"room_participation":[],"#))
        #expect(
            whole.text.contains(#""available_resources":["translation"],"capabilities":["x"],"public_profile":{},"#))
        #expect(whole.text.contains(#""online_status":"offline""#) && !whole.text.contains("team"))
        #expect(world.ask(0, .registration("a")).text.contains(#""metadata":{"m":1}"#))
        // What a client was shown can be sent back.
        let entries = world.nodes[0].cluster.log.end
        #expect(introduce(0, "a", whole.text).text == whole.text)
        #expect(world.nodes[0].cluster.log.end == entries)
    }

    @Test("PATCH is RFC 7396 for each field; what is only removed counts as a change, too")
    mutating func patching() {
        _ = introduce(0, "a", Self.alpha)
        func patch(_ world: inout NodeWorld, _ body: String) -> Answer {
            world.pass(milliseconds: 1)
            return world.ask(0, .patch("a"), body)
        }
        let merged = patch(
            &world,
            #"{"public_profile":{"links":{"b":2,"a":null},"name":null},"team":{"lead":null,"size":3},"new":[null]}"#)
        #expect(merged.status == 200)
        #expect(merged.text.contains(#""public_profile":{"links":{"b":2}},"#))
        #expect(merged.text.contains(#""new":[null],"team":{"size":3},"last_updated":"2025-02-19T21:20:30.124Z""#))
        #expect(merged.text.contains(#""status":"busy""#) && merged.text.contains(#"["room_alpha","room_beta"]"#))
        let less = patch(&world, #"{"current_activities":null,"available_resources":["translation"],"team":null}"#)
        #expect(less.text.contains(#""current_activities":[]"#) && less.text.contains(#"["translation"]"#))
        #expect(!less.text.contains("team") && less.text.contains("30.125Z"), "a removal moves last_updated")
        let nothing = patch(&world, #"{"gone":null,"status":"busy"}"#)
        #expect((nothing.status, nothing.stamp) == (200, "") && nothing.text.contains("30.125Z"))
        #expect(
            patch(&world, #"{"capabilities":[{"name":"c","v":1},"d"]}"#).text.contains(#"[{"name":"c","v":1},"d"]"#))
        #expect(patch(&world, #"{"capabilities":null}"#).text.contains(#""capabilities":[]"#))
    }

    @Test("Edits of different fields at two sides of a partition both survive; of one field the later stays")
    mutating func partition() {
        var world = NodeWorld(clocksAheadMs: [])
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 2_000)
        _ = world.ask(0, .introduce("a"), #"{"available_resources":["x"],"public_profile":{"k":0}}"#)
        world.run(milliseconds: 500)
        world.cutOff = [2]
        world.run(milliseconds: 5_000)
        _ = world.ask(0, .patch("a"), #"{"status":"busy","available_resources":["x","left"],"public_profile":{"l":1}}"#)
        world.run(milliseconds: 5)
        _ = world.ask(2, .patch("a"), #"{"available_resources":["right"],"public_profile":{"r":2,"k":9},"team":"t"}"#)
        _ = world.ask(2, .patch("a"), #"{"status":"idle"}"#)
        #expect(world.found(2, resource: "left").isEmpty && world.found(0, resource: "right").isEmpty)
        world.cutOff = []
        world.run(milliseconds: 5_000)
        let answers = (0..<3).map { world.ask($0, .manifest("a")).text }
        #expect(Set(answers).count == 1)
        #expect(answers[0].contains(#""status":"idle""#), "the later of two writes of one field")
        #expect(answers[0].contains(#""available_resources":["left","right"]"#))
        #expect(answers[0].contains(#""public_profile":{"k":9,"l":1,"r":2}"#) && answers[0].contains(#""team":"t""#))
        for i in 0..<3 {
            #expect(world.found(i, resource: "left") == ["a"] && world.found(i, capability: "right") == ["a"])
            #expect(world.found(i, resource: "x").isEmpty && world.found(i, status: "busy").isEmpty)
        }
    }

    @Test("An agent that one side retires and the other edits stays retired")
    mutating func retiredAndEdited() {
        world.link(0, 1)
        _ = introduce(0, "a", Self.alpha)
        world.deliver()
        _ = world.ask(0, .retire("a"))
        world.pass(milliseconds: 5)
        #expect(world.ask(1, .patch("a"), #"{"status":"idle"}"#).status == 200)
        #expect(introduce(1, "a", #"{"available_resources":["new"]}"#).status == 200)
        world.deliver()
        for i in 0...1 {
            #expect(world.ask(i, .manifest("a")).status == 404)
            #expect(world.found(i).isEmpty && world.found(i, capability: "new").isEmpty)
        }
        // Introduced anew it has nothing of what it was.
        #expect(introduce(1, "a").text.contains(#""available_resources":[]"#))
        world.deliver()
        #expect(world.found(0) == ["a"])
    }

    @Test("What happens to agents is told on the seed's topics with the seed's fields")
    mutating func lifecycle() throws {
        world.link(0, 1)
        _ = world.ask(0, .introduce("a"), as: "a", #"{"status":"idle"}"#)
        _ = world.ask(0, .introduce("a"), #"{"status":"idle","team":1}"#)
        _ = world.ask(0, .patch("a"), as: "a", #"{"status":"busy"}"#)
        world.deliver()
        _ = world.ask(1, .retire("a"))
        world.deliver()
        let told = world.announced(0, "AgentLifecycle")
        #expect(told.map { $0["eventType"] as? String } == ["AgentIntroduced", "AgentRetired"])
        #expect(told.allSatisfy { $0["agentId"] as? String == "a" && $0["timestamp"] is String })
        #expect((told.first?["manifest"] as? [String: Any])?["status"] as? String == "idle")
        let statuses = world.announced(1, "AgentStatusUpdates")
        #expect(statuses.count == 1)
        #expect(statuses.first?["oldStatus"] as? String == "idle" && statuses.first?["newStatus"] as? String == "busy")
        let text = world.ask(0, .eventsOnTopic("AgentStatusUpdates", .init(limit: 9))).text
        #expect(text.contains(#""source":"a","data":{"eventType":"AgentStatusUpdated","agentId":"a","#))
    }

    @Test("A manifest too long to be told is left out of its agent's introduction")
    mutating func longManifest() {
        let text = String(repeating: "x", count: 70_000)
        #expect(introduce(0, "a", #"{"note":"\#(text)"}"#).status == 201)
        let told = world.announced(0, "AgentLifecycle")
        #expect(told.count == 1 && told[0]["agentId"] as? String == "a" && told[0]["manifest"] == nil)
    }

    @Test("Retiring ends an agent's sessions at every node, and nobody else's")
    mutating func sessionsEnd() {
        world.link(0, 1)
        _ = introduce(0, "a")
        for i in 0...1 {
            world.give(.sessionOpened(SessionID(5), agent: "a"), [], to: i)
            world.give(.sessionOpened(SessionID(6), agent: "b"), [], to: i)
        }
        world.deliver()
        #expect(world.ask(1, .retire("a")).status == 204)
        world.deliver()
        for i in 0...1 {
            #expect(world.closedSessions[i].map(\.session) == [SessionID(5)])
            #expect(world.closedSessions[i].map(\.code) == [1_000])
        }
        // Whoever is introduced again may connect again.
        _ = introduce(0, "a")
        world.deliver()
        world.give(.sessionOpened(SessionID(7), agent: "a"), [], to: 1)
        #expect(world.ask(0, .patch("a"), #"{"status":"idle"}"#).status == 200)
        world.deliver()
        #expect(world.closedSessions[1].count == 1)
    }

    @Test("Online means connected to any node; the end of the last session is written, at most every ten seconds")
    mutating func online() {
        world.link(0, 1)
        _ = introduce(0, "a")
        func status(_ world: inout NodeWorld, _ i: Int) -> [String?] {
            let manifest = world.ask(i, .manifest("a")).object
            return [manifest["online_status"] as? String, manifest["last_seen"] as? String]
        }
        #expect(status(&world, 0) == ["offline", nil])
        world.give(.sessionOpened(SessionID(5), agent: "a"), [], to: 1)
        world.give(.sessionOpened(SessionID(5), agent: "a"), [], to: 0)
        world.deliver()
        for i in 0...1 { #expect(status(&world, i) == ["online", nil]) }
        world.close(5, at: 1)
        world.deliver()
        for i in 0...1 { #expect(status(&world, i) == ["online", nil], "it is still connected elsewhere") }
        world.pass(milliseconds: 1_000)
        world.close(5, at: 0)
        world.deliver()
        let seen = "2025-02-19T21:20:31.123Z"
        for i in 0...1 { #expect(status(&world, i) == ["offline", seen]) }
        let entries = world.nodes[0].cluster.log.end
        for (laterMs, isWritten) in [(9_999, false), (1, true)] as [(UInt64, Bool)] {
            world.pass(milliseconds: laterMs)
            world.give(.sessionOpened(SessionID(8), agent: "a"), [], to: 0)
            world.close(8, at: 0)
            world.deliver()
            #expect((status(&world, 1)[1] != seen) == isWritten)
        }
        // Of whom nobody has introduced, nothing is written but that it has a mailbox.
        world.give(.sessionOpened(SessionID(9), agent: "stranger"), [], to: 0)
        let strangers = world.nodes[0].cluster.log.end
        world.close(9, at: 0)
        #expect(world.nodes[0].cluster.log.end == strangers && strangers > entries)
    }

    @Test("Of agents whose node is gone, one of the others writes down that they were seen")
    mutating func gone() throws {
        var world = NodeWorld(clocksAheadMs: [])
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 2_000)
        _ = world.ask(0, .introduce("a"), "{}")
        world.give(.sessionOpened(SessionID(5), agent: "a"), [], to: 2)
        world.run(milliseconds: 500)
        #expect(world.ask(0, .manifest("a")).text.contains(#""online_status":"online""#))
        world.cutOff = [2]
        world.run(milliseconds: 20_000)
        let shown = (0...1).map { world.ask($0, .manifest("a")) }
        #expect(shown[0].text == shown[1].text)
        #expect(shown[0].text.contains(#""online_status":"offline","last_seen":"2025"#))
        let fields = world.nodes[0].documents.fields(of: "agent/a")
        #expect(fields.filter { $0.name == "last_seen" }.count == 1)
    }

    @Test("Finding goes by status, resource and capability together, in the order of ids, page by page")
    mutating func finding() {
        for (id, body) in [
            ("c", #"{"status":"busy","available_resources":["x","y"]}"#), ("a", #"{"available_resources":["x"]}"#),
            ("é", #"{"available_resources":["y"],"status":"busy"}"#), ("b", #"{"capabilities":["x"]}"#),
        ] { _ = introduce(0, id, body) }
        #expect(world.found(0) == ["a", "b", "c", "é"])
        #expect(world.found(0, status: "busy") == ["c", "é"])
        #expect(world.found(0, resource: "x") == ["a", "c"])
        #expect(world.found(0, capability: "x") == ["a", "b", "c"], "capabilities and resources alike")
        #expect(world.found(0, status: "busy", resource: "y", capability: "x") == ["c"])
        #expect(world.found(0, status: "nobody").isEmpty && world.found(0, resource: "z").isEmpty)
        #expect(world.found(0, capability: "x", limit: 2) == ["a", "b"])
        #expect(world.found(0, capability: "x", after: "b") == ["c"])
        #expect(world.found(0, after: "bb", limit: 1) == ["c"] && world.found(0, after: "é").isEmpty)
        _ = world.ask(0, .patch("c"), #"{"available_resources":["y"],"status":"idle"}"#)
        #expect(world.found(0, capability: "x") == ["a", "b"] && world.found(0, status: "busy") == ["é"])
        #expect(world.found(0, resource: "y") == ["c", "é"] && world.found(0, status: "idle") == ["c"])
    }

    @Test("What is found is the same after however many changes, and after everything is read anew")
    mutating func index() {
        var dice = Dice(seed: 7)
        var model: [String: (status: String, resources: Set<String>)] = [:]
        func check(_ world: inout NodeWorld) {
            for status in ["s0", "s1", "s2"] {
                let wanted = model.filter { $0.value.status == status }.keys.sorted()
                #expect(world.found(0, status: status, limit: 1_000) == wanted)
            }
            for resource in 0..<6 {
                let wanted = model.filter { $0.value.resources.contains("r\(resource)") }.keys.sorted()
                #expect(world.found(0, resource: "r\(resource)", limit: 1_000) == wanted)
                #expect(world.found(0, capability: "r\(resource)", limit: 1_000) == wanted)
            }
            #expect(world.found(0, limit: 1_000) == model.keys.sorted())
            #expect(world.metric(0, "agents") == model.count)
        }
        for round in 0..<1_500 {
            let agent = "agent-\(dice.next() % 700)"
            world.pass(milliseconds: 1)
            if dice.next() % 4 == 0, model[agent] != nil {
                #expect(world.ask(0, .retire(agent)).status == 204)
                model[agent] = nil
            } else {
                let status = "s\(dice.next() % 3)"
                let resources = Set((0..<dice.next() % 4).map { _ in "r\(dice.next() % 6)" })
                let list = resources.sorted().map { "\"\($0)\"" }.joined(separator: ",")
                _ = introduce(0, agent, #"{"status":"\#(status)","available_resources":[\#(list)]}"#)
                model[agent] = (status, resources)
            }
            if round % 250 == 0 { check(&world) }
        }
        check(&world)
        world.tamper(0) { $0.noteAllDocuments() }
        check(&world)
    }

    @Test("The public page shows the profile escaped and without scripts; programs get JSON")
    mutating func page() {
        let nasty = #"<script>alert('x')</script>\"&"#
        _ = introduce(
            0, "a<b",
            """
            {"status":"\(nasty)","available_resources":["<r>"],"secret":"never",
            "public_profile":{"name":"\(nasty)","home":"https://example.org/?a=\\"&b","n":[1,"<"],"js":"javascript:x"}}
            """)
        let page = world.ask(0, .profile("a<b", asPage: true)).text
        #expect(page.hasPrefix("<!doctype html>") && page.contains("default-src 'none'"))
        #expect(page.contains("<h1>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;</h1>"))
        #expect(page.contains("<li>&lt;r&gt;</li>") && page.contains("a&lt;b · ") && page.contains("offline"))
        #expect(page.contains(#"href="https://example.org/?a=&quot;&amp;b""#) && !page.contains(#"href="java"#))
        #expect(!page.contains("<script") && !page.contains("never") && page.contains("[1,&quot;&lt;&quot;]"))
        let json = world.ask(0, .profile("a<b", asPage: false))
        #expect(
            Set(json.object.keys) == ["agent_id", "status", "online_status", "available_resources", "public_profile"])
        #expect(world.ask(0, .profile("nobody", asPage: true)).status == 404)
    }

    @Test("An agent changes its own manifest alone; whoever names no agent may change all")
    mutating func permission() {
        _ = introduce(0, "a")
        for request in [AgentRequest.introduce("a"), .patch("a"), .retire("a"), .heartbeat("a"), .setStatus("a")] {
            let answer = world.ask(0, request, as: "b", #"{"status":"idle"}"#)
            #expect(answer.status == 403 && answer.message.hasPrefix("b asks about what belongs to a; only that agent"))
        }
        #expect(world.ask(0, .introduce("new"), as: "b", "{}").status == 403)
        #expect(world.ask(0, .patch("a"), as: "a", #"{"status":"idle"}"#).status == 200)
        #expect(world.ask(0, .manifest("a"), as: "b").status == 200)
    }

    @Test(
        "says what is wrong",
        arguments: [
            ("[]", 400, "the body"), ("", 400, "invalid JSON"),
            (#"{"status":3}"#, 400, "status: expected a non-empty string"),
            (#"{"status":""}"#, 400, "status: must have 1 to 1024 bytes"),
            (#"{"agent_id":"b"}"#, 400, "agent_id: the path names a"),
            (#"{"current_activities":"x"}"#, 400, "current_activities: expected an array"),
            (#"{"available_resources":[1]}"#, 400, "available_resources: expected strings of 1 to 1024 bytes"),
            (#"{"capabilities":[{"v":1}]}"#, 400, "capabilities: expected texts of 1 to 1024 bytes, or objects"),
            (#"{"capabilities":{}}"#, 400, "capabilities: expected an array of at most 1000"),
            (#"{"public_profile":[]}"#, 400, "public_profile: expected an object, found an array"),
            (#"{"public_profile":{"":1}}"#, 400, "public_profile: names of members have 1 to 1024 bytes"),
        ])
    mutating func refusals(body: String, status: Int, message: String) {
        for (request, isPatch) in [(AgentRequest.introduce("a"), false), (.patch("a"), true)] {
            if isPatch { _ = introduce(0, "a") }
            let answer = world.ask(0, request, body)
            #expect(Int(answer.status) == status && answer.message.contains(message), "\(answer)")
        }
    }

    @Test("Everything has a bound, and says so")
    mutating func bounds() {
        func texts(_ prefix: String, _ count: Int) -> String {
            (0..<count).map { "\"\(prefix)\($0)\"" }.joined(separator: ",")
        }
        func members(_ count: Int) -> String { (0..<count).map { "\"m\($0)\":1" }.joined(separator: ",") }
        #expect(introduce(0, "a", #"{"available_resources":[\#(texts("r", 1_001))]}"#).message.contains("at most 1000"))
        #expect(introduce(0, "a", #"{"public_profile":{\#(members(257))}}"#).message.contains("at most 256 members"))
        #expect(introduce(0, "a", "{\(members(257))}").message.contains("the manifest: may have at most 256 members"))
        let full = #"{"available_resources":[\#(texts("r", 1_000))],"public_profile":{\#(members(256))}}"#
        #expect(introduce(0, "a", full).status == 201)
        #expect(world.ask(0, .patch("a"), #"{"public_profile":{"n":1}}"#).status == 400)
        #expect(world.ask(0, .patch("a"), #"{"public_profile":{"n":1,"m1":null}}"#).status == 200)
        let sets = ["current_activities", "room_participation", "available_resources", "capabilities"]
        let all = sets.map { "\"\($0)\":[\(texts("n", 1_000))]" }.joined(separator: ",")
        let answer = introduce(0, "a", "{\(all)}")
        #expect(answer.status == 413 && answer.message.contains("fields would change, and one request may change 4000"))
        #expect(world.ask(0, .manifest("a")).text.contains(#""r999""#), "all or nothing")
        let long = String(repeating: "x", count: 1_025)
        #expect(introduce(0, long).status == 400)
        for request in [
            AgentRequest.manifest("no"), .patch("no"), .retire("no"), .registration("no"), .heartbeat("no"),
        ] {
            let answer = world.ask(0, request, "{}")
            #expect(answer.status == 404 && answer.message.hasPrefix("unknown agent no: introduce it with PUT"))
        }
    }
}
