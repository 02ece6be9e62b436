import Gossip
import NodeCore
import Testing

@testable import Simulate

private let ids = [
    "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
]
/// A whole minute, in milliseconds since the Unix epoch.
private let minute: UInt64 = 29_453_760 * 60_000

/// Three stored events, newest first, as a node lists them: a proposal, a reward two minutes later, a penalty.
private func list(
    _ kept: [Int] = [2, 1, 0], value: String = "0.2", agent: String = "ada"
) -> [UInt8] {
    let events = [
        event(0, at: minute, type: "proposal", payload: #""action":"p""#, agent: agent),
        event(1, at: minute + 120_000, type: "reward", payload: #""value":\#(value),"α":1.5,"pattern":"p""#),
        event(2, at: minute + 120_001, type: "penalty", payload: #""value":-0.1,"pattern":"p""#),
    ]
    return Array("[\(kept.map { events[$0] }.joined(separator: ","))]".utf8)
}

private func event(_ number: Int, at ms: UInt64, type: String, payload: String, agent: String = "ada") -> String {
    let stamp = "0" + String(ms << 16, radix: 16) + "-0000000000000001"
    return #"{"id":"\#(ids[number])","type":"\#(type)","scope":"s","agent_id":"\#(agent)","payload":{\#(payload)},"#
        + #""stamp":"\#(stamp)","signals":["p"],"replica":"0000000000000001","seq":\#(number + 1)}"#
}

private func testimony(_ node: Int, _ pages: [[UInt8]], signals: String = "[]") -> Testimony {
    Testimony(node: node, life: 1, pages: pages, signals: [(minute + 130_000, Array(signals.utf8))], graph: [])
}

private func signal(_ strength: Double) -> String {
    #"[{"id":"s/p","scope":"s","pattern":"p","strength":\#(strength),"last_updated":"","alpha":1.2,"lambda":0.95}]"#
}

private func promise(_ body: () throws(Violation) -> Void) -> String? {
    do throws(Violation) { try body() } catch { return error.promise }
    return nil
}

@Suite("Finally: what must hold when all is over")
struct FinallyTests {
    /// 0.3, two ticks of decay, plus 0.2 × 1.5, less 0.1.
    let strength = 0.3 * 0.95 * 0.95 + 0.2 * 1.5 - 0.1

    func ledger(acknowledged: [Int]) -> Ledger {
        var ledger = Ledger()
        for (number, id) in ids.enumerated() {
            let type = ["proposal", "reward", "penalty"][number]
            let body = Array(#"{"id":"\#(id)","type":"\#(type)","scope":"s","agent_id":"ada"}"#.utf8)
            let place = ledger.add(
                Posting(key: EventKey(text: id)!, scope: "s", parents: [], body: body, otherBody: nil))
            if acknowledged.contains(number) { ledger[place].acknowledgements = [.init(node: 0, history: 1)] }
        }
        return ledger
    }

    @Test("Equal lists agree; a changed byte and a shorter list do not")
    func agree() {
        let honest = testimony(0, [list()])
        #expect(
            promise { () throws(Violation) in try Finally.agree([honest, testimony(1, [list()])], keepAll: true) }
                == nil)
        for liar in [
            testimony(1, [list(agent: "bob")]), testimony(1, [list([2, 1])]), testimony(1, [list(), [0x5b, 0x5d]]),
        ] {
            #expect(
                promise { () throws(Violation) in try Finally.agree([honest, liar], keepAll: true) }
                    == "the lists of events are equal to the byte")
        }
        let other = testimony(1, [list()], signals: signal(0.3))
        #expect(
            promise { () throws(Violation) in try Finally.agree([honest, other], keepAll: true) }
                == "the signals are equal to the byte")
    }

    @Test("An event listed twice, or out of order, is noticed")
    func lists() {
        #expect(promise { () throws(Violation) in _ = try Finally.events(testimony(0, [list()])) } == nil)
        #expect(
            promise { () throws(Violation) in _ = try Finally.events(testimony(0, [list(), list([0])])) }
                == "no event is listed twice")
        #expect(
            promise { () throws(Violation) in _ = try Finally.events(testimony(0, [list([1, 2, 0])])) }
                == "events are listed newest first")
    }

    @Test("A dropped event is noticed if a survivor acknowledged it, and only then")
    func lost() throws {
        let events = try Finally.events(testimony(0, [list([2, 0])]))
        func check(_ acknowledged: [Int], survives: Bool) -> String? {
            promise { () throws(Violation) in
                try Finally.nothingLost(events, ledger: ledger(acknowledged: acknowledged)) { _ in survives }
            }
        }
        #expect(check([0, 1, 2], survives: true) == "no event is lost that a survivor acknowledged")
        #expect(check([0, 1, 2], survives: false) == nil)
        #expect(check([0, 2], survives: true) == nil)
    }

    @Test("An event that says something else than was posted is noticed")
    func changed() throws {
        let events = try Finally.events(testimony(0, [list(agent: "eve")]))
        #expect(
            promise { () throws(Violation) in
                try Finally.nothingLost(events, ledger: ledger(acknowledged: [])) { _ in true }
            } == "an event says what was posted")
    }

    @Test("The oracle folds the seed's formulas, and a strength off by one bit is noticed")
    func oracle() throws {
        let events = try Finally.events(testimony(0, [list()]))
        func check(_ answer: String) -> String? {
            promise { () throws(Violation) in
                try Finally.oneBroker(events, testimony(0, [], signals: answer), decay: 0.95)
            }
        }
        let broken = "signals equal those of one broker"
        #expect(check(signal(strength)) == nil)
        #expect(check(signal(strength.nextUp)) == broken)
        #expect(check("[]") == broken)
        #expect(check(signal(strength).replacing(#""pattern":"p""#, with: #""pattern":"q""#)) == broken)
    }

    @Test("A reading knows what had happened by then, fades, and is gone below 0.01")
    func fading() throws {
        let oracle = try Oracle(try Finally.events(testimony(0, [list()])))
        let key = Oracle.Key(scope: "s", pattern: "p")
        func strength(_ ms: UInt64) -> Double? { oracle.readings(at: minute + ms, decay: 0.95)[key]?.strength }
        #expect(strength(0) == 0.3)
        #expect(strength(59_999) == 0.3)
        #expect(strength(60_000) == 0.3 * 0.95)
        #expect(strength(120_000) == 0.3 * 0.95 * 0.95 + 0.2 * 1.5)
        #expect(strength(120_001) == self.strength)
        #expect(strength(120_000 + 80 * 60_000) == nil)
        #expect(oracle.readings(at: minute - 1, decay: 0.95).isEmpty)
    }

    @Test("A subscriber that missed an event, or saw the wrong order, is noticed")
    func subscribers() {
        let ledger = ledger(acknowledged: [])
        let witness = Session(id: SessionID(1), node: 0, life: 1, filter: nil, openedAfter: 0)
        witness.shown = [0, 1, 2]
        func check(_ shown: [Int], openedAfter: Int) -> String? {
            let session = Session(id: SessionID(2), node: 0, life: 1, filter: nil, openedAfter: openedAfter)
            session.shown = shown
            session.place = Dictionary(uniqueKeysWithValues: shown.enumerated().map { ($1, $0) })
            return promise { () throws(Violation) in
                try Finally.shownOnce(session, witness: witness, ledger: ledger)
            }
        }
        #expect(check([0, 1, 2], openedAfter: 0) == nil)
        #expect(check([1, 2], openedAfter: 1) == nil)
        for shown in [[0, 2], [0, 2, 1], []] {
            #expect(check(shown, openedAfter: 0) == "every subscriber sees every event that it asked for, once")
        }
    }
}

