import CRDT
import Gossip
import Testing

@testable import NodeCore

extension NodeWorld {
    /// Introduces an agent at a node as others read it.
    mutating func introduce(_ agent: String, at i: Int, with capabilities: [String] = []) {
        try! act(i) { (core, now, effects) in
            let fields = capabilities.map {
                DocumentMap.Change.set(field: "capability/\($0)", value: Array("true".utf8))
            }
            let status = DocumentMap.Change.set(field: "status", value: Array("\"active\"".utf8))
            try core.put(DocumentKind.agent.name(agent), [.create, status] + fields, now: now, into: &effects)
        }
        deliver()
    }

    /// An agent is gone, and all have read it.
    mutating func removeAgent(_ agent: String, at i: Int) {
        try! act(i) { (core, now, effects) in
            try core.put(DocumentKind.agent.name(agent), [.remove], now: now, into: &effects)
        }
        give(.tick, [], to: i)
        deliver()
    }

    /// Asks about tasks; nil while the answer waits.
    mutating func task(_ i: Int, _ request: TaskRequest, _ body: String = "", as number: UInt64 = 7) -> Answer? {
        give(.request(RequestID(number), .tasks(request, by: Asker())), Array(body.utf8), to: i)
    }

    /// Asks about tasks and lets the nodes talk until there is an answer.
    mutating func taskAnswer(_ i: Int, _ request: TaskRequest, _ body: String = "") -> Answer {
        forget(i, 7)
        if let answer = task(i, request, body) { return answer }
        for _ in 0..<400 where answers(i).isEmpty { run(milliseconds: 20) }
        return answers(i).last ?? Answer(status: 0, text: "no answer", tick: nil)
    }

    /// Posts a task at a node and lets the others read it.
    mutating func postTask(_ i: Int, id: String = "t", _ more: String = "") -> Answer {
        let answer = taskAnswer(
            i, .post,
            "{\"id\":\"\(id)\",\"created_by\":\"boss\",\"description\":\"d\"\(more.isEmpty ? "" : ",")\(more)}")
        deliver()
        return answer
    }
}

private func claim(_ agent: String) -> String { "{\"agent_id\":\"\(agent)\"}" }
private func finish(_ agent: String, _ answer: Answer) -> String {
    "{\"agent_id\":\"\(agent)\",\"token\":\(answer.object["token"] as? Int ?? 1)}"
}

private func pair(durable: Set<Int> = []) -> NodeWorld {
    var world = NodeWorld.linked(2, durable: durable)
    for agent in ["boss", "ada", "bob"] { world.introduce(agent, at: 0) }
    _ = world.postTask(1)
    return world
}

@Suite("Requests that another node decides")
struct ForwardTests {
    @Test("The node that was asked answers once it has read what was decided, with its place and its level")
    func answered() {
        var world = pair()
        #expect(world.task(0, .claim("t"), claim("ada")) == nil, "n1 decides")
        world.deliver()
        let answer = world.answers(0).last
        #expect(answer?.status == 200 && answer?.object["assigned_to"] as? [String] == ["ada"])
        #expect(answer?.object["decided_by"] as? String == "n1")
        #expect(world.nodes[0].documents.hash == world.nodes[1].documents.hash, "read here, too")
        let head = world.written(1)
        var place: [UInt8] = []
        CompactVector.encode(world.nodes[1].replica, sequence: head, into: &place)
        #expect(answer?.clock == String(decoding: place, as: UTF8.self))
        #expect(answer?.stamp.hasSuffix("\(world.nodes[1].replica)") == true)
        // A level counts the decision, and a refusal has no clock.
        #expect(world.write(0, as: 9, .tasks(.claim("t"), by: Asker()), "mem:2", claim("ada")) == nil)
        for _ in 0..<100 where world.answers(0, to: 9).isEmpty { world.run(milliseconds: 20) }
        #expect(world.answers(0, to: 9).last?.ack == "mem:2")
        let refusal = world.taskAnswer(0, .claim("t"), claim("bob"))
        #expect(refusal.status == 409 && refusal.message.contains("claimed by ada until") && refusal.clock.isEmpty)
        #expect(world.metric(0, "forwards_total") == 3 && world.metric(1, "forward_decided_total") == 3)
        #expect(world.metric(0, "forwards_waiting") == 0)
    }

