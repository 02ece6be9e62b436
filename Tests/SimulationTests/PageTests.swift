import Foundation
import Testing

@testable import Simulate

@Suite("A page draws a run")
struct PageTests {
    @Test("Writing a run down changes nothing in it", arguments: ["storm", "two-peers", "graceful-leave"])
    func observing(name: String) throws {
        let story = try #require(Scenarios.named(name))
        let recorder = Recorder()
        let watched = Outcome.of(story, seed: 2, recorder: recorder)
        #expect(watched.hash == Outcome.of(story, seed: 2).hash)
        #expect(recorder.samples.count > 10)
    }

    @Test("The page is one file that loads nothing, and its data are JSON with what happened")
    func page() throws {
        let recorder = Recorder()
        let plan = try Plan(
            text: "peers=3,profile=fast,ms=9000/partition@500:0/heal@5000/step@5100:1:9000/crash@5500:1:700/"
                + "pause@7000:2:300/burst@8000:0.1:0:500:400")
        var outcome = Outcome.of(Storm.self, seed: 3, keep: plan, recorder: recorder)
        outcome.violation = Violation("nobody writes </script> here", "a \"quote\", a \\ and a \u{1}")
        let html = Page.html(outcome, recorder)
        for word in ["http:", "https:", "src=", "<link", "@import", "fetch(", "import("] {
            #expect(!html.contains(word), "\(word) loads something")
        }
        #expect(html.replacing("url(#", with: "").contains("url(") == false)
        #expect(html.split(separator: "</script>").count == 3, "no text ends a script")

        let data = Data(Page.data(outcome, recorder).utf8)
        let run = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let broken = try #require(run["broken"] as? [String: String])
        #expect(broken["detail"] == "a \"quote\", a \\ and a \u{1}")
        let notes = try #require(run["notes"] as? [[String: Any]])
        let kinds = notes.compactMap { $0["kind"] as? String }
        #expect(kinds.count { $0 == "start" } == 4)
        for kind in ["kill", "stop", "cut", "weather"] { #expect(kinds.contains(kind), "\(kind) is missing") }
        let cut = try #require(notes.first { $0["kind"] as? String == "cut" })
        #expect(cut["deaf"] as? [[Int]] == [[1, 2], [0], [0]])
        let samples = try #require(run["samples"] as? [String: [Any]])
        #expect(Set(samples.values.map(\.count)) == [recorder.samples.count])
        #expect((run["plan"] as? [String]) == plan.story)
    }

    @Test("Beliefs are noted as they change: alive, then suspect, then dead across a cut, then alive again")
    func beliefs() throws {
        let recorder = Recorder()
        let plan = try Plan(text: "peers=2,profile=fast,agents=1,ms=9000/partition@500:0/heal@5000")
        let outcome = Outcome.of(Storm.self, seed: 3, keep: plan, recorder: recorder)
        #expect(outcome.violation == nil)
        let changes = recorder.changes.filter { $0.observer == 0 && $0.about == 1 }.map(\.belief)
        #expect(changes == [.alive, .suspect, .dead, .alive])
        #expect(recorder.samples.contains { ($0.missing[0] ?? 0) > 0 }, "the sides diverge")
        #expect(recorder.samples.last?.missing == [0, 0], "and are equal in the end")
    }

    @Test("A long run has no more samples than a page can show, evenly spread")
    func bounds() {
        let cluster = Simulate.Cluster(seed: 1, options: Options())
        let recorder = Recorder()
        while recorder.nextSample < 3_600_000_000 { recorder.sample(cluster, at: recorder.nextSample) }
        #expect((800...1_600).contains(recorder.samples.count))
        let gaps = Set(zip(recorder.samples, recorder.samples.dropFirst()).map { $1.at - $0.at })
        #expect(gaps.count == 1)
    }
}

@Suite("A sweep must have been hard")
struct MinimumsTests {
    @Test("A sweep of 1,000 seeds that lacks a trouble says which; a smaller one may lack anything")
    func lacking() {
        var tally = Tally()
        let demanded = Minimums.per1000Seeds.filter(\.isDemanded)
        #expect(Minimums.lacking(tally, seeds: 1_000).count == demanded.count)
        #expect(Minimums.lacking(tally, seeds: 999).isEmpty)
        for row in demanded { tally.add(row.trouble, row.least) }
        #expect(Minimums.lacking(tally, seeds: 1_000).isEmpty)
        #expect(Minimums.lacking(tally, seeds: 2_000).count == demanded.count)
        tally = Tally()
        for row in demanded.dropFirst() { tally.add(row.trouble, row.least) }
        let least = demanded[0].least
        #expect(
            Minimums.lacking(tally, seeds: 1_000)
                == ["too little trouble: 0 \(demanded[0].trouble.rawValue), at least \(least) are needed"])
    }

    @Test("Each trouble has one row and one metric at most, and every fault of the menu is demanded")
    func table() {
        let rows = Minimums.per1000Seeds.map(\.trouble)
        #expect(Set(rows).count == rows.count)
        #expect(Set(Trouble.metrics.map(\.trouble)).count == Trouble.metrics.count)
        #expect(Trouble.metrics.allSatisfy { $0.metric.hasPrefix("hypha_") && $0.metric.hasSuffix("_total") })
        let faults: [Trouble] = [
            .partitions, .oneWayCuts, .bridges, .crashes, .pauses, .leaves, .joins, .clockSteps, .driftChanges, .bursts,
            .slowLinks, .clones,
        ]
        #expect(Set(rows).isSuperset(of: faults))
    }
}
