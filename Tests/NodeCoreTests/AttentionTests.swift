import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("Attention")
struct AttentionTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    init() {
        world.link(0, 1)
        _ = world.ask(0, .introduce("a"), "{}")
        world.deliver()
    }

    private mutating func set(_ i: Int, _ dialogue: String, _ body: String = "{}") -> Answer {
        let answer = world.ask(i, .set(agent: "a", dialogue: dialogue), body)
        world.deliver()
        return answer
    }

    private mutating func next(_ i: Int, _ body: String = "") -> Answer {
        let answer = world.ask(i, .next(agent: "a"), body)
        world.deliver()
        return answer
    }

    private mutating func order(_ i: Int) -> [String] {
        (world.ask(i, .queue(agent: "a")).object["attention_queue"] as? [[String: Any]] ?? []).compactMap {
            $0["dialogue_id"] as? String
        }
    }

    private mutating func focus(_ i: Int) -> String? {
        world.ask(i, .manifest("a")).object["current_focus"] as? String
    }

    @Test(
        "Priority is 4 for importance, 3 for the deadline, 2 for the relation, 1 for waiting",
        arguments: [
            // importance, deadline in ms from now, relation, waiting ms, priority
            (5, nil, 0.5, 0, 3.0), (10, nil, 0, 0, 4.0), (0, nil, 1, 0, 2.0), (0, nil, 0, 3_600_000, 1.0),
            (0, nil, 0, 1_800_000, 0.5), (0, nil, 0, 9_999_999, 1.0), (0, 0, 0, 0, 3.0), (0, -5, 0, 0, 3.0),
            (0, 43_200_000, 0, 0, 1.5), (0, 86_400_000, 0, 0, 0.0), (0, 99_999_999, 0, 0, 0.0),
            (10, -1, 1, 4_000_000, 10.0),
        ] as [(Double, Int?, Double, Int, Double)])
    func priority(importance: Double, deadline: Int?, relation: Double, waiting: Int, priority: Double) {
        var dialogue = AttentionQueue.Dialogue("d")
        (dialogue.importance, dialogue.relation) = (importance, relation)
        let now = 1_740_000_000_000
        dialogue.lastMs = UInt64(now - waiting)
        dialogue.deadlineMs = deadline.map { UInt64(now + $0) }
        #expect(abs(dialogue.priority(at: UInt64(now)) - priority) < 1e-9)
    }

    @Test("The queue is ordered by priority; of those that tie the one that waits longest comes first, then by id")
    mutating func ordering() {
        _ = (set(0, "b"), set(0, "a"))
        #expect(order(1) == ["a", "b"])
        world.pass(milliseconds: 100)
        _ = (set(1, "0"), set(1, "z", #"{"importance":5.1}"#))
        #expect(order(0) == ["z", "a", "b", "0"])
        #expect(set(0, "b", #"{"relation":0.9}"#).status == 200)
        #expect(order(1) == ["b", "z", "a", "0"])
    }

    @Test("A queue shows its dialogues, to the byte")
    mutating func layout() {
        let made = set(0, "d/1", #"{"deadline":"2025-02-20T21:20:30.123Z","importance":7.5,"state":{"at":[1]}}"#)
        #expect(made.status == 201 && !made.stamp.isEmpty)
        let time = "2025-02-19T21:20:30.123Z"
        #expect(
            made.text
                == #"{"agent_id":"a","current_focus":null,"attention_queue":[{"dialogue_id":"d/1","priority":4.0,"#
                + #""last_interaction":"\#(time)","importance":7.5,"deadline":"2025-02-20T21:20:30.123Z","relation":0.5,"#
                + #""state":{"at":[1]}}],"last_updated":"\#(time)"}"#)
        #expect(world.ask(1, .queue(agent: "a")).text == made.text)
        let before = world.nodes[0].cluster.log.end
        #expect(set(0, "d/1", #"{"importance":7.5}"#).text == made.text, "what is not named stays")
        #expect(world.nodes[0].cluster.log.end == before)
        let reset = set(1, "d/1", #"{"importance":null,"deadline":null,"state":null}"#)
        #expect(reset.text.contains(#""importance":5.0,"deadline":null,"relation":0.5,"state":null"#))
    }

    @Test("next keeps the state of what is left, turns to the most urgent of the others, and tells everybody")
    mutating func switching() {
        #expect(next(0).text.contains(#""current_focus":null,"dialogue":null,"attention_queue":[]"#))
        _ = (set(0, "x", #"{"importance":9,"state":"new"}"#), set(0, "y"), set(0, "z", #"{"importance":1}"#))
        #expect(next(1, #"{"state":1}"#).status == 409, "there is nothing whose state it could be")
        let first = next(1)
        #expect(first.text.contains(#""current_focus":"x""#) && first.text.contains(#""state":"new""#))
        world.pass(milliseconds: 1_000)
        let second = next(0, #"{"state":{"page":2}}"#)
        #expect(second.object["current_focus"] as? String == "y")
        #expect((second.object["dialogue"] as? [String: Any])?["dialogue_id"] as? String == "y")
        let third = next(1, #"{"state":[]}"#)
        #expect(third.object["current_focus"] as? String == "x")
        #expect(third.text.contains(#""dialogue":{"dialogue_id":"x""#) && third.text.contains(#""state":{"page":2}"#))
        #expect(third.text.contains(#""last_interaction":"2025-02-19T21:20:31.123Z""#), "what was left was touched")
        for i in 0...1 { #expect(focus(i) == "x") }
        let told = world.announced(0, "AgentStatusUpdates")
        #expect(told.map { $0["currentFocus"] as? String } == ["x", "y", "x"])
        #expect(told.allSatisfy { $0["newStatus"] as? String == "active" && $0["oldStatus"] as? String == "active" })
    }

    @Test("With nothing else to turn to, the focus stays, and its state is kept all the same")
    mutating func alone() {
        _ = set(0, "x")
        _ = next(0)
        let again = next(0, #"{"state":7}"#)
        #expect(again.object["current_focus"] as? String == "x" && again.text.contains(#""state":7"#))
        #expect(world.announced(0, "AgentStatusUpdates").count == 1)
        #expect(next(0, #"{"state":null}"#).text.contains(#""state":null"#))
    }

    @Test("Dropping the focus leaves none, also where one side dropped what the other turned to")
    mutating func dropping() {
        _ = (set(0, "x"), set(0, "y", #"{"importance":9}"#))
        _ = next(0)
        #expect(world.ask(0, .drop(agent: "a", dialogue: "y")).status == 204)
        world.deliver()
        for i in 0...1 { #expect(focus(i) == nil && order(i) == ["x"]) }
        #expect(world.announced(1, "AgentStatusUpdates").last?["currentFocus"] as? String == nil)
        let gone = world.ask(1, .drop(agent: "a", dialogue: "y"))
        #expect(gone.status == 404 && gone.message.hasPrefix("a has no dialogue y here"))
        // Both sides at once.
        #expect(world.ask(0, .next(agent: "a")).object["current_focus"] as? String == "x")
        world.pass(milliseconds: 1)
        #expect(world.ask(1, .drop(agent: "a", dialogue: "x")).status == 204)
        world.deliver()
        for i in 0...1 {
            #expect(focus(i) == nil && order(i).isEmpty)
            #expect(world.ask(i, .queue(agent: "a")).text.contains(#""current_focus":null"#))
        }
    }

    @Test("Dialogues that two sides add or weigh at once all stay")
    mutating func concurrent() {
        _ = (set(0, "x"), set(0, "y"))
        _ = world.ask(0, .set(agent: "a", dialogue: "x"), #"{"importance":6}"#)
        _ = world.ask(0, .set(agent: "a", dialogue: "l"), #"{"importance":1}"#)
        world.pass(milliseconds: 1)
        _ = world.ask(1, .set(agent: "a", dialogue: "y"), #"{"importance":7}"#)
        _ = world.ask(1, .set(agent: "a", dialogue: "r"), #"{"importance":2}"#)
        world.deliver()
        for i in 0...1 { #expect(order(i) == ["y", "x", "r", "l"]) }
    }

    @Test("A retired agent attends to nothing, and introduced anew it has forgotten what it did")
    mutating func retiring() {
        _ = set(0, "x")
        _ = next(0)
        _ = world.ask(1, .retire("a"))
        world.deliver()
        for i in 0...1 { #expect(world.ask(i, .queue(agent: "a")).status == 404) }
        _ = world.ask(0, .introduce("a"), "{}")
        #expect(order(0).isEmpty && focus(0) == nil)
    }

    @Test(
        "says what is wrong",
        arguments: [
            (#"{"importance":11}"#, "importance: expected a number from 0.0 to 10.0"),
            (#"{"relation":"x"}"#, "relation: expected a number from 0.0 to 1.0"),
            (#"{"deadline":"soon"}"#, "deadline: expected a time like 2026-01-31T12:00:00Z"),
            ("[]", "the body must be one JSON object"),
        ])
    mutating func refusals(body: String, message: String) {
        let answer = set(0, "x", body)
        #expect(answer.status == 400 && answer.message.contains(message), "\(answer)")
        for request in [AttentionRequest.queue(agent: "a"), .set(agent: "a", dialogue: "x"), .next(agent: "a")] {
            #expect(world.ask(0, request, as: "b", "{}").status == 403)
            #expect(world.ask(0, request, as: "a", "{}").status < 300)
        }
        #expect(world.ask(0, .queue(agent: "nobody")).status == 404)
    }

    @Test("An agent has a thousand dialogues at most")
    mutating func bound() {
        for n in 0..<1_000 { _ = world.ask(0, .set(agent: "a", dialogue: "d\(n)"), "{}") }
        let more = world.ask(0, .set(agent: "a", dialogue: "more"), "{}")
        #expect(more.status == 409 && more.message.hasPrefix("a has 1000 dialogues already; drop one"))
        #expect(world.ask(0, .set(agent: "a", dialogue: "d7"), #"{"importance":9}"#).status == 200)
        #expect(world.ask(0, .drop(agent: "a", dialogue: "d8")).status == 204)
        #expect(world.ask(0, .set(agent: "a", dialogue: "more"), "{}").status == 201)
    }
}
