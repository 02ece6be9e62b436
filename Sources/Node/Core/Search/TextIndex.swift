import CRDT
import Gossip

/// Texts by number, found by the words in them: an inverted index, ranked by BM25.
///
/// Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), equation 3.15, with
/// k₁ = 1.2 and b = 0.75. A text D has for a query of the different terms Q
///
///     score(D) = Σ idf(t) · f / (f + k₁ · (1 − b + b · |D| / avg)) / Σ idf(t)       over t in Q
///     idf(t)   = log(1 + (n − n(t) + 0.5) / (n(t) + 0.5))
///
/// where f says how often t stands in D, |D| is the number of terms in D and avg its mean over all texts, n is the number
/// of texts and n(t) of those with t. This idf stays above zero however common a term is. The factor k₁ + 1 of the paper
/// is left out, so that a term gives less than its idf, and the sum over the idf is the bound that no text reaches: a
/// score lies in 0 … 1, terms of the query that stand in no text count against all alike, and the base of the logarithm
/// does not matter. A term that stands twice in a query counts once; of a query, the first `maximumTerms` count.
///
/// Scores depend on the texts alone, to the last bit: terms are added in the order of their bytes, and numbers decide
/// nothing. A query costs with the number of texts that have its terms; adding and removing a text with its terms, and for
/// each of those at most a move of that term's list.
struct TextIndex: Sendable {
    /// Terms of a query beyond these are left out.
    static let maximumTerms = 64
    private static let k1 = 1.2
    private static let b = 0.75

    private struct Posting: Sendable {
        let text: UInt32
        /// How often the term stands there.
        let count: UInt32
    }

    /// What is known of a text: its terms, each once and rising; and how many stand there with repetitions.
    private struct Text: Sendable {
        var terms: [UInt32] = []
        var length = 0
        var isHere = false
    }

    private var terms = ByteMap<()>()
    /// By term, each by rising number of text.
    private var postings: [[Posting]] = []
    private var texts: [Text] = []
    private var liveTerms = 0
    private var totalLength = 0
    private var totalPostings = 0
    private var termBytes = 0
    /// What the texts have got in the query at hand, zero for all others.
    private var scores: [Double] = []

    /// How many texts there are.
    private(set) var count = 0
    /// How many different terms they have.
    var termCount: Int { liveTerms }
    /// About the memory that it takes, in bytes.
    var byteCount: Int {
        // A posting, and its term's number with the text; a growing array has room for half as many again.
        totalPostings * (MemoryLayout<Posting>.stride + 4) * 3 / 2
            // A term's text and list are allocations of their own, with a head of 32 bytes each.
            + termBytes + terms.count * 112 + texts.count * 64
    }

    // MARK: - Changing

    /// Sets the text of a number, which may have several parts. Numbers should be small, as arrays are indexed by them.
    mutating func set(_ number: UInt32, _ parts: [String]) {
        remove(number)
        while texts.count <= Int(number) {
            texts.append(Text())
            scores.append(0)
        }
        var found: [UInt32] = []
        for part in parts {
            SearchTerms.forEach(in: part) { term in found.append(self.number(of: term)) }
        }
        found.sort()
        var text = Text(length: found.count, isHere: true)
        var at = 0
        while at < found.count {
            var end = at + 1
            while end < found.count, found[end] == found[at] { end += 1 }
            text.terms.append(found[at])
            insert(Posting(text: number, count: UInt32(end - at)), Int(found[at]))
            at = end
        }
        texts[Int(number)] = text
        totalLength += text.length
        totalPostings += text.terms.count
        count += 1
    }

    /// Removes a text; nothing happens if there is none of that number.
    mutating func remove(_ number: UInt32) {
        guard Int(number) < texts.count, texts[Int(number)].isHere else { return }
        let text = texts[Int(number)]
        texts[Int(number)] = Text()
        for term in text.terms {
            let at = place(of: number, in: postings[Int(term)])
            postings[Int(term)].remove(at: at)
            if postings[Int(term)].isEmpty {
                postings[Int(term)] = []
                liveTerms -= 1
            }
        }
        totalLength -= text.length
        totalPostings -= text.terms.count
        count -= 1
        // Terms that stand nowhere are left where they are until they are many.
        if terms.count > 2 * liveTerms + 4_096 { renumber() }
    }

    private mutating func number(of term: RawSpan) -> UInt32 {
        let number = terms.index(of: term, default: ())
        if number == postings.count {
            postings.append([])
            termBytes += term.byteCount
        }
        return UInt32(number)
    }

    private mutating func insert(_ posting: Posting, _ term: Int) {
        if postings[term].isEmpty { liveTerms += 1 }
        if let last = postings[term].last, last.text > posting.text {
            postings[term].insert(posting, at: place(of: posting.text, in: postings[term]))
        } else {
            postings[term].append(posting)
        }
    }

    /// Where a text stands in a list, or would.
    private func place(of text: UInt32, in list: [Posting]) -> Int {
        var (low, high) = (0, list.count)
        while low < high {
            let middle = (low + high) / 2
            if list[middle].text < text { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Forgets terms that stand nowhere.
    private mutating func renumber() {
        var kept = ByteMap<()>()
        var lists: [[Posting]] = []
        var numbers = Array(repeating: UInt32.max, count: terms.count)
        termBytes = 0
        for old in numbers.indices where !postings[old].isEmpty {
            let key = terms.keys[old]
            numbers[old] = UInt32(kept.index(of: key.span.bytes, default: ()))
            lists.append(postings[old])
            termBytes += key.count
        }
        (terms, postings) = (kept, lists)
        for text in texts.indices {
            // Rising numbers stay rising.
            for at in texts[text].terms.indices { texts[text].terms[at] = numbers[Int(texts[text].terms[at])] }
        }
    }

    // MARK: - Finding

    /// Gives each text that has a term of the query its score, in no order that means anything.
    mutating func forEachMatch(_ query: String, _ body: (_ text: UInt32, _ score: Double) -> Void) {
        let wanted = Self.terms(of: query)
        guard count > 0, !wanted.isEmpty else { return }
        let average = Double(max(totalLength, 1)) / Double(count)
        let perTerm = Self.k1 * Self.b / average
        var touched: [UInt32] = []
        var bound = 0.0
        for term in wanted {
            let list = terms.index(of: term.span.bytes).map { postings[$0] } ?? []
            let idf = log10(1 + (Double(count - list.count) + 0.5) / (Double(list.count) + 0.5))
            bound += idf
            for posting in list {
                let text = Int(posting.text)
                let often = Double(posting.count)
                if scores[text] == 0 { touched.append(posting.text) }
                let norm = Self.k1 * (1 - Self.b) + perTerm * Double(texts[text].length)
                scores[text] += idf * (often / (often + norm))
            }
        }
        for text in touched {
            body(text, min(scores[Int(text)] / bound, 1))
            scores[Int(text)] = 0
        }
    }

    /// The different terms of a query that count, in the order of their bytes.
    static func terms(of query: String) -> [[UInt8]] {
        var seen: Set<[UInt8]> = []
        SearchTerms.forEach(in: query) { term in
            if seen.count < maximumTerms { seen.insert(term.withUnsafeBytes { Array($0) }) }
        }
        return seen.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
