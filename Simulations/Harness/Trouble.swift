/// The kinds of trouble that are counted, so that a sweep can show that it was hard on the nodes.
enum Trouble: String, CaseIterable, Sendable {
    case datagramsSent = "datagrams sent"
    case datagramsLost = "datagrams lost to bad weather"
    case datagramsCut = "datagrams lost to a cut"
    case datagramsTwice = "datagrams delivered twice"
    case datagramsLate = "datagrams overtaken"
    case framesSent = "stream frames sent"
    case linksOpened = "links opened"
    case linksTimedOut = "links given up after 5 s without an answer"
    case dialsFailed = "dials that came to nothing"
    case partitions = "partitions"
    case oneWayCuts = "one-way cuts"
    case bridges = "bridge partitions"
    case crashes = "crashes"
    case restarts = "restarts"
    case leaves = "graceful leaves"
    case powerLosses = "power losses"
    case commits = "commits synced"
    case roomsShort = "commits that left too little room"
    case commitsFull = "commits that found no room"
    case fullDisks = "disks that got full"
    case refusedFull = "writes refused for lack of room (507)"
    case slowDisks = "disks that became slow"
    case stuckDisks = "disks that were stuck"
    case diskFailures = "nodes that died of a failed sync"
    case rottenDisks = "disks with flipped bits"
    case lostFiles = "files lost"
    case wipedDisks = "disks wiped"
    case staleDisks = "machines set back to a stale disk"
    case restoredDisks = "disks restored from a copy"
    case recoveries = "starts from what a disk held"
    case refusedStarts = "starts refused for damage"
    case strongAsks = "writes asked for at more than one node"
    case strongAcks = "of these acknowledged"
    case tooFew = "of these refused for too few members (409)"
    case tooLate = "of these not reached in time (504)"
    case pauses = "pauses"
    case events = "events posted"
    case twins = "ids posted at two peers at once"
    case conflicts = "of these with different bodies"
    case retries = "requests tried again elsewhere"
    case repeats = "repeats answered with the first copy"
    case refusedConflicts = "different bodies refused (409)"
    case unavailable = "requests refused for now (503)"
    case copies = "ids that two peers took as new"
    case lateEntries = "entries that arrived after a younger one"
    case waits = "entries that waited for their causes"
    case repairs = "repairs asked for"
    case suspicions = "suspicions"
    case refutations = "accusations contradicted"
    case deliveries = "events shown to subscribers"
    case resumes = "clients that went on with a cursor"
    case aheadResumes = "of these at a node that was behind them"
    case copiesAhead = "second copies shown to those"
    case gapsTold = "gaps told"
    case overruns = "clients that read too slowly"
    case drains = "clients sent to other nodes"
    case socialActs = "acts among agents"
    case socialYes = "of them, done"
    case socialNo = "of them, refused with reason"
    case announcements = "events that nodes told of their own accord"
    case graphWrites = "graph nodes and edges written"
    case graphRemovals = "graph nodes, fields and edges removed"
    case clockReads = "reads elsewhere of what a clock came from"
    case clockWaits = "requests that waited for their clock"
    case clockSteps = "wall clocks that jumped"
    case wrongStarts = "starts with a wrong wall clock"
    case clockCorrections = "clocks set right by peers"
    case driftChanges = "clocks that changed their speed"
    case bursts = "bursts of bad weather"
    case slowLinks = "links that became slow"
    case joins = "machines that joined late"
    case clones = "copied data directories"
    case snapshots = "snapshots sent"
    case resets = "nodes that reset and resubmitted"
    case renewals = "nodes that went on under a new id"
    case retirements = "logs retired"
    case forks = "forked logs found"
    case tombstones = "tombstones collected"
    case foldedOperations = "operations folded into checkpoints"

    /// What is counted by the nodes themselves, by the name in `/metrics`; one that a node does not have counts as 0.
    static let metrics: [(trouble: Trouble, metric: String)] = [
        (.repairs, "hypha_repairs_total"), (.waits, "hypha_replicated_waited_total"),
        (.suspicions, "hypha_suspicions_total"), (.refutations, "hypha_refutations_total"),
        (.clockCorrections, "hypha_clock_corrections_total"), (.snapshots, "hypha_snapshots_sent_total"),
        (.resets, "hypha_resets_total"), (.retirements, "hypha_retirements_total"),
        (.forks, "hypha_log_forks_total"), (.tombstones, "hypha_tombstones_collected_total"),
        (.foldedOperations, "hypha_operations_folded_total"), (.clockWaits, "hypha_clock_waits_total"),
    ]
}

/// How much of each trouble there was.
struct Tally: Sendable {
    private var counts = [Int](repeating: 0, count: Trouble.allCases.count)
    private static let places = Dictionary(uniqueKeysWithValues: zip(Trouble.allCases, 0...))

    mutating func add(_ what: Trouble, _ count: Int = 1) { counts[Tally.places[what]!] += count }
    mutating func add(_ other: Tally) { for i in counts.indices { counts[i] += other.counts[i] } }
    subscript(_ what: Trouble) -> Int { counts[Tally.places[what]!] }
}

/// Bytes that nodes handed to the network.
struct Traffic: Equatable, Sendable {
    var datagramBytes = 0
    var streamBytes = 0
}
