import Testing

@testable import Simulate

@Suite("Finally: the graph is what agents wrote")
struct GraphKeptTests {
    /// Two nodes and an edge, all acknowledged by the first life of machine 0; the second node got its id from a peer.
    private func ledger() -> Ledger {
        var ledger = Ledger()
        let edge = GraphEdge(to: "b", type: "feeds")
        for (what, id) in [(.node(id: "a"), "a"), (.node(id: nil), "b"), (.edge(from: "a", edge), "a")]
            as [(GraphWrite.What, String)]
        {
            let place = ledger.write(what)
            ledger.acknowledge(graph: place, id: id, by: Acknowledgement(node: 0, life: 1))
        }
        return ledger
    }

    private func node(_ id: String, _ number: Int, edges: String = "", type: String = "idea") -> String {
        #"{"id":"\#(id)","type":"\#(type)","data":{"n":\#(number)},"edges":[\#(edges)]}"#
    }

    private func broken(_ nodes: [String], survives: Bool = true) -> String? {
        do throws(Violation) {
            let list = Array("[\(nodes.joined(separator: ","))]".utf8)
            try Finally.graphKept(list, ledger: ledger()) { _ in survives }
        } catch { return error.promise }
        return nil
    }

    private let feeds = #"{"to":"b","type":"feeds"}"#

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
            (whole + [node("c", 2)], "no graph node is there that nobody wrote"),
            (whole + [node("c", 1)], says), (whole + [node("b", 1)], "no graph node is listed twice"),
            ([node("a", 0, edges: feeds), node("b", 1, type: "fact")], says),
            ([node("b", 0, edges: feeds), node("a", 1)], says),
            (
                [node("a", 0, edges: feeds + #",{"to":"b","type":"grows from"}"#), node("b", 1)],
                "no edge is there that nobody drew"
            ),
            ([node("a", 0, edges: "\(feeds),\(feeds)"), node("b", 1)], "no edge is listed twice"),
            (["{}"], "a graph node has an id and edges"),
        ] { #expect(broken(list) == promise, "\(list)") }
    }

    @Test("An answer must be what was written")
    func answers() throws {
        let ledger = ledger()
        func promise(_ text: String, at place: Int) throws -> String? {
            let answer = try JSONReader.parse(Array(text.utf8))
            do throws(Violation) { _ = try Finally.graphAnswer(answer, to: ledger.graph[place], at: place) } catch {
                return error.promise
            }
            return nil
        }
        #expect(try promise(node("a", 0), at: 0) == nil)
        #expect(try promise(node("c", 0), at: 0) == "a graph node is answered under the id that it was given")
        #expect(try promise(node("a", 1), at: 0) == "a graph node is answered as it was written")
        #expect(try promise(node("c", 1), at: 1) == nil)
        #expect(try promise(node("a", 0, edges: feeds), at: 2) == nil)
        #expect(try promise(node("a", 0), at: 2) == "an edge is answered with its node, in which it is")
    }
}
