import CRDT

/// What this node has made of the documents of plans and of tasks, to find them by what they belong to: the same at every
/// node that has read the same documents, and bounded by what the memory service takes.
struct Tracker: Sendable {
    /// What plans and tasks belong to.
    enum Owner: UInt8, Sendable {
        /// A plan is a part of another plan.
        case plan = 0x70
        /// A task is of a plan.
        case taskOfPlan = 0x74
        /// A task has handed out a group of sub-tasks.
        case group = 0x67
    }

    /// So many documents may have changed before they are read, though nobody has asked for any.
    private static let mostStale = 256

    private var stalePlans = StaleDocuments()
    private var staleTasks = StaleDocuments()
    /// To what each plan and each task belongs, and what belongs to that.
    private var owners: [[UInt8]: [[UInt8]]] = [:]
    private var members: [[UInt8]: Set<[UInt8]>] = [:]

    /// A document has changed.
    mutating func note(_ kind: DocumentKind, _ key: [UInt8]) {
        if kind == .plan { stalePlans.note(key) }
        if kind == .taskContext { staleTasks.note(key) }
    }

    mutating func noteEverything() {
        stalePlans.noteEverything()
        staleTasks.noteEverything()
    }

    /// Whether so much has changed that it is better read now than all at once.
    var isRefreshDue: Bool {
        stalePlans.isEverything || staleTasks.isEverything
            || stalePlans.keys.count + staleTasks.keys.count >= Self.mostStale
    }

    /// The documents that belong to something, in the order of their keys.
    func members(of owner: Owner, _ key: String) -> [[UInt8]] {
        (members[[owner.rawValue] + Array(key.utf8)] ?? []).sorted { $0.lexicographicallyPrecedes($1) }
    }

    // MARK: - Reading documents

    mutating func refresh(_ documents: borrowing DocumentMap) {
        guard !stalePlans.isEmpty || !staleTasks.isEmpty else { return }
        let (plans, allPlans) = stalePlans.take()
        let (tasks, allTasks) = staleTasks.take()
        // They have one index, and come as one with a peer's state.
        guard !allPlans, !allTasks else {
            (owners, members) = ([:], [:])
            for key in documents.names(prefix: DocumentKind.plan.prefix) { readPlan(key, documents) }
            for key in documents.names(prefix: DocumentKind.taskContext.prefix) { readTask(key, documents) }
            return
        }
        for key in plans { readPlan(key, documents) }
        for key in tasks { readTask(key, documents) }
    }

    private mutating func readPlan(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let parts = Tenancy.parts(key)
        guard parts.count == 2 else { return }
        let name = DocumentKind.plan.name(String(decoding: key, as: UTF8.self))
        let parent = documents.value(of: "parentPlanId", in: name).flatMap { $0.span.bytes.jsonText }
        let found = parent.map { [Self.owner(.plan, parts[0], String(decoding: $0, as: UTF8.self))] }
        link([Owner.plan.rawValue] + key, to: found ?? [], key)
    }

    private mutating func readTask(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let parts = Tenancy.parts(key)
        guard parts.count == 2 else { return }
        let record = TaskRecord(key, documents)
        var found: [[UInt8]] = []
        if let plan = record?.planID { found.append(Self.owner(.taskOfPlan, parts[0], plan)) }
        for group in record?.groups ?? [] { found.append(Self.owner(.group, parts[0], group)) }
        link([Owner.taskOfPlan.rawValue] + key, to: found, key)
    }

    private static func owner(_ kind: Owner, _ tenant: String, _ id: String) -> [UInt8] {
        [kind.rawValue] + Array(Tenancy.key(tenant, id).utf8)
    }

    private mutating func link(_ member: [UInt8], to wanted: [[UInt8]], _ key: [UInt8]) {
        for owner in owners[member] ?? [] where !wanted.contains(owner) {
            members[owner]?.remove(key)
            if members[owner]?.isEmpty ?? false { members[owner] = nil }
        }
        for owner in wanted { members[owner, default: []].insert(key) }
        owners[member] = wanted.isEmpty ? nil : wanted
    }

    func writeMetrics(into out: inout MetricsWriter) {
        out.gauge("tracker_links", "Plans and groups that plans and tasks belong to, as last read.", members.count)
    }
}
