import CRDT
import Testing

@testable import Gossip

private func vector(_ entries: [UInt64: UInt64]) -> VersionVector {
    var vector = VersionVector()
    for (replica, sequence) in entries { vector.advance(ReplicaID(replica), to: sequence) }
    return vector
}

/// A node that has read some of a log, and what it says of itself in a hello.
private struct Side {
    var replication: Replication
    let members: Int
    let lowest: UInt64

    init(_ id: UInt64, members: Int = 1, lowest: UInt64? = nil, read: UInt64 = 0, collected: [UInt64: UInt64] = [:]) {
        replication = Replication(
            log: FactLog(me: ReplicaID(id), retention: .init()), settings: .init(), profile: .lan,
            now: Instant(milliseconds: 0))
        for sequence in 0..<read {
            var bytes: [UInt8] = []
            Fact.encodeHeader(kind: .sempEvent, time: sequence << 16, dependencies: [], into: &bytes)
            let slot = replication.log.slot(of: ReplicaID(900))
            _ = replication.log.adopt(slot: slot, time: sequence << 16, entry: bytes.span.bytes)
        }
        replication.collected = vector(collected)
        (self.members, self.lowest) = (members, lowest ?? id)
    }

    /// Adds an entry to a log, of which another side may have a different one under this number.
    mutating func add(to log: UInt64, time: UInt64) {
        var bytes: [UInt8] = []
        Fact.encodeHeader(kind: .sempEvent, time: time, dependencies: [], into: &bytes)
        let slot = replication.log.slot(of: ReplicaID(log))
        _ = replication.log.adopt(slot: slot, time: time, entry: bytes.span.bytes)
    }

    var hello: Hello {
        let me = Member(
            replica: replication.log.me, name: "n", gossip: LinkWorld.address(0), incarnation: Incarnation(epoch: 1))
        return Hello(
            cluster: "test",
            greeting: Mesh.Greeting(
                member: me, clockMs: 1, lastTime: 0, startedMs: 1, members: members, lowest: ReplicaID(lowest),
                collected: replication.collected), log: replication.log)
    }

    /// Links up, and returns what it says of its own standing.
    mutating func meet(_ other: Side) -> Bool {
        var (effects, out) = ([Replication.Effect](), [UInt8]())
        replication.linkUp(
            LinkID(1), hello: other.hello, sent: hello, clockMs: 1 << 40, now: Instant(milliseconds: 0), into: &effects,
            &out)
        return replication.links[0].isBelow
    }

    /// Hears of the other's standing; returns why it must start anew, if it must.
    mutating func settle(theyAreBelow: Bool, readOfMine: UInt64 = 0) -> Reset? {
        var (effects, out) = ([Replication.Effect](), [UInt8]())
        replication.receiveStanding(
            .init(isBelow: theyAreBelow, readOfMine: readOfMine), of: 0, clockMs: 1 << 40,
            now: Instant(milliseconds: 0),
            into: &effects, &out)
        let goOn = replication.links[0].isAgreed
        for case .reset(let reset) in effects {
            #expect(!goOn && !replication.links[0].isShunned)
            return reset
        }
        #expect(!goOn || !replication.links[0].isShunned)
        return nil
    }
}

/// Which of two sides start anew when they meet.
private func whoStartsAnew(_ a: Side, _ b: Side) -> [Bool] {
    var (left, right) = (a, b)
    let (leftIsBelow, rightIsBelow) = (left.meet(b), right.meet(a))
    let resets = [left.settle(theyAreBelow: rightIsBelow), right.settle(theyAreBelow: leftIsBelow)]
    for (reset, other) in zip(resets, [b, a]) {
        guard let reset else { continue }
        #expect(reset.cause == .belowFloor && reset.side == other.replication.log.me)
        #expect(reset.known.covers(other.replication.log.vector))
    }
    return resets.map { $0 != nil }
}

@Suite("Below the floor")
struct StandingTests {
    @Test("keeps all of its own log where the peer means other entries by its numbers")
    func belowUnderACopiedID() {
        // What the peer has of log 1, and how far it says that it has read that; whether that is another log.
        for (theirs, readOfMine, isForked) in [
            ([7], 1, false), ([], 0, false), ([8], 1, true), ([7, 9], 2, true), ([], 2, true),
        ] as [([UInt64], UInt64, Bool)] {
            var (here, there) = (Side(1, read: 1), Side(2, read: 2, collected: [900: 2]))
            here.add(to: 1, time: 7)
            for time in theirs { there.add(to: 1, time: time) }
            let isBelow = here.meet(there)
            #expect(isBelow)
            let reset = here.settle(theyAreBelow: false, readOfMine: readOfMine)
            #expect(reset?.cause == .belowFloor)
            #expect(reset?.forked == (isForked ? ReplicaID(1) : nil), "\(theirs), \(readOfMine)")
        }
    }

