import Foundation
import Testing

/// The repository's root, from where this file stands.
private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

/// Every file the rules are for: Swift and C headers of the program, Python of its tests, and scripts.
private func pages() throws -> [Page] {
    var paths = ["Package.swift", ".ci/run"]
    for directory in ["Sources", "Simulations", "Tests"] {
        let inside = FileManager.default.enumerator(atPath: root.appending(path: directory).path(percentEncoded: false))
        while let path = inside?.nextObject() as? String {
            if [".swift", ".py", ".h"].contains(where: path.hasSuffix) { paths.append("\(directory)/\(path)") }
        }
    }
    return try paths.map { path in
        Page(path: path, text: try String(contentsOf: root.appending(path: path), encoding: .utf8))
    }
}

@Test("Every file keeps the rules of the house")
func wholeHouse() throws {
    let pages = try pages()
    for directory in ["Sources/CRDT/", "Sources/Gossip/", "Sources/Node/Core/", "Simulations/", "Tests/TidyTests/"] {
        #expect(pages.contains { $0.path.hasPrefix(directory) }, "\(directory) was not looked at")
    }
    for offence in pages.flatMap(Rules.offences) { Issue.record("\(offence)") }
}

/// One bad line in one file, and whether the rules refuse it.
struct Sample: Sendable, CustomTestStringConvertible {
    let path: String
    let text: String
    let isRefused: Bool

    static func refused(_ path: String, _ text: String) -> Sample { Sample(path: path, text: text, isRefused: true) }
    static func fine(_ path: String, _ text: String) -> Sample { Sample(path: path, text: text, isRefused: false) }

    var testDescription: String { "\(isRefused ? "refused" : "fine") in \(path): \(text.prefix(60))" }
}

@Test(
    "Each rule refuses what it is for, and lets pass what only looks like it",
    arguments: [
        .refused("Sources/Node/Main.swift", "import Foundation"),
        .refused("Sources/Transport/A.swift", "internal import FoundationEssentials"),
        .refused("Simulations/A.swift", "@preconcurrency import Foundation"),
        .refused("Sources/CRDT/A.swift", "import struct Foundation.Date"),
        .fine("Sources/CRDT/A.swift", "// import Foundation"),
        .fine("Tests/TidyTests/A.swift", "import Foundation"),
        .refused("Sources/CRDT/A.swift", "import Glibc"),
        .refused("Sources/CRDT/A.swift", "public import Gossip"),
        .refused("Sources/Gossip/A.swift", "import NodeCore"),
        .fine("Sources/Gossip/A.swift", "public import CRDT"),
        .refused("Sources/Node/Core/A.swift", "import Transport"),
        .fine("Sources/Node/Core/A.swift", "public import Gossip"),
        .fine("Sources/Node/A.swift", "internal import Transport"),
        .refused("Sources/Transport/A.swift", "import CRDT"),
        .refused("Simulations/Harness/A.swift", "import Transport"),
        .refused("Simulations/Harness/A.swift", "import Glibc"),
        .fine("Simulations/Harness/Terminal.swift", "internal import Glibc"),
        .refused("Sources/Attic/A.swift", "let a = 1"),
        .refused("Sources/CRDT/A.swift", "let now = ContinuousClock.now"),
        .refused("Sources/Gossip/A.swift", "let now = Date()"),
        .refused("Sources/Gossip/A.swift", "let now = Date.now"),
        .fine("Sources/Gossip/A.swift", "let lastUpdate = updated"),
        .refused("Sources/Node/Core/A.swift", "clock_gettime(CLOCK_MONOTONIC, &spec)"),
        .refused("Simulations/A.swift", "try await Task.sleep(for: .seconds(1))"),
        .refused("Sources/Node/Core/A.swift", "Task { await go() }"),
        .fine("Sources/Node/Core/A.swift", "case .claim(let taskID): Tasks.claim(taskID)"),
        .refused("Sources/Gossip/A.swift", "var dice = SystemRandomNumberGenerator()"),
        .refused("Sources/Gossip/A.swift", "let n = Int.random(in: 0..<9)"),
        .fine("Sources/Gossip/A.swift", "let n = Int.random(in: 0..<9, using: &dice)"),
        .refused("Sources/Gossip/A.swift", "for peer in peers.shuffled() {}"),
        .fine("Sources/Gossip/A.swift", "for peer in peers.shuffled(using: &dice) {}"),
        .refused("Sources/Gossip/A.swift", "let one = peers.randomElement()"),
        .refused("Sources/CRDT/A.swift", "return key.hashValue"),
        .refused("Sources/CRDT/A.swift", "print(state)"),
        .fine("Sources/CRDT/A.swift", "let text = \"Date() and Glibc and print it\""),
        .fine("Sources/CRDT/A.swift", "let text = \"\"\"\n    Date() is a word here\n    \"\"\""),
        .refused("Sources/CRDT/A.swift", "let text = \"\"\"\n    a\n    \"\"\"\nlet now = Date()"),
        .fine("Sources/CRDT/A.swift", "/// Not Date(), but a stamp."),
        .refused("Sources/CRDT/A.swift", "let text = \"a \\\" b\"; let now = Date()"),
        .fine("Sources/Node/SystemClock.swift", "clock_gettime(CLOCK_MONOTONIC, &spec)"),
        .refused("Package.swift", "    dependencies: [.package(url: \"x\", from: \"1.0.0\")],"),
        .fine("Package.swift", "    // no .package( here"),
        .refused("Sources/CRDT/A.swift", String(repeating: "\n", count: 701)),
        .fine("Sources/CRDT/A.swift", String(repeating: "\n", count: 700)),
        .refused("Tests/EndToEnd/test_a.py", "# " + "TO" + "DO: later"),
        .refused("Sources/CRDT/A.swift", "let a = 1  // " + "FIX" + "ME"),
        .fine("Sources/CRDT/A.swift", "let a = [\"HACKS\", \"TODOS\"]"),
    ] as [Sample])
func eachRule(sample: Sample) {
    let found = Rules.offences(Page(path: sample.path, text: sample.text))
    #expect(found.isEmpty != sample.isRefused, "\(found)")
    for offence in found { #expect(offence.instead.count > 20, "it does not say what to use instead: \(offence)") }
}
