import Gossip
import Testing

@testable import NodeCore

@Suite("Soorma's memory of plans and sessions")
struct SoormaMemoryTests {
    private var world = NodeWorld.linked(2)
    private let acme = Tenancy(tenant: "acme", user: "ada")

    private mutating func plan(_ i: Int, _ id: String, session: String = "s", of tenancy: Tenancy = Tenancy()) -> Answer
    {
        world.remember(
            i, .createPlan, of: tenancy,
            #"{"planId":"\#(id)","sessionId":"\#(session)","goalEvent":"g","goalData":{"a":[1.0]}}"#)
    }

    private mutating func keep(_ i: Int, _ id: String, _ more: String = "", of tenancy: Tenancy = Tenancy()) -> Answer {
        world.remember(
            i, .storePlanContext, of: tenancy, #"{"planId":"\#(id)","goalEvent":"g","goalData":{}\#(more)}"#)
    }

    private mutating func plans(
        _ i: Int, status: String? = nil, session: String? = nil, limit: Int = 20, of tenancy: Tenancy = Tenancy()
    ) -> [String] {
        world.remember(i, .plans(status: status, session: session, limit: limit), of: tenancy).list.map {
            "\($0["planId"] ?? "") \($0["status"] ?? "")"
        }
    }

    // MARK: - Plans

    @Test("shows a plan at any node as it was made, to the byte, however often its goal comes")
    mutating func planLayout() {
        let made = plan(0, "p/1", of: acme)
        let time = made.object["createdAt"] as? String ?? ""
        #expect(
            made.text
                == #"{"tenantId":"acme","userId":"ada","planId":"p/1","sessionId":"s","goalEvent":"g","goalData":{"a":[1.0]},"#
                + #""status":"running","parentPlanId":null,"createdAt":"\#(time)","updatedAt":"\#(time)"}"#)
        #expect(made.status == 200)
        world.later()
        #expect(world.remember(1, .plans(status: nil, session: nil, limit: 9), of: acme).text == "[\(made.text)]")
        let before = world.written(1)
        #expect(plan(1, "p/1", of: Tenancy(tenant: "acme", user: "bob")).text == made.text)
        #expect(world.written(1) == before)
    }

    @Test("lists plans of a session, a status and a user, the newest first")
    mutating func planLists() {
        for (i, id) in ["a", "b", "c"].enumerated() {
            _ = plan(i % 2, id, session: id == "b" ? "t" : "s", of: id == "c" ? Tenancy(user: "eve") : Tenancy())
            world.later()
        }
        _ = plan(0, "other", of: acme)
        _ = world.remember(0, .updatePlan("a"), #"{"status":"paused"}"#)
        world.later()
        #expect(plans(1) == ["c running", "b running", "a paused"])
        #expect(plans(1, limit: 2) == ["c running", "b running"])
        #expect(plans(1, session: "s") == ["c running", "a paused"])
        #expect(plans(1, status: "paused") == ["a paused"])
        #expect(plans(1, status: "running", session: "t") == ["b running"])
        #expect(plans(1, session: "") == [] && plans(1, of: Tenancy(user: "eve")) == ["c running"])
        #expect(plans(1, of: acme) == ["other running"])
        world.tamper(1) { $0.noteAllDocuments() }
        #expect(plans(1) == ["c running", "b running", "a paused"])
    }

    @Test("shows the status that was said last, by a plan's context or for the plan itself")
    mutating func status() {
        _ = plan(0, "p")
        world.later()
        _ = keep(1, "p", #","state":{"status":"pending","n":1}"#)
        world.later()
        #expect(plans(0) == ["p pending"])
        let put = world.remember(0, .updatePlan("p"), #"{"status":"paused"}"#)
        #expect(put.object["status"] as? String == "paused")
        world.later()
        #expect(plans(1, status: "paused") == ["p paused"])
        // Its context is saved as it is: nothing new is said.
        _ = keep(1, "p", #","state":{"status":"pending","n":1},"currentState":"x""#)
        world.later()
        #expect(plans(0) == ["p paused"])
        _ = keep(1, "p", #","state":{"status":"pending","n":2}"#)
        world.later()
        #expect(plans(0) == ["p pending"])
        _ = world.remember(0, .updatePlanContext("p"), #"{"state":{"n":3}}"#)
        world.later()
        #expect(plans(1) == ["p paused"], "the context says nothing any more")
        // What its context says already need not be said again; the plan's own word, later, counts again.
        _ = world.remember(0, .updatePlanContext("p"), #"{"state":{"status":"completed"}}"#)
        world.later()
        #expect(!world.isWritten(1) { $0.remember(1, .updatePlan("p"), #"{"status":"completed"}"#) })
        #expect(world.isWritten(1) { $0.remember(1, .updatePlan("p"), #"{"status":"paused"}"#) })
        #expect(plans(1) == ["p paused"])
    }

    @Test("takes a plan's context and working memory away with it")
    mutating func planDeletion() {
        _ = plan(0, "p")
        _ = keep(0, "p", #","correlationIds":["c"]"#)
        _ = world.remember(0, .setWorking(plan: "p", key: "k"), #"{"value":1}"#)
        world.later()
        let deleted = world.remember(1, .deletePlan("p"))
        #expect(deleted.status == 204 && deleted.text.isEmpty)
        #expect(world.remember(1, .deletePlan("p")).status == 404)
        world.later()
        #expect(plans(0) == [] && world.remember(0, .planContext("p")).status == 404)
        #expect(world.remember(0, .planContextOf(correlation: "c")).status == 404)
        #expect(world.remember(0, .working(plan: "p", key: "k")).status == 404)
    }

    // MARK: - Contexts of plans

    @Test("shows what is kept of a plan at any node, to the byte, and writes only what differs")
    mutating func planContexts() {
        let made = keep(
            0, "p",
            #","session_id":"s","response_event":"r","state":{"b":1,"a":2},"current_state":"x","correlation_ids":["p","","c"]"#
        )
        let time = made.object["createdAt"] as? String ?? ""
        #expect(
            made.text
                == #"{"tenantId":"\#(Tenancy.defaultTenant)","planId":"p","sessionId":"s","goalEvent":"g","goalData":{},"#
                + #""responseEvent":"r","state":{"b":1,"a":2},"currentState":"x","correlationIds":["p","","c"],"#
                + #""createdAt":"\#(time)","updatedAt":"\#(time)"}"#)
        world.later()
        for request in [
            MemoryRequest.planContext("p"), .planContextOf(correlation: "c"), .planContextOf(correlation: "p"),
        ] {
            #expect(world.remember(1, request).text == made.text)
        }
        #expect(world.remember(1, .planContextOf(correlation: "")).status == 404)
        #expect(world.remember(1, .planContext("p"), of: acme).status == 404)
        #expect(
            !world.isWritten(1) {
                $0.remember(1, .updatePlanContext("p"), #"{"state":{"b":1,"a":2},"currentState":null}"#)
            })
        // Two sides change different members.
        world.unlink(0, 1)
        _ = world.remember(0, .updatePlanContext("p"), #"{"state":{"status":"running"}}"#)
        _ = world.remember(1, .updatePlanContext("p"), #"{"currentState":"y","correlationIds":["d"]}"#)
        world.link(0, 1)
        for i in 0...1 {
            let text = world.remember(i, .planContextOf(correlation: "d")).text
            #expect(text.contains(#""state":{"status":"running"},"currentState":"y","correlationIds":["d"]"#))
            #expect(world.remember(i, .planContextOf(correlation: "c")).message.contains("correlation id c"))
        }
        #expect(world.remember(0, .deletePlanContext("p")).status == 204)
        #expect(world.remember(0, .deletePlanContext("p")).status == 404)
        #expect(world.remember(0, .updatePlanContext("p"), "{}").message.contains("POST /v1/memory/plan-context"))
    }

    @Test("finds the newest plan with a correlation id")
    mutating func correlations() {
        for id in ["b", "a", "c"] {
            _ = keep(0, id, #","correlationIds":["same"]"#, of: id == "c" ? acme : Tenancy())
            world.later()
        }
        let found = MemoryRequest.planContextOf(correlation: "same")
        #expect(world.remember(1, found).object["planId"] as? String == "a")
        _ = world.remember(1, .deletePlanContext("a"))
        #expect(world.remember(1, found).object["planId"] as? String == "b")
        world.later()
        _ = keep(1, "a", #","correlationIds":["same"]"#)
        #expect(world.remember(1, found).object["planId"] as? String == "a")
    }

    // MARK: - Sessions

    @Test("lists sessions, those first that something happened in last")
    mutating func sessions() {
        func list(_ limit: Int = 20, of tenancy: Tenancy = Tenancy()) -> [String] {
            world.remember(1, .sessions(limit: limit), of: tenancy).list.compactMap { $0["sessionId"] as? String }
        }
        let made = world.remember(0, .createSession, #"{"session_id":"s","name":"talk","metadata":{"a":1}}"#)
        let time = made.object["createdAt"] as? String ?? ""
        #expect(
            made.text
                == #"{"tenantId":"\#(Tenancy.defaultTenant)","userId":"\#(Tenancy.defaultUser)","sessionId":"s","#
                + #""name":"talk","metadata":{"a":1},"createdAt":"\#(time)","lastInteraction":"\#(time)"}"#)
        world.later()
        for (id, user) in [("t", "eve"), ("u", "ada")] {
            _ = world.remember(1, .createSession, of: Tenancy(user: user), #"{"sessionId":"\#(id)"}"#)
            world.later()
        }
        #expect(list() == ["u", "t", "s"] && list(1) == ["u"] && list(of: Tenancy(user: "eve")) == ["t"])
        #expect(!world.isWritten(1) { $0.remember(1, .createSession, #"{"sessionId":"s","name":null}"#) })
        _ = plan(0, "p")
        world.later()
        #expect(list() == ["s", "u", "t"])
        _ = world.remember(0, .createSession, #"{"sessionId":"t","metadata":{"b":2}}"#)
        world.later()
        #expect(list() == ["t", "s", "u"])
        _ = keep(0, "p", #","state":{"status":"completed"}"#)
        world.later()
        #expect(list() == ["s", "t", "u"] && list(of: acme) == [])
        let last = world.remember(0, .sessions(limit: 1)).list.first?["lastInteraction"] as? String
        #expect(
            last == world.remember(0, .plans(status: nil, session: "s", limit: 1)).list.first?["updatedAt"] as? String)
    }

    // MARK: - Working memory

    @Test("keeps working memory under any key, whatever JSON it is")
    mutating func working() {
        let key = "_soorma:goal/x y/é"
        for value in ["null", "1.50", #"{"b":[{}],"a":null}"#, #""""#] {
            let set = world.remember(0, .setWorking(plan: "p", key: key), of: acme, #"{"value":\#(value)}"#)
            let time = set.object["updatedAt"] as? String ?? ""
            #expect(
                set.text
                    == #"{"id":"p/\#(key)","tenantId":"acme","planId":"p","key":"\#(key)","value":\#(value),"#
                    + #""updatedAt":"\#(time)"}"#)
            world.later()
            #expect(world.remember(1, .working(plan: "p", key: key), of: acme).text == set.text)
            let before = world.written(1)
            #expect(
                world.remember(1, .setWorking(plan: "p", key: key), of: acme, #"{"value":\#(value)}"#).text == set.text)
            #expect(world.written(1) == before)
        }
        #expect(world.remember(1, .working(plan: "p", key: key)).message.contains("PUT sets one"))
        let delete = MemoryRequest.deleteWorking(plan: "p", key: key)
        #expect(world.remember(1, delete, of: acme).text.hasPrefix(#"{"success":true,"deleted":true,"message":""#))
        #expect(world.remember(1, delete, of: acme).text.hasPrefix(#"{"success":true,"deleted":false,"message":""#))
        for key in ["a", "b/c"] { _ = world.remember(0, .setWorking(plan: "p", key: key), #"{"value":1}"#) }
        world.later()
        let all = MemoryRequest.deleteWorking(plan: "p", key: nil)
        #expect(world.remember(1, all).text.hasPrefix(#"{"success":true,"countDeleted":2,"message":""#))
        #expect(world.remember(1, all).text.hasPrefix(#"{"success":true,"countDeleted":0,"message":""#))
        world.later()
        #expect(world.remember(0, .working(plan: "p", key: "a")).status == 404)
        _ = world.remember(0, .setWorking(plan: "p", key: "a"), #"{"value":2}"#)
        #expect(world.remember(0, .working(plan: "p", key: "b/c")).status == 404)
    }

    @Test("keeps what two sides set under different keys of a plan")
    mutating func workingAtTwoSides() {
        world.unlink(0, 1)
        for i in 0...1 { _ = world.remember(i, .setWorking(plan: "p", key: "k\(i)"), #"{"value":\#(i)}"#) }
        world.link(0, 1)
        for i in 0...1 {
            for k in 0...1 {
                #expect(world.remember(i, .working(plan: "p", key: "k\(k)")).object["value"] as? Int == k)
            }
        }
    }

    // MARK: - Refusals

    @Test("refuses what it cannot keep, and says what to do")
    mutating func refusals() {
        func refused(_ request: MemoryRequest, _ body: String, _ status: UInt16, _ says: String) {
            let answer = world.remember(0, request, body)
            #expect(answer.status == status && answer.message.contains(says), "\(answer.text)")
        }
        refused(.createPlan, #"{"goalEvent":"g"}"#, 422, "planId: required")
        refused(.createPlan, #"{"planId":"p"}"#, 422, "goalEvent: required")
        refused(.createPlan, #"{"planId":"p","goalEvent":"g","goalData":1}"#, 422, "goalData: expected an object")
        refused(.updatePlan("p"), #"{"status":"x"}"#, 404, "POST /v1/memory/plans")
        refused(.updatePlan("p"), "{}", 422, "status: required")
        refused(.storePlanContext, #"{"planId":"p","goalEvent":"g","correlationIds":[1]}"#, 422, "expected strings")
        refused(.storePlanContext, #"{"planId":"p","goalEvent":"g","state":[]}"#, 422, "state: expected an object")
        refused(.createSession, #"{"name":"n"}"#, 422, "sessionId: required")
        refused(.createSession, #"{"sessionId":"s","metadata":"m"}"#, 422, "metadata: expected an object")
        refused(.setWorking(plan: "p", key: "k"), "{}", 422, "value: required, any JSON value")
        let name = String(repeating: "n", count: 1_025)
        refused(.setWorking(plan: "p", key: name), #"{"value":1}"#, 422, "key: must have 1 to 1024 bytes")
        let long = String(repeating: "x", count: 512 << 10)
        refused(.setWorking(plan: "p", key: "k"), #"{"value":"\#(long)"}"#, 413, "spread it over several keys")
        refused(.createSession, #"{"sessionId":"\#(name)"}"#, 422, "sessionId: must have 1 to 1024 bytes")
        // With its tenant, and slashes that take three bytes, an id of a path may be longer than a name of a document.
        for plan in [String(repeating: "p", count: 5_000), String(repeating: "/", count: 1_400)] {
            refused(.setWorking(plan: plan, key: "k"), #"{"value":1}"#, 422, "use shorter ids")
            refused(.working(plan: plan, key: "k"), "", 404, "PUT sets one")
            refused(.updatePlan(plan), #"{"status":"x"}"#, 404, "no plan")
        }
        refused(.createPlan, #"{"planId":"p","plan_id":"p","goalEvent":"g"}"#, 422, "planId: stands twice")
        #expect(world.written(0) == 0)

        world.tamper(0) { node in
            node.memories.maximumKeys = 2
            node.memories.maximumDocuments = 1
        }
        for key in ["a", "b", "a"] {
            #expect(world.remember(0, .setWorking(plan: "p", key: key), #"{"value":"\#(key)"}"#).status == 200)
        }
        refused(.setWorking(plan: "p", key: "c"), #"{"value":1}"#, 507, "has 2 keys")
        refused(.setWorking(plan: "q", key: "c"), #"{"value":1}"#, 507, "1 documents working already")
        #expect(plan(0, "p").status == 200 && keep(0, "p").status == 200)
        refused(.createPlan, #"{"planId":"q","goalEvent":"g"}"#, 507, "1 documents plan already")
        refused(.storePlanContext, #"{"planId":"q","goalEvent":"g"}"#, 507, "1 documents plan-context already")
        #expect(world.remember(0, .deletePlan("p")).status == 204)
        #expect(plan(0, "q").status == 200)
    }

    @Test("writes nothing while the node leaves")
    mutating func leaving() {
        world.give(.leave, [], to: 0)
        for request in [
            MemoryRequest.createPlan, .storeTaskContext, .storePlanContext, .createSession,
            .deletePlan("p"), .setWorking(plan: "p", key: "k"), .deleteWorking(plan: "p", key: nil),
            .deleteWorking(plan: "p", key: "k"),
        ] {
            #expect(world.remember(0, request, "{}").status == 503)
        }
    }
}
