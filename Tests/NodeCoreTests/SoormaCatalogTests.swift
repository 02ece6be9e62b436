import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("Soorma: event types and schemas")
struct SoormaCatalogTests {
    private var world = NodeWorld(clocksAheadMs: [0, 0])

    private mutating func event(_ i: Int, _ body: String) -> Answer { world.ask(i, registry: .registerEvent, body) }
    private mutating func schema(_ i: Int, _ body: String) -> Answer { world.ask(i, registry: .registerSchema, body) }

    private mutating func events(_ i: Int, name: String? = nil, topic: String? = nil) -> [String] {
        let answer = world.ask(i, registry: .events(name: name, topic: topic))
        let list = answer.object["events"] as? [[String: Any]] ?? []
        #expect(answer.status == 200 && answer.object["count"] as? Int == list.count)
        return list.compactMap { $0["eventName"] as? String }
    }

    private mutating func schemas(_ i: Int, owner: String? = nil) -> [String] {
        let answer = world.ask(i, registry: .schemas(owner: owner))
        let list = answer.object["schemas"] as? [[String: Any]] ?? []
        #expect(answer.status == 200 && answer.object["count"] as? Int == list.count)
        return list.map { "\($0["schemaName"] ?? "")@\($0["version"] ?? "")" }
    }

    private static func version(_ version: String, of name: String = "s", owner: String = "null", _ more: String = "")
        -> String
    {
        #"{"schema":{"schemaName":"\#(name)","version":"\#(version)","jsonSchema":{"type":"object"},"description":null,"#
            + #""ownerAgentId":\#(owner),"createdAt":null,"updatedAt":null\#(more)}}"#
    }

