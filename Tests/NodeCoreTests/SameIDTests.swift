import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("The same id again")
struct SameIDTests {
    private static let body = #"{"value":0.5,"pattern":"p","list":[1,2]}"#

    @Test(
        "at one node is the event as first stored, however it is spelt",
        arguments: [
            #"{"id":"ID","type":"reward","scope":"ui","trace_id":"t","agent_id":"a","parent_ids":[],"payload":{"value":0.5,"pattern":"p","list":[1,2]}}"#,
            #"{"payload":{"list":[1.0,20e-1],"pattern":"\u0070","value":5e-1},"agent_id":"a","trace_id":"t","scope":"\u0075i","type":"reward","id":"ID"}"#,
            #" { "id" : "ID", "type":"reward","scope":"ui","trace_id":"t","agent_id":"a","payload":{"value":0.50,"pattern":"p","list":[ 1,2 ]},"seq":9,"signals":[] } "#,
        ])
    func repeated(body: String) {
        var world = NodeWorld()
        let first = world.post(0, id: id(1), "reward", Self.body)
        #expect(first.status == 201)
        world.now = world.now.advanced(milliseconds: 3_600_000)
        let again = world.post(0, body.replacing("ID", with: id(1).uppercased()))
        #expect(again.status == 200)
        #expect(again.text == first.text)
        #expect(world.ask(0, .events(.init(limit: 9))).list.count == 1)
        #expect(world.strengths(0, at: NodeWorld.startMs) == ["ui/p": 0.5 * 1.2])
    }

    @Test(
        "with another content is a mistake of the client's",
        arguments: [
            #"{"id":"ID","type":"penalty","scope":"ui","trace_id":"t","agent_id":"a","payload":{"value":0.5,"pattern":"p","list":[1,2]}}"#,
            #"{"id":"ID","type":"reward","scope":"ui2","trace_id":"t","agent_id":"a","payload":{"value":0.5,"pattern":"p","list":[1,2]}}"#,
            #"{"id":"ID","type":"reward","scope":"ui","trace_id":"t","agent_id":"a","payload":{"value":0.5,"pattern":"p","list":[2,1]}}"#,
            #"{"id":"ID","type":"reward","scope":"ui","trace_id":"t","agent_id":"a","payload":{"value":0.5,"pattern":"p","list":[1,2],"x":null}}"#,
            #"{"id":"ID","type":"reward","scope":"ui","trace_id":"t","agent_id":"a","payload":{"value":0.5,"pattern":"p","list":[1,2]},"x":0}"#,
            #"{"id":"ID","type":"reward","scope":"ui","trace_id":"t","agent_id":"a","parent_ids":["ID"],"payload":{"value":0.5,"pattern":"p","list":[1,2]}}"#,
        ])
    func changed(body: String) {
        var world = NodeWorld()
        let first = world.post(0, id: id(1), "reward", Self.body)
        let again = world.post(0, body.replacing("ID", with: id(1)))
        #expect(again.status == 409)
        #expect(again.message.contains("under a new id"))
        #expect(world.ask(0, .events(.init(limit: 9))).text == "[\(first.text)]")
    }

    @Test("texts that only look alike are different contents")
    func normalization() {
        var world = NodeWorld()
        // é as one scalar, and as e with a combining accent: equal for Swift's String, not for a client.
        #expect(world.post(0, id: id(1), "test", "{\"name\":\"\u{e9}\"}").status == 201)
        #expect(world.post(0, id: id(1), "test", "{\"name\":\"e\u{301}\"}").status == 409)
        #expect(world.post(0, id: id(1), "test", "{\"name\":\"\\u00e9\"}").status == 200)
        #expect(world.post(0, id: id(2), "test", "{\"\u{e9}\":1}").status == 201)
        #expect(world.post(0, id: id(2), "test", "{\"e\u{301}\":1}").status == 409)
    }

    @Test(
        "at two nodes at once is one event: the copy with the lowest stamp, at both", arguments: [400, -400] as [Int64])
    func twoNodes(aheadMs: Int64) {
        var world = NodeWorld(clocksAheadMs: [aheadMs, 0])
        for i in 0...1 { world.open(7, at: i) }
        // Only node 0 knows the signal that a reward without a pattern strengthens.
        #expect(world.post(0, "proposal", #"{"action":"known here"}"#).signals == ["known here"])
        let copies = [0, 1].map { world.post($0, id: id(5), "reward", #"{"value":0.25}"#) }
        #expect(copies.map(\.status) == [201, 201])
        #expect(copies.map(\.signals) == [["known here"], []])
        world.link(0, 1)

        let event = copies[aheadMs < 0 ? 0 : 1]
        let expected = aheadMs < 0 ? 0.3 + 0.25 * 1.2 : 0.3
        for i in 0...1 {
            #expect(world.ask(i, .event(id: id(5))).text == event.text)
            let listed = world.ask(i, .events(.init(limit: 9))).list.compactMap { $0["id"] as? String }
            #expect(listed.count == 2)
            #expect(listed.filter { $0 == id(5) }.count == 1)
            #expect(world.ask(i, .eventsInTrace("t", .init(limit: 9))).list.count == 2)
            #expect(world.ask(i, .eventsInScope("ui", .init(limit: 9))).text.contains(event.text))
            #expect(world.strengths(i, at: NodeWorld.startMs + 500) == ["ui/known here": expected])
            #expect(world.delivered(7, at: i).filter { $0 == id(5) }.count == 1, "one delivery per session")
            #expect(world.nodes[i].counters.conflicts == 0)
            #expect(world.nodes[i].index.eventCount == 2)
            #expect(world.post(i, id: id(5), "reward", #"{"value":0.25}"#).text == event.text)
        }
    }

    @Test("more than ten minutes apart is two events", arguments: [(600_000, 1), (600_001, 2)] as [(UInt64, Int)])
    func apart(apartMs: UInt64, events: Int) {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        for i in 0...1 { world.open(7, at: i) }
        let first = world.post(0, id: id(5), "reward", #"{"value":0.25,"pattern":"p"}"#)
        world.now = world.now.advanced(milliseconds: apartMs)
        let second = world.post(1, id: id(5), "reward", #"{"value":0.25,"pattern":"p"}"#)
        world.link(0, 1)
        for i in 0...1 {
            #expect(world.ask(i, .events(.init(limit: 9))).list.count == events)
            #expect(world.ask(i, .event(id: id(5))).text == (events == 2 ? second : first).text)
            #expect(world.nodes[i].index.eventCount == events)
            #expect(world.delivered(7, at: i).count == events)
            let decayed = (0..<10).reduce(0.25 * 1.2) { strength, _ in strength * 0.95 }
            let strength = world.strengths(i, at: NodeWorld.startMs + apartMs)["ui/p"]
            #expect(strength == (events == 2 ? decayed + 0.25 * 1.2 : decayed))
        }
    }

    @Test("with different contents at two nodes is counted and reported, and the lowest stamp wins")
    func conflict() {
        var world = NodeWorld(clocksAheadMs: [0, 300])
        let first = world.post(0, id: id(5), "proposal", #"{"action":"one"}"#)
        _ = world.post(1, id: id(5), "proposal", #"{"action":"two"}"#)
        world.link(0, 1)
        for i in 0...1 {
            #expect(world.ask(i, .event(id: id(5))).text == first.text)
            #expect(world.strengths(i, at: NodeWorld.startMs + 900) == ["ui/one": 0.3])
            #expect(world.nodes[i].counters.conflicts == 1)
            #expect(world.lines[i].contains { $0.contains("accepted twice with different contents") })
        }
    }
}
