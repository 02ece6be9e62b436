import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("What a node knows of an event")
struct EventViewTests {
    /// A text in JSON, in one of many spellings.
    private static func text(_ dice: inout Dice) -> String {
        let pieces = [
            "a", "ü", "😀", #"\u0061"#, #"\""#, #"\\"#, #"\n"#, #"\ud83d\ude00"#, #"\u0000"#, "/", #"\/"#, " ", "{", "]",
            ":", "0",
        ]
        return (0...dice.below(6)).map { _ in pieces[Int(dice.below(UInt64(pieces.count)))] }.joined()
    }

    private static func value(_ dice: inout Dice, depth: Int = 0) -> String {
        let space = dice.below(3) == 0 ? " " : ""
        switch dice.below(depth > 3 ? 4 : 6) {
        case 0: return "\"\(text(&dice))\""
        case 1: return ["0", "-1.50", "2e3", "0.1", "12345678901234567"][Int(dice.below(5))]
        case 2: return "null"
        case 3: return "true"
        case 4:
            return "[\(space)"
                + (0..<dice.below(3)).map { _ in value(&dice, depth: depth + 1) }.joined(separator: "\(space),") + "]"
        default:
            return "{"
                + (0..<dice.below(3)).map { "\"k\($0)\(text(&dice))\"\(space):\(value(&dice, depth: depth + 1))" }
                .joined(separator: ",\(space)") + "\(space)}"
        }
    }

    private static func event(_ dice: inout Dice) -> String {
        let type = EventType.allCases[Int(dice.below(5))]
        var payload = ["\"value\":\(dice.below(2) == 0 ? "-" : "")0.\(dice.below(1_000))"]
        if dice.below(2) == 0 { payload.append("\"pattern\":\"\(text(&dice))\"") }
        if dice.below(2) == 0 { payload.append("\"action\" : \"\(text(&dice))\"") }
        if dice.below(3) == 0 { payload.append("\"\(dice.below(2) == 0 ? "α" : "alpha")\":1.\(dice.below(10))") }
        payload.append("\"more\":\(value(&dice))")
        var members = [
            "\"type\":\"\(type.word)\"", "\"scope\":\"\(text(&dice))\"", "\"trace_id\":\"\(text(&dice))\"",
            "\"agent_id\":\"\(text(&dice))\"",
            "\"payload\":{\(payload.shuffled(using: &dice).joined(separator: " , "))}",
        ]
        if dice.below(2) == 0 {
            members.append("\"parent_ids\" : [\"\(text(&dice))\", \"\(id(Int(dice.below(99))))\"]")
        }
        if dice.below(2) == 0 { members.append("\"timestamp\":\(value(&dice))") }
        for i in 0..<dice.below(4) { members.append("\"x\(i)\(text(&dice))\":\(value(&dice))") }
        return "{" + members.shuffled(using: &dice).joined(separator: ",\n") + "}"
    }

    @Test("while writing it is what reading it back would say", arguments: 1...4 as ClosedRange<UInt64>)
    func rendered(seed: UInt64) throws {
        var dice = Dice(seed: seed)
        for _ in 0..<1_000 {
            let body = Array(Self.event(&dice).utf8)
            let draft = try EventDraft(EventFields(body.span.bytes), body.span.bytes)
            let signals =
                (draft.ownPatterns(body.span.bytes) ?? []) + (dice.below(2) == 0 ? [Array("more \\\"text".utf8)] : [])
            let acceptance = EventDraft.Acceptance(
                stamp: HybridTimestamp(milliseconds: dice.below(1 << 42), counter: 7, replica: ReplicaID(dice.next())),
                sequence: 1 + dice.below(1_000), origin: JSONText.canonical("n\"0"), signals: signals)
            var out: [UInt8] = []
            let view = draft.render(
                body.span.bytes, id: UUID(random: dice.next(), dice.next()), accepted: acceptance, into: &out)
            let json = String(decoding: out, as: UTF8.self)
            #expect(EventView(out.span.bytes) == view, "\(json)")
            #expect(json.utf8.count == out.count, "it is valid UTF-8")
            var touched: [[UInt8]] = []
            view.eachPattern(out.span.bytes) { touched.append($0.withUnsafeBytes { Array($0) }) }
            #expect(touched == signals)

            // What the client said comes back when the event as it was answered is posted again.
            let again = try EventDraft(EventFields(out.span.bytes), out.span.bytes)
            var second: [UInt8] = []
            _ = again.render(out.span.bytes, id: view.id, accepted: acceptance, into: &second)
            #expect(second == out)
        }
    }

    private static let members = [
        #""id":"\#(NodeCoreTests.id(1))""#, #""type":"test""#, #""scope":"s""#, #""trace_id":"t""#, #""agent_id":"a""#,
        #""payload":{}"#,
        #""timestamp":"x""#, #""signals":[]"#,
    ]

