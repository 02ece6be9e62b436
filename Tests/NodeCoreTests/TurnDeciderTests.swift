import Testing

@testable import CRDT
@testable import NodeCore

private let ada = ReplicaID(0xa)
private let bob = ReplicaID(0xb)
private let cyd = ReplicaID(0xc)

/// The turns of one chat as one node decides them; what is written goes into the document at once.
private struct Table {
    var state = TurnState()
    var me: ReplicaID
    var decides = true
    var present: Set<ReplicaID> = [ada, bob, cyd]
    var majority = Majority(reachable: 3, needed: 2)
    var nowMs: UInt64 = 1_000_000
    private(set) var told: [String] = []

    init(_ me: ReplicaID = ada, _ rules: TurnRules = TurnRules()) {
        self.me = me
        state.rules = rules
    }

    var decider: TurnDecider {
        TurnDecider(
            chat: "c", state,
            TurnDecider.Standing(me: me, decides: decides, present: present, majority: majority, nowMs: nowMs))
    }

    /// Gives one input; returns the refusal if it is refused.
    @discardableResult
    mutating func give(_ input: TurnDecider.Input) -> NodeError? {
        var decider = decider
        var effects: [TurnDecider.Effect] = []
        do throws(NodeError) { try decider.handle(input, into: &effects) } catch { return error }
        // What was written says all that the value holds.
        var fields: [String: JSONValue] = [:]
        for effect in effects {
            switch effect {
            case .set(let field, let value): fields[field] = value
            case .unset(let field): fields[field] = nil
            case .tell(let one): told.append("\(one.change) \(one.agent ?? "-")")
            }
        }
        for (field, value) in fields where field.hasPrefix(TurnState.grantPrefix) {
            let node = ReplicaID(text: field.dropping(bytes: 6))!
            #expect(decider.state.grants.first { $0.node == node }?.json == value)
        }
        state = decider.state
        return nil
    }

    mutating func ask(_ agent: String, _ priority: Int = 5) -> NodeError? { give(.ask(agent, priority: priority)) }
    var speaker: String? { state.granted?.agent }
    var token: FencingToken? { state.granted?.token }
    var queue: [String] { state.queue.map(\.agent) }

    /// What another table has written besides is read here.
    mutating func merge(_ other: Table) {
        for grant in other.state.grants
        where grant.node == other.me || !state.grants.contains(where: { $0.node == grant.node }) {
            state.set(grant)
        }
    }
}

@Suite("Who has the turn, as a value")
struct TurnDeciderTests {
    @Test("Whoever asks first speaks; the others wait in order, and follow when the turn is given back")
    func fifo() {
        var table = Table()
        #expect(table.ask("x") == nil && table.speaker == "x")
        table.nowMs += 1
        #expect(table.ask("z") == nil)
        table.nowMs += 1
        #expect(table.ask("y", 9) == nil && table.queue == ["z", "y"])
        let first = table.token!
        #expect(table.ask("x") == nil && table.token == first, "asked again it has what it has")
        #expect(table.give(.release("x", first)) == nil && table.speaker == "z" && table.queue == ["y"])
        #expect(table.token! > first)
        #expect(table.give(.release("z", nil)) == nil && table.speaker == "y" && table.queue.isEmpty)
        #expect(table.give(.release("y", nil)) == nil && table.speaker == nil)
        #expect(table.give(.release("y", nil)) == nil, "asked again, it was done already")
    }

    @Test("By priority the most urgent is next, then who has waited longest")
    func priority() {
        var rules = TurnRules()
        rules.order = .priority
        var table = Table(ada, rules)
        for (agent, priority) in [("x", 0), ("p", 5), ("q", 9), ("r", 9)] {
            _ = table.ask(agent, priority)
            table.nowMs += 1
        }
        #expect(table.queue == ["q", "r", "p"])
        #expect(table.ask("p", 10) == nil && table.queue == ["p", "q", "r"], "it may change its mind")
        rules.order = .fifo
        #expect(table.give(.setRules(rules, by: "x")) == nil && table.queue == ["p", "q", "r"])
    }

