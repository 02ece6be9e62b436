import CRDT
import Testing

@testable import Simulate

@Suite("Finally: the graph is what agents wrote")
struct GraphKeptTests {
    private let life = Acknowledgement(node: 0, history: 1)
    private let feeds = #"{"to":"b","type":"feeds"}"#

    /// What was asked for and taken, a millisecond after another; the second node got its id from a peer.
    private func ledger(
        _ more: [(GraphWrite.What, String)] = [], holder: Acknowledgement? = nil
    ) -> GraphLedger {
        var ledger = GraphLedger()
        let edge = GraphEdge(to: "b", type: "feeds")
        let whats: [(GraphWrite.What, String)] = [
            (.node(id: "a"), "a"), (.node(id: nil), "b"), (.edge(from: "a", edge), "a"),
        ]
        for (i, (what, id)) in (whats + more).enumerated() {
            let life = i < whats.count ? self.life : holder ?? self.life
            ledger.take(ledger.write(what), of: id, at: stamp(i), now: UInt64(i), by: life)
        }
        return ledger
    }

    private func stamp(_ place: Int) -> HybridTimestamp {
        HybridTimestamp(milliseconds: 1_000 + UInt64(place), replica: ReplicaID(7))
    }

    private func node(
        _ id: String, _ number: Int, note: Int? = nil, edges: String = "", type: String = "idea"
    ) -> String {
        let note = note.map { ",\"note\":\($0)" } ?? ""
        return #"{"id":"\#(id)","type":"\#(type)","data":{"n":\#(number)\#(note)},"edges":[\#(edges)]}"#
    }

    private func broken(
        _ nodes: [String], _ ledger: GraphLedger? = nil, lastReset: UInt64 = 0, survives: Bool = true
    ) -> String? {
        do throws(Violation) {
            let list = Array("[\(nodes.joined(separator: ","))]".utf8)
            try Finally.graphKept(list, ledger: ledger ?? self.ledger(), lastReset: lastReset) {
                $0 == life && survives
            }
        } catch { return error.promise }
        return nil
    }

    @Test("Everything there as written is fine; and so is nothing, when nobody survives that acknowledged it")
    func whole() {
        #expect(broken([node("a", 0, edges: feeds), node("b", 1)]) == nil)
        #expect(broken([], survives: false) == nil)
    }

    @Test("What is lost is noticed: a node, an edge, the type of an edge")
    func lost() {
        let lostNode = "no graph node is lost that a survivor acknowledged"
        #expect(broken([node("a", 0, edges: feeds)]) == lostNode)
        #expect(broken([node("b", 1)]) == lostNode)
        #expect(broken([node("a", 0), node("b", 1)]) == "no edge is lost that a survivor acknowledged")
    }

