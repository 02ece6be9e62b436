import CRDT
import Testing

private typealias Document = LWWMap<String, String>

/// One write to a document, as replicas exchange it.
private enum Write {
    case put(String, String?, HybridTimestamp)
    case create(HybridTimestamp)
    case remove(HybridTimestamp)

    func apply(to document: inout Document) {
        switch self {
        case .put(let field, let value, let stamp): document.put(field, value, at: stamp)
        case .create(let stamp): document.create(at: stamp)
        case .remove(let stamp): document.remove(at: stamp)
        }
    }
}

private func document(_ writes: [Write]) -> Document {
    var document = Document()
    for write in writes { write.apply(to: &document) }
    return document
}

@Suite("A last-writer-wins register")
struct LWWRegisterTests {
    @Test("keeps the write with the highest stamp in every order of arrival; the replica breaks a tie")
    func everyDelivery() {
        let writes = [
            LWWRegister("first", at: stamp(10, by: 9)), LWWRegister("second", at: stamp(20, by: 1)),
            LWWRegister("tied, lower replica", at: stamp(30, 1, by: 1)),
            LWWRegister("tied, higher replica", at: stamp(30, 1, by: 2)), LWWRegister(nil, at: stamp(25, by: 3)),
        ]
        everyOrder(of: writes) { order in
            var register = order[0]
            for write in order + order.reversed() { register.merge(write) }
            #expect(register.value == "tied, higher replica")
        }
        #expect(brokenLaw(writes) == nil)
    }

    @Test("keeps a removal, so that an older write does not bring the value back")
    func removal() {
        var register = LWWRegister<String>(nil, at: stamp(20))
        #expect(register.merge(LWWRegister("late", at: stamp(10))) == false)
        #expect(register.value == nil)
        #expect(register.merge(LWWRegister("new", at: stamp(30))) == true)
        #expect(register.value == "new")
    }
}

@Suite("A document")
struct LWWMapTests {
    /// Written, removed, patched late and made anew, by three replicas with a tie.
    private static let history: [Write] = [
        .create(stamp(10, by: 1)), .put("status", "idle", stamp(11, by: 1)), .remove(stamp(20, by: 2)),
        .put("status", "busy", stamp(20, by: 3)), .create(stamp(30, by: 1)),
    ]

    @Test("is the same after every order of its writes, each delivered twice")
    func everyDelivery() {
        let expected = document(Self.history)
        everyOrder(of: Self.history) { order in
            #expect(document(order) == expected)
            #expect(document(order + order.reversed()) == expected)
        }
        #expect(expected.exists)
        #expect(expected["status"] == "busy")
    }

    @Test("obeys the laws of a join, however its writes are spread over replicas")
    func laws() {
        everySplit(of: Self.history.count, into: 2) { owners in
            let parts = (0..<2).map { part in document(zip(Self.history, owners).filter { $1 == part }.map(\.0)) }
            #expect(brokenLaw(parts + [Document()]) == nil)
            var merged = parts[0]
            merged.merge(parts[1])
            #expect(merged == document(Self.history))
        }
    }

    @Test("lets two agents that edit different fields both win")
    func fieldLevel() {
        var left = document([.create(stamp(10)), .put("status", "idle", stamp(11))])
        var right = left
        left.put("status", "busy", at: stamp(20, by: 1))
        right.put("mood", "calm", at: stamp(20, by: 2))
        right.put("status", "gone", at: stamp(19, by: 2))
        left.merge(right)
        right.merge(left)
        #expect(left == right)
        #expect(left.fields.map { "\($0.field)=\($0.value)" } == ["mood=calm", "status=busy"])
    }

    @Test("is raised by no late patch once removed, and inherits nothing when made anew")
    func zombie() {
        var it = document([.create(stamp(10)), .put("a", "old", stamp(11)), .remove(stamp(20))])
        #expect(!it.exists)
        it.put("b", "late patch", at: stamp(25))
        #expect(!it.exists)
        #expect(it["b"] == nil)
        #expect(it.fields.isEmpty)

        it.create(at: stamp(30))
        #expect(it.exists)
        #expect(it["a"] == nil, "written before the removal")
        #expect(it["b"] == "late patch", "written after it")
    }

    @Test("hides a field that was removed, and shows it when it is written again")
    func fieldRemoval() {
        var it = document([.create(stamp(10)), .put("a", "1", stamp(11)), .put("a", nil, stamp(12))])
        #expect(it["a"] == nil)
        #expect(it.fields.isEmpty)
        #expect(it.put("a", "older", at: stamp(11, 5)) == false)
        #expect(it.put("a", "2", at: stamp(13)) == true)
        #expect(it["a"] == "2")
    }

    @Test("does not exist without having been created, whatever was written to it")
    func neverCreated() {
        let it = document([.put("a", "1", stamp(11))])
        #expect(!it.exists)
        #expect(it["a"] == nil)
    }

    @Test("names its fields in order, and reports what won")
    func reports() {
        var it = Document()
        #expect(it.create(at: stamp(10)) == true)
        #expect(it.create(at: stamp(10)) == false)
        #expect(it.create(at: stamp(9)) == false)
        #expect(it.put("z", "1", at: stamp(11)) == true)
        #expect(it.put("a", "1", at: stamp(11, 1)) == true)
        #expect(it.put("a", "0", at: stamp(11)) == false)
        #expect(it.fields.map(\.field) == ["a", "z"])
        #expect(it.remove(at: stamp(12)) == true)
        #expect(it.remove(at: stamp(12)) == false)
    }
}
