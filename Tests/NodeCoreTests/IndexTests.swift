import CRDT
import Testing

@testable import Gossip
@testable import NodeCore

@Suite("Positions in stamp order")
struct StampOrderTests {
    @Test(
        "are what sorting gives, whatever the order in which they come and go", arguments: 1...4 as ClosedRange<UInt64>)
    func againstSorting(seed: UInt64) {
        var dice = Dice(seed: seed)
        var order = StampOrder()
        var model: [StampOrder.Key] = []
        var floor = 0
        for position in 0..<6_000 {
            // Mostly rising, now and then late by a little or by much.
            let base = UInt64(position) * 10
            let late = [0, 0, 0, dice.below(50), dice.below(60_000)][Int(dice.below(5))]
            let stamp = HybridTimestamp(time: base > late ? base - late : 0, replica: ReplicaID(UInt64(position)))
            order.insert(.init(stamp: stamp, position: position))
            model.append(.init(stamp: stamp, position: position))
            if position % 500 == 499, dice.below(2) == 0 {
                floor += Int(dice.below(UInt64(position - floor)))
                order.drop(before: floor)
            }
            guard position % 250 == 0 else { continue }
            let before = dice.below(3) == 0 ? nil : model[Int(dice.below(UInt64(model.count)))].stamp
            var found: [Int] = []
            order.descending(before: before) { position in
                if position >= floor { found.append(position) }
                return found.count < 700
            }
            let expected = model.filter { key in key.position >= floor && before.map { key.stamp < $0 } ?? true }
                .sorted(by: >).prefix(700).map(\.position)
            #expect(found == expected)
        }
    }
}

@Suite("A chain index")
struct ChainIndexTests {
    @Test("walks a bucket back to its first position, and starts anew with more")
    func chains() {
        var dice = Dice(seed: 1)
        let hashes = (0..<5_000).map { _ in UInt32(truncatingIfNeeded: dice.next() % 700) &* 0x9e37_79b9 }
        for buckets in [1_024, 4_096] {
            var index = ChainIndex(buckets: buckets)
            #expect(index.bucketCount == buckets)
            var back: [UInt32] = []
            for (position, hash) in hashes.enumerated() { back.append(index.append(hash, position)) }
            for hash in Set(hashes) {
                var (position, found) = (index.last(hash, end: hashes.count), [Int]())
                while position >= 0 {
                    found.append(position)
                    guard back[position] > 0 else { break }
                    position -= Int(back[position])
                }
                let bucket = Int(hash) & (buckets - 1)
                #expect(found == hashes.indices.filter { Int(hashes[$0]) & (buckets - 1) == bucket }.reversed())
            }
        }
        #expect(ChainIndex(buckets: 8).last(7, end: 0) == -1)
        #expect(ChainIndex(buckets: 8).last(7, end: 5) < 0)
    }
}

@Suite("The index of events")
struct EventIndexTests {
    private struct Copy {
        let position: Int
        let id: UUID
        let scope: String
        let trace: String
        let stamp: HybridTimestamp
        var isEvent = false
    }

    /// Which copies of one id are events: each is opened by its lowest stamp and takes ten minutes.
    private static func openers(_ copies: [Copy]) -> Set<Int> {
        var found: Set<Int> = []
        var opened: UInt64?
        for copy in copies.sorted(by: { $0.stamp < $1.stamp }) {
            if let first = opened, copy.stamp.milliseconds - first <= 600_000 { continue }
            opened = copy.stamp.milliseconds
            found.insert(copy.position)
        }
        return found
    }

