import CRDT
import Gossip

/// What a client was sent that never says what it has done.
///
/// An SDK handles the events of its stream one after another and reads no further meanwhile, so a sign that it is at one of
/// them says that it is done with all before it. Signs are what the agent publishes about an event, or asks for on its
/// account. An event is done with
///
/// - when it is answered: somebody publishes the response that was asked for;
/// - when there is a sign of a later one;
/// - when nothing has been heard of it for too long: a minute if an answer was asked for or the client gives signs at all,
///   and its last one is as old; else half a second, for it has nothing to say;
/// - when `window` later ones have reached the client.
///
/// What is not done with goes to another consumer of the group when the client is lost.
///
/// A value with no other door: it decides nothing but which events are done with.
struct HandedEvents: Sendable {
    /// The most events that have reached a client and are remembered.
    static let window = 500
    /// How long a client may be silent about what it was sent, in milliseconds.
    static let silenceMs: UInt64 = 60_000
    /// The same for a client that has never said anything, about what asks for no answer.
    static let listenMs: UInt64 = 500

    struct Event: Equatable, Sendable {
        let group: String
        let key: EntryKey
        /// Hashes by which signs name it: its correlation id, the task id in its data; 0 for none.
        var correlation: UInt64 = 0
        var task: UInt64 = 0
        /// Of its data, as a worker keeps them with its task; 0 for none.
        var data: UInt64 = 0
        /// Of the type of the response that is asked for; 0 for none.
        var response: UInt64 = 0

        /// What stands for its answer; nil if it asks for none.
        var answer: UInt64? {
            response == 0 || correlation == 0 ? nil : Self.answer(to: correlation, response)
        }

        /// What stands for an event of this type with this correlation id.
        static func answer(to correlation: UInt64, _ type: UInt64) -> UInt64 {
            XXH64.avalanche(correlation &+ XXH64.avalanche(type))
        }
    }

    /// What an agent has published or asked for.
    struct Sign: Equatable, Sendable {
        /// The correlation id that it names.
        var correlation: UInt64 = 0
        /// The task in whose name it does so.
        var task: UInt64 = 0
        /// Of that task's data.
        var data: UInt64 = 0
        /// The type of what it has published; 0 if it only asks.
        var type: UInt64 = 0
        /// It can only come from this client: what it answers need not be named. SDK 0.7 answers a task under an id that it
        /// has made up.
        var isOwn = false
    }

    private struct Handed: Sendable {
        let event: Event
        let at: Instant
        var isBegun = false
    }

    /// In the order in which they were sent; the front ones have left this process.
    private var events: [Handed] = []
    private var leftCount = 0
    /// So many of them were on their way out when it was asked whether all has left; nil if it was not asked.
    private var asked: Int?
    private var lastSign: Instant?

    /// How many are under way.
    var count: Int { events.count }
    /// All of them.
    var all: [Event] { events.map(\.event) }
    /// Those that have left this process.
    var left: [Event] { events.prefix(leftCount).map(\.event) }

    /// Whether an event is under way.
    func contains(_ key: EntryKey, of group: String) -> Bool {
        events.contains { $0.event.key == key && $0.event.group == group }
    }

    /// An event was given to the client's connection. Says whether it is to be asked when that has left this process.
    mutating func sent(_ event: Event, now: Instant) -> Bool {
        events.append(Handed(event: event, at: now))
        guard asked == nil else { return false }
        asked = events.count
        return true
    }

    /// What was sent before it was asked has left this process. Returns what is done with, and whether to ask again.
    mutating func emptied() -> (done: [Event], asksAgain: Bool) {
        leftCount = max(leftCount, min(asked ?? 0, events.count))
        asked = leftCount < events.count ? events.count : nil
        return (take(max(0, leftCount - Self.window)), asked != nil)
    }

    /// The client gives a sign. Returns what is done with.
    mutating func heard(_ sign: Sign, now: Instant) -> [Event] {
        func isMeant(_ event: Event) -> Bool {
            (sign.correlation != 0 && (event.correlation == sign.correlation || event.task == sign.correlation))
                || (sign.task != 0 && (event.task == sign.task || event.correlation == sign.task))
                || (sign.data != 0 && event.data == sign.data)
        }
        let sent = events[..<leftCount]
        if sign.type != 0,
            let at = sent.firstIndex(where: { $0.event.response == sign.type && isMeant($0.event) })
        {
            lastSign = now
            return take(at + 1)
        }
        if sign.isOwn, sign.type != 0, !sent.contains(where: { isMeant($0.event) }), sent.first?.isBegun == false,
            let at = sent.firstIndex(where: { $0.event.response == sign.type })
        {
            // It does one after another, and has not come to those behind.
            lastSign = now
            return take(at + 1)
        }
        guard let at = sent.firstIndex(where: { !$0.isBegun && isMeant($0.event) }) else { return [] }
        events[at].isBegun = true
        lastSign = now
        return take(at)
    }

    /// Somebody has answered events. Returns those that are done with.
    mutating func answered(_ answer: UInt64) -> [Event] { takeWhere { $0.event.answer == answer } }

    /// Returns what is done with by now.
    mutating func expire(now: Instant) -> [Event] {
        let last = lastSign
        return takeWhere { Self.due(of: $0, last) <= now }
    }

    /// When `expire` is due.
    var wake: Instant? { events.prefix(leftCount).map { Self.due(of: $0, lastSign) }.min() }

    private static func due(of handed: Handed, _ lastSign: Instant?) -> Instant {
        guard lastSign != nil || handed.event.response != 0 else {
            return handed.at.advanced(milliseconds: listenMs)
        }
        return max(handed.at, lastSign ?? handed.at).advanced(milliseconds: silenceMs)
    }

    /// Takes those out that have left this process and are meant.
    private mutating func takeWhere(_ isMeant: (Handed) -> Bool) -> [Event] {
        let done = events.prefix(leftCount).filter(isMeant).map(\.event)
        guard !done.isEmpty else { return [] }
        let keys = Set(done.map(\.key))
        // A key stands twice if its event came back and was sent again: what has not left stays.
        let rest = events.prefix(leftCount).filter { !keys.contains($0.event.key) } + events.dropFirst(leftCount)
        let gone = events.count - rest.count
        leftCount -= gone
        asked = asked.map { max(0, $0 - gone) }
        events = Array(rest)
        return done
    }

    private mutating func take(_ count: Int) -> [Event] {
        guard count > 0 else { return [] }
        let done = events.prefix(count).map(\.event)
        events.removeFirst(count)
        leftCount -= count
        asked = asked.map { max(0, $0 - count) }
        return done
    }
}
