import CRDT
import Gossip
import Testing

@testable import NodeCore

private let ada = ReplicaID(0xa)
private let bob = ReplicaID(0xb)
private let cyd = ReplicaID(0xc)

private func token(_ term: Int, _ counter: Int) -> FencingToken { FencingToken(rawValue: term << 32 | counter)! }

/// A decision by which somebody holds something until a time.
private struct Held: FencedDecision {
    let node: ReplicaID
    let token: FencingToken
    var seen = SeenTokens()
    var untilMs: UInt64 = 100
    func holds(at nowMs: UInt64) -> Bool { nowMs < untilMs }
}

@Suite("Fencing tokens, and the decisions of several nodes")
struct FencingTests {
    @Test("Tokens rise with each grant, and their term when another node begins to decide")
    func tokens() {
        let rows: [(highest: (token: FencingToken, node: ReplicaID)?, me: ReplicaID, next: FencingToken)] = [
            (nil, ada, token(1, 1)), ((token(1, 1), ada), ada, token(1, 2)), ((token(1, 7), ada), bob, token(2, 1)),
            ((token(2, 1), bob), ada, token(3, 1)), ((token(1, 1 << 32 - 1), ada), ada, token(2, 1)),
        ]
        for row in rows {
            let next = FencingToken.next(after: row.highest, by: row.me)
            #expect(next == row.next)
            #expect(row.highest.map { $0.token < next } ?? true)
        }
        let last = FencingToken(rawValue: 1 << 53 - 1)!
        #expect(
            FencingToken.next(after: (last, ada), by: bob) == last, "a number that JSON readers keep, whatever comes")
        for wrong in [0, -1, 1 << 53] { #expect(FencingToken(rawValue: wrong) == nil) }
        for wrong: JSONValue? in [nil, .null, .string("1"), .number("1.5"), .number("1e300"), .number("0")] {
            #expect(FencingToken(wrong) == nil)
        }
    }

    @Test("The highest token counts, of two equal ones the higher node's")
    func highest() {
        #expect([Held]().highest == nil)
        #expect([Held(node: ada, token: token(1, 5)), Held(node: bob, token: token(2, 1))].highest?.node == bob)
        #expect([Held(node: bob, token: token(2, 1)), Held(node: ada, token: token(2, 1))].highest?.node == bob)
    }

    @Test("Outdone is what still holds under a lower token, unknown to whoever decided what counts")
    func outdone() {
        var knows = SeenTokens()
        knows[ada] = token(1, 5)
        let low = Held(node: ada, token: token(1, 5))
        let newer = Held(node: ada, token: token(1, 6))
        let blind = Held(node: bob, token: token(2, 1))
        let knowing = Held(node: bob, token: token(2, 1), seen: knows)
        #expect([low, blind].outdone(at: 50).map(\.node) == [ada])
        #expect([low, blind].outdone(at: 100).isEmpty, "its time is over")
        #expect([low, knowing].outdone(at: 50).isEmpty, "it was taken account of")
        #expect([newer, knowing].outdone(at: 50).map(\.node) == [ada], "it was granted since")
    }

    @Test("Whoever decides next takes account of everything but what is outdone and not yet revoked")
    func seen() {
        let all = [Held(node: ada, token: token(1, 5)), Held(node: bob, token: token(2, 1))]
        let seen = all.seen(by: cyd, at: 50)
        #expect(seen[bob] == token(2, 1) && seen[ada] == nil && seen[cyd] == nil)
        let next = Held(node: cyd, token: token(3, 1), seen: seen)
        #expect((all + [next]).outdone(at: 50).map(\.node) == [ada], "still to be revoked")
        #expect(all.seen(by: cyd, at: 100)[ada] == token(1, 5))
        #expect(SeenTokens(seen.json) == seen)
    }

    @Test("Timers are due in order, at the moment first seen, and the last word of a document counts")
    func timers() {
        func at(_ ms: UInt64) -> Instant { Instant(milliseconds: ms) }
        var timers = LeaseTimers()
        timers.set([1], dueMs: 5_100, nowMs: 5_000, now: at(0))
        timers.set([2], dueMs: 5_050, nowMs: 5_000, now: at(0))
        timers.set([3], dueMs: 4_000, nowMs: 5_000, now: at(0))
        #expect(timers.wake == at(0), "what is over is due at once")
        #expect(timers.pop(at(0))?.key == [3] && timers.pop(at(0)) == nil)
        // A clock that is set does not move what was seen already.
        timers.set([1], dueMs: 5_100, nowMs: 9_000, now: at(10))
        #expect(timers.wake == at(50))
        timers.set([2], dueMs: 5_500, nowMs: 5_000, now: at(10))
        timers.set([1], dueMs: nil, nowMs: 0, now: at(10))
        #expect(timers.wake == at(510) && timers.count == 1)
        let due = timers.pop(at(600))
        #expect(due?.key == [2] && due?.dueMs == 5_500 && timers.wake == nil && timers.count == 0)
    }

    @Test("Of a thousand timers that move all the time each is due once")
    func manyTimers() {
        var timers = LeaseTimers()
        var dice = Dice(seed: 3)
        var last: [Int: UInt64] = [:]
        for _ in 0..<10_000 {
            let (key, due) = (Int(dice.next() % 1_000), 1 + dice.next() % 5_000)
            timers.set([UInt8(key >> 8), UInt8(key & 255)], dueMs: due, nowMs: 0, now: Instant(milliseconds: 0))
            last[key] = due
        }
        #expect(timers.count == last.count)
        var popped: [Int: UInt64] = [:]
        var before: UInt64 = 0
        while let (key, due) = timers.pop(Instant(milliseconds: 10_000)) {
            #expect(due >= before)
            before = due
            #expect(popped.updateValue(due, forKey: Int(key[0]) << 8 | Int(key[1])) == nil)
        }
        #expect(popped == last)
    }
}
