import CRDT
import Gossip
import Testing

@testable import NodeCore

private let ada = ReplicaID(0xa)
private let bob = ReplicaID(0xb)
private let cyd = ReplicaID(0xc)

private func entry(_ sequence: UInt64, of log: ReplicaID = ada) -> EntryKey { EntryKey(log: log, sequence: sequence) }
private func seat(_ node: ReplicaID, _ session: UInt64) -> Seat { Seat(node: node, session: SessionID(session)) }

/// One node's deciding side, with what it wants to be told.
private struct Deciding {
    var decider: GroupDecider
    var now = Instant(milliseconds: 1_000)
    private(set) var effects: [GroupDecider.Effect] = []

    init(
        _ me: ReplicaID, present: Set<ReplicaID>, orphans: Set<ReplicaID> = [], takeover: Takeover = .afterDead,
        majority: Bool = true
    ) {
        var options = GroupOptions(group: "g", filter: Array("{}".utf8))
        (options.ackDeadlineMs, options.maxAttempts, options.takeover) = (1_000, 3, takeover)
        let standing = GroupStanding(me: me, present: present, orphans: orphans, hasMajority: majority)
        decider = GroupDecider(group: "g", options: options, standing: standing)
        // It looks once through every log that it decides about.
        var out: [GroupDecider.Effect] = []
        decider.handle(.standing(standing), now: now, into: &out)
    }

    /// Gives inputs, then hands out; returns what came of it.
    @discardableResult
    mutating func give(_ inputs: GroupDecider.Input..., unwanted: Set<Int> = []) -> [GroupDecider.Effect] {
        var out: [GroupDecider.Effect] = []
        for input in inputs { decider.handle(input, now: now, into: &out) }
        decider.hand(now: now, isWanted: { !unwanted.contains($0) }, into: &out)
        effects += out
        return out
    }

    mutating func find(_ sequences: ClosedRange<UInt64>, of log: ReplicaID = ada) -> [GroupDecider.Effect] {
        var out: [GroupDecider.Effect] = []
        for sequence in sequences { out += give(.found(entry(sequence, of: log), position: Int(sequence))) }
        return out
    }

    func assigned(_ list: [GroupDecider.Effect]) -> [String] {
        list.compactMap { effect in
            guard case .tell(let node, .assign(let key, let attempt, let session, _)) = effect else { return nil }
            return "\(key.sequence)@\(attempt) to \(node == ada ? "ada" : "bob")/\(session.rawValue)"
        }
    }
}

