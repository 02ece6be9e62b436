import CRDT
import Testing

@testable import NodeCore

@Suite("A put")
struct PutTests {
    @Test("has one stamp, so of several changes of one field the last is written")
    func lastOfEachField() throws {
        var world = NodeWorld()
        var value: (a: [UInt8]?, b: [UInt8]?, c: [UInt8]?)
        let now = world.now
        world.tamper(0) { core in
            var effects = NodeCore.Effects()
            let changes: [DocumentMap.Change] = [
                .create, .set(field: "a", value: [1]), .set(field: "b", value: [1]), .unset(field: "a"),
                .unset(field: "c"), .set(field: "b", value: [2]), .set(field: "c", value: [3]),
            ]
            _ = try? core.put("node/x", changes, now: now, into: &effects)
            let documents = core.documents
            value = (
                documents.value(of: "a", in: "node/x"), documents.value(of: "b", in: "node/x"),
                documents.value(of: "c", in: "node/x")
            )
        }
        #expect(value.a == nil && value.b == [2] && value.c == [3])
    }
}