    @Test("is nothing where a part is missing, or is no node's writing")
    func malformed() {
        func view(_ members: [String]) -> EventView? {
            EventView(Array("{\(members.joined(separator: ","))}".utf8).span.bytes)
        }
        #expect(view(Self.members) != nil)
        for i in Self.members.indices where i != 5 {
            var fewer = Self.members
            fewer.remove(at: i)
            #expect(view(fewer) == nil, "without \(Self.members[i])")
        }
        for (i, other) in [
            (0, #""id":7"#), (0, #""id":"x""#), (1, #""type":"joke""#), (1, #""type":1"#), (2, #""scope":{}"#),
            (7, #""signals":{}"#),
            (0, #""id":"\#(id(1))","id":1"#),
        ] {
            var changed = Self.members
            changed[i] = other
            #expect(view(changed) == nil, "\(other)")
        }
        for text in ["", "[]", "{", "7"] { #expect(EventView(Array(text.utf8).span.bytes) == nil) }
    }

    @Test("never ends a node, in whatever order its members stand")
    func anyOrder() {
        var dice = Dice(seed: 9)
        for _ in 0..<500 {
            let json = "{\(Self.members.shuffled(using: &dice).joined(separator: ","))}"
            guard let view = EventView(Array(json.utf8).span.bytes) else { continue }
            #expect(view.content.upperBound <= json.utf8.count)
        }
    }
}

@Suite("Entries from peers")
struct PeerEntryTests {
    /// A facts frame with one entry of log 0xbb, as a peer would send it.
    private static func frame(_ kind: Fact.Kind, sequence: UInt64, body: [UInt8]) -> [UInt8] {
        var entry: [UInt8] = []
        entry.append(kind.rawValue)
        entry.append(littleEndian: NodeWorld.startMs << 16 + sequence)
        entry.append(varint: 0)
        entry += body
        var rest: [UInt8] = [3, 0, 0, 0, 0]
        rest.append(replica: ReplicaID(0xbb))
        rest.append(varint: sequence)
        rest.append(1)
        rest.append(varint: UInt64(entry.count))
        rest += entry
        var frame: [UInt8] = []
        frame.append(littleEndian: UInt32(truncatingIfNeeded: XXH64.hash(rest.span.bytes)))
        return frame + rest
    }

    @Test("that are no events, no puts, or of no known kind are passed over, and the node goes on")
    func malformed() {
        var world = NodeWorld(clocksAheadMs: [0, 0])
        let link = world.link(0, 1)
        world.open(1, at: 0)
        let bodies: [(Fact.Kind, String)] = [
            (.sempEvent, ""), (.sempEvent, "{}"), (.sempEvent, "\u{0}"),
            (
                .sempEvent,
                #"{"timestamp":"x","type":"test","scope":"s","trace_id":"t","agent_id":"a","payload":{},"signals":[],"id":"\#(id(1))"}"#
            ),
            (.put, ""), (.put, "\u{1}"), (.put, "\u{1}n\u{1}\u{9}"), (Fact.Kind(rawValue: 200), "later"),
            (
                .sempEvent,
                #"{"id":"\#(id(2))","type":"test","scope":"s","trace_id":"t","agent_id":"a","payload":{},"timestamp":"x","signals":["p",7]}"#
            ),
        ]
        for (i, (kind, body)) in bodies.enumerated() {
            world.give(.linkFrame(link), Self.frame(kind, sequence: UInt64(i + 1), body: Array(body.utf8)), to: 0)
        }
        #expect(
            world.nodes[0].cluster.log.head(of: ReplicaID(0xbb)) == UInt64(bodies.count), "each is kept and handed on")
        #expect(world.nodes[0].counters.malformedEvents == 4)
        #expect(world.nodes[0].counters.malformedPuts == 3)
        #expect(world.ask(0, .events(.init(limit: 9))).list.count == 1)
        #expect(world.delivered(1, at: 0) == [id(2)])
        #expect(world.strengths(0) == ["s/p": 0.3])
    }

    @Test("cannot end the node, however their bytes are changed", arguments: 1...4 as ClosedRange<UInt64>)
    func mutations(seed: UInt64) {
        var dice = Dice(seed: seed)
        let samples: [(Fact.Kind, [UInt8])] = [
            (
                .sempEvent,
                Array(
                    #"{"id":"\#(id(1))","type":"reward","scope":"s","trace_id":"t","agent_id":"a","parent_ids":["\#(id(2))"],"payload":{"value":0.5,"α":2},"x":"\u00e9","timestamp":"x","signals":["p","\u0071"]}"#
                        .utf8)
            ),
            (.put, Array("\u{6}node/1\u{3}\u{0}\u{2}\u{1}a\u{1}b\u{3}\u{1}c".utf8)),
        ]
        var world = NodeWorld(clocksAheadMs: [0, 0])
        let link = world.link(0, 1)
        world.open(1, at: 0)
        for sequence in 1...5_000 as ClosedRange<UInt64> {
            var (kind, body) = samples[Int(dice.below(2))]
            for _ in 0...dice.below(3) where !body.isEmpty {
                let at = Int(dice.below(UInt64(body.count)))
                switch dice.below(4) {
                case 0: body[at] = UInt8(truncatingIfNeeded: dice.next())
                case 1: body.remove(at: at)
                case 2: body.insert(UInt8(truncatingIfNeeded: dice.next()), at: at)
                default: body.removeSubrange(at..<min(body.count, at + Int(dice.below(9))))
                }
            }
            world.give(.linkFrame(link), Self.frame(kind, sequence: sequence, body: body), to: 0)
        }
        #expect(world.nodes[0].cluster.log.head(of: ReplicaID(0xbb)) == 5_000)
        #expect(world.nodes[0].counters.malformedEvents > 100)
        #expect(world.ask(0, .events(.init(limit: 10_000))).status == 200)
        #expect(world.ask(0, .nodes(limit: 10_000)).status == 200)
    }
}
