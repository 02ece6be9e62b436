import CRDT
import Gossip
import Testing

@testable import NodeCore

private typealias Event = HandedEvents.Event

private func event(_ number: UInt64, correlation: UInt64 = 0, task: UInt64 = 0, response: UInt64 = 0) -> Event {
    Event(
        group: "g", key: EntryKey(log: ReplicaID(1), sequence: number), correlation: correlation, task: task,
        response: response)
}

private func at(_ seconds: Double) -> Instant { Instant(milliseconds: UInt64(seconds * 1_000)) }

/// A client that was sent these events at once, all of which have reached it.
private func client(_ events: [Event], at time: Instant = at(0)) -> HandedEvents {
    var handed = HandedEvents()
    for event in events { _ = handed.sent(event, now: time) }
    // What is sent after it was asked is asked for again.
    while handed.emptied().asksAgain {}
    return handed
}

private func numbers(_ events: [Event]) -> [UInt64] { events.map(\.key.sequence) }

@Suite("What was sent to clients that never acknowledge")
struct SoormaHandedTests {
    @Test("a sign of an event says that all before it are done with, and not it itself")
    func order() {
        var handed = client([event(1, correlation: 11), event(2), event(3, correlation: 13), event(4, correlation: 14)])
        var done = handed.heard(.init(correlation: 13), now: at(1))
        #expect(numbers(done) == [1, 2])
        done = handed.heard(.init(correlation: 13), now: at(1))
        #expect(done.isEmpty, "it has begun with that already")
        done = handed.heard(.init(correlation: 14), now: at(2))
        #expect(numbers(done) == [3])
        done = handed.heard(.init(correlation: 99), now: at(2))
        #expect(done.isEmpty)
        #expect(handed.count == 1)
    }

    @Test("an answer is the end of an event, whoever gives it")
    func answers() {
        var handed = client([
            event(1), event(2, correlation: 12, response: 77), event(3, correlation: 13, response: 77),
        ])
        // The agent's own: it has come as far as that.
        var done = handed.heard(.init(correlation: 12, type: 77), now: at(1))
        #expect(numbers(done) == [1, 2])
        // Another's: of what the client has come to, that says nothing.
        handed = client([event(1), event(2, correlation: 12, response: 77)])
        done = handed.answered(Event.answer(to: 12, 78))
        #expect(done.isEmpty)
        done = handed.answered(Event.answer(to: 12, 77))
        #expect(numbers(done) == [2])
        #expect(numbers(handed.all) == [1])
    }

    @Test("an answer under a made-up id answers what the client has in hand, and nothing behind what it has begun")
    func madeUpIDs() {
        let own = HandedEvents.Sign(correlation: 999, type: 77, isOwn: true)
        var handed = client([event(1), event(2, correlation: 2, response: 77), event(3, correlation: 3, response: 77)])
        var done = handed.heard(.init(correlation: 999, type: 77), now: at(1))
        #expect(done.isEmpty, "another replica's, perhaps")
        done = handed.heard(own, now: at(1))
        #expect(numbers(done) == [1, 2])
        _ = handed.heard(.init(correlation: 3), now: at(2))
        done = handed.heard(own, now: at(3))
        #expect(done.isEmpty, "it is at work on something else")
    }

    @Test("a sign may name the task, or what the task was given to do")
    func tasks() {
        var handed = client([event(1, task: 5), event(2, task: 6)])
        var done = handed.heard(.init(correlation: 100, task: 6), now: at(1))
        #expect(numbers(done) == [1])
        var other = HandedEvents()
        for number in 1...2 as ClosedRange<UInt64> {
            var it = event(number)
            it.data = 40 + number
            _ = other.sent(it, now: at(0))
        }
        while other.emptied().asksAgain {}
        done = other.heard(.init(correlation: 100, task: 9, data: 42), now: at(1))
        #expect(numbers(done) == [1])
    }

    @Test("what has not left this process is not done with by anything")
    func leaving() {
        var handed = HandedEvents()
        let isFirst = handed.sent(event(1, correlation: 1), now: at(0))
        #expect(isFirst, "asked when the first is on its way")
        let isSecond = handed.sent(event(2, correlation: 2), now: at(0))
        #expect(!isSecond)
        let early = handed.heard(.init(correlation: 2), now: at(0))
        #expect(early.isEmpty)
        #expect(handed.wake == nil)
        let (done, asksAgain) = handed.emptied()
        #expect(done.isEmpty)
        #expect(asksAgain, "the second was sent after it was asked")
        #expect(numbers(handed.left) == [1])
        let second = handed.emptied()
        #expect(!second.asksAgain)
        let heard = handed.heard(.init(correlation: 2), now: at(0))
        #expect(numbers(heard) == [1])
    }

