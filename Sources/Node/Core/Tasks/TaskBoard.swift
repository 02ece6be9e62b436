import CRDT

/// What this node has made of tasks, to find them by and to decide about those that are its to decide.
struct TaskBoard: Sendable {
    /// Documents that have changed since they were last read.
    var stale = StaleDocuments()
}
