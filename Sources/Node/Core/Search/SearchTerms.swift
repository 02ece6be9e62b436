/// What a text is searched by.
///
/// A term is a longest run of letters and digits (general categories L and N of Unicode, and the marks of scripts that
/// write vowels so), in lower case and without the marks of `LetterFolding`. A character of a script that puts no spaces
/// between words (ideographs, kana, Hangul) is a term of its own. Nothing is stemmed and no word is left out: a cluster
/// has no one language, and how rare a word is says how much it counts.
enum SearchTerms {
    /// A run is cut to so many characters, in texts and in queries alike.
    static let longest = 40

    /// Lends each term of a text, in order, as UTF-8.
    static func forEach(in text: String, _ body: (RawSpan) -> Void) {
        var term: [UInt8] = []
        var length = 0
        func append(_ scalar: Unicode.Scalar) {
            guard length < longest else { return }
            length += 1
            for byte in UTF8.encode(scalar)! { term.append(byte) }
        }
        func end() {
            guard length > 0 else { return }
            body(term.span.bytes)
            term.removeAll(keepingCapacity: true)
            length = 0
        }
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x61...0x7a, 0x30...0x39: append(scalar)
            case 0x41...0x5a: append(Unicode.Scalar(UInt8(scalar.value) | 0x20))
            case 0..<0x80: end()
            case 0x300...0x36f: break
            default:
                if standsAlone(scalar) {
                    end()
                    append(scalar)
                    end()
                } else if isOfWord(scalar) {
                    for scalar in folded(scalar) { append(scalar) }
                } else {
                    end()
                }
            }
        }
        end()
    }

    private static func folded(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        if let known = LetterFolding.folded(scalar.value).flatMap({ Unicode.Scalar($0) }) { return [known] }
        guard scalar.properties.changesWhenLowercased else { return [scalar] }
        return scalar.properties.lowercaseMapping.unicodeScalars.filter { !(0x300...0x36f).contains($0.value) }
    }

    private static func standsAlone(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        // Hiragana and katakana, their extensions, Hangul syllables.
        case 0x3041...0x309f, 0x30a1...0x30fa, 0x30fc...0x30ff, 0x31f0...0x31ff, 0xac00...0xd7a3: true
        case ..<0x2e80: false
        default: scalar.properties.isIdeographic
        }
    }

    private static func isOfWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber,
            .letterNumber, .otherNumber, .nonspacingMark, .spacingMark:
            true
        case .enclosingMark, .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
            .initialPunctuation, .finalPunctuation, .otherPunctuation, .mathSymbol, .currencySymbol, .modifierSymbol,
            .otherSymbol, .spaceSeparator, .lineSeparator, .paragraphSeparator, .control, .format, .surrogate,
            .privateUse, .unassigned:
            false
        @unknown default: false
        }
    }
}
