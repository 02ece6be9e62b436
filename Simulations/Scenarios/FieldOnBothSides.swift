internal import Gossip
internal import NodeCore

/// One member of an agent's profile is written on both sides of a partition, and others on one side each.
struct FieldOnBothSides: Scenario {
    static let name = "field-on-both-sides"
    static let promise = "Of one field the later write stays, different fields all do, and the heal tells."

    func options(_ dice: inout Dice) -> Options { .twoSides(&dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        try cluster.found()
        let minority = cluster.drawMinority()
        let (one, other) = Cluster.ends(minority, of: cluster.nodes.count)
        try cluster.part(minority)
        try cluster.act(.profile(1, key: 0), at: one, place: 10)
        try cluster.act(.profile(1, key: 1), at: one, place: 11)
        // Later than any clock is off.
        try cluster.run(milliseconds: 2_000)
        try cluster.act(.profile(1, key: 0), at: other, place: 20)
        try cluster.act(.profile(1, key: 2), at: other, place: 22)
        try cluster.becomeOne()
        try cluster.everywhere(
            "the later write of one field stays, and all writes of different fields",
            .agents(.manifest(SocialAct.name(1)), by: Asker())
        ) { status, manifest in
            let profile = manifest["public_profile"]
            return status == 200 && profile?["k0"] == .number(20) && profile?["k1"] == .number(11)
                && profile?["k2"] == .number(22)
        }
        try cluster.isTold("overwritten_field", of: "agent/\(SocialAct.name(1))")
    }
}
