import CRDT
import Testing

@testable import Gossip
@testable import NodeCore

private func clock(_ text: String) -> CompactVector? {
    let bytes = Array(text.utf8)
    return try? CompactVector(text: bytes.span.bytes)
}

private let anyEvents = Request.events(.init(limit: 100))

extension NodeWorld {
    /// Asks with a clock; nil while the request waits.
    fileprivate mutating func ask(
        _ i: Int, as request: UInt64 = 7, _ what: Request = anyEvents, after clock: CompactVector?, _ body: String = ""
    ) -> Answer? {
        give(.request(RequestID(request), what, after: clock), Array(body.utf8), to: i)
    }
}

private let event = #"{"type":"test","scope":"ui","trace_id":"t","agent_id":"a","payload":{"pattern":"p"}}"#

@Suite("Hypha-Clock")
struct ClockTests {
    @Test("is the write's place in the answer to a write, and the whole vector in the answer to a read")
    func given() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        #expect(clock(world.ask(0, anyEvents).clock)?.isEmpty == true)
        let first = world.post(0, id: id(1), "test", "{}")
        #expect(clock(first.clock) == CompactVector(ReplicaID(0xa1), sequence: 1))
        #expect(
            clock(world.ask(0, .postNode, #"{"type":"idea"}"#).clock) == CompactVector(ReplicaID(0xa1), sequence: 2))
        _ = world.post(1, "test", "{}")
        world.link(0, 1)
        let both = clock(world.ask(0, anyEvents).clock)
        #expect(both == CompactVector(world.nodes[0].cluster.log.vector))
        #expect(both?.entries.map(\.sequence) == [2, 1])
        #expect(clock(world.ask(0, .signals(scope: nil, pattern: nil, minimumStrength: nil, at: nil)).clock) == both)

        // Posted again, at another node: where it stands.
        let again = world.post(1, id: id(1), "test", "{}")
        #expect(again.status == 200 && clock(again.clock) == CompactVector(ReplicaID(0xa1), sequence: 1))
        // That something is not there was seen too; a refusal has seen nothing.
        #expect(clock(world.ask(0, .event(id: id(99))).clock) == both)
        #expect(world.post(0, "nonsense", "{}").clock.isEmpty)
        #expect(world.ask(0, .cluster).clock.isEmpty)
    }

    @Test("that is covered is answered at once")
    func atOnce() throws {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        let written = clock(world.post(0, id: id(1), "test", "{}").clock)
        world.deliver()
        let given = world.ask(1, .event(id: id(1)), after: written)
        let answer = try #require(given)
        #expect(answer.status == 200 && answer.behind.isEmpty && answer.lost.isEmpty)
        #expect(world.metric(1, "clock_waits_total") == 0)
    }

    @Test("that is ahead waits until the entry comes, and is answered once")
    func later() throws {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        let written = clock(world.post(0, id: id(1), "test", "{}").clock)
        #expect(world.ask(1, .event(id: id(1)), after: written) == nil)
        #expect(world.ask(1, as: 8, .postEvent, after: written, event) == nil)
        #expect(world.metric(1, "clock_waiting") == 2)
        world.deliver()
        let answer = try #require(world.answers(1).first)
        #expect(answer.status == 200 && answer.id == id(1))
        // The write was accepted after what its client had seen: its own entry depends on it.
        let accepted = try #require(world.answers(1, to: 8).first)
        #expect(accepted.status == 201 && accepted.behind.isEmpty)
        #expect(clock(accepted.clock) == CompactVector(ReplicaID(0xa2), sequence: 1))
        world.tick(1, afterMs: 10_000)
        #expect(world.answers(1).count == 1 && world.answers(1, to: 8).count == 1)
        #expect(world.metric(1, "clock_waiting") == 0)
        #expect(world.metric(1, "clock_waits_total") == 2)
        #expect(world.metric(1, "clock_timeouts_total") == 0)
    }

    @Test("is waited for no longer at a node that starts anew: who waits is told to ask again, and nothing is written")
    func startedAnew() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        let written = clock(world.post(0, id: id(1), "test", "{}").clock)
        #expect(world.ask(1, as: 7, .event(id: id(1)), after: written) == nil)
        #expect(world.ask(1, as: 8, .postEvent, after: written, event) == nil)
        world.startAnew(1)
        for request: UInt64 in [7, 8] {
            #expect(world.answers(1, to: request).map(\.status) == [503])
            #expect(world.answers(1, to: request).first?.message.contains("started anew under another id") == true)
        }
        world.tick(1, afterMs: 60_000)
        #expect(world.answers(1, to: 7).count == 1 && world.answers(1, to: 8).count == 1)
        #expect(world.metric(1, "clock_waiting") == 0)
        #expect(world.ask(1, as: 9, after: nil)?.list.isEmpty == true)
    }

