internal import CRDT
internal import Gossip
internal import NodeCore

/// What one node answers when all is over.
struct Testimony: Sendable {
    var node: Int
    var life: Int
    /// `GET /api/events`, page by page, newest first: the bodies as they came.
    var pages: [[UInt8]] = []
    /// `GET /api/events/topic/`, for each topic: the bodies as they came, and what they list.
    var topics: [(body: [UInt8], events: [JSON])] = []
    /// The last id on each page.
    var lastIDs: [String?] = []
    /// `GET /api/signals?at=`, for several moments: the bodies as they came; nil where that is before what is kept.
    var signals: [(at: UInt64, body: [UInt8]?)] = []
    /// `GET /api/nodes`.
    var graph: [UInt8] = []
    /// `GET /metrics`, by name.
    var metrics: [String: Int] = [:]
}

/// What must hold in the end: nothing acknowledged is lost, nothing is there twice, all agree to the byte, and the
/// signals are those of one broker.
enum Finally {
    /// All nodes say the same, byte for byte.
    ///
    /// Where logs are short, nodes may keep different events, but no different copies of one.
    ///
    /// Where a log was forked or has holes and is short besides, they may keep different copies as well (`mayDiffer`).
    static func agree(
        _ testimonies: [Testimony], keepAll: Bool, mayDiffer: Bool = false
    ) throws(Violation) {
        guard let first = testimonies.first else { return }
        for other in testimonies.dropFirst() {
            let pair = "nodes \(first.node) and \(other.node)"
            if !keepAll, !mayDiffer { try sameCopies(first, other) }
            for (a, b) in zip(first.pages, other.pages) where keepAll && a != b {
                throw Violation("the lists of events are equal to the byte", "\(pair): \(firstDifference(a, b))")
            }
            if keepAll, first.pages.count != other.pages.count {
                throw Violation("the lists of events are equal to the byte", "\(pair): one is longer")
            }
            // What a node counts as approximate need not be equal; where that is not excused, counting it is a failure.
            let areExact = (first.metrics[approximations] ?? 0) + (other.metrics[approximations] ?? 0) == 0
            for (a, b) in zip(first.signals, other.signals) where areExact {
                guard let mine = a.body, let theirs = b.body, mine != theirs else { continue }
                throw Violation(
                    "the signals are equal to the byte", "\(pair) at \(a.at): \(firstDifference(mine, theirs))")
            }
            for (a, b) in zip(first.topics, other.topics) where keepAll && a.body != b.body {
                throw Violation(
                    "the lists of bus events are equal to the byte", "\(pair): \(firstDifference(a.body, b.body))")
            }
            if first.graph != other.graph {
                throw Violation(
                    "the graphs are equal to the byte", "\(pair): \(firstDifference(first.graph, other.graph))")
            }
        }
    }

    static let approximations = "hypha_signal_approximations_total"

    private static func sameCopies(_ first: Testimony, _ other: Testimony) throws(Violation) {
        var copies: [String: JSON] = [:]
        for event in try events(first) { copies[event["id"]?.text ?? ""] = event }
        for event in try events(other) {
            guard let mine = copies[event["id"]?.text ?? ""], mine != event else { continue }
            throw Violation("no two nodes list different copies of an event", "\(mine) and \(event)")
        }
    }

    /// The events in a node's list; broken when one is there twice or out of order.
    static func events(_ testimony: Testimony) throws(Violation) -> [JSON] {
        var events: [JSON] = []
        var seen: Set<String> = []
        var last: String?
        for page in testimony.pages {
            guard let list = (try? JSONReader.parse(page))?.array else {
                throw Violation("GET /api/events answers an array", String(decoding: page.prefix(300), as: UTF8.self))
            }
            for event in list {
                guard let id = event["id"]?.text, let stamp = event["stamp"]?.text else {
                    throw Violation("a listed event has all its fields", "\(event)")
                }
                if !seen.insert(id).inserted { throw Violation("no event is listed twice", id) }
                if let last, stamp >= last {
                    throw Violation("events are listed newest first", "\(stamp) after \(last)")
                }
                last = stamp
                events.append(event)
            }
        }
        return events
    }

