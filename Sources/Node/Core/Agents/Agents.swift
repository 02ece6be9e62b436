import CRDT

/// What this node has made of the documents of agents, to find them by.
struct Agents: Sendable {
    /// Documents that have changed since they were last read.
    var stale = StaleDocuments()
}
