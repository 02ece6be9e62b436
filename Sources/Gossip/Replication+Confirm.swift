public import CRDT

/// Hearing at once that a peer has read an entry, for writes that are acknowledged only then (DESIGN, section 6).
///
/// Peers say how far they have read once per probe interval. Who waits for certain entries says so in a `confirm` frame;
/// the peer remembers which logs that is about and tells (`have`) in the same input in which it reads on in one of them,
/// until it has read what was named. What a peer says over its link counts, and nothing else: frames of a durable node
/// leave after its disk has synced, so its word is its disk's, and causal delivery makes it the word for all that the
/// entry depends on. Who waits for nothing sends and gets the same frames as ever.
extension Replication {
    /// A peer that said that it has read something.
    public struct Reader: Equatable, Sendable {
        /// Who.
        public let peer: ReplicaID
        /// Whether that means: on its disk.
        public let isDurable: Bool
    }

    /// What this node waits for somewhere else, by whose word counts: a link that comes up meanwhile is asked, too.
    struct Awaited: Sendable {
        /// Asked of every peer.
        var byAll = VersionVector()
        /// Asked of durable ones besides.
        var byDurable = VersionVector()
    }

    /// Logs of which one peer wants to hear at once; it hears of further ones once per probe interval, as ever.
    static let maximumAsked = 1_024

    // MARK: - Asking

    /// Asks the linked peers that have not said so yet to say when they have read this: all of them, or the durable ones.
    public mutating func ask(
        for place: VersionVector, durableOnly: Bool, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        if durableOnly { awaited.byDurable.merge(place) } else { awaited.byAll.merge(place) }
        for i in links.indices where links[i].isOpen && (!durableOnly || links[i].hello.member.isDurable) {
            ask(i, for: place, into: &effects, &out)
        }
    }

    /// Nobody waits any longer.
    public mutating func stopAsking() { awaited = Awaited() }

    /// Asks a peer with which facts are exchanged from now on for all that is waited for.
    mutating func askAgain(_ i: Int, into effects: inout [Effect], _ out: inout [UInt8]) {
        var place = awaited.byAll
        if links[i].hello.member.isDurable { place.merge(awaited.byDurable) }
        ask(i, for: place, into: &effects, &out)
    }

    private mutating func ask(
        _ i: Int, for place: VersionVector, into effects: inout [Effect], _ out: inout [UInt8]
    ) {
        var lacking = VersionVector()
        for entry in place.entries where log.head(of: entry.replica, in: links[i].vector) < entry.sequence {
            lacking.advance(entry.replica, to: entry.sequence)
        }
        guard !lacking.entries.isEmpty else { return }
        let start = Frame.begin(.confirm, into: &out)
        lacking.encode(into: &out)
        finish(start, i, into: &effects, &out)
    }

    // MARK: - Being asked

    /// A peer wants to hear at once when these entries are here.
    mutating func receiveConfirm(_ cursor: inout ByteCursor, _ bytes: RawSpan, of i: Int) throws(DecodeError) {
        for entry in try VersionVector(&cursor, bytes).entries
        where links[i].asked.entries.count < Self.maximumAsked || links[i].asked[entry.replica] > 0 {
            links[i].asked.advance(entry.replica, to: entry.sequence)
            hasAskers = true
        }
    }

    /// Tells those who asked what is news in the logs that they asked for.
    mutating func tellAskers(_ clock: Promise, into effects: inout [Effect], _ out: inout [UInt8]) {
        guard hasAskers else { return }
        hasAskers = false
        for i in links.indices where links[i].isAsked {
            let asked = links[i].asked
            if asked.entries.contains(where: { links[i].told[$0.replica] < log.vector[$0.replica] }) {
                tell(i, whole: false, clock, into: &effects, &out)
            }
            for entry in asked.entries where log.hasRead(entry.replica, entry.sequence) {
                links[i].asked.remove(entry.replica)
            }
            if links[i].isAsked { hasAskers = true }
        }
    }

    // MARK: - What was said

    /// Which peers have said that they have read this, by rising id.
    public func readers(of place: VersionVector) -> [Reader] {
        var found: [Reader] = []
        eachWord { reader, vector in if log.covers(vector, place) { found.append(reader) } }
        return found.sorted { $0.peer < $1.peer }
    }

    /// How far each peer has read a log, as far as it said so; in no particular order.
    public func heads(of replica: ReplicaID) -> [(reader: Reader, head: UInt64)] {
        var found: [(Reader, UInt64)] = []
        eachWord { reader, vector in found.append((reader, log.head(of: replica, in: vector))) }
        return found
    }

    /// What each peer said last. The word of a durable one stands when its link is gone: its disk has what it has.
    private func eachWord(_ body: (Reader, VersionVector) -> Void) {
        for link in links where link.isOpen {
            body(Reader(peer: link.peer, isDurable: link.hello.member.isDurable), link.vector)
        }
        for (peer, vector) in lastWords where !links.contains(where: { $0.peer == peer && $0.isOpen }) {
            body(Reader(peer: peer, isDurable: true), vector)
        }
    }

    /// The link to a peer is about to go.
    mutating func keepLastWord(_ i: Int) {
        words &+= 1
        partings[links[i].peer] = links[i].vector
        guard links[i].isOpen, links[i].hello.member.isDurable else { return }
        lastWords[links[i].peer] = links[i].vector
    }

    /// What a peer has read, by what it says or said last; nil if it never was linked.
    public func lastRead(by peer: ReplicaID) -> VersionVector? { vector(of: peer) ?? partings[peer] }

    /// Forgets what peers said that are no longer expected back.
    mutating func forgetLastWords(but known: [ReplicaID]) {
        if !partings.isEmpty { partings = partings.filter { known.contains($0.key) } }
        guard !lastWords.isEmpty else { return }
        lastWords = lastWords.filter { known.contains($0.key) }
    }
}
