/// `simulate`: plays stories and random weather against the production node core, from a seed.
@main
enum Command {
    static let usage = """
        simulate: whole clusters of Hypha in one process, on a virtual network, decided by one seed

          simulate list                               the stories and what they promise
          simulate run <story> [--seed N] [--trace]   plays one story; --trace prints every input and effect
              --keep PLAN     plays this weather in place of the seed's; as printed for a failure
          simulate sweep [--seeds N] [--from M]       the seeds that failed once, each story, then N seeds of weather
          simulate <seed>                             repeats one seed of a sweep
          simulate hash <story> [--seed N]            prints the hash of the trace, and nothing else
          simulate flips [--count N] [--from M]       single bits flipped in data directories, each followed by a start
          simulate cost [--write FILE]                what 3 to 300 peers cost; simulate cost --help
          simulate mutants [NAME…] [--seeds N]        breaks the node on purpose in each way that is kept, builds it,
                                                      and shows which promise of a sweep notices (about a minute each)

        A sweep takes --jobs N as well: so many runs side by side (as many as processors, unless told); --story S: N
        seeds of that story and nothing else; and --first: it stops at the first broken promise, in words for machines.
        A run and a sweep take --report FILE.html: a page that draws the run, or the first that failed; and --no-shrink:
        a failing run is printed as it came, not made smaller first.
        Exit status: 0 when every promise held, 1 when one was broken, 2 when the command was not understood.
        """

    static func main() async {
        var arguments = Arguments(Terminal.arguments)
        do throws(Misunderstood) {
            switch arguments.word() {
            case nil, "help"?, "--help"?, "-h"?: print(usage)
            case "list"?: list()
            case "run"?:
                let story = try arguments.story()
                let seed = try arguments.number("--seed") ?? 1
                let keep = try arguments.plan("--keep")
                if keep != nil, story.init().plan == nil { throw Misunderstood("\(story.name) has no weather to keep") }
                let manner = try Manner(&arguments)
                try arguments.end()
                finish(play(story, seed, keep, manner))
            case "hash"?:
                let story = try arguments.story()
                let seed = try arguments.number("--seed") ?? 1
                try arguments.end()
                print(String(Outcome.of(story, seed: seed).hash, radix: 16))
            case "sweep"?:
                var sweep = Sweep(
                    story: try arguments.named("--story"),
                    count: try arguments.number("--seeds") ?? 100, from: try arguments.number("--from") ?? 1,
                    jobs: Int(try arguments.number("--jobs") ?? UInt64(Terminal.processors)))
                sweep.shrinks = !arguments.flag("--no-shrink")
                sweep.page = try arguments.text("--report")
                let isFirst = arguments.flag("--first")
                try arguments.end()
                finish(isFirst ? try await sweep.untilBroken() : await sweep.run())
            case "flips"?:
                let flips = Flips(
                    count: Int(try arguments.number("--count") ?? 10_000), from: try arguments.number("--from") ?? 1)
                try arguments.end()
                finish(flips.run())
            case "cost"?:
                if arguments.flag("--help") { return print(CostCommand.usage) }
                finish(await (try CostCommand(&arguments)).run())
            case "mutants"?:
                let seeds = try arguments.number("--seeds") ?? 2_000
                let jobs = Int(try arguments.number("--jobs") ?? UInt64(Terminal.processors))
                var names: [String] = []
                while let name = arguments.word() { names.append(name) }
                finish(try hunt(Hunt(names: names, seeds: seeds, jobs: jobs)))
            case let word?:
                guard let seed = UInt64(word) else { throw Misunderstood("there is no command \"\(word)\"") }
                let manner = try Manner(&arguments)
                try arguments.end()
                finish(play(Storm.self, seed, nil, manner))
            }
        } catch {
            Terminal.complain("simulate: \(error.text); see simulate --help")
            Terminal.exit(2)
        }
    }

    private static func hunt(_ hunt: Hunt) throws(Misunderstood) -> Bool {
        do throws(Mutant.Problem) { return try hunt.run() } catch { throw Misunderstood(error.text) }
    }

    private static func finish(_ passed: Bool) { if !passed { Terminal.exit(1) } }

    private static func list() {
        for story in Scenarios.all {
            print(story.name + String(repeating: " ", count: 22 - story.name.utf8.count) + story.promise)
        }
    }

    /// How a run is shown.
    private struct Manner {
        let detail: Trace.Detail
        let shrinks: Bool
        let page: String?

        init(_ arguments: inout Arguments) throws(Misunderstood) {
            detail = arguments.flag("--trace") ? .everything : .none
            shrinks = !arguments.flag("--no-shrink")
            page = try arguments.text("--report")
        }
    }

    private static func play(_ story: any Scenario.Type, _ seed: UInt64, _ keep: Plan?, _ manner: Manner) -> Bool {
        let outcome = Outcome.of(story, seed: seed, keep: keep, detail: manner.detail)
        if outcome.violation != nil {
            print(Report.failure(Explanation(outcome, shrinks: manner.shrinks)))
        } else {
            print(Report.success(outcome))
        }
        if let page = manner.page { Report.write(outcome, to: page) }
        return outcome.violation == nil
    }
}
