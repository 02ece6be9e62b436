import Foundation
import Gossip
import Testing

@testable import NodeCore

extension NodeWorld {
    fileprivate mutating func context(_ i: Int, _ request: ContextRequest, by agent: String? = nil, _ body: String = "")
        -> Answer
    {
        ask(i, .context(request, by: Asker(agent)), body)
    }

    fileprivate mutating func set(
        _ i: Int, _ key: String, _ value: String, in namespace: String = "global", by agent: String? = "ada"
    ) -> Answer {
        context(i, .set(namespace: namespace, key: key), by: agent, #"{"value":\#(value)}"#)
    }

    fileprivate mutating func get(_ i: Int, _ key: String, in namespace: String = "global") -> Answer {
        context(i, .value(namespace: namespace, key: key))
    }

    fileprivate mutating func keys(
        _ i: Int, in namespace: String = "global", after: String? = nil, limit: Int = 100
    ) -> [String] {
        context(i, .entries(namespace: namespace, after: after, limit: limit, withValues: false)).list.compactMap {
            $0["key"] as? String
        }
    }

    fileprivate mutating func changes(
        _ i: Int, of key: String? = nil, in namespace: String = "global", limit: Int = 100, before: String? = nil
    ) -> [[String: Any]] {
        context(i, .history(namespace: namespace, key: key, .init(limit: limit, before: before))).list
    }
}

@Suite("Shared context")
struct ContextTests {
    private var world = NodeWorld.linked(2)

    /// A moment passes, so that stamps tell which write came first.
    private mutating func later() {
        world.deliver()
        world.now = world.now.advanced(milliseconds: 1)
    }

