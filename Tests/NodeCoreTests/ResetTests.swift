import CRDT
import Testing

@testable import Gossip
@testable import NodeCore

extension NodeWorld {
    fileprivate mutating func events(_ i: Int) -> [String] {
        ask(i, .events(.init(limit: 1_000))).list.compactMap { $0["id"] as? String }
    }

    fileprivate mutating func makeNode(_ i: Int, _ number: Int) -> Answer {
        ask(i, .postNode, #"{"id":"\#(id(number))","type":"idea","data":{"n":\#(number)}}"#)
    }
}

/// Three nodes that fold operations after a second and forget removals after two, in a fast cluster.
private func trio() -> NodeWorld {
    var world = NodeWorld(clocksAheadMs: [], profile: .fast)
    world.hasNetwork = true
    for _ in 0..<3 { world.add(replication: .init(operationsMs: 1_000, tombstonesMs: 2_000), profile: .fast) }
    world.run(milliseconds: 2_000)
    return world
}

@Suite("Starting anew")
struct ResetTests {
    /// Node 2 was away until the others forgot it and folded what it never read; it wrote in the meantime.
    private static func comeBack(_ before: (inout NodeWorld) -> Void = { _ in }) -> NodeWorld {
        var world = trio()
        _ = world.post(0, id: id(1), "reward", #"{"pattern":"shared","value":0.5}"#)
        _ = world.post(2, id: id(2), "reward", #"{"pattern":"shared","value":0.1}"#)
        _ = world.makeNode(2, 2)
        world.run(milliseconds: 2_000)
        world.cutOff = [2]
        world.run(milliseconds: 500)
        _ = world.post(0, id: id(10), "reward", #"{"pattern":"missed","value":0.5}"#)
        _ = world.post(1, id: id(11), "reward", #"{"pattern":"shared","value":0.2}"#)
        _ = world.makeNode(1, 11)
        for number in 20..<24 {
            _ = world.post(2, id: id(number), "reward", #"{"pattern":"own \#(number)","value":0.4}"#)
        }
        _ = world.makeNode(2, 20)
        world.run(milliseconds: 60_000)
        before(&world)
        world.cutOff = []
        return world
    }

    @Test("below the floor keeps what only this node has, reads the rest, and says its own again, once")
    func belowFloor() {
        var world = Self.comeBack()
        let old = world.nodes[2].replica
        #expect(world.metric(0, "operations_folded_total")! > 0, "something was collected meanwhile")
        world.run(milliseconds: 20_000)
        #expect((0..<3).map { world.metric($0, "resets_total") } == [0, 0, 1])
        #expect(world.nodes[2].replica != old)
        // Four events and one document; what the others had read of it is not said again.
        #expect(world.written(2) == 5)
        for i in 0..<3 {
            #expect(Set(world.events(i)) == Set(([1, 2, 10, 11] + Array(20..<24)).map(id)))
            #expect(world.events(i).count == 8, "each once, under its old id")
            for number in [2, 11, 20] { #expect(world.ask(i, .node(id: id(number))).status == 200) }
            #expect(world.metric(i, "state_mismatches_total") == 0)
        }
        #expect(world.strengths(2) == world.strengths(0) && world.strengths(1) == world.strengths(0))
        #expect(
            world.strengths(0).keys.sorted()
                == ["missed", "own 20", "own 21", "own 22", "own 23", "shared"].map { "ui/\($0)" })
        let again = world.ask(0, .event(id: id(20))).object
        #expect(again["replica"] as? String == world.nodes[2].replica.description)
        #expect(again["signals"] as? [String] == ["own 20"])
    }

    @Test("ends its clients' sessions, answers reads with 503 until it is whole, and takes writes all along")
    func meanwhile() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        let link = world.link(0, 1)
        _ = world.post(1, id: id(1), "reward", #"{"pattern":"p","value":0.5}"#)
        world.deliver()
        for session in 1...2 as ClosedRange<UInt64> { world.open(session, at: 1) }
        // Node 0 says that it holds more of node 1's log than node 1 has written: its end was lost.
        let old = world.nodes[1].replica
        var frame: [UInt8] = []
        let start = Frame.begin(.have, into: &frame)
        frame.append(1)
        frame.append(littleEndian: UInt64(0))
        var vector = VersionVector()
        vector.advance(old, to: 4)
        vector.encode(into: &frame)
        VersionVector().encode(into: &frame)
        frame.append(littleEndian: UInt64(77))
        _ = Frame.end(start, into: &frame)
        world.give(.linkFrame(link), frame, to: 1)
        #expect(world.nodes[1].replica != old)
        #expect(world.closedSessions[1].map(\.code) == [1_012, 1_012])
        #expect(world.metric(1, "sessions") == 0 && world.metric(1, "peers_linked") == 0)
        let health = world.ask(1, .health(.init()))
        #expect(health.status == 503 && health.object["status"] as? String == "catching up")
        for request in [
            Request.events(.init(limit: 1)), .event(id: id(1)), .eventsInScope("ui", .init(limit: 1)),
            .signals(scope: nil, pattern: nil, minimumStrength: nil, at: nil), .nodes(limit: 1), .node(id: id(2)),
        ] {
            let answer = world.ask(1, request)
            #expect(answer.status == 503 && answer.message.contains("ask another node"))
        }
        #expect(world.post(1, id: id(2), "test", "{}").status == 201)
        #expect(world.makeNode(1, 2).status == 503, "whether it exists is not known yet")
        world.link(0, 1)
        world.run(milliseconds: 10_000)
        #expect(world.ask(1, .health(.init())).status == 200)
        #expect(world.makeNode(1, 2).status == 201)
        world.run(milliseconds: 2_000)
        for i in 0..<2 {
            #expect(world.events(i).sorted() == [id(1), id(2)])
            #expect(world.ask(i, .node(id: id(2))).status == 200)
        }
        // What node 0 had of the old log is the event, and was not written a second time.
        #expect(world.ask(0, .event(id: id(1))).object["replica"] as? String == old.description)
        #expect(world.metric(1, "resubmitted_total") == 1 && world.metric(1, "events_accepted_total") == 2)
    }

    @Test("joins what both sides wrote into one document")
    func document() {
        var world = trio()
        for number in 1...2 { _ = world.makeNode(2, number) }
        world.run(milliseconds: 2_000)
        world.cutOff = [2]
        world.run(milliseconds: 500)
        // Both sides draw edges; node 2 does so first.
        _ = world.ask(2, .postEdge(node: id(1)), #"{"to":"\#(id(2))","type":"early"}"#)
        world.run(milliseconds: 1_000)
        _ = world.ask(0, .postEdge(node: id(1)), #"{"to":"\#(id(2))","type":"late"}"#)
        _ = world.post(0, id: id(10), "reward", #"{"pattern":"p","value":0.5}"#)
        world.run(milliseconds: 60_000)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        #expect(world.metric(2, "resets_total") == 1)
        let texts = (0..<3).map { world.ask($0, .node(id: id(1))).text }
        #expect(texts[0].contains("early") && texts[0].contains("late"))
        #expect(texts[1] == texts[0] && texts[2] == texts[0])
        #expect(world.nodes[0].documents.hash == world.nodes[2].documents.hash)
    }

    @Test("for a twin's sake submits under another id whatever this start wrote")
    func twins() {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<2 { world.add(profile: .fast) }
        world.run(milliseconds: 2_000)
        _ = world.post(0, id: id(1), "reward", #"{"pattern":"first","value":0.5}"#)
        // A copied data directory: another process under node 0's id, elsewhere.
        world.add(profile: .fast, replica: world.nodes[0].replica)
        _ = world.post(2, id: id(2), "reward", #"{"pattern":"second","value":0.5}"#)
        world.run(milliseconds: 15_000)
        #expect(world.metric(2, "resets_total")! >= 1)
        #expect(world.metric(0, "resets_total") == 0)
        #expect(Set(world.nodes.map(\.replica)).count == 3)
        for i in 0..<3 { #expect(Set(world.events(i)) == [id(1), id(2)]) }
        #expect(world.strengths(2) == world.strengths(0))
        #expect(world.nodes[0].cluster.log.digest == world.nodes[2].cluster.log.digest)
    }

    @Test("goes on alone with what it kept when there is nobody to read from")
    func alone() {
        var world = Self.comeBack()
        for _ in 0..<2_000 where world.metric(2, "resets_total") == 0 { world.run(milliseconds: 5) }
        world.cutOff = [2]
        #expect(world.metric(2, "resets_total") == 1)
        let before = world.nodes[2].isIncomplete
        world.run(milliseconds: 10_000)
        #expect(!world.nodes[2].isIncomplete)
        if before { #expect(world.events(2).count >= 4) }
        #expect(Set(world.events(2)).isSuperset(of: (20..<24).map(id)))
        // And when they meet again, nothing is there twice.
        world.cutOff = []
        world.run(milliseconds: 20_000)
        for i in 0..<3 { #expect(Set(world.events(i)).count == 8 && world.events(i).count == 8) }
        #expect(world.strengths(2) == world.strengths(0))
    }
}

@Suite("Signals of long ago")
struct ReadableTests {
    @Test("can be read back to the moment up to which they are folded, and before that it is said since when")
    func gone() throws {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<2 { world.add(replication: .init(operationsMs: 60_000, tombstonesMs: 120_000), profile: .fast) }
        world.run(milliseconds: 1_000)
        let startMs = NodeWorld.startMs
        for second in 0..<40 {
            _ = world.post(second % 2, "reward", #"{"pattern":"p","value":0.01}"#)
            world.run(milliseconds: 5_000)
        }
        let oldest = world.nodes[0].signals.oldestReadableMs
        #expect(oldest > startMs + 60_000 && oldest < startMs + 145_000)
        for request in [
            Request.signals(scope: nil, pattern: nil, minimumStrength: nil, at: oldest),
            .signal(scope: "ui", pattern: "p", at: oldest),
        ] {
            #expect(world.ask(0, request).status == 200)
        }
        for request in [
            Request.signals(scope: nil, pattern: nil, minimumStrength: nil, at: oldest - 1),
            .signal(scope: "ui", pattern: "p", at: startMs), .signal(scope: "ui", pattern: "p", at: 0),
        ] {
            let answer = world.ask(0, request)
            #expect(answer.status == 410 && answer.message.contains("\(oldest)"), "\(answer.text)")
        }
        // Where both can still be read, both say the same; folding changes no reading.
        let at = max(oldest, world.nodes[1].signals.oldestReadableMs)
        for ms in [at, at + 30_000, at + 59_000] {
            #expect(world.strengths(0, at: ms) == world.strengths(1, at: ms))
        }
        #expect(world.metric(0, "operations")! < 40)
        #expect(world.metric(0, "signal_approximations_total") == 0)
    }
}
