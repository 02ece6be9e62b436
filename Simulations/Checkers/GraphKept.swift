/// The graph as agents wrote it: each field that a survivor acknowledged is there, and nothing that nobody wrote.
extension Finally {
    /// Checks a node's list of graph nodes against what agents asked for and were told.
    static func graphKept(
        _ graph: [UInt8], ledger: Ledger, survives: (Acknowledgement) -> Bool
    ) throws(Violation) {
        guard let list = (try? JSONReader.parse(graph))?.array else {
            throw Violation("GET /api/nodes answers an array", String(decoding: graph.prefix(300), as: UTF8.self))
        }
        var edges: [String: Set<GraphEdge>] = [:]
        var found: [Int: String] = [:]
        for node in list {
            let (id, out) = try graphNode(node)
            if edges.updateValue(out, forKey: id) != nil { throw Violation("no graph node is listed twice", id) }
            let place = try postedPlace(node, id, ledger)
            if let twin = found.updateValue(id, forKey: place) {
                throw Violation("no graph node is there twice under two ids", "\(twin) and \(id)")
            }
            for edge in out where !ledger.drew(edge, from: id) {
                throw Violation("no edge is there that nobody drew", "\(id) \(edge.type) \(edge.to)")
            }
        }
        for (place, write) in ledger.graph.enumerated() where write.acknowledgements.contains(where: survives) {
            switch write.what {
            case .node:
                guard found[place] != nil else {
                    throw Violation("no graph node is lost that a survivor acknowledged", write.id ?? "the \(place)th")
                }
            case .edge(let from, let edge):
                guard edges[from]?.contains(edge) == true else {
                    throw Violation("no edge is lost that a survivor acknowledged", "\(from) \(edge.type) \(edge.to)")
                }
            }
        }
    }

    /// What a graph node that was just written, or one that got an edge, must be answered with: itself, as written.
    static func graphAnswer(_ answer: JSON, to write: GraphWrite, at place: Int) throws(Violation) -> String {
        let (id, out) = try graphNode(answer)
        switch write.what {
        case .node(let id?) where answer["id"]?.text != id:
            throw Violation("a graph node is answered under the id that it was given", "\(answer)")
        case .node:
            if answer["type"] != GraphWrite.nodeType || answer["data"] != GraphWrite.data(place) {
                throw Violation("a graph node is answered as it was written", "\(answer)")
            }
        case .edge(let from, let edge):
            if id != from || !out.contains(edge) {
                throw Violation("an edge is answered with its node, in which it is", "\(edge.to) in \(answer)")
            }
        }
        return id
    }

    private static func graphNode(_ node: JSON) throws(Violation) -> (id: String, edges: Set<GraphEdge>) {
        guard let id = node["id"]?.text, let out = node["edges"]?.array else {
            throw Violation("a graph node has an id and edges", "\(node)")
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
        return (id, edges)
    }

    /// Which write made this graph node; broken when there is none, or it said something else.
    private static func postedPlace(_ node: JSON, _ id: String, _ ledger: Ledger) throws(Violation) -> Int {
        guard let number = node["data"]?["n"]?.number, let place = Int(exactly: number),
            ledger.graph.indices.contains(place), case .node(let chosen) = ledger.graph[place].what
        else { throw Violation("no graph node is there that nobody wrote", "\(node)") }
        let known = chosen ?? ledger.graph[place].id
        guard node["type"] == GraphWrite.nodeType, node["data"] == GraphWrite.data(place), known == nil || known == id
        else { throw Violation("a graph node says what was written", "\(node)") }
        return place
    }
}
