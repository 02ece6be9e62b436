import Testing

@testable import NodeCore

private func claim(_ agent: String) -> String { "{\"agent_id\":\"\(agent)\"}" }

private func linked(_ terms: String = "") -> NodeWorld {
    var world = NodeWorld.linked(3)
    for agent in ["boss", "ada", "bob"] { world.introduce(agent, at: 0) }
    world.introduce("able", at: 1, with: ["sew", "é"])
    _ = world.postTask(1, terms)
    return world
}

@Suite("Tasks")
struct TaskTests {
    @Test("Posted, claimed, completed and rated, each step at another node; the reputation counts it")
    func flow() {
        var world = linked()
        let claimed = world.taskAnswer(2, .claim("t"), claim("ada"))
        #expect(claimed.status == 200 && claimed.object["status"] as? String == "claimed")
        let token = claimed.object["token"] as? Int ?? 0
        #expect((0..<3).map { i in world.nodes[i].tasks.claimed(by: Array("ada".utf8)) } == [1, 1, 1])
        let refusal = world.taskAnswer(0, .claim("t"), claim("bob"))
        let until = claimed.object["lease_until"] as? String ?? "?"
        #expect(refusal.status == 409 && refusal.message.contains("claimed by ada until \(until)"))
        let body = "{\"agent_id\":\"ada\",\"token\":\(token),\"result\":{\"n\":[1,null]}}"
        let done = world.taskAnswer(0, .complete("t"), body)
        #expect(done.status == 200 && (done.object["result"] as? [String: Any]) != nil)
        #expect(world.taskAnswer(2, .complete("t"), body).status == 200, "again")
        #expect(world.taskAnswer(2, .rate("t"), "{\"agent_id\":\"bob\",\"rating\":1}").status == 403)
        #expect(world.taskAnswer(2, .rate("t"), "{\"agent_id\":\"boss\",\"rating\":1}").object["rating"] as? Int == 1)
        for i in 0..<3 {
            let found = world.taskAnswer(i, .reputation(agent: "ada")).object
            #expect(found["score"] as? Int == 2 && found["completed"] as? Int == 1 && found["rated_up"] as? Int == 1)
            #expect(world.taskAnswer(i, .reputation(agent: "nobody")).status == 404)
        }
        let told = world.announced(0, "TaskEvents").compactMap { $0["eventType"] as? String }
        #expect(told == ["TaskPosted", "TaskClaimed", "TaskCompleted", "TaskRated"])
    }

    @Test("Skills that are missing are named; capabilities and resources count")
    func skills() {
        var world = linked("\"skills_required\":[\"sew\",\"é\",\"fly\"]")
        let refusal = world.taskAnswer(0, .claim("t"), claim("able"))
        #expect(refusal.status == 403 && refusal.message.contains("able lacks what task t requires: fly;"))
        #expect(world.taskAnswer(2, .claim("t"), claim("ada")).message.contains("requires: sew, é, fly;"))
        #expect(world.ask(2, .agents(.patch("able"), by: Asker()), "{\"available_resources\":[\"fly\"]}").status == 200)
        world.deliver()
        #expect(world.taskAnswer(0, .claim("t"), claim("able")).status == 200)
    }

