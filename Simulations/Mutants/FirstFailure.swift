/// A sweep for machines: it stops at the first broken promise, and says how each run went as it ends, so that whoever
/// reads along knows how far it came when the process dies or hangs.
extension Sweep {
    /// One line of such a sweep; tabs between the fields.
    enum Line: Equatable {
        /// So many runs have passed.
        case passed(Int)
        /// This run, counted from 1, broke a promise.
        case broken(run: Int, story: String, seed: UInt64, promise: String, detail: String)

        var text: String {
            switch self {
            case .passed(let count): "passed\t\(count)"
            case .broken(let run, let story, let seed, let promise, let detail):
                "broken\t\(run)\t\(story)\t\(seed)\t\(Line.flat(promise))\t\(Line.flat(detail))"
            }
        }

        /// Reads `text` back; nil for anything else.
        init?(_ text: String) {
            let words = text.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            switch words.first {
            case "passed"? where words.count == 2:
                guard let count = Int(words[1]) else { return nil }
                self = .passed(count)
            case "broken"? where words.count == 6:
                guard let run = Int(words[1]), let seed = UInt64(words[3]) else { return nil }
                self = .broken(run: run, story: words[2], seed: seed, promise: words[4], detail: words[5])
            default: return nil
            }
        }

        private static func flat(_ text: String) -> String {
            String(text.map { $0.isNewline || $0 == "\t" ? " " : $0 }.prefix(400))
        }
    }

    /// Plays runs until one breaks a promise. Says whether none did.
    func untilBroken() async throws(Misunderstood) -> Bool {
        let runs = try plan()
        var passed = 0
        var tally = Tally()
        var broken: (place: Int, outcome: Outcome)?
        await withTaskGroup(of: (Int, Outcome).self) { group in
            var next = 0
            func start() {
                guard next < runs.count, broken == nil else { return }
                let (place, run) = (next, runs[next])
                next += 1
                group.addTask { (place, Outcome.of(Scenarios.named(run.story)!, seed: run.seed, keep: run.keep)) }
            }
            for _ in 0..<jobs { start() }
            while let (place, outcome) = await group.next() {
                tally.add(outcome.tally)
                if outcome.violation == nil {
                    passed += 1
                    Terminal.say(Line.passed(passed).text)
                } else if broken.map({ place < $0.place }) ?? true {
                    // Of those that were under way together the first counts: the answer does not depend on `jobs`.
                    broken = (place, outcome)
                }
                start()
            }
        }
        guard let (place, outcome) = broken, let violation = outcome.violation else {
            // A part of the node that does nothing any more breaks no promise: it is missed here.
            guard let lacking = Minimums.lacking(tally, seeds: story == nil ? count : 0).first else { return true }
            Terminal.say(
                Line.broken(
                    run: passed, story: "sweep", seed: from, promise: "a sweep has enough of each trouble",
                    detail: lacking
                ).text)
            return false
        }
        Terminal.say(
            Line.broken(
                run: place + 1, story: outcome.scenario, seed: outcome.seed, promise: violation.promise,
                detail: violation.detail
            ).text)
        return false
    }
}
