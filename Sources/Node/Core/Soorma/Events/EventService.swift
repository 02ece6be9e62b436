import CRDT
import Gossip

/// The streams of Soorma's event service at this node, and what is known of what their clients do.
///
/// A stream is a consumer of queue groups, one for each of its topics, which all clients of one agent name share.
struct EventService: Sendable {
    /// The most events of one topic that a client is given and is not done with.
    static let maximumInFlight = 1_000
    /// A client is given no more while it has not taken so many bytes.
    static let owedBytes = 1 << 20
    /// How often a client is told that its stream lives, in milliseconds.
    static let heartbeatMs: UInt64 = 15_000
    /// A group that nobody consumes is deleted after so long, in milliseconds: names are often made up for one run.
    static let idleGroupMs: UInt64 = 3_600_000
    /// How long a group may wait for an acknowledgement, in milliseconds; streams settle by themselves long before.
    static let ackDeadlineMs: UInt64 = 3_600_000
    /// The most requests of which it is remembered who made them.
    static let maximumRequests = 65_536
    /// Where events go that no consumer survived.
    static let deadLetterTopic = "dead-letter.soorma"
    /// How long a node that is to leave waits for its clients to finish what they have in hand, in milliseconds. It hands
    /// them nothing more meanwhile, and answers them still: what a handler publishes to a node that is gone is lost.
    static let finishMs: UInt64 = 2_000
    /// What the names of its groups begin with.
    static let groupPrefix = "soorma/"

    struct Stream: Sendable {
        /// Whose queue groups it takes part in.
        let name: String
        let topics: [SoormaTopic]
        /// What the client is told that its connection is called.
        let connection: UUID
        var handed = HandedEvents()
        /// Bytes given to the connection since all had left it.
        var owed = 0
        /// The agent has said that it stops: what it was sent is its own to do.
        var isStopping = false
    }

    struct Counters: Sendable {
        var published = 0
        var delivered = 0
        /// Events that are done with, by a sign of the client's, or because there was none.
        var signed = 0
        var presumed = 0
        /// Events that clients were not done with when they were lost.
        var returned = 0
        /// Groups that were deleted because nobody consumed them any more.
        var idle = 0
    }

    private(set) var streams: [SessionID: Stream] = [:]
    private var names: [String: Set<SessionID>] = [:]
    /// Who has asked, by the correlation id of the request.
    private var requesters: [UInt64: Requester] = [:]
    private var requestOrder = ChunkedQueue<UInt64>()
    /// Who was sent an event that asks for an answer, by what stands for that.
    private var awaiting: [UInt64: Set<SessionID>] = [:]
    /// Under which entry an id was sent here last, for each group.
    private var sentIDs: [String: SentIDs] = [:]
    /// No event is to be presumed done with before this moment.
    var presumeDue: Instant?
    /// Since when groups have had no consumer anywhere.
    var idleGroups: [String: Instant] = [:]
    /// Streams one of whose groups was deleted.
    var orphans: Set<SessionID> = []
    var heartbeatDue: Instant?
    var idleDue: Instant?
    /// The node is to leave, at this moment at the latest.
    private(set) var leaveDue: Instant?
    var counters = Counters()

    /// The streams, in order.
    var sessions: [SessionID] { streams.keys.sorted() }

    subscript(session: SessionID) -> Stream? { streams[session] }

    /// A client has opened a stream.
    mutating func open(_ session: SessionID, _ stream: Stream) {
        streams[session] = stream
        names[stream.name, default: []].insert(session)
    }

    /// A stream has ended.
    mutating func close(_ session: SessionID) {
        guard let stream = streams.removeValue(forKey: session) else { return }
        names[stream.name]?.remove(session)
        if names[stream.name]?.isEmpty ?? false { names[stream.name] = nil }
        orphans.remove(session)
        counters.returned += stream.handed.count
        for event in stream.handed.all { forget(event, of: session) }
    }

    /// Changes a stream where it lies; nil if there is none.
    mutating func change<R>(_ session: SessionID, _ body: (inout Stream) -> R) -> R? {
        guard let at = streams.index(forKey: session) else { return nil }
        return body(&streams.values[at])
    }

    /// The streams of one agent name, in order.
    func sessions(of name: String) -> [SessionID] { names[name]?.sorted() ?? [] }

    /// Whether anybody could be meant by a sign.
    var isListening: Bool { !streams.isEmpty }

    // MARK: - Leaving

    /// Whether clients have something in hand for which a node that is to leave now has to wait. Asked again, it has waited.
    mutating func mustFinish(now: Instant) -> Bool {
        guard leaveDue == nil, !streams.isEmpty else { return false }
        leaveDue = now.advanced(milliseconds: Self.finishMs)
        return true
    }

    /// The node leaves.
    mutating func left() { leaveDue = nil }

