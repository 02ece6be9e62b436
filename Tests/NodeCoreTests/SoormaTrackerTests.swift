import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

@Suite("Soorma: the tracker")
struct SoormaTrackerTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])
    private static let start = "2025-02-19T21:20:30.123Z"

    /// Publishes an event as the SDK does, a second after the one before.
    private mutating func publish(
        _ topic: String, _ type: String, _ data: String = "{}", correlation: String? = "p", source: String = "planner",
        more: String = ""
    ) {
        world.pass(milliseconds: 1_000)
        let correlation = correlation.map { #","correlation_id":"\#($0)""# } ?? ""
        let answer = world.post(
            0, #"{"topic":"\#(topic)","type":"\#(type)","source":"\#(source)","data":\#(data)\#(correlation)\#(more)}"#)
        #expect(answer.status == 201, "\(answer.text)")
    }

    private mutating func plan(_ id: String = "p", _ more: String = "") {
        let body = #"{"planId":"\#(id)","goalEvent":"goal"\#(more)}"#
        #expect(world.remember(0, .createPlan, body).status == 200)
    }

    /// Saves the context of a plan as its planner does.
    private mutating func save(_ status: String, at state: String) {
        let body =
            #"{"planId":"p","goalEvent":"goal","state":{"status":"\#(status)"},"currentState":"\#(state)","#
            + #""correlationIds":["p","goal-1"]}"#
        #expect(world.remember(0, .storePlanContext, body).status == 200)
    }

    /// Saves the context of a task as its worker does, with its sub-tasks.
    private mutating func save(subTasks: String) {
        let body = #"{"taskId":"t","planId":"p","eventType":"work","state":{"_sub_tasks":{\#(subTasks)}}}"#
        #expect(world.remember(0, .storeTaskContext, body).status == 200)
    }

    private mutating func progress(_ i: Int = 0, of tenancy: Tenancy = .init()) -> [String: Any] {
        let answer = world.ask(i, tracker: .plan("p"), of: tenancy)
        #expect(answer.status == 200, "\(answer.text)")
        return answer.object
    }

    private mutating func actions() -> [[String: Any]] { world.ask(0, tracker: .actions(plan: "p")).list }
    private mutating func states() -> [String] {
        actions().map { "\($0["task_id"] ?? "") \($0["event_type"] ?? "") \($0["state"] ?? "")" }
    }

    @Test("Nothing is known of what nobody said anything of")
    mutating func unknown() {
        for request: TrackerRequest in [
            .plan("p"), .actions(plan: "p"), .timeline(plan: "p"), .delegationGroup("g"),
            .metrics(agent: "a", period: "1h"),
        ] { #expect(world.ask(0, tracker: request).status == 404) }
        #expect(world.ask(0, tracker: .subPlans(plan: "p")).text == "[]")
        #expect(world.ask(0, tracker: .sessionPlans("s")).text == "[]")
    }

    @Test(
        "A planner's plan: its goal is no action, each answer ends the action that waits for it, its context says the rest"
    )
    mutating func planner() {
        plan()
        save("running", at: "second")
        publish("action-requests", "goal", correlation: "goal-1", more: #","response_event":"goal.done""#)
        publish("action-requests", "first.do", more: #","response_event":"first.done""#)
        publish("action-results", "first.done", #"{"success":true}"#, source: "tool")
        publish("action-requests", "second.do", more: #","response_event":"second.done""#)
        var shown = progress()
        #expect(shown["status"] as? String == "running" && shown["current_state"] as? String == "second")
        #expect(shown["task_count"] as? Int == 2 && shown["completed_tasks"] as? Int == 1)
        #expect(shown["started_at"] as? String == Self.start && shown["completed_at"] is NSNull)
        let list = actions()
        #expect(list.compactMap { $0["state"] as? String } == ["completed", "pending"])
        #expect(list.first?["duration_seconds"] as? Double == 1 && list.last?["completed_at"] is NSNull)
        publish("action-results", "second.done", #"{"success":false,"error":"x"}"#, source: "tool")
        publish("action-results", "goal.done", #"{"plan_id":"p"}"#, correlation: "goal-1")
        world.pass(milliseconds: 2_000)
        save("completed", at: "end")
        shown = progress()
        #expect(shown["status"] as? String == "completed" && shown["failed_tasks"] as? Int == 1)
        #expect(shown["completed_at"] as? String == "2025-02-19T21:20:38.123Z")
        let timeline = world.ask(0, tracker: .timeline(plan: "p")).object
        #expect(timeline["trace_id"] as? String == "goal-1")
        let types = (timeline["events"] as? [[String: Any]])?.compactMap { $0["event_type"] as? String }
        #expect(types == ["goal", "first.do", "first.done", "second.do", "second.done", "goal.done"])
    }

    @Test("Requests that name their plan and carry an id of their own are found, and what was answered under that id")
    mutating func choreography() {
        let ids = #"{"action_id":"a1","task_id":"t1"}"#
        publish("action-requests", "do", ids, correlation: "c1", more: #","plan_id":"p","trace_id":"tr""#)
        publish("action-results", "did", #"{"task_id":"t1","action_id":"a1","status":"completed"}"#, correlation: "c1")
        publish(
            "action-requests", "sub", #"{"plan_id":"p","task_id":"t2"}"#, correlation: "c2",
            more: #","response_event":"r""#)
        publish("notification-events", "r", correlation: "c2")
        publish("action-requests", "other", correlation: "c3")
        #expect(states() == ["a1 do completed", "t2 sub completed"])
        #expect(progress()["status"] as? String == "running")
        publish("system-events", "plan.completed", #"{"plan_id":"p"}"#, correlation: "c9")
        let shown = progress()
        #expect(shown["status"] as? String == "completed")
        #expect(shown["completed_at"] as? String == "2025-02-19T21:20:36.123Z")
        #expect(world.ask(0, tracker: .timeline(plan: "p")).object["trace_id"] as? String == "tr")
    }

    @Test("Other tenants' plans and events are not seen")
    mutating func tenants() {
        plan()
        #expect(world.ask(0, tracker: .plan("p"), of: .init(tenant: "x")).status == 404)
        publish("action-requests", "do", more: #","tenant_id":"x""#)
        #expect(world.ask(0, tracker: .plan("p"), of: .init(tenant: "y")).status == 404)
        #expect(actions().count == 1, "whoever names no tenant is shown all")
        #expect(progress(of: .init(tenant: "x"))["task_count"] as? Int == 1)
    }

    @Test("A delegated task, its sub-tasks and their group are known while its context is there")
    mutating func delegation() {
        world.link(0, 1)
        plan()
        publish("action-requests", "work", #"{"task_id":"t"}"#, more: #","response_event":"worked""#)
        func sub(_ id: String, _ status: String, _ group: String = #""g""#) -> String {
            #""\#(id)":{"sub_task_id":"\#(id)","status":"\#(status)","parallel_group_id":\#(group)}"#
        }
        let others = "," + sub("s2", "pending") + "," + sub("s3", "pending", "null")
        save(subTasks: sub("s1", "pending") + others)
        publish("action-requests", "part", #"{"task_id":"s1"}"#, correlation: "s1")
        #expect(states() == ["t work delegated", "s1 part pending"])
        save(subTasks: sub("s1", "completed") + others)
        world.deliver()
        let group = world.ask(1, tracker: .delegationGroup("g")).object
        #expect(group["parent_task_id"] as? String == "t" && group["plan_id"] as? String == "p")
        #expect(group["total_tasks"] as? Int == 2 && group["completed_tasks"] as? Int == 1)
        #expect(group["created_at"] as? String == "2025-02-19T21:20:31.123Z")
        #expect(world.remember(0, .deleteTaskContext("t")).status == 204)
        #expect(world.ask(0, tracker: .delegationGroup("g")).status == 404)
        #expect(states().first == "t work pending")
    }

    @Test("Of a plan with very many delegated tasks, some are shown, and names of any length are refused or unknown")
    mutating func muchOfIt() {
        plan()
        for n in 0..<300 {
            let body = #"{"taskId":"t\#(n)","planId":"p","eventType":"work"}"#
            #expect(world.remember(0, .storeTaskContext, body).status == 200)
        }
        #expect(actions().count == NodeCore.maximumDelegatedTasks)
        for plan in [String(repeating: "p", count: 5_000), String(repeating: "%/", count: 1_000)] {
            #expect(world.ask(0, tracker: .plan(plan)).status == 404)
            #expect(world.ask(0, tracker: .subPlans(plan: plan)).text == "[]")
            let told = world.ask(0, tracker: .progress(plan: plan), #"{"task_id":"t","status":"running"}"#)
            #expect(told.status == 200 || told.status == 422, "\(told.text)")
        }
        let deep = String(repeating: "[", count: 127) + String(repeating: "]", count: 127)
        let body = #"{"task_id":"t","status":"running","data":\#(deep)}"#
        #expect(world.ask(0, tracker: .progress(plan: "p"), body).status == 422)
        let name = #""plan_id":"\#(String(repeating: "/", count: 1_024))""#
        let long = Tenancy(tenant: String(repeating: "/", count: 1_024))
        #expect(world.ask(0, tracker: .startPlan, of: long, "{\(name)}").status == 422)
    }

    @Test("Plans are found by their parent and their session, the oldest first, and no longer once they are gone")
    mutating func families() {
        plan("p", #","sessionId":"s""#)
        for id in ["b", "a"] {
            world.pass(milliseconds: 1_000)
            plan(id, #","sessionId":"s","parentPlanId":"p""#)
        }
        world.pass(milliseconds: 1_000)
        _ = world.remember(0, .updatePlan("b"), #"{"status":"failed"}"#)
        func ids(_ answer: Answer) -> [String] { answer.list.compactMap { $0["plan_id"] as? String } }
        let parts = world.ask(0, tracker: .subPlans(plan: "p"))
        #expect(ids(parts) == ["b", "a"] && parts.list.first?["completed_at"] as? String == "2025-02-19T21:20:33.123Z")
        #expect(
            parts.list.first?["parent_plan_id"] as? String == "p" && parts.list.first?["status"] as? String == "failed")
        #expect(ids(world.ask(0, tracker: .sessionPlans("s"))) == ["p", "b", "a"])
        #expect(world.remember(0, .deletePlan("a")).status == 204)
        #expect(ids(world.ask(0, tracker: .subPlans(plan: "p"))) == ["b"])
        #expect(ids(world.ask(0, tracker: .sessionPlans("s"))) == ["p", "b"])
        world.tamper(0) { $0.noteAllDocuments() }
        #expect(ids(world.ask(0, tracker: .subPlans(plan: "p"))) == ["b"])
        #expect(world.metric(0, "tracker_links") == 1)
    }

    @Test("SDK 0.7 begins a plan and reports its tasks; once all it named have ended, so has the plan")
    mutating func oldSDK() {
        world.link(0, 1)
        let body = #"{"plan_id":"p","agent_id":"pl","goal":"g","tasks":[{"n":1},{"n":2}],"metadata":{"m":1}}"#
        #expect(world.ask(0, tracker: .startPlan, body).text == #"{"plan_id":"p","success":true}"#)
        let before = world.nodes[0].cluster.log.end
        #expect(world.ask(0, tracker: .startPlan, body).status == 200)
        #expect(world.nodes[0].cluster.log.end == before, "nothing new is no write")
        func report(_ task: String, _ status: String, _ progress: String) -> String {
            #"{"task_id":"\#(task)","status":"\#(status)","progress":\#(progress),"message":null,"data":{"k":1}}"#
        }
        world.pass(milliseconds: 1_000)
        #expect(world.ask(0, tracker: .progress(plan: "p"), report("t1", "running", "0.5")).status == 200)
        var shown = progress()
        #expect(shown["status"] as? String == "running" && shown["task_count"] as? Int == 2)
        #expect(actions().first?["progress"] as? Double == 0.5 && states() == ["t1 task.progress running"])
        let event = world.ask(0, .eventsOnTopic("task-events", .init(limit: 9))).list[0]
        #expect(event["source"] as? String == "pl" && event["plan_id"] as? String == "p")
        #expect(event["correlation_id"] as? String == "p" && event["tenant_id"] as? String == Tenancy.defaultTenant)
        for task in ["t1", "t2"] {
            world.pass(milliseconds: 1_000)
            _ = world.ask(0, tracker: .progress(plan: "p"), report(task, "completed", "1.0"))
        }
        world.deliver()
        shown = progress(1)
        #expect(shown["status"] as? String == "completed" && shown["completed_tasks"] as? Int == 2)
        #expect(shown["completed_at"] as? String == "2025-02-19T21:20:33.123Z")
    }

    @Test("What SDK 0.7 may not say is refused, and so are more plans than may be")
    mutating func refusals() {
        for body in ["{}", #"{"plan_id":""}"#, #"{"plan_id":"p","tasks":1}"#, #"{"plan_id":"p","goal":1}"#] {
            #expect(world.ask(0, tracker: .startPlan, body).status == 422)
        }
        for body in [#"{"status":"x"}"#, #"{"task_id":"t"}"#, #"{"task_id":"t","status":"x","progress":2}"#] {
            #expect(world.ask(0, tracker: .progress(plan: "p"), body).status == 422)
        }
        world.tamper(0) { $0.memories.maximumDocuments = 1 }
        #expect(world.ask(0, tracker: .startPlan, #"{"plan_id":"p"}"#).status == 200)
        #expect(world.ask(0, tracker: .startPlan, #"{"plan_id":"q"}"#).status == 507)
        #expect(world.ask(0, tracker: .startPlan, #"{"plan_id":"p","goal":"g"}"#).status == 200)
        #expect(world.metric(0, "memory_refused_total") == 1)
    }

    @Test("An agent is measured by what it answered and reported in the period, under its id or its name")
    mutating func metrics() {
        _ = world.ask(
            0, registry: .registerAgent, #"{"agent":{"agentId":"w-1","name":"Worker:1.0.0","description":""}}"#)
        func shown(_ world: inout NodeWorld, _ agent: String = "w-1", _ period: String = "1h") -> [String: Any] {
            world.ask(0, tracker: .metrics(agent: agent, period: period)).object
        }
        #expect(shown(&world)["total_tasks"] as? Int == 0 && shown(&world)["success_rate"] as? Double == 0)
        publish("action-requests", "do", #"{"task_id":"t1"}"#, correlation: "c1", more: #","response_event":"did""#)
        world.pass(milliseconds: 2_000)
        publish("action-results", "did", #"{"task_id":"t1","status":"completed"}"#, correlation: "c1", source: "Worker")
        publish("action-results", "did", #"{"task_id":"t2","status":"failed"}"#, correlation: "c2", source: "Worker")
        publish("action-results", "did", #"{"task_id":"t3"}"#, correlation: "c3", source: "Somebody")
        publish("task-events", "task.progress", #"{"task_id":"t4","state":"running"}"#, source: "w-1")
        let found = shown(&world)
        #expect(found["total_tasks"] as? Int == 3 && found["completed_tasks"] as? Int == 1)
        #expect(found["failed_tasks"] as? Int == 1 && found["success_rate"] as? Double == 0.5)
        #expect(found["avg_duration_seconds"] as? Double == 3 && found["period"] as? String == "1h")
        #expect(shown(&world, "Worker")["total_tasks"] as? Int == 2)
        #expect(shown(&world, "w-1", "2s")["failed_tasks"] as? Int == 1)
        #expect(shown(&world, "w-1", "1s")["total_tasks"] as? Int == 1)
        for period in ["", "d", "1y", "-1d", "1234567d"] {
            #expect(world.ask(0, tracker: .metrics(agent: "w-1", period: period)).status == 422)
        }
    }
}
