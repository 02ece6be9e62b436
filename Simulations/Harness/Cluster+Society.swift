internal import CRDT
internal import NodeCore

/// What agents do among each other, and what becomes of it.
extension Cluster {
    /// From now on the agents meet, talk, take turns and work.
    func startSociety() {
        // A shrunk world may have nobody in it.
        guard options.isSocial, !crowd.agents.isEmpty else { return }
        for (i, what) in Society.founding.enumerated() { agenda.add(.social(what), at: now + UInt64(i + 1) * 100_000) }
        agenda.add(.social(nil), at: now + 2_000_000)
    }

    /// One of them does something: what the world begins with, or what comes to its mind.
    func socialize(_ founding: SocialAct.What?) {
        guard crowd.isActive else { return }
        if founding == nil {
            agenda.add(.social(nil), at: now + 20_000 + UInt64(society.roll(300_000)))
        }
        let what = founding ?? society.next()
        let place = society.add(what)
        tally.add(.socialActs)
        // What the world begins with is known at the first node, so that the second act can follow the first.
        let home = founding == nil ? society.roll(nodes.count) : 0
        begin(.social(place), agent: 0, at: home)
        // At two nodes at once, now and then: perhaps on two sides.
        if founding == nil, nodes.count > 1, society.roll(8) == 0, SocialAct(what: what).isRepeatable {
            begin(.social(place), agent: 0, at: (home + 1 + society.roll(nodes.count - 1)) % nodes.count)
        }
    }

    /// A node has answered; the agents hear of it a little later.
    func decided(_ place: Int, _ answer: Answer, _ stamp: HybridTimestamp?, _ call: Call) {
        society.answered(place, answer.status, stamp, at: now, by: call.acknowledgement(nodes.count))
        switch answer.status {
        case 200..<300:
            tally.add(.socialYes)
            guard case .claim(let task, let agent) = society.acts[place].what,
                let token = (try? JSONReader.parse(answer.body))?["token"]?.number.flatMap({ Int(exactly: $0) })
            else { return }
            society.claims[task] = (agent, token)
        // Not a member, not its turn, not here, already done: each says why.
        case 403, 404, 409:
            tally.add(.socialNo)
            guard let message = (try? JSONReader.parse(answer.body))?["message"]?.text, message.utf8.count > 20 else {
                return fail("a refusal says why", String(decoding: answer.body, as: UTF8.self))
            }
        case 503, 504, 507: break
        default:
            fail(
                "a social act is done or refused with reason",
                "\(answer.status) for \(society.acts[place].what): \(String(decoding: answer.body, as: UTF8.self))")
        }
    }
}