    @Test("An event type is kept as it came, found by name and topic, and replaced by what is said later")
    mutating func eventTypes() {
        world.link(0, 1)
        let said =
            #"{"eventName":"b/1","topic":"business-facts","description":"d","payloadSchema":{"x":1.0},"responseSchema":null}"#
        let made = event(0, #"{"event":\#(said)}"#)
        #expect(made.text == #"{"eventName":"b/1","success":true,"message":"The event is registered."}"#)
        _ = event(0, #"{"event_name":"a","topic":"task-events"}"#)
        world.deliver()
        #expect(world.ask(1, registry: .events(name: "b/1", topic: nil)).text == #"{"events":[\#(said)],"count":1}"#)
        #expect(events(1) == ["a", "b/1"] && events(1, topic: "task-events") == ["a"])
        #expect(events(1, name: "a", topic: "business-facts").isEmpty && events(1, name: "c").isEmpty)
        #expect(world.ask(1, registry: .events(name: "a", topic: nil)).text.contains(#""description":"""#))
        // The same again is no write, another is.
        let before = world.nodes[1].cluster.log.end
        #expect(event(1, #"{"event":\#(said)}"#).status == 200 && world.nodes[1].cluster.log.end == before)
        #expect(!event(1, #"{"event":{"eventName":"a","topic":"plan-events"}}"#).stamp.isEmpty)
        world.deliver()
        #expect(events(0, topic: "plan-events") == ["a"] && events(0, topic: "task-events").isEmpty)
    }

    @Test("A schema has versions; the latest is the highest, whatever the order in which they came")
    mutating func versions() {
        world.link(0, 1)
        for version in ["1.9.0", "1.10.0", "draft", "2.0.0-rc.1", "1.2"] {
            let made = schema(0, Self.version(version))
            #expect(
                made.text
                    == #"{"schemaName":"s","version":"\#(version)","success":true,"message":"The schema is registered."}"#
            )
        }
        world.deliver()
        let latest = world.ask(1, registry: .schema(name: "s", version: nil))
        let time = "2025-02-19T21:20:30.123Z"
        #expect(
            latest.text
                == #"{"schemaName":"s","version":"2.0.0-rc.1","jsonSchema":{"type":"object"},"description":null,"#
                + #""ownerAgentId":null,"createdAt":"\#(time)","updatedAt":"\#(time)"}"#)
        #expect(world.ask(1, registry: .schema(name: "s", version: "1.2")).object["version"] as? String == "1.2")
        #expect(world.ask(1, registry: .schema(name: "s", version: "3")).status == 404)
        #expect(world.ask(1, registry: .schema(name: "t", version: nil)).status == 404)
        #expect(schemas(1) == ["s@2.0.0-rc.1", "s@1.10.0", "s@1.9.0", "s@1.2", "s@draft"])
    }

    @Test("Registered again, a version is what was said last, made when it was first; the same again is no write")
    mutating func again() {
        _ = schema(0, Self.version("1", owner: #""w""#))
        world.pass(milliseconds: 1_000)
        let before = world.nodes[0].cluster.log.end
        #expect(schema(0, Self.version("1", owner: #""w""#)).status == 200)
        #expect(world.nodes[0].cluster.log.end == before)
        #expect(schemas(0, owner: "w") == ["s@1"])
        #expect(schema(0, Self.version("1", owner: #""v""#)).status == 200)
        let shown = world.ask(0, registry: .schema(name: "s", version: nil)).object
        #expect(shown["createdAt"] as? String == "2025-02-19T21:20:30.123Z")
        #expect(shown["updatedAt"] as? String == "2025-02-19T21:20:31.123Z")
        #expect(schemas(0, owner: "w").isEmpty && schemas(0, owner: "v") == ["s@1"])
        _ = schema(0, Self.version("1"))
        #expect(schemas(0, owner: "v").isEmpty && schemas(0) == ["s@1"])
    }

    @Test("Versions that two sides of a partition register both stay")
    mutating func sides() {
        world.link(0, 1)
        _ = schema(0, Self.version("1"))
        world.deliver()
        world.unlink(0, 1)
        _ = schema(0, Self.version("2"))
        _ = schema(1, Self.version("3"))
        _ = event(0, #"{"eventName":"a","topic":"t"}"#)
        _ = event(1, #"{"eventName":"b","topic":"t"}"#)
        world.link(0, 1)
        world.deliver()
        for i in [0, 1] {
            #expect(schemas(i) == ["s@3", "s@2", "s@1"] && events(i, topic: "t") == ["a", "b"])
        }
    }

    @Test("At a bound what is new is refused with 507 and counted, what is there may change")
    mutating func bounds() {
        world.tamper(0) {
            ($0.catalog.maximumEventTypes, $0.catalog.maximumSchemas, $0.catalog.maximumVersions) = (1, 1, 2)
        }
        _ = event(0, #"{"eventName":"a","topic":"t"}"#)
        #expect(event(0, #"{"eventName":"b","topic":"t"}"#).status == 507)
        #expect(event(0, #"{"eventName":"a","topic":"u"}"#).status == 200)
        _ = schema(0, Self.version("1"))
        _ = schema(0, Self.version("2"))
        #expect(schema(0, Self.version("3")).status == 507 && schema(0, Self.version("1", of: "r")).status == 507)
        #expect(schema(0, Self.version("1", owner: #""w""#)).status == 200)
        #expect(world.metric(0, "catalog_refused_total") == 3)
        #expect(world.metric(0, "event_types") == 1 && world.metric(0, "schemas") == 1)
    }

    @Test(
        "What is no event type or schema is refused with 422",
        arguments: [
            #"{}"#, #"{"event":1}"#, #"{"eventName":"","topic":"t"}"#, #"{"eventName":"a"}"#,
            #"{"eventName":"a","topic":"t","description":[]}"#, #"{"schemaName":"s","version":"1"}"#,
            #"{"schemaName":"s","version":"","jsonSchema":{}}"#, #"{"schemaName":"s","version":"1","jsonSchema":"x"}"#,
            #"{"schemaName":"s","jsonSchema":{}}"#,
            #"{"schemaName":"s","version":"1","jsonSchema":{},"ownerAgentId":1}"#,
        ])
    mutating func refusals(_ body: String) {
        #expect(event(0, body).status == 422 && schema(0, body).status == 422)
        #expect(events(0).isEmpty && schemas(0).isEmpty)
    }

    @Test(
        "Versions are ordered as Semantic Versioning has it",
        arguments: [
            ("draft", "0"), ("a", "b"), ("1.0.0-alpha", "1.0.0-alpha.1"), ("1.0.0-alpha.1", "1.0.0-alpha.beta"),
            ("1.0.0-beta.2", "1.0.0-beta.11"), ("1.0.0-rc.1", "1.0.0"), ("1.9", "1.10"), ("v1.2.3", "2"),
            ("1.0.0+a", "1.0.0+b"), ("1.2.3.4", "0.0.1"), ("999999999999999999999", "1"),
        ])
    func order(_ pair: (String, String)) {
        let (low, high) = (SemanticVersion(Array(pair.0.utf8)), SemanticVersion(Array(pair.1.utf8)))
        #expect(low < high && !(high < low))
    }
}
