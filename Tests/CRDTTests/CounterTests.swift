import CRDT
import Testing

private let (ada, bob, cyd) = (ReplicaID(1), ReplicaID(2), ReplicaID(3))

@Suite("Counters")
struct CounterTests {
    @Test("count the same in every order in which replicas' states arrive, however often")
    func everyDelivery() {
        // Ada's states as they grew, and one each of Bob's and Cyd's: what gossip may bring in any order.
        var states: [GCounter] = []
        var counter = GCounter()
        for amount in [1, 4] as [UInt64] {
            counter.add(amount, by: ada)
            states.append(counter)
        }
        for (replica, amount) in [(bob, 10), (cyd, 100)] as [(ReplicaID, UInt64)] {
            var other = GCounter()
            other.add(amount, by: replica)
            states.append(other)
        }
        everyOrder(of: states) { order in
            var sum = GCounter()
            for state in order + order.reversed() { sum.merge(state) }
            #expect(sum.value == 115)
        }
        #expect(brokenLaw(states + [GCounter()]) == nil)
    }

    @Test("shrink, too, where they have two slots per node")
    func positiveNegative() {
        var (left, right) = (PNCounter(), PNCounter())
        left.add(5, by: ada)
        left.add(-7, by: ada)
        right.add(-1, by: bob)
        right.add(40, by: bob)
        #expect(left.value == -2)
        #expect(right.value == 39)
        #expect(brokenLaw([left, right, PNCounter()]) == nil)
        #expect(left.merge(right) == true)
        #expect(left.merge(right) == false)
        #expect(left.value == 37)
    }

    @Test("a zero leaves no trace, so that equal counts are equal values")
    func zero() {
        var counter = GCounter()
        counter.add(0, by: ada)
        #expect(counter == GCounter())
    }

    @Test("stay at the highest number instead of overflowing")
    func saturation() {
        var counter = GCounter()
        counter.add(.max, by: ada)
        counter.add(1, by: ada)
        counter.add(1, by: bob)
        #expect(counter.value == .max)
        var both = PNCounter()
        for _ in 0..<3 { both.add(.max, by: ada) }
        #expect(both.value == .max)
        for _ in 0..<6 { both.add(.min, by: bob) }
        #expect(both.value == 0, "both sums are at their end")
        var down = PNCounter()
        for _ in 0..<3 { down.add(.min, by: bob) }
        #expect(down.value == -.max)
    }
}
