import Testing

@testable import Gossip

@Suite("Membership over a bridge")
struct MembershipBridgeTests {
    @Test("Under 5 % loss nobody is called dead over a bridge", arguments: UInt64(1)...20)
    func lossyBridge(seed: UInt64) {
        var world = MembershipWorld(size: 3, seed: seed)
        world.cutDatagrams = [[0, 2], [2, 0]]
        world.lossRate = 0.05
        world.run(milliseconds: 3_600_000)
        let deaths = world.changes.filter { $0.now == .dead && $0.was != .dead }
        let suspicions = world.changes.filter { $0.now == .suspect }
        #expect(deaths.isEmpty, "\(deaths.count) deaths of \(suspicions.count) suspicions")
    }
}