    @Test("What cannot be right is refused at once, wherever it is asked")
    func refusedAtOnce() {
        var world = pair()
        world.silent = [1]
        for (body, status) in [("{}", 400), ("[", 400), ("{\"agent_id\":7}", 400)] as [(String, UInt16)] {
            #expect(world.task(0, .claim("t"), body)?.status == status)
        }
        #expect(world.task(0, .claim("nowhere"), claim("ada"))?.status == 404)
        let asker = Request.tasks(.claim("t"), by: Asker("bob"))
        let answer = world.give(.request(RequestID(3), asker), Array(claim("ada").utf8), to: 0)
        #expect(answer?.status == 403)
    }

    @Test("Whoever decides must have read what the asked node has")
    func causes() {
        var world = pair()
        world.silent = [0]
        world.introduce("cyd", at: 0)
        #expect(world.task(0, .claim("t"), claim("cyd")) == nil)
        world.silent = []
        world.deliver()
        #expect(world.answers(0).last?.status == 200, "the agent came with the question")
    }

    @Test("A request is decided once, however often it is asked")
    func once() {
        var world = pair()
        // The answer is late, so it is asked again and again.
        world.silent = [1]
        #expect(world.task(0, .claim("t"), claim("ada")) == nil)
        for _ in 0..<20 { world.run(milliseconds: 50) }
        let written = world.written(1)
        world.silent = []
        world.run(milliseconds: 1_000)
        #expect(world.answers(0).count == 1 && world.answers(0).last?.status == 200)
        #expect(world.written(1) == written && world.metric(1, "forward_decided_total") == 1)
        #expect(world.metric(1, "forward_verdicts") == 1)
    }

    @Test("If the node that decides does not answer, the client is told who it is, and nothing waits for ever")
    func silentDecider() {
        var world = pair()
        world.silent = [1]
        #expect(world.task(0, .claim("t"), claim("ada")) == nil)
        world.run(milliseconds: 6_000)
        let answer = world.answers(0).last
        #expect(answer?.status == 503)
        #expect(answer?.message.contains("n1 decides about task t and did not answer within 5000 ms") == true)
        #expect(world.metric(0, "forwards_waiting") == 0 && world.metric(0, "forward_timeouts_total") == 1)
        world.silent = []
        world.run(milliseconds: 1_000)
        #expect(world.answers(0).count == 1)
        #expect(world.taskAnswer(0, .claim("t"), claim("ada")).status == 200, "again by the same agent")
    }

