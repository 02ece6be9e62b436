import Gossip
import Testing

@testable import NodeCore

@Suite("Soorma's services at a node that starts anew")
struct SoormaResetTests {
    @Test("find there what its peers have, and what it had written while nobody heard it")
    func anew() {
        var world = NodeWorld(clocksAheadMs: [])
        world.hasNetwork = true
        for _ in 0..<3 { world.add(profile: .fast) }
        world.run(milliseconds: 3_000)
        func write(_ i: Int) {
            let texts: [(RecallRequest, String)] = [
                (.storeKnowledge, #"{"content":"fact \#(i)"}"#),
                (.logInteraction, #"{"agentId":"bot","role":"user","content":"said \#(i)"}"#),
                (.storeProcedure, #"{"agentId":"bot","procedureType":"system_prompt","content":"rule \#(i)"}"#),
            ]
            for (request, body) in texts {
                #expect(world.ask(i, .soorma(.recall(request, Tenancy())), body).status == 200)
            }
            let task = #"{"taskId":"t\#(i)","planId":"p","eventType":"e","subTasks":["s\#(i)"]}"#
            #expect(world.remember(i, .storeTaskContext, task).status == 200)
            let plan = #"{"planId":"p\#(i)","sessionId":"s","goalEvent":"g","parentPlanId":"p"}"#
            #expect(world.remember(i, .createPlan, plan).status == 200)
            let event = #"{"event":{"eventName":"e\#(i)","topic":"t"}}"#
            #expect(world.ask(i, registry: .registerEvent, event).status == 200)
        }
        for i in 0..<2 { write(i) }
        world.run(milliseconds: 500)
        // It has all of this in its indexes, which is to be thrown away.
        #expect(Self.seen(&world, 2, 2) == Self.seen(&world, 0, 2))
        world.cutOff = [2]
        world.run(milliseconds: 10_000)
        write(2)
        world.startAnew(2)
        world.cutOff = []
        world.run(milliseconds: 20_000)
        #expect(world.metric(2, "resets_total") == 1)
        let seen = (0..<3).map { Self.seen(&world, $0, 3) }
        #expect(seen[0].allSatisfy { $0.status == 200 } && seen[1] == seen[0] && seen[2] == seen[0])
        #expect(seen[0].map(\.count) == [3, 3, 3, 3, 3, 3, 1, 1, 1])
        for i in 0..<3 { #expect(world.metric(i, "recall_documents{kind=\"knowledge\"}") == 3) }
    }

    private struct Seen: Equatable {
        let status: UInt16
        let count: Int
        let text: String

        init(_ answer: Answer) {
            (status, text) = (answer.status, answer.text)
            count = answer.list.isEmpty ? answer.object["count"] as? Int ?? 1 : answer.list.count
        }
    }

    /// What each of the services finds by more than a name.
    private static func seen(_ world: inout NodeWorld, _ i: Int, _ writers: Int) -> [Seen] {
        let recalled: [RecallRequest] = [
            .queryKnowledge("fact", limit: 9, includePublic: true), .recentInteractions(agent: "bot", limit: 9),
            .searchInteractions(agent: "bot", "said", limit: 9),
        ]
        var found = recalled.map { Seen(world.ask(i, .soorma(.recall($0, Tenancy())))) }
        found.append(Seen(world.remember(i, .plans(status: "running", session: "s", limit: 9))))
        found.append(Seen(world.ask(i, tracker: .subPlans(plan: "p"))))
        found.append(Seen(world.ask(i, registry: .events(name: nil, topic: "t"))))
        for writer in 0..<writers { found.append(Seen(world.remember(i, .taskContextOf(subTask: "s\(writer)")))) }
        return found
    }
}
