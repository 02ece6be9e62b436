import Foundation
import Testing

@testable import Simulate

/// The built `simulate` beside this test's own binary.
private var simulate: URL? {
    var folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    if let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") {
        folder = URL(fileURLWithPath: own).deletingLastPathComponent()
    }
    let binary = folder.appendingPathComponent("simulate")
    return FileManager.default.isExecutableFile(atPath: binary.path) ? binary : nil
}

private func output(of binary: URL, _ arguments: [String]) throws -> (status: Int32, text: String) {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = binary
    process.arguments = arguments
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: bytes, as: UTF8.self))
}

@Suite("One seed decides everything")
struct DeterminismTests {
    @Test("The same seed in two processes gives the same trace hash, and another seed another")
    func processes() throws {
        let binary = try #require(simulate, "`simulate` is built beside the tests: swift build --product simulate")
        let hashes = try ["18", "18", "19"].map {
            try output(of: binary, ["hash", "same-id-at-two-peers", "--seed", $0])
        }
        #expect(hashes.allSatisfy { $0.status == 0 && $0.text.utf8.count > 8 }, "\(hashes)")
        #expect(hashes[0].text == hashes[1].text)
        #expect(hashes[0].text != hashes[2].text)
        #expect(hashes[0].text == String(Outcome.of(SameIDAtTwoPeers.self, seed: 18).hash, radix: 16) + "\n")
    }

    @Test("Writing the trace down changes nothing in it")
    func observing() {
        let quiet = Outcome.of(TwoPeers.self, seed: 5)
        let written = Outcome.of(TwoPeers.self, seed: 5, detail: .lastLines)
        #expect(quiet.hash == written.hash)
        #expect(quiet.lines.isEmpty && !written.lines.isEmpty)
    }

    @Test("A command that is not understood ends with status 2 and says what to do")
    func misunderstood() throws {
        let binary = try #require(simulate, "`simulate` is built beside the tests: swift build --product simulate")
        for arguments in [
            ["dance"], ["run", "no-such-story"], ["sweep", "--seeds", "many"], ["list", "run", "x"].suffix(2),
        ] {
            let (status, text) = try output(of: binary, Array(arguments))
            #expect(status == 2)
            #expect(text.contains("see simulate --help"))
        }
    }

    @Test("A broken promise is reported with the seed, the promise, the last events and the way to see it again")
    func report() {
        let honest = Outcome.of(TwoPeers.self, seed: 5, detail: .lastLines)
        let broken = Outcome(
            scenario: honest.scenario, seed: honest.seed, options: honest.options,
            violation: Violation("no event is lost", "one was"), tally: honest.tally, hash: honest.hash,
            virtualMs: honest.virtualMs, lines: honest.lines, complaints: ["n0: a warning"])
        let report = Report.failure(Explanation(original: broken, smallest: broken, replays: 0))
        for part in [
            "FAILED: two-peers, seed 5", "broken promise: no event is lost", "seen: one was", "world: size 2",
            honest.lines.last!, "log: n0: a warning", "again: swift run -c release simulate run two-peers --seed 5",
        ] {
            #expect(report.contains(part), "\(part) is missing")
        }
    }

    /// Stories that take long without optimisation: `simulate sweep` plays them.
    private static let slow: Set = [
        "restarts", "many-peers", "hasty-restarts", "bridge-partition", "hopping-clients", "power-loss", "lossy-lan",
        "set-back", "restart-of-all", "stuck-disk", "full-disk", "late-joiner", "bit-rot",
    ]

    @Test(
        "The shorter stories keep their promises",
        arguments: Scenarios.all.map { $0.name }.filter { !slow.contains($0) && Scenarios.named($0)?.isLong == false })
    func stories(name: String) throws {
        let outcome = Outcome.of(try #require(Scenarios.named(name)), seed: 3)
        #expect(outcome.violation == nil, "again: \(outcome.again)")
    }
}
