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

/// All that agents ever asked for, and what they were told.
struct Ledger {
    private(set) var postings: [Posting] = []
    private var places: [EventKey: Int] = [:]
    /// What agents asked for in the graph.
    var graph = GraphLedger()

    subscript(_ place: Int) -> Posting {
        get { postings[place] }
        set { postings[place] = newValue }
    }

    /// The scope alone: asked for at every delivery.
    func scope(of place: Int) -> String { postings[place].scope }

    /// Where the event of this id stands; nil when nobody posted it.
    func place(of key: EventKey) -> Int? { places[key] }

    /// Enters what is about to be posted.
    mutating func add(_ posting: Posting) -> Int {
        places[posting.key] = postings.count
        postings.append(posting)
        return postings.count - 1
    }
}