    @Test(
        "finds what a list would, through copies, growth and dropping",
        arguments: [(1, 1 << 30), (2, 1 << 30), (3, 3 << 20), (4, 3 << 20)] as [(UInt64, Int)])
    func againstList(seed: UInt64, logBytes: Int) {
        var dice = Dice(seed: seed)
        var log = FactLog(me: ReplicaID(1), retention: .init(bytes: logBytes))
        let slots = (2...4).map { log.slot(of: ReplicaID($0)) }
        var index = EventIndex()
        var model: [Copy] = []
        let entry = Array(repeating: UInt8(0), count: 4_000)
        for step in 0..<2_600 {
            let ms = 1_740_000_000_000 + UInt64(step) * 1_000 + dice.below(900_000)
            let slot = slots[Int(dice.below(3))]
            log.makeRoom()
            let position = log.adopt(slot: slot, time: ms << 16 | UInt64(step), entry: entry.span.bytes)
            // As the core does before anything is looked up: what the log dropped is not listed any more.
            index.drop(held: log.start, remembered: log.remembered)
            model.removeAll { $0.position < log.remembered }
            if dice.below(10) == 0 {
                index.skip()
                continue
            }
            var copy = Copy(
                position: position, id: UUID(high: 1, low: dice.below(UInt64(step / 2 + 1))),
                scope: "s\(dice.below(9))",
                trace: "t\(dice.below(300))", stamp: log.stamp(at: position))
            let (view, json) = Self.event(copy.id, scope: copy.scope, trace: copy.trace)
            let outcome = index.insert(view, json.span.bytes, jsonOffset: 10, stamp: copy.stamp, log: log)
            let others = model.filter { $0.id == copy.id }
            #expect((outcome == nil) == others.isEmpty)
            copy.isEvent = others.isEmpty
            model.append(copy)
            guard let outcome else { continue }
            let openers = Self.openers(others + [copy])
            var (promoted, demoted) = (Set<Int>(), Set<Int>())
            for i in model.indices where model[i].id == copy.id {
                let isEvent = openers.contains(model[i].position)
                if isEvent != model[i].isEvent {
                    if isEvent { promoted.insert(model[i].position) } else { demoted.insert(model[i].position) }
                }
                model[i].isEvent = isEvent
            }
            #expect(Set(outcome.promoted) == promoted)
            #expect(Set(outcome.demoted) == demoted)
            let sameEvent = others.contains {
                abs(Int($0.stamp.milliseconds) - Int(copy.stamp.milliseconds)) <= 600_000
            }
            if outcome.sibling != nil { #expect(sameEvent) }
        }
        #expect(logBytes > 1 << 29 || log.dropped > 100 && log.remembered < log.start)
        let events = model.filter { $0.isEvent && $0.position >= log.start }.sorted { $0.stamp > $1.stamp }
        #expect(index.eventCount == events.count)
        var listed: [Int] = []
        index.descending(before: nil) { position in
            listed.append(position)
            return true
        }
        #expect(listed == events.map(\.position))
        for id in Set(model.map(\.id)) {
            let copies = model.filter { $0.id == id }
            #expect(index.positions(of: id) == copies.map(\.position).reversed())
            #expect(index.newest(id, log: log) == copies.filter(\.isEvent).max { $0.stamp < $1.stamp }?.position)
        }
        #expect(index.newest(UUID(high: 2, low: 0), log: log) == nil)
        for name in (0..<10).map({ "s\($0)" }) {
            let found = index.candidates(.semp, address: Array(name.utf8).span.bytes)
            #expect(Set(found) == Set(events.filter { $0.scope == name }.map(\.position)))
        }
        for name in (0..<300).map({ "t\($0)" }) {
            let found = index.candidates(trace: Array(name.utf8).span.bytes)
            #expect(Set(found) == Set(events.filter { $0.trace == name }.map(\.position)))
        }
    }

    /// What the index is told of an event, and the bytes that it points into.
    private static func event(_ id: UUID, scope: String, trace: String) -> (EventView, [UInt8]) {
        let json = Array((scope + trace).utf8)
        let view = EventView(
            id: id, surface: .semp, type: .test, typeText: 0..<0, address: 0..<scope.utf8.count,
            trace: scope.utf8.count..<json.count, agent: 0..<0, content: 0..<0)
        return (view, json)
    }

    @Test("calls the same copies events in every order in which they come")
    func everyOrder() {
        // Minutes after the start: the second is a copy of the first, the third a new event, the fourth its copy, and
        // the fifth ties with the first but for its replica.
        let copies: [(minutes: UInt64, replica: UInt64)] = [(0, 2), (9, 3), (11, 4), (20, 5), (0, 6)]
        var orders: [[Int]] = [[]]
        for _ in copies {
            orders = orders.flatMap { order in copies.indices.filter { !order.contains($0) }.map { order + [$0] } }
        }
        #expect(orders.count == 120)
        for order in orders {
            var log = FactLog(me: ReplicaID(1), retention: .init(bytes: 1 << 20))
            var index = EventIndex()
            for i in order {
                let slot = log.slot(of: ReplicaID(copies[i].replica))
                let time = (1_740_000_000_000 + copies[i].minutes * 60_000) << 16
                let position = log.adopt(
                    slot: slot, time: time, entry: Array(repeating: UInt8(0), count: 20).span.bytes)
                let (view, json) = Self.event(UUID(high: 1, low: 1), scope: "s", trace: "t")
                _ = index.insert(view, json.span.bytes, jsonOffset: 10, stamp: log.stamp(at: position), log: log)
            }
            var events: [UInt64] = []
            index.descending(before: nil) { position in
                events.append(log.stamp(at: position).replica.rawValue)
                return true
            }
            #expect(events == [4, 2])
            #expect(index.eventCount == 2)
        }
    }
}

@Suite("A node at its bound")
struct BoundTests {
    private static func event(_ number: Int, type: String = "proposal") -> String {
        #"{"id":"\#(id(number))","type":"\#(type)","scope":"ui","trace_id":"t","agent_id":"a","payload":{"action":"p\#(number)","value":1,"fill":""#
            + String(repeating: ".", count: 400_000) + #""}}"#
    }

