import Gossip

/// What a client was sent that never says what it has done.
///
/// An SDK handles the events of its stream one after another and reads no further meanwhile, so a sign that it is at one of
/// them says that it is done with all before it. Signs are what the agent publishes about an event, or asks for on its
/// account. An event is done with
///
/// - when it is answered: the agent publishes the response that was asked for;
/// - when there is a sign of a later one;
/// - when it was sent a minute ago and the client has given no sign for as long: it has nothing to say about it;
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
    /// Those that have left this process.
    var left: [Event] { events.prefix(leftCount).map(\.event) }

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
        guard let at = sent.firstIndex(where: { !$0.isBegun && isMeant($0.event) }) else { return [] }
        events[at].isBegun = true
        lastSign = now
        return take(at)
    }

    /// Returns what is done with by now.
    mutating func expire(now: Instant) -> [Event] {
        guard let due = wake, due <= now else { return [] }
        let through = events.prefix(leftCount).prefix { $0.at.advanced(milliseconds: Self.silenceMs) <= now }
        return take(through.count)
    }

    /// When `expire` is due.
    var wake: Instant? {
        guard leftCount > 0, let first = events.first else { return nil }
        return max(first.at, lastSign ?? first.at).advanced(milliseconds: Self.silenceMs)
    }

    /// Somebody else has these by now.
    mutating func forget(_ isGone: (Event) -> Bool) {
        let kept = events.prefix(leftCount).count { !isGone($0.event) }
        let waiting = events.dropFirst(leftCount).count { !isGone($0.event) }
        events.removeAll { isGone($0.event) }
        if asked != nil { asked = max(0, min(asked ?? 0, kept + waiting)) }
        leftCount = kept
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
