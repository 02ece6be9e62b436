import Foundation
import Testing

@testable import CRDT
@testable import Gossip
@testable import NodeCore

extension NodeWorld {
    fileprivate mutating func recall(
        _ i: Int, _ request: RecallRequest, tenant: String? = nil, as user: String? = nil, _ body: String = ""
    ) -> Answer {
        ask(i, .soorma(.recall(request, Tenancy(tenant: tenant, user: user))), body)
    }

    fileprivate mutating func learn(
        _ i: Int, _ content: String, tenant: String? = nil, as user: String? = nil, _ more: String = ""
    ) -> Answer {
        recall(i, .storeKnowledge, tenant: tenant, as: user, #"{"content":"\#(content)"\#(more)}"#)
    }

    fileprivate mutating func query(
        _ i: Int, _ query: String, limit: Int = 10, tenant: String? = nil, as user: String? = nil,
        includePublic: Bool = true, _ body: String = ""
    ) -> Answer {
        recall(
            i, .queryKnowledge(query, limit: limit, includePublic: includePublic), tenant: tenant, as: user, body)
    }

    fileprivate mutating func log(
        _ i: Int, _ content: String, agent: String = "bot", role: String = "user", as user: String? = nil
    ) -> Answer {
        recall(i, .logInteraction, as: user, #"{"agentId":"\#(agent)","role":"\#(role)","content":"\#(content)"}"#)
    }

    fileprivate mutating func recent(_ i: Int, agent: String = "bot", limit: Int = 100, as user: String? = nil)
        -> [String]
    {
        recall(i, .recentInteractions(agent: agent, limit: limit), as: user).contents
    }

    fileprivate mutating func pass() { now = now.advanced(milliseconds: 1) }
}

extension Answer {
    fileprivate var contents: [String] { list.compactMap { $0["content"] as? String } }
    fileprivate var scores: [Double] { list.compactMap { $0["score"] as? Double } }
}

@Suite("Soorma's memory, what is searched")
struct SoormaRecallTests {
    private var world = NodeWorld.linked(2)

    // MARK: - Knowledge

    @Test("Knowledge is stored at one node and found at the other, with what the SDK's models require")
    mutating func knowledge() throws {
        let stored = world.learn(
            0, "Docker runs containers", as: "ada",
            #","externalId":"doc-1","isPublic":false,"metadata":{"v":[1.50]},"tags":["ops"],"source":null"#)
        #expect(stored.status == 200 && !stored.stamp.isEmpty)
        let time = try #require(stored.object["createdAt"] as? String)
        #expect(
            stored.text == #"{"id":"\#(stored.id)","tenantId":"00000000-0000-0000-0000-000000000000","userId":"ada","#
                + #""content":"Docker runs containers","externalId":"doc-1","isPublic":false,"metadata":{"v":[1.50]},"#
                + #""tags":["ops"],"source":null,"createdAt":"\#(time)","updatedAt":"\#(time)","score":null}"#)
        world.deliver()
        let found = world.query(1, "containers?", as: "ada")
        #expect(found.contents == ["Docker runs containers"] && found.list[0]["id"] as? String == stored.id)
        #expect(found.scores.allSatisfy { $0 > 0 && $0 < 1 } && world.query(1, "OPS", as: "ada").list.count == 1)
        #expect(world.query(1, "kubernetes", as: "ada").text == "[]")
    }

    @Test("What is stored again under its external id takes the other's place, in words and index alike")
    mutating func upsert() {
        let first = world.learn(
            0, "alpha beta", #","external_id":"x","metadata":{"a":1},"tags":["t"],"is_public":true"#)
        world.deliver()
        world.pass()
        let second = world.learn(1, "gamma", #","externalId":"x""#)
        #expect(second.id == first.id && second.object["createdAt"] as? String == first.object["createdAt"] as? String)
        #expect(second.object["updatedAt"] as? String != first.object["updatedAt"] as? String)
        #expect(
            second.object["isPublic"] as? Bool == false
                && (second.object["metadata"] as? [String: Any])?.isEmpty == true)
        world.deliver()
        for i in 0...1 {
            #expect(world.query(i, "alpha").list.isEmpty && world.query(i, "gamma").list.count == 1)
        }
        let written = world.written(0)
        #expect(world.learn(0, "gamma", #","externalId":"x""#).status == 200 && world.written(0) == written)
        // Without an external id, the content says which it is; another user's is another's.
        #expect(world.learn(0, "same").id == world.learn(0, "same", #","source":"s""#).id)
        #expect(world.learn(0, "same", as: "bob").id != world.learn(0, "same").id)
        #expect(world.learn(0, "same", tenant: "t").id != world.learn(0, "same").id)
        #expect(world.learn(0, "x").id != second.id)
    }

    @Test("Two sides of a partition that store the same make one, and both find the same with the same scores")
    mutating func partition() {
        world.unlink(0, 1)
        for i in 0...1 {
            #expect(world.learn(i, "shared fact", #","externalId":"f""#).status == 200)
            #expect(world.learn(i, "only \(i) knows a fact", #","isPublic":true"#).status == 200)
        }
        world.link(0, 1)
        world.deliver()
        let answers = (0...1).map { world.query($0, "fact only", as: $0 == 0 ? nil : "eve").text }
        #expect(world.query(0, "fact").list.count == 3 && answers[0] != answers[1])
        #expect(world.query(0, "fact only").text == world.query(1, "fact only").text)
    }

    @Test("Private knowledge is its user's alone, a tenant's is the tenant's, and only the owner may delete")
    mutating func privacy() {
        let own = world.learn(0, "secret plan", as: "ada").id
        let open = world.learn(0, "public plan", as: "ada", #","isPublic":true"#).id
        _ = world.learn(0, "other plan", tenant: "t2", as: "ada", #","isPublic":true"#)
        #expect(Set(world.query(0, "plan", as: "ada").contents) == ["secret plan", "public plan"])
        #expect(world.query(0, "plan", as: "bob").contents == ["public plan"])
        #expect(world.query(0, "plan", as: "bob", includePublic: false).list.isEmpty)
        #expect(world.query(0, "plan", as: "ada", includePublic: false).list.count == 2)
        #expect(world.query(0, "plan", tenant: "t2", as: "bob").contents == ["other plan"])
        for id in [own, open] {
            #expect(world.recall(0, .deleteKnowledge(id), as: "bob").status == 404)
            #expect(world.recall(0, .deleteKnowledge(id), tenant: "t2", as: "ada").status == 404)
        }
        #expect(world.recall(0, .deleteKnowledge(own), as: "ada").status == 204)
        #expect(world.recall(0, .deleteKnowledge(own), as: "ada").status == 404)
        world.deliver()
        #expect(world.query(1, "plan", as: "ada").contents == ["public plan"])
        // Deleted and stored again, it has nothing of what it was.
        let again = world.learn(1, "secret plan", as: "ada")
        #expect(again.id == own && world.query(1, "secret", as: "ada").list.count == 1)
    }

    @Test("Vectors rank where they are given, and one of another content does not count")
    mutating func vectors() {
        _ = world.learn(0, "north", #","embedding":[0,1.0]"#)
        _ = world.learn(0, "east", #","embedding":[1e0,0],"externalId":"e""#)
        _ = world.learn(0, "nowhere")
        world.deliver()
        let found = world.query(1, "", #"{"embedding":[3,4]}"#)
        #expect(found.contents == ["north", "east"])
        #expect(zip(found.scores, [0.8, 0.6]).allSatisfy { abs($0 - $1) < 1e-6 })
        #expect(world.query(1, "nowhere", #"{"embedding":[0,1]}"#).contents.first == "north")
        #expect(world.query(1, "nowhere", #"{"embedding":[0,1]}"#).contents.contains("nowhere"))
        // Two sides: one changes the content, the other its vector.
        world.unlink(0, 1)
        _ = world.learn(0, "east", #","embedding":[0,1],"externalId":"e""#)
        world.pass()
        _ = world.learn(1, "west", #","externalId":"e","embedding":null"#)
        world.link(0, 1)
        world.deliver()
        for i in 0...1 {
            #expect(world.query(i, "", #"{"embedding":[0,1]}"#).contents == ["north"])
            #expect(world.query(i, "west").list.count == 1)
        }
    }

    @Test(
        "What makes no sense is refused with 422, what is too long with 413",
        arguments: [
            (#"{}"#, 422), (#"{"content":""}"#, 422), (#"{"content":5}"#, 422), ("[]", 422), ("", 422),
            (#"{"content":"a","metadata":[]}"#, 422), (#"{"content":"a","tags":"b"}"#, 422),
            (#"{"content":"a","isPublic":"yes"}"#, 422), (#"{"content":"a","embedding":[]}"#, 422),
            (#"{"content":"a","embedding":[0,0]}"#, 422), (#"{"content":"a","embedding":["1"]}"#, 422),
            (#"{"content":"a","embedding":[1e300]}"#, 422), (#"{"content":"a","externalId":""}"#, 422),
            (#"{"content":"\#(String(repeating: "a", count: 65_536))"}"#, 200),
            (#"{"content":"\#(String(repeating: "a", count: 65_537))"}"#, 413),
            (#"{"content":"a","metadata":{"a":"\#(String(repeating: "a", count: 65_536))"}}"#, 413),
            (#"{"content":"a","embedding":[\#(String(repeating: "1,", count: 4_096))1]}"#, 422),
        ] as [(String, UInt16)])
    mutating func refusals(body: String, status: UInt16) {
        let answer = world.recall(0, .storeKnowledge, body)
        #expect(answer.status == status)
        #expect(status == 200 || answer.object["detail"] as? String == answer.message && !answer.message.isEmpty)
    }

    @Test("A query needs words or a vector")
    mutating func emptyQuery() {
        #expect(world.query(0, "").status == 422 && world.query(0, "", #"{"embedding":null}"#).status == 422)
        #expect(world.query(0, "?!").text == "[]" && world.query(0, "a", "{").status == 422)
    }

    @Test("At the bounds nothing new is taken, and what is there can be changed")
    mutating func bounds() {
        world.tamper(0) { $0.recall.maximumDocuments = 3 }
        for name in ["a", "b", "c"] { _ = world.learn(0, name) }
        _ = world.query(0, "a")
        #expect(world.learn(0, "d").status == 507 && world.learn(0, "a", #","source":"s""#).status == 200)
        #expect(world.metric(0, "recall_refused_total") == 1)
        world.tamper(0) { $0.recall.maximumDocuments = 9 }
        world.tamper(0) { $0.recall.maximumVectorBytes = VectorIndex.bytes(3) * 2 }
        for name in ["e", "f"] { #expect(world.learn(0, name, #","embedding":[1,2,3]"#).status == 200) }
        _ = world.query(0, "a")
        #expect(world.learn(0, "g", #","embedding":[1,2,3]"#).status == 507 && world.learn(0, "g").status == 200)
        #expect(world.metric(0, "recall_vector_bytes") == VectorIndex.bytes(3) * 2)
    }

    // MARK: - The index

    @Test("A node that has read what its peers have finds it, and until its index has it, says so")
    mutating func behind() {
        for n in 0..<40 { _ = world.learn(0, "entry number\(n)") }
        world.deliver()
        _ = world.log(0, "hello there")
        world.deliver()
        world.tamper(1) {
            $0.noteAllDocuments()
            ($0.recall.queryBytes, $0.recall.turnBytes) = (1_024, 2_048)
        }
        #expect(world.query(1, "number7").status == 503 && world.metric(1, "recall_not_ready_total") == 1)
        #expect(world.metric(1, "recall_behind") ?? 0 > 0)
        for _ in 0..<20 { world.tick(1, afterMs: Recall.pauseMs) }
        #expect(world.query(1, "number7").contents == ["entry number7"] && world.metric(1, "recall_behind") == 0)
        #expect(world.recent(1) == ["hello there"])
        #expect(world.query(0, "entry number7").text == world.query(1, "entry number7").text)
    }

    @Test("Documents that nobody asks for are taken in all the same")
    mutating func inTurns() {
        for n in 0..<300 { _ = world.learn(0, "entry number\(n)") }
        for _ in 0..<10 { world.tick(0, afterMs: Recall.pauseMs) }
        #expect(world.nodes[0].recall.knowledge.behind < 256 && world.nodes[0].recall.knowledge.count >= 256)
        #expect(world.metric(0, "recall_index_bytes") ?? 0 > 10_000)
    }

    // MARK: - Conversations

    @Test("Interactions come back the newest first, at any node, each conversation by itself")
    mutating func recentOnes() throws {
        let first = world.recall(
            0, .logInteraction, as: "ada",
            #"{"agentId":"bot","role":"user","content":"hi","metadata":{"a":1},"embedding":[1,2]}"#)
        #expect(first.status == 200)
        let time = try #require(first.object["createdAt"] as? String)
        #expect(
            first.text == #"{"id":"\#(first.id)","tenantId":"00000000-0000-0000-0000-000000000000","userId":"ada","#
                + #""agentId":"bot","role":"user","content":"hi","metadata":{"a":1},"createdAt":"\#(time)","score":null}"#
        )
        for n in 0..<5 {
            world.deliver()
            #expect(world.log(n % 2, "say \(n)", role: "assistant", as: "ada").status == 200)
        }
        _ = world.log(0, "else", as: "bob")
        _ = world.log(0, "other", agent: "bot/2", as: "ada")
        world.deliver()
        for i in 0...1 {
            #expect(world.recent(i, as: "ada") == ["say 4", "say 3", "say 2", "say 1", "say 0", "hi"])
            #expect(world.recent(i, limit: 2, as: "ada") == ["say 4", "say 3"])
            #expect(world.recent(i, as: "bob") == ["else"] && world.recent(i, agent: "bot/2", as: "ada") == ["other"])
            #expect(world.recent(i, agent: "nobody") == [])
        }
        #expect(world.metric(0, "recall_episodes_open") == 3)
    }

    @Test("What both sides of a partition say is there afterwards")
    mutating func bothSides() {
        world.unlink(0, 1)
        for n in 0..<3 {
            _ = world.log(0, "left \(n)")
            _ = world.log(1, "right \(n)")
            world.pass()
        }
        world.link(0, 1)
        world.deliver()
        #expect(Set(world.recent(0)).count == 6 && world.recent(0) == world.recent(1))
    }

    @Test("Interactions are searched by words, kept up as others come")
    mutating func searched() {
        func search(_ world: inout NodeWorld, _ i: Int, _ query: String) -> [String] {
            world.recall(i, .searchInteractions(agent: "bot", query, limit: 10)).contents
        }
        _ = world.log(0, "the weather is fine")
        _ = world.log(0, "what about lunch")
        world.deliver()
        #expect(search(&world, 1, "weather") == ["the weather is fine"] && search(&world, 1, "rain") == [])
        _ = world.log(0, "the weather is bad")
        world.deliver()
        // Equally good ones: the newest first.
        #expect(search(&world, 1, "weather") == ["the weather is bad", "the weather is fine"])
        let scores = world.recall(1, .searchInteractions(agent: "bot", "lunch", limit: 10)).scores
        #expect(scores.count == 1 && scores[0] > 0 && scores[0] < 1)
        #expect(world.recall(0, .searchInteractions(agent: "nobody", "lunch", limit: 10)).text == "[]")
        #expect(world.metric(1, "recall_index_bytes") ?? 0 > 0)
    }

    @Test("Beyond the bound the oldest go, in the documents and in the index")
    mutating func dropped() {
        world.tamper(0) { $0.recall.episodes.maximumInteractions = 5 }
        _ = world.log(0, "word 0")
        #expect(world.recall(0, .searchInteractions(agent: "bot", "word", limit: 10)).list.count == 1)
        for n in 1..<8 { _ = world.log(0, "word \(n)") }
        #expect(world.recent(0) == [7, 6, 5, 4, 3].map { "word \($0)" })
        #expect(world.recall(0, .searchInteractions(agent: "bot", "word", limit: 10)).contents == world.recent(0))
        #expect(world.metric(0, "recall_interactions_dropped_total") == 3)
        world.deliver()
        #expect(world.recent(1) == world.recent(0))
        world.tamper(0) { $0.recall.episodes.maximumBytes = 100 }
        _ = world.log(0, "long enough to push others out")
        #expect(world.recent(0).count == 1)
    }

    @Test("Conversations asked about least lately are closed and read again")
    mutating func closed() {
        world.tamper(0) { $0.recall.episodes.maximumOpen = 10 }
        for n in 0..<40 { _ = world.log(0, "said \(n / 4)", agent: "bot\(n % 10)") }
        for n in 0..<10 {
            #expect(world.recent(0, agent: "bot\(n)").count == 4)
            #expect(world.recall(0, .searchInteractions(agent: "bot\(n)", "said", limit: 9)).list.count == 4)
        }
        #expect(world.metric(0, "recall_episodes_open") ?? 99 <= 10)
    }

    @Test("Roles are four, and names and conversations are bounded")
    mutating func interactionRefusals() {
        #expect(world.log(0, "a", role: "robot").status == 422 && world.log(0, "").status == 422)
        #expect(world.log(0, "a", agent: "").status == 422)
        #expect(world.recall(0, .logInteraction, #"{"role":"user","content":"a"}"#).status == 422)
        #expect(world.recall(0, .logInteraction, #"{"agent_id":"b","role":"tool","content":"a"}"#).status == 200)
        let long = String(repeating: "/", count: 1_000)
        #expect(world.log(0, "a", agent: long, as: long).status == 422)
        world.tamper(0) { $0.recall.episodes.maximumDocuments = 2 }
        #expect(world.log(0, "a", agent: "b2").status == 200 && world.log(0, "a", agent: "b3").status == 507)
        #expect(world.log(0, "a", agent: "b2").status == 200)
    }

    // MARK: - Procedures

    private mutating func teach(_ i: Int, _ trigger: String, _ content: String, _ more: String = "") -> Answer {
        world.recall(
            i, .storeProcedure,
            #"{"agentId":"bot","triggerCondition":"\#(trigger)","procedureType":"system_prompt","content":"\#(content)"\#(more)}"#
        )
    }

    @Test("Procedures are found by trigger and content; where none fits, the newest come with score 0")
    mutating func procedures() throws {
        let first = teach(0, "summarise", "Write three sentences")
        #expect(first.status == 200)
        let time = try #require(first.object["createdAt"] as? String)
        #expect(
            first.text == #"{"id":"\#(first.id)","tenantId":"00000000-0000-0000-0000-000000000000","userId":"#
                + #""\#(Tenancy.defaultUser)","#
                + #""agentId":"bot","triggerCondition":"summarise","procedureType":"system_prompt","#
                + #""content":"Write three sentences","createdAt":"\#(time)","score":null}"#)
        #expect(teach(0, "summarise", "Write three sentences").id == first.id)
        world.pass()
        _ = teach(0, "translate", "Use plain words")
        world.pass()
        _ = teach(0, "greet", "Say hello", #","userId":"ada""#)
        world.deliver()
        func found(_ world: inout NodeWorld, _ q: String, _ limit: Int = 3, as user: String? = nil) -> Answer {
            world.recall(1, .procedures(agent: "bot", q, limit: limit), as: user)
        }
        #expect(found(&world, "Summarise this").contents == ["Write three sentences"])
        #expect(found(&world, "words").contents == ["Use plain words"])
        let none = found(&world, "nothing fits")
        #expect(none.contents == ["Use plain words", "Write three sentences"] && none.scores == [0, 0])
        #expect(found(&world, "zzz", 1).contents == ["Use plain words"])
        #expect(found(&world, "hello").scores == [0, 0])
        let hers = found(&world, "hello", as: "ada")
        #expect(hers.contents == ["Say hello"] && hers.list[0]["userId"] as? String == "ada" && hers.scores[0] > 0)
        #expect(world.recall(1, .procedures(agent: "other", "hello", limit: 3)).text == "[]")
        #expect(world.recall(1, .deleteProcedure(first.id)).status == 204)
        #expect(world.recall(1, .deleteProcedure(first.id)).status == 404)
        #expect(world.recall(1, .deleteProcedure(hers.list[0]["id"] as? String ?? ""), as: "bob").status == 404)
        #expect(found(&world, "Summarise").contents == ["Use plain words"])
    }

    @Test("A procedure is of one of two types, and an agent's")
    mutating func procedureRefusals() {
        for body in [
            #"{"agentId":"b","procedureType":"rule","content":"c"}"#, #"{"agentId":"b","content":"c"}"#,
            #"{"procedureType":"system_prompt","content":"c"}"#, #"{"agentId":"b","procedureType":"system_prompt"}"#,
        ] {
            #expect(world.recall(0, .storeProcedure, body).status == 422, "\(body)")
        }
        let snake =
            #"{"agent_id":"b","procedure_type":"few_shot_example","content":"c","user_id":"u","trigger_condition":"t"}"#
        #expect(world.recall(0, .storeProcedure, snake).object["triggerCondition"] as? String == "t")
    }
}
