internal import Gossip

/// How one run of one story went.
struct Outcome: Sendable {
    var scenario: String
    var seed: UInt64
    var options: Options
    var violation: Violation?
    var tally = Tally()
    var hash: UInt64 = 0
    var virtualMs: UInt64 = 0
    /// The last lines of the written trace, if it was asked for.
    var lines: [String] = []
    /// What nodes logged as warnings or errors.
    var complaints: [String] = []
    /// What the story measured, for people.
    var figures: [String] = []
    /// The weather that was played, where it was drawn.
    var plan: Plan?
    /// Whether that weather is another than the seed's own.
    var isKept = false

    /// Plays a story from its seed; with the weather `keep` in place of what the seed draws. What a recorder writes
    /// down changes nothing in the run.
    static func of(
        _ scenario: any Scenario.Type, seed: UInt64, keep: Plan? = nil, detail: Trace.Detail = .none,
        recorder: Recorder? = nil
    ) -> Outcome {
        var story = scenario.init()
        story.prepare(seed: seed, keep: keep)
        var dice = Dice(seed: (seed, 0x6f_7074_696f_6e73, 0, 0))
        let options = story.options(&dice)
        let cluster = Cluster(seed: seed, options: options, detail: detail)
        cluster.recorder = recorder
        var violation: Violation?
        do throws(Violation) { try story.run(cluster) } catch { violation = error }
        recorder?.end(cluster, violation)
        return Outcome(
            scenario: scenario.name, seed: seed, options: options, violation: violation, tally: cluster.tally,
            hash: cluster.trace.hash, virtualMs: cluster.now / 1_000, lines: cluster.trace.lines,
            complaints: cluster.complaints, figures: cluster.figures, plan: story.plan, isKept: keep != nil)
    }

    /// What to type to see it again.
    var again: String {
        let command = "swift run -c release simulate run \(scenario) --seed \(seed)"
        guard isKept, let plan else { return command }
        return "\(command) --keep \(plan.text)"
    }
}

/// A failure as it is explained: made as small as possible first, where the weather can be.
struct Explanation: Sendable {
    /// The run as it came.
    let original: Outcome
    /// The smallest run that breaks the same promise, with its last lines; the original itself where it cannot shrink.
    let smallest: Outcome
    /// How often a smaller run was tried.
    let replays: Int

    /// Whether the last replay went as the run did that it repeats.
    var isTwin: Bool { smallest.plan != original.plan || smallest.hash == original.hash }
}

extension Explanation {
    /// Plays a failed run again, smaller and smaller unless told not to.
    init(_ outcome: Outcome, shrinks: Bool, budget: Int = Shrinker.budget) {
        original = outcome
        let story = Scenarios.named(outcome.scenario)!
        var keep = outcome.isKept ? outcome.plan : nil
        var count = 0
        if shrinks, let plan = outcome.plan, let violation = outcome.violation {
            var shrinker = Shrinker(plan, violation, budget: budget) {
                Outcome.of(story, seed: outcome.seed, keep: $0).violation
            }
            shrinker.shrink()
            if shrinker.plan != plan { keep = shrinker.plan }
            count = shrinker.replays
        }
        replays = count
        smallest = Outcome.of(story, seed: outcome.seed, keep: keep, detail: .lastLines)
    }
}