    /// Every event that a surviving life acknowledged is there; and every event there says what was posted.
    static func nothingLost(
        _ events: [JSON], ledger: Ledger, hasClones: Bool = false, survives: (Acknowledgement) -> Bool
    ) throws(Violation) {
        var found: [EventKey: JSON] = [:]
        for event in events {
            if let key = event["id"]?.text.flatMap(EventKey.init(text:)) { found[key] = event }
        }
        for posting in ledger.postings {
            guard let event = found[posting.key] else {
                // A copy under an id that two nodes shared can take the event's place, and go when one of them yields.
                let isShared = hasClones && posting.acknowledgements.count > 1
                if !isShared, let witness = posting.acknowledgements.first(where: survives) {
                    throw Violation(
                        "no event is lost that a survivor acknowledged",
                        "\(posting.key.text), acknowledged by node \(witness.node)")
                }
                continue
            }
            // What nodes tell of their own accord, no agent has posted.
            if !posting.body.isEmpty { try saysWhatWasPosted(event, posting) }
            if posting.isRefused {
                throw Violation("nothing is there that was refused", "\(posting.key.text): \(event)")
            }
        }
        if let stranger = found.keys.first(where: { ledger.place(of: $0) == nil }) {
            throw Violation("nothing is there that nobody posted", stranger.text)
        }
    }

    private static func saysWhatWasPosted(_ event: JSON, _ posting: Posting) throws(Violation) {
        guard case .object(let members) = event else { throw Violation("an event is an object", "\(event)") }
        let bodies = [posting.body, posting.otherBody].compactMap { $0 }.compactMap { try? JSONReader.parse($0) }
        let matches = bodies.contains { body in
            guard case .object(let posted) = body else { return false }
            return posted.allSatisfy { members[$0.key] == $0.value }
        }
        if !matches { throw Violation("an event says what was posted", "\(posting.key.text): \(event)") }
        let payload = event["payload"]
        if let pattern = payload?["pattern"] ?? payload?["action"] {
            if event["signals"] != .array([pattern]) {
                throw Violation("an event touches the pattern that it names", "\(event)")
            }
        } else if event["type"] == .string("test"), event["signals"] != .array([]) {
            throw Violation("a test that names no pattern touches none", "\(event)")
        }
    }

    /// The signals that a node reads are those of the oracle, to the last bit.
    static func oneBroker(_ events: [JSON], _ testimony: Testimony, decay: Double) throws(Violation) {
        let oracle = try Oracle(events)
        for (at, body) in testimony.signals {
            guard let body else { continue }
            guard let answer = (try? JSONReader.parse(body))?.array else {
                throw Violation("GET /api/signals answers an array", String(decoding: body.prefix(300), as: UTF8.self))
            }
            if let difference = oracle.difference(from: answer, at: at, decay: decay) {
                throw Violation("signals equal those of one broker", "node \(testimony.node) at \(at): \(difference)")
            }
        }
    }

    /// Every subscriber that is still there was shown exactly what it asked for of what its node had after it came,
    /// in the order in which the node had it.
    static func shownOnce(_ session: Session, witness: Session, ledger: Ledger) throws(Violation) {
        let due = witness.shown[session.openedAfter...].filter { session.wants($0, ledger) }
        if session.shown == due { return }
        let missing = due.first { session.place[$0] == nil }.map { ledger[$0].key.text }
        throw Violation(
            "every subscriber sees every event that it asked for, once",
            "session \(session.id.rawValue) at node \(session.node) saw \(session.shown.count) of \(due.count); "
                + (missing.map { "\($0) is missing" } ?? "the order differs"))
    }

    /// What a node counts that never happens between honest peers whose clocks are right.
    static let neverCounted = [
        "hypha_events_malformed_total", "hypha_documents_malformed_total", "hypha_signal_approximations_total",
        "hypha_waiting_dropped_total", "hypha_log_forks_total", "hypha_bad_frames_total",
        "hypha_state_mismatches_total", "hypha_state_malformed_total", "hypha_copies_unresolved_total",
        "hypha_datagrams_malformed_total", "hypha_clock_corrections_total", "hypha_log_dropped_total",
    ]

