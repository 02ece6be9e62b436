import Foundation
import Gossip
import NodeCore
import Synchronization
import Testing

@testable import Node

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

@Suite("The log")
struct LogTests {
    /// 2026-11-21T09:45:00.123Z
    let moment: UInt64 = 1_795_254_300_123

    @Test("A text line is time, level, name and message")
    func textLine() {
        let log = Log(name: "node-1", format: .text)
        #expect(
            text(log.line(.info, "ready", wallMilliseconds: moment)) == "2026-11-21T09:45:00.123Z info  node-1 ready\n")
        #expect(text(log.line(.warning, "w", wallMilliseconds: moment)) == "2026-11-21T09:45:00.123Z warn  node-1 w\n")
        #expect(
            text(Log(name: nil).line(.error, "a\nb\u{1b}[2J\u{9b}", wallMilliseconds: moment))
                == "2026-11-21T09:45:00.123Z error a\\nb\\u{1b}[2J\\u{9b}\n",
            "one record is one line, and steers no terminal")
    }

    @Test("A JSON line is read back by another reader of JSON")
    func jsonLine() throws {
        let line = Log(name: "node \"1\"", format: .json).line(.warning, "a\nb\u{7f}é", wallMilliseconds: moment)
        #expect(line.count { $0 == 0x0a } == 1 && line.last == 0x0a)
        let fields = try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: String])
        #expect(
            fields == [
                "time": "2026-11-21T09:45:00.123Z", "level": "warning", "name": "node \"1\"", "message": "a\nb\u{7f}é",
            ])
    }

    @Test("Below the level nothing is written, and the message is not even made")
    func levels() {
        let lines = Guarded([String]())
        let log = Log(name: nil, minimum: .warning) { bytes in lines.withLock { $0.append(text(bytes)) } }
        var made = 0
        func message() -> String {
            made += 1
            return "m\(made)"
        }
        for level in LogLevel.allCases { log(level, message()) }
        #expect(made == 2)
        #expect(lines.withLock { $0.map { $0.suffix(9) } } == ["warn  m1\n", "error m2\n"].map { $0.suffix(9) })
    }

    @Test("Dates agree with Foundation's, over leap years and centuries")
    func dates() {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        var moment: UInt64 = 0
        while moment < 7_300_000_000_000 {
            let expected = formatter.string(from: Date(timeIntervalSince1970: Double(moment) / 1_000))
            #expect(ISOTime.text(milliseconds: moment) == expected)
            moment += 86_400_000 * 13 + 3_723_004
        }
        #expect(ISOTime.text(milliseconds: 951_782_400_000) == "2000-02-29T00:00:00.000Z")
    }
}