    @Test("is who has read something, but not what the other has collected; only it starts anew")
    func below() {
        let rows: [(mine: Side, theirs: Side, anew: [Bool])] = [
            // Nothing was collected.
            (Side(1, read: 3), Side(2, read: 5), [false, false]),
            // Just what was collected was read; one less was not.
            (Side(1, read: 3), Side(2, read: 5, collected: [900: 3]), [false, false]),
            (Side(1, read: 3), Side(2, read: 5, collected: [900: 4]), [true, false]),
            (Side(2, read: 3), Side(1, read: 5, collected: [900: 4]), [true, false]),
            (Side(1, read: 5, collected: [900: 4]), Side(2, read: 3), [false, true]),
            // Whoever comes without anything has missed no removal.
            (Side(1), Side(2, read: 5, collected: [900: 4]), [false, false]),
            // Larger sides have no right to remove what they never read.
            (Side(1, members: 9, read: 3), Side(2, read: 5, collected: [900: 4]), [true, false]),
        ]
        for (number, row) in rows.enumerated() {
            #expect(whoStartsAnew(row.mine, row.theirs) == row.anew, "row \(number)")
        }
    }

    @Test("a node that reads all that one peer has says to the others where it stands when it has done so")
    func joining() {
        let other = Side(2, read: 5, collected: [900: 4])
        for isJoining in [false, true] {
            var newcomer = Side(1, read: 3)
            newcomer.replication.isJoining = isJoining
            newcomer.replication.joining = isJoining ? LinkID(9) : nil
            #expect(newcomer.meet(other) == !isJoining)
            #expect(newcomer.replication.links[0].hasSaidStanding == !isJoining)
            #expect((newcomer.settle(theyAreBelow: false) == nil) == isJoining)
        }
    }

    @Test("what waits of a log goes with its writer, unless a linked peer has what it waits for")
    func orphans() {
        for (read, isKept) in [(3, false), (4, true)] as [(UInt64, Bool)] {
            var mine = Side(1, read: 3)
            _ = mine.meet(Side(2, read: read))
            let slot = mine.replication.log.slot(of: ReplicaID(900))
            mine.replication.room.keep(slot: slot, sequence: 5, entry: ([1, 2, 3] as [UInt8]).span.bytes)
            for seconds in [0, 20] as [UInt64] {
                let moment = Instant(milliseconds: seconds * 1_000)
                mine.replication.forgetOrphans(known: [ReplicaID(2), ReplicaID(900)], now: moment)
                #expect(!mine.replication.room.isEmpty, "its writer may send the rest")
            }
            for (ms, isPatient) in [(30_000, true), (39_999, true), (40_000, false)] as [(UInt64, Bool)] {
                mine.replication.forgetOrphans(known: [ReplicaID(2)], now: Instant(milliseconds: ms))
                #expect(mine.replication.room.isEmpty == !(isKept || isPatient))
            }
        }
    }

    @Test("reading that a collected log was retired is reading it")
    func retired() {
        var mine = Side(1, read: 3)
        mine.replication.log.retire(
            ReplicaID(700), last: 8, by: VersionVector.Entry(replica: ReplicaID(900), sequence: 3))
        #expect(whoStartsAnew(mine, Side(2, read: 3, collected: [700: 8])) == [false, false])
        #expect(whoStartsAnew(mine, Side(2, read: 3, collected: [700: 9])) == [true, false])
    }

