import CRDT
import Testing

@testable import Gossip
@testable import NodeCore

private let event = #"{"type":"test","scope":"ui","trace_id":"t","agent_id":"a","payload":{"pattern":"p"}}"#

private func event(_ number: Int) -> String { #"{"id":"\#(id(number))","# + event.dropFirst() }

extension NodeWorld {
    /// Asks for a level; nil while the write waits.
    fileprivate mutating func write(
        _ i: Int, as request: UInt64 = 7, _ what: Request, _ ack: String, after clock: CompactVector? = nil,
        _ body: String
    ) -> Answer? {
        give(.request(RequestID(request), what, after: clock, ack: AckLevel(ack)!), Array(body.utf8), to: i)
    }

    /// Posts an event and asks for a level; nil while the write waits.
    fileprivate mutating func write(
        _ i: Int, as request: UInt64 = 7, _ ack: String, after clock: CompactVector? = nil, _ body: String = event
    ) -> Answer? {
        write(i, as: request, .postEvent, ack, after: clock, body)
    }

    /// The answers that a request got.
    fileprivate func answers(_ i: Int, to request: UInt64 = 7) -> [Answer] {
        replies[i].filter { $0.request == request }.map(\.answer)
    }

    fileprivate mutating func tick(_ i: Int, afterMs: UInt64 = 0) {
        now = now.advanced(milliseconds: afterMs)
        give(.tick, [], to: i)
    }

    /// So many nodes, each linked to each.
    fileprivate static func linked(_ count: Int, durable: Set<Int> = []) -> NodeWorld {
        var world = NodeWorld(clocksAheadMs: Array(repeating: 0, count: count), durable: durable)
        for a in 0..<count { for b in 0..<a { world.link(b, a) } }
        return world
    }

    /// Own entries that a node has written.
    fileprivate func written(_ i: Int) -> UInt64 { nodes[i].cluster.log.head(of: nodes[i].replica) }
}

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
            (.postEvent, event), (.postNode, #"{"type":"x"}"#), (.patchNode(id: id(1)), "{}"),
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
        #expect(majority?.status == 409 && majority?.message.contains("2 nodes with --data (more than half of 3)") == true)
        let more = world.write(0, "mem:4")
        #expect(more?.status == 409 && more?.message.contains("4 nodes, and this node knows 3 among 3") == true)
        #expect(more?.message.contains("at most ack=mem:3") == true)
        world.tamper(0) { $0.settings.clusterSize = 7 }
        #expect(world.write(0, "majority")?.message.contains("4 nodes with --data (more than half of 7)") == true)
        world.say(1, #"{"type":"publish","ref":5,"ack":2,"event":\#(event)}"#, to: 0)
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

    @Test("do not take the digest of a durable peer's datagram for its disk's word")
    func digest() {
        // Equal digests are heard of while the peer's frames wait for its disk.
        for (durable, answered) in [(Set([0, 1]), 0), (Set<Int>(), 1)] {
            var world = NodeWorld(clocksAheadMs: [0], durable: durable)
            world.hasNetwork = true
            world.add(isDurable: durable.contains(1))
            world.run(milliseconds: 5_000)
            world.silent = [1]
            #expect(world.write(0, durable.isEmpty ? "mem:2" : "2") == nil)
            world.run(milliseconds: 4_000)
            #expect(world.answers(0).count == answered)
        }
    }

    @Test("are answered with the truth by a node that starts anew or leaves")
    func ending() throws {
        for leaves in [false, true] {
            var world = NodeWorld.linked(3)
            world.open(1, at: 0)
            world.silent = [2]
            #expect(world.write(0, "mem:3", event(1)) == nil)
            world.say(1, #"{"type":"publish","ref":"r","ack":"mem:3","event":\#(event(2))}"#, to: 0)
            world.deliver()
            if leaves {
                world.give(.leave, [], to: 0)
                world.deliver()
                #expect(world.answers(0).isEmpty, "it is still to hand on what it wrote")
                world.tick(0, afterMs: 2_500)
                world.tick(0, afterMs: 2_499)
            } else {
                world.startAnew(0)
            }
            let answer = try #require(world.answers(0).first)
            #expect(answer.status == 504 && answer.ack == "mem:2")
            #expect(answer.message.contains(leaves ? "leaves the cluster" : "started anew under another id"))
            #expect(answer.message.contains("only 2 of 3 nodes held the write (n0, this node, n1)"))
            let said = world.sent[0].last { $0.session == SessionID(1) && $0.text.contains("\"error\"") }?.text ?? ""
            #expect(said.hasPrefix(#"{"type":"error","ref":"r","id":"\#(id(2))","message":"written, but not"#))
            world.tick(0, afterMs: 60_000)
            #expect(world.answers(0).count == 1)
            #expect(world.metric(0, "ack_waiting") == 0)
        }
    }

    @Test("are forgotten with a client that is gone; what it wrote stays")
    func abandoned() {
        var world = NodeWorld.linked(2)
        world.open(1, at: 0)
        world.open(2, at: 0)
        #expect(world.write(0, as: 8, "mem:2") == nil)
        #expect(world.write(0, as: 9, "mem:2") == nil)
        for session in [1, 2] {
            world.say(UInt64(session), #"{"type":"publish","ref":1,"ack":"mem:2","event":\#(event)}"#, to: 0)
        }
        #expect(world.metric(0, "ack_waiting") == 4)
        world.give(.requestAbandoned(RequestID(8)), [], to: 0)
        world.close(1, at: 0)
        #expect(world.metric(0, "ack_waiting") == 2)
        world.deliver()
        #expect(world.answers(0, to: 8).isEmpty && world.answers(0, to: 9).count == 1)
        #expect(world.sent[0].map(\.session) == [SessionID(2)])
        #expect(world.written(0) == 4)
    }

    @Test("of messages on /ws are met one by one, whichever is first")
    func sessions() throws {
        var world = NodeWorld.linked(3)
        world.open(1, at: 0)
        world.silent = [2]
        for (ref, ack) in [("a", #""mem:3""#), ("b", #""mem:2""#), ("c", "null"), ("d", #""local""#), ("e", "1")] {
            world.say(1, #"{"type":"publish","ref":"\#(ref)","ack":\#(ack),"event":\#(event)}"#, to: 0)
        }
        world.say(1, #"{"type":"publish","ack":"mem:2","event":\#(event(6))}"#, to: 0)
        func said(_ world: NodeWorld) -> [String] { world.sent[0].map(\.text) }
        #expect(said(world).count == 3 && said(world).allSatisfy { !$0.contains("ack") }, "c, d and e wait for nobody")
        world.deliver()
        #expect(said(world).count == 5)
        #expect(said(world)[3].hasPrefix(#"{"type":"published","ref":"b","id":""#))
        #expect(said(world)[3].hasSuffix(#"","ack":"mem:2"}"#))
        #expect(said(world)[4] == #"{"type":"published","id":"\#(id(6))","ack":"mem:2"}"#)
        world.tick(0, afterMs: 5_000)
        let late = try #require(said(world).last)
        #expect(late.hasPrefix(#"{"type":"error","ref":"a","id":""#) && late.contains("only 2 of 3 nodes held"))
        for bad in [#""two""#, "0", "1.5", "true", "[2]", #""mem:0""#, #""mem:1025""#] {
            world.say(1, #"{"type":"publish","ref":"x","ack":\#(bad),"event":\#(event)}"#, to: 0)
            let refused = try #require(said(world).last)
            #expect(refused.hasPrefix(#"{"type":"error","ref":"x","message":"Validation error: ack: expected local"#))
        }
        #expect(world.written(0) == 6)
    }

    @Test("of a write that waits for its clock first count from when it is written")
    func afterClock() throws {
        var world = NodeWorld.linked(2)
        _ = world.ask(1, .postEvent, event(1))
        let seen = CompactVector(ReplicaID(0xa2), sequence: 1)
        #expect(world.write(0, "mem:2", after: seen, event(2)) == nil)
        #expect(world.metric(0, "clock_waiting") == 1 && world.metric(0, "ack_waiting") == 0)
        world.deliver()
        #expect(world.answers(0).map(\.ack) == ["mem:2"])
        // A clock that is not met lets the write through, which then waits for its level; both are told.
        let far = CompactVector(ReplicaID(0xa2), sequence: 9)
        #expect(world.write(0, as: 8, "mem:2", after: far, event(3)) == nil)
        world.tick(0, afterMs: 2_000)
        #expect(world.metric(0, "clock_waiting") == 0 && world.metric(0, "ack_waiting") == 1)
        world.silent = [1]
        world.deliver()
        world.tick(0, afterMs: 4_999)
        #expect(world.answers(0, to: 8).isEmpty)
        world.tick(0, afterMs: 1)
        let late = try #require(world.answers(0, to: 8).first)
        #expect(late.status == 504 && late.behind == far.text)
        // Where the members have gone meanwhile, nothing is written.
        #expect(world.write(0, as: 9, "mem:2", after: far) == nil)
        world.tamper(0) { $0.settings.clusterSize = 9 }
        #expect(world.write(0, as: 10, "majority", after: far)?.status == 409)
    }

    @Test("are not waited for by more writes than the bound: those are refused before they are written")
    func bound() throws {
        var world = NodeWorld.linked(2)
        world.silent = [1]
        for request in 0..<UInt64(AckWaits.maximumWaiters) {
            #expect(world.write(0, as: 100 + request, "mem:2") == nil)
        }
        let before = world.written(0)
        let answer = world.write(0, as: 9, "mem:2")
        let refused = try #require(answer)
        #expect(refused.status == 503 && refused.message.contains("4096 writes wait"))
        #expect(world.written(0) == before && world.write(0, as: 10, "local")?.status == 201)
        #expect(world.metric(0, "ack_refused_total") == 1)
        world.silent = []
        world.deliver()
        #expect(world.metric(0, "ack_waiting") == 0)
        #expect(world.replies[0].count { $0.request >= 100 && $0.answer.status == 201 } == AckWaits.maximumWaiters)

        world.silent = [1]
        let text = String(repeating: "x", count: 1 << 19)
        let long = #"{"type":"test","scope":"ui","trace_id":"t","agent_id":"a","payload":{"text":"\#(text)"}}"#
        var waiting: UInt64 = 0
        while waiting < 100, world.write(0, as: 10_000 + waiting, "mem:2", long) == nil { waiting += 1 }
        #expect(waiting == 64)
        #expect(world.answers(0, to: 10_000 + waiting).map(\.status) == [503])
        world.silent = []
        world.deliver()
        #expect(world.nodes[0].acks.heldBytes == 0)
        #expect(world.write(0, as: 20_000, "mem:2", long) == nil)
    }

    @Test("of many writes are met in any order, and each write is answered once")
    func anyOrder() {
        var world = NodeWorld.linked(4)
        _ = world.ask(3, .postNode, #"{"type":"idea","id":"\#(id(1))"}"#)
        _ = world.ask(3, .postEvent, event(2))
        world.deliver()
        world.silent = [1, 2, 3]
        var dice = Dice(seed: 5)
        var asked: [UInt64] = []
        var gone: Set<UInt64> = []
        for request in 1_000..<1_400 as Range<UInt64> {
            let ack = "mem:\(2 + dice.below(3))"
            let answer =
                switch dice.below(4) {
                case 0: world.write(0, as: request, .patchNode(id: id(1)), ack, "{}")
                case 1: world.write(0, as: request, ack, event(2))
                default: world.write(0, as: request, ack)
                }
            if answer == nil || world.answers(0, to: request).count == 1 { asked.append(request) }
            if dice.below(10) == 0 {
                world.give(.requestAbandoned(RequestID(request)), [], to: 0)
                if answer == nil { gone.insert(request) }
            }
            switch dice.below(8) {
            case 0:
                world.silent.remove(Int(1 + dice.below(3)))
                world.deliver()
                world.silent = [1, 2, 3]
            case 1: world.tick(0, afterMs: dice.below(400))
            default: break
            }
        }
        world.tick(0, afterMs: 5_000)
        #expect(world.metric(0, "ack_waiting") == 0 && world.nodes[0].acks.heldBytes == 0)
        let answered = world.replies[0].filter { $0.request >= 1_000 }.map(\.request)
        #expect(answered.sorted() == asked.filter { !gone.contains($0) })
        let statuses = Set(world.replies[0].filter { $0.request >= 1_000 }.map(\.answer.status))
        #expect(statuses == [200, 201, 504])
    }

    @Test("do not wait at all with a timeout of zero")
    func noWait() {
        var world = NodeWorld.linked(2)
        world.tamper(0) { $0.settings.ackTimeoutMs = 0 }
        #expect(world.write(0, "mem:2", event(1))?.status == 504)
        world.deliver()
        #expect(world.write(0, "mem:2", event(1))?.status == 200)
    }

    @Test("have names, and nothing else is one")
    func names() {
        let rows: [(String, AckLevel?)] = [
            ("local", .local), ("1", .local), ("2", .disks(2)), ("1024", .disks(1_024)), ("majority", .majority),
            ("mem:1", .memory(1)), ("mem:1024", .memory(1_024)), ("", nil), ("0", nil), ("-1", nil), ("+2", nil),
            ("1025", nil), ("mem:", nil), ("mem:0", nil), ("mem:x", nil), ("MAJORITY", nil), (" 2", nil), ("2,3", nil),
        ]
        for (text, level) in rows { #expect(AckLevel(text) == level, "\(text)") }
        for level in [AckLevel.local, .disks(3), .majority, .memory(2)] { #expect(AckLevel(level.description) == level) }
    }
}

extension CompactVector {
    fileprivate var text: String {
        var out: [UInt8] = []
        encode(into: &out)
        return String(decoding: out, as: UTF8.self)
    }
}
