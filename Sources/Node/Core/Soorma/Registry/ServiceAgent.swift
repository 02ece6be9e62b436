import CRDT

/// An agent as Soorma's registry shows it: what its SDK said, as far as no other protocol has changed it since; of an agent
/// that no SDK registered, the same members in a form that every SDK can read.
struct ServiceAgent {
    let id: String
    /// With the version that the SDK appends.
    let name: String
    let description: String
    /// In the order in which they came; those of other protocols follow, in the order of their names.
    private(set) var capabilities: [JSONValue] = []
    /// Names of events that it takes and makes: those that it stated, and those of its capabilities.
    private(set) var consumed: [String] = []
    private(set) var produced: [String] = []
    /// What was stated, which is shown as it came.
    private let statedConsumed: JSONValue?
    private let statedProduced: JSONValue?
    private let others: [(key: String, value: JSONValue)]

    init(_ view: AgentView) {
        id = view.id
        description =
            view.description.flatMap { $0.span.bytes.jsonText }.map { String(decoding: $0, as: UTF8.self) } ?? ""
        let said = view.soorma.flatMap { try? JSONValue($0) }
        name = said?["name"]?.string ?? view.id
        statedConsumed = said?["consumedEvents"].flatMap { $0.elements == nil ? nil : $0 }
        statedProduced = said?["producedEvents"].flatMap { $0.elements == nil ? nil : $0 }
        if case .object(let members)? = said {
            others = members.filter { member in !Self.ownMembers.contains(member.key) }
        } else {
            others = []
        }
        takeCapabilities(of: view, said?["capabilities"]?.elements ?? [])
        for value in (statedConsumed?.elements ?? []) { if let text = value.string { consumed.append(text) } }
        for value in (statedProduced?.elements ?? []) { if let text = value.string { produced.append(text) } }
    }

    /// Members of what an SDK says that have a place of their own.
    static let ownMembers: Set<String> = [
        "agentId", "name", "description", "capabilities", "consumedEvents", "producedEvents",
    ]

    /// The set says which capabilities there are, what the SDK said in which order, and what those look like that nobody
    /// has changed since.
    private mutating func takeCapabilities(of view: AgentView, _ said: [JSONValue]) {
        let known = Dictionary(view.capabilities.map { ($0.name, $0.value) }) { _, last in last }
        let names = said.map { AgentChanges.name(ofCapability: $0).map { Array($0.utf8) } ?? [] }
        var seen: [[UInt8]: Int] = [:]
        for name in names { seen[name, default: 0] += 1 }
        for (value, name) in zip(said, names) {
            guard let stored = known[name] else { continue }
            let isAsSaid = seen[name] != 1 || value.string != nil || stored == value.encoded()
            add(isAsSaid ? value : Self.value(stored), named: name, isVerbatim: isAsSaid)
        }
        for (name, stored) in view.capabilities where seen[name] == nil {
            add(Self.value(stored), named: name, isVerbatim: false)
        }
    }

    private static func value(_ stored: [UInt8]) -> JSONValue { (try? JSONValue(stored)) ?? .null }

    private mutating func add(_ value: JSONValue, named name: [UInt8], isVerbatim: Bool) {
        Self.eachEvent(of: value) { kind, text in
            if kind == .consumed { consumed.append(text) } else { produced.append(text) }
        }
        let isWhole = isVerbatim && value.string == nil
        capabilities.append(isWhole ? value : Self.completed(value, String(decoding: name, as: UTF8.self)))
    }

    // MARK: - Showing

    /// As `AgentDefinition` has it.
    var json: JSONValue {
        .object(
            [
                ("agentId", .string(id)), ("name", .string(name)), ("description", .string(description)),
                ("capabilities", .array(capabilities)),
                ("consumedEvents", statedConsumed ?? .texts(Self.unique(consumed))),
                ("producedEvents", statedProduced ?? .texts(Self.unique(produced))),
            ] + others)
    }

    private static func unique(_ texts: [String]) -> [String] {
        var seen: Set<[UInt8]> = []
        return texts.filter { seen.insert(Array($0.utf8)).inserted }
    }

