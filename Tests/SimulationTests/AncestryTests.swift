import NodeCore
import Testing

@testable import Simulate

@Suite("Ancestry: which signals an event touches that names none")
struct AncestryTests {
    /// A proposal of p, a test that names nothing below it, and a reward below that, in the log of replica 1.
    private func violation(signals: String, known: [Int] = [0, 1, 2], copies: Int = 1) -> String? {
        var ledger = Ledger()
        var events: [JSON] = []
        let texts = [
            (#""type":"proposal","payload":{"action":"p"},"signals":["p"]"#, []),
            (#""type":"test","payload":{},"signals":[]"#, [0]),
            (#""type":"reward","payload":{"value":0.1},"signals":\#(signals)"#, [1]),
        ]
        let origin = Session(id: SessionID(1), node: 0, life: 1, filter: nil, openedAfter: 0)
        for (number, (text, parents)) in texts.enumerated() {
            let id = "00000000-0000-4000-8000-00000000000\(number)"
            let place = ledger.add(
                Posting(key: EventKey(text: id)!, scope: "s", parents: parents, body: [], otherBody: nil))
            ledger[place].copies = copies
            let stamp = "019b76df0c46000\(number)-0000000000000001"
            let json = #"{"id":"\#(id)","scope":"s","stamp":"\#(stamp)","replica":"0000000000000001",\#(text)}"#
            events.append((try? JSONReader.parse(Array(json.utf8))) ?? .null)
        }
        for (place, event) in known.enumerated() {
            origin.shown.append(event)
            origin.place[event] = place
        }
        do throws(Violation) {
            try Ancestry(events, ledger: ledger, origins: [1: origin]).check(decay: 0.95)
            return nil
        } catch { return error.promise }
    }

    private let broken = "an event without a pattern touches those of its nearest ancestors, or of its scope"

    @Test("The nearest generation that has patterns decides")
    func nearest() {
        #expect(violation(signals: #"["p"]"#) == nil)
        #expect(violation(signals: "[]") == broken)
        #expect(violation(signals: #"["p","q"]"#) == broken)
    }

    @Test("A parent that the node did not know decides that there are none")
    func unknown() {
        #expect(violation(signals: "[]", known: [0, 2, 1]) == nil)
        #expect(violation(signals: #"["p"]"#, known: [0, 2, 1]) == broken)
    }

    @Test("Where two nodes took an id as new, nothing is claimed")
    func twins() { #expect(violation(signals: "[]", copies: 2) == nil) }
}