    @Test("answers from what it still has, right after the write that dropped the rest")
    func reads() {
        var world = NodeWorld(logBytes: 3 << 20)
        world.open(1, at: 0)
        for number in 1...30 {
            #expect(world.post(0, Self.event(number)).status == 201)
            let kept = world.ask(0, .events(.init(limit: 100))).list.compactMap { $0["id"] as? String }
            #expect(kept.first == id(number))
            #expect(kept == (0..<kept.count).map { id(number - $0) })
            for request in [Request.eventsInScope("ui", .init(limit: 100)), .eventsInTrace("t", .init(limit: 100))] {
                #expect(world.ask(0, request).list.count == kept.count)
            }
            #expect(world.nodes[0].index.eventCount == kept.count)
            #expect(kept.count <= 13)
            #expect(world.ask(0, .event(id: id(1))).status == (kept.contains(id(1)) ? 200 : 404))
        }
        #expect(world.nodes[0].cluster.log.dropped > 10)
        #expect(world.nodes[0].signals.count == 30, "signals outlive the events that made them")
        #expect(world.delivered(1, at: 0) == (1...30).map(id))
    }

    @Test("takes a copy from a peer of an event that it has dropped for a copy, not for another event")
    func copies() {
        var world = NodeWorld(clocksAheadMs: [0, 0], logBytes: 3 << 20)
        for number in 1...20 { _ = world.post(0, Self.event(number)) }
        // Node 1 accepts the same ids late, while node 0 is away.
        world.now = world.now.advanced(milliseconds: 1_000)
        for number in 1...4 { #expect(world.post(1, Self.event(number)).status == 201) }
        world.link(0, 1)
        world.run(milliseconds: 5_000)
        let held = world.ask(0, .events(.init(limit: 100))).list.compactMap { $0["id"] as? String }
        #expect(held.allSatisfy { (5...20).map(id).contains($0) }, "\(held)")
        for number in 1...4 {
            for node in 0..<2 { #expect(world.post(node, Self.event(number)).status == 200) }
        }
        // Each acted once, as the copy with the lower stamp says.
        #expect(world.strengths(0) == world.strengths(1))
        #expect(world.nodes.map(\.signals.operationCount) == [20, 20])
        #expect(world.nodes[0].cluster.log.digest == world.nodes[1].cluster.log.digest)
    }
}
