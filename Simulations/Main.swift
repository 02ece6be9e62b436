/// `simulate`: plays stories and random weather against the production node core, from a seed.
@main
enum Command {
    static let usage = """
        simulate: whole clusters of Hypha in one process, on a virtual network, decided by one seed

          simulate list                               the stories and what they promise
          simulate run <story> [--seed N] [--trace]   plays one story; --trace prints every input and effect
          simulate sweep [--seeds N] [--from M]       the seeds that failed once, each story, then N seeds of weather
          simulate <seed>                             repeats one seed of a sweep
          simulate hash <story> [--seed N]            prints the hash of the trace, and nothing else

          simulate mutants [NAME…] [--seeds N]        breaks the node on purpose in each way that is kept, builds it,
                                                      and shows which promise of a sweep notices (about a minute each)

        A sweep takes --jobs N as well: so many runs side by side (as many as processors, unless told); --story S: N
        seeds of that story and nothing else; and --first: it stops at the first broken promise, in words for machines.
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
                let detail: Trace.Detail = arguments.flag("--trace") ? .everything : .none
                try arguments.end()
                finish(play(story, seed, detail))
            case "hash"?:
                let story = try arguments.story()
                let seed = try arguments.number("--seed") ?? 1
                try arguments.end()
                print(String(Outcome.of(story, seed: seed).hash, radix: 16))
            case "sweep"?:
                let sweep = Sweep(
                    story: try arguments.named("--story"),
                    count: try arguments.number("--seeds") ?? 100, from: try arguments.number("--from") ?? 1,
                    jobs: Int(try arguments.number("--jobs") ?? UInt64(Terminal.processors)))
                let isFirst = arguments.flag("--first")
                try arguments.end()
                finish(isFirst ? try await sweep.untilBroken() : await sweep.run())
            case "mutants"?:
                let seeds = try arguments.number("--seeds") ?? 2_000
                let jobs = Int(try arguments.number("--jobs") ?? UInt64(Terminal.processors))
                var names: [String] = []
                while let name = arguments.word() { names.append(name) }
                finish(try hunt(Hunt(names: names, seeds: seeds, jobs: jobs)))
            case let word?:
                guard let seed = UInt64(word) else { throw Misunderstood("there is no command \"\(word)\"") }
                let detail: Trace.Detail = arguments.flag("--trace") ? .everything : .none
                try arguments.end()
                finish(play(Storm.self, seed, detail))
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

    private static func play(_ story: any Scenario.Type, _ seed: UInt64, _ detail: Trace.Detail) -> Bool {
        let outcome = Outcome.of(story, seed: seed, detail: detail)
        if outcome.violation != nil {
            print(Report.failure(Outcome.of(story, seed: seed, detail: .lastLines)))
            return false
        }
        print(Report.success(outcome))
        return true
    }
}

/// A command line that cannot be followed, and why.
struct Misunderstood: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

/// The words of the command line that are not used up yet.
struct Arguments {
    private var rest: [String]

    init(_ words: [String]) { rest = words }

    /// The next word.
    mutating func word() -> String? { rest.isEmpty ? nil : rest.removeFirst() }

    /// The next word, which names a story.
    mutating func story() throws(Misunderstood) -> any Scenario.Type {
        guard let name = word() else { throw Misunderstood("which story? `simulate list` names them") }
        guard let story = Scenarios.named(name) else { throw Misunderstood("there is no story \"\(name)\"") }
        return story
    }

    /// The story named behind the option; nil when it was not given.
    mutating func named(_ option: String) throws(Misunderstood) -> (any Scenario.Type)? {
        guard let place = rest.firstIndex(of: option) else { return nil }
        var value = Arguments(Array(rest[(place + 1)...].prefix(1)))
        let story = try value.story()
        rest.removeSubrange(place...place + 1)
        return story
    }

    /// Whether the option was given.
    mutating func flag(_ name: String) -> Bool {
        guard let place = rest.firstIndex(of: name) else { return false }
        rest.remove(at: place)
        return true
    }

    /// The number behind the option; nil when it was not given.
    mutating func number(_ name: String) throws(Misunderstood) -> UInt64? {
        guard let place = rest.firstIndex(of: name) else { return nil }
        guard place + 1 < rest.count, let number = UInt64(rest[place + 1]), number > 0 else {
            throw Misunderstood("\(name) needs a whole number above 0")
        }
        rest.removeSubrange(place...place + 1)
        return number
    }

    /// Everything must be used up.
    func end() throws(Misunderstood) {
        if let word = rest.first { throw Misunderstood("\"\(word)\" was not expected here") }
    }
}
