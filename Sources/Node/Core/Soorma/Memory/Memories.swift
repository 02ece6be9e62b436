import CRDT

/// What the memory service keeps under names, as far as this node has read it, to find it by more than its names. What
/// there is is in the documents alone.
struct Memories: Sendable {
    /// By sub-task.
    private(set) var taskContexts = DocumentIndex()
    /// By correlation id.
    private(set) var planContexts = DocumentIndex()
    /// By tenant, and by tenant and session.
    private(set) var plans = DocumentIndex()
    /// By tenant.
    private(set) var sessions = DocumentIndex()
    private(set) var working = DocumentIndex()
    /// Writes refused because there was no room.
    var refused = 0

    /// The most documents of one kind.
    var maximumDocuments = 100_000
    /// The most sub-tasks of a task, and keys of its state; correlation ids of a plan.
    var maximumParts = 1_000
    /// The most keys of a plan's working memory.
    var maximumKeys = 10_000
    /// The kinds that are kept here.
    static let kinds: [DocumentKind] = [.taskContext, .planContext, .plan, .session, .working]

    mutating func note(_ kind: DocumentKind, _ key: [UInt8]) {
        switch kind {
        case .taskContext: taskContexts.stale.note(key)
        case .planContext: planContexts.stale.note(key)
        case .plan: plans.stale.note(key)
        case .session: sessions.stale.note(key)
        case .working: working.stale.note(key)
        case .node, .group, .mailbox, .agent, .chat, .marks, .turn, .task, .attention, .reputation, .context,
            .eventType, .schema, .knowledge, .episodes, .procedure:
            break
        }
    }

    mutating func noteEverything() {
        taskContexts.stale.noteEverything()
        planContexts.stale.noteEverything()
        plans.stale.noteEverything()
        sessions.stale.noteEverything()
        working.stale.noteEverything()
    }

    /// Whether so much has changed that it is better read now than all at once.
    var isRefreshDue: Bool {
        taskContexts.isRefreshDue || planContexts.isRefreshDue || plans.isRefreshDue || sessions.isRefreshDue
            || working.isRefreshDue
    }

    /// How many documents of a kind there are, as last read.
    func count(_ kind: DocumentKind) -> Int { index(kind)?.count ?? 0 }

    private func index(_ kind: DocumentKind) -> DocumentIndex? {
        switch kind {
        case .taskContext: taskContexts
        case .planContext: planContexts
        case .plan: plans
        case .session: sessions
        case .working: working
        case .node, .group, .mailbox, .agent, .chat, .marks, .turn, .task, .attention, .reputation, .context,
            .eventType, .schema, .knowledge, .episodes, .procedure:
            nil
        }
    }

    // MARK: - Reading documents

    mutating func refresh(_ documents: borrowing DocumentMap) {
        refreshTaskContexts(documents)
        refreshPlanContexts(documents)
        plans.refresh(.plan, documents) { entry, field, value, stamp in
            if field.isField("status") { entry.status = value.jsonText.map { ($0, stamp) } }
            if field.isField("userId") { entry.user = value.jsonText }
            if field.isField("sessionId"), let session = value.jsonText { entry.terms.append(session) }
        } finish: { entry, key in
            let tenant = Self.tenant(key)
            entry.terms = Set(entry.terms).map { Self.term(tenant, $0) } + [tenant]
        }
        sessions.refresh(.session, documents) { entry, field, value, _ in
            if field.isField("userId") { entry.user = value.jsonText }
        } finish: { entry, key in
            entry.terms = [Self.tenant(key)]
        }
        working.refresh(.working, documents) { _, _, _, _ in
        } finish: { _, _ in
        }
    }

    mutating func refreshTaskContexts(_ documents: borrowing DocumentMap) {
        let (named, done) = (Array("\(TaskContextView.sub)".utf8), Array("\(TaskContextView.done)".utf8))
        taskContexts.refresh(.taskContext, documents) { entry, field, _, _ in
            for prefix in [named, done] where field.begins(prefix) {
                entry.terms.append(field.extracting(prefix.count..<field.byteCount).array)
            }
        } finish: { entry, _ in
            entry.terms = Array(Set(entry.terms))
        }
    }

    mutating func refreshPlanContexts(_ documents: borrowing DocumentMap) {
        planContexts.refresh(.planContext, documents) { entry, field, value, stamp in
            if field.isField("status") { entry.status = value.jsonText.map { ($0, stamp) } }
            if field.isField("correlationIds") {
                let ids = (try? JSONValue(value))?.elements ?? []
                entry.terms = ids.compactMap { $0.string.map { Array($0.utf8) } }.filter { !$0.isEmpty }
            }
        } finish: { entry, _ in
            entry.terms = Array(Set(entry.terms))
        }
    }

    /// The part of a document's key that names the tenant.
    private static func tenant(_ key: [UInt8]) -> [UInt8] { Array(key.prefix { $0 != UInt8(ascii: "/") }) }

    // MARK: - Finding

    /// What leads to all of a tenant, or to what it finds under a name. No tenant has a slash in it here.
    static func term(_ tenancy: Tenancy, _ name: String? = nil) -> [UInt8] {
        let tenant = Array(Tenancy.key(tenancy.tenant).utf8)
        return name.map { term(tenant, Array($0.utf8)) } ?? tenant
    }

    private static func term(_ tenant: [UInt8], _ name: [UInt8]) -> [UInt8] { tenant + [UInt8(ascii: "/")] + name }

    /// What has become of a plan: what was last said, by itself or by its context.
    func status(ofPlan key: [UInt8]) -> [UInt8]? {
        let (own, told) = (plans[key]?.status, planContexts[key]?.status)
        guard let told, own.map({ $0.at < told.at }) ?? true else { return own?.text }
        return told.text
    }

    /// When a plan or its context was last written.
    func updated(plan key: [UInt8]) -> HybridTimestamp? {
        guard let plan = plans[key] else { return nil }
        return max(plan.updated, planContexts[key]?.updated ?? plan.updated)
    }

    /// When a session or one of its plans was last written.
    func updated(session key: [UInt8]) -> HybridTimestamp? {
        guard let session = sessions[key] else { return nil }
        let parts = Tenancy.parts(key)
        let term = Self.term(Self.tenant(key), Array((parts.last ?? "").utf8))
        return plans.keys(term).reduce(session.updated) { max($0, updated(plan: $1) ?? $0) }
    }

    func writeMetrics(into out: inout MetricsWriter) {
        out.family("memory_documents", .gauge, "What Soorma's memory service keeps under names, as last read.")
        for kind in Self.kinds { out.sample(["kind": kind.rawValue], count(kind)) }
        out.gauge(
            "memory_terms", "Sub-tasks, correlation ids, sessions and tenants that this is found by.",
            Self.kinds.reduce(0) { $0 + (index($1)?.termCount ?? 0) })
        out.counter("memory_refused_total", "Writes of Soorma's memory service refused at a bound.", refused)
    }
}

extension RawSpan {
    /// Whether a field has this name.
    fileprivate func isField(_ name: StaticString) -> Bool {
        let count = name.utf8CodeUnitCount
        guard byteCount == count else { return false }
        return withUnsafeBytes { bytes in
            for i in 0..<count where bytes[i] != name.utf8Start[i] { return false }
            return true
        }
    }

    fileprivate func begins(_ prefix: [UInt8]) -> Bool {
        byteCount >= prefix.count && extracting(0..<prefix.count).isEqual(to: prefix)
    }
}
