import CRDT

/// What this node has made of the documents of plans and of tasks, to find them by what they belong to: the same at every
/// node that has read the same documents, and bounded by what the memory service takes.
struct Tracker: Sendable {
    /// What plans and tasks belong to.
    enum Owner: UInt8, Sendable {
        /// A plan is a part of another plan.
        case plan = 0x70
        /// A plan is of a session.
        case session = 0x73
        /// A task is of a plan.
        case taskOfPlan = 0x74
        /// A task has handed out a group of sub-tasks.
        case group = 0x67
    }

    /// So many documents may have changed before they are read, though nobody has asked for any.
    private static let mostStale = 256
    /// The most plans that SDK 0.7 may begin here.
    var maximumPlans = 100_000

    var stalePlans = StaleDocuments()
    var staleTasks = StaleDocuments()
    /// Plans not taken at the bound.
    var refused = 0
    /// Plans that have a document of their own.
    private(set) var planCount = 0
    /// To what each plan and each task belongs, and what belongs to that.
    private var owners: [[UInt8]: [[UInt8]]] = [:]
    private var members: [[UInt8]: Set<[UInt8]>] = [:]
    private var plans: Set<[UInt8]> = []

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
            (owners, members, self.plans) = ([:], [:], [])
            let contexts = documents.names(prefix: DocumentKind.planContext.prefix)
            for key in documents.names(prefix: DocumentKind.plan.prefix) + contexts { readPlan(key, documents) }
            for key in documents.names(prefix: DocumentKind.taskContext.prefix) { readTask(key, documents) }
            return
        }
        for key in plans { readPlan(key, documents) }
        for key in tasks { readTask(key, documents) }
    }

    private mutating func readPlan(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let parts = Tenancy.parts(key)
        guard parts.count == 2 else { return }
        let record = PlanRecord(tenant: parts[0], plan: parts[1], documents)
        var found: [[UInt8]] = []
        if let parent = record?.parentPlanID { found.append(Self.owner(.plan, parts[0], parent)) }
        if let session = record?.sessionID { found.append(Self.owner(.session, parts[0], session)) }
        if record?.isPlan ?? false { plans.insert(key) } else { plans.remove(key) }
        planCount = plans.count
        link([0x70] + key, to: found, key)
    }

    private mutating func readTask(_ key: [UInt8], _ documents: borrowing DocumentMap) {
        let parts = Tenancy.parts(key)
        guard parts.count == 2 else { return }
        let record = TaskRecord(tenant: parts[0], task: parts[1], documents)
        var found: [[UInt8]] = []
        if let plan = record?.planID { found.append(Self.owner(.taskOfPlan, parts[0], plan)) }
        for group in record?.groups ?? [] { found.append(Self.owner(.group, parts[0], group)) }
        link([0x74] + key, to: found, key)
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
        out.gauge("tracker_plans", "Plans, as last read.", planCount)
        out.gauge("tracker_links", "Plans, sessions and groups that others belong to.", members.count)
        out.counter("tracker_refused_total", "Plans of SDK 0.7 refused at the bound.", refused)
    }
}
