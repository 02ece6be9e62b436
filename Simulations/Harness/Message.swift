/// One text message to a subscriber.
enum Message {
    /// An event, with the cursor behind it if the client asked for cursors.
    case event(Sighting, cursor: String?)
    case error(String)
    /// The subscription stands. With a cursor it may be resumed from here on.
    case subscribed(cursor: String?)
    /// How far a quiet client has come.
    case cursor(String)
    /// What a client that resumes is told first.
    case resumed(recovered: Bool, gaps: [Client.Gap])
    /// The node leaves: where to go, and from where to resume.
    case drain(cursor: String, nodes: [String])
    /// The client has read too slowly.
    case overrun(cursor: String?)
    /// Something that a plain subscriber ignores.
    case other

    /// Reads the message at `range`; nil when it is no JSON object or lacks what its type has.
    init?(_ bytes: [UInt8], _ range: Range<Int>) {
        var reader = JSONReader(bytes, range)
        var type: Range<Int>?
        var sighting: Sighting?
        var cursor: String?
        var rest: [String: JSON] = [:]
        do {
            try reader.members { (name, reader) throws(MalformedJSON) in
                if reader.matches(name, "type") {
                    type = try reader.rawText()
                } else if reader.matches(name, "data"), type.map({ reader.matches($0, "event") }) ?? true {
                    sighting = try Sighting.read(&reader)
                } else if reader.matches(name, "cursor") {
                    cursor = String(decoding: bytes[try reader.rawText()], as: UTF8.self)
                } else if type.map({ reader.matches($0, "event") }) ?? true {
                    try reader.skip()
                } else {
                    rest[String(decoding: bytes[name], as: UTF8.self)] = try reader.value()
                }
            }
        } catch { return nil }
        guard let type else { return nil }
        switch String(decoding: bytes[type], as: UTF8.self) {
        case "event":
            guard let sighting else { return nil }
            self = .event(sighting, cursor: cursor)
        case "error": self = .error(String(decoding: bytes[range], as: UTF8.self))
        case "subscribed": self = .subscribed(cursor: cursor)
        case "cursor":
            guard let cursor else { return nil }
            self = .cursor(cursor)
        case "resumed":
            guard case .bool(let recovered)? = rest["recovered"], let list = rest["gaps"]?.array else { return nil }
            let gaps = list.compactMap(Client.Gap.init)
            guard gaps.count == list.count else { return nil }
            self = .resumed(recovered: recovered, gaps: gaps)
        case "drain":
            guard let cursor, let nodes = rest["nodes"]?.array else { return nil }
            self = .drain(cursor: cursor, nodes: nodes.compactMap(\.text))
        case "overrun": self = .overrun(cursor: cursor)
        default: self = .other
        }
    }
}

extension Client.Gap {
    /// Reads `{"replica","from","to"}`.
    fileprivate init?(_ json: JSON) {
        guard let replica = json["replica"]?.text.flatMap({ UInt64($0, radix: 16) }),
            let from = json["from"]?.number.flatMap({ UInt64(exactly: $0) }),
            let to = json["to"]?.number.flatMap({ UInt64(exactly: $0) })
        else { return nil }
        self.init(replica: replica, from: from, to: to)
    }
}
