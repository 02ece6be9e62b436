import CRDT

/// Who may speak in which chat, as far as this node decides or has to know.
struct Turns: Sendable {
    /// Documents that have changed since they were last read.
    var stale = StaleDocuments()
}
