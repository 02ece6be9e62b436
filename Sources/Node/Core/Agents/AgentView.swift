import CRDT

/// An agent as its document tells: read once, shown as a manifest, a registration or a public profile.
struct AgentView {
    /// A member of an object: its name as UTF-8, its value as JSON.
    typealias Member = (name: [UInt8], value: [UInt8])

    /// An agent without a heartbeat for so long is offline, in milliseconds.
    static let offlineAfterMs: UInt64 = 300_000

    let id: String
    private(set) var created = HybridTimestamp(time: 0, replica: ReplicaID(0))
    /// A JSON text each; nil if it was never said.
    private(set) var status: [UInt8]?
    private(set) var type: [UInt8]?
    private(set) var description: [UInt8]?
    private(set) var soorma: [UInt8]?
    /// Sets of texts, as UTF-8, in order.
    private(set) var activities: [[UInt8]] = []
    private(set) var rooms: [[UInt8]] = []
    private(set) var resources: [[UInt8]] = []
    /// By name; the value is `true` for a capability that is a mere name.
    private(set) var capabilities: [Member] = []
    private(set) var profile: [Member] = []
    private(set) var extra: [Member] = []
    private(set) var metadata: [Member] = []
    /// Moments in milliseconds since the Unix epoch.
    private(set) var registeredMs: UInt64?
    private(set) var heartbeatMs: UInt64?
    private(set) var seenMs: UInt64?
    /// When its agent, or somebody for it, last changed something: signs of life are no change.
    private(set) var updatedMs: UInt64 = 0

    private init(empty id: String) { self.id = id }

    /// Reads an agent's document; nil if it does not exist.
    init?(_ id: String, _ documents: borrowing DocumentMap) {
        let name = Array(DocumentKind.agent.name(id).utf8)
        var view = AgentView(empty: id)
        let created = documents.readFields(of: name.span.bytes) { field, value, stamp in
            guard let (kind, rest) = AgentField.split(field) else { return }
            view.note(kind, field.extracting(rest..<field.byteCount), value, stamp)
        }
        guard let created else { return nil }
        view.created = created
        view.updatedMs = max(view.updatedMs, created.milliseconds)
        self = view
    }

    private mutating func note(_ kind: AgentField, _ name: RawSpan, _ value: RawSpan, _ stamp: HybridTimestamp) {
        switch kind {
        case .status: status = value.array
        case .type: type = value.array
        case .description: description = value.array
        case .soorma: soorma = value.array
        case .activity: activities.append(name.array)
        case .room: rooms.append(name.array)
        case .resource: resources.append(name.array)
        case .capability: capabilities.append((name.array, value.array))
        case .profile: profile.append((name.array, value.array))
        case .extra: extra.append((name.array, value.array))
        case .metadata: metadata.append((name.array, value.array))
        case .registered: registeredMs = value.jsonNumber
        case .heartbeat:
            heartbeatMs = value.jsonNumber
            return
        case .lastSeen:
            seenMs = value.jsonNumber
            return
        case .updated: break
        }
        updatedMs = max(updatedMs, stamp.milliseconds)
    }

    // MARK: - What follows from it

    /// The status as a text.
    var statusText: String {
        status.flatMap { $0.span.bytes.jsonText }.map { String(decoding: $0, as: UTF8.self) } ?? Self.defaultStatus
    }

    static let defaultStatus = "active"

    /// When it last showed that it lives.
    var aliveMs: UInt64 { max(registeredMs ?? 0, heartbeatMs ?? 0, created.milliseconds) }

    /// When it was last heard of: its last heartbeat, or the end of its last session.
    var lastSeenMs: UInt64? { seenMs.map { max($0, heartbeatMs ?? 0) } ?? heartbeatMs }

    // MARK: - Showing

    /// What the manifest shows that is not in the document.
    struct Surroundings {
        /// Chats that the agent is a member of.
        var chats: [String] = []
        var isOnline = false
        /// What it attends to, as JSON text; nil for nothing.
        var focus: [UInt8]?
    }

    /// Names of a manifest's members that the node decides: what a client sends for them is ignored.
    static let ownMembers = ["last_updated", "online_status", "last_seen", "current_focus"]