@Suite("The deciding side of a queue group")
struct GroupDeciderTests {
    @Test("prefers its own consumers while they have room, then the one with the least")
    func fairness() {
        var it = Deciding(ada, present: [ada, bob])
        it.give(.consumer(seat(bob, 1), limit: 2), .consumer(seat(ada, 2), limit: 2), .consumer(seat(ada, 3), limit: 1))
        let out = it.find(1...6)
        #expect(
            it.assigned(out) == ["1@1 to ada/2", "2@1 to ada/3", "3@1 to ada/2", "4@1 to bob/1", "5@1 to bob/1"])
        #expect(it.assigned(it.give(.heard(.settle(entry(2)), from: ada))) == ["6@1 to ada/3"])
        #expect(it.decider.inFlight == 5)
        #expect(it.decider.joined(ada).through == 6)
        #expect(it.decider.joined(ada).open.map(\.sequence) == [1, 3, 4, 5, 6])
    }

    @Test("a bounce is no try, and its consumer gets nothing until there is room")
    func bounce() {
        var it = Deciding(ada, present: [ada, bob])
        it.give(.consumer(seat(bob, 1), limit: 5))
        #expect(it.assigned(it.find(1...2)).count == 2)
        let none = it.give(.heard(.bounce(entry(2), attempt: 1, SessionID(1), isGone: false), from: bob))
        #expect(none.isEmpty)
        #expect(it.find(3...3).isEmpty)
        #expect(it.assigned(it.give(.heard(.free(SessionID(1), room: 1), from: bob))) == ["2@1 to bob/1"])
        #expect(it.assigned(it.give(.heard(.settle(entry(1)), from: bob))) == ["3@1 to bob/1"])
        #expect(it.decider.counters.bounced == 1)
    }

    @Test("what is not acknowledged in time goes out again until it is exhausted, and not before its delay")
    func deadlines() {
        var it = Deciding(ada, present: [ada])
        it.give(.consumer(seat(ada, 1), limit: 1), .found(entry(1), position: 1))
        #expect(it.decider.wake == Instant(milliseconds: 2_000))
        it.now = Instant(milliseconds: 2_000)
        #expect(it.assigned(it.give(.tick)) == ["1@2 to ada/1"])
        #expect(it.give(.heard(.giveBack(entry(1), attempt: 1, delayMs: 0), from: ada)).isEmpty, "an old answer")
        #expect(it.give(.heard(.giveBack(entry(1), attempt: 2, delayMs: 70), from: ada)).isEmpty)
        #expect(it.decider.wake == Instant(milliseconds: 2_070))
        it.now = Instant(milliseconds: 2_070)
        #expect(it.assigned(it.give(.tick)) == ["1@3 to ada/1"])
        let end = it.give(.heard(.giveBack(entry(1), attempt: 0, delayMs: 0), from: ada))
        #expect(end == [.exhausted(entry(1), position: 1, attempt: 3)])
        // It cannot be buried now.
        it.give(.heard(.giveBack(entry(1), attempt: 0, delayMs: 1_000), from: ada))
        it.now = Instant(milliseconds: 3_070)
        #expect(it.give(.tick) == [.exhausted(entry(1), position: 1, attempt: 3)])
        it.give(.void(entry(1)))
        #expect(it.decider.items.isEmpty)
        #expect(it.decider.isSettled(entry(1)))
    }

    @Test("what a consumer had that goes is given to another; what cannot be delivered any more is passed over")
    func gone() {
        var it = Deciding(ada, present: [ada, bob])
        it.give(.consumer(seat(bob, 1), limit: 9))
        _ = it.find(1...2)
        #expect(
            it.assigned(it.give(.consumer(seat(ada, 2), limit: 9), .gone(seat(bob, 1)))).sorted() == [
                "1@2 to ada/2", "2@2 to ada/2",
            ])
        #expect(it.give(.found(entry(7), position: 7), unwanted: [7]).isEmpty)
        #expect(it.decider.isSettled(entry(7)))
    }

    @Test("nothing goes to a node that no frame reaches; what it had is said again when one does")
    func reach() {
        var it = Deciding(ada, present: [ada, bob])
        it.give(.consumer(seat(bob, 1), limit: 9))
        _ = it.find(1...1)
        it.give(.reach(bob, false))
        #expect(it.find(2...2).isEmpty)
        #expect(it.assigned(it.give(.reach(bob, true))) == ["1@1 to bob/1", "2@1 to bob/1"])
    }

    @Test(
        "a dead node's log is taken over by one node, if the group lets it",
        arguments: [
            (Takeover.afterDead, true, 1), (.afterDead, false, 1), (.majorityOnly, true, 1),
            (.majorityOnly, false, 0), (.never, true, 0),
        ])
    func takeover(policy: Takeover, majority: Bool, deciders: Int) {
        var sum = 0
        for me in [bob, cyd] {
            var it = Deciding(me, present: [bob, cyd], orphans: [ada], takeover: policy, majority: majority)
            it.give(.consumer(seat(me, 1), limit: 9))
            let out = it.find(1...1)
            sum += it.assigned(out).count
            if !out.isEmpty { #expect(it.decider.attempt(of: entry(1)) == 1_001) }
        }
        #expect(sum == deciders)
    }

    @Test("whoever takes over goes on from the join of what all have written, and keeps it until it is done")
    func records() {
        var dead = Settled()
        dead.tried(4, attempt: 2)
        dead.tried(6, attempt: 1)
        let written = [ada: dead]
        let present: Set = [bob]
        var it = Deciding(bob, present: present, orphans: [ada])
        it.give(.consumer(seat(bob, 1), limit: 9))
        #expect(it.give(.records(ada, written)) == [.look(entry(4))])
        #expect(it.find(1...3).isEmpty)
        #expect(it.assigned(it.find(4...4)) == ["4@1001 to bob/1"])
        #expect(it.find(5...5).isEmpty)
        #expect(it.assigned(it.find(6...7)) == ["6@1001 to bob/1", "7@1001 to bob/1"])
        #expect(it.decider.isUrgent)
        // The dead one is back, with what it had: what was tried here stays here, the rest is its own again.
        it.give(.consumer(seat(bob, 1), limit: 3), .found(entry(8), position: 8))
        let back = GroupStanding(me: bob, present: [ada, bob])
        #expect(it.give(.standing(back)).isEmpty)
        #expect(it.decider.items.keys.sorted() == [entry(4), entry(6), entry(7)])
        // It has settled one of them.
        var theirs = dead
        theirs.settle(6)
        #expect(it.give(.records(ada, [ada: theirs])) == [.tell(bob, .revoke(entry(6), attempt: 1_001))])
        it.give(.heard(.settle(entry(4)), from: bob), .heard(.settle(entry(7)), from: bob))
        theirs.merge(it.decider.mine[ada]!.untried)
        it.give(.records(ada, [ada: theirs]))
        #expect(it.decider.takeProgress().map(\.progress) == [nil], "said by the writer of the log, too")
    }

    @Test("the one that was there first stops when another has taken over more often")
    func stops() {
        var it = Deciding(ada, present: [ada, bob])
        it.give(.consumer(seat(ada, 1), limit: 9))
        _ = it.find(1...2)
        var theirs = Settled()
        theirs.tried(1, attempt: 1_001)
        #expect(it.give(.records(ada, [bob: theirs])) == [.tell(ada, .revoke(entry(1), attempt: 1))])
        #expect(it.decider.items.keys.sorted() == [entry(2)])
        #expect(!it.decider.isSettled(entry(1)))
        // And goes on when that one is dead.
        #expect(it.give(.standing(GroupStanding(me: ada, present: [ada]))) == [.look(entry(1))])
        #expect(it.assigned(it.give(.found(entry(1), position: 1))) == ["1@2001 to ada/1"])
    }

    @Test("holds a bounded window of what waits")
    func window() {
        var it = Deciding(ada, present: [ada])
        _ = it.find(1...UInt64(GroupDecider.window))
        #expect(!it.decider.hasRoom)
        #expect(it.decider.freshCount == GroupDecider.window)
        it.give(.consumer(seat(ada, 1), limit: 1))
        #expect(it.decider.hasRoom)
        it.give(.dropped(ada, before: 500))
        #expect(it.decider.items.keys.allSatisfy { $0.sequence >= 500 })
        #expect(it.decider.freshCount == it.decider.items.count { !$0.value.wasTried })
    }

    @Test("messages come back from their bytes, and hostile bytes are refused")
    func frames() throws {
        let key = EntryKey(log: ReplicaID(.max), sequence: 1 << 40)
        let messages: [GroupMessage] = [
            .assign(key, attempt: 5_001, SessionID(.max), deadlineMs: 86_400_000), .free(SessionID(3), room: 16),
            .bounce(key, attempt: 1, SessionID(1), isGone: true), .settle(entry(1)),
            .giveBack(key, attempt: 0, delayMs: 0), .revoke(key, attempt: 1),
        ]
        var bytes: [UInt8] = []
        for message in messages { GroupFrame.append("g", message, into: &bytes) }
        var cursor = ByteCursor(bytes.span.bytes)
        for message in messages { #expect(try GroupFrame.next(&cursor, bytes.span.bytes).1 == message) }
        #expect(cursor.remaining == 0)
        for message in messages {
            var one: [UInt8] = []
            GroupFrame.append("g", message, into: &one)
            for end in 0..<one.count {
                #expect(throws: DecodeError.self) {
                    let cut = Array(one[..<end])
                    var cursor = ByteCursor(cut.span.bytes)
                    _ = try GroupFrame.next(&cursor, cut.span.bytes)
                }
            }
        }
        let hostile: [[UInt8]] = [
            [1, 0x67, 9] + [UInt8](repeating: 1, count: 20), [0xff, 0x7f], [1, 0x67, 3, 1, 0xff, 0xff, 0x7f],
        ]
        for bad in hostile {
            #expect(throws: DecodeError.self) {
                var cursor = ByteCursor(bad.span.bytes)
                _ = try GroupFrame.next(&cursor, bad.span.bytes)
            }
        }
    }
}
