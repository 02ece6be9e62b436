import CRDT
import Testing

@testable import Gossip
@testable import NodeCore

extension Replication.Settings {
    /// Logs of a few entries, whose ids are remembered for ten minutes.
    fileprivate static func short(_ entries: Int = 40, bytesPerMs: Int = 32 << 10) -> Self {
        var settings = Replication.Settings(retention: .init(entries: entries))
        settings.snapshotBytesPerMs = bytesPerMs
        return settings
    }
}

extension NodeWorld {
    /// Everything about a node's state that peers with equal logs must share.
    fileprivate func state(_ i: Int) -> [UInt64] {
        let node = nodes[i]
        let minutes = node.signals.hashes(after: 0).flatMap { [$0.minute, $0.hash] }
        return [node.cluster.log.digest, node.documents.hash, UInt64(node.signals.operationCount)] + minutes
    }

    /// Events, rewards and documents, written at the nodes in turn.
    fileprivate mutating func work(_ numbers: Range<Int>, at nodes: [Int], everyMs: UInt64 = 20) {
        for number in numbers {
            let node = nodes[number % nodes.count]
            switch number % 3 {
            case 0: _ = post(node, id: id(number), "reward", #"{"pattern":"p\#(number % 7)","value":0.2}"#)
            case 1: _ = post(node, id: id(number), "proposal", #"{"action":"p\#(number % 7)"}"#)
            default: _ = ask(node, .postNode, #"{"id":"\#(id(5_000 + number))","type":"idea","data":{"n":"x"}}"#)
            }
            run(milliseconds: everyMs)
        }
    }
}

@Suite("A snapshot of a node's state")
struct SnapshotStateTests {
    /// Two nodes that have done more than their logs hold.
    private static func old(bytesPerMs: Int = 32 << 10, count: Int = 300) -> NodeWorld {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<2 { world.add(replication: .short(bytesPerMs: bytesPerMs), profile: .fast) }
        world.run(milliseconds: 1_000)
        world.work(0..<count, at: [0, 1])
        return world
    }

    @Test("brings a newcomer what is below the floor while writes go on, and reads answer 503 until it is whole")
    func newcomer() {
        var world = Self.old(bytesPerMs: 64)
        #expect(world.nodes[0].cluster.log.dropped > 200)
        world.add(replication: .short(), profile: .fast)
        var (refused, answered) = (0, 0)
        for number in 300..<450 {
            world.work(number..<number + 1, at: [0, 1])
            let status = world.ask(2, .signals(scope: nil, pattern: nil, minimumStrength: nil, at: nil)).status
            if world.nodes[2].isIncomplete {
                #expect(status == 503)
                #expect(world.ask(2, .health(.init())).object["status"] as? String == "catching up")
                refused += 1
            } else {
                #expect(status == 200)
                answered += 1
            }
        }
        #expect(refused > 5 && answered > 5)
        world.run(milliseconds: 2_000)
        #expect(world.state(2) == world.state(0) && world.state(1) == world.state(0))
        #expect(world.strengths(2) == world.strengths(0) && world.strengths(0).count == 7)
        #expect(world.ask(2, .nodes(limit: 100)).text == world.ask(0, .nodes(limit: 100)).text)
        #expect(world.metric(2, "snapshots_read_total") == 1)
        #expect(world.metric(2, "resets_total") == 0)
        for i in 0..<3 {
            #expect(world.metric(i, "state_mismatches_total") == 0)
            #expect(world.metric(i, "state_malformed_total") == 0)
            #expect(world.metric(i, "bad_frames_total") == 0)
        }
        #expect(world.metric(0, "state_comparisons_total")! + world.metric(1, "state_comparisons_total")! > 0)
    }

    @Test("shows subscribers of the newcomer no event that it held only as a part of the state")
    func quiet() {
        var world = Self.old()
        world.add(replication: .short(), profile: .fast)
        world.open(1, at: 2)
        world.run(milliseconds: 2_000)
        #expect(world.nodes[2].index.eventCount > 10)
        #expect(world.delivered(1, at: 2) == [])
        world.work(300..<301, at: [0, 1])
        world.run(milliseconds: 1_000)
        #expect(world.delivered(1, at: 2) == [id(300)])
    }

    @Test("brings the ids of dropped events: posted again they are known, at the sender and at the newcomer")
    func ids() {
        var world = Self.old()
        world.add(replication: .short(), profile: .fast)
        world.run(milliseconds: 2_000)
        let strengths = world.strengths(0)
        for number in [0, 1, 3, 100, 298] where number % 3 != 2 {
            let known =
                number % 3 == 0 ? #"{"pattern":"p\#(number % 7)","value":0.2}"# : #"{"action":"p\#(number % 7)"}"#
            for node in 0..<3 {
                let answer = world.post(node, id: id(number), number % 3 == 0 ? "reward" : "proposal", known)
                #expect(answer.status == 200 && answer.id == id(number), "\(number) at \(node)")
                #expect(answer.object["replica"] as? String == world.nodes[number % 2].replica.description)
            }
        }
        #expect(world.ask(0, .event(id: id(0))).status == 404, "what it said is gone")
        #expect(world.strengths(0) == strengths, "and it acts once")
        // After ten minutes the id is free again.
        world.run(milliseconds: 700_000)
        world.work(300..<380, at: [0, 1])
        #expect(world.post(0, id: id(0), "reward", #"{"pattern":"p0","value":0.2}"#).status == 201)
    }

    @Test("that breaks off leaves nothing half: another peer's is read to the end", arguments: [20, 60, 150])
    func brokenOff(afterMs: UInt64) {
        var world = Self.old(bytesPerMs: 64)
        world.add(replication: .short(), profile: .fast)
        world.run(milliseconds: afterMs)
        #expect(world.nodes[2].isIncomplete || afterMs < 60)
        for i in 0..<2 { world.unlink(i, 2) }
        #expect(world.nodes[2].incoming == nil)
        #expect(world.nodes[0].outgoing.isEmpty && world.nodes[1].outgoing.isEmpty)
        if afterMs >= 60 { #expect(world.nodes[2].documents.count == 0 && world.nodes[2].signals.count == 0) }
        // What it is told in between counts all the same.
        #expect(world.post(2, id: id(900), "proposal", #"{"action":"own"}"#).status == 201)
        world.run(milliseconds: 6_000)
        #expect(world.state(2) == world.state(0) && world.state(1) == world.state(0))
        #expect(world.strengths(0)["ui/own"] != nil && world.strengths(2) == world.strengths(0))
        #expect(!world.nodes[2].isIncomplete)
    }

    @Test("that is malformed closes the link, and is counted")
    func malformed() {
        for body in [[1, 0xff], [2, 9, 9, 9], [3, 1, 2], [3] + Array(repeating: 1, count: 30)] as [[UInt8]] {
            var world = NodeWorld(clocksAheadMs: [0, 0])
            let link = world.link(0, 1)
            _ = world.post(0, "test", "{}")
            world.deliver()
            var frame: [UInt8] = []
            let start = Frame.begin(.snapshot, into: &frame)
            // The part, the highest time that the sender knows, and what the part is about.
            frame += body.prefix(1) + Array(repeating: 0, count: 8) + body.dropFirst()
            _ = Frame.end(start, into: &frame)
            world.give(.linkFrame(link), frame, to: 1)
            #expect(world.metric(1, "state_malformed_total") == 1, "\(body)")
            #expect(world.metric(1, "peers_linked") == 0)
            #expect(!world.nodes[1].isIncomplete)
        }
    }
}

@Suite("States that differ though the logs are equal")
struct StateComparisonTests {
    private static func pair() -> NodeWorld {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<2 { world.add(profile: .fast) }
        world.run(milliseconds: 1_000)
        world.work(0..<90, at: [0, 1])
        world.run(milliseconds: 1_000)
        return world
    }

    @Test(
        "are found by the next comparison and made equal", arguments: ["documents", "a document", "operations"], [0, 1])
    func repaired(what: String, broken: Int) {
        var world = Self.pair()
        let sound = world.state(0)
        #expect(world.state(1) == sound)
        world.tamper(broken) { node in
            switch what {
            case "documents": node.documents = DocumentMap()
            case "operations": node.signals = SignalMap(lambda: 0.95)
            default:
                // One of them was never written.
                var documents = DocumentMap()
                for write in node.documents.writes(where: { _ in true }) where !write.document.hasSuffix(id(5_020)) {
                    var put: [UInt8] = []
                    DocumentMap.encode(write.document, [write.change], into: &put)
                    try? documents.apply(put.span.bytes, at: write.stamp)
                }
                node.documents = documents
            }
        }
        #expect(world.state(broken) != sound)
        // Something is written, so that the digests are compared again.
        _ = world.post(0, "test", "{}")
        world.run(milliseconds: 2_000)
        #expect(world.state(0) == world.state(1))
        #expect(world.state(0)[1] == sound[1] && world.nodes[broken].signals.operationCount >= Int(sound[2]))
        #expect(world.strengths(0) == world.strengths(1))
        #expect(world.metric(0, "state_mismatches_total")! + world.metric(1, "state_mismatches_total")! > 0)
        #expect(world.lines.joined().contains { $0.contains("equal logs gave different states") })
        // Once is enough.
        let mismatches = (0..<2).map { world.metric($0, "state_mismatches_total") }
        _ = world.post(1, "test", "{}")
        world.run(milliseconds: 2_000)
        #expect((0..<2).map { world.metric($0, "state_mismatches_total") } == mismatches)
    }

    @Test("are compared once for each state of the logs, by one of the two")
    func thrift() {
        var world = Self.pair()
        let before = (0..<2).map { world.metric($0, "state_comparisons_total")! }
        world.run(milliseconds: 20_000)
        #expect((0..<2).map { world.metric($0, "state_comparisons_total")! } == before)
        #expect(before[0] == 0 && before[1] > 0, "the lower id says what it has, the other compares")
    }
}
