import CRDT
import Testing

@testable import Gossip
@testable import NodeCore

@Suite("Acknowledgement levels")
struct AckTests {
    @Test("answer a write once so many nodes hold it, as it would have been answered at once")
    func memory() throws {
        var world = NodeWorld.linked(3)
        let plain = world.ask(0, .postEvent, event(1))
        #expect(plain.status == 201 && plain.ack.isEmpty)
        world.deliver()
        let began = world.now
        #expect(world.write(0, "mem:2", event(2)) == nil)
        #expect(world.write(0, as: 8, .postNode, "mem:3", #"{"type":"idea","id":"\#(id(9))"}"#) == nil)
        #expect(world.metric(0, "ack_waiting") == 2)
        world.silent = [2]
        world.deliver()
        // The peer's word comes at once, not with the next probe interval.
        let answer = try #require(world.answers(0).first)
        #expect(answer.status == 201 && answer.id == id(2) && answer.ack == "mem:2")
        #expect(answer.clock == CompactVector(world.nodes[0].replica, sequence: 2).text)
        #expect(world.answers(0, to: 8).isEmpty)
        world.silent = []
        world.deliver()
        let node = try #require(world.answers(0, to: 8).first)
        #expect(node.status == 201 && node.id == id(9) && node.ack == "mem:3" && !node.stamp.isEmpty)
        #expect(world.now == began)
        world.tick(0, afterMs: 60_000)
        #expect(world.answers(0).count == 1 && world.answers(0, to: 8).count == 1)
        #expect(world.metric(0, "ack_waiting") == 0 && world.metric(0, "ack_waits_total") == 2)
        #expect(world.metric(0, "ack_timeouts_total") == 0 && world.metric(0, "ack_refused_total") == 0)
        #expect(world.write(0, as: 9, "mem:1")?.ack == "mem:1", "this node holds it")
    }

    @Test("count only durable nodes for a number and a majority, this one if it is durable")
    func disks() throws {
        var world = NodeWorld.linked(4, durable: [0, 1, 2])
        world.silent = [1, 2]
        #expect(world.write(0, "2") == nil)
        #expect(world.write(0, as: 8, "majority") == nil)
        #expect(world.write(3, as: 9, "2") == nil)
        world.deliver()
        #expect(world.answers(0).isEmpty && world.answers(3, to: 9).isEmpty, "the node in memory has no disk")
        world.silent = [1]
        world.deliver()
        #expect(world.answers(0).map(\.ack) == ["2"])
        #expect(world.answers(0, to: 8).isEmpty, "three of four are a majority")
        #expect(world.answers(3, to: 9).map(\.ack) == ["2"], "the disks of two others will do")
        world.silent = []
        world.deliver()
        #expect(world.answers(0, to: 8).map(\.ack) == ["3"])
        #expect(world.write(0, as: 10, "majority")?.status == nil)
        world.deliver()
        #expect(world.answers(0, to: 10).map(\.status) == [201])
    }

