/// One deliberate fault: a named edit of the source that a sweep must notice.
///
/// Mutants are kept as text beside this file, so that the program itself has no switches and a reviewer sees what is
/// broken at a glance:
///
///     breaks: one sentence about what is wrong then
///     file: Sources/…
///     --- find
///     text that stands in that file exactly once
///     --- replace
///     what stands there instead
struct Mutant: Sendable {
    /// Why a text is no mutant, or does not fit the source any more.
    struct Problem: Error, Equatable {
        let text: String
    }

    /// Where the texts are, from the root of the repository.
    static let directory = "Simulations/Mutants/Edits"

    /// The name of its text file, without the ending.
    let name: String
    /// What is wrong with the node then, in one sentence.
    let breaks: String
    /// The file that it edits, from the root of the repository.
    let file: String
    private let find: [Character]
    private let replacement: String

    /// Reads a mutant's text.
    init(name: String, text: String) throws(Problem) {
        func refuse(_ why: String) -> Problem { Problem(text: "\(Mutant.directory)/\(name).txt: \(why)") }
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if lines.last == "" { lines.removeLast() }
        guard let find = lines.firstIndex(of: "--- find"), let replace = lines.firstIndex(of: "--- replace"),
            find == 2, replace > find + 1
        else { throw refuse("expected breaks:, file:, --- find, text, --- replace, text") }
        guard lines[0].hasPrefix("breaks: "), lines[1].hasPrefix("file: ") else {
            throw refuse("expected \"breaks: …\" and \"file: …\" in the first two lines")
        }
        self.name = name
        breaks = String(lines[0].dropFirst(8))
        file = String(lines[1].dropFirst(6))
        self.find = Array(lines[(find + 1)..<replace].joined(separator: "\n"))
        replacement = lines[(replace + 1)...].joined(separator: "\n")
        if Array(replacement) == self.find { throw refuse("it changes nothing") }
    }

    /// The source with the fault in it; broken unless what it replaces stands there exactly once.
    func applied(to source: String) throws(Problem) -> String {
        let text = Array(source)
        let places = text.indices.filter { text[$0...].starts(with: find) }
        guard places.count == 1, let place = places.first else {
            throw Problem(
                text: "\(Mutant.directory)/\(name).txt: what it replaces stands \(places.count) times in \(file); "
                    + "bring the mutant in line with the source")
        }
        return String(text[..<place]) + replacement + String(text[(place + find.count)...])
    }
}