@Suite("Eventually: what must come to hold")
struct EventuallyTests {
    func members(_ states: [String]) throws -> [Opinion] {
        let members = states.enumerated().map { #"{"name":"n\#($0)","replica":"\#($0)","state":"\#($1)","read":{}}"# }
        return try Eventually.opinions(Array(#"{"members":[\#(members.joined(separator: ","))]}"#.utf8))
    }

    @Test("Trust is exactly in those who live")
    func trust() throws {
        #expect(Eventually.distrust(try members(["alive", "alive"]), living: ["0", "1"], at: 0) == nil)
        #expect(Eventually.distrust(try members(["alive", "dead"]), living: ["0"], at: 0) == nil)
        #expect(Eventually.distrust(try members(["alive", "dead"]), living: ["0", "1"], at: 0) != nil)
        #expect(Eventually.distrust(try members(["alive", "alive"]), living: ["0"], at: 0) != nil)
        #expect(Eventually.distrust(try members(["alive"]), living: ["0", "1"], at: 0) != nil)
    }

    @Test("An accusation of the living is noticed, of the dead not")
    func accusations() throws {
        let opinions = try members(["alive", "suspect", "dead"])
        #expect(Eventually.accusation(opinions, living: ["0"], at: 0) == nil)
        #expect(Eventually.accusation(opinions, living: ["0", "1"], at: 0) == "node 0 calls n1 (1) suspect")
    }
}
