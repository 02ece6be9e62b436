internal import Gossip
internal import NodeCore

/// An agent is retired on one side of a partition and goes on chatting on the other.
struct RetiredAndChatting: Scenario {
    static let name = "retired-and-chatting"
    static let promise =
        "A retired agent stays retired; what it said afterwards on the other side is kept, tagged, and shown to admins alone."

    func options(_ dice: inout Dice) -> Options { .twoSides(&dice) }

    func run(_ cluster: Cluster) throws(Violation) {
        try cluster.found()
        let minority = cluster.drawMinority()
        let (one, other) = Cluster.ends(minority, of: cluster.nodes.count)
        let before = "0190b5e2-7c1a-4d3e-9f00-000000000001"
        let after = "0190b5e2-7c1a-4d3e-9f00-000000000002"
        try cluster.act(.say(chat: "lab", 1, id: before), at: one)
        try cluster.part(minority)
        try cluster.act(.retire(1), at: one)
        try cluster.run(milliseconds: 2_000)
        try cluster.act(.say(chat: "lab", 1, id: after), at: other)
        try cluster.becomeOne()

        try cluster.everywhere("who is retired stays retired", .agents(.manifest(SocialAct.name(1)), by: Asker())) {
            status, _ in status == 404
        }
        func messages(as reader: String?) -> Request {
            .chats(.messages(chat: "lab", after: nil, before: nil, limit: 100), by: Asker(reader))
        }
        func find(_ id: String, _ list: JSON) -> JSON? { list.array?.first { $0["id"]?.text == id } }
        for reader in [nil, SocialAct.name(0)] {
            try cluster.everywhere("what was said after a removal is kept and tagged", messages(as: reader)) {
                _, list in
                find(after, list)?["after_removal"] == .bool(true)
                    && find(before, list).map { $0["after_removal"] != .bool(true) } ?? false
            }
        }
        try cluster.everywhere("and hidden from whoever is no admin", messages(as: SocialAct.name(2))) { status, list in
            status == 200 && find(after, list) == nil && find(before, list) != nil
        }
        try cluster.isTold("spoke_after_removal", of: "lab")
    }
}
