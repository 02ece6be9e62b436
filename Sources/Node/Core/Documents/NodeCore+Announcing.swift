import CRDT
import Gossip

/// Topics of the bus on which nodes alone speak: what is told there has happened.
enum AnnouncedTopic: String, CaseIterable, Sendable {
    /// `AgentIntroduced`, `AgentRetired`.
    case agentLifecycle = "AgentLifecycle"
    /// `AgentStatusUpdated`.
    case agentStatusUpdates = "AgentStatusUpdates"
    /// `ChatCreated`, `ChatUpdated`, `ChatDeleted`; turns are told of as `ChatUpdated`.
    case chatEvents = "ChatEvents"
    /// `MessageSent`, to those alone who may read the message.
    case messages = "Messages"
    /// What became of tasks.
    case taskEvents = "TaskEvents"
    /// What became of the cluster: `cluster.healed`.
    case cluster = "ClusterEvents"

    /// What the names of topics begin with on which changes of shared context are told, one for each namespace.
    static let contextPrefix = "ContextEvents."

    /// Whether clients may not publish on a topic.
    static func isReserved(_ topic: [UInt8]) -> Bool {
        allCases.contains { topic.elementsEqual($0.rawValue.utf8) } || topic.starts(with: contextPrefix.utf8)
    }
}

extension NodeCore {
    /// Tells everybody that something has happened: a bus event of this node's whose `type` is the event type, whose
    /// `source` is the agent whose doing it is, and whose `data` hold the seed's fields, `eventType` and `timestamp`
    /// among them. `fields` come between the two.
    mutating func announce(
        _ topic: AnnouncedTopic, _ type: String, source: String, id: UUID? = nil,
        _ fields: [(key: String, value: JSONValue)], now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try announce(topic: topic.rawValue, type, source: source, id: id, fields, now: now, into: &effects)
    }

    /// The same on a topic with a name of its own. By `correlation` those about one thing are found again.
    mutating func announce(
        topic: String, _ type: String, source: String, correlation: String? = nil, id: UUID? = nil,
        _ fields: [(key: String, value: JSONValue)], now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        var time: [UInt8] = []
        ISOTime.write(milliseconds: cluster.nowMs(now), into: &time)
        let data: [(key: String, value: JSONValue)] =
            [("eventType", .string(type))] + fields + [("timestamp", .string(String(decoding: time, as: UTF8.self)))]
        let id = id ?? UUID(random: dice.next(), dice.next())
        let event = JSONValue.object(
            [
                ("id", .string(id.text)), ("topic", .string(topic)), ("type", .string(type)),
                ("source", .string(source)),
            ] + (correlation.map { [("correlation_id", .string($0))] } ?? []) + [("data", .object(data))]
        ).encoded()
        let draft = Draft.bus(try BusDraft(event.span.bytes, isAnnounced: true))
        _ = try accept(draft, event.span.bytes, id: id, patterns: [], now: now, into: &effects)
        counters.announced += 1
    }
}