    @Test("is set, changed in part and deleted at any node, to the byte")
    mutating func life() {
        let made = world.set(0, "plan é/1", #"{ "a" : 1.50, "b" : [null] }"#)
        #expect(made.status == 201 && !made.stamp.isEmpty && !made.clock.isEmpty)
        let time = made.object["timestamp"] as? String ?? ""
        #expect(
            made.text
                == #"{"key":"plan é/1","value":{"a":1.50,"b":[null]},"agent_name":"ada","timestamp":"\#(time)"}"#)
        later()
        #expect(world.get(1, "plan é/1").text == made.text)
        let patch = ContextRequest.patch(namespace: "global", key: "plan é/1")
        let patched = world.context(1, patch, by: "bob", #"{"value":{"a":null,"c":{"d":2}}}"#)
        #expect(patched.status == 200 && patched.object["agent_name"] as? String == "bob")
        #expect(patched.text.contains(#""value":{"b":[null],"c":{"d":2}}"#))
        later()
        #expect(world.set(0, "plan é/1", "null").status == 200, "null is a value")
        #expect(world.get(0, "plan é/1").text.contains(#""value":null"#))
        later()
        let delete = ContextRequest.delete(namespace: "global", key: "plan é/1")
        let deleted = world.context(1, delete, by: "bob")
        #expect(deleted.status == 204 && !deleted.stamp.isEmpty)
        later()
        for i in 0...1 {
            #expect(world.get(i, "plan é/1").message == "no key plan é/1 in namespace global; PUT sets one")
            #expect(world.context(i, delete).status == 404 && world.context(i, patch, #"{"value":1}"#).status == 404)
            #expect(
                world.context(i, .namespaces(after: nil, limit: 9)).text == #"[{"namespace":"global","keys":0}]"#)
        }
    }

    @Test("keeps what two sides set under different keys, and of one key the later value")
    mutating func concurrent() {
        _ = (world.set(0, "left", "1"), world.set(0, "both", #""first""#))
        world.now = world.now.advanced(milliseconds: 1)
        _ = (world.set(1, "right", "2"), world.set(1, "both", #""second""#, by: "bob"))
        world.deliver()
        for i in 0...1 {
            #expect(world.keys(i) == ["both", "left", "right"])
            #expect(world.get(i, "both").object["value"] as? String == "second")
            let told = world.changes(i, of: "both").map { "\($0["old_value"]!) \($0["new_value"]!)" }
            #expect(told == ["<null> second", "<null> first"], "both are in the history")
        }
    }

    @Test("lists namespaces and keys in the order of their bytes, page by page")
    mutating func lists() {
        // The first two look alike in Unicode.
        let names = ["e\u{301}", "\u{e9}", "a/b", "a.b", "Z"]
        for name in names { #expect(world.set(0, name, "1").status == 201) }
        for namespace in ["team.alpha", "b"] { _ = world.set(0, "k", #""v""#, in: namespace) }
        world.deliver()
        let sorted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        #expect(world.keys(1).map { Array($0.utf8) } == sorted.map { Array($0.utf8) })
        #expect(world.keys(1, limit: 2) == ["Z", "a.b"] && world.keys(1, after: "a.b", limit: 2).first == "a/b")
        let withValues = world.context(1, .entries(namespace: "b", after: nil, limit: 9, withValues: true)).list
        #expect(withValues.first?["value"] as? String == "v")
        #expect(world.keys(1, in: "nothing.here") == [])
        let listed = world.context(1, .namespaces(after: "b", limit: 1)).list
        #expect(listed.compactMap { $0["namespace"] as? String } == ["global"])
    }

    @Test("tells each change on the namespace's topic, in whichever way one listens")
    mutating func watching() {
        var wish = Request.StreamWish()
        wish.topic = NodeCore.contextTopic("team.alpha")
        world.give(.request(RequestID(50), .stream(wish)), [], to: 1)
        #expect(world.streams[1] == [50])
        world.open(7, at: 1)
        world.say(7, #"{"type":"subscribe","filter":{"topic":"ContextEvents.>"}}"#, to: 1)
        _ = world.set(0, "k", #"{"n":1}"#, in: "team.alpha")
        _ = world.set(0, "k", "2", in: "other", by: nil)
        later()
        _ = world.context(0, .delete(namespace: "team.alpha", key: "k"), by: "bob")
        world.deliver()
        func events(_ session: UInt64) -> [[String: Any]] {
            world.heard[1][SessionID(session), default: []].flatMap { text -> [[String: Any]] in
                let json = text.split(separator: "\ndata: ").last.map(String.init) ?? text
                let object = (try? JSONSerialization.jsonObject(with: Data(json.utf8))) as? [String: Any] ?? [:]
                if object["topic"] != nil { return [object] }
                return (object["data"] as? [String: Any]).map { [$0] } ?? []
            }.filter { $0["topic"] != nil }
        }
        let streamed = events(50)
        #expect(streamed.count == 2 && events(7).count == 3)
        #expect(streamed[0]["type"] as? String == "ContextChanged" && streamed[0]["source"] as? String == "ada")
        #expect(streamed[0]["topic"] as? String == "ContextEvents.team.alpha")
        let data = streamed[1]["data"] as? [String: Any] ?? [:]
        #expect(data["eventType"] as? String == "ContextChanged" && data["action"] as? String == "delete")
        #expect(data["key"] as? String == "k" && data["agent_name"] as? String == "bob")
        #expect((data["old_value"] as? [String: Int]) == ["n": 1] && data["new_value"] is NSNull)
        #expect(events(7)[1]["source"] as? String == "n0", "nobody in particular: the node speaks for itself")
        let said = world.post(0, #"{"topic":"ContextEvents.global","type":"t","source":"eve"}"#)
        #expect(said.status == 400 && said.message.contains("nodes alone publish here"))
    }

    @Test("shows its history the newest first, of all keys or of one, page by page")
    mutating func past() {
        for n in 1...5 {
            _ = (world.set(n % 2, "k", "\(n)"), world.set(n % 2, "other", "\(n)"), world.set(0, "k", "0", in: "else"))
            later()
        }
        _ = world.context(0, .patch(namespace: "global", key: "k"), #"{"value":{"a":1}}"#)
        later()
        for i in 0...1 {
            #expect(world.changes(i).count == 11)
            let all = world.changes(i, of: "k")
            #expect(all.map { $0["action"] as? String } == ["update"] + Array(repeating: "set", count: 5))
            #expect(all.dropFirst().map { $0["new_value"] as? Int } == [5, 4, 3, 2, 1])
            #expect(all.dropFirst().map { $0["old_value"] as? Int } == [4, 3, 2, 1, nil])
            #expect(all[0]["agent_name"] is NSNull && all[1]["agent_name"] as? String == "ada")
            let page = world.changes(i, of: "k", limit: 2)
            #expect(page.map { $0["id"] as? String } == all.prefix(2).map { $0["id"] as? String })
            for place in ["id", "stamp"] {
                let rest = world.changes(i, of: "k", limit: 2, before: page[1][place] as? String)
                #expect(rest.map { $0["new_value"] as? Int } == [4, 3])
            }
            #expect(world.changes(i, of: "nothing").isEmpty && world.changes(i, in: "nothing").isEmpty)
        }
        let wrong = world.context(0, .history(namespace: "global", key: nil, .init(limit: 1, before: "x")))
        #expect(wrong.status == 400 && wrong.message.contains("before"))
    }

    @Test("says who writes, once")
    mutating func writers() {
        let request = ContextRequest.set(namespace: "global", key: "k")
        let both = world.context(0, request, by: "ada", #"{"value":1,"agent_name":"ada"}"#)
        #expect(both.object["agent_name"] as? String == "ada")
        #expect(world.context(0, request, #"{"value":1,"agent_name":"eve"}"#).object["agent_name"] as? String == "eve")
        let other = world.context(0, request, by: "ada", #"{"value":2,"agent_name":"eve"}"#)
        #expect(other.status == 403 && other.message.hasPrefix("agent_name is eve, but the request comes from ada"))
        #expect(world.context(0, request, by: "", #"{"value":2}"#).status == 400)
        #expect(
            world.context(0, .delete(namespace: "global", key: "k"), by: String(repeating: "x", count: 1_025)).status
                == 400)
        #expect(world.get(0, "k").object["value"] as? Int == 1 && world.changes(0).count == 2)
    }

    @Test(
        "says what is wrong, and writes nothing",
        arguments: [
            ("global", "k", "3", "the body must be one JSON object, not a number"),
            ("global", "k", "{}", "value: required, any JSON value"),
            ("global", "k", #"{"value":1,"ttl":3}"#, "ttl: the body may have value and agent_name"),
            ("global", "k", #"{"value":1,"agent_name":3}"#, "agent_name: expected a non-empty string"),
            ("global", "history", #"{"value":1}"#, "key: history and watch are"),
            ("global", "watch", #"{"value":1}"#, "key: history and watch are"),
            ("a..b", "k", #"{"value":1}"#, "namespace: expected segments between dots"),
            ("a.*", "k", #"{"value":1}"#, "namespace: expected segments between dots"),
            ("", "k", #"{"value":1}"#, "namespace: expected segments between dots"),
        ])
    mutating func mistakes(namespace: String, key: String, body: String, message: String) {
        let before = world.nodes[0].cluster.log.end
        let answer = world.context(0, .set(namespace: namespace, key: key), by: "ada", body)
        #expect(answer.status == 400 && answer.message.hasPrefix("Validation error: \(message)"), "\(answer.message)")
        #expect(world.nodes[0].cluster.log.end == before)
    }

    @Test("has bounds, at which nothing is written")
    mutating func bounds() {
        func text(_ count: Int) -> String { "\"\(String(repeating: "x", count: count))\"" }
        func nested(_ levels: Int) -> String {
            String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
        }
        let most = Contexts.maximumValueBytes - 100
        #expect(world.set(0, "k", text(most)).status == 201 && world.set(0, "k", text(most)).status == 200)
        #expect(world.set(0, "k", nested(Contexts.maximumDepth)).status == 200)
        let before = world.nodes[0].cluster.log.end
        let long = world.set(0, "k", text(Contexts.maximumValueBytes))
        #expect(long.status == 413 && long.message.contains("spread it over several keys"))
        #expect(world.set(0, "k", nested(Contexts.maximumDepth + 1)).message.contains("nested more than 100 levels"))
        #expect(world.set(0, String(repeating: "k", count: 1_025), "1").status == 400)
        #expect(world.set(0, "k", "1", in: String(repeating: "n", count: 1_025)).status == 400)
        #expect(world.nodes[0].cluster.log.end == before)
        world.tamper(0) { ($0.contexts.maximumKeys, $0.contexts.maximumNamespaces) = (20, 2) }
        for n in 1..<20 { _ = world.set(0, "k\(n)", "1") }
        let full = world.set(0, "one more", "1")
        #expect(full.status == 507 && full.message.hasPrefix("namespace global has 20 keys"))
        #expect(world.set(0, "k", "2").status == 200 && world.set(0, "k", "2", in: "another").status == 201)
        let crowded = world.set(0, "k", "2", in: "a third")
        #expect(crowded.status == 507 && crowded.message.hasPrefix("there are 2 namespaces"))
        #expect(world.metric(0, "context_refused_total") == 2 && world.metric(0, "context_namespaces") == 2)
        _ = world.context(0, .delete(namespace: "global", key: "k7"))
        #expect(world.set(0, "one more", "1").status == 201)
    }

    @Test("is there at a node that started anew, with what it had written while nobody heard it")
    mutating func anew() {
        world = NodeWorld(clocksAheadMs: [])
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 3_000)
        _ = (world.set(0, "k", "1"), world.set(1, "l", "2", in: "team"))
        world.run(milliseconds: 500)
        world.cutOff = [2]
        world.run(milliseconds: 10_000)
        _ = world.set(2, "k", "3", in: "alone")
        world.startAnew(2)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        #expect(world.metric(2, "resets_total") == 1)
        for i in 0..<3 {
            let listed = world.context(i, .namespaces(after: nil, limit: 9)).list
            #expect(listed.compactMap { $0["namespace"] as? String } == ["alone", "global", "team"])
            #expect(world.get(i, "k").object["value"] as? Int == 1 && world.changes(i, of: "k").count == 1)
            #expect(world.get(i, "k", in: "alone").object["value"] as? Int == 3)
            #expect(world.changes(i, of: "k", in: "alone").count == 1)
        }
    }
}
