import CRDT

/// What is known in a chat of one agent, be it a member, a former one, or one that only wrote there.
///
/// The documents `chat/<id>` and `marks/<id>` say it, the same at every node:
///
/// | field | value |
/// |---|---|
/// | `member/<agent>` | JSON `{in, since, by?, why?, away}`: never removed, so that it is known of whoever is out since when |
/// | `role/<agent>` | JSON text; makes nobody a member |
/// | `r/<agent>/<node>` | 8 bytes: the packed time up to which the agent has read, by that node; the latest counts |
/// | `d/<agent>/<node>` | 8 bytes: the same for what was handed to it |
struct ChatPerson: Sendable {
    /// Why somebody is out.
    enum Absence: String, Sendable {
        case left, removed, retired
    }

    /// How far somebody has come, by one node.
    struct Mark: BitwiseCopyable, Sendable {
        let node: ReplicaID
        var time: UInt64
    }

    /// What `member/<agent>` says.
    struct Membership: Sendable {
        var isIn: Bool
        /// Milliseconds since the Unix epoch: since when it is in, or out.
        var since: UInt64
        /// Who brought it in or removed it; nil for itself or an operator.
        var by: String?
        var absence: Absence?
        /// The packed times between which it was out before, the latest last.
        var away: [(from: UInt64, to: UInt64)] = []

        /// The most spans of time that are kept.
        static let maximumAway = 64

        /// What the value of the field means; nil for what no node writes.
        init?(_ value: [UInt8]) {
            guard let json = try? JSONValue(value), case .bool(let isIn)? = json["in"],
                let since = json["since"]?.double.flatMap({ UInt64(exactly: $0) })
            else { return nil }
            self.isIn = isIn
            self.since = since
            by = json["by"]?.string
            absence = json["why"]?.string.flatMap { Absence(rawValue: $0) }
            for span in json["away"]?.elements ?? [] {
                guard let ends = span.elements, ends.count == 2, let from = ends[0].string.flatMap(Self.time),
                    let to = ends[1].string.flatMap(Self.time), away.count < Self.maximumAway
                else { return nil }
                away.append((from, to))
            }
        }

        init(isIn: Bool, since: UInt64, by: String?, absence: Absence? = nil) {
            self.isIn = isIn
            self.since = since
            self.by = by
            self.absence = absence
        }

        private static func time(_ text: String) -> UInt64? { text.utf8.count == 16 ? UInt64(text, radix: 16) : nil }

        private static func text(_ time: UInt64) -> JSONValue {
            var out: [UInt8] = []
            out.append(hex: time, digits: 16)
            return .string(String(decoding: out, as: UTF8.self))
        }

        func encoded() -> [UInt8] {
            var members: [(key: String, value: JSONValue)] = [
                ("in", .bool(isIn)), ("since", .number("\(since)")),
            ]
            if let by { members.append(("by", .string(by))) }
            if let absence { members.append(("why", .string(absence.rawValue))) }
            members.append(("away", .array(away.map { .array([Self.text($0.from), Self.text($0.to)]) })))
            return JSONValue.object(members).encoded()
        }
    }

    /// Nil for one that never was a member, by what is known here.
    var membership: Membership?
    /// When the membership was written, a packed time.
    var changed: UInt64 = 0
    var role: ChatRole?
    var roleStamp = HybridTimestamp(time: 0, replica: ReplicaID(0))
    /// Whether its agent was introduced and has not retired.
    var isAgent = false
    /// The packed time of the earliest message that it wrote.
    var wrote = UInt64.max
    private(set) var reads: [Mark] = []
    private(set) var deliveries: [Mark] = []

    var isMember: Bool { isAgent && membership?.isIn == true }

    /// Up to where it has read what it has to: what was said before it came it need not.
    var readThrough: UInt64 { max(reads.reduce(0) { max($0, $1.time) }, came) }
    /// The same for what was handed to it; whatever was read was handed to it, too.
    var deliveredThrough: UInt64 { max(deliveries.reduce(0) { max($0, $1.time) }, readThrough) }
    /// Up to where it has said that it has read; zero if it never did.
    var marked: UInt64 { reads.reduce(0) { max($0, $1.time) } }

    private var came: UInt64 { membership?.isIn == true ? (membership?.since ?? 0) << 16 : 0 }

    /// Whether it was no member at a moment, a packed time, by what is known here now.
    func wasOut(at time: UInt64) -> Bool {
        guard let membership else { return true }
        if !membership.isIn, time > changed { return true }
        return membership.away.contains { $0.from < time && time < $0.to }
    }

    /// The packed time before which it makes no difference what the membership says.
    var earliest: UInt64 { membership == nil ? 0 : min(changed, membership?.away.first?.from ?? .max) }

    /// How far it has come by a node; nil for nothing any more.
    mutating func setRead(_ time: UInt64?, by node: ReplicaID) { Self.set(&reads, time, node) }
    mutating func setDelivered(_ time: UInt64?, by node: ReplicaID) { Self.set(&deliveries, time, node) }

    private static func set(_ marks: inout [Mark], _ time: UInt64?, _ node: ReplicaID) {
        let at = marks.firstIndex { $0.node == node }
        if let time {
            if let at { marks[at].time = time } else { marks.append(Mark(node: node, time: time)) }
        } else if let at {
            marks.remove(at: at)
        }
    }

    /// Forgets what the document of the chat says, or that of its marks.
    mutating func forgetChat() { (membership, changed, role) = (nil, 0, nil) }
    mutating func forgetMarks() { (reads, deliveries) = ([], []) }
}
