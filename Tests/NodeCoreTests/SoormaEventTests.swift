import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

/// Nodes that know each other, and clients of Soorma's event service.
private struct EnvelopeWorld {
    var world = NodeWorld(clocksAheadMs: [])
    private var published = 0

    init(nodes: Int = 2) {
        world.hasNetwork = true
        for _ in 0..<nodes { world.add(profile: .fast) }
        run(3_000)
    }

    mutating func run(_ milliseconds: UInt64) {
        for _ in 0..<max(1, milliseconds / 10) {
            world.run(milliseconds: min(10, milliseconds))
            world.deliver()
        }
    }

    @discardableResult
    mutating func listen(
        _ session: UInt64, at node: Int, as name: String, _ topics: [String] = ["action-requests", "action-results"],
        agent: String? = nil
    ) -> Answer? {
        let request = EventServiceRequest.stream(
            topics: topics, agentID: agent ?? "\(name)-\(session)", agentName: name)
        let answer = world.give(.request(RequestID(session), .soorma(.events(request))), [], to: node)
        run(50)
        return answer
    }

    @discardableResult
    mutating func publish(_ members: String, at node: Int, by source: String = "p") -> Answer {
        let answer = world.ask(
            node, .soorma(.events(.publish)), #"{"event":{"source":"\#(source)",\#(members)}}"#)
        run(50)
        return answer
    }

    /// A request that asks for an answer; returns its id.
    mutating func ask(_ correlation: String, at node: Int) -> String {
        let answer = publish(
            #""topic":"action-requests","type":"do","correlation_id":"\#(correlation)","response_event":"done""#,
            at: node)
        return answer.object["event_id"] as? String ?? ""
    }

    /// The frames that a client has got, of one kind, as objects.
    func frames(_ session: UInt64, at node: Int, _ event: String = "message") -> [[String: Any]] {
        (world.heard[node][SessionID(session)] ?? []).compactMap { frame in
            let lines = frame.split(separator: "\n")
            guard lines.count == 2, lines[0] == "event: \(event)", lines[1].hasPrefix("data: ") else { return nil }
            return try? JSONSerialization.jsonObject(with: Data(lines[1].dropFirst(6).utf8)) as? [String: Any]
        }
    }

    func ids(_ session: UInt64, at node: Int) -> [String] {
        frames(session, at: node).compactMap { $0["id"] as? String }
    }
}

@Suite("Soorma's event service")
struct SoormaEventTests {
    @Test("an envelope becomes a bus event: camel case is read, nulls are left out, what is missing is added")
    func envelopes() {
        var it = EnvelopeWorld(nodes: 1)
        it.listen(9, at: 0, as: "w")
        let connected = it.frames(9, at: 0, "connected")
        #expect(connected.first?["topics"] as? [String] == ["action-requests", "action-results"])
        #expect(connected.first?["agent_id"] as? String == "w-9")
        let answer = it.publish(
            #""id":"\#(id(1))","topic":"action-results","type":"t","correlationId":"c","planId":"p1","subject":null,"data":{"a":null},"time":"2026-01-01T00:00:00Z""#,
            at: 0)
        #expect(answer.status == 200)
        #expect(answer.object["success"] as? Bool == true)
        #expect(answer.object["event_id"] as? String == id(1))
        #expect(
            it.publish(#""topic":"action-results","type":"plain","id":"order-7""#, at: 0).object["event_id"] as? String
                == "order-7")
        let got = it.frames(9, at: 0)
        #expect(got.count == 2)
        #expect(got[0]["correlation_id"] as? String == "c")
        #expect(got[0]["plan_id"] as? String == "p1")
        #expect(got[0]["time"] as? String == "2026-01-01T00:00:00Z")
        #expect(got[0].keys.contains("subject") == false)
        #expect((got[0]["data"] as? [String: Any])?.keys.contains("a") == true, "data are the client's own")
        #expect(got[1]["id"] as? String == "order-7")
        #expect(got[1]["correlation_id"] as? String == "order-7")
        #expect(got[1]["specversion"] as? String == "1.0")
        #expect((got[1]["time"] as? String)?.hasSuffix("Z") == true)
        // It is on the bus like any other.
        #expect(it.world.ask(0, .eventsOnTopic("action-results", .init(limit: 9))).list.count == 2)
        // And what others say there comes to SDKs.
        #expect(it.world.post(0, #"{"topic":"action-results","type":"b","source":"s"}"#).status == 201)
        it.run(50)
        #expect(it.frames(9, at: 0).last?["type"] as? String == "b")
    }

