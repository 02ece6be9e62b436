import CRDT
import Gossip

/// Plans and the conversations that they belong to (docs/soorma-memory.md): the documents `plan/<tenant>/<plan>` and
/// `session/<tenant>/<session>`, one field for each member.
extension NodeCore {
    /// What a plan is at first.
    static let runningPlan = "running"

    /// `POST` makes a plan, or writes what differs: a goal that is delivered again makes its plan again. `PUT`, which names
    /// the plan, says what has become of it.
    mutating func writePlan(
        _ request: RequestID, _ named: String? = nil, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes)
        let plan: String
        if let named { plan = named } else { plan = try body.requiredText("planId") }
        let key = Tenancy.key(tenancy.tenant, plan)
        let old = MemoryDocument(.plan, key, documents)
        var changes = MemoryChanges(old)
        if named != nil {
            let status = try body.requiredText("status")
            guard old != nil else {
                throw .notFound("no plan \(plan.prefix(64)) of this tenant; POST /v1/memory/plans makes one")
            }
            memories.refresh(documents)
            // Over what the plan's context says, too.
            let isShown = memories.status(ofPlan: Array(key.utf8)).map { $0.elementsEqual(status.utf8) } ?? false
            if !isShown { try changes.set("status", JSONValue.string(status).encoded(), always: true) }
        } else {
            try changes.setGoal(body)
            try changes.set("parentPlanId", text: try body.memoryText("parentPlanId"))
            try changes.setNewPlan(of: tenancy)
        }
        let reply = try writeMemory(.plan, key, changes, now: now, into: &effects)
        memories.refresh(documents)
        show(request, reply, into: &effects) { append(plan: Array(key.utf8), into: &$0) }
    }

    /// Appends a plan as Soorma shows it. What has become of it must have been read.
    func append(plan key: [UInt8], into out: inout [UInt8]) {
        let parts = Tenancy.parts(key)
        guard let document = MemoryDocument(.plan, String(decoding: key, as: UTF8.self), documents) else { return }
        out.append(constant: "{\"tenantId\":")
        out.append(json: parts.first ?? "")
        out.append(member: "userId", json: document["userId"] ?? Array("\"\(Tenancy.defaultUser)\"".utf8))
        out.append(member: "planId", json: parts.last ?? "")
        out.append(member: "sessionId", json: document["sessionId"])
        out.append(member: "goalEvent", json: document["goalEvent"] ?? Array("\"\"".utf8))
        out.append(member: "goalData", json: document["goalData"] ?? Array("{}".utf8))
        out.append(key: "status")
        out.append(jsonText: memories.status(ofPlan: key) ?? Array(Self.runningPlan.utf8))
        out.append(member: "parentPlanId", json: document["parentPlanId"])
        out.append(member: "createdAt", time: document.created)
        out.append(member: "updatedAt", time: memories.updated(plan: key) ?? document.updated)
        out.append(UInt8(ascii: "}"))
    }

    /// The plans of a tenant and, where one is named, of a user, the newest first.
    mutating func listPlans(
        _ request: RequestID, status: String?, session: String?, limit: Int, of tenancy: Tenancy,
        into effects: inout Effects
    ) {
        memories.refresh(documents)
        let term = session.map { Memories.term(tenancy, $0) } ?? Memories.term(tenancy)
        let wanted = memories.plans.keys(term).lazy.filter { [memories] key in
            Self.isWanted(memories.plans[key], tenancy)
                && (status.map { memories.status(ofPlan: key)?.elementsEqual($0.utf8) ?? false } ?? true)
        }
        showList(request, wanted.prefix(limit), into: &effects) { append(plan: $0, into: &$1) }
    }

    /// Whether a list shows what is somebody's: whoever names no user sees all of the tenant's.
    private static func isWanted(_ entry: DocumentIndex.Entry?, _ tenancy: Tenancy) -> Bool {
        tenancy.user == Tenancy.defaultUser || (entry?.user ?? []).elementsEqual(tenancy.user.utf8)
    }

    // MARK: - Sessions

    /// Makes a session, or writes what differs.
    mutating func writeSession(
        _ request: RequestID, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant, into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes)
        let key = Tenancy.key(tenancy.tenant, try body.requiredText("sessionId"))
        let old = MemoryDocument(.session, key, documents)
        var changes = MemoryChanges(old)
        try changes.set("name", text: try body.memoryText("name"))
        try changes.set("metadata", object: try body.object("metadata"))
        if old == nil { try changes.set("userId", text: tenancy.user) }
        let reply = try writeMemory(.session, key, changes, now: now, into: &effects)
        memories.refresh(documents)
        show(request, reply, into: &effects) { append(session: Array(key.utf8), into: &$0) }
    }

    private func append(session key: [UInt8], into out: inout [UInt8]) {
        let parts = Tenancy.parts(key)
        guard let document = MemoryDocument(.session, String(decoding: key, as: UTF8.self), documents) else { return }
        out.append(constant: "{\"tenantId\":")
        out.append(json: parts.first ?? "")
        out.append(member: "userId", json: document["userId"] ?? Array("\"\(Tenancy.defaultUser)\"".utf8))
        out.append(member: "sessionId", json: parts.last ?? "")
        out.append(member: "name", json: document["name"])
        out.append(member: "metadata", json: document["metadata"] ?? Array("{}".utf8))
        out.append(member: "createdAt", time: document.created)
        out.append(member: "lastInteraction", time: memories.updated(session: key) ?? document.updated)
        out.append(UInt8(ascii: "}"))
    }

    /// The sessions of a tenant and, where one is named, of a user, those first that something happened in last.
    mutating func listSessions(
        _ request: RequestID, limit: Int, of tenancy: Tenancy, into effects: inout Effects
    ) {
        memories.refresh(documents)
        let all = memories.sessions.keys(Memories.term(tenancy))
            .filter { Self.isWanted(memories.sessions[$0], tenancy) }
            .compactMap { key in memories.updated(session: key).map { (key: key, at: $0) } }
            .sorted { $0.at == $1.at ? $0.key.lexicographicallyPrecedes($1.key) : $0.at > $1.at }
        showList(request, all.prefix(limit).map(\.key), into: &effects) { append(session: $0, into: &$1) }
    }
}
