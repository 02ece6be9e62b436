import CRDT
import Foundation
import Gossip
import Testing

@testable import NodeCore

private func iso(_ milliseconds: UInt64) -> String {
    var out: [UInt8] = []
    ISOTime.write(milliseconds: milliseconds, into: &out)
    return String(decoding: out, as: UTF8.self)
}

@Suite("ISO 8601 times")
struct ISOTimeTests {
    @Test("are written and read as Foundation does, for moments of eight thousand years")
    func againstFoundation() {
        var dice = Dice(seed: 2)
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
        for _ in 0..<3_000 {
            let ms = dice.below(253_402_300_800_000)
            let date = Date(timeIntervalSince1970: Double(ms / 1_000))
            let text = iso(ms)
            #expect(text.prefix(19) == style.format(date).prefix(19))
            #expect(text.dropFirst(19) == ".\(String(1_000 + ms % 1_000).dropFirst())Z")
            #expect(ISOTime.milliseconds(text) == ms)
        }
    }

    @Test(
        "are right at the edges",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] as [(UInt64, String)])
    func edges(ms: UInt64, text: String) {
        #expect(iso(ms) == text)
        #expect(ISOTime.milliseconds(text) == ms)
    }

    @Test(
        "are read in the spellings that clients use",
        arguments: [
            ("2026-11-21T09:45:00Z", 0), ("2026-11-21t09:45:00z", 0), ("2026-11-21 09:45:00Z", nil),
            ("2026-11-21T09:45:00.5Z", 500), ("2026-11-21T09:45:00.123456789Z", 123), ("2026-11-21T11:45:00+02:00", 0),
            ("2026-11-21T04:15:00.001-05:30", 1), ("2026-11-21T09:45:00+00:00", 0), ("2026-11-21T09:45:00.Z", nil),
            ("2026-11-21T09:45:00", nil), ("2026-11-21", nil), ("2026-11-21T09:45Z", nil),
            ("2026-13-21T09:45:00Z", nil),
            ("2026-00-21T09:45:00Z", nil), ("2026-11-31T09:45:00Z", nil), ("2026-02-29T09:45:00Z", nil),
            ("2026-11-00T09:45:00Z", nil),
            ("2026-11-21T24:45:00Z", nil), ("2026-11-21T09:60:00Z", nil), ("2026-11-21T09:45:00Zz", nil),
            ("2026-11-21T09:45:00+2:00", nil),
            ("2026-11-21T09:45:00+0200", nil), ("2026-11-21T09:45:00+02:0", nil), ("2026-11-21T09:45:00+02x00", nil),
            ("1969-12-31T23:59:59Z", nil), ("", nil), ("2026-11-2\u{661}T09:45:00Z", nil),
        ] as [(String, UInt64?)])
    func spellings(text: String, ms: UInt64?) {
        #expect(ISOTime.milliseconds(text) == ms.map { 1_795_254_300_000 + $0 })
    }
}

@Suite("UUIDs")
struct UUIDTests {
    @Test("are read and written as Foundation does")
    func againstFoundation() {
        var dice = Dice(seed: 3)
        for _ in 0..<2_000 {
            let ours = EventID(high: dice.next(), low: dice.next())
            let theirs = Foundation.UUID(uuidString: ours.text)
            #expect(theirs?.uuidString.lowercased() == ours.text)
            #expect(EventID(ours.text.uppercased()) == ours)
        }
    }

    @Test("say their version and variant (RFC 9562)")
    func versions() {
        for (low, high) in [(0, 0), (.max, .max)] as [(UInt64, UInt64)] {
            let (random, computed) = (EventID(random: low, high).text, EventID(computed: low, high).text)
            #expect(Array(random)[14] == "4")
            #expect(Array(computed)[14] == "8")
            for text in [random, computed] { #expect("89ab".contains(Array(text)[19])) }
        }
    }

    @Test("sort as their texts do")
    func order() {
        var dice = Dice(seed: 4)
        let some = (0..<200).map { _ in EventID(high: dice.below(3), low: dice.next()) }
        #expect(some.sorted().map(\.text) == some.map(\.text).sorted())
    }

    @Test(
        "are nothing else",
        arguments: [
            "", "0190b5e2", "0190b5e27c1a4d3e9f001234567890ab", "0190b5e2-7c1a-4d3e-9f00-1234567890a",
            "0190b5e2-7c1a-4d3e-9f00-1234567890abc", "0190b5e2-7c1a-4d3e-9f00-1234567890ag",
            "0190b5e2 7c1a-4d3e-9f00-1234567890ab",
            "0190b5e27-c1a-4d3e-9f00-1234567890ab", "{190b5e2-7c1a-4d3e-9f00-1234567890a}",
            "+190b5e2-7c1a-4d3e-9f00-1234567890ab",
        ])
    func refused(text: String) {
        #expect(EventID(text) == nil)
    }
}
