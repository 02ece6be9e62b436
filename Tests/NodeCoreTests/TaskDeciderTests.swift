import Testing

@testable import CRDT
@testable import NodeCore

private let ada = ReplicaID(0xa)
private let bob = ReplicaID(0xb)
private let cyd = ReplicaID(0xc)

private func terms(_ body: String) -> TaskTerms {
    let text = Array("{\"description\":\"d\"\(body.isEmpty ? "" : ",")\(body)}".utf8)
    return try! TaskTerms(try! Body(text.span.bytes), id: "t", createdBy: "boss")
}

/// One task as one node decides about it, in whose log it stands unless a test says otherwise.
private struct Desk {
    var state: TaskState
    var me = ada
    var decides = true
    var present: Set<ReplicaID> = [ada, bob, cyd]
    var majority = Majority(reachable: 3, needed: 2)
    var nowMs: UInt64 = 1_000_000
    private(set) var told: [String] = []
    private(set) var merits: [String] = []
    private(set) var isForgotten = false

    init(_ body: String = "") {
        state = TaskState(terms(body), created: HybridTimestamp(milliseconds: 1_000_000, replica: ada))
    }

    var decider: TaskDecider {
        TaskDecider(
            state,
            TaskDecider.Standing(me: me, decides: decides, present: present, majority: majority, nowMs: nowMs))
    }

    /// Gives one input; returns the refusal if it is refused.
    @discardableResult
    mutating func give(_ input: TaskDecider.Input) -> NodeError? {
        var decider = decider
        var effects: [TaskDecider.Effect] = []
        do throws(NodeError) { try decider.handle(input, into: &effects) } catch { return error }
        for effect in effects {
            switch effect {
            case .set(let field, let value):
                if field == "claim/\(me)" {
                    #expect(decider.state.claims.first { $0.node == me }?.json == value)
                    #expect(TaskClaim(node: me, value) == decider.state.claims.first { $0.node == me })
                }
            case .count(let merit, let agent): merits.append("\(merit.rawValue) \(agent)")
            case .tell(let one): told.append("\(one.type) \(one.agent ?? "-")\(one.isFinal ? "." : "")")
            case .forget: isForgotten = true
            }
        }
        state = decider.state
        return nil
    }

    mutating func claim(_ agent: String) -> NodeError? { give(.claim(agent, leaseMs: nil)) }
    mutating func complete(_ agent: String, _ token: FencingToken?) -> NodeError? {
        give(.complete(agent, token ?? FencingToken(rawValue: 1)!, .string("done by \(agent)")))
    }
    /// Time passes until something is due.
    mutating func wait() {
        guard let due = state.dueMs else { return }
        nowMs = due
        give(.due(due))
    }
    var token: FencingToken? { state.claimed?.token }
    var agent: String? { state.result?.agent ?? state.claimed?.agent }

    /// What another node has written is read here.
    mutating func merge(_ other: Desk) {
        for claim in other.state.claims where claim.node == other.me { state.set(claim) }
        for result in other.state.results where result.node == other.me { state.set(result) }
    }
}

