import CRDT
import Gossip

/// Soorma's memory service, what it keeps under names (docs/soorma-memory.md): documents by tenant and name, of which only
/// what differs is written.
extension NodeCore {
    /// What is asked of it.
    mutating func answer(
        _ id: RequestID, _ request: MemoryRequest, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        switch request {
        case .storeTaskContext: try writeTaskContext(id, of: tenancy, bytes, now: now, into: &effects)
        case .taskContext(let task): try showTaskContext(id, task, of: tenancy, into: &effects)
        case .taskContextOf(let subTask):
            noteLookup(subTask, now: now, into: &effects)
            try showTaskContext(id, ofSubTask: subTask, of: tenancy, into: &effects)
        case .updateTaskContext(let task):
            try writeTaskContext(id, task, of: tenancy, bytes, now: now, into: &effects)
        case .deleteTaskContext(let task):
            try delete(id, [.taskContext], task, of: tenancy, now: now, into: &effects)
        case .storePlanContext: try writePlanContext(id, of: tenancy, bytes, now: now, into: &effects)
        case .planContext(let plan): try showPlanContext(id, plan, of: tenancy, into: &effects)
        case .planContextOf(let correlation):
            noteLookup(correlation, now: now, into: &effects)
            try showPlanContext(id, ofCorrelation: correlation, of: tenancy, into: &effects)
        case .updatePlanContext(let plan):
            try writePlanContext(id, plan, of: tenancy, bytes, now: now, into: &effects)
        case .deletePlanContext(let plan):
            try delete(id, [.planContext], plan, of: tenancy, now: now, into: &effects)
        case .createPlan: try writePlan(id, of: tenancy, bytes, now: now, into: &effects)
        case .plans(let status, let session, let limit):
            listPlans(id, status: status, session: session, limit: limit, of: tenancy, into: &effects)
        case .updatePlan(let plan): try writePlan(id, plan, of: tenancy, bytes, now: now, into: &effects)
        case .deletePlan(let plan):
            try delete(id, [.plan, .planContext, .working], plan, of: tenancy, now: now, into: &effects)
        case .createSession: try writeSession(id, of: tenancy, bytes, now: now, into: &effects)
        case .sessions(let limit): listSessions(id, limit: limit, of: tenancy, into: &effects)
        case .setWorking(let plan, let key):
            try setWorking(id, key, of: plan, tenancy, bytes, now: now, into: &effects)
        case .working(let plan, let key): try showWorking(id, key, of: plan, tenancy, into: &effects)
        case .deleteWorking(let plan, let key):
            if let key {
                try deleteWorking(id, key, of: plan, tenancy, now: now, into: &effects)
            } else {
                try deleteWorking(id, of: plan, tenancy, now: now, into: &effects)
            }
        }
    }

    // MARK: - Writing

    /// Writes what changes of a document, which is made if it is not there. Returns the head of the answer.
    mutating func writeMemory(
        _ kind: DocumentKind, _ key: String, _ changes: MemoryChanges, now: Instant, into effects: inout Effects
    ) throws(NodeError) -> Reply {
        let list = changes.finished
        guard changes.old == nil else {
            guard !list.isEmpty else { return Reply(status: 200) }
            return Reply(status: 200, stamp: try put(kind.name(key), list, now: now, into: &effects))
        }
        memories.refresh(documents)
        guard memories.count(kind) < memories.maximumDocuments else {
            throw .noRoom(
                &memories.refused,
                "there are \(memories.count(kind)) documents \(kind.rawValue) already, which is the most; delete those "
                    + "that nobody needs any more")
        }
        return Reply(status: 200, stamp: try create(kind.name(key), list, now: now, into: &effects))
    }

    /// Removes the documents of these kinds about one thing.
    private mutating func delete(
        _ request: RequestID, _ kinds: [DocumentKind], _ name: String, of tenancy: Tenancy, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let key = Tenancy.key(tenancy.tenant, name)
        var stamp: HybridTimestamp?
        for document in kinds.map({ $0.name(key) }) where documents.exists(document) {
            stamp = try put(document, [.remove], now: now, into: &effects)
        }
        guard let stamp else {
            throw .notFound("no \(kinds[0].rawValue) \(name.prefix(64)) of this tenant; it may be deleted already")
        }
        showGone(request, stamp, into: &effects)
    }

    /// Reads what has changed before it is much, so that whoever asks next does not wait for it.
    mutating func settleMemories() {
        if memories.isRefreshDue, !isIncomplete { memories.refresh(documents) }
    }
}