    @Test("A turn ends with its time, and not before")
    func expiry() {
        var table = Table()
        _ = table.ask("x")
        _ = table.ask("y")
        let due = table.state.dueMs!
        #expect(due == table.nowMs + 60_000)
        table.give(.due(due - 1))
        #expect(table.speaker == "x", "that was another turn's")
        table.give(.due(due))
        #expect(table.speaker == "y")
        #expect(
            table.told == [
                "speaker_requested x", "speaker_granted x", "speaker_requested y", "speaker_expired x",
                "speaker_granted y",
            ])
    }

    @Test("With a moderator only a grant grants")
    func moderator() {
        var rules = TurnRules()
        rules.moderator = "mo"
        var table = Table(ada, rules)
        #expect(table.give(.grant(nil, by: "mo"))?.status == 409, "nobody waits")
        _ = table.ask("x")
        _ = table.ask("y")
        #expect(table.speaker == nil && table.queue == ["x", "y"])
        #expect(table.give(.grant("y", by: "mo")) == nil && table.speaker == "y" && table.queue == ["x"])
        #expect(table.give(.grant("y", by: "mo")) == nil, "asked again, it was done already")
        let refusal = table.give(.grant(nil, by: "mo"))
        #expect(refusal?.status == 409)
        #expect(refusal?.message.contains("y has the turn in chat c until 1970-01-01T00:17:40.000Z") == true)
        #expect(table.give(.revoke(by: "mo")) == nil && table.speaker == nil)
        #expect(table.give(.revoke(by: "mo")) == nil, "asked again, it was done already")
        #expect(table.give(.grant(nil, by: "mo")) == nil && table.speaker == "x")
        rules.moderator = nil
        _ = table.ask("z")
        #expect(table.give(.release("x", nil)) == nil && table.speaker == nil)
        #expect(table.give(.setRules(rules, by: "mo")) == nil && table.speaker == "z", "nobody has to grant it now")
    }

    @Test("Giving back what one does not have is refused, and says who has it and until when")
    func refusals() {
        var table = Table()
        #expect(table.give(.release("x", nil))?.message.contains("nobody has had it yet") == true)
        #expect(table.give(.revoke(by: "x"))?.status == 409)
        _ = table.ask("x")
        let old = table.token!
        _ = table.ask("y")
        _ = table.ask("z")
        #expect(table.give(.release("z", nil)) == nil && table.queue == ["y"], "it waits no longer")
        #expect(
            table.give(.release("z", nil))?.message.contains("not your turn: x has the turn in chat c until") == true)
        table.give(.due(table.state.dueMs!))
        let stale = table.give(.release("x", old))
        #expect(stale?.status == 409 && stale?.message.contains("stale token \(old.rawValue)") == true)
        #expect(stale?.message.contains("y has it until") == true)
        #expect(table.speaker == "y")
    }

    @Test("The queue is bounded")
    func bound() {
        var table = Table()
        for i in 0...TurnState.maximumQueue { _ = table.ask("a\(i)") }
        #expect(table.queue.count == TurnState.maximumQueue)
        let refusal = table.ask("late")
        #expect(refusal?.status == 409 && refusal?.message.contains("1000 agents wait") == true)
        #expect(table.ask("a7", 9) == nil, "who waits already may ask again")
    }

    @Test("Strict turns are granted only where more than half of the cluster is, and the refusal says the numbers")
    func strict() {
        var rules = TurnRules()
        rules.strict = true
        var table = Table(ada, rules)
        table.majority = Majority(reachable: 1, needed: 2)
        let refusal = table.ask("x")
        #expect(refusal?.status == 503)
        #expect(refusal?.message.contains("this side reaches 1 node and needs 2") == true)
        #expect(table.queue.isEmpty && table.give(.grant("x", by: "mo"))?.status == 503)
        table.majority = Majority(reachable: 2, needed: 2)
        _ = table.ask("x")
        _ = table.ask("y")
        #expect(table.speaker == "x")
        // The side becomes the smaller one: who speaks may give back, and nobody follows until it has healed.
        table.majority = Majority(reachable: 1, needed: 2)
        #expect(table.give(.release("x", nil)) == nil && table.speaker == nil && table.queue == ["y"])
        table.majority = Majority(reachable: 3, needed: 2)
        table.give(.look(gone: []))
        #expect(table.speaker == "y")
    }

    @Test("Who is no member any more has no turn, and waits for none")
    func gone() {
        var table = Table()
        for agent in ["x", "y", "z"] {
            _ = table.ask(agent)
            table.nowMs += 1
        }
        var other = table
        (other.me, other.decides) = (bob, false)
        other.give(.look(gone: ["x", "y"]))
        #expect(other.speaker == "x", "that is for another node to decide")
        table.give(.look(gone: ["x", "y"]))
        #expect(table.speaker == "z" && table.queue.isEmpty)
        #expect(table.told.suffix(2) == ["speaker_revoked x", "speaker_granted z"])
    }

    @Test("A node that takes over respects the turn that runs, and goes on under a higher term")
    func takeover() {
        var table = Table()
        _ = table.ask("x")
        let old = table.token!
        table.me = bob
        table.present = [bob, cyd]
        _ = table.ask("y")
        #expect(table.speaker == "x" && table.queue == ["y"])
        table.give(.due(table.state.dueMs!))
        #expect(table.speaker == "y" && table.token!.term == old.term + 1)
        // Back again, the first node neither revokes nor reports what was ended properly.
        var back = table
        (back.me, back.present) = (ada, [ada, bob, cyd])
        back.nowMs -= 1
        back.give(.look(gone: []))
        #expect(back.state == table.state && back.decider.conflicts(sinceMs: 0).isEmpty)
        #expect(back.give(.release("y", table.token)) == nil && back.state.highest!.token.term == old.term + 2)
    }

    @Test("Both sides of a partition grant: the lower token is revoked by who granted it, and every node can tell")
    func partition() {
        var here = Table(ada)
        _ = here.ask("x")
        _ = here.give(.release("x", nil))
        var there = here
        (there.me, there.present) = (bob, [bob, cyd])
        here.present = [ada]
        _ = here.ask("h")
        _ = there.ask("t")
        #expect(here.token! < there.token!)
        let lost = here.token!
        here.merge(there)
        there.merge(here)
        (here.present, there.present) = ([ada, bob, cyd], [ada, bob, cyd])
        (here.decides, there.decides) = (false, true)
        var witness = here
        witness.me = cyd
        for table in [here, there, witness] {
            let conflicts = table.decider.conflicts(sinceMs: table.nowMs)
            #expect(conflicts.count == 1 && conflicts.first?.detail == "h, t" && conflicts.first?.kind == .doubleGrant)
        }
        there.give(.look(gone: []))
        #expect(there.state.grants.contains { $0.token == lost && $0.state == .granted }, "not this node's to revoke")
        here.give(.look(gone: []))
        #expect(here.told.last == "speaker_revoked h" && here.speaker == "t")
        #expect(here.give(.release("h", lost))?.message.contains("stale token") == true)
        let told = here.told.count
        here.give(.look(gone: []))
        #expect(here.told.count == told, "once")
        // Should the node that granted it be gone, the one that decides revokes it.
        there.present = [bob, cyd]
        there.give(.look(gone: []))
        #expect(there.told.last == "speaker_revoked h" && there.speaker == "t")
        let later = there.decider.conflicts(sinceMs: there.nowMs + 1)
        #expect(later.isEmpty, "of what was revoked before nobody is told again")
    }

    @Test("What is revoked is told even if the side that counts has moved on before")
    func movedOn() {
        var here = Table(ada)
        var there = Table(bob)
        there.present = [bob]
        _ = here.ask("h")
        // The other side takes over from a grant it knows, twice.
        there.state.set(
            TurnGrant(
                node: cyd, agent: "old", token: FencingToken(rawValue: 5 << 32 | 1)!, lease: Lease(untilMs: 1),
                state: .released))
        _ = there.ask("t")
        here.merge(there)
        here.me = cyd
        here.decides = true
        here.nowMs += 1
        #expect(here.give(.release("t", nil)) == nil, "decided before the lower token was revoked")
        here.me = ada
        here.decides = false
        here.give(.look(gone: []))
        #expect(here.told.last == "speaker_revoked h")
    }

    @Test("A document says all of it")
    func document() {
        var rules = TurnRules()
        (rules.order, rules.slotMs, rules.moderator, rules.required, rules.strict) = (
            .priority, 5_000, "mo", true, true
        )
        #expect(TurnRules(rules.json) == rules)
        #expect(TurnRules(.object([("slot_ms", .number(-1)), ("order", .string("?"))])) == TurnRules())
        let stamp = HybridTimestamp(milliseconds: 77, replica: ada)
        func field(_ name: String, _ value: String) -> DocumentMap.Field {
            DocumentMap.Field(name: name, value: Array(value.utf8), stamp: stamp)
        }
        let state = TurnState([
            field("rules", String(decoding: rules.json.encoded(), as: UTF8.self)),
            field("queue/a/b", "{\"stamp\":5,\"priority\":1}"), field("queue/é", "{\"stamp\":4,\"priority\":3}"),
            field("queue/bad", "{}"), field("grant/nobody", "{}"), field("grant/\(ada)", "no JSON"),
            field(
                "grant/\(bob)", "{\"agent\":\"x\",\"token\":4294967297,\"until\":9,\"state\":\"granted\",\"seen\":{}}"),
            field("grant/\(cyd)", "{\"agent\":\"x\",\"token\":0,\"until\":9,\"state\":\"granted\"}"),
            field("owner", "\(cyd)"), field("later", "{}"),
        ])
        #expect(state.rules == rules && state.owner == cyd && state.updatedMs == 77)
        #expect(state.queue.map(\.agent) == ["é", "a/b"])
        #expect(state.grants.map(\.node) == [bob] && state.holder(at: 8)?.agent == "x" && state.holder(at: 9) == nil)
    }
}
