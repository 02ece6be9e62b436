import Gossip
import Testing

@testable import Simulate

/// Shrinks `plan` under an artificially broken promise: `breaks` says of a plan whether it breaks it.
private func shrunk(_ plan: Plan, budget: Int = 10_000, _ breaks: @escaping (Plan) -> Bool) -> Shrinker {
    var shrinker = Shrinker(plan, Violation("p"), budget: budget) { breaks($0) ? Violation("p", $0.text) : nil }
    shrinker.shrink()
    return shrinker
}

private func count(_ plan: Plan, _ name: String) -> Int { plan.faults.count { $0.fault.words[0] == name } }

/// The first weather with at least two kills, a pause, five peers and three agents.
private var stormy: Plan {
    (1...).lazy.map { Plan(seed: $0) }.first {
        count($0, "crash") >= 2 && count($0, "pause") >= 1 && $0.options.size >= 5 && $0.options.lossRate > 0
            && $0.options.agents >= 3
    }!
}

@Suite("A failing run is made smaller")
struct ShrinkerTests {
    @Test("Only the faults stay that are needed, however far apart; everything else goes")
    func faults() {
        let shrinker = shrunk(stormy) { count($0, "crash") >= 2 && count($0, "pause") >= 1 }
        #expect(count(shrinker.plan, "crash") == 2 && count(shrinker.plan, "pause") == 1)
        #expect(shrinker.plan.faults.count == 3)
        #expect(shrinker.plan.options.size <= 3 && shrinker.plan.options.agents == 0)
        #expect(shrinker.plan.options.lossRate == 0 && shrinker.plan.options.twinRate == 0)
        #expect(shrinker.plan.quietMs < 200 && shrinker.plan.settleMs < 200)
        #expect(shrinker.plan.durationMs < stormy.durationMs)
        #expect(shrinker.violation == Violation("p", shrinker.plan.text), "the violation is that of the smallest run")
    }

    @Test("What is needed of the world stays")
    func world() {
        let size = stormy.options.size
        let shrinker = shrunk(stormy) {
            $0.options.size >= size - 1 && $0.options.lossRate > 0 && $0.options.agents >= 2 && $0.durationMs >= 3_000
        }
        #expect(shrinker.plan.options.size == size - 1 && shrinker.plan.options.agents == 2)
        #expect(shrinker.plan.faults.isEmpty && shrinker.plan.options.lossRate > 0)
        #expect(3_000..<6_000 ~= shrinker.plan.durationMs)
    }

    @Test("A smaller run that breaks another promise is not taken")
    func otherPromise() {
        var shrinker = Shrinker(stormy, Violation("p")) { Violation(count($0, "crash") > 1 ? "p" : "q") }
        shrinker.shrink()
        #expect(count(shrinker.plan, "crash") == 2 && shrinker.violation.promise == "p")
    }

    @Test("The work is bounded, and the same each time")
    func budget() {
        var played = 0
        var shrinker = Shrinker(stormy, Violation("p"), budget: 17) { _ in
            played += 1
            return played % 3 == 0 ? Violation("p") : nil
        }
        shrinker.shrink()
        #expect(played == 17 && shrinker.replays == 17)
        let breaks: (Plan) -> Bool = { count($0, "crash") >= 1 && $0.options.agents > 0 }
        #expect(shrunk(stormy, budget: 60, breaks).plan == shrunk(stormy, budget: 60, breaks).plan)
    }

    @Test("A promise broken on the virtual network shrinks to one fault and two peers at most, and its text breaks it")
    func played() throws {
        let plan = try Plan(
            text: "peers=4,profile=fast,agents=4,loss=0.01,ms=6000/pause@100:1:300/oneway@400:0:1/crash@900:3:400/"
                + "heal@1500/drift@2000:2:50/crash@3500:1:700")
        let play: (Plan) -> Violation? = {
            let outcome = Outcome.of(Storm.self, seed: 5, keep: $0)
            return outcome.violation ?? (outcome.tally[.crashes] > 0 ? Violation("nobody is ever killed") : nil)
        }
        var shrinker = Shrinker(plan, try #require(play(plan)), budget: 120, play: play)
        shrinker.shrink()
        #expect(shrinker.plan.faults.count == 1 && count(shrinker.plan, "crash") == 1)
        // One peer that has a disk is enough; in memory it takes another, which remembers.
        #expect(shrinker.plan.options.size <= 2 && shrinker.plan.options.agents == 0)
        #expect(play(try Plan(text: shrinker.plan.text)) == shrinker.violation)
    }

    @Test("A failure is printed as its smallest run, with both commands")
    func report() throws {
        var original = Outcome.of(Storm.self, seed: 12)
        original.violation = Violation("no event is lost", "one was")
        let plan = try Plan(text: "peers=2,ms=500/crash@30:1:100")
        var smallest = Outcome.of(Storm.self, seed: 12, keep: plan, detail: .lastLines)
        smallest.violation = original.violation
        let report = Report.failure(Explanation(original: original, smallest: smallest, replays: 31))
        for part in [
            "FAILED: storm, seed 12", "broken promise: no event is lost",
            "made smaller in 31 replays: 2 peers, 6 agents",
            "1.030 s  n1 is killed, and starts again after 0.1 s", "world: size 2",
            "again: swift run -c release simulate run storm --seed 12 --keep \(plan.text)\n",
            "again, as it was drawn: swift run -c release simulate run storm --seed 12\n",
        ] {
            #expect(report.contains(part), "\(part) is missing in \(report)")
        }
    }

    @Test("What did not break again is explained as it came, and stories are not shrunk")
    func explanation() {
        var story = Outcome.of(TwoPeers.self, seed: 5)
        story.violation = Violation("p")
        let told = Explanation(story, shrinks: true)
        #expect(told.replays == 0 && told.isTwin && told.smallest.again == story.again)
        var weather = Outcome.of(Storm.self, seed: 6, keep: Plan(), detail: .none)
        weather.violation = Violation("a promise that holds")
        let drawn = Explanation(weather, shrinks: true, budget: 3)
        #expect(drawn.replays == 3 && drawn.smallest.plan == weather.plan && drawn.isTwin)
        #expect(drawn.smallest.again == weather.again)
    }
}
