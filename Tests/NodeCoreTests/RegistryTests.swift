import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("The registry")
struct RegistryTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    private mutating func register(_ i: Int, _ body: String) -> Answer { world.ask(i, .register, body) }

    private mutating func names(
        _ i: Int, type: String? = nil, status: String? = nil, capability: String? = nil, after: String? = nil,
        limit: Int = 100
    ) -> [String] {
        world.ask(
            i, .registered(type: type, status: status, capability: capability, after: after, limit: limit)
        ).list.compactMap { $0["name"] as? String }
    }

    private mutating func leastBusy(_ i: Int, _ capability: String? = nil, key: String? = nil) -> String? {
        world.ask(i, .leastBusy(capability: capability, key: key)).object["name"] as? String
    }

    @Test("A registration shows what the seed names, to the byte; capabilities stay as they came")
    mutating func layout() {
        let made = register(
            0,
            #"{"name":"w","agent_type":"coder","capabilities":[{"name":"y","v":1.0},"x"],"metadata":{"m":[1]},"owner":"z"}"#
        )
        #expect(made.status == 201)
        let time = "2025-02-19T21:20:30.123Z"
        #expect(
            made.text
                == #"{"name":"w","agent_type":"coder","capabilities":["x",{"name":"y","v":1.0}],"status":"active","#
                + #""metadata":{"m":[1]},"registered_at":"\#(time)","last_heartbeat":"\#(time)","message_count":0}"#)
        #expect(world.ask(0, .manifest("w")).text.contains(#""owner":"z""#), "one document, two views")
        #expect(world.announced(0, "AgentLifecycle").count == 1)
        world.pass(milliseconds: 1_000)
        let again = register(0, #"{"name":"w","capabilities":["x"],"description":"d"}"#)
        #expect(again.status == 200 && again.text.contains(#""agent_type":"coder","capabilities":["x"],"#))
        #expect(again.text.contains(#""registered_at":"2025-02-19T21:20:31.123Z""#))
        #expect(again.text.contains(#""description":"d","metadata":{"m":[1]}"#))
        #expect(world.announced(0, "AgentLifecycle").count == 1, "it was introduced already")
    }

    @Test("An agent with a manifest is in the registry too, and registering it is no second introduction")
    mutating func bothViews() {
        _ = world.ask(0, .introduce("m"), #"{"available_resources":["x"],"status":"pondering"}"#)
        #expect(names(0, capability: "x") == ["m"] && names(0, status: "pondering") == ["m"])
        #expect(register(0, #"{"name":"m","agent_type":"t"}"#).status == 201)
        #expect(world.announced(0, "AgentLifecycle").count == 1)
        #expect(world.ask(0, .registration("m")).text.contains(#""status":"pondering""#))
        #expect(world.found(0, resource: "x") == ["m"])
    }

    @Test("Heartbeats are written every ten seconds at most")
    mutating func heartbeats() {
        _ = register(0, #"{"name":"w"}"#)
        let first = world.ask(0, .heartbeat("w"))
        #expect(first.status == 200 && !first.stamp.isEmpty)
        for (laterMs, isWritten) in [(1, false), (9_998, false), (1, true), (9_999, false), (1, true)]
            as [(UInt64, Bool)]
        {
            world.pass(milliseconds: laterMs)
            let before = world.nodes[0].cluster.log.end
            let answer = world.ask(0, .heartbeat("w"))
            #expect(answer.status == 200 && (world.nodes[0].cluster.log.end > before) == isWritten)
            #expect(answer.stamp.isEmpty != isWritten)
        }
        #expect(world.ask(0, .manifest("w")).text.contains(#""last_seen":"2025-02-19T21:20:50.123Z""#))
    }

    @Test("Without a heartbeat for 300 seconds an agent is offline, at the next it is active again, and that is told")
    mutating func offline() {
        world.link(0, 1)
        _ = register(0, #"{"name":"w","status":"busy","capabilities":["x"]}"#)
        world.deliver()
        world.pass(milliseconds: 300_000)
        for i in 0...1 { #expect(names(i, status: "busy") == ["w"] && names(i, status: "offline").isEmpty) }
        world.pass(milliseconds: 1)
        for i in 0...1 {
            #expect(names(i, status: "offline") == ["w"] && names(i, status: "busy").isEmpty)
            #expect(world.ask(i, .registration("w")).object["status"] as? String == "offline")
            #expect(world.ask(i, .leastBusy(capability: "x", key: nil)).status == 404)
            #expect(names(i, capability: "x") == ["w"] && world.found(i, status: "busy") == ["w"])
        }
        #expect(world.ask(1, .heartbeat("w")).text.contains(#""status":"active""#))
        world.deliver()
        for i in 0...1 { #expect(names(i, status: "active") == ["w"] && names(i, status: "offline").isEmpty) }
        let told = world.announced(0, "AgentStatusUpdates")
        #expect(told.map { $0["newStatus"] as? String } == ["active"])
    }

    @Test("Whoever is connected is not offline; whoever says that it is, is")
    mutating func connected() {
        world.link(0, 1)
        _ = register(0, #"{"name":"w"}"#)
        world.give(.sessionOpened(SessionID(5), agent: "w"), [], to: 0)
        world.deliver()
        world.pass(milliseconds: 400_000)
        for i in 0...1 { #expect(names(i, status: "active") == ["w"]) }
        #expect(world.ask(0, .setStatus("w"), #"{"status":"offline"}"#).text.contains(#""status":"offline""#))
        world.deliver()
        for i in 0...1 { #expect(names(i, status: "offline") == ["w"]) }
        #expect(world.ask(1, .setStatus("w"), #"{"status":"idle"}"#).text.contains(#""status":"idle""#))
        world.deliver()
        #expect(names(0, status: "idle") == ["w"])
        #expect(
            world.ask(0, .setStatus("w"), #"{"status":"odd"}"#).message.contains(
                #"expected active, idle, busy, offline, found "odd""#))
        #expect(world.ask(0, .setStatus("w"), "{}").message.contains("status: required: active, idle, busy, offline"))
    }

    @Test("Finding goes by type, status and capability together, page by page")
    mutating func finding() {
        _ = register(0, #"{"name":"b","agent_type":"coder","capabilities":["x"],"status":"idle"}"#)
        _ = register(0, #"{"name":"a","agent_type":"coder","capabilities":["x","y"]}"#)
        _ = register(0, #"{"name":"c","agent_type":"judge","capabilities":["x"]}"#)
        #expect(names(0) == ["a", "b", "c"] && names(0, after: "a", limit: 1) == ["b"])
        #expect(names(0, type: "coder") == ["a", "b"] && names(0, type: "coder", status: "active") == ["a"])
        #expect(names(0, capability: "y") == ["a"] && names(0, type: "judge", capability: "y").isEmpty)
    }

    @Test("Least busy: not busy before busy, then the fewest messages that wait, then the fewest at all")
    mutating func load() {
        world.link(0, 1)
        for (name, status) in [("a", "busy"), ("b", "active"), ("c", "idle"), ("d", "offline")] {
            _ = register(0, #"{"name":"\#(name)","status":"\#(status)","capabilities":["x"]}"#)
        }
        func send(_ world: inout NodeWorld, _ to: String) {
            let message =
                #"{"sender":"s","receiver":"\#(to)","message_type":"query","content":1}"#
            #expect(world.ask(0, .bus(.postMessage), message).status == 201)
        }
        send(&world, "b")
        world.deliver()
        for i in 0...1 { #expect(leastBusy(i, "x") == "c") }
        send(&world, "c")
        send(&world, "c")
        world.deliver()
        for i in 0...1 { #expect(leastBusy(i, "x") == "b") }
        #expect(
            world.ask(0, .leastBusy(capability: "x", key: nil)).text.hasSuffix(
                #""message_count":1,"claimed_tasks":0,"waiting_messages":1}"#))
        // Taken messages wait no more, but they were work.
        _ = world.ask(0, .bus(.take(agent: "c", type: nil, most: 9)))
        world.deliver()
        #expect(leastBusy(0, "x") == "c")
        _ = world.ask(0, .bus(.take(agent: "b", type: nil, most: 9)))
        world.deliver()
        #expect(leastBusy(0, "x") == "b")
        for name in ["b", "c"] { _ = world.ask(0, .retire(name)) }
        #expect(leastBusy(0, "x") == "a", "a busy one is better than none")
        let nobody = world.ask(0, .leastBusy(capability: "z", key: nil))
        #expect(nobody.status == 404 && nobody.message.hasPrefix("no agent with the capability z is here"))
    }

    @Test(
        "Of those who tie, a key finds the same one at every node, and keys are spread; a newcomer moves only its own")
    mutating func ties() {
        world.link(0, 1)
        for n in 0..<8 { _ = register(0, #"{"name":"w\#(n)","capabilities":["x"]}"#) }
        world.deliver()
        let keys = (0..<64).map { "key-\($0)" }
        let before = keys.map { leastBusy(0, "x", key: $0) }
        #expect(before == keys.map { leastBusy(1, "x", key: $0) })
        #expect(Set(before).count == 8)
        _ = register(1, #"{"name":"w8","capabilities":["x"]}"#)
        let after = keys.map { leastBusy(1, "x", key: $0) }
        #expect(zip(before, after).allSatisfy { $0 == $1 || $1 == "w8" } && after.contains("w8"))
    }

    @Test(
        "says what is wrong",
        arguments: [
            ("{}", 400, "name: required"), (#"{"name":7}"#, 400, "name: expected a non-empty string"),
            (#"{"name":"w","status":"odd"}"#, 400, "status: expected active, idle, busy, offline"),
            (#"{"name":"w","description":7}"#, 400, "description: expected a string, found the number 7"),
            (#"{"name":"w","metadata":[]}"#, 400, "metadata: expected an object, found an array"),
            (#"{"name":"w","agent_type":""}"#, 400, "agent_type: must have 1 to 1024 bytes"),
        ])
    mutating func refusals(body: String, status: Int, message: String) {
        let answer = register(0, body)
        #expect(Int(answer.status) == status && answer.message.contains(message), "\(answer)")
        #expect(world.ask(0, .register, as: "v", #"{"name":"w"}"#).status == 403)
        #expect(world.ask(0, .register, as: "v", "{}").status == 201, "whoever asks need not name itself")
    }
}
