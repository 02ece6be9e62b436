import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

/// Scans all of the bytes as one document.
private func scan(_ bytes: [UInt8]) -> Result<JSONScanner.Value, JSONError> {
    var scanner = JSONScanner(bytes.span.bytes)
    do throws(JSONError) { return .success(try scanner.document(bytes.span.bytes)) } catch { return .failure(error) }
}

private func refusal(_ bytes: [UInt8]) -> JSONError? {
    if case .failure(let error) = scan(bytes) { error } else { nil }
}

@Suite("The JSON scanner")
struct JSONScannerTests {
    @Test(
        "takes what RFC 8259 allows",
        arguments: [
            ("{}", .object), (" [ ] ", .array), ("\"\"", .string), ("0", .number), ("-0", .number),
            ("-0.0e-0", .number),
            ("1E+2", .number), ("12345678901234567890123", .number), ("1e308", .number), ("1e-400", .number),
            ("0.\(String(repeating: "1", count: 400))", .number), ("\t\r\n true", .true_), ("false ", .false_),
            ("null", .null),
            (#"{"a":{"b":[1,2,{"c":null}]},"":"","a":1}"#, .object), ("[[],[[]],{}]", .array),
            (#""\"\\\/\b\f\n\r\t\u0000\uFFFF\ud83d\ude00\uD800\uDC00""#, .string),
            ("\"\u{7f}\u{80}\u{10ffff}\u{feff}\"", .string),
            ("\"eight or more plain bytes, then é and \\n\"", .string),
        ] as [(String, JSONScanner.Kind)])
    func valid(text: String, kind: JSONScanner.Kind) throws {
        #expect(try scan(Array(text.utf8)).get().kind == kind)
    }

    @Test(
        "refuses everything else, and says where and why",
        arguments: [
            ("", 0, "the text ends where a value should be"), ("  ", 2, "the text ends where a value should be"),
            ("x", 0, "expected a value"), ("nul", 0, "expected a value"), ("True", 0, "expected a value"),
            ("nullx", 4, "nothing but white space may follow the value"),
            ("1 2", 2, "nothing but white space may follow the value"),
            ("{\"a\":1", 6, "the text ends inside an object or array"),
            ("[1", 2, "the text ends inside an object or array"),
            ("{\"a\" 1}", 5, "expected ':' after a key"), ("{\"a\":}", 5, "expected a value"),
            ("{a:1}", 1, "expected a key in double quotes"),
            ("{,}", 1, "expected a key in double quotes"), ("{\"a\":1,}", 7, "a comma with nothing after it"),
            ("{\"a\":1 \"b\":2}", 7, "expected ',' or '}' after a member"),
            ("{\"a\":1]", 6, "expected ',' or '}' after a member"),
            ("[1,]", 3, "a comma with nothing after it"), ("[,1]", 1, "expected a value"),
            ("[1 2]", 3, "expected ',' or ']' after an element"),
            ("[1}", 2, "expected ',' or ']' after an element"), ("]", 0, "expected a value"),
            ("// c", 0, "expected a value"),
            ("01", 0, "a number with a leading zero"), ("-01", 0, "a number with a leading zero"),
            ("-", 1, "expected a digit"),
            ("+1", 0, "expected a value"), (".5", 0, "expected a value"), ("1.", 2, "expected a digit"),
            ("1.e5", 2, "expected a digit"),
            ("1e", 2, "expected a digit"), ("1e+", 3, "expected a digit"), ("[-x]", 2, "expected a digit"),
            ("NaN", 0, "expected a value"),
            ("1e309", 0, "a number too large for a double"), ("[ -1e999]", 2, "a number too large for a double"),
            (String(repeating: "9", count: 310), 0, "a number too large for a double"),
            (String(repeating: "9", count: 250) + "e99", 0, "a number too large for a double"),
            ("\"abc", 4, "the text ends inside a string"), ("\"abcdefghijkl\\", 13, "the text ends inside a string"),
            ("\"a\nb\"", 2, "a control character in a string; write it as \\u00XX"),
            ("\"abcdefgh\u{1f}\"", 9, "a control character in a string; write it as \\u00XX"),
            ("\"\\x\"", 1, "an unknown escape in a string"), ("\"\\U0041\"", 1, "an unknown escape in a string"),
            ("\"\\u12G4\"", 5, "expected four hexadecimal digits after \\u"),
            ("\"\\u12", 5, "expected four hexadecimal digits after \\u"),
            (#""\ud800""#, 1, "a lone high surrogate"), (#""ab\ud800\n""#, 3, "a lone high surrogate"),
            (#""\ud800\u0041""#, 1, "a lone high surrogate"), (#""\ud800\ud800""#, 1, "a lone high surrogate"),
            (#""\udc00""#, 1, "a lone low surrogate"),
        ] as [(String, Int, String)])
    func invalid(text: String, offset: Int, reason: String) {
        let error = refusal(Array(text.utf8))
        #expect(error?.offset == offset)
        #expect(error.map { "\($0.reason)" } == reason)
    }

    @Test(
        "knows valid UTF-8 at every boundary (Unicode, table 3-7)",
        arguments: [
            ([0xc2, 0x80], true), ([0xdf, 0xbf], true), ([0xe0, 0xa0, 0x80], true), ([0xed, 0x9f, 0xbf], true),
            ([0xee, 0x80, 0x80], true), ([0xef, 0xbf, 0xbf], true), ([0xf0, 0x90, 0x80, 0x80], true),
            ([0xf4, 0x8f, 0xbf, 0xbf], true),
            ([0x80], false), ([0xbf], false), ([0xc0, 0x80], false), ([0xc1, 0xbf], false), ([0xc2], false),
            ([0xc2, 0x7f], false),
            ([0xc2, 0xc0], false), ([0xe0, 0x9f, 0xbf], false), ([0xe1, 0x80], false), ([0xed, 0xa0, 0x80], false),
            ([0xef, 0xbf], false), ([0xf0, 0x8f, 0xbf, 0xbf], false), ([0xf1, 0x80, 0x80], false),
            ([0xf4, 0x90, 0x80, 0x80], false),
            ([0xf5, 0x80, 0x80, 0x80], false), ([0xff], false), ([0xfe], false), ([0xe1, 0x80, 0xc0], false),
            ([0xf1, 0x80, 0x80, 0x7f], false),
        ] as [([UInt8], Bool)])
    func utf8(sequence: [UInt8], isValid: Bool) {
        // At every distance from the string's start and end, for the scanner reads eight bytes at a time.
        for before in 0..<9 {
            for after in 0..<9 {
                let text =
                    Array(repeating: UInt8(ascii: "x"), count: before) + sequence
                    + Array(repeating: UInt8(ascii: "y"), count: after)
                #expect((refusal([0x22] + text + [0x22]) == nil) == isValid)
                if !isValid {
                    #expect(refusal([0x22] + text + [0x22]) == JSONError(offset: before + 1, reason: "invalid UTF-8"))
                }
            }
        }
    }

    @Test("takes 128 levels and not 129", arguments: [("[", "]"), ("{\"a\":", "}")])
    func depth(open: String, close: String) {
        func nested(_ levels: Int) -> [UInt8] {
            Array(
                (String(repeating: open, count: levels) + (open == "[" ? "" : "0")
                    + String(repeating: close, count: levels)).utf8)
        }
        #expect(refusal(nested(128)) == nil)
        let tooDeep = JSONError(offset: open.utf8.count * 128, reason: "more than 128 levels of arrays and objects")
        #expect(refusal(nested(129)) == tooDeep)
        #expect(refusal(nested(100_000)) == tooDeep)
        #expect(
            refusal(Array("[\(String(repeating: "[],", count: 500))[]]".utf8)) == nil,
            "only levels inside each other count")
    }

    private static let sample = Array(
        #"{"a":[1,-2.5e+3,true,false,null,"\u00e9\ud83d\ude00 é😀 plain"],"b":{"c":{},"d":[]}, "e\n":"\\"}"#.utf8)

    @Test("refuses every beginning of a text, and finds all of it")
    func prefixes() throws {
        for cut in 0..<Self.sample.count {
            let error = refusal(Array(Self.sample[..<cut]))
            #expect(error != nil, "\(cut) bytes")
            #expect((error?.offset ?? .max) <= cut)
        }
        #expect(try scan(Self.sample).get().range == 0..<Self.sample.count)
    }

    @Test("agrees with Foundation about a hundred thousand mutations", arguments: 1...4 as ClosedRange<UInt64>)
    func mutations(seed: UInt64) {
        var dice = Dice(seed: seed)
        let bytes: [UInt8] = Array("{}[]\",:\\u/0123456789eE+-.tfnabdr \n".utf8) + [0x80, 0xc3, 0xa9, 0xed, 0xf0, 0x1f]
        var valid = 0
        for _ in 0..<25_000 {
            var text = Self.sample
            for _ in 0...dice.below(3) {
                let at = Int(dice.below(UInt64(text.count)))
                let byte = bytes[Int(dice.below(UInt64(bytes.count)))]
                switch dice.below(4) {
                case 0: text.remove(at: at)
                case 1: text.insert(byte, at: at)
                case 2: text.swapAt(at, Int(dice.below(UInt64(text.count))))
                default: text[at] = byte
                }
            }
            let ours = refusal(text)
            let theirs = (try? JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)) != nil
            if ours == nil { valid += 1 }
            // Foundation forgives one comma too many; RFC 8259 does not.
            if theirs, ours.map({ "\($0.reason)" }) == "a comma with nothing after it" { continue }
            #expect(
                (ours == nil) == theirs, "\(String(decoding: text, as: UTF8.self)): \(ours.map { "\($0)" } ?? "valid")")
        }
        #expect(valid > 500)
    }
}
