import CRDT
import Gossip

/// Requests of clients of this node that wait because another node decides, and what this node has decided for clients of
/// its peers.
///
/// All wait equally long. Bounded in number and bytes; beyond that a request is refused before anything was asked.
struct Forwards: Sendable {
    /// The most that wait.
    static let maximum = 4_096
    /// The most bytes of their bodies and of the answers remembered, each.
    static let maximumBytes = 32 << 20
    /// The node that decides is asked again after so many milliseconds: first, and at last.
    private static let firstPauseMs: UInt64 = 20
    private static let longestPauseMs: UInt64 = 320

    struct Wait: Sendable {
        /// Chosen here, for the node that decides to know it again.
        let number: UInt64
        let client: RequestID
        let request: Forwarded
        let asker: Asker
        let body: [UInt8]
        /// What had been read here when the client asked, which whoever decides must have read, too.
        let read: VersionVector
        let deadline: Instant
        /// Who was asked last.
        fileprivate(set) var asked: ReplicaID?
        /// What that node said, and how far this node must have read its log before the client is told.
        fileprivate(set) var verdict: (Verdict, by: ReplicaID, head: UInt64)?
        fileprivate(set) var nextAsk: Instant
        fileprivate var pauseMs = Forwards.firstPauseMs

        fileprivate var heldBytes: Int { body.count + read.entries.count * 16 }
    }

    private var waits: [UInt64: Wait] = [:]
    private var byClient: [RequestID: UInt64] = [:]
    private var nextNumber: UInt64?
    private var heldBytes = 0
    private(set) var wake: Instant?
    private(set) var answeredCount = 0

    /// Requests that were forwarded; of them, those in vain; those refused as too many waited; asks of peers decided here;
    /// those turned away, as another node decides or something is still to be read; frames that could not be read.
    var forwarded = 0
    var timeouts = 0
    var refused = 0
    var decided = 0
    var turnedAway = 0
    var badFrames = 0

    var isEmpty: Bool { waits.isEmpty }
    var count: Int { waits.count }
    var isFresh: Bool { nextNumber == nil }
    func waits(for client: RequestID) -> Bool { byClient[client] != nil }
    func hasRoom(for bytes: Int) -> Bool { waits.count < Self.maximum && heldBytes + bytes <= Self.maximumBytes }

    /// Numbers start anywhere, so that those of an earlier start of this node are not used again.
    mutating func start(at number: UInt64) { nextNumber = number >> 1 }

    mutating func add(
        _ client: RequestID, _ request: Forwarded, _ asker: Asker, _ body: [UInt8], read: VersionVector, now: Instant,
        deadline: Instant
    ) -> Wait {
        let number = nextNumber ?? 0
        nextNumber = number + 1
        let wait = Wait(
            number: number, client: client, request: request, asker: asker, body: body, read: read, deadline: deadline,
            nextAsk: now)
        waits[number] = wait
        byClient[client] = number
        heldBytes += wait.heldBytes
        forwarded += 1
        look()
        return wait
    }

    subscript(number: UInt64) -> Wait? { waits[number] }

    mutating func remove(_ number: UInt64) {
        guard let wait = waits.removeValue(forKey: number) else { return }
        byClient[wait.client] = nil
        heldBytes -= wait.heldBytes
        look()
    }

    /// The client is gone: what was asked may be decided all the same.
    mutating func abandon(_ client: RequestID) { if let number = byClient[client] { remove(number) } }

    /// Notes who was asked, and when to ask again.
    mutating func asked(_ number: UInt64, _ node: ReplicaID, now: Instant) {
        guard var wait = waits[number] else { return }
        wait.asked = node
        wait.nextAsk = now.advanced(milliseconds: wait.pauseMs)
        wait.pauseMs = min(wait.pauseMs * 2, Forwards.longestPauseMs)
        waits[number] = wait
        look()
    }

    /// Notes what was decided.
    mutating func note(_ number: UInt64, _ verdict: Verdict, by node: ReplicaID, head: UInt64) {
        waits[number]?.verdict = (verdict, node, head)
        look()
    }

    /// Those decided, those to be asked for again, and those whose time is up, each in the order in which they came.
    var answered: [Wait] { inOrder { $0.verdict != nil } }
    func due(_ now: Instant) -> [Wait] { inOrder { $0.verdict == nil && $0.nextAsk <= now && $0.deadline > now } }
    func late(_ now: Instant) -> [Wait] { inOrder { $0.deadline <= now } }
    var all: [Wait] { inOrder { _ in true } }

    private func inOrder(_ isWanted: (Wait) -> Bool) -> [Wait] {
        waits.values.filter(isWanted).sorted { $0.number < $1.number }
    }

    /// Kept up to date with each change: it is asked for far more often.
    private mutating func look() {
        (wake, answeredCount) = (nil, 0)
        for wait in waits.values {
            let mine = wait.verdict == nil ? min(wait.deadline, wait.nextAsk) : wait.deadline
            wake = min(wake ?? mine, mine)
            if wait.verdict != nil { answeredCount += 1 }
        }
    }
}

/// What this node has decided for clients of its peers: who asks again, since the answer was lost with a link, is told the
/// same and nothing is decided twice.
struct Verdicts: Sendable {
    /// The most that are remembered.
    static let maximum = 4_096

    private struct Key: Hashable {
        let asker: ReplicaID
        let number: UInt64
    }
    private struct Known {
        let verdict: Verdict
        let head: UInt64
        let until: Instant
    }

    private var known: [Key: Known] = [:]
    /// By age.
    private var order: [Key] = []
    private var bytes = 0

    var count: Int { known.count }

    func verdict(for number: UInt64, of asker: ReplicaID) -> (Verdict, head: UInt64)? {
        known[Key(asker: asker, number: number)].map { ($0.verdict, $0.head) }
    }

    mutating func add(
        _ verdict: Verdict, head: UInt64, for number: UInt64, of asker: ReplicaID, now: Instant, until: Instant
    ) {
        let key = Key(asker: asker, number: number)
        guard known.updateValue(Known(verdict: verdict, head: head, until: until), forKey: key) == nil else { return }
        order.append(key)
        bytes += verdict.body.count
        var gone = 0
        while gone < order.count, let first = known[order[gone]],
            first.until <= now || known.count > Self.maximum || bytes > Forwards.maximumBytes
        {
            bytes -= first.verdict.body.count
            known[order[gone]] = nil
            gone += 1
        }
        order.removeFirst(gone)
    }
}

extension Forwards {
    func writeMetrics(_ verdicts: Verdicts, into out: inout MetricsWriter) {
        out.gauge("forwards_waiting", "Requests that wait for another node to decide.", count)
        out.counter("forwards_total", "Requests passed to another node to decide.", forwarded)
        out.counter("forward_timeouts_total", "Of them, those in vain.", timeouts)
        out.counter("forward_refused_total", "Requests refused as too many waited.", refused)
        out.counter("forward_decided_total", "Requests decided here for clients of peers.", decided)
        out.counter("forward_turned_away_total", "Requests of peers not decided here.", turnedAway)
        out.gauge("forward_verdicts", "Decisions remembered for peers that ask again.", verdicts.count)
        out.counter("forward_frames_bad_total", "Frames about requests not understood.", badFrames)
    }
}
