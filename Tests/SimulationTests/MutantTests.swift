import Foundation
import Testing

@testable import Simulate

/// The repository's root, from where this file stands.
private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

private func text(of path: String) throws -> String {
    try String(contentsOf: root.appending(path: path), encoding: .utf8)
}

@Suite("Mutants: the node broken on purpose")
struct MutantTests {
    static let sample = "breaks: Nothing counts.\nfile: Sources/A.swift\n--- find\na += 1\n--- replace\na += 0\n"

    @Test("Every mutant that is kept still fits the source, in exactly one place")
    func allFit() throws {
        let files = try FileManager.default.contentsOfDirectory(
            atPath: root.appending(path: Mutant.directory).path(percentEncoded: false))
        #expect(files.count >= 20)
        for file in files {
            #expect(file.hasSuffix(".txt"), "\(file) is no mutant")
            do {
                let mutant = try Mutant(
                    name: String(file.dropLast(4)), text: try text(of: "\(Mutant.directory)/\(file)"))
                #expect(mutant.breaks.hasSuffix("."), "\(file): a sentence ends with a full stop")
                #expect(
                    ["Sources/CRDT/", "Sources/Gossip/", "Sources/Node/Core/"].contains(where: mutant.file.hasPrefix),
                    "\(file): the simulator does not run \(mutant.file)")
                _ = try mutant.applied(to: try text(of: mutant.file))
            } catch let problem as Mutant.Problem {
                Issue.record("\(problem.text)")
            }
        }
    }

    @Test("An edit replaces its one place and nothing else")
    func edit() throws {
        let mutant = try Mutant(name: "m", text: Self.sample)
        #expect(mutant.breaks == "Nothing counts.")
        #expect(mutant.file == "Sources/A.swift")
        #expect(try mutant.applied(to: "b\na += 1\nc") == "b\na += 0\nc")
    }

    @Test(
        "A place that is gone, or not the only one, is refused by the mutant's name", arguments: ["", "a += 1; a += 1"])
    func misfit(source: String) throws {
        let mutant = try Mutant(name: "lost", text: Self.sample)
        let problem = #expect(throws: Mutant.Problem.self) { try mutant.applied(to: source) }
        #expect(problem?.text.contains("lost.txt") == true)
    }

    @Test(
        "What is no mutant is refused",
        arguments: [
            "", "breaks: x\nfile: y\n", "breaks: x\nfile: y\n--- find\n--- replace\nz\n",
            "breaks: x\nfile: y\n--- replace\na\n--- find\nb\n", "file: y\nbreaks: x\n--- find\na\n--- replace\nb\n",
            "breaks: x\nfile: y\n--- find\na\n--- replace\na\n",
        ])
    func malformed(text: String) { #expect(throws: Mutant.Problem.self) { try Mutant(name: "m", text: text) } }

    @Test(
        "What a sweep says to machines reads back",
        arguments: [
            Sweep.Line.passed(12),
            .broken(run: 3, story: "storm", seed: 9, promise: "all is well", detail: "it is not"),
        ])
    func line(line: Sweep.Line) { #expect(Sweep.Line(line.text) == line) }

    @Test("A line of something else is none", arguments: ["", "passed", "passed\tx", "broken\t1", "Fatal error: no"])
    func noLine(text: String) { #expect(Sweep.Line(text) == nil) }
}

@Suite("Checkers for what repair hides")
struct ThriftTests {
    @Test("A repair or a duplicate in calm weather is waste")
    func waste() {
        let calm = ["hypha_repairs_total": 2, "hypha_replicated_duplicates_total": 0]
        #expect(Thrift.waste(calm, calm, at: 0) == nil)
        for name in Thrift.restful {
            var after = calm
            after[name]! += 1
            #expect(Thrift.waste(calm, after, at: 0)?.promise == "in calm weather \(name) stands still")
        }
    }

    @Test("A list by scope that has more, less or another order is noticed")
    func parts() {
        func event(_ id: String, _ scope: String) -> JSON {
            .object(["id": .string(id), "scope": .string(scope)])
        }
        let events = [event("4", "a"), event("3", "b"), event("2", "a"), event("1", "a")]
        func holds(_ list: [JSON], most: Int = 9) -> Bool {
            (try? Doors.part(list, of: events, where: "scope", is: "a", most: most)) != nil
        }
        #expect(holds([events[0], events[2], events[3]]))
        #expect(holds([events[0], events[2]], most: 2))
        #expect(!holds([events[0], events[2]]))
        #expect(!holds([events[2], events[0], events[3]]))
        #expect(!holds(events))
    }

    @Test("A metric that is off is named")
    func metrics() {
        var testimony = Testimony(node: 0, life: 1)
        testimony.metrics = [
            "hypha_events": 5, "hypha_documents": 2, "hypha_events_accepted_total": 3, "hypha_sessions": 1,
            "hypha_replicated_total": 4,
        ]
        func broken(accepted: Int?) -> String? {
            do throws(Violation) {
                try Doors.counted(
                    testimony, events: 5, nodes: 2, sessions: 1,
                    history: accepted.map { (accepted: $0, readOfOthers: 4) })
                return nil
            } catch { return error.detail }
        }
        #expect(broken(accepted: 3) == nil)
        #expect(broken(accepted: 4)?.contains("hypha_events_accepted_total is 3") == true)
        #expect(broken(accepted: nil) == nil, "whoever missed the history has counted none of it")
        testimony.metrics["hypha_documents"] = 1
        #expect(broken(accepted: nil)?.contains("hypha_documents is 1") == true)
    }

    @Test("An answer must say what was posted; what the node adds does not count")
    func answers() {
        func says(_ answer: String, _ posted: String) -> Bool {
            Doors.answers(Array(answer.utf8), to: Array(posted.utf8))
        }
        #expect(says(#"{"id":"1","x":[1],"seq":4}"#, #"{"x":[1.0],"id":"1"}"#))
        #expect(!says(#"{"id":"1","x":[2],"seq":4}"#, #"{"x":[1],"id":"1"}"#))
        #expect(!says(#"{"id":"1"}"#, #"{"x":[1],"id":"1"}"#))
    }

    @Test("The values keep their laws")
    func laws() throws {
        var laws = Laws(seed: 11)
        try laws.check(histories: 50)
    }
}