    /// Whether the time has come to leave.
    func isFinished(now: Instant) -> Bool {
        guard let leaveDue else { return false }
        return leaveDue <= now || streams.values.allSatisfy { $0.handed.count == 0 }
    }

    // MARK: - Names

    /// The queue group of one agent name and topic. Names that cannot stand in one are hashed.
    static func group(_ name: String, _ topic: SoormaTopic) -> String {
        let plain = "\(groupPrefix)\(name)/\(topic.rawValue)"
        if GroupName.isValid(plain) { return plain }
        var hash: [UInt8] = []
        hash.append(hex: XXH64.hash(Array(name.utf8).span.bytes), digits: 16)
        return "\(groupPrefix)~\(String(decoding: hash, as: UTF8.self))/\(topic.rawValue)"
    }

    /// A hash that stands for a text; never 0.
    static func hash(_ text: RawSpan) -> UInt64 { max(1, XXH64.hash(text)) }
    /// A hash that stands for a text; never 0.
    static func hash(_ text: String) -> UInt64 { hash(JSONText.canonical(text).span.bytes) }

    // MARK: - Requests

    /// Who has asked for something: an agent name, and the node at which it did.
    struct Requester: Equatable, Sendable {
        let name: String
        let node: ReplicaID
    }

    /// Somebody has asked for something under this correlation id.
    mutating func noteRequest(_ correlation: UInt64, by requester: Requester) {
        guard correlation != 0, requesters.updateValue(requester, forKey: correlation) == nil else { return }
        requestOrder.append(correlation)
        while requestOrder.count > Self.maximumRequests {
            requesters[requestOrder[requestOrder.start]] = nil
            requestOrder.drop(before: requestOrder.start + 1)
        }
    }

    /// Who has asked last under this correlation id, as far as it is remembered.
    func requester(of correlation: UInt64) -> Requester? { requesters[correlation] }

    // MARK: - Copies

    /// The ids that were sent last, and under which entries.
    private struct SentIDs: Sendable {
        static let most = 1_024
        private var keys: [UUID: EntryKey] = [:]
        private var order = ChunkedQueue<UUID>()

        mutating func note(_ id: UUID, _ key: EntryKey) -> Bool {
            if let known = keys[id] { return known == key }
            keys[id] = key
            order.append(id)
            if order.count > Self.most {
                keys[order[order.start]] = nil
                order.drop(before: order.start + 1)
            }
            return true
        }
    }

    /// Notes that an event is sent in a group. False if another copy of it was: who publishes an id at two nodes at once
    /// must not see it twice at a third.
    mutating func note(_ id: UUID, _ key: EntryKey, of group: String) -> Bool {
        sentIDs[group, default: SentIDs()].note(id, key)
    }

    /// A group is gone, or nobody here takes part in it any more.
    mutating func forget(group: String) { sentIDs[group] = nil }

    // MARK: - Answers

    /// A client was sent this event.
    mutating func await(_ event: HandedEvents.Event, by session: SessionID) {
        if let answer = event.answer { awaiting[answer, default: []].insert(session) }
    }

    /// A client is done with this event, or will not be.
    mutating func forget(_ event: HandedEvents.Event, of session: SessionID) {
        guard let answer = event.answer else { return }
        awaiting[answer]?.remove(session)
        if awaiting[answer]?.isEmpty ?? false { awaiting[answer] = nil }
    }

    /// Who was sent an event to which this would be the answer, in order.
    func awaiting(_ answer: UInt64) -> [SessionID] { awaiting[answer]?.sorted() ?? [] }

    // MARK: - Time

    /// When something is due.
    var wake: Instant? {
        var due = heartbeatDue
        for mine in [idleDue, presumeDue, leaveDue] {
            if let mine { due = min(due ?? mine, mine) }
        }
        return due
    }

    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("soorma_streams", "Open event streams of Soorma SDKs.", streams.count)
        let underWay = streams.values.reduce(0) { $0 + $1.handed.count }
        out.gauge("soorma_under_way", "Events sent to Soorma SDKs that they may not be done with.", underWay)
        out.gauge("soorma_requests", "Requests of which it is remembered who made them.", requesters.count)
        out.counter("soorma_published_total", "Events published through Soorma's event service.", counters.published)
        out.counter("soorma_delivered_total", "Events sent to Soorma SDKs.", counters.delivered)
        out.counter(
            "soorma_signed_total", "Events that an SDK is done with, by what it did afterwards.", counters.signed)
        out.counter(
            "soorma_presumed_total", "Events that an SDK is taken to be done with, without a sign.", counters.presumed)
        out.counter(
            "soorma_returned_total", "Events that an SDK was not done with when it was lost.", counters.returned)
        out.counter(
            "soorma_idle_groups_total", "Queue groups of Soorma SDKs deleted because nobody consumed them.",
            counters.idle)
    }
}