    @Test(
        "what is no envelope is refused in both forms",
        arguments: [
            (#""topic":"plans","type":"t""#, "one of business-facts"), (#""type":"t""#, "event.topic"),
            (#""topic":"plan-events""#, "type"), (#""topic":"plan-events","type":"t","data":[1]"#, "event.data"),
            (#""topic":"plan-events","type":"t","planId":7"#, "plan_id"),
            (#""topic":"plan-events","type":"t","planId":"a","plan_id":"b""#, "twice"),
            (#""topic":"plan-events","type":"t","id":7"#, "event.id"),
        ])
    func refusals(members: String, word: String) {
        var it = EnvelopeWorld(nodes: 1)
        let answer = it.publish(members, at: 0)
        #expect(answer.status == 422)
        #expect(answer.message.contains(word), "\(answer.message)")
        #expect(answer.object["detail"] as? String == answer.message)
    }

    @Test("clients of one name share events in the whole cluster, each name gets all, each id comes once")
    func sharing() {
        var it = EnvelopeWorld()
        it.listen(1, at: 0, as: "w")
        it.listen(2, at: 1, as: "w")
        it.listen(3, at: 1, as: "other", ["*"])
        var asked: [String] = []
        for n in 0..<6 { asked.append(it.ask("c\(n)", at: n % 2)) }
        #expect((it.ids(1, at: 0) + it.ids(2, at: 1)).sorted() == asked.sorted())
        #expect(it.ids(1, at: 0).count == 3)
        #expect(it.ids(3, at: 1).sorted() == asked.sorted())
        // Again, at either node.
        let again =
            #""id":"\#(asked[0])","topic":"action-requests","type":"do","correlation_id":"c0","response_event":"done""#
        let (first, second) = (it.publish(again, at: 0), it.publish(again, at: 1))
        #expect(first.object["event_id"] as? String == asked[0])
        #expect(second.status == 200)
        #expect(it.ids(3, at: 1).count == 6)
    }

    @Test("results of one task's sub-tasks come to one replica of its worker, whichever nodes they come from")
    func relatives() {
        var it = EnvelopeWorld()
        it.listen(1, at: 0, as: "w")
        it.listen(2, at: 1, as: "w")
        for task in 0..<6 {
            let subs = (0..<4).map { "t\(task)s\($0)" }
            let body = #"{"taskId":"t\#(task)","eventType":"e","subTasks":["\#(subs.joined(separator: #"",""#))"]}"#
            #expect(it.world.ask(0, .soorma(.memory(.storeTaskContext, Tenancy())), body).status == 200)
            it.run(50)
            for (n, sub) in subs.enumerated() {
                it.publish(#""topic":"action-results","type":"done","correlation_id":"\#(sub)""#, at: n % 2)
            }
        }
        let (here, there) = (it.frames(1, at: 0), it.frames(2, at: 1))
        func tasks(_ frames: [[String: Any]]) -> Set<String> {
            Set(frames.compactMap { ($0["correlation_id"] as? String).map { String($0.prefix(2)) } })
        }
        #expect(here.count + there.count == 24)
        #expect(tasks(here).isDisjoint(with: tasks(there)))
        #expect(!here.isEmpty && !there.isEmpty)
    }

    @Test("an answer comes to the replica that has asked, as long as it is there")
    func askers() {
        var it = EnvelopeWorld()
        it.listen(1, at: 0, as: "planner", ["action-results"])
        it.listen(2, at: 1, as: "planner", ["action-results"])
        for n in 0..<8 {
            it.publish(
                #""topic":"action-requests","type":"step","correlation_id":"p\#(n)","response_event":"done""#,
                at: n % 2,
                by: "planner")
            it.publish(#""topic":"action-results","type":"done","correlation_id":"p\#(n)""#, at: 0, by: "tool")
        }
        func plans(_ frames: [[String: Any]]) -> [String] { frames.compactMap { $0["correlation_id"] as? String } }
        #expect(plans(it.frames(1, at: 0)) == ["p0", "p2", "p4", "p6"])
        #expect(plans(it.frames(2, at: 1)) == ["p1", "p3", "p5", "p7"])
        // Whoever asked last is meant.
        it.publish(#""topic":"action-requests","type":"step","correlation_id":"p1""#, at: 0, by: "planner")
        it.publish(#""topic":"action-results","type":"done","correlation_id":"p1","id":"\#(id(1))""#, at: 1, by: "tool")
        #expect(it.ids(1, at: 0).last == id(1))
    }

    @Test("what a lost client had not come to goes to another of its name, what it answered does not")
    func losses() {
        var it = EnvelopeWorld()
        it.listen(1, at: 0, as: "w")
        let asked = (0..<4).map { it.ask("c\($0)", at: 1) }
        it.listen(2, at: 1, as: "w")
        #expect(it.ids(1, at: 0) == asked)
        // It answers the second, so it is done with the first, too.
        it.publish(#""topic":"action-results","type":"done","correlation_id":"c1""#, at: 1, by: "w")
        it.world.close(1, at: 0)
        it.run(100)
        #expect(it.ids(2, at: 1).filter { asked.contains($0) } == [asked[2], asked[3]])
        #expect(it.world.metric(0, "soorma_signed_total") == 2)
        #expect(it.world.metric(0, "soorma_streams") == 0)
        // Nobody answers; after a minute that is that.
        it.run(61_000)
        it.world.close(2, at: 1)
        it.listen(3, at: 0, as: "w")
        #expect(it.ids(3, at: 0).isEmpty)
    }

    @Test("an agent that says that it stops keeps what it was sent")
    func stopping() {
        var it = EnvelopeWorld()
        let agent = #"{"agent":{"agentId":"w-a","name":"w","description":"","capabilities":[]}}"#
        #expect(it.world.ask(1, .soorma(.registry(.registerAgent)), agent).status == 200)
        it.listen(1, at: 0, as: "w", agent: "w-a")
        _ = it.ask("c", at: 0)
        // At another node than its stream's.
        #expect(it.world.ask(1, .soorma(.registry(.removeAgent("w-a")))).status == 204)
        it.run(100)
        #expect(it.world.closedSessions[0].isEmpty)
        it.world.close(1, at: 0)
        it.listen(2, at: 1, as: "w")
        #expect(it.ids(2, at: 1).isEmpty)
    }

    @Test("a node that leaves lets its clients finish, says so, and ends their streams like lost connections")
    func leaving() {
        var it = EnvelopeWorld()
        it.listen(1, at: 0, as: "w")
        it.listen(2, at: 1, as: "x")
        let asked = [it.ask("c0", at: 1), it.ask("c1", at: 1)]
        #expect(it.ids(1, at: 0) == asked)
        it.world.give(.leave, [], to: 0)
        it.run(500)
        #expect(it.world.closedSessions[0].isEmpty, "they have something in hand")
        let late = it.listen(5, at: 0, as: "w")
        #expect(late?.status == 503)
        // It is given nothing more, and what it says is heard.
        let more = it.ask("c2", at: 1)
        let heard = it.publish(#""topic":"action-results","type":"done","correlation_id":"c0""#, at: 0, by: "w")
        #expect(heard.status == 200)
        it.run(2_000)
        #expect(it.ids(1, at: 0) == asked)
        #expect(it.frames(1, at: 0, "disconnected").count == 1)
        #expect(it.world.closedSessions[0].map(\.code) == [1_006])
        it.run(3_000)
        it.listen(3, at: 1, as: "w")
        let later = it.frames(3, at: 1).filter { $0["topic"] as? String == "action-requests" }
        #expect(
            later.compactMap { $0["id"] as? String }.sorted() == [asked[1], more].sorted(), "what was not answered")
        #expect(it.ids(2, at: 1).filter { asked.contains($0) } == asked)
    }

    @Test("a node whose clients have nothing in hand leaves at once")
    func leavingIdle() {
        var it = EnvelopeWorld()
        it.listen(1, at: 0, as: "w")
        it.world.give(.leave, [], to: 0)
        #expect(it.frames(1, at: 0, "disconnected").count == 1)
    }

    @Test("when a node leaves, streams at others are not sent again what came from it")
    func undisturbed() {
        var it = EnvelopeWorld(nodes: 3)
        it.listen(1, at: 2, as: "w")
        it.listen(2, at: 1, as: "x")
        let asked = (0..<5).map { it.ask("c\($0)", at: 0) }
        it.publish(#""topic":"action-results","type":"done","correlation_id":"c1""#, at: 0, by: "w")
        it.world.give(.leave, [], to: 0)
        it.run(5_000)
        let later = it.ask("later", at: 1)
        #expect(it.ids(1, at: 2).filter { asked.contains($0) } == asked)
        #expect(it.ids(2, at: 1).filter { asked.contains($0) } == asked)
        #expect(it.ids(1, at: 2).last == later)
        // What is not done with still goes to another, when the client is lost.
        it.listen(3, at: 1, as: "w")
        it.world.close(1, at: 2)
        it.run(100)
        #expect(it.ids(3, at: 1).filter { asked.contains($0) }.count == 3)
    }

    @Test("a stream is told every fifteen seconds that it lives")
    func heartbeats() {
        var it = EnvelopeWorld(nodes: 1)
        it.listen(1, at: 0, as: "w")
        it.run(31_000)
        let beats = it.frames(1, at: 0, "heartbeat")
        #expect(beats.count == 2)
        #expect(beats[0]["connection_id"] as? String == it.frames(1, at: 0, "connected")[0]["connection_id"] as? String)
    }

    @Test("groups that nobody consumes any more are deleted, and one that is deleted under a stream is made anew")
    func groups() {
        var it = EnvelopeWorld(nodes: 1)
        it.listen(1, at: 0, as: "w", ["action-requests"])
        it.listen(2, at: 0, as: "gone", ["action-requests"])
        it.world.close(2, at: 0)
        #expect(it.world.ask(0, .deleteGroup("soorma/w/action-requests")).status == 204)
        it.run(50)
        let asked = it.ask("c", at: 0)
        #expect(it.ids(1, at: 0) == [asked])
        for _ in 0..<70 {
            it.world.tick(0, afterMs: 60_000)
            it.run(10)
        }
        #expect(it.world.ask(0, .groupNamed("soorma/gone/action-requests")).status == 404)
        #expect(it.world.ask(0, .groupNamed("soorma/w/action-requests")).status == 200)
        #expect(it.world.metric(0, "soorma_idle_groups_total") == 1)
    }

    @Test("where there are as many groups as may be, the one that nobody has consumed for longest makes room")
    func room() {
        var it = EnvelopeWorld(nodes: 1)
        it.listen(1, at: 0, as: "stays", ["action-requests"])
        for n in 0..<(QueueGroups.maximumGroups / 8) {
            let session = UInt64(n) + 10
            let request = EventServiceRequest.stream(topics: ["*"], agentID: "run-\(n)", agentName: nil)
            it.world.give(.request(RequestID(session), .soorma(.events(request))), [], to: 0)
            it.world.close(session, at: 0)
        }
        it.world.deliver()
        it.listen(2, at: 0, as: "late", ["action-requests"])
        let asked = it.ask("c", at: 0)
        #expect(it.ids(1, at: 0) == [asked])
        #expect(it.ids(2, at: 0) == [asked])
        #expect(it.world.metric(0, "groups") == QueueGroups.maximumGroups)
    }

    @Test("a client that reads nothing is given no more than a megabyte, and the rest when it has")
    func backPressure() {
        var it = EnvelopeWorld(nodes: 1)
        it.listen(1, at: 0, as: "w")
        let data = String(repeating: "x", count: 200_000)
        // Nothing leaves the process before the world delivers.
        for n in 0..<12 {
            let event =
                #"{"event":{"source":"p","topic":"action-requests","type":"big","data":{"n":\#(n),"x":"\#(data)"}}}"#
            #expect(it.world.ask(0, .soorma(.events(.publish)), event).status == 200)
        }
        #expect(it.frames(1, at: 0).count == 6)
        it.run(50)
        #expect(it.frames(1, at: 0).count == 12)
    }
}