@Suite("Who does a task, as a value")
struct TaskDeciderTests {
    @Test("Claimed, renewed, completed: once, by who holds the token, and it counts")
    func work() {
        var desk = Desk()
        #expect(desk.state.status == .open)
        #expect(desk.claim("x") == nil && desk.state.status == .claimed)
        let token = desk.token!
        desk.nowMs += 1_000
        #expect(desk.claim("x") == nil && desk.token == token, "renewed")
        #expect(desk.state.claimed?.lease.untilMs == desk.nowMs + 300_000 && desk.state.claimed?.attempt == 1)
        let refusal = desk.claim("y")
        #expect(refusal?.status == 409)
        #expect(refusal?.message.contains("claimed by x until 1970-01-01T00:21:41.000Z") == true)
        #expect(desk.complete("y", token)?.message.contains("is not y's: it is claimed by x") == true)
        #expect(
            desk.complete("x", FencingToken(rawValue: token.rawValue + 1))?.message.contains("unknown token") == true)
        #expect(desk.complete("x", token) == nil && desk.state.status == .completed)
        #expect(desk.complete("x", token) == nil, "asked again, it was done already")
        #expect(desk.claim("y")?.message.contains("was completed by x") == true)
        #expect(desk.give(.fail("x", token, reason: nil))?.status == 409)
        #expect(desk.give(.cancel(by: "boss"))?.status == 409)
        #expect(desk.told == ["TaskClaimed x", "TaskCompleted x."] && desk.merits == ["completed x"])
    }

    @Test("What fails is tried again after pauses that double, until it has failed too often")
    func retries() {
        var desk = Desk("\"retry_ms\":100")
        for (attempt, pause) in [(1, 100), (2, 200)] as [(Int, UInt64)] {
            #expect(desk.claim("x") == nil && desk.state.claimed?.attempt == attempt)
            let token = desk.token!
            #expect(desk.give(.fail("x", token, reason: "tired")) == nil && desk.state.status == .waiting)
            #expect(desk.give(.fail("x", token, reason: "tired")) == nil, "asked again, it was done already")
            #expect(desk.state.dueMs == desk.nowMs + pause)
            let refusal = desk.claim("y")
            #expect(refusal?.status == 409 && refusal?.message.contains("failed \(attempt) of 3 times") == true)
            #expect(desk.complete("x", token)?.message.contains("your claim under token") == true)
            desk.wait()
            #expect(desk.state.status == .open)
        }
        let old = desk.state.highest!.token
        #expect(desk.claim("y") == nil)
        let stale = desk.complete("x", old)
        #expect(stale?.status == 409 && stale?.message.contains("stale token \(old.rawValue)") == true)
        #expect(stale?.message.contains("claimed by y until") == true)
        #expect(desk.give(.fail("y", desk.token!, reason: nil)) == nil && desk.state.status == .failed)
        #expect(desk.claim("x")?.message.contains("has failed 3 times") == true)
        #expect(desk.merits == ["failed x", "failed x", "failed y"])
        #expect(desk.told.suffix(2) == ["TaskClaimed y", "TaskFailed y."])
    }

    @Test("The pause doubles up to an hour")
    func pauses() {
        let terms = terms("\"retry_ms\":1000,\"max_attempts\":100")
        let rows: [(Int, UInt64)] = [
            (0, 1_000), (1, 1_000), (2, 2_000), (3, 4_000), (12, 2_048_000), (13, 3_600_000), (99, 3_600_000),
        ]
        for (attempt, pause) in rows { #expect(terms.pauseMs(after: attempt) == pause) }
    }

    @Test("A lease that ends counts as a failure; its token is worth nothing afterwards")
    func lease() {
        var desk = Desk("\"lease_ms\":500,\"max_attempts\":1")
        _ = desk.claim("x")
        let token = desk.token!
        desk.give(.due(desk.state.dueMs! - 1))
        #expect(desk.state.status == .claimed, "that was another lease's")
        desk.wait()
        #expect(desk.state.status == .failed && desk.merits == ["failed x"])
        #expect(desk.complete("x", token)?.message.contains("the lease of x has ended") == true)
    }

    @Test("After its deadline nobody does it, whoever has claimed it")
    func deadline() {
        for isClaimed in [false, true] {
            var desk = Desk("\"deadline\":1000400")
            if isClaimed { _ = desk.claim("x") }
            #expect(desk.state.dueMs == 1_000_400)
            desk.wait()
            #expect(desk.state.status == .expired && desk.merits == (isClaimed ? ["failed x"] : []))
            #expect(desk.claim("y")?.message.contains("deadline of task t has passed") == true)
        }
    }

    @Test("Cancelled is cancelled; what has ended is forgotten after a week")
    func cancelled() {
        var desk = Desk()
        _ = desk.claim("x")
        let token = desk.token!
        #expect(desk.give(.cancel(by: "boss")) == nil && desk.state.status == .cancelled)
        #expect(desk.give(.cancel(by: "boss")) == nil, "asked again, it was done already")
        #expect(desk.complete("x", token)?.message.contains("cancelled by boss") == true)
        #expect(desk.claim("x")?.message.contains("was cancelled") == true)
        let due = desk.state.dueMs!
        #expect(due == desk.nowMs + 7 * 86_400_000)
        var other = desk
        other.decides = false
        other.wait()
        #expect(!other.isForgotten)
        desk.wait()
        #expect(desk.isForgotten)
    }

    @Test("Only whom it is for may claim it, and strict ones only where more than half of the cluster is")
    func mayNot() {
        var desk = Desk("\"assigned_to\":\"y\",\"strict\":true")
        let refusal = desk.claim("x")
        #expect(refusal?.status == 403 && refusal?.message.contains("is for y alone") == true)
        desk.majority = Majority(reachable: 2, needed: 3)
        let minority = desk.claim("y")
        #expect(minority?.status == 503 && minority?.message.contains("reaches 2 nodes and needs 3") == true)
        desk.majority = Majority(reachable: 3, needed: 3)
        #expect(desk.claim("y") == nil)
    }

    @Test("Who did it well is rated once")
    func rated() {
        var desk = Desk()
        #expect(desk.give(.rate(1, by: "boss"))?.message.contains("is open") == true)
        _ = desk.claim("x")
        _ = desk.complete("x", desk.token)
        #expect(desk.give(.rate(-1, by: "boss")) == nil)
        #expect(desk.give(.rate(-1, by: "boss")) == nil, "asked again, it was done already")
        #expect(desk.give(.rate(1, by: "boss"))?.message.contains("was rated -1 already") == true)
        #expect(desk.merits == ["completed x", "down x"])
    }

    @Test("What an agent that retires was doing is open again, by the word of the node that decides")
    func retired() {
        var desk = Desk()
        _ = desk.claim("x")
        var other = desk
        (other.me, other.decides) = (bob, false)
        other.give(.look(isGone: true))
        #expect(other.state.status == .claimed)
        desk.give(.look(isGone: true))
        #expect(desk.state.status == .open && desk.merits.isEmpty && desk.told.last == "TaskReopened x")
    }

    @Test("A node that takes over goes on under a higher term; who is back reports nothing")
    func takeover() {
        var desk = Desk()
        _ = desk.claim("x")
        let old = desk.token!
        (desk.me, desk.present) = (bob, [bob, cyd])
        #expect(desk.claim("y")?.status == 409, "it respects the claim")
        #expect(desk.claim("x") == nil && desk.token!.term == old.term + 1, "renewed, under a token of its own")
        #expect(desk.complete("x", old)?.message.contains("stale token") == true)
        #expect(desk.complete("x", desk.token) == nil)
        (desk.me, desk.present) = (ada, [ada, bob, cyd])
        let told = desk.told.count
        desk.give(.look(isGone: false))
        #expect(desk.told.count == told && desk.decider.conflicts(sinceMs: 0).isEmpty)
        #expect(desk.complete("x", desk.state.result!.token) == nil)
    }

    @Test("Whoever follows the node of a task that nobody has claimed begins above it")
    func firstTerm() {
        var here = Desk()
        var there = here
        there.me = bob
        _ = here.claim("x")
        _ = there.claim("y")
        #expect(here.token!.term == 1 && there.token!.term == 2)
    }

    @Test("Both sides let it be claimed: the higher token stays, the other is revoked by who granted it")
    func bothClaim() {
        var here = Desk()
        var there = here
        (there.me, there.present, here.present) = (bob, [bob, cyd], [ada])
        _ = here.claim("x")
        _ = there.claim("y")
        let lost = here.token!
        here.merge(there)
        there.merge(here)
        (here.present, there.present, there.decides) = ([ada, bob, cyd], [ada, bob, cyd], false)
        for desk in [here, there] {
            let conflicts = desk.decider.conflicts(sinceMs: desk.nowMs)
            #expect(conflicts.map(\.detail) == ["x, y"] && conflicts.first?.kind == .doubleClaim)
            #expect(conflicts.first?.kept.hasPrefix("claimed by y") == true)
        }
        there.give(.look(isGone: false))
        #expect(there.told == ["TaskClaimed y"], "not this node's to revoke")
        here.give(.look(isGone: false))
        #expect(here.told.last == "TaskRevoked x" && here.agent == "y" && here.merits.isEmpty)
        #expect(here.complete("x", lost)?.message.contains("claimed by y until") == true)
        here.give(.look(isGone: false))
        #expect(here.told.count == 2, "once")
        #expect(here.complete("y", here.token) == nil, "decided by the node whose task it is")
    }

    @Test("One side completed, the other let it be claimed: completed beats claimed, whichever token is higher")
    func completedBeatsClaimed() {
        for completesHere in [true, false] {
            var here = Desk()
            var there = here
            (there.me, there.present, here.present) = (bob, [bob, cyd], [ada])
            _ = here.claim("x")
            _ = there.claim("y")
            let lost = completesHere ? there.token! : here.token!
            if completesHere { _ = here.complete("x", here.token) } else { _ = there.complete("y", there.token) }
            here.merge(there)
            there.merge(here)
            (here.present, there.present, there.decides) = ([ada, bob, cyd], [ada, bob, cyd], false)
            let (winner, loser) = completesHere ? ("x", "y") : ("y", "x")
            for desk in [here, there] {
                #expect(desk.state.status == .completed && desk.agent == winner)
                #expect(desk.decider.conflicts(sinceMs: 0).map(\.detail) == ["x, y"])
            }
            here.give(.look(isGone: false))
            there.give(.look(isGone: false))
            #expect((completesHere ? there : here).told.last == "TaskRevoked \(loser)")
            #expect((here.told + there.told).filter { $0.hasPrefix("TaskRevoked") }.count == 1)
            here.merge(there)
            let stale = here.complete(loser, lost)
            #expect(
                stale?.status == 409 && stale?.message.contains("completed by \(winner)") == true,
                "\(stale?.message ?? "")")
        }
    }

    @Test("Both sides completed it: both worked, the result under the higher token counts, and the other is told")
    func bothComplete() {
        var here = Desk()
        var there = here
        (there.me, there.present, here.present) = (bob, [bob, cyd], [ada])
        for (agent, isHere) in [("x", true), ("y", false)] {
            if isHere {
                _ = here.claim(agent)
                _ = here.complete(agent, here.token)
            } else {
                _ = there.claim(agent)
                _ = there.complete(agent, there.token)
            }
        }
        here.merge(there)
        there.merge(here)
        (here.present, there.present, there.decides) = ([ada, bob, cyd], [ada, bob, cyd], false)
        for desk in [here, there] { #expect(desk.decider.conflicts(sinceMs: 0).map(\.detail) == ["x, y"]) }
        here.give(.look(isGone: false))
        there.give(.look(isGone: false))
        #expect(here.told.last == "TaskRevoked x" && there.told.last == "TaskCompleted y." && here.agent == "y")
        here.give(.look(isGone: false))
        #expect(here.told.count == 3, "once")
    }

    @Test("Reputation is the slots of a PN-counter")
    func reputation() {
        func field(_ name: String, _ value: String) -> DocumentMap.Field {
            DocumentMap.Field(
                name: name, value: Array(value.utf8), stamp: HybridTimestamp(milliseconds: 1, replica: ada))
        }
        let found = Reputation([
            field("completed/\(ada)", "5"), field("completed/\(bob)", "2"), field("failed/\(ada)", "3"),
            field("up/\(bob)", "1"), field("down/\(cyd)", "4"), field("down/nobody", "9"), field("up/\(cyd)", "-1"),
            field("up/\(ada)", "99999999999999999999"), field("other", "1"),
        ])
        #expect(found[.completed] == 7 && found[.failed] == 3 && found[.up] == 1 && found[.down] == 4)
        var counter = PNCounter()
        for (amount, node) in [(5, ada), (2, bob), (-3, ada), (1, bob), (-4, cyd)] as [(Int64, ReplicaID)] {
            counter.add(amount, by: node)
        }
        #expect(found.score == counter.value && found.score == 1)
    }

    @Test("A task keeps what a client says besides, but not what only the node can say")
    func keptTerms() {
        let all = terms(
            "\"colour\":\"red\",\"status\":\"completed\",\"token\":9,\"skills_required\":[\"a\",\"a\"],\"strict\":true")
        #expect(all.extras.map(\.key) == ["colour"] && all.skills == ["a"] && all.strict)
        #expect(TaskTerms(document: all.json.encoded()) == all)
        for wrong in ["", "{}", "{\"id\":\"t\"}", "[]"] { #expect(TaskTerms(document: Array(wrong.utf8)) == nil) }
    }
}