    @Test("a listener is believed after half a second, a request and who gives signs after a minute of silence")
    func silence() {
        var handed = client([event(1), event(2, correlation: 2, response: 7)])
        #expect(handed.wake == at(0.5))
        var done = handed.expire(now: at(0.4))
        #expect(done.isEmpty)
        done = handed.expire(now: at(0.5))
        #expect(numbers(done) == [1])
        #expect(handed.wake == at(60))
        done = handed.expire(now: at(60))
        #expect(numbers(done) == [2])

        var speaking = client([event(1, correlation: 1), event(2), event(3)])
        _ = speaking.heard(.init(correlation: 1), now: at(30))
        done = speaking.expire(now: at(60))
        #expect(done.isEmpty, "it was heard thirty seconds ago")
        #expect(speaking.wake == at(90))
        done = speaking.expire(now: at(90))
        #expect(numbers(done) == [1, 2, 3])
    }

    @Test("of more than a window full, the oldest are taken for done with")
    func window() {
        let many = UInt64(HandedEvents.window) + 3
        var handed = HandedEvents()
        for number in 1...many { _ = handed.sent(event(number, response: 1), now: at(0)) }
        var done: [UInt64] = []
        while true {
            let (some, asksAgain) = handed.emptied()
            done += numbers(some)
            if !asksAgain { break }
        }
        #expect(done == [1, 2, 3])
        #expect(handed.count == HandedEvents.window)
    }
}

@Suite("Sharing in a queue group")
struct SharingTests {
    private let ada = ReplicaID(0xa)
    private let bob = ReplicaID(0xb)

    private func seat(_ node: ReplicaID, _ session: UInt64) -> Seat { Seat(node: node, session: SessionID(session)) }

    private func decider(_ sharing: Sharing, _ me: ReplicaID, limit: Int = 4) -> GroupDecider {
        var options = GroupOptions(group: "g", filter: Array("{}".utf8))
        options.sharing = sharing
        let standing = GroupStanding(me: me, present: [ada, bob], hasMajority: true)
        var decider = GroupDecider(group: "g", options: options, standing: standing)
        var out: [GroupDecider.Effect] = []
        decider.handle(.standing(standing), now: at(0), into: &out)
        decider.handle(.consumer(seat(ada, 1), limit: limit), now: at(0), into: &out)
        decider.handle(.consumer(seat(bob, 2), limit: limit), now: at(0), into: &out)
        return decider
    }

    /// To which sessions a node's events go, each of this kin.
    private func given(
        _ decider: inout GroupDecider, _ kins: [UInt64], home: ReplicaID? = nil
    ) -> [UInt64] {
        var out: [GroupDecider.Effect] = []
        for (i, kin) in kins.enumerated() {
            let key = EntryKey(log: decider.standing.me, sequence: UInt64(i) + 1)
            decider.handle(.found(key, position: i, kin: .init(kin: kin, home: home)), now: at(0), into: &out)
            decider.hand(now: at(0), isWanted: { _ in true }, into: &out)
        }
        return out.compactMap { effect in
            guard case .tell(_, .assign(_, _, let session, _)) = effect else { return nil }
            return session.rawValue
        }
    }

    @Test("the nearest has room first; where it is even, nobody gets more than another")
    func even() {
        var near = decider(.nearest, ada)
        #expect(given(&near, [0, 0, 0, 0, 0, 0]) == [1, 1, 1, 1, 2, 2])
        var even = decider(.even, ada)
        #expect(given(&even, [0, 0, 0, 0, 0, 0]).sorted() == [1, 1, 1, 2, 2, 2])
    }

    @Test("kin go to one consumer, the same from every node, and elsewhere only where it has no room")
    func related() {
        var (one, other) = (decider(.related, ada, limit: 20), decider(.related, bob, limit: 20))
        let kins: [UInt64] = Array(1...8) + Array(1...8)
        let (here, there) = (given(&one, kins), given(&other, kins))
        #expect(here == there)
        #expect(Set(here).count == 2, "kins are spread")
        #expect(Array(here[..<8]) == Array(here[8...]))
        var asked = decider(.related, ada, limit: 20)
        #expect(Set(given(&asked, kins, home: bob)) == [2], "where it was asked for")
        var gone = decider(.related, ada, limit: 20)
        #expect(given(&gone, kins, home: ReplicaID(0xc)) == here, "whoever asked is gone")
        var full = decider(.related, ada)
        let all = given(&full, [7, 7, 7, 7, 7, 7])
        #expect(Set(all[..<4]).count == 1)
        #expect(Set(all[4...]) != Set(all[..<4]))
    }
}
