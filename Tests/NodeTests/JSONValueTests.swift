import NodeCore
import Testing

@testable import Node

private func parse(_ text: String) throws(JSONValue.Malformed) -> JSONValue { try JSONValue(Array(text.utf8)) }
private func again(_ value: JSONValue) -> String { String(decoding: value.encoded(), as: UTF8.self) }

@Suite("The clients' JSON")
struct JSONValueTests {
    @Test("What is read is written again as it was: order, numbers, escapes where they are needed")
    func roundTrip() throws {
        for text in [
            "null", "true", "false", "0", "-0.50e+10", "123456789012345678901234567890", #""""#,
            #""a\"\\\n\t\r\u0001é😀""#, "[]",
            "{}", #"[1,[2,{"b":3,"a":[]}]]"#, #"{"b":1,"a":{"c":null}}"#,
        ] { #expect(again(try parse(text)) == text) }
        #expect(again(try parse(" \t\r\n{ \"a\" : [ 1 , 2 ] } ")) == #"{"a":[1,2]}"#)
        #expect(try parse(#""\/\b\f\u00e9\ud83d\ude00""#).string == "/\u{8}\u{c}é😀")
    }

    @Test("Values are found by key and by kind")
    func access() throws {
        let value = try parse(#"{"a":1.5,"b":"x","c":[true],"a":2}"#)
        #expect(value["a"]?.double == 2, "the last of two counts")
        #expect(value["b"]?.plain == "x" && value["c"]?.plain == "[true]" && value["d"] == nil)
        #expect(value["c"]?.elements == [.bool(true)] && value["b"]?["x"] == nil && value["b"]?.double == nil)
    }

    /// Text, and the byte at which it stops being JSON.
    static let malformed: [(String, Int)] = [
        ("", 0), ("  ", 2), ("nul", 0), ("01", 0), ("1.", 2), ("-", 1), ("1e", 2), ("+1", 0), (".5", 0), ("1 2", 2),
        ("[1", 2),
        ("[1,]", 3), ("[1 2]", 3), ("{", 1), ("{a:1}", 1), (#"{"a" 1}"#, 5), (#"{"a":1,}"#, 7), (#""a"#, 2),
        ("\"a\nb\"", 2),
        (#""\x""#, 1), (#""\u12g4""#, 5), (#""\ud800""#, 1), (#""\ud800\u0041""#, 1), (#""\udc00""#, 1),
        ("\u{feff}1", 0),
        ("[1]]", 3), ("'a'", 0),
    ]

    @Test("Malformed text is refused where it goes wrong", arguments: malformed.indices)
    func refused(_ index: Int) {
        let (text, offset) = Self.malformed[index]
        do throws(JSONValue.Malformed) {
            Issue.record("\(text) was read as \(again(try parse(text)))")
        } catch {
            #expect(error.offset == offset, "\(text): \(error)")
        }
    }

    @Test("Cut anywhere, a text is malformed and nothing worse")
    func cut() throws {
        let whole = Array(#"{"a":[1.5e3,"x\u00e9\ud83d\ude00",true,null],"b":{"c":"é"}}"#.utf8)
        _ = try JSONValue(whole)
        for end in 0..<whole.count {
            #expect(throws: JSONValue.Malformed.self) { try JSONValue(Array(whole[..<end])) }
        }
    }

    @Test("Nesting to 128 is read, beyond it is refused; invalid UTF-8 is refused")
    func bounds() throws {
        let nested = { (depth: Int) in String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
        _ = try parse(nested(128))
        #expect(throws: JSONValue.Malformed.self) { try parse(nested(130)) }
        #expect(throws: JSONValue.Malformed.self) { try parse(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: JSONValue.Malformed.self) { try JSONValue([0x22, 0xc3, 0x28, 0x22]) }
    }
}