    @Test("of two below each other's floor the smaller side starts anew, then the one without the lowest id")
    func both() {
        let rows:
            [(mine: (id: UInt64, members: Int, lowest: UInt64), theirs: (UInt64, Int, UInt64), mineIsAnew: Bool)] = [
                ((5, 2, 5), (6, 3, 4), true), ((5, 3, 5), (6, 2, 4), false),
                ((5, 2, 4), (6, 3, 6), true), ((5, 3, 4), (6, 2, 6), false),
                ((5, 2, 3), (6, 2, 4), false), ((6, 2, 3), (5, 2, 4), false), ((6, 2, 4), (5, 2, 3), true),
                // Both name one lowest id, whom both still hear: their own ids decide.
                ((5, 2, 3), (6, 2, 3), false), ((6, 2, 3), (5, 2, 3), true),
            ]
        for row in rows {
            // Each has collected what only it has read: a log of its own side.
            let mine = Side(
                row.mine.id, members: row.mine.members, lowest: row.mine.lowest, read: 2, collected: [701: 1])
            let theirs = Side(row.theirs.0, members: row.theirs.1, lowest: row.theirs.2, read: 2, collected: [702: 1])
            #expect(whoStartsAnew(mine, theirs) == [row.mineIsAnew, !row.mineIsAnew], "\(row)")
            #expect(whoStartsAnew(theirs, mine) == [!row.mineIsAnew, row.mineIsAnew], "\(row), the other way round")
        }
    }

    @Test("of many pairs drawn at random, exactly one of two starts anew")
    func exactlyOne() {
        var dice = Dice(seed: 3)
        for _ in 0..<300 {
            let ids = [1 + dice.below(40), 41 + dice.below(40)]
            let sides = [0, 1].map { i in
                let lowest = min(ids[i], 1 + dice.below(80))
                return Side(
                    ids[i], members: 1 + Int(dice.below(3)), lowest: lowest, read: 1, collected: [700 + UInt64(i): 1])
            }
            #expect(Set(whoStartsAnew(sides[0], sides[1])) == [true, false])
        }
    }

    @Test("what was collected since the hello is told by another hello")
    func staleHello() {
        var side = Side(1, read: 3)
        let sent = side.hello
        side.replication.collected = vector([900: 2])
        var (effects, out) = ([Replication.Effect](), [UInt8]())
        side.replication.linkUp(
            LinkID(1), hello: Side(2).hello, sent: sent, clockMs: 1 << 40, now: Instant(milliseconds: 0),
            into: &effects, &out)
        #expect(effects.count == 1)
        guard case .hangUp(LinkID(1))? = effects.first else {
            Issue.record("it goes on: \(effects)")
            return
        }
    }

    @Test("nothing is exchanged before both have said where they stand, nor with who starts anew")
    func shunned() {
        var world = LinkWorld(2)
        world.write(0, "one")
        let link = world.connect(0, 1)
        world.deliver(0, 1)
        world.deliver(1, 0)
        // Both have said hello and, on their way, their standing.
        #expect(world.frames(0, 1).count == 2 && world.texts(1).isEmpty)
        var vector: [UInt8] = []
        VersionVector().encode(into: &vector)
        var want: [UInt8] = []
        let range = Frame.end(
            {
                let start = Frame.begin(.want, into: &want)
                want += vector
                return start
            }(), into: &want)
        world.give(.linkFrame(link), Array(want[range]), to: 0)
        #expect(world.frames(0, 1).count == 2, "the question is not heard yet")
        world.settle()
        #expect(world.texts(1) == ["one"])
    }

    @Test("a member that was away while the others collected starts anew, and says what the others have read")
    func story() throws {
        let settings = Replication.Settings(operationsMs: 1_000, tombstonesMs: 2_000)
        var world = LinkWorld(0, profile: .fast)
        world.hasNetwork = true
        for id in 1...3 as ClosedRange<UInt64> { world.add(ReplicaID(id), replication: settings) }
        world.run(milliseconds: 2_000)
        world.write(2, "read by all")
        world.run(milliseconds: 2_000)
        // A partition, of which both sides know nothing.
        world.partition([2])
        world.write(2, "only here")
        world.write(0, "missed")
        world.run(milliseconds: 45_000)
        #expect(world.clusters[0].membership.member(ReplicaID(3)) == nil, "a log in memory is waited for only so long")
        #expect(world.collect(0, .tombstones) != nil)
        #expect(world.collect(1, .tombstones) != nil)
        world.partition([])
        world.run(milliseconds: 10_000)
        #expect(world.resets[0].isEmpty && world.resets[1].isEmpty)
        let reset = try #require(world.resets[2].first)
        #expect(reset.cause == .belowFloor)
        #expect(reset.known[ReplicaID(3)] == 1, "the second own entry is to be kept")
        #expect(reset.known[ReplicaID(1)] == 2, "what it missed, and that its own log was retired")
        #expect(!world.states[0].contains("only here") && !world.states[2].contains("missed"))
    }
}
