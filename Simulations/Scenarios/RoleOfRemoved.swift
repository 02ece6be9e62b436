internal import Gossip
internal import NodeCore

/// One side of a partition removes a member, the other makes it an admin, before or after.
struct RoleOfRemoved: Scenario {
    static let name = "role-of-removed"
    static let promise = "A member removed on one side stays removed, whatever role the other gave it; the heal tells."

    func options(_ dice: inout Dice) -> Options { .twoSides(&dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        try cluster.found()
        let minority = cluster.drawMinority()
        let (one, other) = Cluster.ends(minority, of: cluster.nodes.count)
        try cluster.part(minority)
        let isRemovedFirst = cluster.faults.below(2) == 0
        if isRemovedFirst { try cluster.act(.takeOut(chat: "lab", 1), at: one) }
        try cluster.run(milliseconds: 2_000)
        try cluster.act(.bringIn(chat: "lab", 1, role: "admin"), at: other)
        try cluster.run(milliseconds: 2_000)
        if !isRemovedFirst { try cluster.act(.takeOut(chat: "lab", 1), at: one) }
        try cluster.becomeOne()
        try cluster.everywhere(
            "a member that was removed stays removed, whatever role the other side gave it",
            .chats(.chat("lab"), by: Asker())
        ) { status, chat in
            status == 200 && chat["participants"]?.array?.contains(.string(SocialAct.name(1))) == false
                && chat["access_rights"]?[SocialAct.name(1)] == nil
        }
        try cluster.isTold("role_of_removed", of: "lab")
    }
}