    /// What a node may count nevertheless where clocks are wrong: that it was set right, and that peers' entries came
    /// in numbers while their stamps were in the future.
    static let countedWithWrongClocks: Set = [
        "hypha_clock_corrections_total", "hypha_waiting_dropped_total", "hypha_signal_approximations_total",
        // Found and repaired: in the end all must be equal all the same.
        "hypha_state_mismatches_total",
    ]

    /// What a node may count nevertheless where logs are short.
    static let countedWithRetention: Set = ["hypha_log_dropped_total", "hypha_copies_unresolved_total"]

    /// A node counted nothing that never happens between honest peers, but for what is excused in its world.
    static func allHonest(_ testimony: Testimony, excused: Set<String> = []) throws(Violation) {
        for name in neverCounted where !excused.contains(name) {
            guard let count = testimony.metrics[name] else { throw Violation("/metrics has \(name)", "it has not") }
            if count > 0 { throw Violation("\(name) stays 0 among honest peers", "\(count) at node \(testimony.node)") }
        }
    }

    /// The numbers in the Prometheus text format.
    static func metrics(_ body: [UInt8]) -> [String: Int] {
        var metrics: [String: Int] = [:]
        for line in String(decoding: body, as: UTF8.self).split(separator: "\n") where line.first != "#" {
            let words = line.split(separator: " ")
            if words.count == 2, let value = Int(words[1]) { metrics[String(words[0])] = value }
        }
        return metrics
    }

    static func firstDifference(_ a: [UInt8], _ b: [UInt8]) -> String {
        let at = zip(a, b).enumerated().first { $1.0 != $1.1 }?.offset ?? min(a.count, b.count)
        func around(_ bytes: [UInt8]) -> String {
            String(decoding: bytes[max(0, min(at, bytes.count) - 60)..<min(bytes.count, at + 100)], as: UTF8.self)
        }
        return "at byte \(at): …\(around(a))… and …\(around(b))…"
    }
}

extension Cluster {
    /// The decay of all clusters here: the default of `NodeSettings`.
    static let decay = 0.95

    /// Asks a node for all it has. Where it says the same as `other`, which is the rule, that is not read twice.
    func testimony(of node: Node, like other: Testimony? = nil) throws(Violation) -> Testimony {
        var testimony = Testimony(node: node.index, life: node.life)
        var before: String?
        repeat {
            let (status, body) = try ask(node, .events(.init(limit: 500, before: before)))
            let page = testimony.pages.count
            let next: String?
            if let other, other.pages.indices.contains(page), status == 200, other.pages[page] == body {
                next = other.lastIDs[page]
            } else {
                guard status == 200, let list = (try? JSONReader.parse(body))?.array else {
                    throw Violation("GET /api/events answers an array", "\(status) at node \(node.index)")
                }
                next = list.last?["id"]?.text
            }
            testimony.pages.append(body)
            testimony.lastIDs.append(next)
            if next == before { break }
            before = next
        } while before != nil && testimony.pages.count < 1_000
        for (place, topic) in Crowd.allTopics.enumerated() {
            let (status, body) = try ask(node, .eventsOnTopic(topic, .init(limit: 100_000)))
            if let other, other.topics[place].body == body {
                testimony.topics.append(other.topics[place])
                continue
            }
            guard status == 200, let list = (try? JSONReader.parse(body))?.array else {
                throw Violation("GET /api/events/topic/ answers an array", "\(status) at node \(node.index)")
            }
            testimony.topics.append((body, list))
        }
        // Halfway back, now, and on until everything has faded.
        for (place, minutes) in ([-1, 0, 1, 7, 60, 200] as [Int64]).enumerated() {
            // A durable node takes a while to answer, and all are asked about the same moments.
            let at =
                other?.signals[place].at
                ?? (minutes < 0 ? (dawnMs + wallMs) / 2 : wallMs + UInt64(minutes) * 60_000)
            let (status, body) = try ask(node, .signals(scope: nil, pattern: nil, minimumStrength: nil, at: at))
            // What is now for everybody else is long ago for a node whose clock is far ahead.
            let isFarAhead = node.skewMs + 2_000 > Int64(clamping: options.operationsMs)
            let mayBeGone = minutes < 0 || minutes == 0 && isFarAhead
            guard status == 200 || status == 410 && mayBeGone else {
                throw Violation(
                    "GET /api/signals answers 200",
                    "\(status) at node \(node.index) for \(at): \(String(decoding: body.prefix(200), as: UTF8.self))")
            }
            testimony.signals.append((at, status == 200 ? body : nil))
        }
        let (status, graph) = try ask(node, .nodes(limit: 10_000))
        guard status == 200 else { throw Violation("GET /api/nodes answers 200", "\(status) at node \(node.index)") }
        testimony.graph = graph
        testimony.metrics = Finally.metrics(try ask(node, .metrics(.init())).body)
        return testimony
    }

