import NodeCore
import Foundation
import Testing

@testable import Node

private func json(_ text: String) throws -> JSONValue { try JSONValue(Array(text.utf8)) }

@Suite("What clients print")
struct DisplayTests {
    @Test("Columns are as wide as their widest cell; control characters from elsewhere are escaped")
    func table() {
        var table = Table(["A", "LONG", "N"], rightAligned: [2])
        table.add(["x\u{1b}[31m", "y", "5"])
        table.add(["é", "", "123"])
        #expect(table.text == "A            LONG    N\nx\\u{1b}[31m  y       5\né                  123\n")
    }

    @Test("Members, with the asked node marked and how much each has read")
    func members() throws {
        let text = membersText(
            try json(
                """
                {"name":"node-1","replica":"aa","members":[
                {"name":"node-1","replica":"aa","state":"alive","http":"h:1","gossip":"g:1","incarnation":"1.0","read":{"aa":7,"bb":5}},
                {"name":"node-2","replica":"bb","state":"dead","http":null,"gossip":"g:2","incarnation":"1.2","read":{}}],
                "reachable":1,"cluster":"hypha"}
                """))
        #expect(
            text == """
                NAME      STATE  HTTP  GOSSIP  INCARNATION  READ  REPLICA
                node-1 *  alive  h:1   g:1     1.0            12  aa
                node-2    dead         g:2     1.2             0  bb
                1 of 2 reachable from node-1 (*)

                """)
    }

    @Test("Signals with bars and the moment they were read at")
    func signals() throws {
        let signals = [try json(#"{"scope":"ui","pattern":"p","strength":0.52499,"last_updated":"t"}"#)]
        #expect(
            signalsText(signals, tick: 1_795_254_300_000) == """
                SCOPE  PATTERN  STRENGTH                        UPDATED
                ui     p           0.525  ██████████▌           t
                1 signal at 2026-11-21T09:45:00.000Z

                """)
        #expect(signalsText([], tick: nil) == "no signals\n")
    }

    @Test("An event is one line, whatever is in it, and a long payload is cut")
    func event() throws {
        let text = eventText(
            try json(
                #"{"id":"1","timestamp":"T","type":"reward","scope":"a\nb","agent_id":"ada","payload":{"x":"\n"}}"#))
        #expect(text == "T  reward    a\\nb              ada           {\"x\":\"\\n\"}  1")
        let long = eventText(try json(#"{"payload":"\#(String(repeating: "x", count: 500))"}"#))
        #expect(long.count < 220 && long.contains("x…") && !long.contains("\n"))
    }

    @Test("watch asks for scopes in the node's words, prints events and nothing else, and stops when it is refused")
    func watch() throws {
        #expect(
            String(decoding: subscription(to: "ui.>"), as: UTF8.self)
                == #"{"type":"subscribe","filter":{"scope":"ui.>"}}"#)
        var options = WatchOptions()
        let frame = Array(#"{"type":"event","data":{"id":"1", "α":0.50}}"#.utf8)
        #expect(try watchLine(frame, options)?.hasSuffix("1\n") == true)
        options.access.json = true
        #expect(try watchLine(frame, options) == "{\"id\":\"1\",\"α\":0.50}\n")
        #expect(try watchLine(Array(#"{"type":"later"}"#.utf8), options) == nil)
        #expect(try watchLine(Array("{".utf8), options) == nil)
        #expect(throws: ClientError.rejected("bad scope")) {
            try watchLine(Array(#"{"type":"error","message":"bad scope"}"#.utf8), options)
        }
    }

    @Test("A stream of bytes is cut into lines wherever it was cut before; a line without end comes in pieces")
    func lines() {
        let text = Array("one\n\ntwo and\nthree".utf8)
        for cut in 0...text.count {
            var splitter = LineSplitter()
            var lines: [String] = []
            let take = { (line: ArraySlice<UInt8>) in lines.append(String(decoding: line, as: UTF8.self)) }
            splitter.feed(text[..<cut], take)
            splitter.feed(text[cut...], take)
            splitter.finish(take)
            splitter.finish(take)
            #expect(lines == ["one", "", "two and", "three"], "cut at \(cut)")
        }
        var splitter = LineSplitter(maximum: 4)
        var sizes: [Int] = []
        for _ in 0..<3 { splitter.feed([1, 2, 3]) { sizes.append($0.count) } }
        splitter.finish { sizes.append($0.count) }
        #expect(sizes == [6, 3])
    }

    @Test("How a child ended is read from the system's status")
    func childEnds() {
        #expect(ChildProcess.End(waitStatus: 0) == .exited(0))
        #expect(ChildProcess.End(waitStatus: 3 << 8) == .exited(3))
        #expect(ChildProcess.End(waitStatus: 9) == .signalled(9))
        #expect(ChildProcess.End(waitStatus: 11 | 0x80) == .signalled(11), "with a core dump")
        #expect(ChildProcess.End.signalled(9).description == "was ended by signal 9 (killed)")
    }

    @Test("A benchmark's result reads well and is one line of JSON")
    func benchResult() throws {
        var delays = DelayHistogram()
        for value in [1_000_000, 2_000_000, 3_000_000] as [UInt64] { delays.record(value) }
        var load = Load()
        load.seconds = 2
        let clean = BenchResult(title: "post", load: load, unit: "requests", delays: delays, faults: [("errors", 0)])
        #expect(clean.isClean)
        let value = try json(clean.output(json: true))
        #expect(
            value["requests"]?.double == 3 && value["requests_per_second"]?.double == 1.5
                && value["errors"]?.double == 0)
        #expect(value["p50_ms"].flatMap(\.double).map { abs($0 - 2) < 0.04 } == true && value["p999_ms"]?.double == 3)
        #expect(clean.output(json: false).hasPrefix("post, 2.0 s at http://127.0.0.1:5000\n  requests/s    1\n"))
        let faulty = BenchResult(
            title: "post", load: load, unit: "requests", delays: delays, faults: [("out_of_order", 1_234)],
            firstError: "HTTP 400")
        #expect(!faulty.isClean && faulty.output(json: false).contains("1234 out of order\n  first error   HTTP 400\n"))
        #expect(
            !BenchResult(title: "", load: load, unit: "", delays: DelayHistogram(), faults: []).isClean,
            "nothing is no success")
        #expect(grouped(0) == "0" && grouped(999) == "999" && grouped(-1_234_567) == "-1,234,567")
    }

    @Test("A benchmark's request is well formed, and its changing places keep its length")
    func template() throws {
        var template = EventTemplate(run: 0xab, host: "h:1")
        let length = template.bytes.count
        template.fill(publisher: 3, sequence: 1_234_567, nanoseconds: 42)
        #expect(template.bytes.count == length)
        let text = String(decoding: template.bytes, as: UTF8.self)
        let body = try #require(text.components(separatedBy: "\r\n\r\n").last)
        #expect(text.contains("\r\nContent-Length: \(body.utf8.count)\r\n"))
        let event = try json(body)
        #expect(event["scope"]?.string == "bench.s67" && event["trace_id"]?.string == "trace-000000ab0012d687")
        var hint = 0
        let mark = Mark.find(in: template.bytes.span.bytes, run: 0xab, hint: &hint)
        #expect(mark == Mark(run: 0xab, publisher: 3, sequence: 1_234_567, nanoseconds: 42))
        #expect(event["payload"]?["mark"]?.string?.utf8.count == Mark.byteCount)
    }
}