    func appendManifest(_ around: Surroundings, into out: inout [UInt8]) {
        out.append(constant: "{\"agent_id\":")
        out.append(json: id)
        out.append(constant: ",\"status\":")
        out += status ?? Array("\"\(Self.defaultStatus)\"".utf8)
        out.append(constant: ",\"current_activities\":")
        Self.append(set: activities, into: &out)
        out.append(constant: ",\"room_participation\":")
        Self.append(set: rooms(with: around.chats), into: &out)
        out.append(constant: ",\"available_resources\":")
        Self.append(set: resources, into: &out)
        out.append(constant: ",\"capabilities\":")
        appendCapabilities(into: &out)
        out.append(constant: ",\"public_profile\":")
        Self.append(object: profile, into: &out)
        out.append(constant: ",\"online_status\":")
        out.append(constant: around.isOnline ? "\"online\"" : "\"offline\"")
        out.append(constant: ",\"last_seen\":")
        Self.append(time: lastSeenMs, into: &out)
        out.append(constant: ",\"current_focus\":")
        out += around.focus ?? Array("null".utf8)
        for (name, value) in extra {
            out.append(UInt8(ascii: ","))
            Self.append(text: name, into: &out)
            out.append(UInt8(ascii: ":"))
            out += value
        }
        out.append(constant: ",\"last_updated\":")
        Self.append(time: updatedMs, into: &out)
        out.append(UInt8(ascii: "}"))
    }

    /// The rooms that were written, and the chats that the agent is in.
    private func rooms(with chats: [String]) -> [[UInt8]] {
        guard !chats.isEmpty else { return rooms }
        return Set(rooms).union(chats.map { Array($0.utf8) }).sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// What only other documents know of an agent's work.
    struct Load {
        /// Messages that it sent or was sent, as far as this node remembers.
        var messages = 0
        /// Messages to it alone that wait.
        var waiting = 0
        /// Tasks that it has claimed and not ended.
        var tasks = 0
    }

    /// The registry's view. `load` adds its numbers where they were asked for.
    func appendRegistration(
        isOffline: Bool, messages: Int, load: Load? = nil, into out: inout [UInt8]
    ) {
        out.append(constant: "{\"name\":")
        out.append(json: id)
        out.append(constant: ",\"agent_type\":")
        out += type ?? Array("null".utf8)
        out.append(constant: ",\"capabilities\":")
        appendCapabilities(into: &out)
        out.append(constant: ",\"status\":")
        out += isOffline ? Array("\"offline\"".utf8) : status ?? Array("\"\(Self.defaultStatus)\"".utf8)
        if let description {
            out.append(constant: ",\"description\":")
            out += description
        }
        out.append(constant: ",\"metadata\":")
        Self.append(object: metadata, into: &out)
        out.append(constant: ",\"registered_at\":")
        Self.append(time: registeredMs ?? created.milliseconds, into: &out)
        out.append(constant: ",\"last_heartbeat\":")
        Self.append(time: aliveMs, into: &out)
        out.append(constant: ",\"message_count\":")
        out.append(json: messages)
        if let load {
            out.append(constant: ",\"claimed_tasks\":")
            out.append(json: load.tasks)
            out.append(constant: ",\"waiting_messages\":")
            out.append(json: load.waiting)
        }
        out.append(UInt8(ascii: "}"))
    }

    /// What everybody may know, for programs.
    func appendProfile(isOnline: Bool, into out: inout [UInt8]) {
        out.append(constant: "{\"agent_id\":")
        out.append(json: id)
        out.append(constant: ",\"status\":")
        out += status ?? Array("\"\(Self.defaultStatus)\"".utf8)
        out.append(constant: ",\"online_status\":")
        out.append(constant: isOnline ? "\"online\"" : "\"offline\"")
        out.append(constant: ",\"available_resources\":")
        Self.append(set: resources, into: &out)
        out.append(constant: ",\"public_profile\":")
        Self.append(object: profile, into: &out)
        out.append(UInt8(ascii: "}"))
    }

    private func appendCapabilities(into out: inout [UInt8]) {
        out.append(UInt8(ascii: "["))
        for (i, capability) in capabilities.enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            if capability.value.elementsEqual("true".utf8) {
                Self.append(text: capability.name, into: &out)
            } else {
                out += capability.value
            }
        }
        out.append(UInt8(ascii: "]"))
    }

    private static func append(text: [UInt8], into out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        JSONText.escape(text.span.bytes, into: &out)
        out.append(UInt8(ascii: "\""))
    }

    private static func append(set: [[UInt8]], into out: inout [UInt8]) {
        out.append(UInt8(ascii: "["))
        for (i, text) in set.enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            append(text: text, into: &out)
        }
        out.append(UInt8(ascii: "]"))
    }

    private static func append(object: [Member], into out: inout [UInt8]) {
        out.append(UInt8(ascii: "{"))
        for (i, member) in object.enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            append(text: member.name, into: &out)
            out.append(UInt8(ascii: ":"))
            out += member.value
        }
        out.append(UInt8(ascii: "}"))
    }

    /// A moment, or null.
    static func append(time milliseconds: UInt64?, into out: inout [UInt8]) {
        guard let milliseconds, milliseconds < 1 << 47 else { return out.append(constant: "null") }
        out.append(UInt8(ascii: "\""))
        ISOTime.write(milliseconds: milliseconds, into: &out)
        out.append(UInt8(ascii: "\""))
    }
}