    @Test("that the members known cannot reach are refused at once, and nothing is written")
    func unreachable() {
        var world = NodeWorld.linked(3, durable: [1])
        world.open(1, at: 0)
        let before = world.written(0)
        let requests: [(Request, String)] = [
            (.postEvent, anyEvent), (.postNode, #"{"type":"x"}"#), (.patchNode(id: id(1)), "{}"),
            (.deleteNode(id: id(1)), ""), (.postEdge(node: id(1)), "{}"),
            (.deleteEdges(node: id(1), to: id(2), type: nil), ""),
        ]
        for (request, body) in requests {
            let answer = world.write(0, request, "2", body)
            #expect(answer?.status == 409 && answer?.ack == "" && answer?.clock == "")
            #expect(answer?.message.contains("asks for 2 nodes with --data, and this node knows 1 among 3") == true)
            #expect(answer?.message.contains("ack=mem:2") == true)
        }
        let majority = world.write(0, "majority")
        #expect(
            majority?.status == 409 && majority?.message.contains("2 nodes with --data (more than half of 3)") == true)
        let more = world.write(0, "mem:4")
        #expect(more?.status == 409 && more?.message.contains("4 nodes, and this node knows 3 among 3") == true)
        #expect(more?.message.contains("at most ack=mem:3") == true)
        world.tamper(0) { $0.settings.clusterSize = 7 }
        #expect(world.write(0, "majority")?.message.contains("4 nodes with --data (more than half of 7)") == true)
        world.say(1, #"{"type":"publish","ref":5,"ack":2,"event":\#(anyEvent)}"#, to: 0)
        #expect(world.sent[0].last?.text.hasPrefix(#"{"type":"error","ref":5,"message":"ack=2 asks for 2"#) == true)
        #expect(world.written(0) == before)
        #expect(world.metric(0, "ack_refused_total") == 10)
        // It does not wait for its clock either.
        let far = CompactVector(ReplicaID(0xa2), sequence: 1 << 40)
        #expect(world.write(0, "2", after: far)?.status == 409)
        // A read has nothing to be acknowledged.
        #expect(world.write(0, .nodes(limit: 1), "2", "")?.status == 200)
    }

    @Test("take members for known that are dead, but not those that left or are replaced")
    func members() {
        var world = NodeWorld(clocksAheadMs: [0], profile: .fast)
        world.hasNetwork = true
        world.add(profile: .fast)
        world.add(profile: .fast)
        world.run(milliseconds: 3_000)
        world.give(.leave, [], to: 1)
        world.run(milliseconds: 3_000)
        #expect(world.write(0, "mem:3")?.status == 409, "one has left")
        world.cutOff = [2]
        world.run(milliseconds: 10_000)
        #expect(world.nodes[0].cluster.membership.member(ReplicaID(0xa3))?.state == .dead)
        #expect(world.write(0, as: 8, "mem:2") == nil, "the dead one may come back")
        world.run(milliseconds: 5_000)
        #expect(world.answers(0, to: 8).map(\.status) == [504])
        world.run(milliseconds: 40_000)
        #expect(world.write(0, as: 9, "mem:2")?.status == 409, "it is forgotten")
    }

    @Test("that are not reached in time are answered with what was, and the write stays")
    func timeout() throws {
        var world = NodeWorld.linked(3, durable: [0, 1, 2])
        world.silent = [2]
        let began = world.now
        #expect(world.write(0, "3", event(1)) == nil)
        #expect(world.write(0, as: 8, .postNode, "mem:3", #"{"type":"idea","id":"\#(id(9))"}"#) == nil)
        #expect(world.write(0, as: 9, .deleteNode(id: id(9)), "3", "") == nil)
        world.deliver()
        world.tick(0, afterMs: 4_999)
        #expect(world.answers(0).isEmpty)
        #expect(try #require(world.wakes[0]) <= began.advanced(milliseconds: 5_000))
        world.tick(0, afterMs: 1)
        let answer = try #require(world.answers(0).first)
        #expect(answer.status == 504 && answer.ack == "2")
        #expect(answer.clock == CompactVector(world.nodes[0].replica, sequence: 1).text)
        #expect(answer.object["reached"] as? Int == 2 && answer.object["needed"] as? Int == 3)
        let nodes = try #require(answer.object["nodes"] as? [[String: String]])
        #expect(nodes.map { $0["name"] } == ["n0", "n1"] && nodes[1]["replica"] == "00000000000000a2")
        #expect((answer.object["written"] as? [String: Any])?["id"] as? String == id(1))
        #expect(answer.message.contains("only 2 of 3 nodes had the write on disk (n0, this node, n1) within 5000 ms"))
        #expect(answer.message.contains("do not send it again under another id"))
        let node = try #require(world.answers(0, to: 8).first)
        #expect(node.status == 504 && node.ack == "mem:2" && !node.stamp.isEmpty)
        #expect(node.message.contains("2 of 3 nodes held the write"))
        let removal = try #require(world.answers(0, to: 9).first)
        #expect(removal.status == 504 && !removal.stamp.isEmpty && removal.object["written"] == nil)
        #expect(world.metric(0, "ack_timeouts_total") == 3 && world.metric(0, "ack_waiting") == 0)
        // It stays, and repeating it waits on.
        #expect(world.ask(2, .event(id: id(1))).status == 200)
        #expect(world.write(0, as: 10, "3", event(1)) == nil)
        world.silent = []
        world.deliver()
        let again = try #require(world.answers(0, to: 10).first)
        #expect(again.status == 200 && again.ack == "3" && again.id == id(1) && again.clock == answer.clock)
        #expect(world.answers(0).count == 1)
    }

    @Test("of a repetition are about the copy that is stored, whoever wrote it")
    func repetition() throws {
        var world = NodeWorld.linked(3)
        _ = world.ask(1, .postEvent, event(1))
        world.deliver()
        let shown = world.ask(0, .event(id: id(1)))
        let there = try #require(shown.object["seq"] as? Int)
        // Node 2 has it, but has not said so yet: it is asked, and nothing need be written for that.
        #expect(world.write(0, "mem:3", event(1)) == nil)
        world.deliver()
        let answer = try #require(world.answers(0).first)
        #expect(answer.status == 200 && answer.ack == "mem:3")
        #expect(answer.clock == CompactVector(ReplicaID(0xa2), sequence: UInt64(there)).text)
        // Once they have said so, it is known.
        #expect(world.write(0, as: 8, "mem:3", event(1))?.ack == "mem:3")
        #expect(world.written(0) == 0)

        // One that only reaches node 2 later.
        world.unlink(1, 2)
        _ = world.ask(1, .postEvent, event(2))
        world.deliver()
        #expect(world.write(0, as: 9, "mem:3", event(2)) == nil)
        world.deliver()
        #expect(world.answers(0, to: 9).isEmpty)
        world.link(1, 2)
        world.deliver()
        #expect(world.answers(0, to: 9).map(\.ack) == ["mem:3"])
    }

    @Test("of a write that changes nothing are about all that this node has read")
    func nothingToWrite() throws {
        var world = NodeWorld.linked(3)
        _ = world.ask(1, .postNode, #"{"type":"idea","id":"\#(id(1))"}"#)
        _ = world.ask(1, .postNode, #"{"type":"idea","id":"\#(id(2))"}"#)
        world.deliver()
        world.unlink(1, 2)
        let edge = #"{"to":"\#(id(2))","type":"x"}"#
        _ = world.ask(1, .postEdge(node: id(1)), edge)
        _ = world.ask(1, .patchNode(id: id(1)), #"{"data":{"a":1}}"#)
        _ = world.ask(1, .patchNode(id: id(1)), #"{"data":{"a":null}}"#)
        world.deliver()
        let again: [(Request, String, UInt16)] = [
            (.postEdge(node: id(1)), edge, 201), (.patchNode(id: id(1)), #"{"data":{"a":null}}"#, 200),
            (.postNode, #"{"type":"idea","id":"\#(id(2))"}"#, 200),
        ]
        for (i, (request, body, _)) in again.enumerated() {
            #expect(world.write(0, as: UInt64(20 + i), request, "mem:3", body) == nil)
            #expect(world.write(0, as: UInt64(30 + i), request, "mem:2", body) == nil)
        }
        world.deliver()
        for (i, (_, _, status)) in again.enumerated() {
            #expect(world.answers(0, to: UInt64(20 + i)).isEmpty)
            let answer = try #require(world.answers(0, to: UInt64(30 + i)).first)
            #expect(answer.status == status && answer.ack == "mem:2")
        }
        #expect(world.written(0) == 0)
        world.link(1, 2)
        world.deliver()
        for i in again.indices { #expect(world.answers(0, to: UInt64(20 + i)).map(\.ack) == ["mem:3"]) }
    }

    @Test("do not count a peer that holds the entry back, and hear of it as soon as its cause has come")
    func causes() {
        var world = NodeWorld.linked(3)
        // Who has nothing would join the first peer that it meets.
        _ = world.ask(2, .postEvent, event(9))
        world.deliver()
        world.unlink(1, 2)
        // Node 0 reads an entry of node 1 that node 2 lacks, and writes one that depends on it.
        _ = world.ask(1, .postEvent, event(1))
        world.deliver()
        #expect(world.write(0, "mem:3", event(2)) == nil)
        world.deliver()
        #expect(world.answers(0).isEmpty)
        #expect(world.nodes[2].cluster.replication.waitingBytes > 0)
        world.link(1, 2)
        world.deliver()
        #expect(world.answers(0).map(\.status) == [201])
    }

    @Test("are reached by a peer whose link comes up while they wait, too")
    func newLink() {
        var world = NodeWorld.linked(3, durable: [0, 1, 2])
        world.unlink(0, 2)
        world.silent = [1]
        #expect(world.write(0, "2") == nil)
        #expect(world.write(0, as: 8, "3") == nil)
        world.deliver()
        #expect(world.answers(0).isEmpty)
        world.link(0, 2)
        world.deliver()
        #expect(world.answers(0).map(\.ack) == ["2"])
        world.silent = []
        world.deliver()
        #expect(world.answers(0, to: 8).map(\.ack) == ["3"])
    }

    @Test("count a disk whose node is gone since, and no memory of one")
    func gone() throws {
        var world = NodeWorld.linked(3, durable: [0, 1, 2])
        world.silent = [2]
        #expect(world.write(0, "3") == nil)
        #expect(world.write(0, as: 8, "mem:3") == nil)
        world.deliver()
        world.unlink(0, 1)
        world.silent = []
        world.deliver()
        #expect(world.answers(0).map(\.ack) == ["3"])
        #expect(world.answers(0, to: 8).map(\.ack) == ["mem:3"], "what it has on disk it holds")

        var forgetful = NodeWorld.linked(3)
        forgetful.silent = [2]
        #expect(forgetful.write(0, "mem:3") == nil)
        forgetful.deliver()
        forgetful.unlink(0, 1)
        forgetful.silent = []
        forgetful.deliver()
        #expect(forgetful.answers(0).isEmpty)
        forgetful.tick(0, afterMs: 5_000)
        let answer = try #require(forgetful.answers(0).first)
        #expect(answer.status == 504 && answer.ack == "mem:2")
        #expect(answer.message.contains("(n0, this node, n2)"))
    }
}