    @Test("of several answers, joined, waits for all of them")
    func joined() throws {
        var world = NodeWorld(clocksAheadMs: [0, 0, 0])
        let (ab, cb) = (world.link(0, 1), world.link(2, 1))
        #expect(ab != cb)
        let one = clock(world.post(0, "test", "{}").clock)
        var both = try #require(one)
        world.deliver()
        #expect(world.ask(1, after: both) != nil)
        let other = clock(world.post(2, "test", "{}").clock)
        both.merge(try #require(other))
        #expect(world.ask(1, as: 9, after: both) == nil)
        // Something else comes first, and is not enough.
        _ = world.post(1, "test", "{}")
        #expect(world.answers(1, to: 9).isEmpty)
        world.deliver()
        #expect(world.answers(1, to: 9).map(\.status) == [200])
    }

    @Test("of an entry that does not come ends a read with 503, and lets a write through")
    func timeout() throws {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        let written = clock(world.post(0, "test", "{}").clock)
        let began = world.now
        #expect(world.ask(1, after: written) == nil)
        #expect(world.ask(1, as: 8, .postEvent, after: written, event) == nil)
        let due = try #require(world.wakes[1])
        #expect(due <= began.advanced(milliseconds: 2_000))

        world.tick(1, afterMs: 1_999)
        #expect(world.answers(1).isEmpty)
        #expect(try #require(world.wakes[1]) <= began.advanced(milliseconds: 2_000))
        world.tick(1, afterMs: 1)
        let refused = try #require(world.answers(1).first)
        #expect(refused.status == 503 && refused.clock.isEmpty && clock(refused.behind) == written)
        #expect(refused.message.contains("00000000000000a1 up to 1") && refused.message.contains("retry"))
        let accepted = try #require(world.answers(1, to: 8).first)
        #expect(accepted.status == 201 && clock(accepted.behind) == written && accepted.lost.isEmpty)
        #expect(clock(accepted.clock) == CompactVector(ReplicaID(0xa2), sequence: 1))
        #expect(world.metric(1, "clock_timeouts_total") == 2)
        #expect(world.metric(1, "clock_waiting") == 0)
        #expect(world.metric(1, "clock_lost_total") == 0)
    }

    @Test("does not wait at all with a wait of zero")
    func noWait() {
        var world = NodeWorld(clocksAheadMs: [0, 0], clockWaitMs: 0)
        world.link(0, 1)
        let written = clock(world.post(0, "test", "{}").clock)
        #expect(world.ask(1, after: written)?.status == 503)
        #expect(world.ask(1, .postEvent, after: written, event)?.status == 201)
    }

    @Test("drops what only a dead log held, and names it")
    func lost() throws {
        var world = NodeWorld(clocksAheadMs: [0, 0, 0])
        world.link(0, 1)
        let link = world.link(0, 2)
        let read = clock(world.post(1, "test", "{}").clock)
        world.deliver()
        for i in [0, 2] { world.give(.linkClosed(link), [], to: i) }
        let unheard = clock(world.post(2, "test", "{}").clock)
        var all = try #require(read)
        all.merge(try #require(unheard))

        // Its writer is a member still.
        #expect(world.ask(0, after: all) == nil)
        world.tick(0, afterMs: 2_000)
        #expect(world.answers(0).map(\.status) == [503])

        // Nobody hears of it any more, until it is dead.
        for _ in 0..<1_000 where world.nodes[0].cluster.membership.member(ReplicaID(0xa3))?.isPresent == true {
            for i in 0..<2 { world.tick(i, afterMs: 100) }
            world.deliver()
        }
        #expect(world.nodes[0].cluster.membership.member(ReplicaID(0xa3))?.isPresent == false)
        #expect(world.nodes[0].cluster.membership.member(ReplicaID(0xa2))?.isPresent == true)
        #expect(world.ask(0, as: 8, after: all) == nil, "it is waited for before it is given up")
        #expect(world.ask(0, as: 9, .postEvent, after: all, event) == nil)
        world.tick(0, afterMs: 2_000)
        let answer = try #require(world.answers(0, to: 8).first)
        #expect(answer.status == 200 && answer.behind.isEmpty && clock(answer.lost) == unheard)
        #expect(clock(answer.clock)?.entries.map(\.sequence) == [1])
        let accepted = try #require(world.answers(0, to: 9).first)
        #expect(accepted.status == 201 && accepted.behind.isEmpty && clock(accepted.lost) == unheard)
        #expect(world.metric(0, "clock_lost_total") == 2)
    }

    @Test("does not call lost what a linked peer has, nor anything while no peer is heard")
    func notLost() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        let link = world.link(0, 1)
        let gone = CompactVector(ReplicaID(0xdead), sequence: 3)
        // Node 1 says that it has read a log of which node 0 has nothing yet.
        var vector = VersionVector()
        vector.advance(ReplicaID(0xdead), to: 3)
        var frame: [UInt8] = []
        let start = Frame.begin(.have, into: &frame)
        frame.append(0)
        frame.append(littleEndian: UInt64(0))
        vector.encode(into: &frame)
        VersionVector().encode(into: &frame)
        let range = Frame.end(start, into: &frame)
        world.give(.linkFrame(link), Array(frame[range]), to: 0)
        #expect(world.ask(0, after: gone) == nil)
        world.tick(0, afterMs: 2_000)
        #expect(world.answers(0).map(\.status) == [503])

        // One more entry, of which it said nothing, is lost: unless nobody can be asked.
        let next = CompactVector(ReplicaID(0xdead), sequence: 4)
        #expect(world.ask(0, as: 8, after: next) == nil)
        world.tick(0, afterMs: 2_000)
        #expect(world.answers(0, to: 8).map(\.lost).compactMap(clock) == [next])
        for i in 0..<2 { world.give(.linkClosed(link), [], to: i) }
        #expect(world.ask(0, as: 9, after: next) == nil)
        world.tick(0, afterMs: 2_000)
        #expect(world.answers(0, to: 9).map(\.status) == [503])
    }

    @Test("is not waited for by more requests than the bound, nor with more bytes")
    func bound() throws {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        let written = clock(world.post(0, "test", "{}").clock)
        for request in 0..<UInt64(ClockWaits.maximumRequests) {
            #expect(world.ask(1, as: 100 + request, .cluster, after: written) != nil, "what shows no state never waits")
            #expect(world.ask(1, as: 100 + request, .event(id: "x"), after: written) == nil)
        }
        let answer = world.ask(1, after: written)
        let refused = try #require(answer)
        #expect(refused.status == 503 && refused.message.contains("4096 requests"))
        #expect(world.metric(1, "clock_refused_total") == 1)
        #expect(world.metric(1, "clock_waiting") == 4_096)
        world.deliver()
        #expect(world.metric(1, "clock_waiting") == 0)
        #expect(world.replies[1].count { $0.answer.status == 404 && !$0.answer.clock.isEmpty } == 4_096)

        let more = clock(world.post(0, "test", "{}").clock)
        let body = String(repeating: " ", count: 1 << 20)
        var waiting: UInt64 = 0
        while waiting < 40, world.ask(1, as: 10_000 + waiting, .postEvent, after: more, body) == nil { waiting += 1 }
        #expect(waiting == 31)
        world.deliver()
        // Nothing is left of them: as many may wait again.
        let last = clock(world.post(0, "test", "{}").clock)
        #expect(world.ask(1, as: 20_000, .postEvent, after: last, body) == nil)
    }

    @Test("is forgotten with a client that is gone")
    func abandoned() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        let written = clock(world.post(0, "test", "{}").clock)
        #expect(world.ask(1, as: 8, after: written) == nil)
        #expect(world.ask(1, as: 9, .postEvent, after: written, event) == nil)
        world.give(.requestAbandoned(RequestID(9)), [], to: 1)
        world.give(.requestAbandoned(RequestID(55)), [], to: 1)
        #expect(world.metric(1, "clock_waiting") == 1)
        world.deliver()
        #expect(world.answers(1, to: 8).count == 1)
        #expect(world.answers(1, to: 9).isEmpty)
        #expect(world.nodes[1].cluster.log.head(of: ReplicaID(0xa2)) == 0, "what nobody waits for is not written")
    }

