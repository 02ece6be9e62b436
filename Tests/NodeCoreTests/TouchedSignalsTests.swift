import CRDT
import Testing

@testable import NodeCore

@Suite("Which signals an event touches")
struct TouchedSignalsTests {
    private var world = NodeWorld()

    @Test(
        "those of its own pattern, else its action; else none",
        arguments: [
            ("proposal", #"{"pattern":"p","action":"a"}"#, ["p"]), ("proposal", #"{"action":"a"}"#, ["a"]),
            ("ready", #"{"status":"done"}"#, []), ("test", #"{"status":"ok","pattern":"\u0070"}"#, ["p"]),
            ("reward", #"{"value":1,"action":"a"}"#, ["a"]), ("penalty", #"{"value":-1,"pattern":"p"}"#, ["p"]),
        ] as [(String, String, [String])])
    mutating func own(type: String, payload: String, expected: [String]) {
        _ = world.post(0, "proposal", #"{"action":"strongest"}"#)
        #expect(world.post(0, type, payload).signals == expected)
    }

    @Test("those of the nearest ancestors that have any, in the order of the parents")
    mutating func ancestors() {
        let far = world.post(0, "proposal", #"{"action":"far"}"#).id
        let a = world.post(0, "proposal", parents: [far], #"{"action":"a"}"#).id
        let b = world.post(0, "proposal", parents: [far], #"{"action":"b"}"#).id
        let plain = world.post(0, "ready", parents: [b, a], #"{"status":"done"}"#).id
        let mute = world.post(0, "test", #"{"status":"ok"}"#).id
        func touched(_ parents: [String]) -> [String] {
            var world = world
            return world.post(0, "reward", parents: parents, #"{"value":0.1}"#).signals
        }
        #expect(touched([a]) == ["a"])
        #expect(touched([b, a, b]) == ["b", "a"])
        #expect(touched([plain]) == ["b", "a"])
        #expect(touched([plain, a]) == ["a"], "a is a generation nearer than b")
        #expect(touched([a, far]) == ["a", "far"])
        #expect(touched([mute]) == [], "an ancestry without patterns is not replaced by the strongest")
        #expect(touched([mute, plain]) == ["b", "a"])
        #expect(touched([a.uppercased()]) == ["a"])
    }

    @Test("none where a parent is unknown here, for it could be the nearest")
    mutating func unknown() {
        let known = world.post(0, "proposal", #"{"action":"a"}"#).id
        for parents in [[id(9)], [id(9), known], [known, id(9)], ["no uuid", known]] {
            #expect(world.post(0, "reward", parents: parents, #"{"value":1}"#).signals == [])
        }
        let child = world.post(0, "ready", parents: [id(9)], #"{"status":"x"}"#).id
        #expect(world.post(0, "reward", parents: [child], #"{"value":1}"#).signals == [])
    }

    @Test("asks at most 64 ancestors, each once")
    mutating func sixtyFour() {
        var last = world.post(0, "proposal", #"{"action":"root"}"#).id
        for _ in 1..<64 { last = world.post(0, "ready", parents: [last, last], #"{"status":"x"}"#).id }
        #expect(world.post(0, "reward", parents: [last, last], #"{"value":0.1}"#).signals == ["root"])
        last = world.post(0, "ready", parents: [last], #"{"status":"x"}"#).id
        #expect(world.post(0, "reward", parents: [last], #"{"value":0.1}"#).signals == [])
    }

    @Test("ends where events name each other as parents")
    mutating func cycle() {
        _ = world.post(0, id: id(1), "ready", parents: [id(2)], #"{"status":"x"}"#)
        _ = world.post(0, id: id(2), "ready", parents: [id(1), id(2)], #"{"status":"x"}"#)
        #expect(world.post(0, "penalty", parents: [id(1)], #"{"value":1}"#).signals == [])
    }

    @Test("without parents the strongest of its scope, at most 256")
    mutating func strongest() {
        for (pattern, value) in [("b", 0.1), ("c", 0.5), ("a", 0.1)] {
            _ = world.post(0, "reward", #"{"pattern":"\#(pattern)","value":\#(value)}"#)
        }
        _ = world.post(0, "proposal", scope: "elsewhere", #"{"action":"z"}"#)
        #expect(world.post(0, "penalty", #"{"value":0.05}"#).signals == ["c", "a", "b"])
        #expect(world.post(0, "reward", scope: "nowhere", #"{"value":1}"#).signals == [])
        for i in 0..<300 { _ = world.post(0, "reward", scope: "big", #"{"pattern":"p\#(i)","value":0.\#(100 + i)}"#) }
        let touched = world.post(0, "penalty", scope: "big", #"{"value":0.01}"#).signals
        #expect(touched == (44..<300).reversed().map { "p\($0)" })
    }

    @Test("and changes them by the formulas: α and its spellings, and a penalty's size")
    mutating func formulas() {
        for (pattern, payload) in [
            ("default", #""value":0.5"#), ("greek", #""value":0.5,"α":0.5"#), ("latin", #""value":0.5,"alpha":0.4"#),
            ("both", #""alpha":9,"value":0.5,"α":0.2"#), ("escaped", #""value":0.5,"\u03b1":0.1"#),
            ("clamped", #""value":5"#),
        ] {
            #expect(world.post(0, "reward", #"{"pattern":"\#(pattern)",\#(payload)}"#).status == 201)
        }
        _ = world.post(0, "penalty", #"{"pattern":"default","value":0.1}"#)
        _ = world.post(0, "penalty", #"{"pattern":"clamped","value":-0.25}"#)
        _ = world.post(0, "penalty", #"{"pattern":"nothing there","value":0.25}"#)
        #expect(
            world.strengths(0) == [
                "ui/default": 0.5 * 1.2 - 0.1, "ui/greek": 0.25, "ui/latin": 0.5 * 0.4, "ui/both": 0.5 * 0.2,
                "ui/escaped": 0.5 * 0.1, "ui/clamped": 0.75,
            ])
    }

    @Test("are read at any moment, and the answer says at which")
    mutating func reading() {
        _ = world.post(0, "proposal", #"{"action":"a\"b"}"#)
        let now = world.ask(0, .signal(scope: "ui", pattern: "a\"b", at: nil))
        #expect(now.tick == NodeWorld.startMs)
        #expect(now.object["strength"] as? Double == 0.3)
        #expect(now.object["pattern"] as? String == "a\"b")
        #expect(now.object["last_updated"] as? String == "2025-02-19T21:20:30.123Z")
        #expect(now.object["alpha"] as? Double == 1.2)
        #expect(now.object["lambda"] as? Double == 0.95)
        let later = world.ask(0, .signal(scope: "ui", pattern: "a\"b", at: NodeWorld.startMs + 60_000))
        #expect(later.tick == NodeWorld.startMs + 60_000)
        #expect(later.object["strength"] as? Double == 0.3 * 0.95)
        #expect(later.id == now.id)
        let before = world.ask(0, .signal(scope: "ui", pattern: "a\"b", at: NodeWorld.startMs - 1))
        #expect(before.status == 404)
        #expect(before.message.contains("no signal for pattern"))
        #expect(world.ask(0, .signals(scope: nil, pattern: nil, minimumStrength: 0.31, at: nil)).text == "[]")
    }
}
