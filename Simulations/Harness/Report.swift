/// What people read after a run.
enum Report {
    static func success(_ outcome: Outcome) -> String {
        "\(outcome.scenario), seed \(outcome.seed): every promise held\n"
            + "world: \(outcome.options)\n\(outcome.figures.map { $0 + "\n" }.joined())\(summary(outcome.tally, virtualMs: outcome.virtualMs))\n"
            + "trace \(String(outcome.hash, radix: 16))"
    }

    /// A failure: what was broken, by what weather, the last events, and what to type to see it again.
    static func failure(_ explanation: Explanation) -> String {
        let (original, smallest) = (explanation.original, explanation.smallest)
        var lines = ["", "FAILED: \(smallest.scenario), seed \(smallest.seed)"]
        if let violation = smallest.violation {
            lines += ["broken promise: \(violation.promise)", "seen: \(violation.detail)"]
        }
        if !explanation.isTwin {
            lines.append("and the second run went another way than the first: something is not decided by the seed")
        }
        let isSmaller = smallest.plan != original.plan
        if let before = original.plan, let plan = smallest.plan {
            lines.append(
                isSmaller
                    ? "drawn: \(before.size); made smaller in \(explanation.replays) replays: \(plan.size)"
                    : "drawn: \(plan.size)")
            lines += plan.story
        }
        lines += smallest.figures
        lines += ["world: \(smallest.options)", "after \(smallest.virtualMs) ms; the last events:"]
        lines += smallest.lines.suffix(Trace.kept)
        lines += smallest.complaints.suffix(10).map { "log: \($0)" }
        lines.append("again: \(smallest.again)")
        if isSmaller { lines.append("again, as it was drawn: \(original.again)") }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Plays a run once more with a recorder and writes the page about it.
    static func write(_ outcome: Outcome, to path: String) {
        let recorder = Recorder()
        let again = Outcome.of(
            Scenarios.named(outcome.scenario)!, seed: outcome.seed, keep: outcome.isKept ? outcome.plan : nil,
            recorder: recorder)
        guard Terminal.write(Page.html(again, recorder), to: path) else {
            return Terminal.complain("simulate: \(path) cannot be written")
        }
        print("drawn: \(path)")
    }

    /// How much of each trouble there was.
    static func summary(_ tally: Tally, virtualMs: UInt64) -> String {
        var lines = ["\(virtualMs / 1_000) s of virtual time:"]
        for trouble in Trouble.allCases where tally[trouble] > 0 {
            let count = String(tally[trouble])
            lines.append(String(repeating: " ", count: max(1, 12 - count.utf8.count)) + count + "  " + trouble.rawValue)
        }
        return lines.joined(separator: "\n")
    }
}
