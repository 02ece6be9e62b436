import CRDT

/// What a request writes to an agent's document: only what differs from what is there, field by field, so that what two
/// sides of a partition change in different fields both stays.
struct AgentChanges {
    /// The most members of one set, one profile, one metadata, and of what is kept though nobody here knows it.
    static let maximumSetMembers = 1_000
    static let maximumMembers = 256
    /// The most fields that one request may change: one put holds them all.
    private static let maximumChanges = 4_000

    private(set) var list: [DocumentMap.Change] = []
    /// What is there; nil for an agent that is new.
    private let view: AgentView?
    /// The status written, if it is another one than before.
    private(set) var status: String?

    init(_ view: AgentView?) { self.view = view }

    /// The changes for one put; nothing if all is there already. The agent's creation is not among them.
    func finished() throws(NodeError) -> [DocumentMap.Change] {
        guard list.count <= Self.maximumChanges else {
            throw NodeError(
                status: 413,
                message: "\(list.count) fields would change, and one request may change \(Self.maximumChanges); change "
                    + "fewer at once")
        }
        guard view != nil else { return list }
        // What is removed leaves no time behind.
        let onlyRemoves = !list.isEmpty && list.allSatisfy { if case .unset = $0 { true } else { false } }
        return onlyRemoves ? list + [.set(field: AgentField.updated.name, value: Array("true".utf8))] : list
    }

    // MARK: - Single fields

    mutating func set(status new: String) {
        guard view?.status == nil || view?.statusText.utf8.elementsEqual(new.utf8) == false else { return }
        list.append(.set(field: AgentField.status.name, value: JSONValue.string(new).encoded()))
        status = new
    }

    mutating func set(_ field: AgentField, _ value: JSONValue) {
        list.append(.set(field: field.name, value: value.encoded()))
    }

    mutating func set(_ field: AgentField, milliseconds: UInt64) { set(field, .number(Int(milliseconds))) }

    // MARK: - Sets and objects

    /// Lets a set hold just these.
    mutating func replace(_ field: AgentField, _ old: [[UInt8]], with new: [String]) {
        replace(field, old.map { ($0, Self.isThere) }, with: new.map { ($0, Self.isThere) })
    }

    static let isThere = Array("true".utf8)

    /// Lets an object have just these members.
    mutating func replace(
        _ field: AgentField, _ old: [AgentView.Member], with new: [(name: String, value: [UInt8])]
    ) {
        let wanted = Set(new.map { Array($0.name.utf8) })
        for (name, _) in old where !wanted.contains(name) {
            list.append(.unset(field: field.name(String(decoding: name, as: UTF8.self))))
        }
        let known = Dictionary(old.map { ($0.name, $0.value) }) { _, last in last }
        for (name, value) in new where known[Array(name.utf8)] != value {
            list.append(.set(field: field.name(name), value: value))
        }
    }

    /// Lets an object have just the members that are not null.
    mutating func replace(
        _ field: AgentField, _ old: [AgentView.Member], with new: [(key: String, value: JSONValue)], of name: String
    ) throws(NodeError) {
        let members = new.filter { $0.value != .null }
        try Self.check(members, count: members.count, name)
        replace(field, old, with: members.map { ($0.key, $0.value.encoded()) })
    }

    /// Changes an object as RFC 7396 has it: null removes a member, objects are merged.
    mutating func merge(
        _ field: AgentField, _ old: [AgentView.Member], with patch: [(key: String, value: JSONValue)], of name: String
    ) throws(NodeError) {
        let known = Dictionary(old.map { ($0.name, $0.value) }) { _, last in last }
        var count = known.count
        for (key, change) in patch {
            let value = known[Array(key.utf8)]
            if case .null = change {
                guard value != nil else { continue }
                list.append(.unset(field: field.name(key)))
                count -= 1
                continue
            }
            let new = (value.flatMap { try? JSONValue($0) } ?? .null).merging(change).encoded()
            if value == nil { count += 1 }
            if value != new { list.append(.set(field: field.name(key), value: new)) }
        }
        try Self.check(patch, count: count, name)
    }

    private static func check(
        _ members: [(key: String, value: JSONValue)], count: Int, _ name: String
    ) throws(NodeError) {
        guard count <= maximumMembers else {
            throw .invalid("\(name): may have at most \(maximumMembers) members; put more inside one of them")
        }
        for (key, _) in members where !(1...Body.maximumTextBytes).contains(key.utf8.count) {
            throw .invalid("\(name): names of members have 1 to \(Body.maximumTextBytes) bytes")
        }
    }

    // MARK: - Capabilities

    /// Reads capabilities: texts, or objects that name themselves and are kept as they came; nil if there are none said.
    static func capabilities(_ body: Body) throws(NodeError) -> [(name: String, value: [UInt8])]? {
        guard let value = body["capabilities"] else { return nil }
        guard let elements = value.elements, elements.count <= maximumSetMembers else {
            throw .invalid(
                field: "capabilities",
                "expected an array of at most \(maximumSetMembers) texts or objects, found \(value.phrase)")
        }
        var found: [(name: String, value: [UInt8])] = []
        var seen: Set<[UInt8]> = []
        for element in elements {
            guard let name = name(ofCapability: element), (1...Body.maximumTextBytes).contains(name.utf8.count) else {
                throw .invalid(
                    field: "capabilities",
                    "expected texts of 1 to \(Body.maximumTextBytes) bytes, or objects with such a text as one of "
                        + naming.joined(separator: ", "))
            }
            guard seen.insert(Array(name.utf8)).inserted else { continue }
            found.append((name, element.string == nil ? element.encoded() : isThere))
        }
        return found
    }

    /// What a capability is called: itself if it is a text; nil if it does not say.
    static func name(ofCapability value: JSONValue) -> String? {
        switch value {
        case .string(let text): text
        case .object(let members):
            naming.lazy.compactMap { key in members.first { $0.key == key }?.value.string }.first
        case .null, .bool, .number, .array: nil
        }
    }

    /// Members of a capability that may name it, the first one there counts.
    private static let naming = ["name", "capability", "task_name", "taskName", "id"]
}
