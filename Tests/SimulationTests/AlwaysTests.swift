import Gossip
import NodeCore
import Testing

@testable import Simulate

/// A ledger of events, and subscribers that the test tells what they are shown: a checker must see each lie.
private struct Theatre {
    var ledger = Ledger()
    var always = Always()
    /// The watcher at the node that writes log 1, and one at another node.
    let origin = Session(id: SessionID(1), node: 0, life: 1, filter: nil, openedAfter: 0)
    let other = Session(id: SessionID(2), node: 1, life: 1, filter: nil, openedAfter: 0)

    init() {
        var dice = Dice(seed: 7)
        for scope in ["ui.form", "ui.form", "api.auth"] {
            _ = ledger.add(Posting(key: EventKey(&dice), scope: scope, parents: [], body: [], otherBody: nil))
        }
        always.origins[1] = origin
    }

    mutating func show(_ place: Int, log: UInt64 = 1, sequence: UInt64, to session: Session) -> String? {
        let sighting = Sighting(key: ledger[place].key, replica: log, sequence: sequence, stamp: sequence)
        let witness = session.node == 0 ? origin : other
        return always.shown(sighting, place: place, to: session, witness: witness, ledger)?.promise
    }
}

@Suite("Always: what no moment may break")
struct AlwaysTests {
    @Test("Events in order, each once, break nothing")
    func calm() {
        var theatre = Theatre()
        for place in 0..<3 {
            #expect(theatre.show(place, sequence: UInt64(place) + 1, to: theatre.origin) == nil)
            #expect(theatre.show(place, sequence: UInt64(place) + 1, to: theatre.other) == nil)
        }
    }

    @Test("The same event twice is noticed, even from another log")
    func twice() {
        var theatre = Theatre()
        #expect(theatre.show(0, sequence: 1, to: theatre.other) == nil)
        #expect(theatre.show(0, log: 2, sequence: 9, to: theatre.other) == "no subscriber sees an event twice")
    }

    @Test("A log out of order is noticed")
    func order() {
        var theatre = Theatre()
        #expect(theatre.show(1, sequence: 2, to: theatre.other) == nil)
        #expect(theatre.show(0, sequence: 1, to: theatre.other) == "seq rises per replica for each subscriber")
        #expect(theatre.show(0, sequence: 2, to: theatre.other) == "seq rises per replica for each subscriber")
    }

    @Test("An effect without its cause is noticed")
    func causes() {
        var theatre = Theatre()
        #expect(theatre.show(0, log: 2, sequence: 5, to: theatre.origin) == nil)
        #expect(theatre.show(1, sequence: 6, to: theatre.origin) == nil)
        #expect(theatre.show(1, sequence: 6, to: theatre.other) == "causes come before effects")
        #expect(theatre.show(0, log: 2, sequence: 5, to: theatre.other) == nil)
        #expect(theatre.show(1, sequence: 6, to: theatre.other) == nil)
    }

    @Test("A stamp below what its node had seen is noticed")
    func stamps() {
        var theatre = Theatre()
        #expect(theatre.show(0, log: 2, sequence: 5, to: theatre.origin) == nil)
        #expect(
            theatre.show(1, sequence: 5, to: theatre.origin) == "a node's own stamps come after all that it has seen")
        #expect(theatre.show(1, sequence: 6, to: theatre.origin) == nil)
    }

    @Test("What is answered with 201 is new, in the node's own log")
    func taken() {
        var theatre = Theatre()
        #expect(theatre.show(0, sequence: 3, to: theatre.origin) == nil)
        func taken(log: UInt64, sequence: UInt64) -> Bool {
            let sighting = Sighting(key: theatre.ledger[0].key, replica: log, sequence: sequence, stamp: 3)
            return theatre.always.taken(sighting, by: 1, witness: theatre.origin) == nil
        }
        #expect(taken(log: 1, sequence: 3))
        #expect(!taken(log: 1, sequence: 4))
        #expect(!taken(log: 2, sequence: 3))
    }

    @Test("Who came later, or asked for less, rightly misses a cause")
    func latecomers() {
        var theatre = Theatre()
        #expect(theatre.show(0, log: 2, sequence: 5, to: theatre.origin) == nil)
        #expect(theatre.show(2, sequence: 6, to: theatre.origin) == nil)
        #expect(theatre.show(0, log: 2, sequence: 5, to: theatre.other) == nil)
        let late = Session(id: SessionID(3), node: 1, life: 1, filter: nil, openedAfter: 1)
        let picky = Session(id: SessionID(4), node: 1, life: 1, filter: "api.>", openedAfter: 0)
        let early = Session(id: SessionID(5), node: 1, life: 1, filter: nil, openedAfter: 0)
        #expect(theatre.show(2, sequence: 6, to: late) == nil)
        #expect(theatre.show(2, sequence: 6, to: picky) == nil)
        #expect(theatre.show(2, sequence: 6, to: early) == "causes come before effects")
    }

    @Test("An event that the filter leaves out is noticed")
    func filters() {
        var theatre = Theatre()
        let picky = Session(id: SessionID(3), node: 1, life: 1, filter: "api.>", openedAfter: 0)
        #expect(theatre.show(0, sequence: 1, to: picky) == "a subscriber sees only what it subscribed to")
        #expect(theatre.show(2, sequence: 2, to: picky) == nil)
    }

    @Test(
        "Filters by scope",
        arguments: [
            ("ui.>", "ui.form", true), ("ui.>", "ui.form.x", true), ("ui.>", "ui", false), ("ui.>", "uix.form", false),
            ("ui.>", "ui.", false), ("ui.form", "ui.form", true), ("ui.form", "ui.form.x", false),
        ])
    func wants(filter: String, scope: String, expected: Bool) {
        let session = Session(id: SessionID(1), node: 0, life: 1, filter: filter, openedAfter: 0)
        #expect(session.wants(scope) == expected)
    }
}
