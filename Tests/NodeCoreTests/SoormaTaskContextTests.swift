import CRDT
import Gossip
import Testing

@testable import NodeCore

extension NodeWorld {
    /// Posts the context of task `t`, as a worker does that has read these sub-tasks.
    fileprivate mutating func save(
        _ i: Int, _ subTasks: KeyValuePairs<String, String>, state: String = "", of tenancy: Tenancy = Tenancy()
    ) -> Answer {
        let ids = subTasks.map { "\"\($0.key)\"" }.joined(separator: ",")
        let infos = subTasks.map { #""\#($0.key)":{"sub_task_id":"\#($0.key)","status":"\#($0.value)"}"# }
            .joined(separator: ",")
        return remember(
            i, .storeTaskContext, of: tenancy,
            #"{"taskId":"t","eventType":"e","subTasks":[\#(ids)],"state":{\#(state)"_sub_tasks":{\#(infos)}}}"#)
    }

    fileprivate mutating func context(_ i: Int, of tenancy: Tenancy = Tenancy()) -> Answer {
        remember(i, .taskContext("t"), of: tenancy)
    }

    /// The sub-tasks of task `t` and what has become of them, in order.
    fileprivate mutating func subTasks(_ i: Int) -> [String] {
        let context = context(i).object
        let infos = (context["state"] as? [String: Any])?["_sub_tasks"] as? [String: [String: Any]] ?? [:]
        return (context["subTasks"] as? [String] ?? []).map { "\($0) \(infos[$0]?["status"] as? String ?? "-")" }
    }

    fileprivate mutating func state(_ i: Int) -> [String: Any] {
        context(i).object["state"] as? [String: Any] ?? [:]
    }
}

@Suite("What a Soorma worker keeps of a task")
struct SoormaTaskContextTests {
    private var world = NodeWorld.linked(2)

    @Test("is answered at any node as it was said, to the byte")
    mutating func layout() {
        let made = world.remember(
            0, .storeTaskContext, of: Tenancy(tenant: "a/b", user: "ada"),
            #"{ "taskId" : "t/é", "planId" : "p", "eventType" : "order", "responseEvent" : "done", "data" : {"a": 1.50},"#
                + #""subTasks":["s2","s1","s0"],"state":{"z":[null],"b":null,"_sub_tasks":{"s2":{"status":"pending","x":1},"#
                + #""s1":{"status":"completed","result":{}}}},"unknown":1}"#)
        let time = made.object["createdAt"] as? String ?? ""
        #expect(made.status == 200 && time.hasPrefix("2025-02-") && !made.stamp.isEmpty)
        #expect(
            made.text
                == #"{"tenantId":"a/b","userId":"ada","taskId":"t/é","planId":"p","eventType":"order","responseEvent":"done","#
                + #""responseTopic":"action-results","data":{"a":1.50},"subTasks":["s2","s1","s0"],"#
                + #""state":{"b":null,"z":[null],"_sub_tasks":{"s2":{"status":"pending","x":1},"#
                + #""s1":{"status":"completed","result":{}}}},"createdAt":"\#(time)","updatedAt":"\#(time)"}"#)
        world.later()
        let tenancy = Tenancy(tenant: "a/b", user: "bob")
        #expect(world.remember(1, .taskContext("t/é"), of: tenancy).text == made.text)
        for id in ["s0", "s1", "s2"] {
            #expect(world.remember(1, .taskContextOf(subTask: id), of: tenancy).text == made.text)
        }
        let least = world.remember(
            1, .storeTaskContext, #"{"task_id":"u","event_type":"e","user_id":"eve","state":{"_sub_tasks":{}}}"#)
        #expect(least.object["userId"] as? String == "eve" && least.text.contains(#""planId":null"#))
        #expect(least.text.contains(#""data":{},"subTasks":[],"state":{"_sub_tasks":{}}"#))
        #expect(world.remember(1, .storeTaskContext, #"{"taskId":"v","eventType":"e"}"#).text.contains(#""state":{}"#))
    }

    @Test("is merged where two replicas of a worker write it at once, and what is over stays over")
    mutating func merging() {
        #expect(world.save(0, ["a": "pending", "b": "pending"]).status == 200)
        world.later()
        // Each has read both as pending, and writes the whole.
        #expect(world.save(0, ["a": "completed", "b": "pending"]).status == 200)
        #expect(world.save(1, ["a": "pending", "b": "failed"]).status == 200)
        world.later()
        for i in 0...1 { #expect(world.subTasks(i) == ["a completed", "b failed"]) }
        // Much later still, somebody writes what it read at first.
        #expect(world.save(1, ["b": "pending", "a": "pending"]).object.count == 12)
        world.later()
        for i in 0...1 { #expect(world.subTasks(i) == ["a completed", "b failed"]) }
        // Nobody takes a sub-task away by not knowing of it.
        #expect(world.save(0, ["c": "pending"]).status == 200)
        #expect(world.save(0, [:]).status == 200)
        #expect(world.subTasks(0) == ["a completed", "b failed", "c pending"])
    }

    @Test("is merged across a partition: sub-tasks of both sides, results of both sides, one order")
    mutating func partition() {
        _ = world.save(0, ["a": "pending", "b": "pending"], state: #""x":1,"y":1,"#)
        world.later()
        world.unlink(0, 1)
        _ = world.save(0, ["a": "completed", "b": "pending", "n": "pending"], state: #""x":2,"y":1,"#)
        world.now = world.now.advanced(milliseconds: 5)
        _ = world.save(1, ["a": "pending", "b": "completed", "m": "pending"], state: #""x":1,"y":2,"z":3,"#)
        #expect(world.subTasks(0) == ["a completed", "b pending", "n pending"])
        world.link(0, 1)
        for i in 0...1 {
            #expect(world.subTasks(i) == ["a completed", "b completed", "m pending", "n pending"])
            let state = world.state(i)
            #expect(state["x"] as? Int == 2 && state["y"] as? Int == 2 && state["z"] as? Int == 3)
            #expect(world.remember(i, .taskContextOf(subTask: "n")).object["taskId"] as? String == "t")
        }
        #expect(world.context(0).text == world.context(1).text)
    }

    @Test("made under one id at both sides is one context afterwards")
    mutating func madeTwice() {
        world.unlink(0, 1)
        _ = (world.save(0, ["a": "completed"]), world.save(1, ["a": "pending", "b": "pending"]))
        world.link(0, 1)
        for i in 0...1 { #expect(world.subTasks(i) == ["a completed", "b pending"]) }
    }

    @Test("writes only what differs, and nothing where nothing does")
    mutating func differences() {
        _ = world.save(0, ["a": "pending"], state: #""k":{"v":1},"#)
        world.later()
        #expect(!world.isWritten(1) { $0.save(1, ["a": "pending"], state: #""k":{"v":1},"#) })
        #expect(!world.isWritten(1) { $0.save(1, [:]) }, "keys that are not named stay")
        let before = world.context(1).object
        world.now = world.now.advanced(milliseconds: 1_000)
        #expect(world.isWritten(1) { $0.save(1, [:], state: #""k":{"v":2},"#) })
        let after = world.context(1).object
        #expect(before["createdAt"] as? String == after["createdAt"] as? String)
        #expect(before["updatedAt"] as? String != after["updatedAt"] as? String)
        #expect(
            world.nodes[1].documents.field("eventType", of: "task-context/\(Tenancy.defaultTenant)/t")?.stamp.replica
                .rawValue == 0xa1)
    }

    @Test("is changed by PUT, which removes keys that are null")
    mutating func patching() {
        _ = world.save(0, ["a": "pending"], state: #""k":1,"l":null,"#)
        world.later()
        let body =
            #"{"sub_tasks":["z"],"state":{"k":null,"nothing":null,"m":{"n":null},"_sub_tasks":{"a":{"status":"completed"}}}}"#
        let put = world.remember(1, .updateTaskContext("t"), body)
        #expect(put.status == 200)
        #expect(put.text.contains(#""state":{"l":null,"m":{"n":null},"_sub_tasks":{"a":{"status":"completed"}}}"#))
        #expect(world.subTasks(1) == ["a completed", "z -"])
        world.later()
        let removed = world.remember(1, .updateTaskContext("t"), #"{"state":{"l":null}}"#)
        #expect(removed.object["updatedAt"] as? String != put.object["updatedAt"] as? String)
        #expect(!world.isWritten(1) { $0.remember(1, .updateTaskContext("t"), "{}") })
        #expect(!world.isWritten(1) { $0.remember(1, .updateTaskContext("t"), #"{"state":null,"subTasks":null}"#) })
        #expect(world.remember(1, .updateTaskContext("u"), "{}").message.contains("POST /v1/memory/task-context"))
    }

    @Test("is gone once deleted, and made anew has nothing of before")
    mutating func deletion() {
        _ = world.save(0, ["a": "completed", "b": "pending"], state: #""k":1,"#)
        world.later()
        let deleted = world.remember(1, .deleteTaskContext("t"))
        #expect(deleted.status == 204 && deleted.text.isEmpty && !deleted.stamp.isEmpty)
        #expect(world.remember(1, .deleteTaskContext("t")).status == 404)
        world.later()
        for i in 0...1 {
            #expect(world.context(i).status == 404)
            #expect(world.remember(i, .taskContextOf(subTask: "a")).message.contains("sub-task a"))
        }
        _ = world.save(0, ["c": "pending"])
        world.later()
        for i in 0...1 { #expect(world.subTasks(i) == ["c pending"] && world.state(i)["k"] == nil) }
    }

    @Test("deleted at one side is gone afterwards, whatever the other side posted that had not read of it")
    mutating func deletedAtOneSide() {
        _ = world.save(0, ["a": "pending"])
        world.later()
        world.unlink(0, 1)
        _ = world.remember(0, .deleteTaskContext("t"))
        world.now = world.now.advanced(milliseconds: 5)
        #expect(world.save(1, ["a": "completed", "late": "pending"], state: #""late":1,"#).status == 200)
        world.link(0, 1)
        for i in 0...1 {
            #expect(world.context(i).status == 404 && world.remember(i, .taskContextOf(subTask: "late")).status == 404)
        }
        _ = world.save(1, ["new": "pending"])
        world.later()
        for i in 0...1 { #expect(world.subTasks(i) == ["new pending"] && world.state(i)["late"] == nil) }
    }

    @Test("is found by its sub-tasks, in its tenant")
    mutating func finding() {
        let other = Tenancy(tenant: "other")
        _ = world.save(0, ["a": "pending", "o": "pending"], of: other)
        world.later()
        _ = world.save(0, ["a": "pending", "é": "pending"])
        _ = world.remember(0, .storeTaskContext, #"{"taskId":"t/2","eventType":"e","subTasks":["b"]}"#)
        world.later()
        #expect(world.remember(1, .taskContextOf(subTask: "o")).status == 404)
        #expect(world.remember(1, .taskContextOf(subTask: "a"), of: other).object["tenantId"] as? String == "other")
        #expect(world.remember(1, .taskContextOf(subTask: "a")).object["tenantId"] as? String == Tenancy.defaultTenant)
        world.tamper(1) { $0.noteAllDocuments() }
        #expect(world.remember(1, .taskContextOf(subTask: "b")).object["taskId"] as? String == "t/2")
        #expect(world.remember(1, .taskContextOf(subTask: "é")).object["taskId"] as? String == "t")
        #expect(world.remember(1, .taskContextOf(subTask: "e\u{301}")).status == 404, "names are bytes")
        _ = world.remember(0, .deleteTaskContext("t"), of: other)
        world.later()
        #expect(world.remember(1, .taskContextOf(subTask: "a"), of: other).status == 404)
        #expect(world.remember(1, .taskContextOf(subTask: "a")).object["taskId"] as? String == "t")
        // The one made last, if two name it.
        _ = world.remember(0, .storeTaskContext, #"{"taskId":"u","eventType":"e","subTasks":["b"]}"#)
        world.later()
        #expect(world.remember(1, .taskContextOf(subTask: "b")).object["taskId"] as? String == "u")
    }

    @Test(
        "is refused with what to do",
        arguments: [
            (#"{"eventType":"e"}"#, 422, "taskId: required"),
            (#"{"taskId":"","eventType":"e"}"#, 422, "taskId: must have 1 to"),
            (#"{"taskId":7,"eventType":"e"}"#, 422, "taskId: expected a non-empty string, found the number 7"),
            (#"{"taskId":"t"}"#, 422, "eventType: required"),
            (#"{"taskId":"t","eventType":"e","data":[]}"#, 422, "data: expected an object, found an array"),
            (#"{"taskId":"t","eventType":"e","subTasks":"s"}"#, 422, "subTasks: expected an array"),
            (#"{"taskId":"t","eventType":"e","subTasks":[1]}"#, 422, "subTasks: expected strings"),
            (#"{"taskId":"t","eventType":"e","subTasks":[""]}"#, 422, "subTasks: expected strings of 1 to"),
            (#"{"taskId":"t","eventType":"e","state":1}"#, 422, "state: expected an object"),
            (#"{"taskId":"t","eventType":"e","state":{"_sub_tasks":[]}}"#, 422, "state._sub_tasks: expected an object"),
            (#"{"taskId":"t","eventType":"e","state":{"a":1,"a":2}}"#, 422, "stands twice"),
            (#"{"taskId":"t","eventType":"e","state":{"_sub_tasks":{"":{}}}}"#, 422, "ids of sub-tasks have 1 to"),
            (#"{"taskId":"t","eventType":"e","planId":1}"#, 422, "planId: expected a string"),
            ("[]", 422, "must be one JSON object"), ("{", 422, "invalid JSON"),
        ])
    mutating func refusals(body: String, status: Int, says: String) {
        let answer = world.remember(0, .storeTaskContext, body)
        #expect(Int(answer.status) == status && answer.message.contains(says), "\(answer.message)")
        #expect(answer.object["detail"] as? String == answer.message)
        #expect(world.written(0) == 0)
    }

    @Test("made larger by two sides than either may make it, can still be worked off, if not all of it at once")
    mutating func overBounds() {
        func all(_ prefix: String, _ value: (String) -> String) -> String {
            (0..<1_000).map { "\"\(prefix)\($0)\":\(value("\(prefix)\($0)"))" }.joined(separator: ",")
        }
        let pending = #"{"status":"pending"}"#
        let completed = #"{"status":"completed"}"#
        _ = world.save(0, [:])
        world.later()
        world.unlink(0, 1)
        for i in 0...1 {
            let state = #"{\#(all("k\(i)-") { _ in "1" }),"_sub_tasks":{\#(all("s\(i)-") { _ in pending })}}"#
            #expect(world.remember(i, .updateTaskContext("t"), #"{"state":\#(state)}"#).status == 200)
        }
        world.link(0, 1)
        #expect(world.subTasks(0).count == 2_000 && world.state(0).count == 2_001)
        let done = #"{"state":{"k0-1":2,"_sub_tasks":{"s0-7":\#(completed)}}}"#
        #expect(world.remember(0, .updateTaskContext("t"), done).status == 200)
        #expect(world.subTasks(0).contains("s0-7 completed") && world.state(0)["k0-1"] as? Int == 2)
        let more = #"{"state":{"new":1,"_sub_tasks":{"new":\#(pending)}}}"#
        #expect(world.remember(0, .updateTaskContext("t"), more).status == 507)
        let nulls = (0...1).map { all("k\($0)-") { _ in "null" } }.joined(separator: ",")
        let ends = (0...1).map { all("s\($0)-") { _ in completed } }.joined(separator: ",")
        let new = all("n") { _ in "1" }
        let much = world.remember(
            0, .updateTaskContext("t"), #"{"state":{\#(nulls),\#(new),"_sub_tasks":{\#(ends)}}}"#)
        #expect(much.status == 413 && much.message.contains("change fewer members at once"))
        #expect(world.remember(0, .updateTaskContext("t"), #"{"state":{\#(nulls)}}"#).status == 200)
        #expect(world.remember(0, .updateTaskContext("t"), #"{"state":{"_sub_tasks":{\#(ends)}}}"#).status == 200)
        #expect(world.state(0).count == 1 && world.subTasks(0).allSatisfy { $0.hasSuffix("completed") })
    }

    @Test("has bounds, and says which one is met")
    mutating func bounds() {
        func many(_ count: Int, _ make: (Int) -> String) -> String { (0..<count).map(make).joined(separator: ",") }
        func ids(_ range: Range<Int>) -> String { range.map { "\"s\($0)\"" }.joined(separator: ",") }
        let first = world.remember(
            0, .storeTaskContext, #"{"taskId":"t","eventType":"e","subTasks":[\#(ids(0..<1_000))]}"#)
        #expect(first.status == 200)
        let over = world.remember(0, .updateTaskContext("t"), #"{"subTasks":["one more"]}"#)
        #expect(over.status == 507 && over.message.contains("1000 sub-tasks"))
        let keys = many(1_001) { "\"k\($0)\":1" }
        #expect(world.remember(0, .updateTaskContext("t"), #"{"state":{\#(keys)}}"#).message.contains("1000 keys"))
        let long = String(repeating: "x", count: 512 << 10)
        let value = world.remember(0, .updateTaskContext("t"), #"{"state":{"long":"\#(long)"}}"#)
        #expect(value.status == 413 && value.message.contains("state/long: one value may have 524288 bytes"))
        for i in 0..<8 {
            let body = #"{"state":{"long\#(i)":"\#(long.dropLast(100))"}}"#
            #expect(world.remember(0, .updateTaskContext("t"), body).status == (i < 1 ? 200 : 413))
        }
        world.tamper(0) { $0.memories.maximumDocuments = 2 }
        #expect(world.remember(0, .storeTaskContext, #"{"taskId":"u","eventType":"e"}"#).status == 200)
        let full = world.remember(0, .storeTaskContext, #"{"taskId":"v","eventType":"e"}"#)
        #expect(full.status == 507 && full.message.contains("delete those that nobody needs"))
        #expect(world.remember(0, .storeTaskContext, #"{"taskId":"u","eventType":"f"}"#).status == 200)
        #expect(world.metric(0, "memory_refused_total") == 3)
        #expect(world.metric(0, "memory_terms") == 1_000)
    }
}
