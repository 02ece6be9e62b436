internal import Gossip
internal import NodeCore

/// Both sides of a partition grant the turn in one chat; in another one, whose turns are strict, only the larger may.
struct TurnOnBothSides: Scenario {
    static let name = "turn-on-both-sides"
    static let promise =
        "Of two turns granted on two sides the higher token stays and the other is revoked, told; strict chats grant on the "
        + "larger side alone."

    func options(_ dice: inout Dice) -> Options {
        var options = Options.twoSides(&dice)
        // An odd number has a larger side.
        options.size = 3 + 2 * Int(dice.below(2))
        return options
    }

    func run(_ cluster: Cluster) throws(Violation) {
        try cluster.found()
        for (chat, rules) in [("lab", #"{"slot_ms":900000}"#), ("court", #"{"slot_ms":900000,"strict":true}"#)] {
            let (status, answer) = try cluster.answer(
                .turns(.setRules(chat: chat), by: Asker()), Array(rules.utf8), at: 0)
            guard status == 200 else { throw Violation("rules are set", "\(status) \(answer)") }
        }
        try cluster.becomesWhole(trustMs: 10_000, eventsMs: 3_000)
        let minority = cluster.drawMinority()
        let (one, other) = Cluster.ends(minority, of: cluster.nodes.count)
        try cluster.part(minority)

        let mine = try cluster.act(.ask(chat: "lab", 1), at: one)
        try cluster.run(milliseconds: 2_000)
        let theirs = try cluster.act(.ask(chat: "lab", 2), at: other)
        guard mine["current_speaker"] == .string(SocialAct.name(1)),
            theirs["current_speaker"] == .string(SocialAct.name(2)), let low = mine["token"]?.number,
            let high = theirs["token"]?.number
        else { throw Violation("each side grants by itself", "\(mine) \(theirs)") }
        let refused = SocialAct(what: .ask(chat: "court", 1))
        let (status, answer) = try cluster.answer(refused.request, refused.body(0), at: one)
        guard status == 503, answer["message"]?.text?.contains("strict") == true else {
            throw Violation("a strict chat grants no turn on the smaller side, and says why", "\(status) \(answer)")
        }
        let granted = try cluster.act(.ask(chat: "court", 2), at: other)
        guard granted["current_speaker"] == .string(SocialAct.name(2)) else {
            throw Violation("a strict chat grants on the larger side", "\(granted)")
        }

        try cluster.becomeOne()
        try cluster.everywhere(
            "of two turns the one with the higher token stays", .turns(.speaker(chat: "lab"), by: Asker())
        ) { _, speaker in
            guard low != high else { return speaker["current_speaker"]?.text != nil }
            return speaker["current_speaker"] == .string(SocialAct.name(low < high ? 2 : 1))
                && speaker["token"] == .number(max(low, high))
        }
        try cluster.isTold("double_grant", of: "lab")
    }
}
