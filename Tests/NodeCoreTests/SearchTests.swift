import Foundation
import Testing

@testable import Gossip
@testable import NodeCore

/// The formula of `TextIndex`, said as plainly as can be.
private struct NaiveRanking {
    var texts: [UInt32: String] = [:]

    private static func terms(_ text: String) -> [String] {
        var found: [String] = []
        SearchTerms.forEach(in: text) { found.append($0.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }) }
        return found
    }

    func scores(_ query: String) -> [UInt32: Double] {
        let all = texts.mapValues { Self.terms($0) }
        let n = Double(all.count)
        let average = Double(all.values.map(\.count).reduce(0, +)) / max(n, 1)
        var (scores, bound): ([UInt32: Double], Double) = ([:], 0)
        for term in Set(Self.terms(query)) {
            let having = Double(all.values.count { $0.contains(term) })
            let idf = Foundation.log(1 + (n - having + 0.5) / (having + 0.5))
            bound += idf
            for (number, words) in all {
                let f = Double(words.count { $0 == term })
                guard f > 0 else { continue }
                scores[number, default: 0] += idf * f / (f + 1.2 * (0.25 + 0.75 * Double(words.count) / average))
            }
        }
        return scores.mapValues { $0 / bound }
    }
}

@Suite("Search")
struct SearchTests {
    private func terms(_ text: String) -> [String] {
        TextIndex.terms(of: text).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test(
        "A text is taken apart at what is no letter or digit, and case and marks do not matter",
        arguments: [
            ("Don't PANIC: order_id=42", ["42", "don", "id", "order", "panic", "t"]),
            ("É é e\u{301} Ñandú Łódź İstanbul", ["e", "istanbul", "nandu", "łodz"]),
            ("Ά ά ΟΔΟΣ οδος Й й и\u{306} Ё", ["α", "οδοσ", "е", "и"]),
            ("東京 カナabcひ", ["abc", "ひ", "カ", "ナ", "京", "東"]), ("한국", ["국", "한"]),
            ("हिन्दी 🙂 ١٢", ["हिन्दी", "١٢"]), ("Ⅷ Ꭰ", ["ꭰ", "ⅷ"]), ("", []), (" -_.\u{0}", []),
        ] as [(String, [String])])
    func words(text: String, expected: [String]) {
        #expect(terms(text) == expected.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
    }

    @Test("A very long run counts by its beginning, and of a long query its first words")
    func lengths() {
        let long = String(repeating: "x", count: 10_000)
        #expect(terms(long) == [String(repeating: "x", count: SearchTerms.longest)])
        #expect(terms((0..<100).map { "w\($0)" }.joined(separator: " ")).count == TextIndex.maximumTerms)
        var index = TextIndex()
        index.set(0, [long])
        var found: [UInt32] = []
        index.forEachMatch(long + "y") { text, _ in found.append(text) }
        #expect(found == [0])
    }

    @Test(
        "An index after many changes is as one made anew, and its scores are what the formula says", arguments: 1...20)
    func likeNaive(seed: Int) {
        var dice = Dice(seed: UInt64(seed))
        let vocabulary = (0..<40).map { "w\($0)" } + ["É", "東京", "Ünï-cödé"]
        func words(_ most: Int) -> String {
            (0..<Int(dice.next() % UInt64(most))).map { _ in
                // Some words are much more common than others.
                vocabulary[Int(dice.next() % UInt64(1 + dice.next() % UInt64(vocabulary.count)))]
            }.joined(separator: " ")
        }
        var (index, naive) = (TextIndex(), NaiveRanking())
        for step in 0..<400 {
            let number = UInt32(dice.next() % 60)
            if dice.next() % 3 == 0 {
                index.remove(number)
                naive.texts[number] = nil
            } else {
                let text = words(30)
                index.set(number, [text])
                naive.texts[number] = text
            }
            guard step % 20 == 19 else { continue }
            var fresh = TextIndex()
            for (number, text) in naive.texts.sorted(by: { $0.key > $1.key }) { fresh.set(number, [text]) }
            #expect(index.count == naive.texts.count && index.termCount == fresh.termCount)
            for query in ["w0", "w1 w2 absent", words(8), "e", "東 京 w0", ""] {
                var (mine, anew): ([UInt32: Double], [UInt32: Double]) = ([:], [:])
                index.forEachMatch(query) { mine[$0] = $1 }
                fresh.forEachMatch(query) { anew[$0] = $1 }
                #expect(mine == anew, "\(query)")
                let expected = naive.scores(query)
                #expect(Set(mine.keys) == Set(expected.keys), "\(query)")
                for (number, score) in mine {
                    #expect(abs(score - expected[number, default: -1]) < 1e-12 && score > 0 && score < 1, "\(query)")
                }
            }
        }
    }

    @Test("Terms that stand nowhere any more are forgotten, and those that stay are found")
    func renumbered() {
        var index = TextIndex()
        for number in 0..<UInt32(20_000) { index.set(number % 10, ["once\(number) always"]) }
        var found = 0
        index.forEachMatch("always") { _, _ in found += 1 }
        #expect(index.termCount == 11 && found == 10 && index.byteCount < 2_000_000)
    }

    @Test("The best come first, as many as are wanted, and equals as the caller says")
    func best() {
        var index = SearchIndex()
        for number in 0..<UInt32(50) {
            index.set(number, ["apple" + String(repeating: " pie", count: Int(number % 5))])
        }
        let hits = index.search("apple", most: 12, where: { $0 != 10 }, isBefore: { $0 > $1 })
        // Shorter ones are better; there are ten of each length, one of them unwanted.
        #expect(hits.map(\.number) == [45, 40, 35, 30, 25, 20, 15, 5, 0, 46, 41, 36])
        #expect(index.search("apple", most: 0, where: { _ in true }, isBefore: { $0 > $1 }).isEmpty)
        #expect(index.search("...", most: 5, where: { _ in true }, isBefore: { $0 > $1 }).isEmpty)
    }

    @Test("Vectors are found by their angle, words and vectors by the mean of both")
    func vectors() {
        var index = SearchIndex()
        index.set(0, ["red apple"], vector: [1, 0, 0])
        index.set(1, ["green apple"], vector: [3, 4, 0])
        index.set(2, ["green pear"], vector: [-2, 0, 0])
        index.set(3, ["green car"])
        index.set(4, ["red car"], vector: [1, 1])
        func found(_ query: String, _ vector: [Float]) -> [SearchIndex.Hit] {
            index.search(query, vector: vector, most: 9, where: { _ in true }, isBefore: { $0 < $1 })
        }
        let alone = found("", [2, 0, 0])
        #expect(alone.map(\.number) == [0, 1, 2] && alone[0].score == 1 && alone[2].score == 0)
        #expect(abs(alone[1].score - 0.6) < 1e-6)
        var words: [UInt32: Double] = [:]
        for hit in index.search("green", most: 9, where: { _ in true }, isBefore: { $0 < $1 }) {
            words[hit.number] = hit.score
        }
        let both = Dictionary(uniqueKeysWithValues: found("green", [2, 0, 0]).map { ($0.number, $0.score) })
        #expect(both[0] == 0.5 && both[2] == words[2]! / 2 && both[3] == words[3] && both[4] == nil)
        #expect(both[1] == (alone[1].score + words[1]!) / 2)
        index.set(0, ["red apple"])
        index.remove(1)
        #expect(found("", [1, 0, 0]).map(\.number) == [2] && index.vectors.count == 2)
        index.remove(2)
        index.remove(4)
        #expect(index.vectors.byteCount == 0 && found("", [1, 0, 0]).isEmpty)
    }

    @Test("Vectors of many dimensions are moved whole when others go", arguments: [1, 7, 8, 9, 100])
    func moved(dimension: Int) {
        var dice = Dice(seed: 9)
        var (index, kept): (VectorIndex, [UInt32: [Float]]) = (VectorIndex(), [:])
        for _ in 0..<300 {
            let number = UInt32(dice.next() % 20)
            let vector = (0..<dimension).map { _ in Float(Int64(dice.next() % 2_001)) - 1_000.5 }
            kept[number] = dice.next() % 3 == 0 ? nil : vector
            index.set(number, kept[number])
        }
        let query = (0..<dimension).map { Float($0 % 3) - 0.5 }
        var seen: [UInt32: Double] = [:]
        index.forEach(like: query) { seen[$0] = $1 }
        #expect(Set(seen.keys) == Set(kept.keys) && index.count == kept.count)
        for (number, vector) in kept {
            let dot = zip(vector, query).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            let lengths = [vector, query].map { $0.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }
            #expect(abs(seen[number]! - max(0, dot / (lengths[0] * lengths[1]))) < 1e-5)
        }
    }
}
