internal import CRDT
internal import Gossip
internal import NodeCore

/// A client that listens with a cursor, loses its node and goes on at another. What it was shown it remembers for life.
///
/// Between it and its node lies what the transport promises: what is sent to it alone comes before what is owed of its
/// channel, a change of the channel puts what is owed into its place, and what it takes too slowly is cut off.
final class Client {
    /// One message on its way to it.
    struct Frame {
        let message: Message
        let bytes: Int
        /// What a broadcast is told by when the client takes it; nil for what was sent to it alone.
        let mark: UInt64?
    }

    /// Entries of one log that it was told to have missed.
    struct Gap: Equatable, Sendable {
        let replica: UInt64
        let from: UInt64
        let to: UInt64

        func covers(_ name: EntryName) -> Bool {
            replica == name.replica && from <= name.sequence && name.sequence <= to
        }
    }

    /// An event that it was shown.
    struct Shown {
        let name: EntryName
        let stamp: UInt64
        /// On which of its connections.
        let connection: Int
    }

    let number: Int
    var dice: Dice
    let interests: [Interest]
    /// How many bytes may be owed to it of its channel; nil for one that takes all at once.
    let budget: Int?
    /// It asked for all that is kept, and not for what comes from then on.
    let wantsAll: Bool
    /// When it first subscribed, in microseconds since the world began.
    var startedAt: UInt64?
    /// The last cursor that it was given; nil before the first.
    var cursor: String?
    /// What its first cursor says that it need not be shown.
    var start = CompactVector()

    // What it was shown in all its life.
    var shown: [Int: Shown] = [:]
    /// When, in microseconds since the world began.
    var seen: [EntryName: UInt64] = [:]
    var gaps: [Gap] = []
    /// How much of what a log's owner had seen is known to have been shown to it before.
    var verified: [UInt64: Int] = [:]

    // Its connection.
    var session: Session?
    var connections = 0
    /// When it connected, in microseconds since the world began.
    var connectedAt: UInt64 = 0
    /// Its next attempt to connect is due.
    var isConnecting = false
    /// Its node has answered its subscription.
    var isSubscribed = false
    /// The cursor with which it connected.
    var resumedFrom = CompactVector()
    /// What its node had read of each log when it connected there.
    var readAtConnect: [UInt64: UInt64] = [:]
    /// The highest sequence number shown of each log on this connection.
    var lastSequence: [UInt64: UInt64] = [:]
    /// Where its node told it to go.
    var advice: [Int] = []
    var own: [Frame] = []
    var ring: [Frame] = []
    var ringBytes = 0
    /// That of the last broadcast it took since it was tuned to its channel.
    var lastMark: UInt64?
    /// It read too slowly, and its node is being told.
    var hasOverrun = false
    var isOverrunTold = false
    var wantsNotice = false
    /// It takes the next message at a moment that is in the agenda.
    var isReading = false
    /// From now on it takes all at once: the world comes to rest.
    var isHasty = false

    init(number: Int, dice: Dice, interests: [Interest], budget: Int?, wantsAll: Bool) {
        self.number = number
        self.dice = dice
        self.interests = interests
        self.budget = budget
        self.wantsAll = wantsAll
    }

    /// A number below `bound`.
    func roll(_ bound: Int) -> Int { Int(dice.below(UInt64(bound))) }

    func wants(_ traits: Traits) -> Bool { interests.contains { $0.wants(traits) } }

    /// Whether one of the copies of an event is before what it asked for, or among what it was told to have missed.
    func mayMiss(_ copies: [EntryName]) -> Bool {
        copies.contains { name in
            gaps.contains { $0.covers(name) }
                || start.names(name)
        }
    }

    /// It is connected no longer; what was on its way is lost.
    func disconnect() {
        session = nil
        own = []
        ring = []
        (ringBytes, lastMark, hasOverrun, wantsNotice, isSubscribed) = (0, nil, false, false, false)
        isOverrunTold = false
    }
}

/// An entry by its log and its number.
struct EntryName: Hashable, Sendable {
    let replica: UInt64
    let sequence: UInt64
}