    @Test("keeps no request waiting when the node leaves")
    func leaving() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        world.link(0, 1)
        let written = clock(world.post(0, "test", "{}").clock)
        #expect(world.ask(1, as: 8, after: written) == nil)
        #expect(world.ask(1, as: 9, .postEvent, after: written, event) == nil)
        world.give(.leave, [], to: 1)
        #expect(world.answers(1, to: 8).map(\.status) == [503])
        #expect(world.answers(1, to: 9).map(\.status) == [503])
        #expect(world.ask(1, after: written)?.status == 503)
    }

    @Test("lets answers of many bytes out over several turns")
    func turns() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        let text = String(repeating: "x", count: 1 << 19)
        for _ in 0..<8 { _ = world.post(1, "test", #"{"pattern":"p","text":"\#(text)"}"#) }
        world.link(0, 1)
        world.deliver()
        let written = clock(world.post(0, "test", "{}").clock)
        for request in 0..<UInt64(12) { #expect(world.ask(1, as: 100 + request, after: written) == nil) }
        world.deliver()
        // Four mebibytes each, so some have to wait for the next turn, which is asked for at once.
        let first = world.replies[1].count { $0.request >= 100 }
        #expect((1..<12).contains(first))
        #expect(world.wakes[1] == world.now)
        for _ in 0..<12 { world.tick(1) }
        #expect(world.replies[1].filter { $0.request >= 100 }.map(\.request) == Array(100..<112))
    }
}
