/// Many runs: the seeds that failed once, every story, and random weather.
struct Sweep: Sendable {
    /// The only story to play; nil for everything.
    let story: (any Scenario.Type)?
    let count: UInt64
    let from: UInt64
    let jobs: Int
    /// Whether a failing run is made smaller before it is printed.
    var shrinks = true
    /// Where the page about the first failure goes; nil for nowhere.
    var page: String?
    /// Where the seeds are kept that failed once: a line each, "story seed" and for weather
    /// its plan, so that it stays the same when other weather is drawn; and what was wrong behind a #.
    static let seedsFile = "Simulations/Seeds.txt"

    /// So many failures are reported whole; of the others, how to see them again.
    private static let reported = 5

    struct Run: Sendable {
        let story: String
        let seed: UInt64
        var keep: Plan?
        let why: String

        var again: String {
            let command = "swift run -c release simulate run \(story) --seed \(seed)"
            return keep.map { "\(command) --keep \($0.text)" } ?? command
        }
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
                group.addTask { (place, Outcome.of(Scenarios.named(run.story)!, seed: run.seed, keep: run.keep)) }
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
                let explanation = Explanation(outcome, shrinks: shrinks)
                print(Report.failure(explanation))
                if failed.count == 1, let page { Report.write(explanation.smallest, to: page) }
            }
        }
        print(Report.summary(tally, virtualMs: virtualMs))
        let lacking = Minimums.lacking(tally, seeds: story == nil ? count : 0)
        for line in lacking { print(line) }
        for why in ["seeds that failed once", "stories", "random weather"] {
            let all = runs.count { $0.why == why }
            if all > 0 { print("\(why): \(passed[why] ?? 0) of \(all) passed") }
        }
        print("\(runs.count - failed.count) passed, \(failed.count) failed")
        for run in failed.sorted(by: { ($0.story, $0.seed) < ($1.story, $1.seed) }) {
            print("again: \(run.again)")
        }
        return failed.isEmpty && lacking.isEmpty
    }

    func plan() throws(Misunderstood) -> [Run] {
        if let story {
            return (from..<from + count).map { Run(story: story.name, seed: $0, why: "stories") }
        }
        var runs: [Run] = []
        for line in Terminal.lines(of: Sweep.seedsFile) ?? [] {
            let words = line.prefix { $0 != "#" }.split(separator: " ")
            if words.isEmpty { continue }
            guard 2...3 ~= words.count, let seed = UInt64(words[1]), let story = Scenarios.named(String(words[0])),
                words.count == 2 || story.init().plan != nil
            else {
                throw Misunderstood("\(Sweep.seedsFile): \"\(line)\" should be a story, a seed, and a plan or none")
            }
            let keep = words.count == 3 ? try Plan(text: String(words[2])) : nil
            runs.append(Run(story: story.name, seed: seed, keep: keep, why: "seeds that failed once"))
        }
        for story in Scenarios.all where story.name != Storm.name && !story.isLong {
            runs.append(Run(story: story.name, seed: from, why: "stories"))
        }
        for seed in from..<from + count { runs.append(Run(story: Storm.name, seed: seed, why: "random weather")) }
        return runs
    }
}
