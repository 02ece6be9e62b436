/// A line of a file that breaks a rule of the house, and what to write instead.
struct Offence: Equatable, CustomStringConvertible {
    let file: String
    let line: Int
    let found: String
    let instead: String

    var description: String { "\(file):\(line): \(found); \(instead)" }
}

/// A file as the rules see it: its path from the root of the repository, and its lines.
struct Page {
    let path: String
    let lines: [String]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    /// Lines with their numbers, without comments and without what stands in string literals: what the compiler acts
    /// on. Interpolations go with their strings; a rule that matters would be broken elsewhere too.
    var code: [(number: Int, text: String)] {
        var inText = false
        return lines.enumerated().map { index, line in
            // A multi-line literal begins and ends with three quotes, each time on a line of its own or the last word.
            let fences = line.components(of: "\"\"\"")
            defer { if fences.isMultiple(of: 2) == false { inText.toggle() } }
            return (index + 1, inText || fences > 0 ? "" : withoutStringsAndComment(line))
        }
    }
}

private func withoutStringsAndComment(_ line: String) -> String {
    var kept = ""
    var inString = false
    var escaped = false
    var previous: Character = " "
    for character in line {
        if inString {
            if character == "\"", !escaped { inString = false }
            escaped = character == "\\" && !escaped
        } else if character == "\"" {
            inString = true
        } else {
            if character == "/", previous == "/" { return String(kept.dropLast()) }
            kept.append(character)
        }
        previous = character
    }
    return kept
}

extension String {
    /// How often `part` stands in this text.
    fileprivate func components(of part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }

    /// Whether `word` stands here with no letter, digit or underscore at either side.
    fileprivate func hasWord(_ word: String) -> Bool {
        var rest = self[...]
        while let range = rest.firstRange(of: word) {
            let before = range.lowerBound == startIndex ? " " : self[index(before: range.lowerBound)]
            let after = range.upperBound == endIndex ? " " : self[range.upperBound]
            if !before.isPartOfName, !after.isPartOfName { return true }
            rest = rest[range.upperBound...]
        }
        return false
    }
}

extension Character {
    fileprivate var isPartOfName: Bool { isLetter || isNumber || self == "_" }
}

/// The rules of the house, each a pure function over the text of one file.
enum Rules {
    /// Every rule on one file.
    static func offences(_ page: Page) -> [Offence] {
        imports(page) + outsideWorld(page) + dependencies(page) + length(page) + marks(page)
    }

    // MARK: One-way imports

    /// What the files of a directory may import besides the standard library. The longest prefix that fits counts.
    static let mayImport: [(directory: String, modules: Set<String>)] = [
        ("Sources/CRDT/", []),
        ("Sources/Gossip/", ["CRDT"]),
        ("Sources/Node/Core/", ["CRDT", "Gossip"]),
        ("Sources/Node/", ["CRDT", "Gossip", "NodeCore", "Transport", "CEpoll", "Glibc", "Synchronization"]),
        ("Sources/Transport/", ["CEpoll", "Glibc", "Synchronization"]),
        ("Simulations/", ["CRDT", "Gossip", "NodeCore"]),
        ("Simulations/Harness/Terminal.swift", ["Glibc"]),
        ("Simulations/Mutants/Workshop.swift", ["Glibc"]),
        ("Tests/CRDTTests/", ["CRDT", "Testing", "Foundation"]),
        ("Tests/GossipTests/", ["CRDT", "Gossip", "Testing", "Foundation"]),
        ("Tests/NodeCoreTests/", ["CRDT", "Gossip", "NodeCore", "Testing", "Foundation"]),
        (
            "Tests/NodeTests/",
            ["CRDT", "Gossip", "NodeCore", "Transport", "Node", "Testing", "Foundation", "Glibc", "Synchronization"]
        ),
        ("Tests/SimulationTests/", ["CRDT", "Gossip", "NodeCore", "Simulate", "Testing", "Foundation"]),
        ("Tests/TransportTests/", ["Transport", "Testing", "Foundation", "Glibc", "Synchronization"]),
        ("Tests/TidyTests/", ["Testing", "Foundation"]),
    ]

    /// Arrows point one way: CRDT <- Gossip <- NodeCore <- Node, and Transport <- Node. No Foundation outside tests.
    static func imports(_ page: Page) -> [Offence] {
        guard page.path.hasSuffix(".swift"), page.path != "Package.swift" else { return [] }
        guard let row = mayImport.filter({ page.path.hasPrefix($0.directory) }).max(by: { $0.directory < $1.directory })
        else {
            return [
                Offence(
                    file: page.path, line: 1, found: "no rule says what this directory may import",
                    instead: "add its row to Rules.mayImport")
            ]
        }
        return page.code.compactMap { line in
            guard let module = importedModule(line.text), !row.modules.contains(module) else { return nil }
            let instead =
                module.hasPrefix("Foundation")
                ? "use the standard library; JSON, dates and numbers for the hot path are ours (JSON in NodeCore)"
                : "\(row.directory) may import \(row.modules.isEmpty ? "nothing" : row.modules.sorted().joined(separator: ", "))"
                    + "; hand in what is needed as a value, or move the code to where the arrow allows it"
            return Offence(file: page.path, line: line.number, found: "imports \(module)", instead: instead)
        }
    }

