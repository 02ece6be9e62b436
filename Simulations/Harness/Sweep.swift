/// Many runs: the seeds that failed once, every story, and random weather.
struct Sweep: Sendable {
    /// The only story to play; nil for everything.
    let story: (any Scenario.Type)?
    let count: UInt64
    let from: UInt64
    let jobs: Int
    /// Where the seeds are kept that failed once: a line each, "story seed", and what was wrong behind a #.
    static let seedsFile = "Simulations/Seeds.txt"

    /// So many failures are reported whole; of the others, how to see them again.
    private static let reported = 5

    struct Run: Sendable {
        let story: String
        let seed: UInt64
        let why: String
    }

    /// Runs everything, prints a report, and says whether every promise held.
    func run() async -> Bool {
        let runs: [Run]
        do { runs = try plan() } catch {
            Terminal.complain("simulate: \(error.text)")
            return false
        }
        var tally = Tally()
        var failed: [Run] = []
        var virtualMs: UInt64 = 0
        var passed: [String: Int] = [:]
        await withTaskGroup(of: (Int, Outcome).self) { group in
            var next = 0
            func start() {
                guard next < runs.count else { return }
                let (place, run) = (next, runs[next])
                next += 1
                group.addTask { (place, Outcome.of(Scenarios.named(run.story)!, seed: run.seed)) }
            }
            for _ in 0..<jobs { start() }
            while let (place, outcome) = await group.next() {
                start()
                tally.add(outcome.tally)
                virtualMs += outcome.virtualMs
                guard outcome.violation != nil else {
                    passed[runs[place].why, default: 0] += 1
                    continue
                }
                failed.append(runs[place])
                guard failed.count <= Sweep.reported else { continue }
                // A run that failed is played again with its trace written down: that costs nothing while all is well.
                let again = Outcome.of(Scenarios.named(outcome.scenario)!, seed: outcome.seed, detail: .lastLines)
                print(Report.failure(again, isTwin: again.hash == outcome.hash))
            }
        }
        print(Report.summary(tally, virtualMs: virtualMs))
        for why in ["seeds that failed once", "stories", "random weather"] {
            let all = runs.count { $0.why == why }
            if all > 0 { print("\(why): \(passed[why] ?? 0) of \(all) passed") }
        }
        print("\(runs.count - failed.count) passed, \(failed.count) failed")
        for run in failed.sorted(by: { ($0.story, $0.seed) < ($1.story, $1.seed) }) {
            print("again: swift run -c release simulate run \(run.story) --seed \(run.seed)")
        }
        return failed.isEmpty
    }

    func plan() throws(Misunderstood) -> [Run] {
        if let story {
            return (from..<from + count).map { Run(story: story.name, seed: $0, why: "stories") }
        }
        var runs: [Run] = []
        for line in Terminal.lines(of: Sweep.seedsFile) ?? [] {
            let words = line.prefix { $0 != "#" }.split(separator: " ")
            if words.isEmpty { continue }
            guard words.count == 2, let seed = UInt64(words[1]), Scenarios.named(String(words[0])) != nil else {
                throw Misunderstood("\(Sweep.seedsFile): \"\(line)\" should be a story and a seed")
            }
            runs.append(Run(story: String(words[0]), seed: seed, why: "seeds that failed once"))
        }
        for story in Scenarios.all where story.name != Storm.name {
            runs.append(Run(story: story.name, seed: from, why: "stories"))
        }
        for seed in from..<from + count { runs.append(Run(story: Storm.name, seed: seed, why: "random weather")) }
        return runs
    }
}

/// What people read after a run.
enum Report {
    static func success(_ outcome: Outcome) -> String {
        "\(outcome.scenario), seed \(outcome.seed): every promise held\n"
            + "world: \(outcome.options)\n\(summary(outcome.tally, virtualMs: outcome.virtualMs))\n"
            + "trace \(String(outcome.hash, radix: 16))"
    }

    static func failure(_ outcome: Outcome, isTwin: Bool = true) -> String {
        var lines = ["", "FAILED: \(outcome.scenario), seed \(outcome.seed)"]
        if let violation = outcome.violation {
            lines += ["broken promise: \(violation.promise)", "seen: \(violation.detail)"]
        }
        if !isTwin {
            lines.append("and the second run went another way than the first: something is not decided by the seed")
        }
        lines += ["world: \(outcome.options)", "after \(outcome.virtualMs) ms; the last events:"]
        lines += outcome.lines.suffix(Trace.kept)
        lines += outcome.complaints.suffix(10).map { "log: \($0)" }
        lines += ["again: \(outcome.again)", ""]
        return lines.joined(separator: "\n")
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
