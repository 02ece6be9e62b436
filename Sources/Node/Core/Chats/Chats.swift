import CRDT

/// What this node has made of chats, their members and their messages.
struct Chats: Sendable {
    /// Documents of chats and marks that have changed since they were last read.
    var stale = StaleDocuments()
}