    /// The module that a line imports: `public import struct A.B` imports A.
    static func importedModule(_ line: String) -> String? {
        let words = line.split(whereSeparator: \.isWhitespace)
        guard let place = words.firstIndex(of: "import"), place + 1 < words.count,
            words[..<place].allSatisfy({ $0.hasPrefix("@") || accessLevels.contains(String($0)) })
        else { return nil }
        let kinds: Set = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
        let rest = words[(place + 1)...].drop { kinds.contains(String($0)) }
        return rest.first?.split(separator: ".").first.map(String.init)
    }

    private static let accessLevels: Set = ["public", "internal", "package", "private", "fileprivate"]

    // MARK: No outside world in what decides

    /// Directories whose code is a function of its inputs, in the node and in the simulator alike.
    static let pure = ["Sources/CRDT/", "Sources/Gossip/", "Sources/Node/Core/", "Simulations/"]

    private static let time = "time is a parameter: take `now: Instant`, or milliseconds from the caller"
    private static let chance = "chance is a parameter: draw from a seeded `Dice`"
    private static let world = "the core asks with an effect and is told with an input; the shell has sockets and files"

    /// What must not stand in a pure directory, and what to use instead.
    static let outside: [(word: String, instead: String)] = [
        ("ContinuousClock", time), ("SuspendingClock", time), ("Date", time), ("DispatchTime", time),
        ("clock_gettime", time), ("gettimeofday", time), ("time(nil)", time), ("Task.sleep", time), ("usleep", time),
        ("nanosleep", time),
        ("SystemRandomNumberGenerator", chance), ("getentropy", chance), ("getrandom", chance), ("arc4random", chance),
        ("drand48", chance), (".shuffled()", chance), (".shuffle()", chance), (".randomElement()", chance),
        ("Bool.random()", chance), ("UUID()", chance),
        (".hashValue", "hashes differ from process to process: use XXH64"),
        ("Thread", world), ("Task", world), ("print", "log with an effect: `.log(level, text)`"),
    ]

    /// No clock, no system randomness, no I/O where the same inputs must give the same effects.
    static func outsideWorld(_ page: Page) -> [Offence] {
        guard pure.contains(where: page.path.hasPrefix), page.path.hasSuffix(".swift") else { return [] }
        let mayPrint = page.path.hasPrefix("Simulations/")
        return page.code.flatMap { line in
            var found = outside.filter { entry in
                if entry.word == "print", mayPrint { return false }
                if entry.word == "Task", line.text.hasWord("Task.sleep") { return false }
                return entry.word.first == "." ? line.text.contains(entry.word) : line.text.hasWord(entry.word)
            }
            if line.text.contains(".random(in:"), !line.text.contains("using:") {
                found.append((".random(in:) without using:", chance))
            }
            return found.map { Offence(file: page.path, line: line.number, found: $0.word, instead: $0.instead) }
        }
    }

    // MARK: The house

    /// Everything is in this repository: no SwiftPM packages.
    static func dependencies(_ page: Page) -> [Offence] {
        guard page.path == "Package.swift" else { return [] }
        return page.code.compactMap { line in
            guard line.text.contains(".package(") else { return nil }
            return Offence(
                file: page.path, line: line.number, found: "depends on a package",
                instead: "write what is needed; Hypha is built with the toolchain and glibc alone")
        }
    }

    /// The most lines a file may have.
    static let longest = 700

    /// A file that grows past the bound usually hides two nouns.
    static func length(_ page: Page) -> [Offence] {
        let count = page.lines.count - (page.lines.last == "" ? 1 : 0)
        guard count > longest else { return [] }
        return [
            Offence(
                file: page.path, line: count, found: "\(count) lines",
                instead: "find the second noun in it and give it a file")
        ]
    }

    /// Marks of unfinished work, in code and comments alike. Put together here, so that this file passes itself.
    static let unfinished = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]

    /// What is not finished is finished or left out, and said in the changelog; a mark in the code is neither.
    static func marks(_ page: Page) -> [Offence] {
        page.lines.enumerated().flatMap { index, line in
            unfinished.filter(line.hasWord).map {
                Offence(
                    file: page.path, line: index + 1, found: $0, instead: "finish it, or say in an issue what is left")
            }
        }
    }
}
