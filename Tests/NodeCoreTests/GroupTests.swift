import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("A queue group")
struct GroupTests {
    @Test("gives each event to one consumer in the whole cluster, once")
    func oneOfAGroup() {
        var it = GroupWorld(nodes: 3)
        it.consume(1, at: 0)
        it.consume(2, at: 0)
        it.consume(3, at: 1)
        it.consume(4, at: 2)
        it.run(50)
        for number in 1...300 {
            it.post(number, at: number % 3)
            if number % 10 == 0 { it.run(10) }
        }
        it.post(1_000, at: 0, topic: "other")
        it.run(500)
        #expect(it.got.count == 300)
        #expect(Set(it.got.map(\.id)) == Set(it.posted.dropLast()))
        #expect(it.got.allSatisfy { $0.attempt == 1 })
        #expect(Set(it.got.map(\.session)) == [1, 2, 3, 4])
        for node in 0..<3 { #expect(it.open(node) == 0) }
        #expect(it.said.filter { $0.contains("\"subscribed\"") }.count == 4)
    }

    @Test("forgets how far nodes had come that are gone with all they wrote")
    func pastProgress() {
        var it = GroupWorld(nodes: 2)
        it.consume(1, at: 0)
        it.post(1, at: 0)
        it.run(300)
        let (past, mine) = (
            "p/00000000000000ff/00000000000000ff", "p/\(it.world.nodes[0].replica)/\(it.world.nodes[0].replica)"
        )
        func fields(_ node: Int) -> [String] {
            it.world.nodes[node].documents.fields(of: "group/g", prefix: "p/").map(\.name)
        }
        let now = it.world.now
        it.world.tamper(0) { core in
            var (effects, value): (NodeCore.Effects, [UInt8]) = (NodeCore.Effects(), [])
            Settled().encode(into: &value)
            _ = try? core.put("group/g", [.set(field: past, value: value)], now: now, into: &effects)
        }
        #expect(fields(0).sorted() == [past, mine].sorted())
        it.run(300)
        it.post(2, at: 0)
        it.run(300)
        for node in 0..<2 { #expect(fields(node) == [mine]) }
    }

    @Test("shares events among all consumers where only one node accepts them and its own are full")
    func spread() {
        var it = GroupWorld(nodes: 3)
        for session in 1...3 as ClosedRange<UInt64> {
            it.consume(session, at: Int(session) - 1, options: options(2))
            it.silent.insert(session)
        }
        it.run(50)
        for number in 1...9 { it.post(number, at: 0) }
        it.run(50)
        // Two at each, and three wait.
        for session in 1...3 as ClosedRange<UInt64> { #expect(it.got.count { $0.session == session } == 2) }
        let group = it.group(0)
        #expect(group["in_flight"] as? Int == 6)
        #expect(group["pending"] as? Int == 3)
        it.silent = []
        for got in it.got { it.acknowledge(got.id, session: got.session, at: got.node) }
        it.run(50)
        #expect(it.counts.count == 9)
        #expect(it.got.count == 9)
    }

    private func options(_ maximum: Int) -> String { ",\"max_in_flight\":\(maximum)" }

    @Test("never gives a consumer more than it takes, however many nodes decide")
    func maximumInFlight() {
        var it = GroupWorld(nodes: 3)
        it.consume(1, at: 0, options: options(3))
        it.silent = [1]
        it.run(50)
        for number in 1...30 { it.post(number, at: number % 3) }
        it.run(100)
        #expect(it.got.count == 3)
        var done = 0
        while done < it.got.count {
            it.acknowledge(it.got[done].id, session: 1, at: 0)
            done += 1
            it.run(20)
            #expect(it.got.count - done <= 3)
        }
        #expect(it.got.count == 30)
        #expect(it.counts.count == 30)
        #expect(it.got.allSatisfy { $0.attempt == 1 })
    }

    @Test("keeps what comes from its making on for consumers that come later")
    func backlog() {
        var it = GroupWorld(nodes: 2)
        it.post(9_999, at: 0)
        it.consume(1, at: 0)
        it.world.close(1, at: 0)
        it.run(50)
        for number in 1...1_500 { it.post(number, at: number % 2) }
        it.run(50)
        #expect(it.got.isEmpty)
        #expect(it.group(0)["has_more"] as? Bool == true)
        it.consume(2, at: 1)
        it.run(2_000)
        #expect(it.got.count == 1_500)
        #expect(it.counts.count == 1_500)
        // Of each log in its order.
        for parity in 0...1 {
            let ids = it.got.map(\.id).filter { Int($0.suffix(12), radix: 16)! % 2 == parity }
            #expect(ids == ids.sorted())
        }
    }

    @Test("hands on what a node had that dies, and marks it")
    func killed() {
        var it = GroupWorld(nodes: 3)
        it.consume(1, at: 0)
        it.consume(2, at: 1)
        it.consume(3, at: 2)
        it.run(50)
        it.silent = [1, 2, 3]
        // Node 0 decides about the first ones and dies with them; node 2's consumer dies with what it has.
        for number in 1...60 { it.post(number, at: 0) }
        it.run(200)
        #expect(it.counts.count == 48)
        it.dead = [0]
        it.world.cutOff = [0]
        for got in it.got where got.node == 1 { it.acknowledge(got.id, session: 2, at: 1) }
        it.silent = [1]
        for got in it.got where got.node == 2 { it.acknowledge(got.id, session: 3, at: 2) }
        it.run(10_000)
        #expect(it.counts.count == 60)
        for id in it.posted {
            let all = it.got.filter { $0.id == id }
            // What the others' consumers had acknowledged is not tried again.
            #expect(all.count == (all[0].node == 0 ? 2 : 1))
            if all[0].node == 0 { #expect(all.last!.attempt / 1_000 == 1) }
        }
        #expect(it.open(1) == 0)
        #expect(it.open(2) == 0)
    }

    @Test("goes on at both sides of a partition, and at one after it heals")
    func partition() {
        var it = GroupWorld(nodes: 3)
        for session in 1...3 as ClosedRange<UInt64> { it.consume(session, at: Int(session) - 1) }
        it.run(50)
        it.silent = [1, 2, 3]
        for number in 1...12 { it.post(number, at: number % 3) }
        it.run(200)
        it.world.cutOff = [0]
        it.silent = []
        it.run(10_000)
        for number in 13...24 { it.post(number, at: number % 3) }
        it.run(100)
        it.world.cutOff = []
        it.run(10_000)
        for number in 25...36 { it.post(number, at: number % 3) }
        it.run(1_000)
        #expect(it.counts.count == 36)
        #expect(it.unexplained.isEmpty, "\(it.unexplained)")
        for number in 25...36 { #expect(it.counts[id(number)] == 1) }
        // Settling what was tried first: nobody acknowledged those of before the partition at once.
        it.run(40_000)
        for node in 0..<3 { #expect(it.open(node) == 0) }
        for id in it.posted { #expect(it.counts[id]! <= 4) }
    }

    @Test("tries again after a nack, at once or later, and elsewhere after a deadline")
    func again() {
        var it = GroupWorld(nodes: 2)
        it.consume(1, at: 0, options: ",\"ack_deadline_ms\":500,\"max_attempts\":10")
        it.silent = [1]
        it.post(1, at: 0)
        #expect(it.got.map(\.attempt) == [1])
        it.acknowledge(id(1), session: 1, at: 0, nack: 0)
        it.work()
        #expect(it.got.map(\.attempt) == [1, 2])
        it.acknowledge(id(1), session: 1, at: 0, nack: 300)
        it.run(250)
        #expect(it.got.count == 2)
        it.run(60)
        #expect(it.got.map(\.attempt) == [1, 2, 3])
        it.consume(2, at: 1)
        it.run(400)
        #expect(it.got.count == 3)
        it.run(150)
        #expect(it.got.last?.attempt == 4)
        if it.got.last?.session != 2 { it.acknowledge(id(1), session: 1, at: 0) }
        it.run(200)
        #expect(it.open(0) == 0)
        it.run(2_000)
        #expect(it.got.count == 4)
        #expect(it.world.metric(0, "group_missed_total") == 1)
    }

    @Test("takes back at once what a consumer had that goes")
    func consumerGone() {
        var it = GroupWorld(nodes: 2)
        it.consume(1, at: 1)
        it.run(50)
        it.silent = [1]
        it.post(1, at: 0)
        it.run(20)
        #expect(it.got.map(\.session) == [1])
        it.world.close(1, at: 1)
        it.consume(2, at: 1)
        it.run(20)
        #expect(it.got.map(\.session) == [1, 2])
        #expect(it.got.last?.attempt == 2)
    }

    @Test("puts an event that nobody acknowledges to the dead letters, once")
    func deadLetters() {
        var it = GroupWorld(nodes: 2)
        it.consume(1, at: 0, options: ",\"max_attempts\":3")
        it.silent = [1]
        it.post(1, at: 0)
        for _ in 0..<5 {
            it.acknowledge(id(1), session: 1, at: 0, nack: 0)
            it.work()
        }
        #expect(it.got.map(\.attempt) == [1, 2, 3])
        it.run(200)
        let letters = it.world.ask(1, .eventsOnTopic("dead-letter.g", .init(limit: 10))).list
        #expect(letters.count == 1)
        #expect(letters.first?["correlation_id"] as? String == id(1))
        let data = letters.first?["data"] as? [String: Any]
        #expect(data?["attempts"] as? Int == 3)
        #expect((data?["event"] as? [String: Any])?["id"] as? String == id(1))
        #expect(it.open(0) == 0)
        #expect(it.group(0)["dead_lettered"] as? Int == 1)
    }

    @Test("takes answers at any node")
    func answersAnywhere() {
        var it = GroupWorld(nodes: 3)
        it.consume(1, at: 1)
        it.run(50)
        it.silent = [1]
        it.post(1, at: 0)
        it.post(2, at: 0)
        it.run(20)
        let answer = it.world.ask(2, .ackGroup("g"), #"{"ids":["\#(id(1))","\#(id(7))"]}"#)
        #expect(answer.status == 200)
        #expect(answer.text == #"{"acked":1,"unknown":["\#(id(7))"]}"#)
        #expect(it.world.ask(2, .nackGroup("g"), #"{"id":"\#(id(2))","delay_ms":0}"#).status == 200)
        it.run(300)
        #expect(it.got.map(\.id) == [id(1), id(2), id(2)])
        #expect(it.open(2) == 1)
        // The place at the consumer is free again.
        #expect(it.world.metric(1, "group_held") == 1)
        #expect(it.world.ask(0, .ackGroup("x"), #"{"id":"\#(id(1))"}"#).status == 404)
        #expect(it.world.ask(0, .ackGroup("g"), "{}").status == 400)
        #expect(it.world.ask(0, .ackGroup("g"), #"{"id":7}"#).status == 400)
    }

    @Test("may be made at two sides of a partition, and is one when it heals")
    func madeTwice() {
        var it = GroupWorld(nodes: 2)
        it.world.cutOff = [0]
        it.run(5_000)
        it.consume(1, at: 0)
        it.consume(2, at: 1)
        for number in 1...10 { it.post(number, at: number % 2) }
        it.run(100)
        #expect(it.counts.count == 10)
        it.world.cutOff = []
        it.run(10_000)
        for number in 11...20 { it.post(number, at: number % 2) }
        it.run(1_000)
        #expect(it.counts.count == 20)
        #expect(it.got.count == 20, "\(it.got.filter { it.counts[$0.id]! > 1 })")
        for node in 0...1 {
            #expect(it.group(node)["consumers"] as? Int == 2)
            #expect(it.open(node) == 0)
        }
    }

    @Test("gets nothing from before its making, not even of logs that have ended")
    func endedLogs() {
        var it = GroupWorld(nodes: 2)
        let former = it.world.nodes[1].replica
        for number in 1...3 { it.post(number, at: 1) }
        it.world.startAnew(1)
        it.run(20_000)
        let log = it.world.nodes[0].cluster.log
        #expect(log.vector[former] == 0 && log.knownSlot(of: former) != nil, "it has ended, and is still held")
        for number in 4...5 { it.post(number, at: 1) }
        it.consume(1, at: 0)
        it.post(6, at: 1)
        it.run(500)
        #expect(it.got.map(\.id) == [NodeCoreTests.id(6)])
    }

    @Test("is deleted everywhere, and can be made anew with other options")
    func deletion() {
        var it = GroupWorld(nodes: 2)
        it.consume(1, at: 0)
        it.run(50)
        #expect(it.world.ask(1, .deleteGroup("g")).status == 204)
        it.run(50)
        #expect(it.world.ask(0, .groupNamed("g")).status == 404)
        #expect(it.said.contains { $0.contains(#""type":"left","group":"g""#) })
        it.post(1, at: 0)
        it.run(50)
        #expect(it.got.isEmpty)
        it.consume(2, at: 1, options: ",\"max_attempts\":2")
        it.run(50)
        it.post(2, at: 0)
        it.run(50)
        #expect(it.got.map(\.id) == [id(2)])
        #expect(it.group(0)["max_attempts"] as? Int == 2)
        #expect(it.world.ask(1, .deleteGroup("nobody")).status == 404)
    }

    @Test("refuses who wants something else of it")
    func conflicts() {
        var it = GroupWorld(nodes: 1)
        it.consume(1, at: 0, options: ",\"max_attempts\":3")
        func refused(_ text: String, because: String) {
            it.world.open(9, at: 0)
            it.world.say(9, text, to: 0)
            it.work()
            #expect(it.said.last?.contains(because) == true, "\(it.said.last ?? "")")
        }
        refused(
            #"{"type":"subscribe","group":"g","filter":{"topic":"other"}}"#,
            because: #"group g has another filter, {\"topic\":\"work.>\"}"#)
        refused(
            #"{"type":"subscribe","group":"g","filter":{"topic":"work.>"},"max_attempts":4}"#,
            because: "the max_attempts is 3 in group g")
        refused(#"{"type":"subscribe","group":"","filter":{"topic":"a"}}"#, because: "group: must not be empty")
        refused(
            #"{"type":"subscribe","group":"h","filter":{"topic":"a"},"takeover":"x"}"#,
            because: "takeover: expected afterDead, majorityOnly or never")
        refused(
            #"{"type":"subscribe","group":"h","filter":{"topic":"a"},"max_in_flight":0}"#,
            because: "max_in_flight: expected a whole number from 1 to 10000")
        refused(
            #"{"type":"subscribe","group":"ä","filter":{"topic":"a"}}"#,
            because: "1 to 128 printable ASCII characters")
        #expect(it.world.ask(0, .groups).text.contains("\"max_attempts\":3"))
    }

    @Test("serves SEMP events as well, and does not show its consumers what was not given to them")
    func semp() {
        var it = GroupWorld(nodes: 1)
        it.consume(1, at: 0, filter: #"{"scope":"ui.>"}"#)
        _ = it.world.post(0, id: id(1), "test", scope: "ui.a", "{}")
        _ = it.world.post(0, id: id(2), "test", scope: "db", "{}")
        it.work()
        #expect(it.got.map(\.id) == [id(1)])
        #expect(it.world.tuned[0][SessionID(1)] == nil)
    }
}

@Suite("Queue groups in random weather")
struct GroupWeatherTests {
    @Test(
        "give every event to somebody until it is acknowledged, and twice only where something explains it",
        arguments: 1...12 as ClosedRange<UInt64>)
    func weather(seed: UInt64) {
        var dice = Dice(seed: seed)
        func draw(_ below: Int) -> Int { Int(dice.next() % UInt64(below)) }
        var it = GroupWorld(nodes: 3)
        var sessions: [(session: UInt64, node: Int)] = []
        var (next, number) = (UInt64(1), 0)
        for node in 0..<3 {
            it.consume(next, at: node, options: ",\"ack_deadline_ms\":1000,\"max_attempts\":100,\"max_in_flight\":3")
            sessions.append((next, node))
            next += 1
        }
        it.run(50)
        for _ in 0..<60 {
            switch draw(10) {
            case 0: it.world.cutOff = [draw(3)]
            case 1, 2: it.world.cutOff = []
            case 3:
                let node = draw(3)
                it.consume(next, at: node, options: ",\"max_in_flight\":\(1 + draw(4))")
                sessions.append((next, node))
                if draw(3) == 0 { it.silent.insert(next) }
                next += 1
            case 4 where sessions.count > 1:
                let gone = sessions.remove(at: draw(sessions.count))
                it.world.close(gone.session, at: gone.node)
            case 5: it.run(UInt64(100 + draw(3_000)))
            default: break
            }
            for _ in 0..<draw(6) {
                number += 1
                it.post(number, at: draw(3))
            }
            it.run(UInt64(1 + draw(60)))
        }
        it.world.cutOff = []
        it.silent = []
        it.consume(next, at: 0)
        it.run(20_000)
        #expect(Set(it.got.map(\.id)) == Set(it.posted))
        #expect(it.unexplained.isEmpty, "\(it.unexplained)")
        for node in 0..<3 {
            let group = it.group(node)
            #expect(group["open"] as? Int == 0, "node \(node)")
            #expect(group["pending"] as? Int == 0, "node \(node)")
            #expect(group["in_flight"] as? Int == 0, "node \(node)")
            #expect(it.world.metric(node, "group_held") == 0)
            #expect(it.world.nodes[node].groups.all["g"]?.backlog == nil)
        }
    }
}