    @Test("What nobody wrote is noticed: a node, an edge, a field with another value, a copy")
    func strange() {
        let whole = [node("a", 0, edges: feeds), node("b", 1)]
        let says = "a graph node says what was written"
        for (list, promise) in [
            (whole + [node("c", 3)], "no graph node is there that nobody wrote"),
            (whole + [node("b", 1)], "no graph node is listed twice"),
            ([node("a", 0, edges: feeds), node("b", 1, type: "fact")], says),
            ([node("b", 0, edges: feeds), node("a", 1)], says),
            ([node("a", 0, note: 1, edges: feeds), node("b", 1)], says),
            (
                [node("a", 0, edges: feeds + #",{"to":"b","type":"grows from"}"#), node("b", 1)],
                "no edge is there that nobody drew"
            ),
            ([node("a", 0, edges: "\(feeds),\(feeds)"), node("b", 1)], "no edge is listed twice"),
            (["{}"], "a graph node has an id, data and edges"),
        ] { #expect(broken(list) == promise, "\(list)") }
    }

    @Test("What was removed stays away, unless somebody wrote it again later")
    func removed() {
        let edge = GraphEdge(to: "b", type: "feeds")
        let whole = [node("a", 0, edges: feeds), node("b", 1)]
        let gone = ledger([(.remove("a"), "a")])
        #expect(broken([node("b", 1)], gone) == nil)
        #expect(broken(whole, gone) == "no graph node comes back that was removed")
        let cut = ledger([(.cut(from: "a", edge), "a")])
        #expect(broken([node("a", 0), node("b", 1)], cut) == nil)
        #expect(broken(whole, cut) == "no edge comes back that was removed")
        // Made anew, without what it had.
        let anew = ledger([(.remove("a"), "a"), (.node(id: "a"), "a")])
        #expect(broken([node("a", 4), node("b", 1)], anew) == nil)
        #expect(broken([node("a", 4, edges: feeds), node("b", 1)], anew) == "no edge comes back that was removed")
        #expect(broken([node("b", 1)], anew) == "no graph node is lost that a survivor acknowledged")
        // A note that was written, and one that was removed after it.
        let note = ledger([(.note("b"), "b")])
        #expect(broken([node("a", 0, edges: feeds), node("b", 1, note: 3)], note) == nil)
        #expect(broken(whole, note) == "a graph node says what was written")
        let unnoted = ledger([(.note("b"), "b"), (.unnote("b"), "b")])
        #expect(broken(whole, unnoted) == nil)
        #expect(
            broken([node("a", 0, edges: feeds), node("b", 1, note: 3)], unnoted) == "a graph node says what was written"
        )
    }

    @Test("What only the dead had may be lost or there; so may what was submitted again come later than it was")
    func uncertain() {
        let whole = [node("a", 0, edges: feeds), node("b", 1)]
        let gone = ledger([(.remove("a"), "a")], holder: Acknowledgement(node: 1, history: 1))
        #expect(broken([node("b", 1)], gone) == nil && broken(whole, gone) == nil)
        // A removal before the last reset may come after what was written later.
        let anew = ledger([(.remove("a"), "a"), (.node(id: "a"), "a")])
        #expect(broken([node("b", 1)], anew, lastReset: 4) == nil)
        #expect(broken([node("b", 1)], anew, lastReset: 3) == "no graph node is lost that a survivor acknowledged")
    }

    @Test("Who has seen a write is shown that one or a later one")
    func seen() throws {
        func promise(_ place: Int, _ text: String?, of id: String, _ ledger: GraphLedger) throws -> String? {
            let answer = try text.map { try JSONReader.parse(Array($0.utf8)) }
            do throws(Violation) {
                try Finally.showsAtLeast(stamp(place), of: id, answer, ledger: ledger, lastReset: 0)
            } catch { return error.promise }
            return nil
        }
        let covers = "a read with a clock covers the write that the clock came from"
        #expect(try promise(0, nil, of: "a", ledger()) == covers)
        #expect(try promise(0, node("a", 0), of: "a", ledger()) == nil, "the edge came later")
        #expect(try promise(2, node("a", 0), of: "a", ledger()) == covers)
        #expect(try promise(2, node("a", 0, edges: feeds), of: "a", ledger()) == nil)
        let gone = ledger([(.remove("a"), "a")])
        #expect(try promise(0, nil, of: "a", gone) == nil)
        #expect(try promise(3, node("a", 0), of: "a", gone) == covers)
    }

    @Test("An answer must be what was written")
    func answers() throws {
        let ledger = ledger([(.retype("a"), "a"), (.note("a"), "a"), (.unnote("a"), "a")])
        func promise(_ text: String, at place: Int) throws -> String? {
            let answer = try JSONReader.parse(Array(text.utf8))
            do throws(Violation) { _ = try Finally.graphAnswer(answer, to: ledger.writes[place], at: place) } catch {
                return error.promise
            }
            return nil
        }
        let wrong = "a graph node is answered as it was written"
        #expect(try promise(node("a", 0), at: 0) == nil)
        #expect(try promise(node("c", 0), at: 0) == "a graph node is answered under the id that it was given")
        #expect(try promise(node("a", 1), at: 0) == wrong)
        #expect(try promise(node("c", 1), at: 1) == nil)
        #expect(try promise(node("a", 0, edges: feeds), at: 2) == nil)
        #expect(try promise(node("a", 0), at: 2) == wrong)
        #expect(try promise(node("a", 0, type: "idea 3"), at: 3) == nil)
        #expect(try promise(node("a", 0), at: 3) == wrong)
        #expect(try promise(node("a", 0, note: 4), at: 4) == nil)
        #expect(try promise(node("a", 0, note: 4), at: 5) == wrong)
    }
}