    @Test("When the node that decides dies while it is asked, another one follows it and decides")
    func deciderDies() {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 2_000)
        for agent in ["boss", "ada", "bob"] { world.introduce(agent, at: 0) }
        _ = world.postTask(2)
        world.run(milliseconds: 500)
        world.cutOff = [2]
        let answer = world.taskAnswer(0, .claim("t"), claim("ada"))
        #expect(answer.status == 200 && answer.object["decided_by"] as? String != "n2")
        #expect(answer.object["token"] as? Int == 2 << 32 | 1, "the node of the task would have begun with term 1")
        // The side of the node that decides goes on, too; what it lets happen is revoked, visibly, when it has healed.
        let there = world.taskAnswer(2, .claim("t"), claim("bob"))
        #expect(there.status == 200 && there.object["token"] as? Int == 1 << 32 | 1)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        for i in 0..<3 {
            let task = world.ask(i, .tasks(.task("t"), by: Asker()))
            #expect(task.object["assigned_to"] as? [String] == ["ada"], "\(task.text)")
        }
        #expect(Set(world.nodes.map { $0.documents.hash }).count == 1)
        let events = world.ask(1, .eventsOnTopic("TaskEvents", .init(limit: 50))).list
        let revoked = events.filter { $0["type"] as? String == "TaskRevoked" }
        #expect(revoked.count == 1 && (revoked.first?["data"] as? [String: Any])?["agentId"] as? String == "bob")
        let healed = world.ask(1, .eventsOnTopic("ClusterEvents", .init(limit: 50))).text
        #expect(healed.contains("double_claim") && healed.contains("ada, bob"), "\(healed)")
        let stale = world.taskAnswer(1, .complete("t"), finish("bob", there))
        #expect(
            stale.status == 409 && stale.message.contains("stale token") && stale.message.contains("claimed by ada"))
        #expect(world.taskAnswer(2, .complete("t"), finish("ada", answer)).status == 200)
    }

    @Test("A forwarded request is never forwarded again: who does not decide says so, and the asker asks whoever does")
    func noLoops() {
        var world = NodeWorld.linked(3)
        for agent in ["boss", "ada"] { world.introduce(agent, at: 0) }
        _ = world.postTask(2)
        // n0 believes that n1 decides.
        let frame = ForwardFrame.ask(
            77, .task(.claim("t")), Asker(), body: Array(claim("ada").utf8), read: VersionVector())
        var bytes: [UInt8] = []
        frame.encode(into: &bytes)
        let from = world.nodes[0].replica
        world.act(1) { (core, now, effects) in
            core.heardForward(from, bytes.span.bytes, now: now, into: &effects)
        }
        world.deliver()
        #expect(world.metric(1, "forward_turned_away_total") == 1 && world.metric(1, "forwards_total") == 0)
        #expect(world.ask(2, .tasks(.task("t"), by: Asker())).object["status"] as? String == "open")
    }

    @Test("A node that leaves answers who waits; one whose client is gone forgets it")
    func leaving() {
        var world = pair()
        world.silent = [1]
        _ = world.task(0, .claim("t"), claim("ada"), as: 3)
        _ = world.task(0, .claim("t"), claim("ada"), as: 4)
        world.give(.requestAbandoned(RequestID(3)), [], to: 0)
        #expect(world.metric(0, "forwards_waiting") == 1)
        world.give(.leave, [], to: 0)
        let answer = world.answers(0, to: 4).last
        #expect(
            answer?.status == 503
                && answer?.message.contains("this node leaves the cluster before n1 had decided") == true)
        #expect(world.answers(0, to: 3).isEmpty)
        #expect(world.task(0, .claim("t"), claim("ada"))?.status == 503)
    }

    @Test("A node that starts anew answers who waits, and is followed as the one that decides")
    func startsAnew() {
        var world = NodeWorld(clocksAheadMs: [], profile: .fast)
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 2_000)
        for agent in ["boss", "ada"] { world.introduce(agent, at: 0) }
        _ = world.postTask(2)
        world.run(milliseconds: 500)
        world.silent = [2]
        _ = world.task(0, .claim("t"), claim("ada"), as: 3)
        world.startAnew(0)
        #expect(
            world.answers(0, to: 3).last?.message.contains("this node starts anew under another id before n2") == true)
        world.silent = []
        world.run(milliseconds: 10_000)
        world.startAnew(2)
        world.run(milliseconds: 10_000)
        let answer = world.taskAnswer(0, .claim("t"), claim("ada"))
        #expect(answer.status == 200, "\(answer.text)")
        world.run(milliseconds: 2_000)
        #expect(Set(world.nodes.map { $0.documents.hash }).count == 1)
    }

    @Test("Too many that wait are refused before anything is asked")
    func bound() {
        var forwards = Forwards()
        let now = Instant(milliseconds: 0)
        for i in 0..<Forwards.maximum {
            #expect(forwards.hasRoom(for: 10))
            _ = forwards.add(
                RequestID(UInt64(i)), .task(.claim("t")), Asker(), [], read: VersionVector(), now: now, deadline: now)
        }
        #expect(!forwards.hasRoom(for: 0))
        forwards.abandon(RequestID(5))
        #expect(forwards.hasRoom(for: 10) && !forwards.hasRoom(for: Forwards.maximumBytes + 1))
    }

    @Test("Remembered decisions are bounded, and go with time")
    func verdicts() {
        var verdicts = Verdicts()
        let answer = Verdict(.null, stamp: nil)
        func at(_ ms: UInt64) -> Instant { Instant(milliseconds: ms) }
        for i in 0..<UInt64(Verdicts.maximum + 10) {
            verdicts.add(answer, head: i, for: i, of: ReplicaID(1), now: at(0), until: at(100))
        }
        #expect(verdicts.count == Verdicts.maximum)
        #expect(
            verdicts.verdict(for: 3, of: ReplicaID(1)) == nil && verdicts.verdict(for: 99, of: ReplicaID(1))?.head == 99
        )
        #expect(verdicts.verdict(for: 99, of: ReplicaID(2)) == nil)
        verdicts.add(answer, head: 0, for: 0, of: ReplicaID(2), now: at(200), until: at(300))
        #expect(verdicts.count == 1)
    }

    @Test("Frames say all they mean; cut, lengthened or of a later version they do no harm")
    func frames() {
        var read = VersionVector()
        read.advance(ReplicaID(9), to: 4)
        let stamp = HybridTimestamp(milliseconds: 5, counter: 6, replica: ReplicaID(7))
        let requests: [Forwarded] = [
            .turn(.setRules(chat: "c")), .turn(.ask(chat: "c")), .turn(.grant(chat: "c")), .turn(.release(chat: "c")),
            .turn(.revoke(chat: "c")), .task(.cancel("c")), .task(.claim("c")), .task(.complete("c")),
            .task(.fail("c")), .task(.rate("c")),
        ]
        var frames = requests.map { ForwardFrame.ask(1, $0, Asker("é"), body: [1, 2], read: read) }
        frames += [
            .ask(1 << 40, requests[0], Asker(), body: [], read: VersionVector()),
            .answer(3, Verdict(status: 409, body: [7], stamp: nil), head: 0),
            .answer(3, Verdict(status: 200, body: [], stamp: stamp), head: 12), .notNow(5),
        ]
        for frame in frames {
            var bytes: [UInt8] = []
            frame.encode(into: &bytes)
            var again: [UInt8] = []
            (try? ForwardFrame(bytes.span.bytes))??.encode(into: &again)
            #expect(again == bytes)
            for end in 0..<bytes.count {
                #expect(throws: DecodeError.self) { try ForwardFrame(Array(bytes[..<end]).span.bytes) }
            }
            #expect(throws: DecodeError.self) { try ForwardFrame((bytes + [0]).span.bytes) }
        }
        let none: ForwardFrame?? = try? ForwardFrame([9].span.bytes)
        #expect(none != nil && none! == nil, "a later version's")
        for hostile: [UInt8] in [
            [0, 1, 17, 1, 99, 2, 0, 0], [0, 1, 17, 1, 0xff, 0, 0, 0],
            [0, 1, 17, 1, 99, 0, 0xff, 0xff, 0xff, 0xff, 0x7f],
            [1, 1, 0, 0, 0, 0, 0], [1, 1, 200, 0, 0xff, 0xff, 0xff, 0xff, 0x7f], [1, 1, 200, 0, 0, 2, 0],
        ] {
            #expect(throws: DecodeError.self, "\(hostile)") { try ForwardFrame(hostile.span.bytes) }
        }
    }

    @Test("A bad frame closes its link; an answer that nobody waits for, or of somebody else, is ignored")
    func hostilePeer() {
        var world = pair()
        world.silent = [1]
        _ = world.task(0, .claim("t"), claim("ada"))
        let stranger = ReplicaID(0xbad)
        for number in 0..<3 as Range<UInt64> {
            var bytes: [UInt8] = []
            ForwardFrame.answer(number, Verdict(.null, stamp: nil), head: 0).encode(into: &bytes)
            world.act(0) { (core, now, effects) in
                core.heardForward(stranger, bytes.span.bytes, now: now, into: &effects)
            }
        }
        #expect(world.answers(0).isEmpty)
        let peer = world.nodes[1].replica
        world.act(0) { (core, now, effects) in
            core.heardForward(peer, ([0, 1, 2] as [UInt8]).span.bytes, now: now, into: &effects)
        }
        #expect(world.metric(0, "forward_frames_bad_total") == 1)
        #expect(world.lines[0].contains { $0.contains("a bad frame about a request") })
    }
}
