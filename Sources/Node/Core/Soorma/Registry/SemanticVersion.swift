/// The name of a version, ordered as Semantic Versioning 2.0.0 has it (section 11): by its numbers, a pre-release before its
/// release. What is no such version comes before all that are, in the order of its bytes; so do, among themselves, versions
/// that differ in their build alone.
struct SemanticVersion: Comparable, Sendable {
    let text: [UInt8]
    /// Major, minor and patch; nil for what is no version. Missing ones are 0, so `1.2` is `1.2.0`.
    private let numbers: [UInt64]?
    /// Identifiers of a pre-release; none for a release.
    private let preRelease: [[UInt8]]

    init(_ text: [UInt8]) {
        self.text = text
        var rest = text.first == UInt8(ascii: "v") ? text.dropFirst() : text[...]
        if let plus = rest.firstIndex(of: UInt8(ascii: "+")) { rest = rest[..<plus] }
        var identifiers: [[UInt8]] = []
        if let dash = rest.firstIndex(of: UInt8(ascii: "-")) {
            identifiers = rest[(dash + 1)...].split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
                .map { Array($0) }
            rest = rest[..<dash]
        }
        let parts = rest.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map { Self.number($0) }
        let isVersion = (1...3).contains(parts.count) && parts.allSatisfy { $0 != nil }
        numbers = isVersion ? parts.compactMap { $0 } + Array(repeating: 0, count: 3 - parts.count) : nil
        preRelease = isVersion ? identifiers : []
    }

    private static func number(_ digits: some Collection<UInt8>) -> UInt64? {
        guard (1...18).contains(digits.count) else { return nil }
        var number: UInt64 = 0
        for digit in digits {
            guard digit &- UInt8(ascii: "0") < 10 else { return nil }
            number = number * 10 + UInt64(digit - UInt8(ascii: "0"))
        }
        return number
    }

    static func < (a: Self, b: Self) -> Bool {
        guard let mine = a.numbers, let theirs = b.numbers else {
            if a.numbers == nil, b.numbers == nil { return a.text.lexicographicallyPrecedes(b.text) }
            return a.numbers == nil
        }
        if mine != theirs { return mine.lexicographicallyPrecedes(theirs) }
        if a.preRelease != b.preRelease {
            if a.preRelease.isEmpty || b.preRelease.isEmpty { return b.preRelease.isEmpty }
            return a.preRelease.lexicographicallyPrecedes(b.preRelease) { Self.precedes($0, $1) }
        }
        return a.text.lexicographicallyPrecedes(b.text)
    }

    /// Numbers by size and before words, words by their bytes.
    private static func precedes(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        switch (number(a), number(b)) {
        case (let mine?, let theirs?): mine < theirs
        case (_?, nil): true
        case (nil, _?): false
        case (nil, nil): a.lexicographicallyPrecedes(b)
        }
    }
}