    /// A capability with all that an SDK's model demands of one: what is missing is filled in, as the SDK does for
    /// capabilities that are mere names.
    private static func completed(_ value: JSONValue, _ name: String) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = []
        if case .object(let found) = value { members = found }
        func take(_ camel: String, _ snake: String) -> JSONValue? {
            let found = members.last { $0.key == camel || $0.key == snake }?.value
            members.removeAll { $0.key == camel || $0.key == snake }
            return found
        }
        let task = take("taskName", "task_name")?.string ?? name
        let about = take("description", "description")?.string ?? "Capability: \(task)"
        let consumed = completedEvent(take("consumedEvent", "consumed_event"), of: task)
        let produced = (take("producedEvents", "produced_events")?.elements ?? []).map { completedEvent($0, of: task) }
        return .object(
            [
                ("taskName", .string(task)), ("description", .string(about)), ("consumedEvent", consumed),
                ("producedEvents", .array(produced)),
            ] + members)
    }

    private static func completedEvent(_ value: JSONValue?, of task: String) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = []
        if case .object(let found)? = value { members = found }
        let name = value.flatMap { eventName($0) }
        func text(_ key: String) -> String? { members.last { $0.key == key }?.value.string }
        let whole: [(key: String, value: JSONValue)] = [
            ("eventName", .string(name ?? "unknown")), ("topic", .string(text("topic") ?? "action-requests")),
            (
                "description",
                .string(text("description") ?? (name == nil ? "Placeholder event for capability: \(task)" : ""))
            ),
        ]
        return .object(
            whole + members.filter { !["eventName", "event_name", "topic", "description"].contains($0.key) })
    }

    // MARK: - Finding

    /// Whether it is what a search asks for. A name may leave out the version that follows a colon.
    func matches(id wanted: String?, name: String?, consumed: String?, produced: String?) -> Bool {
        func has(_ texts: [String], _ text: String?) -> Bool {
            guard let text else { return true }
            return texts.contains { $0.utf8.elementsEqual(text.utf8) }
        }
        return has([id], wanted) && has([self.name, Self.unversioned(self.name)], name) && has(self.consumed, consumed)
            && has(self.produced, produced)
    }

    /// A name without the version that follows a colon.
    static func unversioned(_ name: String) -> String {
        name.utf8.firstIndex(of: UInt8(ascii: ":")).map { String(name[..<$0]) } ?? name
    }

    /// What leads to an agent in the index, from the field of its document.
    static func eachTerm(of field: RawSpan, _ body: (Agents.Term, RawSpan) -> Void) {
        guard let said = try? JSONValue(field) else { return }
        func visit(_ kind: Agents.Term, _ text: String) {
            let bytes = Array(text.utf8)
            body(kind, bytes.span.bytes)
        }
        if let name = said["name"]?.string {
            visit(.label, name)
            visit(.label, unversioned(name))
        }
        for value in said["consumedEvents"]?.elements ?? [] { if let text = value.string { visit(.consumed, text) } }
        for value in said["producedEvents"]?.elements ?? [] { if let text = value.string { visit(.produced, text) } }
        for value in said["capabilities"]?.elements ?? [] { eachEvent(of: value, visit) }
    }

    /// The same from a capability as the set holds it.
    static func eachEvent(ofCapability field: RawSpan, _ body: (Agents.Term, RawSpan) -> Void) {
        guard field.byteCount > 2, let value = try? JSONValue(field) else { return }
        eachEvent(of: value) { kind, text in
            let bytes = Array(text.utf8)
            body(kind, bytes.span.bytes)
        }
    }

    private static func eachEvent(of capability: JSONValue, _ body: (Agents.Term, String) -> Void) {
        if let event = capability["consumedEvent"] ?? capability["consumed_event"], let name = eventName(event) {
            body(.consumed, name)
        }
        for event in (capability["producedEvents"] ?? capability["produced_events"])?.elements ?? [] {
            if let name = eventName(event) { body(.produced, name) }
        }
    }

    /// An event is named by a text (SDK 0.7), or described by an object (from 0.8.1 on).
    private static func eventName(_ value: JSONValue) -> String? {
        value.string ?? (value["eventName"] ?? value["event_name"])?.string
    }
}
