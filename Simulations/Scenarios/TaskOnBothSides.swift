internal import Gossip
internal import NodeCore

/// Both sides of a partition let one task be claimed; of a second one, one side even takes the result.
struct TaskOnBothSides: Scenario {
    static let name = "task-on-both-sides"
    static let promise =
        "Of two claims a completed one stays before any other, else the one with the higher token; the other is revoked, told."

    func options(_ dice: inout Dice) -> Options { .twoSides(&dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        try cluster.found()
        for task in ["one", "two"] {
            let body =
                #"{"id":"\#(task)","created_by":"agent-0","description":"d","skills_required":["\#(SocialAct.skill)"],"#
                + #""lease_ms":900000}"#
            let (status, answer) = try cluster.answer(
                .tasks(.post, by: Asker()), Array(body.utf8), at: Int(cluster.faults.below(UInt64(cluster.nodes.count)))
            )
            guard status == 201 else { throw Violation("a task is posted", "\(status) \(answer)") }
            try cluster.run(milliseconds: 1_000)
        }
        let minority = cluster.drawMinority()
        let (one, other) = Cluster.ends(minority, of: cluster.nodes.count)
        try cluster.part(minority)

        var tokens: [Int] = []
        for (agent, node) in [(1, one), (2, other)] {
            let claim = try cluster.act(.claim(task: "one", agent), at: node)
            tokens.append(claim["token"]?.number.flatMap { Int(exactly: $0) } ?? 0)
            try cluster.run(milliseconds: 500)
        }
        let first = try cluster.act(.claim(task: "two", 1), at: one)
        try cluster.act(.claim(task: "two", 2), at: other)
        let token = first["token"]?.number.flatMap { Int(exactly: $0) } ?? 0
        try cluster.act(.complete(task: "two", 1, token: token), at: one, place: 7)

        try cluster.becomeOne()
        try cluster.everywhere("of two claims the one with the higher token stays", .tasks(.task("one"), by: Asker())) {
            _, task in
            guard task["status"]?.text == "claimed", tokens[0] != tokens[1] else {
                return task["status"]?.text == "claimed"
            }
            return task["assigned_to"] == .array([.string(SocialAct.name(tokens[0] < tokens[1] ? 2 : 1))])
        }
        try cluster.everywhere("a completed task stays completed", .tasks(.task("two"), by: Asker())) { _, task in
            task["status"]?.text == "completed" && task["result"] == .number(7)
                && task["assigned_to"] == .array([.string(SocialAct.name(1))])
        }
        try cluster.isTold("double_claim", of: "one")
        try cluster.isTold("double_claim", of: "two")
    }
}
