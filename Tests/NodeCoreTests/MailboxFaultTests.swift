import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

/// Three nodes in a fast cluster with a network.
private func trio() -> NodeWorld {
    var world = NodeWorld(clocksAheadMs: [], profile: .fast)
    world.hasNetwork = true
    for _ in 0..<3 { world.add(profile: .fast) }
    world.run(milliseconds: 2_000)
    return world
}

@Suite("Mailboxes in bad weather")
struct MailboxFaultTests {
    @Test("Both sides of a partition serve; after it nothing that was taken comes back, and nothing is lost")
    func partition() {
        var world = trio()
        for number in 1...6 { _ = world.send(number % 3, message(number)) }
        world.run(milliseconds: 500)
        world.cutOff = [2]
        world.run(milliseconds: 10_000)
        for number in 7...8 { _ = world.send(0, message(number)) }
        for number in 9...10 { _ = world.send(2, message(number)) }
        let there = world.taken(2, max: 3)
        let here = world.taken(0, max: 3) + world.taken(1, max: 2)
        #expect(there.count == 3 && Set(here).count == 5)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        let rest = world.peek(0)
        for i in 1..<3 { #expect(world.peek(i) == rest) }
        #expect(Set(rest).isDisjoint(with: there + here))
        #expect(Set(rest + there + here) == Set((1...10).map { id($0) }))
        let last = world.taken(0, max: 1) + world.taken(1) + world.taken(2)
        #expect(last.count == rest.count && Set(last) == Set(rest), "one owner again")
        #expect(Set(world.nodes.map { $0.documents.hash }).count == 1)
    }

    @Test("The same id posted at two nodes that do not see each other is one message, and is taken once")
    func copies() {
        for takesFirst in [false, true] {
            var world = trio()
            world.cutOff = [2]
            world.run(milliseconds: 10_000)
            _ = world.send(2, message(1))
            world.run(milliseconds: 10)
            _ = world.send(0, message(1))
            if takesFirst { #expect(world.taken(0) == [id(1)]) }
            world.cutOff = []
            world.run(milliseconds: 20_000)
            for i in 0..<3 { #expect(world.peek(i) == (takesFirst ? [] : [id(1)])) }
            if !takesFirst { #expect(world.taken(1) == [id(1)]) }
            for i in 0..<3 {
                #expect(world.taken(i) == [])
                #expect(world.history(i) == [id(1)])
            }
        }
    }

    @Test("When the owner dies another node follows it; until then a taking waits, and then says so")
    func ownerDies() {
        var world = trio()
        let agent = (0..<50).map { "agent\($0)" }.first { name in
            world.nodes[0].owner(of: Array(name.utf8), named: nil) == world.nodes[2].replica
        }!
        for number in 1...3 { _ = world.send(number - 1, message(number, to: agent)) }
        world.run(milliseconds: 500)
        #expect(world.taken(0, agent, max: 1) == [id(1)])
        world.cutOff = [2]
        // Nobody knows yet that it is gone: the answer comes when another one has followed it.
        #expect(world.taken(0, agent, max: 1) == [id(2)])
        #expect(world.taken(1, agent) == [id(3)])
        world.cutOff = []
        world.run(milliseconds: 20_000)
        for i in 0..<3 { #expect(world.count(i, agent) == 0) }
        _ = world.send(2, message(4, to: agent))
        world.run(milliseconds: 500)
        #expect(world.taken(2, agent) == [id(4)])
    }

    @Test("A taking whose owner stays silent ends with 503, and takes nothing")
    func silentOwner() {
        var world = NodeWorld.linked(2)
        let agent = (0..<50).map { "agent\($0)" }.first { name in
            world.nodes[0].owner(of: Array(name.utf8), named: nil) == world.nodes[1].replica
        }!
        _ = world.send(0, message(1, to: agent))
        world.deliver()
        world.silent = [1]
        #expect(world.give(.request(RequestID(5), .bus(.take(agent: agent, type: nil, most: 9))), [], to: 0) == nil)
        world.deliver()
        for _ in 0..<6 { world.tick(0, afterMs: 1_000) }
        let answer = world.answers(0, to: 5).first
        #expect(
            answer?.status == 503 && answer?.message.contains("nothing was taken") == true, "\(world.answers(0, to: 5))"
        )
        world.silent = []
        world.deliver()
        #expect(world.taken(0, agent) == [id(1)], "what was set aside waits again")
    }

    @Test("What was set aside for a client that is gone waits again")
    func abandoned() {
        var world = NodeWorld.linked(2)
        let agent = (0..<50).map { "agent\($0)" }.first { name in
            world.nodes[0].owner(of: Array(name.utf8), named: nil) == world.nodes[1].replica
        }!
        _ = world.send(0, message(1, to: agent))
        world.deliver()
        world.give(.request(RequestID(5), .bus(.take(agent: agent, type: nil, most: 9))), [], to: 0)
        world.give(.requestAbandoned(RequestID(5)), [], to: 0)
        world.deliver()
        #expect(world.answers(0, to: 5).isEmpty && world.metric(0, "takes_waiting") == 0)
        #expect(world.taken(1, agent) == [id(1)])
    }

    @Test("A taking reaches its level, with the clock of the taking, before it is answered")
    func levels() {
        var world = NodeWorld.linked(2)
        for agent in ["p", "q", "r", "s"] {
            _ = world.send(0, message(to: agent))
            world.deliver()
            let before = world.written(0)
            let take = Request.bus(.take(agent: agent, type: nil, most: 1))
            #expect(world.write(0, as: 9, take, "mem:2", "") == nil, "nobody has confirmed yet")
            for _ in 0..<100 where world.answers(0, to: 9).isEmpty { world.run(milliseconds: 20) }
            let answer = world.answers(0, to: 9).last
            #expect(answer?.status == 200 && answer?.ack == "mem:2" && answer?.list.count == 1)
            #expect(answer?.clock.isEmpty == false)
            #expect(world.written(0) > before)
            world.forget(0, 9)
        }
        #expect(world.write(0, .bus(.take(agent: "p", type: nil, most: 1)), "mem:3", "")?.status == 409)
    }

    @Test("A node that starts anew keeps its messages and what was taken")
    func reset() {
        var world = trio()
        for number in 1...3 { _ = world.send(2, message(number)) }
        world.run(milliseconds: 500)
        #expect(world.taken(1, max: 1) == [id(1)])
        world.cutOff = [2]
        world.run(milliseconds: 10_000)
        _ = world.send(2, message(4))
        _ = world.send(2, message(5, to: "new"))
        #expect(world.taken(2, max: 1) == [id(2)])
        world.startAnew(2)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        #expect(world.metric(2, "resets_total") == 1)
        for i in 0..<3 {
            #expect(world.peek(i) == [id(3), id(4)], "at \(i)")
            #expect(world.peek(i, "new") == [id(5)])
        }
        #expect(world.taken(2) == [id(3), id(4)])
        #expect(world.taken(0) == [])
    }

    @Test("A node that joins is given the mailboxes as they are")
    func newcomer() {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<2 { world.add(profile: .fast) }
        world.run(milliseconds: 2_000)
        for number in 1...4 { _ = world.send(number % 2, message(number)) }
        world.run(milliseconds: 500)
        #expect(world.taken(0, max: 2).count == 2)
        world.add(profile: .fast)
        world.run(milliseconds: 5_000)
        #expect(world.peek(2) == world.peek(0) && world.count(2) == 2)
        #expect(world.taken(2).count == 2 && world.taken(0).isEmpty)
    }

    @Test("Messages and what was taken survive restarts, with and without a snapshot")
    func restart() throws {
        for segmentBytes in [nil, 4_096] {
            var world = try StoreWorld(segmentBytes: segmentBytes)
            func list(_ text: String?) -> [String] {
                let list = try? JSONSerialization.jsonObject(with: Data((text ?? "").utf8))
                return ((list as? [[String: Any]]) ?? []).compactMap { $0["id"] as? String }
            }
            for number in 1...40 {
                #expect(world.ask(.bus(.postMessage), message(number, priority: number == 30 ? 9 : 5))?.status == 201)
                world.pass(milliseconds: 20)
            }
            #expect(world.ask(.bus(.postMessage), message(41, to: "broadcast"))?.status == 201)
            let taken = list(world.ask(.bus(.take(agent: "bob", type: nil, most: 3)))?.text)
            #expect(taken == [30, 1, 2].map { id($0) })
            let before = world.ask(.bus(.peek(agent: "bob", type: nil, most: 100)))?.text
            let past = world.ask(.bus(.history(agent: nil, since: nil, limit: 100)))?.text
            world.pass(milliseconds: 2_000, step: 50)
            for _ in 0..<2 {
                try world.restart()
                world.pass(milliseconds: 1_000, step: 50)
                #expect(world.ask(.bus(.peek(agent: "bob", type: nil, most: 100)))?.text == before)
                #expect(world.ask(.bus(.history(agent: nil, since: nil, limit: 100)))?.text == past)
                #expect(world.ask(.bus(.postMessage), message(1))?.status == 200, "its id is known")
            }
            let rest = list(world.ask(.bus(.take(agent: "bob", type: nil, most: 1_000)))?.text)
            #expect(rest == ([3...29, 31...41].flatMap { Array($0) }).map { id($0) })
        }
    }

    @Test("Frames of peers that make no sense are ignored and counted")
    func hostile() {
        var world = NodeWorld.linked(2)
        let peer = world.nodes[1].replica
        var samples: [[UInt8]] = [[], [0], [0, 1, 200], [1, 1], [2], [3, 1], [1, 1, 1, 97, 255, 255, 3]]
        var good: [UInt8] = []
        var read = VersionVector()
        read.advance(peer, to: 3)
        MailboxFrame.ask(1, Takes.Order(agent: [97], type: .vote, most: 5), read: read).encode(into: &good)
        for end in 0..<good.count { samples.append(Array(good[..<end])) }
        for bytes in samples {
            world.tamper(0) { node in
                var effects = NodeCore.Effects()
                node.heardMailbox(peer, bytes.span.bytes, now: Instant(milliseconds: 1_000), into: &effects)
                #expect(effects.list.count <= 1)
            }
        }
        #expect(world.metric(0, "mailbox_frames_bad_total") == samples.count)
    }
}
