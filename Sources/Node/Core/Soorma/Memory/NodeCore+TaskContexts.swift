import CRDT
import Gossip

/// What workers keep of tasks while others work for them (docs/soorma-memory.md). Several replicas of a worker write the
/// whole of it at once: what they say of different sub-tasks, and under different keys of the state, all stays.
extension NodeCore {
    /// `POST` makes a context or merges into it; `PUT`, which names the task, merges into what is there.
    mutating func writeTaskContext(
        _ request: RequestID, _ named: String? = nil, of tenancy: Tenancy, _ bytes: RawSpan, now: Instant,
        into effects: inout Effects
    ) throws(NodeError) {
        try checkWritable()
        let body = try Body(soorma: bytes)
        let task: String
        if let named { task = named } else { task = try body.requiredText("taskId") }
        let key = Tenancy.key(tenancy.tenant, task)
        let view = TaskContextView(key, documents)
        var changes = MemoryChanges(view?.document)
        if named != nil {
            guard view != nil else { throw .unknownTaskContext(task) }
        } else {
            try readTaskContext(body, of: tenancy, into: &changes)
        }
        var subTasks = SubTaskMerge(view?.subTasks ?? [])
        for id in try body.texts("subTasks", most: memories.maximumParts) ?? [] { try subTasks.add(id, into: &changes) }
        let state = try body["state"]?.members(of: "state") ?? []
        for (key, value) in state where key.utf8.elementsEqual(TaskContextView.subTasks.utf8) && value != .null {
            try changes.set("\(TaskContextView.state)\(key)", Array("{}".utf8))
            for (id, info) in try value.members(of: "state._sub_tasks") {
                guard (1...Body.maximumTextBytes).contains(id.utf8.count) else {
                    throw .invalid(
                        field: "state._sub_tasks", "ids of sub-tasks have 1 to \(Body.maximumTextBytes) bytes")
                }
                try subTasks.add(id, info, into: &changes)
            }
        }
        // Two sides of a partition may together have made more, which have to end all the same.
        guard subTasks.count <= max(memories.maximumParts, view?.subTasks.count ?? 0) else {
            throw .noRoom(
                &memories.refused,
                "a task may have \(memories.maximumParts) sub-tasks, and this one would have \(subTasks.count); delegate "
                    + "to one that delegates further")
        }
        try mergeState(state, removesNull: named != nil, into: &changes)
        let reply = try writeMemory(.taskContext, key, changes, now: now, into: &effects)
        guard let written = TaskContextView(key, documents) else { return }
        show(request, reply, into: &effects) { written.append(tenant: tenancy.tenant, task: task, into: &$0) }
    }

    private func readTaskContext(
        _ body: Body, of tenancy: Tenancy, into changes: inout MemoryChanges
    ) throws(NodeError) {
        try changes.set("eventType", text: try body.requiredText("eventType"))
        try changes.set("planId", text: try body.memoryText("planId"))
        try changes.set("responseEvent", text: try body.memoryText("responseEvent"))
        try changes.set("responseTopic", text: try body.memoryText("responseTopic"))
        try changes.set("data", object: try body.object("data"))
        try changes.set("userId", text: try body.memoryText("userId") ?? (changes.old == nil ? tenancy.user : nil))
    }

    /// Writes what the state has under its keys, those of sub-tasks left out.
    private mutating func mergeState(
        _ state: [(key: String, value: JSONValue)], removesNull: Bool, into changes: inout MemoryChanges
    ) throws(NodeError) {
        let (fields, rest) = changes.old?.fields(TaskContextView.state) ?? ([], 0)
        let before = fields.count { !$0.name[rest...].elementsEqual(TaskContextView.subTasks.utf8) }
        var count = before
        for (key, value) in state where !key.utf8.elementsEqual(TaskContextView.subTasks.utf8) {
            guard key.utf8.count <= Body.maximumTextBytes else {
                throw .invalid(field: "state", "names of members have at most \(Body.maximumTextBytes) bytes")
            }
            let field = "\(TaskContextView.state)\(key)"
            let isThere = changes.old?.field(Array(field.utf8)) != nil
            if removesNull, value == .null {
                if isThere { count -= 1 }
                changes.unset(field)
            } else {
                if !isThere { count += 1 }
                try changes.set(field, value)
            }
        }
        guard count <= max(memories.maximumParts, before) else {
            throw .noRoom(
                &memories.refused,
                "a task's state may have \(memories.maximumParts) keys, and this one would have \(count); put more "
                    + "inside one of them, or into working memory")
        }
    }

    // MARK: - Reading

    func showTaskContext(
        _ request: RequestID, _ task: String, of tenancy: Tenancy, into effects: inout Effects
    ) throws(NodeError) {
        guard let view = TaskContextView(Tenancy.key(tenancy.tenant, task), documents) else {
            throw .unknownTaskContext(task)
        }
        show(request, Reply(status: 200), into: &effects) {
            view.append(tenant: tenancy.tenant, task: task, into: &$0)
        }
    }

    mutating func showTaskContext(
        _ request: RequestID, ofSubTask id: String, of tenancy: Tenancy, into effects: inout Effects
    ) throws(NodeError) {
        memories.refreshTaskContexts(documents)
        guard let key = memories.taskContexts.newest(Array(id.utf8), of: tenancy),
            let task = Tenancy.parts(key).last
        else {
            throw .notFound(
                "no task of this tenant has a sub-task \(id.prefix(64)); a task's context names them, and is gone once the "
                    + "task is complete")
        }
        try showTaskContext(request, task, of: tenancy, into: &effects)
    }
}

extension NodeError {
    fileprivate static func unknownTaskContext(_ task: String) -> NodeError {
        .notFound(
            "no context of task \(task.prefix(64)) for this tenant: POST /v1/memory/task-context keeps one; it is gone once "
                + "the task is complete")
    }
}
