import CRDT
import Gossip
import Testing

@testable import NodeCore

@Suite("The consumers' side of a queue group")
struct GroupHostTests {
    private let ada = ReplicaID(0xa)
    private let bob = ReplicaID(0xb)
    private let one = SessionID(1)
    private func entry(_ sequence: UInt64) -> EntryKey { EntryKey(log: ReplicaID(0xa), sequence: sequence) }
    private func event(_ number: UInt64) -> EventID { EventID(high: 1, low: number) }

    private func give(
        _ host: inout GroupHost, _ body: (inout GroupHost, inout [GroupHost.Effect]) -> Void
    ) -> [GroupHost.Effect] {
        var out: [GroupHost.Effect] = []
        body(&host, &out)
        return out
    }

    private func assign(
        _ host: inout GroupHost, _ sequence: UInt64, attempt: UInt32 = 1, by node: ReplicaID, atMs: UInt64 = 0
    ) -> [GroupHost.Effect] {
        give(&host) {
            $0.assign(
                entry(sequence), attempt: attempt, to: one, deadlineMs: 100, by: node,
                now: Instant(milliseconds: atMs), into: &$1)
        }
    }

    @Test("bounces what does not fit, and tells who waits when there is room")
    func room() {
        var host = GroupHost()
        #expect(assign(&host, 1, by: ada) == [.tell(ada, .bounce(entry(1), attempt: 1, one, isGone: true))])
        _ = give(&host) { $0.open(one, limit: 2, isAutomatic: false, into: &$1) }
        #expect(assign(&host, 1, by: ada) == [.deliver(entry(1), attempt: 1, one)])
        #expect(assign(&host, 2, by: ada) == [.deliver(entry(2), attempt: 1, one)])
        for node in [bob, ada] {
            #expect(assign(&host, 3, by: node) == [.tell(node, .bounce(entry(3), attempt: 1, one, isGone: false))])
        }
        let done = give(&host) { _ = $0.acknowledge(entry(1), into: &$1) }
        #expect(done == [.tell(bob, .free(one, room: 1)), .tell(ada, .settle(entry(1)))])
        #expect(give(&host) { $0.revoke(entry(2), attempt: 1, into: &$1) } == [.tell(ada, .free(one, room: 2))])
        // Both may have thought that there is less room than there is.
        #expect(host.places[one]?.inFlight == 0)
    }

    @Test("knows what was acknowledged, and says it again to whoever asks or takes over")
    func recent() {
        var host = GroupHost()
        _ = give(&host) { $0.open(one, limit: 9, isAutomatic: false, into: &$1) }
        _ = assign(&host, 1, by: ada)
        _ = give(&host) { _ = $0.acknowledge(entry(1), into: &$1) }
        #expect(assign(&host, 1, attempt: 1_001, by: bob) == [.tell(bob, .settle(entry(1)))])
        #expect(give(&host) { $0.linked(ada, into: &$1) } == [.tell(ada, .settle(entry(1)))])
        #expect(give(&host) { $0.lost([ada], [bob], into: &$1) } == [.tell(bob, .settle(entry(1)))])
        #expect(give(&host) { $0.lost([bob], [ada], into: &$1) }.isEmpty)
        for sequence in 2...5_000 as ClosedRange<UInt64> { host.remember(entry(sequence), decider: ada) }
        #expect(host.recent.count < GroupHost.maximumRecent + 256)
    }

    @Test("gives a consumer an event once, whoever decides about it by now")
    func adopted() {
        var host = GroupHost()
        _ = give(&host) { $0.open(one, limit: 1, isAutomatic: false, into: &$1) }
        _ = assign(&host, 1, by: ada)
        #expect(assign(&host, 1, by: ada).isEmpty)
        #expect(assign(&host, 1, attempt: 1_001, by: bob).isEmpty)
        #expect(give(&host) { $0.revoke(entry(1), attempt: 1, into: &$1) }.isEmpty, "an old word")
        #expect(
            give(&host) { _ = $0.giveBack(entry(1), delayMs: 5, into: &$1) } == [
                .tell(bob, .giveBack(entry(1), attempt: 1_001, delayMs: 5))
            ])
        #expect(host.places[one]?.inFlight == 0)
    }

    @Test("lets go by itself when the deadline is over")
    func expiry() {
        var host = GroupHost()
        _ = give(&host) { $0.open(one, limit: 1, isAutomatic: false, into: &$1) }
        _ = assign(&host, 1, by: ada)
        #expect(host.wake == Instant(milliseconds: 100))
        _ = give(&host) { $0.expire(now: Instant(milliseconds: 99), into: &$1) }
        #expect(host.deliveries.count == 1)
        _ = give(&host) { $0.expire(now: Instant(milliseconds: 100), into: &$1) }
        #expect(host.deliveries.isEmpty)
        #expect(host.wake == nil)
        #expect(assign(&host, 2, by: ada, atMs: 100) == [.deliver(entry(2), attempt: 1, one)])
    }

    @Test("acknowledges for a stream what has left the process, and nothing that was sent since it was asked")
    func automatic() {
        var host = GroupHost()
        _ = give(&host) { $0.open(one, limit: 9, isAutomatic: true, into: &$1) }
        for number in 1...3 as ClosedRange<UInt64> { _ = assign(&host, number, by: ada) }
        #expect(give(&host) { $0.sent(entry(1), event(1), into: &$1) } == [.notify(one)])
        #expect(give(&host) { $0.sent(entry(2), event(2), into: &$1) }.isEmpty)
        #expect(give(&host) { $0.emptied(one, into: &$1) } == [.notify(one), .tell(ada, .settle(entry(1)))])
        #expect(give(&host) { $0.emptied(one, into: &$1) } == [.tell(ada, .settle(entry(2)))])
        #expect(give(&host) { $0.emptied(one, into: &$1) }.isEmpty)
        #expect(host.deliveries.keys.sorted() == [entry(3)])
    }
}
