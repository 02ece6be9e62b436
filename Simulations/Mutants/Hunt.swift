/// `simulate mutants`: breaks the node on purpose, one fault at a time, and shows which promise of a sweep notices.
struct Hunt {
    /// What became of one mutant.
    enum Verdict {
        /// A promise was broken at this run of the sweep, counted from 1.
        case caught(run: Int, story: String, seed: UInt64, promise: String, detail: String)
        /// The node stopped itself, or ran in a circle, after so many runs that passed.
        case died(after: Int, how: String)
        case notCaught(runs: Int)
        /// It could not be tried.
        case unusable(String)
    }

    /// The only mutants to try; all when empty.
    let names: [String]
    /// How many seeds of weather a mutant may survive.
    let seeds: UInt64
    let jobs: Int

    /// Where the broken node is built, from the root of the repository: never in the sources themselves.
    private static let place = ".build/mutants"
    /// A run takes a tenth of a second; one that takes minutes runs in a circle.
    private static let patience: Int32 = 90
    /// Nothing is printed while a module is compiled.
    private static let buildPatience: Int32 = 900

    /// Every mutant that is kept, in order.
    static func kept() throws(Mutant.Problem) -> [Mutant] {
        guard let files = Workshop.names(in: Mutant.directory)?.filter({ $0.hasSuffix(".txt") }), !files.isEmpty else {
            throw Mutant.Problem(text: "no mutants in \(Mutant.directory); run this from the root of the repository")
        }
        var mutants: [Mutant] = []
        for file in files {
            let text = Terminal.text(of: "\(Mutant.directory)/\(file)") ?? ""
            mutants.append(try Mutant(name: String(file.dropLast(4)), text: text))
        }
        return mutants
    }

    /// Tries them all, prints a line for each and a table at the end, and says whether all were caught.
    func run() throws(Mutant.Problem) -> Bool {
        let all = try Hunt.kept()
        if let stranger = names.first(where: { name in !all.contains { $0.name == name } }) {
            throw Mutant.Problem(text: "there is no mutant \"\(stranger)\" in \(Mutant.directory)")
        }
        // By file, so that from one to the next as few modules as possible are compiled.
        let mutants = (names.isEmpty ? all : all.filter { names.contains($0.name) })
            .sorted { ($0.file, $0.name) < ($1.file, $1.name) }
        // A mutant that no longer fits is said at once, not after an hour of building.
        for mutant in mutants { _ = try mutant.applied(to: Terminal.text(of: mutant.file) ?? "") }
        try copySources()
        var rows: [(mutant: Mutant, verdict: Verdict)] = []
        for mutant in mutants {
            let verdict = try attempt(mutant)
            rows.append((mutant, verdict))
            Terminal.say("\(mutant.name): \(Hunt.words(verdict))")
        }
        Terminal.say(Hunt.table(rows))
        return rows.allSatisfy { row in
            switch row.verdict {
            case .caught, .died: true
            case .notCaught, .unusable: false
            }
        }
    }

    /// A fresh copy of the sources beside the build of the last hunt, so that only what differs is compiled.
    private func copySources() throws(Mutant.Problem) {
        let script = """
            mkdir -p \(Hunt.place) && cd \(Hunt.place) && rm -rf Sources Simulations Tests Package.swift \
            && cp -Rp ../../Sources ../../Simulations ../../Tests ../../Package.swift .
            """
        var last = ""
        let end = Workshop.run(["sh", "-c", script], in: ".", silence: 60) { last = $0 }
        guard end == .exited(0) else { throw Mutant.Problem(text: "cannot copy the sources: \(last)") }
    }

    private func attempt(_ mutant: Mutant) throws(Mutant.Problem) -> Verdict {
        let path = "\(Hunt.place)/\(mutant.file)"
        let whole = Terminal.text(of: path) ?? ""
        guard Terminal.write(try mutant.applied(to: whole), to: path) else { return .unusable("cannot write \(path)") }
        let verdict = build().map { .unusable($0) } ?? sweep()
        guard Terminal.write(whole, to: path) else { throw Mutant.Problem(text: "cannot restore \(path)") }
        return verdict
    }

    /// Builds the broken node; what the compiler complained of, if it did.
    private func build() -> String? {
        var errors: [String] = []
        let words = ["swift", "build", "-c", "release", "--product", "simulate"]
        let end = Workshop.run(words, in: Hunt.place, silence: Hunt.buildPatience) { line in
            if line.contains("error:") { errors.append(line) }
        }
        return end == .exited(0) ? nil : "does not build: \(errors.first ?? "\(end.map { "\($0)" } ?? "no shell")")"
    }

    private func sweep() -> Verdict {
        var passed = 0
        var broken: Sweep.Line?
        var last = ""
        let words = [".build/release/simulate", "sweep", "--first", "--seeds", "\(seeds)", "--jobs", "\(jobs)"]
        let end = Workshop.run(words, in: Hunt.place, silence: Hunt.patience, isBounded: true) { line in
            switch Sweep.Line(line) {
            case .passed(let count)?: passed = count
            case .broken?: broken = Sweep.Line(line)
            case nil: if last.isEmpty { last = line }
            }
        }
        if case .broken(let run, let story, let seed, let promise, let detail)? = broken {
            return .caught(run: run, story: story, seed: seed, promise: promise, detail: detail)
        }
        switch end {
        case .exited(0)?: return .notCaught(runs: passed)
        case .exited(let code)?: return .unusable("the sweep ended with \(code): \(last)")
        case .signalled(let signal)?:
            return .died(after: passed, how: "the node stopped itself (signal \(signal)): \(last)")
        case .hung?: return .died(after: passed, how: "hung: no run ended within \(Hunt.patience) s")
        case nil: return .unusable("the sweep could not be started")
        }
    }

    private static func words(_ verdict: Verdict) -> String {
        switch verdict {
        case .caught(let run, let story, let seed, let promise, let detail):
            "caught after \(run) runs (\(story), seed \(seed)) by: \(promise)\n    seen: \(detail.prefix(200))"
        case .died(let passed, let how): "caught after \(passed + 1) runs: \(how)"
        case .notCaught(let runs): "NOT CAUGHT in \(runs) runs"
        case .unusable(let why): "UNUSABLE: \(why)"
        }
    }

    /// The whole hunt, a line for each mutant.
    private static func table(_ rows: [(mutant: Mutant, verdict: Verdict)]) -> String {
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(1, width - text.count))
        }
        let width = (rows.map(\.mutant.name.count).max() ?? 0) + 2
        var lines = ["", padded("mutant", width) + padded("runs", 7) + "caught by"]
        var caught = 0
        for (mutant, verdict) in rows {
            let (runs, by): (String, String) =
                switch verdict {
                case .caught(let run, let story, let seed, let promise, _): ("\(run)", "\(promise) (\(story) \(seed))")
                case .died(let passed, let how): ("\(passed + 1)", how)
                case .notCaught(let runs): ("\(runs)", "NOT CAUGHT")
                case .unusable(let why): ("-", "UNUSABLE: \(why)")
                }
            switch verdict {
            case .caught, .died: caught += 1
            case .notCaught, .unusable: break
            }
            lines.append(padded(mutant.name, width) + padded(runs, 7) + by)
        }
        lines.append("\(caught) of \(rows.count) mutants caught")
        return lines.joined(separator: "\n")
    }
}
