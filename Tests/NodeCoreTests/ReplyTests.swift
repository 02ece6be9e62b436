import CRDT
import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

private func request(_ number: Int, _ more: String = "") -> String {
    #"{"id":"\#(id(number))","topic":"jobs","type":"do","source":"ada","data":{"n":\#(number)}\#(more)}"#
}

private func reply(_ number: Int, to correlation: String, on topic: String, type: String = "done") -> String {
    #"{"id":"\#(id(number))","topic":"\#(topic)","type":"\#(type)","source":"bob","correlation_id":"\#(correlation)"}"#
}

@Suite("Request and reply")
struct ReplyTests {
    private func asked(
        _ world: inout NodeWorld, _ i: Int, as request: UInt64, _ event: String, timeoutMs: UInt64? = nil
    ) -> Answer? {
        world.give(
            .request(RequestID(request), .bus(.request(timeoutMs: timeoutMs))), Array(event.utf8), to: i)
    }

    @Test("The first event on the topic with the correlation id answers, wherever it is accepted")
    func answered() {
        var world = NodeWorld.linked(3)
        #expect(asked(&world, 0, as: 50, request(1)) == nil)
        world.deliver()
        let published = world.ask(2, .event(id: id(1))).object
        #expect(published["response_topic"] as? String == "reply.\(id(1))")
        #expect(published["correlation_id"] as? String == id(1))
        _ = world.post(1, reply(2, to: id(1), on: "elsewhere"))
        _ = world.post(1, reply(3, to: id(9), on: "reply.\(id(1))"))
        world.deliver()
        #expect(world.answers(0, to: 50).isEmpty)
        let answer = world.post(2, reply(4, to: id(1), on: "reply.\(id(1))"))
        _ = world.post(2, reply(5, to: id(1), on: "reply.\(id(1))"))
        world.deliver()
        #expect(world.answers(0, to: 50).map(\.text) == [answer.text])
        #expect(world.answers(0, to: 50)[0].status == 200 && !world.answers(0, to: 50)[0].clock.isEmpty)
        #expect(world.metric(0, "reply_waiting") == 0)
    }

    @Test("Topic, correlation id and type of the answer are the client's, if it names them")
    func named() {
        var world = NodeWorld.linked(2)
        let more = #","response_topic":"mine","correlation_id":"c","response_event":"done""#
        #expect(asked(&world, 0, as: 50, request(1, more)) == nil)
        #expect(asked(&world, 0, as: 51, request(2, #","response_topic":"mine","correlation_id":"c""#)) == nil)
        world.deliver()
        _ = world.post(1, reply(3, to: "c", on: "mine", type: "progress"))
        world.deliver()
        #expect(world.answers(0, to: 50).isEmpty && world.answers(0, to: 51).count == 1)
        _ = world.post(1, reply(4, to: "c", on: "mine"))
        world.deliver()
        #expect(world.answers(0, to: 50).map(\.id) == [id(4)])
    }

    @Test("Without an answer it says so in time, and what was published stays")
    func late() {
        var world = NodeWorld()
        #expect(asked(&world, 0, as: 50, request(1), timeoutMs: 700) == nil)
        #expect(asked(&world, 0, as: 51, request(2), timeoutMs: 90_000) == nil)
        world.tick(0, afterMs: 699)
        #expect(world.answers(0, to: 50).isEmpty)
        world.tick(0, afterMs: 1)
        let answer = world.answers(0, to: 50)[0]
        #expect(answer.status == 504 && answer.object["id"] as? String == id(1))
        #expect(answer.object["correlation_id"] as? String == id(1))
        #expect(answer.object["response_topic"] as? String == "reply.\(id(1))")
        #expect(world.ask(0, .event(id: id(1))).status == 200)
        #expect(world.metric(0, "reply_timeouts_total") == 1 && world.metric(0, "reply_waiting") == 1)
        // Asked again, after the answer came.
        let done = world.post(0, reply(3, to: id(1), on: "reply.\(id(1))"))
        #expect(asked(&world, 0, as: 52, request(1))?.text == done.text)
        world.give(.leave, [], to: 0)
        let left = world.answers(0, to: 51)[0]
        #expect(left.status == 503 && left.object["id"] as? String == id(2))
    }

    @Test("A client that is gone is forgotten; what is no request is refused before it is published")
    func refused() {
        var world = NodeWorld()
        #expect(asked(&world, 0, as: 50, request(1)) == nil)
        world.give(.requestAbandoned(RequestID(50)), [], to: 0)
        #expect(world.metric(0, "reply_waiting") == 0 && world.nodes[0].deferrals.isEmpty)
        #expect(asked(&world, 0, as: 51, #"{"type":"do","source":"a"}"#)?.message.contains("topic") == true)
        #expect(asked(&world, 0, as: 52, request(2), timeoutMs: 600_001)?.status == 400)
        #expect(asked(&world, 0, as: 53, request(3, #","response_topic":"a.*""#))?.status == 400)
        for number in [2, 3] { #expect(world.ask(0, .event(id: id(number))).status == 404) }
    }

    @Test("On /ws a request is answered under its ref")
    func session() {
        var world = NodeWorld.linked(2)
        world.open(1, at: 0)
        world.say(1, #"{"type":"unsubscribe"}"#, to: 0)
        world.say(1, #"{"type":"request","ref":"r","event":\#(request(1))}"#, to: 0)
        world.say(1, #"{"type":"request","ref":"s","timeout_ms":100,"event":\#(request(2))}"#, to: 0)
        world.deliver()
        let done = world.post(1, reply(3, to: id(1), on: "reply.\(id(1))"))
        world.deliver()
        #expect(world.sent[0].map(\.text) == [#"{"type":"reply","ref":"r","data":\#(done.text)}"#])
        world.tick(0, afterMs: 100)
        let last = world.sent[0].last?.text ?? ""
        #expect(last.hasPrefix(#"{"type":"error","ref":"s","message":"no reply within 100 ms"#))
        #expect(last.contains(#""id":"\#(id(2))""#))
    }

    @Test("So many may wait, and each is found by what answers it")
    func bounds() {
        var waits = ReplyWaits()
        func wait(_ number: Int) -> ReplyWaits.Wait {
            ReplyWaits.Wait(
                client: .request(RequestID(UInt64(number))),
                key: ReplyWaits.Key(topic: Array("t\(number)".utf8), correlation: [99]), type: nil,
                event: UUID(high: 0, low: UInt64(number)), timeoutMs: 1,
                deadline: Instant(milliseconds: UInt64(1_000 + (number * 7_919) % 4_096)))
        }
        for number in 0..<ReplyWaits.maximum { waits.add(wait(number)) }
        #expect(!waits.hasRoom && waits.wake == Instant(milliseconds: 1_000))
        waits.forget(RequestID(0))
        #expect(waits.count == ReplyWaits.maximum - 1 && waits.hasRoom)
        let late = waits.takeLate(Instant(milliseconds: 3_000))
        #expect(late.map(\.deadline) == late.map(\.deadline).sorted())
        #expect(late.allSatisfy { $0.deadline <= Instant(milliseconds: 3_000) })
        #expect(waits.count + late.count == ReplyWaits.maximum - 1)
        #expect(waits.takeAll().count == ReplyWaits.maximum - 1 - late.count && waits.isEmpty && waits.wake == nil)
    }
}
