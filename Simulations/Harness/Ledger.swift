internal import Gossip

/// One thing that agents posted, under however many copies.
struct Posting {
    let key: EventKey
    let scope: String
    let parents: [Int]
    /// The body, and the other one when somebody posted something different under the same id.
    let body: [UInt8]
    var otherBody: [UInt8]?
    /// Who told an agent that the event is taken.
    var acknowledgements: [Acknowledgement] = []
    /// How many nodes took it as new, whether or not their answer arrived.
    var copies = 0
}

/// One life of one machine said yes.
struct Acknowledgement: Hashable, Sendable {
    let node: Int
    let life: Int
}

/// Where an edge leads, and what it says.
struct GraphEdge: Hashable, Sendable {
    let to: String
    let type: String
}

/// A graph node or an edge that some agent wrote; its place in the ledger is what the node's data say.
struct GraphWrite {
    enum What: Equatable {
        /// A node, with the id that the agent chose, or one that the peer makes.
        case node(id: String?)
        case edge(from: String, GraphEdge)
    }

    static let nodeType = JSON.string("idea")
    let what: What
    /// The id under which somebody acknowledged it.
    var id: String?
    var acknowledgements: [Acknowledgement] = []

    /// The data of the node that was written at this place of the ledger.
    static func data(_ place: Int) -> JSON { .object(["n": .number(Double(place))]) }

    /// The request's body.
    func body(_ place: Int) -> [UInt8] {
        switch what {
        case .node(let id):
            let named = id.map { "\"id\":\"\($0)\"," } ?? ""
            return Array("{\(named)\"type\":\"idea\",\"data\":{\"n\":\(place)}}".utf8)
        case .edge(_, let edge): return Array("{\"to\":\"\(edge.to)\",\"type\":\"\(edge.type)\"}".utf8)
        }
    }

    /// Whether it is an edge.
    var isEdge: Bool { if case .edge = what { true } else { false } }

    /// Whether it may be asked for again elsewhere: without an id of its own, a node would come twice.
    var isRepeatable: Bool { what != .node(id: nil) }
}

/// All that agents ever asked for, and what they were told.
struct Ledger {
    private(set) var postings: [Posting] = []
    private var places: [EventKey: Int] = [:]
    /// All graph nodes and edges that agents wrote.
    private(set) var graph: [GraphWrite] = []
    private var edges: Set<[String]> = []

    subscript(_ place: Int) -> Posting {
        get { postings[place] }
        set { postings[place] = newValue }
    }

    /// The scope alone: asked for at every delivery.
    func scope(of place: Int) -> String { postings[place].scope }

    /// Where the event of this id stands; nil when nobody posted it.
    func place(of key: EventKey) -> Int? { places[key] }

    /// Whether some agent drew this edge.
    func drew(_ edge: GraphEdge, from: String) -> Bool { edges.contains([from, edge.to, edge.type]) }

    /// Enters what is about to be written to the graph.
    mutating func write(_ what: GraphWrite.What) -> Int {
        if case .edge(let from, let edge) = what { edges.insert([from, edge.to, edge.type]) }
        graph.append(GraphWrite(what: what))
        return graph.count - 1
    }

    /// Somebody acknowledged the write at this place, under this id of a node.
    mutating func acknowledge(graph place: Int, id: String, by life: Acknowledgement) {
        graph[place].id = id
        graph[place].acknowledgements.append(life)
    }

    /// Enters what is about to be posted.
    mutating func add(_ posting: Posting) -> Int {
        places[posting.key] = postings.count
        postings.append(posting)
        return postings.count - 1
    }
}
