import CRDT
import Gossip
import Testing

@testable import NodeCore

/// The one value in a text.
private func value(_ text: String) throws -> (JSONScanner.Value, [UInt8]) {
    let bytes = Array(text.utf8)
    var scanner = JSONScanner(bytes.span.bytes)
    return (try scanner.document(bytes.span.bytes), bytes)
}

@Suite("JSON as text")
struct JSONTextTests {
    @Test(
        "has one spelling for each text",
        arguments: [
            (#""plain""#, "plain"), (#""\u0061\u00E9\uD83D\uDE00""#, "aé😀"), (#""a\/b""#, "a/b"),
            (#""\u0022\u005c\u000a\u000d\u0009\u0008\u000c""#, #"\"\\\n\r\t\b\f"#),
            (#""\u0000\u001F""#, #"\u0000\u001f"#),
            (#""\u007f""#, "\u{7f}"), (#""""#, ""),
        ])
    func canonical(text: String, expected: String) throws {
        let (value, bytes) = try value(text)
        #expect(String(decoding: JSONText.canonical(value, bytes.span.bytes), as: UTF8.self) == expected)
        // What is canonical stays so, and a text from outside JSON has the same spelling.
        let (again, same) = try NodeCoreTests.value("\"\(expected)\"")
        #expect(JSONText.canonical(again, same.span.bytes) == Array(expected.utf8))
        #expect(JSONText.canonical(JSONText.text(value, bytes.span.bytes)) == Array(expected.utf8))
    }

    @Test(
        "loses white space between values, and none inside a text",
        arguments: [
            (" [ 1 , { \"a b\" : \" c \\\" d \" } ]\n", #"[1,{"a b":" c \" d "}]"#), (#"{"a":[]}"#, #"{"a":[]}"#),
            ("{ \"\\\\\" : 1 }", #"{"\\":1}"#), ("\" x \"", "\" x \""), ("[ ]", "[]"),
        ])
    func compact(text: String, expected: String) throws {
        let (value, bytes) = try value(text)
        var out: [UInt8] = []
        JSONText.compact(value, bytes.span.bytes, into: &out)
        #expect(String(decoding: out, as: UTF8.self) == expected)
    }

    @Test("reads numbers to the bit", arguments: 1...4 as ClosedRange<UInt64>)
    func doubles(seed: UInt64) {
        var dice = Dice(seed: seed)
        func digits(_ most: UInt64) -> String {
            let count = 1 + dice.below(most)
            return String((0..<count).map { _ in Character("\(dice.below(10))") })
        }
        for round in 0..<25_000 {
            var text = dice.below(2) == 0 ? "-" : ""
            switch round % 5 {
            case 0:
                // Any finite double, in its shortest spelling.
                let any = Double(bitPattern: dice.next())
                guard any.isFinite else { continue }
                text = any.description
            case 1: text += "\(dice.below(1 << 62)).\(digits(20))"
            case 2: text += "\(dice.below(100)).\(String(repeating: "0", count: Int(dice.below(25))))\(digits(6))"
            case 3: text += "\(dice.below(10)).\(digits(17))e\(dice.below(2) == 0 ? "-" : "+")\(dice.below(330))"
            default: text += "\(dice.below(1 << dice.below(63)))"
            }
            guard let expected = Double(text), expected.isFinite else { continue }
            let read = JSONText.double(Array(text.utf8).span.bytes, 0..<text.utf8.count)
            #expect(read?.bitPattern == expected.bitPattern, "\(text)")
        }
    }

    @Test(
        "reads numbers at the edges of its shortcut to the bit",
        arguments: [
            "0", "-0", "-0.0", "999999999999999", "9999999999999999", "9007199254740993", "0.1",
            "0.000000000000000000000001",
            "123456789012345e22", "1.7976931348623157e308", "5e-324", "2.2250738585072014e-308", "0.30000000000000004",
            "000000000.5", "00000000000000000000000012",
        ])
    func edges(text: String) {
        let read = JSONText.double(Array(text.utf8).span.bytes, 0..<text.utf8.count)
        #expect(read?.bitPattern == Double(text)?.bitPattern)
    }

    @Test("writes whole numbers and hexadecimal digits as the standard library does")
    func numbers() {
        var dice = Dice(seed: 1)
        func text(_ write: (inout [UInt8]) -> Void) -> String {
            var out: [UInt8] = []
            write(&out)
            return String(decoding: out, as: UTF8.self)
        }
        for number in [0, 9, 10, 99, 100, .max] + (0..<2_000).map({ _ in dice.next() >> dice.below(64) }) {
            #expect(text { $0.append(json: number) } == "\(number)")
            #expect(text { $0.append(json: Int(truncatingIfNeeded: number)) } == "\(Int(truncatingIfNeeded: number))")
            let hex = String(number, radix: 16)
            let padded = String(repeating: "0", count: 16 - hex.count) + hex
            for digits in [4, 8, 12, 16] {
                #expect(text { $0.append(hex: number, digits: digits) } == padded.suffix(digits))
            }
            var halves: [UInt8] = []
            halves.append(littleEndian: JSONText.hexText(UInt32(truncatingIfNeeded: number)))
            #expect(String(decoding: halves, as: UTF8.self) == padded.suffix(8))
        }
        #expect(text { $0.append(json: Int.min) } == "\(Int.min)")
        #expect(text { $0.append(json: 0.1) } == "0.1")
    }

    @Test(
        "is compared as a tree: order, spelling and white space do not count, everything else does",
        arguments: [
            (#"{"a":1,"b":[true,null]}"#, #" { "b" : [ true , null ] , "a" : 1.0 } "#, true),
            (#""\u00e9""#, "\"é\"", true), ("1e2", "100", true), ("-0", "0", true), ("[1,2]", "[2,1]", false),
            (#"{"a":null}"#, "{}", false), ("\"1\"", "1", false), ("true", "false", false),
            ("\"\u{e9}\"", "\"e\u{301}\"", false),
            (#"{"a":1}"#, #"{"A":1}"#, false),
        ])
    func trees(a: String, b: String, isSame: Bool) throws {
        let (left, right) = (try JSONValue(Array(a.utf8)), try JSONValue(Array(b.utf8)))
        #expect(left.means(right) == isSame && right.means(left) == isSame)
        #expect(throws: JSONValue.Malformed.self) { try JSONValue(Array("[1,".utf8)) }
        #expect(throws: JSONValue.Malformed.self) { try JSONValue(Array("1 1".utf8)) }
    }
}
