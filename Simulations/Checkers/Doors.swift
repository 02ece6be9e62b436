internal import CRDT
internal import NodeCore

/// Whatever a client asks, it is told the same story: lists by scope and trace, single events, signals and graph nodes
/// agree with the whole list, and the metrics count what happened.
enum Doors {

    /// The ids in a list of events, in its order.
    static func ids(_ list: [JSON]) -> [String] { list.compactMap { $0["id"]?.text } }

    /// A list of the events that share something is what the whole list has of them, from its beginning on.
    static func part(
        _ list: [JSON], of events: [JSON], where field: String, is value: String, most: Int
    ) throws(Violation) {
        let expected = events.filter { $0[field] == .string(value) }.prefix(most)
        if list == Array(expected) { return }
        throw Violation(
            "the list of a \(field) is its part of the whole list",
            "\(value): \(ids(list).prefix(5)) of \(list.count) and \(ids(Array(expected)).prefix(5)) of \(expected.count)"
        )
    }

    /// The counters and gauges of a node that has come to rest.
    ///
    /// `accepted` is how often this life answered 201 to an event, `readOfOthers` how many entries of peers it has read;
    /// nil for a node that has read a snapshot or started anew. `events` is nil where it is not known how many messages of
    /// chats are among them.
    static func counted(
        _ testimony: Testimony, events: Int?, nodes: Int, sessions: Int, history: (accepted: Int, readOfOthers: Int)?
    ) throws(Violation) {
        var expected = [("hypha_sessions", sessions)]
        if let events { expected.append(("hypha_events", events)) }
        if let history {
            expected.append(("hypha_events_accepted_total", history.accepted))
            // A retired log is no longer named among what was read.
            if testimony.metrics["hypha_retired_logs"] == 0 {
                expected.append(("hypha_replicated_total", history.readOfOthers))
            }
        }
        // A node that started anew may have said a part of one again that was removed meanwhile: it is there and not shown.
        let documents = testimony.metrics["hypha_documents"] ?? 0
        if documents < nodes { expected.append(("hypha_documents", nodes)) }
        for (name, count) in expected where testimony.metrics[name] != count {
            throw Violation(
                "the metrics count what happened",
                "\(name) is \(testimony.metrics[name].map(String.init) ?? "missing") at node \(testimony.node), not "
                    + "\(count)")
        }
    }

    /// An answer to a post says what was posted, whoever posted it first.
    static func answers(_ answer: [UInt8], to posted: [UInt8]) -> Bool {
        guard case .object(let told)? = try? JSONReader.parse(answer),
            case .object(let asked)? = try? JSONReader.parse(posted)
        else { return false }
        return asked.allSatisfy { told[$0.key] == $0.value }
    }
}

extension Cluster {
    /// Asks a node in every other way for what it has listed.
    func doors(of node: Node, _ testimony: Testimony, _ events: [JSON]) throws(Violation) {
        for scope in Crowd.scopes {
            let list = try array(node, .eventsInScope(scope, .init(limit: 200)))
            try Doors.part(list, of: events, where: "scope", is: scope, most: 200)
        }
        for place in places(in: events.count) {
            let event = events[place]
            if let trace = event["trace_id"]?.text {
                let list = try array(node, .eventsInTrace(trace, .init(limit: 200)))
                try Doors.part(list, of: events, where: "trace_id", is: trace, most: 200)
            }
            let (status, body) = try ask(node, .event(id: event["id"]?.text ?? ""))
            if status != 200 || (try? JSONReader.parse(body)) != event {
                throw Violation("a single event is what the list says", "\(status) for \(event) at node \(node.index)")
            }
        }
        for (at, body) in testimony.signals {
            guard let body else { continue }
            let list = (try? JSONReader.parse(body))?.array ?? []
            for place in places(in: list.count) {
                let (scope, pattern) = (list[place]["scope"]?.text ?? "", list[place]["pattern"]?.text ?? "")
                let (status, body) = try ask(node, .signal(scope: scope, pattern: pattern, at: at))
                if status != 200 || (try? JSONReader.parse(body)) != list[place] {
                    throw Violation(
                        "a single signal is what the list says", "\(scope)/\(pattern) at node \(node.index)")
                }
            }
        }
        let graph = (try? JSONReader.parse(testimony.graph))?.array ?? []
        for place in places(in: graph.count) {
            let (status, body) = try ask(node, .node(id: graph[place]["id"]?.text ?? ""))
            if status != 200 || (try? JSONReader.parse(body)) != graph[place] {
                throw Violation("a single graph node is what the list says", "\(graph[place]) at node \(node.index)")
            }
        }
        let own = try opinions(of: node).first { $0.replica == node.replica.description }
        let others = (own?.read ?? [:]).filter { $0.key != node.replica.description }
        try Doors.counted(
            testimony,
            events: (options.isSocial ? society.messageCount : 0).map { messages in
                events.count + testimony.topics.reduce(0) { $0 + $1.events.count } + messages
            },
            nodes: graph.count,
            sessions: node.sessions.count(where: \.isOpen),
            // Which node took a message that was posted twice, its answer does not say.
            history: options.isSocial || node.witness.missesHistory || resets > 0 || sharesIDs || node.hasRecovered
                ? nil
                : (
                    accepted: always.taken[node.replica.rawValue] ?? 0,
                    readOfOthers: others.values.reduce(0) { $0 + Int($1.number ?? 0) }
                ))
    }

    /// The first, the last and one between.
    private func places(in count: Int) -> [Int] { Set([0, count / 2, count - 1]).filter { 0..<count ~= $0 }.sorted() }

    private func array(_ node: Node, _ request: Request) throws(Violation) -> [JSON] {
        let (status, body) = try ask(node, request)
        guard status == 200, let list = (try? JSONReader.parse(body))?.array else {
            throw Violation("a list is answered with an array", "\(status) for \(request) at node \(node.index)")
        }
        return list
    }
}
