import CRDT
import Gossip

/// Queue groups as clients see them. Consumers and progress are those of the whole cluster, as far as this node knows;
/// counts of what was done are this node's own since it started.
extension NodeCore {
    mutating func listGroups(_ request: RequestID, into effects: inout Effects) {
        let start = effects.bytes.count
        effects.bytes.append(constant: "{\"groups\":[")
        for (i, name) in groups.all.keys.sorted().enumerated() {
            if i > 0 { effects.bytes.append(UInt8(ascii: ",")) }
            append(group: name, isWhole: false, into: &effects.bytes)
        }
        effects.bytes.append(constant: "],")
        appendReach(into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    mutating func showGroup(_ request: RequestID, _ name: String, into effects: inout Effects) throws(NodeError) {
        guard groups.all[name] != nil else { throw Self.noGroup(name) }
        let start = effects.bytes.count
        append(group: name, isWhole: true, into: &effects.bytes)
        effects.list.append(.reply(request, Reply(status: 200), body: start..<effects.bytes.count))
    }

    mutating func deleteGroup(
        _ request: RequestID, _ name: String, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        guard groups.all[name] != nil || documents.exists(QueueGroups.prefix + name) else { throw Self.noGroup(name) }
        let stamp = try put(QueueGroups.prefix + name, [.remove], now: now, into: &effects)
        readStaleGroups(now: now, into: &effects)
        effects.list.append(.reply(request, Reply(status: 204, stamp: stamp), body: 0..<0))
    }

    /// How many members answer: what this node does not see, it cannot tell of.
    private func appendReach(into out: inout [UInt8]) {
        out.append(constant: "\"reachable\":")
        out.append(json: cluster.membership.aliveCount)
        out.append(constant: ",\"members\":")
        out.append(json: cluster.membership.members.count)
        out.append(UInt8(ascii: "}"))
    }

    private mutating func append(group name: String, isWhole: Bool, into bytes: inout [UInt8]) {
        guard let group = groups.all[name] else { return }
        let decider = group.decider
        let logs = decider.knownLogs.filter { decider.mine[$0] != nil || decider.others[$0] != nil }
        var out = JSONObjectWriter(&bytes)
        out.add("group", name, into: &bytes)
        out.key("filter", into: &bytes)
        bytes += group.options.filter
        out.add("ack_deadline_ms", Int(group.options.ackDeadlineMs), into: &bytes)
        out.add("max_attempts", Int(group.options.maxAttempts), into: &bytes)
        out.add("dead_letter_topic", group.options.deadLetterTopic, into: &bytes)
        out.add("takeover", group.options.takeover.rawValue, into: &bytes)
        out.add("sharing", group.options.sharing.rawValue, into: &bytes)
        if let created = group.since.values.map(\.stamp).min() {
            out.key("created", into: &bytes)
            bytes.append(UInt8(ascii: "\""))
            ISOTime.write(milliseconds: created.milliseconds, into: &bytes)
            bytes.append(UInt8(ascii: "\""))
        }
        out.add("consumers", decider.consumers.count, into: &bytes)
        out.add("open", logs.reduce(0) { $0 + decider.joined($1).open.count }, into: &bytes)
        out.add("in_flight", decider.inFlight, into: &bytes)
        out.add("pending", decider.items.count - decider.inFlight, into: &bytes)
        out.add("has_more", group.backlog != nil, into: &bytes)
        let counters = decider.counters
        // What a consumer without room gave back was not delivered.
        out.add("delivered", counters.delivered - counters.bounced, into: &bytes)
        out.add("acked", counters.acked, into: &bytes)
        out.add("redelivered", counters.redelivered, into: &bytes)
        out.add("dead_lettered", counters.deadLettered, into: &bytes)
        if isWhole {
            out.key("sessions", into: &bytes)
            appendConsumers(decider, into: &bytes)
            out.key("logs", into: &bytes)
            append(logs, of: name, into: &bytes)
        }
        out.close(into: &bytes)
    }

    private func appendConsumers(_ decider: GroupDecider, into bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "["))
        for (i, consumer) in decider.consumers.enumerated() {
            if i > 0 { bytes.append(UInt8(ascii: ",")) }
            var out = JSONObjectWriter(&bytes)
            append(consumer.seat, &out, into: &bytes)
            out.add("max_in_flight", consumer.limit, into: &bytes)
            out.add("in_flight", consumer.inFlight, into: &bytes)
            out.close(into: &bytes)
        }
        bytes.append(UInt8(ascii: "]"))
    }

    private mutating func append(_ logs: [ReplicaID], of name: String, into bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "["))
        for (i, log) in logs.enumerated() {
            if i > 0 { bytes.append(UInt8(ascii: ",")) }
            var out = JSONObjectWriter(&bytes)
            out.add("log", log.description, into: &bytes)
            if let decider = groups.all[name]?.decider.base(of: log) {
                out.add("decider", decider.description, into: &bytes)
            }
            let joined = groups.all[name]?.decider.joined(log) ?? Settled()
            out.add("through", Int(joined.through), into: &bytes)
            out.add("open", joined.open.count, into: &bytes)
            out.close(into: &bytes)
        }
        bytes.append(UInt8(ascii: "]"))
    }
}

extension GroupDecider {
    /// What is settled of a log, by all that is known here.
    func joined(_ log: ReplicaID) -> Settled {
        var joined = mine[log] ?? Settled()
        if let theirs = others[log] { joined.merge(theirs) }
        return joined
    }
}
