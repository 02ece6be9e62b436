import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

@Suite("What a partition leaves behind") struct HealingTests {
    /// Three nodes that know each other; the third is cut off long enough that both sides call the other dead.
    private func divided(durable: Bool = false) -> (NodeWorld, node: String) {
        var world = NodeWorld(clocksAheadMs: [])
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 3_000)
        let node = world.ask(0, .postNode, #"{"type":"plan","data":{"a":1,"b":1}}"#).id
        world.run(milliseconds: 500)
        world.cutOff = [2]
        world.run(milliseconds: 6_000)
        for i in 0..<2 { #expect(world.nodes[i].healing.rifts.count == 1) }
        #expect(world.nodes[2].healing.rifts.count == 2)
        return (world, node)
    }

    private func heal(_ world: inout NodeWorld) {
        world.cutOff = []
        world.run(milliseconds: 6_000)
    }

    /// The data of the events that tell of heals, as one node lists them; the newest first.
    private func healed(_ world: inout NodeWorld, _ i: Int) -> [[String: Any]] {
        world.ask(i, .eventsOnTopic("ClusterEvents", Request.Page(limit: 100))).list
            .filter { $0["type"] as? String == "cluster.healed" }.compactMap { $0["data"] as? [String: Any] }
    }

    private func conflicts(_ heal: [String: Any]) -> [[String: Any]] { heal["conflicts"] as? [[String: Any]] ?? [] }

    @Test("A heal is told once, by one node, to all")
    func once() {
        var (world, _) = divided()
        heal(&world)
        for i in 0..<3 {
            let told = healed(&world, i)
            #expect(told.count == 1)
            #expect(told.first?["conflict_count"] as? Int == 0)
            #expect(told.first?["complete"] as? Bool == true)
            #expect(!world.nodes[i].healing.isWatching)
        }
        #expect(world.nodes.map(\.healing.counters.reports) == [1, 0, 0])
        let sides = healed(&world, 1).first?["sides"] as? [[[String: String]]]
        #expect(sides?.map { $0.map { $0["name"] } } == [["n0", "n1"], ["n2"]])
    }

    @Test("A field written on both sides is told with what stays and what does not")
    func field() {
        var (world, node) = divided()
        _ = world.ask(2, .patchNode(id: node), #"{"data":{"a":3,"c":3}}"#)
        world.run(milliseconds: 10)
        _ = world.ask(1, .patchNode(id: node), #"{"data":{"a":2,"b":2}}"#)
        heal(&world)
        let told = healed(&world, 0)
        #expect(told.count == 1)
        let found = told.first.map(conflicts) ?? []
        #expect(found.count == 1)
        #expect(found.first?["kind"] as? String == "overwritten_field")
        #expect(found.first?["subject"] as? String == "node/\(node)")
        #expect(found.first?["detail"] as? String == "data/a")
        #expect(found.first?["kept"] as? String == "2")
        #expect(found.first?["lost"] as? String == "3")
    }

    @Test("What one side wrote before it could know the other's later write is no conflict", arguments: [false, true])
    func causes(isOld: Bool) {
        var (world, node) = divided()
        // The side of two writes twice; what the lost one wrote before the cut, all had read.
        _ = world.ask(0, .patchNode(id: node), #"{"data":{"a":2}}"#)
        _ = world.ask(1, .patchNode(id: node), #"{"data":{"a":3}}"#)
        // The other side writes the same: both agree.
        if isOld { _ = world.ask(2, .patchNode(id: node), #"{"data":{"a":3}}"#) }
        heal(&world)
        // After the heal, one after the other.
        _ = world.ask(2, .patchNode(id: node), #"{"data":{"a":4}}"#)
        world.run(milliseconds: 1_000)
        let told = healed(&world, 1)
        #expect(told.count == 1)
        #expect(told.first?["conflict_count"] as? Int == 0)
    }

    @Test("A document removed on one side and written on the other is a conflict")
    func removed() {
        var (world, node) = divided()
        _ = world.ask(0, .patchNode(id: node), #"{"data":{"a":2}}"#)
        world.run(milliseconds: 10)
        _ = world.ask(2, .deleteNode(id: node))
        heal(&world)
        let found = healed(&world, 0).first.map(conflicts) ?? []
        #expect(found.map { $0["detail"] as? String } == ["data/a"])
        #expect(found.first?["kept"] as? String == "removed")
    }

    @Test("If the node that would tell is gone, the next one does")
    func succession() {
        var (world, _) = divided()
        world.cutOff = []
        world.run(milliseconds: 50)
        // Nothing of the first one's arrives any more.
        world.silent = [0]
        world.run(milliseconds: 6_000)
        #expect(healed(&world, 2).count >= 1)
        #expect(world.nodes[1].healing.counters.reports + world.nodes[2].healing.counters.reports >= 1)
    }

    @Test("Clients cannot say that something has healed")
    func reserved() {
        var world = NodeWorld()
        for topic in ["ClusterEvents", "AgentLifecycle", "Messages", "ContextEvents.a"] {
            let answer = world.post(0, #"{"topic":"\#(topic)","type":"t","source":"s"}"#)
            #expect(answer.status == 400)
            #expect(answer.message.contains("nodes alone publish here"))
        }
    }
}
