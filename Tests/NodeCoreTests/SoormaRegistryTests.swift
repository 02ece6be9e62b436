import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("Soorma: the registry of agents")
struct SoormaRegistryTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    private mutating func register(_ i: Int, _ body: String) -> Answer { world.ask(i, registry: .registerAgent, body) }

    private mutating func agents(
        _ i: Int, id: String? = nil, name: String? = nil, consumed: String? = nil, produced: String? = nil,
        expired: Bool = false
    ) -> [[String: Any]] {
        let answer = world.ask(
            i,
            registry: .agents(
                id: id, name: name, consumedEvent: consumed, producedEvent: produced, includeExpired: expired))
        let list = answer.object["agents"] as? [[String: Any]] ?? []
        #expect(answer.status == 200 && answer.object["count"] as? Int == list.count)
        return list
    }

    private mutating func ids(
        _ i: Int, name: String? = nil, consumed: String? = nil, produced: String? = nil, expired: Bool = false
    ) -> [String] {
        agents(i, name: name, consumed: consumed, produced: produced, expired: expired)
            .compactMap { $0["agentId"] as? String }
    }

    /// As SDK 0.9 sends it.
    private static let new = #"{"eventName":"in","topic":"action-requests","description":"","payloadSchemaName":null}"#
    private static let capability =
        #"{"taskName":"t","description":"d","consumedEvent":\#(new),"producedEvents":[{"eventName":"out"}],"x":1.0}"#
    private static let agent =
        #"{"agent":{"agentId":"w","name":"W:1.2.0","description":"does","capabilities":[\#(capability)],"#
        + #""consumedEvents":["in","more"],"producedEvents":null,"team":["a"]}}"#

    @Test("What an SDK said is kept as it came, and other protocols see an agent like any other")
    mutating func oneDocument() {
        world.link(0, 1)
        let made = register(0, Self.agent)
        #expect(made.status == 200 && !made.stamp.isEmpty)
        #expect(made.text == #"{"agentId":"w","success":true,"message":"Registered."}"#)
        world.deliver()
        let shown = world.ask(
            1,
            registry: .agents(id: "w", name: nil, consumedEvent: nil, producedEvent: nil, includeExpired: false))
        #expect(
            shown.text
                == #"{"agents":[{"agentId":"w","name":"W:1.2.0","description":"does","capabilities":[\#(Self.capability)],"#
                + #""consumedEvents":["in","more"],"producedEvents":["out"],"team":["a"]}],"count":1}"#)
        let manifest = world.ask(1, .manifest("w")).text
        #expect(manifest.contains(#""capabilities":[\#(Self.capability)]"#))
        #expect(manifest.contains(#""public_profile":{"name":"W"}"#) && !manifest.contains("team"))
        let registration = world.ask(1, .registration("w")).text
        #expect(registration.contains(#""agent_type":"soorma""#) && registration.contains(#""description":"does""#))
        #expect(world.found(1, capability: "t") == ["w"])
        let told = world.announced(1, "AgentLifecycle")
        #expect(told.count == 1 && told.first?["eventType"] as? String == "AgentIntroduced")
    }

    @Test("Registered anew, it is what was said last, and nobody is told of a second introduction")
    mutating func again() {
        _ = register(0, Self.agent)
        let again = register(
            0, #"{"agent":{"agentId":"w","name":"V","description":"","capabilities":[],"consumedEvents":[]}}"#)
        #expect(again.status == 200 && again.text.contains("anew"))
        let shown = agents(0).first ?? [:]
        #expect(shown["name"] as? String == "V" && (shown["capabilities"] as? [Any])?.isEmpty == true)
        #expect(shown["team"] == nil && (shown["consumedEvents"] as? [String])?.isEmpty == true)
        #expect(ids(0, consumed: "in").isEmpty && ids(0, name: "W").isEmpty && ids(0, name: "V") == ["w"])
        #expect(world.announced(0, "AgentLifecycle").count == 1)
        #expect(world.ask(0, .manifest("w")).text.contains(#""public_profile":{"name":"V"}"#))
    }

    @Test("A name in the profile that somebody else gave stays, and so does an agent's type")
    mutating func othersStay() {
        _ = world.ask(0, .introduce("w"), #"{"public_profile":{"name":"Wanda"}}"#)
        _ = world.ask(0, .register, #"{"name":"w","agent_type":"coder"}"#)
        _ = register(0, Self.agent)
        #expect(world.ask(0, .manifest("w")).text.contains("Wanda"))
        #expect(world.ask(0, .registration("w")).text.contains(#""agent_type":"coder""#))
    }

    @Test("Capabilities of SDK 0.7, whose events are texts, come back as they came, and are found by them")
    mutating func oldCapabilities() {
        let old = #"{"taskName":"t","description":"","consumedEvent":"in","producedEvents":["out"]}"#
        _ = register(0, #"{"agent":{"agentId":"w","name":"W","description":"","capabilities":[\#(old),\#(old)]}}"#)
        let answer = world.ask(
            0, registry: .agents(id: nil, name: nil, consumedEvent: "in", producedEvent: "out", includeExpired: false))
        #expect(
            answer.text.contains(#""capabilities":[\#(old),\#(old)],"consumedEvents":["in"],"producedEvents":["out"]"#))
    }

    @Test("The flat form and Python's spelling are taken, too")
    mutating func flat() {
        let made = register(
            0,
            #"{"agent_id":"w","name":"W","agent_type":"planner","capabilities":["x"],"events_consumed":["in"],"#
                + #""events_produced":["out"],"metadata":{"k":1}}"#)
        #expect(made.status == 200)
        let placeholder =
            #"{"taskName":"x","description":"Capability: x","consumedEvent":{"eventName":"unknown","topic":"#
            + #""action-requests","description":"Placeholder event for capability: x"},"producedEvents":[]}"#
        let text = world.ask(
            0, registry: .agents(id: "w", name: nil, consumedEvent: nil, producedEvent: nil, includeExpired: false)
        ).text
        #expect(text.contains(#""capabilities":[\#(placeholder)],"consumedEvents":["in"],"producedEvents":["out"]"#))
        let registration = world.ask(0, .registration("w")).text
        #expect(registration.contains(#""agent_type":"planner","capabilities":["x"]"#))
        #expect(registration.contains(#""metadata":{"k":1}"#))
        #expect(ids(0, consumed: "unknown").isEmpty && ids(0, consumed: "in") == ["w"])
    }

    @Test("Agents of other protocols have all members that SDKs demand; what others change of an SDK's agent is seen")
    mutating func otherProtocols() {
        _ = world.ask(
            0, .introduce("m"),
            #"{"capabilities":["b",{"name":"a","consumedEvent":"in","v":2},{"task_name":"c","consumed_event":{"eventName":"e"}}]}"#
        )
        let shown = agents(0, name: "m").first ?? [:]
        #expect(shown["name"] as? String == "m" && shown["description"] as? String == "")
        let capabilities = shown["capabilities"] as? [[String: Any]] ?? []
        #expect(capabilities.compactMap { $0["taskName"] as? String } == ["a", "b", "c"])
        for one in capabilities {
            let event = one["consumedEvent"] as? [String: Any]
            #expect(event?["eventName"] is String && event?["topic"] is String && event?["description"] is String)
            #expect(one["description"] is String && one["producedEvents"] is [Any])
        }
        #expect(capabilities.first?["v"] as? Int == 2 && shown["consumedEvents"] as? [String] == ["in", "e"])
        #expect(ids(0, consumed: "e") == ["m"] && ids(0, name: "m", consumed: "nothing").isEmpty)

        _ = register(0, Self.agent)
        _ = world.ask(0, .register, #"{"name":"w","capabilities":["z"],"description":"else"}"#)
        let changed = agents(0, id: "w").first ?? [:]
        #expect((changed["capabilities"] as? [[String: Any]])?.compactMap { $0["taskName"] as? String } == ["z"])
        #expect(changed["description"] as? String == "else" && changed["name"] as? String == "W:1.2.0")
    }

    @Test("Agents are found by id, by name with and without version, and by events; all conditions hold")
    mutating func finding() {
        _ = register(0, Self.agent)
        _ = register(0, #"{"agent":{"agentId":"v","name":"W:2","description":"","producedEvents":["out"]}}"#)
        _ = world.ask(0, .introduce("W"), "{}")
        #expect(ids(0) == ["W", "v", "w"])
        #expect(ids(0, name: "W") == ["W", "v", "w"] && ids(0, name: "W:2") == ["v"] && ids(0, name: "w").isEmpty)
        #expect(ids(0, consumed: "more") == ["w"] && ids(0, produced: "out") == ["v", "w"])
        #expect(ids(0, name: "W:2", produced: "out") == ["v"] && ids(0, name: "W", consumed: "in") == ["w"])
        #expect(agents(0, id: "w", name: "W").count == 1 && agents(0, id: "w", name: "V").isEmpty)
    }

    @Test("After 300 s without heartbeat an agent is hidden unless asked for; one with an open session is not")
    mutating func expiry() {
        world.link(0, 1)
        _ = register(0, Self.agent)
        _ = register(0, #"{"agent":{"agentId":"v","name":"V","description":""}}"#)
        world.give(.sessionOpened(SessionID(5), agent: "v"), [], to: 1)
        world.deliver()
        world.pass(milliseconds: 300_000)
        #expect(ids(0) == ["v", "w"])
        world.pass(milliseconds: 1)
        #expect(ids(0) == ["v"] && ids(1) == ["v"] && ids(1, expired: true) == ["v", "w"])
        #expect(world.ask(1, registry: .heartbeat(agent: "w")).status == 200)
        world.deliver()
        #expect(ids(0) == ["v", "w"])
    }

    @Test("Heartbeats answer 200, are written every ten seconds at most, and 404 for nobody")
    mutating func heartbeats() {
        #expect(world.ask(0, registry: .heartbeat(agent: "w")).status == 404)
        _ = register(0, Self.agent)
        for (laterMs, isWritten) in [(9_999, true), (1, false), (9_998, false), (1, true)] as [(UInt64, Bool)] {
            world.pass(milliseconds: laterMs)
            let before = world.nodes[0].cluster.log.end
            let answer = world.ask(0, registry: .heartbeat(agent: "w"))
            #expect(answer.status == 200 && answer.text.contains(#""agentId":"w","success":true"#))
            #expect((world.nodes[0].cluster.log.end > before) == isWritten)
        }
        #expect(world.ask(0, .manifest("w")).text.contains(#""last_seen":"2025-02-19T21:20:50.122Z""#))
    }

    @Test("Removed, an agent has retired everywhere, and a second removal finds nobody")
    mutating func removal() {
        world.link(0, 1)
        _ = register(0, Self.agent)
        world.deliver()
        #expect(world.ask(1, registry: .removeAgent("w")).status == 204)
        world.deliver()
        #expect(world.ask(0, registry: .removeAgent("w")).status == 404)
        #expect(ids(0, expired: true).isEmpty && world.ask(0, .manifest("w")).status == 404)
        #expect(world.announced(0, "AgentLifecycle").last?["eventType"] as? String == "AgentRetired")
    }

    @Test(
        "What is no agent is refused with 422",
        arguments: [
            #"{"agent":[]}"#, #"{"agent":null}"#, #"{"agent":{"name":"W"}}"#, #"{"agent":{"agentId":"w"}}"#,
            #"{"agent":{"agentId":"","name":"W"}}"#, #"{"agent":{"agentId":"w","name":7}}"#,
            #"{"agent":{"agentId":"w","name":"W","description":1}}"#,
            #"{"agent":{"agentId":"w","name":"W","capabilities":[{}]}}"#,
            #"{"agent":{"agentId":"w","name":"W","capabilities":"x"}}"#,
            #"{"agent":{"agentId":"w","name":"W","consumedEvents":[1]}}"#,
            #"{"agent":{"agentId":"w","name":"W","producedEvents":"x"}}"#,
            #"{"agent":{"agentId":"w","agent_id":"v","name":"W"}}"#, "[]", "{",
        ])
    mutating func refusals(_ body: String) {
        let answer = register(0, body)
        #expect(answer.status == 422 && answer.object["detail"] as? String == answer.message, "\(answer)")
        #expect(ids(0).isEmpty)
    }

    @Test(
        "The later registration of two sides of a partition stays, and so do capabilities that another protocol added")
    mutating func sides() {
        world.link(0, 1)
        _ = register(0, Self.agent)
        world.deliver()
        world.unlink(0, 1)
        _ = register(0, Self.agent.replacingFirst("does", with: "did"))
        _ = world.ask(1, .patch("w"), #"{"capabilities":["t",{"name":"extra"}],"status":"busy"}"#)
        world.link(0, 1)
        world.deliver()
        for i in [0, 1] {
            let shown = agents(i, id: "w").first ?? [:]
            #expect(shown["description"] as? String == "did")
            let names = (shown["capabilities"] as? [[String: Any]])?.compactMap { $0["taskName"] as? String }
            #expect(names == ["t", "extra"])
        }
    }
}

extension String {
    fileprivate func replacingFirst(_ old: String, with new: String) -> String {
        guard let range = firstRange(of: old) else { return self }
        return replacingCharacters(in: range, new)
    }
    private func firstRange(of text: String) -> Range<Index>? { ranges(of: text).first }
    private func replacingCharacters(in range: Range<Index>, _ new: String) -> String {
        String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
    }
}
