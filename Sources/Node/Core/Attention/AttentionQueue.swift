import CRDT

/// What one agent attends to: the document `attention/<agent>`, read. Its field `focus` is the id of a dialogue as JSON
/// text, each `dialogue/<id>` a JSON object.
struct AttentionQueue {
    /// The most dialogues of one agent.
    static let maximum = 1_000

    /// One dialogue.
    struct Dialogue: Equatable {
        let id: String
        /// 0 to 10.
        var importance = 5.0
        /// Milliseconds since the Unix epoch.
        var deadlineMs: UInt64?
        /// How close its partners are to the agent, 0 to 1.
        var relation = 0.5
        /// When it was last attended to, in milliseconds since the Unix epoch.
        var lastMs: UInt64 = 0
        /// Whatever the agent needs to go on with it.
        var state = JSONValue.null

        init(_ id: String) { self.id = id }

        /// Reads a field's value; what is missing or odd is as if never said.
        init(_ id: String, _ value: JSONValue) {
            self.id = id
            func number(_ name: String) -> Double? { value[name]?.double }
            importance = min(max(number("importance") ?? 5, 0), 10)
            deadlineMs = number("deadline").flatMap { UInt64(exactly: $0) }
            relation = min(max(number("relation") ?? 0.5, 0), 1)
            lastMs = number("last_interaction").flatMap { UInt64(exactly: $0) } ?? 0
            state = value["state"] ?? .null
        }

        /// The value of its field.
        var stored: JSONValue {
            var members: [(key: String, value: JSONValue)] = [
                ("importance", .number("\(importance)")), ("relation", .number("\(relation)")),
                ("last_interaction", .number(Int(lastMs))),
            ]
            if let deadlineMs { members.append(("deadline", .number(Int(deadlineMs)))) }
            if state != .null { members.append(("state", state)) }
            return .object(members)
        }

        /// How urgent it is to attend to it, 0 to 10: 4 for importance, 3 for the deadline, which counts from a day before
        /// it on, 2 for the relation, 1 for waiting an hour.
        func priority(at nowMs: UInt64) -> Double {
            let urgency =
                deadlineMs.map { deadline -> Double in
                    guard deadline > nowMs else { return 1 }
                    return max(0, 1 - Double(deadline - nowMs) / Self.horizonMs)
                } ?? 0
            let age = nowMs > lastMs ? min(1, Double(nowMs - lastMs) / Self.patienceMs) : 0
            return 10 * (0.4 * importance / 10 + 0.3 * urgency + 0.2 * relation + 0.1 * age)
        }

        /// A deadline begins to count a day before.
        private static let horizonMs: Double = 86_400_000
        /// Waiting longer than an hour counts no more.
        private static let patienceMs: Double = 3_600_000
    }

    /// By the bytes of their ids.
    private(set) var dialogues: [Dialogue] = []
    /// The dialogue that it attends to now; nil if there is none.
    private(set) var focus: String?
    /// When something of it was last written, in milliseconds since the Unix epoch; nil if never.
    private(set) var updatedMs: UInt64?

    static let focusField = "focus"
    static let dialoguePrefix = "dialogue/"

    init(_ fields: [DocumentMap.Field]) {
        var named: String?
        for field in fields {
            updatedMs = max(updatedMs ?? 0, field.stamp.milliseconds)
            guard let value = try? JSONValue(field.value) else { continue }
            if field.name == Self.focusField {
                named = value.string
            } else if field.name.utf8.starts(with: Self.dialoguePrefix.utf8) {
                let id = String(decoding: field.name.utf8.dropFirst(Self.dialoguePrefix.utf8.count), as: UTF8.self)
                dialogues.append(Dialogue(id, value))
            }
        }
        // One side may have dropped what the other turned to.
        focus = named.flatMap { self[$0]?.id }
    }

    subscript(id: String) -> Dialogue? { dialogues.first { $0.id.utf8.elementsEqual(id.utf8) } }

    /// The dialogues, the most urgent first: of those that tie the one that waits longest, then by id.
    func ordered(at nowMs: UInt64) -> [(dialogue: Dialogue, priority: Double)] {
        dialogues.map { ($0, $0.priority(at: nowMs)) }.enumerated()
            .sorted { a, b in
                let (left, right) = (a.element, b.element)
                if left.1 != right.1 { return left.1 > right.1 }
                if left.0.lastMs != right.0.lastMs { return left.0.lastMs < right.0.lastMs }
                return a.offset < b.offset
            }
            .map { ($0.element.0, $0.element.1) }
    }
}
