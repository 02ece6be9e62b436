import CRDT

/// What a worker keeps of a task while others work for it: the document `task-context/<tenant>/<task>`. Values are JSON.
///
/// | field | value |
/// |---|---|
/// | `planId`, `eventType`, `responseEvent`, `responseTopic`, `userId` | texts |
/// | `data` | an object |
/// | `state/<key>` | what the worker's state has under a key other than `_sub_tasks`; for that, `{}` once it was said |
/// | `sub/<id>` | a sub-task: `[place in the order, what was said of it while it was pending, or null]` |
/// | `done/<id>` | what was said of a sub-task whose status is no longer `pending`: this goes before `sub/<id>` |
struct TaskContextView: Sendable {
    static let state: StaticString = "state/"
    static let sub: StaticString = "sub/"
    static let done: StaticString = "done/"
    /// The member of a state that tells of sub-tasks.
    static let subTasks = "_sub_tasks"
    static let pending = "pending"
    static let defaultTopic = "action-results"

    /// One of those who work for it.
    struct SubTask: Sendable {
        let id: [UInt8]
        /// Its place in the order; several may have one place that were added at once at different nodes.
        var place: Int
        /// What was said of it while it was pending.
        var pending: [UInt8]?
        /// What was said of it since.
        var done: [UInt8]?

        /// What is known of it.
        var info: [UInt8]? { done ?? pending }
        /// The value of the field `sub/<id>`.
        var encoded: [UInt8] { Array("[\(place),".utf8) + (pending ?? Array("null".utf8)) + Array("]".utf8) }
    }

    let document: MemoryDocument
    /// In order.
    let subTasks: [SubTask]

    /// Reads a context; nil if it does not exist.
    init?(_ key: String, _ documents: borrowing DocumentMap) {
        guard let document = MemoryDocument(.taskContext, key, documents) else { return nil }
        self.document = document
        var found: [[UInt8]: SubTask] = [:]
        let named = document.fields(Self.sub)
        for field in named.fields {
            let id = Array(field.name[named.rest...])
            let (place, info) = Self.split(field.value)
            found[id] = SubTask(id: id, place: place, pending: info)
        }
        let done = document.fields(Self.done)
        for field in done.fields {
            let id = Array(field.name[done.rest...])
            found[id, default: SubTask(id: id, place: .max)].done = field.value
        }
        subTasks = found.values.sorted {
            $0.place == $1.place ? $0.id.lexicographicallyPrecedes($1.id) : $0.place < $1.place
        }
    }

    /// Takes the value of a field `sub/<id>` apart.
    private static func split(_ value: [UInt8]) -> (place: Int, info: [UInt8]?) {
        guard let comma = value.firstIndex(of: UInt8(ascii: ",")), value.first == UInt8(ascii: "["),
            let place = Int(String(decoding: value[1..<comma], as: UTF8.self))
        else { return (.max, nil) }
        let info = Array(value[(comma + 1)...].dropLast())
        return (place, info.elementsEqual("null".utf8) ? nil : info)
    }

    /// Appends it as Soorma shows it.
    func append(tenant: String, task: String, into out: inout [UInt8]) {
        out.append(constant: "{\"tenantId\":")
        out.append(json: tenant)
        out.append(member: "userId", json: document["userId"])
        out.append(member: "taskId", json: task)
        out.append(member: "planId", json: document["planId"])
        out.append(member: "eventType", json: document["eventType"] ?? Array("\"\"".utf8))
        out.append(member: "responseEvent", json: document["responseEvent"])
        out.append(
            member: "responseTopic", json: document["responseTopic"] ?? Array("\"\(Self.defaultTopic)\"".utf8))
        out.append(member: "data", json: document["data"] ?? Array("{}".utf8))
        out.append(key: "subTasks")
        out.append(UInt8(ascii: "["))
        for (i, subTask) in subTasks.enumerated() {
            if i > 0 { out.append(UInt8(ascii: ",")) }
            out.append(jsonText: subTask.id)
        }
        out.append(constant: "]")
        out.append(key: "state")
        appendState(into: &out)
        out.append(member: "createdAt", time: document.created)
        out.append(member: "updatedAt", time: document.updated)
        out.append(UInt8(ascii: "}"))
    }

    private func appendState(into out: inout [UInt8]) {
        let known = subTasks.filter { $0.info != nil }
        let (fields, rest) = document.fields(Self.state)
        var count = 0
        func begin(_ key: [UInt8], into out: inout [UInt8]) {
            out.append(UInt8(ascii: count == 0 ? "{" : ","))
            count += 1
            out.append(jsonText: key)
            out.append(UInt8(ascii: ":"))
        }
        var saysSubTasks = !known.isEmpty
        for field in fields {
            let key = Array(field.name[rest...])
            if key.elementsEqual(Self.subTasks.utf8) {
                saysSubTasks = true
                continue
            }
            begin(key, into: &out)
            out += field.value
        }
        if saysSubTasks {
            begin(Array(Self.subTasks.utf8), into: &out)
            out.append(UInt8(ascii: "{"))
            for (i, subTask) in known.enumerated() {
                if i > 0 { out.append(UInt8(ascii: ",")) }
                out.append(jsonText: subTask.id)
                out.append(UInt8(ascii: ":"))
                out += subTask.info ?? []
            }
            out.append(UInt8(ascii: "}"))
        }
        out.append(constant: count == 0 ? "{}" : "}")
    }
}

/// The sub-tasks of a task and what a request says of them: none is lost, and none that is over begins again.
struct SubTaskMerge {
    private var known: [[UInt8]: TaskContextView.SubTask] = [:]
    private var next = 0
    var count: Int { known.count }

    init(_ subTasks: [TaskContextView.SubTask]) {
        for subTask in subTasks {
            known[subTask.id] = subTask
            if subTask.place < Int.max { next = max(next, subTask.place + 1) }
        }
    }

    /// A request names a sub-task.
    mutating func add(_ id: String, into changes: inout MemoryChanges) throws(NodeError) {
        let id = Array(id.utf8)
        guard known[id] == nil else { return }
        let subTask = TaskContextView.SubTask(id: id, place: next)
        next += 1
        known[id] = subTask
        try write(subTask, into: &changes)
    }

    /// A request says something of a sub-task.
    mutating func add(_ id: String, _ info: JSONValue, into changes: inout MemoryChanges) throws(NodeError) {
        try add(id, into: &changes)
        guard var subTask = known[Array(id.utf8)], info != .null else { return }
        if info["status"]?.string ?? TaskContextView.pending == TaskContextView.pending {
            let encoded = info.encoded()
            // Whoever says so has not read that it is over.
            guard subTask.done == nil, subTask.pending != encoded else { return }
            subTask.pending = encoded
            try write(subTask, into: &changes)
        } else {
            subTask.done = info.encoded()
            try changes.set("\(TaskContextView.done)\(id)", info)
        }
        known[subTask.id] = subTask
    }

    private func write(_ subTask: TaskContextView.SubTask, into changes: inout MemoryChanges) throws(NodeError) {
        try changes.set("\(TaskContextView.sub)\(String(decoding: subTask.id, as: UTF8.self))", subTask.encoded)
    }
}