    /// Whether a peer may be forgotten, others fold without it, and it comes back by way of a third that has not: then it
    /// has read all that was collected, and what it wrote meanwhile is late for those who folded. That is counted.
    private var forgetsTooSoon: Bool {
        let cuts = tally[.partitions] + tally[.bridges] + tally[.oneWayCuts]
        let forgetMs = options.forgetMs / (options.profile == .lan ? 1 : 10)
        // One in memory is forgotten at once when another process has its address.
        return cuts > 0 && (forgetMs < options.operationsMs || tally[.restarts] > 0 && options.disks == 0)
    }

    /// All of `Finally`, for a world that has come to rest. Nodes that left in good order count as survivors when
    /// `leftInPeace`.
    func finally(leftInPeace: Bool = false) throws(Violation) {
        if forgetsTooSoon { excused.insert(Finally.approximations) }
        // Of short logs a restarted node may see a document otherwise than its peers. Found by comparison, and repaired:
        // in the end all must be equal all the same.
        if options.keptEntries > 0, tally[.recoveries] > 0 { excused.insert("hypha_state_mismatches_total") }
        try settleDisks()
        try settleSociety()
        let survivors = running
        guard let first = survivors.first else { return }
        var testimonies: [Testimony] = []
        for node in survivors { testimonies.append(try testimony(of: node, like: testimonies.first)) }
        for testimony in testimonies {
            let clockIsWrong = testimony.node == nodes.count - 1 && options.brokenClockMs != 0
            try Finally.allHonest(
                testimony, excused: clockIsWrong ? excused.union(Finally.countedWithWrongClocks) : excused)
            for (trouble, metric) in Trouble.metrics { tally.add(trouble, testimony.metrics[metric] ?? 0) }
        }
        let keepAll = options.keptEntries == 0
        // Who goes on with what is left still has what stands before a hole; whoever reads from it begins behind it.
        let hasHoles = hadHoles
        try Finally.agree(testimonies, keepAll: keepAll && !hasHoles, mayDiffer: hasHoles || sharesIDs)
        let events = try Finally.events(testimonies[0])
        let survives: (Acknowledgement) -> Bool = { self.survives($0, leftInPeace: leftInPeace) }
        if keepAll {
            let all = events + testimonies[0].topics.flatMap(\.events)
            try Finally.nothingLost(all, ledger: ledger, hasClones: sharesIDs, survives: survives)
            if !first.witness.missesHistory, all.count != first.witness.shown.count {
                throw Violation(
                    "a node has what it has shown", "\(all.count) listed, \(first.witness.shown.count) shown")
            }
            // Where a loss was accepted, the state still knows what events did that are gone.
            if tally[.refusedStarts] == 0, !hasHoles {
                try Finally.oneBroker(events, testimonies[0], decay: Cluster.decay)
            }
            // Facts that are submitted again keep the signals that were chosen by what their node knew the first time.
            if resets == 0 {
                try Ancestry(events, ledger: ledger, origins: always.origins).check(decay: Cluster.decay)
            }
        }
        try Finally.graphKept(
            testimonies[0].graph, ledger: ledger.graph, lastReset: lastReset, survives: survives)
        try societyAgrees(survivors, survives)
        for (node, testimony) in zip(survivors, testimonies) {
            try doors(of: node, testimony, keepAll && !hasHoles ? events : try Finally.events(testimony))
        }
        for node in survivors {
            for session in node.sessions where session.isOpen && session.client == nil {
                try Finally.shownOnce(session, witness: node.witness, ledger: ledger)
            }
        }
        try everyClientHasAll()
        if let violation { throw violation }
    }
}
