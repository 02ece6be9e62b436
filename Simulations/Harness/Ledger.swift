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
    /// When it was first asked for, in microseconds since the world began.
    var askedAt: UInt64?
    /// How many requests for it nodes were given, and how many of these they refused.
    var offers = 0
    var refusals = 0
    /// Whether everybody who was asked for it said no.
    var isRefused: Bool { offers > 0 && offers == refusals }
    /// Whether it was given to one node only and taken there: who waits for other nodes, or dies, takes it without a word.
    var isOne: Bool { copies == 1 && offers <= 1 }
    /// What filters look at in it.
    var traits = Traits()
    /// Whether it is a bus event; then its scope is a topic.
    var isBus: Bool { traits.isBus }
}

/// A machine said yes on behalf of so many.
struct Acknowledgement: Hashable, Sendable {
    let node: Int
    /// Which of the histories of that machine: see `Node.history`.
    let history: Int
    /// How many machines have what was acknowledged, the one that said so among them.
    var copies = 1
    /// When they may have got it at the earliest, in microseconds since the world began.
    var at: UInt64 = 0
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

    /// What filters look at.
    func traits(of place: Int) -> Traits { postings[place].traits }

    /// Where the event of this id stands; nil when nobody posted it.
    func place(of key: EventKey) -> Int? { places[key] }

    /// Enters what is about to be posted.
    mutating func add(_ posting: Posting) -> Int {
        places[posting.key] = postings.count
        postings.append(posting)
        return postings.count - 1
    }
}
