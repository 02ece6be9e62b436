internal import CRDT

/// A graph node as a peer shows it.
struct ShownNode {
    let id: String
    private let type: JSON?
    private let data: JSON?
    let edges: Set<GraphEdge>

    /// Reads one from an answer.
    init(_ node: JSON) throws(Violation) {
        guard let id = node["id"]?.text, let out = node["edges"]?.array, case .object(let data)? = node["data"] else {
            throw Violation("a graph node has an id, data and edges", "\(node)")
        }
        if let odd = data.keys.filter({ $0 != "n" && $0 != "note" }).min() {
            throw Violation("a graph node says what was written", "\(odd) in \(node)")
        }
        var edges: Set<GraphEdge> = []
        for edge in out {
            guard let to = edge["to"]?.text, let type = edge["type"]?.text else {
                throw Violation("an edge has a target and a type", "\(edge)")
            }
            if !edges.insert(GraphEdge(to: to, type: type)).inserted {
                throw Violation("no edge is listed twice", "\(id) \(type) \(to)")
            }
        }
        (self.id, self.edges, type, self.data) = (id, edges, node["type"], node["data"])
    }

    /// What it shows in a field.
    func value(of field: GraphField) -> GraphValue {
        switch field {
        case .existence: .there
        case .type: type.map { .says($0) } ?? .absent
        case .number: data?["n"].map { .says($0) } ?? .absent
        case .note: data?["note"].map { .says($0) } ?? .absent
        case .edge(let edge): edges.contains(edge) ? .there : .absent
        }
    }
}

/// The graph as agents wrote it: each field shows the last write that a survivor has, or a later one; so nothing is
/// lost, nothing that was removed comes back, and nothing is there that nobody wrote.
extension Finally {
    /// Checks a node's list of graph nodes against what agents asked for and what nodes took.
    static func graphKept(
        _ graph: [UInt8], ledger: GraphLedger, lastReset: UInt64 = 0, survives: (Acknowledgement) -> Bool
    ) throws(Violation) {
        guard let list = (try? JSONReader.parse(graph))?.array else {
            throw Violation("GET /api/nodes answers an array", String(decoding: graph.prefix(300), as: UTF8.self))
        }
        var shown: [String: ShownNode] = [:]
        for json in list {
            let node = try ShownNode(json)
            guard ledger.taken[node.id] != nil || ledger.mayExist(node.id, node.value(of: .number)) else {
                throw Violation("no graph node is there that nobody wrote", "\(json)")
            }
            if shown.updateValue(node, forKey: node.id) != nil {
                throw Violation("no graph node is listed twice", node.id)
            }
        }
        for id in Set(ledger.taken.keys).union(shown.keys).sorted() {
            func check(_ field: GraphField, _ value: GraphValue) throws(Violation) {
                let allowed = ledger.allowed(
                    field, of: id, number: shown[id]?.value(of: .number), lastReset: lastReset
                ) { $0.holders.contains(where: survives) }
                if !allowed.contains(value) { throw broken(field, of: id, shows: value, ledger) }
            }
            guard let node = shown[id] else {
                try check(.existence, .absent)
                continue
            }
            var edges = Set(node.edges.map { GraphField.edge($0) })
            for taken in ledger.taken[id] ?? [] {
                for case .edge(let edge) in ledger.writes[taken.place].fields { edges.insert(.edge(edge)) }
            }
            let fields = [.existence, .type, .number, .note] + edges.sorted { "\($0)" < "\($1)" }
            for field in fields { try check(field, node.value(of: field)) }
        }
    }

    /// What a field that shows what it must not means for people.
    private static func broken(
        _ field: GraphField, of id: String, shows value: GraphValue, _ ledger: GraphLedger
    ) -> Violation {
        let writes = (ledger.taken[id] ?? []).filter { ledger.writes[$0.place].value(of: field, at: $0.place) != nil }
            .sorted { $0.stamp < $1.stamp }
        let story = writes.suffix(6).map { taken in
            let who = taken.holders.map { "\($0.node).\($0.history)" }.sorted().joined(separator: ",")
            return "\(ledger.writes[taken.place].what) as the \(taken.place)th at \(taken.stamp) by \(who)"
        }
        let wasWritten = writes.contains { ledger.writes[$0.place].value(of: field, at: $0.place) == value }
        let promise =
            switch (field, value) {
            case (.existence, .absent): "no graph node is lost that a survivor acknowledged"
            case (.existence, _) where wasWritten: "no graph node comes back that was removed"
            case (.existence, _): "no graph node is there that nobody wrote"
            case (.edge, .absent): "no edge is lost that a survivor acknowledged"
            case (.edge, _) where wasWritten: "no edge comes back that was removed"
            case (.edge, _): "no edge is there that nobody drew"
            case (.type, _), (.number, _), (.note, _): "a graph node says what was written"
            }
        return Violation(promise, "\(field) of \(id) shows \(value) after \(story.joined(separator: "; "))")
    }

    /// The node that an answer to a write must show: as it was written.
    static func graphAnswer(_ answer: JSON, to write: GraphWrite, at place: Int) throws(Violation) -> String {
        let node = try ShownNode(answer)
        if let id = write.node, id != node.id {
            throw Violation("a graph node is answered under the id that it was given", "\(answer)")
        }
        for field in write.fields where write.value(of: field, at: place) != node.value(of: field) {
            throw Violation("a graph node is answered as it was written", "\(field) of the \(place)th write: \(answer)")
        }
        return node.id
    }

    /// What a peer shows of a node, nil for nothing, to somebody who has seen the write under this stamp: that one, or a
    /// later one.
    static func showsAtLeast(
        _ stamp: HybridTimestamp, of id: String, _ answer: JSON?, ledger: GraphLedger, lastReset: UInt64
    ) throws(Violation) {
        guard let seen = ledger.taken(stamp, of: id) else { return }
        let node = try answer.map { (answer) throws(Violation) in try ShownNode(answer) }
        // A late change of a node that was removed is not shown, and rightly.
        let fields = node == nil ? [.existence] : ledger.writes[seen.place].fields
        for field in fields {
            let value = node?.value(of: field) ?? .absent
            let allowed = ledger.allowed(
                field, of: id, number: node?.value(of: .number), lastReset: lastReset
            ) { $0.stamp == stamp }
            if allowed.contains(value) { continue }
            throw Violation(
                "a read with a clock covers the write that the clock came from",
                "\(field) of \(id) shows \(value) to who had seen the \(seen.place)th write at \(stamp)")
        }
    }
}