    @Test("Leases, pauses and deadlines end by themselves, at one node, and all see it")
    func time() {
        var world = linked("\"lease_ms\":1000,\"retry_ms\":500,\"max_attempts\":2")
        _ = world.postTask(2, id: "u", "\"deadline\":\(NodeWorld.startMs + 2_000)")
        let first = world.taskAnswer(0, .claim("t"), claim("ada"))
        world.run(milliseconds: 900)
        _ = world.taskAnswer(2, .claim("t"), claim("ada"))
        world.run(milliseconds: 900)
        func status(_ i: Int, _ id: String) -> String? {
            world.ask(i, .tasks(.task(id), by: Asker())).object["status"] as? String
        }
        for i in 0..<3 { #expect(status(i, "t") == "claimed", "renewed") }
        world.run(milliseconds: 300)
        for i in 0..<3 { #expect(status(i, "t") == "waiting" && status(i, "u") == "expired") }
        #expect(
            world.taskAnswer(0, .claim("t"), claim("bob")).message.contains(
                "has failed 1 of 2 times, and is open again at"))
        world.run(milliseconds: 500)
        for i in 0..<3 { #expect(status(i, "t") == "open") }
        let token = first.object["token"] as? Int ?? 0
        let stale = world.taskAnswer(0, .complete("t"), "{\"agent_id\":\"ada\",\"token\":\(token)}")
        #expect(stale.status == 409 && stale.message.contains("has ended"), "\(stale.text)")
        _ = world.taskAnswer(0, .claim("t"), claim("bob"))
        world.run(milliseconds: 1_100)
        for i in 0..<3 { #expect(status(i, "t") == "failed") }
        let told = world.announced(1, "TaskEvents").compactMap { $0["eventType"] as? String }
        #expect(
            told.suffix(6) == ["TaskClaimed", "TaskFailed", "TaskExpired", "TaskReopened", "TaskClaimed", "TaskFailed"])
        #expect(world.taskAnswer(1, .reputation(agent: "bob")).object["score"] as? Int == -1)
    }

    @Test("What a retired agent was doing is open again, wherever it retired")
    func retired() {
        for i in 0..<3 {
            var world = linked()
            _ = world.taskAnswer(0, .claim("t"), claim("ada"))
            world.removeAgent("ada", at: i)
            for j in 0..<3 {
                #expect(world.ask(j, .tasks(.task("t"), by: Asker())).object["status"] as? String == "open")
            }
            #expect(world.taskAnswer(2, .claim("t"), claim("bob")).object["attempt"] as? Int == 2)
        }
    }

    @Test("Lists show the newest first, of a status, a skill or an agent, page by page")
    func lists() {
        var world = linked("\"skills_required\":[\"sew\"]")
        for number in 1...4 {
            world.run(milliseconds: 2)
            _ = world.postTask(number % 3, id: "n\(number)")
        }
        _ = world.taskAnswer(0, .claim("n2"), claim("ada"))
        _ = world.taskAnswer(1, .cancel("n3"))
        func found(
            _ i: Int, status: String? = nil, skill: String? = nil, agent: String? = nil, before: String? = nil,
            limit: Int = 100
        ) -> [String] {
            let request = TaskRequest.tasks(status: status, skill: skill, agent: agent, before: before, limit: limit)
            return world.ask(i, .tasks(request, by: Asker())).list.compactMap { $0["id"] as? String }
        }
        for i in 0..<3 {
            #expect(found(i) == ["n4", "n3", "n2", "n1", "t"])
            #expect(found(i, before: "n3", limit: 2) == ["n2", "n1"])
            #expect(found(i, status: "open") == ["n4", "n1", "t"] && found(i, status: "cancelled") == ["n3"])
            #expect(found(i, skill: "sew") == ["t"] && found(i, agent: "ada") == ["n2"] && found(i, agent: "bob") == [])
            for wrong in [("odd", nil), (nil, "nowhere")] as [(String?, String?)] {
                let request = TaskRequest.tasks(
                    status: wrong.0, skill: nil, agent: nil, before: wrong.1, limit: 5)
                #expect(world.ask(i, .tasks(request, by: Asker())).status == 400)
            }
            let text = world.ask(i, .metrics(.init())).text
            #expect(
                text.contains("hypha_tasks{status=\"claimed\"} 1\n")
                    && text.contains("hypha_tasks{status=\"open\"} 3\n"))
        }
    }

    @Test("Posting is checked, and may be repeated under an id")
    func posting() {
        var world = linked()
        #expect(world.postTask(0).status == 200)
        let other = world.postTask(0, "\"lease_ms\":5000")
        #expect(other.status == 409 && other.message.contains("another content"))
        let rows: [(String, String?, UInt16, String)] = [
            ("{}", nil, 400, "created_by"), ("{\"created_by\":\"boss\"}", nil, 400, "description"),
            ("{\"description\":\"d\"}", "boss", 201, ""),
            ("{\"description\":\"d\"}", "nobody", 404, "unknown agent nobody"),
            ("{\"created_by\":\"ada\",\"description\":\"d\"}", "boss", 403, "comes from boss"),
            (
                "{\"created_by\":\"boss\",\"description\":\"d\",\"assigned_to\":\"nobody\"}", nil, 404,
                "unknown agent nobody"
            ),
            ("{\"created_by\":\"boss\",\"description\":\"d\",\"deadline\":5}", nil, 400, "deadline: has passed"),
            ("{\"created_by\":\"boss\",\"description\":\"d\",\"max_attempts\":0}", nil, 400, "max_attempts"),
        ]
        for (body, agent, status, text) in rows {
            let answer = world.ask(0, .tasks(.post, by: Asker(agent)), body)
            #expect(answer.status == status && (text.isEmpty || answer.message.contains(text)), "\(answer.text)")
        }
        #expect(
            world.taskAnswer(2, .cancel("t"), "{\"agent_id\":\"ada\"}").message.contains(
                "posted by boss, who alone may"))
        #expect(world.taskAnswer(2, .cancel("t")).object["status"] as? String == "cancelled")
    }
}
