import CRDT
import Testing

@testable import Gossip
@testable import NodeCore

@Suite("Waiting for an acknowledgement level")
struct AckWaitTests {
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
            world.say(UInt64(session), #"{"type":"publish","ref":1,"ack":"mem:2","event":\#(anyEvent)}"#, to: 0)
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
            world.say(1, #"{"type":"publish","ref":"\#(ref)","ack":\#(ack),"event":\#(anyEvent)}"#, to: 0)
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
            world.say(1, #"{"type":"publish","ref":"x","ack":\#(bad),"event":\#(anyEvent)}"#, to: 0)
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
        for level in [AckLevel.local, .disks(3), .majority, .memory(2)] {
            #expect(AckLevel(level.description) == level)
        }
    }
}
