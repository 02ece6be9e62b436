import CRDT

/// What this node has made of the documents of agents, to find them by: for each status, resource, capability, type,
/// Soorma name and event the agents that have it, in the order of their ids. The same at every node that has read the same documents.
struct Agents: Sendable {
    /// The most agents that may be introduced.
    static let maximum = 1_000_000
    /// So many documents may have changed before they are read, though nobody has asked for any.
    private static let mostStale = 256

    /// What agents are found by.
    enum Term: UInt8, Sendable {
        case status = 0x73, resource = 0x72, type = 0x74
        /// Capabilities and resources alike.
        case skill = 0x6b
        /// The name that a Soorma SDK gave it, and the events that it takes and makes.
        case label = 0x6c, consumed = 0x63, produced = 0x70
    }

    /// What is remembered of one agent.
    struct Entry: Sendable {
        /// The terms that lead to it, rising: what is taken back when its document has changed.
        var terms: [UInt32] = []
        /// When it last showed that it lives: its introduction, registration or last heartbeat, in milliseconds since the
        /// Unix epoch.
        var aliveMs: UInt64 = 0
        /// Its document exists.
        var isHere = false
    }

    /// Documents that have changed since they were last read.
    var stale = StaleDocuments()
    /// Agents that were removed since somebody looked, for whom sessions may be open here.
    var retired: [[UInt8]] = []
    /// Agents not taken in at the bound.
    var refused = 0

    private var entries = ByteMap<Entry>()
    private var terms = ByteMap<OrderedNumbers>()
    private var everybody = OrderedNumbers()

    /// How many agents there were when they were last read.
    var count: Int { everybody.count }
    /// How many different statuses, resources, capabilities, types, Soorma names and events they have.
    var termCount: Int { terms.count }
    /// Whether so much has changed that it is better read now than all at once.
    var isRefreshDue: Bool { stale.isEverything || stale.keys.count >= Self.mostStale }

    func id(_ number: UInt32) -> [UInt8] { entries.keys[Int(number)] }

    // MARK: - Reading documents

    /// Reads the documents that have changed.
    mutating func refresh(_ documents: borrowing DocumentMap) {
        guard !stale.isEmpty else { return }
        let (keys, isEverything) = stale.take()
        if isEverything { return rebuild(documents) }
        for key in keys { read(key, documents) }
        // Ids that are gone and terms that nobody has any more are left where they are until they are many.
        if entries.count > 2 * count + 1_024 || terms.count > 2 * liveTerms + 1_024 { rebuild(documents) }
    }

    private mutating func rebuild(_ documents: borrowing DocumentMap) {
        (entries, terms, everybody, liveTerms) = (ByteMap(), ByteMap(), OrderedNumbers(), 0)
        // In order, so that each one is added at the end.
        for key in documents.names(prefix: DocumentKind.agent.prefix) { read(key, documents) }
    }

    /// Terms that lead to somebody.
    private var liveTerms = 0

    private mutating func read(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let name = Array(DocumentKind.agent.prefix.utf8) + key
        var found: [UInt32] = []
        var alive: UInt64 = 0
        let created = documents.readFields(of: name.span.bytes, inOrder: false) { field, value, _ in
            guard let (kind, rest) = AgentField.split(field) else { return }
            let member = field.extracting(rest..<field.byteCount)
            switch kind {
            case .status: if let text = value.jsonText { found.append(term(.status, text.span.bytes)) }
            case .type: if let text = value.jsonText { found.append(term(.type, text.span.bytes)) }
            case .resource: found += [term(.resource, member), term(.skill, member)]
            case .capability:
                found.append(term(.skill, member))
                ServiceAgent.eachEvent(ofCapability: value) { kind, text in found.append(term(kind, text)) }
            case .soorma: ServiceAgent.eachTerm(of: value) { kind, text in found.append(term(kind, text)) }
            case .registered, .heartbeat: alive = max(alive, value.jsonNumber ?? 0)
            case .description, .lastSeen, .updated, .activity, .room, .profile, .extra, .metadata: break
            }
        }
        found.sort()
        if created == nil, entries.index(of: key.span.bytes) == nil { return }
        let number = UInt32(entries.index(of: key.span.bytes, default: Entry()))
        let old = entries.values[Int(number)]
        var new = Entry(aliveMs: max(alive, created?.milliseconds ?? 0), isHere: created != nil)
        for term in found where new.terms.last != term { new.terms.append(term) }
        entries.values[Int(number)] = new

        let ids = entries.keys
        func isBefore(_ a: UInt32, _ b: UInt32) -> Bool { ids[Int(a)].lexicographicallyPrecedes(ids[Int(b)]) }
        if new.isHere, !old.isHere { everybody.insert(number, isBefore) }
        if !new.isHere, old.isHere { everybody.remove(number, isBefore) }
        for term in Self.missing(new.terms, from: old.terms) {
            if terms.values[Int(term)].isEmpty { liveTerms += 1 }
            terms.values[Int(term)].insert(number, isBefore)
        }
        for term in Self.missing(old.terms, from: new.terms) {
            terms.values[Int(term)].remove(number, isBefore)
            if terms.values[Int(term)].isEmpty { liveTerms -= 1 }
        }
    }

    /// What stands in one rising list and not in another.
    private static func missing(_ some: [UInt32], from others: [UInt32]) -> [UInt32] {
        var at = 0
        return some.filter { number in
            while at < others.count, others[at] < number { at += 1 }
            return at == others.count || others[at] != number
        }
    }

    private mutating func term(_ kind: Term, _ text: RawSpan) -> UInt32 {
        UInt32(terms.index(of: Self.key(kind, text).span.bytes, default: OrderedNumbers()))
    }

    private static func key(_ kind: Term, _ text: RawSpan) -> [UInt8] { [kind.rawValue] + text.array }

    // MARK: - Finding

    /// Visits the agents to whom all of some terms lead, in the order of their ids, those up to `after` left out, until
    /// `body` says no. Costs with the rarest of the terms.
    func find(_ wanted: [(kind: Term, text: String)], after: [UInt8]? = nil, _ body: (UInt32) -> Bool) {
        var numbers: [UInt32] = []
        for (kind, text) in wanted {
            let bytes = Array(text.utf8)
            guard let term = terms.index(of: Self.key(kind, bytes.span.bytes).span.bytes) else { return }
            numbers.append(UInt32(term))
        }
        let rarest = numbers.min { terms.values[Int($0)].count < terms.values[Int($1)].count }
        let list = rarest.map { terms.values[Int($0)] } ?? everybody
        let others = numbers.filter { $0 != rarest }
        list.forEach(behind: { number in after.map { $0.lexicographicallyPrecedes(id(number)) } ?? true }) { number in
            others.allSatisfy { has(number, $0) } ? body(number) : true
        }
    }

    /// The term of a status, to ask `has` about many agents; nil if nobody has it.
    func term(ofStatus status: String) -> UInt32? {
        let bytes = Array(status.utf8)
        return terms.index(of: Self.key(.status, bytes.span.bytes).span.bytes).map { UInt32($0) }
    }

    /// Whether a term leads to an agent.
    func has(_ number: UInt32, _ term: UInt32?) -> Bool {
        term.map { entries.values[Int(number)].terms.contains($0) } ?? false
    }

    /// When an agent last showed that it lives, in milliseconds since the Unix epoch.
    func aliveMs(_ number: UInt32) -> UInt64 { entries.values[Int(number)].aliveMs }
}
