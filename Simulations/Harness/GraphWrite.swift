internal import CRDT

/// Where an edge leads, and what it says.
struct GraphEdge: Hashable, Sendable {
    let to: String
    let type: String
}

/// What an agent asks for in the graph; its place in the ledger is what it writes wherever it writes a value.
struct GraphWrite: Sendable {
    enum What: Equatable, Sendable {
        /// Makes a node, with the id that the agent chose, or one that the peer makes.
        case node(id: String?)
        /// Gives a node another type.
        case retype(String)
        /// Writes a note into a node's data.
        case note(String)
        /// Removes the note.
        case unnote(String)
        /// Removes a node.
        case remove(String)
        case edge(from: String, GraphEdge)
        /// Removes an edge.
        case cut(from: String, GraphEdge)
    }

    let what: What

    /// The request's body at this place of the ledger; empty for a removal.
    func body(_ place: Int) -> [UInt8] {
        switch what {
        case .node(let id):
            let named = id.map { "\"id\":\"\($0)\"," } ?? ""
            return Array("{\(named)\"type\":\"idea\",\"data\":{\"n\":\(place)}}".utf8)
        case .retype: return Array("{\"type\":\"idea \(place)\"}".utf8)
        case .note: return Array("{\"data\":{\"note\":\(place)}}".utf8)
        case .unnote: return Array("{\"data\":{\"note\":null}}".utf8)
        case .edge(_, let edge): return Array("{\"to\":\"\(edge.to)\",\"type\":\"\(edge.type)\"}".utf8)
        case .remove, .cut: return []
        }
    }

    /// The node that is written to; nil for one that the peer has still to name.
    var node: String? {
        switch what {
        case .node(let id): id
        case .retype(let id), .note(let id), .unnote(let id), .remove(let id): id
        case .edge(let from, _), .cut(let from, _): from
        }
    }

    /// Whether a node is made.
    var makesNode: Bool { if case .node = what { true } else { false } }
    /// Whether something is removed.
    var removes: Bool {
        switch what {
        case .unnote, .remove, .cut: true
        case .node, .retype, .note, .edge: false
        }
    }

    /// Whether there may be nothing to write: a field that is not there is removed by saying so.
    var mayChangeNothing: Bool { if case .unnote = what { true } else { false } }

    /// Whether it may be asked for again elsewhere: without an id of its own, a node would come twice.
    var isRepeatable: Bool { what != .node(id: nil) }

    /// What it writes to a field of its node; `absent` where it removes the field, nil where it leaves it alone.
    func value(of field: GraphField, at place: Int) -> GraphValue? {
        switch (what, field) {
        case (.remove, _): .absent
        case (.node, .existence): .there
        case (.node, .type): .says(.string("idea"))
        case (.node, .number): .says(.number(Double(place)))
        case (.retype, .type): .says(.string("idea \(place)"))
        case (.note, .note): .says(.number(Double(place)))
        case (.unnote, .note): .absent
        case (.edge(_, let mine), .edge(let edge)) where mine == edge: .there
        case (.cut(_, let mine), .edge(let edge)) where mine == edge: .absent
        case (.node, _), (.retype, _), (.note, _), (.unnote, _), (.edge, _), (.cut, _): nil
        }
    }

    /// The fields that it writes, but for a removal's, which are all.
    var fields: [GraphField] {
        switch what {
        case .node: [.existence, .type, .number]
        case .retype: [.type]
        case .note, .unnote: [.note]
        case .remove: [.existence]
        case .edge(_, let edge), .cut(_, let edge): [.edge(edge)]
        }
    }
}

/// What of a node is written on its own.
enum GraphField: Hashable, Sendable {
    case existence, type, number, note
    case edge(GraphEdge)
}

/// What a field of a graph node shows.
enum GraphValue: Equatable, Sendable {
    case absent
    case there
    case says(JSON)
}

/// A write that some node took, whether or not the agent ever heard of it.
struct GraphTaken: Sendable {
    /// Its place in the ledger.
    let place: Int
    let stamp: HybridTimestamp
    /// When, in microseconds since the world began.
    let at: UInt64
    /// Who is known to have it: who took it, and who said later that it is there.
    var holders: Set<Acknowledgement>
}

/// All that was asked for and done in the graph.
struct GraphLedger: Sendable {
    private(set) var writes: [GraphWrite] = []
    /// What was done to each node, by its id.
    private(set) var taken: [String: [GraphTaken]] = [:]
    /// Writes that a node was given and did not answer before it died, or whose answer was that it took too long: they
    /// may be done or not, under a stamp that nobody was told.
    private(set) var unanswered: Set<Int> = []

    /// Enters what is about to be asked for.
    mutating func write(_ what: GraphWrite.What) -> Int {
        writes.append(GraphWrite(what: what))
        return writes.count - 1
    }

    /// A node says that the write at this place is there under this stamp: it took it just now, or found it done.
    mutating func take(_ place: Int, of id: String, at stamp: HybridTimestamp, now: UInt64, by life: Acknowledgement) {
        if let known = taken[id]?.firstIndex(where: { $0.stamp == stamp }) {
            taken[id]![known].holders.insert(life)
        } else {
            taken[id, default: []].append(GraphTaken(place: place, stamp: stamp, at: now, holders: [life]))
        }
    }

    /// Nobody will ever say what became of the write at this place.
    mutating func neverAnswered(_ place: Int) { unanswered.insert(place) }

    /// The unanswered writes that may have been done to a node; those that made it themselves, too, where the peer chose
    /// the id: `number` is what the node shows, which is the place of the write that made it.
    private func unanswered(_ id: String, _ number: GraphValue?) -> [Int] {
        guard !unanswered.isEmpty else { return [] }
        return unanswered.filter { place in
            writes[place].node == id
                || writes[place].what == .node(id: nil) && number == .says(.number(Double(place)))
        }.sorted()
    }

    /// Whether a node that is shown with this number may have been made by a write that was never answered.
    func mayExist(_ id: String, _ number: GraphValue) -> Bool {
        unanswered(id, number).contains { writes[$0].makesNode }
    }

    /// The write under this stamp.
    func taken(_ stamp: HybridTimestamp, of id: String) -> GraphTaken? { taken[id]?.first { $0.stamp == stamp } }

    /// What a field may show to somebody who has at least the writes for which `isKnown`: the last of these, or any later
    /// one. A write that its node may have submitted again counts as later than all: from before `lastReset`, the last
    /// moment at which a node started anew.
    func allowed(
        _ field: GraphField, of id: String, number: GraphValue? = nil, lastReset: UInt64,
        isKnown: (GraphTaken) -> Bool
    ) -> [GraphValue] {
        var known: (stamp: HybridTimestamp, value: GraphValue)?
        let writes = (taken[id] ?? []).compactMap { taken in
            self.writes[taken.place].value(of: field, at: taken.place).map { (taken, value: $0) }
        }
        for (taken, value) in writes where isKnown(taken) && (known.map { $0.stamp < taken.stamp } ?? true) {
            known = (taken.stamp, value)
        }
        let others = writes.filter { taken, _ in
            taken.at < lastReset || known.map { $0.stamp < taken.stamp } ?? true
        }
        let unknown = unanswered(id, number).compactMap { self.writes[$0].value(of: field, at: $0) }
        return [known?.value ?? .absent] + others.map(\.value) + unknown
    }
}
